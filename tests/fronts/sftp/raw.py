"""A client that sends SFTP packets exactly as a test writes them, malformed ones included.

SSH is real (asyncssh), the packets are ours, and they are put together here anew, not with the server's own `wire`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

import asyncssh

INIT, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK, EXTENDED = 13, 14, 15, 16, 17, 18, 19, 20, 200
VERSION, STATUS, HANDLE, DATA, NAME, ATTRS, REPLY = 2, 101, 102, 103, 104, 105, 201
OK, EOF, NO_SUCH_FILE, DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8
R, W, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32
NO_ATTRS = struct.pack(">I", 0)

DEADLINE = 20  # seconds; far more than any answer takes


class Answer(NamedTuple):
    """One packet from the server."""

    kind: int
    number: int
    body: bytes

    @property
    def code(self) -> int:
        assert self.kind == STATUS, self
        return int(struct.unpack_from(">I", self.body)[0])

    @property
    def text(self) -> str:
        assert self.kind == STATUS, self
        return _strings(self.body[4:])[0].decode()

    @property
    def handle(self) -> bytes:
        assert self.kind == HANDLE, self if self.kind != STATUS else self.text
        return _strings(self.body)[0]

    @property
    def data(self) -> bytes:
        assert self.kind == DATA, self
        return _strings(self.body)[0]

    @property
    def names(self) -> list[str]:
        assert self.kind == NAME, self
        names, at = [], 4
        for _ in range(struct.unpack_from(">I", self.body)[0]):
            for part in ("name", "line"):
                (length,) = struct.unpack_from(">I", self.body, at)
                if part == "name":
                    names.append(self.body[at + 4 : at + 4 + length].decode())
                at += 4 + length
            at += 4 + (24 - 4 if struct.unpack_from(">I", self.body, at)[0] else 0)
        return names

    @property
    def size(self) -> int:
        assert self.kind == ATTRS, self if self.kind != STATUS else self.text
        return int(struct.unpack_from(">Q", self.body, 4)[0])

    @property
    def mode(self) -> int:
        assert self.kind == ATTRS, self if self.kind != STATUS else self.text
        return int(struct.unpack_from(">I", self.body, 12)[0])


def _strings(body: bytes) -> list[bytes]:
    found, at = [], 0
    while at + 4 <= len(body):
        (length,) = struct.unpack_from(">I", body, at)
        found.append(body[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def string(value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(value)) + value


def packet(kind: int, number: int, *parts: bytes) -> bytes:
    body = struct.pack(">BI", kind, number) + b"".join(parts)
    return struct.pack(">I", len(body)) + body


def attrs(size: int | None = None, mode: int | None = None, times: tuple[int, int] | None = None) -> bytes:
    flags = (size is not None) | (mode is not None) << 2 | (times is not None) << 3
    parts = [struct.pack(">I", flags)]
    if size is not None:
        parts.append(struct.pack(">Q", size))
    if mode is not None:
        parts.append(struct.pack(">I", mode))
    if times is not None:
        parts.append(struct.pack(">II", *times))
    return b"".join(parts)


def opening(number: int, path: str | bytes, how: int, what: bytes = NO_ATTRS) -> bytes:
    return packet(OPEN, number, string(path), struct.pack(">I", how), what)


def write(number: int, handle: bytes, offset: int, data: bytes, trailing: bytes = b"") -> bytes:
    return packet(WRITE, number, string(handle), struct.pack(">Q", offset), string(data), trailing)


def read(number: int, handle: bytes, offset: int, count: int) -> bytes:
    return packet(READ, number, string(handle), struct.pack(">QI", offset, count))


HELLO = struct.pack(">IBI", 5, INIT, 3)


class _Wire(asyncssh.SSHClientSession[bytes]):
    def __init__(self) -> None:
        self.received, self.stderr = bytearray(), bytearray()
        self.status: int | None = None
        self.changed = asyncio.Event()
        self.is_closed = False
        self.has_eof = False

    def data_received(self, data: bytes, datatype: int | None) -> None:
        (self.stderr if datatype else self.received).extend(data)
        self.changed.set()

    def eof_received(self) -> bool:
        self.has_eof = True
        self.changed.set()
        return True

    def exit_status_received(self, status: int) -> None:
        self.status = status

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self.changed.set()


class Raw:
    """One SFTP channel.  `async with Raw(port, user, password) as raw:`"""

    def __init__(self, port: int, user: str, *, greet: bool = True, **how: Any) -> None:
        self._options: dict[str, Any] = {"client_keys": None, "agent_path": None, **how}
        self._port, self._user, self._greet = port, user, greet
        self._number = 0

    async def __aenter__(self) -> Raw:
        self.conn = await asyncssh.connect(
            "127.0.0.1", self._port, username=self._user, known_hosts=None, config=None, **self._options
        )
        self.chan, session = await self.conn.create_session(_Wire, subsystem="sftp", encoding=None)
        assert isinstance(session, _Wire)
        self._wire = session
        if self._greet:
            self.send(HELLO)
            assert (await self.answer()).kind == VERSION
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.conn.abort()
        await self.conn.wait_closed()

    def send(self, *packets: bytes) -> None:
        self.chan.write(b"".join(packets))

    async def answer(self) -> Answer:
        """The next packet."""
        got = self._wire.received
        await self._until(lambda: len(got) >= 4 and len(got) >= 4 + int.from_bytes(got[:4], "big"))
        length = int.from_bytes(got[:4], "big")
        whole = bytes(got[4 : 4 + length])
        del got[: 4 + length]
        return Answer(whole[0], int.from_bytes(whole[1:5], "big"), whole[5:])

    async def answers(self, count: int) -> list[Answer]:
        return [await self.answer() for _ in range(count)]

    async def ask(self, kind: int, *parts: bytes) -> Answer:
        """One request and its answer."""
        self._number += 1
        self.send(packet(kind, self._number, *parts))
        found = await self.answer()
        assert found.number == self._number
        return found

    async def open(self, path: str | bytes, how: int, what: bytes = NO_ATTRS) -> Answer:
        return await self.ask(OPEN, string(path), struct.pack(">I", how), what)

    async def put(self, path: str, data: bytes, block: int = 32768) -> Answer:
        """A whole file, as clients put it."""
        handle = (await self.open(path, W | CREATE | TRUNCATE)).handle
        starts: Sequence[int] = range(0, len(data), block)
        for start in starts:
            self.send(write(start, handle, start, data[start : start + block]))
        for done in await self.answers(len(starts)):
            assert done.code == OK, done.text
        return await self.ask(CLOSE, string(handle))

    async def get(self, path: str) -> bytes:
        handle = (await self.open(path, R)).handle
        data = b""
        while (found := await self.ask(READ, string(handle), struct.pack(">QI", len(data), 32768))).kind == DATA:
            data += found.data
        assert found.code == EOF
        assert (await self.ask(CLOSE, string(handle))).code == OK
        return data

    async def list(self, path: str) -> Sequence[str]:
        handle = (await self.ask(OPENDIR, string(path))).handle
        names: list[str] = []
        while (found := await self.ask(READDIR, string(handle))).kind == NAME:
            names += found.names
        assert (await self.ask(CLOSE, string(handle))).code == OK
        return names

    async def closed(self) -> int | None:
        """The exit status, once the server has closed the channel."""
        await self._until(lambda: self._wire.is_closed)
        return self._wire.status

    def eof(self) -> None:
        self.chan.write_eof()

    @property
    def stderr(self) -> str:
        return self._wire.stderr.decode()

    async def _until(self, holds: Any) -> None:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                assert not self._wire.is_closed, "the server closed the channel"
                self._wire.changed.clear()
                await self._wire.changed.wait()
