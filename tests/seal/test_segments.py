"""Drafts, one claim at a time.  What befalls them in every order is in test_draft_life."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from random import Random

import pytest

from fxsftp.errors import Forged, Gap, Rewritten, StoreFull, TooFarAhead
from fxsftp.seal import (
    CHUNK,
    Draft,
    Identity,
    Sealed,
    SmallBody,
    Stored,
    Unsealer,
    bytes_at,
    header_for,
    merge,
    new_file_key,
    open_small,
    payload_size,
    pieces_reader,
)
from fxsftp.seal.ahead import AHEAD, AHEAD_PARTS, Crowd
from fxsftp.seal.primitives import sha256
from fxsftp.seal.stream import NONCE, SEALED_CHUNK, chunk_at
from tests.seal.blobs import MemoryBlob, Shelf

BORDERS = [0, 1, 65535, 65536, 65537, 131071, 131072, 131073, 200_000, 5 * CHUNK, 5 * CHUNK + 1]
TEXT = Random(11).randbytes(10 * CHUNK)
KEY = new_file_key()


def begin(shelf: Shelf | None = None, stored: Iterable[Stored] = ()) -> Draft:
    return Draft(KEY, (shelf or Shelf()).new_blob, list(stored), name="report.csv")


def put(draft: Draft, size: int, start: int = 0, step: int = 32768) -> Draft:
    """Write TEXT up to `size`, as a client does."""
    for offset in range(start, size, step):
        draft.write(offset, TEXT[offset : min(offset + step, size)])
    return draft


def body(sealed: Sealed) -> bytes:
    """The payload of a finished draft, merged if it must be."""
    if sealed.pieces:
        merged = MemoryBlob()
        merge(sealed.pieces, KEY, merged)
        return bytes(merged.data)
    if sealed.small is not None:
        return sealed.small
    assert isinstance(sealed.blob, MemoryBlob)
    return bytes(sealed.blob.data)


def opened(sealed: Sealed) -> bytes:
    identity = Identity.generate()
    return open_small(header_for(KEY, identity.lock) + body(sealed), identity)


def sealed_row(sealed: Sealed) -> list[Stored]:
    whole = sealed.blob if sealed.small is None else SmallBody(sealed.small)
    return list(sealed.pieces) or [Stored(body=whole)]


# ---- in order --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BORDERS)
@pytest.mark.parametrize("step", [1 << 20, 32768, 30_000, 65536, 100_000])
def test_a_file_comes_out_as_it_went_in(size: int, step: int) -> None:
    """At every border, however the client cuts it; with its size and SHA-256 known at CLOSE, in one age payload."""
    sealed = put(begin(), size, step=step).finish()
    assert sealed.size == size
    assert sealed.sha256 == sha256(TEXT[:size]).hex()
    assert not sealed.pieces
    assert len(body(sealed)) == payload_size(size)
    assert opened(sealed) == TEXT[:size]


def test_a_file_of_up_to_a_chunk_needs_no_blob() -> None:
    for size in (0, 1, CHUNK):
        shelf = Shelf()
        sealed = put(begin(shelf), size).finish()
        assert (sealed.small is not None, sealed.blob, shelf.count) == (True, None, 0)


def test_a_file_of_more_is_in_one_blob_and_synced() -> None:
    shelf = Shelf()
    sealed = put(begin(shelf), CHUNK + 1).finish()
    assert (sealed.small, sealed.blob, shelf.count) == (None, shelf.blobs[0], 1)
    assert shelf.blobs[0].synced == shelf.blobs[0].size


def test_a_full_chunk_leaves_only_once_a_later_byte_is_there() -> None:
    """The last one needs the final flag, and nobody knows yet whether it is."""
    shelf = Shelf()
    draft = put(begin(shelf), 2 * CHUNK)
    assert (draft.size, draft.flushed) == (2 * CHUNK, CHUNK)
    draft.write(2 * CHUNK, b"x")
    assert draft.flushed == 2 * CHUNK
    assert shelf.blobs[0].size == chunk_at(2)


def test_no_plaintext_reaches_a_blob() -> None:
    shelf = Shelf()
    draft = begin(shelf)
    draft.write(0, b"salary;12345\n" * 20_000)
    draft.finish()
    assert all(b"salary" not in blob.data for blob in shelf.blobs)


def test_the_same_buffer_may_serve_for_every_write() -> None:
    """A packet's memory belongs to its session; the draft copies what it keeps."""
    draft = begin()
    buffer = bytearray(32768)
    for offset in (0, 65536, 32768, 98304):  # one of them ahead
        buffer[:] = TEXT[offset : offset + 32768]
        draft.write(offset, memoryview(buffer))
    assert opened(draft.finish()) == TEXT[: 2 * CHUNK]


def test_finishing_twice_gives_the_same_answer() -> None:
    draft = put(begin(), 100_000)
    assert draft.finish() is draft.finish()
    assert draft.read(0, 1 << 20) == TEXT[:100_000]


def test_nothing_is_written_after_the_end() -> None:
    draft = begin()
    draft.finish()
    for late in (lambda: draft.write(0, b"x"), lambda: draft.truncate(0)):
        with pytest.raises(ValueError, match="finished"):
            late()


# ---- out of order ----------------------------------------------------------------------------------


def test_parts_may_come_in_any_order() -> None:
    offsets = list(range(0, 10 * CHUNK, 30_000))
    Random(3).shuffle(offsets)
    draft = begin()
    for offset in offsets:
        draft.write(offset, TEXT[offset : offset + 30_000])
    assert draft.ahead_bytes == 0
    sealed = draft.finish()
    assert sealed.sha256 == sha256(TEXT).hex()
    assert opened(sealed) == TEXT


def test_what_came_ahead_is_counted_until_it_is_taken_in() -> None:
    draft = begin()
    draft.write(CHUNK, TEXT[CHUNK : 2 * CHUNK])
    draft.write(3 * CHUNK, TEXT[3 * CHUNK : 4 * CHUNK])
    assert (draft.size, draft.end, draft.ahead_bytes) == (0, 4 * CHUNK, 2 * CHUNK)
    draft.write(CHUNK, TEXT[CHUNK : 2 * CHUNK])  # sent again
    assert draft.ahead_bytes == 2 * CHUNK
    put(draft, CHUNK)
    assert (draft.size, draft.end, draft.ahead_bytes) == (2 * CHUNK, 4 * CHUNK, CHUNK)


def test_parts_ahead_that_overlap_are_the_newer_where_they_do() -> None:
    draft = begin()
    draft.write(10, b"aaaaaaaaaa")
    draft.write(5, b"bbbbbbb")
    draft.write(18, b"cccccc")
    draft.write(12, b"dd")
    assert (draft.end, draft.ahead_bytes) == (24, 19)
    draft.write(0, b".....")
    assert draft.read(0, 99) == b".....bbbbbbbddaaaacccccc"


def test_too_far_ahead_is_refused_and_nothing_is_lost() -> None:
    draft = begin()
    draft.write(AHEAD - 1, b"x")
    with pytest.raises(TooFarAhead):
        draft.write(AHEAD, b"x")
    assert (draft.end, draft.ahead_bytes) == (AHEAD, 1)
    draft.write(0, b".")
    draft.write(AHEAD, b"x")


def test_crumbs_ahead_are_refused_before_they_cost_memory() -> None:
    draft = begin()
    for crumb in range(AHEAD_PARTS):
        draft.write(1 + 2 * crumb, b"x")
    with pytest.raises(TooFarAhead):
        draft.write(1 + 2 * AHEAD_PARTS, b"x")


def test_a_hole_is_named_at_the_close() -> None:
    draft = put(begin(), 1000)
    draft.write(2000, b"x")
    with pytest.raises(Gap, match=r"'report.csv' has a hole at byte 1000"):
        draft.finish()
    put(draft, 2000, start=1000)
    assert draft.finish().size == 2001


def test_an_empty_write_changes_nothing() -> None:
    draft = put(begin(), 10)
    for offset in (0, 10, 5000, 1 << 40):
        draft.write(offset, b"")
    assert (draft.size, draft.end) == (10, 10)


# ---- behind the frontier -----------------------------------------------------------------------------


def test_the_same_again_is_accepted_and_something_else_is_not() -> None:
    draft = put(begin(), 3 * CHUNK)
    draft.write(100, TEXT[100:150_000])
    draft.write(CHUNK - 10, TEXT[CHUNK - 10 : 4 * CHUNK])  # the same, and more
    assert draft.size == 4 * CHUNK
    for place in (0, CHUNK, 3 * CHUNK - 1):
        with pytest.raises(Rewritten):
            draft.write(place, bytes([TEXT[place] ^ 1]))
    assert opened(draft.finish()) == TEXT[: 4 * CHUNK]


def test_what_is_not_sealed_yet_may_be_written_over() -> None:
    """Some programs patch the head of a small file when they know its length."""
    draft = begin()
    draft.write(0, b"????;b;c\n")
    draft.write(0, b"0009")
    assert opened(draft.finish()) == b"0009;b;c\n"


def test_a_refused_write_changes_nothing_even_in_the_tail() -> None:
    draft = put(begin(), CHUNK + 10)
    with pytest.raises(Rewritten):
        draft.write(CHUNK - 1, bytes([TEXT[CHUNK - 1] ^ 1]) + b"new tail and more")
    assert draft.read(0, 1 << 20) == TEXT[: CHUNK + 10]


# ---- truncating --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [size for size in BORDERS if size < 4 * CHUNK])
def test_a_file_may_be_cut_anywhere_and_go_on_otherwise(size: int) -> None:
    draft = put(begin(), 4 * CHUNK)
    draft.truncate(size)
    assert (draft.size, draft.end) == (size, size)
    assert draft.read(0, 1 << 20) == TEXT[:size]
    draft.write(size, b"another end" * 10_000)
    assert opened(draft.finish()) == TEXT[:size] + b"another end" * 10_000


@pytest.mark.parametrize("size", [size for size in BORDERS if size < 4 * CHUNK])
def test_a_file_that_was_cut_can_be_closed_as_it_is(size: int) -> None:
    draft = put(begin(), 4 * CHUNK)
    draft.truncate(size)
    sealed = draft.finish()
    assert sealed.size == size
    assert opened(sealed) == TEXT[:size]


def test_growing_is_an_announcement() -> None:
    """scp and lftp say the size before or after the bytes; no zeros come of it."""
    draft = begin()
    draft.truncate(1 << 40)
    assert (draft.size, draft.end) == (0, 0)
    put(draft, 1000)
    draft.truncate(2000)
    assert draft.finish().size == 1000


def test_cutting_reaches_what_came_ahead() -> None:
    draft = begin()
    draft.write(100, b"x" * 100)
    draft.truncate(150)
    assert (draft.end, draft.ahead_bytes) == (150, 50)
    draft.truncate(0)
    assert (draft.end, draft.ahead_bytes) == (0, 0)


def test_what_was_cut_off_does_not_come_back_after_a_kill() -> None:
    shelf = Shelf()
    put(begin(shelf), 4 * CHUNK + 5).truncate(2 * CHUNK)
    assert begin(shelf, shelf.rows).read(0, 1 << 20) == TEXT[:CHUNK]


def test_a_draft_cut_to_nothing_begins_anew_with_its_hash() -> None:
    draft = put(begin(), 3 * CHUNK)
    draft.truncate(0)
    sealed = put(draft, 2 * CHUNK + 7).finish()
    assert sealed.sha256 == sha256(TEXT[: 2 * CHUNK + 7]).hex()
    assert not sealed.pieces


# ---- resuming --------------------------------------------------------------------------------------


def test_a_lost_session_is_resumed_where_stat_says() -> None:
    """And the file is whole, though it lies in pieces until it is merged."""
    shelf = Shelf()
    left = put(begin(shelf), 200_000).suspend()
    draft = begin(shelf, left)
    assert draft.size == draft.flushed == 3 * CHUNK
    sealed = put(draft, 6 * CHUNK, start=draft.size).finish()
    assert (sealed.size, sealed.sha256, len(sealed.pieces)) == (6 * CHUNK, None, 2)
    assert all(blob.synced == blob.size for blob in shelf.blobs)
    assert merge(sealed.pieces, KEY, MemoryBlob()) == (6 * CHUNK, sha256(TEXT[: 6 * CHUNK]).hex())
    assert opened(sealed) == TEXT[: 6 * CHUNK]


def test_a_suspended_draft_says_what_is_left_of_it() -> None:
    draft = put(begin(), 3 * CHUNK - 5)
    draft.write(8 * CHUNK, b"ahead")
    draft.suspend()
    assert (draft.size, draft.end, draft.flushed, draft.ahead_bytes) == (2 * CHUNK, 2 * CHUNK, 2 * CHUNK, 0)
    assert opened(put(draft, 4 * CHUNK, start=draft.size).finish()) == TEXT[: 4 * CHUNK]


@pytest.mark.parametrize("torn", [1, 16, 65551, SEALED_CHUNK])
def test_a_torn_tail_is_left_behind(torn: int) -> None:
    shelf = Shelf()
    put(begin(shelf), 2 * CHUNK + 1)
    shelf.blobs[0].data += bytes(torn)
    draft = begin(shelf, shelf.rows)
    assert draft.size == 2 * CHUNK
    assert opened(put(draft, 4 * CHUNK, start=2 * CHUNK).finish()) == TEXT[: 4 * CHUNK]


@pytest.mark.parametrize("length", [0, 1, NONCE, NONCE + 1, NONCE + 16, chunk_at(1) - 1])
def test_a_segment_without_a_whole_chunk_is_dropped(length: int) -> None:
    shelf = Shelf()
    put(begin(shelf), CHUNK + 1)
    shelf.blobs[0].cut(length)
    draft = begin(shelf, shelf.rows)
    assert draft.size == 0
    assert draft.dropped == shelf.blobs
    assert not put(draft, 2 * CHUNK).finish().pieces


def test_a_hole_in_what_was_not_synced_is_found_before_anybody_builds_on_it() -> None:
    """A power cut may leave zeros in the middle, and OK to a later CLOSE must not rest on them."""
    shelf = Shelf()
    put(begin(shelf), 9 * CHUNK)
    shelf.blobs[0].data[chunk_at(3) + 100 : chunk_at(3) + 4196] = bytes(4096)
    assert begin(shelf, shelf.rows).size == 3 * CHUNK


def test_what_did_not_verify_is_not_believed_later_because_it_was_synced() -> None:
    """The service puts away at its start what was left behind, and what stat shows then has to be true."""
    shelf = Shelf()
    put(begin(shelf), 9 * CHUNK)
    shelf.blobs[0].data[chunk_at(3) + 100 : chunk_at(3) + 4196] = bytes(4096)
    draft = begin(shelf, shelf.rows)
    left = draft.suspend()
    assert draft.size == draft.flushed == begin(shelf, left).size == 3 * CHUNK
    assert opened(put(begin(shelf, left), 9 * CHUNK, start=3 * CHUNK).finish()) == TEXT[: 9 * CHUNK]


def test_what_is_known_to_be_synced_is_not_read_again() -> None:
    shelf = Shelf()
    left = put(begin(shelf), 9 * CHUNK).suspend()
    shelf.blobs[0].reads = 0
    assert begin(shelf, left).size == 8 * CHUNK
    assert shelf.blobs[0].reads <= 3


@pytest.mark.parametrize("size", [CHUNK + 1, 3 * CHUNK, 200_000])
def test_killed_between_seal_and_registry_it_looks_unfinished(size: int) -> None:
    """No CLOSE was answered: a client that saw the full size would take it for closed, and never come back."""
    shelf = Shelf()
    closing = put(begin(shelf), size)
    closing.finish()
    draft = begin(shelf, shelf.rows)
    assert draft.size == draft.flushed == closing.flushed == (size - 1) // CHUNK * CHUNK
    sealed = put(draft, size, start=draft.size).finish()
    assert merge(sealed.pieces, KEY, MemoryBlob()) == (size, sha256(TEXT[:size]).hex())


def test_what_was_closed_looks_whole_also_when_killed_in_a_second_close() -> None:
    """A CLOSE was answered for it, and counts until the next is."""
    shelf = Shelf()
    shelf.rows = sealed_row(put(begin(shelf), 200_000).finish())
    continued = begin(shelf, shelf.rows)
    put(continued, 200_001, start=200_000).finish()
    draft = begin(shelf, continued.stored)
    assert draft.size == draft.flushed == 200_000


def test_closing_a_draft_resumed_at_a_border_makes_its_last_chunk_the_final_one() -> None:
    shelf = Shelf()
    sealed = begin(shelf, put(begin(shelf), 200_000).suspend()).finish()
    assert sealed.size == 3 * CHUNK
    assert opened(sealed) == TEXT[: 3 * CHUNK]


@pytest.mark.parametrize("size", BORDERS)
@pytest.mark.parametrize("more", [0, 1, CHUNK, 2 * CHUNK])
def test_a_closed_file_can_be_continued(size: int, more: int) -> None:
    """Its last chunk is sealed again, in a new segment and under a new nonce."""
    shelf = Shelf()
    first = put(begin(shelf), size).finish()
    draft = begin(shelf, sealed_row(first))
    assert draft.size == size
    sealed = put(draft, size + more, start=size).finish()
    assert sealed.size == size + more
    assert opened(sealed) == TEXT[: size + more]
    if more == 0 and size > CHUNK:
        assert [piece.body for piece in sealed.pieces] == [first.blob]


def test_a_closed_file_stays_as_it_was_until_the_next_close() -> None:
    """Whatever a later session began with it and did not end."""
    shelf = Shelf()
    rows = sealed_row(put(begin(shelf), 4 * CHUNK + 9).finish())
    for befalls in (
        lambda draft: draft.truncate(10),
        lambda draft: draft.truncate(3 * CHUNK),
        lambda draft: draft.write(4 * CHUNK, b"other tail"),
        lambda draft: draft.suspend(),
    ):
        befalls(begin(shelf, rows))
        assert begin(shelf, rows).read(0, 1 << 20) == TEXT[: 4 * CHUNK + 9]


def test_what_was_closed_is_dropped_at_the_next_close_and_not_before() -> None:
    """Even when it lies in pieces, and a session that cut it is suspended."""
    shelf = Shelf()
    content = TEXT[: 5 * CHUNK]
    rows = list(in_pieces(shelf, 3 * CHUNK, 5 * CHUNK).pieces)
    draft = begin(shelf, rows)
    draft.truncate(100)
    rows = list(draft.suspend())
    assert (draft.size, draft.dropped) == (len(content), [])
    draft = begin(shelf, rows)
    assert draft.read(0, 1 << 20) == content
    draft.truncate(100)
    assert draft.finish().small is not None
    assert draft.dropped == shelf.blobs


def test_a_closed_file_that_does_not_verify_is_not_taken_for_a_shorter_one() -> None:
    for spoil in (
        lambda data: data.pop(),
        lambda data: data.append(0),
        lambda data: data.__setitem__(-1, data[-1] ^ 1),
        lambda data: data.__delitem__(slice(chunk_at(2), None)),
        lambda data: data.clear(),
    ):
        shelf = Shelf()
        rows = sealed_row(put(begin(shelf), 2 * CHUNK + 9).finish())
        spoil(shelf.blobs[0].data)
        with pytest.raises(Forged):
            begin(shelf, rows)


def test_segments_of_another_file_are_not_taken_up() -> None:
    shelf = Shelf()
    put(begin(shelf), 3 * CHUNK)
    assert Draft(new_file_key(), shelf.new_blob, shelf.rows).size == 0


def test_a_newer_segment_replaces_what_older_ones_hold() -> None:
    """Rows of segments that a truncation dropped may outlive it; they do not come back in between."""
    shelf = Shelf()
    left = put(begin(shelf), 4 * CHUNK).suspend()
    draft = put(begin(shelf, left), 7 * CHUNK, start=3 * CHUNK)
    stale = [bytes(blob.data) for blob in shelf.blobs]
    draft.truncate(2 * CHUNK)
    draft.write(2 * CHUNK, b"n" * 2 * CHUNK)
    for blob, data in zip(shelf.blobs, stale, strict=False):  # as if the cuts had not reached the disk
        blob.data[:] = data
    taken = begin(shelf, shelf.rows)
    assert taken.read(0, 1 << 20) == TEXT[: 2 * CHUNK] + b"n" * CHUNK
    assert shelf.blobs[1] in taken.dropped


# ---- disks that fail -------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing_and_the_write_can_be_tried_again() -> None:
    """The nonce that went with the torn chunk is spent: the next attempt takes a new segment."""
    shelf = Shelf()
    draft = put(begin(shelf), 3 * CHUNK)
    shelf.blobs[0].room = 30_000
    with pytest.raises(StoreFull):
        draft.write(3 * CHUNK, TEXT[3 * CHUNK : 5 * CHUNK])
    assert draft.size == 3 * CHUNK
    sealed = put(draft, 5 * CHUNK, start=3 * CHUNK).finish()
    assert len(sealed.pieces) == 2
    assert sealed.sha256 == sha256(TEXT[: 5 * CHUNK]).hex()
    assert opened(sealed) == TEXT[: 5 * CHUNK]


def test_what_came_ahead_is_taken_in_after_a_full_disk() -> None:
    shelf = Shelf()
    draft = put(begin(shelf), 2 * CHUNK)
    draft.write(3 * CHUNK, TEXT[3 * CHUNK : 5 * CHUNK])
    shelf.blobs[0].room = SEALED_CHUNK
    with pytest.raises(StoreFull):
        draft.write(2 * CHUNK, TEXT[2 * CHUNK : 3 * CHUNK])
    assert opened(draft.finish()) == TEXT[: 5 * CHUNK]


def test_a_close_on_a_full_disk_can_be_tried_again() -> None:
    shelf = Shelf()
    draft = put(begin(shelf), 3 * CHUNK)
    shelf.blobs[0].room = 10
    with pytest.raises(StoreFull):
        draft.finish()
    assert opened(draft.finish()) == TEXT[: 3 * CHUNK]


def test_a_blob_that_could_not_begin_is_dropped() -> None:
    shelf = Shelf()
    full = MemoryBlob()
    full.room = 3
    blobs = iter([full])
    draft = Draft(KEY, lambda start: next(blobs, None) or shelf.new_blob(start))
    with pytest.raises(StoreFull):
        put(draft, 2 * CHUNK)
    assert draft.dropped == [full]
    assert opened(put(draft, 2 * CHUNK).finish()) == TEXT[: 2 * CHUNK]


# ---- pieces ----------------------------------------------------------------------------------------


def in_pieces(shelf: Shelf, *sizes: int) -> Sealed:
    """A file whose session was lost at each of these sizes but the last."""
    draft = begin(shelf)
    for size, _ in pairwise(sizes):
        draft = begin(shelf, put(draft, size, start=draft.size).suspend())
    return put(draft, sizes[-1], start=draft.size).finish()


def test_a_file_in_pieces_reads_as_one() -> None:
    sealed = in_pieces(Shelf(), 2 * CHUNK + 1, 5 * CHUNK + 7, 8 * CHUNK, 9 * CHUNK + 1)
    assert len(sealed.pieces) == 4
    reader = pieces_reader(sealed.pieces, KEY)
    assert reader.size == sealed.size
    for offset, count in ((0, 1 << 20), (CHUNK, 5 * CHUNK), (2 * CHUNK - 1, 2), (9 * CHUNK, 10), (9 * CHUNK + 1, 1)):
        assert reader.read(offset, count) == TEXT[: sealed.size][offset : offset + count]


def test_merging_makes_one_payload_under_a_nonce_of_its_own() -> None:
    shelf = Shelf()
    sealed = in_pieces(shelf, 2 * CHUNK + 1, 5 * CHUNK)
    merged = MemoryBlob()
    merge(sealed.pieces, KEY, merged)
    assert merged.size == payload_size(5 * CHUNK)
    assert merged.synced == merged.size
    assert merged.data[:NONCE] not in [blob.data[:NONCE] for blob in shelf.blobs]
    reader = Unsealer(bytes_at(bytes(merged.data)), KEY, merged.size)
    assert reader.read(0, 1 << 20) == TEXT[: 5 * CHUNK]


def test_pieces_that_do_not_verify_are_not_merged() -> None:
    for spoil in (
        lambda blobs: blobs[0].data.__setitem__(chunk_at(0) + 5, blobs[0].data[chunk_at(0) + 5] ^ 1),
        lambda blobs: blobs[0].cut(chunk_at(1)),
        lambda blobs: blobs[1].cut(blobs[1].size - 1),
        lambda blobs: blobs[1].cut(chunk_at(1)),
    ):
        shelf = Shelf()
        sealed = in_pieces(shelf, 3 * CHUNK, 5 * CHUNK)
        spoil(shelf.blobs)
        with pytest.raises(Forged):
            merge(sealed.pieces, KEY, MemoryBlob())


def test_pieces_without_an_end_are_not_a_file() -> None:
    sealed = in_pieces(Shelf(), 3 * CHUNK, 5 * CHUNK)
    for some in (sealed.pieces[:1], sealed.pieces[1:], ()):
        with pytest.raises(Forged):
            pieces_reader(some, KEY)


def test_a_stored_segment_is_a_blob_or_a_body() -> None:
    with pytest.raises(ValueError, match="a blob or a body"):
        begin(stored=[Stored()])


# ---- a crowd of drafts


def test_drafts_share_what_they_may_hold_ahead() -> None:
    """Past the ceiling new data out of order is refused, whoever brings it; in order it is taken, and makes room."""
    crowd = Crowd(3 * CHUNK)
    one, two = (Draft(KEY, Shelf().new_blob, crowd=crowd) for _ in range(2))
    one.write(10, bytes(2 * CHUNK))
    two.write(10, bytes(CHUNK))
    for draft in (one, two):
        with pytest.raises(TooFarAhead):
            draft.write(5 * CHUNK, b"one more")
    two.write(0, bytes(10))
    assert (two.ahead_bytes, crowd.size) == (0, 2 * CHUNK)
    two.write(5 * CHUNK, b"one more")
    assert crowd.size == 2 * CHUNK + 8


def test_whoever_leaves_the_crowd_makes_room() -> None:
    """However a draft ends, and whatever overlapped, nothing of it is counted on."""

    def finish(draft: Draft) -> None:
        draft.write(0, bytes(100))
        draft.finish()

    crowd = Crowd(1 << 20)
    for end in (finish, lambda draft: draft.suspend(), lambda draft: draft.truncate(0), lambda draft: draft.disperse()):
        draft = Draft(KEY, Shelf().new_blob, crowd=crowd)
        for offset in (100, 300, 150, 120, 100, 290):
            draft.write(offset, bytes(60))
            assert crowd.size == draft.ahead_bytes
        draft.write(160, bytes(200))
        assert crowd.size == draft.ahead_bytes == 260
        end(draft)
        assert crowd.size == draft.ahead_bytes == 0
