"""The fifth walk: the account and what protects it; what is set up here holds over SFTP as well."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest

from fxsftp.domain.model import Kind
from tests.walks.guests import Guest
from tests.walks.portal.people import EITHER, PASSWORD, Person, Town, digits_of
from tests.walks.portal.test_create_user import app_of

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("portal-walks")]

NEW = "seven small lanterns"


def opens_account(somebody: Person) -> None:
    somebody.page.get_by_role("link", name=somebody.say("Account"), exact=True).click()
    somebody.is_at("/account")


@pytest.mark.parametrize(("language", "scripts"), EITHER)
def test_a_user_looks_after_the_account(town: Town, language: str, scripts: bool, tmp_path: Path) -> None:
    """Password, second factor, phone, keys, language, and out everywhere; then by SFTP with password and digits."""
    with town.user("ann", language, scripts=scripts) as ann:
        ann.logs_in()
        opens_account(ann)
        ann.fills("Your phrase", "two blue herons")
        ann.clicks("Save")
        ann.sees("Saved.")

        ann.unfolds("Change the password")
        ann.fills("Password until now", PASSWORD)
        ann.fills("New account password", NEW)
        ann.fills("The same once more", NEW)
        ann.clicks("Change the password")
        ann.sees("Your password is changed, and you are logged out everywhere but here.")

        ann.clicks("Set it up", "link")
        ann.clicks("Set it up")
        ann.is_at("/account/confirm/")
        digits = ann.digits()
        ann.fills("Six digits from the SMS", digits)
        ann.clicks("Confirm")
        app = app_of(ann)
        ann.fills("Type the six digits that it shows now", digits_of(app, 0))
        ann.clicks("Turn it on")
        assert len(ann.page.locator("#recovery").inner_text().split()) == 10
        ann.clicks("I have kept them", "link")

        key = tmp_path / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann@laptop", "-f", str(key)], check=True)
        opens_account(ann)
        ann.sees("SHA256:", translated=False)  # the host key's
        ann.unfolds("Add a key")
        if scripts:
            ann.page.get_by_label(ann.say("Or pick the file")).set_input_files(f"{key}.pub")
        else:
            ann.fills("Public key", Path(f"{key}.pub").read_text())
        ann.clicks("Add the key")
        ann.sees("The key is added. It logs you in.")
        ann.sees("ann@laptop", translated=False)

        ann.unfolds("Another phone")
        ann.fills("New number", "+47 988 88 888")
        ann.clicks("Send the code to the old phone")
        ann.fills("Six digits from the SMS", ann.digits(but=digits))
        ann.clicks("Confirm")
        ann.sees("The change is made. We have told it to the addresses that you had before.")
        ann.sees("+4798888888", translated=False)
        ann.clicks("Log out everywhere else")
        ann.sees("You are logged out everywhere but here.")

        assert "inbox" in Guest(town.served, ann.email, key=key).ls()  # a key needs no second factor
        shown = digits_of(app, 1)
        assert _logs_in_by_sftp(town, ann.email, NEW, shown) == ["README.txt", "inbox", "outbox", "sent"]
        with pytest.raises(paramiko.AuthenticationException):
            _logs_in_by_sftp(town, ann.email, NEW, shown)  # each counts once


@pytest.mark.parametrize(("language", "scripts"), EITHER)
def test_a_member_invites_and_sees_who_came(town: Town, language: str, scripts: bool) -> None:
    """From the page of partners; what comes is the mail that begins the first walk."""
    with (
        town.user("kari", language, scripts=scripts, kind=Kind.MEMBER) as kari,
        town.person("nina", language, scripts=scripts) as nina,
    ):
        kari.logs_in()
        kari.page.get_by_role("link", name=kari.say("Partners"), exact=True).click()
        kari.fills("E-mail address", nina.email)
        kari.fills("Mobile number", nina.phone)
        kari.clicks("Invite")
        kari.sees("The invitation is on its way.")
        kari.sees("has not registered yet")
        assert nina.link("/welcome/")


def _logs_in_by_sftp(town: Town, email: str, password: str, digits: str) -> list[str]:
    """By keyboard-interactive: the password, and then what the app shows."""
    asked: list[str] = []

    def answer(_title: str, _about: str, prompts: list[tuple[str, bool]]) -> list[str]:
        answers = []
        for prompt, _ in prompts:
            asked.append(prompt)
            answers.append(password if len(asked) == 1 else digits)
        return answers

    transport = paramiko.Transport(("127.0.0.1", town.served.port))
    try:
        transport.start_client(timeout=30)
        transport.auth_interactive(email, answer)
        client = paramiko.SFTPClient.from_transport(transport)
        assert client
        return sorted(client.listdir("."))
    finally:
        transport.close()
