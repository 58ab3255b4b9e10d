"""Secrets: the few rows that must be erasable, in a database of their own that no backup takes along.

Draft wraps (what opens a drop before dispatch, sealed to the house key), and what the courier is to carry (sealed to
the courier key): codes of deliveries, and what a single notice takes to one person, the token of a link or the digits
that confirm a change.  Rows are overwritten when they are deleted (`secure_delete`), and each erasing ends with a
checkpoint that cuts the log to nothing, so that afterwards the bytes stand in no file of ours.
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
    (
        "links",
        """
        CREATE TABLE links (notice_id TEXT PRIMARY KEY, sealed BLOB NOT NULL, until REAL NOT NULL);
        CREATE INDEX links_until ON links (until);
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

    # ---- what one notice carries: from its making until it is carried, or too old to be of use ---

    def keep_link(self, notice_id: str, sealed: bytes, until: float) -> None:
        """Keep what this notice, and only this one, carries to its reader."""
        self._engine.execute(
            "INSERT INTO links (notice_id, sealed, until) VALUES (?, ?, ?)", (notice_id, sealed, until)
        )

    def link(self, notice_id: str, now: float) -> bytes | None:
        """None when it is gone, or of no use any more."""
        sealed: bytes | None = self._engine.value(
            "SELECT sealed FROM links WHERE notice_id = ? AND until > ?", (notice_id, now)
        )
        return sealed

    def links_over(self, now: float) -> list[str]:
        """The notices whose link or digits are of no use any more."""
        return [row["notice_id"] for row in self._engine.rows("SELECT notice_id FROM links WHERE until <= ?", (now,))]

    def erase_links(self, notice_ids: Iterable[str]) -> None:
        """Forget them for good, as erase_drop_keys does; where there are none, nothing is done."""
        ids = list(notice_ids)
        marks = ", ".join("?" for _ in ids)
        query = f"SELECT notice_id FROM links WHERE notice_id IN ({marks})"  # noqa: S608
        self._erase(
            "DELETE FROM links WHERE notice_id = ?", [row["notice_id"] for row in self._engine.rows(query, ids)]
        )

    def _erase(self, statement: str, ids: Iterable[object]) -> None:
        parameters = [(each,) for each in ids]
        if not parameters:
            return
        # Not durable by itself: the checkpoint below syncs both the log and the database.
        with self._engine.atomic(durable=False):
            self._engine.execute_many(statement, parameters)
        self._engine.checkpoint()
