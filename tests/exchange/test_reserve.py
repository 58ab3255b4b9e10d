"""A disk of which only the reserve is left takes nothing new, and everybody can still make room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fxsftp.errors import StoreFull
from fxsftp.exchange.drafts import Draft
from tests.exchange.hands import Hand, dispatched
from tests.house import KARI, House

FOLDER = f"/outbox/{KARI}/Ref"


class Disk:
    """One of 10 GiB, with 255 MiB free."""

    free = 255 << 20

    def __call__(self, _: Path) -> os.statvfs_result:
        blocks, free = (10 << 30) // 4096, self.free // 4096
        return os.statvfs_result((4096, 4096, blocks, free, free, 0, 0, 0, 0, 255))


@pytest.fixture
def full(house: House, monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    room = house.exchange._holdings.bodies._room  # type: ignore[attr-defined]
    monkeypatch.setattr(room, "_statvfs", disk)
    monkeypatch.setattr(room, "_left", 0)
    return disk


def test_nothing_new_comes_in_however_small(ann: Hand, kari: Hand, full: Disk) -> None:
    """Small bodies lie in the registry, whose room this is; also those that get no row before their CLOSE."""
    full.free = 1 << 30
    ann.put(f"{FOLDER}/a.csv", b"the first makes the drop")
    full.free = 255 << 20
    ann.house.exchange._holdings.bodies.free_bytes()  # as a second later
    for name in ("b.csv", "a.csv"):
        with pytest.raises(StoreFull):
            ann.open(f"{FOLDER}/{name}")
    with pytest.raises(StoreFull):
        kari.open(f"/outbox/{ann.user.email}/data.csv")
    assert ann.exchange.outbox.space(ann.user)[1] == 0

    full.free = 1 << 30
    ann.put(f"{FOLDER}/b.csv", b"now there is room")


def test_what_grows_is_cut_off_and_can_be_resumed(ann: Hand, kari: Hand, full: Disk) -> None:
    full.free = 1 << 30
    draft: Draft = ann.open(f"{FOLDER}/large.bin")
    draft.write(0, bytes(200_000))
    full.free = 255 << 20
    ann.house.exchange._holdings.bodies.free_bytes()
    with pytest.raises(StoreFull):
        draft.write(200_000, bytes(200_000))
    ann.lose(draft)
    assert 0 < ann.stat(f"{FOLDER}/large.bin").size <= 200_000


def test_everybody_can_look_fetch_and_remove(house: House, ann: Hand, kari: Hand, full: Disk) -> None:
    full.free = 1 << 30
    ann.put(f"{FOLDER}/a.csv", b"content")
    shipment = dispatched(house)
    ann.put(f"/outbox/{KARI}/Ref 2/large.bin", bytes(200_000))
    full.free = 0
    house.exchange._holdings.bodies.free_bytes()

    assert kari.get(f"/inbox/{shipment}/a.csv") == b"content"
    ann.rm(f"/outbox/{KARI}/Ref 2/large.bin")
    assert list(ann.ls(f"/outbox/{KARI}/Ref 2")) == []
