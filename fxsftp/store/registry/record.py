"""Rows of history, and the few standing facts of an exchange (its heartbeat, a doubt about the clock)."""

from __future__ import annotations

import sqlite3

from fxsftp.domain.model import Event
from fxsftp.store.registry.engine import Engine


class Record:
    """What happened.  Lines are added, never changed."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def tell(self, now: float, who: str, event: str, detail: str = "", shipment_id: str | None = None) -> None:
        """One line of history.  `who` is an address or `exchange`."""
        self._db.execute(
            "INSERT INTO history (at, shipment_id, who, event, detail) VALUES (?, ?, ?, ?, ?)",
            (now, shipment_id, who, event, detail),
        )

    def of_shipment(self, shipment_id: str) -> list[Event]:
        """Oldest first."""
        rows = self._db.rows("SELECT * FROM history WHERE shipment_id = ? ORDER BY id", (shipment_id,))
        return [_event(row) for row in rows]

    def standing(self, name: str) -> str | None:
        """A standing fact."""
        found = self._db.value("SELECT value FROM standing WHERE name = ?", (name,))
        return None if found is None else str(found)

    def set_standing(self, name: str, value: str | None) -> None:
        """Set it, or forget it with None."""
        if value is None:
            self._db.execute("DELETE FROM standing WHERE name = ?", (name,))
        else:
            self._db.execute(
                "INSERT INTO standing (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )


def _event(row: sqlite3.Row) -> Event:
    return Event(row["at"], row["shipment_id"], row["who"], row["event"], row["detail"])
