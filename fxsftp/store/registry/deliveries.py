"""Rows of deliveries: who may open what, by which lock, and what has been read."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Sequence

from fxsftp.domain.lifecycle import DeliveryState
from fxsftp.domain.model import Arrival, Delivery, LockKind
from fxsftp.store.registry.engine import Engine

Spans = list[tuple[int, int]]

_BEYOND = 2**63 - 1  # no delivery has an id like that
_LISTED = (  # the files of a shipment that its recipient sees; a dropped SHA256SUMS is replaced by our own
    "FROM files WHERE files.shipment_id = shipments.id AND path <> shipments.folder || '/SHA256SUMS'"
    " AND NOT EXISTS (SELECT 1 FROM hidden WHERE delivery_id = deliveries.id AND name ="
    "  CASE shipments.folder WHEN '' THEN path ELSE SUBSTR(path, LENGTH(shipments.folder) + 2) END)"
)

_ITS = "parcel = (SELECT parcel FROM deliveries WHERE id = ?)"  # the locks of one delivery


class Deliveries:
    """The recipient's half.  No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def add(
        self, shipment_id: str, user_id: int, via: str, lock: LockKind, key_file: bytes | None, parcel: str = ""
    ) -> int:
        """A new delivery, WAITING.  Its locks are those of this parcel, or of an empty one."""
        return int(
            self._db.value(
                "INSERT INTO deliveries (shipment_id, user_id, via, lock, state, key_file, parcel)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (shipment_id, user_id, via, lock, DeliveryState.WAITING, key_file, parcel or secrets.token_hex(8)),
            )
        )

    def find(self, delivery_id: int) -> Delivery | None:
        """By its id."""
        row = self._db.row("SELECT * FROM deliveries WHERE id = ?", (delivery_id,))
        return _delivery(row) if row else None

    def for_user(self, user_id: int, shipment_id: str) -> Delivery | None:
        """This user's part in a shipment."""
        row = self._db.row("SELECT * FROM deliveries WHERE user_id = ? AND shipment_id = ?", (user_id, shipment_id))
        return _delivery(row) if row else None

    def stamp(self, user_id: int, shipment_id: str) -> tuple[int, int, bool] | None:
        """The revisions of a delivery and its shipment: the rows are the same while these are; and is it hidden?"""
        row = self._db.row(
            "SELECT deliveries.revision, shipments.revision,"
            " EXISTS (SELECT 1 FROM hidden WHERE delivery_id = deliveries.id AND name = '')"
            " FROM deliveries JOIN shipments ON shipments.id = deliveries.shipment_id"
            " WHERE deliveries.user_id = ? AND deliveries.shipment_id = ?",
            (user_id, shipment_id),
        )
        return (row[0], row[1], bool(row[2])) if row else None

    def glance(self, user_id: int, shipment_id: str, name: str) -> tuple[int, int, bool] | None:
        """The same for a loop; and is it hidden, or the file of this name in it?"""
        row = self._db.glance(
            "SELECT deliveries.revision, shipments.revision,"
            " EXISTS (SELECT 1 FROM hidden WHERE delivery_id = deliveries.id AND name IN ('', ?))"
            " FROM deliveries JOIN shipments ON shipments.id = deliveries.shipment_id"
            " WHERE deliveries.user_id = ? AND deliveries.shipment_id = ?",
            (name, user_id, shipment_id),
        )
        return (row[0], row[1], bool(row[2])) if row else None

    def of_shipment(self, shipment_id: str) -> list[Delivery]:
        """In the order in which they were made."""
        rows = self._db.rows("SELECT * FROM deliveries WHERE shipment_id = ? ORDER BY id", (shipment_id,))
        return [_delivery(row) for row in rows]

    def of_user(self, user_id: int) -> list[Delivery]:
        """All of a user's, in any state."""
        rows = self._db.rows("SELECT * FROM deliveries WHERE user_id = ? ORDER BY id", (user_id,))
        return [_delivery(row) for row in rows]

    def arrivals(self, user_id: int, now: float, before: str, after: str, most: int) -> list[Arrival]:
        """What waits for a user, newest first: on from shipment `before`, or those next newer than `after`."""
        newer = bool(after)
        rows = self._db.rows(
            "SELECT shipments.id AS shipment, subject, sent, shipments.made AS made, expires,"  # noqa: S608
            " deliveries.state AS state, lock,"
            " users.email AS sender, users.name AS sender_name, openings.until AS open_until,"
            f" (SELECT COUNT(*) {_LISTED}) AS files, (SELECT COALESCE(SUM(size), 0) {_LISTED}) AS size"
            " FROM deliveries JOIN shipments ON shipments.id = deliveries.shipment_id"
            " JOIN users ON users.id = shipments.sender_id"
            " LEFT JOIN openings ON openings.delivery_id = deliveries.id AND openings.until > :now"
            " WHERE deliveries.user_id = :user AND deliveries.listed = 1"
            f" AND deliveries.id {'>' if newer else '<'} COALESCE("
            "  (SELECT id FROM deliveries WHERE user_id = :user AND shipment_id = :from),"
            f" {0 if newer else _BEYOND})"
            " AND deliveries.state IN ('waiting', 'opened', 'collected')"
            " AND shipments.state = 'waiting' AND (expires IS NULL OR expires > :now)"
            f" ORDER BY deliveries.id {'ASC' if newer else 'DESC'} LIMIT :most",
            {"user": user_id, "now": now, "from": after or before, "most": most},
        )
        found = [_arrival(row) for row in rows]
        return found[::-1] if newer else found

    def step(self, delivery: Delivery, state: DeliveryState, **columns: float | int | None) -> bool:
        """Compare and set: to `state` if nobody changed the delivery since it was read."""
        names = "".join(f", {name} = ?" for name in columns)  # names are our own keywords, never a user's
        return bool(
            self._db.value(
                f"UPDATE deliveries SET state = ?, revision = revision + 1{names}"  # noqa: S608
                " WHERE id = ? AND state = ? AND revision = ? RETURNING 1",
                (state, *columns.values(), delivery.id, delivery.state, delivery.revision),
            )
        )

    def change(self, delivery_id: int, **columns: float | int | bytes | None) -> None:
        """Set columns that are no state."""
        names = ", ".join(f"{name} = ?" for name in columns)  # names are our own keywords, never a user's
        self._db.execute(f"UPDATE deliveries SET {names} WHERE id = ?", (*columns.values(), delivery_id))  # noqa: S608

    def count_wrong(self, delivery_id: int) -> int:
        """One more wrong code; answers how many in a row."""
        return int(
            self._db.value("UPDATE deliveries SET wrong = wrong + 1 WHERE id = ? RETURNING wrong", (delivery_id,))
        )

    def reminded(self, delivery_id: int) -> int:
        """How many reminders went out."""
        return int(self._db.value("SELECT reminded FROM deliveries WHERE id = ?", (delivery_id,)))

    # ---- locks

    def add_locks(self, delivery_id: int, headers: Iterable[tuple[int, str, bytes]]) -> None:
        """The headers that open files for one delivery: of which file, of which kind, and itself."""
        self._db.execute_many(
            "INSERT INTO locks (parcel, file_id, kind, header) SELECT parcel, ?, ?, ? FROM deliveries WHERE id = ?",
            [(file_id, kind, header, delivery_id) for file_id, kind, header in headers],
        )

    def header(self, file_id: int, delivery_id: int, *kinds: str) -> tuple[str, bytes] | None:
        """(kind, header): the first of `kinds` that there is."""
        for kind in kinds:
            found = self._db.value(
                f"SELECT header FROM locks WHERE {_ITS} AND file_id = ? AND kind = ?",  # noqa: S608
                (delivery_id, file_id, kind),
            )
            if found is not None:
                return kind, bytes(found)
        return None

    def headers(self, delivery_id: int, file_ids: Sequence[int]) -> dict[int, dict[str, bytes]]:
        """For each of these files, the header of each kind."""
        marks = ", ".join("?" for _ in file_ids)
        headers: dict[int, dict[str, bytes]] = {}
        for row in self._db.rows(
            f"SELECT file_id, kind, header FROM locks WHERE {_ITS} AND file_id IN ({marks})",  # noqa: S608
            (delivery_id, *file_ids),
        ):
            headers.setdefault(row["file_id"], {})[row["kind"]] = row["header"]
        return headers

    def has_kind(self, delivery_id: int, kind: str) -> bool:
        """Whether any file has a header of this kind."""
        return bool(
            self._db.value(
                f"SELECT 1 FROM locks WHERE {_ITS} AND kind = ? LIMIT 1",  # noqa: S608
                (delivery_id, kind),
            )
        )

    def header_sizes(self, delivery_id: int, file_ids: Sequence[int] = ()) -> dict[int, dict[str, int]]:
        """For each file, or of these each, how long the header of each kind is."""
        some = f"AND file_id IN ({', '.join('?' for _ in file_ids)})" if file_ids else ""
        sizes: dict[int, dict[str, int]] = {}
        for file_id, kind, size in self._db.tuples(
            f"SELECT file_id, kind, LENGTH(header) FROM locks WHERE {_ITS} {some}",  # noqa: S608
            (delivery_id, *file_ids),
        ):
            sizes.setdefault(file_id, {})[kind] = size
        return sizes

    def header_size(self, file_id: int, delivery_id: int) -> dict[str, int]:
        """How long the header of each kind is, for one file."""
        rows = self._db.rows(
            f"SELECT kind, LENGTH(header) AS size FROM locks WHERE {_ITS} AND file_id = ?",  # noqa: S608
            (delivery_id, file_id),
        )
        return {row["kind"]: row["size"] for row in rows}

    def lock_hash(self, file_id: int, delivery_id: int, kind: str) -> str | None:
        """SHA-256, in hex, of header and body as they are offered, once somebody asked."""
        found = self._db.value(
            f"SELECT sha256 FROM locks WHERE {_ITS} AND file_id = ? AND kind = ?",  # noqa: S608
            (delivery_id, file_id, kind),
        )
        return None if found is None else str(found)

    def lock_hashes(self, delivery_id: int) -> dict[tuple[int, str], str]:
        """Those known, by file and kind."""
        rows = self._db.rows(
            f"SELECT file_id, kind, sha256 FROM locks WHERE {_ITS} AND sha256 IS NOT NULL",  # noqa: S608
            (delivery_id,),
        )
        return {(row["file_id"], row["kind"]): row["sha256"] for row in rows}

    def set_lock_hashes(self, delivery_id: int, hashes: Iterable[tuple[int, str, str]]) -> None:
        """Remember some: of which file, of which kind of header, and itself."""
        self._db.execute_many(
            f"UPDATE locks SET sha256 = ? WHERE {_ITS} AND file_id = ? AND kind = ?",  # noqa: S608
            [(sha256, delivery_id, file_id, kind) for file_id, kind, sha256 in hashes],
        )

    def parcel(self, delivery_id: int) -> str | None:
        """What its locks are called."""
        found = self._db.value("SELECT parcel FROM deliveries WHERE id = ?", (delivery_id,))
        return None if found is None else str(found)

    def relock(
        self, delivery: Delivery, parcel: str, key_file: bytes, headers: Iterable[tuple[int, str, bytes]]
    ) -> bool:
        """Compare and set: other locks than before, no opening by those, no wrong tries, no half of an old `.age`."""
        self._db.execute(f"DELETE FROM locks WHERE {_ITS}", (delivery.id,))  # noqa: S608
        changed = self._db.value(
            "UPDATE deliveries SET parcel = ?, key_file = ?, wrong = 0, closed_until = NULL, revision = revision + 1"
            " WHERE id = ? AND state = ? AND revision = ? RETURNING 1",
            (parcel, key_file, delivery.id, delivery.state, delivery.revision),
        )
        self.add_locks(delivery.id, headers)
        self._db.execute("DELETE FROM openings WHERE delivery_id = ?", (delivery.id,))
        self._db.execute("DELETE FROM reads WHERE delivery_id = ? AND form = 'age' AND whole = 0", (delivery.id,))
        return bool(changed)

    def session_headers(self, shipment_id: str) -> dict[int, bytes]:
        """For each file that somebody gets by log-in, a header that the house key opens."""
        rows = self._db.rows(
            "SELECT file_id, header FROM locks WHERE kind = 'session'"
            " AND parcel IN (SELECT parcel FROM deliveries WHERE shipment_id = ? AND lock = 'session')",
            (shipment_id,),
        )
        return {row["file_id"]: bytes(row["header"]) for row in rows}

    def has_recovery(self, shipment_id: str) -> bool:
        """Whether the offline institutional key opens it."""
        return bool(
            self._db.value(
                "SELECT 1 FROM recoveries JOIN files ON files.id = recoveries.file_id WHERE shipment_id = ? LIMIT 1",
                (shipment_id,),
            )
        )

    def fetched(self, shipment_id: str) -> dict[int, set[int]]:
        """For each delivery, the files that were sent whole."""
        found: dict[int, set[int]] = {}
        for row in self._db.rows(
            "SELECT delivery_id, file_id FROM reads WHERE whole = 1"
            " AND delivery_id IN (SELECT id FROM deliveries WHERE shipment_id = ?)",
            (shipment_id,),
        ):
            found.setdefault(row["delivery_id"], set()).add(row["file_id"])
        return found

    def states(self, shipment_ids: Sequence[str]) -> dict[str, set[DeliveryState]]:
        """For each shipment, the states in which its deliveries are."""
        marks = ", ".join("?" for _ in shipment_ids)
        found: dict[str, set[DeliveryState]] = {}
        for row in self._db.rows(
            f"SELECT DISTINCT shipment_id, state FROM deliveries WHERE shipment_id IN ({marks})",  # noqa: S608
            shipment_ids,
        ):
            found.setdefault(row["shipment_id"], set()).add(DeliveryState(row["state"]))
        return found

    def key_file(self, delivery_id: int) -> bytes | None:
        """KEY.age of a delivery by code."""
        found = self._db.value("SELECT key_file FROM deliveries WHERE id = ?", (delivery_id,))
        return None if found is None else bytes(found)

    # ---- openings

    def set_opening(self, delivery_id: int, until: float, sealed: bytes) -> None:
        """Open until then, for this user in every session."""
        self._db.execute(
            "INSERT INTO openings (delivery_id, until, sealed) VALUES (?, ?, ?)"
            " ON CONFLICT (delivery_id) DO UPDATE SET until = excluded.until, sealed = excluded.sealed",
            (delivery_id, until, sealed),
        )

    def opening(self, delivery_id: int, now: float) -> tuple[float, bytes] | None:
        """Until when it is open, and what was unwrapped, sealed to the running processes; None when it is not."""
        row = self._db.row("SELECT until, sealed FROM openings WHERE delivery_id = ? AND until > ?", (delivery_id, now))
        return (row[0], bytes(row[1])) if row else None

    def open_until(self, delivery_id: int, now: float) -> float | None:
        """When what is open now closes again."""
        found = self._db.value("SELECT until FROM openings WHERE delivery_id = ? AND until > ?", (delivery_id, now))
        return None if found is None else float(found)

    def end_openings(self, now: float) -> None:
        """Forget those whose time is over."""
        self._db.execute("DELETE FROM openings WHERE until <= ?", (now,))

    # ---- what was read, what was hidden

    def spans(self, delivery_id: int, file_id: int, form: str) -> Spans:
        """Which bytes of a file, in one form, were sent so far."""
        found = self._db.value(
            "SELECT spans FROM reads WHERE delivery_id = ? AND file_id = ? AND form = ?", (delivery_id, file_id, form)
        )
        return [(first, last) for first, last in json.loads(found)] if found else []

    def set_spans(self, delivery_id: int, found: Iterable[tuple[int, str, Spans, bool]]) -> None:
        """Replace some: of which file, in which form, and whether they are all of it."""
        self._db.execute_many(
            "INSERT INTO reads (delivery_id, file_id, form, spans, whole) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (delivery_id, file_id, form) DO UPDATE SET spans = excluded.spans, whole = excluded.whole",
            [(delivery_id, file_id, form, json.dumps(spans), int(whole)) for file_id, form, spans, whole in found],
        )

    def missing(self, delivery_id: int, shipment_id: str, but: str) -> int | None:
        """A file, other than the one at `but`, that was not yet sent whole in one form or the other.

        Looks from the end, since clients fetch from the beginning: so each look but the last finds one at once.
        """
        found = self._db.value(
            "SELECT id FROM files WHERE shipment_id = ? AND path <> ? AND NOT EXISTS ("
            " SELECT 1 FROM reads WHERE delivery_id = ? AND file_id = files.id AND whole = 1)"
            " ORDER BY path DESC LIMIT 1",
            (shipment_id, but, delivery_id),
        )
        return None if found is None else int(found)

    def hide(self, delivery_id: int, names: Iterable[str]) -> None:
        """Names that this recipient has removed; the empty one is the folder itself."""
        for name in names:
            self._db.execute(
                "INSERT INTO hidden (delivery_id, name) VALUES (?, ?) ON CONFLICT DO NOTHING", (delivery_id, name)
            )

    def is_hidden(self, delivery_id: int, name: str) -> bool:
        """Whether this recipient has removed it."""
        return bool(self._db.value("SELECT 1 FROM hidden WHERE delivery_id = ? AND name = ?", (delivery_id, name)))

    def hidden(self, delivery_id: int) -> set[str]:
        """What this recipient has removed."""
        return {row["name"] for row in self._db.rows("SELECT name FROM hidden WHERE delivery_id = ?", (delivery_id,))}


def _arrival(row: sqlite3.Row) -> Arrival:
    return Arrival(
        shipment=row["shipment"],
        subject=row["subject"],
        sender=row["sender"],
        sender_name=row["sender_name"],
        sent=row["sent"] or row["made"],
        expires=row["expires"],
        state=DeliveryState(row["state"]),
        lock=LockKind(row["lock"]),
        open_until=row["open_until"],
        files=row["files"],
        size=row["size"],
    )


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        id=row["id"],
        shipment_id=row["shipment_id"],
        user_id=row["user_id"],
        via=row["via"],
        lock=LockKind(row["lock"]),
        state=DeliveryState(row["state"]),
        opened=row["opened"],
        collected=row["collected"],
        ended=row["ended"],
        wrong=row["wrong"],
        closed_until=row["closed_until"],
        revision=row["revision"],
    )
