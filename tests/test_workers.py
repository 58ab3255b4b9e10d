"""Who is alive is told by the kernel: by nothing that a clock, a restart or a full disk could change."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from fxsftp.workers import Marks, Turn, Workers, name_of

HOLD = """
import sys
from pathlib import Path
from fxsftp.workers import Turn, Workers
workers = Workers(Path(sys.argv[1]))
workers.begin()
Turn(Path(sys.argv[1]) / "turn").take()
print(workers.name, flush=True)
sys.stdin.read()
"""


@contextmanager
def another(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves, and has the turn if nobody else does."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_process_is_there_until_it_is_killed(tmp_path: Path) -> None:
    """Also while it is stopped: it may go on."""
    workers = Workers(tmp_path / "workers")
    with another(tmp_path / "workers") as (process, name):
        assert workers.is_there(name)
        process.send_signal(signal.SIGSTOP)
        assert workers.is_there(name)
        assert list(workers.dead()) == []

        process.kill()
        process.wait()

        assert not workers.is_there(name)
        assert list(workers.dead()) == [name]
        workers.forget(name)
        assert list(workers.dead()) == []


def test_any_number_may_look_at_once_and_each_sees_the_same(tmp_path: Path) -> None:
    """A look is no lock that others could take for life."""
    one, other = Workers(tmp_path), Workers(tmp_path)
    one.begin()
    assert other.is_there(one.name)
    one.end()
    assert [other.is_there(one.name) for _ in range(3)] == [False] * 3
    assert one.is_there(one.name)  # of itself nobody asks what others think


@pytest.mark.parametrize("signed", ["", "0123456789abcdef", "portal 0123456789abcdef", "../../etc/passwd x", "x"])
def test_what_no_living_process_has_signed_is_nobodys(tmp_path: Path, signed: str) -> None:
    """As names of an earlier version are."""
    workers = Workers(tmp_path)
    workers.begin()
    assert not workers.is_there(name_of(signed))
    assert not workers.is_mine(signed)
    assert workers.is_mine(workers.signed("a session"))
    workers.end()


def test_a_look_at_what_others_have_marked_counts_not_one_s_own_and_is_in_nobody_s_way(tmp_path: Path) -> None:
    one, other = Marks(tmp_path / "run" / "hands"), Marks(tmp_path / "run" / "hands")
    assert not other.is_elsewhere(7)
    assert one.mark(7)
    assert other.mark(8)

    assert (one.is_elsewhere(7), other.is_elsewhere(7)) == (False, True)
    assert (one.is_elsewhere(8), other.is_elsewhere(8)) == (True, False)
    assert other.mark(7)
    one.unmark(7)
    assert (one.is_elsewhere(7), other.is_elsewhere(7)) == (True, False)
    other.end()
    assert not one.is_elsewhere(7)
    one.end()


def test_the_turn_is_one_process_s_until_it_dies_or_lets_go(tmp_path: Path) -> None:
    turn, next_turn = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
    with another(tmp_path) as (process, _):
        assert not turn.take()
        process.kill()
        process.wait()
        assert turn.take()
        assert turn.take()
        assert not next_turn.take()
    turn.let_go()
    assert next_turn.take()
    next_turn.let_go()


def test_who_waits_for_a_mark_goes_on_when_it_is_gone(tmp_path: Path) -> None:
    one, other = Marks(tmp_path / "run" / "marks"), Marks(tmp_path / "run" / "marks")
    other.wait([7], 60)  # nobody ever marked anything
    assert one.mark(7)
    assert other.mark(7)  # any number may
    waiting = Thread(target=other.wait, args=([6, 7], 60))
    waiting.start()
    one.unmark(7)
    assert waiting.is_alive()
    other.unmark(7)
    waiting.join(20)
    assert not waiting.is_alive()
    one.end()
    other.end()


def test_a_mark_that_stays_is_not_waited_for_without_end(tmp_path: Path) -> None:
    one, other = Marks(tmp_path / "marks"), Marks(tmp_path / "marks")
    one.mark(7)
    began = time.monotonic()
    other.wait([7], 0.01)
    assert time.monotonic() - began >= 0.01
    one.end()
