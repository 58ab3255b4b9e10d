"""Workers: which processes that serve are alive, told by locks that the kernel lets go when a process ends.

Each process that writes drafts holds one small file in the state's `run/workers` locked while it lives, and signs
with that file's name what it has open.  So a process that was killed is known to be gone at once, and one that lives
is never taken for gone: not when the wall clock is set, not after the machine has slept, not while it is busy.
Nothing here knows drafts or rows.

In the same way a process marks numbers (Marks), for as long as it still has something to write about what they stand
for, and others can look, or wait until it has.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from secrets import token_hex

_NAME = re.compile(r"[0-9a-f]{16}")
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length, process
_LOOK = 0.002  # seconds between two looks whether a mark is gone


class Workers:
    """Those of one exchange, seen by one of its processes.  `ticks` is a clock that nobody can set."""

    def __init__(self, folder: Path, ticks: Callable[[], float] = time.monotonic) -> None:
        self.name = token_hex(8)
        self.ticks = ticks
        self.marks = Marks(folder.parent / "marks")  # deliveries of which reads are still to be written
        self.hands = Marks(folder.parent / "hands")  # users who have something in hand
        self._folder = folder
        self._lock = -1

    def begin(self) -> None:
        """From now on this process is one of them, until `end` or its death."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._folder / f".{self.name}"
        self._lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        new.rename(self._folder / self.name)  # under its name only now: whoever finds it unlocked takes it for dead

    def end(self) -> None:
        """What this process still has open is anybody's to take up."""
        self.marks.end()
        self.hands.end()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # ---- names under what is open

    def signed(self, session: str) -> str:
        """What a session of this process is called in rows."""
        return f"{self.name} {session}"

    def is_mine(self, signed: str) -> bool:
        """Whether this process has signed it."""
        return name_of(signed) == self.name

    # ---- the others

    def is_there(self, name: str) -> bool:
        """Whether the process of this name lives."""
        if name == self.name:
            return True
        if not _NAME.fullmatch(name):
            return False  # what an earlier version wrote
        try:
            found = os.open(self._folder / name, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(found, fcntl.LOCK_SH | fcntl.LOCK_NB)  # any number may look at one time
        except BlockingIOError:
            return True
        finally:
            os.close(found)
        return False

    def dead(self) -> Iterator[str]:
        """Those that have left a file behind."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return
        for name in names:
            if _NAME.fullmatch(name) and not self.is_there(name):
                yield name

    def forget(self, name: str) -> None:
        """Nothing is signed with this name any more."""
        (self._folder / name).unlink(missing_ok=True)


def name_of(signed: str) -> str:
    """The process in a signed name."""
    return signed.partition(" ")[0]


class Turn:
    """What one process does for all: whoever takes the turn first, until it lets go or dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = -1

    def take(self) -> bool:
        """Whether it is this process's, now or already."""
        if self._lock >= 0:
            return True
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.open(self._path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(found)
            return False
        self._lock = found
        return True

    def let_go(self) -> None:
        """Somebody else's turn."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Marks:
    """Numbers that processes have marked.  Each is a byte of one file, which stays empty; a mark is a lock on it.

    Locks of an open file, not of a process (F_OFD_SETLK): who waits and who marks may be threads of the same one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._opening = threading.Lock()

    def mark(self, number: int) -> bool:
        """Mark it, unless somebody just looks whether it is marked."""
        self._open()
        return _lock(self._file, fcntl.F_RDLCK, number)

    def _open(self) -> None:
        with self._opening:
            if self._file < 0:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)

    def unmark(self, number: int) -> None:
        """There is nothing more to write about it."""
        if self._file >= 0:
            _lock(self._file, fcntl.F_UNLCK, number)

    def is_elsewhere(self, number: int) -> bool:
        """Whether another process has marked it.  Who looks so is in nobody's way."""
        self._open()
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        found = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, asked)
        return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)

    def wait(self, numbers: Iterable[int], seconds: float) -> None:
        """Return when nobody has marked one of these any more, or after so many seconds."""
        until = time.monotonic() + seconds
        try:
            found = os.open(self._path, os.O_RDWR | _FLAGS)
        except (FileNotFoundError, PermissionError):  # nobody has, or nobody who could be waited for
            return
        try:
            for number in numbers:
                while not _lock(found, fcntl.F_WRLCK, number) and time.monotonic() < until:
                    time.sleep(_LOOK)
        finally:
            os.close(found)  # and all that was locked by it

    def end(self) -> None:
        """What is marked is not any more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lock(file: int, how: int, number: int) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(how, os.SEEK_SET, number, 1, 0))
    except BlockingIOError:
        return False
    except OSError as failure:
        if failure.errno == errno.EACCES:  # POSIX allows either
            return False
        raise
    return True
