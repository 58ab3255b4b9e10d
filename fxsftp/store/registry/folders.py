"""Rows of the folders of outboxes, which are there without a file in them, too."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from fxsftp.store.registry.drops import ALL, LAST
from fxsftp.store.registry.engine import Engine


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of an outbox; `path` is empty for the folder of the recipient itself."""

    who: str
    path: str
    mtime: float
    mode: int


class Folders:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def of(self, owner_id: int, who: str) -> list[Folder]:
        """Every folder for one recipient, in any depth."""
        rows = self._db.rows("SELECT * FROM folders WHERE owner_id = ? AND who = ? ORDER BY path", (owner_id, who))
        return [_folder(row) for row in rows]

    def within(
        self, owner_id: int, who: str, folder: str, after: str = "", most: int = ALL
    ) -> list[tuple[str, float, int]]:
        """Name, time and mode of the folders right in a folder, by name, on from the name `after`."""
        prefix, last = (f"{folder}/", f"{folder}0") if folder else ("", LAST)
        start = len(prefix) + 1
        return self._db.tuples(
            "SELECT SUBSTR(path, ?), mtime, mode FROM folders WHERE owner_id = ? AND who = ? AND path > ? AND path < ?"
            " AND SUBSTR(path, ?) NOT LIKE '%/%' ORDER BY path LIMIT ?",
            (start, owner_id, who, prefix + after, last, start, most),
        )

    def recipients(self, owner_id: int) -> set[str]:
        """For whom this outbox has folders or files: a look for each of them, however much there is."""
        found: set[str] = set()
        for table in ("folders", "files"):
            shown = "AND shown = 1" if table == "files" else ""
            rows = self._db.rows(
                "WITH RECURSIVE found (who) AS (SELECT '' UNION ALL"  # noqa: S608
                f" SELECT (SELECT MIN(who) FROM {table} WHERE owner_id = ? {shown} AND who > found.who) FROM found"
                "  WHERE found.who IS NOT NULL) SELECT who FROM found WHERE who <> ''",
                (owner_id,),
            )
            found |= {row["who"] for row in rows}
        return found

    def times(self, owner_id: int, recipients: Sequence[str]) -> dict[str, float]:
        """When the folders of these recipients were changed, of those that have been made."""
        rows = self._db.tuples(
            "SELECT who, mtime FROM folders WHERE owner_id = ? AND path = ''"
            " AND who IN (SELECT value FROM json_each(?))",
            (owner_id, json.dumps(recipients)),
        )
        return dict(rows)

    def find(self, owner_id: int, who: str, path: str) -> Folder | None:
        """One folder."""
        row = self._db.row("SELECT * FROM folders WHERE owner_id = ? AND who = ? AND path = ?", (owner_id, who, path))
        return _folder(row) if row else None

    def make(self, owner_id: int, who: str, path: str, mode: int, now: float) -> None:
        """Nothing when it is there."""
        self._db.execute(
            "INSERT INTO folders (owner_id, who, path, mtime, mode) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (owner_id, who, path, now, mode),
        )

    def change(self, owner_id: int, who: str, path: str, mtime: float, mode: int) -> None:
        """Its times and mode."""
        self._db.execute(
            "UPDATE folders SET mtime = ?, mode = ? WHERE owner_id = ? AND who = ? AND path = ?",
            (mtime, mode, owner_id, who, path),
        )

    def remove(self, owner_id: int, who: str, path: str) -> None:
        """Nothing when there is none."""
        self._db.execute("DELETE FROM folders WHERE owner_id = ? AND who = ? AND path = ?", (owner_id, who, path))


def _folder(row: sqlite3.Row) -> Folder:
    return Folder(row["who"], row["path"], row["mtime"], row["mode"])
