"""An exchange that is served by its own processes, as `fxsftp serve` starts them."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self

from fxsftp import app, founding
from fxsftp.domain.model import Kind, Notice
from fxsftp.exchange import Exchange
from fxsftp.exchange.sent import Sent
from fxsftp.settings import load
from tests.walks.guests import ROOT, Guest, Ran, until

# A test has no minute to let things settle.
QUICK = {"settle_loose": "1 s", "settle_folder": "1 s", "settle_connected": "1 s", "settle_suspect": "1 s"}


class Served:
    """A demo exchange in a folder of its own, or one that is there; `serve` starts it, of this checkout or another."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Mapping[str, object]] | None = None, *, checkout: Path = ROOT
    ) -> None:
        self.folder, self.checkout = folder, checkout
        self.port = _free_port()
        self.said = folder.parent / "served.log"
        self.process: subprocess.Popen[bytes] | None = None
        if not (folder / "fxsftp.toml").exists():
            founding.found(folder, demo=True, sftp_port=self.port)
        self.env = dict(os.environ) | {"FXSFTP_SFTP__WORKERS": "1"}  # one process is enough to be killed
        for section, keys in {"exchange": QUICK, **(settings or {})}.items():
            for key, value in keys.items():
                self.env[f"FXSFTP_{section.upper()}__{key.upper()}"] = str(value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process and self.process.poll() is None:
            children = self.children()
            self.process.kill()
            self.process.wait()
            until(lambda: not any(is_running(child) for child in children))

    # ---- the processes

    def serve(self, *before: str, only: str = "", waits: bool = True) -> subprocess.Popen[bytes]:
        """Start it, with a command `before` it such as strace; returns when it answers."""
        command = [sys.executable, "-m", "fxsftp", "serve", "--settings", str(self.folder / "fxsftp.toml")]
        with self.said.open("ab") as log:
            self.process = subprocess.Popen(
                [*before, *command, *(["--only", only] if only else [])],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env, cwd=self.checkout,
            )  # fmt: skip
        if waits:
            until(self.answers)
        return self.process

    def answers(self) -> bool:
        """Whether somebody speaks SSH at the port."""
        assert self.process
        assert self.process.poll() is None, self.log()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                return line.recv(8).startswith(b"SSH-2.0-")
        except OSError:
            return False

    def stop(self) -> int:
        """As systemd would: SIGTERM; answers the exit status."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def children(self) -> dict[int, str]:
        """The processes below, with their commands."""
        assert self.process
        found, below = {}, {self.process.pid}
        while below:
            parent = below.pop()
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
                    below.add(int(each))
                    found[int(each)] = Path(f"/proc/{each}/cmdline").read_text().replace("\0", " ")
        return found

    def child(self, only: str) -> int:
        """The one that serves one thing."""
        (pid,) = [pid for pid, command in self.children().items() if f"--only {only} " in command]
        return pid

    def log(self) -> str:
        """All that the processes said."""
        return self.said.read_text() if self.said.exists() else ""

    # ---- the admin

    def admin(self, *words: str, stdin: str = "") -> Ran:
        """`fxsftp …` by the operator of this exchange."""
        ran = subprocess.run(
            [sys.executable, "-m", "fxsftp", *words], input=stdin, capture_output=True, text=True, cwd=self.checkout,
            env=self.env | {"FXSFTP_SETTINGS": str(self.folder / "fxsftp.toml")}, timeout=60,
        )  # fmt: skip
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def must(self, *words: str, stdin: str = "") -> Ran:
        """The same, that has to be done."""
        ran = self.admin(*words, stdin=stdin)
        assert ran.status == 0, ran.err
        return ran

    def add(self, email: str, kind: Kind, *, language: str = "en") -> Guest:
        """A user with a key and a phone."""
        guest = self.guest(email)
        with closing(self.exchange()) as exchange:
            key = Path(f"{guest.key}.pub").read_text()
            exchange.people.add(email, kind, phone="+4790000000", keys=[key], language=language, now=time.time())
        return guest

    def guest(self, email: str) -> Guest:
        """Somebody with a new key, whom nobody knows yet."""
        key = self.folder.parent / f"key-of-{email}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        return Guest(self, email, key=key)

    def exchange(self) -> Exchange:
        """As the operator's commands see it: without the keys that open anything."""
        return app.open_exchange(load(self.folder / "fxsftp.toml", {}), role="admin")

    def shipments(self) -> Sequence[Sent]:
        """All there are."""
        with closing(self.exchange()) as exchange:
            return exchange.sent.shipments()

    def notices(self) -> Sequence[Notice]:
        """All there are, the newest first."""
        with closing(self.exchange()) as exchange:
            return exchange.notices.list()

    def settings(self, text: str) -> None:
        """More settings, at the end of the file."""
        path = self.folder / "fxsftp.toml"
        path.write_text(path.read_text() + textwrap.dedent(text))

    def secret(self, name: str, words: str) -> None:
        """A credential beside the settings."""
        path = self.folder / name
        path.touch(0o600)
        path.write_text(f"{words}\n")

    # ---- what is carried

    def mail_notice(self) -> Notice:
        """What became of the first mail."""
        return next(notice for notice in reversed(self.notices()) if notice.way == "mail")

    def mails(self, to: str) -> Sequence[EmailMessage]:
        """The mails that would have gone to somebody."""
        files = sorted((self.folder / "state" / "spool" / "mail").glob("*.eml"))
        mails = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
        return [mail for mail in mails if mail["To"] == to]

    def sms(self) -> Sequence[str]:
        """The messages that would have gone to phones."""
        return [file.read_text() for file in sorted((self.folder / "state" / "spool" / "sms").glob("*.txt"))]


def said(mail: EmailMessage) -> str:
    """What a mail says to who reads text."""
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def is_running(pid: int) -> bool:
    """Whether a process does anything yet, or is only not buried."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False


def _free_port() -> int:
    """One below those that the kernel gives to whoever asks for any: another test's house may ask at any moment."""
    while True:
        port = random.randrange(20_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
