"""SFTP version 3 on the wire: its numbers, and how its packets are read and written.

draft-ietf-secsh-filexfer-02, with OpenSSH's extensions (PROTOCOL in its source).  No logic lives here: bytes
become values and values become bytes.  What is read is never trusted for its lengths; what does not add up
is a BadPacket.  Version 3 it stays: newer clients all speak it, and no server that people compare us with
speaks more.
"""

from __future__ import annotations

import struct
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate

from fxsftp.domain.model import Entry, Wishes
from fxsftp.errors import BadPacket

VERSION = 3

DATA_MOST = 256 << 10  # bytes a WRITE may carry
PACKET_MOST = DATA_MOST + 1024  # that, and its header with the longest handle anyone sends
READ_MOST = (256 << 10) - 1024  # what OpenSSH serves: with its header it stays below the 256 KiB that clients accept


class Kind(IntEnum):
    """The first byte of a packet."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    READLINK = 19
    SYMLINK = 20
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Status(IntEnum):
    """What became of a request."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    OP_UNSUPPORTED = 8


class Open:
    """How a file is to be opened.  Plain numbers: an IntFlag takes a microsecond for each `&`."""

    READ = 0x01
    WRITE = 0x02
    APPEND = 0x04
    CREATE = 0x08
    TRUNCATE = 0x10
    EXCLUSIVE = 0x20


class Has:
    """Which attributes follow.  Plain numbers, too."""

    SIZE = 0x01
    OWNER = 0x02
    MODE = 0x04
    TIMES = 0x08
    EXTENDED = 0x80000000


HEAD = struct.Struct(">IBI")  # length of what follows it, kind, request id (in INIT: the version)
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_STATUS = struct.Struct(">IBIII")
_DATA = struct.Struct(">IBII")
_ATTRS = struct.Struct(">IQIII")
_HAS = Has.SIZE | Has.MODE | Has.TIMES
_NO_ATTRS, _ONE = _U32.pack(0), _U32.pack(1)

FOLDER, FILE = 0o040000, 0o100000  # the type bits of a mode
_LATEST = 0xFFFFFFFF  # in the year 2106
RECENT, FAST = 182 * 86400, 3600  # seconds; how old a file is whose hour is shown, and how fast a client's clock may be
MODE_MOST = 0o777  # setuid, setgid and sticky have no meaning here, and never leave


# ---- reading -----------------------------------------------------------------------------------


class Reader:
    """Takes a packet apart from front to back.  Each method raises BadPacket when it would read past the end."""

    __slots__ = ("_at", "_bytes", "_end")

    def __init__(self, packet: bytes, start: int, end: int) -> None:
        self._bytes, self._at, self._end = packet, start, end

    def uint32(self) -> int:
        """The next four bytes."""
        at = self._at
        self._at = self._past(at, 4, "a number")
        return int(_U32.unpack_from(self._bytes, at)[0])

    def uint64(self) -> int:
        """The next eight bytes."""
        at = self._at
        self._at = self._past(at, 8, "a number")
        return int(_U64.unpack_from(self._bytes, at)[0])

    def string(self) -> bytes:
        """A length and as many bytes."""
        length = self.uint32()
        at = self._at
        self._at = self._past(at, length, "a string")
        return self._bytes[at : self._at]

    def wishes(self) -> Wishes:
        """The attributes, as far as they can be wished for: owners and extensions are passed over."""
        has = self.uint32()
        size = self.uint64() if has & Has.SIZE else None
        if has & Has.OWNER:
            self.uint32(), self.uint32()
        mode = self.uint32() & MODE_MOST if has & Has.MODE else None
        atime, mtime = (float(self.uint32()), float(self.uint32())) if has & Has.TIMES else (None, None)
        if has & Has.EXTENDED:
            for _ in range(self.uint32()):
                self.string(), self.string()
        return Wishes(size=size, mode=mode, atime=atime, mtime=mtime)

    def _past(self, at: int, length: int, what: str) -> int:
        if at + length > self._end:
            raise BadPacket(f"{what} reaches past the end of the packet")
        return at + length


# ---- writing -----------------------------------------------------------------------------------


def packet(kind: Kind, number: int, body: bytes) -> bytes:
    """A whole packet that answers request `number`."""
    return HEAD.pack(5 + len(body), kind, number) + body


def string(value: bytes) -> bytes:
    """A length and the bytes."""
    return _U32.pack(len(value)) + value


def version(extensions: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The answer to INIT."""
    return packet(Kind.VERSION, VERSION, b"".join(string(name) + string(text) for name, text in extensions))


def status(number: int, code: Status, text: str = "") -> bytes:
    """The outcome of a request; `text` is what a person may read of it.  The language tag stays empty."""
    if not text:
        return _STATUS.pack(17, Kind.STATUS, number, code, 0) + b"\0\0\0\0"
    return packet(Kind.STATUS, number, _U32.pack(code) + string(text.encode()) + string(b""))


def handle(number: int, name: bytes) -> bytes:
    """The handle of what was opened."""
    return packet(Kind.HANDLE, number, string(name))


def data_head(number: int, length: int) -> bytes:
    """All of a DATA packet but its `length` bytes, so that these need not be copied once more."""
    return _DATA.pack(9 + length, Kind.DATA, number, length)


def path(number: int, absolute: bytes) -> bytes:
    """The one name that REALPATH answers, without attributes."""
    return names(number, _ONE + string(absolute) * 2 + _NO_ATTRS)


def names(number: int, told: bytes) -> bytes:
    """Names of a folder, as `answers` tells them."""
    return packet(Kind.NAME, number, told)


def answers(entries: Iterable[Entry], owner: str, now: float, most: int) -> Sequence[bytes]:
    """A folder's names for several answers, each of up to `most` bytes, save where a single name has more."""
    told = listed(entries, owner, now)
    ends, first, found = [0, *accumulate(map(len, told))], 0, []
    while first < len(told):
        last = max(first + 1, bisect_right(ends, ends[first] + most) - 1)
        found.append(_U32.pack(last - first) + b"".join(told[first:last]))
        first = last
    return found


def listed(entries: Iterable[Entry], owner: str, now: float) -> Sequence[bytes]:
    """Each of a folder's names, with its line of `ls -l` and its attributes.

    Clients take the line apart by its blanks, so there is none in `owner`.  Ten thousand pass here: 1.6 us each.
    """
    told, old, ahead = [], now - RECENT, now + FAST
    for entry_name, is_folder, size, mtime, mode, _ in entries:
        name, moment = entry_name.encode(), int(mtime)
        if not 0 <= moment <= _LATEST or size < 0:
            moment, size = _moment(mtime), max(0, size)  # noqa: PLW2901  as it can be told
        letters, bits = _kind(is_folder, mode, owner)
        day, year = _day(moment // 86400)
        hour = _HOURS[moment % 86400 // 60] if old < mtime < ahead else year
        line = b"%b %12d %b %b %b" % (letters, size, day, hour, name)
        length, long = _U32.pack(len(name)), _U32.pack(len(line))
        told.append(b"".join((length, name, long, line, _ATTRS.pack(_HAS, size, bits, moment, moment))))
    return told


def attrs(entry: Entry) -> bytes:
    """Size, mode with the bits that say file or folder, and times.  There are no owners to tell of."""
    moment = _moment(entry.mtime)
    return _ATTRS.pack(_HAS, max(0, entry.size), _bits(entry.is_folder, entry.mode), moment, moment)


def numbers(*values: int) -> bytes:
    """64-bit numbers in a row, as limits@ and statvfs@ answer."""
    return struct.pack(f">{len(values)}Q", *values)


# What thousands of entries have in common.


@lru_cache(maxsize=256)
def _kind(is_folder: bool, mode: int, owner: str) -> tuple[bytes, int]:
    """How a line begins, and the bits of the mode."""
    letters = "d" if is_folder else "-"
    for bit in range(8, -1, -1):
        letters += "rwx"[2 - bit % 3] if mode >> bit & 1 else "-"
    return f"{letters} {2 if is_folder else 1:4} {owner:<16.16} exchange".encode(), _bits(is_folder, mode)


@lru_cache(maxsize=1024)
def _day(days: int) -> tuple[bytes, bytes]:
    """The day and the year, so many days after 1970 began."""
    when = time.gmtime(days * 86400)
    return f"{_MONTHS[when.tm_mon - 1]} {when.tm_mday:2}".encode(), f"{when.tm_year:5}".encode()


_HOURS = [f"{minute // 60:02}:{minute % 60:02}".encode() for minute in range(1440)]
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _bits(is_folder: bool, mode: int) -> int:
    return (FOLDER if is_folder else FILE) | mode & MODE_MOST


def _moment(seconds: float) -> int:
    return min(max(int(seconds), 0), _LATEST)
