"""The door of a house, and clients of every sort that walk up to it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from fxsftp.domain.model import Kind, User
from tests.fronts.sftp.raw import Raw
from tests.house import ANN, BOB, KARI, House

DEADLINE = 20  # seconds; what is waited for takes milliseconds


class Door:
    """A house with kari, a member, and ann, a partner, who have a key each."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.exchange = house.exchange
        self.users: dict[str, User] = {KARI: house.kari(), ANN: house.ann()}
        self.keys: dict[str, Path] = {email: house.key_for(email) for email in self.users}
        self.port = house.port
        assert house.listener
        self.listener = house.listener

    def add(self, email: str, kind: Kind) -> User:
        """One more, with a key."""
        self.users[email] = self.house.add(email, kind)
        self.keys[email] = self.house.key_for(email)
        return self.users[email]

    # ---- clients

    def raw(self, email: str, **how: Any) -> Raw:
        """A client that sends packets as they are written in the test."""
        return Raw(self.port, email, client_keys=[str(self.keys[email])], **how)

    def connect(self, email: str, **how: Any) -> Any:
        """An asyncssh client; without more, with the user's key."""
        how = {"client_keys": [str(self.keys[email])] if email in self.keys else None, **how}
        return asyncssh.connect(
            "127.0.0.1", self.port, username=email, known_hosts=None, config=None, agent_path=None, **how
        )

    def command(self, email: str, command: str, typed: str = "") -> tuple[int, str, str]:
        """`ssh email@… command`: its exit status, stdout and stderr."""

        async def run() -> tuple[int, str, str]:
            async with self.connect(email) as conn:
                given: dict[str, Any] = {"input": typed} if typed else {"stdin": asyncssh.DEVNULL}
                done = await conn.run(command, check=False, **given)
                return done.returncode, done.stdout, done.stderr

        return asyncio.run(run())

    def openssh(self, program: str, email: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """The system's own `ssh`, `sftp` or `scp`."""
        options = ("UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "IdentitiesOnly=yes", "LogLevel=ERROR")
        line = [program, "-F", "none", "-i", str(self.keys[email]), "-o", f"User={email}"]
        line += ["-p" if program == "ssh" else "-P", str(self.port), *(part for one in options for part in ("-o", one))]
        return subprocess.run(
            [*line, *words], input=given, capture_output=True, text=True, timeout=60, cwd=self.house.folder
        )

    # ---- what happens meanwhile

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what another thread brings about."""
        end = time.monotonic() + DEADLINE
        while not holds():
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.01)

    def deliver(self, sender: str, recipient: str, content: bytes, name: str = "report.csv") -> str:
        """A shipment `Ref 1` of one file that was put and dispatched; answers its id."""
        self.house.put(self.users[sender], f"outbox/{recipient}/Ref 1/{name}", content)
        (said,) = self.house.settle()
        found = re.search(r"[0-9a-z]{4}-[0-9a-z]{4}", said)
        assert found
        return found[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever walks up to a door here holds with SSH's packets served in our own way and in asyncssh's."""
    marks = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "is_tuned" in metafunc.fixturenames and "is_tuned" not in marks:
        metafunc.parametrize("is_tuned", [True, False], ids=["tuned", "stock"], indirect=True)


@pytest.fixture
def is_tuned(request: pytest.FixtureRequest) -> bool:
    """Whether SSH's packets are served in our own way."""
    return bool(getattr(request, "param", True))


@pytest.fixture
def house(tmp_path: Path, is_tuned: bool) -> Iterator[House]:
    """An exchange of its own, empty."""
    with House(tmp_path / "house", environ={"FXSFTP_SFTP__TUNED": str(is_tuned)}) as built:
        yield built


@pytest.fixture
def door(house: House) -> Door:
    """Open, with kari and ann before it."""
    return Door(house)


__all__ = ["ANN", "BOB", "KARI", "Door"]
