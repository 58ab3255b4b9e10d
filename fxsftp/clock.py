"""What time it is, said so that time-outs don't stumble when the wall clock is set.

A process reads the wall once, at its start, and from then on counts with the clock that nobody can set.
That the two have come apart is for the heartbeat to notice (exchange/upkeep.py).
"""

from __future__ import annotations

import time
from pathlib import Path


class SteadyClock:
    """Seconds UTC since 1970, never going back while the process lives.

    Processes that give each other their `start` say the same time, whenever they began.
    """

    def __init__(self, start: float | None = None) -> None:
        self.start = time.time() - time.monotonic() if start is None else start

    def __call__(self) -> float:
        return self.start + time.monotonic()


def boot() -> tuple[float, str]:
    """(seconds since the machine was started, sleep included; which start that was)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME), Path("/proc/sys/kernel/random/boot_id").read_text().strip()
