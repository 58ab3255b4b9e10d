"""What cron does every night, with the real programs, three nights in a row.

What is new is sent or fetched, exactly once, and nothing else; whatever the job leaves behind or takes away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house import KARI
from tests.walks.clients.client import Client
from tests.walks.clients.party import RENDERED, TO_KARI, Party, of
from tests.walks.clients.stock import Lftp, Rclone, RcloneOfDebian, RcloneOfToday, Sftp
from tests.walks.guests import Ran, quoted

TARGET = f"{TO_KARI}/Ref 1"
BOTH = pytest.mark.parametrize("program", [RcloneOfDebian, RcloneOfToday], ids=["debian", "today"])


def three_nights(party: Party, ann: Client, job: Callable[[Path], Ran]) -> Path:
    """Two files; the same again; then a new one and one that has changed.  Answers the folder that they are in."""
    folder = ann.file(b"a", "out/a.csv").parent
    ann.file(b"b", "out/under/b.csv")
    expected = [("Ref 1", of({"a.csv": b"a", "under/b.csv": b"b"}))]

    for news in ({}, {}, {"c.csv": b"c", "a.csv": b"another a"}):
        for name, data in news.items():
            ann.file(data, f"out/{name}")
        expected += [("Ref 1", of(news))] if news else []
        ran = job(folder)
        assert ran.status == 0, ran.said
        party.house.settle()
        party.house.settle()
        assert party.arrived() == expected
    return folder


# ---- sending


@BOTH
def test_rclone_copy_sends_what_is_new(party: Party, program: type[Rclone]) -> None:
    """By size and time, which stay true on the exchange after the files have left."""
    ann = party.ann(program)

    folder = three_nights(party, ann, lambda source: ann.run("copy", str(source), f"exchange:{TARGET}"))

    assert sorted(path.name for path in folder.rglob("*.csv")) == ["a.csv", "b.csv", "c.csv"]


@BOTH
def test_rclone_move_sends_everything_and_leaves_nothing(party: Party, program: type[Rclone]) -> None:
    """It takes away what it has sent."""
    ann = party.ann(program)

    folder = three_nights(party, ann, lambda source: ann.run("move", str(source), f"exchange:{TARGET}"))

    assert list(folder.rglob("*.csv")) == []


@pytest.mark.parametrize("options", ["", "set xfer:use-temp-file yes; set xfer:temp-file-name .in.*"], ids=["", ".in."])
def test_lftp_mirror_sends_what_is_new(party: Party, options: str) -> None:
    """Under final names from the start, and under temporary ones."""
    ann = party.ann(Lftp)

    folder = three_nights(party, ann, lambda source: ann.run(options, f"mirror -R {source} {quoted(TARGET)}"))

    assert sorted(path.name for path in folder.rglob("*.csv")) == ["a.csv", "b.csv", "c.csv"]


def test_lftp_mirror_that_removes_sends_everything_and_leaves_nothing(party: Party) -> None:
    """`--Remove-source-files`."""
    ann = party.ann(Lftp)
    remove = "mirror -R --Remove-source-files"

    folder = three_nights(party, ann, lambda source: ann.run(f"{remove} {source} {quoted(TARGET)}"))

    assert list(folder.rglob("*.csv")) == []


def test_sftp_put_and_rename_sends_once_each_night(party: Party) -> None:
    """Over the name of the night before, which stays in sight."""
    ann, nights = party.ann(Sftp), [b"first", b"second", b"third"]

    for night in nights:
        local = ann.file(night, "data.csv")
        put = f"put {local} {quoted(TARGET + '/data.csv.part')}"
        ran = ann.sftp(put, f"rename {quoted(TARGET + '/data.csv.part')} {quoted(TARGET + '/data.csv')}")
        assert ran.status == 0, ran.said
        party.house.settle()
        party.house.settle()

    assert party.arrived() == [("Ref 1", of({"data.csv": night})) for night in nights]


def test_put_and_a_done_file_sends_both_together_each_night(party: Party) -> None:
    """As loose files too, which leave together when they are ready together."""
    ann, nights = party.ann(Sftp), [b"first", b"second", b"third"]
    done = ann.file(b"", "done")

    for night in nights:
        local = ann.file(night, "data.csv")
        for target in (TARGET, TO_KARI):
            ran = ann.sftp(
                f"put {local} {quoted(target + '/data.csv')}", f"put {done} {quoted(target + '/data.csv.done')}"
            )
            assert ran.status == 0, ran.said
        party.house.settle()
        party.house.settle()

    expected = [of({"data.csv": night, "data.csv.done": b""}) for night in nights]
    assert [files for subject, files in party.arrived() if subject] == expected
    assert [files for subject, files in party.arrived() if not subject] == expected


# ---- receiving


def three_mornings(party: Party, kari: Client, job: Callable[[], Ran]) -> None:
    """Two shipments; none; one more.  After each, everything that was sent is here, and told as collected once."""
    expected: dict[str, bytes] = {}
    for number, news in enumerate(({"Ref 1": "a.csv", "Ref 2": "under/b.csv"}, {}, {"Ref 3": "c.csv"})):
        for subject, name in news.items():
            expected[name] = f"{subject} of morning {number}\n".encode() * 10_000
            party.sent(subject, {name: expected[name]})
        ran = job()
        assert ran.status == 0, ran.said
        party.everyone_left()
        here = {path.name: path.read_bytes() for path in (kari.home / "in").rglob("*.csv")}
        assert here == {name.rpartition("/")[2]: data for name, data in expected.items()}
        told = Counter(notice.kind for notice in party.house.exchange.notices.list())
        assert (told["collected"], told["removed_unread"]) == (len(expected), 0)


def test_sftp_mget_rm_rmdir_empties_the_inbox(party: Party) -> None:
    """All files of all folders, the rendered ones included, and then the folders."""
    kari = party.kari(Sftp)

    def job() -> Ran:
        ran = kari.sftp("ls")
        for folder in kari.ls("inbox"):
            into = kari.file(b"", f"in/{folder}/.here").parent
            below = [name for name in kari.ls(f"inbox/{folder}") if name == "under"]
            lines = [f"lcd {into}", f"cd inbox/{folder}"]
            lines += [f"{verb} {name}" for name in below for verb in ("get -r", "cd")]
            lines += [line for name in below for line in ("rm *", "cd ..", f"rmdir {name}")]
            ran = kari.sftp(*lines, "mget *", "rm *", "cd ..", f"rmdir {folder}")
            assert ran.status == 0, ran.said
        return ran

    three_mornings(party, kari, job)

    assert kari.names("inbox") == []


@BOTH
def test_rclone_move_empties_the_inbox(party: Party, program: type[Rclone]) -> None:
    """With the empty folders."""
    kari = party.kari(program)

    def job() -> Ran:
        return kari.run("move", "exchange:inbox", str(kari.home / "in"), "--delete-empty-src-dirs")

    three_mornings(party, kari, job)

    assert party.house.inbox(party.users[KARI]) == []


def test_lftp_mirror_fetches_what_is_new(party: Party) -> None:
    """What is here already is not read again, the rendered files included."""
    kari, transfers = party.kari(Lftp), []

    def job() -> Ran:
        ran = kari.run(f"mirror -v inbox {kari.home / 'in'}")
        transfers.append(ran.said.count("Transferring file"))
        return ran

    three_mornings(party, kari, job)

    each = 1 + len(RENDERED)
    assert transfers == [2 * each, 0, each]
    assert len(party.house.inbox(party.users[KARI])) == 3
