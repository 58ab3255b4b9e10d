"""Room: how much of the disk bodies may still take, so that there is always some left for all else.

A disk that bodies have filled lets nobody log in, and so nobody remove what fills it: the registry needs room, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from fxsftp.domain.policy import kept_free
from fxsftp.errors import StoreFull

AGAIN = 1.0  # seconds after which the disk is asked again, for others fill it as well
SOME = 4 << 20  # bytes after which it is, too
PARTS = 16  # of the reserve: on a small disk after less, since each of several processes may take so much unasked


class Room:
    """On the disk of one folder, in one process.  May be used in any thread: at worst the disk is asked once more."""

    def __init__(self, folder: Path, reserve: int, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> None:
        self._folder, self._reserve, self._statvfs = folder, reserve, statvfs
        self._left = 0  # bytes that may be taken unasked …
        self._until = 0.0  # … until then

    def free(self) -> int:
        """How many bytes may still be taken."""
        disk = self._statvfs(self._folder)
        reserve = kept_free(self._reserve, disk.f_blocks * disk.f_frsize)
        free = max(0, disk.f_bavail * disk.f_frsize - reserve)
        self._left = min(free, SOME, reserve // PARTS)
        self._until = time.monotonic() + AGAIN
        return free

    def take(self, count: int) -> None:
        """So many bytes are about to be written.  Raises StoreFull when they would touch the reserve.

        It stands in the way of every chunk, and so seldom asks the disk.
        """
        if self._reserve and (count > self._left or time.monotonic() > self._until) and count > self.free():
            raise StoreFull
        self._left -= count
