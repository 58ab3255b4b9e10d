"""The second factor over SSH: after a password, and after a key where policy says so, a code from the user's app.

Asked for by keyboard-interactive, which every client has: password, then code.  Who used the method `password`, or a
key, hears that it was right and not enough, and that keyboard-interactive is left.
"""

from __future__ import annotations

import asyncssh

from fxsftp.domain.model import User
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp.overrides import give_time

Challenge = tuple[str, str, str, tuple[tuple[str, bool], ...]]  # name, instruction, language, prompts and their echo

PASSWORD: Challenge = ("", "", "", (("Password:", False),))
CODE: Challenge = ("", "", "", (("Code from your app:", False),))
NO_SECOND = "You need a code from an app to log in with a password here. Set it up in the portal.\r\n"
SECONDS = 60.0  # to find the phone, whatever is left of the time to log in


class Second:
    """What one guest, under one name, still has to show.

    `look` says what will be due once a first proof has counted, `owe` that it has; only then a code is taken.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._due: User | None = None
        self._owed: User | None = None

    async def look(self, user: User, *, with_key: bool) -> bool:
        """Find out what this user owes after such a proof.  Answers whether that is something they don't have yet."""
        is_due, is_missing = await self._desk.ask(self._find, user, with_key)
        self._due = user if is_due else None
        return is_missing

    def _find(self, user: User, with_key: bool) -> tuple[bool, bool]:
        exchange = self._desk.exchange
        if with_key:
            return exchange.policy.totp_with_keys and exchange.totp.is_on(user), False
        return exchange.totp.is_on(user), exchange.totp.is_due(user)

    def owe(self, conn: asyncssh.SSHServerConnection) -> bool:
        """The first proof has counted.  Answers whether a code is missing still, for which there is more time."""
        if self._due is not None:
            self._due, self._owed = None, self._due
            give_time(conn, SECONDS)
        return self.is_owed

    @property
    def is_owed(self) -> bool:
        """Whether only a code is missing."""
        return self._owed is not None

    @property
    def challenge(self) -> Challenge:
        """How the code is asked for."""
        return CODE

    async def check(self, typed: str) -> bool:
        """Whether it is right; then nothing is missing any more."""
        user = self._owed
        if user is None or not await self._desk.ask(self._desk.exchange.totp.check, user, typed, self._desk.now()):
            return False
        self._owed = None
        return True
