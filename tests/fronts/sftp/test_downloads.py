"""A folder of small files on its way down: most are open before they are asked for, and what was sent is told right."""

from __future__ import annotations

import asyncio
import struct

import pytest

from fxsftp.domain.lifecycle import DeliveryState
from tests.exchange.hands import notices
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import Door
from tests.fronts.sftp.raw import R, string
from tests.house import ANN, KARI

COUNT = 30


def test_who_removes_each_file_right_after_it_was_read_has_collected_them_all(door: Door) -> None:
    """As `mget`, `rm` and lftp's --Remove-source-files do: nobody tells the sender that something was unread."""
    for number in range(COUNT):
        door.house.put(door.users[ANN], f"outbox/{KARI}/Ref 1/{number:02}.csv", b"%d" % number * 50)
    door.house.settle()
    asked = 0
    collecting = door.exchange.collecting
    opened = collecting.open

    def counted(*words: object) -> object:
        nonlocal asked
        asked += 1
        return opened(*words)  # type: ignore[arg-type]

    collecting.open = counted  # type: ignore[assignment,method-assign]

    async def fetch() -> None:
        async with door.raw(KARI) as raw:
            (folder,) = await raw.list("/inbox")
            for number in range(COUNT):
                path = f"/inbox/{folder}/{number:02}.csv"
                assert await raw.get(path) == b"%d" % number * 50
                assert (await raw.ask(sftp.REMOVE, string(path))).code == sftp.OK

    asyncio.run(fetch())
    assert asked < COUNT / 2
    (sent,) = door.exchange.sent.list(door.users[ANN], door.house.clock())
    ((delivery, _),) = door.exchange.sent.find(door.users[ANN], sent.id, door.house.clock()).deliveries
    assert delivery.state is DeliveryState.REMOVED
    assert delivery.collected
    assert len(notices(door.house, "collected")) == 1
    assert not notices(door.house, "removed_unread")


@pytest.mark.parametrize("listens", [True, False])
def test_what_never_left_was_not_collected(door: Door, listens: bool) -> None:
    """A client asks for all of a file and goes without a CLOSE: either all was sent to it, or its window was full."""
    data = bytes(4 << 20)  # twice what the window takes
    door.house.put(door.users[ANN], f"outbox/{KARI}/Ref 1/large.bin", data)
    door.house.settle()
    (sent,) = door.exchange.sent.list(door.users[ANN], door.house.clock())

    def state() -> str:
        return door.exchange.sent.find(door.users[ANN], sent.id, door.house.clock()).state

    async def fetch() -> None:
        async with door.raw(KARI) as raw:
            (folder,) = await raw.list("/inbox")
            handle = (await raw.open(f"/inbox/{folder}/large.bin", R)).handle
            if not listens:
                raw.chan.pause_reading()
            for start in range(0, len(data), 1 << 17):
                raw.send(sftp.packet(sftp.READ, start >> 17, string(handle), struct.pack(">QI", start, 1 << 17)))
            if listens:
                assert sum(len(answer.data) for answer in await raw.answers(len(data) >> 17)) == len(data)
            else:
                await asyncio.to_thread(door.until, lambda: state() == "opened")

    asyncio.run(fetch())
    door.until(lambda: not door.listener.guests)
    door.until(lambda: state() == ("collected" if listens else "opened"))
