"""Sent: what became of each package, per recipient and file, and what a sender can still do about it.

What was not delivered is shown as such: a mail that came back, a code that no phone took.  Which of the acts below is
possible is said by the exchange (`can_resend`, `can_renew`), and refused by it however the form got here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from starlette.responses import Response

from fxsftp.domain import ids, lifecycle
from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.policy import DAY
from fxsftp.errors import FxError, NoPackage, ShipmentUnknown
from fxsftp.exchange.pages import receipt_facts, receipt_json
from fxsftp.exchange.sent import Line, Part, Sent, Told
from fxsftp.fronts.portal.call import Call, status_of

PAGE = 50  # packages


# ---- the list ----------------------------------------------------------------------------------------


async def sent(call: Call) -> Response:
    """What this user has sent, newest first, and what is still being put together."""
    after = ids.shipment_id(call.request.query_params.get("after", "")) or ""
    lines = await call.desk.ask(call.exchange.sent.page, call.user, call.now(), after=after, most=PAGE + 1)
    unsent = await call.desk.ask(call.exchange.composing.compositions, call.user, call.now()) if not after else []
    return call.page(
        "sent",
        packages=[line_facts(line) for line in lines[:PAGE]],
        older=lines[PAGE - 1].shipment.id if len(lines) > PAGE else "",
        is_first=not after,
        unsent=[
            {
                "shipment": each.shipment.id,
                "subject": each.shipment.subject,
                "to": list(each.shipment.recipients),
                "files": len(each.files),
            }
            for each in unsent
        ],
    )


def line_facts(line: Line) -> Mapping[str, object]:
    """One line of sent.html."""
    shipment = line.shipment
    return {
        "shipment": shipment.id,
        "subject": shipment.subject,
        "to": list(shipment.recipients),
        "sent": shipment.sent or shipment.made,
        "state": line.state,
        "files": line.files,
        "size": line.size,
    }


# ---- one package -------------------------------------------------------------------------------------


async def package(call: Call) -> Response:
    """All that is known of one."""
    return await _shown(call)


async def _shown(call: Call, problem: FxError | None = None, to: str = "") -> Response:
    found = await _find(call)
    parts = await call.desk.ask(call.exchange.sent.parts, call.user, found.shipment.id, call.now())
    return call.page(
        "sent-package",
        status_of(problem) if problem else 200,
        **package_facts(found, parts),
        days_more=_days_more(call, found),
        problem=call.refusal(problem) if problem else "",
        problem_with=to,
    )


def package_facts(found: Sent, parts: Sequence[Part]) -> dict[str, object]:
    """What sent-package.html says."""
    shipment = found.shipment
    return {
        "shipment": shipment.id,
        "subject": shipment.subject,
        "message": shipment.message,
        "to": list(shipment.recipients),
        "state": found.state,
        "reason": shipment.reason,
        "made": shipment.made,
        "sent": shipment.sent,
        "expires": shipment.expires,
        "ended": shipment.ended,
        "can_recall": any(step.event == "recall" and shipment.state in step.states for step in lifecycle.SHIPMENTS),
        "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in found.files],
        "parts_of": [_part(part) for part in parts],
        "history": [{"at": each.at, "event": each.event, "who": each.who} for each in found.history],
    }


def _part(part: Part) -> Mapping[str, object]:
    delivery = part.delivery
    return {
        "recipient": part.recipient,
        "name": part.name,
        "via": delivery.via,
        "state": delivery.state.value,
        "lock": delivery.lock.value,
        "opened": delivery.opened,
        "collected": delivery.collected,
        "ended": delivery.ended,
        "mail": _told(part.mail),
        "code": _told(part.code),
        "fetched": sum(whole for _, whole in part.files),
        "missing": [file.name for file, whole in part.files if not whole],
        "files": len(part.files),
        "can_resend": part.can_resend,
        "can_renew": part.can_renew,
    }


def _told(told: Told | None) -> Mapping[str, object] | None:
    if told is None:
        return None
    return {"state": told.state, "since": told.since, "reason": told.reason, "where": told.where}


def _days_more(call: Call, found: Sent) -> int:
    """How many days longer it may wait than it does now."""
    if found.shipment.state is not ShipmentState.WAITING or not found.shipment.expires:
        return 0
    return max(0, math.floor((call.exchange.renewing.latest(found.shipment) - found.shipment.expires) / DAY))


async def _find(call: Call) -> Sent:
    try:
        return await call.desk.ask(call.exchange.sent.find, call.user, _shipment(call), call.now())
    except ShipmentUnknown:
        raise NoPackage from None


def _shipment(call: Call) -> str:
    found = ids.shipment_id(str(call.request.path_params["shipment"]))
    if found is None:
        raise NoPackage
    return found


# ---- the receipt -------------------------------------------------------------------------------------


async def receipt(call: Call) -> Response:
    """As a page of text in the user's language, to keep."""
    found = await _find(call)
    text = await call.desk.ask(call.house.templates.room, "sent.txt", call.language, receipt_facts(found, call.user))
    return _file(call, f"{found.shipment.id}.txt", text.encode(), "text/plain; charset=utf-8")


async def receipt_for_programs(call: Call) -> Response:
    """The same as JSON."""
    found = await _find(call)
    return _file(call, f"{found.shipment.id}.json", receipt_json(found), "application/json")


def _file(call: Call, name: str, data: bytes, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return call.answer(Response(data, media_type=kind, headers=headers))


# ---- what can still be done --------------------------------------------------------------------------


async def recall(call: Call) -> Response:
    """Taken back: nobody opens it any more.  What was read already, the page says."""
    await call.form()
    found = await _find(call)
    await call.desk.ask(call.exchange.sent.recall, call.user, found.shipment.id, call.now())
    return call.go(f"/sent/{found.shipment.id}", "recalled")


async def resend(call: Call) -> Response:
    """The same code once more, to the same phone or to a number that the sender corrects."""
    form = await call.form()
    found, to = await _find(call), form.text("to")
    call.keep_pace()
    phone = form.text("phone")[:40] or None
    try:
        await call.desk.ask(
            call.exchange.resending.resend, found.shipment.id, to, call.now(), phone=phone, who=call.user.email
        )
    except FxError as problem:
        return await _shown(call, problem, to)
    return call.go(f"/sent/{found.shipment.id}", "code-again")


async def new_code(call: Call) -> Response:
    """Another code; the old one is dead."""
    form = await call.form()
    found, to = await _find(call), form.text("to")
    call.keep_pace()
    try:
        await call.desk.ask_slowly(call.exchange.renewing.new_code, call.user, found.shipment.id, to, call.now())
    except FxError as problem:
        return await _shown(call, problem, to)
    return call.go(f"/sent/{found.shipment.id}", "new-code")


async def extend(call: Call) -> Response:
    """It waits for some days more."""
    form = await call.form()
    found, days = await _find(call), form.text("days")
    try:
        more = float(int(days)) if days.isascii() and days.isdigit() and len(days) < 5 else 0.0
        await call.desk.ask(call.exchange.renewing.extend, call.user, found.shipment.id, call.now(), days=more)
    except FxError as problem:
        return await _shown(call, problem)
    return call.go(f"/sent/{found.shipment.id}", "extended")
