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
    """Of the columns of FILE."""
    return File(
        id=row["id"],
        shipment_id=row["shipment_id"] or "",
        owner_id=row["owner_id"],
        who=row["who"],
        path=row["path"],
        state=FileState(row["state"]),
        shown=bool(row["shown"]),
        announced=row["announced"],
        size=row["size"],
        mtime=row["mtime"],
        mode=row["mode"],
        sha256=row["sha256"],
        writer=row["writer"],
        progress=row["progress"],
        connected=row["connected"],
        blob=row["blob"],
        start=row["start"],
        body=row["body"],
        in_row=bool(row["in_row"]),
        beat=row["beat"],
    )
