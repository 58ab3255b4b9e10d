"""`fxsftp user invite`, `unlock`, `totp-off`, `totp-allow`: how people come in, and who helps them if they can't."""

from __future__ import annotations

import pyotp
import pytest

from tests.exchange.hands import notices
from tests.exchange.post import PORTAL, delivered
from tests.fronts.cli.conftest import Admin
from tests.house import ANN, BOB, KARI

PHONE = "+4790000001"


@pytest.fixture
def portal(people: Admin) -> Admin:
    """An admin of an exchange with a portal."""
    file = people.house.folder / "fxsftp.toml"
    file.write_text(file.read_text() + PORTAL)
    return people


def test_who_is_invited_gets_a_link_and_is_shown_as_invited(portal: Admin) -> None:
    said = portal.does("user", "invite", "Bob@works.example", "+47 900 00 001")
    assert said == f"{BOB} invited: partner, codes to …01\n"
    (mail,) = delivered(portal.house, "invited")
    assert (mail.notice.address, mail.facts["sender"], bool(mail.token)) == (BOB, "", True)
    assert (portal.json("user", "show", BOB)["standing"], portal.json("user", "show", BOB)["phone"]) == (
        "invited",
        PHONE,
    )


def test_a_member_can_be_named_who_asks_them_in_and_only_a_member(portal: Admin) -> None:
    portal.does("user", "invite", BOB, PHONE, "--by", KARI)
    (mail,) = delivered(portal.house, "invited")
    assert (mail.facts["sender"], mail.facts["sender_name"]) == (KARI, "Kari Nordmann")
    assert "only members" in portal.refused("user", "invite", "x@works.example", PHONE, "--by", ANN)
    assert "no user" in portal.refused("user", "invite", "x@works.example", PHONE, "--by", "nobody@ssb.example")


def test_an_admin_can_put_the_number_right_and_invite_once_more(portal: Admin) -> None:
    portal.does("user", "invite", BOB, "+4790000002")
    portal.does("user", "invite", BOB, PHONE)
    assert portal.json("user", "show", BOB)["phone"] == PHONE
    assert len(delivered(portal.house, "invited")) == 1, "the one before was not sent any more"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((ANN, PHONE), "registered already"),
        ((BOB, "12"), "not a phone number"),
        (("bob", PHONE), "not an e-mail address"),
    ],
)
def test_who_can_not_be_invited_is_said_with_the_reason(portal: Admin, words: tuple[str, str], reason: str) -> None:
    assert reason in portal.refused("user", "invite", *words)
    assert notices(portal.house, "invited") == []


def test_without_a_portal_it_is_said_that_they_have_to_call(people: Admin) -> None:
    assert "they have to call" in people.does("user", "invite", BOB, PHONE)
    (mail,) = delivered(people.house, "invited")
    assert mail.token is None


def test_a_lock_is_shown_and_can_be_lifted(people: Admin) -> None:
    for _ in range(people.house.exchange.policy.wrong_passwords):
        people.house.exchange.people.check_password(ANN, "wrong", people.house.clock())
    assert people.json("user", "show", ANN)["locked_until"] == "2026-11-18T11:21:40+00:00"
    assert "no log-in by password before" in people.does("user", "show", ANN)
    assert people.does("user", "unlock", ANN) == f"{ANN} unlocked\n"
    assert people.json("user", "show", ANN)["locked_until"] is None
    assert "Locked" not in people.does("user", "show", ANN)


def test_an_admin_lets_somebody_set_up_an_app_and_asks_for_it_no_more(people: Admin) -> None:
    totp, user, now = people.house.exchange.totp, people.house.exchange.people.find(ANN), people.house.clock()
    assert "within the hour" in people.does("user", "totp-allow", ANN)
    secret, _ = totp.begin(user, now)
    totp.confirm(user, pyotp.TOTP(secret).at(int(now)), now)
    shown = people.json("user", "show", ANN)
    assert (shown["has_totp"], shown["recovery_codes"]) == (True, 10)
    assert people.does("user", "totp-off", ANN) == f"{ANN} logs in without a code from an app\n"
    assert people.json("user", "show", ANN)["has_totp"] is False
    assert "is not asked" in people.refused("user", "totp-off", ANN)


def test_a_password_set_by_an_admin_ends_what_is_open_in_browsers(people: Admin) -> None:
    user, now = people.house.exchange.people.find(ANN), people.house.clock()
    visit = people.house.exchange.visits.begin(user, now)
    people.does("user", "password", ANN, "--stdin", stdin="correct horse battery staple\n")
    assert people.house.exchange.visits.find(visit, now) is None
