"""Rows of what is in a shipment, by path, as its recipients look at it: without what each has removed."""

from __future__ import annotations

from fxsftp.domain.model import File, Shipment
from fxsftp.store.registry.drops import LAST
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.values import FILE, file_of

# What a listing shows of a file: name, size, time; its id, how long the sealed body is, and whether a folder is named
# as this file is when it is locked.
Listed = tuple[str, int, float, int, int, bool]

_NOT_HIDDEN = (
    "NOT EXISTS (SELECT 1 FROM hidden WHERE delivery_id = ? AND name = (SELECT CASE folder WHEN '' THEN path"
    " ELSE SUBSTR(path, LENGTH(folder) + 2) END FROM shipments WHERE shipments.id = files.shipment_id))"
)


class Contents:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def sizes(self, shipment_id: str) -> list[tuple[str, int]]:
        """The paths of its files, by path, and how large each is in plain."""
        found: list[tuple[str, int]] = self._db.tuples(
            "SELECT path, size FROM files WHERE shipment_id = ? ORDER BY path", (shipment_id,)
        )
        return found

    def sent_in(self, shipment_id: str, folder: str, delivery_id: int, after: str, most: int) -> list[File]:
        """The files of a shipment whose path is `folder`, with its slash, and a name, on from the name `after`.

        Without those that this delivery's recipient has removed, as in the three that follow.
        """
        rows = self._db.rows(
            f"SELECT {FILE} FROM files WHERE shipment_id = ? AND path > ? AND path < ?"  # noqa: S608
            f" AND SUBSTR(path, ?) NOT LIKE '%/%' AND {_NOT_HIDDEN} ORDER BY path, id LIMIT ?",
            (shipment_id, folder + after, folder + LAST, len(folder) + 1, delivery_id, most),
        )
        return [file_of(row) for row in rows]

    def listed_in(self, shipment: Shipment, folder: str, delivery_id: int, after: str, most: int) -> list[Listed]:
        """The same files as far as a listing shows them; `folder` is one within the shipment."""
        within = shipment.path_of(folder)
        found: list[Listed] = self._db.tuples(
            "SELECT SUBSTR(path, :start), size, mtime, id, body, EXISTS (SELECT 1 FROM files AS below WHERE"
            "  below.shipment_id = :shipment AND below.path > files.path || '.age/'"
            "  AND below.path < files.path || '.age0')"
            " FROM files WHERE shipment_id = :shipment AND path > :after AND path < :last"
            " AND SUBSTR(path, :start) NOT LIKE '%/%'"
            " AND NOT EXISTS (SELECT 1 FROM hidden WHERE delivery_id = :delivery AND name = SUBSTR(path, :name))"
            " ORDER BY path, id LIMIT :most",
            {
                "shipment": shipment.id,
                "start": len(within) + 1,
                "name": len(shipment.path_of("")) + 1,
                "after": within + after,
                "last": within + LAST,
                "delivery": delivery_id,
                "most": most,
            },
        )
        return found

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
            f"SELECT {FILE} FROM files WHERE shipment_id = ? AND path = ?",  # noqa: S608
            (shipment_id, path),
        )
        return file_of(row) if row else None

    def to_read(
        self, shipment_id: str, path: str, delivery_id: int, name: str, kind: str
    ) -> tuple[File, bytes | None, bool] | None:
        """The same with the header of one kind that opens it for a delivery, and whether that has it hidden."""
        row = self._db.row(
            f"SELECT {FILE}, (SELECT header FROM locks WHERE file_id = files.id AND kind = ?"  # noqa: S608
            "  AND parcel = (SELECT parcel FROM deliveries WHERE id = ?)) AS header,"
            " EXISTS (SELECT 1 FROM hidden WHERE delivery_id = ? AND name = ?) AS is_hidden"
            " FROM files WHERE shipment_id = ? AND path = ?",
            (kind, delivery_id, delivery_id, name, shipment_id, path),
        )
        return (file_of(row), row["header"], bool(row["is_hidden"])) if row else None

    def has_below(self, shipment_id: str, folder: str) -> bool:
        """Whether a shipment has files below this path."""
        return bool(
            self._db.value(
                "SELECT 1 FROM files WHERE shipment_id = ? AND path > ? AND path < ? LIMIT 1",
                (shipment_id, f"{folder}/", f"{folder}0"),
            )
        )
