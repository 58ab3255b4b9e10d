"""Who competes: how each is started by itself on loopback, where a client puts files there, and how it is ended.

Each gets the same chance.  OpenSSH logs its user in without PAM and, where root runs this, without the process of its
own that other users get: both are in its favour.  rclone streams (no cache in clear on its disk), as ours does.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import asyncssh

from bench.peers.accounts import below
from bench.peers.client import Address, Client, command
from fxsftp.domain.model import Kind
from tests.fronts.sftp.crowds import fill_outbox
from tests.house import ANN, BOB, KARI
from tests.walks.guests import ROOT, until
from tests.walks.served import Served, _free_port, is_running

LISTED = 10_000
NAMES = [f"{number:05}-of-ten-thousand.csv" for number in range(LISTED)]


class Missing(Exception):
    """A program that is not there, and where it comes from."""


class Contestant(ABC):
    """One server.  `home` is the remote folder that takes uploads, `listed` the one with 10,000 entries."""

    name = ""
    flags: Sequence[str] = ()  # of the client, for the same promise as ours: what was answered is on the disk

    def __init__(self, folder: Path, key: Path) -> None:
        self.folder = folder / type(self).__name__.lower()
        self.folder.mkdir()
        self.key = key
        self.home = self.listed = ""
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Returns when it answers.  Raises Missing when it can't be started."""

    @property
    def pid(self) -> int:
        """The root of its tree of processes."""
        assert self._process
        return self._process.pid

    @property
    @abstractmethod
    def sender(self) -> Address:
        """Who uploads."""

    @property
    def lister(self) -> Address:
        """Who lists."""
        return self.sender

    @abstractmethod
    def version(self) -> str:
        """Of what is measured."""

    def offer(self, local: Path, name: str) -> tuple[Address, str]:
        """Put a file or a folder there, for download; by whom, and where it then is."""
        with Client(self.sender) as client:
            client.do(f"put -r {local} {self.home}/{name}" if local.is_dir() else f"put {local} {self.home}/{name}")
        return self.sender, f"{self.home}/{name}"

    def offer_sealed(self, local: Path, name: str) -> tuple[Address, str]:
        """The same for who gets it as it lies there, where there is a difference."""
        return self.offer(local, name)

    def stop(self) -> None:
        """End every process of it, by its id."""
        if self._process is None:
            return
        pids = list(below(self.pid))
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        until(lambda: not any(is_running(pid) for pid in pids))


class Ours(Contestant):
    """`fxsftp serve`: all its processes."""

    name = "fxsftp"
    workers = "auto"  # as in production

    def start(self) -> None:
        settings: dict[str, dict[str, object]] = {
            # Nothing leaves by itself in the middle of another's turn; `send` is said for what is to be downloaded.
            "exchange": dict.fromkeys(("settle_loose", "settle_folder", "settle_connected", "settle_suspect"), "1 h"),
            # All sessions are of one user and from one address here, as behind a proxy.
            "sftp": {"max_sessions_per_user": 1000, "max_rate": 0, "workers": self.workers},
        }
        self._served = Served(self.folder / "exchange", settings)
        line = self.key.with_name(f"{self.key.name}.pub").read_text()
        with closing(self._served.exchange()) as exchange:
            for email, kind in ((KARI, Kind.MEMBER), (ANN, Kind.PARTNER), (BOB, Kind.PARTNER)):
                exchange.people.add(email, kind, phone="+4790000000", keys=[line], now=time.time())
            fill_outbox(exchange, exchange.people.find(KARI).id, BOB, NAMES, time.time())
        self.home, self.listed = f"/outbox/{KARI}", f"/outbox/{BOB}"
        self._process = self._served.serve(waits=False)
        until(self._served.answers)

    @property
    def sender(self) -> Address:
        return self._as(ANN)

    @property
    def lister(self) -> Address:
        return self._as(KARI)  # who may send to Bob; Ann may not

    def offer(self, local: Path, name: str) -> tuple[Address, str]:
        return self._send(local, name, ANN, KARI), f"{self._found}/{'' if local.is_dir() else name}".rstrip("/")

    def offer_sealed(self, local: Path, name: str) -> tuple[Address, str]:
        return self._send(local, name, KARI, BOB), f"{self._found}/{name}.age"

    def _send(self, local: Path, name: str, sender: str, recipient: str) -> Address:
        subject = f"Offer-{name}"
        folder = f"/outbox/{recipient}/{subject}"
        with Client(self._as(sender)) as client:
            client.do(
                *(
                    [f"put -r {local} {folder}"]
                    if local.is_dir()
                    else [f"mkdir {folder}", f"put {local} {folder}/{name}"]
                )
            )
        command(self._as(sender), f"send {subject}")
        (shipment,) = [one.shipment for one in self._served.shipments() if one.shipment.subject == subject]
        self._found = f"/inbox/{shipment.id}"
        return self._as(recipient)

    def _as(self, email: str) -> Address:
        host_key = (self.folder / "exchange" / "ssh_host_ed25519_key.pub").read_text()
        return Address(self._served.port, email, self.key, host_key)

    def version(self) -> str:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return f"fxsftp {said.stdout.strip()}".strip()


class Plain(Contestant):
    """One that serves a folder as it is."""

    def start(self) -> None:
        self.data = self.folder / "data"
        self.data.mkdir()
        self._host_key = self.folder / "host_key"
        make_key(self._host_key)
        self._authorized = self.folder / "authorized_keys"
        self._authorized.write_text(self.key.with_name(f"{self.key.name}.pub").read_text())
        self._port = _free_port()
        self._fill()
        log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=os.environ | self._env()
        )
        log.close()
        until(self._answers)

    def _fill(self) -> None:
        folder = self.data / "listed"
        folder.mkdir()
        for name in NAMES:
            (folder / name).touch()

    def _answers(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            raise Missing(f"{self.name} did not start: {(self.folder / 'log').read_text().strip()}")
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=5) as line:
                return line.recv(8).startswith(b"SSH-2.0-")
        except OSError:
            return False

    @property
    def sender(self) -> Address:
        user = pwd.getpwuid(os.getuid()).pw_name
        return Address(self._port, user, self.key, self._host_key.with_name("host_key.pub").read_text())

    def _env(self) -> dict[str, str]:
        return {}

    @abstractmethod
    def _command(self) -> list[str]: ...


class OpenSsh(Plain):
    """sshd, with the sftp server that is in it."""

    name = "OpenSSH"
    flags = ("-f",)

    def start(self) -> None:
        super().start()
        self.home, self.listed = str(self.data), str(self.data / "listed")

    def _command(self) -> list[str]:
        program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
        if program is None:
            raise Missing("sshd: apt-get install openssh-server")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # which the system's own start would have made
        settings = self.folder / "sshd_config"
        settings.write_text(
            f"ListenAddress 127.0.0.1:{self._port}\nHostKey {self._host_key}\nAuthorizedKeysFile {self._authorized}\n"
            "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "MaxStartups 100\nMaxSessions 100\nLogLevel ERROR\nSubsystem sftp internal-sftp\n"
        )
        return [program, "-D", "-e", "-f", str(settings)]

    def version(self) -> str:
        said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
        return said.partition(",")[0].strip().replace("_", " ", 1)


class Rclone(Plain):
    """`rclone serve sftp` over a `crypt` remote: the nearest that encrypts what it stores."""

    name = "rclone crypt"
    program = Path(sys.executable).with_name("rclone")

    def start(self) -> None:
        super().start()
        self.home, self.listed = "", "/listed"

    def _fill(self) -> None:
        super()._fill()
        plain = self.folder / "plain"
        (self.data / "listed").rename(plain)
        subprocess.run(
            [self._program(), "copy", "--transfers", "16", str(plain), "crypt:listed"],
            env=os.environ | self._env(), check=True, capture_output=True,
        )  # fmt: skip
        shutil.rmtree(plain)

    def _command(self) -> list[str]:
        return [
            self._program(), "serve", "sftp", "crypt:", "--addr", f"127.0.0.1:{self._port}",
            "--key", str(self._host_key), "--authorized-keys", str(self._authorized),
        ]  # fmt: skip

    def _env(self) -> dict[str, str]:
        obscured = subprocess.run(
            [self._program(), "obscure", "measured beside others"], capture_output=True, text=True, check=True
        )
        return {
            "RCLONE_CONFIG": str(self.folder / "rclone.conf"),
            "RCLONE_CONFIG_CRYPT_TYPE": "crypt",
            "RCLONE_CONFIG_CRYPT_REMOTE": str(self.data),
            "RCLONE_CONFIG_CRYPT_PASSWORD": obscured.stdout.strip(),
        }

    def _program(self) -> str:
        if not self.program.exists():
            raise Missing("rclone: requirements/set-up test")
        return str(self.program)

    def version(self) -> str:
        said = subprocess.run([self._program(), "version"], capture_output=True, text=True, check=False).stdout
        return said.partition("\n")[0].replace("rclone v", "rclone ")


class Stock(Plain):
    """asyncssh's own server."""

    name = "stock asyncssh"

    def start(self) -> None:
        super().start()
        self.home, self.listed = "", "/listed"

    def _command(self) -> list[str]:
        words = [str(self._port), str(self.data), str(self._host_key), str(self._authorized)]
        return [sys.executable, "-m", "bench.peers.stock", *words]

    def version(self) -> str:
        return f"asyncssh {asyncssh.__version__}"


CONTESTANTS: Sequence[type[Contestant]] = (Ours, OpenSsh, Rclone, Stock)


def make_key(path: Path) -> None:
    """An Ed25519 key, and its .pub beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(path)], check=True)
