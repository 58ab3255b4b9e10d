"""The pool: what a loop asks is answered by a thread, by no more of them than are needed, and to its end."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from fxsftp.fronts.pool import Pool


def test_answers_and_refusals_come_back_to_whoever_asked() -> None:
    async def walk() -> None:
        pool = Pool(2, "pool")
        assert await asyncio.gather(*(pool.ask(partial(divmod, number, 7)) for number in range(100))) == [
            divmod(number, 7) for number in range(100)
        ]
        with pytest.raises(ZeroDivisionError):
            await pool.ask(partial(divmod, 1, 0))
        await pool.close()

    asyncio.run(walk())


def test_there_are_as_many_threads_as_are_needed_and_no_more_than_allowed() -> None:
    async def walk() -> None:
        pool, seen = Pool(3, "pool"), set()
        for _ in range(10):
            seen.add(await pool.ask(threading.get_ident))
        assert len(seen) == 1
        together = threading.Barrier(3)
        await asyncio.gather(*(pool.ask(partial(together.wait, 20)) for _ in range(9)))
        assert len(pool._threads) == 3
        await pool.close()
        assert not any(thread.is_alive() for thread in pool._threads)

    asyncio.run(walk())


def test_what_nobody_waits_for_any_more_is_done_all_the_same() -> None:
    done, go = [], threading.Event()

    def verb() -> None:
        go.wait(20)
        done.append(1)

    async def walk() -> None:
        pool = Pool(1, "pool")
        asking = asyncio.ensure_future(pool.ask(verb))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        go.set()
        assert await pool.ask(lambda: "the next") == "the next"
        await pool.close()

    asyncio.run(walk())
    assert done == [1]


def test_a_thread_outlives_the_loop_that_asked_it() -> None:
    """A loop that ends does not take the pool with it."""
    pool, go, done = Pool(1, "pool"), threading.Event(), threading.Event()

    def verb() -> None:
        go.wait(20)
        done.set()

    async def leave() -> None:
        asyncio.ensure_future(pool.ask(verb))  # noqa: RUF006
        await asyncio.sleep(0)

    async def come() -> object:
        found = await pool.ask(lambda: "here")
        await pool.close()
        return found

    asyncio.run(leave())
    go.set()
    assert done.wait(20)
    assert asyncio.run(come()) == "here"
