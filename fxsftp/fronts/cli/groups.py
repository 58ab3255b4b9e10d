"""`fxsftp group`: shared addresses and who is behind them."""

from __future__ import annotations

import click

from fxsftp.domain.model import Kind, LockKind, User
from fxsftp.exchange import Exchange
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk, Group, pass_clerk, say
from fxsftp.fronts.cli.users import DELIVERIES, NEW_NAME, SPOKEN


@click.group(cls=Group)
def group() -> None:
    """Shared addresses: whatever is sent to one reaches each of its members."""


@group.command("add")
@click.argument("email")
@NEW_NAME
@click.option("--language", type=SPOKEN)
@click.option("--delivery", type=DELIVERIES, help="How its shipments open.  [default: as each member's own]")
@pass_clerk
def add(clerk_: Clerk, email: str, name: str, language: str | None, delivery: str | None) -> None:
    """Make a group."""
    with clerk_.exchange() as exchange:
        kind = LockKind(delivery) if delivery else None
        made = exchange.people.add_group(email, clerk_.now, name=name, language=language, delivery=kind)
    say(f"{made.email} added: group, no members yet")


@group.command("list")
@clerk.as_json
@pass_clerk
def list_groups(clerk_: Clerk, as_json: bool) -> None:
    """Show all groups."""
    with clerk_.exchange() as exchange:
        groups = [_with_members(exchange, each) for each in exchange.people.users() if each.kind is Kind.GROUP]
    if as_json:
        clerk.show_json([facts(made, members) for made, members in groups])
        return
    clerk.show_rows(
        ("Address", "Name", "=Delivery", ">Members"),
        [(made.email, made.name, made.delivery or "by policy", len(members)) for made, members in groups],
    )


@group.command("show")
@click.argument("email")
@clerk.as_json
@pass_clerk
def show(clerk_: Clerk, email: str, as_json: bool) -> None:
    """Show a group and its members."""
    with clerk_.exchange() as exchange:
        made, members = _with_members(exchange, exchange.people.find(email))
    if as_json:
        clerk.show_json(facts(made, members))
        return
    clerk.show(
        clerk.sheet(
            (
                ("Address", made.email),
                ("Name", made.name),
                ("Language", made.language),
                ("Delivery", made.delivery or "as each member's own"),
                ("Added", clerk.when(made.made)),
                *(("Member", f"{member.email}  {member.name}".rstrip()) for member in members),
            )
        )
    )


@group.command("remove")
@click.argument("email")
@clerk.unasked
@pass_clerk
def remove(clerk_: Clerk, email: str, yes: bool) -> None:
    """Remove a group; its members stay users."""
    with clerk_.exchange() as exchange:
        made, _ = _with_members(exchange, exchange.people.find(email))
        clerk.confirm(f"Remove the group {made.email}?", yes=yes)
        exchange.people.remove(made.email, clerk_.now)
    say(f"{made.email} removed")


@group.group("member")
def member() -> None:
    """Who is behind the address."""


@member.command("add")
@click.argument("group_email", metavar="GROUP")
@click.argument("email")
@pass_clerk
def add_member(clerk_: Clerk, group_email: str, email: str) -> None:
    """Add a user to a group."""
    with clerk_.exchange() as exchange:
        exchange.people.add_to_group(group_email, email, clerk_.now)
    say(f"{email} added to {group_email}")


@member.command("remove")
@click.argument("group_email", metavar="GROUP")
@click.argument("email")
@pass_clerk
def remove_member(clerk_: Clerk, group_email: str, email: str) -> None:
    """Take a user out of a group."""
    with clerk_.exchange() as exchange:
        exchange.people.remove_from_group(group_email, email, clerk_.now)
    say(f"{email} removed from {group_email}")


def facts(made: User, members: list[User]) -> dict[str, object]:
    """A group for programs."""
    return {
        "email": made.email,
        "name": made.name,
        "language": made.language,
        "delivery": made.delivery.value if made.delivery else None,
        "added": clerk.iso(made.made),
        "members": [each.email for each in members],
    }


def _with_members(exchange: Exchange, made: User) -> tuple[User, list[User]]:
    return made, exchange.people.members(made.email)
