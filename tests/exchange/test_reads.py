"""What was sent of many files is written together, and nobody is told wrong what was read meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from fxsftp.domain.lifecycle import DeliveryState
from fxsftp.exchange import Exchange
from tests.exchange.hands import Hand, another_process, dispatched, notices, registry_of
from tests.house import KARI, House, at
from tests.walks.guests import until

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def shipment(house: House, ann: Hand, kari: Hand) -> str:
    """Four files to a member."""
    for name in NAMES:
        ann.put(f"/outbox/{KARI}/Ref 1/{name}", name.encode() * 100)
    return dispatched(house)


def fetch(hand: Hand, shipment: str, *names: str) -> list[bool]:
    """Read each to its end, and close it as SFTP does; answers which were kept."""
    kept = []
    for name in names:
        reading = hand.read(f"/inbox/{shipment}/{name}")
        assert len(reading.read(0, 1000)) == 100
        kept.append(hand.exchange.collecting.keep_done(reading, hand.now))
        if not kept[-1]:
            hand.done(reading)
    return kept


def fetched(house: House, hand: Hand, shipment: str) -> int:
    """How many files are written down as sent whole."""
    return len(registry_of(house.exchange).deliveries.fetched(shipment).get(hand.delivery(shipment).id, ()))


def test_what_is_kept_is_written_together_and_the_last_one_at_once(house: House, kari: Hand, shipment: str) -> None:
    assert fetch(kari, shipment, "a", "b", "c") == [False, True, True]
    assert fetched(house, kari, shipment) == 1
    kari.exchange.collecting.write_done()
    assert fetched(house, kari, shipment) == 3
    assert fetch(kari, shipment, "d") == [False]
    assert kari.delivery(shipment).state is DeliveryState.COLLECTED


def test_the_last_one_brings_what_was_kept_before_it(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    fetch(kari, shipment, *NAMES)
    assert kari.delivery(shipment).state is DeliveryState.COLLECTED
    assert len(notices(house, "collected")) == 1


def test_a_part_is_never_kept(house: House, kari: Hand, shipment: str) -> None:
    fetch(kari, shipment, "a")
    reading = kari.read(f"/inbox/{shipment}/b")
    reading.read(0, 99)
    assert not kari.exchange.collecting.keep_done(reading, kari.now)


def test_who_fetches_a_collected_shipment_again_has_all_kept(house: House, kari: Hand, shipment: str) -> None:
    fetch(kari, shipment, *NAMES)
    assert fetch(kari, shipment, *NAMES) == [True] * 4
    kari.exchange.collecting.write_done()
    assert len(notices(house, "collected")) == 1


def test_an_exchange_that_ends_writes_what_it_has_kept(house: House, kari: Hand, shipment: str) -> None:
    other = Hand(house, kari.user, exchange=another_process(house))
    assert fetch(other, shipment, "a", "b") == [False, True]
    other.exchange.close()
    assert fetched(house, kari, shipment) == 2


# ---- who ends a delivery waits for what is kept


def remove_all(exchange: Exchange, house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    exchange.inbox.remove_all(kari.user, at(f"/inbox/{shipment}"), house.clock())


def remove_each(exchange: Exchange, house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    for name in NAMES:
        exchange.inbox.remove(kari.user, at(f"/inbox/{shipment}/{name}"), house.clock())


def recall(exchange: Exchange, house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    assert exchange.sent.recall(ann.user, shipment, house.clock()) == f"{KARI} had collected it"


def expire(exchange: Exchange, house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    house.clock.turn(house.exchange.policy.expiry + 1)
    exchange.upkeep.sweep(house.clock(), house.clock(), "boot")


def disable(exchange: Exchange, house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    exchange.people.disable(KARI, house.clock())


@pytest.mark.parametrize("end", [remove_all, remove_each, recall, expire, disable])
def test_whoever_ends_a_delivery_waits_for_what_another_process_has_kept(
    house: House,
    ann: Hand,
    kari: Hand,
    shipment: str,
    end: Callable[[Exchange, House, Hand, Hand, str], None],
) -> None:
    """Two processes have sent half of it each, and neither knows of the other when it is all."""
    other = Hand(house, kari.user, exchange=another_process(house))
    assert fetch(kari, shipment, "a") == [False]
    assert fetch(kari, shipment, "b", "c") == [True, True]
    assert fetch(other, shipment, "d") == [False]
    assert kari.delivery(shipment).state is DeliveryState.OPENED
    ending = threading.Thread(target=end, args=(other.exchange, house, ann, kari, shipment))
    ending.start()
    house.exchange.collecting.write_done()
    ending.join(20)
    assert not ending.is_alive()
    assert kari.delivery(shipment).collected
    assert not notices(house, "removed_unread")
    assert not notices(house, "expired_unread")
    other.exchange.close()


def test_a_process_that_died_is_not_waited_for(house: House, kari: Hand, shipment: str) -> None:
    other = another_process(house)
    fetch(Hand(house, kari.user, exchange=other), shipment, "a", "b")
    marks, number = house.exchange._holdings.workers.marks, kari.delivery(shipment).id
    waiting = threading.Thread(target=marks.wait, args=([number], 60))
    waiting.start()
    other._holdings.workers.end()  # as its death would
    until(lambda: not waiting.is_alive())
    waiting.join()
    other.close()


# ---- who removes before closing, and who never closes


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["in one process", "in another process"])
def test_what_is_removed_before_it_is_closed_was_read_all_the_same(
    house: House, kari: Hand, shipment: str, is_elsewhere: bool
) -> None:
    fetch(kari, shipment, "a", "b", "c")
    reading = kari.read(f"/inbox/{shipment}/d")
    reading.read(0, 1000)
    remover = Hand(house, kari.user, exchange=another_process(house)) if is_elsewhere else kari
    kari.exchange.collecting.write_done()
    for name in NAMES:
        remover.rm(f"/inbox/{shipment}/{name}")
    assert kari.delivery(shipment).state is DeliveryState.REMOVED
    kari.done(reading)
    assert [each["state"] for each in notices(house, "removed_unread")] == ["dropped"]
    assert len(notices(house, "collected")) == 1
    assert kari.delivery(shipment).collected
    assert kari.delivery(shipment).state is DeliveryState.REMOVED
    if is_elsewhere:
        remover.exchange.close()


def test_that_it_was_removed_unread_is_told_a_minute_later(house: House, kari: Hand, shipment: str) -> None:
    kari.exchange.inbox.remove_all(kari.user, at(f"/inbox/{shipment}"), kari.now)
    (told,) = [each for each in house.exchange.notices.list() if each.kind == "removed_unread"]
    assert told.due == kari.now + 60


def test_who_never_closes_has_not_collected(house: House, kari: Hand, shipment: str) -> None:
    """What its session left unsaid need not have left; who asks for the end again, and closes, has it all."""
    fetch(kari, shipment, "a", "b", "c")
    reading = kari.read(f"/inbox/{shipment}/d")
    reading.read(0, 1000)
    reading.lost()
    kari.done(reading)
    assert kari.delivery(shipment).state is DeliveryState.OPENED
    rest = kari.read(f"/inbox/{shipment}/d")
    rest.read(99, 1)
    kari.done(rest)
    assert kari.delivery(shipment).state is DeliveryState.COLLECTED
