"""The second factor over SSH: password, then code, with the clients that people have."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import asyncssh
import paramiko
import pyotp
import pytest

from fxsftp.domain.model import User
from tests.exchange.hands import with_policy
from tests.fronts.sftp.conftest import Door
from tests.house import ANN

PASSWORD = "correct horse battery staple"
STEP = 30


class Phone:
    """Ann's, with the app on it."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.user: User = door.exchange.people.find(ANN)
        totp, now = door.exchange.totp, door.house.clock()
        totp.allow(self.user, now)
        self.secret, _ = totp.begin(self.user, now)
        self.codes = totp.confirm(self.user, pyotp.TOTP(self.secret).at(int(now)), now)

    @property
    def digits(self) -> str:
        """Those of the next step: each counts once."""
        self.door.house.clock.turn(STEP)
        return pyotp.TOTP(self.secret).at(int(self.door.house.clock()))


@pytest.fixture(autouse=True)
def password(door: Door) -> None:
    """Ann has one, and a wrong one is told at once."""
    door.listener.terms = replace(door.listener.terms, wrong=0.0)
    door.exchange.people.set_password(ANN, PASSWORD, door.house.clock())


@pytest.fixture
def phone(door: Door) -> Phone:
    return Phone(door)


def policy(door: Door, **rules: object) -> None:
    """The door stays open, under other rules."""
    with_policy(door.house, **rules)
    door.listener.desk.exchange = door.house.exchange


class Client(asyncssh.SSHClient):
    """Types what it is given, and remembers what it was asked."""

    def __init__(self, *typed: str) -> None:
        self.typed, self.asked = iter(typed), list[str]()
        self.banner = ""

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self.banner += msg

    def kbdint_auth_requested(self) -> str:
        return ""

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        assert not any(echo for _, echo in prompts)
        self.asked += [prompt for prompt, _ in prompts]
        typed = [next(self.typed, None) for _ in prompts]
        return None if None in typed else typed  # type: ignore[return-value]


def comes_in(door: Door, client: Client, **how: object) -> bool:
    async def walk() -> bool:
        how.setdefault("client_keys", None)
        try:
            async with door.connect(ANN, client_factory=lambda: client, **how):
                return True
        except (asyncssh.PermissionDenied, asyncssh.DisconnectError):
            return False

    return asyncio.run(walk())


def test_password_then_code_lets_in(door: Door, phone: Phone) -> None:
    client = Client(PASSWORD, phone.digits)
    assert comes_in(door, client)
    assert client.asked == ["Password:", "Code from your app:"]


def test_a_recovery_code_does_too_and_digits_count_once(door: Door, phone: Phone) -> None:
    digits = phone.digits
    assert comes_in(door, Client(PASSWORD, digits))
    assert not comes_in(door, Client(PASSWORD, digits))
    assert comes_in(door, Client(PASSWORD, phone.codes[0]))
    assert not comes_in(door, Client(PASSWORD, phone.codes[0]))


@pytest.mark.parametrize("typed", [(), (PASSWORD,), (PASSWORD, "000000"), (PASSWORD, ""), (PASSWORD, PASSWORD)])
def test_nothing_less_lets_in(door: Door, phone: Phone, typed: tuple[str, ...]) -> None:
    assert not comes_in(door, Client(*typed))
    assert not comes_in(door, Client("wrong wrong wrong", phone.digits))


def test_the_method_password_alone_is_not_enough_and_says_what_is_left(door: Door, phone: Phone) -> None:
    """RFC 4252, 5.1: partial success; then only the code is asked for."""
    assert not comes_in(door, Client(), password=PASSWORD, preferred_auth="password")
    client = Client(phone.digits)
    assert comes_in(door, client, password=PASSWORD, preferred_auth="password,keyboard-interactive")
    assert client.asked == ["Code from your app:"]


def test_a_key_lets_in_without_a_code_unless_policy_says_otherwise(door: Door, phone: Phone) -> None:
    key = str(door.keys[ANN])
    assert comes_in(door, Client(), client_keys=[key])
    policy(door, totp_with_keys=True)
    assert not comes_in(door, Client(), client_keys=[key])
    client = Client(phone.digits)
    assert comes_in(door, client, client_keys=[key])
    assert client.asked == ["Code from your app:"]


def test_who_must_have_it_and_has_not_comes_in_by_key_only(door: Door) -> None:
    policy(door, totp="all")
    client = Client(PASSWORD)
    assert not comes_in(door, client)
    assert "Set it up in the portal" in client.banner
    assert comes_in(door, Client(), client_keys=[str(door.keys[ANN])])


def test_wrong_codes_lock_the_account_as_wrong_passwords_do(door: Door, phone: Phone) -> None:
    for _ in range(5):
        assert not comes_in(door, Client(PASSWORD, "000000"))
        assert not comes_in(door, Client("wrong wrong wrong"))
    assert door.exchange.people.locked_until(phone.user, door.house.clock())
    client = Client(PASSWORD, phone.digits)
    assert not comes_in(door, client)
    assert "Code from your app:" not in client.asked, "a right password is answered like a wrong one"


def test_paramiko_comes_in_by_password_and_then_by_code(door: Door, phone: Phone) -> None:
    transport = paramiko.Transport(("127.0.0.1", door.port))
    try:
        transport.connect()
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_password(ANN, "wrong wrong wrong", fallback=False)
        assert transport.auth_password(ANN, PASSWORD, fallback=False) == ["keyboard-interactive"]
        assert not transport.is_authenticated()
        digits = phone.digits
        transport.auth_interactive(ANN, lambda *asked: [digits for _ in asked[2]])
        with paramiko.SFTPClient.from_transport(transport) as sftp:  # type: ignore[union-attr]
            assert sorted(sftp.listdir("/")) == ["README.txt", "inbox", "outbox", "sent"]
    finally:
        transport.close()


@pytest.fixture
def asks(tmp_path: Path) -> Path:
    """A program that answers each prompt with the next line of a file, as ssh has it (SSH_ASKPASS)."""
    program = tmp_path / "asks"
    program.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$1" >> "$0.asked"\nhead -n 1 "$0.typed"\nsed -i 1d "$0.typed"\n', encoding="utf-8"
    )
    program.chmod(stat.S_IRWXU)
    return program


@pytest.mark.parametrize("methods", ["keyboard-interactive", "password,keyboard-interactive"])
def test_openssh_asks_for_the_password_and_then_for_the_code(
    door: Door, phone: Phone, asks: Path, methods: str, tmp_path: Path
) -> None:
    asks.with_name("asks.typed").write_text(f"{PASSWORD}\n{phone.digits}\n", encoding="utf-8")
    listed = subprocess.run(
        [
            "sftp", "-F", "none", "-P", str(door.port), "-o", "StrictHostKeyChecking=no",
            "-o", f"UserKnownHostsFile={tmp_path / 'known'}", "-o", f"PreferredAuthentications={methods}",
            "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "-o", f"User={ANN}", "127.0.0.1",
        ],
        input="ls -1\n", capture_output=True, text=True, timeout=60, start_new_session=True,
        env={**os.environ, "SSH_ASKPASS": str(asks), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":none"},
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    assert {"README.txt", "inbox", "outbox", "sent"} <= set(listed.stdout.split())
    asked = asks.with_name("asks.asked").read_text(encoding="utf-8")
    assert asked.index("assword:") < asked.index("Code from your app:")
