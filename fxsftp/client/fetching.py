"""Fetching: each shipment in the inbox becomes a folder here, whole and checked against its SHA256SUMS.

What lies in such a folder under its own name is whole and right.  `SHA256SUMS` itself is written last,
so a folder in which it stands, the same as on the exchange, has been fetched to the end: the next run
looks at sizes and times only and fetches nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from fxsftp.client.line import Line
from fxsftp.client.names import SUMS, local_name, no_two_alike, read_sums, shown, unfinished
from fxsftp.client.opening import KEY_FILE, SLIP, Keyring, Progress, opened_name
from fxsftp.client.transfer import Download
from fxsftp.client.wire import PIECE, READ, Attributes, Wire
from fxsftp.domain import ids
from fxsftp.errors import (
    BadIdentity,
    CannotOpen,
    CantWrite,
    FxError,
    LineBroken,
    NotOffered,
    ShipmentUnknown,
    SumMismatch,
    UnsafeName,
)

UNSUMMED = frozenset({SLIP, SUMS, KEY_FILE})  # rendered by the exchange; KEY.age is sealed and proves itself
DEEPEST = 32  # folders in folders; nobody means more, and a server could answer for ever
MOST_FILES = 100_000  # of one shipment
MOST_SUMS = 32 << 20  # bytes of SHA256SUMS: a line for each of them


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one shipment.  With a `problem`, what is not in `files` may be missing or incomplete."""

    name: str  # of its folder in the inbox
    folder: Path
    files: tuple[Path, ...] = ()  # that came with this run
    opened: tuple[Path, ...] = ()
    is_removed: bool = False
    problem: FxError | None = None

    @property
    def shipment(self) -> str | None:
        """The shipment's id."""
        return ids.shipment_id(self.name)

    @property
    def is_new(self) -> bool:
        """Whether this run brought anything."""
        return bool(self.files or self.opened)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the caller wants to happen to each shipment."""

    into: Path
    code_for: Callable[[str], str | None] | None
    key_files: tuple[Path, ...]
    passphrase_for: Callable[[Path], str | None] | None
    progress: Progress | None
    remove: bool


def fetch(line: Line, shipments: Sequence[str] | None, terms: Terms) -> list[Fetched]:
    """Fetch what is wanted.  What has come is always told; after a line that is lost for good nothing more is tried."""
    told: list[Fetched] = []
    for raw in _wanted(line, shipments):
        told.append(_fetch_one(line, raw, terms))
        if isinstance(told[-1].problem, LineBroken):
            break
    return told


def _fetch_one(line: Line, raw: bytes, terms: Terms) -> Fetched:
    done = Fetched(shown(raw), terms.into)
    try:
        name = local_name(raw)
        done = Fetched(name, terms.into / name)
        for reached in _steps(line, done, terms):
            done = reached  # what had come before a problem is told with it
    except FxError as problem:
        return replace(done, problem=problem)
    return done


def _steps(line: Line, done: Fetched, terms: Terms) -> Iterator[Fetched]:
    remote = f"/inbox/{done.name}"
    offered = line.keep_at(lambda wire: dict(_walk(wire, remote)))
    if not offered:
        return
    if SUMS not in offered:
        raise SumMismatch(SUMS, "it is missing")
    text = line.keep_at(lambda wire: _read(wire, f"{remote}/{SUMS}"))
    sums = read_sums(text)
    was_fetched = _same_bytes(done.folder / SUMS, text)
    for path, attributes in sorted(offered.items()):
        if path == SUMS or (was_fetched and _is_here(done.folder / path, attributes)):
            continue
        if path not in sums and path not in UNSUMMED:
            raise SumMismatch(path, "there is no checksum for it")
        if not was_fetched and _is_right(done.folder / path, attributes, sums.get(path)):
            continue
        _get(line, f"{remote}/{path}", done.folder, path, sums.get(path), terms.progress)
        if path != SLIP:  # rendered anew whenever the shipment's state changes, which is no news by itself
            done = replace(done, files=(*done.files, done.folder / path))
            yield done
    missing = sorted(path for path in sums if path not in offered)
    if missing:
        raise SumMismatch(missing[0], "it is missing")
    if not was_fetched:
        _write(done.folder / SUMS, text)  # the moment of truth: this shipment is here
    done = replace(done, opened=tuple(_open(done, offered, terms)))
    yield done
    if terms.remove:
        line.keep_at(lambda wire: _remove(wire, remote, offered))
        yield replace(done, is_removed=True)


# ---- what is there ---------------------------------------------------------------------------------


def _wanted(line: Line, shipments: Sequence[str] | None) -> list[bytes]:
    inbox = line.keep_at(lambda wire: wire.entries("/inbox"))
    folders = sorted(name for name, attributes in inbox if attributes.is_folder)
    no_two_alike(name.decode("utf-8", "replace") for name in folders)
    if shipments is None:
        return folders
    wanted: list[bytes] = []
    for shipment in shipments:
        named = ids.shipment_id(shipment)
        found = [raw for raw in folders if raw == shipment.encode() or (named and _id_of(raw) == named)]
        if not found:
            raise ShipmentUnknown(shipment)
        wanted += found
    return wanted


def _id_of(raw: bytes) -> str | None:
    return ids.shipment_id(raw.decode("utf-8", "replace"))


def _walk(wire: Wire, remote: str) -> Iterator[tuple[str, Attributes]]:
    """Every file below `remote`, by its path there.  Raises UnsafeName for the first that can't be written here."""
    count = 0
    waiting = [""]
    while waiting:
        above = waiting.pop()
        names: list[str] = []
        for raw, attributes in wire.entries(f"{remote}/{above}".rstrip("/")):
            name = local_name(raw)
            names.append(name)
            path = f"{above}{name}"
            count += 1
            if count > MOST_FILES or path.count("/") > DEEPEST:
                raise UnsafeName(path, f"there are more than {MOST_FILES} files, or {DEEPEST} folders in each other")
            if attributes.is_folder:
                waiting.append(f"{path}/")
            elif attributes.is_file:
                yield path, attributes
            else:
                raise UnsafeName(path, "it is neither a file nor a folder")
        no_two_alike(names)


def _read(wire: Wire, remote: str) -> bytes:
    handle = wire.open(remote, READ)
    text = b""
    while piece := wire.answer(wire.ask_read(handle, remote, len(text), PIECE)):
        text += piece
        if len(text) > MOST_SUMS:
            raise SumMismatch(SUMS, "it is far too long")
    wire.close(handle, remote)
    return text


# ---- what is here ----------------------------------------------------------------------------------


def _is_here(path: Path, offered: Attributes) -> bool:
    try:
        here = path.lstat()
    except OSError:
        return False
    return here.st_size == offered.size and (offered.mtime is None or int(here.st_mtime) == offered.mtime)


def _is_right(path: Path, offered: Attributes, checksum: str | None) -> bool:
    """Whether a file that an interrupted run has left needs no fetching: only whole ones have their own name."""
    if checksum is None or not _is_here(path, offered):
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == checksum
    except OSError:
        return False


def _same_bytes(path: Path, text: bytes) -> bool:
    try:
        return path.is_file() and path.read_bytes() == text
    except OSError:
        return False


# ---- bringing it over ------------------------------------------------------------------------------


def _get(line: Line, remote: str, folder: Path, path: str, checksum: str | None, progress: Progress | None) -> None:
    target = folder / path
    _make_folder(target.parent)
    told = (lambda done, size: progress(path, done, size)) if progress is not None else None
    download = Download(remote, target.parent / unfinished(target.name), target, checksum, told)
    try:
        line.keep_at(download, lambda: download.arrived)
    finally:
        download.end()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise CantWrite(path, problem.strerror) from problem


def _write(path: Path, text: bytes) -> None:
    _make_folder(path.parent)
    temporary = path.parent / unfinished(path.name)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the names, too: what is removed over there must not vanish here
        finally:
            os.close(folder)
    except OSError as problem:
        raise CantWrite(path, problem.strerror) from problem


def _open(done: Fetched, offered: dict[str, Attributes], terms: Terms) -> Iterator[Path]:
    """Open what is locked and not open yet: with the keys, or else with the code, which is asked for once."""
    sealed = [done.folder / path for path in sorted(offered) if path.endswith(".age") and path != KEY_FILE]
    sealed = [path for path in sealed if not path.with_name(opened_name(path)).exists()]
    if not sealed or not (terms.code_for or terms.key_files):
        return
    keyring = _keys(terms)
    may_ask = terms.code_for
    for path in sealed:
        try:
            yield keyring.open(path, progress=terms.progress)
        except CannotOpen:
            code = may_ask(done.shipment or done.name) if may_ask is not None else None
            if code is None:
                if terms.key_files:
                    raise
                return  # nobody said that there is anything to open it with
            may_ask, keyring = None, Keyring(code)
            yield keyring.open(path, progress=terms.progress)


def _keys(terms: Terms) -> Keyring:
    try:
        return Keyring(None, terms.key_files, terms.passphrase_for)
    except BadIdentity:
        if terms.code_for is None:
            raise
        return Keyring()  # a key that logs in but opens nothing; there may be a code


def _remove(wire: Wire, remote: str, offered: dict[str, Attributes]) -> None:
    """Take the shipment out of the inbox; what somebody has taken out already is as good."""
    folders = {str(above) for path in offered for above in PurePosixPath(path).parents if above.name}
    for path in sorted(offered):
        with suppress(NotOffered):
            wire.remove(f"{remote}/{path}")
    for folder in sorted(folders, key=len, reverse=True):
        with suppress(NotOffered):
            wire.remove_folder(f"{remote}/{folder}")
    with suppress(NotOffered):
        wire.remove_folder(remote)
