"""The supervisor's rules, with children that are one line of a shell: the walks have the real ones."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fxsftp import supervisor
from fxsftp.supervisor import Child, Shared, Supervisor, hold_port

SHARED = Shared(bytes(range(32)), 12.5, 3, 2222)


def serve(*scripts: str, until: Path | None = None) -> tuple[int, list[str]]:
    """Supervise these, until they end or a file is there; answers the status, and `ready` if they all were."""
    said: list[str] = []
    children = [Child(f"child {number}", ["sh", "-c", script]) for number, script in enumerate(scripts)]
    is_over = until.exists if until else lambda: False

    async def run() -> int:
        above = Supervisor(children, SHARED, drain=5, ready=lambda: said.append("ready"))
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
