"""Streams that no client should send: the session neither falls, nor stands still, nor keeps anything.

What is sent are conversations, some valid, some changed: wrong lengths, other types, handles of nothing, packets cut
short or with bytes in between, in parts of any size.  SSH is ours to trust, so the real session stands on a channel
that only listens.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxsftp import app
from fxsftp.domain.model import User
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp.rooms import Rooms
from fxsftp.fronts.sftp.session import SftpSession
from fxsftp.fronts.sftp.verbs import EXTENSIONS
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import ANN, KARI
from tests.fronts.sftp.raw import HELLO, packet, string
from tests.house import House

DEADLINE = 20  # seconds; what is waited for takes milliseconds
FLAWLESS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class Line:
    """A channel on which a session stands: what it writes is kept, and reading pauses when it says so."""

    def __init__(self) -> None:
        self.written, self.status = bytearray(), None
        self.is_paused = False
        self.moved = asyncio.Event()

    def writelines(self, data: Iterable[bytes]) -> None:
        self.written += b"".join(data)
        self.moved.set()

    def write_stderr(self, data: bytes) -> None:
        """Nobody reads it."""

    def exit(self, status: int) -> None:
        self.status = status
        self.moved.set()

    def is_closing(self) -> bool:
        return self.status is not None

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """There is always room."""

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False
        self.moved.set()

    def answers(self) -> list[tuple[int, int]]:
        """Kind and number of each, all of them whole."""
        found, at = [], 0
        while at < len(self.written):
            length, kind, number = struct.unpack_from(">IBI", self.written, at)
            assert length >= 5
            found.append((kind, number))
            at += 4 + length
        assert at == len(self.written)
        return found


class Talk:
    """One house for many conversations."""

    def __init__(self, house: House) -> None:
        self.house, self.user = house, house.kari()
        house.ann()
        self.templates = app.templates_of(house.settings)

    def hold(self, parts: list[bytes]) -> Line:
        """Send these parts, then EOF; returns when the session has ended and put away what it had."""
        return asyncio.run(self._hold(parts))

    async def _hold(self, parts: list[bytes]) -> Line:
        line, desk = Line(), Desk(self.house.exchange, self.house.clock, threads=2)
        session = SftpSession(Rooms(self.user, desk, self.templates, "fuzz"), desk)
        session.connection_made(line)  # type: ignore[arg-type]
        async with asyncio.timeout(DEADLINE):
            for part in parts:
                while line.is_paused and line.status is None:
                    line.moved.clear()
                    await line.moved.wait()
                if line.status is None:
                    session.data_received(part, None)
            session.eof_received()
            while line.status is None:
                line.moved.clear()
                await line.moved.wait()
            session.connection_lost(None)
            await desk.close()
        assert not session._verbs.has_open
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not self.house.exchange.writing._drops.writers
        return line


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    with House(tmp_path_factory.mktemp("fuzz") / "house") as house:
        yield Talk(house)


# ---- what is sent

names = st.sampled_from(
    ["", "/", "/outbox", f"/outbox/{ANN}/Ref 1/a.csv", f"/outbox/{ANN}/b", "/inbox", "/sent", "x/y"]
)
paths = st.one_of(names.map(str.encode), st.binary(max_size=40))
handles = st.one_of(st.integers(0, 6).map(lambda number: number.to_bytes(4, "big")), st.binary(max_size=8))
u32, u64 = st.integers(0, 2**32 - 1), st.one_of(st.integers(0, 100_000), st.integers(0, 2**64 - 1))
small = st.integers(0, 70_000)
attributes = st.one_of(st.just(sftp.NO_ATTRS), st.builds(sftp.attrs, small, st.integers(0, 0o7777)))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One well-formed request, of any kind; its number is written in later."""
    kind = draw(st.sampled_from([3, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 200, 200, 99]))
    match kind:
        case sftp.OPEN:
            how = draw(st.one_of(st.just(sftp.W | sftp.CREATE | sftp.TRUNCATE), st.integers(0, 63)))
            parts = [string(draw(paths)), struct.pack(">I", how), draw(attributes)]
        case sftp.READ:
            parts = [string(draw(handles)), struct.pack(">QI", draw(u64), draw(u32))]
        case sftp.WRITE:
            data = bytes(draw(small)) if draw(st.booleans()) else draw(st.binary(max_size=50))
            parts = [string(draw(handles)), struct.pack(">Q", draw(u64)), string(data), draw(st.binary(max_size=3))]
        case sftp.CLOSE | sftp.FSTAT | sftp.READDIR:
            parts = [string(draw(handles))]
        case sftp.FSETSTAT:
            parts = [string(draw(handles)), draw(attributes)]
        case sftp.SETSTAT | sftp.MKDIR:
            parts = [string(draw(paths)), draw(attributes)]
        case sftp.RENAME | sftp.SYMLINK:
            parts = [string(draw(paths)), string(draw(paths))]
        case sftp.EXTENDED:
            name = draw(st.sampled_from(sorted(EXTENSIONS)))
            rest = [string(draw(st.one_of(handles, paths))), string("sha256"), struct.pack(">QQI", 0, draw(u64), 0)]
            parts = [string(name), *rest]
        case _:
            parts = [string(draw(paths))]
    return packet(kind, 0, *parts)


conversations = st.lists(requests(), max_size=25)


def numbered(sent: list[bytes]) -> list[bytes]:
    return [one[:5] + struct.pack(">I", number) + one[9:] for number, one in enumerate(sent)]


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    """The stream in parts of these sizes, over and over."""
    parts, at = [], 0
    while at < len(stream):
        size = sizes[len(parts) % len(sizes)]
        parts.append(stream[at : at + size])
        at += size
    return parts


cuts = st.lists(st.one_of(st.integers(1, 60), st.integers(1, 40_000)), min_size=1, max_size=5)


Change = tuple[int, int, int]  # where, how, and by which number
changed = st.lists(st.tuples(u32, st.integers(0, 4), u32), max_size=4)


# ---- what must hold


@FLAWLESS
@given(sent=conversations, sizes=cuts)
def test_every_request_gets_one_answer_in_its_order(talk: Talk, sent: list[bytes], sizes: list[int]) -> None:
    """Whatever is asked, and however the network cuts it."""
    line = talk.hold(cut(HELLO + b"".join(numbered(sent)), [max(size, 1 + len(sent)) for size in sizes]))
    assert [number for _, number in line.answers()] == [3, *range(len(sent))]
    assert line.status == 0


@FLAWLESS
@given(sent=conversations, sizes=cuts, changes=st.lists(st.tuples(u32, st.integers(0, 4), u32), max_size=4))
def test_a_changed_conversation_breaks_nothing(
    talk: Talk,
    caplog: pytest.LogCaptureFixture,
    sent: list[bytes],
    sizes: list[int],
    changes: list[tuple[int, int, int]],
) -> None:
    """Bytes changed, taken out, put in, cut off: the session answers what it can follow, and ends."""
    stream = bytearray(HELLO + b"".join(numbered(sent)))
    for where, what, value in changes:
        if not stream:
            break
        at = where % len(stream)
        match what:
            case 0:
                stream[at] = value & 0xFF
            case 1:
                del stream[at : at + value % 9]
            case 2:
                stream[at:at] = value.to_bytes(4, "big")
            case 3:
                stream[at : at + 4] = value.to_bytes(4, "big")
            case 4:
                del stream[at + 1 :]
    caplog.clear()
    line = talk.hold(cut(bytes(stream), [max(size, 1 + len(stream) // 500) for size in sizes]))
    line.answers()
    assert line.status in (0, 1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@FLAWLESS
@given(stream=st.binary(max_size=500), sizes=cuts, greets=st.booleans())
def test_noise_breaks_nothing(talk: Talk, stream: bytes, sizes: list[int], greets: bool) -> None:
    line = talk.hold(cut(HELLO * greets + stream, sizes))
    line.answers()
    assert line.status in (0, 1)


def served_among_others(talk: Talk, stream: bytes) -> tuple[Any, int]:
    """A session to whom all of this is said at once, and how often others had their turn meanwhile."""

    async def walk() -> tuple[Any, int]:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        line, desk = Line(), Desk(talk.house.exchange, talk.house.clock, threads=2)
        session = SftpSession(Rooms(talk.user, desk, talk.templates, "fuzz"), desk)
        session.connection_made(line)  # type: ignore[arg-type]
        session.data_received(stream, None)
        session.eof_received()
        while line.status is None:
            line.moved.clear()
            await line.moved.wait()
        session.connection_lost(None)
        other.cancel()
        await desk.close()
        return line, turns

    return asyncio.run(walk())


def test_a_hundred_thousand_small_requests_are_served_in_turns(talk: Talk) -> None:
    """However many are asked at once, others have their turn between them, and all are answered."""
    asked = 100_000
    stream = HELLO + b"".join(packet(sftp.REALPATH, number, string("a")) for number in range(asked))
    line, turns = served_among_others(talk, stream)
    assert [number for _, number in line.answers()] == [3, *range(asked)]
    assert turns >= asked // 512


def test_small_files_that_a_loop_opens_take_more_of_a_turn(talk: Talk) -> None:
    """Each is looked for in the registry, which takes as long as to move 32 KiB."""
    folder, opened = f"outbox/{ANN}/Ref 10", 200
    for name in "ab":  # the first makes the drop, and with the second it is seen for whom it is
        talk.house.put(talk.user, f"{folder}/{name}", b"small")
    how = struct.pack(">II", sftp.W | sftp.CREATE | sftp.TRUNCATE, 0)
    names = (string(f"/{folder}/{number}.csv") for number in range(opened))
    stream = HELLO + b"".join(packet(sftp.OPEN, number, name, how) for number, name in enumerate(names))
    line, turns = served_among_others(talk, stream)
    assert [kind for kind, _ in line.answers()] == [sftp.VERSION, *[sftp.HANDLE] * opened]
    assert turns >= opened * (32 << 10) // (1 << 20)


def test_the_user_of_all_this_is_as_before(talk: Talk) -> None:
    """What was closed may have been sent; the house still serves."""
    assert isinstance(talk.user, User)
    talk.house.put(talk.user, f"outbox/{ANN}/Ref 9/last.csv", b"still here")
    assert any("dispatched" in line for line in talk.house.settle())
    assert talk.user.email == KARI
