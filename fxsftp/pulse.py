"""The pulse: a process that serves says each second that it lives, to whoever would replace it.

Its loop says so, and only while the threads that it leaves its work to get on with it.  Those may honestly be busy for
an hour, all of them: a merge, scrypt, a checkpoint, a disk that is slow.  So a question that is not answered means
little as long as others are, or a thread computes, or waits for the disk.  When for a while there is none of that, the
threads wait for each other, for good, and the process says nothing any more.

What is counted are the seconds in which it could look, not those of a clock: it may itself have been away, as when the
machine slept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

EVERY = 1.0  # seconds
# Looks; longer than whatever threads may wait for and then give up: 10 s each time that a store is busy, and 30 s for
# what another session has open to be put away.
STUCK = 90
COMPUTING = 0.5  # seconds of processor time; who looks every few ms whether the wait is over uses less in a minute

log = logging.getLogger("fxsftp")


async def beating(
    say: Callable[[], None],
    trip: Callable[[], Awaitable[object]],
    answers: Callable[[], int] = lambda: 0,
    *,
    every: float = EVERY,
    stuck: int = STUCK,
) -> None:
    """Say that this process lives, until cancelled.

    `trip` asks the threads for nothing and comes back; `answers` is how often they have answered so far.
    """
    signs = _Signs(answers)
    while True:
        asked = asyncio.ensure_future(trip())
        try:
            say()
            quiet = 0
            while True:
                await asyncio.sleep(every)
                if asked.done():
                    break
                quiet = 0 if signs.are_new() else quiet + 1
                if quiet < stuck:
                    say()
                elif quiet == stuck:
                    log.error("the threads of this process do nothing any more, and wait; it can't go on by itself")
        finally:
            asked.cancel()
        asked.result()


class _Signs:
    """What shows from outside that threads are at work."""

    def __init__(self, answers: Callable[[], int]) -> None:
        self._answers = answers
        self._answered, self._computed = answers(), _computed()

    def are_new(self) -> bool:
        """Whether something was answered or computed since it was last so, or waits for the disk just now."""
        answered, computed = self._answers(), _computed()
        has_got_on = answered != self._answered or computed - self._computed >= COMPUTING
        if has_got_on:
            self._answered, self._computed = answered, computed
        return has_got_on or any(waits_for_disk(task) for task in Path("/proc/self/task").iterdir())


def _computed() -> float:
    """Seconds of the processor that the other threads of this process have had."""
    return time.process_time() - time.thread_time()


def waits_for_disk(task: Path) -> bool:
    """Whether this thread, or process, of /proc is in the middle of it: `D`, from which no signal wakes it either."""
    with suppress(OSError):  # it has ended
        return task.joinpath("stat").read_bytes().rpartition(b")")[2].split()[0] == b"D"
    return False
