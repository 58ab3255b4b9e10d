"""Rows of shipments and of their files.

Who has a file open stands in writers.py, of which pieces a draft consists in segments.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from fxsftp.domain.lifecycle import FileState, ShipmentState
from fxsftp.domain.model import Entry, File, Shipment
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.values import FILE, file_of, shipment_of

ALL = 1 << 62  # rows; as a limit, none
LAST = "\U0010ffff"  # sorts behind every path

_IS_FREE = (  # for a new file at a path of a folder that is there
    " EXISTS (SELECT 1 FROM folders WHERE owner_id = :sender AND who = :who AND path = :parent)"
    " AND NOT EXISTS (SELECT 1 FROM folders WHERE owner_id = :sender AND who = :who AND path = :path)"
    " AND NOT EXISTS (SELECT 1 FROM files WHERE owner_id = :sender AND who = :who AND path = :path AND shown = 1)"
)
_JOINED_AT = (
    "SELECT id, state, revision, progress, composing,"  # noqa: S608
    " EXISTS (SELECT 1 FROM files WHERE shipment_id = shipments.id AND waits = 1),"
    " (SELECT used FROM users WHERE id = :sender)"
    " FROM shipments WHERE sender_id = :sender AND who = :who AND folder = :folder"
    f" AND state IN ('dropping', 'settling', 'held') AND {_IS_FREE}"
    " ORDER BY +made DESC LIMIT 1"  # the sign keeps SQLite from reading all of the sender's shipments in this order
)


# An id that no file has had: what is done later for one that was taken away must not meet another.
_NEXT = "1 + MAX((SELECT COALESCE(MAX(id), 0) FROM files), (SELECT files FROM spent))"

_ADD_SMALL = (
    "INSERT INTO files (id, shipment_id, owner_id, who, path, state, announced, size, sha256, mtime, mode,"  # noqa: S608
    " connected, made, progress, waits, key, small, body)"
    f" SELECT {_NEXT}, id, :sender, :who, :path, :state, :announced, :size, :sha256, :mtime, :mode,"
    " :connected, :now, :now, :waits, :key, :small, :body"
    f" FROM shipments WHERE id = :drop AND revision = :revision AND {_IS_FREE}"
)


# What a listing shows of a shipment in an inbox: its id, subject, and when it was sent.
Waiting = tuple[str, str, float]

_SHOWN = (  # the fields of an Entry
    "SELECT SUBSTR(path, :start), 0, size, mtime, mode, writer IS NULL FROM files"
    " WHERE owner_id = :owner AND who = :who AND path > :after AND path < :last AND shown = 1"
    " AND SUBSTR(path, :start) NOT LIKE '%/%'"
)
_ENTRY = partial(tuple.__new__, Entry)  # takes a fifth of the time of a call of Entry, for each of thousands
_NEWEST = (
    " AND NOT EXISTS (SELECT 1 FROM files AS newer WHERE newer.owner_id = files.owner_id AND newer.who = files.who"
    "  AND newer.path = files.path AND newer.shown = 1 AND newer.id > files.id)"
)


class Joining(NamedTuple):
    """A drop that a new file would join, and what must be known before.  A tuple, since each small file asks for it."""

    id: str
    state: ShipmentState
    revision: int
    progress: float
    is_composing: bool
    is_waiting: bool  # for a file of it
    used: int  # bytes, by its sender


class Closed(NamedTuple):
    """What the CLOSE of a new file says of it."""

    state: FileState
    announced: int | None
    size: int
    sha256: str | None
    mtime: float
    mode: int


@dataclass(frozen=True, slots=True)
class Quiet:
    """A drop that may have settled; whether a session that wrote to it is there, or the end of a file is in doubt."""

    drop: Shipment
    is_connected: bool
    is_suspect: bool


class Drops:
    """The sender's half.  No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    # ---- shipments

    def add(
        self, shipment_id: str, sender_id: int, recipient: str, who: str, folder: str, subject: str, now: float
    ) -> None:
        """A new drop, DROPPING."""
        self._db.execute(
            "INSERT INTO shipments (id, sender_id, recipient, who, folder, subject, state, made, progress)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (shipment_id, sender_id, recipient, who, folder, subject, ShipmentState.DROPPING, now, now),
        )

    def find(self, shipment_id: str) -> Shipment | None:
        """In any state."""
        row = self._db.row("SELECT * FROM shipments WHERE id = ?", (shipment_id,))
        return shipment_of(row) if row else None

    def is_before_dispatch(self, shipment_id: str) -> bool:
        """Whether it is a drop that may still change."""
        return bool(
            self._db.value(
                "SELECT 1 FROM shipments WHERE id = ? AND state IN ('dropping', 'settling', 'held')", (shipment_id,)
            )
        )

    def cause(self, shipment_id: str) -> str:
        """Why it is held, in one word."""
        return str(self._db.value("SELECT cause FROM shipments WHERE id = ?", (shipment_id,)) or "")

    def open_folder_drop(self, sender_id: int, who: str, folder: str) -> Shipment | None:
        """The drop that files put in this folder now belong to."""
        row = self._db.row(
            "SELECT * FROM shipments WHERE sender_id = ? AND who = ? AND folder = ?"
            " AND state IN ('dropping', 'settling', 'held') ORDER BY +made DESC LIMIT 1",
            (sender_id, who, folder),
        )
        return shipment_of(row) if row else None

    def joined_at(self, sender_id: int, who: str, path: str, *, at_once: bool = False) -> Joining | None:
        """The drop that a new file at this path of a folder would join.

        None unless the folders that it lies in are there, and nothing stands in its way.  `at_once` is for a loop, and
        raises Unavailable where it would have to wait.
        """
        look = self._db.glance if at_once else self._db.row
        return _joining(look(_JOINED_AT, _in_folder(sender_id, who, path)))

    def in_states(self, *states: ShipmentState) -> list[Shipment]:
        """Oldest first."""
        marks = ", ".join("?" for _ in states)
        rows = self._db.rows(
            f"SELECT * FROM shipments WHERE state IN ({marks}) ORDER BY made, id",  # noqa: S608
            states,
        )
        return [shipment_of(row) for row in rows]

    def of_sender(
        self, sender_id: int, after: str = "", most: int = ALL, *, but: ShipmentState | None = None
    ) -> list[Shipment]:
        """Newest first, on from shipment `after`, but not those in one state."""
        before = self._db.row("SELECT made, id FROM shipments WHERE id = ?", (after,)) or (math.inf, "")
        rows = self._db.rows(
            "SELECT * FROM shipments WHERE sender_id = ? AND (made, id) < (?, ?) AND state <> ?"
            " ORDER BY made DESC, id DESC LIMIT ?",
            (sender_id, *before, but or "", most),
        )
        return [shipment_of(row) for row in rows]

    def sums(self, shipment_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """For each shipment, how many files it has that its recipients see, and how large they are together."""
        marks = ", ".join("?" for _ in shipment_ids)
        rows = self._db.rows(
            "SELECT shipment_id, COUNT(*) AS files, SUM(size) AS size FROM files"  # noqa: S608
            f" JOIN shipments ON shipments.id = shipment_id WHERE shipment_id IN ({marks})"
            " AND path <> folder || '/SHA256SUMS' GROUP BY shipment_id",
            shipment_ids,
        )
        return {row["shipment_id"]: (row["files"], row["size"]) for row in rows}

    def tally(self, shipment_id: str) -> tuple[int, int]:
        """How many files it has, and how many bytes they have together."""
        row = self._db.row("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM files WHERE shipment_id = ?", (shipment_id,))
        assert row is not None
        return int(row[0]), int(row[1])

    def in_inbox(self, user_id: int, now: float, after: str = "", most: int = ALL) -> list[Waiting]:
        """What stands in a user's inbox, in the order in which it came there, and on from shipment `after`."""
        found: list[Waiting] = self._db.tuples(
            "SELECT shipments.id, subject, COALESCE(sent, shipments.made)"
            " FROM deliveries JOIN shipments ON shipments.id = deliveries.shipment_id"
            " WHERE deliveries.user_id = ? AND deliveries.listed = 1 AND deliveries.id > COALESCE("
            "  (SELECT id FROM deliveries WHERE user_id = ? AND shipment_id = ?), 0)"
            " AND deliveries.state IN ('waiting', 'opened', 'collected', 'removed')"
            " AND shipments.state = 'waiting' AND (expires IS NULL OR expires > ?)"
            " AND NOT EXISTS (SELECT 1 FROM hidden WHERE delivery_id = deliveries.id AND name = '')"
            " ORDER BY deliveries.id LIMIT ?",
            (user_id, user_id, after, now, most),
        )
        return found

    def stalled(self, before: float) -> list[Shipment]:
        """Those that drop without progress since before, oldest first."""
        rows = self._db.rows(
            "SELECT * FROM shipments WHERE state = 'dropping' AND progress <= ? ORDER BY made, id", (before,)
        )
        return [shipment_of(row) for row in rows]

    def quiet(self, before: float) -> list[Quiet]:
        """Those that settle and are whole, with nothing new since before, oldest first."""
        rows = self._db.rows(
            "SELECT *, id IN (SELECT shipment_id FROM files WHERE connected IS NOT NULL) AS is_connected,"
            " EXISTS (SELECT 1 FROM files WHERE shipment_id = shipments.id AND state = 'suspect') AS is_suspect"
            " FROM shipments WHERE state = 'settling' AND progress <= ? AND id NOT IN ("
            "  SELECT shipment_id FROM files WHERE id IN (SELECT file_id FROM segments) AND shipment_id IS NOT NULL)"
            " ORDER BY made, id",
            (before,),
        )
        return [Quiet(shipment_of(row), bool(row["is_connected"]), bool(row["is_suspect"])) for row in rows]

    def held_by(self, cause: str) -> list[Shipment]:
        """Those held for this cause, oldest first."""
        rows = self._db.rows("SELECT * FROM shipments WHERE state = 'held' AND cause = ? ORDER BY made, id", (cause,))
        return [shipment_of(row) for row in rows]

    def set_scanned(self, shipment: Shipment) -> bool:
        """It was looked at, if nobody changed it since it was read.  Its revision stays: it is the same."""
        return bool(
            self._db.value(
                "UPDATE shipments SET scanned = revision WHERE id = ? AND state = ? AND revision = ? RETURNING 1",
                (shipment.id, shipment.state, shipment.revision),
            )
        )

    def step(
        self, shipment: Shipment | Joining, state: ShipmentState, now: float, cause: str = "", reason: str = ""
    ) -> bool:
        """Compare and set: to `state` if nobody changed the shipment since it was read."""
        is_done = bool(
            self._db.value(
                "UPDATE shipments SET state = ?, revision = revision + 1, progress = ?, cause = ?, reason = ?"
                " WHERE id = ? AND state = ? AND revision = ? RETURNING 1",
                (state, now, cause, reason, shipment.id, shipment.state, shipment.revision),
            )
        )
        if is_done and shipment.state is ShipmentState.WAITING:  # what has ended stands in no inbox
            self._db.execute("UPDATE deliveries SET listed = 0 WHERE shipment_id = ?", (shipment.id,))
        return is_done

    def change(self, shipment_id: str, **columns: str | int | float | None) -> None:
        """Set columns of one shipment; its revision moves on."""
        names = ", ".join(f"{name} = ?" for name in columns)  # names are our own keywords, never a user's
        self._db.execute(
            f"UPDATE shipments SET {names}, revision = revision + 1 WHERE id = ?",  # noqa: S608
            (*columns.values(), shipment_id),
        )

    def forget(self, shipment_id: str) -> None:
        """A drop without files leaves no row; what was told of it while it was held stays told."""
        self._db.execute("UPDATE notices SET shipment_id = NULL WHERE shipment_id = ?", (shipment_id,))
        self._db.execute("DELETE FROM shipments WHERE id = ?", (shipment_id,))

    # ---- files

    def add_file(
        self,
        shipment_id: str | None,
        owner_id: int,
        who: str,
        path: str,
        state: FileState,
        mtime: float,
        mode: int,
        now: float,
        *,
        writer: str | None,
        key: bytes | None,
        announced: int | None,
        waits: bool,
        beat: float | None = None,
    ) -> int:
        """A new file's row."""
        return int(
            self._db.value(
                "INSERT INTO files (id, shipment_id, owner_id, who, path, state, mtime, mode, made, progress, writer,"  # noqa: S608
                " connected, key, announced, waits, beat)"
                f" VALUES ({_NEXT}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (
                    shipment_id,
                    owner_id,
                    who,
                    path,
                    state,
                    mtime,
                    mode,
                    now,
                    now,
                    writer,
                    writer,
                    key,
                    announced,
                    waits,
                    beat,
                ),
            )
        )

    def add_small(
        self, file: File, drop: Joining, closed: Closed, key: bytes, small: bytes, now: float, *, waits: bool
    ) -> bool:
        """The row of a new file whose body rides in it: where `file` says, and as it was `closed`.

        None is made, and False answered, if somebody has changed the drop since it was seen, or made a folder there.
        """
        row = {
            **_in_folder(file.owner_id, file.who, file.path), **closed._asdict(), "drop": drop.id,
            "revision": drop.revision, "connected": file.connected, "now": now, "waits": waits, "key": key,
            "small": small, "body": len(small),
        }  # fmt: skip
        return self._db.changes(_ADD_SMALL, row) == 1

    def file(self, file_id: int) -> File | None:
        """By its id."""
        row = self._db.row(f"SELECT {FILE} FROM files WHERE id = ?", (file_id,))  # noqa: S608
        return file_of(row) if row else None

    def shown(self, owner_id: int, who: str, path: str) -> File | None:
        """What stands at this path in the outbox: the newest row there."""
        row = self._db.row(
            f"SELECT {FILE} FROM files WHERE owner_id = ? AND who = ? AND path = ? AND shown = 1"  # noqa: S608
            " ORDER BY id DESC LIMIT 1",
            (owner_id, who, path),
        )
        return file_of(row) if row else None

    def at(self, owner_id: int, who: str, path: str) -> list[File]:
        """Every shown row at this path, oldest first."""
        rows = self._db.rows(
            f"SELECT {FILE} FROM files WHERE owner_id = ? AND who = ? AND path = ? AND shown = 1 ORDER BY id",  # noqa: S608
            (owner_id, who, path),
        )
        return [file_of(row) for row in rows]

    def in_folder(self, owner_id: int, who: str, folder: str, after: str = "", most: int = ALL) -> list[Entry]:
        """The files right in a folder of the outbox, by name, on from the name `after`; of each the newest row.

        Which may not be written are those that somebody has open, and of which their row does not say all.
        """
        prefix, last = (f"{folder}/", f"{folder}0") if folder else ("", LAST)  # '0' comes right after '/'
        place = {"owner": owner_id, "who": who, "after": prefix + after, "last": last, "start": len(prefix) + 1}
        found = self._db.tuples(f"{_SHOWN} ORDER BY path LIMIT :most", place | {"most": most + 1})
        if len({row[0] for row in found}) < len(found):  # something is put again just now; to ask so takes longer
            found = self._db.tuples(f"{_SHOWN} {_NEWEST} ORDER BY path LIMIT :most", place | {"most": most})
        return [*map(_ENTRY, found[:most])]

    def below(self, owner_id: int, who: str, folder: str) -> list[File]:
        """Every shown row below a folder of the outbox, in any depth; later rows stand later."""
        first, last = (f"{folder}/", f"{folder}0") if folder else ("", LAST)  # '0' comes right after '/'
        rows = self._db.rows(
            f"SELECT {FILE} FROM files WHERE owner_id = ? AND who = ? AND path >= ? AND path < ?"  # noqa: S608
            " AND shown = 1 ORDER BY id",
            (owner_id, who, first, last),
        )
        return [file_of(row) for row in rows]

    def of_shipment(self, shipment_id: str) -> list[File]:
        """By path."""
        rows = self._db.rows(
            f"SELECT {FILE} FROM files WHERE shipment_id = ? ORDER BY path, id",  # noqa: S608
            (shipment_id,),
        )
        return [file_of(row) for row in rows]

    def change_file(self, file_id: int, **columns: str | int | float | bytes | None) -> None:
        """Set columns of one file."""
        names = ", ".join(f"{name} = ?" for name in columns)  # names are our own keywords, never a user's
        self._db.execute(f"UPDATE files SET {names} WHERE id = ?", (*columns.values(), file_id))  # noqa: S608

    def forget_file(self, file_id: int) -> None:
        """The row and its segments; the blobs are the caller's to erase."""
        self._db.execute("DELETE FROM files WHERE id = ?", (file_id,))

    def file_key(self, file_id: int) -> bytes | None:
        """The file key, wrapped under its drop's key; None once it was dispatched."""
        found = self._db.value("SELECT key FROM files WHERE id = ?", (file_id,))
        return None if found is None else bytes(found)

    def small(self, file_id: int) -> bytes | None:
        """A small body that still rides in its row."""
        found = self._db.value("SELECT small FROM files WHERE id = ?", (file_id,))
        return None if found is None else bytes(found)

    def waits(self, shipment_id: str) -> bool:
        """Whether a file of it is not complete, or bears a name that says so."""
        return bool(self._db.value("SELECT 1 FROM files WHERE shipment_id = ? AND waits = 1 LIMIT 1", (shipment_id,)))

    def has_files(self, shipment_id: str, more_than: int = 0) -> bool:
        """Whether it has more than so many files."""
        return bool(
            self._db.value("SELECT 1 FROM files WHERE shipment_id = ? LIMIT 1 OFFSET ?", (shipment_id, more_than))
        )


def _in_folder(sender_id: int, who: str, path: str) -> dict[str, str | int]:
    folder, parent = path.partition("/")[0], path.rpartition("/")[0]
    return {"sender": sender_id, "who": who, "folder": folder, "parent": parent, "path": path}


def _joining(row: Sequence[Any] | None) -> Joining | None:
    if row is None:
        return None
    drop_id, state, revision, progress, is_composing, is_waiting, used = row
    return Joining(drop_id, ShipmentState(state), revision, progress, bool(is_composing), bool(is_waiting), used)
