"""Secrets: the few rows that must be erasable, in a database of their own that no backup takes along.

Draft wraps (what opens a drop before dispatch, sealed to the house key) and codes in carriage (sealed to the courier
key).  Rows are overwritten when they are deleted (`secure_delete`), and each erasing ends with a checkpoint that cuts
the log to nothing, so that afterwards the bytes stand in no file of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fxsftp.store.migrations import Steps, bring_up
from fxsftp.store.registry.engine import Engine

MIGRATIONS: Steps = (
    (
        "drop keys and codes",
        """
        CREATE TABLE drop_keys (shipment_id TEXT PRIMARY KEY, sealed BLOB NOT NULL, made REAL NOT NULL);
        CREATE TABLE codes (delivery_id INTEGER PRIMARY KEY, sealed BLOB NOT NULL, made REAL NOT NULL);
        CREATE INDEX codes_by_age ON codes (made);
        """,
    ),
)


class Secrets:
    """Sealed drop keys by shipment, sealed codes by delivery.  What they open is not known here."""

    def __init__(self, path: Path) -> None:
        self._engine = Engine(path, "secrets")
        bring_up(self._engine, "secrets", MIGRATIONS)

    def close(self) -> None:
        self._engine.close()

    # ---- drop keys: from the first byte of a drop until its dispatch ---------------------------

    def keep_drop_key(self, shipment_id: str, sealed: bytes, now: float) -> None:
        """Keep what opens a drop; after this returns, it survives a power cut.  A shipment's key is kept once."""
        self._engine.execute(
            "INSERT INTO drop_keys (shipment_id, sealed, made) VALUES (?, ?, ?)", (shipment_id, sealed, now)
        )

    def drop_key(self, shipment_id: str) -> bytes | None:
        sealed: bytes | None = self._engine.value("SELECT sealed FROM drop_keys WHERE shipment_id = ?", (shipment_id,))
        return sealed

    def erase_drop_keys(self, shipment_ids: Iterable[str]) -> None:
        """Forget them for good.  Those that are gone already are no trouble, so a half-done erasing is repeated."""
        self._erase("DELETE FROM drop_keys WHERE shipment_id = ?", shipment_ids)

    def shipments_with_drop_key(self, made_before: float = float("inf")) -> list[str]:
        """For the sweep, which erases those that the registry no longer needs.

        It asks for old ones only: a key is here a moment before its drop's row is there.
        """
        rows = self._engine.rows("SELECT shipment_id FROM drop_keys WHERE made < ? ORDER BY made", (made_before,))
        return [row["shipment_id"] for row in rows]

    # ---- codes: from dispatch until the provider reports delivery, or 72 hours -----------------

    def keep_codes(self, codes: Iterable[tuple[int, bytes]], now: float) -> None:
        """Keep the sealed code of each delivery, all or none, replacing what a delivery had."""
        self._engine.execute_many(
            "INSERT INTO codes (delivery_id, sealed, made) VALUES (?, ?, ?)"
            " ON CONFLICT (delivery_id) DO UPDATE SET sealed = excluded.sealed, made = excluded.made",
            [(delivery_id, sealed, now) for delivery_id, sealed in codes],
        )

    def code(self, delivery_id: int) -> bytes | None:
        sealed: bytes | None = self._engine.value("SELECT sealed FROM codes WHERE delivery_id = ?", (delivery_id,))
        return sealed

    def codes_older_than(self, when: float) -> list[int]:
        """The deliveries whose code was kept before `when`, oldest first."""
        return [
            row["delivery_id"]
            for row in self._engine.rows("SELECT delivery_id FROM codes WHERE made < ? ORDER BY made", (when,))
        ]

    def erase_codes(self, delivery_ids: Iterable[int]) -> None:
        """Forget them for good, as erase_drop_keys does."""
        self._erase("DELETE FROM codes WHERE delivery_id = ?", delivery_ids)

    def _erase(self, statement: str, ids: Iterable[object]) -> None:
        parameters = [(each,) for each in ids]
        if not parameters:
            return
        # Not durable by itself: the checkpoint below syncs both the log and the database.
        with self._engine.atomic(durable=False):
            self._engine.execute_many(statement, parameters)
        self._engine.checkpoint()
