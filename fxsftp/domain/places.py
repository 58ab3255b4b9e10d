"""A path becomes a place, or is refused with the reason.  Nothing here looks at what exists.

Paths are what clients send: bytes, with either room for mistakes or malice.  They are resolved by
their letters alone (there is nothing behind them to escape into), read as UTF-8 and kept as NFC.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from fxsftp.domain import ids
from fxsftp.errors import BadName, NoSuchPlace

NAME_BYTES = 255  # what ext4, NTFS and APFS can hold in one name
PATH_BYTES = 4096  # PATH_MAX; nobody's client sends more
RESERVED = frozenset({"shipment.txt", "key.age", "key"})  # rendered into inbox folders; KEY is KEY.age once locked
SUMS = "sha256sums"
DEVICES = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", re.IGNORECASE)  # Windows can't store these
PLAIN = re.compile(rb"[ -\[\]-~]{1,%d}" % NAME_BYTES)  # most names: nothing in them to be looked at one by one
UNSEEN = {"\u2028", "\u2029"} | {
    chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0xFEFF)
}


class Room(StrEnum):
    """What stands at the root of a user's view."""

    ROOT = ""
    README = "README.txt"
    INBOX = "inbox"
    OUTBOX = "outbox"
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed path: the room, then whose, which shipment, and what below it.

    room    who (outbox)         shipment (inbox, sent)   path
    outbox  kari@ssb.example     -                        Ref 23-4567/sub/a.csv
    outbox  ""                   -                        report.csv  (a loose file, no recipient named)
    inbox   -                    7k3f-q2mp                report.csv.age
    sent    -                    7k3f-q2mp                7k3f-q2mp.txt
    """

    room: Room
    who: str = ""
    shipment: str = ""
    path: str = ""

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rpartition("/")[2] or self.who or self.shipment or self.room.value

    @property
    def folder(self) -> str:
        """The first-level folder in the outbox which makes the shipment; empty for a loose file."""
        return folder_of(self.path)

    def __str__(self) -> str:
        return ids.redacted(
            "/" + "/".join(part for part in (self.room.value, self.who, self.shipment, self.path) if part)
        )


def resolve(path: bytes) -> tuple[str, ...]:
    """The parts of an absolute path: `.`, `..` and doubled slashes resolved, never above the root.

    Raises BadName for what no client of ours should ever see in a listing.
    """
    if len(path) > PATH_BYTES:
        raise BadName(_shown(path[:40]) + "…", f"the path is longer than {PATH_BYTES} bytes")
    parts: list[str] = []
    for raw in path.split(b"/"):
        if raw in (b"", b"."):
            continue
        if raw == b"..":
            del parts[-1:]
            continue
        parts.append(name(raw))
    return tuple(parts)


def name(raw: bytes) -> str:
    """One part of a path as NFC text.  Raises BadName with the reason."""
    if PLAIN.fullmatch(raw):
        return raw.decode("ascii")
    try:
        text = unicodedata.normalize("NFC", raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadName(_shown(raw), "it is not UTF-8; set your client's file names to UTF-8") from None
    for letter in text:
        if unicodedata.category(letter) == "Cc" or letter in UNSEEN:
            raise BadName(_shown(raw), "it has a control character in it")
    if "\\" in text:
        raise BadName(_shown(raw), "a backslash can't stand in a name; folders are parted by '/'")
    if len(text.encode()) > NAME_BYTES:
        raise BadName(_shown(raw[:40]) + "…", f"it is longer than {NAME_BYTES} bytes")
    return text


def _shown(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return ids.redacted("".join(letter if letter.isprintable() else "?" for letter in text))


def may_be_written(path: str) -> None:
    """Raises BadName when `path` in the outbox has a part that could not be handed out again."""
    parts = path.split("/")
    for part in parts:
        if DEVICES.fullmatch(part):
            raise BadName(part, "Windows keeps this name for a device; the recipient could not store it")
    if parts[-1].casefold() in RESERVED and len(parts) <= 2:
        raise BadName(parts[-1], "the exchange writes a file of this name itself")
    if parts[-1].casefold() == SUMS and len(parts) == 1:
        raise BadName(parts[-1], "checksums are checked in a folder, with the files that they are of; put them there")


def is_address(text: str) -> bool:
    """Whether a part of a path looks like an e-mail address; whether it may be used is asked elsewhere."""
    local, at, host = text.rpartition("@")
    return bool(local and at and "." in host.strip(".") and " " not in text)


def parse(path: bytes) -> Place:
    """The place that a client's path means.  Raises BadName, or NoSuchPlace outside of the four rooms."""
    parts = resolve(path)
    if not parts:
        return Place(Room.ROOT)
    match parts:
        case ("README.txt",):
            return Place(Room.README)
        case ("outbox",):
            return Place(Room.OUTBOX)
        case ("outbox", who, *rest) if is_address(who):
            return Place(Room.OUTBOX, who=who.casefold(), path="/".join(rest))
        case ("outbox", *rest):
            return Place(Room.OUTBOX, path="/".join(rest))
        case ("inbox",):
            return Place(Room.INBOX)
        case ("inbox", folder, *rest):
            return Place(Room.INBOX, shipment=_shipment(folder), path="/".join(rest))
        case ("sent",):
            return Place(Room.SENT)
        case ("sent", file):
            return Place(Room.SENT, shipment=_shipment(file.partition(".")[0]), path=file)
    raise NoSuchPlace(ids.redacted("/" + "/".join(parts)))


def _shipment(part: str) -> str:
    found = ids.shipment_id(part)
    if not found:
        raise NoSuchPlace(ids.redacted(part))
    return found


def folder_of(path: str) -> str:
    """The first-level folder of a path in the outbox, which makes the shipment; empty for a loose file."""
    return path.partition("/")[0] if "/" in path else ""


def folder_name(shipment_id: str, subject: str, when: float) -> str:
    """`2026-11-22_7k3f-q2mp_Ref-23-4567`: sorts by date, has no blanks, and the id alone would do."""
    return "_".join(filter(None, (day(when), shipment_id, slug(subject))))


def slug(subject: str) -> str:
    """`subject` as it may stand in a folder's name: letters, digits and dashes, at most 40."""
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", subject))[:40].strip("-")


def day(moment: float) -> str:
    """The date in UTC, `2026-11-22`."""
    return datetime.fromtimestamp(moment, UTC).date().isoformat()
