"""Rows of who is logged in, by the process that serves them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from fxsftp.store.registry.engine import Engine


class Guests:
    """One row for each connection.  No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def add(self, guest: str, worker: str, user_id: int) -> None:
        """Somebody has come in."""
        self._db.execute("INSERT INTO guests (id, worker, user_id) VALUES (?, ?, ?)", (guest, worker, user_id))

    def forget(self, guest: str) -> None:
        """They have left."""
        self._db.execute("DELETE FROM guests WHERE id = ?", (guest,))

    def forget_all(self, worker: str) -> None:
        """That process is gone, with all that it served."""
        self._db.execute("DELETE FROM guests WHERE worker = ?", (worker,))

    def workers(self) -> set[str]:
        """The processes that serve somebody, or did when they died."""
        return {str(row["worker"]) for row in self._db.rows("SELECT DISTINCT worker FROM guests")}

    def of_user(self, user_id: int) -> dict[str, int]:
        """How many connections of a user each process serves."""
        return _counts(
            self._db.rows("SELECT worker, COUNT(*) AS n FROM guests WHERE user_id = ? GROUP BY worker", (user_id,))
        )

    def all(self) -> dict[str, int]:
        """How many of all users."""
        return _counts(self._db.rows("SELECT worker, COUNT(*) AS n FROM guests GROUP BY worker"))


def _counts(rows: Iterable[sqlite3.Row]) -> dict[str, int]:
    return {str(row["worker"]): int(row["n"]) for row in rows}
