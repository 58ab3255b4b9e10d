"""Guests: who is logged in by SFTP, in any process, and how many of them there may be.

A connection has a row from when its guest has come in until they have left.  What a dead process served does not count.
"""

from __future__ import annotations

from collections.abc import Mapping

from fxsftp.domain.model import User
from fxsftp.errors import HouseFull, TooManyOfYours
from fxsftp.exchange.holdings import Holdings


class Guests:
    """The book at the door."""

    def __init__(self, holdings: Holdings) -> None:
        self._registry = holdings.registry
        self._rows = holdings.registry.guests
        self._workers = holdings.workers

    def come_in(self, user: User, guest: str, *, of_user: int, in_all: int, now: float) -> None:
        """One more connection, by a name of its own.  Raises TooManyOfYours or HouseFull, and then it is none."""
        with self._registry.atomic(durable=False):
            if self._is_full(self._rows.of_user(user.id), of_user):
                raise TooManyOfYours(of_user)
            if self._is_full(self._rows.all(), in_all):
                raise HouseFull
            self._rows.add(guest, self._workers.name, user.id)
            self._registry.people.change(user.id, seen=now)

    def leave(self, guest: str) -> None:
        """It is gone."""
        with self._registry.atomic(durable=False):
            self._rows.forget(guest)

    def _is_full(self, by_worker: Mapping[str, int], most: int) -> bool:
        if sum(by_worker.values()) < most:
            return False
        return sum(count for worker, count in by_worker.items() if self._workers.is_there(worker)) >= most
