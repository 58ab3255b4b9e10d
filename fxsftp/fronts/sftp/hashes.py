"""Hashes of files and of parts of them: check-file of draft-ietf-secsh-filexfer-extensions-00, with SHA-256 only.

Hashing runs at the desk in pieces of some 10 ms, so that ten gigabytes hold up nobody, and stops when nobody waits
for it any more.  What is read for it does not count as fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from fxsftp.errors import CannotHash
from fxsftp.exchange.bodies import Content
from fxsftp.fronts.desk import Desk

ALGORITHM = "sha256"
BLOCK_LEAST = 256  # bytes; the draft's
BLOCKS_MOST = 8000  # hashes in one answer, so that it fits a packet
PIECE = 4 << 20  # bytes hashed at a time; 10 ms
READ = 1 << 20  # bytes of it in memory at a time


async def hashes(
    desk: Desk, content: Content, algorithms: str, start: int, length: int, block: int, is_over: Callable[[], bool]
) -> bytes:
    """The hash of each block of `length` bytes from `start` on; 0 is "to the end", and "all in one block".

    Raises CannotHash, which says what to ask for instead.
    """
    if ALGORITHM not in algorithms.split(","):
        raise CannotHash(f"only {ALGORITHM} is served")
    if 0 < block < BLOCK_LEAST:
        raise CannotHash(f"a block is {BLOCK_LEAST} bytes at the least")
    if start > content.size:
        raise CannotHash("the file ends before that")
    end = min(start + length, content.size) if length else content.size
    if block and end - start > BLOCKS_MOST * block:
        raise CannotHash(f"at most {BLOCKS_MOST} blocks are hashed at a time")
    if content.sha256 and (start, end) == (0, content.size) and (not block or block >= content.size > 0):
        return bytes.fromhex(content.sha256)
    if content.read is None:
        raise CannotHash("it is sealed, and only its recipient can open it; ask for that of the whole file")

    hashing = _Hashing(content.read, start, end, block or end - start)
    while not hashing.is_done and not is_over():
        await desk.ask_steadily(hashing.go_on)
    return b"".join(hashing.found)


class _Hashing:
    """A range of a file, block by block."""

    def __init__(self, read: Callable[[int, int], bytes], start: int, end: int, block: int) -> None:
        self.found: list[bytes] = []
        self.is_done = False
        self._read, self._at, self._end, self._block = read, start, end, block
        self._left = block
        self._digest = hashlib.sha256()

    def go_on(self) -> None:
        """Hash one more piece."""
        until = min(self._at + PIECE, self._end)
        while self._at < until:
            data = self._read(self._at, min(READ, until - self._at, self._left))
            if not data:
                raise CannotHash("the file ended before its end")
            self._digest.update(data)
            self._at += len(data)
            self._left -= len(data)
            if not self._left and self._at < self._end:
                self.found.append(self._digest.digest())
                self._digest, self._left = hashlib.sha256(), self._block
        if self._at >= self._end:
            self.found.append(self._digest.digest())
            self.is_done = True
