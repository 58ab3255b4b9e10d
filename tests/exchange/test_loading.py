"""Loading: whenever the dispatcher dies, a shipment has left whole or not at all, and the next finishes its work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from fxsftp import seal
from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.policy import DAY, HOUR
from fxsftp.errors import StoreFull
from fxsftp.exchange import loading
from fxsftp.store.registry.lots import Lots
from tests.exchange.hands import Hand, dispatched, files_of, named_blobs, notices, registry_of, sent_ids
from tests.house import ANN, House
from tests.walks.guests import ROOT

FILES = {f"{number}/{number}.csv": b"%d;" % number * 100 * number for number in range(9)}
PIECE = 4

Dispatch = Callable[[int], str]


@pytest.fixture
def dispatch(house: House) -> Iterator[Dispatch]:
    """A process dispatches what is due, and dies at its so manieth commit."""
    command = [sys.executable, "-m", "tests.exchange.killing", str(house.folder / "fxsftp.toml"), str(PIECE)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout

        def ask(number: int) -> str:
            house.clock.turn(400)
            print(number, house.clock(), file=process.stdin, flush=True)
            return process.stdout.readline().strip()  # type: ignore[union-attr]

        yield ask
        process.stdin.close()


def put(hand: Hand, folder: str) -> None:
    for name, data in FILES.items():
        hand.put(f"/outbox/{ANN}/{folder}/{name}", data)
    hand.exchange.writing.session_ended(hand.session, hand.now)


def opens_whole(house: House, ann: Hand, shipment: str) -> bool:
    """Without counting as fetched."""

    def content(name: str) -> bytes:
        found = ann.read(f"/inbox/{shipment}/{name}").content()
        assert found.read
        return found.read(0, found.size)

    identity = seal.open_key_file(content("KEY.age"), house.code(shipment, ann.user))
    return all(seal.open_small(content(f"{name}.age"), identity) == data for name, data in FILES.items())


def rows(house: House, table: str, where: str = "1 = 1") -> int:
    return int(registry_of(house.exchange)._engine.value(f"SELECT COUNT(*) FROM {table} WHERE {where}"))


def is_in_order(house: House) -> bool:
    """No lot is left; no small body and no key is in the registry, and every blob that it names is there."""
    left = rows(house, "files", "(small IS NOT NULL OR key IS NOT NULL OR connected IS NOT NULL)")
    return (
        not left
        and not rows(house, "lots")
        and not rows(house, "berths")
        and named_blobs(house) <= set(house.exchange._holdings.bodies.ids())
    )


def test_whenever_the_dispatcher_dies_all_of_it_leaves_exactly_once(
    house: House, ann: Hand, kari: Hand, dispatch: Dispatch
) -> None:
    states = set()
    for number in range(1, 100):
        put(kari, f"Ref {number}")
        (drop,) = [drop for drop in kari.drops() if drop.state is ShipmentState.SETTLING]
        became = dispatch(number)

        state = kari.state(drop.id)
        states.add(state)
        told = len(notices(house, "arrived")), len(notices(house, "code"))
        if state == "settling":
            assert (house.inbox(ann.user), told) == ([], (0, 0))
        else:
            assert opens_whole(house, ann, drop.id), number

        lines = house.settle(2 * HOUR)
        assert sent_ids(lines) == ([drop.id] if state == "settling" else []), number
        assert kari.state(drop.id) == "waiting"
        assert len(registry_of(house.exchange).deliveries.of_shipment(drop.id)) == 1
        assert (len(notices(house, "arrived")), len(notices(house, "code"))) == (1, 1)
        assert opens_whole(house, ann, drop.id), number
        assert is_in_order(house), number
        registry_of(house.exchange)._engine.execute("DELETE FROM notices")
        house.exchange.sent.recall(kari.user, drop.id, house.clock())
        if became == "done":
            break
    assert became == "done"
    assert states == {"settling", "waiting"}


def test_what_is_recalled_before_its_files_are_put_in_order_is_erased_at_once(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the dispatcher has died right after it left."""
    put(kari, "Ref 1")
    with monkeypatch.context() as patched:
        patched.setattr(loading.Loading, "_put_away", lambda *_: None)
        shipment = dispatched(house)
    assert rows(house, "files", "small IS NOT NULL")

    house.exchange.sent.recall(kari.user, shipment, house.clock())
    assert not rows(house, "files", "small IS NOT NULL OR key IS NOT NULL")
    assert not rows(house, "locks")

    house.settle(1)
    assert not rows(house, "locks")
    assert is_in_order(house)
    assert not list(house.exchange._holdings.bodies.ids())


def test_the_sweep_leaves_the_pack_of_what_is_not_in_order_yet(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(kari, "Ref 1")
    with monkeypatch.context() as patched:
        patched.setattr(loading.Loading, "_put_away", lambda *_: None)
        shipment = dispatched(house)
    (pack,) = house.exchange._holdings.bodies.ids()
    for blob in house.settings.state.rglob(f"*{pack}*"):
        os.utime(blob, (house.clock() - 2 * DAY, house.clock() - 2 * DAY))

    house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")
    house.settle(1)
    assert is_in_order(house)
    assert opens_whole(house, ann, shipment)


def test_a_full_disk_before_it_leaves_leaves_nothing_behind(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreFull

    put(kari, "Ref 1")
    with monkeypatch.context() as patched:
        patched.setattr(Lots, "add_locks", full)
        assert house.settle() == []
    assert (rows(house, "lots"), rows(house, "berths"), rows(house, "locks")) == (0, 0, 0)
    assert not list(house.exchange._holdings.bodies.ids())

    assert opens_whole(house, ann, dispatched(house, 1))
    assert len(files_of(house, kari.drops()[0].id)) == len(FILES)


def test_what_was_given_up_meanwhile_does_not_leave(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process took this one for dead: it tries again from the start."""
    put(kari, "Ref 1")
    load = loading.Loading.load

    def late(self: loading.Loading, *words: object) -> str:
        lot = load(self, *words)  # type: ignore[arg-type]
        self.finish_all(house.clock() + 2 * HOUR)
        return lot

    with monkeypatch.context() as patched:
        patched.setattr(loading.Loading, "load", late)
        assert house.settle() == []
    assert house.inbox(ann.user) == []
    assert (rows(house, "lots"), rows(house, "locks"), len(notices(house, "arrived"))) == (0, 0, 0)

    assert opens_whole(house, ann, dispatched(house, 1))
    assert is_in_order(house)
