"""What protects an account: its password, its second factor, its phone, how packages to it are locked, its keys.

A stolen mailbox or a browser left open must not be enough to change any of these.  The password is asked for anew where
it is changed; the others wait for six digits that go to the phone of before.  Which need them is the exchange's to say.
"""

from __future__ import annotations

import segno
from starlette.responses import Response

from fxsftp.domain.reasons import N_
from fxsftp.errors import BadPassword, FxError, WrongConfirmation, WrongDigits, WrongPassword
from fxsftp.fronts.portal.account import shown
from fxsftp.fronts.portal.call import Call, status_of

LINE = 16 << 10  # letters; an RSA key of 16384 bits has under 3,000


# ---- the password ------------------------------------------------------------------------------------


async def password(call: Call) -> Response:
    """A new one for the old; every other visit is over then."""
    form = await call.form()
    call.keep_pace()
    old, new = form.exact("old")[:2000], form.exact("password")
    try:
        if new != form.exact("again"):
            raise BadPassword(N_("the two are not the same"))
        if await call.desk.ask_slowly(call.exchange.people.check_password, call.user.email, old, call.now()) is None:
            raise WrongPassword
        await call.desk.ask_slowly(
            call.exchange.people.set_password, call.user.email, new, call.now(), who=call.user.email
        )
    except FxError as problem:
        return await shown(call, problem)
    await call.desk.ask(call.exchange.visits.end_all, call.user, but=call.token)
    return call.go("/account", "password-changed")


# ---- what waits for digits from the phone of before --------------------------------------------------


async def phone(call: Call) -> Response:
    """Another number for codes."""
    form = await call.form()
    return await _ask(call, "phone", {"phone": form.text("phone")[:40]})


async def delivery(call: Call) -> Response:
    """Another way in which packages to this user are locked."""
    form = await call.form()
    wish = form.text("delivery")
    return await _ask(call, "delivery", {"delivery": wish if wish in ("code", "keys", "session") else ""})


async def add_key(call: Call) -> Response:
    """One more SSH key.  One that only logs in is added at once, and told; one that opens packages waits."""
    form = await call.form()
    line = form.lines("line")[:LINE]
    if form.has("opens"):
        return await _ask(call, "key", {"line": line})
    try:
        await call.desk.ask(
            call.exchange.people.add_key, call.user.email, line, call.now(), opens=False, who=call.user.email
        )
    except FxError as problem:
        return await shown(call, problem, line=line)
    return call.go("/account", "key-added")


async def remove_key(call: Call) -> Response:
    """It opens nothing any more, and lets nobody in."""
    form = await call.form()
    number = form.text("key")
    if number.isascii() and number.isdigit():
        await call.desk.ask(call.exchange.people.remove_key, call.user.email, number, call.now(), who=call.user.email)
    return call.go("/account", "key-removed")


async def _ask(call: Call, what: str, wish: dict[str, object]) -> Response:
    try:
        waits = await call.desk.ask(call.exchange.confirmations.ask, call.user, what, wish, call.now())
    except FxError as problem:
        return await shown(call, problem, line=wish.get("line", ""))
    return call.go(f"/account/confirm/{waits.id}")


async def confirm_page(call: Call) -> Response:
    """Where the six digits are typed."""
    waits = await call.desk.ask(call.exchange.confirmations.find, call.user, _waits(call), call.now())
    return call.page("confirm", what=waits.what, phone=waits.phone_hint.removeprefix("…"))


async def confirm(call: Call) -> Response:
    """The change is made, once."""
    form = await call.form()
    waits = await call.desk.ask(call.exchange.confirmations.find, call.user, _waits(call), call.now())
    digits = form.text("digits")[:20]
    try:
        await call.desk.ask(call.exchange.confirmations.confirm, call.user, _waits(call), digits, call.now())
    except WrongConfirmation as problem:
        hint = waits.phone_hint.removeprefix("…")
        return call.page("confirm", status_of(problem), problem=call.refusal(problem), what=waits.what, phone=hint)
    if waits.what == "totp" and waits.wish.get("on"):
        return await _begin(call)
    return call.go("/account", "changed")


def _waits(call: Call) -> str:
    return str(call.request.path_params["confirmation"])[:64]


# ---- the second factor -------------------------------------------------------------------------------


async def totp_page(call: Call) -> Response:
    """What it is, and the button that begins."""
    is_on = await call.desk.ask(call.exchange.totp.is_on, call.user)
    is_due = await call.desk.ask(call.exchange.totp.is_due, call.user)
    return call.page("totp", is_on=is_on, is_due=is_due)


async def totp_begin(call: Call) -> Response:
    """The picture for the app; before that, where a phone is known, digits from an SMS."""
    await call.form()
    if await call.desk.ask(call.exchange.totp.is_allowed, call.user, call.now()):
        return await _begin(call)
    try:
        waits = await call.desk.ask(call.exchange.confirmations.ask, call.user, "totp", {"on": True}, call.now())
    except FxError as problem:
        return call.page("totp", status_of(problem), problem=call.refusal(problem), is_on=False, is_due=False)
    return call.go(f"/account/confirm/{waits.id}")


async def _begin(call: Call, problem: FxError | None = None) -> Response:
    secret, address = await call.desk.ask(call.exchange.totp.begin, call.user, call.now())
    picture = await call.desk.ask(_picture, address)  # it takes 15 ms, in which the loop has others to serve
    return call.page(
        "totp-begin",
        status_of(problem) if problem else 200,
        problem=call.refusal(problem) if problem else "",
        picture=picture,
        secret=" ".join(secret[i : i + 4] for i in range(0, len(secret), 4)),
    )


def _picture(address: str) -> str:
    picture = segno.make(address, error="m", micro=False)
    return picture.svg_inline(scale=5, border=3, dark="#000", light="#fff", svgclass="qr", lineclass="", omitsize=True)


async def totp_confirm(call: Call) -> Response:
    """The app shows the right digits: it is on, and here are the recovery codes, once."""
    form = await call.form()
    try:
        codes = await call.desk.ask_slowly(call.exchange.totp.confirm, call.user, form.text("digits")[:20], call.now())
    except WrongDigits as problem:
        # A new picture and not the old one: its secret is nowhere in clear any more.
        return await _begin(call, problem)
    return call.page("totp-codes", codes=codes)


async def totp_codes(call: Call) -> Response:
    """Recovery codes anew, for who shows that they have the app."""
    form = await call.form()
    call.keep_pace()
    if not await call.desk.ask(call.exchange.totp.check, call.user, form.text("digits")[:20], call.now()):
        return await shown(call, WrongDigits())
    return call.page("totp-codes", codes=await call.desk.ask(call.exchange.totp.new_codes, call.user, call.now()))


async def totp_off(call: Call) -> Response:
    """Off again, once confirmed by SMS."""
    await call.form()
    return await _ask(call, "totp", {"on": False})
