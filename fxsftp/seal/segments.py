"""Drafts: one file sealed while it arrives, in any order, over as many sessions as it takes.

A draft is a row of append-only **segments**, each an age payload of its own on a Blob.  A segment's nonce is born
with it and dies with it: after a disconnect, a crash or a truncation a new segment begins, under a new nonce, and
nothing is ever sealed again where something else was.  So no (key, nonce) pair serves twice, whatever a client
does and wherever the power fails.

    0 ······ in blobs ······ tail | (hole) ahead (hole) ahead
                                  ^ frontier = size             ^ end

A full chunk leaves for its blob only once a later byte is there, because the last one needs the final flag.  So
the blobs hold whole chunks, and the **tail**, 1 to 65536 bytes, waits in memory with what came ahead.

Segments are named in the order in which they were begun: a newer one replaces what older ones hold from its start
on.  One for which a CLOSE was answered is never cut, since until the next CLOSE it is what counts.
Nothing here knows files, names or rows.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fxsftp.errors import Forged, Gap, Rewritten, TooFarAhead
from fxsftp.seal.stream import (
    CHUNK,
    NONCE,
    SEALED_CHUNK,
    TAG,
    Bytes,
    ChunkReader,
    Chunks,
    Sealer,
    chunk_at,
    chunks,
)

AHEAD = 16 << 20  # bytes; 64 requests of 256 KiB, more than any client keeps in flight
AHEAD_PARTS = 4096  # parts; crumbs must not cost much more memory than the bytes that they carry
_RUN = 16  # chunks; where much is read, 1 MiB is read at a time


class Blob(Protocol):
    """Bytes on disk, as the vault gives them.  Of one that was sealed, only `size` and `read` are asked."""

    @property
    def id(self) -> str:
        """What the caller knows it by."""
        ...

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def append(self, data: Bytes, /) -> None:
        """Take all of it, or raise; does not keep `data`."""
        ...

    def read(self, offset: int, count: int, /) -> bytes:
        """Return the bytes asked for, fewer only at the end."""
        ...

    def cut(self, size: int, /) -> None:
        """Keep only the first `size` bytes."""
        ...

    def sync(self) -> None:
        """Return once all that was appended survives a power cut.

        Where it raised once it always raises: a kernel forgets what it could not write, and then says all is well.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment as an earlier session, or an earlier process, left it."""

    blob: Blob | None  # None when the whole body is `small`, and only then
    start_chunk: int = 0
    sealed: bool = False  # a CLOSE was answered for the file that it is a part of
    small: bytes | None = None  # a whole body of up to 64 KiB, as its row keeps it
    durable: int = 0  # bytes of the blob known to be synced; what is beyond them is unsealed before it is believed


@dataclass(frozen=True, slots=True)
class Sealed:
    """A finished draft: exactly one of `small`, `blob` and `pieces` is set."""

    size: int  # bytes of plaintext
    sha256: str | None  # of the plaintext, in hex; None when not all of it passed through this draft
    small: bytes | None = None  # the payload itself, for CLOSE's own transaction
    blob: Blob | None = None  # the payload, durable
    pieces: tuple[Stored, ...] = ()  # durable, in order, the last with the final chunk; to be merged before dispatch


class Crowd:
    """How many bytes all drafts of a process together hold ahead of their frontiers, and may hold."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._lock = threading.Lock()  # drafts end in other threads than the one in which they grow

    def admits(self, more: int) -> bool:
        """Count `more` bytes in, if there is room for them."""
        with self._lock:
            if self.size + more > self.limit:
                return False
            self.size += more
            return True

    def leave(self, count: int) -> None:
        """Count bytes out."""
        with self._lock:
            self.size -= count


class Draft:
    """One file while it arrives.

    For one caller at a time.  `write` may run in an event loop; taking up stored segments, `finish` and `suspend`
    read much or sync, and belong in a thread.
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
        self.dropped: list[Blob] = []
        """Blobs that hold nothing of this draft any more.  To be erased when what `finish` or `suspend` returned
        is on record, not earlier: until then they may be what counts."""
        self._file_key = file_key
        self._new_blob = new_blob
        self._ahead_limit = ahead_limit
        self._crowd = crowd or Crowd(ahead_limit)
        self._name = name
        self._ahead: list[tuple[int, bytes]] = []  # what came ahead, in order, without overlap
        self.ahead_bytes = 0
        """How many bytes beyond the frontier are held in memory."""
        self._result: Sealed | None = None
        self._take_up(stored)

    def _take_up(self, stored: Sequence[Stored]) -> None:
        taken = [_Segment.take_up(one, self._file_key) for one in stored]
        self._closed = [segment for segment in taken if segment.was_sealed]  # what counts until the next CLOSE
        self._segments = _line_up(taken)
        self._drop(segment for segment in taken if segment not in self._segments)
        self._next = self._segments[-1].stop if self._segments else 0  # chunks in blobs; the tail is chunk _next
        self._tail = bytearray()
        self._have = 0  # bytes of the tail
        if self._stored_tail is not None:
            self._load(self._stored_tail)
        self._hash = hashlib.sha256() if self._next == 0 else None  # of the chunks in blobs
        self._seen = (-1, b"")  # the chunk unsealed last
        self.disperse()

    # ---- what is there

    @property
    def size(self) -> int:
        """How many bytes there are without a hole: what stat shows, and where a client resumes."""
        return self._next * CHUNK + self._have

    @property
    def end(self) -> int:
        """The highest byte there is, plus one."""
        return _stop(self._ahead[-1]) if self._ahead else self.size

    @property
    def flushed(self) -> int:
        """How many bytes from the start lie in blobs: what a kill -9 leaves."""
        return self._next * CHUNK + len(self._stored_tail or b"")

    @property
    def stored(self) -> tuple[Stored, ...]:
        """What is to be kept of this draft at this moment, in the order in which it was begun."""
        begun = [segment for segment in self._segments if not segment.was_sealed]
        return tuple(segment.stored() for segment in self._closed + begun)

    def read(self, offset: int, count: int) -> bytes:
        """Return what was written, up to the frontier, or raise Forged."""
        end = min(offset + count, self.size)
        parts = []
        while offset < end:
            index, skip = divmod(offset, CHUNK)
            whole = self._tail if index == self._next else self._chunk(index)
            part = whole[skip : min(CHUNK, skip + end - offset)]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    # ---- writing

    def write(self, offset: int, data: Bytes) -> None:
        """Take a part of the file.

        Raises Rewritten when it differs from what is sealed already, TooFarAhead when it would have to wait in too
        large a crowd, and whatever the blob raises.  After any of them the draft is whole and can go on.
        """
        part = memoryview(data)
        if self._result is not None:
            raise ValueError("this draft is finished")
        if offset < self.size:
            offset, part = self._match(offset, part)
        if offset > self.size:
            if part:
                self._hold(offset, part)
            return
        self._extend(part)
        if self._ahead:
            self._catch_up()

    def _extend(self, part: memoryview) -> None:
        at, length = 0, len(part)
        if not length:
            return
        if not self._tail:
            self._tail = bytearray(CHUNK)
        while at < length:
            if self._have == CHUNK:
                self._flush(self._tail)  # a later byte is here
                self._have = 0
            if self._have == 0 and length - at > CHUNK:
                self._flush(part[at : at + CHUNK])  # straight from the packet; the tail would only cost a copy
                at += CHUNK
                continue
            count = min(CHUNK - self._have, length - at)
            self._tail[self._have : self._have + count] = part[at : at + count]
            self._have += count
            at += count

    def _flush(self, chunk: Bytes) -> None:
        self._growing().append(chunk)
        self._next += 1
        if self._hash is not None:
            self._hash.update(chunk)  # here alone: each byte passes the frontier once, in order

    def _growing(self) -> _Segment:
        """Return the segment that takes the next chunk: the last one if it still grows, or else a new one."""
        if self._segments and self._segments[-1].does_grow:
            return self._segments[-1]
        self._drop_from(self._next)
        blob = self._new_blob(self._next)
        try:
            segment = _Segment.begin(blob, self._next, self._file_key)
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

    def _hold(self, offset: int, part: memoryview) -> None:
        """Keep for later what came ahead.  Where it overlaps with something held, the newer wins."""
        newer = (offset, bytes(part))
        if _stop(newer) - self.size > self._ahead_limit or len(self._ahead) >= AHEAD_PARTS:
            raise TooFarAhead
        if not self._ahead or offset >= _stop(self._ahead[-1]):
            self._admit(len(part))
            self._ahead.append(newer)
        else:
            parts = sorted([*_outside(self._ahead, offset, _stop(newer)), newer])
            self._admit(_total(parts) - self.ahead_bytes)
            self._ahead = parts

    def _admit(self, more: int) -> None:
        if not self._crowd.admits(more):
            raise TooFarAhead
        self.ahead_bytes += more

    def _keep_ahead(self, parts: list[tuple[int, bytes]]) -> None:
        """Of what is held, only these; the rest leaves the crowd."""
        self._ahead, held = parts, _total(parts)
        self._crowd.leave(self.ahead_bytes - held)
        self.ahead_bytes = held

    def disperse(self) -> None:
        """Let go of what came ahead.  Whoever gives up a draft without finishing or suspending it calls this."""
        self._keep_ahead([])

    def _catch_up(self) -> None:
        """Take in what had come ahead and now follows without a hole."""
        while self._ahead and self._ahead[0][0] <= self.size:
            offset, data = self._ahead[0]
            self._extend(memoryview(data)[self.size - offset :])
            del self._ahead[0]
            self._crowd.leave(len(data))
            self.ahead_bytes -= len(data)

    # ---- truncating

    def truncate(self, size: int) -> None:
        """Let the file end here if it is longer.  A larger size is only an announcement, and changes nothing."""
        if self._result is not None:
            raise ValueError("this draft is finished")
        if size < self.end:
            self._keep_ahead(list(_outside(self._ahead, size, self.end)))
        if size < self.size:
            keep = chunks(size) - 1  # chunks that may stay; what is beyond them, 1 to 65536 bytes, is the tail
            if keep < self._next:
                self._take_back(keep)
            self._have = size - keep * CHUNK
            self._forget_stored_tail()

    def _take_back(self, keep: int) -> None:
        """Make chunk `keep`, which lies in a blob, the tail again, and forget what follows it."""
        self._load(self._chunk(keep))
        self._next = keep
        self._seen = (-1, b"")
        # What was hashed can't be unhashed: merge hashes anew.  With nothing in blobs we can begin anew here.
        self._hash = hashlib.sha256() if keep == 0 else None
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
            self.dropped += [segment.blob for segment in replaced if segment.small is None]
        return self._result

    def _seal(self) -> Sealed:
        if self._have == 0 and self._next:
            self._take_back(self._next - 1)  # resumed at the border of a chunk and closed: that chunk is the last
        tail = memoryview(self._tail)[: self._have]
        digest = self._digest(tail)
        is_stored = self._stored_tail is not None and len(self._stored_tail) == self._have
        if self._next == 0 and not is_stored:
            self._drop_from(0)
            sealer = Sealer(self._file_key)
            return Sealed(self.size, digest, small=sealer.nonce + sealer.seal(tail, last=True))
        if not is_stored:
            self._growing().append(tail, last=True)
        self.sync()
        pieces = tuple(segment.stored(sealed=True) for segment in self._segments)
        if len(pieces) == 1:
            return Sealed(self.size, digest, small=pieces[0].small, blob=pieces[0].blob)
        return Sealed(self.size, digest, pieces=pieces)

    def _digest(self, tail: memoryview) -> str | None:
        if self._hash is None:
            return None
        digest = self._hash.copy()
        digest.update(tail)
        return digest.hexdigest()

    def sync(self) -> None:
        """Make durable what lies in blobs."""
        for segment in self._segments:
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
    def _stored_tail(self) -> bytes | None:
        """The final chunk that the last segment ends with, if it does.  The tail begins with the same bytes."""
        return self._segments[-1].final if self._segments else None

    def _forget_stored_tail(self) -> None:
        """Cut it off once the tail is something else, or else a kill -9 would bring it back."""
        if self._stored_tail is not None:
            self._drop_from(self._next)

    def _load(self, chunk: bytes) -> None:
        self._tail = bytearray(CHUNK)
        self._tail[: len(chunk)] = chunk
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

    def _drop(self, segments: Iterable[_Segment]) -> None:
        self.dropped += [segment.blob for segment in segments if not segment.was_sealed]


# ---- bodies in pieces ------------------------------------------------------------------------------


def pieces_reader(pieces: Sequence[Stored], file_key: bytes) -> ChunkReader:
    """Return a reader of a sealed body that still lies in pieces, or raise Forged when it is not whole."""
    segments = _line_up(_Segment.take_up(piece, file_key) for piece in pieces)
    if not segments or segments[-1].final is None:
        raise Forged("its end is missing")

    def run(first: int, count: int) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < count:
            index = first + len(found)
            segment = segments[bisect_right(segments, index, key=lambda segment: segment.start) - 1]
            found += segment.run(index, min(count - len(found), segment.stop - index))
        return found

    final = segments[-1].final
    return ChunkReader(segments[-1].stop * CHUNK + len(final), final, run)


def merge(pieces: Sequence[Stored], file_key: bytes, into: Blob) -> tuple[int, str]:
    """Write a body in pieces as one payload, under a new nonce, and sync it; return its plaintext's size and SHA-256.

    Raises Forged when the pieces don't verify to the last byte.  Reads and writes all of it: for a thread.
    """
    reader = pieces_reader(pieces, file_key)
    sealer = Sealer(file_key)
    digest = hashlib.sha256()
    into.append(sealer.nonce)
    final = chunks(reader.size) - 1
    for first in range(0, final + 1, _RUN):
        part = memoryview(reader.read(first * CHUNK, _RUN * CHUNK))
        digest.update(part)
        for index in range(first, min(first + _RUN, final + 1)):
            into.append(sealer.seal(part[(index - first) * CHUNK : (index - first + 1) * CHUNK], last=index == final))
    into.sync()
    return reader.size, digest.hexdigest()


def digest(reader: ChunkReader) -> str:
    """Return the SHA-256 of a plaintext, in hex.  Reads all of it: for a thread."""
    found = hashlib.sha256()
    for offset in range(0, reader.size, _RUN * CHUNK):
        found.update(reader.read(offset, _RUN * CHUNK))
    return found.hexdigest()


# ---- one segment -----------------------------------------------------------------------------------


class _Segment:
    """Whole chunks, one after the other, from chunk `start` of the file on; perhaps with the file's final chunk."""

    def __init__(self, origin: Stored, blob: Blob, file_key: bytes) -> None:
        self.blob = blob
        self.start = origin.start_chunk
        self.count = 0  # chunks of it that belong to the draft, not counting a final one
        self.final: bytes | None = None  # the final chunk found at its end, unsealed
        self._origin = origin
        self._durable = origin.durable
        self._file_key = file_key
        self._sealer: Sealer | None = None
        self._chunks: Chunks | None = None

    @classmethod
    def begin(cls, blob: Blob, start: int, file_key: bytes) -> _Segment:
        """Make a segment that grows."""
        segment = cls(Stored(blob, start), blob, file_key)
        segment._sealer = Sealer(file_key)
        blob.append(segment._sealer.nonce)
        return segment

    @classmethod
    def take_up(cls, origin: Stored, file_key: bytes) -> _Segment:
        """Look what is left of a segment.  It never grows again."""
        blob = _Small(origin.small) if origin.small is not None else origin.blob
        if blob is None:
            raise ValueError("a stored segment is a blob or small")
        segment = cls(origin, blob, file_key)
        if segment.blob.size >= NONCE + TAG:
            segment._count_whole()
            segment._find_final()
        return segment

    @property
    def stop(self) -> int:
        """The number of the chunk that follows."""
        return self.start + self.count

    @property
    def does_grow(self) -> bool:
        return self._sealer is not None

    @property
    def was_sealed(self) -> bool:
        return self._origin.sealed or self.small is not None

    @property
    def small(self) -> bytes | None:
        return self._origin.small

    def stored(self, sealed: bool = False) -> Stored:
        if self.small is not None:
            return self._origin
        return Stored(self.blob, self.start, sealed or self.was_sealed, durable=self._durable)

    def append(self, chunk: Bytes, last: bool = False) -> None:
        """Seal the next chunk.  When this raises, or after the last one, the segment grows no more."""
        sealer, self._sealer = self._sealer, None
        if sealer is None:
            raise ValueError("this segment grows no more")
        self.blob.append(sealer.seal(chunk, last))
        if last:
            self.final = bytes(chunk)
        else:
            self.count += 1
            self._sealer = sealer

    def run(self, index: int, count: int) -> list[bytes]:
        """Unseal chunks by their numbers in the file, or raise Forged."""
        if self._chunks is None:
            self._chunks = Chunks(self.blob.read, self._file_key)
        return self._chunks.run(index - self.start, count)

    def shorten(self, stop: int) -> None:
        """Keep only the chunks before this one, and let nothing be appended any more."""
        self._sealer = self.final = None
        self.count = min(self.count, stop - self.start)
        if not self.was_sealed:
            length = chunk_at(self.count) if self.count else 0
            if length < self.blob.size:
                self.blob.cut(length)
            self._durable = min(self._durable, length)

    def sync(self) -> None:
        if not self.was_sealed and self._durable < self.blob.size:
            self.blob.sync()
            self._durable = self.blob.size

    def _count_whole(self) -> None:
        """Count the chunks that verify.  Of those known to be durable only the last may be something else.

        A power cut may leave any part of what was not synced as zeros, not just its end, so all of that is read.
        """
        length = self.blob.size
        known = length if self.was_sealed else min(length, self._durable)
        whole = (length - NONCE) // SEALED_CHUNK
        self.count = max(0, (known - NONCE) // SEALED_CHUNK - 1)
        step = _RUN
        while self.count < whole:
            step = min(step, whole - self.count)
            try:
                self.run(self.stop, step)
            except Forged:
                if step == 1:
                    return
                step = 1
            else:
                self.count += step

    def _find_final(self) -> None:
        size = self.blob.size - chunk_at(self.count) - TAG
        least = 0 if self.stop == 0 else 1  # only an empty file has an empty chunk
        if least <= size <= CHUNK:
            try:
                self.final = Chunks(self.blob.read, self._file_key).last(self.count, size)
            except Forged:
                self.final = None  # torn, or sealed by nobody


class _Small:
    """A body of up to 64 KiB, read as if it lay in a blob.  It was sealed, so only `size` and `read` are asked."""

    id = ""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.size = len(payload)

    def read(self, offset: int, count: int) -> bytes:
        return self._payload[offset : offset + count]

    def append(self, data: Bytes, /) -> None:
        raise NotImplementedError

    def cut(self, size: int, /) -> None:
        raise NotImplementedError

    def sync(self) -> None:
        raise NotImplementedError


def _line_up(taken: Iterable[_Segment]) -> list[_Segment]:
    """Return the segments that together are the file so far.  Nothing is cut: who looks again finds the same."""
    line: list[_Segment] = []
    for newer in taken:
        is_empty = newer.count == 0 and newer.final is None
        if is_empty or newer.start > (line[-1].stop if line else 0):
            if newer.was_sealed:
                raise Forged("a part of it is missing")
            continue
        while line and line[-1].start >= newer.start:
            line.pop()
        if line:
            line[-1].count = newer.start - line[-1].start
            line[-1].final = None
        line.append(newer)
    if line and line[-1].was_sealed and line[-1].final is None:
        raise Forged("its end is missing")
    return line


# ---- parts that came ahead -------------------------------------------------------------------------


def _stop(part: tuple[int, bytes]) -> int:
    return part[0] + len(part[1])


def _total(parts: Iterable[tuple[int, bytes]]) -> int:
    return sum(len(data) for _, data in parts)


def _outside(parts: Iterable[tuple[int, bytes]], start: int, stop: int) -> Iterable[tuple[int, bytes]]:
    """Yield what of these parts lies outside [start, stop)."""
    for offset, data in parts:
        if offset < start:
            yield offset, data[: start - offset]
        if offset + len(data) > stop:
            yield max(offset, stop), data[max(0, stop - offset) :]
