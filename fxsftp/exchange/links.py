"""Links: how somebody comes to a password.  An invitation leads to a password link, and that to a password.

A link comes by mail and sets or resets the account password, nothing more: neither the phone nor the second factor,
for these must not fall to the mailbox.  GET looks, POST acts; of two at once exactly one wins.  Who asks for a link
hears the same after the same work, whether the address is anybody's or not.
"""

from __future__ import annotations

from fxsftp.domain.model import Kind, Standing, User
from fxsftp.domain.policy import HOUR
from fxsftp.errors import LinkOver
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.lockout import Lockout
from fxsftp.exchange.people import People
from fxsftp.exchange.tokens import Tokens, hashed

ASKED = 5  # password links for one address in an hour: enough for who looks in the wrong mailbox, too few to flood one


class Links:
    """Looked at, used up, sent anew."""

    def __init__(self, holdings: Holdings, people: People, drops: Drops, tokens: Tokens, lockout: Lockout) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._accounts = holdings.registry.accounts
        self._people = people
        self._drops = drops
        self._tokens = tokens
        self._lockout = lockout

    def look(self, kind: str, token: str, now: float) -> User:
        """Whose link it is; nothing is used up.  `kind` is "invited" or "password".  Raises LinkOver."""
        link = self._accounts.link(hashed(token), kind, now)
        user = self._registry.people.by_id(link.user_id) if link else None
        if user is None or not may_have_password(user):
            raise LinkOver
        return user

    def request_password(self, email: str, now: float) -> None:
        """A mail with the link that sets a password, to the user of this address if there is one.

        Older ones work no more.  Asked for too often, and for who is unknown, disabled or a group, it is the same to
        the caller, and no mail goes out.
        """
        name = email.strip().casefold().encode("utf-8", "replace").decode()  # half a letter is in no address of ours
        with self._registry.atomic():
            if self._accounts.asked(hashed(name), "password", now - HOUR) >= ASKED:
                return
            found = self._registry.people.by_email(name)
            user = found if found and may_have_password(found) else None
            self._tokens.link("password", "password_link", user, name, now)
            if user is not None:
                self._registry.record.tell(now, "portal", "password link asked for", user.email)
        self._holdings.ring()

    def request_by_invitation(self, token: str, now: float) -> None:
        """The same for who was invited, who thereby uses the invitation up.  Raises LinkOver."""
        with self._registry.atomic():
            user = self.look("invited", token, now)
            if not self._accounts.use_link(hashed(token), "invited", now):  # the moment of truth, once it is committed
                raise LinkOver
            self._tokens.link("password", "password_link", user, user.email, now)
            self._registry.record.tell(now, user.email, "invitation used")
        self._holdings.ring()

    def set_password(self, token: str, password: str, now: float) -> User:
        """The password is set and the link used up.  Raises LinkOver; BadPassword, and then the link still works.

        Who was invited is registered by it.  All visits of the user end, and a locked account opens.  Slow: Argon2id.
        """
        user = self.look("password", token, now)
        hashed_password = self._people.hash_password(user, password)
        with self._registry.atomic():
            user = self.look("password", token, now)  # who may have been disabled while it was hashed
            if not self._accounts.use_link(hashed(token), "password", now):  # the moment of truth, once committed
                raise LinkOver
            self._tokens.over(self._accounts.end_links(user.id, "invited", now), now)
            self._accounts.end_visits(user.id)
            if not user.has_password:
                self._accounts.set_totp(user.id, allowed_until=now + HOUR)  # who registers may set it up at once
            if user.standing is Standing.INVITED:
                self._registry.people.change(user.id, standing=Standing.ACTIVE)
                self._registry.record.tell(now, user.email, "user registered", user.email)
            self._people.keep_password(user, hashed_password, now, who=user.email)
            self._lockout.lift(user.email)
            fresh = self._people.by_id(user.id)
            self._drops.registered(fresh, now)
        self._holdings.ring()
        return fresh


def may_have_password(user: User) -> bool:
    """Groups don't log in; who is disabled or removed may not."""
    return user.kind is not Kind.GROUP and user.standing in (Standing.INVITED, Standing.ACTIVE)
