"""Rows of what ends: which shipments will soon, should now, or have; and their locks and bodies, piece by piece.

Each is found by an index that holds little else, and no question answers more than it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Shipment
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.values import shipment_of

Mark = tuple[str, int]  # the path and id of a file: how far an erasing has come
START: Mark = ("", 0)


@dataclass(frozen=True, slots=True)
class Remains:
    """One file that may still have a body; `blob` is where, if that is not its row or its segments."""

    id: int
    path: str
    blob: str | None


class Endings:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    # ---- when

    def expiring(self, after: tuple[float, str], until: float, most: int) -> list[Shipment]:
        """Those that wait for somebody and expire by then, the first first, on from an expiry and an id."""
        rows = self._db.rows(
            "SELECT * FROM shipments WHERE state = 'waiting' AND (expires, id) > (?, ?) AND expires <= ?"
            " ORDER BY expires, id LIMIT ?",
            (*after, until, most),
        )
        return [shipment_of(row) for row in rows]

    def not_reminded(self, shipment_ids: Sequence[str], times: int) -> set[str]:
        """Those of these that somebody has not collected who was not reminded so many times."""
        if not shipment_ids:
            return set()
        marks = ", ".join("?" for _ in shipment_ids)
        rows = self._db.rows(
            f"SELECT DISTINCT shipment_id FROM deliveries WHERE shipment_id IN ({marks})"  # noqa: S608
            " AND state IN ('waiting', 'opened') AND reminded < ?",
            (*shipment_ids, times),
        )
        return {row["shipment_id"] for row in rows}

    def done(self, now: float, most: int) -> list[Shipment]:
        """Those that wait, and with which every recipient is done; looked for among those with which somebody is."""
        rows = self._db.rows(
            "SELECT shipments.* FROM (SELECT DISTINCT shipment_id FROM deliveries WHERE listed = 1 AND ended <= ?)"
            " CROSS JOIN shipments WHERE id = shipment_id AND state = 'waiting' AND NOT EXISTS ("
            " SELECT 1 FROM deliveries WHERE shipment_id = shipments.id"
            "  AND state NOT IN ('removed', 'recalled', 'expired')) LIMIT ?",
            (now, most),
        )
        return [shipment_of(row) for row in rows]

    def abandoned(self, before: float, but: str, most: int) -> list[Shipment]:
        """Those held since before, for any cause but one."""
        rows = self._db.rows(
            "SELECT * FROM shipments WHERE state = 'held' AND progress <= ? AND cause <> ? LIMIT ?",
            (before, but, most),
        )
        return [shipment_of(row) for row in rows]

    def forget_shown(self, before: float, most: int) -> int:
        """Entries of an outbox that nobody needs any more, at most so many; answers how many."""
        return self._db.changes(
            "UPDATE files SET shown = 0 WHERE id IN ("
            " SELECT id FROM files WHERE shown = 1 AND made < ? AND progress < ? AND NOT EXISTS ("
            "  SELECT 1 FROM shipments WHERE id = files.shipment_id AND state NOT IN ('recalled', 'ended'))"
            " ORDER BY made, id LIMIT ?)",
            (before, before, most),
        )

    def known_blobs(self, blob_ids: Sequence[str]) -> set[str]:
        """Those of these that some row speaks of."""
        marks = ", ".join("?" for _ in blob_ids)
        rows = self._db.rows(
            f"SELECT blob FROM files WHERE blob IN ({marks}) UNION SELECT blob FROM segments WHERE blob IN ({marks})"  # noqa: S608
            f" UNION SELECT pack FROM lots WHERE pack IN ({marks})",
            (*blob_ids, *blob_ids, *blob_ids),
        )
        return {row["blob"] for row in rows}

    # ---- how

    def shut(self, shipment_id: str) -> None:
        """No code opens it after this, and no opening goes on; in a few rows, however many files it has."""
        self._db.execute("UPDATE deliveries SET key_file = NULL WHERE shipment_id = ?", (shipment_id,))
        self._db.execute(
            "DELETE FROM openings WHERE delivery_id IN (SELECT id FROM deliveries WHERE shipment_id = ?)",
            (shipment_id,),
        )

    def due(self, state: ShipmentState, before: float, most: int) -> list[str]:
        """Those that came to this end before, and are not erased."""
        rows = self._db.rows(
            "SELECT id FROM shipments WHERE state = ? AND erased IS NULL AND ended <= ? ORDER BY ended LIMIT ?",
            (state, before, most),
        )
        return [row["id"] for row in rows]

    def parcels(self, shipment_id: str) -> list[str]:
        """What the locks of its deliveries are called."""
        rows = self._db.rows("SELECT parcel FROM deliveries WHERE shipment_id = ?", (shipment_id,))
        return [row["parcel"] for row in rows]

    def remains(self, shipment_id: str, after: Mark, most: int) -> list[Remains]:
        """Some of its files, on from a mark."""
        rows = self._db.rows(
            "SELECT id, path, blob FROM files WHERE shipment_id = ? AND (path, id) > (?, ?) ORDER BY path, id LIMIT ?",
            (shipment_id, *after, most),
        )
        return [Remains(row["id"], row["path"], row["blob"]) for row in rows]

    def segment_blobs(self, files: Sequence[Remains]) -> list[str]:
        """Where those lie that are still in pieces."""
        marks = ", ".join("?" for _ in files)
        rows = self._db.rows(
            f"SELECT blob FROM segments WHERE file_id IN ({marks})",  # noqa: S608
            [file.id for file in files],
        )
        return [row["blob"] for row in rows]

    def empty(self, files: Sequence[Remains], parcels: Iterable[str]) -> None:
        """No lock of these files stays, and no body where it lay when they were looked at; of the rest, the row."""
        ids = [(file.id,) for file in files]
        for parcel in parcels:
            self._db.execute_many(
                "DELETE FROM locks WHERE parcel = ? AND file_id = ?", [(parcel, file.id) for file in files]
            )
        self._db.execute_many("DELETE FROM recoveries WHERE file_id = ?", ids)
        self._db.execute_many("DELETE FROM segments WHERE file_id = ?", ids)
        self._db.execute_many(
            "UPDATE files SET key = NULL, small = NULL, writer = NULL, blob = NULLIF(blob, ?) WHERE id = ?",
            [(file.blob, file.id) for file in files],
        )

    def is_empty(self, shipment_id: str) -> bool:
        """Whether no file of it has a body: who put away its small ones meanwhile may have given them a place."""
        found = self._db.value("SELECT 1 FROM files WHERE shipment_id = ? AND blob IS NOT NULL LIMIT 1", (shipment_id,))
        return found is None

    def erased(self, shipment_id: str, now: float) -> bool:
        """Nothing of it is left but its record; False when somebody has seen to it before."""
        return bool(
            self._db.value(
                "UPDATE shipments SET erased = ?, revision = revision + 1 WHERE id = ? AND erased IS NULL RETURNING 1",
                (now, shipment_id),
            )
        )
