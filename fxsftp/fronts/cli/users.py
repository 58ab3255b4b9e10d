"""`fxsftp user` and `fxsftp key`: who may come in, by what, and how their shipments open.

A password comes by a hidden prompt or by standard input, never as a word of the command line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.text import Text

from fxsftp.domain import addresses, policy
from fxsftp.domain.model import Key, Kind, LockKind, Route, User
from fxsftp.errors import BadKey, BadPassword
from fxsftp.exchange import Exchange
from fxsftp.exchange.people import LANGUAGES
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk, Group, pass_clerk, say
from fxsftp.settings import Settings

KEY_BYTES = 64 << 10  # more is no .pub file
STDIN_LINE = 8 << 10  # bytes; a password has 1024 letters at most

DELIVERIES = click.Choice([kind.value for kind in LockKind])
SPOKEN = click.Choice(LANGUAGES)
KINDS = click.Choice([Kind.PARTNER.value, Kind.MEMBER.value])
NEW_NAME = click.option("--name", default="", help="What people call them.")


# ---- users -------------------------------------------------------------------------------------------


@click.group(cls=Group)
def user() -> None:
    """Add users, show them, change them, let them in or keep them out."""


@user.command("add")
@click.argument("email")
@click.option("--kind", type=KINDS, help="Outside or inside the institution.  [default: by exchange.domains]")
@click.option("--phone", metavar="NUMBER", help="Where codes go by SMS, like +4790000000.")
@click.option("--key", "keys", multiple=True, metavar="FILE", help="A public SSH key (.pub); repeatable.")
@NEW_NAME
@click.option("--language", type=SPOKEN, help="What mails and SMS are written in.")
@click.option("--delivery", type=DELIVERIES, help="How shipments open for them.  [default: by policy]")
@pass_clerk
def add(
    clerk_: Clerk,
    email: str,
    kind: str | None,
    phone: str | None,
    keys: tuple[str, ...],
    name: str,
    language: str | None,
    delivery: str | None,
) -> None:
    """Register a user."""
    lines = [line for file in keys for line in key_lines(file)]
    with clerk_.exchange() as exchange:
        added = exchange.people.add(
            email,
            Kind(kind) if kind else kind_of(email, clerk_.settings()),
            phone=phone,
            name=name,
            language=language,
            delivery=LockKind(delivery) if delivery else None,
            keys=lines,
            now=clerk_.now,
        )
        has_way_in = bool(lines) or added.has_password
        say(
            f"{added.email} added: {added.kind}, {_how_shipments_open(exchange, added)}"
            + ("" if has_way_in else "; can't log in before 'fxsftp key add' or 'fxsftp user password'")
        )


def kind_of(email: str, settings: Settings) -> Kind:
    """By exchange.domains."""
    domains = [domain.casefold() for domain in settings.exchange.domains]
    return Kind.MEMBER if email.rpartition("@")[2].casefold() in domains else Kind.PARTNER


def _how_shipments_open(exchange: Exchange, found: User) -> str:
    has_key = any(key.opens for key in exchange.people.keys(found.email))
    lock = exchange.policy.lock_for(found, has_key)
    if lock is LockKind.SESSION:
        return "shipments open by logging in"
    if lock is LockKind.KEYS:
        return "shipments open with their own key"
    if found.phone:
        return f"shipments by code to {addresses.hint(found.phone)}"
    return "shipments by code, and no phone number for it yet"


@user.command("list")
@clerk.as_json
@pass_clerk
def list_users(clerk_: Clerk, as_json: bool) -> None:
    """Show all users."""
    with clerk_.exchange() as exchange:
        found = [(each, exchange.people.keys(each.email)) for each in exchange.people.users()]
    found = [(each, keys) for each, keys in found if each.kind is not Kind.GROUP]
    if as_json:
        clerk.show_json([facts(each, keys) for each, keys in found])
        return
    clerk.show_rows(
        ("Address", "=Kind", "=Standing", "Name", "=Phone", "=Delivery", ">Keys", "=Password", "=Last seen"),
        [
            (
                each.email,
                each.kind,
                each.standing,
                each.name,
                each.phone or "",
                each.delivery or "by policy",
                len(keys),
                "yes" if each.has_password else "no",
                clerk.when(each.seen),
            )
            for each, keys in found
        ],
    )


def facts(found: User, keys: list[Key]) -> dict[str, object]:
    """A user for programs."""
    return {
        "email": found.email,
        "kind": found.kind.value,
        "standing": found.standing.value,
        "name": found.name,
        "language": found.language,
        "phone": found.phone,
        "delivery": found.delivery.value if found.delivery else None,
        "default_recipient": found.default_recipient,
        "routes": [
            {"pattern": route.pattern, "recipient": route.recipient, "subject": route.subject} for route in found.routes
        ],
        "quota": found.quota,
        "timezone": found.timezone,
        "quiet": found.quiet,
        "digest": found.digest,
        "has_phrase": found.phrase is not None,
        "bounced": clerk.iso(found.bounce.at) if found.bounce else None,
        "bounce": f"{found.bounce.way}: {found.bounce.reason}" if found.bounce else None,
        "has_password": found.has_password,
        "added": clerk.iso(found.made),
        "seen": clerk.iso(found.seen),
        "keys": [key_facts(key) for key in keys],
    }


@user.command("show")
@click.argument("email")
@clerk.as_json
@pass_clerk
def show(clerk_: Clerk, email: str, as_json: bool) -> None:
    """Show what is known of one user."""
    with clerk_.exchange() as exchange:
        people = exchange.people
        found = people.find(email)
        keys = people.keys(email)
        groups = [
            each.email
            for each in people.users()
            if each.kind is Kind.GROUP and found.id in [member.id for member in people.members(each.email)]
        ]
        used, quota = exchange.outbox.usage(found)
        how = _how_shipments_open(exchange, found)
        locked, has_totp = people.locked_until(found, clerk_.now), exchange.totp.is_on(found)
        recovery = exchange.totp.codes_left(found)
    if as_json:
        more = {"groups": groups, "used": used, "allowed": quota}
        more |= {"locked_until": clerk.iso(locked), "has_totp": has_totp, "recovery_codes": recovery}
        clerk.show_json(facts(found, keys) | more)
        return
    clerk.show(
        clerk.sheet(
            (
                ("Address", found.email),
                ("Name", found.name),
                ("Kind", found.kind),
                ("Standing", found.standing),
                ("Language", found.language),
                ("Phone", found.phone),
                ("Delivery", how),
                ("Loose files go to", found.default_recipient),
                *(("Route", _shown(route)) for route in found.routes),
                ("Groups", ", ".join(groups)),
                ("Time zone", found.timezone),
                ("No SMS", found.quiet),
                ("One mail a day", found.digest),
                ("Phrase in mails", "yes" if found.phrase else ""),
                ("Not reached", _bounced(found)),
                ("Room in use", f"{clerk.amount(used)} of {clerk.amount(quota)}"),
                ("Password", "yes" if found.has_password else "no"),
                ("Locked", locked and Text(f"no log-in by password before {clerk.when(locked)}", "bold red")),
                ("Code from an app", f"yes, and {recovery} recovery codes" if has_totp else "no"),
                ("Added", clerk.when(found.made)),
                ("Last seen", clerk.when(found.seen) or "never"),
                *(("Key", _key_line(key)) for key in keys),
            )
        )
    )


def _bounced(found: User) -> Text | None:
    if not found.bounce:
        return None
    text = f"{clerk.when(found.bounce.at)} by {found.bounce.way}: {found.bounce.reason}"
    return Text(clerk.plain(text), "bold red")


def _shown(route: Route) -> str:
    return f"{route.pattern} to {route.recipient}" + (f", subject {route.subject}" if route.subject else "")


@user.command("disable")
@click.argument("email")
@pass_clerk
def disable(clerk_: Clerk, email: str) -> None:
    """Keep a user out; what waits for them stays."""
    with clerk_.exchange() as exchange:
        found = exchange.people.disable(email, clerk_.now)
    say(f"{found.email} disabled: no log-in; what waits for them is suspended")


@user.command("enable")
@click.argument("email")
@pass_clerk
def enable(clerk_: Clerk, email: str) -> None:
    """Let a disabled user in again; of one who is not, forget that an address could not be reached."""
    with clerk_.exchange() as exchange:
        found = exchange.people.enable(email, clerk_.now)
    say(f"{found.email} enabled")


@user.command("remove")
@click.argument("email")
@clerk.unasked
@pass_clerk
def remove(clerk_: Clerk, email: str, yes: bool) -> None:
    """Remove a user; what is recorded of their shipments stays."""
    with clerk_.exchange() as exchange:
        found = exchange.people.find(email)
        clerk.confirm(f"Remove {found.email}? What waits for them can't be opened any more.", yes=yes)
        exchange.people.remove(found.email, clerk_.now)
    say(f"{found.email} removed")


@user.command("password")
@click.argument("email")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read it from the first line of standard input.")
@pass_clerk
def password(clerk_: Clerk, email: str, from_stdin: bool) -> None:
    """Set a user's password."""
    with clerk_.exchange() as exchange:
        found = exchange.people.find(email)
        chosen: str
        if from_stdin:
            chosen = _first_line()
        elif sys.stdin.isatty():
            chosen = click.prompt(f"New password of {found.email}", hide_input=True, confirmation_prompt=True, err=True)
        else:
            raise click.UsageError("There is no terminal to ask at. --stdin reads the password from standard input.")
        exchange.people.set_password(found.email, chosen, clerk_.now)
        exchange.visits.end_all(found)
    say(f"password of {found.email} set")


def _first_line() -> str:
    line = sys.stdin.buffer.readline(STDIN_LINE)
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadPassword("it is not UTF-8") from None


@user.command("change")
@click.argument("email")
@click.option("--phone", metavar="NUMBER", help="Where codes go by SMS; '' for none.")
@click.option("--language", type=SPOKEN)
@click.option("--delivery", type=click.Choice([*DELIVERIES.choices, "policy"]), help="How shipments open for them.")
@click.option("--name")
@click.option("--default-recipient", metavar="EMAIL", help="Where files in outbox/ itself go; '' for nowhere.")
@click.option(
    "--route",
    "routes",
    multiple=True,
    metavar="PATTERN=RECIPIENT[;SUBJECT]",
    help="Where such files in outbox/ itself go; repeatable, and replaces all there were; '' for none.",
)
@click.option("--quota", metavar="SIZE", help="Room for their shipments, like '10 GiB'; 'policy' for the usual.")
@click.option("--timezone", metavar="ZONE", help="Like Europe/Oslo, for the next two; '' for the exchange's.")
@click.option("--quiet", metavar="HH:MM-HH:MM", help="Hours in which no SMS comes; '' for none.")
@click.option("--digest", metavar="HH:MM", help="When a day's mails come as one; '' for each at once.")
@click.option("--phrase", metavar="WORDS", help="Theirs, shown in each mail so that they know us by it; '' for none.")
@pass_clerk
def change(
    clerk_: Clerk,
    email: str,
    phone: str | None,
    language: str | None,
    delivery: str | None,
    name: str | None,
    default_recipient: str | None,
    routes: tuple[str, ...],
    quota: str | None,
    timezone: str | None,
    quiet: str | None,
    digest: str | None,
    phrase: str | None,
) -> None:
    """Change what is known of a user.  A new phone number or way of opening is told to them, also by the old phone."""
    wishes: dict[str, object] = {
        "phone": phone,
        "language": language,
        "delivery": "" if delivery == "policy" else delivery,
        "name": name,
        "default_recipient": default_recipient,
        "routes": [_route(text) for text in routes if text] if routes else None,
        "quota": _quota(quota),
        "timezone": timezone,
        "quiet": quiet,
        "digest": digest,
        "phrase": phrase,
    }
    wishes = {wish: value for wish, value in wishes.items() if value is not None}
    if not wishes:
        raise click.UsageError("Say what is to change. 'fxsftp user change --help' shows what can.")
    with clerk_.exchange() as exchange:
        found = exchange.people.change(email, clerk_.now, who="admin", **wishes)
    say(f"{found.email} changed: {', '.join(wish.replace('_', ' ') for wish in wishes)}")


def _route(text: str) -> Route:
    rule, _, subject = text.partition(";")
    pattern, _, recipient = rule.rpartition("=")
    if not pattern.strip():
        raise click.BadParameter("write it like 'report*.csv=kari@ssb.example;Monthly report'", param_hint="--route")
    return Route(pattern.strip(), addresses.address(recipient), subject.strip())


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
_UNITS: Mapping[str, int] = {"": 1, "B": 1, **policy.SIZE_LETTERS}


def _quota(text: str | None) -> int | str | None:
    """Bytes; an empty text for the usual, None where nothing was said."""
    if text is None or text == "policy":
        return text and ""
    written = _SIZE.fullmatch(text.strip())
    if not written or written[2] not in _UNITS:
        raise click.BadParameter("write it like '512 MiB', '10 GiB' or 'policy'", param_hint="--quota")
    size = int(float(written[1]) * _UNITS[written[2]])
    if not 0 < size < 1 << 63:
        raise click.BadParameter("that leaves no room; to keep a user out: fxsftp user disable", param_hint="--quota")
    return size


# ---- keys --------------------------------------------------------------------------------------------


@click.group(cls=Group)
def key() -> None:
    """Add and remove the public keys of a user."""


@key.command("add")
@click.argument("email")
@click.argument("file")
@click.option("--login-only", is_flag=True, help="Shipments are never locked for this key.")
@pass_clerk
def add_key(clerk_: Clerk, email: str, file: str, login_only: bool) -> None:
    """Add the public SSH key in FILE (- for standard input); the user is told."""
    lines = key_lines(file)
    with clerk_.exchange() as exchange:
        for line in lines:
            added = exchange.people.add_key(email, line, clerk_.now, opens=not login_only)
            say(f"{added.fingerprint} added: {_use(added)}")


@key.command("list")
@click.argument("email")
@clerk.as_json
@pass_clerk
def list_keys(clerk_: Clerk, email: str, as_json: bool) -> None:
    """Show the keys of a user."""
    with clerk_.exchange() as exchange:
        keys = exchange.people.keys(email)
    if as_json:
        clerk.show_json([key_facts(each) for each in keys])
        return
    clerk.show_rows(
        (">Number", "=Fingerprint", "=Kind", "Use", "=Added", "Comment"),
        [(each.id, each.fingerprint, each.kind, _use(each), clerk.when(each.added), each.comment) for each in keys],
    )


@key.command("remove")
@click.argument("email")
@click.argument("name", metavar="KEY")
@pass_clerk
def remove_key(clerk_: Clerk, email: str, name: str) -> None:
    """Remove a key, by its fingerprint, number or comment; the user is told."""
    with clerk_.exchange() as exchange:
        exchange.people.remove_key(email, name, clerk_.now)
    say(f"{name} removed from {email}")


def key_facts(found: Key) -> dict[str, object]:
    """A key for programs."""
    return {
        "id": found.id,
        "fingerprint": found.fingerprint,
        "kind": found.kind,
        "comment": found.comment,
        "opens": found.opens,
        "added": clerk.iso(found.added),
        "line": found.line,
    }


def _use(found: Key) -> str:
    return "logs in, opens shipments" if found.opens else "logs in, opens no shipments"


def _key_line(found: Key) -> str:
    return "  ".join(filter(None, (found.fingerprint, found.kind, _use(found), found.comment)))


def key_lines(file: str) -> list[str]:
    """The keys in a .pub file, or on standard input.  Raises BadKey."""
    if file == "-":
        raw = sys.stdin.buffer.read(KEY_BYTES + 1)
    else:
        path = Path(file)
        if not path.is_file():
            raise BadKey(f"there is no file {file}")
        with path.open("rb") as source:
            raw = source.read(KEY_BYTES + 1)
    if b"PRIVATE KEY-----" in raw:
        raise BadKey(f"{file} is a private key, which should never leave its owner; give the .pub beside it")
    text = raw.decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(raw) > KEY_BYTES or not lines:
        raise BadKey(f"{file} holds {'no key' if not lines else 'more than keys'}; give a .pub file")
    return lines
