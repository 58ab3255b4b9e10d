"""Opening `.age` files on one's own disk, with a code or with keys; no exchange is asked.

A file appears under its own name only when all of it has proved true.  Until then it grows under a
temporary name, for its owner's eyes only, and goes when anything is wrong.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fxsftp.domain import ids
from fxsftp.errors import (
    AlreadyThere,
    BadIdentity,
    CannotOpen,
    CantRead,
    CantWrite,
    MistypedCode,
    NotAge,
    WrongCode,
)
from fxsftp.seal.files import open_key_file, unseal_stream
from fxsftp.seal.format import VERSION, Stanza
from fxsftp.seal.locks import CodeKey, Identity, Key, SshKey

KEY_FILE = "KEY.age"
SLIP = "SHIPMENT.txt"
MAX_LOG_N = 22  # of scrypt, as stock age; it is the caller's own machine, and other age programs calibrate to it
MOST_KEY_BYTES = 64 << 10  # a key file is short; what is longer is something else

Progress = Callable[[str, int, int], None]
"""Hears a file's name, how many bytes of it are done, and of how many."""

_GROUPED = re.compile(r"\s*\w{4}(\W\w{4}){3}\s*")


def open_file(
    path: Path,
    *,
    code: str | None = None,
    key_files: Sequence[Path] = (),
    into: Path | None = None,
    progress: Progress | None = None,
    passphrase_for: Callable[[Path], str | None] | None = None,
) -> Path:
    """Open one `.age` file and return where its contents are: beside it, or in the folder `into`.

    `code` may be the code from an SMS, however it was typed, or any passphrase of age; a KEY.age beside
    the file is used by itself.  `key_files` are SSH keys or files with AGE-SECRET-KEY-1….  Raises
    MistypedCode before any work is done, WrongCode, CannotOpen, Forged, NotAge or AlreadyThere, and then
    nothing was written.
    """
    return Keyring(code, key_files, passphrase_for).open(path, into, progress)


class Keyring:
    """What somebody opens files with: read once, for however many files."""

    def __init__(
        self,
        code: str | None = None,
        key_files: Sequence[Path] = (),
        passphrase_for: Callable[[Path], str | None] | None = None,
    ) -> None:
        self._code = None if code is None else _exact(code)
        self._keys: list[Key] = []
        for path in key_files:
            self._keys += _keys_in(Path(path).expanduser(), self._code, passphrase_for)
        self._beside: dict[Path, _KeyBeside] = {}

    def open(self, path: Path, into: Path | None = None, progress: Progress | None = None) -> Path:
        """As `open_file`."""
        target = (path.parent if into is None else into) / opened_name(path)
        if target.exists():
            raise AlreadyThere(str(target))
        with _read(path) as source:
            before = os.fstat(source.fileno())

            def told(done: int) -> None:
                if progress is not None:
                    progress(target.name, done, before.st_size)

            with _growing(target) as sink:
                try:
                    size = unseal_stream(source, self._keys_for(path), sink.file, told)
                except CannotOpen:
                    raise self._why_not(path) from None
                sink.keep(before.st_mtime_ns)  # every byte has proved true
        if progress is not None:
            progress(target.name, size, size)
        return target

    def _keys_for(self, path: Path) -> list[Key]:
        if self._code is None:
            return self._keys
        keys: list[Key] = [*self._keys, CodeKey(self._code, MAX_LOG_N)]
        beside = _key_beside(path)
        if beside is not None:
            keys.append(self._beside.setdefault(beside, _KeyBeside(beside, self._code)))
        return keys

    def _why_not(self, path: Path) -> CannotOpen | WrongCode:
        if self._code is not None:
            return WrongCode(path.name)
        return CannotOpen(f": {path.name}" if self._keys else f": {path.name}. Give its code, or a key")


def opened_name(path: Path) -> str:
    """`report.csv` for `report.csv.age`."""
    return path.stem if path.suffix == ".age" and path.stem else path.name + ".opened"


def _exact(code: str) -> str:
    """The code as it was sealed; any other passphrase stays as it is, letter for letter."""
    normal = ids.normal_code(code)
    if normal is None and _GROUPED.fullmatch(code):
        raise MistypedCode
    return normal or code


def _key_beside(path: Path) -> Path | None:
    """The KEY.age of the shipment that `path` came with; its file may lie in a folder of the shipment."""
    for folder in path.absolute().parents:
        if (folder / KEY_FILE).is_file():
            return folder / KEY_FILE
        if (folder / SLIP).is_file():
            return None  # this is the shipment's folder, and it has none
    return None


@dataclass
class _KeyBeside:
    """A KEY.age: opened with the code, once, and only for a file that needs it."""

    path: Path
    code: str
    identity: Identity | None = None

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        if not any(stanza.kind == "X25519" for stanza in stanzas):
            return None
        if self.identity is None:
            try:
                self.identity = open_key_file(_read_key(self.path), self.code)
            except CannotOpen:
                return None
        return self.identity.unwrap(stanzas)


def _keys_in(path: Path, code: str | None, passphrase_for: Callable[[Path], str | None] | None) -> list[Key]:
    data = _read_key(path)
    if data.startswith(VERSION):
        if code is None:
            raise BadIdentity(f"{path.name} is sealed itself; give its code too")
        return [open_key_file(data, code)]
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    secrets = [line for line in lines if line.startswith("AGE-SECRET-KEY-")]
    if secrets:
        return [Identity.parse(secret) for secret in secrets]
    try:
        return [SshKey(data)]
    except BadIdentity as problem:
        passphrase = passphrase_for(path) if passphrase_for and "passphrase" in str(problem) else None
        if passphrase is None:
            raise BadIdentity(f"{path.name}: {problem.args[0]}") from None
    return [SshKey(data, passphrase)]


def _read_key(path: Path) -> bytes:
    with _read(path) as file:
        data = file.read(MOST_KEY_BYTES + 1)
    if len(data) > MOST_KEY_BYTES:
        raise BadIdentity(f"{path.name} is too long for a key")
    return data


def _read(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise NotAge(f"{path.name} is a folder")
        return path.open("rb")
    except OSError as problem:
        raise CantRead(path, problem.strerror) from problem


class _growing:  # noqa: N801  # reads as a verb where it is used
    """A file that is there under its name when it was kept, and not at all when it was not."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> _growing:
        try:
            self._target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=self._target.parent)  # 0600
        except OSError as problem:
            raise CantWrite(self._target, problem.strerror) from problem
        self.file: BinaryIO = os.fdopen(number, "wb")
        self._temporary = Path(name)
        return self

    def keep(self, mtime_ns: int) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        os.utime(self.file.fileno(), ns=(mtime_ns, mtime_ns))
        try:
            os.link(self._temporary, self._target)  # unlike a rename, never over a file that has come meanwhile
        except FileExistsError:
            raise AlreadyThere(str(self._target)) from None
        except OSError:  # a disk without hard links
            if self._target.exists():
                raise AlreadyThere(str(self._target)) from None
            self._temporary.rename(self._target)

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        with suppress(OSError):  # closing flushes, and the disk may be full
            self.file.close()
        self._temporary.unlink(missing_ok=True)
        if isinstance(problem, OSError):
            raise CantWrite(self._target, problem.strerror) from problem
