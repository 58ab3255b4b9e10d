"""The vault in a local folder: one file per blob, and nothing else.

    drafts/3f/3f0c…  (32 hex digits)     blobs/3f/3f0c…

Files are 0600 in 0700 folders, never opened through a symbolic link.  A blob changes areas by rename at commit; between
the two syncs of that a power cut may leave it in either, so reading looks in both.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from fxsftp import errors
from fxsftp.store.vault.room import Room

DESCRIPTORS = 256  # kept open at most when nobody is in the middle of a read; the usual limit of a process is 1024

_ID = re.compile(r"[0-9a-f]{32}")
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW


class LocalVault:
    """Blobs in a folder on this machine, leaving `reserve` bytes of its disk.  The verbs are those of vault.Vault."""

    def __init__(
        self,
        folder: Path,
        *,
        reserve: int = 0,
        descriptors: int = DESCRIPTORS,
        statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._drafts = folder / "drafts"
        self._blobs = folder / "blobs"
        self._open_files = _OpenFiles(descriptors)
        self._room = Room(folder, reserve, statvfs)
        for each in (folder, self._drafts, self._blobs):
            _make_folder(each)

    def create(self) -> LocalBlob:
        blob_id = token_hex(16)
        path = _path(self._drafts, blob_id)
        self.check_room()
        with _disk():
            _make_folder(path.parent)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE, 0o600))
        return LocalBlob(blob_id, path, self._open_files, self._room)

    def resume(self, blob_id: str) -> LocalBlob:
        return LocalBlob(blob_id, _path(self._drafts, blob_id), self._open_files, self._room)

    def commit(self, blob_id: str) -> None:
        draft, final = _path(self._drafts, blob_id), _path(self._blobs, blob_id)
        with _disk():
            _make_folder(final.parent)
            try:
                descriptor = os.open(draft, os.O_RDONLY | _SAFE)
            except FileNotFoundError:
                if not final.exists():
                    raise errors.Missing(blob_id) from None
            else:
                try:
                    os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)
                draft.rename(final)
            # The new name first: a power cut between the two leaves the blob twice or once, never nowhere.
            _sync_folder(final.parent)
            _sync_folder(draft.parent)

    def abort(self, blob_id: str) -> None:
        self._unlink([_path(self._drafts, blob_id)])

    def open(self, blob_id: str) -> LocalReader:
        return LocalReader(blob_id, self._places(blob_id), self._open_files)

    def erase(self, *blob_ids: str) -> None:
        self._unlink([path for blob_id in blob_ids for path in self._places(blob_id)])

    def exists(self, blob_id: str) -> bool:
        return any(path.exists() for path in self._places(blob_id))

    def ids(self, unchanged_since: float | None = None) -> Iterator[str]:
        for area in (self._drafts, self._blobs):
            for folder in sorted(area.iterdir()):
                for path in folder.iterdir():
                    if not _ID.fullmatch(path.name):
                        continue  # not ours, so not ours to erase
                    try:
                        is_old = unchanged_since is None or path.lstat().st_mtime < unchanged_since
                    except FileNotFoundError:  # committed or erased while we look
                        continue
                    if is_old:
                        yield path.name

    def free_bytes(self) -> int:
        with _disk():
            return self._room.free()

    def check_room(self) -> None:
        with _disk():
            self._room.take(1)

    def let_go(self) -> None:
        self._open_files.let_go_of_erased()

    def close(self) -> None:
        self._open_files.close()

    def _places(self, blob_id: str) -> tuple[Path, ...]:
        """Where it may be.  The first twice, because a commit may move it there while we look in the other."""
        final = _path(self._blobs, blob_id)
        return final, _path(self._drafts, blob_id), final

    @staticmethod
    def _unlink(paths: list[Path]) -> None:
        """Unlink what is there of them; one sync per folder however many went."""
        touched: dict[Path, None] = {}
        with _disk():
            for path in paths:
                try:
                    path.unlink()
                except FileNotFoundError:
                    continue
                touched[path.parent] = None
            for folder in touched:
                _sync_folder(folder)


class LocalBlob:
    """A draft file.  The verbs are those of vault.Blob."""

    def __init__(self, blob_id: str, path: Path, open_files: _OpenFiles, room: Room) -> None:
        self._id = blob_id
        self._path = path
        self._files = open_files
        self._room = room
        # Also for a resumed one: its creator may have died before the sync that makes the name durable.
        self._name_is_durable = False
        with self._descriptor() as descriptor:
            self._size = os.fstat(descriptor).st_size

    @property
    def id(self) -> str:
        return self._id

    @property
    def size(self) -> int:
        return self._size

    def append(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data).cast("B")
        end = self._size
        with self._descriptor() as descriptor:
            self._room.take(len(rest))
            try:
                while rest:  # a write may be short, near the end of the disk or by a signal
                    written = os.pwrite(descriptor, rest, end)
                    end += written
                    rest = rest[written:]
            except OSError:
                os.ftruncate(descriptor, self._size)
                raise
        self._size = end

    def read(self, offset: int, count: int) -> bytes:
        with self._descriptor() as descriptor:
            return _read(descriptor, offset, count)

    def cut(self, size: int) -> None:
        if not 0 <= size <= self._size:
            raise ValueError(f"can't cut {self._size} bytes to {size}")
        with self._descriptor() as descriptor:
            os.ftruncate(descriptor, size)
        self._size = size

    def sync(self) -> None:
        # By whichever descriptor: since Linux 4.16 a failed write-back is reported to one opened later, too.
        with self._descriptor() as descriptor:
            os.fdatasync(descriptor)
            if not self._name_is_durable:
                _sync_folder(self._path.parent)
                self._name_is_durable = True

    def close(self) -> None:
        self._files.let_go(self)

    def _descriptor(self) -> _Using:
        return _Using(self._files, self, self._open)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | _SAFE)
        except FileNotFoundError:
            raise errors.Missing(self._id) from None


class LocalReader:
    """A blob file being read.  The verbs are those of vault.Reader."""

    def __init__(self, blob_id: str, places: tuple[Path, ...], open_files: _OpenFiles) -> None:
        self._id = blob_id
        self._places = places
        self._files = open_files
        with self._descriptor() as descriptor:
            self._size = os.fstat(descriptor).st_size

    @property
    def id(self) -> str:
        return self._id

    @property
    def size(self) -> int:
        return self._size

    def read(self, offset: int, count: int) -> bytes:
        with self._descriptor() as descriptor:
            return _read(descriptor, offset, count)

    def close(self) -> None:
        self._files.let_go(self)

    def _descriptor(self) -> _Using:
        return _Using(self._files, self, self._open)

    def _open(self) -> int:
        for path in self._places:
            try:
                return os.open(path, os.O_RDONLY | _SAFE)
            except FileNotFoundError:
                continue
        raise errors.Missing(self._id)


class _OpenFiles:
    """The descriptors of blobs in use.  Beyond the limit the one longest unused is closed, and opened again on demand.

    So ten thousand open handles of patient clients cost no more descriptors than a few busy ones.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[object, _OpenFile] = OrderedDict()

    def take(self, owner: object, open_it: Callable[[], int]) -> _OpenFile:
        """The owner's file, which stays open until it is `put_back`, whatever others do."""
        with self._lock:
            file = self._open.get(owner) or _OpenFile(open_it())
            self._open[owner] = file
            self._open.move_to_end(owner)
            file.users += 1
            file.was_idle = False
            if len(self._open) > self._limit:
                self._close_the_idle()
        return file

    def put_back(self, file: _OpenFile) -> None:
        """Its user has done with it."""
        with self._lock:
            file.users -= 1
            if file.is_let_go and not file.users:
                os.close(file.descriptor)

    def let_go(self, owner: object) -> None:
        """Close the owner's descriptor, as soon as nobody is in the middle of using it."""
        with self._lock:
            file = self._open.pop(owner, None)
            if file is None:
                return
            file.is_let_go = True
            if not file.users:
                os.close(file.descriptor)

    def let_go_of_erased(self) -> None:
        """Close the descriptors of files that are gone and that nobody has used since this was last called."""
        with self._lock:
            for owner, file in list(self._open.items()):
                if file.users or os.fstat(file.descriptor).st_nlink:
                    continue
                if file.was_idle:
                    del self._open[owner]
                    os.close(file.descriptor)
                file.was_idle = True

    def close(self) -> None:
        """Close every descriptor, each as soon as nobody is in the middle of using it."""
        for owner in list(self._open):
            self.let_go(owner)

    def _close_the_idle(self) -> None:
        excess = len(self._open) - self._limit
        for owner, file in list(self._open.items()):
            if not file.users:
                del self._open[owner]
                os.close(file.descriptor)
                excess -= 1
                if not excess:
                    return


class _OpenFile:
    __slots__ = ("descriptor", "is_let_go", "users", "was_idle")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.users = 0
        self.is_let_go = self.was_idle = False


class _Using:
    """A descriptor for as long as a `with` lasts, and the disk's troubles in our words.

    A class, since this stands in the way of every chunk, and generators would cost as much as the write itself.
    """

    __slots__ = ("_file", "_files", "_open_it", "_owner")

    def __init__(self, files: _OpenFiles, owner: object, open_it: Callable[[], int]) -> None:
        self._files, self._owner, self._open_it = files, owner, open_it

    def __enter__(self) -> int:
        try:
            self._file = self._files.take(self._owner, self._open_it)
        except OSError as failure:
            raise _trouble(failure) from failure
        return self._file.descriptor

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._files.put_back(self._file)
        if isinstance(error, OSError):
            raise _trouble(error) from error


def _path(area: Path, blob_id: str) -> Path:
    """Ids come from the registry, but a path is never made of what has not been looked at."""
    if not _ID.fullmatch(blob_id):
        raise errors.Missing(blob_id)
    return area / blob_id[:2] / blob_id


def _read(descriptor: int, offset: int, count: int) -> bytes:
    found = os.pread(descriptor, count, offset)
    if len(found) == count or not found:
        return found
    parts = [found]  # a read may be short before the end, too
    while found and (missing := count - sum(map(len, parts))):
        found = os.pread(descriptor, missing, offset + count - missing)
        parts.append(found)
    return b"".join(parts)


def _make_folder(folder: Path) -> None:
    """Make it, durably and for nobody else."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """A file's name is part of its folder, and survives a power cut only once that is synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk() -> Iterator[None]:
    """The disk's troubles in our words."""
    try:
        yield
    except OSError as failure:
        raise _trouble(failure) from failure


def _trouble(failure: OSError) -> errors.FxError:
    if failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.StoreFull()
    # The name of the errno and not its text: that one would show a path of the host.
    return errors.Unavailable(f"the vault can't be used ({errno.errorcode.get(failure.errno or 0, '?')})")
