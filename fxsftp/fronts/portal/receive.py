"""Receive: the inbox, and one package with its files and the ways to open them.

A package that a code locks is opened in the browser by static/opening.js, which fetches KEY.age and the `.age` files
and tells us nothing; here it is opened only when its reader asks for that, by a form that says what it means.
What is not there and what is another's are answered alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from starlette.responses import Response

from fxsftp.domain import ids
from fxsftp.domain.model import Arrival, Key, LockKind
from fxsftp.domain.policy import DAY, MINUTE
from fxsftp.errors import FxError, MistypedCode, NoPackage, NoSuchPlace, NotOpen, OpeningClosed, WrongCode
from fxsftp.exchange.inbox import Package
from fxsftp.exchange.reading import PLAIN, Offer
from fxsftp.fronts.portal import downloads
from fxsftp.fronts.portal.call import Call

PAGE = 50  # packages
SOON = 3  # days before its end from which on a package says so
CODE = 100  # letters; a code has 19


# ---- the inbox -------------------------------------------------------------------------------------------


async def inbox(call: Call) -> Response:
    """What waits for this user, newest first."""
    older_than = ids.shipment_id(call.request.query_params.get("before", "")) or ""
    newer_than = ids.shipment_id(call.request.query_params.get("after", "")) or ""
    arrivals = await _arrivals(call, before=older_than, after=newer_than)
    if (newer_than and len(arrivals) <= PAGE) or (older_than and not arrivals):  # the newest page is a whole one
        arrivals, newer_than, older_than = await _arrivals(call), "", ""
    is_more = len(arrivals) > PAGE
    shown = arrivals[-PAGE:] if newer_than else arrivals[:PAGE]
    return call.page(
        "inbox",
        packages=[arrival_facts(each, call.now()) for each in shown],
        newer=shown[0].shipment if shown and (newer_than or older_than) else "",
        older=shown[-1].shipment if shown and (newer_than or is_more) else "",
    )


async def _arrivals(call: Call, *, before: str = "", after: str = "") -> Sequence[Arrival]:
    """A page of them, and one more where there is one."""
    return await call.desk.ask(
        call.exchange.inbox.arrivals, call.user, call.now(), before=before, after=after, most=PAGE + 1
    )


def arrival_facts(arrival: Arrival, now: float) -> dict[str, object]:
    """One line of inbox.html."""
    return {
        "shipment": arrival.shipment,
        "subject": arrival.subject,
        "sender": arrival.sender,
        "sender_name": arrival.sender_name,
        "sent": arrival.sent,
        "expires": arrival.expires,
        "days_left": days_left(arrival.expires, now),
        "state": arrival.state.value,
        "lock": arrival.lock.value,
        "is_open": arrival.lock is LockKind.SESSION or arrival.open_until is not None,
        "files": arrival.files,
        "size": arrival.size,
    }


def days_left(expires: float | None, now: float) -> int | None:
    """In whole days, once they are few; 0 on the last one."""
    left = int((expires - now) // DAY) if expires else SOON + 1
    return left if left <= SOON else None


# ---- one package -----------------------------------------------------------------------------------------


async def package(call: Call) -> Response:
    """Where the mail's link leads."""
    return await _package_page(call)


async def on_server(call: Call) -> Response:
    """The same page with the form that opens it here, for who has scripts and does not want them."""
    return await _package_page(call, on_server=True)


async def open_package(call: Call) -> Response:
    """Open it with the code, here.  A slip in a code is told at once and is no try."""
    form = await call.form()
    place = downloads.shipment_place(call.request.path_params["shipment"])
    await _look(call)
    call.keep_pace()
    typed = form.text("code")[:CODE]
    try:
        if ids.normal_code(typed) is None:
            raise MistypedCode
        await call.desk.ask_slowly(call.exchange.opening.open_with_code, call.user, place.shipment, typed, call.now())
    except (MistypedCode, WrongCode, OpeningClosed) as problem:
        return await _package_page(call, status=403, problem=problem, on_server=True)
    return call.go(f"/inbox/{place.shipment}", "package-open")


async def remove(call: Call) -> Response:
    """Out of this inbox, for good."""
    await call.form()
    place = downloads.shipment_place(call.request.path_params["shipment"])
    try:
        await call.desk.ask(call.exchange.inbox.remove_all, call.user, place, call.now())
    except NoSuchPlace:
        raise NoPackage from None
    return call.go("/inbox", "package-removed")


async def file(call: Call) -> Response:
    """A file's bytes; the package's page for one that was open and is locked again."""
    try:
        return await downloads.file(call)
    except NotOpen:
        return await _package_page(call, status=403, is_locked_again=True)


async def _look(call: Call) -> Package:
    place = downloads.shipment_place(call.request.path_params["shipment"])
    try:
        return await call.desk.ask(call.exchange.inbox.package, call.user, place, call.now())
    except NoSuchPlace:
        raise NoPackage from None


async def _package_page(
    call: Call,
    *,
    status: int = 200,
    problem: FxError | None = None,
    on_server: bool = False,
    is_locked_again: bool = False,
) -> Response:
    found = await _look(call)
    facts = package_facts(found) | {
        "minutes": round(call.exchange.policy.opening / MINUTE),
        "days_left": days_left(found.letter.shipment.expires, call.now()),
        "on_server": on_server,
        "is_locked_again": is_locked_again,
        "problem": call.refusal(problem) if problem else "",
    }
    return await call.desk.ask(call.page, "package", status, **facts)  # it may have thousands of files


def package_facts(package: Package) -> dict[str, object]:
    """What package.html says."""
    letter, shipment = package.letter, package.letter.shipment
    at = f"/inbox/{shipment.id}"
    return {
        "at": at,
        "shipment": shipment.id,
        "subject": shipment.subject,
        "message": shipment.message,
        "sender": letter.sender,
        "sender_name": letter.sender_name,
        "group": letter.via,
        "sent": shipment.sent or shipment.made,
        "expires": shipment.expires,
        "state": package.delivery.state.value,
        "lock": letter.lock.value,
        "is_open": letter.lock is LockKind.SESSION or package.open_until is not None,
        "open_until": package.open_until,
        "files": [_file_facts(offer, at) for offer in package.offers],
        "size": sum(offer.file.size for offer in package.offers),
        "direct": letter.direct,
        "first_file": package.offers[0].file.name.rpartition("/")[2] if package.offers else "",
        "phone": letter.phone_hint.strip("…"),
        "keys": [{"fingerprint": key.fingerprint, "comment": key.comment} for key in package.keys],
        "private_key": _private_key(package.keys),
    }


def _file_facts(offer: Offer, at: str) -> dict[str, object]:
    return {
        "name": offer.file.name,
        "size": offer.file.size,
        "url": f"{at}/files/{quote(offer.name)}",
        "is_plain": offer.form == PLAIN,
    }


def _private_key(keys: Sequence[Key]) -> str:
    """Where the first of these keys' private half lies by custom."""
    return "~/.ssh/id_rsa" if keys and keys[0].kind == "ssh-rsa" else "~/.ssh/id_ed25519"
