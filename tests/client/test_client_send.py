"""Sending: what stands in the outbox afterwards, whatever happened to the line."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from fxsftp.errors import (
    BadAddress,
    BadName,
    CantRead,
    ChangedMeanwhile,
    LineBroken,
    NothingToSend,
    NotSentYet,
    Refused,
)

KARI = "kari@ssb.example"
MB = 1 << 20


def _file(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def test_a_reference_makes_a_folder_with_sums(foreign, call, tmp_path):
    """Files and trees go to outbox/recipient/reference, times kept, with a SHA256SUMS that is true."""
    loose, tree = _file(tmp_path / "a.csv", 70_000), tmp_path / "tree"
    deep, empty = _file(tree / "sub" / "b æøå.csv", 10), _file(tree / "empty", 0)
    with call() as exchange:
        sent = exchange.send([loose, tree], to=KARI, reference="Ref 23-4567")
    folder = foreign.root / "outbox" / KARI / "Ref 23-4567"
    assert sent.files == ("a.csv", "tree/empty", "tree/sub/b æøå.csv")
    assert sent.size == 70_010
    for local, name in ((loose, "a.csv"), (deep, "tree/sub/b æøå.csv"), (empty, "tree/empty")):
        assert (folder / name).read_bytes() == local.read_bytes()
        assert (folder / name).stat().st_mtime == 1_600_000_000
    digest = hashlib.sha256(loose.read_bytes()).hexdigest()
    assert f"{digest}  a.csv\n" in (folder / "SHA256SUMS").read_text()
    assert {path.name for path in folder.iterdir()} == {"a.csv", "tree", "SHA256SUMS"}


def test_nothing_leaves_before_the_last_file_is_there(foreign, call, tmp_path):
    """A partial name is the first thing put in the folder, and its real name comes when all else is closed."""
    with call() as exchange:
        exchange.send([_file(tmp_path / "a", 5), _file(tmp_path / "b", 5)], to=KARI, reference="R")
    folder = f"/outbox/{KARI}/R"
    assert foreign.calls == [
        f"open {folder}/SHA256SUMS.part",
        f"open {folder}/a",
        f"open {folder}/b",
        f"open {folder}/SHA256SUMS.part",
        f"rename {folder}/SHA256SUMS.part {folder}/SHA256SUMS",
    ]


def test_the_size_is_announced(foreign, call, tmp_path):
    """OPEN says how long the file will be, so that a server can tell a cut-off file from a whole one."""
    with call() as exchange:
        exchange.send([_file(tmp_path / "a.csv", 12345)], to=KARI)
    assert foreign.announced == {f"/outbox/{KARI}/a.csv": 12345}


def test_a_loose_file_has_no_company(foreign, call, tmp_path):
    """Without a reference a file lies in the recipient's folder alone."""
    with call() as exchange:
        exchange.send([_file(tmp_path / "a.csv", 5)], to=KARI)
    assert [path.name for path in (foreign.root / "outbox" / KARI).iterdir()] == ["a.csv"]


@pytest.mark.parametrize("cuts", [(3 * MB,), (100_000, 2 * MB, 2 * MB), (5 * MB + 30_000,)])
def test_a_broken_line_is_taken_up(foreign, call, cut, tmp_path, cuts):
    """Wherever the line is cut, and however often, the bytes and the sums come out the same."""
    big, line = _file(tmp_path / "big", 5 * MB + 12_345), cut(*cuts)
    with call(line.port) as exchange:
        exchange.send([big], to=KARI, reference="R")
    folder = foreign.root / "outbox" / KARI / "R"
    assert (folder / "big").read_bytes() == big.read_bytes()
    assert (folder / "SHA256SUMS").read_text() == f"{hashlib.sha256(big.read_bytes()).hexdigest()}  big\n"
    assert line.connections == len(cuts) + 1


def test_resuming_continues_and_does_not_begin_anew(foreign, call, cut, tmp_path):
    """After a cut at 3 of 5 MB, fewer than 5 MB go over the second line."""
    big, line = _file(tmp_path / "big", 5 * MB), cut(4 * MB, 3 * MB)
    with call(line.port) as exchange:
        exchange.send([big], to=KARI)
    assert (foreign.root / "outbox" / KARI / "big").read_bytes() == big.read_bytes()
    assert line.connections == 2


def test_patience_ends(foreign, call, cut, tmp_path):
    """A line that never gets a byte further is given up, as something temporary."""
    line = cut(400_000, *[2000] * 40)
    with call(line.port) as exchange, pytest.raises(LineBroken) as told:
        exchange.send([_file(tmp_path / "big", MB)], to=KARI, reference="R")
    assert told.value.temporary
    assert not (foreign.root / "outbox" / KARI / "R" / "SHA256SUMS").exists()


def test_a_refused_close_is_heard(foreign, call, tmp_path):
    """What the server says to CLOSE reaches the sender: paramiko's own client would have called this sent."""
    with call() as exchange:
        foreign.refused["close"] = "The exchange's disk is full."
        with pytest.raises(Refused, match="disk is full"):
            exchange.send([_file(tmp_path / "a.csv", 5)], to=KARI)


@pytest.mark.parametrize("what", ["open", "write"])
def test_a_refusal_is_told_in_the_servers_words(foreign, call, tmp_path, what):
    """The reason stands in the error, without what could move a terminal's cursor."""
    with call() as exchange:
        foreign.refused[what] = "You can't send \x1b[2Jto kari."
        with pytest.raises(Refused, match=r"You can't send \?\[2Jto kari"):
            exchange.send([_file(tmp_path / "a.csv", 5)], to=KARI)


def test_a_session_goes_on_after_a_refusal(foreign, call, tmp_path):
    """The next send dials again if it must."""
    with call() as exchange:
        foreign.refused["write"] = "no"
        with pytest.raises(Refused):
            exchange.send([_file(tmp_path / "a.csv", 5)], to=KARI)
        foreign.refused.clear()
        exchange.send([tmp_path / "a.csv"], to=KARI)
    assert (foreign.root / "outbox" / KARI / "a.csv").stat().st_size == 5


def test_a_file_that_grows_is_not_sent(foreign, call, tmp_path):
    """A file written to while it is sent is refused, and the folder stays unfinished."""
    path = _file(tmp_path / "log", 3 * MB)

    def write_on(_name: str, done: int, _size: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with call() as exchange, pytest.raises(ChangedMeanwhile):
        exchange.send([path], to=KARI, reference="R", progress=write_on)
    assert not (foreign.root / "outbox" / KARI / "R" / "SHA256SUMS").exists()


def test_sending_at_once_asks_the_exchange(foreign, call, tmp_path):
    """The command `send` names the folder, and its answer names the shipment."""
    foreign.answer = ("sent as 7k3f-q2mp: 1 file\n", "", 0)
    with call() as exchange:
        sent = exchange.send([_file(tmp_path / "a", 5)], to=KARI, reference="Ref 1")
    assert foreign.commands == [f"send 'outbox/{KARI}/Ref 1'"]
    assert sent.shipment == "7k3f-q2mp"


def test_waiting_for_more_does_not_ask(foreign, call, tmp_path):
    with call() as exchange:
        sent = exchange.send([_file(tmp_path / "a", 5)], to=KARI, reference="R", now_send=False)
    assert foreign.commands == []
    assert sent.shipment is None


def test_an_exchange_that_does_not_send_says_why(foreign, call, tmp_path):
    """All is there, and the reason why it does not leave is told."""
    foreign.answer = ("", "kari@ssb.example is disabled\n", 1)
    with call() as exchange, pytest.raises(NotSentYet, match="is disabled"):
        exchange.send([_file(tmp_path / "a", 5)], to=KARI, reference="R")


def test_an_exchange_that_takes_no_commands_sends_by_itself(foreign, call, tmp_path):
    """No `send` command, or no commands at all: the files are there, and nothing is wrong."""
    with call() as exchange:
        exchange.send([_file(tmp_path / "a", 5)], to=KARI, reference="unknown command")
    foreign.restart(process_factory=None)
    with call(foreign.port) as exchange:
        sent = exchange.send([tmp_path / "a"], to=KARI, reference="no commands")
        exchange.send([tmp_path / "a"], to=KARI, reference="and the line is still there")
    assert sent.shipment is None
    assert len(list((foreign.root / "outbox" / KARI).iterdir())) == 3


def test_sums_of_ones_own_are_kept(foreign, call, tmp_path):
    """Who brings a SHA256SUMS has it checked, and not replaced."""
    own = tmp_path / "SHA256SUMS"
    own.write_text(f"{'0' * 64}  a\n")
    with call() as exchange:
        exchange.send([_file(tmp_path / "a", 5), own], to=KARI, reference="R")
    assert (foreign.root / "outbox" / KARI / "R" / "SHA256SUMS").read_text() == own.read_text()


def test_sending_again_replaces(foreign, call, tmp_path):
    """The same reference twice leaves the newer files, nothing of the older in them."""
    path = _file(tmp_path / "a", 1000)
    with call() as exchange:
        exchange.send([path], to=KARI, reference="R")
        path.write_bytes(b"short")
        exchange.send([path], to=KARI, reference="R")
    folder = foreign.root / "outbox" / KARI / "R"
    assert (folder / "a").read_bytes() == b"short"
    assert hashlib.sha256(b"short").hexdigest() in (folder / "SHA256SUMS").read_text()


def test_what_a_desktop_leaves_behind_stays_at_home(foreign, call, tmp_path):
    _file(tmp_path / "tree" / ".DS_Store", 5)
    _file(tmp_path / "tree" / "a", 5)
    with call() as exchange:
        assert exchange.send([tmp_path / "tree"], to=KARI, reference="R").files == ("tree/a",)


@pytest.mark.parametrize(
    ("reference", "to", "kind"),
    [
        ("../other", KARI, BadName),
        ("..", KARI, BadName),
        ("a/b", KARI, BadName),
        (" R", KARI, BadName),
        ("", KARI, BadName),
        ("R", "../ann@firm.example", BadAddress),
        ("R", "kari", BadAddress),
    ],
)
def test_a_place_that_is_none_is_refused_before_anything_is_sent(foreign, call, tmp_path, reference, to, kind):
    with call() as exchange, pytest.raises(kind):
        exchange.send([_file(tmp_path / "a", 5)], to=to, reference=reference)
    assert foreign.calls == []


def test_what_is_no_file_is_refused_before_anything_is_sent(foreign, call, tmp_path):
    """A missing file, a pipe, an empty folder, two of one name: nothing is half sent."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    one, other = _file(tmp_path / "x" / "a", 1), _file(tmp_path / "y" / "A", 1)
    with call() as exchange:
        for paths, kind in (
            ([tmp_path / "none"], CantRead),
            ([tmp_path / "pipe"], CantRead),
            ([tmp_path / "empty"], NothingToSend),
            ([one, other], BadName),
        ):
            with pytest.raises(kind):
                exchange.send(paths, to=KARI, reference="R")
    assert foreign.calls == []
