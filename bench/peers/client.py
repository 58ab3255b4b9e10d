"""OpenSSH's sftp, as it is installed, with nothing of whoever runs it: no configuration, no agent, no keys."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ANSWER = "Remote working directory: "


class Broken(Exception):
    """A client ended before its work was done."""


@dataclass(frozen=True)
class Address:
    """Whom to call, and as whom."""

    port: int
    user: str
    key: Path
    host_key: str  # a line of a .pub file

    def options(self, *more: str) -> list[str]:
        """For sftp and ssh alike."""
        known = self.key.parent / f"known-{self.port}"
        line = f"[127.0.0.1]:{self.port} {self.host_key.strip()}\n"
        if not known.exists() or known.read_text() != line:
            known.write_text(line)
        said = [
            f"UserKnownHostsFile={known}", "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes", "LogLevel=ERROR", f"User={self.user}",
            f"Port={self.port}", *more,
        ]  # fmt: skip
        return ["-F", "/dev/null", "-i", str(self.key), *(word for each in said for word in ("-o", each))]


class Client:
    """One session, logged in: `with Client(address) as client: seconds = client.time("put x y")`."""

    def __init__(self, address: Address, *options: str, flags: Sequence[str] = (), waits: bool = True) -> None:
        self._process = subprocess.Popen(
            ["sftp", *flags, "-b", "-", *address.options(*options), "127.0.0.1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_env(),
        )  # fmt: skip
        self.begin()
        if waits:
            self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=20 if error is None else 0.1)
        except (subprocess.TimeoutExpired, OSError):
            self._process.kill()
            self._process.communicate()

    def do(self, *lines: str) -> list[str]:
        """Return when all is done, with what was said.  Raises Broken at the first that fails."""
        self.begin(*lines)
        return self.end()

    def begin(self, *lines: str) -> None:
        """Let it work; `end` waits."""
        assert self._process.stdin
        self._process.stdin.write("\n".join([*lines, "pwd", ""]))
        self._process.stdin.flush()

    def end(self) -> list[str]:
        """What was said since `begin`."""
        assert self._process.stdout
        assert self._process.stderr
        said: list[str] = []
        while line := self._process.stdout.readline():
            if line.startswith(ANSWER):
                return said
            said.append(line.rstrip("\n"))
        raise Broken(self._process.stderr.read().strip() or "the client ended")

    def time(self, *lines: str) -> float:
        """Seconds from the first command to the last answer."""
        began = time.perf_counter()
        self.do(*lines)
        return time.perf_counter() - began


def once(address: Address, *lines: str) -> None:
    """A whole life of a client: connect, log in, do this, leave.  Raises Broken."""
    _run(["sftp", "-b", "-", *address.options(), "127.0.0.1"], "\n".join([*lines, ""]))


def command(address: Address, words: str) -> None:
    """`ssh host words`.  Raises Broken."""
    _run(["ssh", *address.options(), "127.0.0.1", words], "")


def _run(command: list[str], text: str) -> None:
    ran = subprocess.run(command, input=text, capture_output=True, text=True, env=_env(), timeout=300, check=False)
    if ran.returncode:
        raise Broken(f"{ran.stdout}{ran.stderr}".strip() or f"status {ran.returncode}")


def _env() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "HOME") if name in os.environ}
