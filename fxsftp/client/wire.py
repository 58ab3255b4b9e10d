"""SFTP version 3 as the partner's side speaks it, over a channel that paramiko opened.

paramiko's own SFTPClient would do, but for four things a transfer that must be true can't live with:
`close` hides a refused CLOSE (which is where an exchange says that it could not keep the file), a short
READ ends its prefetching, a broken line prints a traceback from its prefetch thread, and its listing
dies of one name that is not UTF-8.  Here nothing runs beside the caller: a request goes out with
`ask_…`, its answer is waited for with `answer`, and whoever wants a full pipe keeps several in flight.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from stat import S_ISDIR, S_ISREG

import paramiko

from fxsftp.errors import BadAnswer, LineBroken, NotOffered, Refused

READ, WRITE, CREATE, TRUNCATE = 0x01, 0x02, 0x08, 0x10  # pflags of OPEN

PIECE = 32 * 1024  # bytes a READ or WRITE carries: what every server must take (draft-ietf-secsh-filexfer-02, 3)
IN_FLIGHT = 64  # requests: 2 MiB, more than a line of 100 Mbit/s and 100 ms holds
MAX_PACKET = 1 << 20  # bytes; what claims to be longer is not read at all

_INIT, _VERSION, _OPEN, _CLOSE, _READ, _WRITE = 1, 2, 3, 4, 5, 6
_FSTAT, _FSETSTAT, _OPENDIR, _READDIR, _REMOVE, _MKDIR, _RMDIR, _STAT, _RENAME = 8, 10, 11, 12, 13, 14, 15, 17, 18
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS, _EXTENDED = 101, 102, 103, 104, 105, 200
_OK, _EOF, _NO_SUCH_FILE, _NO_CONNECTION, _CONNECTION_LOST = 0, 1, 2, 6, 7
_SIZE, _OWNER, _MODE, _TIMES, _MORE = 0x01, 0x02, 0x04, 0x08, 0x80000000
_POSIX_RENAME = b"posix-rename@openssh.com"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the server says of a file; None where it says nothing."""

    size: int | None
    mode: int | None
    mtime: int | None

    @property
    def is_folder(self) -> bool:
        return self.mode is not None and S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return self.mode is None or S_ISREG(self.mode)


class Wire:
    """One SFTP session.  After LineBroken nothing more can be asked of it."""

    def __init__(self, channel: paramiko.Channel, host: str) -> None:
        self._channel = channel
        self.host = host
        self._last = 0
        self._answers: dict[int, tuple[int, _Fields]] = {}  # arrived, not yet asked for
        self._paths: dict[int, str] = {}  # in flight, and what they are about
        self._send(struct.pack(">BI", _INIT, 3))
        kind, fields = self._receive()
        if kind != _VERSION or fields.number() != 3:
            raise BadAnswer(host, "it does not speak version 3")
        self._extensions: set[bytes] = set()
        while fields.left:
            self._extensions.add(fields.string())
            fields.string()

    # ---- whole files' verbs: ask and wait ----------------------------------------------------------

    def open(self, path: str, flags: int, size: int | None = None) -> bytes:
        """Return a handle.  `size` announces how long the file will be, so that a cut-off one can't pass for whole."""
        attributes = struct.pack(">I", 0) if size is None else struct.pack(">IQ", _SIZE, size)
        fields = self._expect(self._ask(_OPEN, path, _text(path), struct.pack(">I", flags), attributes), _HANDLE)
        return fields.string()

    def close(self, handle: bytes, path: str) -> None:
        """Close; when this returns the server has said that it keeps what was written."""
        self.answer(self._ask(_CLOSE, path, _string(handle)))

    def stat(self, path: str) -> Attributes:
        """What stands at `path`.  Raises NotOffered."""
        return self._expect(self._ask(_STAT, path, _text(path)), _ATTRS).attributes()

    def stat_open(self, handle: bytes, path: str) -> Attributes:
        return self._expect(self._ask(_FSTAT, path, _string(handle)), _ATTRS).attributes()

    def entries(self, path: str) -> list[tuple[bytes, Attributes]]:
        """The names in a folder as the server sent them, unjudged, without `.` and `..`."""
        handle = self._expect(self._ask(_OPENDIR, path, _text(path)), _HANDLE).string()
        found: list[tuple[bytes, Attributes]] = []
        while (fields := self._next_names(handle, path)) is not None:
            for _ in range(fields.number()):
                name = fields.string()
                fields.string()  # the line as `ls -l` would print it
                attributes = fields.attributes()
                if name not in (b".", b".."):
                    found.append((name, attributes))
        self.close(handle, path)
        return found

    def make_folder(self, path: str) -> None:
        """Make a folder, or leave it when it is there."""
        try:
            self.answer(self._ask(_MKDIR, path, _text(path), struct.pack(">I", 0)))
        except Refused:
            try:
                if self.stat(path).is_folder:
                    return
            except NotOffered:
                pass
            raise

    def remove(self, path: str) -> None:
        self.answer(self._ask(_REMOVE, path, _text(path)))

    def remove_folder(self, path: str) -> None:
        self.answer(self._ask(_RMDIR, path, _text(path)))

    def rename(self, old: str, new: str) -> None:
        """Rename, over whatever stands at `new`."""
        if _POSIX_RENAME in self._extensions:
            self.answer(self._ask(_EXTENDED, new, _string(_POSIX_RENAME), _text(old), _text(new)))
            return
        try:
            self.remove(new)  # version 3 never renames over a file
        except NotOffered:
            pass
        self.answer(self._ask(_RENAME, new, _text(old), _text(new)))

    # ---- several in flight -------------------------------------------------------------------------

    def ask_read(self, handle: bytes, path: str, offset: int, length: int) -> int:
        return self._ask(_READ, path, _string(handle), struct.pack(">QI", offset, length))

    def ask_write(self, handle: bytes, path: str, offset: int, data: bytes) -> int:
        return self._ask(_WRITE, path, _string(handle), struct.pack(">Q", offset), _string(data))

    def ask_mtime(self, handle: bytes, path: str, mtime: int) -> int:
        return self._ask(_FSETSTAT, path, _string(handle), struct.pack(">III", _TIMES, mtime, mtime))

    def answer(self, number: int) -> bytes | None:
        """Wait for the answer to one request: data of a READ, None when it has ended or there is nothing to say.

        Raises NotOffered or Refused in the server's own words, LineBroken when there is no line any more.
        """
        kind, fields = self._wait(number)
        path = self._paths.pop(number)
        if kind == _DATA:
            return fields.string()
        if kind != _STATUS:
            raise BadAnswer(self.host, f"an answer of kind {kind}")
        code = fields.number()
        if code in (_OK, _EOF):
            return None
        said = _printable(fields.string()) if fields.left else ""
        if code == _NO_SUCH_FILE:
            raise NotOffered(path, said or "no such file")
        if code in (_NO_CONNECTION, _CONNECTION_LOST):
            raise LineBroken(self.host, said or "the server says so")
        raise Refused(path, said or f"it gives no reason (code {code})")

    def forget(self, numbers: list[int]) -> None:
        """Wait for requests whose answers nobody wants any more, so that they are not kept."""
        for number in numbers:
            try:
                self.answer(number)
            except (NotOffered, Refused):
                pass

    # ---- packets -----------------------------------------------------------------------------------

    def _ask(self, kind: int, path: str, *payload: bytes) -> int:
        self._last = (self._last + 1) & 0xFFFFFFFF
        self._paths[self._last] = path
        self._send(b"".join((struct.pack(">BI", kind, self._last), *payload)))
        return self._last

    def _expect(self, number: int, wanted: int) -> _Fields:
        kind, fields = self._wait(number)
        if kind == wanted:
            del self._paths[number]
            return fields
        self._answers[number] = (kind, fields)
        self.answer(number)
        raise BadAnswer(self.host, f"an answer of kind {kind} instead of {wanted}")

    def _next_names(self, handle: bytes, path: str) -> _Fields | None:
        number = self._ask(_READDIR, path, _string(handle))
        kind, fields = self._wait(number)
        if kind == _NAME:
            del self._paths[number]
            return fields
        self._answers[number] = (kind, fields)
        self.answer(number)
        return None

    def _wait(self, number: int) -> tuple[int, _Fields]:
        while number not in self._answers:
            kind, fields = self._receive()
            answered = fields.number()
            if answered not in self._paths or answered in self._answers:
                raise BadAnswer(self.host, "an answer to nothing that was asked")
            self._answers[answered] = (kind, fields)
        return self._answers.pop(number)

    def _send(self, packet: bytes) -> None:
        try:
            self._channel.sendall(struct.pack(">I", len(packet)) + packet)
        except (OSError, EOFError, paramiko.SSHException) as problem:
            raise LineBroken(self.host, _why(problem)) from problem

    def _receive(self) -> tuple[int, _Fields]:
        (length,) = struct.unpack(">I", self._exactly(4))
        if not 1 <= length <= MAX_PACKET:
            raise BadAnswer(self.host, f"a packet of {length} bytes")
        packet = self._exactly(length)
        return packet[0], _Fields(packet, 1, self.host)

    def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            try:
                part = self._channel.recv(count)
            except (OSError, EOFError, paramiko.SSHException) as problem:
                raise LineBroken(self.host, _why(problem)) from problem
            if not part:
                raise LineBroken(self.host, "it was closed from the other side")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class _Fields:
    """What follows in a packet, read in order."""

    def __init__(self, packet: bytes, at: int, host: str) -> None:
        self._packet, self._at, self._host = packet, at, host

    @property
    def left(self) -> int:
        return len(self._packet) - self._at

    def number(self) -> int:
        return int.from_bytes(self._take(4))

    def string(self) -> bytes:
        return self._take(self.number())

    def attributes(self) -> Attributes:
        flags = self.number()
        size = int.from_bytes(self._take(8)) if flags & _SIZE else None
        if flags & _OWNER:
            self._take(8)
        mode = self.number() if flags & _MODE else None
        mtime = None
        if flags & _TIMES:
            self._take(4)  # when it was last read
            mtime = self.number()
        for _ in range(self.number() if flags & _MORE else 0):
            self.string()
            self.string()
        return Attributes(size, mode, mtime)

    def _take(self, count: int) -> bytes:
        if count > self.left:
            raise BadAnswer(self._host, "a packet that ends too early")
        self._at += count
        return self._packet[self._at - count : self._at]


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _text(path: str) -> bytes:
    return _string(path.encode())


def _why(problem: BaseException) -> str:
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    return _printable(str(problem).encode()) or type(problem).__name__


def _printable(said: bytes) -> str:
    """What a server says goes to a terminal: nothing in it may move the cursor."""
    text = " ".join(said[:500].decode("utf-8", "replace").split())
    return "".join(letter if letter.isprintable() else "?" for letter in text)
