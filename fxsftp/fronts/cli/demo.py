"""`fxsftp demo`: one file from drop to receipt on this machine, with the programs that everybody has.

An exchange of its own in a fresh folder on loopback; two people with keys; sftp puts, sftp gets, ssh opens.  Nothing is
staged: mail and SMS are read where the spool hooks put them, and what is shown is what the programs said.  This file,
and no other of the command line, starts programs.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email import policy as mail_policy
from pathlib import Path
from typing import NoReturn, TypeVar

import click
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from fxsftp.domain.lifecycle import DeliveryState
from fxsftp.domain.model import Kind
from fxsftp.errors import StoreFull
from fxsftp.exchange import Exchange
from fxsftp.exchange.sent import Sent
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk, leaf, pass_clerk
from fxsftp.fronts.cli.shipments import page
from fxsftp.settings import Settings

KARI, ANN = "kari@ssb.example", "ann@firm.example"
PHONE = "+4790000000"
SUBJECT = "Ref 23-4567"
PROMPT = "sftp> "
PROGRAMS = ("sftp", "ssh", "ssh-keygen")
SOON = 30.0  # seconds for what takes one or two here; a busy machine may need more
SLOWEST = 4 << 20  # bytes a second; the slowest disk that is waited for
SPARE = 64 << 20  # bytes of disk beside the file's copies
FULL = 256 << 10  # bytes of free disk; what is still there when a program could write no more
COPIES = 4  # sealed here; fetched sealed, opened at home, fetched in the open by ann
# Seconds; usually half a minute and more, for which nobody looks at a demo.
QUIET = {"settle_loose": 2, "settle_folder": 2, "settle_connected": 4, "settle_suspect": 3}

_WORDS = "amber birch cloud delta ember fjord grain harbour island juniper kettle lantern meadow north orchard"
_CODE = re.compile(r"\b[0-9a-z]{4}(?:-[0-9a-z]{4}){3}\b")
_UNSAFE = re.compile(r"[^\w .,+=@()-]|^[ .-]|[ .]$")  # in a name: for sftp's quoting and options, and for Windows
_LONG = 60  # letters of a name; with four bytes for each and .age behind them they fit into 255

T = TypeVar("T")


class Ended(Exception):
    """The demo can't go on.  The text is one clear sentence."""


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
        with _stage(clerk_, port) as stage:
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


# ---- the stage -----------------------------------------------------------------------------------


@contextmanager
def _stage(clerk_: Clerk, port: int) -> Iterator[Stage]:
    """An exchange that runs, in a folder that goes when the demo ends."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        raise Ended(f"The demo needs {' and '.join(missing)}, which this machine has not (package openssh-client).")
    port = _free_port(port)
    portal = _free_port(0)
    folder = Path(tempfile.mkdtemp(prefix="fxsftp-demo-"))
    try:
        clerk_.wiring.found(folder, demo=True, sftp_port=port, portal_port=portal, institution="Statistics of Examples")
        settings = clerk_.wiring.load(_shortened(folder / "fxsftp.toml"))
        if not settings.state.is_relative_to(folder) or not settings.exchange.demo or settings.sftp.port != port:
            raise Ended("FXSFTP_… variables of another exchange are set. Unset them for the demo.")
        with closing(clerk_.wiring.exchange(settings)) as exchange, _served(settings, folder / "serve.log") as server:
            stage = Stage(clerk_, settings, folder, port, exchange, server)
            stage.furnish()
            yield stage
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _served(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The exchange's own process, which ends with the demo."""
    command = [sys.executable, "-m", "fxsftp", "serve", "--settings", str(settings.file)]
    with log.open("wb") as written:
        # A session of its own: Ctrl-C is for us, and we end it then.
        server = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
            command, stdin=subprocess.DEVNULL, stdout=written, stderr=written, start_new_session=True
        )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(SOON)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: an ended demo doesn't hold it
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            if problem.errno == errno.EACCES:
                raise Ended(f"Port {port} is for root only. --port 2222 chooses another one.") from None
            raise Ended(f"Port {port} is in use. --port 0 takes any that is free.") from None
        return int(probe.getsockname()[1])


def _shortened(file: Path) -> Path:
    """The settings with short times in them."""
    times = "".join(f'{name} = "{seconds} s"\n' for name, seconds in QUIET.items())
    file.write_text(file.read_text().replace("[exchange]\n", f"[exchange]\n{times}", 1))
    return file


@dataclass
class Stage:
    """The running exchange, its people's folders, and the screen."""

    clerk: Clerk
    settings: Settings
    folder: Path
    port: int
    exchange: Exchange
    server: subprocess.Popen[bytes]
    screen: Console = field(default_factory=lambda: Console(highlight=False))
    chapters: int = 0

    def furnish(self) -> None:
        """Folders and keys for two people, and an exchange that answers."""
        for name in ("kari", "ann"):
            (self.folder / name).mkdir(mode=0o700)
            key = self.folder / name / "id_ed25519"
            self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key))
        self._write_ssh_config()
        with self.waiting("starting the exchange"):
            self.until(self._answers, "The exchange does not answer")
            self.until(self._has_portal, "The portal does not answer")

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as line:
            return line.recv(8).startswith(b"SSH-")
        return False

    def _has_portal(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.settings.portal.port), timeout=1):
            return True
        return False

    def _write_ssh_config(self) -> None:
        """`ssh -F … ann` is all that it then takes, and nothing of the reader's own ~/.ssh is touched."""
        host_key = (self.folder / "ssh_host_ed25519_key.pub").read_text().strip()
        known = self.folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.port} {host_key}\n")
        people = "".join(
            f'Host {name}\n  User {address}\n  IdentityFile "{self.folder / name / "id_ed25519"}"\n'
            for name, address in (("kari", KARI), ("ann", ANN))
        )
        (self.folder / "ssh_config").write_text(
            f'{people}Host *\n  HostName 127.0.0.1\n  Port {self.port}\n  UserKnownHostsFile "{known}"\n'
            "  StrictHostKeyChecking yes\n  IdentitiesOnly yes\n  IdentityAgent none\n  LogLevel ERROR\n"
        )

    def people(self) -> None:
        """Two users, as an admin adds them."""
        for name, address, kind, phone in (("kari", KARI, Kind.MEMBER, None), ("ann", ANN, Kind.PARTNER, PHONE)):
            key = self.folder / name / "id_ed25519.pub"
            more = f" --phone {phone}" if phone else ""
            self.command(f"fxsftp user add {address} --kind {kind}{more} --key {name}/{key.name}")
            self.exchange.people.add(address, kind, phone=phone, keys=[key.read_text().strip()], now=self.clerk.now)

    @property
    def fxsftp(self) -> str:
        """How the reader can say it from any folder."""
        python = Path(sys.executable)
        found = shutil.which("fxsftp")
        return "fxsftp" if found and Path(found).parent == python.parent else f"{shlex.quote(str(python))} -m fxsftp"

    def set_password(self, address: str) -> str:
        """A new one, to try the portal with; the exchange itself keeps only its hash."""
        chosen = " ".join(secrets.choice(_WORDS.split()) for _ in range(4))
        self.exchange.people.set_password(address, chosen, self.clerk.now)
        return chosen

    @property
    def portal(self) -> str:
        """Where it is found."""
        return self.settings.portal.public_url

    # ---- programs

    def sftp(self, name: str, *lines: str, cwd: Path) -> None:
        """Let somebody type these lines to sftp, and show what it says."""
        self.command(f"sftp -F ssh_config {name}")
        self.said(self._run("sftp", "-q", "-F", str(self.folder / "ssh_config"), "-b", "-", name, said=lines, cwd=cwd))

    def ssh(self, name: str, command: str, answer: str) -> None:
        """A command on the exchange; the answer goes by standard input."""
        self.command(f"ssh -F ssh_config {name} {command}")
        self.said(self._run("ssh", "-F", str(self.folder / "ssh_config"), name, command, said=(answer,)))

    def _run(self, program: str, *words: str, said: Sequence[str] = (), cwd: Path | None = None) -> str:
        found = shutil.which(program) or program
        done = subprocess.run(  # noqa: S603 - programs of the system, words of ours, no shell
            [found, *words],
            input="".join(f"{line}\n" for line in said),
            capture_output=True,
            text=True,
            errors="replace",
            cwd=cwd or self.folder,
            timeout=SOON * 20,
            check=False,
        )
        if done.returncode != 0:
            why = " ".join(clerk.plain(line) for line in done.stderr.splitlines() if line.strip())
            raise self.failure(f"{program} failed: {why or f'status {done.returncode}'}")
        return done.stdout

    def until(self, look: Callable[[], T | None], otherwise: str, file: Path | None = None) -> T:
        """What `look` finds, as soon as it finds something."""
        seconds = SOON + (file.stat().st_size / SLOWEST if file else 0)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            if self.server.poll() is not None:
                raise self.failure("The exchange has ended by itself.")
            time.sleep(0.05)
        raise self.failure(f"{otherwise} after {seconds:.0f} seconds.")

    def failure(self, why: str) -> Ended | OSError:
        """What to raise: a full disk explains itself, all else with the exchange's last words."""
        if shutil.disk_usage(self.folder).free < FULL:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return Ended(why + self._last_words())

    def _last_words(self) -> str:
        """The end of the exchange's log, for whoever must find out why."""
        log = self.folder / "serve.log"
        lines = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
        return "".join(f"\n  {clerk.plain(line)}" for line in lines)

    # ---- what arrived

    def mail(self, address: str) -> bytes | None:
        """The newest mail to this address that the spool hook has written."""
        folder = self.settings.state / "spool" / "mail"
        for path in sorted(folder.glob("*.eml"), key=lambda path: -path.stat().st_mtime):
            content = path.read_bytes()
            if message_from_bytes(content, policy=mail_policy.default)["To"] == address:
                return content
        return None

    def sms(self) -> str | None:
        """The text of the SMS."""
        for path in (self.settings.state / "spool" / "sms").glob("*.txt"):
            return path.read_text().partition("\n\n")[2].strip()
        return None

    # ---- the screen

    def chapter(self, title: str, about: str) -> None:
        """A heading."""
        self.chapters += 1
        self.screen.print()
        self.screen.rule(Text.assemble((f"{self.chapters}  {title}", "bold cyan")), align="left", style="dim")
        self.screen.print(Text(about, style="dim"))

    def command(self, command: str, alternative: str = "") -> None:
        """What one would type."""
        self.screen.print(Text.assemble("  ", ("$ ", "dim"), (command, "bold")), soft_wrap=True)
        if alternative:
            self.screen.print(Text(f"    {alternative}", style="dim"), soft_wrap=True)

    def said(self, text: str) -> None:
        """What the program answered."""
        for line in text.splitlines():
            is_typed = line.startswith(PROMPT)  # sftp repeats what it reads
            words = (
                ((PROMPT, "dim"), (clerk.plain(line.removeprefix(PROMPT)), "bold"))
                if is_typed
                else (clerk.plain(line),)
            )
            self.screen.print(Text.assemble("    ", *words), soft_wrap=True)

    def show_mail(self, content: bytes) -> None:
        """As a mail program would."""
        mail = message_from_bytes(content, policy=mail_policy.default)
        body = mail.get_body(("plain",))
        text = body.get_content().strip() if body else ""
        head = Text.assemble(*(part for name in ("From", "To") for part in ((f"{name}: ", "dim"), f"{mail[name]}\n")))
        self.screen.print(
            Panel(
                Text.assemble(head, "\n", text),
                title=f"Mail: {mail['Subject']}",
                title_align="left",
                border_style="blue",
                padding=(0, 1),
            )
        )

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Something that turns while nothing happens, for a terminal only."""
        if not self.screen.is_terminal:
            yield
            return
        with self.screen.status(Text(what, style="dim")):
            yield


def _give_up(reason: str) -> NoReturn:
    click.echo(f"fxsftp demo: {reason}", err=True)
    sys.exit(clerk.REFUSED)


def _end_cleanly(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


COMMANDS: list[click.Command] = [demo]
