"""A folder of small files on its way down: most are open before they are asked for, and what was sent is told right."""

from __future__ import annotations

import asyncio

from fxsftp.domain.lifecycle import DeliveryState
from tests.exchange.hands import notices
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import Door
from tests.fronts.sftp.raw import string
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
