"""The verbs of SFTP: what each request means, asked of the rooms or of what is open, and how it is answered.

House rules.  A verb takes its request apart with the reader, and gives the answer.  What has to be asked at the desk,
or waited for, is a coroutine; all others touch memory and the page cache only, or take one look at the registry that
waits for nobody: for the many small files of a folder, a task for each request costs more than what is done in it.  An
error says by itself what it is: which status that becomes, and all about the stream and its order, the session knows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from fxsftp.domain.model import Entry, Wishes
from fxsftp.errors import BadHandle, Conflict, NoCopies, NoLinks, NoSuchPlace, NotSupported
from fxsftp.exchange.bodies import Content
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp import wire
from fxsftp.fronts.sftp.handles import Handle
from fxsftp.fronts.sftp.hashes import ALGORITHM, hashes
from fxsftp.fronts.sftp.rooms import Rooms
from fxsftp.fronts.sftp.wire import DATA_MOST, PACKET_MOST, READ_MOST, Kind, Reader, Status

HANDLES_MOST = 256  # open at once in a session; clients keep one or two, sshfs a few dozen
HELD_MOST = 4 << 20  # bytes of folders and rendered pages open at once: 16 folders; clients read one and close it
NAMES_MOST = 32 << 10  # bytes of names in one answer to READDIR: some clients take no more than 34,000 (Ganymed, JSch)
NAMES_LONG = READ_MOST  # to who has asked for our limits, and so takes as much in an answer to READ: OpenSSH, asyncssh

A_LOOK = 32 << 10  # bytes moved in the time, some 0.1 ms, of a look at the registry and of what is made of it

log = logging.getLogger("fxsftp.sftp")

Answer = bytes | tuple[bytes, ...] | Coroutine[Any, Any, bytes]  # whole, in pieces, or when the desk has answered


@dataclass(frozen=True, slots=True)
class Verb:
    """One kind of request, and what gives the answer to it."""

    name: str
    serve: Callable[[Verbs, int, Reader], Answer]
    does_write: bool
    counts: int = 0  # bytes; the time that a loop takes for its answer is that of so many moved


class Verbs:
    """What one session may ask for, and what it has open."""

    def __init__(self, rooms: Rooms, desk: Desk) -> None:
        self._rooms, self._desk = rooms, desk
        self._handles: dict[bytes, Handle] = {}
        self._next_handle = 0
        self._names_most = NAMES_MOST
        self.is_over = False  # nobody waits for an answer any more

    # ---- the verbs, in the order of their numbers

    def _init(self, number: int, _reader: Reader) -> Answer:
        if number < wire.VERSION:
            raise NotSupported(f"version {number} of SFTP, only {wire.VERSION}")
        return wire.version((name.encode(), offer) for name, (offer, _) in OFFERS.items() if offer)

    def _open(self, number: int, reader: Reader) -> Answer:
        path, how, wishes = reader.string(), reader.uint32(), reader.wishes()
        self._check_handles()
        handle = self._rooms.open_at_once(path, how, wishes)
        return self._named(number, handle) if handle else self._open_at_desk(number, path, how, wishes)

    async def _open_at_desk(self, number: int, path: bytes, how: int, wishes: Wishes) -> bytes:
        return await self._handed(number, await self._rooms.open(path, how, wishes))

    def _close(self, number: int, reader: Reader) -> Answer:
        handle = self._handles.pop(reader.string(), None)
        if not handle:
            raise BadHandle
        return wire.status(number, Status.OK) if handle.close_at_once() else self._close_at_desk(number, handle)

    async def _close_at_desk(self, number: int, handle: Handle) -> bytes:
        await handle.close()  # the moment of truth is in there: only when this has returned do we say OK
        return wire.status(number, Status.OK)

    def _read(self, number: int, reader: Reader) -> Answer:
        handle, offset, count = self._handle(reader), reader.uint64(), reader.uint32()
        data = handle.read(offset, min(count, READ_MOST))
        if not data:
            return wire.status(number, Status.EOF)
        return wire.data_head(number, len(data)), data

    def _write(self, number: int, _reader: Reader) -> Answer:
        """Come here only before INIT, and so never: see `_begin_write` of the session."""
        return wire.status(number, Status.FAILURE)

    def _stat(self, number: int, reader: Reader) -> Answer:
        path = reader.string()
        entry = self._rooms.stat_at_once(path)
        return _attrs(number, entry) if entry else self._stat_at_desk(number, path)

    async def _stat_at_desk(self, number: int, path: bytes) -> bytes:
        return _attrs(number, await self._rooms.stat(path))

    def _fstat(self, number: int, reader: Reader) -> Answer:
        return _attrs(number, self._handle(reader).entry())

    async def _setstat(self, number: int, reader: Reader) -> bytes:
        path, wishes = reader.string(), reader.wishes()
        await self._rooms.set_attributes(path, wishes)
        return wire.status(number, Status.OK)

    async def _fsetstat(self, number: int, reader: Reader) -> bytes:
        handle, wishes = self._handle(reader), reader.wishes()
        await handle.change(wishes)
        return wire.status(number, Status.OK)

    async def _opendir(self, number: int, reader: Reader) -> bytes:
        path = reader.string()
        self._check_handles()
        return await self._handed(number, await self._rooms.open_folder(path, self._names_most))

    def _readdir(self, number: int, reader: Reader) -> Answer:
        handle = self._handle(reader)
        return self._awaited_names(number, handle) if handle.has_to_wait else _names(number, handle)

    async def _awaited_names(self, number: int, handle: Handle) -> bytes:
        await handle.wait()
        return _names(number, handle)

    async def _remove(self, number: int, reader: Reader) -> bytes:
        await self._rooms.remove(reader.string())
        return wire.status(number, Status.OK)

    async def _mkdir(self, number: int, reader: Reader) -> bytes:
        await self._rooms.make_folder(reader.string())
        return wire.status(number, Status.OK)

    async def _rmdir(self, number: int, reader: Reader) -> bytes:
        await self._rooms.remove_folder(reader.string())
        return wire.status(number, Status.OK)

    def _realpath(self, number: int, reader: Reader) -> Answer:
        return wire.path(number, self._rooms.realpath(reader.string()))

    async def _rename(self, number: int, reader: Reader) -> bytes:
        old, new = reader.string(), reader.string()
        await self._rooms.rename(old, new, replace=False)
        return wire.status(number, Status.OK)

    def _symlink(self, _number: int, _reader: Reader) -> Answer:
        raise NoLinks("symbolic links")

    # ---- the extensions

    async def _posix_rename(self, number: int, reader: Reader) -> bytes:
        old, new = reader.string(), reader.string()
        await self._rooms.rename(old, new, replace=True)
        return wire.status(number, Status.OK)

    async def _fsync(self, number: int, reader: Reader) -> bytes:
        await self._handle(reader).sync()
        return wire.status(number, Status.OK)

    def _limits(self, number: int, _reader: Reader) -> Answer:
        self._names_most = NAMES_LONG
        return wire.packet(Kind.EXTENDED_REPLY, number, wire.numbers(PACKET_MOST, READ_MOST, DATA_MOST, HANDLES_MOST))

    async def _statvfs(self, number: int, _reader: Reader) -> bytes:
        used, most = await self._rooms.usage()
        blocks, free = most // _BLOCK, (most - used) // _BLOCK
        numbers = (_BLOCK, _BLOCK, blocks, free, free, blocks, free, free, 0, _NOSUID, 255)
        return wire.packet(Kind.EXTENDED_REPLY, number, wire.numbers(*numbers))

    def _hardlink(self, _number: int, _reader: Reader) -> Answer:
        raise NoLinks("hard links")

    def _copy(self, _number: int, _reader: Reader) -> Answer:
        raise NoCopies

    async def _check_file_name(self, number: int, reader: Reader) -> bytes:
        return await self._hashed(number, reader, await self._rooms.content(reader.string()))

    async def _check_file_handle(self, number: int, reader: Reader) -> bytes:
        return await self._hashed(number, reader, self._handle(reader).content())

    async def _check_file(self, number: int, reader: Reader) -> bytes:
        # Paramiko's form of check-file-handle: no such request is in the draft, nor its name in the draft's answer.
        return await self._hashed(number, reader, self._handle(reader).content(), wire.string(b"check-file"))

    async def _hashed(self, number: int, reader: Reader, content: Content, before: bytes = b"") -> bytes:
        algorithms = reader.string().decode("ascii", "replace")
        start, length, block = reader.uint64(), reader.uint64(), reader.uint32()
        found = await hashes(self._desk, content, algorithms, start, length, block, lambda: self.is_over)
        return wire.packet(Kind.EXTENDED_REPLY, number, before + wire.string(ALGORITHM.encode()) + found)

    def _home(self, number: int, reader: Reader) -> Answer:
        name = reader.string().decode("utf-8", "replace")
        if name.casefold() not in ("", self._rooms.user.email):
            raise NoSuchPlace("~" + name)
        return wire.path(number, b"/")

    def _expand_path(self, number: int, reader: Reader) -> Answer:
        path = reader.string()
        if path.startswith(b"~"):
            name, _, path = path[1:].partition(b"/")
            if name.decode("utf-8", "replace").casefold() not in ("", self._rooms.user.email):
                raise NoSuchPlace("~" + name.decode("utf-8", "replace"))
        return wire.path(number, self._rooms.realpath(path))

    # ---- what is open

    @property
    def has_open(self) -> bool:
        """Whether anything is."""
        return bool(self._handles)

    def opened(self, name: bytes) -> Handle | None:
        """What is open under this name."""
        return self._handles.get(name)

    async def lose_all(self, *, has_unsent: bool) -> None:
        """Lose what is still open, and say whether answers never left."""
        while self._handles:
            _, handle = self._handles.popitem()
            try:
                await handle.lose(has_unsent=has_unsent)
            except Exception:
                log.exception("%s: a file could not be put away after its session", self._rooms.user.email)

    def _handle(self, reader: Reader) -> Handle:
        handle = self._handles.get(reader.string())
        if not handle:
            raise BadHandle
        return handle

    def _check_handles(self) -> None:
        if len(self._handles) >= HANDLES_MOST:
            raise Conflict(f"{HANDLES_MOST} files are open in this session. Close one first")

    async def _handed(self, number: int, handle: Handle) -> bytes:
        """The answer with what was opened, if all that is open may be kept in memory beside each other."""
        held = handle.held and sum(each.held for each in self._handles.values())
        if held and held + handle.held > HELD_MOST:  # one alone is always shown, however long
            await handle.close()
            raise Conflict("too many folders and pages are open in this session. Close one first")
        return self._named(number, handle)

    def _named(self, number: int, handle: Handle) -> bytes:
        """The same of what keeps nothing in memory."""
        name = self._next_handle.to_bytes(4, "big")  # never used twice, so that one that was closed stays closed
        self._next_handle += 1
        self._handles[name] = handle
        return wire.handle(number, name)


def _names(number: int, handle: Handle) -> bytes:
    told = handle.more()
    return wire.names(number, told) if told else wire.status(number, Status.EOF)


def _attrs(number: int, entry: Entry) -> bytes:
    return wire.packet(Kind.ATTRS, number, wire.attrs(entry))


_BLOCK = 4096
_NOSUID = 2  # SSH2_FXE_STATVFS_ST_NOSUID

VERBS: Mapping[int, Verb] = {
    Kind.INIT: Verb("INIT", Verbs._init, False),
    Kind.OPEN: Verb("OPEN", Verbs._open, True, A_LOOK),
    Kind.CLOSE: Verb("CLOSE", Verbs._close, False),
    Kind.READ: Verb("READ", Verbs._read, False),
    Kind.WRITE: Verb("WRITE", Verbs._write, True),
    Kind.LSTAT: Verb("LSTAT", Verbs._stat, False, A_LOOK),
    Kind.FSTAT: Verb("FSTAT", Verbs._fstat, False),
    Kind.SETSTAT: Verb("SETSTAT", Verbs._setstat, True),
    Kind.FSETSTAT: Verb("FSETSTAT", Verbs._fsetstat, True),
    Kind.OPENDIR: Verb("OPENDIR", Verbs._opendir, False),
    Kind.READDIR: Verb("READDIR", Verbs._readdir, False),
    Kind.REMOVE: Verb("REMOVE", Verbs._remove, True),
    Kind.MKDIR: Verb("MKDIR", Verbs._mkdir, True),
    Kind.RMDIR: Verb("RMDIR", Verbs._rmdir, True),
    Kind.REALPATH: Verb("REALPATH", Verbs._realpath, False),
    Kind.STAT: Verb("STAT", Verbs._stat, False, A_LOOK),
    Kind.RENAME: Verb("RENAME", Verbs._rename, True),
    Kind.READLINK: Verb("READLINK", Verbs._symlink, False),
    Kind.SYMLINK: Verb("SYMLINK", Verbs._symlink, True),
}

# By name: the version that is offered in the answer to INIT ("" when it is served but not offered), and the verb.
# users-groups-by-id@openssh.com is neither: there are no other users to tell of.
OFFERS: Mapping[str, tuple[bytes, Verb]] = {
    "posix-rename@openssh.com": (b"1", Verb("posix-rename", Verbs._posix_rename, True)),
    "statvfs@openssh.com": (b"2", Verb("statvfs", Verbs._statvfs, False)),
    "fstatvfs@openssh.com": (b"2", Verb("fstatvfs", Verbs._statvfs, False)),
    "fsync@openssh.com": (b"1", Verb("fsync", Verbs._fsync, True)),
    "lsetstat@openssh.com": (b"1", Verb("lsetstat", Verbs._setstat, True)),
    "limits@openssh.com": (b"1", Verb("limits", Verbs._limits, False)),
    "expand-path@openssh.com": (b"1", Verb("expand-path", Verbs._expand_path, False)),
    "check-file": (b"sha256", Verb("check-file", Verbs._check_file, False)),
    "check-file-name": (b"", Verb("check-file-name", Verbs._check_file_name, False)),
    "check-file-handle": (b"", Verb("check-file-handle", Verbs._check_file_handle, False)),
    "home-directory": (b"1", Verb("home-directory", Verbs._home, False)),
    "hardlink@openssh.com": (b"", Verb("hardlink", Verbs._hardlink, True)),
    "copy-data": (b"", Verb("copy-data", Verbs._copy, True)),
    "copy-file": (b"", Verb("copy-file", Verbs._copy, True)),
}
EXTENSIONS: Mapping[str, Verb] = {name: verb for name, (_, verb) in OFFERS.items()}
