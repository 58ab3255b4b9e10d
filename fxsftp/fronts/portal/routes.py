"""All routes of the portal, on one page, and who may call them.

    GUEST   anybody                USER   who is logged in; others are sent to the log-in, and then back
    HALF    who has given the password and still owes the second factor
    DUE     who is logged in, also while policy wants a second factor of them that is not set up: they can only do that
    PROGRAM a script of a page for who is logged in; others hear so, and are sent nowhere

A handler takes a Call and answers; what the exchange refuses becomes a page here, in the visitor's language.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from fxsftp.errors import FxError, LogInFirst, NoSuchPage, SecondFactorDue
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.portal import account, downloads, entrance, protection, receive, send, tracking, tus
from fxsftp.fronts.portal.call import Call, House, Terms, status_of
from fxsftp.fronts.portal.callbacks import TwilioCallback
from fxsftp.fronts.portal.guard import SAFE, Guard
from fxsftp.fronts.portal.statics import Statics
from fxsftp.templates import Templates

TOUCH = 60.0  # seconds; the exchange writes it down no more often

log = logging.getLogger("fxsftp.portal")

Handler = Callable[[Call], Awaitable[Response]]


class Who(Enum):
    """Who may call a page."""

    GUEST = "guest"
    HALF = "half"
    DUE = "due"
    USER = "user"
    PROGRAM = "program"


@dataclass(frozen=True)
class Page:
    """One address, who may call it, and what answers."""

    path: str
    who: Who
    get: Handler | None = None
    post: Handler | None = None
    more: Mapping[str, Handler] = field(default_factory=dict)  # by other methods

    def handlers(self) -> dict[str, Handler]:
        """What answers which method."""
        found = {"GET": self.get, "HEAD": self.get, "POST": self.post, **self.more}
        return {method: handler for method, handler in found.items() if handler}


PAGES: Sequence[Page] = (
    Page("/", Who.GUEST, entrance.front),
    Page("/log-in", Who.GUEST, entrance.log_in_page, entrance.log_in),
    Page("/log-in/code", Who.HALF, entrance.second_page, entrance.second),
    Page("/log-out", Who.GUEST, post=entrance.log_out),
    Page("/forgotten", Who.GUEST, entrance.forgotten_page, entrance.forgotten),
    Page("/welcome/{token}", Who.GUEST, entrance.welcome_page, entrance.welcome),
    Page("/password/{token}", Who.GUEST, entrance.password_page, entrance.password),
    Page("/accessibility", Who.GUEST, entrance.accessibility),
    Page("/account", Who.USER, account.page, account.change),
    Page("/account/password", Who.USER, post=protection.password),
    Page("/account/phone", Who.USER, post=protection.phone),
    Page("/account/delivery", Who.USER, post=protection.delivery),
    Page("/account/keys", Who.USER, post=protection.add_key),
    Page("/account/keys/remove", Who.USER, post=protection.remove_key),
    Page("/account/confirm/{confirmation}", Who.DUE, protection.confirm_page, protection.confirm),
    Page("/account/totp", Who.DUE, protection.totp_page, protection.totp_confirm),
    Page("/account/totp/begin", Who.DUE, post=protection.totp_begin),
    Page("/account/totp/codes", Who.USER, post=protection.totp_codes),
    Page("/account/totp/off", Who.USER, post=protection.totp_off),
    Page("/account/log-out-everywhere", Who.USER, post=account.log_out_everywhere),
    Page("/send", Who.USER, send.new_page, send.new),
    Page("/send/{shipment}", Who.USER, send.package, send.fill),
    Page("/send/{shipment}/edit", Who.USER, send.edit_page, send.edit),
    Page("/send/{shipment}/remove", Who.USER, post=send.remove),
    Page("/send/{shipment}/cancel", Who.USER, post=send.cancel),
    Page("/send/{shipment}/files", Who.PROGRAM, tus.unfinished, tus.create),
    Page(
        "/send/{shipment}/files/{file}", Who.PROGRAM, more={"HEAD": tus.look, "PATCH": tus.go_on, "DELETE": tus.cancel}
    ),
    Page("/sent", Who.USER, tracking.sent),
    Page("/sent/{shipment}", Who.USER, tracking.package),
    Page("/sent/{shipment}/receipt.txt", Who.USER, tracking.receipt),
    Page("/sent/{shipment}/receipt.json", Who.USER, tracking.receipt_for_programs),
    Page("/sent/{shipment}/recall", Who.USER, post=tracking.recall),
    Page("/sent/{shipment}/resend", Who.USER, post=tracking.resend),
    Page("/sent/{shipment}/new-code", Who.USER, post=tracking.new_code),
    Page("/sent/{shipment}/extend", Who.USER, post=tracking.extend),
    Page("/partners", Who.USER, account.partners, account.invite),
    Page("/inbox", Who.USER, receive.inbox),
    Page("/inbox/{shipment}", Who.USER, receive.package),
    Page("/inbox/{shipment}/open", Who.USER, receive.on_server, receive.open_package),
    Page("/inbox/{shipment}/remove", Who.USER, post=receive.remove),
    Page("/inbox/{shipment}/key", Who.USER, downloads.key),
    Page("/inbox/{shipment}/all", Who.USER, downloads.everything),
    Page("/inbox/{shipment}/files/{path:path}", Who.USER, receive.file),
)


def portal(desk: Desk, templates: Templates, terms: Terms, statics: Statics) -> ASGIApp:
    """The portal over one exchange."""
    house = House(desk, templates, terms)
    routes = [_route(house, page) for page in PAGES]
    if terms.twilio_token:
        twilio = TwilioCallback(desk, terms.twilio_token, f"{terms.public_url}/callbacks/twilio")
        routes.append(Route("/callbacks/twilio/{notice_id}", twilio.take, methods=["POST"]))
    routes.append(Route("/healthz", _healthz(house)))
    routes.append(Route(f"{statics.prefix}/{{name:path}}", statics.serve))

    async def lost(request: Request, _problem: Exception) -> Response:
        return await _failed(await called(house, request), NoSuchPage())

    app = Starlette(routes=routes, exception_handlers={404: lost, 405: lost})
    app.router.redirect_slashes = False  # an address is ours or it is not
    return Guard(app, terms)


def _route(house: House, page: Page) -> Route:
    handlers = page.handlers()

    async def serve(request: Request) -> Response:
        handler = handlers[request.method]
        call = await called(house, request)
        try:
            await _let_in(call, page.who)
            return await handler(call)
        except SecondFactorDue as problem:
            return await _failed(call, problem) if page.who is Who.PROGRAM else call.go("/account/totp", "totp-due")
        except LogInFirst:
            return call.go(f"/log-in?next={quote(request.url.path)}" if request.method in SAFE else "/log-in")
        except FxError as problem:
            return await _failed(call, problem)
        except Exception:
            log.exception("%s %s failed", request.method, page.path)  # the pattern: a path may hold a link's token
            return await _failed(call, FxError())

    return Route(page.path, serve, methods=list(handlers))


async def _let_in(call: Call, who: Who) -> None:
    if who in (Who.USER, Who.DUE) and not call.is_in:
        raise LogInFirst
    if who is Who.HALF and call.visit is None:
        raise LogInFirst
    is_asked = who in (Who.USER, Who.PROGRAM) and call.is_in and call.exchange.policy.wants_totp(call.user)
    if is_asked and await call.desk.ask(call.exchange.totp.is_due, call.user):
        raise SecondFactorDue


async def called(house: House, request: Request) -> Call:
    """A request as our pages see it: with its visit, if its cookie stands for one."""
    token = request.cookies.get(house.terms.cookie, "")[:100]
    visits, now = house.desk.exchange.visits, house.desk.now()
    visit = await house.desk.ask(visits.find, token, now) if token else None
    if visit and now - visit.seen >= TOUCH:
        await house.desk.ask(visits.touch, visit, now)
    return Call(house, request, token, visit)


async def _failed(call: Call, problem: FxError) -> Response:
    """What went wrong, as a page; as one line for programs."""
    status = status_of(problem)
    accepted = call.request.headers.get("Accept", "*/*")
    if "text/html" in accepted or "*/*" in accepted:
        return call.page("problem", status, problem=call.refusal(problem), is_missing=status == 404)
    return PlainTextResponse(call.refusal(problem), status)


def _healthz(house: House) -> Callable[[Request], Awaitable[Response]]:
    async def healthz(_request: Request) -> Response:
        """200 while the registry answers."""
        try:
            await house.desk.ask(house.desk.exchange.visits.find, "", house.desk.now())
        except Exception:  # noqa: BLE001 - whatever it is: not healthy
            return PlainTextResponse("the registry does not answer\n", 503)
        return PlainTextResponse("ok\n")

    return healthz
