"""Tokens: what only one person may know, on its way to them by mail or SMS.

The registry keeps a hash, which nobody can go back from; the courier gets the token itself, sealed to its key in the
secrets, by the id of the notice that carries it.  So no row tells a token, and no service but the courier can read one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from fxsftp import seal
from fxsftp.domain import ids
from fxsftp.domain.model import User
from fxsftp.errors import Unavailable
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.notices import Notices


def hashed(token: str) -> str:
    """What the registry keeps of a token, and of an address whose owner may be nobody."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Tokens:
    """Links in the making, and digits that confirm."""

    def __init__(self, holdings: Holdings, notices: Notices) -> None:
        self._holdings = holdings
        self._accounts = holdings.registry.accounts
        self._notices = notices

    def link(self, kind: str, notice: str, user: User | None, asked: str, now: float, **facts: object) -> None:
        """Within somebody's transaction: a new link for `user`, and the mail that carries it.

        The user's older links of this kind are over.  For nobody (`user` is None) the same work is done, and no mail
        goes out: how long it takes tells nothing.
        """
        policy = self._holdings.policy
        until = now + (policy.invitation if kind == "invited" else policy.password_link)
        token = ids.new_token()
        if user is not None:
            self.over(self._accounts.end_links(user.id, kind, now), now)
        if user is None:
            notice_id = secrets.token_hex(12)
        else:
            notice_id = self._notices.to_user_with(notice, "mail", user, now, until=until, **facts)
        self._accounts.add_link(hashed(token), kind, user.id if user else None, hashed(asked), notice_id, now, until)
        self._keep(notice_id, token, until)

    def digits(self, user: User, what: str, digits: str, now: float, until: float) -> str:
        """Within somebody's transaction: the SMS that carries them; answers its id."""
        notice_id = self._notices.to_user_with("confirm", "sms", user, now, what=what, until=until)
        self._keep(notice_id, digits, until)
        return notice_id

    def _keep(self, notice_id: str, token: str, until: float) -> None:
        # First, and durable: what is kept for a notice that then is not there is swept when it is too old.
        self._holdings.secrets.keep_link(notice_id, seal.seal_small(token.encode(), self.courier_lock), until)

    @property
    def courier_lock(self) -> seal.X25519Lock:
        """Raises Unavailable in a process that can't write to the courier."""
        lock = self._holdings.keys.courier_lock
        if lock is None:
            raise Unavailable("it has no courier key to seal links and codes to")
        return lock

    def over(self, notice_ids: Sequence[str], now: float) -> None:
        """Within somebody's transaction: what these notices carry is of no use any more."""
        if notice_ids:
            self._notices.supersede(notice_ids, now)
            self._holdings.later(self._holdings.secrets.erase_links, notice_ids)
