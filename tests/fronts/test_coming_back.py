"""Who comes back by another process than the one that they left: neither process stands still for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from fxsftp.domain.model import Kind, User, Wishes
from fxsftp.errors import NotYours
from fxsftp.exchange import Exchange
from fxsftp.exchange.drafts import Draft
from fxsftp.fronts import desk as desks
from fxsftp.fronts.desk import Desk
from tests.exchange.hands import Hand, another_process, write
from tests.house import KARI, House, at

CHUNK = 65536
DATA = bytes(range(251)) * 800  # 200,800 bytes: three chunks and a bit
MANY = 6  # drafts of each; more than there are threads


@contextmanager
def two_processes(house: House) -> Iterator[tuple[Exchange, Exchange]]:
    other = another_process(house)
    for each in (house.exchange, other):
        each._holdings.workers.ticks = house.clock
    yield house.exchange, other
    other.close()


def paths(user: User) -> list[str]:
    return [f"/outbox/{KARI}/Ref {user.id}/d{number}.bin" for number in range(MANY)]


def begin(hand: Hand) -> list[Draft]:
    """Some files, each left in the middle."""
    drafts = [hand.open(path) for path in paths(hand.user)]
    for draft in drafts:
        write(draft, DATA)
        draft.settle_chores()
    hand.exchange.writing.beat(hand.now)
    return drafts


async def resume(desk: Desk, user: User, path: str) -> None:
    """As `reput` does, to the last byte."""
    writing, now = desk.exchange.writing, desk.now()
    draft = await desk.ask(
        writing.open_draft, user, at(path), truncate=False, create=False, exclusive=False, appends=False,
        wishes=Wishes(), session="again", now=now,
    )  # fmt: skip
    draft.write(3 * CHUNK, DATA[3 * CHUNK :])
    await desk.ask(writing.close_draft, draft, now)


async def growing(desk: Desk) -> None:
    """As each process says every moment."""
    while True:
        await desk.ask_apart(desk.exchange.writing.beat, desk.now())
        await asyncio.sleep(0.01)


def at_desks(house: House, exchanges: tuple[Exchange, ...], story: Callable[..., Awaitable[None]]) -> None:
    """Each process has one thread, so that whoever kept it waiting would keep all waiting."""

    async def walk() -> None:
        served = [Desk(exchange, house.clock, threads=1) for exchange in exchanges]
        beats = [asyncio.create_task(growing(each)) for each in served]
        try:
            async with asyncio.timeout(20):
                await story(*served)
        finally:
            for beat in beats:
                beat.cancel()
            await asyncio.gather(*beats, return_exceptions=True)
            for each in served:
                await each.close()

    asyncio.run(walk())


def test_two_who_come_back_crosswise_go_on_where_they_were(house: House) -> None:
    """Each process is asked for what it has open while it asks the other for what that has."""
    house.kari()
    ann, bob = house.ann(), house.add("bob@firm.example", Kind.PARTNER)
    with two_processes(house) as (one, other):
        begin(Hand(house, ann, "s1", one))
        begin(Hand(house, bob, "s2", other))
        house.clock.turn(11)

        async def crosswise(desk: Desk, there: Desk) -> None:
            await asyncio.gather(
                *(resume(there, ann, path) for path in paths(ann)), *(resume(desk, bob, path) for path in paths(bob))
            )

        at_desks(house, (one, other), crosswise)

        hands = Hand(house, ann, exchange=one), Hand(house, bob, exchange=one)
        assert [hand.stat(path).size for hand in hands for path in paths(hand.user)] == [len(DATA)] * 2 * MANY


def test_a_process_that_says_nothing_holds_up_who_asks_it_and_nobody_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in the end they hear why."""
    monkeypatch.setattr(desks, "PATIENCE", 0.5)
    kari, ann = house.kari(), house.ann()
    with two_processes(house) as (one, other):
        begin(Hand(house, ann, "s1", one))
        house.clock.turn(11)

        async def others_meanwhile(there: Desk) -> None:
            waiting = [asyncio.create_task(resume(there, ann, path)) for path in paths(ann)]
            for _ in range(20):
                await there.ask(there.exchange.outbox.stat, kari, at("/outbox"), there.now())
            assert not any(each.done() for each in waiting)
            heard = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(each) for each in heard] == [NotYours] * MANY

        at_desks(house, (other,), others_meanwhile)


def test_what_others_wait_for_is_done_while_all_threads_are_busy(house: House) -> None:
    async def busy(desk: Desk) -> None:
        go = threading.Event()
        waits = asyncio.create_task(desk.ask(go.wait, 20))
        await asyncio.sleep(0)
        await desk.ask_apart(desk.exchange.writing.beat, desk.now())
        assert not waits.done()
        go.set()
        with suppress(asyncio.CancelledError):
            assert await waits

    at_desks(house, (house.exchange,), busy)
