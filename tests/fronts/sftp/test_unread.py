"""Clients that ask and never read, or read slowly: they cost a few MiB whatever it is they ask for, and nobody else."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from fxsftp.fronts.sftp import overrides
from fxsftp.fronts.sftp.valve import Valve
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import ANN, KARI, Door
from tests.fronts.sftp.raw import Raw, string

MOST = 8 << 20  # bytes
BLOCK = 255 << 10
ENDLESS = (1 << 31) - 1
KEXINIT, CHANNEL_OPEN = 20, 90  # SSH_MSG_…


@pytest.fixture
def waiting(door: Door) -> str:
    """The path of a block in kari's inbox."""
    return f"/inbox/{door.deliver(ANN, KARI, b'z' * BLOCK)}/report.csv"


@asynccontextmanager
async def reader(door: Door, waiting: str, buffer: int = 0) -> AsyncIterator[tuple[Raw, bytes]]:
    """One with an endless window, as PuTTY's, who has a file open."""
    how = {}
    if buffer:
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        line.connect(("127.0.0.1", door.port))
        how = {"sock": line}
    async with door.raw(KARI, greet=False, **how) as raw:
        chan, wire = await raw.conn.create_session(sftp._Wire, subsystem="sftp", encoding=None, window=ENDLESS)
        raw.chan, raw._wire = chan, wire
        raw.send(sftp.HELLO)
        assert (await raw.answer()).kind == sftp.VERSION
        yield raw, (await raw.open(waiting, sftp.R)).handle


def ask(raw: Raw, handle: bytes, count: int) -> None:
    raw.send(*(sftp.read(number, handle, 0, BLOCK) for number in range(count)))


def stop_reading(raw: Raw) -> None:
    transport: Any = raw.conn._transport
    transport.pause_reading()


def begin_change(raw: Raw) -> None:
    """Send a KEXINIT and, against RFC 4253, no more of it; and go on with requests."""
    conn: Any = raw.conn
    serve = conn.process_packet
    conn.process_packet = lambda kind, *rest: kind == KEXINIT or serve(kind, *rest)
    change_keys(conn)
    conn._kex_complete = True


def change_keys(conn: Any) -> None:
    """Begin as asyncssh does."""
    conn._send_kexinit()
    conn._kexinit_sent = True


def server_of(door: Door) -> Any:
    """The server's side of the one connection there is."""
    (found,) = door.listener.guests
    return found._conn


def held(conn: Any) -> int:
    """Bytes that wait on the server's side, to be sent or to be served."""
    line, doors = conn._transport, [chan._session for chan in conn._channels.values()]
    sessions = [door._inner for door in doors if door and door._inner]
    return (
        (line.get_write_buffer_size() if line else 0)
        + len(conn._inpbuf)
        + sum(256 + sum(map(len, args)) for _, args in conn._deferred_packets)
        + sum(chan._send_buf_len + sum(len(data) for data, _ in chan._recv_buf) for chan in conn._channels.values())
        + sum(len(session._kept) + session._out_bytes for session in sessions)
    )


async def settled(conn: Any) -> int:
    """What is held when it has not changed for half a second."""
    before, seen = -1, 0
    while seen < 5 and before <= MOST:
        await asyncio.sleep(0.1)
        now = held(conn)
        before, seen = now, seen + 1 if now == before else 0
    return before


def never_reads(raw: Raw, handle: bytes) -> Iterator[None]:
    stop_reading(raw)
    ask(raw, handle, 200)
    yield


def never_ends_a_change_of_keys(raw: Raw, handle: bytes) -> Iterator[None]:
    begin_change(raw)
    ask(raw, handle, 200)
    yield


def asks_for_channels_while_keys_change(raw: Raw, handle: bytes) -> Iterator[None]:
    begin_change(raw)
    ask(raw, handle, 1)
    yield from asks_below(raw)


def never_reads_what_is_said_below(raw: Raw, handle: bytes) -> Iterator[None]:
    stop_reading(raw)
    ask(raw, handle, 50)
    yield from asks_below(raw)


def asks_below(raw: Raw) -> Iterator[None]:
    while True:
        for number in range(300):
            raw.conn.send_packet(CHANNEL_OPEN, string("x"), struct.pack(">III", number, 1 << 20, 32768))
        yield


@pytest.mark.parametrize(
    "misbehave",
    [never_reads, never_ends_a_change_of_keys, asks_for_channels_while_keys_change, never_reads_what_is_said_below],
)
def test_a_client_that_never_reads_costs_a_few_mib_and_nothing_when_it_is_gone(
    door: Door, waiting: str, misbehave: Callable[[Raw, bytes], Iterator[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what is asked of sessions, nor below them, nor what waits for new keys, is kept without end."""

    async def walk() -> Any:
        async with reader(door, waiting) as (raw, handle):
            server = server_of(door)
            assert overrides.UNSENT_MOST + overrides.DEFERRED_MOST < MOST
            for limit in ("UNSENT_MOST", "DEFERRED_MOST"):
                monkeypatch.setattr(overrides, limit, 1 << 19)  # which comes sooner
            for _ in misbehave(raw, handle):
                await asyncio.sleep(0.01)
                assert held(server) <= MOST
                if not server._transport or not server._transport.is_reading():
                    break
            assert await settled(server) <= MOST
            async with door.raw(ANN) as other:
                assert await other.list("/sent")
        return server

    server = asyncio.run(walk())
    door.until(lambda: not door.listener.guests)
    assert held(server) == 0


def test_who_reads_again_gets_every_answer(door: Door, waiting: str) -> None:
    """What was asked below channels while nothing was read is answered, too, as is what came after."""

    async def walk() -> None:
        async with reader(door, waiting) as (raw, handle):
            server, line = server_of(door), raw.conn._transport
            assert line
            stop_reading(raw)
            ask(raw, handle, 50)
            refused = [asyncio.ensure_future(raw.conn._make_global_request(b"x@example.org", b"\1")) for _ in range(3)]
            await settled(server)
            line.resume_reading()
            assert {len(answer.data) for answer in await raw.answers(50)} == {BLOCK}
            assert len(await asyncio.gather(*refused)) == 3
            assert server._transport.is_reading()

    asyncio.run(walk())


def test_a_change_of_keys_that_does_not_end_ends_the_connection(
    door: Door, waiting: str, caplog: pytest.LogCaptureFixture
) -> None:
    door.listener.terms = replace(door.listener.terms, login_seconds=0.3)

    async def walk() -> None:
        async with reader(door, waiting) as (raw, handle):
            begin_change(raw)
            async with asyncio.timeout(sftp.DEADLINE):
                while raw.conn._transport:
                    ask(raw, handle, 1)
                    await asyncio.sleep(0.05)

    asyncio.run(walk())
    door.until(lambda: not door.listener.guests)
    assert f"{KARI} sent away: a change of keys was begun and did not end" in caplog.messages


def test_a_change_of_keys_may_take_as_long_as_what_was_sent_before_it(door: Door, waiting: str) -> None:
    """On a slow line, new keys come after megabytes: as long as these still move, nobody is sent away."""
    change = 0.5

    async def walk() -> None:
        async with reader(door, waiting, buffer=128 << 10) as (raw, handle):
            server, line, loop = server_of(door), raw.conn._transport, door.house._loop
            assert line
            assert loop
            stop_reading(raw)
            ask(raw, handle, 40)
            await settled(server)
            began = asyncio.get_running_loop().time()
            loop.call_soon_threadsafe(change_keys, server)
            while asyncio.get_running_loop().time() - began < 3 * change:
                await asyncio.sleep(0.2)
                line.resume_reading()
                await asyncio.sleep(0)
                await asyncio.sleep(0)  # what is there is read once
                line.pause_reading()
            assert not server._kex_complete
            line.resume_reading()
            assert {len(answer.data) for answer in await raw.answers(40)} == {BLOCK}
            assert server._kex_complete

    door.listener.terms = replace(door.listener.terms, login_seconds=change)
    asyncio.run(walk())


def test_a_valve_opens_when_the_last_reason_is_gone() -> None:
    turned: list[bool] = []
    valve = Valve(turned.append)
    valve.open("unsent")
    valve.close("unsent")
    valve.close("keys")
    valve.close("keys")
    valve.open("unsent")
    assert (turned, valve.is_closed) == ([True], True)
    valve.open("keys")
    assert (turned, valve.is_closed) == ([True, False], False)
