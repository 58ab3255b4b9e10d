"""One file over the wire, either way, picked up where it stood when the line broke.

An Upload or a Download is called with a wire, and called again with a new one until it returns; how far it
has come is in the object.  When one raises, its handle is left open: to close it would call an incomplete
file complete.  Memory is bounded by what is in flight, however large the file.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from fxsftp.client.wire import CREATE, IN_FLIGHT, PIECE, READ, TRUNCATE, WRITE, Attributes, Wire
from fxsftp.errors import BadAnswer, CantRead, CantWrite, ChangedMeanwhile, LineBroken, NotOffered, Refused, SumMismatch

Told = Callable[[int, int], None]
"""Hears how many bytes are done, and of how many."""

_REFUSALS = 2  # resumes that may be refused before all is put anew: the lost session may not be gone yet


class Upload:
    """Puts one local file to one remote path, and learns its SHA-256 on the way."""

    def __init__(self, local: Path, remote: str, told: Told | None = None) -> None:
        self.local, self.remote, self._told = local, remote, told
        try:
            self._file: BinaryIO = local.open("rb")
        except OSError as problem:
            raise CantRead(local, problem.strerror) from problem
        self._before = os.fstat(self._file.fileno())
        self.size = self._before.st_size
        self.arrived = 0  # bytes the server has said it took
        self._asked = 0  # bytes that were sent at all
        self._digest, self._hashed = hashlib.sha256(), 0
        self._is_begun = False  # the server has a draft, and it is ours
        self._refusals = 0

    def __call__(self, wire: Wire) -> None:
        """Put the file, or what is missing of it.  When this returns, the server has closed it and shows its size."""
        start = self._where_to_start(wire)
        try:
            handle = wire.open(self.remote, WRITE | CREATE | (0 if start else TRUNCATE), self.size)
            self._is_begun = True
            self._write(wire, handle, start)
        except Refused as refusal:
            if not start:
                raise
            self._refusals += 1
            raise LineBroken(wire.host, refusal.args[1]) from refusal  # not to be resumed yet, or not at all
        self._must_not_have_changed()
        wire.close(handle, self.remote)  # the moment of truth: from here on the exchange keeps it
        there = wire.stat(self.remote).size
        if there != self.size:
            raise Refused(self.remote, f"{self.size} bytes were sent, and it shows {there}")

    @property
    def digest(self) -> str:
        """The SHA-256 of what was sent, in hexadecimal."""
        return self._digest.hexdigest()

    def end(self) -> None:
        self._file.close()

    def _where_to_start(self, wire: Wire) -> int:
        if not self._is_begun or self._refusals > _REFUSALS:
            return 0
        self._must_not_have_changed()
        try:
            there = wire.stat(self.remote).size or 0
        except NotOffered:
            return 0
        return there if there <= self._asked else 0  # more than we sent is not ours

    def _write(self, wire: Wire, handle: bytes, start: int) -> None:
        in_flight: deque[tuple[int, int]] = deque()
        at = start
        while at < self.size:
            piece = self._read(at, min(PIECE, self.size - at))
            in_flight.append((wire.ask_write(handle, self.remote, at, piece), at + len(piece)))
            at += len(piece)
            self._asked = max(self._asked, at)
            if len(in_flight) == IN_FLIGHT:
                self._hear(wire, *in_flight.popleft())
        times = wire.ask_mtime(handle, self.remote, _mtime(self._before.st_mtime))
        while in_flight:
            self._hear(wire, *in_flight.popleft())
        wire.forget([times])  # where times are refused, the file is still right

    def _hear(self, wire: Wire, number: int, end: int) -> None:
        wire.answer(number)
        self.arrived = max(self.arrived, end)
        if self._told is not None:
            self._told(end, self.size)

    def _read(self, at: int, count: int) -> bytes:
        try:
            self._file.seek(at)
            piece = self._file.read(count)
        except OSError as problem:
            raise CantRead(self.local, problem.strerror) from problem
        if not piece:
            raise ChangedMeanwhile(self.local)
        if at + len(piece) > self._hashed:  # what is sent again after a broken line is hashed once
            self._digest.update(piece[self._hashed - at :])
            self._hashed = at + len(piece)
        return piece

    def _must_not_have_changed(self) -> None:
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise ChangedMeanwhile(self.local)


class Download:
    """Gets one remote file under a temporary name and gives it its own name when it is whole and right.

    With a checksum to meet, what an earlier run has left under the temporary name is used; without one there
    is no telling what it is the beginning of.
    """

    def __init__(
        self, remote: str, temporary: Path, target: Path, checksum: str | None, told: Told | None = None
    ) -> None:
        self.remote, self.target, self.size = remote, target, 0
        self._temporary, self._checksum, self._told = temporary, checksum, told
        self._seen: Attributes | None = None
        self._digest = hashlib.sha256()
        self.arrived = 0  # bytes that are under the temporary name
        try:
            number = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._file: BinaryIO = os.fdopen(number, "rb+")
            self._is_resumed = checksum is not None and os.fstat(number).st_size > 0
            if self._is_resumed:
                self._hash_what_is_there()
            else:
                self._start_over()
        except OSError as problem:
            raise CantWrite(temporary, problem.strerror) from problem

    def __call__(self, wire: Wire) -> None:
        """Get what is missing.  When this returns, the file stands under its own name, durably, or SumMismatch came."""
        handle = wire.open(self.remote, READ)
        offered = wire.stat_open(handle, self.remote)
        if offered.size is None:
            raise BadAnswer(wire.host, "a file without a size")
        if self.arrived > offered.size or (self._seen is not None and self._seen != offered):
            self._start_over()
        self._seen, self.size = offered, offered.size
        try:
            self._read(wire, handle)
            wire.close(handle, self.remote)
            if self._checksum not in (None, self._digest.hexdigest()):
                if not self._is_resumed:
                    self._start_over()
                    raise SumMismatch(self.target.name, "its content differs")
                self._start_over()  # the beginning was of something else
                self(wire)
                return
            self._keep(offered.mtime)
        except OSError as problem:
            raise CantWrite(self.target, problem.strerror) from problem

    @property
    def digest(self) -> str:
        """The SHA-256 of what came, in hexadecimal."""
        return self._digest.hexdigest()

    def end(self) -> None:
        """Leave under the temporary name what the next run can use, and nothing else."""
        self._file.close()
        if not self.arrived:
            self._temporary.unlink(missing_ok=True)

    def _read(self, wire: Wire, handle: bytes) -> None:
        asked: deque[tuple[int, int, int]] = deque()  # request, offset, length
        next_offset = self.arrived
        while self.arrived < self.size:
            while next_offset < self.size and len(asked) < IN_FLIGHT:
                length = min(PIECE, self.size - next_offset)
                asked.append((wire.ask_read(handle, self.remote, next_offset, length), next_offset, length))
                next_offset += length
            number, offset, length = asked.popleft()
            piece = wire.answer(number)
            if not piece:
                raise SumMismatch(self.target.name, f"it ended after {offset} of {self.size} bytes")
            if len(piece) > length:
                raise BadAnswer(wire.host, "more bytes than were asked for")
            self._file.write(piece)
            self._digest.update(piece)
            self.arrived += len(piece)
            if len(piece) < length:  # a server may give less at a time than it is asked for
                rest = offset + len(piece), length - len(piece)
                asked.appendleft((wire.ask_read(handle, self.remote, *rest), *rest))
            if self._told is not None:
                self._told(self.arrived, self.size)

    def _keep(self, mtime: int | None) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        if mtime is not None:
            os.utime(self._file.fileno(), (mtime, mtime))
        self._temporary.replace(self.target)

    def _hash_what_is_there(self) -> None:
        while piece := self._file.read(1 << 20):
            self._digest.update(piece)
            self.arrived += len(piece)

    def _start_over(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.arrived = 0
        self._is_resumed = False


def _mtime(seconds: float) -> int:
    return min(max(int(seconds), 0), 0xFFFFFFFF)  # version 3 has 32 bits for it
