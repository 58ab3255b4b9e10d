"""Rows of shipments and files as the values that the rest of the exchange knows."""

from __future__ import annotations

import sqlite3

from fxsftp.domain.lifecycle import FileState, ShipmentState
from fxsftp.domain.model import File, LockKind, Shipment

FILE = (
    "id, shipment_id, owner_id, who, path, state, shown, announced, size, mtime, mode, sha256, writer, progress,"
    " connected, blob, start, body, small IS NOT NULL AS in_row, beat"
)
"""The columns of a file: all but its key and its body."""
FIELDS = 20  # of them


def shipment_of(row: sqlite3.Row) -> Shipment:
    """Of all columns of `shipments`."""
    return Shipment(
        id=row["id"],
        sender_id=row["sender_id"],
        recipient=row["recipient"],
        who=row["who"],
        folder=row["folder"],
        subject=row["subject"],
        message=row["message"],
        state=ShipmentState(row["state"]),
        revision=row["revision"],
        made=row["made"],
        progress=row["progress"],
        sent=row["sent"],
        expires=row["expires"],
        ended=row["ended"],
        erased=row["erased"],
        cause=row["cause"],
        reason=row["reason"],
        scanned=row["scanned"],
        others=tuple(row["others"].split()),
        is_composing=bool(row["composing"]),
        minimum=LockKind(row["minimum"]) if row["minimum"] else None,
    )


def file_of(row: sqlite3.Row) -> File:
    """Of the columns of FILE, which come first in the row.

    Taken by their places, which are those of File's own fields: by name it took 10 µs and not 5, for each of thousands.
    """
    (
        file_id, shipment_id, owner_id, who, path, state, shown, announced, size, mtime, mode, sha256, writer, progress,
        connected, blob, start, body, in_row, beat,
    ) = row[:FIELDS]  # fmt: skip
    return File(
        file_id, shipment_id or "", owner_id, who, path, FileState(state), bool(shown), announced, size, mtime, mode,
        sha256, writer, progress, connected, blob, start, body, bool(in_row), beat,
    )  # fmt: skip
