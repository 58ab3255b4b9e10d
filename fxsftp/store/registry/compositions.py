"""Rows of drops that are being composed: what they have beyond those that come by SFTP."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fxsftp.domain.model import LockKind, Shipment
from fxsftp.store.registry.engine import Engine


class Compositions:
    """The same tables as every drop's.  No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def open(self, sender_id: int) -> list[str]:
        """The numbers of those that this sender has not sent or given up, oldest first."""
        rows = self._db.rows(
            "SELECT id FROM shipments WHERE sender_id = ? AND composing = 1"
            " AND state IN ('dropping', 'settling', 'held') ORDER BY made, id",
            (sender_id,),
        )
        return [row["id"] for row in rows]

    def write(
        self,
        shipment_id: str,
        *,
        to: tuple[str, ...],
        subject: str,
        message: str,
        minimum: LockKind | None,
        invites: Mapping[str, str],
    ) -> None:
        """What its sender has said of it so far.  `invites` is by which phone to invite whom."""
        self._db.execute(
            "UPDATE shipments SET composing = 1, recipient = ?, others = ?, subject = ?, message = ?, minimum = ?,"
            " invites = ?, revision = revision + 1 WHERE id = ?",
            (to[0], " ".join(to[1:]), subject, message, minimum, json.dumps(invites) if invites else "", shipment_id),
        )

    def invites(self, shipment_id: str) -> dict[str, str]:
        """By which phone to invite whom, by address."""
        found = self._db.value("SELECT invites FROM shipments WHERE id = ?", (shipment_id,))
        return {str(address): str(phone) for address, phone in json.loads(found).items()} if found else {}

    def submit(self, shipment_id: str) -> None:
        """From now on it is a drop like any other, and no page has it open."""
        self._db.execute(
            "UPDATE shipments SET composing = 0, invites = '', revision = revision + 1 WHERE id = ?", (shipment_id,)
        )
        self._db.execute("UPDATE files SET connected = NULL WHERE shipment_id = ?", (shipment_id,))

    def promised(self, sender_id: int) -> int:
        """Bytes announced and not yet here, of all that this sender composes."""
        return int(
            self._db.value(
                "SELECT COALESCE(SUM(announced - size), 0) FROM files WHERE state = 'draft' AND announced > size"
                " AND shipment_id IN (SELECT id FROM shipments WHERE sender_id = ? AND composing = 1"
                " AND state IN ('dropping', 'settling', 'held'))",
                (sender_id,),
            )
        )

    def move(self, drop: Shipment, who: str, folder: str) -> None:
        """Its folder stands elsewhere in the outbox, with all that is in it."""
        parts, cut = (drop.sender_id, drop.who, f"{drop.folder}/", f"{drop.folder}0"), len(drop.folder) + 1
        for table, shown in (("files", "AND shown = 1"), ("folders", "")):  # before dispatch, nothing is hidden
            self._db.execute(
                f"UPDATE {table} SET who = ?, path = ? || SUBSTR(path, ?)"  # noqa: S608
                f" WHERE owner_id = ? AND who = ? AND path >= ? AND path < ? {shown}",
                (who, folder, cut, *parts),
            )
        self._db.execute(
            "UPDATE folders SET who = ?, path = ? WHERE owner_id = ? AND who = ? AND path = ?",
            (who, folder, drop.sender_id, drop.who, drop.folder),
        )
        self._db.execute("UPDATE shipments SET who = ?, folder = ? WHERE id = ?", (who, folder, drop.id))

    def forget_folders(self, drop: Shipment) -> None:
        """Its folder and those within."""
        self._db.execute(
            "DELETE FROM folders WHERE owner_id = ? AND who = ? AND (path = ? OR (path >= ? AND path < ?))",
            (drop.sender_id, drop.who, drop.folder, f"{drop.folder}/", f"{drop.folder}0"),
        )
