"""The commands about the exchange as a whole: init, serve, sweep, doctor."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import click
from rich.text import Text

from fxsftp.carriers import find
from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.policy import kept_free
from fxsftp.errors import FxError
from fxsftp.exchange import Exchange
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk, leaf, pass_clerk, say
from fxsftp.settings import USUAL, Settings

log = logging.getLogger("fxsftp.cli")

LITTLE = 1 << 30  # bytes of free disk; below that one larger shipment may be one too many
SERVICES = click.Choice(["sftp", "courier", "portal", "sweep"])


@leaf("init")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--demo", is_flag=True, help="Everything in one folder, on loopback; mail and SMS go to files.")
@click.option("--port", type=click.IntRange(0, 65535), default=2222, show_default=True, help="Where SFTP listens.")
@click.option("--institution", metavar="NAME", help="Who speaks in mails and SMS.")
@pass_clerk
def init(clerk_: Clerk, folder: Path | None, demo: bool, port: int, institution: str | None) -> None:
    """Make a new exchange: settings and keys, in FOLDER.  [default: /etc/fxsftp; ./demo with --demo]"""
    chosen = (folder or (Path("demo") if demo else USUAL.parent)).absolute()
    fingerprint = clerk_.wiring.found(chosen, demo=demo, sftp_port=port, institution=institution)
    say(f"{chosen / USUAL.name} made; the host key is {fingerprint}")


@leaf("serve")
@click.option("--only", type=SERVICES, help="One service, as its systemd unit runs it.")
@pass_clerk
def serve(clerk_: Clerk, only: str | None) -> None:
    """Serve until told to stop."""
    settings = clerk_.settings()
    try:
        status = clerk_.wiring.serve(settings, only)
    except (FxError, OSError):
        raise  # says why in one line
    except Exception:
        log.exception("%s ended in an unforeseen way", only or "the exchange")  # nobody sits here to look twice
        status = clerk.REFUSED
    click.get_current_context().exit(status)


@leaf("sweep")
@click.option("--confirm-clock", is_flag=True, help="You have looked: this machine's clock is right.")
@pass_clerk
def sweep(clerk_: Clerk, confirm_clock: bool) -> None:
    """Remind, expire and erase whatever is due."""
    now, boot = clerk_.now, clerk_.wiring.boot()
    with clerk_.exchange() as exchange:
        if confirm_clock:
            exchange.upkeep.confirm_clock(now, *boot)
        swept = exchange.upkeep.sweep(now, *boot)
    done = [(getattr(swept, field.name), field.name) for field in fields(swept)]
    if any(count for count, _ in done):
        say("swept: " + ", ".join(f"{count} {what}" for count, what in done if count))


# ---- doctor ------------------------------------------------------------------------------------------

WELL, WAITS, WRONG = "well", "waits", "wrong"
_STYLES = {WELL: "green", WAITS: "yellow", WRONG: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.  `waits` means that something waits for somebody, `wrong` that it can't go on."""

    state: str
    what: str
    says: str


@leaf("doctor")
@clerk.as_json
@pass_clerk
def doctor(clerk_: Clerk, as_json: bool) -> None:
    """Look at everything that an exchange needs, and say what is missing and what waits.

    Exits with 1 when something is wrong.
    """
    findings = list(_examined(clerk_, clerk_.settings()))
    if as_json:
        clerk.show_json([{"state": each.state, "what": each.what, "says": each.says} for each in findings])
    else:
        rows = [(Text(each.state, _STYLES[each.state]), each.what, each.says) for each in findings]
        clerk.show(clerk.table(("=State", "=What", "Finding"), rows))
    click.get_current_context().exit(clerk.REFUSED if any(each.state == WRONG for each in findings) else 0)


def _examined(clerk_: Clerk, settings: Settings) -> Iterator[Finding]:
    demo = "; a demo: codes are written to disk" if settings.exchange.demo else ""
    yield Finding(WELL, "settings", f"{settings.file or 'the defaults'}{demo}")
    yield from _keys(settings)
    yield _port(settings)
    yield from _portal(settings)
    yield _disk(settings)
    try:
        with clerk_.exchange() as exchange:
            yield Finding(WELL, "registry", f"opens; {clerk.counted(len(exchange.people.users()), 'user')}")
            if jump := exchange.upkeep.doubt():
                yield Finding(WRONG, "clock", f"it jumped {jump}; when it is right: fxsftp sweep --confirm-clock")
            yield _room(exchange)
            yield from _ways(settings, exchange)
            yield from _scanners(settings)
            yield from _shipments(exchange)
    except (FxError, OSError) as problem:
        yield Finding(WRONG, "registry", str(problem))


def _keys(settings: Settings) -> Iterator[Finding]:
    """Whether each can be read by whoever runs this, and by nobody else."""
    secret = [("house key", settings.keys.house), ("courier key", settings.keys.courier)]
    secret += [("host key", name) for name in settings.keys.host_keys]
    for what, name in secret:
        yield _tried(what, name, settings.credential)
    yield _tried("courier recipient", settings.keys.courier_recipient, settings.public)


def _tried(what: str, name: str, read: Callable[[str], bytes]) -> Finding:
    try:
        return Finding(WELL if read(name).strip() else WRONG, what, f"{name} can be read")
    except FxError as problem:
        return Finding(WRONG, what, str(problem))


def _port(settings: Settings) -> Finding:
    """Whether something that speaks SSH answers where clients would ask."""
    host, port = settings.sftp.listen or "127.0.0.1", settings.sftp.port
    shown = f"{host} port {port}"
    if port == 0:
        return Finding(WAITS, "sftp", "port 0: each start listens on another one")
    try:
        with socket.create_connection((host, port), timeout=3) as line:
            greeting = line.recv(64)
    except OSError as problem:
        why = problem.strerror or problem
        return Finding(WAITS, "sftp", f"nothing answers on {shown} ({why}); start 'fxsftp serve'")
    if greeting.startswith(b"SSH-2.0-"):
        return Finding(WELL, "sftp", f"answers on {shown}")
    return Finding(WRONG, "sftp", f"another program listens on {shown}")


def _portal(settings: Settings) -> Iterator[Finding]:
    """Whether something listens where the web server hands on what comes in."""
    host, port = settings.portal.listen, settings.portal.port
    if not settings.portal.public_url or port == 0:
        return
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as problem:
        why = problem.strerror or problem
        yield Finding(WAITS, "portal", f"nothing answers on {host} port {port} ({why}); start 'fxsftp serve'")
    else:
        yield Finding(WELL, "portal", f"answers on {host} port {port}, for {settings.portal.public_url}")


def _disk(settings: Settings) -> Finding:
    folder = settings.state
    if not folder.is_dir():
        return Finding(WAITS, "disk", f"there is no {folder} yet; the first start makes it")
    usage = shutil.disk_usage(folder)
    said = f"{clerk.amount(usage.free)} free of {clerk.amount(usage.total)} for {folder}"
    reserve = kept_free(settings.exchange.reserve, usage.total)
    if usage.free < reserve:
        said += f"; {clerk.amount(reserve)} are kept free, and so nothing new is taken in until there is room"
    return Finding(WRONG if usage.free < LITTLE else WELL, "disk", said)


def _room(exchange: Exchange) -> Finding:
    """Whether what is kept of the room that each user's files take up is what they take up."""
    wrong = [
        f"{each.user.email} {clerk.amount(each.used)}, not {clerk.amount(each.summed)}"
        for each in exchange.upkeep.miscounted()
    ]
    if wrong:
        return Finding(WRONG, "room in use", f"miscounted: {'; '.join(wrong)}; put right by: fxsftp sweep")
    return Finding(WELL, "room in use", "counted as the files say")


def _ways(settings: Settings, exchange: Exchange) -> Iterator[Finding]:
    waiting = exchange.carriage.waiting_ways()
    ways = [("mail", settings.notify.mail), ("sms", settings.notify.sms)]
    if settings.notify.webhook or waiting.get("webhook"):  # nobody misses one that was never set
        ways.append(("webhook", settings.notify.webhook))
    for way, name in ways:
        count = waiting.get(way, 0)
        queue = f"; {clerk.counted(count, 'notice')} on the way" if count else ""
        if not name:
            queue = f"; {clerk.counted(count, 'notice')} for it" if count else ""
            yield Finding(WAITS, way, f"no hook: set [notify] {way}{queue}")
            continue
        try:
            find(way, name, settings.hook_folders)
        except FxError as problem:
            yield Finding(WRONG, way, f"{problem}{queue}")
            continue
        if stop := exchange.carriage.stopped(way):
            yield Finding(WRONG, way, f"stopped since {clerk.when(stop.since)}: {stop.reason}{queue}")
        else:
            yield Finding(WELL, way, f"by the hook {way}-{name}{queue}")


def _scanners(settings: Settings) -> Iterator[Finding]:
    """Whether those who look at what leaves are there; what waits for one shows among what is held."""
    for name in settings.scan.hooks:
        try:
            find("scan", name, settings.hook_folders)
        except FxError as problem:
            yield Finding(WRONG, "scan", f"{problem}; nothing leaves until this is mended")
        else:
            yield Finding(WELL, "scan", f"by the hook scan-{name}")


def _shipments(exchange: Exchange) -> Iterator[Finding]:
    held = exchange.sent.shipments(ShipmentState.HELD)
    for sent in held:
        yield Finding(WAITS, "held", f"{sent.shipment.id} from {sent.sender}: {sent.shipment.reason}")
    if not held:
        yield Finding(WELL, "held", "no shipment is held")
    failed = exchange.notices.count("failed")
    if failed:
        said = f"{clerk.counted(failed, 'notice')} could not be delivered: fxsftp notice list --state failed"
        yield Finding(WAITS, "notices", said)


COMMANDS: list[click.Command] = [init, serve, sweep, doctor]
