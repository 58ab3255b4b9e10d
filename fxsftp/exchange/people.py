"""People: users, their keys and passwords, and groups.

A change of what opens shipments is told to the user.  The institution never sees a password: only its
Argon2id hash is kept.  Nothing here says whether an unknown address is unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache

from fxsftp import seal
from fxsftp.domain import addresses, lifecycle
from fxsftp.domain import notices as domain_notices
from fxsftp.domain.model import Delivery, Key, Kind, LockKind, Route, Standing, User
from fxsftp.domain.policy import HOUR
from fxsftp.domain.reasons import N_
from fxsftp.errors import (
    AskedTooOften,
    BadKey,
    BadPassword,
    Conflict,
    Forbidden,
    KeyUnknown,
    Unavailable,
    UserExists,
    UserUnknown,
)
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.lockout import Lockout
from fxsftp.exchange.notices import NO_BOUNCE, Notices
from fxsftp.exchange.reads import Reads
from fxsftp.exchange.tokens import Tokens, hashed
from fxsftp.store.registry.people import routes_text

log = logging.getLogger("fxsftp.exchange")

PASSWORD_MIN, PASSWORD_MAX = 12, 1024  # characters; NIST SP 800-63B asks for length and for nothing else
INVITATIONS = 5  # to one address in an hour
LENGTHS = N_("it must have 12 to 1024 characters")
PHRASE = 60  # characters; it stands in one line of a mail
LANGUAGES = ("en", "nb", "nn")


class People:
    """Who may come in, and by what."""

    def __init__(
        self,
        holdings: Holdings,
        drops: Drops,
        reads: Reads,
        notices: Notices,
        tokens: Tokens,
        lockout: Lockout,
        language: str,
    ) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._drops = drops
        self._reads = reads
        self._notices = notices
        self._tokens = tokens
        self._lockout = lockout
        self._language = language

    # ---- finding

    def find(self, email: str) -> User:
        """Raises UserUnknown."""
        found = self._registry.people.by_email(email.strip().casefold())
        if found is None:
            raise UserUnknown(email)
        return found

    def by_id(self, user_id: int) -> User:
        """Raises UserUnknown."""
        found = self._registry.people.by_id(user_id)
        if found is None:
            raise UserUnknown(str(user_id))
        return found

    def invitees(self, member: User) -> list[User]:
        """Whom this member has invited, newest first."""
        return self._registry.people.invitees(member.id)

    def users(self) -> list[User]:
        """Everyone, by address; groups too."""
        return self._registry.people.all()

    # ---- provisioning

    def add(
        self,
        email: str,
        kind: Kind,
        *,
        phone: str | None = None,
        name: str = "",
        language: str | None = None,
        delivery: LockKind | None = None,
        keys: Sequence[str] = (),
        now: float,
        who: str = "admin",
    ) -> User:
        """Register a user.  Raises UserExists, BadAddress, BadPhone or BadKey, and then nothing happened."""
        address = addresses.address(email)
        language = self._known_language(language)
        number = addresses.phone(phone) if phone else None
        with self._registry.atomic():
            existing = self._registry.people.by_email(address)
            if existing and existing.standing is not Standing.INVITED:
                raise UserExists(address)
            if existing:
                user_id = existing.id
                self._registry.people.change(user_id, kind=kind, standing=Standing.ACTIVE, language=language)
            else:
                user_id = self._registry.people.add(address, kind, Standing.ACTIVE, language, now)
            self._registry.people.change(user_id, name=name, delivery=delivery)
            if number:
                self._registry.people.change(user_id, phone=number)
            for line in keys:
                self._add_key(self.by_id(user_id), line, now, opens=True)
            self._registry.record.tell(now, who, "user added", address)
            user = self.by_id(user_id)
            self._drops.registered(user, now)
        return user

    def invite(
        self, member: User | None, email: str, phone: str, now: float, *, kind: Kind = Kind.PARTNER, name: str = ""
    ) -> User:
        """A member, or with None an admin, asks somebody in; the phone number is theirs to say, never the invitee's.

        Who was invited already and has not registered gets another mail, by whoever may say the number: who invited
        them, or an admin.  Raises Forbidden, UserExists, BadAddress, BadPhone or AskedTooOften.
        """
        if member is not None and member.kind is not Kind.MEMBER:
            raise Forbidden(N_("only members of the institution can invite"))
        address, number = addresses.address(email), addresses.phone(phone)
        who = member.email if member else "admin"
        with self._registry.atomic():
            user = self._registry.people.by_email(address)
            if user is not None and not self._may_invite_again(member, user, number):
                raise UserExists(address)
            if user is None:
                user_id = self._registry.people.add(address, kind, Standing.INVITED, self._language, now)
                self._registry.people.change(user_id, invited_by=member.id if member else None, name=name)
            else:
                user_id = user.id
            self._registry.people.change(user_id, phone=number)
            fresh = self.by_id(user_id)
            self._send_invitation(fresh, member, now)
            self._registry.record.tell(now, who, "user invited", address)
        self._holdings.ring()
        return fresh

    def _may_invite_again(self, member: User | None, user: User, number: str) -> bool:
        """Whoever may set the number, which others can't learn or replace by inviting once more."""
        if user.standing is not Standing.INVITED:
            return False
        return member is None or (number == user.phone and self._registry.people.invited_by(user.id) == member.id)

    def _send_invitation(self, user: User, member: User | None, now: float) -> None:
        facts = {"sender": member.email if member else "", "sender_name": member.name if member else ""}
        if not self._holdings.policy.portal:  # then there is nowhere for a link to lead
            self._notices.to_user("invited", user, now, **facts)
            return
        asked = self._registry.accounts.asked(hashed(user.email), "invited", now - HOUR)
        if asked >= INVITATIONS:
            raise AskedTooOften(asked)
        self._tokens.link("invited", "invited", user, user.email, now, **facts)

    def change(self, email: str, now: float, *, who: str = "admin", **wishes: object) -> User:
        """Set phone, language, delivery, name, default_recipient, routes, quota, or how the user is told of things:
        timezone, quiet, digest, phrase.  A changed phone or delivery is told, by mail and to the phone of before.
        """
        user = self.find(email)
        columns = {name: _COLUMNS[name](wish) for name, wish in wishes.items()}
        if "language" in columns:
            self._known_language(str(columns["language"]))
        with self._registry.atomic():
            self._registry.people.change(user.id, **columns)
            self._registry.record.tell(now, who, "user changed", f"{user.email}: {', '.join(sorted(columns))}")
            for what in ("phone", "delivery"):
                if what in columns and columns[what] != getattr(user, what):
                    self._notices.to_user("changed", user, now, what=what)
            if columns.get("phone") != user.phone and user.bounce and user.bounce.way == "sms" and "phone" in columns:
                self._registry.people.change(user.id, **NO_BOUNCE)
            fresh = self.by_id(user.id)
            self._drops.registered(fresh, now)
        self._holdings.ring()
        return fresh

    def disable(self, email: str, now: float, who: str = "admin") -> User:
        """No log-in, no opening; what waits for the user is suspended."""
        return self._stand(email, Standing.DISABLED, now, who)

    def enable(self, email: str, now: float, who: str = "admin") -> User:
        """As it was before, and what was held for this recipient goes on.

        Of one who is active, it takes away the mark that an address can't be reached.
        """
        user = self.find(email)
        if user.standing is Standing.ACTIVE and user.bounce:
            with self._registry.atomic():
                self._registry.people.change(user.id, **NO_BOUNCE)
                self._registry.record.tell(now, who, "user enabled", user.email)
            return self.by_id(user.id)
        return self._stand(email, Standing.ACTIVE, now, who)

    def remove(self, email: str, now: float, who: str = "admin") -> None:
        """The address is free again; what is recorded of the user stays."""
        user = self._stand(email, Standing.REMOVED, now, who)
        with self._registry.atomic():
            self._registry.people.remove_keys(user.id)
            self._registry.people.leave_all(user.id)
            self._registry.people.change(user.id, password=None, phone=None)

    def _stand(self, email: str, standing: Standing, now: float, who: str) -> User:
        user = self.find(email)
        if user.standing is standing:
            raise Conflict(f"{user.email} is {standing} already")
        if user.standing is Standing.INVITED and standing is Standing.ACTIVE:
            raise Conflict(f"{user.email} is invited and has not registered; use 'fxsftp user add'")
        if standing is not Standing.ACTIVE:
            self._reads.catch_up(each.id for each in self._registry.deliveries.of_user(user.id) if not each.ended)
        with self._registry.atomic():
            self._registry.people.change(user.id, standing=standing, **NO_BOUNCE)
            self._registry.record.tell(now, who, f"user {_STANDS[standing]}", user.email)
            if standing is not Standing.ACTIVE:
                self._registry.accounts.end_visits(user.id)
            for delivery in self._registry.deliveries.of_user(user.id):
                self._step(delivery, standing)
            fresh = self.by_id(user.id)
            self._drops.registered(fresh, now)
        return fresh

    def _step(self, delivery: Delivery, standing: Standing) -> None:
        if standing is Standing.ACTIVE:
            event = "enable-collected" if delivery.collected else "enable-opened" if delivery.opened else "enable"
        else:
            event = "suspend"
        if any(step.event == event and delivery.state in step.states for step in lifecycle.DELIVERIES):
            self._registry.deliveries.step(delivery, lifecycle.after(lifecycle.DELIVERIES, delivery.state, event))

    # ---- keys

    def keys(self, email: str) -> list[Key]:
        """In the order in which they were added."""
        return self._registry.people.keys(self.find(email).id)

    def add_key(self, email: str, line: str, now: float, *, opens: bool = True, who: str = "admin") -> Key:
        """One line of a .pub file.  Raises BadKey; the user is told of the change."""
        user = self.find(email)
        if user.standing is Standing.INVITED:
            raise Conflict(f"{user.email} is invited and has not registered; use 'fxsftp user add'")
        with self._registry.atomic():
            key = self._add_key(user, line, now, opens=opens)
            self._registry.record.tell(now, who, "key added", f"{user.email}: {key.fingerprint}")
            self._notices.to_user("changed", user, now, what="key")
            self._drops.registered(user, now)
        self._holdings.ring()
        return key

    def known_key(self, user: User, line: str) -> seal.PublicKey:
        """The key in a line, if it may be this user's next.  Raises BadKey."""
        public = seal.load_public_key(line.strip())
        if public.kind == "ssh-dss" or public.kind.startswith("ssh-rsa-cert"):
            raise BadKey(f"keys of kind {public.kind} are no longer safe; make one with ssh-keygen -t ed25519")
        if public.kind == "ssh-rsa" and (public.bits or 0) < 2048:
            raise BadKey(f"RSA with {public.bits} bits is too weak; make one with ssh-keygen -t ed25519")
        if any(key.fingerprint == public.fingerprint for key in self._registry.people.keys(user.id)):
            raise BadKey(f"{user.email} has this key already")
        return public

    def _add_key(self, user: User, line: str, now: float, *, opens: bool) -> Key:
        public = self.known_key(user, line)
        can_open = opens and seal.usable_for_sealing(public.line) is None
        self._registry.people.add_key(
            user.id, public.line, public.kind, public.fingerprint, public.comment, can_open, now
        )
        return self._registry.people.keys(user.id)[-1]

    def remove_key(self, email: str, name: str, now: float, *, who: str = "admin") -> None:
        """By its fingerprint, its number or its comment.  Raises KeyUnknown."""
        user = self.find(email)
        with self._registry.atomic():
            for key in self._registry.people.keys(user.id):
                if name in (key.fingerprint, str(key.id), key.comment):
                    self._registry.people.remove_key(key.id)
                    self._registry.record.tell(now, who, "key removed", f"{user.email}: {key.fingerprint}")
                    self._notices.to_user("changed", user, now, what="key")
                    break
            else:
                raise KeyUnknown(user.email, name)
        self._holdings.ring()

    # ---- passwords

    def set_password(self, email: str, password: str, now: float, *, who: str = "admin") -> None:
        """Raises BadPassword.  Slow: Argon2id."""
        user = self.find(email)
        hashed_password = self.hash_password(user, password)
        with self._registry.atomic():
            self.keep_password(user, hashed_password, now, who=who)
        self._holdings.ring()

    def hash_password(self, user: User, password: str) -> str:
        """What may be kept of it, if it can be this user's.  Raises BadPassword.  Slow: Argon2id."""
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise BadPassword(LENGTHS)
        if user.email.partition("@")[0] in password.casefold() or len(set(password)) < 5:
            raise BadPassword(N_("it is too easy to guess; three or four unrelated words make a good one"))
        return seal.hash_password(password)

    def keep_password(self, user: User, hashed_password: str, now: float, *, who: str) -> None:
        """Within somebody's transaction: it lets in from now on, and the user is told."""
        self._registry.people.change(user.id, password=hashed_password)
        self._registry.record.tell(now, who, "password set", user.email)
        self._notices.to_user("changed", user, now, what="password")

    def check_password(self, email: str, password: str, now: float) -> User | None:
        """The user who may log in with it.  Takes as long for an unknown address as for a known one, or a locked one.

        Too many wrong ones lock the account for a while, in which a right one is answered like a wrong one.
        """
        user = self.may_log_in(email)
        kept = self._registry.people.password(user.id) if user else None
        is_right = seal.verify_password(kept or _nobody(), password)
        is_locked = self._lockout.until(email, now) is not None  # asked after what takes long: many come at once
        if user is None or kept is None or not is_right or is_locked:
            self._lockout.wrong(email, user, now)
            return None
        if seal.needs_rehash(kept):
            with self._registry.atomic():
                self._registry.people.change(user.id, password=seal.hash_password(password))
                self._registry.record.tell(now, "exchange", "password hashed anew", user.email)
        return user

    def locked_until(self, user: User, now: float) -> float | None:
        """Until when log-in by password is closed for this user, if it is."""
        return self._lockout.until(user.email, now)

    def unlock(self, email: str, now: float, *, who: str = "admin") -> User:
        """Log-in by password opens again, as if nothing wrong had been tried."""
        user = self.find(email)
        with self._registry.atomic():
            self._lockout.lift(user.email)
            self._registry.record.tell(now, who, "user unlocked", user.email)
        return user

    # ---- coming in

    def may_log_in(self, email: str) -> User | None:
        """The user of this name if they may come in; groups and the invited may not."""
        user = self._registry.people.by_email(_typed(email))
        return user if user and _may_come_in(user) else None

    def owner_at_once(self, email: str, key: str, fingerprint: str) -> User | None:
        """The same in a loop, if this key is theirs, too.  None also where that is not to be seen without waiting."""
        try:
            found = self._registry.people.owner(_typed(email), fingerprint)
        except Unavailable:
            return None
        return found[0] if found and _may_come_in(found[0]) and key == found[1].split()[1] else None

    def is_active(self, user_id: int) -> bool:
        """Whether a user who came in may stay."""
        user = self._registry.people.by_id(user_id)
        return user is not None and user.standing is Standing.ACTIVE

    def key_lines(self, user: User) -> list[str]:
        """The keys that let this user in."""
        return [key.line for key in self._registry.people.keys(user.id)]

    def came_in(self, user: User, now: float) -> None:
        """Remember when."""
        with self._registry.atomic(durable=False):
            self._registry.people.change(user.id, seen=now)

    # ---- groups

    def add_group(
        self,
        email: str,
        now: float,
        *,
        name: str = "",
        language: str | None = None,
        delivery: LockKind | None = None,
        who: str = "admin",
    ) -> User:
        """A shared address with members; it never logs in."""
        address = addresses.address(email)
        with self._registry.atomic():
            if self._registry.people.by_email(address):
                raise UserExists(address)
            user_id = self._registry.people.add(
                address, Kind.GROUP, Standing.ACTIVE, self._known_language(language), now
            )
            self._registry.people.change(user_id, name=name, delivery=delivery)
            self._registry.record.tell(now, who, "group added", address)
        return self.by_id(user_id)

    def add_to_group(self, group: str, email: str, now: float, *, who: str = "admin") -> None:
        """Once a member, adding again changes nothing."""
        group_id, user = self._group(group).id, self.find(email)
        if user.kind is Kind.GROUP:
            raise Conflict("a group can't be a member of a group")
        with self._registry.atomic():
            self._registry.people.join(group_id, user.id)
            self._drops.registered(user, now)
            self._registry.record.tell(now, who, "joined group", f"{group}: {user.email}")

    def remove_from_group(self, group: str, email: str, now: float, *, who: str = "admin") -> None:
        """Nothing when not a member."""
        group_id, user = self._group(group).id, self.find(email)
        with self._registry.atomic():
            self._registry.people.leave(group_id, user.id)
            self._registry.record.tell(now, who, "left group", f"{group}: {user.email}")

    def members(self, group: str) -> list[User]:
        """By address."""
        return self._registry.people.members(self._group(group).id)

    def _group(self, email: str) -> User:
        found = self.find(email)
        if found.kind is not Kind.GROUP:
            raise Conflict(f"{found.email} is a {found.kind}, not a group")
        return found

    def _known_language(self, language: str | None) -> str:
        chosen = language or self._language
        if chosen not in LANGUAGES:
            raise Conflict(f"there is no language {chosen!r} here; choose one of {', '.join(LANGUAGES)}")
        return chosen


def _typed(email: str) -> str:
    """An address as somebody typed it, as it would stand in a row."""
    return email.casefold().encode("utf-8", "replace").decode()  # half a letter is in no address of ours


def _may_come_in(user: User) -> bool:
    return user.standing is Standing.ACTIVE and user.kind is not Kind.GROUP


@cache
def _nobody() -> str:
    """The hash that the password of an unknown address is checked against; made once, when it is first needed."""
    return seal.hash_password("nobody")


def _phrase(wish: object) -> str | None:
    """One line that a person would know again; control characters could forge lines of ours."""
    phrase = " ".join(str(wish or "").split())
    if len(phrase) > PHRASE or not phrase.isprintable():
        raise Conflict(f"a phrase is one line of {PHRASE} letters at most")
    return phrase or None


def _routes(wish: object) -> str:
    routes = wish if isinstance(wish, list | tuple) else ()
    return routes_text([route for route in routes if isinstance(route, Route)])


_COLUMNS: dict[str, Callable[[object], str | int | None]] = {
    "phone": lambda wish: addresses.phone(str(wish)) if wish else None,
    "language": str,
    "delivery": lambda wish: LockKind(str(wish)) if wish else None,
    "name": lambda wish: str(wish or ""),
    "default_recipient": lambda wish: addresses.address(str(wish)) if wish else None,
    "routes": _routes,
    "quota": lambda wish: int(str(wish)) if wish else None,
    "timezone": lambda wish: domain_notices.known_zone(str(wish)) if wish else None,
    "quiet": lambda wish: domain_notices.known_quiet(str(wish)) if wish else None,
    "digest": lambda wish: domain_notices.known_time(str(wish)) if wish else None,
    "phrase": _phrase,
}

_STANDS = {Standing.ACTIVE: "enabled", Standing.DISABLED: "disabled", Standing.REMOVED: "removed"}
