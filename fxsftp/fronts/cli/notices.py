"""`fxsftp notice`: what was told to whom by which way, and how that went.  A code is never among it."""

from __future__ import annotations

import click

from fxsftp.domain.model import Notice
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk, Group, pass_clerk

STATES = click.Choice(["due", "carried", "failed", "dropped"])


@click.group(cls=Group)
def notice() -> None:
    """Show mails and SMS that wait, were carried or failed."""


@notice.command("list")
@click.option("--state", type=STATES, help="Only these.")
@clerk.as_json
@pass_clerk
def list_notices(clerk_: Clerk, state: str | None, as_json: bool) -> None:
    """Show notices, the newest first."""
    with clerk_.exchange() as exchange:
        found = exchange.notices.list(state)
    if as_json:
        clerk.show_json([facts(each) for each in found])
        return
    clerk.show_rows(
        ("=Notice", "=Made", "=Way", "=What", "To", "=Shipment", "=State", ">Attempts", "=Next", "Reason"),
        [
            (
                each.id,
                clerk.when(each.made),
                each.way,
                each.kind,
                each.address,
                each.shipment_id or "",
                each.state,
                each.attempts,
                clerk.when(each.due) if each.state == "due" else "",
                each.reason,
            )
            for each in found
        ],
    )


@notice.command("show")
@click.argument("notice_id", metavar="ID")
@clerk.as_json
@pass_clerk
def show(clerk_: Clerk, notice_id: str, as_json: bool) -> None:
    """Show one notice and what it tells."""
    with clerk_.exchange() as exchange:
        found = exchange.notices.find(notice_id)
    if as_json:
        clerk.show_json(facts(found))
        return
    clerk.show(
        clerk.sheet(
            (
                ("Notice", found.id),
                ("What", found.kind),
                ("Way", found.way),
                ("To", found.address),
                ("Language", found.language),
                ("Shipment", found.shipment_id),
                ("State", f"{found.state}: {found.reason}" if found.reason else found.state),
                ("Made", clerk.when(found.made)),
                ("Attempts", found.attempts),
                ("Next attempt", clerk.when(found.due) if found.state == "due" else ""),
                ("Reference", found.reference),
                *((f"· {name}", value) for name, value in sorted(found.facts.items())),
            )
        )
    )


def facts(found: Notice) -> dict[str, object]:
    """A notice for programs."""
    return {
        "id": found.id,
        "what": found.kind,
        "way": found.way,
        "to": found.address,
        "language": found.language,
        "shipment": found.shipment_id,
        "state": found.state,
        "reason": found.reason,
        "reference": found.reference,
        "attempts": found.attempts,
        "made": clerk.iso(found.made),
        "due": clerk.iso(found.due) if found.state == "due" else None,
        "facts": found.facts,
    }
