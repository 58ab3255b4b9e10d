"""The primitives keep their promises, and the spy on them sees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fxsftp.errors import BadIdentity, BadKey, BadPassword, Forged
from fxsftp.seal import hash_password, load_public_key, needs_rehash, primitives, verify_password
from tests.spy import NonceUsedTwice, watch

ZERO = bytes(primitives.AEAD_NONCE)


def ssh_keygen(folder: Path, *arguments: str, passphrase: str = "") -> tuple[bytes, str]:
    """Return private file and public line of a new key."""
    path = folder / "-".join(arguments)
    subprocess.run(["ssh-keygen", "-q", "-N", passphrase, "-C", "ann", "-f", path, *arguments], check=True)
    return path.read_bytes(), path.with_name(path.name + ".pub").read_text()


def test_what_was_sealed_unseals_and_nothing_else_does() -> None:
    aead = primitives.Aead(primitives.random_bytes(32))
    sealed = aead.seal(ZERO, b"figures")
    assert aead.unseal(ZERO, sealed) == b"figures"
    for forged in (sealed[:-1], sealed + b"\0", bytes([sealed[0] ^ 1]) + sealed[1:], b""):
        with pytest.raises(Forged):
            aead.unseal(ZERO, forged)
    with pytest.raises(Forged):
        primitives.Aead(primitives.random_bytes(32)).unseal(ZERO, sealed)


def test_the_spy_stops_a_second_use_of_a_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test run in which one pair served twice can't pass."""
    monkeypatch.setattr(primitives, "on_seal", watch())
    aead = primitives.Aead(primitives.random_bytes(32))
    aead.seal(ZERO, b"one")
    aead.seal(b"\1" * 12, b"two")
    with pytest.raises(NonceUsedTwice):
        aead.seal(ZERO, b"one")


def test_the_spy_is_set_for_this_test_as_for_every_other() -> None:
    assert primitives.on_seal is not None


def test_a_box_opens_with_its_key_only() -> None:
    key = primitives.random_bytes(32)
    boxed = primitives.box(key, b"file key")
    assert primitives.unbox(key, boxed) == b"file key"
    assert primitives.box(key, b"file key") != boxed
    for other_key, forged in ((key, boxed[:-1]), (key, b""), (primitives.random_bytes(32), boxed)):
        with pytest.raises(Forged):
            primitives.unbox(other_key, forged)


def test_hkdf_is_that_of_rfc_5869() -> None:
    """Its test case 1, to the first block, and case 3, without salt and label."""
    okm = primitives.hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    assert primitives.hkdf(b"\x0b" * 22, b"", b"").hex().startswith("8da4e775a563c18f715f802a063c5a31")


def test_scrypt_is_that_of_rfc_7914_and_has_a_ceiling() -> None:
    """N = 1024 and r = 8, though its vector has p = 16; so agree with the plain call, and refuse more than 1 GiB."""
    import hashlib

    assert primitives.scrypt("word", b"salt", 10) == hashlib.scrypt(b"word", salt=b"salt", n=1024, r=8, p=1, dklen=32)
    for log_n in (0, -1, primitives.MAX_LOG_N + 1):
        with pytest.raises(ValueError, match="work factor"):
            primitives.scrypt("word", b"salt", log_n)


LOW_ORDER = [  # points for which everybody knows the shared secret (RFC 7748, 7)
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_point_of_low_order_is_refused(point: str) -> None:
    with pytest.raises(BadKey):
        primitives.x25519_shared(primitives.random_bytes(32), bytes.fromhex(point))


def test_both_sides_of_x25519_find_the_same() -> None:
    ann, kari = primitives.random_bytes(32), primitives.random_bytes(32)
    one = primitives.x25519_shared(ann, primitives.x25519_base(kari))
    assert one == primitives.x25519_shared(kari, primitives.x25519_base(ann))


# ---- passwords -------------------------------------------------------------------------------------


def test_a_password_matches_its_hash_and_no_other_does() -> None:
    hashed = hash_password("blåbærsyltetøy")
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert verify_password(hashed, "blåbærsyltetøy")
    assert not verify_password(hashed, "blåbærsyltetøj")
    assert not verify_password(hashed, "")
    assert not needs_rehash(hashed)


def test_a_hash_that_is_none_matches_nothing() -> None:
    for rubbish in ("", "*", "$argon2id$", "$2b$12$abc", "$argon2id$v=19$m=65536,t=3,p=1$x$y"):
        assert not verify_password(rubbish, "")
        assert not verify_password(rubbish, "password")


def test_a_hash_with_older_parameters_is_to_be_renewed() -> None:
    assert needs_rehash("$argon2id$v=19$m=4096,t=3,p=1$c29tZXNhbHQ$aGFzaA")


def test_a_password_of_a_megabyte_costs_nothing() -> None:
    with pytest.raises(BadPassword):
        hash_password("x" * (1 << 20))
    assert not verify_password(hash_password("x"), "x" * (1 << 20))


# ---- SSH keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "bits"),
    [
        (("-t", "ed25519"), "ssh-ed25519", 256),
        (("-t", "rsa", "-b", "2048"), "ssh-rsa", 2048),
        (("-t", "ecdsa", "-b", "384"), "ecdsa-sha2-nistp384", 384),
    ],
)
def test_a_public_key_reads_as_ssh_keygen_shows_it(
    tmp_path: Path, arguments: tuple[str, ...], kind: str, bits: int
) -> None:
    _, line = ssh_keygen(tmp_path, *arguments)
    key = load_public_key(line)
    assert (key.kind, key.bits, key.comment) == (kind, bits, "ann")
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=line, capture_output=True, text=True, check=True
    ).stdout
    assert shown.split()[:2] == [str(bits), key.fingerprint]
    assert load_public_key(key.line).blob == key.blob


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 not*base64",
        "ssh-ed25519 AAAA",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJ2kGq0pN0m7w5Qw0yY3oE8k0eXv7mJb0mXq1y9o2o3F ed25519 under another name",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2kGq0pN0m7w5Qw cut short",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ssh-ünsinn AAAA",
    ],
)
def test_what_is_no_public_key_is_refused_with_a_reason(line: str) -> None:
    with pytest.raises(BadKey) as refusal:
        load_public_key(line)
    assert str(refusal.value).startswith("That is not a public key this exchange can use: ")


def test_a_private_key_pasted_by_mistake_does_not_come_back_in_the_refusal(tmp_path: Path) -> None:
    private, _ = ssh_keygen(tmp_path, "-t", "ed25519")
    with pytest.raises(BadKey, match="private key") as refusal:
        load_public_key(private.decode())
    assert private.decode().split()[5][:12] not in str(refusal.value)


@pytest.mark.parametrize("format_of_file", [(), ("-m", "PEM")])
@pytest.mark.parametrize("passphrase", ["", "en to tre"])
def test_a_private_key_loads_with_its_passphrase(
    tmp_path: Path, passphrase: str, format_of_file: tuple[str, ...]
) -> None:
    text, line = ssh_keygen(tmp_path, "-t", "rsa", "-b", "2048", *format_of_file, passphrase=passphrase)
    assert primitives.PrivateKey(text, passphrase or None).public.blob == load_public_key(line).blob


def test_a_private_key_says_what_it_lacks(tmp_path: Path) -> None:
    locked, _ = ssh_keygen(tmp_path, "-t", "ed25519", passphrase="en to tre")
    plain, _ = ssh_keygen(tmp_path, "-t", "rsa", "-b", "2048")
    ecdsa, _ = ssh_keygen(tmp_path, "-t", "ecdsa")
    for text, passphrase, reason in (
        (locked, None, "needs a passphrase"),
        (locked, "feil", "wrong"),
        (plain, "en to tre", "no passphrase"),
        (ecdsa, None, "only ssh-ed25519 and ssh-rsa"),
        (b"rubbish", None, "not a private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", None, "not a private key"),
    ):
        with pytest.raises(BadIdentity, match=reason):
            primitives.PrivateKey(text, passphrase)
