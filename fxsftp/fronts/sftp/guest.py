"""A guest: one connection, before log-in a stranger, after it a user; by which proof, on which terms.

A user who does not exist, is disabled or was only invited gets the same answers, in the same time, as one whose key
or password is wrong.  A guest gets channels (`channel`) for SFTP and for single commands; there is no shell, no
terminal, no environment, and no forwarding of any kind.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncssh

from fxsftp.domain import ids
from fxsftp.domain.model import User
from fxsftp.errors import FxError
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp.algorithms import MODERN, Algorithms, Offer, misfit
from fxsftp.fronts.sftp.channel import Door
from fxsftp.fronts.sftp.doorway import Startups
from fxsftp.fronts.sftp.overrides import Outflow, ask_twice, hearing, hold, mend, turn_away
from fxsftp.fronts.sftp.second import NO_SECOND, PASSWORD, Second
from fxsftp.fronts.sftp.tuned import Tuning
from fxsftp.templates import Templates

log = logging.getLogger("fxsftp.sftp")

RESTARTED = "The exchange is being restarted. Connect again in a moment."
MOMENT = 1.0  # seconds in which a key that was theirs when it was shown still is when it has signed
GRACE = 1.0  # seconds in which there may be room again for who finds none


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms guests are served, as the settings say.  Times in seconds."""

    login_seconds: float = 20
    tries: int = 6  # wrong passwords on one connection; looking which key would do is not a try
    keys: int = 60  # keys that may be shown on one connection; agents hold many
    keepalive: float = 30  # of silence, until a client is asked whether it is still there
    keepalive_tries: int = 3
    idle: float = 1800  # without a request
    connections: int = 12  # of one user at a time: rclone with its defaults uses them all
    all_connections: int = 100  # of all users together
    startups: Startups = field(default_factory=Startups)  # connections that have not logged in yet
    rate: float = 15  # of these, answered a second of one source; 0: all
    names: int = 6  # that may be given on one connection
    wrong: float = 1  # until it is said that a password was wrong
    unknown: float = 0.01  # until it is said that a key is: longer than looking takes, for whoever it is
    channels: int = 10  # on one connection, as OpenSSH's MaxSessions
    check: float = 2.5  # how often it is looked whether those who are here still may be: out within 5, with room
    banner: str = ""  # shown before log-in
    version: str = "fxsftp"
    algorithms: Algorithms = field(default_factory=lambda: MODERN)
    tuned: bool = True  # as far as asyncssh is the one that we know


class House(Protocol):
    """Where guests are: what they need of it."""

    desk: Desk
    templates: Templates
    terms: Terms
    tuning: Tuning | None
    is_draining: bool  # nobody is taken in any more

    def arrived(self, guest: Guest) -> None:
        """Someone has connected; they are answered when it is their turn."""

    def known(self, guest: Guest) -> None:
        """They have logged in."""

    def left(self, guest: Guest) -> None:
        """They have gone."""


class Guest(asyncssh.SSHServer):
    """One connection: before log-in a stranger, after it a user."""

    def __init__(self, house: House) -> None:
        self._house, self._desk, self._terms = house, house.desk, house.terms
        self._conn: asyncssh.SSHServerConnection
        self._outflow: Outflow
        self.peer = "?"  # the address they come from
        self.user: User | None = None
        self.proof = ""  # the key that was logged in with
        self._name = secrets.token_hex(8)
        self._coming_in: asyncio.Task[bool] | None = None
        self._here_since = asyncio.get_running_loop().time()
        self._proven: User | None = None
        self._known_until = 0.0
        self._second = Second(self._desk)
        self._refusal = "Log in first."
        self._tries = self._keys = self._names = 0
        self._has_had_enough = False
        self._offers: dict[bool, bytes] = {}  # the KEXINIT of both sides, ours with True, until they have logged in
        self._go_on: Callable[[], None] | None = None
        self._is_answered = False
        self._is_choked = False
        self._doors: list[Door] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Someone has connected."""
        self._conn = conn
        self.peer = str((conn.get_extra_info("peername") or ("?",))[0])
        heard = hearing(conn)
        if self._house.tuning:
            self._house.tuning.connection(conn, heard)
        change = self._terms.login_seconds
        self._outflow = mend(conn, heard, self._choke, self._offered, change=change, give_up=self._change_no_more)
        ask_twice(conn, self._owes)
        self._house.arrived(self)
        if not self._is_answered:
            self._go_on = hold(conn, heard)

    def answer(self) -> None:
        """It is their turn."""
        self._is_answered = True
        if self._go_on:
            self._go_on()

    def turn_away(self, reason: str) -> None:
        """Let them not even begin."""
        self._is_answered = True
        turn_away(self._conn, reason)

    def _offered(self, kexinit: bytes, is_ours: bool) -> None:
        self._offers[is_ours] = kexinit

    def _change_no_more(self) -> None:
        log.warning(
            "%s sent away: a change of keys was begun and did not end", self.user.email if self.user else self.peer
        )
        self._conn.disconnect(asyncssh.DISC_KEY_EXCHANGE_FAILED, "The change of keys took too long.")

    def connection_lost(self, exc: Exception | None) -> None:
        """They have left."""
        self._outflow.put_away()
        if self.user:
            log.info("%s left%s", self.user.email, f": {exc}" if exc else "")
        elif why := self._misfit(exc):
            log.warning("%s with %s refused: %s", self.peer, self._client, why)
        self._house.left(self)
        if self._coming_in:
            self._desk.see_to(self._go(self._coming_in))

    def _misfit(self, exc: Exception | None) -> str:
        # Looked for whatever the end was: a client may see it first, and be gone before we have said so.
        theirs, ours = (Offer.parse(self._offers.get(is_ours, b"")) for is_ours in (False, True))
        found = misfit(theirs, ours) if theirs and ours else ""
        return found or (str(exc) if isinstance(exc, asyncssh.KeyExchangeFailed) else "")

    # ---- log-in

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002
        """Everyone has to show something, whatever name they give."""
        self._proven, self.proof = None, ""
        self._second = Second(self._desk)
        self._names += 1
        if self._names > self._terms.names:
            raise self._enough("Too many names. Connect again to go on.")
        if self._terms.banner:
            self._conn.send_auth_banner(self._terms.banner + "\r\n")
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys are welcome, until only a code is missing."""
        return not self._second.is_owed

    def password_auth_supported(self) -> bool:
        """So are passwords."""
        return not self._second.is_owed

    def kbdint_auth_supported(self) -> bool:
        """By which passwords are asked for, too, and codes always."""
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:  # noqa: ARG002
        """The password, or what is missing after it."""
        return self._second.challenge if self._second.is_owed else PASSWORD

    async def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Any:
        """Whether the password was right, and then whether the code is."""
        if len(responses) != 1:
            return False
        if self._second.is_owed:
            return await self._validate_code(responses[0])
        return await self.validate_password(username, responses[0]) and (not self._owes() or self._second.challenge)

    def _owes(self) -> bool:
        """Whether what was just shown is not enough; from now on a code is what is asked for."""
        return self._second.owe(self._conn)

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether the key is one of the user's.  Asked twice: when it is shown, and when it has signed."""
        self._keys += 1
        if self._keys > 2 * self._terms.keys:
            raise self._enough("Too many keys. Say which one to use: ssh -o IdentitiesOnly=yes -i KEY")
        shown = base64.b64encode(key.public_data).decode()
        if self._proven and shown == self.proof and asyncio.get_running_loop().time() < self._known_until:
            return True
        until, name = self._in(self._terms.unknown), username.casefold()
        user, owes = self._owner_at_once(name, shown, key.get_fingerprint()), False
        if not user:
            user, owes = await self._desk.ask(self._owner, name, shown)
        if not user:
            await self._pass(until)
            return False
        self._second.expect(user if owes else None)
        self._proven, self.proof, self._known_until = user, shown, self._in(MOMENT)
        return True

    def _owner_at_once(self, email: str, shown: str, fingerprint: str) -> User | None:
        """The user of this name, if the key is theirs and enough; None if that is to be asked at the desk."""
        exchange = self._desk.exchange
        return None if exchange.policy.totp_with_keys else exchange.people.owner_at_once(email, shown, fingerprint)

    def _owner(self, email: str, shown: str) -> tuple[User | None, bool]:
        """The user of this name, if the key is theirs, and whether they owe a code besides.  Runs at the desk."""
        people = self._desk.exchange.people
        user = people.may_log_in(email)
        if not user or shown not in map(blob, people.key_lines(user)):
            return None, False
        return user, self._second.is_due_with_key(user)

    async def validate_password(self, username: str, password: str) -> bool:
        """Whether it is the user's password.  Takes as long for who is unknown."""
        self._tries += 1
        if self._tries > self._terms.tries:  # who asks again without waiting for an answer is not asked to wait
            raise self._enough("Too many wrong passwords. Connect again to go on.")
        until = self._in(self._terms.wrong)
        check, name = self._desk.exchange.people.check_password, username.casefold()
        # Shielded: the next request cancels this one, and a thread at work must keep its place among the few.
        asked = asyncio.ensure_future(self._desk.ask_slowly(check, name, password, self._desk.now()))
        user = await asyncio.shield(asked)
        if user and await self._second.look(user):
            log.info("%s has no second factor, which policy wants; refused with a password from %s", name, self.peer)
            self._conn.send_auth_banner(NO_SECOND)
            user = None
        if not user:
            await self._pass(until)
        self._proven, self.proof = user, ""
        if not user:
            self._wrong("password", username)
        return user is not None

    async def _validate_code(self, typed: str) -> bool:
        """Whether it is what the user's app shows, or a recovery code.  Wrong ones are as slow and few as passwords."""
        self._tries += 1
        if self._tries > self._terms.tries:
            raise self._enough("Too many wrong passwords. Connect again to go on.")
        until = self._in(self._terms.wrong)
        is_right = await asyncio.shield(asyncio.ensure_future(self._second.check(typed)))
        if not is_right:
            await self._pass(until)
            self._wrong("code", str(self._conn.get_extra_info("username", "?")))
        return is_right

    def _wrong(self, what: str, username: str) -> None:
        log.info("wrong %s for %r from %s", what, ids.redacted(username[:80]), self.peer)
        if self._tries >= self._terms.tries:
            raise self._enough("Too many wrong passwords. Connect again to go on.")

    @staticmethod
    def _in(seconds: float) -> float:
        return asyncio.get_running_loop().time() + seconds

    @staticmethod
    async def _pass(until: float) -> None:
        """Let time pass: guessing gets slow, and how long something took says nothing.  Nobody else waits."""
        await asyncio.sleep(until - asyncio.get_running_loop().time())

    def _enough(self, reason: str) -> asyncssh.DisconnectError:
        if not self._has_had_enough:  # what has arrived already is still looked at
            log.warning("%s sent away: %s", self.peer, reason)
        self._has_had_enough = True
        return asyncssh.DisconnectError(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, reason)

    def auth_completed(self) -> None:
        """They are who they say they are."""
        user = self._proven
        if not user or user.email != str(self._conn.get_extra_info("username")).casefold():  # so it is, unless asyncssh
            raise self._enough("Log in again.")  # should come to ask in another order than it does
        if self._house.is_draining:
            raise self._too_many(RESTARTED)
        self.user = user
        self._offers.clear()
        self._house.known(self)
        self._coming_in = asyncio.get_running_loop().create_task(self._come_in(user))

    async def _come_in(self, user: User) -> bool:
        """Whether there is room for one more, in whichever processes the others are served."""
        terms, now = self._terms, self._desk.now()
        until = self._in(GRACE)
        while True:
            try:
                await self._desk.ask(
                    self._desk.exchange.guests.come_in,
                    user, self._name, of_user=terms.connections, in_all=terms.all_connections, now=now,
                )  # fmt: skip
            except FxError as refusal:
                if asyncio.get_running_loop().time() > until:
                    self.user = None
                    refused = self._too_many(str(refusal))
                    self._conn.disconnect(refused.code, refused.reason)
                    return False
                await asyncio.sleep(GRACE / 4)  # who comes back may be faster than the process that they left
            else:
                log.info("%s logged in from %s with %s", user.email, self.peer, self._client)
                return True

    async def _go(self, coming_in: asyncio.Task[bool]) -> None:
        guests = self._desk.exchange.guests
        if await coming_in:
            guests.leave(self._name)
            self._desk.soon(guests.see_off)

    def _too_many(self, reason: str) -> asyncssh.DisconnectError:
        self._refusal = reason
        log.warning("%s refused: %s", self.peer, reason)
        return asyncssh.DisconnectError(asyncssh.DISC_TOO_MANY_CONNECTIONS, reason)

    @property
    def _client(self) -> str:
        version = str(self._conn.get_extra_info("client_version", "?"))
        return version if version.isprintable() else "".join(letter for letter in version if letter.isprintable())

    # ---- what they may ask for

    async def session_requested(self) -> Door:
        """A channel: SFTP or a command."""
        if self._coming_in:
            await asyncio.shield(self._coming_in)
        if not self.user:  # a client may ask for this before it hears that it was disconnected
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, self._refusal)
        if self._house.is_draining:
            reason = RESTARTED
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, reason)
        self._doors = [door for door in self._doors if not door.is_gone]
        open_doors = sum(door.is_open for door in self._doors)
        # What we have closed a client should close too; the few that it may leave so count a quarter.
        if open_doors + (len(self._doors) - open_doors) // 4 >= self._terms.channels:
            reason = f"You have {self._terms.channels} sessions on this connection, and more are not served."
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, reason)
        door = Door(self.user, self._desk, self._house.templates, explains="OpenSSH" in self._client)
        if self._is_choked:
            door.choke(True)
        self._doors.append(door)
        return door

    @property
    def heard(self) -> float:
        """When something was last asked, on the loop's clock."""
        return max(self._here_since, *(door.heard for door in self._doors), 0)

    @property
    def is_busy(self) -> bool:
        """Whether something is open, so that leaving now would cut it short."""
        return any(door.is_busy for door in self._doors)

    def send_away(self, reason: str) -> asyncio.Future[None]:
        """Disconnect, saying why; the result is there when the connection is gone."""
        log.info("%s sent away: %s", self.user.email if self.user else self.peer, reason)
        self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, reason)
        return asyncio.ensure_future(self._conn.wait_closed())

    def _choke(self, is_choked: bool) -> None:
        self._is_choked = is_choked
        for door in self._doors:
            door.choke(is_choked)


def blob(line: str) -> str:
    """The key itself in a line `ssh-ed25519 AAAA… comment`."""
    return line.split()[1]
