"""`fxsftp demo`: one file from drop to receipt on this machine, with the programs that everybody has.

Two people with keys; sftp puts, sftp gets, ssh opens.  What is shown, and in which order; all else is in `stage`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import click
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from fxsftp.domain.lifecycle import DeliveryState
from fxsftp.errors import StoreFull
from fxsftp.exchange.sent import Sent
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk, leaf, pass_clerk
from fxsftp.fronts.cli.shipments import page
from fxsftp.fronts.cli.stage import ANN, KARI, PHONE, QUIET, Ended, Stage, staged

SUBJECT = "Ref 23-4567"
SPARE = 64 << 20  # bytes of disk beside the file's copies
COPIES = 4  # sealed here; fetched sealed, opened at home, fetched in the open by ann

_CODE = re.compile(r"\b[0-9a-z]{4}(?:-[0-9a-z]{4}){3}\b")
_UNSAFE = re.compile(r"[^\w .,+=@()-]|^[ .-]|[ .]$")  # in a name: for sftp's quoting and options, and for Windows
_LONG = 60  # letters of a name; with four bytes for each and .age behind them they fit into 255


@leaf("demo")
@click.option("--once", is_flag=True, help="End when the file has arrived, instead of serving on.")
@click.option("--file", "source", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What to send.")
@click.option("--port", type=click.IntRange(0, 65535), default=2222, show_default=True, help="0: any that is free.")
@pass_clerk
def demo(clerk_: Clerk, once: bool, source: Path | None, port: int) -> None:
    """Show one file on its way: dropped, sealed, announced, fetched, opened, receipted."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _end_cleanly)  # as Ctrl-C does: nobody else would end the exchange
    try:
        with staged(clerk_, port) as stage:
            _walk(stage, source)
            if not once:
                _serve_on(stage)
        if not once:
            click.echo("\nThe exchange has ended, and its folder is gone.")
    except Ended as ended:
        _give_up(str(ended))
    except subprocess.TimeoutExpired as slow:
        _give_up(f"{slow.cmd[0]} took longer than {slow.timeout:.0f} seconds.")
    except (StoreFull, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _give_up(f"The disk of {tempfile.gettempdir()} is full. TMPDIR=/another/folder chooses another one.")


def _walk(stage: Stage, source: Path | None) -> None:
    """One file, from drop to receipt."""
    sent_file = _outgoing(stage, source)
    stage.chapter(
        "An exchange of its own",
        f"SFTP on 127.0.0.1 port {stage.port}, a portal at {stage.portal}; all of it is in {stage.folder}",
    )
    stage.people()

    stage.chapter(f"{KARI} drops a file", "with the sftp that every system has; it is sealed while it arrives")
    target = f"outbox/{ANN}/{SUBJECT}"
    stage.sftp("kari", f'put "{sent_file.name}" "{target}/{sent_file.name}"', cwd=sent_file.parent)
    with stage.waiting(f"settling: a folder leaves when it was quiet for {QUIET['settle_folder']} s (usually 60 s)"):
        sent = stage.until(lambda: _the_shipment(stage), "The shipment has not left the outbox", sent_file)

    stage.chapter("Two messages leave", f"the mail says where, the SMS to {PHONE} says the code; neither says both")
    with stage.waiting("waiting for the courier"):
        mail = stage.until(lambda: stage.mail(ANN), "No mail has been carried")
        sms = stage.until(stage.sms, "No SMS has been carried")
    stage.show_mail(mail)
    stage.screen.print(
        Panel(Text(sms), title=f"SMS to {PHONE}", title_align="left", border_style="yellow", padding=(0, 1))
    )
    found = _CODE.search(sms)
    if not found:
        raise Ended("The SMS holds no code.")
    code = found[0]

    stage.chapter(f"{ANN} fetches it", "locked as it is: what she gets is an ordinary .age file")
    shipment, name = sent.shipment.id, sent_file.name
    home = stage.folder / "ann"
    stage.sftp("ann", f"ls -l inbox/{shipment}/", f'get "inbox/{shipment}/{name}.age"', cwd=home)

    stage.chapter("… and opens it at home", "offline, with the code; any age program does the same")
    locked = shlex.quote(f"ann/{name}.age")
    stage.command(f"fxsftp open {locked} --into ann/opened", f"or: age -d {locked} > {shlex.quote(f'ann/{name}')}")
    from fxsftp.client import open_file  # with it comes an SSH client, for which no other command should wait

    opened = open_file(home / f"{name}.age", code=code, into=home / "opened")
    stage.said(f"Code: {code}\n{opened.relative_to(stage.folder)}")

    stage.chapter("… or opens it in place", "for programs that know nothing of age")
    stage.ssh("ann", f"open {shipment}", code)
    stage.sftp("ann", f'get "inbox/{shipment}/{name}"', cwd=home)

    stage.chapter(
        "The same file?", "SHA-256 of what kari has, of what the receipt says, and of what ann opened in either way"
    )
    _compare(stage, sent_file, opened, home / name, shipment)

    stage.chapter("What the exchange remembers", "states, receipts and history; what was in the file is not among it")
    stage.command(f"fxsftp shipment show {shipment}")
    stage.until(lambda: _is_collected(stage, shipment), "The receipt has not been written")
    stage.screen.print(Padding(page(stage.exchange.sent.show(shipment)), (0, 0, 0, 2)))
    receipt = stage.until(lambda: stage.mail(KARI), "The sender has not been told")
    stage.screen.print()
    stage.show_mail(receipt)


# ---- its steps -----------------------------------------------------------------------------------


def _outgoing(stage: Stage, source: Path | None) -> Path:
    """The file in kari's folder: the reader's own under a name that is good everywhere, or one made here."""
    if source is None:
        made = stage.folder / "kari" / "data.csv"
        dice = random.Random(23)  # noqa: S311 - figures to look at, not secrets
        rows = (f"{number};{dice.randint(100, 999)};{dice.random():.6f}\n" for number in range(20_000))
        made.write_text("person;municipality;value\n" + "".join(rows))
        return made
    if not source.is_file() or not os.access(source, os.R_OK):
        raise Ended(f"{source} is not a file that can be read.")
    size, free = source.stat().st_size, shutil.disk_usage(stage.folder).free
    if free < COPIES * size + SPARE:
        raise Ended(
            f"{source} needs {clerk.amount(COPIES * size + SPARE)} in {stage.folder.parent} on its way, and there are "
            f"{clerk.amount(free)}. TMPDIR=/another/folder chooses another one."
        )
    name = _UNSAFE.sub("_", source.name[-_LONG:])
    if stage.exchange.policy.is_partial(name) or stage.exchange.policy.is_litter(name):
        raise Ended(f"{name} has a name that says it is not to be sent, and never leaves. Choose another file.")
    there = stage.folder / "kari" / name
    there.symlink_to(source.absolute())
    return there


def _the_shipment(stage: Stage) -> Sent | None:
    found = stage.exchange.sent.shipments()
    for sent in found:
        if sent.shipment.reason:
            raise Ended(f"The shipment is held: {sent.shipment.reason}")
    return next((sent for sent in found if sent.deliveries), None)


def _is_collected(stage: Stage, shipment: str) -> bool:
    states = {delivery.state for delivery, _ in stage.exchange.sent.show(shipment).deliveries}
    return states == {DeliveryState.COLLECTED}


def _compare(stage: Stage, sent: Path, opened: Path, in_place: Path, shipment: str) -> None:
    receipt = stage.exchange.sent.show(shipment).files[0].sha256
    sums = [
        (_sum(sent), "kari's"),
        (receipt or "", "receipt"),
        (_sum(opened), "at home"),
        (_sum(in_place), "in place"),
    ]
    for value, whose in sums:
        stage.screen.print(Text.assemble("  ", (value, "green" if value == sums[0][0] else "bold red"), f"  {whose}"))
    if len({value for value, _ in sums}) != 1:
        raise Ended("These are not the same file.")
    stage.screen.print(Text("  The same.", style="bold green"))


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _serve_on(stage: Stage) -> None:
    """Until Ctrl-C."""
    stage.chapter("Now you", "the exchange runs until Ctrl-C; in a browser:")
    stage.screen.print(Text.assemble("  ", (stage.portal, "bold")), soft_wrap=True)
    for address in (ANN, KARI):
        stage.screen.print(Text(f"      log in as {address}, password: {stage.set_password(address)}", style="dim"))
    stage.screen.print(Text("\n  in another terminal:", style="dim"))
    config = shlex.quote(str(stage.folder / "ssh_config"))
    spool = shlex.quote(str(stage.settings.state / "spool"))
    tries = (
        (f"sftp -F {config} kari", f"cd outbox/{ANN}, put files, bye"),
        (f"sftp -F {config} ann", "cd inbox, ls, get; README.txt says more"),
        (f"ssh -F {config} kari status", "what became of kari's shipments"),
        (f"ssh -F {config} ann help", "everything else that ssh can ask"),
        (f"ls {spool}/*", "mails and SMS as they leave"),
        (f"export FXSFTP_SETTINGS={shlex.quote(str(stage.settings.file))}", "for the admin's commands:"),
        (f"{stage.fxsftp} shipment list", "everything that is under way"),
        (f"{stage.fxsftp} doctor", "what is well and what waits"),
    )
    for command, why in tries:
        stage.screen.print(Text.assemble("  ", (command, "bold")), soft_wrap=True)  # whole, so that it can be copied
        stage.screen.print(Text(f"      {why}", style="dim"))
    try:
        stage.server.wait()
    except KeyboardInterrupt:
        return
    raise stage.failure("The exchange has ended by itself.")


def _give_up(reason: str) -> NoReturn:
    click.echo(f"fxsftp demo: {reason}", err=True)
    sys.exit(clerk.REFUSED)


def _end_cleanly(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


COMMANDS: list[click.Command] = [demo]
