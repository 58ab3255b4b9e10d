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
from fxsftp.errors import (
    BadKey,
    BadPassword,
    Conflict,
    Forbidden,
    KeyUnknown,
    UserExists,
    UserUnknown,
)
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.notices import NO_BOUNCE, Notices
from fxsftp.store.registry.people import routes_text

log = logging.getLogger("fxsftp.exchange")

PASSWORD_MIN, PASSWORD_MAX = 12, 1024  # characters; NIST SP 800-63B asks for length and for nothing else
PHRASE = 60  # characters; it stands in one line of a mail
LANGUAGES = ("en", "nb", "nn")


class People:
    """Who may come in, and by what."""

    def __init__(self, holdings: Holdings, drops: Drops, notices: Notices, language: str) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._drops = drops
        self._notices = notices
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

    def invite(self, member: User, email: str, phone: str, now: float) -> User:
        """A member asks a partner in; the phone number is the member's word, never the invitee's."""
        if member.kind is not Kind.MEMBER:
            raise Forbidden("only members of the institution can invite")
        address, number = addresses.address(email), addresses.phone(phone)
        with self._registry.atomic():
            if self._registry.people.by_email(address):
                raise UserExists(address)
            user_id = self._registry.people.add(address, Kind.PARTNER, Standing.INVITED, self._language, now)
            self._registry.people.change(user_id, phone=number, invited_by=member.id)
            user = self.by_id(user_id)
            self._notices.to_user("invited", user, now, sender=member.email, sender_name=member.name)
            self._registry.record.tell(now, member.email, "user invited", address)
        self._holdings.ring()
        return user

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
        with self._registry.atomic():
            self._registry.people.change(user.id, standing=standing, **NO_BOUNCE)
            self._registry.record.tell(now, who, f"user {_STANDS[standing]}", user.email)
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

    def _add_key(self, user: User, line: str, now: float, *, opens: bool) -> Key:
        public = seal.load_public_key(line.strip())
        if public.kind == "ssh-dss" or public.kind.startswith("ssh-rsa-cert"):
            raise BadKey(f"keys of kind {public.kind} are no longer safe; make one with ssh-keygen -t ed25519")
        if public.kind == "ssh-rsa" and (public.bits or 0) < 2048:
            raise BadKey(f"RSA with {public.bits} bits is too weak; make one with ssh-keygen -t ed25519")
        if any(key.fingerprint == public.fingerprint for key in self._registry.people.keys(user.id)):
            raise BadKey(f"{user.email} has this key already")
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
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise BadPassword(f"it must have {PASSWORD_MIN} to {PASSWORD_MAX} characters")
        if user.email.partition("@")[0] in password.casefold() or len(set(password)) < 5:
            raise BadPassword("it is too easy to guess; three or four unrelated words make a good one")
        hashed = seal.hash_password(password)
        with self._registry.atomic():
            self._registry.people.change(user.id, password=hashed)
            self._registry.record.tell(now, who, "password set", user.email)
            self._notices.to_user("changed", user, now, what="password")
        self._holdings.ring()

    def check_password(self, email: str, password: str, now: float) -> User | None:
        """The user who may log in with it.  Takes as long for an unknown address as for a known one."""
        user = self.may_log_in(email)
        hashed = self._registry.people.password(user.id) if user else None
        is_right = seal.verify_password(hashed or _nobody(), password)
        if user is None or hashed is None or not is_right:
            return None
        if seal.needs_rehash(hashed):
            with self._registry.atomic():
                self._registry.people.change(user.id, password=seal.hash_password(password))
                self._registry.record.tell(now, "exchange", "password hashed anew", user.email)
        return user

    # ---- coming in

    def may_log_in(self, email: str) -> User | None:
        """The user of this name if they may come in; groups and the invited may not."""
        user = self._registry.people.by_email(email.casefold())
        return user if user and user.standing is Standing.ACTIVE and user.kind is not Kind.GROUP else None

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
