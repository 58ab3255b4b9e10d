"""Pace: how often one source may try what costs us much or helps a guesser.

What is guessed at (a password, a code, a link) has limits of its own in the exchange, shared by all fronts; this one
keeps a single source from using up the time of all others.  It is kept in memory and forgets.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

SOURCES = 10_000  # remembered; then the one that was quiet for longest is forgotten


class Pace:
    """So many tries at once, and then so many a minute, for each source."""

    def __init__(self, at_once: int, a_minute: float) -> None:
        self._at_once = float(at_once)
        self._rate = a_minute / 60
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str, now: float) -> bool:
        """Whether this source may try once more; a try that is not allowed counts for nothing."""
        source = source_of(address)
        left, at = self._left.pop(source, (self._at_once, now))
        left = min(self._at_once, left + max(0.0, now - at) * self._rate)
        is_allowed = left >= 1
        self._left[source] = (left - 1 if is_allowed else left, now)
        if len(self._left) > SOURCES:
            self._left.popitem(last=False)
        return is_allowed


def source_of(address: str) -> str:
    """One party: an IPv4 address, or the /64 that one IPv6 customer has."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False).network_address)
    return str(ip)
