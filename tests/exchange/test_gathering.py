"""Gathering: loose files that are ready together leave as one shipment, however many, and whoever dies meanwhile."""

from __future__ import annotations

import pytest

from fxsftp.exchange import gathering
from fxsftp.exchange.gathering import Gathering
from tests.exchange.hands import Hand, files_of, named_blobs, notices, registry_of, sent_ids, with_policy
from tests.house import ANN, House

COUNT = 11


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "PIECE", 3)


def put(kari: Hand, count: int = COUNT) -> None:
    for number in range(count):
        kari.put(f"/outbox/{ANN}/{number:02}.csv", b"%d" % number)
    kari.exchange.writing.session_ended(kari.session, kari.now)


def fetched(house: House, ann: Hand, shipment: str) -> dict[str, bytes]:
    ann.type_code(shipment, house.code(shipment, ann.user))
    return {file.name: ann.get(f"/inbox/{shipment}/{file.name}") for file in files_of(house, shipment)}


def test_many_pieces_leave_as_one_shipment_with_one_mail_and_all_that_was_told(
    house: House, ann: Hand, kari: Hand
) -> None:
    put(kari)
    drops = {drop.id for drop in kari.drops()}
    assert len(drops) == COUNT

    (shipment,) = sent_ids(house.settle())
    assert [drop.id for drop in kari.drops()] == [shipment]
    assert len(notices(house, "arrived")) == len(notices(house, "code")) == 1
    events = [event.event for event in house.exchange.sent.find(kari.user, shipment, kari.now).history]
    assert events.count("began") == COUNT
    assert fetched(house, ann, shipment) == {f"{number:02}.csv": b"%d" % number for number in range(COUNT)}
    assert named_blobs(house) == set(house.exchange._holdings.bodies.ids())
    assert house.exchange._holdings.secrets.shipments_with_drop_key() == []


def test_who_dies_between_two_pieces_leaves_drops_that_the_next_one_sends(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(kari)
    take, taken = Gathering._take, []

    def dying(self: Gathering, *which: object) -> object:
        if len(taken) == 2:
            raise SystemExit
        taken.append(which)
        return take(self, *which)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Gathering, "_take", dying)
        with pytest.raises(SystemExit):
            house.settle()
    assert sorted(len(files_of(house, drop.id)) for drop in kari.drops()) == [1, 1, 1, 1, 7]
    assert not notices(house, "arrived")

    (shipment,) = sent_ids(house.settle(1))
    assert len(fetched(house, ann, shipment)) == COUNT


def test_a_file_that_is_put_again_meanwhile_leaves_later_and_the_rest_now(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(kari)
    wrapped, again = gathering.seal.wrap_under, []

    def meanwhile(*what: bytes) -> bytes:
        if not again:
            again.append(1)
            kari.put(f"/outbox/{ANN}/02.csv", b"newer")
        return wrapped(*what)

    monkeypatch.setattr(gathering.seal, "wrap_under", meanwhile)
    found = [fetched(house, ann, shipment) for _ in range(2) for shipment in sent_ids(house.settle())]
    assert sum(map(len, found)) == COUNT
    assert [each["02.csv"] for each in found if "02.csv" in each] == [b"newer"]


def test_no_shipment_is_gathered_beyond_what_one_may_have(house: House, ann: Hand, kari: Hand) -> None:
    with_policy(house, max_files=4)
    kari.exchange = house.exchange
    put(kari)
    assert sorted(len(files_of(house, shipment)) for shipment in sent_ids(house.settle())) == [3, 4, 4]
    assert ann.user
    assert not registry_of(house.exchange).lots.unfinished(0)
