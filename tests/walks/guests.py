"""Guests: people at the door with the stock clients of OpenSSH, just as they are installed.

Each has a folder of their own, knows the host key of the exchange and accepts no other, and has nothing to do with
whoever runs the tests: no configuration, no agent, no keys of theirs.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import paramiko

DEADLINE = 60  # seconds; what is waited for takes a fraction of one
ROOT = Path(__file__).parent.parent.parent
SLOW = "8000"  # kbit/s
SHIPMENT = re.compile(r"[0-9a-hjkmnp-tv-z]{4}-[0-9a-hjkmnp-tv-z]{4}")


class Exchange(Protocol):
    """What has a door: a house in this process, or one that is served by its own."""

    folder: Path

    @property
    def port(self) -> int: ...


@dataclass(frozen=True)
class Ran:
    """How a client ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All of it, for whoever looks for words."""
        return self.out + self.err


class Guest:
    """One user, with a key or with a password."""

    def __init__(self, exchange: Exchange, email: str, *, key: Path | None = None, password: str | None = None) -> None:
        self.email = email
        self.key, self.password = key, password
        self.address = ""  # where it comes from, if that matters: one of 127.0.0.0/8
        self.home = exchange.folder.parent / f"home-of-{email}"
        self.home.mkdir(exist_ok=True)
        self._exchange = exchange
        self._names = itertools.count(1)

    # ---- the clients

    def sftp(self, *lines: str, options: Sequence[str] = ()) -> Ran:
        """`sftp` with these lines as its batch: it ends at the first that fails, if that does not begin with `-`."""
        return self._run(["sftp", *options, *self._batch()], "\n".join([*lines, ""]).encode())

    def ssh(self, command: str = "", stdin: bytes = b"") -> Ran:
        """`ssh … command`."""
        return self._run(["ssh", *self._options("-p"), "127.0.0.1", *([command] if command else [])], stdin)

    def scp(self, *words: str, options: Sequence[str] = ()) -> Ran:
        """`scp`; `exchange:` in a word stands for the exchange."""
        given = [word.replace("exchange:", "127.0.0.1:") for word in words]
        return self._run(["scp", *options, *self._options("-P"), *given])

    def fxsftp(self, *words: str, stdin: bytes = b"") -> Ran:
        """The partner's own `fxsftp`."""
        return self._run([sys.executable, "-m", "fxsftp", *words], stdin)

    def typed(self, line: str) -> Ran:
        """A command as a mail shows it, typed into a shell; our key and known hosts are as if in ~/.ssh."""
        program, _, rest = line.partition(" ")
        return self._run(["sh", "-c", f"{program} {shlex.join(self._trust())} {rest}"])

    def put(self, data: bytes, remote: str) -> Ran:
        """One file, that must arrive."""
        return self._must(self.sftp(f"put {self.file(data)} {quoted(remote)}"))

    def get(self, remote: str) -> bytes:
        """What a file holds."""
        into = self.home / f"got-{next(self._names)}"
        self._must(self.sftp(f"get {quoted(remote)} {into}"))
        return into.read_bytes()

    def fetch(self, remote: str) -> Path:
        """A folder with all that is in it, as `get -r` brings it."""
        into = self.home / f"fetched-{next(self._names)}"
        into.mkdir()
        self._must(self.sftp(f"get -r {quoted(remote)} {into}"))
        return next(into.iterdir())

    def ls(self, remote: str = "") -> list[str]:
        """The names in a folder."""
        said = self._must(self.sftp(f"ls -1 {quoted(remote)}" if remote else "ls -1"))
        return [line.rpartition("/")[2].strip() for line in said.out.splitlines() if not line.startswith("sftp>")]

    def start(self, *lines: str, slowly: bool = False, stays: bool = False) -> subprocess.Popen[bytes]:
        """The same as `sftp`, running; `slowly` at 1 MB a second, so that there is time to cut it short.

        One that `stays` waits for more lines after these.
        """
        client = self._start(["sftp", *(["-l", SLOW] if slowly else []), *self._batch()])
        assert client.stdin
        client.stdin.write("\n".join([*lines, ""]).encode())
        client.stdin.flush()
        if not stays:
            client.stdin.close()
        return client

    def start_scp(self, *words: str) -> subprocess.Popen[bytes]:
        """The same as `scp`, running slowly."""
        given = [word.replace("exchange:", "127.0.0.1:") for word in words]
        return self._start(["scp", "-l", SLOW, *self._options("-P"), *given])

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self.home, env=self._env(),
        )  # fmt: skip

    @contextmanager
    def paramiko(self) -> Iterator[paramiko.SFTPClient]:
        """A client that programs use, and that sends names as it is given them."""
        host_key = (self._exchange.folder / "ssh_host_ed25519_key.pub").read_text().split()[1]
        address = "127.0.0.1", self._exchange.port
        transport = paramiko.Transport(socket.create_connection(address, source_address=(self.address, 0)))
        try:
            transport.connect(paramiko.Ed25519Key(data=base64.b64decode(host_key)))
            if self.key:
                transport.auth_publickey(self.email, paramiko.Ed25519Key.from_private_key_file(str(self.key)))
            else:
                transport.auth_password(self.email, self.password or "")
            client = paramiko.SFTPClient.from_transport(transport)
            assert client
            yield client
        finally:
            transport.close()

    # ---- what goes into them

    def file(self, data: bytes, name: str = "") -> Path:
        """A file of the guest's own."""
        path = self.home / (name or f"file-{next(self._names)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def _batch(self) -> list[str]:
        # Before -b, which sets it too: the first one counts, and a batch would ask for no password.
        return ["-o", f"BatchMode={'no' if self.password else 'yes'}", "-b", "-", *self._options("-P"), "127.0.0.1"]

    def _options(self, port: str) -> list[str]:
        return [*self._trust(), "-o", f"User={self.email}", port, str(self._exchange.port)]

    def _trust(self) -> list[str]:
        """Who we are, and whom we take for the exchange."""
        known = self.home / "known_hosts"
        host_key = (self._exchange.folder / "ssh_host_ed25519_key.pub").read_text()
        line = f"[127.0.0.1]:{self._exchange.port} {host_key}"
        if not known.exists() or known.read_text() != line:  # another client of ours may be reading it
            known.write_text(line)
        said = {
            **({"BindAddress": self.address} if self.address else {}),
            "UserKnownHostsFile": known,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "PreferredAuthentications": "password" if self.password else "publickey",
            "NumberOfPasswordPrompts": "1",
            "LogLevel": "ERROR",  # without the words at log-in that a demo has
        }
        key = ["-i", str(self.key)] if self.key else []
        return ["-F", "/dev/null", *key, *_each("-o", said)]

    def _run(self, command: list[str], stdin: bytes = b"") -> Ran:
        ran = subprocess.run(
            command, input=stdin, capture_output=True, env=self._env(), cwd=self.home, timeout=DEADLINE
        )
        return Ran(ran.returncode, ran.stdout.decode("utf-8", "replace"), ran.stderr.decode("utf-8", "replace"))

    def _env(self) -> dict[str, str]:
        env = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        env |= {"HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        if self.password:
            asks = self.home / "askpass"
            asks.write_text(f"#!/bin/sh\necho {shlex.quote(self.password)}\n")
            asks.chmod(0o700)
            env |= {"SSH_ASKPASS": str(asks), "SSH_ASKPASS_REQUIRE": "force"}
        return env

    def _must(self, ran: Ran) -> Ran:
        assert ran.status == 0, ran.said
        return ran


def _each(option: str, said: Mapping[str, object]) -> list[str]:
    return [word for name, value in said.items() for word in (option, f"{name}={value}")]


def quoted(path: str) -> str:
    """A path as sftp's own lines hold it."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def until(claim: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait for what a process is bringing about."""
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.04)  # to look takes longer than it seems: an exchange is opened for it, or a spool of mails read


def shipments_in(text: str) -> list[str]:
    """The shipment ids in what was said, in order, each once."""
    return list(dict.fromkeys(SHIPMENT.findall(text)))
