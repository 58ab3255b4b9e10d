"""Drafts: one file sealed while it arrives, in any order, over as many sessions as it takes.

A draft is a row of append-only **segments** (segments.py), each under a nonce of its own: after a disconnect, a crash
or a truncation a new segment begins, and nothing is ever sealed again where something else was.  So no (key, nonce)
pair serves twice, whatever a client does and wherever the power fails.

    0 ······ in blobs ······ tail | (hole) ahead (hole) ahead
                                  ^ frontier = size             ^ end

A full chunk leaves for its blob only once a later byte is there, because the last one needs the final flag.  So
the blobs hold whole chunks, and the **tail**, 1 to 65536 bytes, waits in memory with what came ahead.
The tail is the end of a **page**, whose beginning is in blobs already: full, it goes to be hashed by another thread.
Nothing here knows files, names or rows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence

from fxsftp.errors import Gap, Rewritten
from fxsftp.seal.ahead import AHEAD, Ahead, Crowd
from fxsftp.seal.blobs import Blob, Body, Sealed, SmallBody, Stored
from fxsftp.seal.hashing import Follower, Pause, new_page
from fxsftp.seal.primitives import sha256
from fxsftp.seal.segments import Segment, line_up
from fxsftp.seal.stream import CHUNK, Bytes, Sealer, chunks


class Draft:
    """One file while it arrives.

    For one caller at a time.  `write` may run in an event loop; taking up stored segments, `finish` and `suspend`
    read much, sync or wait for the hash, and belong in a thread.
    """

    def __init__(
        self,
        file_key: bytes,
        new_blob: Callable[[int], Blob],
        stored: Sequence[Stored] = (),
        ahead_limit: int = AHEAD,
        *,
        crowd: Crowd | None = None,
        name: str = "this file",
    ) -> None:
        """Begin a draft, or take up what is left of one.

        `new_blob(start_chunk)` makes the blob of a segment that begins there.  Of `stored`, what does not verify is
        left out; only if a CLOSE was answered for it, Forged is raised.  `crowd` bounds what this draft and others
        hold ahead together.  `name` is what people read in a refusal.
        """
        self.dropped: list[Body] = []
        """What holds nothing of this draft any more.  To be erased when what `finish` or `suspend` returned
        is on record, not earlier: until then it may be what counts."""
        self._file_key = file_key
        self._new_blob = new_blob
        self._ahead = Ahead(ahead_limit, crowd)
        self._name = name
        self._page = memoryview(b"")
        self._begun = 0  # where in the page the tail begins
        self._have = 0  # bytes of the tail
        self._result: Sealed | None = None
        self._is_hashed = True  # whether all of the file passes through this draft
        self._hash: Follower | None = None  # begun with the first page that is full: most files never have one
        self._closed: list[Segment] = []  # what counts until the next CLOSE
        self._segments: list[Segment] = []
        self._next = 0  # chunks in blobs; the tail is chunk _next
        self._seen = (-1, b"")  # the chunk unsealed last
        if stored:
            self._take_up(stored)

    def _take_up(self, stored: Sequence[Stored]) -> None:
        taken = [Segment.take_up(one, self._file_key) for one in stored]
        for segment in taken:
            if not segment.was_closed:  # killed within a CLOSE: who sees every byte there would not come back for it
                segment.final = None
        self._closed = [segment for segment in taken if segment.was_closed]
        self._segments = line_up(taken)
        self._drop(segment for segment in taken if segment not in self._segments)
        self.disperse()
        self._next = self._segments[-1].stop if self._segments else 0
        self._load(self._stored_tail or b"")
        self._is_hashed = self._next == 0
        self._seen = (-1, b"")

    # ---- what is there

    @property
    def size(self) -> int:
        """How many bytes there are without a hole: what stat shows, and where a client resumes."""
        return self._next * CHUNK + self._have

    @property
    def end(self) -> int:
        """The highest byte there is, plus one."""
        return self._ahead.stop or self.size

    @property
    def ahead_bytes(self) -> int:
        """How many bytes beyond the frontier are held in memory."""
        return self._ahead.size

    @property
    def flushed(self) -> int:
        """How many bytes from the start lie in blobs: what a kill -9 leaves.

        Always less than were written, unless a CLOSE was answered for all of them: so a client knows that it has to
        come back.
        """
        is_closed = bool(self._segments) and self._segments[-1].was_closed
        return self._next * CHUNK + (len(self._stored_tail or b"") if is_closed else 0)

    @property
    def stored(self) -> tuple[Stored, ...]:
        """What is to be kept of this draft at this moment, in the order in which it was begun."""
        begun = [segment for segment in self._segments if not segment.was_closed]
        return tuple(segment.stored() for segment in self._closed + begun)

    def read(self, offset: int, count: int) -> bytes:
        """Return what was written, up to the frontier, or raise Forged."""
        end = min(offset + count, self.size)
        parts: list[Bytes] = []
        while offset < end:
            index, skip = divmod(offset, CHUNK)
            whole = self._tail if index == self._next else self._chunk(index)
            part = whole[skip : min(CHUNK, skip + end - offset)]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    # ---- writing

    def write(self, offset: int, data: Bytes) -> Pause | None:
        """Take a part of the file.

        Raises Rewritten when it differs from what is sealed already, TooFarAhead when it would have to wait in too
        large a crowd, and whatever the blob raises.  After any of them the draft is whole and can go on.
        Returns a Pause where more comes than is hashed: a loop heeds it, a thread need not.
        """
        part = memoryview(data)
        if self._result is not None:
            raise ValueError("this draft is finished")
        if offset < self.size:
            offset, part = self._match(offset, part)
        if offset > self.size:
            if part:
                self._ahead.hold(offset, part, self.size)
            return None
        self._extend(part)
        if self._ahead:
            self._catch_up()
        return self._hash.pause() if self._hash else None

    def _extend(self, part: memoryview) -> None:
        at, length = 0, len(part)
        if not self._page and length < CHUNK:  # most files are small, and come in one WRITE
            self._page, self._have = memoryview(bytearray(part)), length
            return
        while at < length:
            if self._have == CHUNK or self._begun + self._have == len(self._page):
                self._make_room()
            to = self._begun + self._have
            count = min(CHUNK - self._have, len(self._page) - to, length - at)
            self._page[to : to + count] = part[at : at + count]
            self._have += count
            at += count

    def _make_room(self) -> None:
        """Flush a full tail, since a later byte is here, and begin the next one behind it."""
        if 0 < self._have < CHUNK:
            self._load(bytes(self._tail))  # a small page becomes a whole one
            return
        if self._have:
            self._growing().append(self._tail)
            self._next, self._begun, self._have = self._next + 1, self._begun + CHUNK, 0
        if self._begun == len(self._page):
            self._turn_page()

    def _turn_page(self) -> None:
        if not self._is_hashed:
            self._page = self._page or memoryview(bytearray(CHUNK))  # over and over
        elif not self._page:
            self._page = memoryview(bytearray(CHUNK))
        else:
            self._hash = self._hash or Follower()
            self._hash.take(self._page)  # here alone: each byte passes the frontier once, in order
            self._page = new_page()
        self._begun = 0

    def _growing(self) -> Segment:
        """Return the segment that takes the next chunk: the last one if it still grows, or else a new one."""
        if self._segments and self._segments[-1].does_grow:
            return self._segments[-1]
        self._drop_from(self._next)
        blob = self._new_blob(self._next)
        try:
            segment = Segment.begin(blob, self._next, self._file_key)
        except BaseException:
            self.dropped.append(blob)
            raise
        self._segments.append(segment)
        return segment

    def _match(self, offset: int, part: memoryview) -> tuple[int, memoryview]:
        """Compare with what is there, and return what goes beyond it.  In the tail, not yet sealed, the newer wins."""
        frontier = self.size
        behind, beyond = part[: frontier - offset], part[frontier - offset :]
        border = self._next * CHUNK
        in_blobs = max(0, min(len(behind), border - offset))
        if in_blobs and self.read(offset, in_blobs) != behind[:in_blobs]:
            raise Rewritten
        rest = behind[in_blobs:]
        start = offset + in_blobs - border
        if rest and self._tail[start : start + len(rest)] != rest:
            self._tail[start : start + len(rest)] = rest
            self._forget_stored_tail()
        return offset + len(behind), beyond

    def _catch_up(self) -> None:
        """Take in what had come ahead and now follows without a hole."""
        while (part := self._ahead.next(self.size)) is not None:
            self._extend(part)
            self._ahead.taken()

    def disperse(self) -> None:
        """Let go of what came ahead and of the hash.  Who gives up a draft without an end to it calls this."""
        self._ahead.cut(0)
        self._forget_hash()
        self._is_hashed = False

    def _forget_hash(self) -> None:
        if self._hash:
            self._hash.forget()
            self._hash = None

    # ---- truncating

    def truncate(self, size: int) -> None:
        """Let the file end here if it is longer.  A larger size is only an announcement, and changes nothing."""
        if self._result is not None:
            raise ValueError("this draft is finished")
        self._ahead.cut(size)
        if size < self.size:
            keep = chunks(size) - 1  # chunks that may stay; what is beyond them, 1 to 65536 bytes, is the tail
            if keep < self._next:
                self._take_back(keep)
            self._have = size - keep * CHUNK
            self._forget_stored_tail()

    def _take_back(self, keep: int) -> None:
        """Make chunk `keep`, which lies in a blob, the tail again, and forget what follows it."""
        chunk = self._chunk(keep)
        # What was hashed can't be unhashed: merge hashes anew.  With nothing in blobs we can begin anew here.
        self._forget_hash()
        self._is_hashed = keep == 0
        self._load(chunk)
        self._next = keep
        self._seen = (-1, b"")
        self._drop_from(keep)

    # ---- ending

    def finish(self) -> Sealed:
        """Complete the file.  When this returns its bytes are durable, save `small`, which is the caller's to write.

        Raises Gap when a part never arrived.  After any error it may be called again.
        """
        if self._result is None:
            self._catch_up()
            if self._ahead:
                raise Gap(self._name, self.size)
            self._result = self._seal()
            replaced = [segment for segment in self._closed if segment not in self._segments]
            self.dropped += [segment.body for segment in replaced if not isinstance(segment.body, SmallBody)]
        return self._result

    def _seal(self) -> Sealed:
        if self._have == 0 and self._next:
            self._take_back(self._next - 1)  # resumed at the border of a chunk and closed: that chunk is the last
        is_stored = self._stored_tail is not None and len(self._stored_tail) == self._have
        if self._next == 0 and not is_stored:
            self._drop_from(0)
            sealer = Sealer(self._file_key)
            return Sealed(self.size, self._digest(), small=sealer.nonce + sealer.seal(self._tail, last=True))
        if not is_stored:
            self._growing().append(self._tail, last=True)
        self.sync()  # first, since the hash goes on meanwhile
        digest = self._digest()
        pieces = tuple(segment.closed() for segment in self._segments)
        if len(pieces) > 1 or digest is None:
            return Sealed(self.size, digest, pieces=pieces)
        whole = pieces[0].kept
        if isinstance(whole, SmallBody):
            return Sealed(self.size, digest, small=whole.payload)
        return Sealed(self.size, digest, blob=whole)

    def _digest(self) -> str | None:
        if not self._is_hashed:
            return None
        rest = self._page[: self._begun + self._have]
        return self._hash.digest(rest) if self._hash else sha256(rest).hex()

    def sync(self) -> None:
        """Make durable what lies in blobs.  Another thread may do so while this draft grows."""
        for segment in tuple(self._segments):
            segment.sync()

    def suspend(self) -> tuple[Stored, ...]:
        """Make durable what lies in blobs and return it, so that a later session can take it up.

        The tail and what came ahead are given up: `size` says from here on what a later session finds.  A file that
        was closed before, and then only cut, is again what it was at that CLOSE.
        """
        self.sync()
        self._take_up(self.stored)
        return self.stored

    # ---- segments

    @property
    def _tail(self) -> memoryview:
        return self._page[self._begun : self._begun + self._have]

    @property
    def _stored_tail(self) -> bytes | None:
        """The final chunk that the last segment ends with, if it does.  The tail begins with the same bytes."""
        return self._segments[-1].final if self._segments else None

    def _forget_stored_tail(self) -> None:
        """Cut it off once the tail is something else, or else a kill -9 would bring it back."""
        if self._stored_tail is not None:
            self._drop_from(self._next)

    def _load(self, chunk: bytes) -> None:
        """Begin a page with a tail."""
        self._page = memoryview(bytearray(chunk).ljust(CHUNK, b"\0") if chunk else bytearray())
        self._begun = 0
        self._have = len(chunk)

    def _chunk(self, index: int) -> bytes:
        """Unseal a chunk that lies in a blob, or raise Forged."""
        if self._seen[0] != index:
            place = bisect_right(self._segments, index, key=lambda segment: segment.start) - 1
            self._seen = (index, self._segments[place].run(index, 1)[0])
        return self._seen[1]

    def _drop_from(self, start: int) -> None:
        """Forget what segments hold from this chunk on.  What was closed stays where it is."""
        place = bisect_left(self._segments, start, key=lambda segment: segment.start)
        gone = self._segments[place:]
        del self._segments[place:]
        self._drop(gone)
        for segment in reversed(gone):
            segment.shorten(segment.start)  # to nothing, so that it can't come back should its row outlive it
        if self._segments:
            self._segments[-1].shorten(start)

    def _drop(self, segments: Iterable[Segment]) -> None:
        self.dropped += [segment.body for segment in segments if not segment.was_closed]
