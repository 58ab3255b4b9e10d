"""Renewing: a new code where the server can make one, and more time; what the sender is shown of each recipient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fxsftp import app, seal
from fxsftp.domain.lifecycle import DeliveryState, ShipmentState
from fxsftp.domain.model import Kind
from fxsftp.domain.policy import DAY
from fxsftp.errors import (
    BadExpiry,
    Conflict,
    NoNewCode,
    NotOpen,
    OpeningClosed,
    ShipmentUnknown,
    WrongCode,
    WrongState,
)
from fxsftp.exchange import Exchange
from fxsftp.exchange.carriage import Outcome
from fxsftp.exchange.sent import Part
from tests.exchange.hands import Hand, notices, registry_of, state_files, with_policy
from tests.house import ANN, BOB, KARI, House

OLA = "ola@ssb.example"
TEXT = b"region;antall\r\n0301;717710\r\n"


@pytest.fixture
def courier(house: House) -> Iterator[Exchange]:
    """What the courier's process has: its own key, and no vault."""
    opened = app.open_exchange(house.settings, role="courier")
    yield opened
    opened.close()


@pytest.fixture
def ola(house: House) -> Hand:
    """Another member, who gets files by session."""
    return Hand(house, house.add(OLA, Kind.MEMBER, phone="+4790000003"))


def sent(hand: Hand, *to: str, names: tuple[str, ...] = ("a.csv",)) -> str:
    """A shipment that has left; its id."""
    room = hand.exchange.composing
    drop = room.begin(hand.user, recipients=to, subject="Ref 23/4567", now=hand.now)
    for name in names:
        draft, _ = room.add_file(hand.user, drop.id, name, len(TEXT), None, "tab", hand.now)
        draft.write(0, TEXT)
        room.finish_file(draft, hand.now)
    assert room.submit(hand.user, drop.id, hand.now).state is ShipmentState.WAITING
    return drop.id


def new_code(hand: Hand, shipment_id: str, recipient: str = ANN) -> None:
    hand.exchange.renewing.new_code(hand.user, shipment_id, recipient, hand.now)


def code(house: House, hand: Hand, shipment_id: str) -> str:
    """What the next SMS says, once every lease is over."""
    house.clock.turn(61)
    return house.code(shipment_id, hand.user)


def part(hand: Hand, shipment_id: str, recipient: str = ANN) -> Part:
    parts = hand.exchange.sent.parts(hand.user, shipment_id, hand.now)
    (found,) = [each for each in parts if each.recipient == recipient]
    return found


# ---- a new code


def test_the_new_code_opens_and_the_old_one_does_not(house: House, kari: Hand, ann: Hand, ola: Hand) -> None:
    names = ("a.csv", "sub/b.csv", *(f"{number}.csv" for number in range(8)))  # too many for a scrypt each
    shipment = sent(kari, ANN, OLA, names=names)
    old = code(house, ann, shipment)
    ann.type_code(shipment, old)
    assert ann.get(f"/inbox/{shipment}/a.csv") == TEXT
    new_code(kari, shipment)
    with pytest.raises(NotOpen):  # what the old one had opened is closed
        ann.get(f"/inbox/{shipment}/a.csv")
    with pytest.raises(WrongCode):
        ann.type_code(shipment, old)
    new = code(house, ann, shipment)
    assert new != old
    ann.type_code(shipment, new)
    for name in names:
        assert ann.get(f"/inbox/{shipment}/{name}") == TEXT
    assert ola.get(f"/inbox/{shipment}/a.csv") == TEXT  # hers stays as it was
    assert not [path for path, content in state_files(house) if old.encode() in content or new.encode() in content]


def test_an_age_file_with_its_new_header_opens_with_the_new_code_alone(
    house: House, kari: Hand, ann: Hand, ola: Hand
) -> None:
    shipment = sent(kari, ANN, OLA)
    new_code(kari, shipment)
    locked = ann.get(f"/inbox/{shipment}/a.csv.age")
    assert seal.open_small(locked, seal.CodeKey(code(house, ann, shipment))) == TEXT


def test_a_new_code_forgets_wrong_tries(house: House, kari: Hand, ann: Hand, ola: Hand) -> None:
    shipment = sent(kari, ANN, OLA)
    for _ in range(5):
        with pytest.raises(WrongCode):
            ann.type_code(shipment, "0000-0000-0000-0000")
    with pytest.raises(OpeningClosed):
        ann.type_code(shipment, "0000-0000-0000-0000")
    new_code(kari, shipment)
    ann.type_code(shipment, code(house, ann, shipment))
    assert ann.delivery(shipment).wrong == 0


def test_where_only_the_code_opens_it_the_server_says_what_it_can_not(house: House, kari: Hand, ann: Hand) -> None:
    shipment = sent(kari, ANN)
    assert not part(kari, shipment).can_renew
    with pytest.raises(NoNewCode, match="Recall it and send it again"):
        new_code(kari, shipment)
    holdings = house.exchange._holdings
    offline = seal.Identity.generate()
    house.exchange = Exchange(replace(holdings, keys=replace(holdings.keys, recovery_lock=offline.lock)))
    kari = Hand(house, kari.user)
    shipment = sent(kari, ANN)
    with pytest.raises(NoNewCode, match="offline recovery key"):
        new_code(kari, shipment)
    Hand(house, ann.user).type_code(shipment, code(house, ann, shipment))


def test_only_the_sender_may_ask_and_only_for_who_has_a_code(house: House, kari: Hand, ann: Hand, ola: Hand) -> None:
    shipment = sent(kari, ANN, OLA)
    house.add(BOB, Kind.PARTNER)
    for hand, recipient in ((ann, ANN), (ola, ANN), (kari, BOB), (kari, "nobody@works.example"), (kari, KARI)):
        with pytest.raises(ShipmentUnknown):
            new_code(hand, shipment, recipient)
    with pytest.raises(WrongState):
        new_code(kari, shipment, OLA)
    kari.exchange.sent.recall(kari.user, shipment, kari.now)
    with pytest.raises(WrongState):
        new_code(kari, shipment)


def test_new_codes_cost_somebody_money_and_end(house: House, kari: Hand, ann: Hand, ola: Hand) -> None:
    shipment = sent(kari, ANN, OLA)
    for _ in range(4):
        new_code(kari, shipment)
    with pytest.raises(Conflict, match="5 times"):
        new_code(kari, shipment)
    ann.type_code(shipment, code(house, ann, shipment))  # the last of them is good
    assert [notice["state"] for notice in notices(house, "code")].count("due") == 1


def test_a_late_report_of_the_old_sms_does_not_erase_the_new_code(
    house: House, kari: Hand, ann: Hand, ola: Hand, courier: Exchange
) -> None:
    shipment = sent(kari, ANN, OLA)
    (first,) = courier.carriage.take_due("sms", house.clock(), lease="one", seconds=60, limit=9)
    courier.carriage.record("sms", "one", [Outcome(first.notice.id, "carried")], house.clock())
    house.clock.turn(10)
    new_code(kari, shipment)
    assert courier.carriage.delivered(first.notice.id, way="sms", now=house.clock())
    (second,) = courier.carriage.take_due("sms", house.clock(), lease="two", seconds=60, limit=9)
    assert second.code
    courier.carriage.record("sms", "two", [Outcome(second.notice.id, "carried")], house.clock())
    assert courier.carriage.delivered(second.notice.id, way="sms", now=house.clock())
    assert house.exchange._holdings.secrets.code(ann.delivery(shipment).id) is None
    ann.type_code(shipment, second.code)


def test_a_new_code_whose_making_was_cut_short_is_never_sent(
    house: House, kari: Hand, ann: Hand, ola: Hand, courier: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the secrets had it and before the registry did: the old locks stand, and no SMS says what opens
    nothing."""
    shipment = sent(kari, ANN, OLA)
    old = code(house, ann, shipment)
    secrets = house.exchange._holdings.secrets
    keep = secrets.keep_codes
    with monkeypatch.context() as patch:

        def keep_and_die(*args: object) -> None:
            keep(*args)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        patch.setattr(secrets, "keep_codes", keep_and_die)
        with pytest.raises(KeyboardInterrupt):
            new_code(kari, shipment)
    house.clock.turn(61)
    assert courier.carriage.take_due("sms", house.clock(), lease="x", seconds=60, limit=9) == []
    assert [notice["state"] for notice in notices(house, "code")] == ["failed"]
    ann.type_code(shipment, old)
    new_code(kari, shipment)
    with pytest.raises(WrongCode):
        ann.type_code(shipment, old)
    ann.type_code(shipment, code(house, ann, shipment))


def test_half_an_old_age_file_and_half_a_new_one_are_not_a_file_fetched(
    house: House, kari: Hand, ann: Hand, ola: Hand
) -> None:
    shipment = sent(kari, ANN, OLA)
    reading = ann.read(f"/inbox/{shipment}/a.csv.age")
    reading.read(0, reading.size // 2)
    ann.done(reading)
    new_code(kari, shipment)
    reading = ann.read(f"/inbox/{shipment}/a.csv.age")
    reading.read(reading.size // 2, reading.size)
    ann.done(reading)
    assert ann.delivery(shipment).state is DeliveryState.OPENED


# ---- more time


def test_a_shipment_can_be_kept_longer_as_far_as_policy_goes(house: House, kari: Hand, ann: Hand) -> None:
    shipment = sent(kari, ANN)
    begun, room = kari.now, house.exchange.renewing
    assert room.extend(kari.user, shipment, kari.now, days=14).expires == begun + 44 * DAY
    assert room.extend(kari.user, shipment, kari.now, until=begun + 90 * DAY).expires == begun + 90 * DAY
    for wish in ({"days": 1.0}, {"until": begun}, {"days": -3.0}, {"days": float("nan")}, {}):
        with pytest.raises(BadExpiry):
            room.extend(kari.user, shipment, kari.now, **wish)
    with pytest.raises(ShipmentUnknown):
        room.extend(ann.user, shipment, ann.now, days=1)
    house.clock.turn(89 * DAY)
    assert len(house.inbox(ann.user)) == 1
    house.clock.turn(DAY + 1)
    with pytest.raises(WrongState):
        room.extend(kari.user, shipment, kari.now, days=1)


def test_reminders_go_out_again_before_the_new_end(house: House, kari: Hand, ann: Hand) -> None:
    shipment = sent(kari, ANN)

    def sweep(days: float) -> int:
        house.clock.turn(days * DAY)
        house.exchange.upkeep.confirm_clock(house.clock(), house.clock(), "boot")
        return house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot").reminded

    assert [sweep(23), sweep(6)] == [1, 1]
    house.exchange.renewing.extend(kari.user, shipment, kari.now, days=9)  # ten days to go
    assert [sweep(0), sweep(3), sweep(6)] == [0, 1, 1]
    with_policy(house, longest=30 * DAY)
    with pytest.raises(BadExpiry):
        house.exchange.renewing.extend(kari.user, shipment, kari.now, days=1)


# ---- what the sender is shown


def test_a_page_of_sent_says_the_state_of_each(house: House, kari: Hand, ann: Hand, ola: Hand) -> None:
    first = sent(kari, ANN, OLA, names=("a.csv", "b.csv"))
    house.clock.turn(1)
    second = sent(kari, OLA)
    for name in ("a.csv", "b.csv"):
        ola.get(f"/inbox/{first}/{name}")
    page = kari.exchange.sent.page(kari.user, kari.now, most=1)
    assert [(line.shipment.id, line.state, line.files, line.size) for line in page] == [
        (second, "waiting", 1, len(TEXT))
    ]
    page = kari.exchange.sent.page(kari.user, kari.now, after=second)
    assert [(line.shipment.id, line.state, line.files) for line in page] == [(first, "partly collected", 2)]
    assert kari.exchange.sent.page(kari.user, kari.now, after=first) == []


def test_each_recipients_part_is_told_apart(house: House, kari: Hand, ann: Hand, ola: Hand, courier: Exchange) -> None:
    shipment = sent(kari, ANN, OLA, names=("a.csv", "b.csv"))
    ola.get(f"/inbox/{shipment}/b.csv")
    anns, olas = part(kari, shipment), part(kari, shipment, OLA)
    assert (anns.delivery.state, olas.delivery.state) == (DeliveryState.WAITING, DeliveryState.OPENED)
    assert [(file.name, whole) for file, whole in olas.files] == [("a.csv", False), ("b.csv", True)]
    assert (anns.can_resend, anns.can_renew, olas.can_resend, olas.can_renew) == (True, True, False, False)
    assert anns.code is not None
    assert olas.code is None
    assert anns.mail is not None
    assert (anns.mail.state, anns.mail.where, anns.code.state) == ("due", ANN, "due")
    assert "90000000" not in anns.code.where
    (errand,) = courier.carriage.take_due("sms", house.clock(), lease="one", seconds=60, limit=9)
    courier.carriage.record("sms", "one", [Outcome(errand.notice.id, "carried")], house.clock())
    courier.carriage.undelivered(errand.notice.id, way="sms", reason="no such number", hard=True, now=house.clock())
    told = part(kari, shipment).code
    assert told is not None
    assert (told.state, told.reason) == ("failed", "no such number")
    house.clock.turn(1)
    kari.exchange.resending.resend(shipment, ANN, kari.now, phone="+4791111111", who=KARI)
    told = part(kari, shipment).code
    assert told is not None
    assert told.state == "due"
    kari.exchange.sent.recall(kari.user, shipment, kari.now)
    assert not part(kari, shipment).can_resend
    with pytest.raises(ShipmentUnknown):
        kari.exchange.sent.parts(ann.user, shipment, ann.now)
    assert registry_of(house.exchange).deliveries.session_headers(shipment) == {}
