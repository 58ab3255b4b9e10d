"""Notices: which kinds there are, what may become of one, and when one may go.

All of it is data, or a question over values; chance and time are arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fxsftp.errors import BadTimes

WAYS = ("mail", "sms", "webhook")  # all there are; the first two lead to people


@dataclass(frozen=True, slots=True)
class Sort:
    """One kind of notice: by which ways it goes, and what it may wait for.

    `may_wait`: it may stand in the mail of the day of a user who wants one.  `warns`: it keeps to nobody's quiet hours.
    `carries`: what only its reader may know, and no row has: the "code" of a delivery, the "digits" that confirm a
    change (both by SMS and never by mail), or the token of a "link" (by mail and never by SMS).
    """

    ways: tuple[str, ...] = ("mail",)
    may_wait: bool = False
    warns: bool = False
    carries: str = ""


# What programs are told stands in exchange/events.
SORTS: Mapping[str, Sort] = {
    # to a recipient
    "invited": Sort(carries="link"),
    "arrived": Sort(may_wait=True),
    "code": Sort(("sms",), carries="code"),
    "reminder": Sort(),  # tomorrow may be too late for it
    "recalled": Sort(may_wait=True),
    "wrong_codes": Sort(warns=True),
    # to a sender
    "collected": Sort(may_wait=True),
    "removed_unread": Sort(may_wait=True),
    "expired_unread": Sort(may_wait=True),
    "unfinished": Sort(),
    "held": Sort(),
    "not_delivered": Sort(),
    # about an account
    "password_link": Sort(carries="link"),
    "confirm": Sort(("sms",), warns=True, carries="digits"),  # somebody waits for it, at whatever hour
    "changed": Sort(("mail", "sms"), warns=True),
    "locked": Sort(warns=True),  # not by SMS: strangers can bring it about, and each costs money
    "quota": Sort(),
    # of the exchange's own
    "digest": Sort(),
    "test": Sort(("mail", "sms"), warns=True),
}

# What may become of a notice.  A final state is left by a person's word only ('fxsftp notice retry').
MOVES: Mapping[str, tuple[str, ...]] = {
    "due": ("carried", "delivered", "failed", "dropped"),
    "carried": ("delivered", "failed"),
    "delivered": (),
    "failed": (),
    "dropped": (),
}

BACKOFF = (30.0, 120.0, 600.0, 1800.0, 3600.0)  # seconds; the last one repeats
JITTER = 0.2  # of it, either way: what failed together must not come back together


def backoff(attempts: int, chance: float) -> float:
    """How long to wait after so many attempts; `chance` is from 0 to 1."""
    return BACKOFF[min(max(attempts, 1), len(BACKOFF)) - 1] * (1 - JITTER + 2 * JITTER * chance)


# ---- times of the day --------------------------------------------------------------------------------

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


def known_zone(name: str) -> str:
    """The name of a time zone, as the system's list has it.  Raises BadTimes."""
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadTimes(name, "it is no time zone; write it like Europe/Oslo") from None


def known_quiet(text: str) -> str:
    """Quiet hours, `22:00-07:00`.  Raises BadTimes."""
    first, _, last = text.partition("-")
    if not (_TIME.fullmatch(first) and _TIME.fullmatch(last)) or first == last:
        raise BadTimes(text, "write quiet hours like 22:00-07:00")
    return text


def known_time(text: str) -> str:
    """A time of the day, `08:00`.  Raises BadTimes."""
    if not _TIME.fullmatch(text):
        raise BadTimes(text, "write a time of the day like 08:00")
    return text


def quiet_until(quiet: str | None, zone: str, now: float) -> float | None:
    """When the quiet hours end in which `now` lies, or None when it lies in none."""
    if not quiet:
        return None
    first, _, last = quiet.partition("-")
    here = datetime.fromtimestamp(now, ZoneInfo(zone))
    begins, ends, clock = time.fromisoformat(first), time.fromisoformat(last), here.time()
    is_quiet = begins <= clock < ends if begins < ends else clock >= begins or clock < ends
    return next_time(last, zone, now) if is_quiet else None


def next_time(of_day: str, zone: str, now: float) -> float:
    """When it is next this time of the day there; always later than `now`."""
    here = datetime.fromtimestamp(now, ZoneInfo(zone))
    at = datetime.combine(here.date(), time.fromisoformat(of_day), here.tzinfo)
    while at.timestamp() <= now:  # an hour that a change of the clock leaves out or repeats makes no difference
        at = datetime.combine(at.date() + timedelta(days=1), at.time(), here.tzinfo)
    return at.timestamp()
