"""Rows by the hundred thousand: what a house holds after years, written in a moment."""

from __future__ import annotations

from collections.abc import Sequence

from fxsftp.domain import ids
from fxsftp.exchange import Exchange


def fill_outbox(exchange: Exchange, owner_id: int, who: str, names: Sequence[str], now: float) -> None:
    """Files that were sent long ago and are still shown."""
    engine = exchange._holdings.registry._engine
    with engine.atomic(durable=False):
        engine.execute_many(
            "INSERT INTO files (owner_id, who, path, state, size, mtime, mode, made, progress, waits)"
            " VALUES (?, ?, ?, 'complete', ?, ?, 420, ?, ?, 0)",
            ((owner_id, who, name, number, now, now, now) for number, name in enumerate(names)),
        )


def fill_rooms(exchange: Exchange, sender_id: int, recipient_id: int, recipient: str, count: int, now: float) -> None:
    """Shipments of one file, which wait in the recipient's inbox and are told of in the sender's sent."""
    engine = exchange._holdings.registry._engine
    new = list({ids.new_shipment_id() for _ in range(count + count // 100)})[:count]
    with engine.atomic(durable=False):
        engine.execute_many(
            "INSERT INTO shipments (id, sender_id, recipient, who, folder, subject, state, made, progress, sent)"
            " VALUES (?, ?, ?, ?, 'Ref 1', 'Ref 1', 'waiting', ?, ?, ?)",
            ((one, sender_id, recipient, recipient, now, now, now) for one in new),
        )
        engine.execute_many(
            "INSERT INTO deliveries (shipment_id, user_id, lock, state) VALUES (?, ?, 'session', 'waiting')",
            ((one, recipient_id) for one in new),
        )
        engine.execute_many(
            "INSERT INTO files (shipment_id, owner_id, who, path, state, size, mtime, mode, made, progress,"
            " waits, shown) VALUES (?, ?, ?, 'Ref 1/a.csv', 'complete', 1, ?, 420, ?, ?, 0, 0)",
            ((one, sender_id, recipient, now, now, now) for one in new),
        )


def fill_shipment(
    exchange: Exchange, sender_id: int, recipient_id: int, recipient: str, names: Sequence[str], lock: str, now: float
) -> str:
    """One shipment of many files, which waits in the recipient's inbox; answers its id.  None of them can be opened."""
    engine, shipment = exchange._holdings.registry._engine, ids.new_shipment_id()
    with engine.atomic(durable=False):
        engine.execute(
            "INSERT INTO shipments (id, sender_id, recipient, who, folder, subject, state, made, progress, sent,"
            " expires) VALUES (?, ?, ?, ?, 'Ref 1', 'Ref 1', 'waiting', ?, ?, ?, ?)",
            (shipment, sender_id, recipient, recipient, now, now, now, now + 30 * 86400),
        )
        engine.execute(
            "INSERT INTO deliveries (shipment_id, user_id, lock, state, parcel) VALUES (?, ?, ?, 'waiting', ?)",
            (shipment, recipient_id, lock, shipment),
        )
        engine.execute_many(
            "INSERT INTO files (shipment_id, owner_id, who, path, state, size, body, mtime, mode, made, progress,"
            " waits) VALUES (?, ?, ?, ?, 'complete', ?, ?, ?, 420, ?, ?, 0)",
            (
                (shipment, sender_id, recipient, f"Ref 1/{name}", number, number + 32, now, now, now)
                for number, name in enumerate(names)
            ),
        )
        engine.execute(
            "INSERT INTO locks (parcel, file_id, kind, header)"
            " SELECT shipment_id, id, ?, ZEROBLOB(200) FROM files WHERE shipment_id = ?",
            (lock, shipment),
        )
    return shipment
