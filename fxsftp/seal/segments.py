"""Segments: the pieces of which a draft consists, and how they become one body.

A segment is an age payload of its own on a Blob: whole chunks from some chunk of the file on, perhaps with the file's
final one.  Its nonce is born with it and dies with it.  It grows at its end, in the hands of the one who began it;
whoever takes it up later only reads it, shortens it and lets it go.

Segments are named in the order in which they were begun: a newer one replaces what older ones hold from its start
on.  One for which a CLOSE was answered is never cut, since until the next CLOSE it is what counts.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from fxsftp.errors import Forged
from fxsftp.seal.blobs import Blob, Body, Stored
from fxsftp.seal.stream import (
    CHUNK,
    NONCE,
    SEALED_CHUNK,
    TAG,
    ChunkReader,
    Chunks,
    Sealer,
    chunk_at,
    chunks,
)

_RUN = 16  # chunks; where much is read, 1 MiB is read at a time


# ---- bodies in pieces ------------------------------------------------------------------------------


def pieces_reader(pieces: Sequence[Stored], file_key: bytes) -> ChunkReader:
    """Return a reader of a sealed body that still lies in pieces, or raise Forged when it is not whole."""
    segments = line_up(Segment.take_up(piece, file_key) for piece in pieces)
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


class Segment:
    """Whole chunks, one after the other, from chunk `start` of the file on; perhaps with the file's final chunk."""

    def __init__(self, origin: Stored, file_key: bytes) -> None:
        self.body: Body = origin.kept
        self.start = origin.start_chunk
        self.count = 0  # chunks of it that belong to the draft, not counting a final one
        self.final: bytes | None = None  # the final chunk found at its end, unsealed
        self._origin = origin
        self._blob = origin.blob  # None where a CLOSE was answered for it: it stays as it is
        self._durable = origin.durable
        self._failure: Exception | None = None  # of a sync
        self._file_key = file_key
        self._sealer: Sealer | None = None
        self._sealed = bytearray()  # a chunk on its way into the blob
        self._chunks: Chunks | None = None

    @classmethod
    def begin(cls, blob: Blob, start: int, file_key: bytes) -> Segment:
        """Make a segment that grows."""
        segment = cls(Stored(blob, start), file_key)
        segment._sealer = Sealer(file_key)
        segment._sealed = bytearray(SEALED_CHUNK)
        blob.append(segment._sealer.nonce)
        return segment

    @classmethod
    def take_up(cls, origin: Stored, file_key: bytes) -> Segment:
        """Look what is left of a segment.  It never grows again."""
        segment = cls(origin, file_key)
        if segment.body.size >= NONCE + TAG:
            segment._count_whole()
            segment._find_final()
        return segment

    @property
    def stop(self) -> int:
        """The number of the chunk that follows."""
        return self.start + self.count

    @property
    def does_grow(self) -> bool:
        """Whether a chunk may be appended."""
        return self._sealer is not None

    @property
    def was_closed(self) -> bool:
        """Whether a CLOSE was answered for the file that it is a part of."""
        return self._blob is None

    def stored(self) -> Stored:
        """What is to be kept of it."""
        return Stored(self._blob, self.start, self._durable) if self._blob else self._origin

    def closed(self) -> Stored:
        """What is to be kept of it once a CLOSE is answered."""
        return Stored(start_chunk=self.start, body=self.body)

    def append(self, chunk: memoryview, last: bool = False) -> None:
        """Seal the next chunk.  When this raises, or after the last one, the segment grows no more."""
        sealer, self._sealer = self._sealer, None
        if sealer is None or self._blob is None:
            raise ValueError("this segment grows no more")
        self._blob.append(sealer.seal_into(self._sealed, chunk, last))
        if last:
            self.final = bytes(chunk)
        else:
            self.count += 1
            self._sealer = sealer

    def run(self, index: int, count: int) -> list[bytes]:
        """Unseal chunks by their numbers in the file, or raise Forged."""
        if self._chunks is None:
            self._chunks = Chunks(self.body.read, self._file_key)
        return self._chunks.run(index - self.start, count)

    def shorten(self, stop: int) -> None:
        """Keep only the chunks before this one, and let nothing be appended any more."""
        self._sealer = self.final = None
        self.count = min(self.count, stop - self.start)
        if self._blob:
            length = chunk_at(self.count) if self.count else 0
            if length < self._blob.size:
                self._blob.cut(length)
            self._durable = min(self._durable, length)

    def sync(self) -> None:
        """Make it durable; of what lies behind it in the blob, and did not verify, nothing is said."""
        if self._failure:
            raise self._failure
        held = chunk_at(self.count) + (0 if self.final is None else len(self.final) + TAG)
        if self._blob and self._durable < held:
            try:
                self._blob.sync()
            except Exception as failure:
                self._failure = failure  # a second sync would succeed: the kernel forgets what it could not write
                raise
            self._durable = held

    def _count_whole(self) -> None:
        """Count the chunks that verify.  Of those known to be durable only the last may be something else.

        A power cut may leave any part of what was not synced as zeros, not just its end, so all of that is read.
        """
        length = self.body.size
        known = length if self.was_closed else min(length, self._durable)
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
        size = self.body.size - chunk_at(self.count) - TAG
        least = 0 if self.stop == 0 else 1  # only an empty file has an empty chunk
        if least <= size <= CHUNK:
            try:
                self.final = Chunks(self.body.read, self._file_key).last(self.count, size)
            except Forged:
                self.final = None  # torn, or sealed by nobody


def line_up(taken: Iterable[Segment]) -> list[Segment]:
    """Return the segments that together are the file so far.  Nothing is cut: who looks again finds the same."""
    line: list[Segment] = []
    for newer in taken:
        is_empty = newer.count == 0 and newer.final is None
        if is_empty or newer.start > (line[-1].stop if line else 0):
            if newer.was_closed:
                raise Forged("a part of it is missing")
            continue
        while line and line[-1].start >= newer.start:
            line.pop()
        if line:
            line[-1].count = newer.start - line[-1].start
            line[-1].final = None
        line.append(newer)
    if line and line[-1].was_closed and line[-1].final is None:
        raise Forged("its end is missing")
    return line
