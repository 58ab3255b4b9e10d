"""Sent: what a sender sees of each package, and what can still be done about it."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from fxsftp import app
from fxsftp.domain.model import Kind, User
from fxsftp.errors import WrongCode
from tests.fronts.portal.test_downloads import soon
from tests.fronts.portal.test_send import begin, put_form
from tests.gate import Gate, Visitor
from tests.house import ANN, BOB, KARI, House


@pytest.fixture
def kari(house: House) -> User:
    return house.kari()


@pytest.fixture
def visitor(gate: Gate, kari: User) -> Visitor:
    return gate.logged_in(kari)


def send(house: House, sender: User, to: str, folder: str = "Ref 23-4567", data: bytes = b"some bytes") -> str:
    """A package by SFTP; its number."""
    house.put(sender, f"outbox/{to}/{folder}/report.csv", data)
    house.settle()
    return house.exchange.sent.list(sender, house.clock())[0].id


def test_nothing_sent_says_what_will_stand_here(visitor: Visitor) -> None:
    assert "Nothing sent yet" in visitor.get("/sent").text


def test_each_package_says_what_became_of_it(gate: Gate, visitor: Visitor, kari: User) -> None:
    gate.house.ann()
    shipment = send(gate.house, kari, ANN)
    page = visitor.get("/sent")
    assert "Ref 23-4567" in page.text
    page = visitor.get(f"/sent/{shipment}")
    for words in ("waiting to be collected", "Code by SMS", "not sent yet", "0 of 1", "SHA-256", ANN):
        assert words in page.text


def test_a_mail_that_came_back_is_shown_as_such(gate: Gate, visitor: Visitor, kari: User) -> None:
    house, ann = gate.house, gate.house.ann()
    shipment = send(house, kari, ann.email)
    parts = house.exchange.sent.parts(kari, shipment, house.clock())
    assert parts[0].mail is not None
    carriage = house.exchange.carriage
    for errand in carriage.take_due("mail", house.clock(), lease="test", seconds=60, limit=100):
        carriage.failed(errand.notice.id, "test", "the mail server answered 550 no such user", house.clock())
    page = visitor.get(f"/sent/{shipment}")
    assert "failed – ann@firm.example" in page.text
    assert "550 no such user" in page.text


def test_a_code_that_no_phone_took_is_shown_as_such(gate: Gate, visitor: Visitor, kari: User) -> None:
    house, ann = gate.house, gate.house.ann()
    shipment = send(house, kari, ann.email)
    with closing(app.open_exchange(house.settings, role="courier")) as courier:
        for errand in courier.carriage.take_due("sms", house.clock(), lease="test", seconds=60, limit=100):
            courier.carriage.failed(errand.notice.id, "test", "the number is not in use (Twilio 30005)", house.clock())
    page = visitor.get(f"/sent/{shipment}")
    assert "the number is not in use (Twilio 30005)" in page.text
    assert "did not arrive" in page.text
    house.exchange.people.change(kari.email, house.clock(), language="nb")
    assert "nummeret er ikke i bruk (Twilio 30005)" in visitor.get(f"/sent/{shipment}").text


def test_each_file_is_shown_that_a_recipient_has_not_fetched_yet(gate: Gate, visitor: Visitor, kari: User) -> None:
    ann = gate.house.ann()
    gate.house.put(ann, f"outbox/{KARI}/Ref 1/a.csv", b"1")
    shipment = send(gate.house, ann, KARI, "Ref 1")
    sender = gate.logged_in(ann)
    assert "0 of 2" in sender.get(f"/sent/{shipment}").text
    assert visitor.client.get(f"/inbox/{shipment}/files/a.csv").content == b"1"
    assert kari.email in sender.page.text
    assert soon(lambda: "1 of 2 Not fetched yet report.csv" in sender.get(f"/sent/{shipment}").text)
    assert visitor.client.get(f"/inbox/{shipment}/files/report.csv").status_code == 200
    assert soon(lambda: "Collected" in sender.get(f"/sent/{shipment}").text)
    assert "Not fetched yet" not in sender.page.text


def test_the_receipt_is_a_text_and_json(gate: Gate, visitor: Visitor, kari: User) -> None:
    gate.house.ann()
    shipment = send(gate.house, kari, ANN)
    answer = visitor.client.get(f"/sent/{shipment}/receipt.txt")
    assert shipment in answer.text
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{shipment}.txt"'
    assert json.loads(visitor.client.get(f"/sent/{shipment}/receipt.json").text)["shipment"] == shipment


def test_the_receipt_tells_the_history_in_the_users_language(gate: Gate, visitor: Visitor, kari: User) -> None:
    house, ann = gate.house, gate.house.ann()
    shipment = send(house, kari, ann.email)
    with closing(app.open_exchange(house.settings, role="courier")) as courier:
        for errand in courier.carriage.take_due("sms", house.clock(), lease="test", seconds=60, limit=100):
            courier.carriage.failed(errand.notice.id, "test", "the number is not in use (Twilio 30005)", house.clock())
    house.exchange.people.change(kari.email, house.clock(), language="nb")
    said = visitor.client.get(f"/sent/{shipment}/receipt.txt").text
    assert "ann@firm.example: kode" in said
    assert "SMS (kode): nummeret er ikke i bruk (Twilio 30005)" in said
    assert "arrived" not in said


def test_a_recalled_package_is_gone_for_its_recipient(gate: Gate, visitor: Visitor, kari: User) -> None:
    ann = gate.house.ann()
    shipment = send(gate.house, kari, ANN)
    visitor.get(f"/sent/{shipment}")
    page = visitor.submit(f"/sent/{shipment}/recall")
    assert "is recalled" in page.text
    assert gate.house.inbox(ann) == []
    visitor.get("/sent")
    assert visitor.post(f"/sent/{shipment}/recall").status == 409


def test_the_same_code_goes_to_a_number_that_the_sender_corrects(gate: Gate, visitor: Visitor, kari: User) -> None:
    gate.house.ann()
    shipment = send(gate.house, kari, ANN)
    visitor.get(f"/sent/{shipment}")
    page = visitor.submit(f"/sent/{shipment}/resend", phone="not a number")
    assert page.status == 400
    page = visitor.submit(f"/sent/{shipment}/resend", phone="+47 933 33 333")
    assert "The same code is on its way" in page.text


def test_a_new_code_is_offered_only_where_the_server_can_make_one(gate: Gate, visitor: Visitor, kari: User) -> None:
    gate.house.ann()
    shipment = send(gate.house, kari, ANN)
    page = visitor.get(f"/sent/{shipment}")
    assert "Send a new code" not in page.text
    page = visitor.post(f"/sent/{shipment}/new-code", to=ANN)
    assert page.status in (403, 409)
    assert "Traceback" not in page.text


def test_a_new_code_takes_the_place_of_the_old_where_the_server_can_open_the_package(
    gate: Gate, visitor: Visitor, kari: User
) -> None:
    """It goes to a member as well, for whom logging in is enough: so there is a session lock."""
    house, ann = gate.house, gate.house.ann()
    house.add("ola@ssb.example", Kind.MEMBER)
    shipment = begin(visitor, to=f"{ANN}, ola@ssb.example")
    put_form(visitor, shipment, "send", ("a.csv", b"1"))
    old = house.code(shipment, ann)
    assert "Send a new code" in visitor.get(f"/sent/{shipment}").text
    assert kari.email == KARI
    assert "A new code is on its way" in visitor.submit(f"/sent/{shipment}/new-code").text
    house.clock.turn(120)
    new = house.code(shipment, ann)
    with pytest.raises(WrongCode):
        house.exchange.opening.open_with_code(ann, shipment, old, house.clock())
    house.exchange.opening.open_with_code(ann, shipment, new, house.clock())
    reader = gate.logged_in(ann)
    assert reader.client.get(f"/inbox/{shipment}/files/a.csv").content == b"1"


def test_a_package_waits_longer_but_not_longer_than_it_may(gate: Gate, visitor: Visitor, kari: User) -> None:
    gate.house.ann()
    shipment = send(gate.house, kari, ANN)
    before = gate.house.exchange.sent.find(kari, shipment, gate.house.clock()).shipment.expires
    visitor.get(f"/sent/{shipment}")
    assert "waits longer now" in visitor.submit(f"/sent/{shipment}/extend", days="7").text
    after = gate.house.exchange.sent.find(kari, shipment, gate.house.clock()).shipment.expires
    assert before is not None
    assert after is not None
    assert after > before
    for days in ("0", "9999", "-1", "x", "1e9"):
        assert visitor.post(f"/sent/{shipment}/extend", days=days).status == 400


@pytest.mark.parametrize("what", ["", "/receipt.txt", "/receipt.json"])
def test_what_another_has_sent_is_nobodys_business(gate: Gate, kari: User, what: str) -> None:
    gate.house.ann()
    shipment = send(gate.house, kari, ANN)
    stranger = gate.logged_in(gate.house.add(BOB, Kind.MEMBER))
    assert stranger.get(f"/sent/{shipment}{what}").status == 404
    assert stranger.get(f"/sent/aaaa-aaaa{what}").status == 404
    for act in ("recall", "resend", "new-code", "extend"):
        stranger.get("/sent")
        assert stranger.post(f"/sent/{shipment}/{act}", to=ANN, days="1").status == 404
    assert KARI not in stranger.page.text


def test_subjects_are_text_whatever_stands_in_them(gate: Gate, visitor: Visitor, kari: User) -> None:
    gate.house.ann()
    send(gate.house, kari, ANN, folder="<script>alert(1)<|script> {{7*7}}")
    page = visitor.get("/sent")
    assert "<script>alert" not in page.html
    assert "&lt;script&gt;" in page.html
    assert "{{7*7}}" in page.text
