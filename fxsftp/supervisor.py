"""The supervisor: keeps processes serving until it is told to stop, and replaces one that dies or hangs.

Nothing here knows what they serve.  A child's stdin is a socket to its supervisor: by it the child hears what all of
them share, says that it is ready, and from then on each second that it lives; it closes with the supervisor, however
that dies.  A child that can't begin ends all, for it has said why, and trying again would say the same.  One that has
begun is replaced as often as it takes; one that says nothing any more is killed, and so replaced.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fxsftp.pulse import EVERY, waits_for_disk

log = logging.getLogger("fxsftp")

RESTART = 1.0  # seconds before a process that died is started again; doubled each time, up to a minute
LAST_WORD = 1.0  # seconds; its line ends with it, unless a child of its own holds it
LONGEST = 60.0  # seconds; and who has served for so long begins anew with the first wait
CLOSING = 10.0  # seconds after its drain until a process that does not end is killed
SILENT = 30  # looks, a second apart, at which nothing was heard from who has begun, until it is taken for hanging
SUPERVISED = "FXSFTP_SUPERVISED"  # in a child's environment
REFUSED = (1, 2)  # exit statuses of who has said why it can't begin
BACKLOG = 4096  # bytes, more than what is shared takes


@dataclass(frozen=True)
class Shared:
    """What the processes of one exchange have in common, in their memory alone."""

    running: bytes  # the key of what is opened on the server
    clock: float  # what to add to the machine's steady clock for the time of day, so that all say the same time
    workers: int = 1  # processes of the sftp service …
    port: int = 0  # … and, of more than one, the port that is held for all

    def line(self) -> bytes:
        """As it is told to a child."""
        told = {"running": self.running.hex(), "clock": self.clock, "workers": self.workers, "port": self.port}
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def heard(cls, line: bytes) -> Shared:
        """As a child hears it."""
        told = json.loads(line)
        return cls(bytes.fromhex(told["running"]), told["clock"], told["workers"], told["port"])


@dataclass(frozen=True)
class Child:
    """One process; what it is called in the log, and how it is started."""

    name: str
    command: Sequence[str]


@dataclass
class _Pulse:
    """What is heard of one process."""

    has_begun: bool = False
    silent: int = 0  # looks since


# ---- above -------------------------------------------------------------------------------------------


class Supervisor:
    """Keeps these children until SIGTERM or SIGINT.  `errand` is run every so many seconds, if there is one."""

    def __init__(
        self,
        children: Sequence[Child],
        shared: Shared,
        *,
        drain: float,
        ready: Callable[[], None],
        errand: tuple[Child, float] | None = None,
        look: float = EVERY,
        silent: int = SILENT,
    ) -> None:
        """`drain` is how long a child may take to end; `ready` is called once all of them serve.

        Every `look` seconds it is looked which of them were heard of meanwhile.
        """
        self._children, self._shared, self._errand = children, shared, errand
        self._patience = drain + CLOSING
        self._look, self._silent = look, silent
        self._ready = ready
        self._begun: set[str] = set()
        self._stop = asyncio.Event()
        self._status = 0

    async def run(self) -> int:
        """Returns the exit status when all have ended."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        async with asyncio.TaskGroup() as tasks:
            for child in self._children:
                tasks.create_task(self._keep(child))
            if self._errand:
                tasks.create_task(self._repeat(*self._errand))
        return self._status

    async def _keep(self, child: Child) -> None:
        wait = RESTART
        while not self._stop.is_set():
            began = time.monotonic()
            status = await self._one(child)
            if self._stop.is_set():
                return
            if status in REFUSED and child.name not in self._begun:
                self._status = status
                self._stop.set()
                return
            if time.monotonic() - began > LONGEST:
                wait = RESTART
            log.error("%s ended with status %d; it is started again in %.0f s", child.name, status, wait)
            await self._pause(wait)
            wait = min(LONGEST, wait * 2)

    async def _one(self, child: Child) -> int:
        """From its start to its end."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *child.command, stdin=theirs.fileno(), env=os.environ | {SUPERVISED: "1"}
                )
            pulse = _Pulse()
            speaking = asyncio.create_task(self._speak(child, ours, pulse))
            watching = asyncio.create_task(self._watch(child, process, pulse))
            ended, told = asyncio.create_task(process.wait()), asyncio.create_task(self._stop.wait())
            await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)
            watching.cancel()
            if ended.done():  # what it said last may lie unread: that it had begun counts, however soon it died
                await asyncio.wait([speaking], timeout=LAST_WORD)
            speaking.cancel()
            told.cancel()
            if not ended.done():
                process.terminate()
                try:
                    await asyncio.wait_for(asyncio.shield(ended), self._patience)
                except TimeoutError:
                    process.kill()
            return await ended

    async def _speak(self, child: Child, line: socket.socket, pulse: _Pulse) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # it has died, which does not mean that it has not begun
            await loop.sock_sendall(line, self._shared.line())
        with suppress(OSError):
            while await loop.sock_recv(line, BACKLOG):
                pulse.silent = 0
                if not pulse.has_begun:
                    pulse.has_begun = True
                    self._has_begun(child)

    def _has_begun(self, child: Child) -> None:
        is_last = len(self._begun | {child.name}) == len(self._children) > len(self._begun)
        self._begun.add(child.name)
        if is_last:
            self._ready()

    async def _watch(self, child: Child, process: asyncio.subprocess.Process, pulse: _Pulse) -> None:
        """Kill it once it hangs.  Who begins may take its time: it may have to wait for others, or to migrate.

        Looks are counted and not seconds: while this process was itself away, as when the machine slept, stood still
        or had no time for it, nobody could be heard.
        """
        while pulse.silent < self._silent:
            await asyncio.sleep(self._look)
            pulse.silent += pulse.has_begun
            if pulse.silent == self._silent and waits_for_disk(Path(f"/proc/{process.pid}")):
                log.error("%s waits for the disk and does nothing else", child.name)
                pulse.silent = 0  # killing it would help nobody, and end all its sessions once the disk is there again
        log.error("%s has said nothing for %.0f s: it hangs, and is killed", child.name, self._silent * self._look)
        process.kill()

    async def _repeat(self, errand: Child, every: float) -> None:
        while not self._stop.is_set():
            await self._pause(every)
            if not self._stop.is_set():
                process = await asyncio.create_subprocess_exec(*errand.command, stdin=asyncio.subprocess.DEVNULL)
                await process.wait()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)


def hold_port(host: str, port: int) -> tuple[Sequence[socket.socket], int]:
    """Hold a port, or any that is free for 0, so that the workers of this user and nobody else can listen there.

    Raises OSError when somebody does.  Who only holds a port gets no connections.
    """
    held: list[socket.socket] = []
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError:
            continue  # a machine without IPv6
        held.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind((address[0], port, *address[2:]))
        except OSError as failure:
            for each in held:
                each.close()
            why = os.strerror(failure.errno or 0)
            raise OSError(failure.errno, f"port {port} can't be listened on: {why}") from None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # only now: another exchange here would be let in
        port = sock.getsockname()[1]
    return held, port


# ---- below -------------------------------------------------------------------------------------------


def above(environ: Mapping[str, str]) -> Shared | None:
    """What the supervisor says, in a child; None in a process that has none.  To be called once."""
    if not environ.get(SUPERVISED):
        return None
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(sys.stdin.fileno(), BACKLOG)
        if not more:
            raise SystemExit(0)  # it died as soon as it had started us
        line += more
    os.set_blocking(sys.stdin.fileno(), False)  # whoever does not listen must not hold this process up
    return Shared.heard(line)


def tell_ready() -> None:
    """Say to the supervisor that this child serves."""
    with suppress(OSError):
        os.write(sys.stdin.fileno(), b"+")


def tell_alive() -> None:
    """Say that it still does."""
    with suppress(OSError):  # it has not listened for long, and so hears enough of us
        os.write(sys.stdin.fileno(), b".")


def stop_with_it(stop: Callable[[], None]) -> None:
    """Stop when the supervisor is gone: its end of the socket closes with it."""
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop)
