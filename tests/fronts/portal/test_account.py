"""The account: what can be changed at once, what waits for the old phone, and what is told."""

from __future__ import annotations

import re

import pyotp
import pytest

from fxsftp import app, serving
from fxsftp.domain.model import LockKind, Standing, User
from tests.gate import PASSWORD, Gate, Visitor
from tests.house import ANN, KARI, House

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDUFSfCzqTidEZbu3gxhH3pWKr8gT7eB3lg1KDgO4ai9 ann@laptop"


@pytest.fixture
def ann(house: House) -> User:
    return house.ann()


@pytest.fixture
def visitor(gate: Gate, ann: User) -> Visitor:
    return gate.logged_in(ann)


def sms(house: House, phone: str) -> list[tuple[str, str]]:
    """(kind, digits) of what waits for a phone, as the courier would carry it."""
    courier = app.open_exchange(house.settings, role="courier")
    try:
        errands = courier.carriage.take_due("sms", house.clock(), lease="test", seconds=60, limit=1000)
        for errand in errands:
            courier.carriage.carried(errand.notice.id, "test", "", house.clock())
        return [(errand.kind, errand.code or "") for errand in errands if errand.notice.address == phone]
    finally:
        courier.close()


def digits_for(house: House, phone: str = "+4790000000") -> str:
    (digits,) = [digits for kind, digits in sms(house, phone) if kind == "confirm"]
    return digits


def test_what_protects_nothing_is_saved_at_once(gate: Gate, visitor: Visitor) -> None:
    visitor.get("/account")
    page = visitor.submit(
        "/account", name="Ann Example", language="nn", phrase="two blue herons", quiet="22:00-07:00",
        digest="08:00", timezone="Europe/Oslo",
    )  # fmt: skip
    assert "Lagra" in page.text
    ann = gate.house.exchange.people.find(ANN)
    assert (ann.name, ann.language, ann.phrase, ann.quiet) == ("Ann Example", "nn", "two blue herons", "22:00-07:00")


@pytest.mark.parametrize(("field", "value"), [("quiet", "late"), ("digest", "25:00"), ("timezone", "Mars/Base")])
def test_times_that_are_none_are_refused_with_the_reason(visitor: Visitor, field: str, value: str) -> None:
    visitor.get("/account")
    page = visitor.submit("/account", **{field: value})
    assert page.status == 400
    assert "is not understood" in page.text


def test_a_new_password_needs_the_old_and_ends_every_other_visit(gate: Gate, visitor: Visitor, ann: User) -> None:
    gate.house.exchange.people.set_password(ANN, PASSWORD, gate.house.clock())
    visitor, other = gate.logged_in(ann), gate.logged_in(ann)
    visitor.get("/account")
    new = "seven small lanterns"
    page = visitor.submit("/account/password", old="not it at all", password=new, again=new)
    assert page.status == 403
    page = visitor.submit("/account/password", old=PASSWORD, password=new, again=new)
    assert "Your password is changed" in page.text
    assert visitor.get("/account").path == "/account"
    assert other.get("/account").path.startswith("/log-in")
    assert gate.house.exchange.people.check_password(ANN, new, gate.house.clock())


def test_another_phone_is_confirmed_on_the_old_one(gate: Gate, visitor: Visitor) -> None:
    visitor.get("/account")
    page = visitor.submit("/account/phone", phone="+47 911 11 111")
    assert "six digits" in page.text
    assert gate.house.exchange.people.find(ANN).phone == "+4790000000"
    digits = digits_for(gate.house)
    wrong = visitor.submit(digits="000000" if digits != "000000" else "111111")
    assert wrong.status == 403
    page = visitor.submit(digits=digits)
    assert "The change is made" in page.text
    assert gate.house.exchange.people.find(ANN).phone == "+4791111111"


def test_one_confirmation_of_another_user_is_nobodys(gate: Gate, visitor: Visitor) -> None:
    visitor.get("/account")
    path = visitor.submit("/account/phone", phone="+47 911 11 111").path
    thief = gate.logged_in(gate.house.kari())
    page = thief.get(path)
    assert page.status == 409
    assert "does not work any more" in page.text


def test_packages_are_locked_as_the_user_wishes_once_confirmed(gate: Gate, visitor: Visitor) -> None:
    visitor.get("/account")
    visitor.submit("/account/delivery", delivery="keys")
    assert gate.house.exchange.people.find(ANN).delivery is None
    visitor.submit(digits=digits_for(gate.house))
    assert gate.house.exchange.people.find(ANN).delivery is LockKind.KEYS


def test_a_key_that_only_logs_in_is_added_at_once_and_removed(gate: Gate, visitor: Visitor) -> None:
    visitor.get("/account")
    page = visitor.submit("/account/keys", line=KEY)
    assert "The key is added" in page.text
    (key,) = gate.house.exchange.people.keys(ANN)
    assert not key.opens
    assert key.fingerprint in page.text
    page = visitor.submit("/account/keys", line=KEY)
    assert page.status == 400
    visitor.get("/account")
    assert "The key is removed" in visitor.submit("/account/keys/remove").text
    assert not gate.house.exchange.people.keys(ANN)


def test_a_key_that_opens_packages_waits_for_the_phone(gate: Gate, visitor: Visitor) -> None:
    visitor.get("/account")
    visitor.submit("/account/keys", line=KEY, opens="1")
    assert not gate.house.exchange.people.keys(ANN)
    visitor.submit(digits=digits_for(gate.house))
    assert [key.opens for key in gate.house.exchange.people.keys(ANN)] == [True]


def test_nobody_removes_the_key_of_another(gate: Gate, visitor: Visitor) -> None:
    kari = gate.house.kari()
    gate.house.exchange.people.add_key(KARI, KEY, gate.house.clock())
    (key,) = gate.house.exchange.people.keys(KARI)
    visitor.get("/account")
    assert visitor.post("/account/keys/remove", key=str(key.id)).status == 404
    assert gate.house.exchange.people.keys(kari.email)


def test_the_second_factor_is_turned_on_by_app_and_phone_and_off_again(gate: Gate, visitor: Visitor) -> None:
    house = gate.house
    visitor.get("/account/totp")
    visitor.submit("/account/totp/begin")
    page = visitor.submit(digits=digits_for(house))
    assert "<svg" in page.html
    secret = re.sub(r"\s", "", re.findall(r"<pre>([A-Z2-7 ]+)</pre>", page.html)[0])
    page = visitor.submit("/account/totp", digits="000000")
    assert page.status == 403
    secret = re.sub(r"\s", "", re.findall(r"<pre>([A-Z2-7 ]+)</pre>", page.html)[0])
    page = visitor.submit("/account/totp", digits=pyotp.TOTP(secret).at(int(house.clock())))
    codes = re.findall(r'<pre id="recovery">(.*?)</pre>', page.html, re.DOTALL)[0].split()
    assert len(codes) == 10
    ann = house.exchange.people.find(ANN)
    assert house.exchange.totp.is_on(ann)
    assert "10 recovery codes" in visitor.get("/account").text
    house.clock.turn(120)
    visitor.submit("/account/totp/off")
    visitor.submit(digits=digits_for(house))
    assert not house.exchange.totp.is_on(ann)


def test_who_must_have_a_second_factor_is_led_to_it(house: House, ann: User) -> None:
    with Gate(house) as gate:
        page = gate.logged_in(ann).get("/account")
        assert "Second factor" in page.text


def test_the_account_shows_how_to_connect_and_by_what_to_know_us(gate: Gate, visitor: Visitor) -> None:
    page = visitor.get("/account")
    (fingerprint,) = serving.portal_terms(gate.house.settings, "").sftp.fingerprints  # type: ignore[union-attr]
    assert fingerprint.startswith("SHA256:")
    assert fingerprint in page.text
    assert f"{ANN}@127.0.0.1" in page.text
    assert "sftp://ann%40firm.example@127.0.0.1" in page.html


def test_a_member_invites_and_sees_who_came(gate: Gate) -> None:
    kari = gate.logged_in(gate.house.kari())
    kari.get("/partners")
    page = kari.submit("/partners", email="bob@works.example", phone="12")
    assert page.status == 400
    page = kari.submit("/partners", email="bob@works.example", phone="+47 922 22 222")
    assert "The invitation is on its way" in page.text
    assert "has not registered yet" in page.text
    assert gate.house.exchange.people.find("bob@works.example").standing is Standing.INVITED


def test_partners_invite_nobody(visitor: Visitor) -> None:
    assert visitor.get("/partners").status == 403
    visitor.get("/account")
    assert visitor.post("/partners", email="bob@works.example", phone="+4792222222").status == 403


def test_logging_out_everywhere_leaves_this_browser_in(gate: Gate, visitor: Visitor, ann: User) -> None:
    other = gate.logged_in(ann)
    visitor.get("/account")
    visitor.submit("/account/log-out-everywhere")
    assert visitor.get("/account").path == "/account"
    assert other.get("/account").path.startswith("/log-in")


def test_the_accessibility_page_is_for_everybody(gate: Gate) -> None:
    assert "WCAG 2.1" in gate.visitor().get("/accessibility").text
