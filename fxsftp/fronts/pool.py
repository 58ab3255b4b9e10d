"""A pool of threads that answer loops.

It does what loop.run_in_executor() does with half the processor time: an executor's own futures are made so that
threads can wait for them, and here only loops do.  Each small file passes here, and each look at a folder.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

Errand = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Pool:
    """Threads that come as they are needed, at most so many, and stay until it is closed."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._errands: SimpleQueue[Errand | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0  # asked and not answered
        self.answers = 0  # so far

    async def ask(self, verb: Callable[[], T]) -> T:
        """What `verb` returns or raises; it runs to its end even when nobody waits for the answer any more."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._open += 1
        if len(self._threads) < min(self._open, self._most):
            self._threads.append(threading.Thread(target=self._work, name=f"{self._name}_{self._open}", daemon=True))
            self._threads[-1].start()
        self._errands.put((loop, answer, verb))
        return await answer

    def _work(self) -> None:
        while errand := self._errands.get():
            loop, answer, verb = errand
            result = problem = None
            try:
                result = verb()
            except BaseException as error:  # noqa: BLE001  # it is the asker's to see
                problem = error
            with suppress(RuntimeError):  # the loop is gone, and with it who asked
                loop.call_soon_threadsafe(self._give, answer, result, problem)
            del errand, loop, answer, verb, result, problem  # not to be held until the next comes

    def _give(self, answer: asyncio.Future[Any], result: object, problem: BaseException | None) -> None:
        self._open -= 1
        self.answers += 1
        if answer.cancelled():
            return
        if problem is None:
            answer.set_result(result)
        else:
            answer.set_exception(problem)

    async def close(self) -> None:
        """Return when everything asked has been answered.  Nothing may be asked after."""
        for _ in self._threads:
            self._errands.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
