"""Coming in and going out: the two mails, the password, the second factor."""

from __future__ import annotations

import threading
from html import unescape
from urllib.parse import urlsplit

import pyotp
import pytest

from fxsftp.domain.model import Kind, Standing
from tests.gate import PASSWORD, Gate, mail_links
from tests.house import ANN, KARI, START, House

NEW = "a quiet harbour in november"


@pytest.fixture
def house(house: House) -> House:
    house.kari()
    return house


def path_of(link: str) -> str:
    return urlsplit(link).path


def invite(gate: Gate, address: str = ANN) -> str:
    """An invitation by a member; the path of the link in its mail."""
    house = gate.house
    house.exchange.people.invite(house.exchange.people.find(KARI), address, "+4790000001", house.clock())
    (link,) = mail_links(house, address, "/welcome/")
    return path_of(link)


def test_an_invitation_leads_to_a_password_and_into_the_inbox(gate: Gate) -> None:
    visitor = gate.visitor()
    page = visitor.get(invite(gate))
    assert ANN in page.text
    assert "Request password" in page.text
    page = visitor.submit("", form=visitor.form_token)
    assert "Look into your mail" in page.text
    (link,) = mail_links(gate.house, ANN, "/password/")
    page = visitor.get(path_of(link))
    assert "can not be used to log in" in page.text
    page = visitor.submit(password=NEW, again=NEW)
    assert page.path.startswith("/inbox")
    assert "Your password is set" in page.text
    assert gate.house.exchange.people.find(ANN).standing is Standing.ACTIVE


def test_looking_at_a_link_uses_nothing_up_and_acting_on_it_does(gate: Gate) -> None:
    path, scanner = invite(gate), gate.visitor()
    for _ in range(3):
        assert scanner.get(path).status == 200
    visitor = gate.visitor()
    visitor.get(path)
    visitor.submit("", form=visitor.form_token)
    assert visitor.get(path).status in (403, 404, 409)


def test_of_two_who_set_a_password_by_one_link_exactly_one_wins(gate: Gate) -> None:
    gate.house.ann()
    visitor = gate.visitor()
    visitor.get("/forgotten")
    visitor.submit(email=ANN)
    (link,) = mail_links(gate.house, ANN, "/password/")
    visitors = [gate.visitor() for _ in range(2)]
    for each in visitors:
        each.get(path_of(link))
    words = [NEW, NEW + " too"]
    threads = [
        threading.Thread(target=each.submit, kwargs={"password": word, "again": word})
        for each, word in zip(visitors, words, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    won = [each.page.path.startswith("/inbox") for each in visitors]
    assert sorted(won) == [False, True]
    word = words[won.index(True)]
    assert gate.house.exchange.people.check_password(ANN, word, gate.house.clock())


def test_two_passwords_that_differ_leave_the_link_alive(gate: Gate) -> None:
    gate.house.ann()
    visitor = gate.visitor()
    visitor.get("/forgotten")
    visitor.submit(email=ANN)
    (link,) = mail_links(gate.house, ANN, "/password/")
    visitor.get(path_of(link))
    page = visitor.submit(password=NEW, again="something else entirely")
    assert page.status == 400
    assert "not the same" in page.text
    page = visitor.submit(password="short", again="short")
    assert page.status == 400
    assert "12" in page.text
    assert visitor.submit(password=NEW, again=NEW).path.startswith("/inbox")


@pytest.mark.parametrize(
    "address", [KARI, "nobody@nowhere.example", "' OR 1=1 --@x.example", "{{7*7}}@x.example", "<b>x</b>"]
)
def test_who_asks_for_a_password_hears_the_same_whoever_they_name(gate: Gate, address: str) -> None:
    visitor = gate.visitor()
    visitor.get("/forgotten")
    page = visitor.submit(email=address)
    assert page.status == 200
    assert unescape(page.html).replace(address, "…").replace(visitor.form_token, "") == _told(gate)
    assert "49@" not in page.text


def _told(gate: Gate) -> str:
    visitor = gate.visitor()
    visitor.get("/forgotten")
    return (
        visitor.submit(email="somebody@else.example")
        .html.replace("somebody@else.example", "…")
        .replace(visitor.form_token, "")
    )


def test_a_wrong_password_and_an_unknown_user_are_answered_alike(gate: Gate) -> None:
    gate.house.exchange.people.set_password(KARI, PASSWORD, START)
    said = set()
    for address in (KARI, "nobody@nowhere.example"):
        visitor = gate.visitor()
        visitor.get("/log-in")
        page = visitor.submit(email=address, password="not the right one at all")
        assert page.status == 403
        said.add(page.text)
    assert len(said) == 1


def test_the_link_of_a_mail_leads_through_the_log_in_to_its_page(gate: Gate) -> None:
    gate.house.exchange.people.set_password(KARI, PASSWORD, START)
    visitor = gate.visitor()
    page = visitor.get("/inbox")
    assert page.path == "/log-in?next=/inbox"
    assert visitor.submit(email=KARI, password=PASSWORD).path == "/inbox"


@pytest.mark.parametrize("evil", ["//evil.example", "https://evil.example", "/\\evil.example", "x"])
def test_a_log_in_never_leads_to_another_site(gate: Gate, evil: str) -> None:
    gate.house.exchange.people.set_password(KARI, PASSWORD, START)
    visitor = gate.visitor()
    visitor.get("/log-in", params={"next": evil})
    page = visitor.submit(email=KARI, password=PASSWORD)
    assert page.path == "/inbox"


def test_a_cookie_that_was_planted_is_worth_nothing_after_the_log_in(gate: Gate) -> None:
    gate.house.exchange.people.set_password(KARI, PASSWORD, START)
    victim, thief = gate.visitor(), gate.visitor()
    thief.get("/log-in")
    for name, value in thief.client.cookies.items():
        victim.client.cookies.set(name, value, domain="127.0.0.1")
    victim.get("/log-in")
    assert victim.submit(email=KARI, password=PASSWORD).path == "/inbox"
    assert thief.get("/inbox").path == "/log-in?next=/inbox"


def test_who_logs_out_is_out_with_every_copy_of_the_cookie(gate: Gate) -> None:
    visitor, copy = gate.logged_in(gate.house.exchange.people.find(KARI)), gate.visitor()
    copy.client.cookies.update(visitor.client.cookies)
    assert copy.get("/inbox").path == "/inbox"
    page = visitor.submit("/log-out")
    assert "You are logged out" in page.text
    assert copy.get("/inbox").path == "/log-in?next=/inbox"


def test_the_second_factor_is_asked_for_and_each_code_serves_once(gate: Gate) -> None:
    house = gate.house
    ann = house.add("tore@ssb.example", Kind.MEMBER)
    house.exchange.totp.allow(ann, house.clock())
    secret, _ = house.exchange.totp.begin(ann, house.clock())
    house.exchange.totp.confirm(ann, pyotp.TOTP(secret).at(int(house.clock())), house.clock())
    house.exchange.people.set_password(ann.email, PASSWORD, house.clock())
    house.clock.turn(60)
    digits = pyotp.TOTP(secret).at(int(house.clock()))
    visitor = gate.visitor()
    visitor.get("/log-in?next=/sent")
    page = visitor.submit(email=ann.email, password=PASSWORD)
    assert page.path.startswith("/log-in/code")
    assert visitor.get("/inbox").path.startswith("/log-in")  # half is not in
    visitor.get("/log-in/code?next=/inbox")
    assert visitor.submit(digits="000000").status == 403
    assert visitor.submit(digits=digits).path == "/inbox"
    again = gate.visitor()
    again.get("/log-in")
    again.submit(email=ann.email, password=PASSWORD)
    assert again.submit(digits=digits).status == 403


def test_a_source_that_tries_and_tries_is_told_to_wait(gate: Gate) -> None:
    visitor = gate.visitor()
    visitor.get("/forgotten")
    statuses = [visitor.post("/forgotten", email="x@y.example").status for _ in range(25)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    gate.house.clock.turn(120)
    assert visitor.post("/forgotten", email="x@y.example").status == 200


@pytest.mark.parametrize("kind", ["welcome", "password"])
def test_who_guesses_links_is_told_to_wait(gate: Gate, kind: str) -> None:
    visitor = gate.visitor()
    visitor.get("/log-in")
    statuses = [visitor.post(f"/{kind}/{number:043}", password=PASSWORD, again=PASSWORD).status for number in range(25)]
    assert statuses[0] == 404
    assert statuses[-1] == 429
