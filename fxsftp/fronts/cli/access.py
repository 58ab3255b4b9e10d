"""`fxsftp user invite`, `unlock`, `totp-off`, `totp-allow`: how people come in, and who helps them if they can't."""

from __future__ import annotations

import click

from fxsftp.domain import addresses
from fxsftp.domain.model import Kind
from fxsftp.fronts.cli.clerk import Clerk, pass_clerk, say
from fxsftp.fronts.cli.users import KINDS, NEW_NAME, kind_of, user

__all__ = ["user"]  # with these among its commands


@user.command("invite")
@click.argument("email")
@click.argument("phone")
@click.option("--by", metavar="MEMBER", help="Who asks them in; the mail names them.  [default: the institution]")
@click.option("--kind", type=KINDS, help="Outside or inside the institution.  [default: by exchange.domains]")
@NEW_NAME
@pass_clerk
def invite(clerk_: Clerk, email: str, phone: str, by: str | None, kind: str | None, name: str) -> None:
    """Ask somebody in, by mail; codes go by SMS to PHONE, like +4790000000.  Once more, and they get another mail."""
    settings = clerk_.settings()
    chosen = Kind(kind) if kind else kind_of(email, settings)
    with clerk_.exchange() as exchange:
        member = exchange.people.find(by) if by else None
        invited = exchange.people.invite(member, email, phone, clerk_.now, kind=chosen, name=name)
    way = "" if settings.portal.public_url else "; there is no portal, so they have to call: 'fxsftp user add'"
    say(f"{invited.email} invited: {invited.kind}, codes to {addresses.hint(invited.phone)}{way}")


@user.command("unlock")
@click.argument("email")
@pass_clerk
def unlock(clerk_: Clerk, email: str) -> None:
    """Let a user log in by password again who was locked out after too many wrong ones."""
    with clerk_.exchange() as exchange:
        found = exchange.people.unlock(email, clerk_.now)
    say(f"{found.email} unlocked")


@user.command("totp-off")
@click.argument("email")
@pass_clerk
def totp_off(clerk_: Clerk, email: str) -> None:
    """Ask a user for no code from an app any more, for one whose phone is gone; the user is told."""
    with clerk_.exchange() as exchange:
        found = exchange.people.find(email)
        exchange.totp.turn_off(found, clerk_.now)
    say(f"{found.email} logs in without a code from an app")


@user.command("totp-allow")
@click.argument("email")
@pass_clerk
def totp_allow(clerk_: Clerk, email: str) -> None:
    """Let a user set up a code from an app within the hour, for one without a phone to confirm it by."""
    with clerk_.exchange() as exchange:
        found = exchange.people.find(email)
        exchange.totp.allow(found, clerk_.now)
    say(f"{found.email} may set up a code from an app in the portal within the hour")
