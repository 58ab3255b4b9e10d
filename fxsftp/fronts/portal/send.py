"""Send package: to whom and what about, then the files, then *Send*.

Two pages: the first begins the package, so that from then on it has a number and a place in the outbox; the second
takes files, by static/sending.js resumably (see `tus`), or by a plain form whose files are sealed as they come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TypedDict

from starlette.responses import Response

from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Kind, LockKind
from fxsftp.errors import FxError, LogInFirst, NoPackage, NoSuchPlace, PhoneNeeded, ShipmentUnknown, WrongState
from fxsftp.exchange.composing import Composition
from fxsftp.fronts.portal.arriving import pieces_of, take
from fxsftp.fronts.portal.call import Call, Form, status_of
from fxsftp.fronts.portal.multipart import Multipart, Part
from fxsftp.fronts.portal.tus import shipment_of

ADDRESSES = 20_000  # letters; 50 addresses have fewer


# ---- to whom, and what about -------------------------------------------------------------------------


async def new_page(call: Call) -> Response:
    """The first page."""
    return await _head(call, {"to": call.request.query_params.get("to", "")[:254]})


async def new(call: Call) -> Response:
    """The package begins, and gets its number."""
    form = await call.form()
    try:
        begun = await call.desk.ask(call.exchange.composing.begin, call.user, now=call.now(), **_said(form))
    except FxError as problem:
        return await _head(call, _typed(form), problem)
    return call.go(f"/send/{begun.id}")


async def edit_page(call: Call) -> Response:
    """The first page once more, of a package that has begun."""
    found = await _find(call)
    shipment = found.shipment
    typed = {
        "to": ", ".join(shipment.recipients),
        "subject": shipment.subject,
        "message": shipment.message,
        "must_have_code": shipment.minimum is LockKind.CODE,
    }
    return await _head(call, typed, shipment=shipment.id)


async def edit(call: Call) -> Response:
    """Changed, as long as it is not sent."""
    form = await call.form()
    found = await _find(call)
    said = _said(form)
    said["minimum"] = said["minimum"] or LockKind.SESSION
    try:
        await call.desk.ask(call.exchange.composing.edit, call.user, found.shipment.id, now=call.now(), **said)
    except FxError as problem:
        return await _head(call, _typed(form), problem, found.shipment.id)
    return call.go(f"/send/{found.shipment.id}")


class Said(TypedDict):
    """The form as `composing.begin` wants it."""

    recipients: list[str]
    subject: str
    message: str
    minimum: LockKind | None
    invite_with: dict[str, str]


def _said(form: Form) -> Said:
    return {
        "recipients": _addresses(form.text("to")),
        "subject": form.text("subject"),
        "message": form.lines("message"),
        "minimum": LockKind.CODE if form.has("must_have_code") else None,
        "invite_with": dict(zip(form.all("invitee"), form.all("phone"), strict=False)),
    }


def _addresses(text: str) -> list[str]:
    return [each for each in re.split(r"[\s,;]+", text[:ADDRESSES]) if each]


def _typed(form: Form) -> dict[str, object]:
    """The form as it was filled in, to be shown again."""
    return {
        "to": form.text("to"),
        "subject": form.text("subject"),
        "message": form.lines("message"),
        "must_have_code": form.has("must_have_code"),
        "invitees": [
            {"email": email, "phone": phone}
            for email, phone in zip(form.all("invitee"), form.all("phone"), strict=False)
        ],
    }


async def _head(
    call: Call, typed: Mapping[str, object], problem: FxError | None = None, shipment: str = ""
) -> Response:
    facts = {"to": "", "subject": "", "message": "", "must_have_code": False, "invitees": []} | dict(typed)
    if isinstance(problem, PhoneNeeded):  # the same page, with a field more
        address = str(problem.args[0])
        known = [each for each in _mappings(facts["invitees"]) if each["email"] != address]
        facts["invitees"] = [*known, {"email": address, "phone": ""}]
    return call.page(
        "send",
        status_of(problem) if problem else 200,
        shipment=shipment,
        known=await call.desk.ask(call.exchange.outbox.recipients, call.user),
        may_invite=call.user.kind is Kind.MEMBER,
        problem=call.refusal(problem) if problem else "",
        **facts,
    )


def _mappings(found: object) -> Sequence[Mapping[str, object]]:
    return found if isinstance(found, list) else []


# ---- the files ---------------------------------------------------------------------------------------


async def package(call: Call) -> Response:
    """The second page.  One that was sent meanwhile is shown as sent."""
    try:
        found = await _find(call)
    except WrongState:
        return call.go(f"/sent/{shipment_of(call)}")
    return await _shown(call, found)


async def _shown(call: Call, found: Composition, problem: FxError | None = None) -> Response:
    shipment = found.shipment
    used, quota = await call.desk.ask(call.exchange.outbox.usage, call.user)
    return call.page(
        "send-files",
        status_of(problem) if problem else 200,
        shipment=shipment.id,
        subject=shipment.subject,
        message=shipment.message,
        to=list(shipment.recipients),
        invited=list(found.invited),
        files=[
            {"id": each.id, "name": each.name, "size": each.size or each.offset, "is_complete": each.is_complete}
            for each in found.files
        ],
        is_complete=bool(found.files) and all(each.is_complete for each in found.files),
        most=max(0, quota - used),
        problem=call.refusal(problem) if problem else "",
    )


async def fill(call: Call) -> Response:
    """The form of the second page: its files, one after the other as they come; then *Send*, if that was the button."""
    found = await _find(call)
    act = ""
    try:
        is_ours = False
        kind = call.request.headers.get("Content-Type", "")
        async for part in Multipart(kind, pieces_of(call)).parts():
            if part.name == "form":
                call.check_form_token(await part.text())
                is_ours = True
            elif not is_ours:
                call.check_form_token("")
            elif part.filename:
                await _take(call, found.shipment.id, part)
            elif part.name == "act":
                act = await part.text()
        if act == "send":
            return await _submit(call, found.shipment.id)
    except LogInFirst:  # meanwhile: this visitor sees nothing any more
        raise
    except FxError as problem:
        with suppress(WrongState, ShipmentUnknown):
            return await _shown(call, await _find(call), problem)
        raise
    return call.go(f"/send/{found.shipment.id}", "files-added")


async def _take(call: Call, shipment: str, part: Part) -> None:
    """One file.  What did not come whole is not kept: without a script nobody could resume it."""
    composing = call.exchange.composing
    draft, file_id = await call.desk.ask(
        composing.add_file, call.user, shipment, part.filename or "", None, None, call.session, call.now()
    )
    try:
        await take(draft, 0, part.pieces())
        await call.desk.ask(composing.finish_file, draft, call.now())
    except BaseException:
        call.desk.see_to(_undo(call, shipment, file_id))
        raise


async def _undo(call: Call, shipment: str, file_id: int) -> None:
    with suppress(FxError):
        await call.desk.ask(call.exchange.composing.cancel_file, call.user, shipment, file_id, call.now())


async def remove(call: Call) -> Response:
    """One file less."""
    form = await call.form()
    number = form.text("file")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise NoSuchPlace("?")
    shipment = (await _find(call)).shipment.id
    await call.desk.ask(call.exchange.composing.cancel_file, call.user, shipment, int(number), call.now())
    return call.go(f"/send/{shipment}")


# ---- sent, or given up -------------------------------------------------------------------------------


async def _submit(call: Call, shipment: str) -> Response:
    # Slowly: it makes codes, and each costs a scrypt.
    sent = await call.desk.ask_slowly(call.exchange.composing.submit, call.user, shipment, call.now())
    return call.go(f"/sent/{sent.id}", "held" if sent.state is ShipmentState.HELD else "sent")


async def cancel(call: Call) -> Response:
    """Nothing stays of it."""
    await call.form()
    shipment = (await _find(call)).shipment.id
    await call.desk.ask(call.exchange.composing.cancel, call.user, shipment, call.now())
    return call.go("/sent", "cancelled")


async def _find(call: Call) -> Composition:
    try:
        return await call.desk.ask(call.exchange.composing.composition, call.user, shipment_of(call), call.now())
    except ShipmentUnknown:
        raise NoPackage from None
