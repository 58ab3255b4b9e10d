"""An age payload: 16 bytes of nonce, then 64 KiB chunks, each sealed by itself (STREAM).

    n = max(1, ⌈S / 65536⌉)    P = 16 + S + 16·n    chunk i at 16 + 65552·i

Chunk i has the nonce i ‖ final?, so chunks can't change places, and the last one can't be cut away
unseen.  A size is therefore to be believed once the final chunk has been unsealed, and not before.
Nothing here knows headers; a payload and the file key are all it takes.
"""

from __future__ import annotations

from collections.abc import Callable

from fxsftp.errors import Forged
from fxsftp.seal import primitives

CHUNK = 65536  # bytes of plaintext
TAG = primitives.AEAD_TAG  # bytes
SEALED_CHUNK = CHUNK + TAG  # bytes
NONCE = 16  # bytes

Bytes = bytes | bytearray | memoryview
ReadAt = Callable[[int, int], bytes]
"""`read_at(offset, count)` of something that is not sealed or not yet unsealed; short only at its end."""


def chunks(size: int) -> int:
    """Return how many chunks a plaintext of this size has; the empty one has one."""
    return max(1, -(-size // CHUNK))


def payload_size(size: int) -> int:
    """Return the size of the payload of a plaintext of this size."""
    return NONCE + size + TAG * chunks(size)


def plain_size(payload: int) -> int:
    """Return the size of the plaintext in a payload of this size, or raise Forged when no payload has it."""
    sealed = payload - NONCE
    count = -(-sealed // SEALED_CHUNK)
    last = sealed - (count - 1) * SEALED_CHUNK
    if sealed < TAG or (last <= TAG and count > 1):  # only an empty file has an empty chunk
        raise Forged("its length can't be")
    return sealed - count * TAG


def chunk_at(index: int) -> int:
    """Return where in a payload a chunk begins."""
    return NONCE + index * SEALED_CHUNK


def bytes_at(data: bytes) -> ReadAt:
    """Return the `read_at` of bytes in memory."""
    return lambda offset, count: data[offset : offset + count]


class Sealer:
    """Makes one payload, chunk after chunk.

    Its nonce is born with it and dies with it, and it never goes back: whatever happens to the bytes it
    returned, each of its (key, nonce) pairs is used once.  To seal something again is to take a new Sealer.
    """

    __slots__ = ("_aead", "chunks", "has_ended", "nonce")

    def __init__(self, file_key: bytes) -> None:
        self.nonce = primitives.random_bytes(NONCE)
        self.chunks = 0
        self.has_ended = False
        self._aead = payload_aead(file_key, self.nonce)

    def seal(self, plaintext: Bytes, last: bool = False) -> bytes:
        """Return the next chunk, sealed.  Every chunk but the last is full."""
        return self._aead.seal(self._next_nonce(last), plaintext)

    def seal_into(self, memory: bytearray, plaintext: memoryview, last: bool = False) -> memoryview:
        """The same, in memory that serves for one chunk after the other: what is returned lies in its beginning."""
        sealed = memoryview(memory)[: len(plaintext) + TAG]
        self._aead.seal_into(self._next_nonce(last), plaintext, sealed)
        return sealed

    def _next_nonce(self, last: bool) -> bytes:
        if self.has_ended:
            raise ValueError("the payload has its final chunk already")
        index = self.chunks
        self.chunks, self.has_ended = index + 1, last  # before the sealing: a failure burns the nonce, too
        return chunk_nonce(index, last)


class Chunks:
    """The chunks of a payload by number, for whoever knows which of them is the last."""

    __slots__ = ("_aead", "_read_at")

    def __init__(self, read_at: ReadAt, file_key: bytes) -> None:
        """Read the nonce, or raise Forged."""
        nonce = read_at(0, NONCE)
        if len(nonce) != NONCE:
            raise Forged("it was cut short")
        self._read_at = read_at
        self._aead = payload_aead(file_key, nonce)

    def run(self, first: int, count: int) -> list[bytes]:
        """Unseal `count` full chunks, none of them the last, or raise Forged."""
        sealed = memoryview(self._read_at(chunk_at(first), count * SEALED_CHUNK))
        if len(sealed) != count * SEALED_CHUNK:
            raise Forged("it was cut short")
        unseal = self._aead.unseal
        return [
            unseal(chunk_nonce(first + step, False), sealed[step * SEALED_CHUNK : (step + 1) * SEALED_CHUNK])
            for step in range(count)
        ]

    def last(self, index: int, size: int) -> bytes:
        """Unseal the final chunk, which holds `size` bytes, or raise Forged."""
        sealed = self._read_at(chunk_at(index), size + TAG)
        if len(sealed) != size + TAG:
            raise Forged("it was cut short")
        return self._aead.unseal(chunk_nonce(index, True), sealed)


class ChunkReader:
    """Reads a plaintext from anywhere in it, by unsealing the chunks that hold it.  For one reader at a time."""

    def __init__(self, size: int, tail: bytes, run: Callable[[int, int], list[bytes]]) -> None:
        """`tail` is the final chunk, unsealed; `run(first, count)` unseals those before it."""
        self.size = size
        self._tail = tail
        self._run = run
        self._final = chunks(size) - 1
        self._kept = (-1, b"")  # the chunk unsealed last: pipelined 32 KiB reads come back for its other half

    def read(self, offset: int, count: int) -> bytes:
        """Return the bytes asked for, fewer only at the end, or raise Forged."""
        end = min(offset + count, self.size)
        if offset < 0 or offset >= end:
            return b""
        first, skip = divmod(offset, CHUNK)
        parts = self._plain(first, (end - 1) // CHUNK)
        if len(parts) == 1:
            return parts[0][skip : skip + end - offset]
        views = [memoryview(part) for part in parts]
        views[0] = views[0][skip:]
        views[-1] = views[-1][: (end - 1) % CHUNK + 1]
        return b"".join(views)

    def _plain(self, first: int, last: int) -> list[bytes]:
        parts = []
        if first == self._kept[0]:
            parts.append(self._kept[1])
            first += 1
        whole = min(last + 1, self._final) - first
        if whole > 0:
            run = self._run(first, whole)
            self._kept = (first + whole - 1, run[-1])
            parts += run
        if last == self._final:
            parts.append(self._tail)
        return parts


class Unsealer(ChunkReader):
    """Reads the plaintext of a payload, from anywhere in it.  For one reader at a time."""

    def __init__(self, read_at: ReadAt, file_key: bytes, payload_length: int) -> None:
        """Unseal the final chunk, so that `size` is true from here on, or raise Forged."""
        size = plain_size(payload_length)
        final = chunks(size) - 1
        if final:
            payload = Chunks(read_at, file_key)
            super().__init__(size, payload.last(final, size - final * CHUNK), payload.run)
        else:  # most files are small: one read for all of it, of which nothing is kept but what it holds
            payload = Chunks(bytes_at(read_at(0, payload_length)), file_key)
            super().__init__(size, payload.last(0, size), _nothing_before)


def _nothing_before(_first: int, _count: int) -> list[bytes]:
    raise ValueError("the only chunk is the last")


def age_read(header: bytes, body_read_at: ReadAt, body_size: int) -> ReadAt:
    """Return the `read_at` of a whole `.age` file, whose header and body lie in two places."""
    length = len(header)

    def read_at(offset: int, count: int) -> bytes:
        end = min(offset + count, length + body_size)
        if offset >= end:
            return b""
        if offset >= length:
            return body_read_at(offset - length, end - offset)
        head = header[offset:end]
        return head + body_read_at(0, end - length) if end > length else head

    return read_at


def payload_aead(file_key: bytes, nonce: bytes) -> primitives.Aead:
    """Return the cipher of one payload."""
    return primitives.Aead(primitives.hkdf(file_key, nonce, b"payload"))


def chunk_nonce(index: int, last: bool) -> bytes:
    """Return the nonce of a chunk: 11 bytes of counter, and whether it is the last."""
    return index.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
