"""Rows of notices: written with what they tell of, taken by a courier under a lease."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping

from fxsftp.domain.model import Notice
from fxsftp.store.registry.engine import Engine


class Notices:
    """Due, carried, failed, dropped.  No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def add(
        self,
        kind: str,
        way: str,
        address: str,
        language: str,
        facts: Mapping[str, object],
        now: float,
        *,
        user_id: int | None = None,
        shipment_id: str | None = None,
        delivery_id: int | None = None,
    ) -> str:
        """A new notice, due at once.  Its id is stable over every attempt."""
        notice_id = secrets.token_hex(12)
        self._db.execute(
            "INSERT INTO notices (id, kind, way, user_id, shipment_id, delivery_id, address, language, facts, state,"
            " due, made) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'due', ?, ?)",
            (notice_id, kind, way, user_id, shipment_id, delivery_id, address, language, json.dumps(facts), now, now),
        )
        return notice_id

    def take(self, way: str, now: float, lease: str, until: float, limit: int) -> list[Notice]:
        """At most `limit` due notices of one way, leased until `until`: no other courier gets them before."""
        rows = self._db.rows(
            "UPDATE notices SET lease = ?, leased_until = ?, attempts = attempts + 1 WHERE id IN ("
            " SELECT id FROM notices WHERE state = 'due' AND way = ? AND due <= ?"
            " AND (leased_until IS NULL OR leased_until <= ?) ORDER BY due, id LIMIT ?) RETURNING *",
            (lease, until, way, now, now, limit),
        )
        return sorted((_notice(row) for row in rows), key=lambda notice: (notice.due, notice.id))

    def finish(self, notice_id: str, lease: str, state: str, reason: str, reference: str, now: float) -> Notice | None:
        """Its end, if this courier still has it under its lease."""
        row = self._db.row(
            "UPDATE notices SET state = ?, reason = ?, reference = ?, done = ?, lease = NULL, leased_until = NULL"
            " WHERE id = ? AND lease = ? AND state = 'due' RETURNING *",
            (state, reason, reference, now, notice_id, lease),
        )
        return _notice(row) if row else None

    def put_off(self, notice_id: str, lease: str, due: float, reason: str) -> None:
        """Try again at `due`."""
        self._db.execute(
            "UPDATE notices SET due = ?, reason = ?, lease = NULL, leased_until = NULL"
            " WHERE id = ? AND lease = ? AND state = 'due'",
            (due, reason, notice_id, lease),
        )

    def find(self, notice_id: str) -> Notice | None:
        """By its id."""
        row = self._db.row("SELECT * FROM notices WHERE id = ?", (notice_id,))
        return _notice(row) if row else None

    def of_shipment(self, shipment_id: str) -> list[Notice]:
        """In the order in which they were made."""
        rows = self._db.rows("SELECT * FROM notices WHERE shipment_id = ? ORDER BY made, id", (shipment_id,))
        return [_notice(row) for row in rows]

    def all(self, state: str | None = None, limit: int = 1000) -> list[Notice]:
        """The newest first."""
        where, values = ("WHERE state = ?", (state,)) if state else ("", ())
        rows = self._db.rows(f"SELECT * FROM notices {where} ORDER BY made DESC, id LIMIT ?", (*values, limit))  # noqa: S608
        return [_notice(row) for row in rows]

    def drop_for(self, shipment_id: str, now: float) -> None:
        """What is still due about a shipment's arrival is not sent any more."""
        self._db.execute(
            "UPDATE notices SET state = 'dropped', done = ?, reason = 'no longer true'"
            " WHERE shipment_id = ? AND state = 'due' AND kind IN ('arrived', 'code', 'reminder')",
            (now, shipment_id),
        )

    def next_due(self) -> float | None:
        """When the next one is due or a lease runs out."""
        found = self._db.value(
            "SELECT MIN(CASE WHEN leased_until IS NOT NULL AND leased_until > due THEN leased_until ELSE due END)"
            " FROM notices WHERE state = 'due'"
        )
        return None if found is None else float(found)

    def waiting(self) -> dict[str, int]:
        """How many are due, by way."""
        rows = self._db.rows("SELECT way, COUNT(*) AS n FROM notices WHERE state = 'due' GROUP BY way")
        return {row["way"]: row["n"] for row in rows}


def _notice(row: sqlite3.Row) -> Notice:
    return Notice(
        id=row["id"],
        kind=row["kind"],
        way=row["way"],
        user_id=row["user_id"],
        shipment_id=row["shipment_id"],
        delivery_id=row["delivery_id"],
        address=row["address"],
        language=row["language"],
        facts=json.loads(row["facts"]),
        state=row["state"],
        due=row["due"],
        made=row["made"],
        attempts=row["attempts"],
        reason=row["reason"],
        reference=row["reference"],
    )
