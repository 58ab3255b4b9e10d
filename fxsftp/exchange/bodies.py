"""Where the sealed bodies lie, and which key opens them before dispatch.

Each drop has a key of its own: sealed to the house key in the secrets, it wraps the file keys of the
drop in their rows.  One secret per drop, not per file, so that a CLOSE costs one sync; erasing it makes
all of the drop's wraps worthless at once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from fxsftp import seal
from fxsftp.domain.model import File
from fxsftp.errors import Missing, Unavailable
from fxsftp.exchange.holdings import Holdings
from fxsftp.seal.stream import ReadAt
from fxsftp.store.registry.segments import SegmentRow
from fxsftp.store.vault import Reader

REMEMBERED = 1024  # drop keys kept unsealed; a session seldom fills more than one folder at a time
READERS = 16  # blobs kept open for whoever reads there next
PIECE = 1 << 20  # bytes read at a time where a whole body is read


class Bodies:
    """Bodies by their file.  What may be read, and by whom, is decided elsewhere."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._keys: OrderedDict[str, bytes] = OrderedDict()
        self._readers: OrderedDict[str, Reader] = OrderedDict()

    # ---- the keys of drops

    def drop_key(self, drop_id: str, *, make: bool = False, now: float = 0) -> bytes:
        """The key that wraps this drop's file keys; made, and durable when this returns, for a new drop."""
        found = self._keys.get(drop_id)
        if found is None:
            found = self._make(drop_id, now) if make else self._unseal(drop_id)
            self._keys[drop_id] = found
            while len(self._keys) > REMEMBERED:
                self._keys.popitem(last=False)
        return found

    def _make(self, drop_id: str, now: float) -> bytes:
        key = seal.new_drop_key()
        self._holdings.secrets.keep_drop_key(drop_id, seal.seal_small(key, self._holdings.keys.house_key.lock), now)
        return key

    def _unseal(self, drop_id: str) -> bytes:
        sealed = self._holdings.secrets.drop_key(drop_id)
        if sealed is None:
            raise Unavailable(f"the key of drop {drop_id} is gone")
        return seal.open_small(sealed, self._holdings.keys.house_key)

    def forget_drop_key(self, *drop_ids: str) -> None:
        """Soon: the wraps of these drops open nothing any more."""
        for drop_id in drop_ids:
            self._keys.pop(drop_id, None)
        self._holdings.later(self._erase_unless_needed, drop_ids)

    def _erase_unless_needed(self, drop_ids: tuple[str, ...]) -> None:
        """A transaction undone brings the drop back, and its key must still be there."""
        with self._holdings.registry.atomic(durable=False):
            gone = [each for each in drop_ids if not self._holdings.registry.drops.is_before_dispatch(each)]
        self._holdings.secrets.erase_drop_keys(gone)

    def draft_key(self, file: File) -> bytes:
        """The file key, while the drop is not dispatched."""
        wrapped = self._holdings.registry.drops.file_key(file.id)
        if wrapped is None:
            raise Unavailable(f"{file.name} can't be opened here any more")
        return seal.unwrap_under(self.drop_key(file.shipment_id), wrapped)

    # ---- bodies

    @staticmethod
    def blob_id(blob: seal.Body) -> str:
        """The seal's blobs are the vault's."""
        return blob.id

    def blobs(self, file: File) -> list[str]:
        """Every blob of a file that is not dispatched."""
        segments = [segment.blob for segment in self._holdings.registry.segments.of(file.id)]
        return segments + ([file.blob] if file.blob else [])

    def stored(self, file: File) -> list[seal.Stored]:
        """What is left of a file, for a draft to take up: what a CLOSE was answered for, then what came after it."""
        small = self._holdings.registry.drops.small(file.id)
        found = [] if small is None else [seal.Stored(body=seal.SmallBody(small))]
        if file.blob:
            found.append(seal.Stored(body=self._holdings.bodies.open(file.blob)))
        for segment in self._holdings.registry.segments.of(file.id):
            try:
                found.append(self._taken_up(segment))
            except Missing:  # a power cut took the file, whose row came later; the draft begins earlier
                continue
        return found

    def _taken_up(self, segment: SegmentRow) -> seal.Stored:
        if segment.sealed:  # only read any more; and a dispatch that was overtaken may have committed it
            return seal.Stored(start_chunk=segment.start_chunk, body=self._holdings.bodies.open(segment.blob))
        return seal.Stored(self._holdings.bodies.resume(segment.blob), segment.start_chunk, segment.durable)

    def read_at(self, file: File) -> ReadAt:
        """The whole body, as bytes at places."""
        if file.in_row:
            small = self._holdings.registry.drops.small(file.id)
            if small is not None:
                return seal.bytes_at(small)
            # It was when this was read; it has left since, and lies in the shipment's pack.
            file = self._holdings.registry.drops.file(file.id) or file
        if file.blob is None:
            raise Missing(file.name)
        reader, start, end = self._reader(file.blob), file.start, file.start + file.body

        def read(offset: int, count: int) -> bytes:
            return reader.read(start + offset, min(count, end - start - offset))

        return read

    def _reader(self, blob: str) -> Reader:
        """Whoever reads small files reads one pack again and again."""
        reader = self._readers.get(blob)
        if reader is None:
            reader = self._readers[blob] = self._holdings.bodies.open(blob)
            while len(self._readers) > READERS:
                self._readers.popitem(last=False)[1].close()  # who still reads there opens it again
        return reader

    def plain_at(self, file: File) -> ReadAt:
        """The plaintext of a complete file, while its drop is not dispatched; for one reader at a time."""
        if file.blob or file.in_row:
            return seal.Unsealer(self.read_at(file), self.draft_key(file), file.body).read
        return seal.pieces_reader(self.stored(file), self.draft_key(file)).read

    def hash_of_draft(self, file: File) -> str:
        """SHA-256 of the plaintext of a complete file; slow for a large one."""
        return self.digest_of_draft(file, "sha256")

    def digest_of_draft(self, file: File, algorithm: str) -> str:
        """Any of hashlib's digests of the plaintext of a complete file."""
        digest, read = hashlib.new(algorithm, usedforsecurity=False), self.plain_at(file)
        for offset in range(0, file.size, PIECE):
            digest.update(read(offset, PIECE))
        return digest.hexdigest()


@dataclass(frozen=True)
class Content:
    """What a file holds, for whoever may know its hash.  Reading it here counts for nothing; one reader at a time."""

    size: int
    read: ReadAt | None  # None where nobody but a recipient can read it any more
    sha256: str | None = None  # of all of it, in hex, where that is known
