"""Rows of segments: the blobs of which a file consists that was not written in one session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fxsftp.domain.model import File
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.values import FILE, file_of


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One stored segment of a draft, in order."""

    blob: str
    start_chunk: int
    sealed: bool
    durable: int = 0  # bytes known to be synced


class Segments:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def of(self, file_id: int) -> list[SegmentRow]:
        """In order."""
        rows = self._db.rows("SELECT * FROM segments WHERE file_id = ? ORDER BY position", (file_id,))
        return [SegmentRow(row["blob"], row["start_chunk"], bool(row["sealed"]), row["durable"]) for row in rows]

    def set(self, file_id: int, segments: Iterable[SegmentRow]) -> None:
        """These, and no others."""
        self._db.execute("DELETE FROM segments WHERE file_id = ?", (file_id,))
        for position, segment in enumerate(segments):
            self._db.execute(
                "INSERT INTO segments (file_id, position, blob, start_chunk, sealed, durable)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (file_id, position, segment.blob, segment.start_chunk, int(segment.sealed), segment.durable),
            )

    def set_durable(self, file_id: int, segments: Iterable[SegmentRow]) -> None:
        """So much of each is synced; what has no row any more stays without."""
        self._db.execute_many(
            "UPDATE segments SET durable = ? WHERE file_id = ? AND blob = ?",
            [(segment.durable, file_id, segment.blob) for segment in segments],
        )

    def to_merge(self) -> list[File]:
        """Complete files that still lie in pieces, oldest first; of what is held, none."""
        rows = self._db.rows(
            f"SELECT {FILE} FROM files WHERE state <> 'draft' AND id IN (SELECT file_id FROM segments)"  # noqa: S608
            " AND shipment_id IN (SELECT id FROM shipments WHERE state IN ('dropping', 'settling'))"
            " ORDER BY progress, id"
        )
        return [file_of(row) for row in rows]

    def in_pieces(self, shipment_id: str) -> bool:
        """Whether a file of it still lies in pieces."""
        return bool(
            self._db.value(
                "SELECT 1 FROM segments JOIN files ON files.id = segments.file_id WHERE shipment_id = ? LIMIT 1",
                (shipment_id,),
            )
        )
