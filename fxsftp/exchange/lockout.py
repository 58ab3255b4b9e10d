"""Lock-out: after too many wrong passwords or codes, an account takes no password for a while, wherever it is tried.

Counted by a hash of the name that was typed, so that an account which nobody has costs and answers the same.  Keys go
on working.  The owner is told once for each time.
"""

from __future__ import annotations

from fxsftp.domain.model import User
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.notices import Notices
from fxsftp.exchange.tokens import hashed


class Lockout:
    """One count for SFTP and the portal."""

    def __init__(self, holdings: Holdings, notices: Notices) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._accounts = holdings.registry.accounts
        self._policy = holdings.policy
        self._notices = notices

    def until(self, email: str, now: float) -> float | None:
        """When the account takes passwords again, if it does not now."""
        until = self._accounts.locked_until(_name(email))
        return until if until is not None and until > now else None

    def wrong(self, email: str, user: User | None, now: float) -> None:
        """One more wrong try, of what may be nobody's account; while it is closed, tries count for nothing."""
        name, is_closed = _name(email), False
        with self._registry.atomic(durable=False):  # a power cut may forget some tries
            if self.until(email, now) is not None:
                return
            count = self._accounts.add_try(name, now, now - self._policy.wrong_within)
            if count >= self._policy.wrong_passwords:
                self._accounts.lock(name, now + self._policy.locked)
                is_closed = user is not None
                if user is not None:
                    self._tell(user, count, now)
        if is_closed:
            self._holdings.ring()

    def _tell(self, user: User, count: int, now: float) -> None:
        with self._registry.atomic():
            minutes = max(1, round(self._policy.locked / 60))
            self._notices.to_user("locked", user, now, minutes=minutes)
            self._registry.record.tell(now, "exchange", "password log-in closed", f"{user.email}: {count} wrong tries")

    def lift(self, email: str) -> None:
        """As if nothing wrong had been tried."""
        with self._registry.atomic():
            self._accounts.unlock(_name(email))


def _name(email: str) -> str:
    return hashed(email.casefold())
