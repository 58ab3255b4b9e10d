"""Notices that a courier has carried, as they are when something comes back about them."""

from __future__ import annotations

from fxsftp import app
from fxsftp.domain.model import Notice, User
from tests.house import ANN, House


def shipment_to_ann(house: House, kari: User) -> str:
    """A report from kari to ann, dispatched; answers its id."""
    house.put(kari, f"/outbox/{ANN}/Ref 1/report.csv", b"a;b\n")
    house.exchange.writing.session_ended("s1", house.clock())
    house.settle()
    return house.inbox(house.exchange.people.find(ANN))[0].split("_")[1]


def carried(house: House, way: str, reference: str = "SM1", *, kind: str | None = None) -> Notice:
    """The one notice that waits for `way`, carried; its provider calls it `reference`."""
    courier = app.open_exchange(house.settings, role="courier")
    try:
        errands = courier.carriage.take_due(way, house.clock(), lease="test", seconds=60, limit=100)
        (errand,) = [each for each in errands if kind in (None, each.notice.kind)]
        courier.carriage.carried(errand.notice.id, "test", reference, house.clock())
    finally:
        courier.close()
    return house.exchange.notices.find(errand.notice.id)


def waiting(house: House, way: str) -> list[Notice]:
    """What is due by one way."""
    return [each for each in house.exchange.notices.list("due") if each.way == way]
