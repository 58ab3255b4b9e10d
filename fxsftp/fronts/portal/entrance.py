"""The entrance: coming in, going out, and the two mails by which people get a password.

A link is only looked at by GET; what it is for is done by POST, so that mail scanners that open links use up nothing.
What is answered to an address is the same whether we know it or not.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from fxsftp.domain.model import Standing, User
from fxsftp.domain.reasons import N_
from fxsftp.errors import BadPassword, LogInFirst, WrongDigits, WrongLogIn
from fxsftp.fronts.portal.call import Call, safe_path, status_of

ADDRESS = 254  # letters; RFC 5321 has no longer one


async def front(call: Call) -> Response:
    """To the inbox, or to the log-in."""
    return call.go("/inbox" if call.is_in else "/log-in")


async def accessibility(call: Call) -> Response:
    """What is accessible here, what is not, and whom to tell."""
    return call.page("accessibility")


# ---- log in, log out ---------------------------------------------------------------------------------


async def log_in_page(call: Call) -> Response:
    """Where the mail's link leads before it leads on."""
    if call.is_in:
        return call.go(safe_path(call.request.query_params.get("next", "")))
    return call.page("log-in", next=call.request.query_params.get("next", ""), email="")


async def log_in(call: Call) -> Response:
    """User name and password; then the second factor, if the user has one."""
    form = await call.form()
    email, onward = form.text("email")[:ADDRESS], form.text("next")
    call.keep_pace()
    user = await call.desk.ask_slowly(
        call.exchange.people.check_password, email, form.exact("password")[:2000], call.now()
    )
    if user is None:
        return call.page("log-in", 403, problem=call.refusal(WrongLogIn()), next=onward, email=email)
    if await call.desk.ask(call.exchange.totp.is_on, user):
        call.renew(await call.desk.ask(call.exchange.visits.half, user, call.now()))
        return call.go(f"/log-in/code?next={quote(safe_path(onward))}")
    return await come_in(call, user, safe_path(onward))


async def come_in(call: Call, user: User, onward: str) -> Response:
    """A new visit under a new cookie: a cookie that somebody planted before knows nothing of it."""
    old = call.token
    token = await call.desk.ask(call.exchange.visits.begin, user, call.now())
    if call.visit:
        await call.desk.ask(call.exchange.visits.end, old)
    await call.desk.ask(call.exchange.people.came_in, user, call.now())
    call.renew(token)
    if await call.desk.ask(call.exchange.totp.is_due, user):
        return call.go("/account/totp", "totp-due")
    return call.go(onward)


async def second_page(call: Call) -> Response:
    """Where six digits are asked for."""
    assert call.visit is not None
    if call.is_in:
        return call.go("/inbox")
    return call.page("second", next=call.request.query_params.get("next", ""))


async def second(call: Call) -> Response:
    """The digits of the moment, or one of the recovery codes."""
    form = await call.form()
    if call.visit is None:
        raise LogInFirst
    call.keep_pace()
    user, onward = call.visit.user, form.text("next")
    if not await call.desk.ask(call.exchange.totp.check, user, form.text("digits")[:40], call.now()):
        return call.page("second", 403, problem=call.refusal(WrongDigits()), next=onward)
    call.renew(await call.desk.ask(call.exchange.visits.elevate, call.token, call.now()))
    await call.desk.ask(call.exchange.people.came_in, user, call.now())
    return call.go(safe_path(onward))


async def log_out(call: Call) -> Response:
    """The visit is over, here and in the registry."""
    await call.form()
    await call.desk.ask(call.exchange.visits.end, call.token)
    call.forget()
    return call.go("/log-in", "logged-out")


# ---- the first mail, the second mail -----------------------------------------------------------------


async def forgotten_page(call: Call) -> Response:
    """*Request password*, for whoever has none or has forgotten it."""
    return call.page("forgotten", email=call.request.query_params.get("email", "")[:ADDRESS])


async def forgotten(call: Call) -> Response:
    """The second mail goes out, if the address is one of ours; the answer does not say so."""
    form = await call.form()
    email = form.text("email")[:ADDRESS]
    call.keep_pace()
    await call.desk.ask(call.exchange.links.request_password, email, call.now())
    return call.page("on-its-way", email=email)


async def welcome_page(call: Call) -> Response:
    """Where the invitation leads: the user name, and one button."""
    user = await call.desk.ask(call.exchange.links.look, "invited", _token(call), call.now())
    return call.page("welcome", email=user.email, invited_by="")


async def welcome(call: Call) -> Response:
    """*Request password*, by an invitation, which is used up."""
    await call.form()
    call.keep_pace()
    user = await call.desk.ask(call.exchange.links.look, "invited", _token(call), call.now())
    await call.desk.ask(call.exchange.links.request_by_invitation, _token(call), call.now())
    return call.page("on-its-way", email=user.email)


async def password_page(call: Call) -> Response:
    """Where the account password is chosen."""
    user = await call.desk.ask(call.exchange.links.look, "password", _token(call), call.now())
    return call.page("password", email=user.email)


async def password(call: Call) -> Response:
    """*Set password*.  The link is used up when the password is set, and not before; then the user is in."""
    form = await call.form()
    call.keep_pace()
    chosen, again = form.exact("password"), form.exact("again")
    user = await call.desk.ask(call.exchange.links.look, "password", _token(call), call.now())
    try:
        if chosen != again:
            raise BadPassword(N_("the two are not the same"))
        done = await call.desk.ask_slowly(call.exchange.links.set_password, _token(call), chosen, call.now())
    except BadPassword as problem:
        return call.page("password", status_of(problem), email=user.email, problem=call.refusal(problem))
    if user.standing is Standing.INVITED:  # until now nobody knew which language they read
        change = call.exchange.people.change
        done = await call.desk.ask(change, done.email, call.now(), who=done.email, language=call.language)
    user = done
    if await call.desk.ask(call.exchange.totp.is_on, user):
        return call.go("/log-in", "password-set")
    return await come_in(call, user, "/inbox?said=password-set")


def _token(call: Call) -> str:
    return str(call.request.path_params["token"])[:100]
