"""Blobs in memory that can die as disks do."""

from __future__ import annotations

from random import Random

from fxsftp.errors import StoreFull
from fxsftp.seal import Stored


class MemoryBlob:
    """What the vault's blobs promise, and what a power cut leaves of it."""

    def __init__(self, name: str = "blob") -> None:
        self.id = name
        self.data = bytearray()
        self.synced = 0  # bytes
        self.room: int | None = None  # bytes that still fit, if the disk is to become full
        self.reads = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def append(self, data: bytes | bytearray | memoryview, /) -> None:
        if self.room is not None and len(data) > self.room:
            self.data += bytes(data)[: self.room]  # torn, as by a write that was cut short
            self.room = None
            raise StoreFull
        if self.room is not None:
            self.room -= len(data)
        self.data += data

    def read(self, offset: int, count: int, /) -> bytes:
        self.reads += 1
        return bytes(self.data[offset : offset + count])

    def cut(self, size: int, /) -> None:
        del self.data[size:]
        self.synced = min(self.synced, size)

    def sync(self) -> None:
        self.synced = self.size

    def tear(self, chance: Random) -> None:
        """A kill -9 in the middle of an append."""
        self.data += chance.randbytes(chance.choice([1, 17, 30_000, 65_551, 65_552]))

    def lose_power(self, chance: Random) -> None:
        """What was not synced is there, or not, or zeros in part."""
        lost = self.size - self.synced
        if lost:
            del self.data[self.synced + chance.randint(0, lost) :]
        for _ in range(chance.randint(0, 2)):
            if self.size > self.synced:
                start = chance.randrange(self.synced, self.size)
                stop = min(self.size, start + 4096)
                self.data[start:stop] = bytes(stop - start)


class Shelf:
    """The rows a registry would keep: every segment in the order in which it was begun."""

    def __init__(self) -> None:
        self.rows: list[Stored] = []
        self.count = 0

    def new_blob(self, start_chunk: int) -> MemoryBlob:
        self.count += 1
        blob = MemoryBlob(f"blob {self.count}")
        self.rows.append(Stored(blob, start_chunk))
        return blob

    @property
    def blobs(self) -> list[MemoryBlob]:
        return [row.blob for row in self.rows if isinstance(row.blob, MemoryBlob)]
