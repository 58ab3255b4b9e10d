"""A process says that it lives as long as its loop turns and its threads get on, however long their work takes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from fxsftp import pulse, seal
from fxsftp.exchange import Exchange
from fxsftp.fronts.desk import Desk
from fxsftp.store.registry.engine import Engine
from tests.seal.blobs import MemoryBlob, Shelf

NOBODY = cast("Exchange", None)
EVERY, STUCK = 0.02, 5


@pytest.fixture
def beats() -> list[float]:
    return []


async def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def beating(desk: Desk, beats: list[float], every: float = EVERY) -> asyncio.Task[None]:
    return asyncio.create_task(
        pulse.beating(
            lambda: beats.append(time.monotonic()), desk.ask_nothing, desk.answers, every=every, stuck=STUCK
        )
    )  # fmt: skip


def test_it_goes_on_while_nothing_is_asked(beats: list[float]) -> None:
    async def walk() -> None:
        desk = Desk(NOBODY, lambda: 0.0, threads=1)
        living = beating(desk, beats)
        await until(lambda: len(beats) > 3 * STUCK)
        living.cancel()
        await desk.close()

    asyncio.run(walk())


def test_it_ends_when_all_threads_wait_for_each_other_and_says_so(
    beats: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """And goes on, should they come free after all."""

    async def walk() -> None:
        desk, free = Desk(NOBODY, lambda: 0.0, threads=2), threading.Event()
        waiting = [asyncio.ensure_future(desk.ask(free.wait, 30)) for _ in range(2)]
        living = beating(desk, beats)
        await until(lambda: "can't go on by itself" in caplog.text)
        count = len(beats)
        assert STUCK - 1 <= count <= STUCK + 2

        free.set()
        await until(lambda: len(beats) > count + STUCK)

        living.cancel()
        await asyncio.gather(*waiting)
        await desk.close()

    asyncio.run(walk())
    assert [record.levelno for record in caplog.records if record.name == "fxsftp"] == [logging.ERROR]


def test_it_goes_on_as_long_as_anything_is_answered(beats: list[float]) -> None:
    """Its own question may wait behind a thousand others, each of which waits for something else."""

    async def walk() -> None:
        desk = Desk(NOBODY, lambda: 0.0, threads=1)
        asked = [asyncio.ensure_future(desk.ask(threading.Event().wait, 2 * EVERY)) for _ in range(10 * STUCK)]
        living = beating(desk, beats)

        await until(asked[-1].done)

        assert len(beats) > 2 * STUCK
        assert max(after - before for before, after in pairwise(beats)) < 20 * EVERY
        living.cancel()
        await desk.close()

    asyncio.run(walk())


# ---- long and honest ---------------------------------------------------------------------------------


def scrypts(_: Path) -> Iterator[None]:
    while True:
        hashlib.scrypt(b"password", salt=b"salt" * 4, n=1 << 15, r=8, p=1, maxmem=1 << 26)
        yield


def merges(_: Path) -> Iterator[None]:
    key, shelf = seal.new_file_key(), Shelf()
    first = seal.Draft(key, shelf.new_blob)
    first.write(0, bytes(3 << 20))
    first.suspend()
    resumed = seal.Draft(key, shelf.new_blob, shelf.rows)
    resumed.write(resumed.flushed, bytes(100))
    pieces = resumed.finish().pieces
    while True:
        seal.merge(pieces, key, MemoryBlob())
        yield


def checkpoints(folder: Path) -> Iterator[None]:
    engine = Engine(folder / f"{threading.get_ident()}.db")
    engine.execute("CREATE TABLE t (x)")
    try:
        while True:
            engine.execute_many("INSERT INTO t VALUES (?)", ((bytes(4096),) for _ in range(50)))
            engine.checkpoint()
            yield
    finally:
        engine.close()


@pytest.mark.parametrize("work", [scrypts, merges, checkpoints])
def test_long_and_honest_work_in_all_threads_is_not_hanging(
    work: Callable[[Path], Iterator[None]], beats: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever computes or waits for the disk gets on, though nothing is answered for as long as it takes."""
    monkeypatch.setattr(pulse, "COMPUTING", 0.005)  # as much less than in earnest as these seconds are shorter

    def long_work(is_over: threading.Event) -> None:
        for _ in work(tmp_path):
            if is_over.is_set():
                return

    async def walk() -> None:
        desk, over = Desk(NOBODY, lambda: 0.0, threads=2), threading.Event()
        working = [asyncio.ensure_future(desk.ask(long_work, over)) for _ in range(2)]
        living = beating(desk, beats, 5 * EVERY)
        await until(lambda: len(beats) > 4 * STUCK)
        assert not any(each.done() for each in working)
        over.set()
        await asyncio.gather(*working)
        living.cancel()
        await desk.close()

    asyncio.run(walk())
