"""What came ahead of a frontier: parts of a file that wait in memory until the hole before them is filled.

Clients keep many requests in flight, and some send them out of order.  How much may wait is bounded for each draft,
and for all drafts of a process together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from fxsftp.errors import TooFarAhead

AHEAD = 16 << 20  # bytes; 64 requests of 256 KiB, more than any client keeps in flight
AHEAD_PARTS = 4096  # parts; crumbs must not cost much more memory than the bytes that they carry

Part = tuple[int, bytes]  # where it begins, and what it is


class Crowd:
    """How many bytes all drafts of a process together hold ahead of their frontiers, and may hold."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._lock = threading.Lock()  # drafts end in other threads than the one in which they grow

    def admits(self, more: int) -> bool:
        """Count `more` bytes in, if there is room for them."""
        with self._lock:
            if self.size + more > self.limit:
                return False
            self.size += more
            return True

    def leave(self, count: int) -> None:
        """Count bytes out."""
        with self._lock:
            self.size -= count


class Ahead:
    """The parts of one draft that came ahead, in order and without overlap."""

    def __init__(self, limit: int = AHEAD, crowd: Crowd | None = None) -> None:
        self.size = 0  # bytes held
        self._limit = limit
        self._crowd = crowd or Crowd(limit)
        self._parts: list[Part] = []

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def stop(self) -> int:
        """The highest byte there is, plus one; of nothing, 0."""
        return _stop(self._parts[-1]) if self._parts else 0

    def hold(self, offset: int, part: memoryview, frontier: int) -> None:
        """Keep a copy for later, or raise TooFarAhead.  Where it overlaps with something held, the newer wins."""
        newer = (offset, bytes(part))
        if _stop(newer) - frontier > self._limit or len(self._parts) >= AHEAD_PARTS:
            raise TooFarAhead
        if not self._parts or offset >= _stop(self._parts[-1]):
            self._admit(len(part))
            self._parts.append(newer)
        else:
            parts = sorted([*_outside(self._parts, offset, _stop(newer)), newer])
            self._admit(_total(parts) - self.size)
            self._parts = parts

    def next(self, frontier: int) -> memoryview | None:
        """What now follows without a hole, if anything does.  It stays held until it is `taken`."""
        if not self._parts or self._parts[0][0] > frontier:
            return None
        offset, data = self._parts[0]
        return memoryview(data)[frontier - offset :]

    def taken(self) -> None:
        """What `next` gave is held elsewhere now."""
        _, data = self._parts.pop(0)
        self._leave(len(data))

    def cut(self, size: int) -> None:
        """Let go of what lies beyond `size`."""
        self._parts = list(_outside(self._parts, size, max(size, self.stop)))
        self._leave(self.size - _total(self._parts))

    def _admit(self, more: int) -> None:
        if not self._crowd.admits(more):
            raise TooFarAhead
        self.size += more

    def _leave(self, count: int) -> None:
        self._crowd.leave(count)
        self.size -= count


def _stop(part: Part) -> int:
    return part[0] + len(part[1])


def _total(parts: Iterable[Part]) -> int:
    return sum(len(data) for _, data in parts)


def _outside(parts: Iterable[Part], start: int, stop: int) -> Iterable[Part]:
    """Yield what of these parts lies outside [start, stop)."""
    for offset, data in parts:
        if offset < start:
            yield offset, data[: start - offset]
        if offset + len(data) > stop:
            yield max(offset, stop), data[max(0, stop - offset) :]
