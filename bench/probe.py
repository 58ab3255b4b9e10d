"""Somebody else in the house: a session that asks something every 10 ms, and notes how long each answer took.

By turns a STAT, for which the registry is read, and a SETSTAT, for which it is written.

A process of its own, so that what it measures is the server and not the client beside it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fronts.sftp.raw import MKDIR, NO_ATTRS, OK, SETSTAT, STAT, Raw, attrs, string
from tests.walks.guests import ROOT, Guest, until

EVERY = 0.01  # seconds


@dataclass
class Waits:
    """What was asked, when, on the monotonic clock, and how many seconds it waited for its answer."""

    found: list[tuple[str, float, float]] = field(default_factory=list)

    def within(self, begin: float, end: float) -> str:
        """Those asked in a span, in one line."""
        return "   ".join(self._said(what, begin, end) for what in ("reads", "writes"))

    def _said(self, what: str, begin: float, end: float) -> str:
        waits = sorted(1000 * wait for each, asked, wait in self.found if each == what and begin <= asked <= end)
        if not waits:
            return f"no {what}"
        p50, p99, over = waits[len(waits) // 2], waits[int(0.99 * (len(waits) - 1))], sum(wait > 100 for wait in waits)
        return f"{len(waits):4} {what} p50 {p50:5.1f} p99 {p99:5.1f} max {waits[-1]:5.1f} ms, {over} over 100"

    def slowest(self, begin: float) -> str:
        """When the five slowest were asked, in seconds after `begin`."""
        worst = sorted(self.found, key=lambda each: -each[2])[:5]
        return ", ".join(f"{what[:-1]} {1000 * wait:.0f} ms at {asked - begin:.1f} s" for what, asked, wait in worst)


@contextmanager
def probing(guest: Guest, port: int, path: str) -> Iterator[Waits]:
    """Ask all the while about a folder of `guest`, which is made; the answers are there afterwards."""
    noted, waits = guest.home / "waits", Waits()
    asking = subprocess.Popen(
        [sys.executable, "-m", "bench.probe", str(port), guest.email, str(guest.key), path, str(noted)],
        cwd=ROOT, stdin=subprocess.PIPE,
    )  # fmt: skip
    until(noted.exists)
    try:
        yield waits
    finally:
        asking.communicate(timeout=60)  # it ends with its stdin
        lines = [line.split() for line in noted.read_text().splitlines()]
        waits.found += [(what, float(asked), float(wait)) for what, asked, wait in lines]


async def probe(port: int, user: str, key: str, path: str, begin: Callable[[], None]) -> list[str]:
    """Ask until stdin ends; `begin` is called before the first time."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    found: list[str] = []
    async with Raw(port, user, client_keys=[key]) as raw:
        assert (await raw.ask(MKDIR, string(path), NO_ATTRS)).code == OK
        begin()
        while not over.is_set():
            asked, is_read = time.monotonic(), len(found) % 2 == 0
            if is_read:
                await raw.ask(STAT, string(path))
            else:
                assert (await raw.ask(SETSTAT, string(path), attrs(times=(len(found), len(found))))).code == OK
            wait = time.monotonic() - asked
            found.append(f"{'reads' if is_read else 'writes'} {asked} {wait}")
            await asyncio.sleep(max(0, EVERY - wait))
    return found


if __name__ == "__main__":
    _, line, who, with_key, looks_at, says = sys.argv
    there = Path(says)
    there.write_text("\n".join(asyncio.run(probe(int(line), who, with_key, looks_at, there.touch))))
