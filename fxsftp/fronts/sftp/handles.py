"""Handles: what a session has open, and what can be done with each kind of it.

House rules.  `read`, `write`, `entry` and `more` touch memory and the page cache only, and are called in the loop; what
is a coroutine asks at the desk.  Only `close` ends a draft; what a session leaves open is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from fxsftp.domain.model import Entry, Wishes
from fxsftp.errors import BadHandle, Forbidden, NoSuchPlace
from fxsftp.exchange.bodies import Content
from fxsftp.exchange.drafts import Draft, Litter, Pause
from fxsftp.exchange.reading import Reading
from fxsftp.fronts.desk import Desk

LOOK = 2.0  # seconds between two looks whether somebody who reads may read on
PAGES = 256 << 10  # bytes; what a folder's page that is read, and the next, are counted for; mostly it is no more


class Handle:
    """Something opened.  What a kind of thing can't do is refused here."""

    @property
    def held(self) -> int:
        """Bytes that are kept in memory for as long as it is open."""
        return 0

    def read(self, offset: int, count: int) -> bytes:  # noqa: ARG002  # here and below: a refusal
        """Up to `count` bytes; none at the end."""
        raise BadHandle

    def write(self, offset: int, data: memoryview) -> Pause | None:  # noqa: ARG002
        """Take `data`, which is not kept after, and may be a part of a WRITE only.

        A pause that it returns is to be made before more is brought.
        """
        raise Forbidden("this was not opened for writing")

    def wrote(self, count: int) -> None:
        """A WRITE of `count` bytes is complete."""

    def entry(self) -> Entry:
        """What a listing would show now."""
        raise BadHandle

    def more(self) -> bytes:
        """The next names of a folder, as one answer tells them; none at the end."""
        raise BadHandle

    @property
    def has_to_wait(self) -> bool:
        """Whether `wait` has to be called before `more`."""
        return False

    async def wait(self) -> None:
        """Return when the next names of a folder are there, or could not be fetched, which `more` then says."""

    def content(self) -> Content:
        """What it holds, to be hashed."""
        raise BadHandle

    async def change(self, wishes: Wishes) -> None:  # noqa: ARG002
        """Take what the client says of it."""
        raise Forbidden("this was not opened for writing")

    async def sync(self) -> None:
        """Return when what was written is durable."""

    def close_at_once(self) -> bool:
        """The client closed it; False where `close` has to be waited for instead."""
        return False

    async def close(self) -> None:
        """The client closed it."""

    async def lose(self, *, has_unsent: bool) -> None:  # noqa: ARG002
        """The session ended before the client closed it, perhaps with answers that never left."""
        await self.close()


class DraftHandle(Handle):
    """A file on its way out."""

    def __init__(self, desk: Desk, draft: Draft | Litter) -> None:
        self._desk, self._draft = desk, draft
        self.write = draft.take  # type: ignore[method-assign]  # each call counts here: one per 32 KiB
        self.wrote = draft.wrote  # type: ignore[method-assign]
        self.read = draft.read  # type: ignore[method-assign]

    def entry(self) -> Entry:
        return self._draft.entry()

    def content(self) -> Content:
        return self._draft.content()

    async def change(self, wishes: Wishes) -> None:
        await self._desk.ask(self._draft.wish, wishes)

    async def sync(self) -> None:
        await self._desk.ask(self._desk.exchange.writing.sync_draft, self._draft)

    async def close(self) -> None:
        await self._desk.ask(self._desk.exchange.writing.close_draft, self._draft, self._desk.now())

    async def lose(self, *, has_unsent: bool) -> None:  # noqa: ARG002
        await self._desk.ask(self._desk.exchange.writing.lose_draft, self._draft, self._desk.now())


class ReadingHandle(Handle):
    """A file of a shipment, being fetched.  Once that is taken back, it is not read on."""

    def __init__(self, desk: Desk, reading: Reading) -> None:
        self._desk, self._reading = desk, reading
        self._looked = desk.now()
        self._is_over = False

    def read(self, offset: int, count: int) -> bytes:
        if self._is_over:
            raise NoSuchPlace(self._reading.entry.name)
        if (now := self._desk.now()) - self._looked >= LOOK:
            self._looked = now
            self._desk.see_to(self._look())
        return self._reading.read(offset, count)

    async def _look(self) -> None:
        self._is_over = not await self._desk.ask(self._desk.exchange.collecting.may_go_on, self._reading)

    def entry(self) -> Entry:
        return self._reading.entry

    def content(self) -> Content:
        return self._reading.content()

    def close_at_once(self) -> bool:
        collecting = self._desk.exchange.collecting
        is_kept = collecting.keep_done(self._reading, self._desk.now())
        if is_kept:
            self._desk.soon(collecting.write_done)
        return is_kept

    async def close(self) -> None:
        await self._desk.ask(self._desk.exchange.collecting.read_done, self._reading, self._desk.now())

    async def lose(self, *, has_unsent: bool) -> None:
        if has_unsent:
            self._reading.lost()
        if not self.close_at_once():
            await self.close()


class PageHandle(Handle):
    """A page that was rendered when it was opened, so that it stays the same while it is read."""

    def __init__(self, entry: Entry, text: bytes) -> None:
        self._entry, self._text = entry, text

    @property
    def held(self) -> int:
        return len(self._text)

    def read(self, offset: int, count: int) -> bytes:
        return self._text[offset : offset + count]

    def entry(self) -> Entry:
        return self._entry

    def content(self) -> Content:
        return Content(len(self._text), self.read)


class Page(NamedTuple):
    """Some of a folder's names, told already, each piece for one answer to READDIR; and the last of them."""

    answers: Sequence[bytes] = ()
    last: str = ""


class FolderHandle(Handle):
    """A listing, fetched page by page, one ahead of what is read.

    A name that stays there comes once, and none comes twice.
    """

    def __init__(self, name: str, page: Page, fetch: Callable[[str], Coroutine[Any, Any, Page]] | None = None) -> None:
        """`fetch` brings what comes after a name; without it, `page` is all."""
        self._name, self._page, self._next = name, page, 0
        self._fetch = fetch if page.answers else None
        self._coming: asyncio.Task[Page] | None = None

    @property
    def held(self) -> int:
        return PAGES if self._fetch else 0  # nothing any more when it was read to its end

    def more(self) -> bytes:
        if self._is_read and self._fetch:
            self._turn()
        if not self._next:  # who begins to read a page will want the one after it
            self._send_for()
        if self._is_read:
            return b""
        self._next += 1
        return self._page.answers[self._next - 1]

    @property
    def has_to_wait(self) -> bool:
        return self._is_read and self._fetch is not None and not (self._coming and self._coming.done())

    async def wait(self) -> None:
        self._send_for()
        if self._coming:
            await asyncio.wait([self._coming])

    @property
    def _is_read(self) -> bool:
        return self._next == len(self._page.answers)

    def _turn(self) -> None:
        coming, self._coming = self._coming, None  # gone also if it failed: then it is sent for again
        assert coming
        self._page, self._next = coming.result(), 0
        if not self._page.answers:
            self._fetch = None

    def _send_for(self) -> None:
        if self._fetch and not self._coming:
            self._coming = asyncio.get_running_loop().create_task(self._fetch(self._page.last))

    async def close(self) -> None:
        if self._coming:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)

    def entry(self) -> Entry:
        return Entry(self._name, True, 0, 0, 0o555)
