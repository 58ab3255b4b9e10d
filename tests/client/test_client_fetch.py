"""Fetching: what stands here afterwards, whatever the line or the server did."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pyrage
import pytest

from fxsftp.domain.ids import new_code
from fxsftp.errors import (
    Forged,
    LineBroken,
    Missing,
    ShipmentUnknown,
    SumMismatch,
    UnsafeName,
    WrongCode,
)
from fxsftp.seal import CodeLock, seal_small

MB = 1 << 20
ONE, TWO = "2026-11-22_7k3f-q2mp_Ref-23-4567", "2026-11-23_0000-0000_Other"


def _shipment(foreign, files: dict[str, bytes], name: str = ONE) -> Path:
    """A shipment in the inbox, as an exchange renders it."""
    folder = foreign.root / "inbox" / name
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        os.utime(folder / path, (1_600_000_000, 1_600_000_000))
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in files.items())
    (folder / "SHA256SUMS").write_text(sums)
    (folder / "SHIPMENT.txt").write_text("from: kari@ssb.example\n")
    return folder


def _here(into: Path) -> dict[str, bytes]:
    return {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def test_a_shipment_becomes_a_folder(foreign, call, tmp_path):
    """Everything in it is here, subfolders kept, times kept, for the owner's eyes only."""
    files = {"report.csv.age": os.urandom(100_000), "sub/æøå.csv.age": b"", "a b.txt": b"x"}
    folder, into = _shipment(foreign, files), tmp_path / "in"
    with call() as exchange:
        (fetched,) = exchange.fetch(into)
    assert _here(into / ONE) == _here(folder)
    assert fetched.shipment == "7k3f-q2mp"
    assert fetched.problem is None
    assert {str(path.relative_to(into / ONE)) for path in fetched.files} == set(files)
    report = (into / ONE / "report.csv.age").stat()
    assert (report.st_mtime, report.st_mode & 0o777) == (1_600_000_000, 0o600)


def test_the_second_run_fetches_nothing(foreign, call, tmp_path):
    """What is here and right is not asked for again, and is no news."""
    _shipment(foreign, {"a": b"1", "b": b"2"})
    with call() as exchange:
        exchange.fetch(tmp_path / "in")
        foreign.calls.clear()
        (fetched,) = exchange.fetch(tmp_path / "in")
    assert not fetched.is_new
    assert foreign.calls == [f"open /inbox/{ONE}/SHA256SUMS"]


def test_what_was_lost_here_is_fetched_again(foreign, call, tmp_path):
    """A file removed here comes again; the others do not."""
    _shipment(foreign, {"a": b"1", "b": b"2"})
    with call() as exchange:
        exchange.fetch(tmp_path / "in")
        (tmp_path / "in" / ONE / "a").unlink()
        (fetched,) = exchange.fetch(tmp_path / "in")
    assert [path.name for path in fetched.files] == ["a"]


@pytest.mark.parametrize("cuts", [(3 * MB,), (100_000, 2 * MB, 2 * MB), (5 * MB + 20_000,)])
def test_a_broken_line_is_taken_up(foreign, call, cut, tmp_path, cuts):
    """Wherever the line is cut, and however often, the bytes come out the same."""
    content, line = os.urandom(5 * MB + 12_345), cut(*cuts)
    _shipment(foreign, {"big.age": content})
    with call(line.port) as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in")
    assert fetched.problem is None
    assert (tmp_path / "in" / ONE / "big.age").read_bytes() == content
    assert line.connections == len(cuts) + 1


def test_a_run_takes_up_what_an_earlier_one_began(foreign, call, cut, tmp_path):
    """What a killed run has left is continued: two lines of 4 MB each are enough for 5 MB."""
    content = os.urandom(5 * MB)
    _shipment(foreign, {"big.age": content})
    with call(cut(4 * MB).port, patience=()) as exchange:
        (broken,) = exchange.fetch(tmp_path / "in")
    assert isinstance(broken.problem, LineBroken)
    assert "big.age" not in [path.name for path in (tmp_path / "in" / ONE).iterdir()]
    with call(cut(4 * MB).port, patience=()) as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in")
    assert fetched.problem is None
    assert (tmp_path / "in" / ONE / "big.age").read_bytes() == content


def test_what_had_come_before_the_line_was_lost_is_told(foreign, call, cut, tmp_path):
    """The first shipment is whole and said to be, the second has the problem, the third is not tried."""
    for name, size in ((ONE, 10), (TWO, 5 * MB), ("3", 10)):
        _shipment(foreign, {"a": os.urandom(size)}, name)
    with call(cut(2 * MB).port, patience=()) as exchange:
        whole, broken = exchange.fetch(tmp_path / "in")
    assert (whole.name, whole.problem, whole.is_new) == (ONE, None, True)
    assert (broken.name, type(broken.problem)) == (TWO, LineBroken)


def test_a_beginning_of_something_else_is_thrown_away(foreign, call, tmp_path):
    """What an earlier run left of another version costs a second try and not the file."""
    _shipment(foreign, {"a": b"right"})
    unfinished = tmp_path / "in" / ONE / f".{hashlib.sha256(b'a').hexdigest()[:16]}.part"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"wro")
    with call() as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in")
    assert fetched.problem is None
    assert (tmp_path / "in" / ONE / "a").read_bytes() == b"right"
    assert not unfinished.exists()


def test_a_wrong_sum_keeps_the_file_out(foreign, call, tmp_path):
    """A file that is not what SHA256SUMS says never gets its name; other shipments come all the same."""
    (_shipment(foreign, {"a": b"right"}) / "a").write_bytes(b"wrong")
    _shipment(foreign, {"b": b"good"}, TWO)
    with call() as exchange:
        bad, good = exchange.fetch(tmp_path / "in", remove=True)
    assert isinstance(bad.problem, SumMismatch)
    assert not bad.is_removed
    assert [path.name for path in (tmp_path / "in" / ONE).iterdir()] == ["SHIPMENT.txt"]
    assert (tmp_path / "in" / TWO / "b").read_bytes() == b"good"
    assert good.is_removed
    assert [path.name for path in (foreign.root / "inbox").iterdir()] == [ONE]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "SHA256SUMS").unlink(),
        lambda folder: (folder / "SHA256SUMS").write_text(""),
        lambda folder: (folder / "a").unlink(),
    ],
    ids=["no sums", "no line for it", "no file for a line"],
)
def test_what_has_no_sum_or_no_file_is_a_problem(foreign, call, tmp_path, spoil):
    spoil(_shipment(foreign, {"a": b"1", "b": b"2"}))
    with call() as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in")
    assert isinstance(fetched.problem, SumMismatch)
    assert not (tmp_path / "in" / ONE / "SHA256SUMS").exists()


@pytest.mark.parametrize(
    "name",
    [
        b"../escaped",
        b"/etc/escaped",
        b"a/b",
        b"..\\escaped",
        b"bell\x07",
        b"line\nbreak",
        b"nul\0",
        b"latin-\xe6",
        b"CON",
        b"com1.txt",
        b"HONEST.txt",
        "\u202egpj.exe".encode(),
        b"." + b"0" * 16 + b".part",
        b"x" * 256,
        b"",
    ],
    ids=repr,
)
def test_a_name_that_could_hurt_is_refused_with_its_shipment(foreign, call, tmp_path, name):
    """A server that offers such a name gets nothing written, neither there nor anywhere else."""
    _shipment(foreign, {"honest.txt": b"1"})
    foreign.names = lambda path, names: [*names, name] if ONE.encode() in path else names
    before = _here(tmp_path)
    with call() as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in" / "deep")
    assert isinstance(fetched.problem, UnsafeName)
    assert _here(tmp_path).keys() - before.keys() <= {"known_hosts"}


def test_a_folder_that_could_hurt_is_refused_and_the_others_come(foreign, call, tmp_path):
    _shipment(foreign, {"a": b"1"})
    foreign.names = lambda path, names: [*names, b"../../\x1b[2Jescaped"] if path.endswith(b"/inbox") else names
    with call() as exchange:
        bad, good = exchange.fetch(tmp_path / "in" / "deep")
    assert isinstance(bad.problem, UnsafeName)
    assert bad.name == "../../?[2Jescaped"
    assert good.problem is None
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["deep"]


def test_a_link_in_the_inbox_is_not_followed(foreign, call, tmp_path):
    """What is neither file nor folder is refused."""
    folder = _shipment(foreign, {"a": b"1"})
    (folder / "link").symlink_to("a")
    with call() as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in")
    assert isinstance(fetched.problem, UnsafeName)


def test_only_the_shipment_that_was_named(foreign, call, tmp_path):
    """By id or by folder; one that is not there is said."""
    _shipment(foreign, {"a": b"1"})
    _shipment(foreign, {"b": b"2"}, TWO)
    with call() as exchange:
        assert [one.name for one in exchange.fetch(tmp_path / "in", shipments=["0000-0000"])] == [TWO]
        assert [one.name for one in exchange.fetch(tmp_path / "in", shipments=[ONE])] == [ONE]
        with pytest.raises(ShipmentUnknown):
            exchange.fetch(tmp_path / "in", shipments=["zzzz-zzzz"])


def test_removing_takes_out_what_is_here_and_right(foreign, call, tmp_path):
    """Folders and all; the copy here stays."""
    _shipment(foreign, {"a": b"1", "sub/deep/b": b"2"})
    with call() as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in", remove=True)
        assert exchange.fetch(tmp_path / "in") == []
    assert fetched.is_removed
    assert list((foreign.root / "inbox").iterdir()) == []
    assert (tmp_path / "in" / ONE / "sub/deep/b").read_bytes() == b"2"


def test_a_code_opens_on_the_way(foreign, call, tmp_path):
    """code_for is asked once per shipment, by its id; a second run does not ask again."""
    code, asked = new_code(), []
    sealed = {f"{name}.age": seal_small(name.encode(), CodeLock(code)) for name in ("a", "b")}
    _shipment(foreign, sealed)

    def code_for(shipment: str) -> str:
        asked.append(shipment)
        return code.upper().replace("-", " ")

    with call() as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in", code_for=code_for)
        exchange.fetch(tmp_path / "in", code_for=code_for)
    assert {path.name: path.read_bytes() for path in fetched.opened} == {"a": b"a", "b": b"b"}
    assert asked == ["7k3f-q2mp"]


def test_a_key_opens_on_the_way(foreign, call, key_file, tmp_path):
    """What is sealed to the partner's own SSH key needs no code."""
    recipient = pyrage.ssh.Recipient.from_str(foreign.user_key.export_public_key().decode())
    _shipment(foreign, {"a.age": pyrage.encrypt(b"for ann", [recipient])})
    with call() as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in", open_with=[key_file])
    assert [path.read_bytes() for path in fetched.opened] == [b"for ann"]


def test_a_wrong_code_leaves_the_shipment_here_and_there(foreign, call, tmp_path):
    """Fetched and right, but not opened and so not removed."""
    _shipment(foreign, {"a.age": seal_small(b"a", CodeLock(new_code()))})
    with call() as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in", code_for=lambda _shipment: new_code(), remove=True)
    assert isinstance(fetched.problem, WrongCode)
    assert (tmp_path / "in" / ONE / "a.age").exists()
    assert (foreign.root / "inbox" / ONE).exists()


def test_a_forged_file_is_not_opened(foreign, call, tmp_path):
    """Sums prove only what the server says; the seal proves what the sender sealed."""
    code = new_code()
    sealed = bytearray(seal_small(b"a" * 200_000, CodeLock(code)))
    sealed[-1] ^= 1
    _shipment(foreign, {"a.age": bytes(sealed)})
    with call() as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in", code_for=lambda _shipment: code)
    assert isinstance(fetched.problem, Forged)
    assert sorted(path.name for path in (tmp_path / "in" / ONE).iterdir()) == ["SHA256SUMS", "SHIPMENT.txt", "a.age"]


def test_an_empty_inbox_is_no_news(call, tmp_path):
    with call() as exchange:
        assert exchange.fetch(tmp_path / "in") == []
    assert not (tmp_path / "in").exists()


def test_a_server_without_an_inbox_says_so(foreign, call, tmp_path):
    (foreign.root / "inbox").rmdir()
    with call() as exchange, pytest.raises(Missing):
        exchange.fetch(tmp_path / "in")


def test_sums_check_with_the_systems_own_tool(foreign, call, tmp_path):
    """What was fetched satisfies `sha256sum -c`."""
    _shipment(foreign, {"a": b"1", "sub/b c": b"2"})
    with call() as exchange:
        exchange.fetch(tmp_path / "in")
    check = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "in" / ONE, capture_output=True)
    assert check.returncode == 0
