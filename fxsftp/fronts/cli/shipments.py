"""`fxsftp shipment`: what is under way, and an admin's two verbs for it."""

from __future__ import annotations

import click
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from fxsftp.domain import ids
from fxsftp.domain.addresses import hint
from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.errors import ShipmentUnknown
from fxsftp.exchange.sent import Sent
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk, Group, pass_clerk, say

STATES = click.Choice([state.value for state in ShipmentState])


@click.group(cls=Group)
def shipment() -> None:
    """Show what is under way; take it back or let it go on."""


@shipment.command("list")
@click.option("--state", type=STATES, help="Only these.")
@clerk.as_json
@pass_clerk
def list_shipments(clerk_: Clerk, state: str | None, as_json: bool) -> None:
    """Show all shipments."""
    with clerk_.exchange() as exchange:
        found = exchange.sent.shipments(*((ShipmentState(state),) if state else ()))
    if as_json:
        clerk.show_json([sent.as_json() for sent in found])
        return
    clerk.show_rows(
        ("=Shipment", "=State", "From", "To", "Subject", ">Files", ">Size", "=Sent", "=Expires"),
        [
            (
                sent.shipment.id,
                sent.state,
                sent.sender,
                sent.shipment.to,
                sent.shipment.subject,
                len(sent.files),
                clerk.amount(_size(sent)),
                clerk.when(sent.shipment.sent),
                clerk.when(sent.shipment.expires),
            )
            for sent in found
        ],
    )


@shipment.command("show")
@click.argument("shipment_id", metavar="ID")
@clerk.as_json
@pass_clerk
def show(clerk_: Clerk, shipment_id: str, as_json: bool) -> None:
    """Show one shipment and its history."""
    with clerk_.exchange() as exchange:
        sent = exchange.sent.show(_known(shipment_id))
    if as_json:
        clerk.show_json(sent.as_json())
    else:
        clerk.show(page(sent))


@shipment.command("recall")
@click.argument("shipment_id", metavar="ID")
@clerk.unasked
@pass_clerk
def recall(clerk_: Clerk, shipment_id: str, yes: bool) -> None:
    """Take a shipment back: it is erased at once."""
    with clerk_.exchange() as exchange:
        sent = exchange.sent.show(_known(shipment_id))
        about = f"{sent.shipment.id} from {sent.sender} to {sent.shipment.to}"
        clerk.confirm(clerk.plain(f"Recall {about}? It is erased at once."), yes=yes)
        said = exchange.sent.recall_any(sent.shipment.id, "admin", clerk_.now)
    say(f"{sent.shipment.id} recalled; {said}")


@shipment.command("release")
@click.argument("shipment_id", metavar="ID")
@pass_clerk
def release(clerk_: Clerk, shipment_id: str) -> None:
    """Let a held shipment go on."""
    known = _known(shipment_id)
    with clerk_.exchange() as exchange:
        exchange.dispatch.release(known, "admin", clerk_.now)
    say(f"{known} released; it leaves when it has settled")


@shipment.command("resend")
@click.argument("shipment_id", metavar="ID")
@click.argument("email", metavar="EMAIL")
@click.option("--phone", metavar="NUMBER", help="To this number, for this one shipment; else to the recipient's.")
@pass_clerk
def resend(clerk_: Clerk, shipment_id: str, email: str, phone: str | None) -> None:
    """Send a recipient the code of a shipment again: the same code, while it is kept."""
    known = _known(shipment_id)
    with clerk_.exchange() as exchange:
        made = exchange.resending.resend(known, email, clerk_.now, phone=phone, who="admin")
    say(f"{known}: the same code goes to {email} again, by SMS to {hint(made.address)}")


@shipment.command("new-code")
@click.argument("shipment_id", metavar="ID")
@click.argument("email", metavar="EMAIL")
@pass_clerk
def new_code(clerk_: Clerk, shipment_id: str, email: str) -> None:
    """Give a recipient a new code for a shipment; the old one is dead."""
    known = _known(shipment_id)
    with clerk_.exchange(role="sftp") as exchange:  # what the house key opens is locked anew
        made = exchange.renewing.new_code_any(known, email, "admin", clerk_.now)
    say(f"{known}: a new code goes to {email}, by SMS to {hint(made.address)}")


@shipment.command("extend")
@click.argument("shipment_id", metavar="ID")
@click.argument("days", type=click.IntRange(1, 3660))
@pass_clerk
def extend(clerk_: Clerk, shipment_id: str, days: int) -> None:
    """Let a shipment wait for so many days more."""
    known = _known(shipment_id)
    with clerk_.exchange() as exchange:
        extended = exchange.renewing.extend_any(known, "admin", clerk_.now, days=days)
    say(f"{known} is kept until {clerk.when(extended.expires)}")


def page(sent: Sent) -> RenderableType:
    """All that is known of one shipment, for people."""
    what = sent.shipment
    parts: list[RenderableType] = [
        clerk.sheet(
            (
                ("Shipment", what.id),
                ("State", f"{sent.state}: {what.reason}" if what.reason else sent.state),
                ("From", sent.sender),
                ("To", what.to),
                ("Subject", what.subject),
                ("Begun", clerk.when(what.made)),
                ("Sent", clerk.when(what.sent)),
                ("Expires", clerk.when(what.expires) if what.ended is None else ""),
                ("Ended", clerk.when(what.ended)),
            )
        )
    ]
    if sent.files:
        rows = [(clerk.amount(file.size), file.state, file.name, file.sha256 or "") for file in sent.files]
        parts += _part("Files", clerk.table((">Size", "=State", "Name", "…SHA-256"), rows))
    if sent.deliveries:
        receipts = [
            (
                f"{email} ({to.via})" if to.via else email,
                to.lock,
                to.state,
                clerk.when(to.opened),
                clerk.when(to.collected),
            )
            for to, email in sent.deliveries
        ]
        heads = ("Recipient", "=Lock", "=State", "=Opened", "=Collected")
        parts += _part("Deliveries", clerk.table(heads, receipts))
    if sent.notices:
        told = [(each.way, each.kind, each.state, each.attempts, each.reason) for each in sent.notices]
        parts += _part("Notices", clerk.table(("=Way", "=What", "=State", ">Attempts", "Reason"), told))
    if sent.history:
        events = [(clerk.when(each.at), each.event, each.who, each.detail) for each in sent.history]
        parts += _part("History", clerk.table(("=When", "=What", "Who", "More"), events))
    return Stack(*parts)


def _part(title: str, content: RenderableType) -> list[RenderableType]:
    return [Text(f"\n{title}", style="bold"), Padding(content, (0, 0, 0, 2))]


def _size(sent: Sent) -> int:
    return sum(file.size for file in sent.files)


def _known(text: str) -> str:
    """The id in whatever names a shipment: the id itself, or its folder."""
    found = ids.shipment_id(text.rstrip("/").rpartition("/")[2])
    if found is None:
        raise ShipmentUnknown(ids.redacted(text))
    return found
