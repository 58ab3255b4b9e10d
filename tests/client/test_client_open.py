"""Opening offline: any `.age` file, whoever made it; and never a byte of one that was changed."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pyrage
import pytest

from fxsftp.client import Keyring, open_file
from fxsftp.domain.ids import new_code
from fxsftp.errors import (
    AlreadyThere,
    BadIdentity,
    CannotOpen,
    CantRead,
    Forged,
    FxError,
    MistypedCode,
    NotAge,
    WrongCode,
)
from fxsftp.seal import CodeLock, code_identity, header_for, seal_small, seal_stream
from tests.age_tool import age_encrypt

CONTENT = b"a;b;c\n" * 30_000  # three chunks


def _key(path: Path, *kind: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", *kind, "-f", path, "-C", "ann"], check=True)
    return path


def _put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _nothing_but(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_what_age_sealed_with_a_passphrase_opens(tmp_path):
    """Debian's `age -p`, its passphrase typed on a terminal."""
    plain = _put(tmp_path / "plain", CONTENT)
    age_encrypt(plain, tmp_path / "report.csv.age", passphrase="able baker charlie")
    opened = open_file(tmp_path / "report.csv.age", code="able baker charlie")
    assert opened == tmp_path / "report.csv"
    assert opened.read_bytes() == CONTENT
    assert opened.stat().st_mode & 0o777 == 0o600


def test_what_pyrage_sealed_with_a_passphrase_opens(tmp_path):
    """Another age program, which takes as much scrypt as this machine does in a second."""
    sealed = _put(tmp_path / "a.age", pyrage.passphrase.encrypt(CONTENT, "able baker"))
    assert open_file(sealed, code="able baker").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", [("ed25519", "-N", ""), ("rsa", "-b", "2048", "-N", "")], ids=["ed25519", "rsa"])
def test_what_age_sealed_to_an_ssh_key_opens(tmp_path, kind):
    key, sealed = _key(tmp_path / "id", *kind), tmp_path / "a.age"
    age_encrypt(_put(tmp_path / "plain", CONTENT), sealed, recipients=[Path(f"{key}.pub").read_text().strip()])
    assert open_file(sealed, key_files=[key]).read_bytes() == CONTENT


def test_an_ssh_key_with_a_passphrase_asks_for_it(tmp_path):
    key, sealed = _key(tmp_path / "id", "ed25519", "-N", "secret"), tmp_path / "a.age"
    age_encrypt(_put(tmp_path / "plain", CONTENT), sealed, recipients=[Path(f"{key}.pub").read_text().strip()])
    with pytest.raises(BadIdentity, match="passphrase"):
        open_file(sealed, key_files=[key])
    assert open_file(sealed, key_files=[key], passphrase_for=lambda _path: "secret").read_bytes() == CONTENT


def test_what_age_sealed_to_an_identity_opens(tmp_path):
    """A file as age-keygen writes it, comments and all, with two keys in it."""
    keys, sealed = tmp_path / "keys.txt", tmp_path / "a.age"
    mine, other = (pyrage.x25519.Identity.generate() for _ in range(2))
    keys.write_text(f"# created: today\n{other}\n{mine}\n")
    age_encrypt(_put(tmp_path / "plain", CONTENT), sealed, recipients=[str(mine.to_public())])
    assert open_file(sealed, key_files=[keys]).read_bytes() == CONTENT


def test_a_code_opens_by_way_of_key_age(tmp_path):
    """KEY.age beside the files, made and used by the real age: one code opens them all, subfolders too."""
    code, identity, shipment = new_code(), pyrage.x25519.Identity.generate(), tmp_path / "shipment"
    plain = _put(tmp_path / "plain", CONTENT)
    (shipment / "sub").mkdir(parents=True)
    age_encrypt(_put(tmp_path / "identity", f"{identity}\n".encode()), shipment / "KEY.age", passphrase=code)
    for name in ("a.age", "sub/b.age"):
        age_encrypt(plain, shipment / name, recipients=[str(identity.to_public())])
    keyring = Keyring(code)
    assert keyring.open(shipment / "a.age").read_bytes() == CONTENT
    assert keyring.open(shipment / "sub" / "b.age").read_bytes() == CONTENT
    with pytest.raises(WrongCode):
        open_file(_put(shipment / "c.age", (shipment / "a.age").read_bytes()), code=new_code())


def test_key_age_is_found_no_further_than_its_shipment(tmp_path):
    """A KEY.age above the folder of a shipment is another's."""
    code = new_code()
    identity, key_age = code_identity(code)
    _put(tmp_path / "KEY.age", key_age)
    _put(tmp_path / "shipment" / "SHIPMENT.txt", b"")
    sealed = _put(tmp_path / "shipment" / "a.age", seal_small(CONTENT, identity.lock))
    with pytest.raises(WrongCode):
        open_file(sealed, code=code)
    assert open_file(sealed, code=code, key_files=[tmp_path / "KEY.age"]).read_bytes() == CONTENT


@pytest.mark.parametrize("typed", [str.upper, lambda code: code.replace("-", ""), lambda code: f" {code} "])
def test_a_code_may_be_typed_as_people_type(tmp_path, typed):
    code = new_code()
    sealed = _put(tmp_path / "a.age", seal_small(b"x", CodeLock(code)))
    assert open_file(sealed, code=typed(code)).read_bytes() == b"x"


def test_a_mistyped_code_costs_no_scrypt(tmp_path):
    """The check letter finds the slip before the file is even looked at."""
    code = new_code()
    wrong = ("1" if code[0] == "0" else "0") + code[1:]
    with pytest.raises(MistypedCode):
        open_file(tmp_path / "not even there.age", code=wrong)


def test_a_wrong_code_opens_nothing(tmp_path):
    sealed = _put(tmp_path / "a.age", seal_small(CONTENT, CodeLock(new_code())))
    with pytest.raises(WrongCode):
        open_file(sealed, code=new_code())
    assert _nothing_but(tmp_path, "a.age")


def test_a_key_that_is_not_for_it_opens_nothing(tmp_path):
    key = _key(tmp_path / "id", "ed25519", "-N", "")
    sealed = _put(tmp_path / "in" / "a.age", seal_small(CONTENT, CodeLock(new_code())))
    with pytest.raises(CannotOpen):
        open_file(sealed, key_files=[key])
    with pytest.raises(CannotOpen, match="Give its code"):
        open_file(sealed)
    assert _nothing_but(tmp_path / "in", "a.age")


@pytest.mark.parametrize(
    "forge",
    [
        lambda sealed: sealed[:-1],
        lambda sealed: sealed + b"x",
        lambda sealed: sealed[:-70_000],
        lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]),
        lambda sealed: sealed.replace(b"--- ", b"--- A", 1)[:300],
        lambda sealed: sealed[:200] + b"\0" + sealed[201:],
    ],
    ids=["cut short", "longer", "a chunk less", "a bit in the last chunk", "the header", "the first chunk"],
)
def test_a_forged_file_leaves_nothing(tmp_path, forge):
    """Not a byte stays, however much of it had proved true before."""
    code = new_code()
    sealed = _put(tmp_path / "a.age", forge(seal_small(CONTENT, CodeLock(code))))
    with pytest.raises((Forged, NotAge)):
        open_file(sealed, code=code)
    assert _nothing_but(tmp_path, "a.age")


def test_what_is_there_is_not_overwritten(tmp_path):
    code = new_code()
    sealed = _put(tmp_path / "a.age", seal_small(CONTENT, CodeLock(code)))
    _put(tmp_path / "a", b"mine")
    with pytest.raises(AlreadyThere):
        open_file(sealed, code=code)
    assert (tmp_path / "a").read_bytes() == b"mine"
    assert open_file(sealed, code=code, into=tmp_path / "out") == tmp_path / "out" / "a"


def test_the_time_of_the_file_stays(tmp_path):
    code = new_code()
    sealed = _put(tmp_path / "a.age", seal_small(b"", CodeLock(code)))
    os.utime(sealed, (1_600_000_000, 1_600_000_000))
    assert open_file(sealed, code=code).stat().st_mtime == 1_600_000_000


def test_a_large_file_needs_little_memory(tmp_path):
    """64 MB pass through; what Python holds at any time stays under 2 MB."""
    import tracemalloc

    code, size = new_code(), 64 << 20
    with (tmp_path / "a.age").open("wb") as sink:
        seal_stream(_Zeros(size), sink, CodeLock(code))
    tracemalloc.start()
    opened = open_file(tmp_path / "a.age", code=code)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert opened.stat().st_size == size
    assert peak < 2 << 20


class _Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, count: int = -1) -> bytes:
        count = min(count, self._left)
        self._left -= count
        return bytes(count)


@pytest.mark.parametrize("content", [b"", b"plain text\n", b"age-encryption.org/v1\n", b"\0" * 1000], ids=repr)
def test_what_is_no_age_file_is_said(tmp_path, content):
    with pytest.raises(NotAge):
        open_file(_put(tmp_path / "a.age", content), code="x")


def test_what_can_not_be_read_is_said(tmp_path):
    _put(tmp_path / "id", b"nonsense")
    sealed = _put(tmp_path / "a.age", header_for(b"k" * 16, CodeLock("x")))
    for path, keys, kind in (
        (tmp_path / "none.age", [], CantRead),
        (tmp_path, [], FxError),
        (sealed, [tmp_path / "none"], CantRead),
        (sealed, [tmp_path / "id"], BadIdentity),
        (sealed, [tmp_path], FxError),
    ):
        with pytest.raises(kind):
            open_file(path, key_files=keys, code="x")
