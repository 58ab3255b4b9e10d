"""Confirmations: what protects an account changes by the old phone's word only, and exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fxsftp.clock import boot
from fxsftp.domain.model import LockKind
from fxsftp.errors import (
    AskedTooOften,
    BadKey,
    BadPhone,
    ConfirmationOver,
    NoPhone,
    TotpRequired,
    WrongConfirmation,
)
from tests.exchange.hands import Hand, another_process, notices, registry_of, state_files, with_policy
from tests.exchange.post import PORTAL, at_once, courier, delivered, digits
from tests.exchange.test_totp import App
from tests.house import ANN, House

OLD, NEW = "+4790000000", "+4790000009"
MINUTE = 60
LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ ann@laptop"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "house", settings_text=PORTAL) as found:
        yield found


def other_than(digits_: str) -> str:
    return f"{(int(digits_) + 1) % 10**6:06}"


@pytest.mark.parametrize(
    ("what", "wish"),
    [
        ("phone", {"phone": "+47 90 00 00 09"}),
        ("delivery", {"delivery": "session"}),
        ("key", {"line": LINE}),
        ("totp", {"on": True}),
    ],
)
def test_a_change_waits_for_the_digits_that_the_old_phone_gets(
    house: House, ann: Hand, what: str, wish: dict[str, object]
) -> None:
    rooms, now = house.exchange, house.clock()
    asked = rooms.confirmations.ask(ann.user, what, wish, now)
    assert (asked.phone_hint, asked.expires) == ("…00", now + 10 * MINUTE)
    assert (ann.user.phone, ann.user.delivery, rooms.people.keys(ANN)) == (OLD, None, [])
    assert not rooms.totp.is_allowed(ann.user, now)
    typed = digits(house, OLD)
    rooms.confirmations.confirm(ann.user, asked.id, f"{typed[:3]} {typed[3:]}", now)
    match what:
        case "phone":
            assert ann.user.phone == NEW
        case "delivery":
            assert ann.user.delivery is LockKind.SESSION
        case "key":
            assert [(key.comment, key.opens) for key in rooms.people.keys(ANN)] == [("ann@laptop", True)]
        case "totp":
            assert rooms.totp.is_allowed(ann.user, now)
    told = {(each["way"], each["address"]) for each in notices(house, "changed")}
    assert told == (set() if what == "totp" else {("mail", ANN), ("sms", OLD)}), "the addresses of before hear of it"


def test_the_second_factor_is_turned_off_by_the_old_phone(house: House, ann: Hand) -> None:
    App(house, ann.user)
    asked = house.exchange.confirmations.ask(ann.user, "totp", {"on": False}, house.clock())
    house.exchange.confirmations.confirm(ann.user, asked.id, digits(house, OLD), house.clock())
    assert not house.exchange.totp.is_on(ann.user)
    with_policy(house, totp="all")
    with pytest.raises(TotpRequired):
        house.exchange.confirmations.ask(ann.user, "totp", {"on": False}, house.clock())


def test_digits_count_once(house: House, ann: Hand) -> None:
    room = house.exchange.confirmations
    asked = room.ask(ann.user, "phone", {"phone": NEW}, house.clock())
    typed = digits(house, OLD)
    room.confirm(ann.user, asked.id, typed, house.clock())
    house.exchange.people.change(ANN, house.clock(), phone=OLD)
    with pytest.raises(ConfirmationOver):
        room.confirm(ann.user, asked.id, typed, house.clock())
    assert ann.user.phone == OLD


def test_of_two_who_confirm_at_once_exactly_one_changes_anything(house: House, ann: Hand) -> None:
    asked = house.exchange.confirmations.ask(ann.user, "key", {"line": LINE}, house.clock())
    typed, now, user, other = digits(house, OLD), house.clock(), ann.user, another_process(house)
    try:
        results = at_once(
            *(
                lambda each=each: each.confirmations.confirm(user, asked.id, typed, now)
                for each in (house.exchange, other) * 3
            )
        )
    finally:
        other.close()
    assert sorted(type(result).__name__ for result in results) == ["Confirmation"] + ["ConfirmationOver"] * 5
    assert len(notices(house, "changed")) == 2, "one mail and one SMS"


def test_five_wrong_ones_end_it(house: House, ann: Hand) -> None:
    room = house.exchange.confirmations
    asked = room.ask(ann.user, "phone", {"phone": NEW}, house.clock())
    typed = digits(house, OLD)
    for wrong in (other_than(typed), "", "abcdef", "\ud800", "1" * 10_000):
        with pytest.raises(WrongConfirmation):
            room.confirm(ann.user, asked.id, wrong, house.clock())
    with pytest.raises(ConfirmationOver):
        room.confirm(ann.user, asked.id, typed, house.clock())
    assert ann.user.phone == OLD


def test_it_is_over_after_ten_minutes_and_its_sms_is_not_sent_late(house: House, ann: Hand) -> None:
    room = house.exchange.confirmations
    asked = room.ask(ann.user, "phone", {"phone": NEW}, house.clock())
    with courier(house) as exchange:
        (errand,) = exchange.carriage.take_due("sms", house.clock(), lease="x", seconds=60, limit=10)
    house.clock.turn(10 * MINUTE)
    with pytest.raises(ConfirmationOver):
        room.confirm(ann.user, asked.id, errand.code or "", house.clock())
    assert delivered(house, "confirm", "sms") == []


def test_it_is_one_users_and_of_the_phone_that_got_it(house: House, ann: Hand, kari: Hand) -> None:
    room = house.exchange.confirmations
    asked = room.ask(ann.user, "delivery", {"delivery": "session"}, house.clock())
    typed = digits(house, OLD)
    with pytest.raises(ConfirmationOver):
        room.confirm(kari.user, asked.id, typed, house.clock())
    house.exchange.people.change(ANN, house.clock(), phone=NEW)
    with pytest.raises(ConfirmationOver):
        room.confirm(ann.user, asked.id, typed, house.clock())
    assert ann.user.delivery is None


def test_a_newer_wish_ends_the_older_one(house: House, ann: Hand) -> None:
    room = house.exchange.confirmations
    first = room.ask(ann.user, "phone", {"phone": "+4790000008"}, house.clock())
    typed = digits(house, OLD)
    second = room.ask(ann.user, "phone", {"phone": NEW}, house.clock())
    with pytest.raises(ConfirmationOver):
        room.confirm(ann.user, first.id, typed, house.clock())
    room.confirm(ann.user, second.id, digits(house, OLD), house.clock())
    assert ann.user.phone == NEW


def test_it_is_asked_for_five_times_in_an_hour(house: House, ann: Hand) -> None:
    room = house.exchange.confirmations
    for _ in range(5):
        room.ask(ann.user, "phone", {"phone": NEW}, house.clock())
    with pytest.raises(AskedTooOften):
        room.ask(ann.user, "delivery", {"delivery": "session"}, house.clock())
    house.clock.turn(3601)
    room.ask(ann.user, "phone", {"phone": NEW}, house.clock())


def test_who_has_no_phone_asks_the_operator_and_a_wish_that_can_not_be_costs_no_sms(house: House, ann: Hand) -> None:
    room = house.exchange.confirmations
    for what, wish, error in (("phone", {"phone": "12"}, BadPhone), ("key", {"line": "rubbish"}, BadKey)):
        with pytest.raises(error):
            room.ask(ann.user, what, wish, house.clock())
    house.exchange.people.change(ANN, house.clock(), phone=None)
    with pytest.raises(NoPhone):
        room.ask(ann.user, "phone", {"phone": NEW}, house.clock())
    assert notices(house, "confirm") == []


def test_a_change_that_fails_leaves_the_digits_good(house: House, ann: Hand) -> None:
    """Nothing happened, so it can be tried again."""
    room = house.exchange.confirmations
    asked = room.ask(ann.user, "key", {"line": LINE}, house.clock())
    typed = digits(house, OLD)
    house.exchange.people.add_key(ANN, LINE, house.clock())
    with pytest.raises(BadKey):
        room.confirm(ann.user, asked.id, typed, house.clock())
    house.exchange.people.remove_key(ANN, "ann@laptop", house.clock())
    room.confirm(ann.user, asked.id, typed, house.clock())
    assert len(house.exchange.people.keys(ANN)) == 1


def test_the_digits_go_by_sms_only_and_lie_nowhere_in_clear(house: House, ann: Hand) -> None:
    room = house.exchange.confirmations
    seen = []
    for _ in range(4):  # six digits may stand somewhere by chance; not each time
        asked = room.ask(ann.user, "phone", {"phone": NEW}, house.clock())
        typed = digits(house, OLD)
        assert typed not in repr(asked)
        seen.append([path for path, content in state_files(house) if typed.encode() in content])
    assert [] in seen
    assert {each["way"] for each in notices(house, "confirm")} == {"sms"}


def test_the_digits_are_erased_when_they_have_arrived_or_are_too_old(house: House, ann: Hand) -> None:
    secrets = house.exchange._holdings.secrets
    house.exchange.confirmations.ask(ann.user, "phone", {"phone": NEW}, house.clock())
    digits(house, OLD)
    (notice,) = [each for each in house.exchange.notices.list() if each.kind == "confirm"]
    assert secrets.links_over(1e12) == [notice.id]
    assert house.exchange.carriage.delivered(notice.id, way="sms", now=house.clock())
    assert secrets.links_over(1e12) == []
    house.exchange.confirmations.ask(ann.user, "phone", {"phone": NEW}, house.clock())
    house.clock.turn(2 * 3600)
    house.exchange.upkeep.sweep(house.clock(), *boot())
    assert secrets.links_over(1e12) == []
    assert registry_of(house.exchange)._engine.value("SELECT COUNT(*) FROM confirmations") == 0
