"""What every client in this folder is: a guest who comes with another program than OpenSSH's `sftp`.

A class per program says how that program is told to do what people use it for.  A program that can't do a thing has no
method for it, and the rows of the matrix are run with those that have.  Nothing is read from the machine's own
configuration, and every program knows the host key of the exchange and takes no other.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import pytest

from tests.walks.guests import DEADLINE, Exchange, Guest, Ran

HOST = "127.0.0.1"
PATIENCE = 3  # seconds; all the others end in a fraction of one


class Client(Guest):
    """One user with one program.

    upload, download                a file, to or from exactly this path
    resume_upload, resume_download  the same, going on where an earlier one was cut
    upload_tree, download_tree      a folder with all below it
    rename, names                   a file on the exchange; what a folder there holds
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()  # programs; where one is missing, the test is skipped by its name
    closes_when_interrupted: ClassVar[bool] = False  # Ctrl-C sends a genuine CLOSE after a part of the file
    ends_well_when_interrupted: ClassVar[bool] = False  # and with exit status 0

    def __init__(self, exchange: Exchange, email: str, *, key: Path) -> None:
        missing = [program for program in self.needs if not shutil.which(program)]
        if missing:
            pytest.skip(f"{missing[0]} is not installed")
        super().__init__(exchange, email, key=key)

    def upload_command(self, local: Path, remote: str) -> list[str]:
        """What the program is started with to put one file, with `given` on its stdin."""
        raise NotImplementedError

    def given(self, local: Path, remote: str) -> bytes:
        """Its stdin, for `upload_command`."""
        return b""

    def upload(self, local: Path, remote: str) -> Ran:
        """One file."""
        return self._run(self.upload_command(local, remote), self.given(local, remote))

    def start_upload(self, local: Path, remote: str) -> Program:
        """The same, running."""
        return Program(self.upload_command(local, remote), self.given(local, remote), self.home, self._env())

    # ---- what programs ask for

    @property
    def port(self) -> int:
        """Of the exchange."""
        return self._exchange.port

    @property
    def known_hosts(self) -> Path:
        """A file with the one host key, as OpenSSH keeps it."""
        path = self.home / "known_hosts"
        path.write_text(f"[{HOST}]:{self.port} {self._host_key()}")
        return path

    def fingerprint(self) -> str:
        """The SHA-256 of the host key, in base64."""
        return base64.b64encode(hashlib.sha256(base64.b64decode(self._host_key().split()[1])).digest()).decode()

    def ssh_command(self) -> str:
        """OpenSSH's ssh, for programs that let it make the connection."""
        return " ".join(["ssh", "-a", "-x", *self._options("-p")])

    def _host_key(self) -> str:
        return (self._exchange.folder / "ssh_host_ed25519_key.pub").read_text()


class Program:
    """One that runs, in a process group of its own as a terminal would give it."""

    def __init__(self, command: Sequence[str], given: bytes, home: Path, env: Mapping[str, str]) -> None:
        self._said = (home / "said").open("w+b")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=self._said, stderr=self._said, cwd=home, env=env,
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin
        self._process.stdin.write(given)
        self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()
            self._process.wait(DEADLINE)
        self._said.close()

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """kill -9, the programs that it started included."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def ended(self, *, impatiently: bool = False) -> Ran:
        """How it ended.  Who waits `impatiently` presses Ctrl-C again: paramiko may be caught within a packet."""
        while True:
            try:
                status = self._process.wait(PATIENCE if impatiently else DEADLINE)
                break
            except subprocess.TimeoutExpired:
                if not impatiently:
                    raise
                self.interrupt()
        self._said.seek(0)
        return Ran(status, self._said.read().decode("utf-8", "replace"), "")
