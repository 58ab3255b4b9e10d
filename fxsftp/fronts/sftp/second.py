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

    `look` and `expect` say what will be due once a first proof counts, `owe` that it has.  Only then a code is taken.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._due: User | None = None
        self._owed: User | None = None

    async def look(self, user: User) -> bool:
        """Find out what this user owes after a password.  Answers whether that is something they don't have yet."""
        totp = self._desk.exchange.totp
        is_on, is_missing = await self._desk.ask(lambda: (totp.is_on(user), totp.is_due(user)))
        self.expect(user if is_on else None)
        return is_missing

    def is_due_with_key(self, user: User) -> bool:
        """Whether this user owes a code after a key.  Runs at the desk."""
        exchange = self._desk.exchange
        return exchange.policy.totp_with_keys and exchange.totp.is_on(user)

    def expect(self, user: User | None) -> None:
        """A code of this user is due, or none.

        Said in the loop, and not at the desk: what a request that was given up finds out late must count for nothing.
        """
        self._due = user

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
