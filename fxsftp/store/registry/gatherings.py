"""Rows of drops that become one: their files, and what was told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fxsftp.domain.model import Shipment
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.values import shipment_of


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A file, and its key as it is wrapped under its drop's."""

    id: int
    shipment_id: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """The same file, wrapped under another drop's key."""

    id: int
    key: bytes


class Gatherings:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def counts(self, shipment_ids: Sequence[str]) -> dict[str, int]:
        """How many files each has."""
        marks = ", ".join("?" for _ in shipment_ids)
        rows = self._db.rows(
            f"SELECT shipment_id, COUNT(*) AS n FROM files WHERE shipment_id IN ({marks}) GROUP BY shipment_id",  # noqa: S608
            shipment_ids,
        )
        return {row["shipment_id"]: row["n"] for row in rows}

    def wrapped(self, shipment_ids: Sequence[str]) -> list[Wrapped]:
        """The keys of their files."""
        marks = ", ".join("?" for _ in shipment_ids)
        rows = self._db.rows(
            f"SELECT id, shipment_id, key FROM files WHERE shipment_id IN ({marks}) AND key IS NOT NULL",  # noqa: S608
            shipment_ids,
        )
        return [Wrapped(row["id"], row["shipment_id"], bytes(row["key"])) for row in rows]

    def take(self, first: Shipment, others: Sequence[Shipment], files: Sequence[Taken]) -> Shipment | None:
        """Compare and set: the files of the others belong to `first`, and of the others no row stays.

        None, with nothing changed, when one of them is not as it was read.
        """
        marks = ", ".join("?" for _ in others)
        ids = [other.id for other in others]
        same = self._db.rows(
            f"SELECT id, state, revision FROM shipments WHERE id IN ({marks}, ?)",  # noqa: S608
            (*ids, first.id),
        )
        if {tuple(row) for row in same} != {(each.id, each.state, each.revision) for each in (first, *others)}:
            return None
        self._db.execute_many(
            "UPDATE files SET shipment_id = ?, key = ? WHERE id = ?", [(first.id, file.key, file.id) for file in files]
        )
        for table in ("notices", "history"):
            self._db.execute(
                f"UPDATE {table} SET shipment_id = ? WHERE shipment_id IN ({marks})",  # noqa: S608
                (first.id, *ids),
            )
        self._db.execute(f"DELETE FROM shipments WHERE id IN ({marks})", ids)  # noqa: S608
        row = self._db.row(
            "UPDATE shipments SET revision = revision + 1,"
            " scanned = CASE WHEN scanned = revision THEN revision + 1 ELSE scanned END WHERE id = ? RETURNING *",
            (first.id,),
        )
        assert row is not None
        return shipment_of(row)
