"""The command line over a real exchange on disk, whose clock is turned by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from fxsftp import app, founding
from fxsftp.fronts import cli
from fxsftp.settings import load
from tests.house import ANN, KARI, House


@dataclass
class Admin:
    """Somebody at the keyboard of the exchange."""

    house: House
    command: click.Group

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> Result:
        """Run a command, whatever becomes of it."""
        file = str(self.house.folder / "fxsftp.toml")
        return CliRunner(env={"COLUMNS": "200"}).invoke(self.command, [*words, "--settings", file], input=stdin)

    def does(self, *words: str, stdin: str | bytes | None = None) -> str:
        """Run a command that goes well and has nothing to complain of; answers what it says."""
        done = self(*words, stdin=stdin)
        assert (done.exit_code, done.stderr) == (0, ""), done.output
        return done.stdout

    def refused(self, *words: str, stdin: str | bytes | None = None, status: int = 1) -> str:
        """Run a command that is refused, in one line on stderr; answers the reason."""
        done = self(*words, stdin=stdin)
        assert done.exit_code == status, done.output
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("fxsftp: ")
        return done.stderr

    def json(self, *words: str) -> Any:
        """What a program would be told."""
        return json.loads(self.does(*words, "--json"))


@pytest.fixture
def admin(house: House) -> Admin:
    """An admin of an exchange on which nobody is registered yet."""
    wiring = cli.Wiring(
        load=lambda path: load(path, {}),
        exchange=app.open_exchange,
        found=founding.found,
        serve=lambda _settings, _only: 0,
        boot=lambda: (house.clock(), "one boot"),
        now=house.clock,
    )
    return Admin(house, cli.build(wiring))


@pytest.fixture
def people(admin: Admin) -> Admin:
    """An admin of an exchange with a member and a partner."""
    admin.does("user", "add", KARI, "--kind", "member", "--name", "Kari Nordmann")
    admin.does("user", "add", ANN, "--kind", "partner", "--phone", "+4790000000")
    return admin


@pytest.fixture
def new_key(tmp_path: Path) -> Callable[..., Path]:
    """Makes SSH keys: answers the path of the private half."""

    def make(name: str = "key", kind: str = "ed25519") -> Path:
        path = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"{name} of ann", "-f", path], check=True)
        return path

    return make
