"""Events: programs are told what has happened, in its own transaction, and not more than policy lets out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fxsftp import app
from fxsftp.exchange.carriage import Carriage
from fxsftp.exchange.notices import Notices
from tests.exchange.hands import Hand, dispatched, notices, registry_of, with_policy
from tests.house import ANN, BOB, KARI, House

TO_ANN, TO_KARI = f"/outbox/{ANN}", f"/outbox/{KARI}"
SUBJECT, NAME, PHONE = "Ref 23-4567", "telling-name.csv", "+4790000000"


@pytest.fixture
def told(house: House, ann: Hand, kari: Hand) -> House:
    """The house, with a webhook set up."""
    with_policy(house, webhook="post")
    ann.exchange = kari.exchange = house.exchange
    return house


def events(house: House) -> list[dict[str, object]]:
    """Oldest first, each with its type."""
    rows = [notice for notice in house.exchange.notices.list() if notice.way == "webhook"]
    return [{"type": row.kind, **row.facts} for row in sorted(rows, key=lambda row: row.made)]


def types(house: House) -> list[object]:
    return [event["type"] for event in events(house)]


def test_a_shipment_that_leaves_and_is_collected_is_told_with_its_state(told: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/{SUBJECT}/{NAME}", b"12345")
    shipment = dispatched(told)
    told.clock.turn(10)
    kari.get(f"/inbox/{shipment}/{NAME}")

    delivery = kari.delivery(shipment).id
    left, fetched = events(told)
    assert left == {
        "type": "shipment.dispatched",
        "shipment": shipment,
        "state": "waiting",
        "files": 1,
        "size": 5,
        "begun": "2026-11-18T11:06:40Z",
        "sent": "2026-11-18T11:13:20Z",
        "expires": "2026-12-18T11:13:20Z",
        "deliveries": [{"delivery": delivery, "lock": "session", "state": "waiting"}],
    }
    assert fetched == left | {
        "type": "shipment.collected",
        "delivery": delivery,
        "deliveries": [{"delivery": delivery, "lock": "session", "state": "collected"}],
    }


def test_a_group_makes_one_event_of_leaving_and_one_of_each_collecting(told: House, ann: Hand, kari: Hand) -> None:
    group = "mikrodata@ssb.example"
    told.exchange.people.add_group(group, told.clock(), name="Microdata")
    for member in (KARI, ANN):
        told.exchange.people.add_to_group(group, member, told.clock())
    ola = Hand(told, told.add("ola@ssb.example", kari.user.kind))
    ola.put(f"/outbox/{group}/Ref/a.csv", b"1")
    shipment = dispatched(told)
    told.clock.turn(10)
    kari.get(f"/inbox/{shipment}/a.csv")
    ann.get(f"/inbox/{shipment}/a.csv.age")
    assert types(told) == ["shipment.dispatched", "shipment.collected", "shipment.collected"]


def test_what_is_held_recalled_or_expires_is_told(told: House, ann: Hand, kari: Hand) -> None:
    told.exchange.people.invite(kari.user, BOB, "+4790000001", told.clock())
    kari.put(f"/outbox/{BOB}/Ref/{NAME}", b"1")
    told.settle()
    [held] = events(told)
    assert (held["type"], held["cause"], held["state"]) == ("shipment.held", "recipient", "held")
    assert "reason" not in held

    kari.put(f"{TO_ANN}/Ref/a.csv", b"1")
    shipment = dispatched(told)
    told.clock.turn(10)
    kari.exchange.sent.recall(kari.user, shipment, told.clock())
    assert types(told)[1:] == ["shipment.dispatched", "shipment.recalled"]

    kari.put(f"{TO_ANN}/Ref 2/a.csv", b"1")
    dispatched(told)
    for _ in range(31):  # a heartbeat a day, or the clock were in doubt
        told.clock.turn(86_400)
        told.exchange.upkeep.sweep(told.clock(), told.clock(), "boot")
    assert types(told)[-2:] == ["shipment.dispatched", "shipment.expired"]
    assert events(told)[-1]["deliveries"] == [
        {"delivery": ann.delivery(str(events(told)[-1]["shipment"])).id, "lock": "code", "state": "expired"}
    ]


def test_a_message_that_can_not_be_delivered_is_told_and_an_event_that_can_not_is_not(
    told: House, ann: Hand, kari: Hand
) -> None:
    kari.put(f"{TO_ANN}/Ref/a.csv", b"1")
    shipment = dispatched(told)
    courier = app.open_exchange(told.settings, role="courier")
    policy = replace(courier._holdings.policy, webhook="post")
    holdings = replace(courier._holdings, policy=policy)
    carriage = Carriage(holdings, Notices(holdings))
    for way in ("mail", "webhook"):
        for errand in carriage.take_due(way, told.clock(), lease="x", seconds=60, limit=1):
            told.clock.turn(1)
            carriage.failed(errand.notice.id, "x", f"550 <{ANN}> unknown", told.clock())
    courier.close()

    assert types(told) == ["shipment.dispatched", "notice.failed"]
    failed = events(told)[-1]
    assert (failed["way"], failed["what"], failed["shipment"]) == ("mail", "arrived", shipment)
    assert failed["delivery"] == ann.delivery(shipment).id
    assert [each["what"] for each in notices(told, "not_delivered")] == ["mail"]


@pytest.mark.parametrize(
    ("shows", "out", "kept"),
    [
        ("ids", (), (ANN, KARI, BOB, SUBJECT, NAME)),
        ("addresses", (ANN, KARI, BOB), (SUBJECT, NAME)),
        ("subject", (ANN, KARI, BOB, SUBJECT, NAME), ()),
    ],
)
def test_policy_says_how_much_goes_out(shows: str, out, kept, told: House, ann: Hand, kari: Hand) -> None:
    with_policy(told, webhook_shows=shows)
    ann.exchange = kari.exchange = told.exchange
    told.exchange.people.invite(kari.user, BOB, PHONE, told.clock())
    kari.put(f"{TO_ANN}/{SUBJECT}/{NAME}", b"1")
    kari.put(f"/outbox/{BOB}/{SUBJECT}/a.csv", b"1")
    draft = kari.open(f"{TO_ANN}/Ref 2/{NAME}")
    told.settle()
    told.clock.turn(90_000)
    told.exchange.dispatch.step(told.clock())  # what makes no progress is held for its name
    kari.lose(draft)
    said = json.dumps(events(told))
    assert types(told).count("shipment.held") == 2
    assert [word for word in out if word not in said] == []
    assert [word for word in kept if word in said] == []


def test_no_event_ever_has_a_code_or_a_phone_number(told: House, ann: Hand, kari: Hand) -> None:
    with_policy(told, webhook_shows="subject")
    kari.exchange = told.exchange
    kari.put(f"{TO_ANN}/{SUBJECT}/{NAME}", b"1")
    code = told.code(dispatched(told), ann.user)
    said = json.dumps(events(told))
    assert code not in said
    assert PHONE not in said


def test_without_a_webhook_no_event_is_written(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    kari.get(f"/inbox/{dispatched(house)}/a.csv")
    assert events(house) == []


def test_what_is_undone_was_not_told(told: House, ann: Hand, kari: Hand) -> None:
    """An event stands in the transaction of what it tells of."""
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    shipment = dispatched(told)
    with pytest.raises(RuntimeError), registry_of(told.exchange).atomic():
        ann.exchange.sent.recall(ann.user, shipment, told.clock())
        assert "shipment.recalled" in types(told)
        raise RuntimeError
    assert types(told) == ["shipment.dispatched"]


def test_senders_do_not_see_which_programs_hear_of_it(told: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    sent = ann.exchange.sent.find(ann.user, dispatched(told), told.clock())
    assert {notice.way for notice in sent.notices} == {"mail"}
