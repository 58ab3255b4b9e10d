"""The listener: takes people in while there is room before log-in, knows who is here, and sees them out again.

One Guest per connection (`guest`), who is answered when the doorway says so.  Who may be here no longer, has gone to
sleep, or is in the way of a restart, is sent away with a reason.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Any

import asyncssh

from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp import tuned
from fxsftp.fronts.sftp.doorway import Doorway
from fxsftp.fronts.sftp.guest import RESTARTED, Guest, Terms, blob
from fxsftp.templates import Templates

log = logging.getLogger("fxsftp.sftp")

MINUTE = 60.0  # seconds between two lines in the log about those turned away


async def listen(
    desk: Desk,
    templates: Templates,
    terms: Terms | None = None,
    *,
    host_keys: Sequence[Any],
    host: str = "",
    port: int = 0,
    sock: socket.socket | None = None,
    is_shared: bool = False,
) -> Listener:
    """Begin to serve SFTP.  `host_keys` are asyncssh keys or paths; a given `sock` stands for `host` and `port`.

    A port that `is_shared` may be listened on by other processes of this user: each connection comes to one of them.
    """
    terms = terms or Terms()
    # At INFO asyncssh writes commands in full, and someone will type a code there.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    listener = Listener(desk, templates, terms)
    where: dict[str, Any] = {"sock": sock} if sock else {"host": host, "port": port, "reuse_port": is_shared or None}
    acceptor = await asyncssh.listen(
        **where,
        **terms.algorithms,
        server_factory=listener.welcome,
        server_host_keys=host_keys,
        server_version=terms.version,
        config=None,
        encoding=None,
        compression_algs=None,  # what is sealed does not compress, and what is not would tell its length
        gss_host=None,
        allow_pty=False,
        line_editor=False,
        agent_forwarding=False,
        x11_forwarding=False,
        login_timeout=terms.login_seconds,
        keepalive_interval=terms.keepalive,
        keepalive_count_max=terms.keepalive_tries,
        backlog=1024,
    )
    listener.begin(acceptor)
    return listener


class Listener:
    """Knows who is here."""

    def __init__(self, desk: Desk, templates: Templates, terms: Terms) -> None:
        self.desk, self.templates, self.terms = desk, templates, terms
        self.guests: set[Guest] = set()
        self._doorway: Doorway[Guest] = Doorway(terms.startups, terms.rate)
        self._next_turn: asyncio.TimerHandle | None = None
        self._away = Away()
        self.tuning = tuned.begin() if terms.tuned else None
        self.is_draining = False
        self._acceptor: asyncssh.SSHAcceptor
        self._watch: asyncio.Task[None]

    def begin(self, acceptor: asyncssh.SSHAcceptor) -> None:
        """The socket listens: begin to look after the guests."""
        self._acceptor = acceptor
        self._watch = asyncio.get_running_loop().create_task(self._look_after())

    def welcome(self) -> Guest:
        """A guest for a new connection."""
        return Guest(self)

    @property
    def port(self) -> int:
        """The port that was got, where 0 was asked for."""
        return self._acceptor.get_port()

    # ---- before log-in

    def arrived(self, guest: Guest) -> None:
        """Someone has connected; they are answered when it is their turn."""
        self.guests.add(guest)
        if self.is_draining:
            guest.turn_away(RESTARTED)
        elif self._doorway.arrive(guest, guest.peer, asyncio.get_running_loop().time()):
            self._answer()
        else:
            self._turn_away(guest)

    def known(self, guest: Guest) -> None:
        """They have logged in."""
        self._doorway.leave(guest)

    def left(self, guest: Guest) -> None:
        """They have gone."""
        self.guests.discard(guest)
        self._doorway.leave(guest)

    def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        for guest, is_in in self._doorway.turns(loop.time()):
            if is_in:
                guest.answer()
            else:
                self._turn_away(guest)
        if self._next_turn:
            self._next_turn.cancel()
        wait = self._doorway.next_turn(loop.time())
        self._next_turn = None if wait is None else loop.call_later(wait, self._answer)

    def _turn_away(self, guest: Guest) -> None:
        self._away.note(guest.peer, asyncio.get_running_loop().time())
        guest.turn_away("Too many have connected and not logged in. Try again in a moment.")

    # ---- leaving

    async def revoke(self, user_id: int) -> None:
        """Cut off whatever this user has open."""
        for guest in [guest for guest in self.guests if guest.user and guest.user.id == user_id]:
            guest.send_away("Your access to this exchange has ended.")

    async def drain(self, seconds: float) -> None:
        """Take nobody in any more; return when all have left, at the latest after `seconds` and a moment.

        Who has nothing open goes at once; transfers may finish, and drafts cut short stay resumable.
        """
        loop = asyncio.get_running_loop()
        self.is_draining = True
        self._acceptor.close()
        until = loop.time() + seconds
        while self.guests and loop.time() < until:
            for guest in [guest for guest in self.guests if not guest.is_busy]:
                guest.send_away(RESTARTED)
            await asyncio.sleep(0.1)
        await self.close()

    async def close(self) -> None:
        """Cut everyone off, and return when all is put away."""
        self.is_draining = True
        self._watch.cancel()
        if self._next_turn:
            self._next_turn.cancel()
        self._acceptor.close()
        gone = [guest.send_away(RESTARTED) for guest in self.guests]
        await asyncio.gather(*gone, return_exceptions=True)

    async def _look_after(self) -> None:
        """Send away who may not be here any more, and who has gone to sleep."""
        while True:
            await asyncio.sleep(self.terms.check)
            self._away.tell(asyncio.get_running_loop().time())
            try:
                await self._look_round()
            except Exception:
                log.exception("could not look whether the guests may still be here")

    async def _look_round(self) -> None:
        proofs = {(guest.user.id, guest.user.email, guest.proof) for guest in self.guests if guest.user}
        gone = await self.desk.ask_apart(self._no_longer, proofs) if proofs else set()
        now = asyncio.get_running_loop().time()
        for guest in list(self.guests):
            if guest.user and (guest.user.id, guest.user.email, guest.proof) in gone:
                guest.send_away("Your access to this exchange has ended.")
            elif guest.user and now - guest.heard > self.terms.idle:
                guest.send_away(f"Nothing was asked for {self.terms.idle / 60:.0f} minutes. Connect again to go on.")

    def _no_longer(self, proofs: set[tuple[int, str, str]]) -> set[tuple[int, str, str]]:
        """Those who are disabled, or whose key was removed.  Runs at the desk."""
        people = self.desk.exchange.people
        gone = set()
        for proof in proofs:
            user = people.may_log_in(proof[1]) if people.is_active(proof[0]) else None
            if not user or (proof[2] and proof[2] not in map(blob, people.key_lines(user))):
                gone.add(proof)
        return gone


class Away:
    """Who was turned away, told to the log once a minute however many they are."""

    def __init__(self) -> None:
        self._count, self._last, self._told = 0, "", -MINUTE

    def note(self, peer: str, now: float) -> None:
        """One more."""
        self._count, self._last = self._count + 1, peer
        self.tell(now)

    def tell(self, now: float) -> None:
        """Say so, if there is something to say and it has not been said within a minute."""
        if self._count and now - self._told >= MINUTE:
            log.warning("%d turned away, the last from %s: too many have not logged in", self._count, self._last)
            self._count, self._told = 0, now
