"""Bytes that arrive by HTTP, on their way into a draft: the same draft, seal and vault as by SFTP.

A piece may be taken in the loop, since that is page-cache work; all that comes before and after is asked at the desk.
Whatever ends a call early, the draft is put away, so that what has come can be resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from fxsftp.errors import LogInFirst
from fxsftp.exchange.drafts import Draft, Pause
from fxsftp.fronts.portal.call import Call

PIECE = 256 << 10  # bytes; more at once would keep the loop from others
LEAST, WITHIN = 16 << 10, 60.0  # bytes, and seconds to bring them in; a line that brings less is taken for lost


async def pieces_of(call: Call) -> AsyncGenerator[bytes, None]:
    """What a call brings, as it comes.  Only waiting for the caller counts as time.

    Raises TimeoutError where it trickles, ClientDisconnect where the line is lost, LogInFirst where the visit is over.
    """
    stream, loop = aiter(call.request.stream()), asyncio.get_running_loop()
    left, had = WITHIN, 0
    while True:
        began = loop.time()
        try:
            async with asyncio.timeout(left):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        left, had = left - (loop.time() - began), had + len(piece)
        if had >= LEAST:
            left, had = WITHIN, 0
        if not await call.may_stay():
            raise LogInFirst
        yield piece


async def take(draft: Draft, offset: int, pieces: AsyncIterator[bytes]) -> int:
    """Write the pieces at `offset` and on; answers where they end.  Raises what the draft or the line does."""
    async for piece in pieces:
        for start in range(0, len(piece), PIECE):
            part = memoryview(piece)[start : start + PIECE]
            pause = draft.take(offset, part)
            draft.wrote(len(part))
            offset += len(part)
            if pause:
                await _pause(pause)
            if len(piece) > PIECE:
                await asyncio.sleep(0)  # others' turn
    return offset


async def _pause(pause: Pause) -> None:
    """Until what hashes the bytes has caught up."""
    loop, caught_up = asyncio.get_running_loop(), asyncio.Event()

    def go_on() -> None:  # called in any thread, and perhaps when the loop is gone
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(caught_up.set)

    pause(go_on)
    await caught_up.wait()
