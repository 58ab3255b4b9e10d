"""The supervisor's rules, with children that are one line of a shell: the walks have the real ones."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from fxsftp import supervisor
from fxsftp.supervisor import Child, Shared, Supervisor, hold_port

SHARED = Shared(bytes(range(32)), 12.5, 3, 2222)


def serve(
    *scripts: str, until: Path | Callable[[], bool] | None = None, look: float = 1, silent: int = 30
) -> tuple[int, list[str]]:
    """Supervise these, until they end or a file is there; answers the status, and `ready` if they all were."""
    said: list[str] = []
    children = [Child(f"child {number}", ["sh", "-c", script]) for number, script in enumerate(scripts)]
    is_over = until.exists if isinstance(until, Path) else until or (lambda: False)

    async def run() -> int:
        above = Supervisor(
            children, SHARED, drain=5, ready=lambda: said.append("ready"), look=look, silent=silent
        )  # fmt: skip
        supervising = asyncio.create_task(above.run())
        end = time.monotonic() + 30
        while not supervising.done():
            assert time.monotonic() < end
            if is_over():
                above._stop.set()
            await asyncio.sleep(0.01)
        return await supervising

    return asyncio.run(run()), said


def test_what_is_shared_is_told_to_each_child_as_it_is(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    status, said = serve(f'read line; echo "$line" >{heard}.new; mv {heard}.new {heard}; sleep 60', until=heard)
    assert Shared.heard(heard.read_bytes()) == SHARED
    assert (status, said) == (0, [])


@pytest.mark.parametrize("status", [1, 2])
def test_one_that_can_not_begin_ends_all_with_its_status(status: int) -> None:
    assert serve("sleep 60", f"exit {status}") == (status, [])


def test_one_that_has_begun_is_replaced_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it ended with; and all are ready once."""
    monkeypatch.setattr(supervisor, "RESTART", 0.01)
    starts, stays = tmp_path / "starts", tmp_path / "stays"
    often = (
        f"printf + >&0; echo x >>{starts}; test $(wc -l <{starts}) -lt 3 && exit 1; touch {tmp_path}/third; sleep 60"
    )
    status, said = serve(f"printf + >&0; echo x >>{stays}; sleep 60", often, until=tmp_path / "third")
    assert (status, said) == (0, ["ready"])
    assert stays.read_text() == "x\n"


# ---- who hangs ---------------------------------------------------------------------------------------

LOOK, SILENT = 0.05, 30  # less, and who lives would not always be heard where many tests run at once
LIVES = "while :; do printf . >&0; sleep 0.02; done"


def test_one_that_hangs_is_killed_and_replaced_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be stopped, so that no other signal would be heard."""
    monkeypatch.setattr(supervisor, "RESTART", 0.01)
    starts, stays = tmp_path / "starts", tmp_path / "stays"
    hangs = f"printf + >&0; echo x >>{starts}; test $(wc -l <{starts}) -lt 2 && kill -STOP $$; {LIVES}"

    def is_over() -> bool:
        return starts.exists() and starts.read_text() == "x\nx\n"

    status, said = serve(f"printf + >&0; echo x >>{stays}; {LIVES}", hangs, until=is_over, look=LOOK, silent=SILENT)

    assert (status, said) == (0, ["ready"])
    assert stays.read_text() == "x\n"
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors[0] == "child 1 has said nothing for 2 s: it hangs, and is killed"
    assert errors[1].startswith("child 1 ended with status -9")
    assert len(errors) == 2


def test_who_begins_may_take_as_long_as_it_takes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A migration has no end that could be known."""
    over = tmp_path / "over"
    status, said = serve(f"sleep {1.5 * LOOK * SILENT}; printf + >&0; touch {over}; {LIVES}", until=over, look=LOOK,
                         silent=SILENT)  # fmt: skip
    assert (status, said, caplog.text) == (0, ["ready"], "")


def test_nobody_hangs_while_the_supervisor_is_away_with_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As when the machine sleeps, or stands still to be moved: after it all speak again in a moment."""
    pid = tmp_path / "pid"
    done: list[float] = []

    def away_once() -> bool:
        if not done and pid.exists() and pid.read_text().endswith("\n"):
            child = int(pid.read_text())
            os.kill(child, signal.SIGSTOP)
            time.sleep(1.5 * LOOK * SILENT)  # the very thing: this process does nothing
            os.kill(child, signal.SIGCONT)
            done.append(time.monotonic())
        return bool(done) and time.monotonic() - done[0] > LOOK * SILENT

    status, _ = serve(f"printf + >&0; echo $$ >{pid}; {LIVES}", until=away_once, look=LOOK, silent=SILENT)
    assert (status, caplog.text) == (0, "")


def test_who_waits_for_the_disk_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Killing would not even be heard before the disk is there again.  A program waits in the same way, as it starts
    another that opens a pipe before anything else, until somebody writes to that."""
    pipe, over = tmp_path / "pipe", tmp_path / "over"
    os.mkfifo(pipe)
    waits = (
        f"import os; os.posix_spawn('/bin/true', ['true'], {{}}, "
        f"file_actions=[(os.POSIX_SPAWN_OPEN, 0, {str(pipe)!r}, os.O_RDONLY, 0)]); open({str(over)!r}, 'w')"
    )

    def is_over() -> bool:
        if caplog.text.count("waits for the disk and does nothing else") == 2:
            with suppress(OSError):  # it is through
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return over.exists()

    status, _ = serve(
        f'printf + >&0; exec {sys.executable} -c "{waits}; os.execlp(\'sleep\', \'sleep\', \'60\')"',
        until=is_over, look=LOOK, silent=20,
    )  # fmt: skip
    assert (status, "killed" in caplog.text) == (0, False)


# ---- the port ----------------------------------------------------------------------------------------


def listening(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


def close(held: Sequence[socket.socket]) -> None:
    for each in held:
        each.close()


def test_workers_share_a_port_that_is_held_and_get_all_that_comes_there() -> None:
    held, port = hold_port("127.0.0.1", 0)
    with listening(port) as one, listening(port) as other:
        for each in (one, other):
            each.setblocking(False)
        lines = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(20)]
        assert accepted(one) + accepted(other) == 20
        close(lines)
    close(held)


def accepted(sock: socket.socket) -> int:
    count = 0
    while True:
        try:
            sock.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_a_port_at_which_somebody_listens_is_not_held_even_if_they_would_share_it() -> None:
    with listening(0) as other, pytest.raises(OSError, match=f"port {other.getsockname()[1]} can't be listened on"):
        hold_port("127.0.0.1", other.getsockname()[1])


def test_all_addresses_are_held_on_one_port() -> None:
    held, port = hold_port("", 0)
    assert {each.getsockname()[1] for each in held} == {port}
    with socket.socket() as other, pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        other.bind(("0.0.0.0", port))
    close(held)
