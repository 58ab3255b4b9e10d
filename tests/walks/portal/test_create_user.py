"""The first walk: asked in by mail, *Request password*, a second mail, *Set password*, and in."""

from __future__ import annotations

import re

import httpx
import pyotp
import pytest

from tests.walks.portal.people import EITHER, PASSWORD, Person, Town, digits_of

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("portal-walks")]


def registers(somebody: Person) -> None:
    """From the invitation to the password, as the mails say."""
    invitation = somebody.link("/welcome/")
    for _ in range(2):  # a mail scanner looks first, and uses nothing up
        assert httpx.get(invitation).status_code == 200
    somebody.goes_to(invitation)
    somebody.sees(somebody.email, translated=False)
    somebody.sees("Two things that are not the same")
    somebody.clicks("Request password")
    somebody.sees("Look into your mail")
    choice = somebody.link("/password/")
    assert httpx.get(choice).status_code == 200
    somebody.goes_to(choice)
    somebody.fills("New account password", PASSWORD)
    somebody.fills("The same once more", "a quiet harbour in december")
    somebody.clicks("Set password")
    somebody.is_at("/password/")
    somebody.fills("New account password", PASSWORD)
    somebody.fills("The same once more", PASSWORD)
    somebody.clicks("Set password")


def test_an_invited_partner_comes_in(town: Town, language: str, scripts: bool) -> None:
    """By an admin's invitation; both links are used up then, and the password lets in, here and by SFTP."""
    with town.person("ann", language, scripts=scripts) as ann:
        town.served.must("user", "invite", ann.email, ann.phone)
        registers(ann)
        ann.is_at("/inbox")
        ann.sees("Your password is set, and you are logged in.")
        for used in (ann.link("/welcome/"), ann.link("/password/")):
            ann.goes_to(used)
            ann.sees("There is nothing here")
        ann.page.get_by_role("button", name=ann.say("Log out")).click()
        ann.sees("You are logged out.")
        ann.logs_in()
        ann.is_at("/inbox")
        assert PASSWORD.encode() not in b"".join(path.read_bytes() for path in _files(town))
        assert "inbox" in town.guest(ann).ls()


@pytest.mark.parametrize(("language", "scripts"), EITHER)
def test_an_invited_member_sets_up_a_second_factor(town: Town, language: str, scripts: bool) -> None:
    """Policy asks for it: right after the password, and at the next log-in."""
    with town.person("ola", language, scripts=scripts, domain="ssb.example") as ola:
        town.served.must("user", "invite", ola.email, ola.phone, "--kind", "member")
        registers(ola)
        ola.is_at("/account/totp")
        ola.sees("One step is left: this exchange asks for a second factor when you log in. Set it up here.")
        ola.clicks("Set it up")
        app = app_of(ola)
        ola.fills("Type the six digits that it shows now", "000000")
        ola.clicks("Turn it on")
        ola.sees("I can't scan it")
        app = app_of(ola)  # a new picture
        ola.fills("Type the six digits that it shows now", digits_of(app, 0))
        ola.clicks("Turn it on")
        recovery = ola.page.locator("#recovery").inner_text().split()
        assert len(recovery) == 10
        ola.clicks("I have kept them", "link")
        ola.is_at("/inbox")
        ola.page.get_by_role("button", name=ola.say("Log out")).click()
        ola.logs_in()
        ola.is_at("/log-in/code")
        ola.fills("Six digits, or a recovery code", digits_of(app, 1))
        ola.clicks("Log in")
        ola.is_at("/inbox")
        ola.page.get_by_role("button", name=ola.say("Log out")).click()
        ola.logs_in()
        ola.fills("Six digits, or a recovery code", recovery[0])
        ola.clicks("Log in")
        ola.is_at("/inbox")


def test_a_forgotten_password_is_the_same_road_and_nobody_learns_who_is_known(town: Town) -> None:
    """The page says the same of an address that nobody has."""
    with town.user("ann") as ann:
        answers = []
        for address in (ann.email, "nobody@nowhere.example"):
            ann.goes_to("/log-in")
            ann.clicks("No password yet, or forgotten it?", "link")
            ann.fills("User name", address)
            ann.clicks("Request password")
            ann.sees("Look into your mail")
            answers.append(ann.page.content().replace(address, "…"))
        assert re.sub(r"[0-9a-f]{32}", "", answers[0]) == re.sub(r"[0-9a-f]{32}", "", answers[1])
        ann.goes_to(ann.link("/password/"))
        ann.fills("New account password", "seven small lanterns")
        ann.fills("The same once more", "seven small lanterns")
        ann.clicks("Set password")
        ann.is_at("/inbox")


def app_of(somebody: Person) -> pyotp.TOTP:
    """An authenticator that was given the key shown on the page; the picture says the same."""
    somebody.page.locator(".picture svg").wait_for()
    somebody.unfolds("I can't scan it")
    return pyotp.TOTP(re.sub(r"\s", "", somebody.page.locator("details pre").inner_text()))


def _files(town: Town):  # type: ignore[no-untyped-def]
    return (path for path in town.served.folder.rglob("*") if path.is_file())
