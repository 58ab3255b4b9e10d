"""Guests: who is logged in by SFTP, in any process, and how many of them there may be.

A connection has a row from when its guest has come in until a moment after they have left: it goes together with
others', or with who comes next.  What a dead process served does not count.
Where there is no room left for a row they come in all the same, counted in memory: it may be they who make room.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from fxsftp.domain.model import User
from fxsftp.errors import HouseFull, StoreFull, TooManyOfYours
from fxsftp.exchange.holdings import Holdings

log = logging.getLogger("fxsftp.exchange")


class Guests:
    """The book at the door."""

    def __init__(self, holdings: Holdings) -> None:
        self._registry = holdings.registry
        self._rows = holdings.registry.guests
        self._workers = holdings.workers
        self._without_row: dict[str, int] = {}  # the users, by guest
        self._gone: set[str] = set()  # whose row is still there

    def come_in(self, user: User, guest: str, *, of_user: int, in_all: int, now: float) -> None:
        """One more connection, by a name of its own.  Raises TooManyOfYours or HouseFull, and then it is none."""
        try:
            with self._registry.atomic(durable=False):
                gone = self._forget()
                of_theirs = list(self._without_row.values()).count(user.id)
                if self._is_full(self._rows.of_user(user.id), of_user - of_theirs):
                    raise TooManyOfYours(of_user)
                if self._is_full(self._rows.all(), in_all - len(self._without_row)):
                    raise HouseFull
                self._rows.add(guest, self._workers.name, user.id)
                self._registry.people.change(user.id, seen=now)
        except StoreFull:
            log.error("%s has come in, though the registry's disk is full, and nobody can write there", user.email)
            self._without_row[guest] = user.id
        else:
            self._gone -= gone

    def leave(self, guest: str) -> None:
        """They are gone, and count no more for who comes to this process.  For a loop: `see_off` tells the others."""
        if self._without_row.pop(guest, None) is None:
            self._gone.add(guest)

    def see_off(self) -> None:
        """Tell the other processes who has left.  Where that can't be written, whoever comes or leaves next does."""
        if not self._gone:
            return
        with suppress(StoreFull):
            with self._registry.atomic(durable=False):
                gone = self._forget()
            self._gone -= gone

    def _forget(self) -> set[str]:
        gone = set(self._gone)
        for guest in gone:
            self._rows.forget(guest)
        return gone

    def _is_full(self, by_worker: Mapping[str, int], most: int) -> bool:
        if sum(by_worker.values()) < most:
            return False
        return sum(count for worker, count in by_worker.items() if self._workers.is_there(worker)) >= most
