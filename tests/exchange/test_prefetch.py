"""Files opened before they are asked for: they are the same files, and nobody gets one that is not theirs any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fxsftp.domain.lifecycle import DeliveryState
from fxsftp.exchange.reading import Reading
from tests.exchange.hands import Hand, another_process, dispatched
from tests.house import ANN, KARI, House, at

COUNT = 40
NAMES = [f"{number:02}.csv" for number in range(COUNT)]


def content(name: str) -> bytes:
    return f"id;value\n{name}\n".encode() * 100


def sent(house: House, sender: Hand, to: str) -> str:
    for name in NAMES:
        sender.put(f"/outbox/{to}/Ref 1/{name}", content(name))
    return dispatched(house)


@pytest.fixture
def for_kari(house: House, ann: Hand, kari: Hand) -> str:
    """To a member, for whom logging in is enough."""
    return sent(house, ann, KARI)


@pytest.fixture
def for_ann(house: House, ann: Hand, kari: Hand) -> str:
    """With a code."""
    return sent(house, kari, ANN)


def at_once(hand: Hand, path: str) -> Reading | None:
    return hand.exchange.collecting.open_at_once(hand.user, at(path), hand.now)


def fetch_in_order(hand: Hand, shipment: str, suffix: str = "") -> tuple[dict[str, bytes], int]:
    """As SFTP does; answers what there was, and how many files were there at once."""
    found, count = {}, 0
    for name in NAMES:
        path = f"/inbox/{shipment}/{name}{suffix}"
        entry = hand.exchange.collecting.stat_at_once(hand.user, at(path), hand.now)
        assert entry in (None, hand.stat(path))
        reading = at_once(hand, path)
        count += reading is not None
        reading = reading or hand.read(path)
        assert reading.entry == hand.stat(path)
        found[name] = reading.read(0, 1 << 20)
        hand.done(reading)
    return found, count


def begin(hand: Hand, shipment: str, suffix: str = "") -> str:
    """Fetch the first two, so that others are opened ahead; answers the path of one of those."""
    for name in NAMES[:3]:
        hand.get(f"/inbox/{shipment}/{name}{suffix}")
    path = f"/inbox/{shipment}/{NAMES[4]}{suffix}"
    assert hand.exchange.collecting.stat_at_once(hand.user, at(path), hand.now) is not None
    return path


# ---- the same files


def test_who_fetches_a_folder_in_order_finds_most_files_open(house: House, kari: Hand, for_kari: str) -> None:
    found, count = fetch_in_order(kari, for_kari)
    assert found == {name: content(name) for name in NAMES}
    assert count >= COUNT * 3 // 4
    assert kari.delivery(for_kari).state is DeliveryState.COLLECTED


def test_what_a_code_has_opened_is_opened_ahead_in_plain(house: House, ann: Hand, for_ann: str) -> None:
    ann.type_code(for_ann, house.code(for_ann, ann.user))
    found, count = fetch_in_order(ann, for_ann)
    assert found == {name: content(name) for name in NAMES}
    assert count >= COUNT * 3 // 4


def test_locked_files_are_ready_ahead_as_they_are_offered(house: House, ann: Hand, for_ann: str) -> None:
    paths = {name: f"/inbox/{for_ann}/{name}.age" for name in NAMES}
    found, count = fetch_in_order(ann, for_ann, ".age")
    assert found == {name: ann.get(path) for name, path in paths.items()}
    assert count >= COUNT * 3 // 4


def grown(hand: Hand, shipment: str) -> list[str]:
    """Take of eight until less than half are left; answers the paths of these, and of those opened meanwhile."""
    begin(hand, shipment)
    for name in NAMES[2:7]:
        reading = at_once(hand, f"/inbox/{shipment}/{name}")
        assert reading
        hand.done(reading)
    hand.exchange.collecting._holdings.meanwhile(lambda: None).result(60)
    return [f"/inbox/{shipment}/{name}" for name in NAMES[7:26]]


def test_while_they_are_taken_more_are_opened(house: House, kari: Hand, for_kari: str) -> None:
    """So that whoever takes them need not wait."""
    readings = [at_once(kari, path) for path in grown(kari, for_kari)]
    assert [reading and reading.read(0, 1 << 20) for reading in readings] == [content(name) for name in NAMES[7:26]]


def test_none_of_them_is_handed_out_once_they_may_not_be_read(
    house: House, ann: Hand, kari: Hand, for_kari: str
) -> None:
    paths = grown(kari, for_kari)
    recalled(house, ann, kari, for_kari)
    assert [at_once(kari, path) for path in paths] == [None] * len(paths)


def test_who_wants_one_file_has_no_other_opened(house: House, kari: Hand, for_kari: str) -> None:
    kari.get(f"/inbox/{for_kari}/{NAMES[0]}")
    assert at_once(kari, f"/inbox/{for_kari}/{NAMES[1]}") is None


def test_a_file_opened_ahead_is_for_one_reader(house: House, kari: Hand, for_kari: str) -> None:
    path = begin(kari, for_kari)
    one, other = at_once(kari, path), at_once(kari, path)
    assert one is not None
    assert other is None
    assert kari.get(path) == content(NAMES[4])


# ---- and only whose they are


def recalled(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    another_process(house).sent.recall(ann.user, shipment, house.clock())


def disabled(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    house.exchange.people.disable(KARI, house.clock())


def removed(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    another_process(house).inbox.remove(kari.user, at(f"/inbox/{shipment}/{NAMES[4]}"), house.clock())


def all_removed(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    another_process(house).inbox.remove_all(kari.user, at(f"/inbox/{shipment}"), house.clock())


def expired(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    house.clock.turn(house.exchange.policy.expiry + 1)


@pytest.mark.parametrize("ending", [recalled, disabled, removed, all_removed, expired])
def test_what_was_opened_ahead_is_not_handed_out_once_it_may_not_be_read(
    house: House, ann: Hand, kari: Hand, for_kari: str, ending: Callable[[House, Hand, Hand, str], None]
) -> None:
    path = begin(kari, for_kari)
    ending(house, ann, kari, for_kari)
    assert kari.exchange.collecting.stat_at_once(kari._user, at(path), kari.now) is None
    assert kari.exchange.collecting.open_at_once(kari._user, at(path), kari.now) is None


def test_what_a_code_has_opened_closes_for_what_was_opened_ahead_too(house: House, ann: Hand, for_ann: str) -> None:
    ann.type_code(for_ann, house.code(for_ann, ann.user))
    path = begin(ann, for_ann)
    house.clock.turn(house.exchange.policy.opening)
    assert at_once(ann, path) is None


def test_what_was_opened_ahead_is_nobody_elses(house: House, ann: Hand, kari: Hand, for_kari: str) -> None:
    path = begin(kari, for_kari)
    assert at_once(ann, path) is None
