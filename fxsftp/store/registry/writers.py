"""Rows of what sessions have open: each file that is written is signed by its process and session.

What another process has open is never touched, but can be asked for (`want`); what a dead one had is taken over.
"""

from __future__ import annotations

from fxsftp.domain.model import File
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.values import FILE, file_of


class Writers:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def written_by(self, worker: str) -> list[File]:
        """Every file that a process has open, or had when it ended."""
        rows = self._db.rows(
            f"SELECT {FILE} FROM files WHERE writer >= ? AND writer < ?",  # noqa: S608
            _signed_by(worker),
        )
        return [file_of(row) for row in rows]

    def sessions(self) -> set[str]:
        """The sessions that write, or have written and are still there, and those that a dead process had."""
        rows = self._db.rows(
            "SELECT DISTINCT writer FROM files WHERE writer IS NOT NULL"
            " UNION SELECT DISTINCT connected FROM files WHERE connected IS NOT NULL"
        )
        return {str(row["writer"]) for row in rows}

    def take_over(self, file_id: int, before: str, writer: str) -> bool:
        """Compare and set: whose it was is not there, so who is quicker puts it away."""
        return bool(
            self._db.value(
                "UPDATE files SET writer = ?, beat = 0, wanted = 0 WHERE id = ? AND writer = ? RETURNING 1",
                (writer, file_id, before),
            )
        )

    def want(self, file_id: int) -> None:
        """Ask the process that has it open to let go."""
        self._db.execute("UPDATE files SET wanted = 1 WHERE id = ? AND writer IS NOT NULL", (file_id,))

    def is_wanted(self, file_id: int) -> bool:
        """Whether somebody has asked for it already."""
        return bool(self._db.value("SELECT wanted FROM files WHERE id = ?", (file_id,)))

    def wanted(self) -> list[File]:
        """What somebody asks for."""
        rows = self._db.rows(f"SELECT {FILE} FROM files WHERE wanted = 1")  # noqa: S608
        return [file_of(row) for row in rows]

    def disconnect_worker(self, worker: str) -> None:
        """That process is gone, with all its sessions."""
        within = _signed_by(worker)
        self._db.execute("UPDATE files SET connected = NULL WHERE connected >= ? AND connected < ?", within)
        self._db.execute("UPDATE files SET writer = NULL WHERE writer >= ? AND writer < ?", within)

    def disconnect(self, session: str) -> None:
        """That session is gone."""
        self._db.execute("UPDATE files SET connected = NULL WHERE connected = ?", (session,))


def _signed_by(worker: str) -> tuple[str, str]:
    """From where to where the names lie that a process signs with; an earlier version's were one word."""
    return worker, f"{worker}!"  # '!' comes right after the blank
