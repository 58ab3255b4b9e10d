"""Rows of shipments, their files, the segments of drafts, and the folders of outboxes."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fxsftp.domain.lifecycle import FileState, ShipmentState
from fxsftp.domain.model import File, LockKind, Shipment
from fxsftp.store.registry.engine import Engine

ALL = 1 << 62  # rows; as a limit, none
LAST = "\U0010ffff"  # sorts behind every path

_FILE = (
    "id, shipment_id, owner_id, who, path, state, shown, announced, size, mtime, mode, sha256, writer, progress,"
    " connected, blob, start, body, small IS NOT NULL AS in_row, beat"
)
_NOT_HIDDEN = (
    "NOT EXISTS (SELECT 1 FROM hidden WHERE delivery_id = ? AND name = (SELECT CASE folder WHEN '' THEN path"
    " ELSE SUBSTR(path, LENGTH(folder) + 2) END FROM shipments WHERE shipments.id = files.shipment_id))"
)


_JOINED_AT = (
    "SELECT id, state, revision, progress, composing,"
    " EXISTS (SELECT 1 FROM files WHERE shipment_id = shipments.id AND waits = 1),"
    " (SELECT used FROM users WHERE id = :sender)"
    " FROM shipments WHERE sender_id = :sender AND who = :who AND folder = :folder"
    " AND state IN ('dropping', 'settling', 'held')"
    " AND EXISTS (SELECT 1 FROM folders WHERE owner_id = :sender AND who = :who AND path = :parent)"
    " AND NOT EXISTS (SELECT 1 FROM folders WHERE owner_id = :sender AND who = :who AND path = :path)"
    " AND NOT EXISTS (SELECT 1 FROM files WHERE owner_id = :sender AND who = :who AND path = :path AND shown = 1)"
    " ORDER BY made DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of an outbox; `path` is empty for the folder of the recipient itself."""

    who: str
    path: str
    mtime: float
    mode: int


class Shown(NamedTuple):
    """What a listing shows of a file in an outbox.  A tuple: there are many, and little is done with each."""

    id: int
    path: str
    size: int
    mtime: float
    mode: int
    writer: str | None


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One stored segment of a draft, in order."""

    blob: str
    start_chunk: int
    sealed: bool
    durable: int = 0  # bytes known to be synced


class Joining(NamedTuple):
    """A drop that a new file would join, and what must be known before.  A tuple, since each small file asks twice."""

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
            " AND state IN ('dropping', 'settling', 'held') ORDER BY made DESC LIMIT 1",
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

    def in_inbox(self, user_id: int, now: float, after: str = "", most: int = ALL) -> list[Shipment]:
        """What stands in a user's inbox, in the order in which it came there, and on from shipment `after`."""
        rows = self._db.rows(
            "SELECT shipments.* FROM deliveries JOIN shipments ON shipments.id = deliveries.shipment_id"
            " WHERE deliveries.user_id = ? AND deliveries.listed = 1 AND deliveries.id > COALESCE("
            "  (SELECT id FROM deliveries WHERE user_id = ? AND shipment_id = ?), 0)"
            " AND deliveries.state IN ('waiting', 'opened', 'collected', 'removed')"
            " AND shipments.state = 'waiting' AND (expires IS NULL OR expires > ?)"
            " AND NOT EXISTS (SELECT 1 FROM hidden WHERE delivery_id = deliveries.id AND name = '')"
            " ORDER BY deliveries.id LIMIT ?",
            (user_id, user_id, after, now, most),
        )
        return [shipment_of(row) for row in rows]

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
                "INSERT INTO files (shipment_id, owner_id, who, path, state, mtime, mode, made, progress, writer,"
                " connected, key, announced, waits, beat)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
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

    def add_small(self, file: File, closed: Closed, key: bytes, small: bytes, now: float, *, waits: bool) -> None:
        """The row of a new file whose body rides in it: where `file` says, and as it was `closed`."""
        self._db.execute(
            "INSERT INTO files (shipment_id, owner_id, who, path, state, announced, size, sha256, mtime, mode,"
            " connected, made, progress, waits, key, small, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                file.shipment_id, file.owner_id, file.who, file.path, *closed, file.connected, now, now, waits,
                key, small, len(small),
            ),
        )  # fmt: skip

    def file(self, file_id: int) -> File | None:
        """By its id."""
        row = self._db.row(f"SELECT {_FILE} FROM files WHERE id = ?", (file_id,))  # noqa: S608
        return _file(row) if row else None

    def shown(self, owner_id: int, who: str, path: str) -> File | None:
        """What stands at this path in the outbox: the newest row there."""
        row = self._db.row(
            f"SELECT {_FILE} FROM files WHERE owner_id = ? AND who = ? AND path = ? AND shown = 1"  # noqa: S608
            " ORDER BY id DESC LIMIT 1",
            (owner_id, who, path),
        )
        return _file(row) if row else None

    def at(self, owner_id: int, who: str, path: str) -> list[File]:
        """Every shown row at this path, oldest first."""
        rows = self._db.rows(
            f"SELECT {_FILE} FROM files WHERE owner_id = ? AND who = ? AND path = ? AND shown = 1 ORDER BY id",  # noqa: S608
            (owner_id, who, path),
        )
        return [_file(row) for row in rows]

    def in_folder(self, owner_id: int, who: str, folder: str, after: str = "", most: int = ALL) -> list[Shown]:
        """What stands right in a folder of the outbox, by name, on from the name `after`; of each the newest row."""
        prefix, last = (f"{folder}/", f"{folder}0") if folder else ("", LAST)  # '0' comes right after '/'
        rows = self._db.rows(
            "SELECT id, path, size, mtime, mode, writer FROM files"
            " WHERE owner_id = ? AND who = ? AND path > ? AND path < ? AND shown = 1"
            " AND SUBSTR(path, ?) NOT LIKE '%/%' AND NOT EXISTS ("
            "  SELECT 1 FROM files AS newer WHERE newer.owner_id = files.owner_id AND newer.who = files.who"
            "  AND newer.path = files.path AND newer.shown = 1 AND newer.id > files.id)"
            " ORDER BY path LIMIT ?",
            (owner_id, who, prefix + after, last, len(prefix) + 1, most),
        )
        return [Shown(*row) for row in rows]

    def below(self, owner_id: int, who: str, folder: str) -> list[File]:
        """Every shown row below a folder of the outbox, in any depth; later rows stand later."""
        first, last = (f"{folder}/", f"{folder}0") if folder else ("", LAST)  # '0' comes right after '/'
        rows = self._db.rows(
            f"SELECT {_FILE} FROM files WHERE owner_id = ? AND who = ? AND path >= ? AND path < ?"  # noqa: S608
            " AND shown = 1 ORDER BY id",
            (owner_id, who, first, last),
        )
        return [_file(row) for row in rows]

    def of_shipment(self, shipment_id: str) -> list[File]:
        """By path."""
        rows = self._db.rows(
            f"SELECT {_FILE} FROM files WHERE shipment_id = ? ORDER BY path, id",  # noqa: S608
            (shipment_id,),
        )
        return [_file(row) for row in rows]

    def names(self, shipment_id: str, within: str = "") -> list[str]:
        """The paths of its files that begin with `within`."""
        rows = self._db.rows(
            "SELECT path FROM files WHERE shipment_id = ? AND path >= ? AND path < ? ORDER BY path",
            (shipment_id, within, within + LAST),
        )
        return [row["path"] for row in rows]

    def sent_in(self, shipment_id: str, folder: str, delivery_id: int, after: str, most: int) -> list[File]:
        """The files of a shipment whose path is `folder`, with its slash, and a name, on from the name `after`.

        Without those that this delivery's recipient has removed, as in the two that follow.
        """
        rows = self._db.rows(
            f"SELECT {_FILE} FROM files WHERE shipment_id = ? AND path > ? AND path < ?"  # noqa: S608
            f" AND SUBSTR(path, ?) NOT LIKE '%/%' AND {_NOT_HIDDEN} ORDER BY path, id LIMIT ?",
            (shipment_id, folder + after, folder + LAST, len(folder) + 1, delivery_id, most),
        )
        return [_file(row) for row in rows]

    def folders_sent_in(self, shipment_id: str, folder: str, delivery_id: int, after: str, most: int) -> list[str]:
        """The names of the folders right in one of a shipment, on from the name `after`: a look for each of them."""
        found: list[str] = []
        at = f"{folder}{after}0" if after else folder  # '0' comes right after '/'
        while len(found) < most:
            path = self._db.value(
                "SELECT path FROM files WHERE shipment_id = ? AND path >= ? AND path < ?"  # noqa: S608
                f" AND SUBSTR(path, ?) LIKE '%/%' AND {_NOT_HIDDEN} ORDER BY path LIMIT 1",
                (shipment_id, at, folder + LAST, len(folder) + 1, delivery_id),
            )
            if path is None:
                break
            found.append(path[len(folder) :].partition("/")[0])
            at = f"{folder}{found[-1]}0"
        return found

    def has_shown(self, shipment_id: str, delivery_id: int, *but: str) -> bool:
        """Whether a file is left, other than those at `but`: looks from the end, as clients remove from the start."""
        others = " AND path <> ?" * len(but)
        return bool(
            self._db.value(
                f"SELECT 1 FROM files WHERE shipment_id = ?{others} AND {_NOT_HIDDEN}"  # noqa: S608
                " ORDER BY path DESC LIMIT 1",
                (shipment_id, *but, delivery_id),
            )
        )

    def sent_file(self, shipment_id: str, path: str) -> File | None:
        """The file at this path of a shipment, whether the sender still lists it or not."""
        row = self._db.row(
            f"SELECT {_FILE} FROM files WHERE shipment_id = ? AND path = ?",  # noqa: S608
            (shipment_id, path),
        )
        return _file(row) if row else None

    def to_read(
        self, shipment_id: str, path: str, delivery_id: int, name: str, kind: str
    ) -> tuple[File, bytes | None, bool] | None:
        """The same with the header of one kind that opens it for a delivery, and whether that has it hidden."""
        row = self._db.row(
            f"SELECT {_FILE}, (SELECT header FROM locks WHERE file_id = files.id AND kind = ?"  # noqa: S608
            "  AND parcel = (SELECT parcel FROM deliveries WHERE id = ?)) AS header,"
            " EXISTS (SELECT 1 FROM hidden WHERE delivery_id = ? AND name = ?) AS is_hidden"
            " FROM files WHERE shipment_id = ? AND path = ?",
            (kind, delivery_id, delivery_id, name, shipment_id, path),
        )
        return (_file(row), row["header"], bool(row["is_hidden"])) if row else None

    def has_below(self, shipment_id: str, folder: str) -> bool:
        """Whether a shipment has files below this path."""
        return bool(
            self._db.value(
                "SELECT 1 FROM files WHERE shipment_id = ? AND path > ? AND path < ? LIMIT 1",
                (shipment_id, f"{folder}/", f"{folder}0"),
            )
        )

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

    def disconnect(self, session: str) -> None:
        """That session is gone."""
        self._db.execute("UPDATE files SET connected = NULL WHERE connected = ?", (session,))

    # ---- what processes have open

    def being_written(self) -> list[File]:
        """Every file that a session has open, or had when its process ended."""
        rows = self._db.rows(f"SELECT {_FILE} FROM files WHERE state = 'draft' AND writer IS NOT NULL")  # noqa: S608
        return [_file(row) for row in rows]

    def written_by(self, worker: str) -> list[File]:
        """The same of one process."""
        rows = self._db.rows(
            f"SELECT {_FILE} FROM files WHERE writer >= ? AND writer < ?",  # noqa: S608
            _signed_by(worker),
        )
        return [_file(row) for row in rows]

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

    def wanted(self) -> list[File]:
        """What somebody asks for."""
        rows = self._db.rows(f"SELECT {_FILE} FROM files WHERE wanted = 1")  # noqa: S608
        return [_file(row) for row in rows]

    def disconnect_worker(self, worker: str) -> None:
        """That process is gone, with all its sessions."""
        within = _signed_by(worker)
        self._db.execute("UPDATE files SET connected = NULL WHERE connected >= ? AND connected < ?", within)
        self._db.execute("UPDATE files SET writer = NULL WHERE writer >= ? AND writer < ?", within)

    # ---- segments

    def segments(self, file_id: int) -> list[SegmentRow]:
        """In order."""
        rows = self._db.rows("SELECT * FROM segments WHERE file_id = ? ORDER BY position", (file_id,))
        return [SegmentRow(row["blob"], row["start_chunk"], bool(row["sealed"]), row["durable"]) for row in rows]

    def set_segments(self, file_id: int, segments: Iterable[SegmentRow]) -> None:
        """These, and no others."""
        self._db.execute("DELETE FROM segments WHERE file_id = ?", (file_id,))
        for position, segment in enumerate(segments):
            self._db.execute(
                "INSERT INTO segments (file_id, position, blob, start_chunk, sealed, durable)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (file_id, position, segment.blob, segment.start_chunk, int(segment.sealed), segment.durable),
            )

    def set_durable(self, file_id: int, segments: Iterable[SegmentRow]) -> None:
        """So much of each is synced; what has no row any more stays without."""
        self._db.execute_many(
            "UPDATE segments SET durable = ? WHERE file_id = ? AND blob = ?",
            [(segment.durable, file_id, segment.blob) for segment in segments],
        )

    def to_merge(self) -> list[File]:
        """Complete files that still lie in pieces, oldest first; of what is held, none."""
        rows = self._db.rows(
            f"SELECT {_FILE} FROM files WHERE state <> 'draft' AND id IN (SELECT file_id FROM segments)"  # noqa: S608
            " AND shipment_id IN (SELECT id FROM shipments WHERE state IN ('dropping', 'settling'))"
            " ORDER BY progress, id"
        )
        return [_file(row) for row in rows]

    def in_pieces(self, shipment_id: str) -> bool:
        """Whether a file of it still lies in pieces."""
        return bool(
            self._db.value(
                "SELECT 1 FROM segments JOIN files ON files.id = segments.file_id WHERE shipment_id = ? LIMIT 1",
                (shipment_id,),
            )
        )

    # ---- folders

    def folders(self, owner_id: int, who: str) -> list[Folder]:
        """Every folder for one recipient, in any depth."""
        rows = self._db.rows("SELECT * FROM folders WHERE owner_id = ? AND who = ? ORDER BY path", (owner_id, who))
        return [_folder(row) for row in rows]

    def folders_in(self, owner_id: int, who: str, folder: str, after: str = "", most: int = ALL) -> list[Folder]:
        """The folders right in a folder, by name, on from the name `after`."""
        prefix, last = (f"{folder}/", f"{folder}0") if folder else ("", LAST)
        rows = self._db.rows(
            "SELECT * FROM folders WHERE owner_id = ? AND who = ? AND path > ? AND path < ?"
            " AND SUBSTR(path, ?) NOT LIKE '%/%' ORDER BY path LIMIT ?",
            (owner_id, who, prefix + after, last, len(prefix) + 1, most),
        )
        return [_folder(row) for row in rows]

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

    def folder(self, owner_id: int, who: str, path: str) -> Folder | None:
        """One folder."""
        row = self._db.row("SELECT * FROM folders WHERE owner_id = ? AND who = ? AND path = ?", (owner_id, who, path))
        return _folder(row) if row else None

    def make_folder(self, owner_id: int, who: str, path: str, mode: int, now: float) -> None:
        """Nothing when it is there."""
        self._db.execute(
            "INSERT INTO folders (owner_id, who, path, mtime, mode) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (owner_id, who, path, now, mode),
        )

    def change_folder(self, owner_id: int, who: str, path: str, mtime: float, mode: int) -> None:
        """Its times and mode."""
        self._db.execute(
            "UPDATE folders SET mtime = ?, mode = ? WHERE owner_id = ? AND who = ? AND path = ?",
            (mtime, mode, owner_id, who, path),
        )

    def remove_folder(self, owner_id: int, who: str, path: str) -> None:
        """Nothing when there is none."""
        self._db.execute("DELETE FROM folders WHERE owner_id = ? AND who = ? AND path = ?", (owner_id, who, path))


def shipment_of(row: sqlite3.Row) -> Shipment:
    """As the rest of the exchange knows it."""
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


def _file(row: sqlite3.Row) -> File:
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


def _in_folder(sender_id: int, who: str, path: str) -> dict[str, str | int]:
    folder, parent = path.partition("/")[0], path.rpartition("/")[0]
    return {"sender": sender_id, "who": who, "folder": folder, "parent": parent, "path": path}


def _joining(row: Sequence[Any] | None) -> Joining | None:
    if row is None:
        return None
    drop_id, state, revision, progress, is_composing, is_waiting, used = row
    return Joining(drop_id, ShipmentState(state), revision, progress, bool(is_composing), bool(is_waiting), used)


def _signed_by(worker: str) -> tuple[str, str]:
    """From where to where the names lie that a process signs with; an earlier version's were one word."""
    return worker, f"{worker}!"  # '!' comes right after the blank


def _folder(row: sqlite3.Row) -> Folder:
    return Folder(row["who"], row["path"], row["mtime"], row["mode"])
