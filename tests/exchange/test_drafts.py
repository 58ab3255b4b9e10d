"""One file while it is written: lost sessions, killed processes, two writers, what is resumed and what is refused."""

from __future__ import annotations

import os
from itertools import permutations

import pytest

from fxsftp.domain.lifecycle import FileState, ShipmentState
from fxsftp.domain.model import Wishes
from fxsftp.errors import (
    AlreadySent,
    Gap,
    Incomplete,
    NoSuchPlace,
    NotReadable,
    NotYours,
    Rewritten,
    TooFarAhead,
)
from tests.exchange.hands import Hand, dispatched, files_of, killed, registry_of, write
from tests.house import KARI, House

PATH = f"/outbox/{KARI}/Ref/a.bin"
CHUNK = 65536
DATA = os.urandom(5 * CHUNK + 1000)


def received(house: House, kari: Hand, name: str = "a.bin") -> bytes:
    """What kari gets of the one shipment that leaves now."""
    return kari.get(f"/inbox/{dispatched(house)}/{name}")


def test_no_file_gets_the_number_of_one_that_was_taken_away(house: House, ann: Hand, kari: Hand) -> None:
    """Whatever is still to be done for the one, in another thread or process, would be done to the other."""
    given: list[int] = []
    for order in permutations(range(3)):
        for name, size in (("0", 100), ("1", CHUNK + 1), ("2", 200)):
            path = f"/outbox/{KARI}/Ref/{name}"
            ann.put(path, DATA[:size])
            row = registry_of(house.exchange).drops.shown(ann.user.id, KARI, f"Ref/{name}")
            assert row
            given.append(row.id)
        for place in order:
            ann.rm(f"/outbox/{KARI}/Ref/{place}")
    assert given == sorted(set(given))


# ---- without a CLOSE nobody ever sees it


def test_an_interrupted_put_ships_nothing_and_can_be_resumed(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    write(draft, DATA[: 3 * CHUNK + 77])
    ann.lose(draft)
    assert house.settle(3600) == []
    size = ann.stat(PATH).size
    assert size == 3 * CHUNK

    again = ann.open(PATH, truncate=False)
    write(again, DATA[size:], start=size)
    ann.close(again)
    assert received(house, kari) == DATA


def test_of_a_write_that_never_ended_nothing_is_kept(house: House, ann: Hand, kari: Hand) -> None:
    """A client stopped within a packet may send another, whose bytes are then taken for the rest of the first."""
    draft = ann.open(PATH)
    write(draft, DATA[: 2 * CHUNK])
    draft.take(2 * CHUNK, DATA[2 * CHUNK : 3 * CHUNK])
    draft.take(3 * CHUNK, b"the head of another packet" * 4000)
    ann.lose(draft)
    size = ann.stat(PATH).size
    assert size <= 2 * CHUNK

    again = ann.open(PATH, truncate=False)
    write(again, DATA[size:], start=size)
    ann.close(again)
    assert received(house, kari) == DATA


def test_a_put_that_never_filled_a_chunk_leaves_nothing_when_lost(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    draft.write(0, b"a few bytes")
    ann.lose(draft)
    assert ann.drops() == []
    with pytest.raises(NoSuchPlace):
        ann.stat(PATH)


def test_after_kill_9_stat_shows_what_was_flushed_and_a_resume_goes_on(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    write(draft, DATA[: 4 * CHUNK + 5])
    house.exchange.writing.beat(house.clock())

    revived = Hand(house, ann.user, exchange=killed(house))
    size = revived.stat(PATH).size
    again = revived.open(PATH, truncate=False)
    write(again, DATA[size:], start=size)
    revived.close(again)

    assert size == 4 * CHUNK
    assert received(house, Hand(house, kari.user)) == DATA


@pytest.mark.parametrize("how", ["killed", "lost"])
@pytest.mark.parametrize("size", [CHUNK + 1, 3 * CHUNK, len(DATA)])
def test_what_was_within_its_close_does_not_look_whole_and_is_resumed(
    house: House, ann: Hand, kari: Hand, how: str, size: int
) -> None:
    """All its bytes are on the disk, and no CLOSE was answered: who saw its full size would never come to close it."""
    draft = ann.open(PATH)
    write(draft, DATA[:size])
    draft.finish()
    if how == "lost":
        ann.lose(draft)
    hand = ann if how == "lost" else Hand(house, ann.user, exchange=killed(house))
    start = hand.stat(PATH).size
    assert start == hand.ls(f"/outbox/{KARI}/Ref")["a.bin"] == (size - 1) // CHUNK * CHUNK
    again = hand.open(PATH, truncate=False)
    write(again, DATA[start:size], start=start)
    hand.close(again)
    assert received(house, Hand(house, kari.user)) == DATA[:size]


def test_a_close_that_was_answered_survives_kill_9(house: House, ann: Hand, kari: Hand) -> None:
    for number, size in enumerate((0, 1, CHUNK, CHUNK + 1, len(DATA))):
        ann.put(f"/outbox/{KARI}/Ref/{number}", DATA[:size])
    killed(house)
    shipment = dispatched(house)
    for number, size in enumerate((0, 1, CHUNK, CHUNK + 1, len(DATA))):
        assert Hand(house, kari.user).get(f"/inbox/{shipment}/{number}") == DATA[:size]


def test_a_resume_that_is_killed_can_be_resumed_as_often_as_it_takes(house: House, ann: Hand, kari: Hand) -> None:
    hand, size = ann, 0
    for turn in range(4):
        draft = hand.open(PATH, truncate=turn == 0)
        write(draft, DATA[size : (turn + 1) * CHUNK + 9], start=size)
        house.exchange.writing.beat(house.clock())
        hand = Hand(house, ann.user, exchange=killed(house))
        size = hand.stat(PATH).size
        assert size == (turn + 1) * CHUNK
    draft = hand.open(PATH, truncate=False)
    write(draft, DATA[size:], start=size)
    hand.close(draft)
    assert received(house, Hand(house, kari.user)) == DATA


@pytest.mark.parametrize("size", [10, CHUNK, 3 * CHUNK, 3 * CHUNK + 10])
@pytest.mark.parametrize("how", ["lost", "killed"])
def test_what_was_appended_to_a_closed_file_and_then_lost_costs_nothing_that_was_closed(
    house: House, ann: Hand, kari: Hand, size: int, how: str
) -> None:
    """CLOSE was answered for the first part, so it is there whatever happens to the second."""
    ann.put(PATH, DATA[:size])
    draft = ann.open(PATH, truncate=False)
    write(draft, DATA[size : size + 2 * CHUNK], start=size)
    hand = ann
    if how == "lost":
        ann.lose(draft)
    else:
        house.exchange.writing.beat(house.clock())
        hand = Hand(house, ann.user, exchange=killed(house))
    left = hand.stat(PATH).size
    assert size <= left <= size + 2 * CHUNK
    assert house.settle(3600) == []  # what its sender is in the middle of doesn't leave

    again = hand.open(PATH, truncate=False)
    write(again, DATA[left:], start=left)
    hand.close(again)
    assert received(house, Hand(house, kari.user)) == DATA


def test_a_closed_file_written_over_and_lost_is_still_what_was_closed(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(PATH, b"closed and durable")
    draft = ann.open(PATH, truncate=False)
    draft.write(18, b"!")
    draft.write(2, b"XX")
    ann.lose(draft)
    assert ann.stat(PATH).size == 18
    again = ann.open(PATH, truncate=False)
    again.write(18, b"!")
    ann.close(again)
    assert received(house, kari) == b"closed and durable!"


# ---- one OPEN's own


def test_of_two_writers_the_last_genuine_close_wins(house: House, ann: Hand, kari: Hand) -> None:
    """Whoever opened first, and nothing of the two is ever mixed."""
    first, second = ann.open(PATH), Hand(house, ann.user, "s2").open(PATH)
    write(first, b"1" * 200_000)
    write(second, b"2" * 100_000)
    ann.close(second)
    ann.close(first)
    assert received(house, kari) == b"1" * 200_000

    first, second = ann.open(PATH), Hand(house, ann.user, "s2").open(PATH)
    write(first, b"1" * 200_000)
    write(second, b"2" * 100_000)
    ann.close(first)
    assert house.settle(299) == []  # the second is still at it
    ann.close(second)
    assert received(house, kari) == b"2" * 100_000


@pytest.mark.parametrize("lost_one", ["first", "second"])
def test_a_writer_that_is_lost_never_wins_over_one_that_closed(
    house: House, ann: Hand, kari: Hand, lost_one: str
) -> None:
    first, second = ann.open(PATH), Hand(house, ann.user, "s2").open(PATH)
    write(first, b"1" * 200_000)
    write(second, b"2" * 200_000)
    closed, lost = (second, first) if lost_one == "first" else (first, second)
    ann.close(closed)
    ann.lose(lost)
    assert received(house, kari) == (b"2" if lost_one == "first" else b"1") * 200_000


def test_a_put_again_that_is_lost_keeps_the_older_from_leaving(house: House, ann: Hand, kari: Hand) -> None:
    """The sender meant to replace it; what is held is told, and resumed or put again."""
    ann.put(PATH, b"1" * 200_000)
    house.clock.turn(1)
    draft = ann.open(PATH)
    write(draft, b"2" * 200_000)
    ann.lose(draft)
    assert house.settle(3600) == []
    ann.put(PATH, b"3" * 100_000)
    assert received(house, kari) == b"3" * 100_000


def test_two_sessions_can_not_resume_one_draft(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    write(draft, DATA[: 2 * CHUNK + 1])
    ann.lose(draft)
    one, two = ann.open(PATH, truncate=False), Hand(house, ann.user, "s2").open(PATH, truncate=False)
    write(one, DATA[2 * CHUNK :], start=2 * CHUNK)
    with pytest.raises(NotYours):
        two.write(2 * CHUNK, b"other")
    ann.lose(two)
    ann.close(one)
    assert received(house, kari) == DATA


def test_a_resume_begun_before_another_one_ended_is_refused(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    write(draft, DATA[: 2 * CHUNK + 1])
    ann.lose(draft)
    house.clock.turn(1)
    one, two = ann.open(PATH, truncate=False), Hand(house, ann.user, "s2").open(PATH, truncate=False)
    write(one, DATA[2 * CHUNK :], start=2 * CHUNK)
    ann.close(one)
    with pytest.raises(NotYours):
        two.write(2 * CHUNK, b"other")
    ann.lose(two)
    assert received(house, kari) == DATA


def test_a_reconnected_client_takes_over_its_own_dead_session(house: House, ann: Hand, kari: Hand) -> None:
    dead = ann.open(PATH)
    write(dead, DATA[: 3 * CHUNK + 1])
    house.exchange.writing.beat(house.clock())
    early = Hand(house, ann.user, "s2").open(PATH, truncate=False)
    with pytest.raises(NotYours):
        early.write(3 * CHUNK, DATA[3 * CHUNK :])
    ann.lose(early)
    house.clock.turn(11)
    late = Hand(house, ann.user, "s3").open(PATH, truncate=False)
    write(late, DATA[3 * CHUNK :], start=3 * CHUNK)
    with pytest.raises(NotYours):
        dead.write(3 * CHUNK + 1, b"x")
    ann.close(late)
    assert received(house, kari) == DATA


def test_a_resumed_file_shows_its_growing_size(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    write(draft, DATA[: CHUNK + 1])
    ann.lose(draft)
    again = ann.open(PATH, truncate=False)
    write(again, DATA[CHUNK : 3 * CHUNK + 7], start=CHUNK)
    assert ann.stat(PATH).size == 3 * CHUNK + 7
    ann.lose(again)


def test_a_draft_that_is_removed_meanwhile_never_comes_back(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    write(draft, DATA)
    ann.rm(PATH)
    with pytest.raises(NotYours):
        ann.close(draft)
    ann.lose(draft)
    assert ann.drops() == []
    killed(house)
    assert house.settle(3600) == []


def test_an_open_that_only_looks_changes_nothing(house: House, ann: Hand, kari: Hand) -> None:
    """Opened without TRUNC, and closed or lost without a write."""
    draft = ann.open(PATH)
    write(draft, DATA[: 2 * CHUNK + 1])
    ann.lose(draft)
    for end in (ann.close, ann.lose):
        end(ann.open(PATH, truncate=False))
        (file,) = files_of(house, ann.drops()[0].id)
        assert (file.state, file.size) == (FileState.DRAFT, 2 * CHUNK)
    again = ann.open(PATH, truncate=False)
    write(again, DATA[2 * CHUNK :], start=2 * CHUNK)
    ann.close(again)
    assert received(house, kari) == DATA


# ---- how clients write


def test_open_without_truncate_and_a_write_at_the_start_begins_anew(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(PATH, b"x" * 100_000)
    draft = ann.open(PATH, truncate=False)
    write(draft, b"short")
    ann.close(draft)
    assert ann.stat(PATH).size == 5
    assert received(house, kari) == b"short"


def test_scp_and_sshfs_truncate_first_and_write_then(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(PATH, b"x" * 100_000)
    ann.set(PATH, size=0)
    assert ann.stat(PATH).size == 0
    draft = ann.open(PATH, truncate=False)
    draft.wish(Wishes(size=0))
    write(draft, DATA)
    ann.close(draft)
    assert received(house, kari) == DATA


def test_appending_goes_to_the_end_whatever_offset_the_client_counts_from(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(PATH, DATA[:CHUNK])
    draft = ann.open(PATH, truncate=False, appends=True)
    write(draft, DATA[CHUNK:])
    ann.close(draft)
    assert received(house, kari) == DATA


def test_parts_may_come_in_any_order_and_twice(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    parts = [(at, DATA[at : at + 10_000]) for at in range(0, len(DATA), 10_000)]
    for at, part in [*parts[::-1], *parts[3:6]]:
        draft.write(at, part)
    with pytest.raises(Rewritten):
        draft.write(0, b"other")
    ann.close(draft)
    assert received(house, kari) == DATA


def test_a_part_far_ahead_of_the_rest_is_refused_and_the_file_goes_on(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    with pytest.raises(TooFarAhead):
        draft.write(house.exchange.policy.ahead + 1, b"x")
    write(draft, DATA)
    ann.close(draft)
    assert received(house, kari) == DATA


def test_a_hole_is_no_file(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    draft.write(0, DATA[:CHUNK])
    draft.write(2 * CHUNK, DATA[2 * CHUNK : 3 * CHUNK])
    with pytest.raises(Gap):
        ann.close(draft)
    assert house.settle(3600) == []


def test_a_writer_may_read_what_it_wrote_and_nobody_else(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    write(draft, DATA)
    assert draft.read(70_000, 100) == DATA[70_000:70_100]
    ann.close(draft)
    with pytest.raises(NotReadable):
        ann.open(PATH, truncate=False).read(0, 10)


# ---- what was dispatched


def test_a_write_past_the_start_onto_a_dispatched_name_is_refused(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(PATH, DATA)
    shipment = dispatched(house)
    for appends in (False, True):
        draft = ann.open(PATH, truncate=False, appends=appends)
        with pytest.raises(AlreadySent, match="put the whole file"):
            draft.write(0 if appends else len(DATA), b"more")
        ann.close(draft)
    assert ann.stat(PATH).size == len(DATA)
    assert len(ann.drops()) == 1
    assert kari.get(f"/inbox/{shipment}/a.bin") == DATA


def test_a_dispatched_name_may_be_written_anew_without_truncate(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(PATH, DATA)
    first = dispatched(house)
    draft = ann.open(PATH, truncate=False)
    write(draft, b"new")
    ann.close(draft)
    assert received(house, kari) == b"new"
    assert kari.get(f"/inbox/{first}/a.bin") == DATA


# ---- a close is not a completion


def test_an_announced_size_must_be_met(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH, wishes=Wishes(size=len(DATA)))
    write(draft, DATA[: 4 * CHUNK + 1])
    with pytest.raises(Incomplete, match=f"{4 * CHUNK + 1} of {len(DATA)} bytes"):
        ann.close(draft)
    assert house.settle(3600) == []
    again = ann.open(PATH, truncate=False, wishes=Wishes(size=len(DATA)))
    write(again, DATA[4 * CHUNK :], start=4 * CHUNK)
    ann.close(again)
    assert received(house, kari) == DATA


def test_a_size_announced_by_fsetstat_must_be_met_too(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    draft.wish(Wishes(size=1000))
    draft.write(0, b"x" * 999)
    with pytest.raises(Incomplete):
        ann.close(draft)


def test_what_looks_cut_is_suspect_waits_longer_and_its_receipt_says_so(house: House, ann: Hand, kari: Hand) -> None:
    """Ctrl-C in OpenSSH's sftp sends a genuine CLOSE after a part of the file."""
    path = f"/outbox/{KARI}/a.bin"
    draft = ann.open(path)
    write(draft, b"x" * 32768 * 3)
    ann.close(draft)
    (file,) = files_of(house, ann.drops()[0].id)
    assert file.state is FileState.SUSPECT
    assert house.settle(299) == []

    shipment = dispatched(house, 1)
    (file,) = files_of(house, shipment)
    assert file.state is FileState.COMPLETE
    history = house.exchange.sent.find(ann.user, shipment, house.clock()).history
    assert [event.detail for event in history if event.event == "suspect"] == ["a.bin: its end could not be checked"]


def test_a_last_block_that_is_shorter_is_not_suspect(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    write(draft, b"x" * (32768 * 3 + 5))
    ann.close(draft)
    (file,) = files_of(house, ann.drops()[0].id)
    assert file.state is FileState.COMPLETE


def test_a_growing_draft_is_progress_and_a_stalled_one_is_held(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(PATH)
    for hour in range(30):
        draft.write(hour * 10_000, b"x" * 10_000)
        assert house.settle(3600) == []
    ann.lose(draft)
    assert house.settle(86_399) == []
    assert len(house.settle(1)) == 1
    (drop,) = ann.drops()
    assert (drop.state, drop.reason) == (ShipmentState.HELD, "no progress, and not complete: a.bin")


def test_a_failed_open_leaves_no_row_behind(house: House, ann: Hand, kari: Hand) -> None:
    """Here what is on the disk is damaged; the file can still be put again."""
    ann.put(PATH, DATA)
    (file,) = files_of(house, ann.drops()[0].id)
    blob = next(house.settings.vault.rglob(file.blob or "?"))
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(Exception, match="does not verify"):
        ann.open(PATH, truncate=False)
    assert len(files_of(house, ann.drops()[0].id)) == 1
    ann.put(PATH, DATA)
    assert received(house, kari) == DATA


def test_small_files_cost_no_blob_until_they_leave(house: House, ann: Hand, kari: Hand) -> None:
    for number in range(20):
        ann.put(f"/outbox/{KARI}/Ref/{number}", b"x" * CHUNK)
    assert list(house.exchange._holdings.bodies.ids()) == []
    shipment = dispatched(house)
    assert len(list(house.exchange._holdings.bodies.ids())) == 1
    rows = registry_of(house.exchange)._engine.rows("SELECT small FROM files")
    assert {row["small"] for row in rows} == {None}
    assert kari.get(f"/inbox/{shipment}/7") == b"x" * CHUNK
