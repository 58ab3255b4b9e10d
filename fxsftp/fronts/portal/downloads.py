"""Downloads: the bytes of what waits for a user, by HTTP.

A body is read piece by piece, no faster than its bytes are taken, so that a download of any size needs the memory of
two pieces; and what was taken is told to the exchange, also when the caller goes away in the middle.  Whatever a file
holds, no browser gets to show it as a page of ours.  A piece is read in the loop, from the page cache, as by SFTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
import unicodedata
import zipfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fxsftp.domain import places
from fxsftp.domain.model import LockKind
from fxsftp.domain.places import Place, Room
from fxsftp.errors import BadName, FxError, IsAFolder, NoPackage, NoSuchPlace
from fxsftp.exchange.reading import AGE, KEY, LETTER, Reading
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.portal.call import LOOK, Call
from fxsftp.fronts.portal.listener import break_off

PIECE = 256 << 10  # bytes; what may be read in the loop at once
STALLED = 300.0  # seconds in which a caller has to take one piece; who paused a download for longer resumes it
ENTRIES = range(315_532_800, 4_354_819_199)  # seconds UTC that a ZIP can say: 1980 to 2107
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

log = logging.getLogger("fxsftp.portal")


async def file(call: Call) -> Response:
    """One file as it is listed, or in its other form; one range of it if one is asked for."""
    place = file_place(call.request.path_params["shipment"], call.request.path_params["path"])
    try:
        reading = await call.desk.ask(call.exchange.collecting.open, call.user, place, call.now())
    except (NoSuchPlace, IsAFolder):
        raise NoPackage from None
    etag, size = etag_of(reading), reading.size
    headers = download_headers(place.name, "application/octet-stream")
    headers |= {"ETag": etag, "Accept-Ranges": "bytes", "Content-Length": str(size)}
    asked = call.request.headers
    is_wanted = call.request.method == "GET" and asked.get("If-Range", etag) == etag
    span = wanted_range(asked.get("Range", ""), size) if is_wanted else None
    if span is None:
        return call.answer(Sending(call, bytes_of(call.desk, reading, 0, size), 200, headers))
    first, end = span
    if first >= end:
        return call.answer(Response(status_code=416, headers={"Content-Range": f"bytes */{size}"}))
    headers |= {"Content-Range": f"bytes {first}-{end - 1}/{size}", "Content-Length": str(end - first)}
    return call.answer(Sending(call, bytes_of(call.desk, reading, first, end), 206, headers))


async def key(call: Call) -> Response:
    """KEY.age, which the code opens, and which opens each file."""
    place = shipment_place(call.request.path_params["shipment"])
    try:
        found = await call.desk.ask(call.exchange.collecting.key_file, call.user, place, call.now())
    except NoSuchPlace:
        raise NoPackage from None
    return call.answer(Response(found, headers=download_headers(KEY, "application/octet-stream")))


async def everything(call: Call) -> Response:
    """All files as they are listed, as one ZIP that is made while it is sent."""
    place = shipment_place(call.request.path_params["shipment"])
    try:
        package = await call.desk.ask(call.exchange.inbox.package, call.user, place, call.now())
    except NoSuchPlace:
        raise NoPackage from None
    names = [offer.name for offer in package.offers]
    loose = {}
    if package.delivery.lock is LockKind.CODE and not package.open_until and not package.letter.direct:
        loose[KEY] = await call.desk.ask(call.exchange.collecting.key_file, call.user, place, call.now())
    headers = download_headers(f"{package.letter.folder}.zip", "application/zip")
    sending = Sending(call, zip_of(call, place, names, loose), 200, headers)
    del sending.headers["Content-Length"]  # nobody knows it before the end
    return call.answer(sending)


# ---- which file ----------------------------------------------------------------------------------------


def shipment_place(shipment: str) -> Place:
    """Raises NoPackage for what can't be a shipment's number."""
    return _place(f"/inbox/{shipment}")


def file_place(shipment: str, path: str) -> Place:
    """Raises NoPackage for what can't be a file of it, and for a path that is another way to write one."""
    place = _place(f"/inbox/{shipment}/{path}")
    if not path or place.path != unicodedata.normalize("NFC", path) or path == LETTER:
        raise NoPackage
    return place


def _place(path: str) -> Place:
    try:
        place = places.parse(path.encode())
    except (BadName, NoSuchPlace, UnicodeEncodeError):
        raise NoPackage from None
    if place.room is not Room.INBOX or not place.shipment:
        raise NoPackage
    return place


# ---- what the headers say --------------------------------------------------------------------------------


def download_headers(name: str, kind: str) -> dict[str, str]:
    """Of whatever a user has sent: it is saved, and never shown as a page of ours."""
    return HEADERS | {"Content-Type": kind, "Content-Disposition": disposition(name)}


def disposition(name: str) -> str:
    """RFC 6266, with the name in ASCII for old programs and as RFC 8187 says for all others."""
    plain = re.sub(r'[^ -~]|["\\%/]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def etag_of(reading: Reading) -> str:
    """A strong one: the same bytes have the same, and after a new code other bytes have another."""
    delivery, offer = reading.delivery, reading.offer
    if delivery is None or offer is None:  # a page that the exchange writes itself: small, and read whole
        content = reading.content()
        return f'"{hashlib.sha256(content.read(0, reading.size) if content.read else b"").hexdigest()[:32]}"'
    mark = hashlib.sha256(f"{delivery.id} {offer.file.id} {offer.form} {offer.kind} {offer.size}\0".encode())
    read = reading.content().read
    if offer.form == AGE and read:
        mark.update(read(0, offer.size - offer.file.body))  # the header; the body is sealed once and stays
    return f'"{mark.hexdigest()[:32]}"'


def wanted_range(asked: str, size: int) -> tuple[int, int] | None:
    """The first byte that is wanted and the one after the last; None for all of them, as for what is not understood.

    Of several ranges all are sent, as RFC 9110 allows; what begins beyond the end answers an empty span.
    """
    match = re.fullmatch(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", asked)
    if not match or not size or match[0].strip().endswith("=-"):
        return None
    first, last = match[1], match[2]
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return min(int(first), size), min(int(last) + 1, size) if last else size


# ---- the bytes -------------------------------------------------------------------------------------------


async def bytes_of(desk: Desk, reading: Reading, first: int, end: int) -> AsyncGenerator[bytes, None]:
    """A file piece by piece.  Who asks for the next piece has sent the one before; who stops has not.

    Raises NoPackage when it is taken back meanwhile.
    """
    unsent, looked = 0, desk.now()
    try:
        for offset in range(first, end, PIECE):
            if desk.now() - looked >= LOOK:
                looked = desk.now()
                if not await desk.ask(desk.exchange.collecting.may_go_on, reading):
                    raise NoPackage
            piece = reading.read(offset, min(PIECE, end - offset))
            unsent = len(piece)
            yield piece
            unsent = 0
    finally:
        if unsent:
            reading.unsent(unsent)
        desk.see_to(desk.ask(desk.exchange.collecting.read_done, reading, desk.now()))


async def zip_of(
    call: Call, place: Place, names: Sequence[str], loose: dict[str, bytes]
) -> AsyncGenerator[bytes, None]:
    """A ZIP of these files, stored as they are, and of a few `loose` bytes besides."""
    out = _Out()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in loose.items():
            archive.writestr(_entry(name, call.now(), len(data)), data)
        for name in names:
            at = file_place(place.shipment, name)
            reading = await call.desk.ask(call.exchange.collecting.open, call.user, at, call.now())
            with archive.open(_entry(name, reading.entry.mtime, reading.size), "w") as member:
                async with aclosing(bytes_of(call.desk, reading, 0, reading.size)) as pieces:
                    async for piece in pieces:
                        member.write(piece)
                        yield out.taken()
    yield out.taken()


def _entry(name: str, mtime: float, size: int) -> zipfile.ZipInfo:
    when = min(max(int(mtime), ENTRIES.start), ENTRIES.stop - 1)
    entry = zipfile.ZipInfo(name, time.gmtime(when)[:6])
    entry.external_attr = 0o644 << 16
    entry.file_size = size  # from 2 GiB on it is written as ZIP64
    return entry


class _Out:
    """What zipfile writes to; it can't go back in it, and so puts sizes and sums behind each file."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing below."""

    def close(self) -> None:
        """Nor is there anything to close."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class Sending(Response):
    """An answer that is sent as it is read.  It breaks off, and is seen to be broken off, when no more may be read."""

    def __init__(self, call: Call, pieces: AsyncGenerator[bytes, None], status: int, headers: dict[str, str]) -> None:
        super().__init__(status_code=status, headers=headers)
        self._call = call
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        gone = asyncio.create_task(_gone(receive))
        try:
            if await self._send_whole(send, gone):
                await send({"type": "http.response.body"})
            elif break_off(scope):
                await gone  # only then uvicorn takes it for what it is
        finally:
            gone.cancel()

    async def _send_whole(self, send: Send, gone: asyncio.Task[None]) -> bool:
        try:
            return await self._send_pieces(send, gone)
        except FxError as problem:
            log.warning("%s: a download broke off: %s", self._call.request.path_params["shipment"], problem)
        except TimeoutError:
            log.info("%s: a download broke off: nobody took it", self._call.request.path_params["shipment"])
        return False

    async def _send_pieces(self, send: Send, gone: asyncio.Task[None]) -> bool:
        """Whether all were sent.  `send` returns when there is room for more, and also when nobody listens."""
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                await asyncio.sleep(0)  # where there is always room, nobody else would get a turn
                if gone.done() or not await self._call.may_stay():
                    return False
                async with asyncio.timeout(STALLED):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    await send({"type": "http.response.body", "body": b"", "more_body": True})  # waits for room
                if gone.done():  # while there was none; who has got all and then goes is seen only later
                    return False
        return True


async def _gone(receive: Receive) -> None:
    """Returns when the caller has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
