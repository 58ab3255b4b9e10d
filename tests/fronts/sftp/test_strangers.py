"""Before log-in: how long, how often, how many, and what it may cost."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import gc
import json
import logging
import socket
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from tests.fronts.sftp.conftest import ANN, KARI, Door
from tests.house import House

STREAMS = json.loads((Path(__file__).parents[2] / "data" / "openssh_kex_fuzz_sample.json").read_text())
PASSWORD = "correct horse battery staple"
KEXINIT, NEWKEYS = 20, 21  # SSH_MSG_…


@pytest.fixture
def opened(tmp_path: Path, is_tuned: bool) -> Iterator[Callable[..., Door]]:
    """A door with settings of its own."""
    with contextlib.ExitStack() as stack:

        def build(**settings: str) -> Door:
            said = {"tuned": str(is_tuned), **settings}
            environ = {f"FXSFTP_SFTP__{key.upper()}": value for key, value in said.items()}
            return Door(stack.enter_context(House(tmp_path / "house", environ=environ)))

        yield build


def knock(door: Door, address: str = "127.0.0.1") -> socket.socket:
    line = socket.create_connection(("127.0.0.1", door.port), timeout=20, source_address=(address, 0))
    line.settimeout(20)
    return line


def said_to(line: socket.socket) -> bytes:
    """All that it hears until the other side closes."""
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while more := line.recv(65536):
            heard += more
    return heard


# ---- how many


def test_a_rush_of_one_client_waits_and_none_of_it_is_lost(door: Door) -> None:
    """Twelve connections at once, as rclone opens them, are all served within a second or two."""

    async def walk() -> None:
        async with contextlib.AsyncExitStack() as stack:
            await asyncio.gather(*(stack.enter_async_context(door.raw(KARI)) for _ in range(12)))
            assert sum(guest.user is not None for guest in door.listener.guests) == 12

    asyncio.run(walk())


def test_strangers_of_one_address_cannot_keep_out_those_of_another(
    opened: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    """Two hundred that say nothing, and a user comes in beside them at once; the log has one line about it."""
    door = opened(max_rate="0")
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(knock(door)) for _ in range(200)]
        door.until(lambda: sum(guest.user is None for guest in door.listener.guests) <= 50)

        async def walk() -> None:
            async with door.connect(KARI, local_addr=("127.0.0.2", 0)) as conn:
                assert (await conn.run("pwd")).stdout == "/\n"

        asyncio.run(asyncio.wait_for(walk(), 10))
        heard = [line.recv(100) for line in lines]

    answered = [each for each in heard if each.startswith(b"SSH-2.0-fxsftp")]
    away = [each for each in heard if each.startswith(b"Too many have connected and not logged in.")]
    assert len(answered) + len(away) == 200
    assert 10 <= len(answered) <= 50
    (line,) = [each.getMessage() for each in caplog.records if "turned away" in each.getMessage()]
    assert line.endswith("the last from 127.0.0.1: too many have not logged in")


def test_who_waits_in_line_costs_no_key_exchange(opened: Callable[..., Door]) -> None:
    """Nothing is said and nothing is read, not even a version, until it is their turn."""
    door = opened(max_rate="0.1")
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(knock(door)) for _ in range(8)]
        for line in lines:
            line.sendall(b"SSH-2.0-hasty\r\n" + bytes(1 << 16))
        assert {said_to(line)[:14] for line in lines[:5]} == {b"SSH-2.0-fxsftp"}  # and then they sent nonsense

        waiting = [guest._conn for guest in door.listener.guests]

        assert len(waiting) == 3
        assert [conn.get_extra_info("client_version") for conn in waiting] == [None] * 3
        for line in lines[5:]:
            line.setblocking(False)
            with pytest.raises(BlockingIOError):
                line.recv(1)


# ---- how long, and how often


def test_word_of_what_has_no_answer_yet_goes_back_at_once(door: Door) -> None:
    """OpenSSH's next packet waits for it in the client's system, after a KEXINIT and after NEWKEYS."""
    took: dict[int, list[float]] = {KEXINIT: [], NEWKEYS: []}
    assert door.house._loop
    theirs: asyncio.AbstractEventLoop = door.house._loop

    class Client(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.send = conn.send_packet
            self.socket: socket.socket = conn.get_extra_info("socket")
            conn.send_packet = self.send_and_wait  # type: ignore[assignment]

        def send_and_wait(self, kind: int, *args: bytes, **how: object) -> None:
            if kind in took:
                for _ in range(3):  # until all is said that takes word along
                    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), theirs).result()
            self.send(kind, *args, **how)  # type: ignore[arg-type]
            if kind in took:
                began = time.monotonic()
                while fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)) != bytes(4):
                    assert time.monotonic() - began < 10
                took[kind].append(time.monotonic() - began)

    async def walk() -> None:
        async with door.connect(KARI, client_factory=Client):
            pass

    def is_at_once() -> bool:
        asyncio.run(walk())
        return all(min(times) < 0.03 for times in took.values())  # by itself Linux waits 0.04 s, and never less

    door.until(is_at_once)


def test_who_does_not_log_in_in_time_is_gone(opened: Callable[..., Door]) -> None:
    door = opened(login_time="1 s")
    with knock(door) as line:
        began = time.monotonic()
        assert said_to(line).startswith(b"SSH-2.0-fxsftp\r\n")
        assert time.monotonic() - began < 5
    door.until(lambda: not door.listener.guests)


def test_a_connection_may_give_only_so_many_names(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """asyncssh's client can't change its name, so the packets are sent by hand."""

    class Client(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.conn = conn
            self.left = 20

        def password_auth_requested(self) -> str:
            for number in range(self.left):
                name = asyncssh.packet.String(f"name-{number}@firm.example")
                self.conn.send_packet(50, name, *map(asyncssh.packet.String, ("ssh-connection", "none")))
            return "nothing"

    async def walk() -> None:
        with pytest.raises((asyncssh.Error, OSError)):  # its line breaks while it is still asking
            await door.connect(ANN, client_keys=None, client_factory=Client, preferred_auth="password")

    asyncio.run(walk())
    door.until(lambda: not door.listener.guests)
    assert "127.0.0.1 sent away: Too many names. Connect again to go on." in caplog.messages


def test_a_wrong_password_takes_a_second_and_holds_up_nobody(door: Door) -> None:
    """As long for who is unknown; and while some guess, another works on."""
    door.exchange.people.set_password(ANN, PASSWORD, door.house.clock())

    async def walk() -> None:
        async with door.raw(KARI) as other:
            guesses = [
                asyncio.create_task(refused_after(door, email, password="wrong wrong wrong"))
                for email in (ANN, "nobody@x.example", "root")
            ]
            answers = 0
            while not any(task.done() for task in guesses):
                assert await other.list("/sent") == []
                answers += 1
            took = await asyncio.gather(*guesses)
        assert min(took) >= 1
        assert answers > 10

    asyncio.run(walk())


def test_a_wrong_key_takes_as_long_for_who_is_unknown(door: Door) -> None:
    """Longer than looking takes, so that how long that was can't be heard."""
    door.listener.terms = replace(door.listener.terms, unknown=0.3)

    async def walk() -> None:
        key = str(door.keys[KARI])
        took = [await refused_after(door, email, client_keys=[key]) for email in (ANN, "nobody@x.example")]
        assert min(took) >= 0.3

    asyncio.run(walk())


async def refused_after(door: Door, email: str, **how: object) -> float:
    began = time.monotonic()
    with pytest.raises(asyncssh.PermissionDenied):
        await door.connect(email, **({"client_keys": None} | how))
    return time.monotonic() - began


def test_who_guesses_without_waiting_has_no_more_tries(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that comes before the answer to the last cancels that one; counted and computed it is all the same."""
    string, checked = asyncssh.packet.String, []
    check = door.exchange.people.check_password
    monkeypatch.setattr(door.exchange.people, "check_password", lambda *words: checked.append(words) or check(*words))

    class Client(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.conn = conn

        def password_auth_requested(self) -> str:
            for number in range(50):
                words = map(string, (ANN, "ssh-connection", "password"))
                self.conn.send_packet(50, *words, b"\0", string(f"wrong password {number}"))
            return "wrong wrong wrong"

    async def walk() -> None:
        with pytest.raises((asyncssh.Error, OSError)):  # its line breaks while it is still asking
            await door.connect(ANN, client_keys=None, client_factory=Client, preferred_auth="password")

    asyncio.run(walk())
    door.until(lambda: not door.listener.guests)
    assert len(checked) <= 6
    assert (
        len([each for each in caplog.messages if each.endswith("Too many wrong passwords. Connect again to go on.")])
        == 1
    )


# ---- nonsense


def test_fuzzed_key_exchanges_leave_nothing_behind(
    opened: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    """276 streams of OpenSSH's fuzzing corpus: no crash, no trace in the log, no socket, no task, no guest."""
    caplog.set_level(logging.DEBUG)
    door = opened(max_rate="0", max_startups="400:0:1000")
    loop = door.house._loop
    assert loop
    door.command(KARI, "pwd")  # what is made once is made
    door.until(lambda: not door.listener.guests)
    gc.collect()  # what other tests left
    sockets_before, tasks_before = sockets(), tasks(loop)

    def replay(stream: bytes) -> bytes:
        with knock(door) as line:
            with contextlib.suppress(ConnectionError):
                line.sendall(stream)
                line.shutdown(socket.SHUT_WR)
            return said_to(line)

    with ThreadPoolExecutor(4) as pool:
        heard = list(pool.map(replay, [base64.b64decode(stream) for stream in STREAMS.values()]))

    assert len(heard) == 276
    assert all(each.startswith(b"SSH-2.0-fxsftp\r\n") for each in heard if each)
    door.until(lambda: not door.listener.guests)
    gc.collect()
    door.until(lambda: sockets() <= sockets_before and tasks(loop) <= tasks_before)
    assert not [each for each in caplog.records if each.exc_info or each.levelno >= logging.ERROR]
    assert door.command(KARI, "pwd") == (0, "/\n", "")


def sockets() -> int:
    """Open in this process, which has databases open besides, and more of them the more is asked at one time."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(each.readlink()).startswith("socket:")
    return count


def tasks(loop: asyncio.AbstractEventLoop) -> int:
    async def count() -> int:
        return len(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), loop).result(10)


@pytest.mark.parametrize(
    "stream",
    [b"", b"\n", b"GET / HTTP/1.1\r\n\r\n", b"SSH-1.5-old\r\n", b"SSH-2.0-\xff\r\n", b"x" * 100_000, b"\0" * 5000],
)
def test_what_is_not_ssh_is_closed(door: Door, stream: Sequence[int]) -> None:
    with knock(door) as line:
        with contextlib.suppress(ConnectionError):
            line.sendall(bytes(stream))
            line.shutdown(socket.SHUT_WR)
        assert said_to(line) in (b"", b"SSH-2.0-fxsftp\r\n")
    door.until(lambda: not door.listener.guests)
