"""Visits: who is here by browser.  Of the token in the cookie the registry keeps a hash only.

A visit begins `half` where a second factor is due and is made whole with a new token, so that one which somebody
planted or saw before log-in is worth nothing after it.  It ends by itself after `portal.idle` without a request, or
`portal.longest`.
"""

from __future__ import annotations

from dataclasses import replace

from fxsftp.domain import ids
from fxsftp.domain.model import Stage, User, Visit
from fxsftp.domain.policy import MINUTE
from fxsftp.errors import Forbidden
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.tokens import hashed

HALF = 10 * MINUTE  # to find the phone and type six digits
CONFIRMED = 15 * MINUTE  # after which a password is asked for again before what matters
TOUCH = MINUTE  # between two writings of when a visit was last seen


class Visits:
    """Found with every request."""

    def __init__(self, holdings: Holdings) -> None:
        self._registry = holdings.registry
        self._accounts = holdings.registry.accounts
        self._policy = holdings.policy

    def begin(self, user: User, now: float) -> str:
        """Password and, where it is due, second factor were right; answers the token for the cookie."""
        return self._begin(user, Stage.WHOLE, now)

    def half(self, user: User, now: float) -> str:
        """The password was right, and the second factor is due."""
        return self._begin(user, Stage.HALF, now)

    def _begin(self, user: User, stage: Stage, now: float) -> str:
        token = ids.new_token()
        with self._registry.atomic(durable=False):  # lost in a power cut, it is logged in again
            self._accounts.add_visit(hashed(token), user.id, stage, now, now if stage is Stage.WHOLE else None)
        return token

    def find(self, token: str, now: float) -> Visit | None:
        """The visit of this token, if it goes on and its user may still be here.  One query; writes nothing."""
        found = self._accounts.visit(hashed(token), *self._since(now))
        if found is None or (found.stage is Stage.HALF and found.made <= now - HALF):
            return None
        is_confirmed = found.confirmed is not None and found.confirmed > now - CONFIRMED
        return replace(found, is_confirmed=is_confirmed)

    def _since(self, now: float) -> tuple[float, float]:
        return now - self._policy.visit_idle, now - self._policy.visit_longest

    def touch(self, visit: Visit, now: float) -> None:
        """It goes on; written down once a minute at most, and a half visit is made no longer by it."""
        if visit.stage is Stage.WHOLE and now - visit.seen >= TOUCH:
            with self._registry.atomic(durable=False):
                self._accounts.touch_visit(visit.id, now)

    def elevate(self, token: str, now: float) -> str:
        """The second factor, or the password once more, was right: the same visit, whole and confirmed, by a new token.

        Raises Forbidden when it is over.
        """
        new = ids.new_token()
        with self._registry.atomic(durable=False):
            if self.find(token, now) is None or not self._accounts.elevate_visit(
                hashed(token), hashed(new), now, *self._since(now)
            ):
                raise Forbidden("this log-in is over; log in again")
        return new

    def end(self, token: str) -> None:
        """Log out.  Nothing when it is over already."""
        with self._registry.atomic():
            self._accounts.end_visit(hashed(token))

    def end_all(self, user: User, *, but: str | None = None) -> int:
        """Log out everywhere, save where the token is `but`; answers how many visits that ends."""
        with self._registry.atomic():
            return self._accounts.end_visits(user.id, hashed(but) if but else "")
