"""Commands: what `ssh user@host COMMAND` answers.

One table of verbs.  No shell stands behind it: a command is split into words as a shell would, and the first one
is looked up.  Answers go to stdout, reasons to stderr; 0 done, 1 refused, 2 wrong usage, 127 no such command.
A code comes by stdin, never as a word of the command.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import asyncssh

from fxsftp.domain import ids
from fxsftp.domain.addresses import hint
from fxsftp.domain.lifecycle import BEFORE_DISPATCH, ShipmentState
from fxsftp.domain.model import Kind, Notice, Shipment
from fxsftp.errors import FxError, ShipmentUnknown
from fxsftp.exchange.in_hand import UNSEEN
from fxsftp.exchange.sent import Sent
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp.rooms import Rooms

STDIN_MOST = 64 << 10  # bytes; a code needs 20
LOOK = 0.05  # seconds between two looks whether other processes have something in hand
PROMPT = 1.0  # seconds; a program has written the code by then, a person is asked for it
DONE, REFUSED, MISUSED, NO_COMMAND = 0, 1, 2, 127

log = logging.getLogger("fxsftp.sftp")


class CommandSession(asyncssh.SSHServerSession[bytes]):
    """One command, from its words to its exit status."""

    def __init__(self, rooms: Rooms, desk: Desk, command: str) -> None:
        """An empty `command` is a client that wants a shell."""
        self.rooms, self.desk, self.user, self.exchange = rooms, desk, rooms.user, desk.exchange
        self.heard = asyncio.get_running_loop().time()
        self._command = command
        self._chan: asyncssh.SSHServerChannel[bytes]
        self._stdin = bytearray()
        self._has_eof = False
        self._arrived = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is there."""
        self._chan = chan

    def session_started(self) -> None:
        """The client listens: run the command."""
        self._running = asyncio.get_running_loop().create_task(self._run())

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002  # there is only one kind
        """Keep a little of stdin; more than a verb could want stays with the client."""
        self._stdin += data
        self._arrived.set()
        if len(self._stdin) >= STDIN_MOST:
            self._chan.pause_reading()

    def eof_received(self) -> bool:
        """Stdin has ended; the answer is still to come."""
        self._has_eof = True
        self._arrived.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # gone is gone
        """Nobody listens any more; what was begun is finished, and only waiting for stdin ends."""
        self.eof_received()

    @property
    def is_busy(self) -> bool:
        """Whether it still runs."""
        return self._running is not None and not self._running.done()

    # ---- running

    async def _run(self) -> None:
        try:
            status = await self._verb()
        except FxError as error:
            self.complain(str(error))
            status = REFUSED
        except Exception:
            log.exception("%s: a command failed", self.user.email)
            self.complain(str(FxError()))
            status = REFUSED
        if not self._chan.is_closing():
            self._chan.exit(status)

    async def _verb(self) -> int:
        if not self._command:
            self.complain("This service speaks SFTP only: use sftp, or 'ssh … help' for the commands there are.")
            return REFUSED
        try:
            name, *words = shlex.split(self._command)
        except ValueError:
            self.complain("That can't be understood: a quotation mark is missing.")
            return MISUSED
        verb = VERBS.get(name)
        if name == "scp":
            self.complain("This service speaks SFTP only: use scp without -O (OpenSSH 9 or newer), or sftp.")
        elif not verb or (verb.for_members and self.user.kind is not Kind.MEMBER):
            shown = ids.redacted(name)[:80]
            self.complain(f"{shown}: there is no such command here. 'ssh … help' shows those there are.")
        elif not verb.fewest <= len(words) <= verb.most:
            self.complain(f"usage: ssh … {name} {verb.words}".rstrip())
            return MISUSED
        else:
            return await verb.run(self, words) or DONE
        return NO_COMMAND

    def say(self, text: str) -> None:
        """A line on stdout."""
        if not self._chan.is_closing():
            self._chan.write(text.encode() + b"\n")

    def complain(self, text: str) -> None:
        """A line on stderr."""
        if not self._chan.is_closing():
            self._chan.write_stderr(text.encode() + b"\n")

    async def stdin(self, until: bytes = b"") -> bytes:
        """What stdin holds up to its end or `until`, and never more than fits."""
        while not self._has_eof and len(self._stdin) < STDIN_MOST and (not until or until not in self._stdin):
            self._arrived.clear()
            await self._arrived.wait()
        return bytes(self._stdin).partition(until)[0] if until else bytes(self._stdin)


# ---- the verbs -----------------------------------------------------------------------------------


async def _help(call: CommandSession, _words: list[str]) -> None:
    shown = [verb for verb in VERBS.values() if verb.says and (not verb.for_members or call.user.kind is Kind.MEMBER)]
    width = max(len(f"{verb.name} {verb.words}") for verb in shown)
    for verb in shown:
        call.say(f"{verb.name + ' ' + verb.words:{width}}  {verb.says}")
    call.say("Files go in and out with any SFTP client; /README.txt there says how.")


async def _send(call: CommandSession, words: list[str]) -> None:
    # ssh joins what it was given by blanks and keeps no quotes, and subjects have blanks: all words are one name.
    folder = " ".join(words).strip("/").removeprefix("outbox/") or None
    await _all_be_seen(call)
    sent = await call.desk.ask_slowly(call.exchange.dispatch.send, call.user, folder, call.desk.now())
    for shipment in sent:
        call.say(_how_sent(shipment))
    if not sent:
        call.say("Nothing is waiting to be sent.")


async def _all_be_seen(call: CommandSession) -> None:
    """Return when other processes have written down what they have in hand of this user, so that it is sent as well."""
    in_hand, loop = call.exchange.writing.in_hand, asyncio.get_running_loop()
    until = loop.time() + UNSEEN
    while loop.time() < until and await call.desk.ask(in_hand.is_elsewhere, call.user.id):  # noqa: ASYNC110  # theirs
        await asyncio.sleep(LOOK)


def _how_sent(shipment: Shipment) -> str:
    if shipment.state is ShipmentState.HELD:
        return f"{shipment.id} is held back: {shipment.reason}"
    if shipment.state in BEFORE_DISPATCH:
        return f"{shipment.id} is being checked; then it leaves for {shipment.to}"
    return f"{shipment.id} sent to {shipment.to}" + (f": {shipment.subject}" if shipment.subject else "")


async def _status(call: CommandSession, words: list[str]) -> None:
    if words:
        call.say(await call.desk.ask(_receipt, call, _shipment(words[0])))
        return
    last = ""
    while page := await call.desk.ask(_lines, call, last):
        last = page[-1].partition(" ")[0]
        call.say("\n".join(page))


def _receipt(call: CommandSession, shipment_id: str) -> str:
    """What became of one.  Runs at the desk."""
    sent = call.exchange.sent.find(call.user, shipment_id, call.desk.now())
    return call.rooms.receipt_text(sent).decode().rstrip("\n")


def _lines(call: CommandSession, after: str) -> list[str]:
    """A line for each of some shipments, newest first.  Runs at the desk."""
    rooms, now = call.exchange.sent, call.desk.now()
    return [
        _line(rooms.find(call.user, shipment.id, now)) for shipment in rooms.list(call.user, now, after=after, most=50)
    ]


def _line(sent: Sent) -> str:
    shipment = sent.shipment
    day = time.strftime("%Y-%m-%d", time.gmtime(shipment.made))
    count = len(sent.files)
    files = f"{count} file" + ("s" if count != 1 else "")
    return "  ".join(filter(None, (shipment.id, day, sent.state, shipment.to, files, shipment.subject)))


async def _open(call: CommandSession, words: list[str]) -> None:
    shipment = _shipment(words[0])
    typing = asyncio.ensure_future(call.stdin(until=b"\n"))
    await asyncio.wait([typing], timeout=PROMPT)
    if not typing.done():
        call.complain("Type the code from the SMS, then Enter.")
    code = (await typing).decode("utf-8", "replace").strip()
    await call.desk.ask_slowly(call.exchange.opening.open_with_code, call.user, shipment, code, call.desk.now())
    minutes = call.exchange.policy.opening / 60
    call.say(f"{shipment} is open to you for {minutes:.0f} minutes: get inbox/{shipment}/")


async def _recall(call: CommandSession, words: list[str]) -> None:
    said = await call.desk.ask(call.exchange.sent.recall, call.user, _shipment(words[0]), call.desk.now())
    call.say(said)


async def _resend(call: CommandSession, words: list[str]) -> None:
    shipment, recipient, phone = _shipment(words[0]), words[1], words[2] if len(words) > 2 else None
    again = await call.desk.ask(_code_again, call, shipment, recipient, phone)
    call.say(f"The same code for {shipment} goes to {recipient} again, to the phone {hint(again.address)}")


def _code_again(call: CommandSession, shipment: str, recipient: str, phone: str | None) -> Notice:
    """Runs at the desk."""
    now, who = call.desk.now(), call.user.email
    return call.exchange.resending.resend(shipment, recipient, now, phone=phone, who=who)


async def _invite(call: CommandSession, words: list[str]) -> None:
    invited = await call.desk.ask(call.exchange.people.invite, call.user, words[0], words[1], call.desk.now())
    call.say(f"{invited.email} is invited. What you send is held until they have registered.")


async def _keys(call: CommandSession, _words: list[str]) -> None:
    for key in await call.desk.ask(call.exchange.people.keys, call.user.email):
        use = "logs in, opens" if key.opens else "logs in"
        call.say(f"{key.fingerprint}  {key.kind}  {use}  {key.comment}".rstrip())


async def _sha256sum(call: CommandSession, words: list[str]) -> None:
    if not words:  # rclone tries what the hash of nothing is
        call.say(f"{hashlib.sha256(await call.stdin()).hexdigest()}  -")
    for path in words:
        call.say(f"{await call.rooms.hash_of(path.encode())}  {path}")


async def _echo(call: CommandSession, words: list[str]) -> None:
    """As sh would, where no variable is set: rclone asks so for the kind of shell, and believes %ComSpec%."""
    call.say(" ".join(filter(None, (re.sub(r"\$\{\w*\}|\$\w+", "", word) for word in words))))


async def _pwd(call: CommandSession, _words: list[str]) -> None:
    call.say("/")


async def _df(call: CommandSession, _words: list[str]) -> None:
    used, most = await call.rooms.usage()
    share = -(-100 * used // most) if most else 100
    call.say(f"{'Filesystem':<16}{'1K-blocks':>14}{'Used':>14}{'Available':>14} Use% Mounted on")
    call.say(f"{'fxsftp':<16}{most >> 10:>14}{used >> 10:>14}{most - used >> 10:>14} {share:>3}% /")


def _shipment(word: str) -> str:
    shipment = ids.shipment_id(word.strip("/").rpartition("/")[2])
    if not shipment:
        raise ShipmentUnknown(ids.redacted(word))
    return shipment


@dataclass(frozen=True, slots=True)
class Verb:
    """One command: its words as help shows them, what help says of it, how many words it takes, and what it does."""

    name: str
    words: str
    fewest: int
    most: int
    says: str
    run: Callable[[CommandSession, list[str]], Awaitable[int | None]]
    for_members: bool = False


# What has nothing to say is for programs that probe: help does not show it.
VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("help", "", 0, 9, "shows this", _help),
        Verb(
            "send",
            "[FOLDER]",
            0,
            sys.maxsize,
            "sends what is complete in outbox now, without waiting for it to settle",
            _send,
        ),
        Verb("status", "[ID]", 0, 1, "shows what became of your shipments, or of one", _status),
        Verb("open", "ID", 1, 1, "opens a locked shipment; asks for the code from the SMS", _open),
        Verb("resend", "ID RECIPIENT [PHONE]", 2, 3, "sends the same code again, if its SMS was lost", _resend),
        Verb("recall", "ID", 1, 1, "takes a shipment back, and says what was read already", _recall),
        Verb("invite", "EMAIL PHONE", 2, 2, "invites someone to whom you want to send", _invite, for_members=True),
        Verb("keys", "", 0, 0, "shows your public keys", _keys),
        Verb("sha256sum", "PATH…", 0, 1000, "shows the SHA-256 of what you sent or can fetch", _sha256sum),
        Verb("df", "", 0, 9, "shows how much of your quota is in use", _df),
        Verb("echo", "", 0, 1000, "", _echo),
        Verb("pwd", "", 0, 9, "", _pwd),
    )
}
