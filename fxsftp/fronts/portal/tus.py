"""Resumable uploads into a package that is being put together: tus 1.0.0, core, creation and termination.

https://tus.io/protocols/resumable-upload.  One upload is one file of the package, and its address names both; the
offset is what lies durably in the vault, so that it is true after a broken line and after kill -9 alike.
Refusals are one line of text in the user's language, which the page shows beside the file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from fxsftp.domain import ids
from fxsftp.domain.reasons import N_
from fxsftp.errors import (
    BadForm,
    FxError,
    LogInFirst,
    NoSuchPlace,
    Overlong,
    OverQuota,
    ShipmentUnknown,
    StoreFull,
    TooManyFiles,
    WrongOffset,
    WrongState,
)
from fxsftp.exchange.composing import Composition, Upload
from fxsftp.exchange.drafts import Draft
from fxsftp.fronts.portal.arriving import pieces_of, take
from fxsftp.fronts.portal.call import Call, status_of

VERSION = "1.0.0"
NAME = 4096  # bytes of metadata that name a file; PATH_MAX

STATUS: tuple[tuple[type[FxError], int], ...] = (
    (LogInFirst, 401),
    (ShipmentUnknown, 404),
    (NoSuchPlace, 404),
    (WrongState, 410),
    (WrongOffset, 409),
    (Overlong, 413),
    (OverQuota, 507),
    (TooManyFiles, 413),
    (StoreFull, 507),
)


def answers(handler: Callable[[Call], Awaitable[Response]]) -> Callable[[Call], Awaitable[Response]]:
    """What tus asks of every answer, and refusals as it wants them."""

    async def answer(call: Call) -> Response:
        try:
            if call.request.method != "GET":
                call.check_form_token(call.request.headers.get("X-CSRF-Token", ""))
                if call.request.headers.get("Tus-Resumable") != VERSION:
                    return PlainTextResponse("", 412, {"Tus-Version": VERSION})
            response = await handler(call)
        except FxError as problem:
            status = next((number for kind, number in STATUS if isinstance(problem, kind)), status_of(problem))
            response = PlainTextResponse(call.refusal(problem), status)
        response.headers["Tus-Resumable"] = VERSION
        return response

    return answer


# ---- creation ----------------------------------------------------------------------------------------


@answers
async def create(call: Call) -> Response:
    """201 and the upload's address.  A size is announced, and a name."""
    length, known = call.request.headers.get("Upload-Length", ""), _metadata(call.request)
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise BadForm(N_("it does not say how large the file is"))
    name, modified = known.get("filename", ""), known.get("modified", "")
    mtime = int(modified) / 1000 if modified.isascii() and modified.isdigit() and len(modified) < 15 else None
    composing, shipment, now = call.exchange.composing, shipment_of(call), call.now()
    draft, file_id = await call.desk.ask(
        composing.add_file, call.user, shipment, name, int(length), mtime, call.session, now
    )
    if int(length):
        await call.desk.ask(composing.interrupt_file, draft, now)  # the next call brings the bytes, or nobody does
    else:
        await call.desk.ask(composing.finish_file, draft, now)
    return Response(status_code=201, headers={"Location": f"/send/{shipment}/files/{file_id}"})


def _metadata(request: Request) -> dict[str, str]:
    """`key base64, key base64`.  Raises BadForm."""
    found = {}
    for part in request.headers.get("Upload-Metadata", "").split(","):
        key, _, value = part.strip().partition(" ")
        if len(value) > NAME * 4 // 3 + 4:
            raise BadForm(N_("it is too large"))
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise BadForm(N_("its letters are not understood")) from None
    return found


# ---- core --------------------------------------------------------------------------------------------


@answers
async def look(call: Call) -> Response:
    """How far it has come."""
    found = await _find(call)
    headers = {"Upload-Offset": str(found.offset), "Cache-Control": "no-store"}
    if found.size is not None:
        headers["Upload-Length"] = str(found.size)
    return Response(status_code=200, headers=headers)


@answers
async def go_on(call: Call) -> Response:
    """Bytes from an offset on; as many as come.  The last one completes the file."""
    if call.request.headers.get("Content-Type") != "application/offset+octet-stream":
        return PlainTextResponse("", 415)
    given = call.request.headers.get("Upload-Offset", "")
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise BadForm(N_("it does not say where the file goes on"))
    offset, composing = int(given), call.exchange.composing
    found = await _find(call)
    if found.is_complete:  # the answer to the call that completed it was lost
        return Response(status_code=204, headers={"Upload-Offset": str(found.offset)})
    draft = await call.desk.ask(
        composing.resume_file, call.user, shipment_of(call), file_of(call), offset, call.session, call.now()
    )
    try:
        with suppress(ClientDisconnect, TimeoutError):  # what has come is kept
            offset = await take(draft, offset, pieces_of(call))
        if found.size is not None and offset >= found.size:
            await call.desk.ask(composing.finish_file, draft, call.now())
            return Response(status_code=204, headers={"Upload-Offset": str(offset)})
    except BaseException:
        call.desk.see_to(_put_away(call, draft))
        raise
    await call.desk.ask(composing.interrupt_file, draft, call.now())
    return Response(status_code=204, headers={"Upload-Offset": str((await _find(call)).offset)})


async def _put_away(call: Call, draft: Draft) -> None:
    await call.desk.ask(call.exchange.composing.interrupt_file, draft, call.now())


# ---- termination, and what is open -------------------------------------------------------------------


@answers
async def cancel(call: Call) -> Response:
    """Nothing stays of it."""
    await call.desk.ask(call.exchange.composing.cancel_file, call.user, shipment_of(call), file_of(call), call.now())
    return Response(status_code=204)


@answers
async def unfinished(call: Call) -> Response:
    """The files of this package, for a page that was loaded again."""
    shipment = shipment_of(call)
    found = await call.desk.ask(call.exchange.composing.composition, call.user, shipment, call.now())
    return JSONResponse(uploads(found, f"{call.terms.public_url}/send/{shipment}/files"))


def uploads(found: Composition, endpoint: str) -> list[dict[str, object]]:
    """Each file as static/sending.js wants it."""
    path = f"/send/{found.shipment.id}/files"
    return [
        {
            "url": f"{path}/{each.id}",
            "name": each.name,
            "size": each.offset if each.size is None else each.size,
            "offset": each.offset,
            "fingerprint": fingerprint_of(each, endpoint),
        }
        for each in found.files
    ]


def fingerprint_of(upload: Upload, endpoint: str) -> str:
    """By which a browser knows a file again that is picked once more, as static/resuming.js makes it."""
    known = [endpoint, upload.name, upload.size, round(upload.mtime * 1000)]
    text = json.dumps(known, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


UPLOAD = {"HEAD": look, "PATCH": go_on, "DELETE": cancel}  # what can be asked of one upload


# ---- addresses ---------------------------------------------------------------------------------------


def shipment_of(call: Call) -> str:
    """The package in the address.  Raises ShipmentUnknown."""
    found = ids.shipment_id(str(call.request.path_params["shipment"]))
    if found is None:
        raise ShipmentUnknown("?")
    return found


def file_of(call: Call) -> int:
    """The file in the address."""
    number = str(call.request.path_params["file"])
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise NoSuchPlace("?")
    return int(number)


async def _find(call: Call) -> Upload:
    return await call.desk.ask(
        call.exchange.composing.file_state, call.user, shipment_of(call), file_of(call), call.now()
    )
