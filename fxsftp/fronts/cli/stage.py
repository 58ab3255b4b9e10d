"""The stage of the demo: an exchange of its own in a fresh folder on loopback, its people, their programs, the screen.

Nothing is staged on it: mail and SMS are read where the spool hooks put them, and what is shown is what the programs
said.  This file, and no other of the command line, starts programs.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import shutil
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
from typing import TypeVar

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from fxsftp.domain.model import Kind
from fxsftp.exchange import Exchange
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk
from fxsftp.settings import Settings

KARI, ANN = "kari@ssb.example", "ann@firm.example"
PHONE = "+4790000000"
PROMPT = "sftp> "
PROGRAMS = ("sftp", "ssh", "ssh-keygen")
SOON = 30.0  # seconds for what takes one or two here; a busy machine may need more
SLOWEST = 4 << 20  # bytes a second; the slowest disk that is waited for
FULL = 256 << 10  # bytes of free disk; what is still there when a program could write no more
# Seconds; usually half a minute and more, for which nobody looks at a demo.
QUIET = {"settle_loose": 2, "settle_folder": 2, "settle_connected": 4, "settle_suspect": 3}

_WORDS = "amber birch cloud delta ember fjord grain harbour island juniper kettle lantern meadow north orchard"

T = TypeVar("T")


class Ended(Exception):
    """The demo can't go on.  The text is one clear sentence."""


@contextmanager
def staged(clerk_: Clerk, port: int) -> Iterator[Stage]:
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
            built = Stage(clerk_, settings, folder, port, exchange, server)
            built.furnish()
            yield built
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
