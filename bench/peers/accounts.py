"""What a whole tree of processes costs: its CPU seconds, and the most memory that it held.

sshd forks for each connection and some of its children live for milliseconds, so neither looking at one process nor
looking now and then is enough.  The kernel's books are complete, if read right:

- a living process has utime + stime, with those of all its threads, also the ended ones;
- one that has ended and was waited for is in its parent's cutime + cstime, with all that it had waited for itself;
- one that nobody waits for (SIGCHLD ignored) is in no book: of those we know what we saw last, so we look often.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds; the kernel counts finer and tells so much
EVERY = 0.02  # seconds between two looks
WEIGHED = 10  # looks between two that also ask for memory, which costs the kernel a walk over all pages
QUIET = 0.05  # seconds in which nothing was used: the work is over
Process = tuple[int, int]  # its id, and when it began: ids are used again


@dataclass(frozen=True)
class Book:
    """One process as the kernel has it, in ticks."""

    own: int
    waited: int


@dataclass
class Look:
    """All of a tree at one moment."""

    books: dict[Process, Book] = field(default_factory=dict)

    @property
    def waited(self) -> int:
        """What those have used that were waited for."""
        return sum(book.waited for book in self.books.values())


class Meter:
    """`with Meter(pid) as meter:` … and then `meter.seconds` and `meter.peak`."""

    def __init__(self, root: int) -> None:
        self.seconds = 0.0
        self.peak = 0  # bytes
        self._root = root
        self._last: dict[Process, Book] = {}
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look_often, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._first = self._look()
        self._weigh(self._first)
        self._looking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._come_to_rest()
        self._over.set()
        self._looking.join()
        end = self._look()
        self._weigh(end)
        self.seconds = self._used(end) * TICK

    def _used(self, end: Look) -> int:
        def before(process: Process) -> int:
            book = self._first.books.get(process)
            return book.own if book else 0

        gone = self._last.keys() - end.books.keys()
        living = sum(book.own - before(process) for process, book in end.books.items())
        seen = sum(self._last[process].own - before(process) for process in gone)
        # A parent's book has all that a child ever used, also before we began.
        waited = end.waited - self._first.waited - sum(before(process) for process in gone)
        return living + max(seen, waited)

    def _come_to_rest(self, deadline: float = 5) -> None:
        """Wait until who came for this work has gone, and those who stay do nothing."""
        end, before = time.monotonic() + deadline, self._look()
        while time.monotonic() < end:
            time.sleep(QUIET)
            after = self._look()
            if after.books.keys() <= self._first.books.keys() and after == before:
                return
            before = after

    # ---- looking

    def _look_often(self) -> None:
        count = 0
        while not self._over.wait(EVERY):
            look, count = self._look(), count + 1
            if count % WEIGHED == 0:
                self._weigh(look)

    def _look(self) -> Look:
        """Also at those who were seen once and whose parent has gone."""
        look, tree = Look(), set(below(self._root))
        known = list(self._last)
        for pid in {*tree, *(pid for pid, _ in known)}:
            found = _book(pid)
            if found and (pid in tree or found[0] in known):
                look.books[found[0]] = found[1]
        self._last |= look.books
        return look

    def _weigh(self, look: Look) -> None:
        self.peak = max(self.peak, sum(pss(pid) for pid, _ in look.books))


def below(root: int) -> Iterator[int]:
    """A process and all those below it."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it has just ended


def anonymous_below(root: int) -> int:
    """The same for a whole tree, without pages of files: any Python that comes or goes on the machine moves those."""
    return sum(pss(pid, "Pss_Anon:") for pid in below(root))


def pss(pid: int, what: str = "Pss:") -> int:
    """A process's share of the memory, in bytes; pages that several have are shared out among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(what)), 0)


def _book(pid: int) -> tuple[Process, Book] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # from the third on: a name may hold blanks and brackets
    # One that has ended and was not waited for yet (Z) still stands for its own times.
    own, waited = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return (pid, int(fields[19])), Book(own, waited)
