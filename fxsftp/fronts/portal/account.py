"""The account: what a user may see and say of themself, and what the operator's programs need to be told.

What protects the account (password, second factor, phone, delivery, keys) is in `protection`; here is the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from starlette.responses import Response

from fxsftp.domain.model import Key, Kind, LockKind, Standing, User
from fxsftp.domain.notices import known_quiet, known_time, known_zone
from fxsftp.domain.policy import STRENGTH
from fxsftp.domain.reasons import N_
from fxsftp.errors import Forbidden, FxError
from fxsftp.fronts.portal.call import Call, SftpTerms, status_of

LANGUAGE_NAMES = (("en", "English"), ("nb", "Bokmål"), ("nn", "Nynorsk"))


async def page(call: Call) -> Response:
    """All of it, on one page."""
    return await shown(call)


async def shown(call: Call, problem: FxError | None = None, **typed: object) -> Response:
    """The page, with what was wrong with a form of it and what was typed there."""
    user = await call.desk.ask(call.exchange.people.by_id, call.user.id)
    keys = await call.desk.ask(call.exchange.people.keys, user.email)
    totp = call.exchange.totp
    is_on = await call.desk.ask(totp.is_on, user)
    policy = call.exchange.policy
    return call.page(
        "account",
        status_of(problem) if problem else 200,
        problem=call.refusal(problem) if problem else "",
        name=user.name,
        phone=user.phone or "",
        delivery=user.delivery.value if user.delivery else "",
        deliveries=[lock.value for lock in LockKind if STRENGTH[lock] >= STRENGTH[policy.minimum_lock]],
        usual=policy.lock_for(user, any(key.opens for key in keys)).value,
        speaks=user.language,
        language_names=LANGUAGE_NAMES,
        timezone=user.timezone or "",
        usual_timezone=policy.timezone,
        quiet=user.quiet or "",
        digest=user.digest or "",
        phrase=user.phrase or "",
        keys=[_key(key) for key in keys],
        totp=policy.totp,
        totp_is_on=is_on,
        totp_is_due=await call.desk.ask(totp.is_due, user),
        codes_left=await call.desk.ask(totp.codes_left, user) if is_on else 0,
        line=typed.get("line", ""),
        connect=_connect(user, call.terms.sftp) if call.terms.sftp else None,
    )


def _key(key: Key) -> Mapping[str, object]:
    return {
        "id": key.id,
        "kind": key.kind,
        "fingerprint": key.fingerprint,
        "comment": key.comment,
        "opens": key.opens,
        "added": key.added,
    }


def _connect(user: User, sftp: SftpTerms) -> Mapping[str, object]:
    host = f"[{sftp.host}]" if ":" in sftp.host else sftp.host
    port = f"-P {sftp.port} " if sftp.port != 22 else ""
    at = f":{sftp.port}" if sftp.port != 22 else ""
    return {
        "host": sftp.host,
        "port": sftp.port,
        "fingerprints": sftp.fingerprints,
        "command": f"sftp {port}{user.email}@{host}",
        "address": f"sftp://{quote(user.email, safe='')}@{host}{at}/",
    }


async def change(call: Call) -> Response:
    """Name, language and how the user is told of things: what protects nothing and needs no confirmation."""
    form = await call.form()
    try:
        await call.desk.ask(
            call.exchange.people.change,
            call.user.email,
            call.now(),
            who=call.user.email,
            name=form.text("name")[:100],
            language=form.text("language"),
            timezone=known_zone(form.text("timezone")) if form.text("timezone") else "",
            quiet=known_quiet(form.text("quiet")) if form.text("quiet") else "",
            digest=known_time(form.text("digest")) if form.text("digest") else "",
            phrase=form.text("phrase"),
        )
    except FxError as problem:
        return await shown(call, problem)
    return call.go("/account", "saved")


async def log_out_everywhere(call: Call) -> Response:
    """Every other visit of this user is over; this one goes on."""
    await call.form()
    await call.desk.ask(call.exchange.visits.end_all, call.user, but=call.token)
    return call.go("/account", "out-everywhere")


# ---- partners: a member invites, and sees whom they invited ------------------------------------------


async def partners(call: Call) -> Response:
    """Whom this member has invited, and the form for one more."""
    return await _partners(call)


async def _partners(call: Call, problem: FxError | None = None, email: str = "", phone: str = "") -> Response:
    if call.user.kind is not Kind.MEMBER:
        raise Forbidden(N_("only members of the institution can invite"))
    found = await call.desk.ask(call.exchange.people.invitees, call.user)
    return call.page(
        "partners",
        status_of(problem) if problem else 200,
        problem=call.refusal(problem) if problem else "",
        email=email,
        phone=phone,
        partners=[
            {
                "email": each.email,
                "name": each.name,
                "standing": each.standing.value,
                "made": each.made,
                "can_be_invited_again": each.standing is Standing.INVITED,
            }
            for each in found
        ],
    )


async def invite(call: Call) -> Response:
    """A mail with an invitation goes out; the phone number is the member's word."""
    form = await call.form()
    email, phone = form.text("email"), form.text("phone")
    try:
        await call.desk.ask(call.exchange.people.invite, call.user, email, phone, call.now())
    except FxError as problem:
        return await _partners(call, problem, email, phone)
    return call.go("/partners", "invited")
