"""The doorway: who is answered, who waits a little, and who is turned away, before anything is computed for them.

Rules only: no sockets here, and time comes in as an argument.  A stranger is a connection that has not logged in.

    one source knocks fast     its strangers wait in line, and are answered so many a second: none is lost
    many stand unanswered      from `start` on, a new one is turned away by chance, growing to all at `full`
                               (OpenSSH's MaxStartups); the only stranger of a source always comes in below `full`
    one source fills it all    it can't: half of the places are the others'

A source is an IPv4 address, or the /64 of an IPv6 address, for which one machine may have as many as it likes.
"""

from __future__ import annotations

import ipaddress
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Generic, TypeVar

BURST = 5  # strangers of a source that are answered at once; with 15 a second, rclone's 12 wait half a second
WAITING_MOST = 400  # places in the lines: a socket each, so that a morning's rush behind one firewall is served

RUSH = 12  # connections that a single client opens at once; rclone does

_CHANCE = SystemRandom()

Stranger = TypeVar("Stranger", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Startups:
    """`start:rate:full`, as OpenSSH's MaxStartups: from `start` strangers on, `rate` percent are turned away."""

    start: int = 30
    rate: int = 30
    full: int = 100

    def among(self, workers: int) -> Startups:
        """For each of so many processes that share a door.  Chance may send all of a rush to one of them."""
        if workers == 1:
            return self
        start = max(math.ceil(self.start / workers), min(self.start, RUSH))
        return Startups(start, self.rate, max(math.ceil(self.full / workers), min(self.full, 2 * start)))

    def chance(self, strangers: int) -> float:
        """How likely one more is turned away while there are so many."""
        if strangers < self.start:
            return 0.0
        if strangers >= self.full:
            return 1.0
        least = self.rate / 100
        return least + (1 - least) * (strangers - self.start) / (self.full - self.start)


@dataclass(slots=True)
class _Source(Generic[Stranger]):
    line: deque[Stranger] = field(default_factory=deque)
    answered: int = 0
    due: float = -math.inf  # when the next one's turn is, were none left over from quieter times


class Doorway(Generic[Stranger]):
    """Everyone between connecting and logging in."""

    def __init__(self, startups: Startups, rate: float, *, chance: Callable[[], float] = _CHANCE.random) -> None:
        """`rate` is how many a second are answered of one source; 0: all at once."""
        self._startups, self._rate, self._chance = startups, rate, chance
        self._quiet = (BURST - 1) / rate if rate else 0.0  # seconds after which nobody remembers how fast one knocked
        self._sources: dict[str, _Source[Stranger]] = {}
        self._waiting: dict[Stranger, str] = {}
        self._answered: dict[Stranger, str] = {}

    def arrive(self, who: Stranger, address: str, now: float) -> bool:
        """Get in line; False if there is no place.  `turns` says when it comes to them."""
        if len(self._sources) > 2 * WAITING_MOST:
            self._forget(now)
        name = source(address)
        found = self._sources.setdefault(name, _Source())
        if len(self._waiting) >= WAITING_MOST or len(found.line) >= WAITING_MOST // 2:
            return False
        found.line.append(who)
        self._waiting[who] = name
        return True

    def turns(self, now: float) -> Iterator[tuple[Stranger, bool]]:
        """Whose turn it is, and whether they are answered or turned away."""
        for name in dict.fromkeys(self._waiting.values()):
            found = self._sources[name]
            while found.line and self._is_due(found, now):
                who = found.line.popleft()
                del self._waiting[who]
                is_in = not self._is_too_many(found)
                if is_in:
                    found.answered += 1
                    self._answered[who] = name
                yield who, is_in

    def next_turn(self, now: float) -> float | None:
        """Seconds until somebody's turn comes; None if nobody waits."""
        return min((max(0.0, self._sources[name].due - now) for name in set(self._waiting.values())), default=None)

    def leave(self, who: Stranger) -> None:
        """They are gone, or no stranger any more.  Without effect on who was never here."""
        if name := self._answered.pop(who, None):
            self._sources[name].answered -= 1
        elif name := self._waiting.pop(who, None):
            self._sources[name].line.remove(who)

    def _is_due(self, found: _Source[Stranger], now: float) -> bool:
        if not self._rate:
            return True
        found.due = max(found.due, now - self._quiet)
        if found.due > now:
            return False
        found.due += 1 / self._rate
        return True

    def _is_too_many(self, found: _Source[Stranger]) -> bool:
        strangers, full = len(self._answered), self._startups.full
        if strangers >= full or found.answered >= max(1, full // 2):
            return True
        return found.answered > 0 and self._chance() < self._startups.chance(strangers)

    def _forget(self, now: float) -> None:
        self._sources = {
            name: found
            for name, found in self._sources.items()
            if found.line or found.answered or found.due > now - self._quiet
        }


def source(address: str) -> str:
    """Whom an address stands for."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return str(found)
