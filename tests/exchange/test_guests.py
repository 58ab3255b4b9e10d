"""Who is logged in is counted in all processes that live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from fxsftp.domain.model import User
from fxsftp.errors import HouseFull, StoreFull, TooManyOfYours
from fxsftp.exchange import Exchange
from fxsftp.store.registry.guests import Guests as Rows
from tests.exchange.hands import another_process, registry_of
from tests.house import House


@pytest.fixture
def other(house: House) -> Iterator[Exchange]:
    """A second process."""
    exchange = another_process(house)
    yield exchange
    exchange.close()


def come_in(exchange: Exchange, user: User, name: str, *, of_user: int = 2, in_all: int = 3) -> None:
    exchange.guests.come_in(user, name, of_user=of_user, in_all=in_all, now=1_795_000_000.0)


def test_a_user_has_so_many_connections_in_all_processes_together(house: House, other: Exchange) -> None:
    ann, kari = house.ann(), house.kari()
    come_in(house.exchange, ann, "1")
    come_in(other, ann, "2")
    with pytest.raises(TooManyOfYours, match="You have 2 connections here"):
        come_in(house.exchange, ann, "3")

    come_in(house.exchange, kari, "4")
    other.guests.leave("2")
    come_in(other, ann, "5")


def test_who_has_left_makes_room_here_at_once_and_elsewhere_when_they_are_seen_off(
    house: House, other: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together, and by nothing more than they would cost where one of them had left."""
    ann, here = house.ann(), house.exchange
    for name in ("1", "2"):
        come_in(here, ann, name)
    here.guests.leave("1")
    come_in(here, ann, "3")
    for name in ("2", "3"):
        here.guests.leave(name)
    with pytest.raises(TooManyOfYours):
        come_in(other, ann, "4")

    begun: list[bool] = []
    atomic = registry_of(here).atomic

    def counted(*, durable: bool = True) -> AbstractContextManager[None]:
        begun.append(durable)
        return atomic(durable=durable)

    monkeypatch.setattr(registry_of(here), "atomic", counted)
    for _ in range(2):
        here.guests.see_off()
    assert begun == [False]
    come_in(other, ann, "4")
    come_in(other, ann, "5")


def test_a_house_that_is_full_is_full_at_every_door(house: House, other: Exchange) -> None:
    ann, kari = house.ann(), house.kari()
    for exchange, user, name in ((house.exchange, ann, "1"), (other, ann, "2"), (other, kari, "3")):
        come_in(exchange, user, name)
    with pytest.raises(HouseFull):
        come_in(house.exchange, kari, "4")


def test_who_finds_no_room_for_a_row_comes_in_and_counts_all_the_same(
    house: House, other: Exchange, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They may be the ones who make room."""

    def full(*_: object) -> None:
        raise StoreFull

    ann = house.ann()
    come_in(other, ann, "1")
    with monkeypatch.context() as patched:
        patched.setattr(Rows, "add", full)
        come_in(house.exchange, ann, "2")
        with pytest.raises(TooManyOfYours, match="You have 2 connections here"):
            come_in(house.exchange, ann, "3")
    assert "ann@firm.example has come in, though the registry's disk is full" in caplog.text

    house.exchange.guests.leave("2")
    come_in(house.exchange, ann, "4")


def test_who_leaves_while_there_is_no_room_to_write_it_is_forgotten_by_the_next(
    house: House, other: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreFull

    ann, kari = house.ann(), house.kari()
    for name in ("1", "2"):
        come_in(house.exchange, ann, name)
    with monkeypatch.context() as patched:
        patched.setattr(Rows, "forget", full)
        house.exchange.guests.leave("1")
        house.exchange.guests.see_off()

    come_in(house.exchange, kari, "3")
    come_in(other, ann, "4")


def test_those_of_a_dead_process_count_no_more_and_are_forgotten(house: House, other: Exchange) -> None:
    ann = house.ann()
    for name in ("1", "2"):
        come_in(house.exchange, ann, name)
    house.exchange._holdings.workers.end()

    come_in(other, ann, "3")
    other.writing.elsewhere.begin()

    assert registry_of(other).guests.of_user(ann.id) == {other._holdings.workers.name: 1}
