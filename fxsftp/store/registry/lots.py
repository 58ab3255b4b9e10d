"""Rows of lots: what a shipment needs when it leaves, written beforehand, piece by piece, where nobody looks yet.

A lot is one try to dispatch one drop.  Its parcels hold the locks of one delivery each, its berths say for each file
where in the pack its body lies.  Until the lot `went`, no delivery names its parcels and no file its pack.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fxsftp.store.registry.engine import Engine

Header = tuple[int, str, bytes]  # file id, kind, header


@dataclass(frozen=True, slots=True)
class Lot:
    """One try; `shipment_id` is None until it has left, and empty once it never will.  `pack` has its small bodies."""

    id: str
    pack: str | None
    shipment_id: str | None


@dataclass(frozen=True, slots=True)
class Berth:
    """What becomes of one file's row: where its small body begins in the pack, and its header for recovery."""

    file_id: int
    start: int | None
    recovery: bytes | None


class Lots:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def begin(self, lot_id: str, pack: str | None, now: float) -> None:
        """A new lot, of nobody."""
        self._db.execute("INSERT INTO lots (id, pack, made) VALUES (?, ?, ?)", (lot_id, pack, now))

    def add_locks(self, parcel: str, headers: Iterable[Header]) -> None:
        """Headers for the delivery that will name this parcel."""
        self._db.execute_many(
            "INSERT INTO locks (parcel, file_id, kind, header) VALUES (?, ?, ?, ?)",
            [(parcel, file_id, kind, header) for file_id, kind, header in headers],
        )

    def add_berths(self, lot_id: str, berths: Iterable[Berth]) -> None:
        """For some of its files."""
        self._db.execute_many(
            "INSERT INTO berths (lot, file_id, start, recovery) VALUES (?, ?, ?, ?)",
            [(lot_id, berth.file_id, berth.start, berth.recovery) for berth in berths],
        )

    def went(self, lot_id: str, shipment_id: str) -> bool:
        """It has left as this shipment; False when somebody has given it up meanwhile."""
        return bool(
            self._db.value(
                "UPDATE lots SET shipment_id = ? WHERE id = ? AND shipment_id IS NULL RETURNING 1",
                (shipment_id, lot_id),
            )
        )

    def give_up(self, lot_id: str) -> bool:
        """It never will leave; False when that was decided before."""
        return self.went(lot_id, "")

    def find(self, lot_id: str) -> Lot | None:
        """By its id."""
        row = self._db.row("SELECT id, pack, shipment_id FROM lots WHERE id = ?", (lot_id,))
        return Lot(*row) if row else None

    def unfinished(self, before: float) -> list[Lot]:
        """Those whose fate is decided and that still have rows, and those begun before that moment."""
        rows = self._db.rows(
            "SELECT id, pack, shipment_id FROM lots WHERE shipment_id IS NOT NULL OR made < ? ORDER BY made", (before,)
        )
        return [Lot(*row) for row in rows]

    def berths(self, lot_id: str, most: int) -> list[Berth]:
        """Some that are still to be taken."""
        rows = self._db.rows(
            "SELECT file_id, start, recovery FROM berths WHERE lot = ? ORDER BY file_id LIMIT ?", (lot_id, most)
        )
        return [Berth(*row) for row in rows]

    def take(self, lot: Lot, berths: Sequence[Berth]) -> None:
        """These files are now as those of a shipment are: no wrapped key and no small body in the row.

        What was recalled meanwhile, and so has no body, gets none; doing it twice does nothing.
        """
        starts = [(lot.pack, berth.start, berth.file_id) for berth in berths if berth.start is not None]
        self._db.execute_many("UPDATE files SET blob = ?, start = ? WHERE id = ? AND small IS NOT NULL", starts)
        self._db.execute_many(
            "UPDATE files SET key = NULL, small = NULL, connected = NULL WHERE id = ?",
            [(berth.file_id,) for berth in berths],
        )
        self._db.execute_many(
            "INSERT INTO recoveries (file_id, header) SELECT ?, ? FROM shipments"
            " WHERE id = ? AND state <> 'recalled' AND erased IS NULL ON CONFLICT (file_id) DO NOTHING",
            [(berth.file_id, berth.recovery, lot.shipment_id) for berth in berths if berth.recovery],
        )
        self._forget(lot, berths)

    def drop(self, lot: Lot, berths: Sequence[Berth]) -> None:
        """The rows that were made for these files go."""
        first, last = f"{lot.id}-", f"{lot.id}."  # '.' comes right after '-'
        self._db.execute_many(
            "DELETE FROM locks WHERE parcel > ? AND parcel < ? AND file_id = ?",
            [(first, last, berth.file_id) for berth in berths],
        )
        self._forget(lot, berths)

    def _forget(self, lot: Lot, berths: Sequence[Berth]) -> None:
        self._db.execute_many(
            "DELETE FROM berths WHERE lot = ? AND file_id = ?", [(lot.id, berth.file_id) for berth in berths]
        )

    def is_pack_in_use(self, lot: Lot) -> bool:
        """Whether a file of the shipment lies in its pack."""
        return bool(
            self._db.value(
                "SELECT 1 FROM files WHERE shipment_id = ? AND blob = ? LIMIT 1", (lot.shipment_id, lot.pack)
            )
        )

    def forget(self, lot: Lot) -> None:
        """Nothing of it is left to do."""
        self._db.execute("DELETE FROM lots WHERE id = ?", (lot.id,))
