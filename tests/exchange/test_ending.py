"""How it ends: recalled, expired after reminders, erased in two steps; and never by a clock that lies."""

from __future__ import annotations

import pytest

from fxsftp.domain.lifecycle import DeliveryState, ShipmentState
from fxsftp.domain.policy import DAY
from fxsftp.errors import ClockDoubt, NoSuchPlace, ShipmentUnknown, WrongCode, WrongState
from fxsftp.exchange.upkeep import Swept
from tests.exchange.hands import Hand, dispatched, files_of, notices, registry_of, write
from tests.house import ANN, House

PLAIN = b"x" * 200_000
PATH = f"/outbox/{ANN}/Ref/a.csv"


@pytest.fixture
def shipment(house: House, ann: Hand, kari: Hand) -> str:
    """From kari to ann, with a code."""
    kari.put(PATH, PLAIN)
    return dispatched(house)


def sweep(house: House, seconds: float = 0) -> Swept:
    """Later, the sweep comes by; the machine's own clock agrees."""
    house.clock.turn(seconds)
    return house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")


def is_erased(house: House, shipment: str) -> bool:
    engine = registry_of(house.exchange)._engine
    locks = engine.value(
        "SELECT COUNT(*) FROM locks JOIN files ON files.id = file_id WHERE shipment_id = ?", (shipment,)
    )
    return not locks and not list(house.exchange._holdings.bodies.ids())


# ---- recall


def test_a_recall_erases_locks_and_bodies_at_once_and_says_what_was_read(
    house: House, ann: Hand, kari: Hand, shipment: str
) -> None:
    code = house.code(shipment, ann.user)
    said = house.exchange.sent.recall(kari.user, shipment, house.clock())

    assert said == "nobody had opened it"
    assert is_erased(house, shipment)
    assert (kari.state(shipment), ann.delivery(shipment).state) == ("recalled", DeliveryState.RECALLED)
    assert house.exchange._holdings.secrets.code(ann.delivery(shipment).id) is None
    assert ann.ls("/inbox") == {}
    with pytest.raises(WrongCode):
        ann.type_code(shipment, code)
    assert [mail["address"] for mail in notices(house, "recalled")] == [ANN]
    assert {notice["state"] for kind in ("arrived", "code") for notice in notices(house, kind)} == {"dropped"}
    with pytest.raises(WrongState):
        house.exchange.sent.recall(kari.user, shipment, house.clock())


def test_a_recall_says_who_had_read_how_much(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    reading = ann.read(f"/inbox/{shipment}/a.csv.age")
    reading.read(0, 1)
    ann.done(reading)
    assert house.exchange.sent.recall(kari.user, shipment, house.clock()) == f"{ANN} had begun to read it"

    kari.put(PATH, PLAIN)
    second = dispatched(house)
    ann.get(f"/inbox/{second}/a.csv.age")
    assert house.exchange.sent.recall_any(second, "admin", house.clock()) == f"{ANN} had collected it"


def test_only_the_sender_recalls_and_only_what_is_complete(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    for number in (shipment, "0000-0000"):
        with pytest.raises(ShipmentUnknown) as refusal:
            house.exchange.sent.recall(ann.user, number, house.clock())
        assert str(refusal.value) == str(ShipmentUnknown(number))
    draft = kari.open(f"/outbox/{ANN}/New/a.csv")
    with pytest.raises(WrongState, match="is dropping; it can't be recalled"):
        house.exchange.sent.recall(kari.user, draft.file.shipment_id, house.clock())
    kari.lose(draft)


def test_settling_and_held_drops_can_be_recalled(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(PATH, PLAIN)
    house.exchange.sent.recall(kari.user, kari.drops()[0].id, house.clock())
    assert house.settle() == []

    draft = kari.open(f"/outbox/{ANN}/Other/a.csv")
    write(draft, PLAIN)
    house.exchange.writing.beat(house.clock())
    house.settle(DAY)
    drop = draft.file.shipment_id
    assert registry_of(house.exchange).drops.find(drop).state is ShipmentState.HELD  # type: ignore[union-attr]
    house.exchange.sent.recall(kari.user, drop, house.clock())
    with pytest.raises(NoSuchPlace):
        kari.close(draft)  # its client hears that this went nowhere
    assert kari.state(drop) == "recalled"


def test_after_a_recall_the_same_name_can_be_put_again(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    house.exchange.sent.recall(kari.user, shipment, house.clock())
    assert kari.stat(PATH).size == len(PLAIN)
    kari.put(PATH, b"better")
    assert len(ann.get(f"/inbox/{dispatched(house)}/a.csv.age")) > 6


# ---- all are done


def test_24_hours_after_the_last_recipient_is_done_it_is_erased(
    house: House, ann: Hand, kari: Hand, shipment: str
) -> None:
    ann.rm(f"/inbox/{shipment}/a.csv.age")
    assert sweep(house, 60).ended == 1
    assert kari.state(shipment) == "ended"
    assert sweep(house, DAY - 61).erased == 0
    assert not is_erased(house, shipment)
    assert sweep(house, 1).erased == 1
    assert is_erased(house, shipment)
    assert kari.state(shipment) == "ended"  # the row stays as a record
    assert [file.sha256 for file in files_of(house, shipment)] != [None]


# ---- expiry


def test_it_expires_after_30_days_with_reminders_and_is_erased_a_day_later(
    house: House, ann: Hand, kari: Hand, shipment: str
) -> None:
    assert sweep(house, 23 * DAY - 1).reminded == 0
    assert sweep(house, 1).reminded == 1
    assert sweep(house, 5 * DAY).reminded == 0
    assert sweep(house, DAY).reminded == 1
    assert [mail["days"] for mail in reversed(notices(house, "reminder"))] == [7, 1]
    swept = sweep(house, DAY)
    assert (swept.reminded, swept.expired, swept.erased) == (0, 1, 0)
    assert ann.delivery(shipment).state is DeliveryState.EXPIRED
    assert kari.state(shipment) == "ended"
    assert [mail["recipient"] for mail in notices(house, "expired_unread")] == [ANN]
    assert not is_erased(house, shipment)
    assert sweep(house, DAY).erased == 1
    assert is_erased(house, shipment)


def test_past_its_time_nobody_reads_it_though_the_sweep_has_not_come(
    house: House, ann: Hand, kari: Hand, shipment: str
) -> None:
    house.clock.turn(30 * DAY)
    assert ann.ls("/inbox") == {}
    with pytest.raises(NoSuchPlace):
        ann.read(f"/inbox/{shipment}/a.csv.age")


def test_who_has_collected_it_is_not_reminded_and_its_sender_not_alarmed(
    house: House, ann: Hand, kari: Hand, shipment: str
) -> None:
    ann.get(f"/inbox/{shipment}/a.csv.age")
    assert sweep(house, 29 * DAY).reminded == 0
    assert sweep(house, DAY).expired == 1
    assert notices(house, "expired_unread") == []


def test_a_suspended_delivery_expires_like_others(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    house.exchange.people.disable(ANN, house.clock())
    sweep(house, 30 * DAY)
    assert ann.delivery(shipment).state is DeliveryState.EXPIRED
    house.exchange.people.enable(ANN, house.clock())
    assert ann.delivery(shipment).state is DeliveryState.EXPIRED


# ---- clocks lie


@pytest.mark.parametrize(("jump", "words"), [(40 * DAY, "40.0 days ahead"), (-2 * 3600, "2.0 hours back")])
def test_a_wall_clock_that_jumps_stops_the_sweep_until_an_admin_has_looked(
    house: House, ann: Hand, kari: Hand, shipment: str, jump: float, words: str
) -> None:
    upkeep, running = house.exchange.upkeep, 1000.0
    upkeep.sweep(house.clock(), running, "boot")
    house.clock.turn(jump)
    for _ in range(2):
        with pytest.raises(ClockDoubt, match=words):
            upkeep.sweep(house.clock(), running, "boot")
    house.clock.turn(-jump)
    with pytest.raises(ClockDoubt):
        upkeep.sweep(house.clock(), running, "boot")  # that it came back proves nothing
    assert kari.state(shipment) == "waiting"

    upkeep.confirm_clock(house.clock(), running, "boot")
    assert upkeep.sweep(house.clock(), running, "boot").expired == 0


def test_an_hours_difference_and_a_machine_that_was_off_for_a_night_are_no_doubt(house: House) -> None:
    upkeep = house.exchange.upkeep
    upkeep.sweep(house.clock(), 1000.0, "boot")
    upkeep.sweep(house.clock() + 3599, 1000.0, "boot")
    upkeep.sweep(house.clock() + 3599 + DAY, 10.0, "another boot")
    with pytest.raises(ClockDoubt):
        upkeep.sweep(house.clock() + 3600 + 3 * DAY, 10.0, "a third boot")


def test_what_a_crash_between_the_stores_left_is_swept_a_day_later(house: House, ann: Hand, kari: Hand) -> None:
    """Blobs and keys that no row speaks of; what is younger may be on its way into a row."""
    import os
    import time

    kari.put(PATH, PLAIN)
    orphan = house.exchange._holdings.bodies.create()
    orphan.append(b"nobody's")
    house.exchange._holdings.secrets.keep_drop_key("0000-0000", b"nobody's", house.clock())
    house.clock.now = time.time()
    assert sweep(house).orphans == 0
    for path in house.settings.vault.rglob("*"):
        if path.is_file():
            os.utime(path, (house.clock() - 2 * DAY,) * 2)
    house.exchange.upkeep.confirm_clock(house.clock(), house.clock(), "boot")
    assert sweep(house, DAY + 1).orphans == 1
    assert not house.exchange._holdings.bodies.exists(orphan.id)
    house.clock.turn(400 * DAY)
    house.exchange.upkeep.confirm_clock(house.clock(), house.clock(), "boot")
    sweep(house)
    assert house.exchange._holdings.secrets.drop_key("0000-0000") is None
    assert house.exchange._holdings.secrets.drop_key(kari.drops()[0].id)
