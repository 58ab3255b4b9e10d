"""The primitives: the only file that imports cryptography or nacl.

Whoever wants to know which ciphers stand between a stranger and a file reads this page and no other.
Nothing here knows age, files or people: bytes go in, bytes come out.  ChaCha20-Poly1305 and RSA come
from `cryptography` (asyncssh has it loaded already, and its AEAD is three times as fast as libsodium's),
scrypt from the standard library, everything else from libsodium through `nacl`.

Every encryption made in this house passes `_count`, so that a test can prove that no (key, nonce) pair
is ever used twice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl import bindings, pwhash
from nacl.exceptions import CryptoError, InvalidkeyError
from nacl.exceptions import RuntimeError as SodiumError
from nacl.secret import SecretBox

from fxsftp.errors import BadIdentity, BadKey, BadPassword, Forged

KEY = 32  # bytes, of every symmetric and X25519 key here
AEAD_NONCE = 12  # bytes
AEAD_TAG = 16  # bytes

on_seal: Callable[[bytes, bytes], None] | None = None
"""What a test installs to see the (key, nonce) of every encryption.  None outside tests."""


def _count(key: bytes, nonce: bytes) -> None:
    if on_seal is not None:
        on_seal(key, nonce)


def random_bytes(count: int) -> bytes:
    """Return `count` bytes nobody can guess."""
    return os.urandom(count)


# ---- authenticated encryption ----------------------------------------------------------------------


class Aead:
    """ChaCha20-Poly1305 under one key; the key schedule is kept for as long as the object lives."""

    __slots__ = ("_cipher", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = ChaCha20Poly1305(key)

    def seal(self, nonce: bytes, plaintext: bytes | bytearray | memoryview) -> bytes:
        """Return ciphertext and tag.  The caller promises never to come with this nonce again."""
        _count(self._key, nonce)
        return self._cipher.encrypt(nonce, plaintext, None)

    def seal_into(self, nonce: bytes, plaintext: memoryview, sealed: memoryview) -> None:
        """The same, into memory of exactly the length of ciphertext and tag."""
        _count(self._key, nonce)
        self._cipher.encrypt_into(nonce, plaintext, None, sealed)

    def unseal(self, nonce: bytes, ciphertext: bytes | bytearray | memoryview) -> bytes:
        """Return the plaintext, or raise Forged: not a single unauthenticated byte comes out."""
        try:
            return self._cipher.decrypt(nonce, ciphertext, None)
        except InvalidTag:
            raise Forged("its seal was not made with this key") from None


def box(key: bytes, plaintext: bytes) -> bytes:
    """Seal a small thing under a key that seals many: random 24-byte nonce, XSalsa20-Poly1305."""
    nonce = random_bytes(SecretBox.NONCE_SIZE)
    _count(key, nonce)
    return bytes(SecretBox(key).encrypt(plaintext, nonce))


def unbox(key: bytes, boxed: bytes) -> bytes:
    """Return what `box` sealed, or raise Forged."""
    try:
        return SecretBox(key).decrypt(boxed)
    except (CryptoError, ValueError):
        raise Forged("its seal was not made with this key") from None


# ---- keys from keys, keys from words ---------------------------------------------------------------


def hkdf(secret: bytes, salt: bytes, label: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869) to 32 bytes: one block, so expansion is a single HMAC."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(extracted, label + b"\x01", "sha256")


def mac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(key, message, "sha256")


def sha256(message: bytes | bytearray | memoryview) -> bytes:
    """SHA-256 of something small."""
    return hashlib.sha256(message).digest()


def same(one: bytes, other: bytes) -> bool:
    """Compare without telling by the time it takes where they differ."""
    return hmac.compare_digest(one, other)


MAX_LOG_N = 20  # 1 GiB of memory; who asks for more wants to hurt us


def scrypt(passphrase: str, salt: bytes, log_n: int) -> bytes:
    """Stretch a passphrase to 32 bytes (r = 8, p = 1); log_n 15 takes 32 MiB and about 0.1 s, and doubles with each."""
    if not 1 <= log_n <= MAX_LOG_N:
        raise ValueError(f"scrypt work factor {log_n}")
    memory = 128 * 8 << log_n  # bytes; OpenSSL refuses to take more than maxmem, and needs a little beside it
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=1 << log_n, r=8, p=1, dklen=KEY, maxmem=memory + (1 << 20))


# ---- X25519 and Ed25519 ----------------------------------------------------------------------------


def x25519_base(secret: bytes) -> bytes:
    """Return the public point of a secret."""
    return bindings.crypto_scalarmult_base(secret)


def x25519_shared(secret: bytes, public: bytes) -> bytes:
    """Return the shared point, or raise BadKey when `public` is one of the few that make it predictable."""
    try:
        return bindings.crypto_scalarmult(secret, public)
    except (SodiumError, ValueError):
        raise BadKey("it is not a point X25519 can be done with") from None


def ed25519_to_x25519_public(public: bytes) -> bytes:
    """Return the X25519 point of an Ed25519 public key."""
    try:
        return bindings.crypto_sign_ed25519_pk_to_curve25519(public)
    except (SodiumError, ValueError):
        raise BadKey("it is not a point on the Ed25519 curve") from None


def ed25519_to_x25519_secret(seed: bytes) -> bytes:
    """Return the X25519 secret of an Ed25519 seed (RFC 8032, 5.1.5: X25519 clamps by itself)."""
    return hashlib.sha512(seed).digest()[:KEY]


# ---- SSH keys --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a line of an SSH public key file says."""

    kind: str  # "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", …
    blob: bytes  # the key as it goes over the wire
    bits: int | None  # the size people know the key by; None for kinds we can't look into
    comment: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).rstrip(b"=").decode()

    @property
    def line(self) -> str:
        """The line without its comment."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    def encrypt(self, plaintext: bytes, label: bytes) -> bytes:
        """RSA-OAEP with SHA-256; only of an ssh-rsa key."""
        key = serialization.load_ssh_public_key(self.line.encode())
        if not isinstance(key, rsa.RSAPublicKey):
            raise BadKey(f"nothing can be encrypted to a key of kind {self.kind}")
        return key.encrypt(plaintext, _oaep(label))


def load_public_key(line: str) -> PublicKey:
    """Read one line of an SSH public key file, or raise BadKey with what is wrong with it."""
    words = line.split(None, 2)
    if len(words) < 2:
        raise BadKey("a public key is one line: kind, key, comment")
    kind, text = words[0], words[1]
    if kind.startswith("-----"):
        raise BadKey("that is a private key; keep it to yourself and give the .pub file beside it")
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadKey("its second word is not base64; give the .pub file as it is") from None
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != kind.encode("utf-8", "replace"):
        raise BadKey(f"it says {kind} but holds another kind of key, or was cut short")
    return PublicKey(kind, blob, _bits(kind, blob), words[2].strip() if len(words) > 2 else "")


def _bits(kind: str, blob: bytes) -> int | None:
    if kind.startswith("sk-") or "-cert-" in kind:
        return None
    try:
        key = serialization.load_ssh_public_key(f"{kind} {base64.b64encode(blob).decode()}".encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey(f"this is not a whole {kind} key") from None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return 256
    size = getattr(key, "key_size", None)
    return size if isinstance(size, int) else None


class PrivateKey:
    """An SSH private key that can open what was sealed to its public half: Ed25519 or RSA."""

    def __init__(self, text: bytes, passphrase: str | None = None) -> None:
        """Read the file `ssh-keygen` wrote, or raise BadIdentity with what is wrong with it."""
        secret = passphrase.encode() if passphrase else None
        try:
            if b"BEGIN OPENSSH PRIVATE KEY" in text:
                key = serialization.load_ssh_private_key(text, secret)
            else:  # `ssh-keygen -m PEM` and keys older than 2014
                key = serialization.load_pem_private_key(text, secret)  # type: ignore[assignment]
        except TypeError as problem:  # cryptography's way to say that a passphrase is missing, or is one too many
            raise BadIdentity("it needs a passphrase" if secret is None else "it has no passphrase") from problem
        except (ValueError, UnsupportedAlgorithm) as problem:
            raise BadIdentity("the passphrase is wrong, or this is not a private key of a known kind") from problem
        if not isinstance(key, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
            raise BadIdentity("only ssh-ed25519 and ssh-rsa keys can open sealed files")
        self._key = key
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        self.public = load_public_key(line.decode())

    def x25519_secret(self) -> bytes:
        """Return the X25519 secret of an Ed25519 key."""
        if not isinstance(self._key, ed25519.Ed25519PrivateKey):
            raise BadIdentity(f"a key of kind {self.public.kind} does no X25519")
        return ed25519_to_x25519_secret(self._key.private_bytes_raw())

    def decrypt(self, ciphertext: bytes, label: bytes) -> bytes:
        """RSA-OAEP with SHA-256, or raise Forged."""
        if not isinstance(self._key, rsa.RSAPrivateKey):
            raise BadIdentity(f"nothing can be decrypted with a key of kind {self.public.kind}")
        try:
            return self._key.decrypt(ciphertext, _oaep(label))
        except ValueError:
            raise Forged("it was not encrypted to this key") from None


def _oaep(label: bytes) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)


# ---- passwords -------------------------------------------------------------------------------------

_PASSES = 3
_MEMORY = 64 << 20  # bytes: what a log-in may cost us, and what each guess costs a thief of the registry
_PARAMETERS = f"$argon2id$v=19$m={_MEMORY >> 10},t={_PASSES},p=1$"
_LONGEST = 1024  # bytes; longer is not a password but a way to keep us busy


def hash_password(text: str) -> str:
    """Return what the registry may keep of a password (Argon2id).  Takes about 0.1 s and 64 MiB."""
    password = text.encode()
    if len(password) > _LONGEST:
        raise BadPassword(f"it is longer than {_LONGEST} bytes")
    return pwhash.argon2id.str(password, opslimit=_PASSES, memlimit=_MEMORY).decode()


def verify_password(hashed: str, text: str) -> bool:
    """Tell whether this is the password.  A hash we can't read matches nothing."""
    password = text.encode()
    if len(password) > _LONGEST:
        return False
    try:
        return pwhash.verify(hashed.encode(), password)
    except (InvalidkeyError, CryptoError, ValueError):
        return False


def needs_rehash(hashed: str) -> bool:
    """Tell whether a hash was made with other parameters than a new one would be."""
    return not hashed.startswith(_PARAMETERS)
