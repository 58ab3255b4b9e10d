"""A large file, cut off, resumed and closed: CLOSE is answered at once, and the file becomes one before it leaves.

Small sizes stand for large ones: what is counted is what CLOSE reads and what it leaves lying, not seconds.
"""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from fxsftp import seal
from fxsftp.errors import Unavailable
from fxsftp.exchange import drafts
from fxsftp.exchange.drafts import Draft
from fxsftp.store.vault import local
from tests.exchange.hands import Hand, another_process, dispatched, killed, registry_of, write
from tests.house import KARI, House

FILE = f"/outbox/{KARI}/Ref 1/large.bin"
DATA = Random(60).randbytes(50 * seal.CHUNK + 12_345)
SIXTY = len(DATA) * 6 // 10


class Died(BaseException):
    """Nothing that code under test would catch."""


def cut_and_resumed(house: House, ann: Hand) -> tuple[Hand, Draft]:
    """Sixty percent, kill -9, and the rest from where stat says, up to before its CLOSE."""
    write(ann.open(FILE), DATA[:SIXTY])
    revived = Hand(house, ann.user, "s2", killed(house))
    start = revived.stat(FILE).size
    assert SIXTY - seal.CHUNK <= start <= SIXTY
    draft = revived.open(FILE, truncate=False)
    write(draft, DATA[start:], start=start)
    return revived, draft


def blobs(house: House) -> list[int]:
    """The sizes of all that lies in the vault."""
    return sorted(path.stat().st_size for path in (house.settings.state / "vault").rglob("*") if path.is_file())


@pytest.fixture
def read_so_far(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all that is read from the vault."""
    found, read = [], local._read

    def counting(descriptor: int, offset: int, count: int) -> bytes:
        found.append(count)
        return read(descriptor, offset, count)

    monkeypatch.setattr(local, "_read", counting)
    return found


def test_a_file_resumed_at_sixty_percent_is_closed_without_waiting_for_its_merge(
    house: House, ann: Hand, kari: Hand, read_so_far: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLOSE is answered though nothing can be merged, and has read nothing; what it left is merged before it leaves."""
    hand, draft = cut_and_resumed(house, ann)
    read_so_far.clear()
    with monkeypatch.context() as nobody_merges:
        nobody_merges.delattr(seal, "merge")
        hand.close(draft)
    assert read_so_far == []
    assert len(blobs(house)) == 2
    (file,) = registry_of(house.exchange).segments.to_merge()
    assert (file.size, file.sha256, file.blob) == (len(DATA), None, None)

    killed(house)  # the OK was given
    shipment = dispatched(house)
    assert blobs(house) == [seal.payload_size(len(DATA))]
    assert hashlib.sha256(DATA).hexdigest().encode() in kari.get(f"/inbox/{shipment}/SHA256SUMS")
    assert kari.get(f"/inbox/{shipment}/large.bin") == DATA


def test_a_merge_that_is_killed_is_done_again(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pieces lie there until the whole is on record."""
    hand, draft = cut_and_resumed(house, ann)
    hand.close(draft)
    append = local.LocalBlob.append

    def dies(blob: local.LocalBlob, data: bytes) -> None:
        if blob.size > len(DATA) // 2:
            raise Died
        append(blob, data)

    with monkeypatch.context() as short_life, pytest.raises(Died):
        short_life.setattr(local.LocalBlob, "append", dies)
        house.settle()
    killed(house)
    shipment = dispatched(house)
    kari = Hand(house, kari.user, exchange=house.exchange)
    assert kari.get(f"/inbox/{shipment}/large.bin") == DATA


def test_a_file_killed_between_its_seal_and_its_row_has_its_hash_when_it_leaves(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that resumes finds all but its end there: hardly anything of it passes by to be hashed."""
    draft = ann.open(FILE)
    write(draft, DATA)

    def dies(*_: object) -> None:
        raise Died

    with monkeypatch.context() as short_life, pytest.raises(Died):
        short_life.setattr(house.exchange.writing, "_complete", dies)
        ann.close(draft)
    hand = Hand(house, ann.user, "s2", killed(house))
    start = hand.stat(FILE).size
    assert start == len(DATA) // seal.CHUNK * seal.CHUNK
    again = hand.open(FILE, truncate=False)
    again.write(start, DATA[start:])
    hand.close(again)
    shipment = dispatched(house)
    kari = Hand(house, kari.user, exchange=house.exchange)
    assert hashlib.sha256(DATA).hexdigest().encode() in kari.get(f"/inbox/{shipment}/SHA256SUMS")
    assert kari.get(f"/inbox/{shipment}/large.bin") == DATA


@pytest.fixture
def synced_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight chunks stand for what is worth a sync."""
    monkeypatch.setattr(drafts, "SYNCED", 8 * seal.CHUNK)


def grown(house: House, ann: Hand, size: int) -> Draft:
    """So much of the file, put while the service said its beat now and then."""
    draft = ann.open(FILE)
    for start in range(0, size, seal.CHUNK):
        write(draft, DATA[start : min(start + seal.CHUNK, size)], start=start)
        house.exchange.writing.beat(house.clock())
        if draft._syncing is not None:
            draft._syncing.result()
    return draft


@pytest.mark.usefixtures("synced_often")
def test_after_kill_9_only_what_was_not_synced_is_verified(
    house: House, ann: Hand, kari: Hand, read_so_far: list[int]
) -> None:
    """However large the file is: neither the start of the service nor OPEN reads what was synced before."""
    grown(house, ann, SIXTY)
    revived = Hand(house, ann.user, "s2", killed(house))
    start = revived.stat(FILE).size
    draft = revived.open(FILE, truncate=False)
    assert SIXTY - seal.CHUNK <= start <= SIXTY
    assert sum(read_so_far) < SIXTY // 2
    write(draft, DATA[start:], start=start)
    revived.close(draft)
    shipment = dispatched(house)
    assert Hand(house, kari.user, exchange=house.exchange).get(f"/inbox/{shipment}/large.bin") == DATA


@pytest.mark.usefixtures("kari")
@pytest.mark.parametrize("looks", ["stat", "ls"])
def test_who_looks_at_a_draft_before_a_new_service_has_come_to_it_sees_what_was_flushed(
    house: House, ann: Hand, looks: str
) -> None:
    """A service answers before it has taken up all that a killed one had open."""
    draft = ann.open(FILE)
    write(draft, DATA[: 9 * seal.CHUNK + 1])
    draft.settle_chores()
    house.exchange._holdings.workers.end()
    revived = Hand(house, ann.user, "s2", another_process(house))
    size = revived.stat(FILE).size if looks == "stat" else revived.ls(FILE.rpartition("/")[0])["large.bin"]
    assert size == 9 * seal.CHUNK
    revived.exchange.writing.elsewhere.begin()
    assert revived.stat(FILE).size == size


@pytest.mark.usefixtures("synced_often")
def test_what_a_power_cut_left_behind_the_last_sync_is_not_believed(house: House, ann: Hand, kari: Hand) -> None:
    """A file may keep its length and have zeros anywhere behind what was synced."""
    draft = grown(house, ann, 20 * seal.CHUNK + 1)
    (segment,) = registry_of(house.exchange).segments.of(draft.file.id)
    assert 8 * seal.CHUNK < segment.durable < 20 * seal.CHUNK
    (blob,) = (path for path in (house.settings.state / "vault").rglob(segment.blob))
    with blob.open("r+b") as lying:
        lying.seek(segment.durable + 2 * 65552)
        lying.write(bytes(65552))
    revived = Hand(house, ann.user, "s2", killed(house))
    start = revived.stat(FILE).size
    assert segment.durable // 65552 <= start // seal.CHUNK < 20
    again = revived.open(FILE, truncate=False)
    write(again, DATA[start:], start=start)
    revived.close(again)
    shipment = dispatched(house)
    assert Hand(house, kari.user, exchange=house.exchange).get(f"/inbox/{shipment}/large.bin") == DATA


@pytest.mark.usefixtures("kari", "synced_often")
@pytest.mark.usefixtures("kari", "synced_often")
def test_a_sync_that_failed_meanwhile_fails_the_close(house: House, ann: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of what it could not write once only, and not to who asks the second time."""
    with monkeypatch.context() as bad_disk:
        bad_disk.setattr(local.LocalBlob, "sync", broken)
        draft = grown(house, ann, 12 * seal.CHUNK)
    with pytest.raises(Unavailable):
        ann.close(draft)


def broken(_: local.LocalBlob) -> None:
    raise Unavailable("the disk fails")
