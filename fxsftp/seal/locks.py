"""The ways to a file key: a lock wraps it in a stanza, the key that belongs to the lock unwraps it.

    CodeLock / CodeKey      a code or passphrase        one scrypt stanza, always alone in its header
    X25519Lock / X25519Key  age1… / AGE-SECRET-KEY-1…   the house key, the courier key, KEY.age
    SshLock / SshKey        ssh-ed25519, ssh-rsa        a recipient's own key

A lock has `wrap(file_key) -> Stanza`, a key has `unwrap(stanzas) -> file key or None`; that is all the
rest of the house asks of them.  A stanza that is not for this key is passed over; one that is, but is
not made as it must be, raises NotAge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from fxsftp.errors import BadIdentity, BadKey, CannotOpen, Forged, NotAge
from fxsftp.seal import primitives
from fxsftp.seal.format import (
    FILE_KEY,
    VERSION,
    Stanza,
    bech32_decode,
    bech32_encode,
    decode64,
    encode64,
    header_mac,
    make_header,
    parse_header,
)

CODE_LOG_N = 15  # 32 MiB and 0.1 s a try: enough for 75 random bits, cheap enough for a page that asks
MAX_LOG_N = 18  # what age itself writes, 256 MiB; a header asking for more is not tried

# A wrapping key is fresh with every stanza and seals this one thing, so its nonce may be fixed (C2SP age v1).
_ZERO = bytes(primitives.AEAD_NONCE)
_WRAPPED = FILE_KEY + primitives.AEAD_TAG  # bytes


class Lock(Protocol):
    """One way to a file key, seen from outside."""

    def wrap(self, file_key: bytes) -> Stanza:
        """Return the stanza from which the key that belongs to this lock gets the file key back."""
        ...


class Key(Protocol):
    """What opens a lock."""

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return the file key, or None when no stanza is for this key."""
        ...


def new_file_key() -> bytes:
    """Return a key for one file and no other."""
    return primitives.random_bytes(FILE_KEY)


def header_for(file_key: bytes, *locks: Lock) -> bytes:
    """Write the age header that offers these locks.  A code stands alone or not at all."""
    if not locks:
        raise ValueError("a header without a lock opens for nobody")
    if len(locks) > 1 and any(isinstance(lock, CodeLock) for lock in locks):
        raise ValueError("age allows no other lock beside a code")
    return make_header(file_key, [lock.wrap(file_key) for lock in locks])


def open_header(data: bytes, keys: Iterable[Key]) -> tuple[bytes, int]:
    """Return the file key and the header's length, its MAC checked.

    Raises NotAge when this is no age header, CannotOpen when no key fits, and Forged when one did
    but the header is not as it was made.
    """
    header = parse_header(data)
    if len(header.stanzas) > 1 and any(stanza.kind == "scrypt" for stanza in header.stanzas):
        raise NotAge("a passphrase stands beside other ways to open it")
    for key in keys:
        file_key = key.unwrap(header.stanzas)
        if file_key is None:
            continue
        expected = header_mac(file_key, data[: header.mac_input_len])
        if not primitives.same(expected, header.mac):
            raise Forged("its header was changed")
        return file_key, header.length
    raise CannotOpen("")


# ---- code ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CodeLock:
    """Opens to who knows the code, exactly as written."""

    code: str = field(repr=False)
    log_n: int = CODE_LOG_N

    def wrap(self, file_key: bytes) -> Stanza:
        salt = primitives.random_bytes(16)
        wrapping_key = _stretch(self.code, salt, self.log_n)
        return Stanza(("scrypt", encode64(salt), str(self.log_n)), _wrap_once(wrapping_key, file_key))


@dataclass(frozen=True, slots=True)
class CodeKey:
    """A code somebody gives.  Each try costs a scrypt: limit them, and keep them off an event loop."""

    code: str = field(repr=False)
    max_log_n: int = MAX_LOG_N

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        for stanza in stanzas:
            if stanza.kind == "scrypt":
                salt, log_n = _scrypt_arguments(stanza)
                if log_n > self.max_log_n:
                    raise NotAge(f"opening it asks for too much work (2^{log_n})")
                return _unwrap_once(_stretch(self.code, salt, log_n), stanza.body)
        return None


def _stretch(code: str, salt: bytes, log_n: int) -> bytes:
    return primitives.scrypt(code, VERSION + b"/scrypt" + salt, log_n)


def _scrypt_arguments(stanza: Stanza) -> tuple[bytes, int]:
    if len(stanza.args) != 3 or not re.fullmatch(r"[1-9][0-9]{0,2}", stanza.args[2]):
        raise NotAge("its passphrase stanza is not made as it must be")
    return _decode(stanza.args[1], 16), int(stanza.args[2])


# ---- X25519 ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class X25519Lock:
    """Opens to who holds the secret of this public point."""

    public: bytes

    @classmethod
    def parse(cls, recipient: str) -> Self:
        """Read `age1…`."""
        return cls(parse_recipient(recipient))

    def wrap(self, file_key: bytes) -> Stanza:
        ephemeral = primitives.random_bytes(primitives.KEY)
        share = primitives.x25519_base(ephemeral)
        shared = primitives.x25519_shared(ephemeral, self.public)
        wrapping_key = primitives.hkdf(shared, share + self.public, VERSION + b"/X25519")
        return Stanza(("X25519", encode64(share)), _wrap_once(wrapping_key, file_key))


@dataclass(frozen=True, slots=True)
class Identity:
    """An age identity: the secret of an X25519 lock, and what people may know of it."""

    secret: bytes = field(repr=False)
    public: bytes = field(init=False, repr=False, compare=False)  # found once: the house key opens thousands of files

    def __post_init__(self) -> None:
        object.__setattr__(self, "public", primitives.x25519_base(self.secret))

    @classmethod
    def generate(cls) -> Self:
        """Make one that nobody had before."""
        return cls(primitives.random_bytes(primitives.KEY))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `AGE-SECRET-KEY-1…`: the line alone, or a whole file as `age-keygen` writes it."""
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if len(lines) != 1:
            raise BadIdentity("there must be one line AGE-SECRET-KEY-1… in it")
        try:
            prefix, secret = bech32_decode(lines[0])
        except BadKey as slip:
            raise BadIdentity(slip.args[0]) from None  # the text of the key stays out of the traceback
        if prefix != "age-secret-key-" or len(secret) != primitives.KEY or lines[0] != lines[0].upper():
            raise BadIdentity("it is not an AGE-SECRET-KEY-1…")
        return cls(secret)

    @property
    def recipient(self) -> str:
        """The `age1…` to which others seal."""
        return bech32_encode("age", self.public)

    @property
    def lock(self) -> X25519Lock:
        """The lock this identity opens."""
        return X25519Lock(self.public)

    def secret_text(self) -> str:
        """`AGE-SECRET-KEY-1…`.  A method, so that no debugger or log prints it in passing."""
        return bech32_encode("age-secret-key-", self.secret).upper()

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        for stanza in stanzas:
            if stanza.kind != "X25519":
                continue
            if len(stanza.args) != 2 or len(stanza.body) != _WRAPPED:
                raise NotAge("an X25519 stanza is not made as it must be")
            share = _decode(stanza.args[1], primitives.KEY)
            wrapping_key = primitives.hkdf(_shared(self.secret, share), share + self.public, VERSION + b"/X25519")
            file_key = _unwrap_once(wrapping_key, stanza.body)
            if file_key is not None:
                return file_key
        return None


X25519Key = Identity  # the same thing, by the name that goes with X25519Lock


def parse_recipient(text: str) -> bytes:
    """Read `age1…` and return the public point, or raise BadKey."""
    prefix, public = bech32_decode(text.strip())
    if prefix != "age" or len(public) != primitives.KEY or text.strip() != text.strip().lower():
        raise BadKey("it is not an age1… recipient")
    return public


def _shared(secret: bytes, share: bytes) -> bytes:
    try:
        return primitives.x25519_shared(secret, share)
    except BadKey:
        raise NotAge("a stanza has a share that opens to everybody") from None


# ---- SSH keys --------------------------------------------------------------------------------------

_ED25519 = "ssh-ed25519"
_RSA = "ssh-rsa"
_SMALLEST_RSA = 2048  # bits, age's own limit


def usable_for_sealing(public_line: str) -> str | None:
    """Return why nothing can be sealed to this SSH key, or None when it can.

    A key that can't be used may still log in: signing is all that takes, opening a file takes more.
    """
    try:
        key = primitives.load_public_key(public_line)
    except BadKey as problem:
        return str(problem.args[0])
    return _unusable(key)


def _unusable(key: primitives.PublicKey) -> str | None:
    if "-cert-" in key.kind:
        return "it is a certificate; give the key itself"
    if key.kind.startswith("sk-"):
        return "it lives in a hardware token, which can sign but not open files"
    if key.kind.startswith("ecdsa-"):
        return "it is an ECDSA key, to which age can't seal; use ssh-ed25519 or ssh-rsa"
    if key.kind == _RSA and (key.bits or 0) < _SMALLEST_RSA:
        return f"it is an RSA key of {key.bits} bits; {_SMALLEST_RSA} are the least"
    if key.kind not in (_ED25519, _RSA):
        return f"it is of kind {key.kind}; use ssh-ed25519 or ssh-rsa"
    if key.kind == _ED25519:
        try:
            primitives.ed25519_to_x25519_public(_ed25519_point(key))
        except BadKey as problem:  # 32 bytes that no program has made: what is sealed to them, nobody could open
            return str(problem.args[0])
    return None


class SshLock:
    """Opens to who holds the private half of an SSH key, with stock `age -d -i ~/.ssh/id_ed25519`."""

    def __init__(self, public_line: str) -> None:
        """Take a line of a .pub file, or raise BadKey with why nothing can be sealed to it."""
        self.key = primitives.load_public_key(public_line)
        reason = _unusable(self.key)
        if reason is not None:
            raise BadKey(reason)

    def wrap(self, file_key: bytes) -> Stanza:
        tag = _ssh_tag(self.key)
        if self.key.kind == _RSA:
            return Stanza((_RSA, tag), self.key.encrypt(file_key, VERSION + b"/ssh-rsa"))
        public = primitives.ed25519_to_x25519_public(_ed25519_point(self.key))
        ephemeral = primitives.random_bytes(primitives.KEY)
        share = primitives.x25519_base(ephemeral)
        wrapping_key = _ed25519_wrapping_key(primitives.x25519_shared(ephemeral, public), share, public, self.key)
        return Stanza((_ED25519, tag, encode64(share)), _wrap_once(wrapping_key, file_key))


class SshKey:
    """A private SSH key, as `ssh-keygen` wrote it."""

    def __init__(self, pem: bytes | str, passphrase: str | None = None) -> None:
        """Read it, or raise BadIdentity with what is wrong with it."""
        self._key = primitives.PrivateKey(pem.encode() if isinstance(pem, str) else pem, passphrase)
        self.public = self._key.public

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        for stanza in stanzas:
            if stanza.kind != self.public.kind or stanza.args[1:2] != (_ssh_tag(self.public),):
                continue
            file_key = self._unwrap_rsa(stanza) if stanza.kind == _RSA else self._unwrap_ed25519(stanza)
            if file_key is not None:
                return file_key
        return None

    def _unwrap_rsa(self, stanza: Stanza) -> bytes | None:
        if len(stanza.args) != 2:
            raise NotAge("an ssh-rsa stanza is not made as it must be")
        try:
            file_key = self._key.decrypt(stanza.body, VERSION + b"/ssh-rsa")
        except Forged:
            return None
        return file_key if len(file_key) == FILE_KEY else None

    def _unwrap_ed25519(self, stanza: Stanza) -> bytes | None:
        if len(stanza.args) != 3 or len(stanza.body) != _WRAPPED:
            raise NotAge("an ssh-ed25519 stanza is not made as it must be")
        share = _decode(stanza.args[2], primitives.KEY)
        secret = self._key.x25519_secret()
        shared = _shared(secret, share)
        public = primitives.x25519_base(secret)
        return _unwrap_once(_ed25519_wrapping_key(shared, share, public, self.public), stanza.body)


def _ssh_tag(key: primitives.PublicKey) -> str:
    return encode64(primitives.sha256(key.blob)[:4])


def _ed25519_point(key: primitives.PublicKey) -> bytes:
    return key.blob[-primitives.KEY :]  # string "ssh-ed25519", string point; load_public_key saw that it is whole


def _ed25519_wrapping_key(shared: bytes, share: bytes, public: bytes, key: primitives.PublicKey) -> bytes:
    # The tweak binds the stanza to this very SSH key and not just to its point on the other curve.
    tweak = primitives.hkdf(b"", key.blob, VERSION + b"/ssh-ed25519")
    return primitives.hkdf(primitives.x25519_shared(tweak, shared), share + public, VERSION + b"/ssh-ed25519")


# ---- between houses: a file key under another key ----------------------------------------------------


def wrap_under(drop_key: bytes, file_key: bytes) -> bytes:
    """Return the file key as it may lie in a row, wrapped under a key that wraps many."""
    return primitives.box(drop_key, file_key)


def unwrap_under(drop_key: bytes, wrapped: bytes) -> bytes:
    """Return the file key, or raise Forged."""
    file_key = primitives.unbox(drop_key, wrapped)
    if len(file_key) != FILE_KEY:
        raise Forged("what was wrapped is not a file key")
    return file_key


def new_drop_key() -> bytes:
    """Return a key for `wrap_under`."""
    return primitives.random_bytes(primitives.KEY)


# ---- in every stanza -------------------------------------------------------------------------------


def _wrap_once(wrapping_key: bytes, file_key: bytes) -> bytes:
    if len(file_key) != FILE_KEY:
        raise ValueError("a file key has 16 bytes")
    return primitives.Aead(wrapping_key).seal(_ZERO, file_key)


def _unwrap_once(wrapping_key: bytes, body: bytes) -> bytes | None:
    if len(body) != _WRAPPED:  # longer bodies would let one ciphertext open under many keys
        raise NotAge("a stanza does not hold a file key")
    try:
        return primitives.Aead(wrapping_key).unseal(_ZERO, body)
    except Forged:
        return None


def _decode(text: str, length: int) -> bytes:
    data = decode64(text)
    if len(data) != length:
        raise NotAge("an argument of a stanza has the wrong length")
    return data
