"""Erasing: what is recalled is out of reach with the first commit, and gone whoever dies while it is erased."""

from __future__ import annotations

import pytest

from fxsftp.domain.lifecycle import DeliveryState
from fxsftp.domain.policy import DAY, HOUR
from fxsftp.errors import NoSuchPlace, WrongCode
from fxsftp.exchange import erasing
from fxsftp.exchange.erasing import Erasing
from tests.exchange.hands import Hand, dispatched, files_of, named_blobs, registry_of
from tests.house import ANN, House, at

COUNT = 11


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "PIECE", 3)


@pytest.fixture
def shipment(house: House, ann: Hand, kari: Hand) -> str:
    for number in range(COUNT):
        kari.put(f"/outbox/{ANN}/Ref/{number}.csv", b"x" * 70_000 * (number % 2))
    kari.exchange.writing.session_ended(kari.session, kari.now)
    return dispatched(house)


def left(house: House, shipment: str) -> tuple[int, int]:
    """How many locks and how many blobs there still are."""
    engine = registry_of(house.exchange)._engine
    locks = engine.value("SELECT COUNT(*) FROM locks WHERE file_id IN (SELECT id FROM files WHERE shipment_id = ?)",
                         (shipment,))  # fmt: skip
    return int(locks), len(list(house.exchange._holdings.bodies.ids()))


def dies_after(monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    whole = Erasing.pieces

    def some(self: Erasing, shipment_id: str, now: float) -> object:
        for number, each in enumerate(whole(self, shipment_id, now)):
            if number == pieces:
                raise SystemExit
            yield each

    monkeypatch.setattr(Erasing, "pieces", some)


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_whoever_dies_while_recalling_has_recalled_and_the_next_one_erases_the_rest(
    house: House, ann: Hand, kari: Hand, shipment: str, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    code = house.code(shipment, ann.user)
    with monkeypatch.context() as patched:
        dies_after(patched, pieces)
        with pytest.raises(SystemExit):
            house.exchange.sent.recall(kari.user, shipment, house.clock())
    assert any(left(house, shipment))
    assert (kari.state(shipment), ann.delivery(shipment).state) == ("recalled", DeliveryState.RECALLED)
    assert ann.ls("/inbox") == {}
    with pytest.raises(NoSuchPlace):
        ann.read(f"/inbox/{shipment}/1.csv.age")
    with pytest.raises(WrongCode):
        ann.type_code(shipment, code)
    assert house.exchange._holdings.secrets.code(ann.delivery(shipment).id) is None

    house.settle(HOUR)
    assert left(house, shipment) == (0, 0)
    assert named_blobs(house) == set()
    assert len(files_of(house, shipment)) == COUNT  # as a record
    history = [event.event for event in house.exchange.sent.find(kari.user, shipment, kari.now).history]
    assert history.count("recalled") == history.count("erased") == 1


def test_what_ends_is_erased_in_pieces_too_and_once(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    house.exchange.inbox.remove_all(ann.user, at(f"/inbox/{shipment}"), house.clock())

    def steps(later: float) -> list[str]:
        house.clock.turn(later)
        upkeep = house.exchange.upkeep
        upkeep.confirm_clock(house.clock(), house.clock(), "boot")
        return [what for what, _ in upkeep.steps(house.clock(), house.clock(), "boot") if what == "erased"]

    assert not steps(HOUR)
    assert len(steps(DAY)) > COUNT / 3
    assert left(house, shipment) == (0, 0)
    assert not steps(DAY)
