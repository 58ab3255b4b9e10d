"""The rooms: what a user sees by SFTP, and which verb of the exchange stands behind each thing done there.

A path becomes a place, a place belongs to a room, and the room decides where a request goes.  README.txt,
SHIPMENT.txt and the pages in sent are rendered when they are looked at; nothing here is stored, and nothing
here decides what may be done.  Paths are spoken of in places only, whose text never shows a code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from fxsftp.domain import ids, places
from fxsftp.domain.model import Entry, User, Wishes
from fxsftp.domain.places import Place, Room
from fxsftp.errors import (
    AlreadyThere,
    CrossRoom,
    IsAFolder,
    NoSuchPlace,
    NotAFolder,
    NotReadable,
    ReadOnly,
)
from fxsftp.exchange.bodies import Content
from fxsftp.exchange.inbox import BEGIN, Bookmark
from fxsftp.exchange.pages import letter_facts
from fxsftp.exchange.reading import LETTER, SUMS
from fxsftp.exchange.sent import Sent
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp import wire
from fxsftp.fronts.sftp.handles import DraftHandle, FolderHandle, Handle, Page, PageHandle, ReadingHandle
from fxsftp.fronts.sftp.receipts import Receipts
from fxsftp.fronts.sftp.wire import Open
from fxsftp.templates import Templates

ROOM, READ_ONLY_ROOM, READ_ONLY = 0o755, 0o555, 0o444
PAGE = 750  # entries of a folder fetched at a time: 4 ms at the desk, 128 KiB as they are told, and 0.6 ms for all else
OVER = object()  # said when there are no more pieces
WRITES = Open.WRITE | Open.APPEND | Open.CREATE | Open.TRUNCATE


class Rooms:
    """What one session of `user` sees and may ask for.

    A code that was given by making a folder of its name stats as an empty folder until the session ends,
    because clients look at what they have made.
    """

    def __init__(self, user: User, desk: Desk, templates: Templates, session: str) -> None:
        self.user = user
        self.session = session
        self._desk = desk
        self._exchange = desk.exchange
        self._templates = templates
        self._receipts = Receipts(desk, templates)
        self._given: set[Place] = set()

    # ---- looking

    def realpath(self, path: bytes) -> bytes:
        """The absolute path that `path` means, by its letters alone: it need not exist."""
        return ("/" + "/".join(places.resolve(path))).encode()

    async def stat(self, path: bytes) -> Entry:
        """What there is at `path`.  Raises NoSuchPlace."""
        place, now = places.parse(path), self._desk.now()
        if place in self._given:
            return self._folder(place.name)
        match place.room:
            case Room.ROOT:
                return self._folder("/", READ_ONLY_ROOM)
            case Room.README:
                return self._readme().entry()
            case Room.OUTBOX if place.who or place.path:
                return await self._desk.ask(self._exchange.outbox.stat, self.user, place, now)
            case Room.OUTBOX:
                return self._folder(place.name)
            case Room.INBOX if place.path == LETTER:
                return (await self._desk.ask(self._letter, place)).entry()
            case Room.INBOX if place.shipment:
                return await self._desk.ask(self._exchange.inbox.stat, self.user, place, now)
            case Room.SENT if place.shipment:
                return (await self._desk.ask(self._receipt, place)).entry()
        return self._folder(place.name, READ_ONLY_ROOM)

    def stat_at_once(self, path: bytes) -> Entry | None:
        """The same without waiting, for one of many small files that are fetched; None where `stat` has to be asked."""
        place = places.parse(path)
        if place.room is Room.INBOX and place.path and place not in self._given:
            return self._exchange.collecting.stat_at_once(self.user, place, self._desk.now())
        return None

    async def open_folder(self, path: bytes, most: int) -> FolderHandle:
        """The folder at `path`, opened: told in up to `most` bytes at a time.  Raises NoSuchPlace or NotAFolder."""
        place, now = places.parse(path), self._desk.now()
        fetch: Callable[..., Sequence[Entry]]
        if place in self._given:
            return FolderHandle(place.name, Page())
        match place.room:
            case Room.ROOT:
                found = [
                    self._readme().entry(),
                    self._folder(Room.INBOX, READ_ONLY_ROOM),
                    self._folder(Room.OUTBOX),
                    self._folder(Room.SENT, READ_ONLY_ROOM),
                ]
                return FolderHandle(place.name, self._page(found, most))
            case Room.INBOX if place.shipment:
                fetch = self._shipment(place, now)
            case Room.INBOX:
                fetch = partial(self._exchange.inbox.list, self.user, now, most=PAGE)
            case Room.OUTBOX:
                fetch = partial(self._exchange.outbox.list, self.user, place, now, most=PAGE)
            case Room.SENT if not place.shipment:
                fetch = partial(self._receipts.entries, self.user, most=PAGE)
            case _:
                await self.stat(path)
                raise NotAFolder(str(place))

        def told(after: str) -> Page:
            return self._page(fetch(after=after), most)

        def page(after: str) -> Coroutine[Any, Any, Page]:
            return self._desk.ask(told, after)

        return FolderHandle(place.name, await page(""), page)

    def _shipment(self, place: Place, now: float) -> Callable[..., Sequence[Entry]]:
        """What brings, at the desk, what is in a shipment: page by page, since it may be ten thousand files."""
        mark: Bookmark | None = BEGIN

        def page(*, after: str) -> Sequence[Entry]:  # noqa: ARG001  the bookmark knows
            nonlocal mark
            found: Sequence[Entry] = ()
            on = mark
            while on and not found:
                found, on = self._exchange.inbox.list_some(self.user, place, now, on, PAGE)
            if not place.path and any(entry.name == LETTER for entry in found):
                letter = self._letter(place).entry()
                found = [letter if entry.name == LETTER else entry for entry in found]
            mark = on  # only now: what failed is asked for again
            return found

        return page

    def _page(self, entries: Sequence[Entry], most: int) -> Page:
        """The entries as a listing tells them.  Runs at the desk, where there are many."""
        answers = wire.answers(entries, self.user.email, self._desk.now(), most)
        return Page(answers, entries[-1].name if entries else "")

    async def usage(self) -> tuple[int, int]:
        """Bytes in use, and how many could be: the quota, or less where the disk is nearly full."""
        used, free = await self._desk.ask(self._exchange.outbox.space, self.user)
        return used, used + free

    async def content(self, path: bytes) -> Content:
        """What may be hashed: a file that this user has sent or could fetch."""
        place = places.parse(path)
        if place.room is Room.OUTBOX and (place.who or place.path):
            return await self._desk.ask(self._exchange.outbox.content, self.user, place)
        return (await self.open(path, Open.READ, Wishes())).content()

    async def hash_of(self, path: bytes) -> str:
        """The SHA-256, in hex, of a file that this user has sent or could fetch."""
        place, now = places.parse(path), self._desk.now()
        if place.room is Room.OUTBOX and (place.who or place.path):
            return await self._desk.ask(self._exchange.outbox.hash_of, self.user, place)
        if place.room is Room.INBOX and place.path and place.path != LETTER and place not in self._given:
            await self._hash_ahead(place, now)
            return await self._desk.ask(self._exchange.sums.hash_of, self.user, place, now)
        page = await self.open(path, Open.READ, Wishes())
        return hashlib.sha256(page.read(0, page.entry().size)).hexdigest()

    async def _hash_ahead(self, place: Place, now: float) -> None:
        """Find the hashes that will be asked for, piece by piece, and stop when nobody waits for them any more."""
        pieces = self._exchange.sums.hashing(self.user, place, now)
        while await self._desk.ask_steadily(next, pieces, OVER) is not OVER:
            pass

    # ---- opening

    async def open(self, path: bytes, how: int, wishes: Wishes) -> Handle:
        """What is at `path`, opened for reading or, in the outbox, for writing."""
        if how & WRITES:
            return await self._open_draft(path, how, wishes)
        place, now = places.parse(path), self._desk.now()
        if place in self._given:
            raise IsAFolder(str(place))
        match place.room:
            case Room.README:
                return self._readme()
            case Room.INBOX if place.path == LETTER:
                return await self._desk.ask(self._letter, place)
            case Room.INBOX if place.path:
                if place.path == SUMS:
                    await self._hash_ahead(place, now)
                reading = await self._desk.ask(self._exchange.collecting.open, self.user, place, now)
                return ReadingHandle(self._desk, reading)
            case Room.SENT if place.shipment:
                return await self._desk.ask(self._receipt, place)
        if (await self.stat(path)).is_folder:
            raise IsAFolder(str(place))
        raise NotReadable(place.name)

    def open_at_once(self, path: bytes, how: int, wishes: Wishes) -> Handle | None:
        """The same without waiting, for one of many small files; None where `open` has to be asked."""
        if how & WRITES:
            if not how & Open.CREATE or how & Open.EXCLUSIVE:
                return None
            place, now = self._to_put(path), self._desk.now()
            draft = self._exchange.writing.open_at_once(self.user, place, wishes, self.session, now)
            return DraftHandle(self._desk, draft) if draft else None
        place = places.parse(path)
        if place.room is not Room.INBOX or not place.path or place in self._given:
            return None
        reading = self._exchange.collecting.open_at_once(self.user, place, self._desk.now())
        return ReadingHandle(self._desk, reading) if reading else None

    async def _open_draft(self, path: bytes, how: int, wishes: Wishes) -> Handle:
        draft = await self._desk.ask(
            self._exchange.writing.open_draft,
            self.user,
            self._to_put(path),
            truncate=bool(how & Open.TRUNCATE),
            create=bool(how & Open.CREATE),
            exclusive=bool(how & Open.EXCLUSIVE),
            appends=bool(how & Open.APPEND),
            wishes=wishes,
            session=self.session,
            now=self._desk.now(),
        )
        return DraftHandle(self._desk, draft)

    def _to_put(self, path: bytes) -> Place:
        place = self._outbox(path)
        if path.endswith(b"/"):  # scp and sftp ask so for a folder that is not there: no name for what they put
            raise IsAFolder(str(place))
        return place

    # ---- changing

    async def set_attributes(self, path: bytes, wishes: Wishes) -> None:
        """Remember mode and times, honour a size."""
        place = self._outbox(path)
        if place.who or place.path:
            await self._desk.ask(self._exchange.outbox.set_attributes, self.user, place, wishes, self._desk.now())

    async def make_folder(self, path: bytes) -> None:
        """Make a folder in the outbox; in a locked shipment, a folder named after its code opens it."""
        place, now = self._to_change(path), self._desk.now()
        if place.room is Room.INBOX and ids.is_code_shaped(place.path):
            await self._desk.ask_slowly(
                self._exchange.opening.open_with_code, self.user, place.shipment, place.path, now
            )
            self._given.add(place)
        elif place.room is Room.OUTBOX and (place.who or place.path):
            await self._desk.ask(self._exchange.outbox.make_folder, self.user, place, now)
        elif not place.path and not place.shipment:
            raise AlreadyThere(str(place))
        else:
            raise ReadOnly(place.room)

    async def remove_folder(self, path: bytes) -> None:
        """Remove an empty folder; in the inbox, hide a shipment."""
        place, now = self._to_change(path), self._desk.now()
        if place in self._given:
            self._given.discard(place)
        elif place.room is Room.OUTBOX and (place.who or place.path):
            await self._desk.ask(self._exchange.outbox.remove_folder, self.user, place, now)
        elif place.room is Room.INBOX and place.shipment:
            await self._desk.ask(self._exchange.inbox.remove_folder, self.user, place, now)
        else:
            raise ReadOnly(place.room or "/")

    async def remove(self, path: bytes) -> None:
        """Remove a file: from the outbox what was not sent, from the view what was; in the inbox, hide it."""
        place, now = self._to_change(path), self._desk.now()
        if place in self._given:
            raise IsAFolder(str(place))
        if place.room is Room.OUTBOX and (place.who or place.path):
            await self._desk.ask(self._exchange.outbox.remove, self.user, place, now)
        elif place.room is Room.INBOX and place.path:
            await self._desk.ask(self._exchange.inbox.remove, self.user, place, now)
        else:
            raise ReadOnly(place.room or "/")

    async def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Rename within the outbox.  `replace` says that what has the new name may go."""
        source, target = self._to_change(old), self._to_change(new)
        if source.room is not Room.OUTBOX or target.room is not Room.OUTBOX:
            raise CrossRoom
        if not (source.who or source.path) or not (target.who or target.path):
            raise ReadOnly("/")
        await self._desk.ask(
            self._exchange.outbox.rename, self.user, source, target, replace=replace, now=self._desk.now()
        )

    def _outbox(self, path: bytes) -> Place:
        place = self._to_change(path)
        if place.room is not Room.OUTBOX:
            raise ReadOnly(place.room or "/")
        return place

    def _to_change(self, path: bytes) -> Place:
        """The place, or ReadOnly where there is none: who writes needs to hear where to write, not what is missing."""
        try:
            return places.parse(path)
        except NoSuchPlace:
            parts = places.resolve(path)
            raise ReadOnly(parts[0] if len(parts) > 1 else "/") from None

    # ---- what is rendered

    def _folder(self, name: str, mode: int = ROOM) -> Entry:
        return Entry(name=name, is_folder=True, size=0, mtime=self.user.made, mode=mode, may_write=mode == ROOM)

    def _readme(self) -> PageHandle:
        text = self._templates.room("README.txt", self.user.language, {"user": self.user.email}).encode()
        return PageHandle(_page("README.txt", text, self.user.made), text)

    def _letter(self, place: Place) -> PageHandle:
        """SHIPMENT.txt, if it was not removed.  Runs at the desk: it names every file, and there may be thousands."""
        now = self._desk.now()
        entry = self._exchange.inbox.stat(self.user, place, now)
        letter = self._exchange.inbox.letter(self.user, place, now)
        text = self._templates.room(LETTER, self.user.language, letter_facts(letter, self.user)).encode()
        return PageHandle(_page(LETTER, text, entry.mtime), text)

    def _receipt(self, place: Place) -> PageHandle:
        """One page of sent.  Runs at the desk."""
        return PageHandle(*self._receipts.page(self.user, place))

    def receipt_text(self, sent: Sent) -> bytes:
        """The receipt as a page in the user's language."""
        return self._receipts.text(sent, self.user)


def _page(name: str, text: bytes, when: float) -> Entry:
    return Entry(name, False, len(text), when, READ_ONLY)
