"""The listener: who may come in, by which proof, on which terms; and who has to leave again.

One Guest per connection.  A user who does not exist, is disabled or was only invited gets the same answers, in the
same time, as one whose key or password is wrong.  A guest gets channels for SFTP and for single commands;
there is no shell, no terminal, and no forwarding of any kind.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from fxsftp.domain import ids
from fxsftp.domain.model import User
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp.commands import CommandSession
from fxsftp.fronts.sftp.overrides import hush, mend
from fxsftp.fronts.sftp.rooms import Rooms
from fxsftp.fronts.sftp.session import SftpSession
from fxsftp.templates import Templates

log = logging.getLogger("fxsftp.sftp")

# What clients of the last years all have.  No SHA-1, no NIST curves for the exchange of keys, no 64-bit MACs.
ALGORITHMS: Mapping[str, Sequence[str]] = {
    "kex_algs": (
        "mlkem768x25519-sha256",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group18-sha512",
    ),
    "encryption_algs": (
        "chacha20-poly1305@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
        "aes256-ctr",
        "aes192-ctr",
        "aes128-ctr",
    ),
    "mac_algs": (
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "umac-128-etm@openssh.com",
        "hmac-sha2-256",  # libssh2 before 1.11 has no ETM: Debian 12's curl
        "hmac-sha2-512",
    ),
    "signature_algs": (
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-ed25519",
        "rsa-sha2-256",
        "rsa-sha2-512",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
    ),
}


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
    strangers: int = 100  # connections that have not logged in yet, so that they can't keep out those who may
    channels: int = 10  # on one connection, as OpenSSH's MaxSessions
    check: float = 5  # how often it is looked whether those who are here still may be
    banner: str = ""  # shown before log-in
    version: str = "fxsftp"
    algorithms: Mapping[str, Sequence[str]] = field(default_factory=lambda: ALGORITHMS)


async def listen(
    desk: Desk,
    templates: Templates,
    terms: Terms | None = None,
    *,
    host_keys: Sequence[Any],
    host: str = "",
    port: int = 0,
    sock: socket.socket | None = None,
) -> Listener:
    """Begin to serve SFTP.  `host_keys` are asyncssh keys or paths; a given `sock` stands for `host` and `port`."""
    terms = terms or Terms()
    # At INFO asyncssh writes commands in full, and someone will type a code there.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    listener = Listener(desk, templates, terms)
    where: dict[str, Any] = {"sock": sock} if sock else {"host": host, "port": port}
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
        self._acceptor.close()
        until = loop.time() + seconds
        while self.guests and loop.time() < until:
            for guest in [guest for guest in self.guests if not guest.is_busy]:
                guest.send_away("The exchange is being restarted. Connect again in a moment.")
            await asyncio.sleep(0.1)
        await self.close()

    async def close(self) -> None:
        """Cut everyone off, and return when all is put away."""
        self._watch.cancel()
        self._acceptor.close()
        gone = [guest.send_away("The exchange is being restarted. Connect again in a moment.") for guest in self.guests]
        await asyncio.gather(*gone, return_exceptions=True)

    async def _look_after(self) -> None:
        """Send away who may not be here any more, and who has gone to sleep."""
        while True:
            await asyncio.sleep(self.terms.check)
            try:
                await self._look_round()
            except Exception:
                log.exception("could not look whether the guests may still be here")

    async def _look_round(self) -> None:
        proofs = {(guest.user.id, guest.user.email, guest.proof) for guest in self.guests if guest.user}
        gone = await self.desk.ask(self._no_longer, proofs) if proofs else set()
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


class Guest(asyncssh.SSHServer):
    """One connection: before log-in a stranger, after it a user."""

    def __init__(self, listener: Listener) -> None:
        self._house, self._desk, self._terms = listener, listener.desk, listener.terms
        self._conn: asyncssh.SSHServerConnection
        self.user: User | None = None
        self.proof = ""  # the key that was logged in with
        self._here_since = asyncio.get_running_loop().time()
        self._proven: User | None = None
        self._refusal = "Log in first."
        self._tries = self._keys = 0
        self._is_choked = False
        self._doors: list[Door] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Someone has connected."""
        self._conn = conn
        if sum(guest.user is None for guest in self._house.guests) >= self._terms.strangers:
            log.warning("%s turned away: too many have connected and not logged in", self._peer)
            conn.abort()
            return
        self._house.guests.add(self)
        mend(conn, self._choke)

    def connection_lost(self, exc: Exception | None) -> None:
        """They have left."""
        self._house.guests.discard(self)
        if self.user:
            log.info("%s left%s", self.user.email, f": {exc}" if exc else "")

    # ---- log-in

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002
        """Everyone has to show something, whatever name they give."""
        self._proven, self.proof = None, ""
        if self._terms.banner:
            self._conn.send_auth_banner(self._terms.banner + "\r\n")
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys are welcome."""
        return True

    def password_auth_supported(self) -> bool:
        """So are passwords; asyncssh then asks for them by keyboard-interactive too."""
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether the key is one of the user's.  Asked twice: when it is shown, and when it has signed."""
        self._keys += 1
        if self._keys > 2 * self._terms.keys:
            raise self._enough("Too many keys. Say which one to use: ssh -o IdentitiesOnly=yes -i KEY")
        shown = base64.b64encode(key.public_data).decode()
        user, blobs = await self._desk.ask(self._keys_of, username.casefold())
        if not user or shown not in blobs:
            return False
        self._proven, self.proof = user, shown
        return True

    def _keys_of(self, email: str) -> tuple[User | None, set[str]]:
        people = self._desk.exchange.people
        user = people.may_log_in(email)
        return user, {blob(line) for line in people.key_lines(user)} if user else set()

    async def validate_password(self, username: str, password: str) -> bool:
        """Whether it is the user's password.  Takes as long for who is unknown."""
        self._tries += 1
        people = self._desk.exchange.people
        user = await self._desk.ask_slowly(people.check_password, username.casefold(), password, self._desk.now())
        self._proven, self.proof = user, ""
        if not user:
            log.info("wrong password for %r from %s", ids.redacted(username[:80]), self._peer)
            if self._tries >= self._terms.tries:
                raise self._enough("Too many wrong passwords. Connect again to go on.")
        return user is not None

    def _enough(self, reason: str) -> asyncssh.DisconnectError:
        log.warning("%s sent away: %s", self._peer, reason)
        return asyncssh.DisconnectError(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, reason)

    def auth_completed(self) -> None:
        """They are who they say they are."""
        user = self._proven
        if not user or user.email != str(self._conn.get_extra_info("username")).casefold():  # so it is, unless asyncssh
            raise self._enough("Log in again.")  # should come to ask in another order than it does
        users = [guest.user.id for guest in self._house.guests if guest.user]
        if users.count(user.id) >= self._terms.connections:
            raise self._too_many(f"You have {self._terms.connections} connections here, and more are not served.")
        if len(users) >= self._terms.all_connections:
            raise self._too_many("The exchange has as many connections as it can serve. Try again in a moment.")
        self.user = user
        self._desk.see_to(self._desk.ask(self._desk.exchange.people.came_in, user, self._desk.now()))
        log.info("%s logged in from %s with %s", user.email, self._peer, self._client)

    def _too_many(self, reason: str) -> asyncssh.DisconnectError:
        self._refusal = reason
        log.warning("%s refused: %s", self._peer, reason)
        return asyncssh.DisconnectError(asyncssh.DISC_TOO_MANY_CONNECTIONS, reason)

    @property
    def _peer(self) -> str:
        return str((self._conn.get_extra_info("peername") or ("?",))[0])

    @property
    def _client(self) -> str:
        version = str(self._conn.get_extra_info("client_version", "?"))
        return "".join(letter for letter in version if letter.isprintable())

    # ---- what they may ask for

    def session_requested(self) -> Door:
        """A channel: SFTP or a command."""
        if not self.user:  # a client may ask for this before it hears that it was disconnected
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, self._refusal)
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
        log.info("%s sent away: %s", self.user.email if self.user else self._peer, reason)
        self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, reason)
        return asyncio.ensure_future(self._conn.wait_closed())

    def _choke(self, is_choked: bool) -> None:
        self._is_choked = is_choked
        for door in self._doors:
            door.choke(is_choked)


class Door(asyncssh.SSHServerSession[bytes]):
    """A channel, until the client says what it is for; from then on it stands aside."""

    def __init__(self, user: User, desk: Desk, templates: Templates, *, explains: bool) -> None:
        self._desk = desk
        self._rooms = Rooms(user, desk, templates, secrets.token_hex(8))
        self._explains = explains
        self._chan: asyncssh.SSHServerChannel[bytes]
        self._inner: SftpSession | CommandSession | None = None
        self._is_choked = False
        self._is_closing: Callable[[], bool] = lambda: False
        self.is_gone = False

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is there."""
        self._chan, self._is_closing = chan, chan.is_closing
        hush(chan)

    def subsystem_requested(self, subsystem: str) -> bool:
        """SFTP, and nothing else."""
        if subsystem != "sftp":
            return False
        session = SftpSession(self._rooms, self._desk, explains=self._explains)
        session.connection_made(self._chan)
        self._inner = session
        if self._is_choked:
            session.choke(True)
        return True

    def exec_requested(self, command: str) -> bool:
        """One command of ours."""
        self._inner = CommandSession(self._rooms, self._desk, command)
        self._inner.connection_made(self._chan)
        return True

    def shell_requested(self) -> bool:
        """There is none, and whoever asks is told what there is."""
        return self.exec_requested("")

    def session_started(self) -> None:
        """The client has heard that it may go on."""
        if self._inner:
            self._inner.session_started()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass it on."""
        self._inner.data_received(data, datatype)  # type: ignore[union-attr]  # none comes before the request

    def eof_received(self) -> bool:
        """Pass it on."""
        return self._inner.eof_received() if self._inner else False

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._inner:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self.is_gone = True
        if self._inner:
            self._inner.connection_lost(exc)

    def choke(self, is_choked: bool) -> None:
        """The line below is full, or no longer."""
        self._is_choked = is_choked
        if isinstance(self._inner, SftpSession):
            self._inner.choke(is_choked)

    @property
    def is_open(self) -> bool:
        """Whether something may still be asked."""
        return not self.is_gone and not self._is_closing()

    @property
    def is_busy(self) -> bool:
        """Whether something is open or being served."""
        return not self.is_gone and self._inner is not None and self._inner.is_busy

    @property
    def heard(self) -> float:
        """When something was last asked, on the loop's clock."""
        return self._inner.heard if self._inner else 0.0


def blob(line: str) -> str:
    """The key itself in a line `ssh-ed25519 AAAA… comment`."""
    return line.split()[1]
