"""`fxsftp notice`: what was told to whom by which way, and how that went.  A code is never among it."""

from __future__ import annotations

import time

import click

from fxsftp.domain.model import Notice
from fxsftp.domain.notices import MOVES
from fxsftp.exchange.people import LANGUAGES
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk, Group, pass_clerk, say, say_problem

STATES = click.Choice(list(MOVES))
WAYS = click.Choice(["mail", "sms"])
LOOK = 0.2  # seconds between two looks at what has become of a test


@click.group(cls=Group)
def notice() -> None:
    """Show mails and SMS that wait, were carried, arrived or failed; try again, drop, or send one as a test."""


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
                ("In one mail with", found.envelope if found.envelope != found.id else ""),
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


@notice.command("retry")
@click.argument("notice_ids", metavar="ID...", nargs=-1, required=True)
@pass_clerk
def retry(clerk_: Clerk, notice_ids: tuple[str, ...]) -> None:
    """Try at once what waits, failed or was dropped, to where its reader is reached now."""
    with clerk_.exchange() as exchange:
        for notice_id in notice_ids:
            again = exchange.resending.retry(notice_id, clerk_.now)
            say(f"{again.id} is tried again: {again.way} to {again.address}")


@notice.command("drop")
@click.argument("notice_ids", metavar="ID...", nargs=-1, required=True)
@clerk.unasked
@pass_clerk
def drop(clerk_: Clerk, notice_ids: tuple[str, ...], yes: bool) -> None:
    """Do not send what still waits."""
    with clerk_.exchange() as exchange:
        clerk.confirm(f"Drop {clerk.counted(len(notice_ids), 'notice')}? Nobody is told instead.", yes=yes)
        for notice_id in notice_ids:
            dropped = exchange.resending.drop(notice_id, clerk_.now)
            say(f"{dropped.id} dropped: {dropped.way} to {dropped.address}")


@notice.command("test")
@click.argument("way", type=WAYS)
@click.argument("address")
@click.option("--language", type=click.Choice(LANGUAGES), help="What it is written in.")
@click.option("--wait", type=click.FloatRange(0), default=30, show_default=True, help="Seconds to wait for its hook.")
@pass_clerk
def test(clerk_: Clerk, way: str, address: str, language: str | None, wait: float) -> None:
    """Send a mail or an SMS that says it is a test, by the courier and its hook, and say what became of it.

    Exits with 1 when it failed, and with 3 when it waits.
    """
    with clerk_.exchange() as exchange:
        spoken = language or clerk_.settings().exchange.language
        sent = exchange.resending.test(way, address, spoken, clerk_.now)
        until = time.monotonic() + wait
        while sent.state == "due" and not sent.reason and time.monotonic() < until:
            time.sleep(LOOK)
            sent = exchange.notices.find(sent.id)
        stop = exchange.carriage.stopped(way)
    status = 0
    if sent.state in ("carried", "delivered"):
        say(f"{sent.id} {sent.state}" + (f": {sent.reference}" if sent.reference else ""))
    elif sent.state == "due":
        why = sent.reason or (stop.reason if stop else f"no courier carries {way} just now; 'fxsftp doctor' looks why")
        say_problem(f"{sent.id} waits: {why}")
        status = clerk.TEMPORARY
    else:
        say_problem(f"{sent.id} {sent.state}: {sent.reason}")
        status = clerk.REFUSED
    click.get_current_context().exit(status)


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
        "done": clerk.iso(found.done),
        "facts": found.facts,
    }
