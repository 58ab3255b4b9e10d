"""The desk: asks without stalling the loop, few slow things at once, and forgets nothing when it closes."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

import pytest

from fxsftp.errors import NotEmpty
from fxsftp.exchange import Exchange
from fxsftp.fronts.desk import SLOW, Desk

NOBODY = cast("Exchange", None)  # the desk only hands it on


def test_answers_and_refusals_come_back() -> None:
    def refuse() -> None:
        raise NotEmpty("Ref 1")

    async def walk() -> None:
        desk = Desk(NOBODY, lambda: 7.0)
        assert desk.now() == 7.0
        assert await desk.ask(divmod, 7, 2) == (3, 1)
        assert await desk.ask(int, "ff", base=16) == 255
        with pytest.raises(NotEmpty):
            await desk.ask(refuse)
        await desk.close()

    asyncio.run(walk())


def test_the_loop_goes_on_while_the_exchange_waits() -> None:
    """A verb that waits for something which only the loop can bring about does not wait for ever."""

    async def walk() -> None:
        desk, told = Desk(NOBODY, lambda: 0.0), threading.Event()
        asking = asyncio.ensure_future(desk.ask(told.wait, 20))
        await asyncio.sleep(0)
        told.set()
        assert await asking
        await desk.close()

    asyncio.run(walk())


def test_slow_verbs_run_few_at_a_time_and_others_pass_them() -> None:
    async def walk() -> None:
        desk, go = Desk(NOBODY, lambda: 0.0), threading.Event()
        running: list[int] = []
        most = 0

        def slow() -> None:
            nonlocal most
            running.append(1)
            most = max(most, len(running))
            go.wait(20)
            running.pop()

        asking = [asyncio.ensure_future(desk.ask_slowly(slow)) for _ in range(6)]
        while len(running) < SLOW:  # noqa: ASYNC110  # it is threads that are waited for
            await asyncio.sleep(0)
        assert await desk.ask(divmod, 7, 2) == (3, 1)
        go.set()
        await asyncio.gather(*asking)
        assert most == SLOW
        await desk.close()

    asyncio.run(walk())


def test_closing_waits_for_errands_and_a_failed_one_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    async def walk() -> None:
        desk = Desk(NOBODY, lambda: 0.0)

        async def errand(name: str) -> None:
            await desk.ask(done.append, name)
            if name == "first":
                desk.see_to(errand("second"))
                raise RuntimeError("the first went wrong")

        desk.see_to(errand("first"))
        await desk.close()

    asyncio.run(walk())
    assert done == ["first", "second"]
    assert "the first went wrong" in caplog.text


def test_what_an_errand_wants_asked_soon_is_asked_before_it_closes() -> None:
    """As when the last guest leaves while the doors close."""
    done: list[str] = []

    async def walk() -> None:
        desk = Desk(NOBODY, lambda: 0.0)

        def soon() -> None:
            done.append("soon")

        async def errand() -> None:
            await desk.ask(done.append, "errand")
            desk.soon(soon)

        desk.see_to(errand())
        await desk.close()

    asyncio.run(walk())
    assert done == ["errand", "soon"]
