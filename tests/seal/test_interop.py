"""Other people's programs open what we seal, and we open what they seal: Debian's `age`, and pyrage (rage)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pyrage
import pytest

from fxsftp.seal import (
    CHUNK,
    CodeKey,
    CodeLock,
    Draft,
    Identity,
    Lock,
    SshKey,
    SshLock,
    code_identity,
    header_for,
    new_file_key,
    open_small,
    seal_small,
)
from tests.age_tool import AgeRefused, age_decrypt, age_encrypt
from tests.seal.blobs import MemoryBlob, Shelf
from tests.seal.test_primitives import ssh_keygen

CODE = "7k3f-q2mp-x9ab-0c1d"
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 200_000]
SSH = [("-t", "ed25519"), ("-t", "rsa", "-b", "3072")]


def drafted(plaintext: bytes, *locks: Lock) -> bytes:
    """An `.age` file as the exchange makes it: a body from a draft, and a header for it."""
    file_key = new_file_key()
    draft = Draft(file_key, Shelf().new_blob)
    draft.write(0, plaintext)
    sealed = draft.finish()
    if sealed.small is not None:
        return header_for(file_key, *locks) + sealed.small
    assert isinstance(sealed.blob, MemoryBlob)
    return header_for(file_key, *locks) + bytes(sealed.blob.data)


def text(size: int) -> bytes:
    return Random(size).randbytes(size)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "report.csv.age"


# ---- stock age -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_age_opens_a_body_under_a_header_of_ours(file: Path, size: int) -> None:
    identity = Identity.generate()
    key_file = file.with_name("key.txt")
    key_file.write_text(identity.secret_text() + "\n")
    file.write_bytes(drafted(text(size), identity.lock))
    assert age_decrypt(file, identity=key_file) == text(size)


def test_age_asks_for_the_code_and_opens(file: Path) -> None:
    file.write_bytes(drafted(text(100_000), CodeLock(CODE)))
    assert age_decrypt(file, passphrase=CODE) == text(100_000)
    with pytest.raises(AgeRefused, match="incorrect passphrase"):
        age_decrypt(file, passphrase=CODE.upper())


def test_age_opens_with_key_age_and_the_code(file: Path) -> None:
    """`age -d -i KEY.age report.csv.age` asks once and opens each file of the shipment."""
    identity, key_age = code_identity(CODE)
    key_file = file.with_name("KEY.age")
    key_file.write_bytes(key_age)
    file.write_bytes(drafted(text(70_000), identity.lock))
    assert age_decrypt(file, identity=key_file, passphrase=CODE) == text(70_000)
    with pytest.raises(AgeRefused, match="incorrect passphrase"):
        age_decrypt(file, identity=key_file, passphrase="7k3f-q2mp-x9ab-0c1e")


@pytest.mark.parametrize("arguments", SSH)
def test_age_opens_with_the_recipients_own_ssh_key(file: Path, arguments: tuple[str, ...]) -> None:
    _, line = ssh_keygen(file.parent, *arguments)
    file.write_bytes(drafted(text(70_000), Identity.generate().lock, SshLock(line)))
    assert age_decrypt(file, identity=file.parent / "-".join(arguments)) == text(70_000)


def test_several_headers_over_one_body_are_several_files(file: Path) -> None:
    """Who may open a file changes, and the body stays."""
    file_key = new_file_key()
    draft = Draft(file_key, Shelf().new_blob)
    draft.write(0, text(1000))
    body = draft.finish().small
    assert body is not None
    file.write_bytes(header_for(file_key, CodeLock(CODE)) + body)
    assert age_decrypt(file, passphrase=CODE) == text(1000)
    identity = Identity.generate()
    assert open_small(header_for(file_key, identity.lock) + body, identity) == text(1000)


@pytest.mark.parametrize("size", SIZES)
def test_we_open_what_age_seals_to_a_recipient(file: Path, size: int) -> None:
    identity = Identity.generate()
    source = file.with_suffix("")
    source.write_bytes(text(size))
    age_encrypt(source, file, recipients=[Identity.generate().recipient, identity.recipient])
    assert open_small(file.read_bytes(), identity) == text(size)


def test_we_open_what_age_seals_to_a_passphrase(file: Path) -> None:
    source = file.with_suffix("")
    source.write_bytes(text(70_000))
    age_encrypt(source, file, passphrase="en to tre")
    assert open_small(file.read_bytes(), CodeKey("en to tre")) == text(70_000)


@pytest.mark.parametrize("arguments", SSH)
def test_we_open_what_age_seals_to_an_ssh_key(file: Path, arguments: tuple[str, ...]) -> None:
    private, line = ssh_keygen(file.parent, *arguments)
    source = file.with_suffix("")
    source.write_bytes(text(70_000))
    age_encrypt(source, file, recipients=[line.strip()])
    assert open_small(file.read_bytes(), SshKey(private)) == text(70_000)


def test_age_refuses_what_was_forged(file: Path) -> None:
    """The helper would notice if age did not look."""
    identity = Identity.generate()
    key_file = file.with_name("key.txt")
    key_file.write_text(identity.secret_text())
    file.write_bytes(drafted(text(1000), identity.lock)[:-1])
    with pytest.raises(AgeRefused):
        age_decrypt(file, identity=key_file)


# ---- pyrage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_pyrage_and_we_open_each_others_x25519_files(size: int) -> None:
    identity = Identity.generate()
    theirs = pyrage.x25519.Identity.from_str(identity.secret_text())
    assert str(theirs.to_public()) == identity.recipient
    assert pyrage.decrypt(drafted(text(size), identity.lock), [theirs]) == text(size)
    assert open_small(pyrage.encrypt(text(size), [theirs.to_public()]), identity) == text(size)


def test_pyrage_and_we_open_each_others_passphrase_files() -> None:
    assert pyrage.passphrase.decrypt(drafted(text(70_000), CodeLock(CODE)), CODE) == text(70_000)
    theirs = pyrage.passphrase.encrypt(text(70_000), CODE)
    assert open_small(theirs, CodeKey(CODE, max_log_n=20)) == text(70_000)  # it picks its factor by the machine's speed


@pytest.mark.parametrize("arguments", SSH)
def test_pyrage_and_we_open_each_others_ssh_files(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    private, line = ssh_keygen(tmp_path, *arguments)
    sealed = seal_small(text(70_000), SshLock(line))
    assert pyrage.decrypt(sealed, [pyrage.ssh.Identity.from_buffer(private)]) == text(70_000)
    theirs = pyrage.encrypt(text(70_000), [pyrage.ssh.Recipient.from_str(line.strip())])
    assert open_small(theirs, SshKey(private)) == text(70_000)
