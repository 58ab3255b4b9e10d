"""Bytes that arrive by HTTP, on their way into a draft: the same draft, seal and vault as by SFTP.

A piece may be taken in the loop, since that is page-cache work; all that comes before and after is asked at the desk.
Whatever ends a call early, the draft is put away, so that what has come can be resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fxsftp.exchange.drafts import Draft, Pause

PIECE = 256 << 10  # bytes; more at once would keep the loop from others


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
