"""The desk: the one door from an event loop into the exchange.

The exchange is synchronous and may wait for disks and locks; a loop that serves hundreds of sessions must
not.  What is asked here runs in a bounded pool of threads.  The order of two questions is the asker's to
keep: who awaits the first answer before asking the second has it.  No thread waits for what another process has open:
what is NotYet so is asked again.  For what another is about to write of a delivery, one waits 2 s at most (Reads).

Only page-cache work on a file that is already open (Draft.write, Reading.read, up to 256 KiB), and verbs that
say that they are for a loop (Collecting.open_at_once), may pass by the desk.  Syncs, merges, hashing, key derivation
and registry writes never do.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

from fxsftp.errors import NotYet, NotYours
from fxsftp.exchange import Exchange
from fxsftp.fronts.pool import Pool

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8  # enough to keep two cores and a disk busy; each holds one connection to the registry
SLOW = 2  # scrypt and Argon2 take 32-64 MiB and a whole core each
SWITCH = (
    0.001  # seconds; a loop waits so long, several times for each answer, while threads compute; not Python's 0.005
)
APART = 2  # threads for what others wait for, one for each of those who ask so
AGAIN = 0.02, 0.2  # seconds until what is NotYet so is asked again: at first, and at last
PATIENCE = 30.0  # seconds that a client who reconnects waits for what its last session had open to be put away
SOON = 0.1  # seconds; what is asked once for so long costs next to nothing, and nobody sees the difference
STEADY = 2  # threads that long work may keep busy, so that the others stay free for what takes a moment

log = logging.getLogger("fxsftp.desk")


class Desk:
    """Asks the exchange on behalf of a loop, and says what time it is.

    `exchange` is there for its verbs: `await desk.ask(desk.exchange.outbox.stat, user, place, desk.now())`.
    """

    def __init__(
        self, exchange: Exchange, clock: Callable[[], float], *, threads: int = THREADS, slow: int = SLOW
    ) -> None:
        self.exchange = exchange
        self.now = clock
        sys.setswitchinterval(SWITCH)
        self._pool = Pool(threads, "desk")
        self._apart = Pool(APART, "apart")
        self._slow = asyncio.Semaphore(slow)
        self._steady = asyncio.Semaphore(STEADY)
        self._errands: set[asyncio.Task[None]] = set()
        self._soon: dict[Callable[[], None], asyncio.TimerHandle] = {}

    async def ask(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `verb` returns or raises; it runs to its end even when nobody waits for the answer any more.

        What is NotYet so is asked again, in the end with NotYours for an answer.
        """
        question = partial(verb, *args, **kwargs)
        try:
            return await self._pool.ask(question)
        except NotYet:
            return await self._ask_again(question)

    async def _ask_again(self, question: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + PATIENCE, AGAIN[0]
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, AGAIN[1])
            try:
                return await self._pool.ask(question)
            except NotYet as moment:
                if loop.time() >= until:
                    raise NotYours(*moment.args) from None

    async def ask_apart(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what others wait for: it does not wait for a thread until they are answered."""
        return await self._apart.ask(partial(verb, *args, **kwargs))

    async def ask_slowly(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for key derivation: few at a time, so that guessing can't use up memory or all threads."""
        async with self._slow:
            return await self.ask(verb, *args, **kwargs)

    async def ask_steadily(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for one piece of long work, such as hashing: few at a time, and all take turns piece by piece."""
        async with self._steady:
            return await self.ask(verb, *args, **kwargs)

    async def ask_nothing(self) -> None:
        """Return when a thread has come round to it."""
        await self.ask(_nothing)

    def answers(self) -> int:
        """How often something was answered: it grows as long as the threads get on."""
        return self._pool.answers

    def see_to(self, errand: Coroutine[Any, Any, None]) -> None:
        """Begin `errand` without waiting; `close` waits for it.  For what must be done after a session is gone."""
        task = asyncio.get_running_loop().create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._seen_to)

    def soon(self, verb: Callable[[], None]) -> None:
        """Ask `verb` within a tenth of a second, once for all who have said so; nobody waits for it but `close`."""
        if verb not in self._soon:
            self._soon[verb] = asyncio.get_running_loop().call_later(SOON, self._ask_now, verb)

    def _ask_now(self, verb: Callable[[], None]) -> None:
        self._soon.pop(verb).cancel()
        self.see_to(self.ask(verb))

    def _seen_to(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("an errand failed", exc_info=error)

    async def close(self) -> None:
        """Return when everything asked has been answered.  Nothing may be asked after."""
        while self._soon or self._errands:
            while self._soon:
                self._ask_now(next(iter(self._soon)))
            await asyncio.wait(self._errands)  # one of which may say that something is to be asked soon
        await self._pool.close()
        await self._apart.close()


def _nothing() -> None:
    pass
