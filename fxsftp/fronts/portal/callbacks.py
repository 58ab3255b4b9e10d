"""Callbacks: a provider tells what became of a message.

Who calls is proven before anything else is believed: Twilio signs the URL and all fields with the account's token.
The answer to a call that changes nothing is the same as to one that does, so that nobody learns which notices there
are.  A caller that may come again later (the exchange is busy) is told so by 503.

The signature is computed by Twilio's own `request_validator`, which imports nothing but the standard library: it
follows what they change (which port stands in the URL, how fields are put together), and we would not.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from twilio.request_validator import RequestValidator

from fxsftp.errors import FxError
from fxsftp.exchange.reports import Fate
from fxsftp.fronts.desk import Desk

MOST = 16 << 10  # bytes of a call; Twilio's have about 500
FIELDS = 100
WITHIN = 10.0  # seconds for a call to come in whole

_NOTICE = re.compile(r"[0-9a-f]{24}")

log = logging.getLogger("fxsftp.portal")

# https://www.twilio.com/docs/messaging/api/message-resource: statuses that are not here are of a message under way.
ARRIVED = {"delivered", "read"}
GIVEN_UP = {"undelivered", "failed", "canceled"}

# https://www.twilio.com/docs/api/errors.  hooks/sms-twilio sorts the same numbers when it sends; a test compares them.
AGAIN = {
    20429: "too many requests just now",
    30001: "Twilio's queue is full",
    30002: "the account at Twilio is suspended",  # the next attempt will say so, and stop the way
    30003: "the phone can't be reached just now",
    30008: "the operator gave no reason",
}
WRONG = {
    21211: "this is not a phone number that exists",
    21614: "this is not the number of a mobile phone",
    30005: "the number is not in use",
    30006: "this phone can't receive SMS",
}
LOST = {
    21408: "sending to that country is not allowed on this account",
    21610: "the recipient has answered STOP to earlier messages",
    30004: "the recipient's phone or operator blocks our messages",
    30007: "the operator took it for spam",
}


class TwilioCallback:
    """Twilio's status callbacks.  `url` is where they come in, as Twilio knows it, without the notice's id."""

    def __init__(self, desk: Desk, token: str, url: str) -> None:
        self._desk = desk
        self._validator = RequestValidator(token)
        self._url = url

    async def take(self, request: Request) -> Response:
        """204 for all that Twilio signed."""
        notice_id = request.path_params["notice_id"]
        if not _NOTICE.fullmatch(notice_id):
            return PlainTextResponse("there is nothing here", 404)
        try:
            async with asyncio.timeout(WITHIN):
                form = await _form(request)
        except _Unreadable as problem:
            return PlainTextResponse(problem.says, problem.status)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("the call did not come in whole", 408)
        if not self._is_signed(request, notice_id, form):
            log.warning("a callback that Twilio has not signed was refused")
            return PlainTextResponse("not signed by Twilio, or not for this address", 403)
        try:
            await self._report(notice_id, form)
        except FxError as problem:
            log.error("a callback for notice %s is lost: %s", notice_id, problem)
            return PlainTextResponse("not just now", 503)
        return Response(status_code=204)

    def _is_signed(self, request: Request, notice_id: str, form: Mapping[str, str]) -> bool:
        """Over the address as Twilio was given it: what our own web server has made of it since is no matter."""
        signature = request.headers.get("X-Twilio-Signature", "")
        return not request.url.query and bool(self._validator.validate(f"{self._url}/{notice_id}", form, signature))

    async def _report(self, notice_id: str, form: Mapping[str, str]) -> None:
        told = fate(form.get("MessageStatus", ""), form.get("ErrorCode", ""))
        if told is None:
            return
        what, reason = told
        reports, now = self._desk.exchange.reports, self._desk.now()
        sid = form.get("MessageSid", "")
        if await self._desk.ask(reports.came, notice_id, what, now, way="sms", reference=sid, reason=reason):
            log.info("notice %s: %s", notice_id, f"{what}: {reason}" if reason else what)


def fate(status: str, code: str) -> tuple[Fate, str] | None:
    """What a status and an error of Twilio's mean, and why; None while the message is under way."""
    if status in ARRIVED:
        return Fate.DELIVERED, ""
    if status not in GIVEN_UP:
        return None
    number = int(code) if code.isascii() and code.isdigit() and len(code) < 9 else 0
    for what, known in ((Fate.AGAIN, AGAIN), (Fate.WRONG, WRONG), (Fate.LOST, LOST)):
        if number in known:
            return what, f"{known[number]} (Twilio {number})"
    return Fate.LOST, f"Twilio gave it up (error {number})" if number else "Twilio gave it up and does not say why"


class _Unreadable(Exception):
    def __init__(self, status: int, says: str) -> None:
        super().__init__(says)
        self.status, self.says = status, says


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form.  In memory and bounded: Starlette's own form() would spool to a file what is large."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise _Unreadable(415, "only forms are understood here")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST:
            raise _Unreadable(413, "too large")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:
        raise _Unreadable(400, "not a form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _Unreadable(400, "a field stands there twice")
    return form
