"""Rows of receipts: how long the pages about a shipment were when they were last made, while that is still so.

The database itself forgets them: triggers (0015_receipts) see every change of a shipment, a delivery, a notice and the
history, whoever makes it.  `turn` counts these changes, so that what was made before one is not kept after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Receipt
from fxsftp.store.registry.engine import Engine

LAST = "~"  # sorts behind every edition that begins as ours does


class Receipts:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def of_sender(self, sender_id: int, edition: str, after: str, most: int) -> list[Receipt]:
        """Newest first, on from shipment `after`; without what still drops.  `edition` names the words that they say.

        Before dispatch files may change unseen, and so nothing is kept of those.
        """
        before = self._db.row("SELECT made, id FROM shipments WHERE id = ?", (after,)) or (math.inf, "")
        rows = self._db.rows(
            "SELECT shipments.id, turn, json, at, CASE WHEN edition = ? THEN text END AS text"
            " FROM shipments LEFT JOIN receipts ON shipment_id = shipments.id"
            " WHERE sender_id = ? AND (made, shipments.id) < (?, ?) AND state <> ?"
            " ORDER BY made DESC, shipments.id DESC LIMIT ?",
            (edition, sender_id, *before, ShipmentState.DROPPING, most),
        )
        return [Receipt(row["id"], row["turn"] or 0, row["text"], row["json"] or 0, row["at"] or 0) for row in rows]

    def outdated(self, edition: str, most: int) -> list[Receipt]:
        """Some, of any sender, of which this is known in no edition that begins so."""
        rows = self._db.rows("SELECT shipment_id, turn FROM receipts WHERE edition < ? LIMIT ?", (edition, most))
        if len(rows) < most:
            rows += self._db.rows(
                "SELECT shipment_id, turn FROM receipts WHERE edition > ? LIMIT ?", (edition + LAST, most - len(rows))
            )
        return [Receipt(row["shipment_id"], row["turn"], None, 0, 0) for row in rows]

    def remember(self, edition: str, receipts: Iterable[Receipt]) -> None:
        """Keep these, save those whose shipment was changed meanwhile."""
        self._db.execute_many(
            "UPDATE receipts SET edition = ?, text = ?, json = ?, at = ? WHERE shipment_id = ? AND turn = ?",
            [(edition, each.text, each.json, each.at, each.shipment, each.turn) for each in receipts],
        )
