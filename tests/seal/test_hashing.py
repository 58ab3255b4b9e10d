"""The hash that follows a draft: right whatever befalls the draft, and never in the way of who writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from fxsftp.errors import StoreFull
from fxsftp.seal import CHUNK, Draft, hashing, merge, new_file_key
from fxsftp.seal.hashing import FAR, MOST, PAGE, Follower
from fxsftp.seal.primitives import sha256
from tests.seal.blobs import MemoryBlob, Shelf

PART = 32768
TEXT = Random(12).randbytes((MOST + 8) * PAGE)
KEY = new_file_key()
DEADLINE = 30  # seconds; what is waited for takes a fraction of one


@contextmanager
def busy_threads() -> Iterator[threading.Event]:
    """All threads that hash have something else to do, until the event is set or the block ends."""
    go_on, there = threading.Event(), threading.Barrier(hashing.THREADS + 1)

    def stand_in_the_way() -> None:
        there.wait(DEADLINE)
        go_on.wait(DEADLINE)

    for _ in range(hashing.THREADS):
        hashing._threads.submit(stand_in_the_way)
    there.wait(DEADLINE)
    try:
        yield go_on
    finally:
        go_on.set()


def write(draft: Draft, stop: int, start: int = 0) -> int:
    """Write TEXT; answers how often the draft asked for a pause."""
    return sum(draft.write(at, TEXT[at : min(at + PART, stop)]) is not None for at in range(start, stop, PART))


# ---- what comes out


@pytest.mark.parametrize("pages", [0, 1, 2, 9])
@pytest.mark.parametrize("rest", [0, 1, PAGE])
def test_the_hash_is_that_of_all_pages_and_the_rest(pages: int, rest: int) -> None:
    follower = Follower()
    for at in range(0, pages * PAGE, PAGE):
        follower.take(memoryview(bytearray(TEXT[at : at + PAGE])))
    end = pages * PAGE + rest
    assert follower.digest(TEXT[pages * PAGE : end]) == sha256(TEXT[:end]).hex()
    assert follower.digest(b"") == sha256(TEXT[: pages * PAGE]).hex()


def test_many_drafts_at_once_are_each_hashed_right() -> None:
    """They share the threads, and the memory that was hashed."""
    drafts = [Draft(KEY, Shelf().new_blob) for _ in range(12)]
    for at in range(0, 4 * PAGE, PART):
        for number, draft in enumerate(drafts):
            draft.write(at, TEXT[number * 7 + at : number * 7 + at + PART])
    for number, draft in enumerate(drafts):
        assert draft.finish().sha256 == sha256(TEXT[number * 7 : number * 7 + 4 * PAGE]).hex()


@pytest.mark.parametrize("size", [CHUNK, CHUNK + 1, 2 * CHUNK, PAGE, PAGE + CHUNK, PAGE + CHUNK + 1, 5 * PAGE + 3])
def test_a_tail_that_was_written_over_is_hashed_as_it_is_at_the_end(size: int) -> None:
    """Behind pages that are with the thread already, and in a page that is not."""
    draft = Draft(KEY, Shelf().new_blob)
    write(draft, size)
    draft.write(size - 1, b"!")
    draft.write(0, TEXT[:100])  # the same again
    assert draft.finish().sha256 == sha256(TEXT[: size - 1] + b"!").hex()


@pytest.mark.parametrize("cut", [1, CHUNK - 1, 2 * CHUNK, PAGE, PAGE + 5])
def test_a_tail_that_was_cut_is_hashed_as_it_is_at_the_end(cut: int) -> None:
    draft = Draft(KEY, Shelf().new_blob)
    write(draft, PAGE + 2 * CHUNK)
    draft.truncate(cut)
    sealed = draft.finish()
    expected = sha256(TEXT[:cut]).hex()
    assert sealed.sha256 == expected if sealed.small else merge(sealed.pieces, KEY, MemoryBlob()) == (cut, expected)


def test_a_full_disk_does_not_let_a_byte_be_hashed_twice() -> None:
    shelf = Shelf()
    draft = Draft(KEY, shelf.new_blob)
    write(draft, 3 * PAGE)
    shelf.blobs[0].room = 5
    with pytest.raises(StoreFull):
        write(draft, 4 * PAGE, start=3 * PAGE)
    write(draft, 4 * PAGE, start=draft.size)
    assert draft.finish().sha256 == sha256(TEXT[: 4 * PAGE]).hex()


# ---- who waits, and who does not


def test_who_writes_hashes_nothing_and_does_not_wait() -> None:
    """Every page is hashed by another thread, however long that takes; the close waits for it."""
    draft = Draft(KEY, Shelf().new_blob)
    with busy_threads() as go_on:
        write(draft, 6 * PAGE)
        closing = threading.Thread(target=draft.finish)
        closing.start()
        closing.join(0.05)
        assert closing.is_alive()
        go_on.set()
        closing.join(DEADLINE)
    assert draft.finish().sha256 == sha256(TEXT[: 6 * PAGE]).hex()


def test_a_draft_that_gets_ahead_of_its_hash_asks_for_a_pause_and_ends_it() -> None:
    draft, near = Draft(KEY, Shelf().new_blob), threading.Event()
    with busy_threads() as go_on:
        assert not write(draft, FAR * PAGE)
        assert write(draft, (FAR + 2) * PAGE, start=FAR * PAGE)
        pause = draft.write(draft.size, b"x")
        assert pause
        pause(near.set)
        assert not near.is_set()
        go_on.set()
        assert near.wait(DEADLINE)
    again = threading.Event()
    pause(again.set)  # at once: the thread is near
    assert again.is_set()
    assert draft.write(draft.size, b"x") is None


def test_who_heeds_no_pause_waits_in_the_end() -> None:
    """What lies in memory is bounded, though a thread that writes has no other way to pause."""
    draft = Draft(KEY, Shelf().new_blob)
    with busy_threads() as go_on:
        writing = threading.Thread(target=write, args=(draft, len(TEXT)))
        writing.start()
        writing.join(0.2)
        assert writing.is_alive()
        assert draft.size <= (MOST + 3) * PAGE
        go_on.set()
        writing.join(DEADLINE)
    assert draft.finish().sha256 == sha256(TEXT).hex()


ENDS: list[Callable[[Draft], object]] = [
    lambda draft: draft.disperse(),
    lambda draft: draft.suspend(),
    lambda draft: draft.truncate(0),
    lambda draft: draft.truncate(PAGE + 7),
]


@pytest.mark.parametrize("end", ENDS)
def test_a_draft_that_is_given_up_waits_for_no_hash_and_leaves_none(end: Callable[[Draft], object]) -> None:
    """However it ends: the threads have nothing more to do for it than the one page that they may have begun."""
    draft = Draft(KEY, Shelf().new_blob)
    with busy_threads():
        write(draft, 6 * PAGE)
        follower = draft._hash
        assert follower
        end(draft)
        assert len(follower._pages) <= 1
        assert draft._hash is not follower


def test_a_draft_cut_to_nothing_while_it_is_hashed_begins_anew() -> None:
    draft = Draft(KEY, Shelf().new_blob)
    with busy_threads():
        write(draft, 6 * PAGE)
        draft.truncate(0)
        draft.write(0, b"another")
    assert draft.finish().sha256 == sha256(b"another").hex()


def test_what_is_resumed_is_hashed_when_it_is_merged() -> None:
    shelf = Shelf()
    draft = Draft(KEY, shelf.new_blob)
    with busy_threads():
        write(draft, 3 * PAGE)
        left = draft.suspend()
    resumed = Draft(KEY, shelf.new_blob, left)
    write(resumed, 5 * PAGE, start=resumed.size)
    sealed = resumed.finish()
    assert sealed.sha256 is None
    assert merge(sealed.pieces, KEY, MemoryBlob()) == (5 * PAGE, sha256(TEXT[: 5 * PAGE]).hex())
