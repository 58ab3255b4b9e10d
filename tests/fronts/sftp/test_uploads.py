"""What a session does with the bytes of an upload beyond taking them: it pauses for what other threads do with them."""

from __future__ import annotations

import asyncio
import hashlib
from random import Random

from fxsftp.seal.hashing import MOST, PAGE
from tests.exchange.hands import registry_of
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import ANN, KARI, Door
from tests.fronts.sftp.raw import CREATE, TRUNCATE, W, string, write
from tests.house import at
from tests.seal.test_hashing import busy_threads
from tests.walks.guests import until

REPORT = f"/outbox/{ANN}/Ref 1/report.csv"
BLOCK = 262_144  # bytes; what OpenSSH sends where it is allowed
COUNT = 40
DATA = Random(13).randbytes(COUNT * BLOCK)


def test_an_upload_that_outruns_its_hash_pauses_and_nobody_else_waits(door: Door) -> None:
    """The loop never waits for the threads: it takes no more from this client, and serves all others."""

    async def walk() -> None:
        async with door.raw(KARI) as raw, door.raw(ANN) as other:
            handle = (await raw.open(REPORT, W | CREATE | TRUNCATE)).handle
            (draft,) = door.exchange.outbox._drops.writers.values()
            with busy_threads() as go_on:
                raw.send(*(write(n, handle, n * BLOCK, DATA[n * BLOCK : (n + 1) * BLOCK]) for n in range(COUNT)))
                for _ in range(10):
                    await other.ask(sftp.STAT, string("/inbox"))
                assert draft.size < MOST * PAGE < len(DATA)
                go_on.set()
            assert [answer.code for answer in await raw.answers(COUNT)] == [sftp.OK] * COUNT
            assert (await raw.ask(sftp.CLOSE, string(handle))).code == sftp.OK

    asyncio.run(walk())
    drops = registry_of(door.exchange).drops
    (drop,) = drops.of_sender(door.users[KARI].id)
    (file,) = drops.of_shipment(drop.id)
    assert (file.size, file.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())


def test_an_upload_that_is_lost_while_it_pauses_is_put_away(door: Door) -> None:
    """Nothing waits for a hash that nobody wants any more, and what had arrived can be resumed."""

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            handle = (await raw.open(REPORT, W | CREATE | TRUNCATE)).handle
            raw.send(*(write(n, handle, n * BLOCK, DATA[n * BLOCK : (n + 1) * BLOCK]) for n in range(COUNT)))
            await raw.answers(4)  # more than that, and it pauses

    with busy_threads():
        asyncio.run(walk())
        until(lambda: not door.exchange.outbox._drops.writers)
    size = door.exchange.outbox.stat(door.users[KARI], at(REPORT), door.house.clock()).size
    assert 4 * BLOCK - PAGE <= size <= MOST * PAGE
