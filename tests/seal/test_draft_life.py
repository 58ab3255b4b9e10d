"""Whatever a client, a kill -9 or a power cut does to a draft: it holds what was written, or less at its end."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fxsftp.errors import Gap, Rewritten, StoreFull, TooFarAhead
from fxsftp.seal import (
    CHUNK,
    Draft,
    Identity,
    Sealed,
    SmallBody,
    Stored,
    digest,
    header_for,
    merge,
    new_file_key,
    open_small,
    payload_size,
    pieces_reader,
)
from fxsftp.seal.primitives import sha256
from tests.seal.blobs import MemoryBlob, Shelf

LARGEST = 8 * CHUNK
AHEAD = 3 * CHUNK
lengths = st.sampled_from([1, 100, 8192, 32768, 65535, 65536, 65537, 100_000, 131_072, 262_144])
seeds = st.integers(0, 2**32)


class DraftLife(RuleBasedStateMachine):
    """Beside the draft stands a model: the bytes, and which of them have been written."""

    @initialize(seed=seeds)
    def begin(self, seed: int) -> None:
        self.chance = Random(seed)
        self.file_key = new_file_key()
        self.identity = Identity.generate()
        self.shelf = Shelf()
        self.source = bytearray(self.chance.randbytes(LARGEST))
        self.written = bytearray(LARGEST)  # 1 where the draft was told what stands there
        self.closed: bytes | None = None  # what the last CLOSE was answered for
        self.take_up()

    def take_up(self) -> None:
        self.begun = self.shelf.count
        self.draft = Draft(self.file_key, self.shelf.new_blob, self.shelf.rows, ahead_limit=AHEAD)

    @property
    def size(self) -> int:
        """The model's frontier."""
        hole = self.written.find(0)
        return LARGEST if hole < 0 else hole

    def mark(self, start: int, stop: int) -> None:
        self.written[start:stop] = b"\1" * (stop - start)

    # ---- what a client does

    @rule(count=lengths)
    def goes_on(self, count: int) -> None:
        count = min(count, LARGEST - self.size)
        start = self.size
        self.draft.write(start, bytes(self.source[start : start + count]))
        self.mark(start, start + count)

    @rule(distance=st.integers(-3 * CHUNK, 3 * CHUNK), count=lengths)
    def jumps(self, distance: int, count: int) -> None:
        """A part that came early or comes again."""
        start = max(0, self.size + distance)
        stop = min(start + count, LARGEST)
        assume(start < stop)
        part = memoryview(bytes(self.source[start:stop]))
        if start > self.size and stop - self.size > AHEAD:
            with pytest.raises(TooFarAhead):
                self.draft.write(start, part)
            return
        self.draft.write(start, part)
        self.mark(start, stop)

    @rule(share=st.floats(0, 1))
    def contradicts_itself(self, share: float) -> None:
        """Another byte where something is sealed already is refused, and changes nothing."""
        sealed = (self.size - 1) // CHUNK * CHUNK
        assume(sealed > 0)
        place = int(share * (sealed - 1))
        with pytest.raises(Rewritten):
            self.draft.write(place, bytes([self.source[place] ^ 1]))

    @rule(share=st.floats(0, 1))
    def thinks_better_of_the_tail(self, share: float) -> None:
        """What is not sealed yet may be written anew."""
        assume(self.size % CHUNK)
        place = self.size // CHUNK * CHUNK + int(share * (self.size % CHUNK - 1))
        self.source[place] ^= 1
        self.draft.write(place, self.source[place : place + 1])

    @rule(count=lengths, room=st.integers(0, 70_000))
    def finds_the_disk_full(self, count: int, room: int) -> None:
        """A write that failed for want of room goes well when it is tried again."""
        start = self.size
        stop = min(start + count, LARGEST)
        assume(start < stop)
        part = bytes(self.source[start:stop])
        for blob in self.shelf.blobs:
            blob.room = room
        try:
            self.draft.write(start, part)
        except StoreFull:
            self.draft.write(start, part)
        for blob in self.shelf.blobs:
            blob.room = None
        self.mark(start, stop)

    @rule(share=st.floats(0, 1), border=st.booleans())
    def cuts(self, share: float, border: bool) -> None:
        """After a truncation other bytes may follow."""
        size = int(share * self.size)
        if border:
            size = size // CHUNK * CHUNK
        self.draft.truncate(size)
        self.source[size:] = self.chance.randbytes(LARGEST - size)
        self.written[size:] = bytes(LARGEST - size)

    @rule(more=st.integers(0, LARGEST))
    def announces(self, more: int) -> None:
        """A size beyond the end says what is to come, and changes nothing."""
        self.draft.truncate(self.draft.end + more)

    # ---- what may befall it

    @rule(torn=st.booleans())
    def is_killed(self, torn: bool) -> None:
        """kill -9: what lies in blobs stays, down to the byte, and perhaps a torn chunk after it."""
        flushed = self.draft.flushed
        if torn and self.shelf.count > self.begun:  # in the segment that grows
            self.shelf.blobs[-1].tear(self.chance)
        self.take_up()
        self.expect(flushed)

    @rule()
    def loses_power(self) -> None:
        """What was not synced may be gone, or be zeros.  What is left is what was written."""
        flushed = self.draft.flushed
        for blob in self.shelf.blobs:
            blob.lose_power(self.chance)
        self.take_up()
        self.expect(flushed, or_less=True)

    def expect(self, flushed: int, or_less: bool = False) -> None:
        """The draft has what lay in blobs; or else what a CLOSE was answered for, which is not gone before the next."""
        found = self.draft.read(0, LARGEST)
        newest = self.source[:flushed]
        if found != newest and not (or_less and newest.startswith(found)):
            assert found == self.closed
            self.source[: len(found)] = found
            self.mark(0, len(found))
        self.written[len(found) :] = bytes(LARGEST - len(found))

    @rule(power=st.booleans())
    def loses_its_session(self, power: bool) -> None:
        """What is suspended survives everything."""
        flushed = self.draft.flushed
        self.shelf.rows = list(self.draft.suspend())
        left = self.draft.size
        if power:
            for blob in self.shelf.blobs:
                blob.lose_power(self.chance)
        self.take_up()
        assert self.draft.size == left
        self.expect(flushed)

    # ---- closing

    @rule(is_recorded=st.booleans())
    def closes(self, is_recorded: bool) -> None:
        """A CLOSE with a hole is refused; any other is whole and durable when it is answered."""
        size = self.size
        if self.draft.end > size:
            with pytest.raises(Gap):
                self.draft.finish()
            return
        content = bytes(self.source[:size])
        sealed = self.draft.finish()
        assert sealed.size == size
        if is_recorded:
            self.shelf.rows = rows(sealed)
            self.closed = content
            for blob in self.shelf.blobs:
                blob.lose_power(self.chance)
            self.check(sealed, content)
            self.take_up()
            assert self.draft.size == size
        else:  # killed between the seal and the registry
            flushed = self.draft.flushed
            assert flushed < size or size == 0 or content == self.closed
            self.take_up()
            self.expect(flushed)

    def check(self, sealed: Sealed, content: bytes) -> None:
        assert (sealed.small is not None) + (sealed.blob is not None) + bool(sealed.pieces) == 1
        expected = sha256(content).hex()
        assert sealed.sha256 in (None, expected)
        if sealed.pieces:
            assert digest(pieces_reader(sealed.pieces, self.file_key)) == expected
            merged = MemoryBlob("merged")
            assert merge(sealed.pieces, self.file_key, merged) == (len(content), expected)
            assert merged.synced == merged.size
            body = bytes(merged.data)
        elif sealed.small is not None:
            body = sealed.small
            assert len(content) <= CHUNK
        else:
            assert isinstance(sealed.blob, MemoryBlob)
            body = bytes(sealed.blob.data)
        assert len(body) == payload_size(len(content))
        assert open_small(header_for(self.file_key, self.identity.lock) + body, self.identity) == content

    @precondition(lambda self: self.closed is not None)
    @rule()
    def starts_again(self) -> None:
        """An OPEN with TRUNC is another draft."""
        self.begin(self.chance.getrandbits(32))

    # ---- always

    @invariant()
    def holds_what_was_written(self) -> None:
        if not hasattr(self, "draft"):
            return
        assert self.draft.size == self.size
        assert self.draft.end == self.written.rfind(1) + 1
        assert self.draft.flushed <= self.draft.size
        assert self.draft.ahead_bytes == self.written[self.size :].count(1)
        assert self.draft.read(0, LARGEST) == self.source[: self.size]

    def teardown(self) -> None:
        if hasattr(self, "draft") and self.draft.end == self.size:
            self.closes(is_recorded=True)


def rows(sealed: Sealed) -> list[Stored]:
    """What the registry keeps of a finished draft."""
    if sealed.pieces:
        return list(sealed.pieces)
    return [Stored(body=sealed.blob if sealed.small is None else SmallBody(sealed.small))]


TestDraftLife = DraftLife.TestCase
TestDraftLife.settings = settings(
    max_examples=120,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
