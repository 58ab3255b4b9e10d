"""Sending: local files and folders become one folder in the outbox, whole or not at all.

The first thing that is put in a reference's folder is `SHA256SUMS.part`.  While a partial name stands in a
folder, the exchange does not let it go, whatever becomes of the line or of this program.  The last thing
that happens is that it gets its content and its name, and then the exchange can check every file by it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from fxsftp.client.line import Line
from fxsftp.client.names import SUMS, is_litter, no_two_alike, remote_name, write_sums
from fxsftp.client.opening import Progress
from fxsftp.client.transfer import Upload
from fxsftp.client.wire import CREATE, PIECE, TRUNCATE, WRITE, Wire
from fxsftp.errors import (
    BadAddress,
    BadName,
    CannotConnect,
    CantRead,
    LineBroken,
    NothingToSend,
    NotOffered,
    NotSentYet,
    UnsafeName,
)

_SHIPMENT_SAID = re.compile(r"\b[0-9a-hjkmnp-tv-z]{4}-[0-9a-hjkmnp-tv-z]{4}\b(?!-)")
_NO_SUCH_COMMAND = 127


@dataclass(frozen=True, slots=True)
class SentFolder:
    """What was put, and what the exchange said to it."""

    to: str
    reference: str | None
    files: tuple[str, ...]  # as they are called in the outbox, below the reference's folder
    size: int  # bytes
    said: str = ""  # the exchange's own line, when it was asked to send at once

    @property
    def shipment(self) -> str | None:
        """The shipment's id, when the exchange has named one."""
        match = _SHIPMENT_SAID.search(self.said)
        return match[0] if match else None


def send(
    line: Line, paths: Sequence[Path], to: str, reference: str | None, progress: Progress | None, now_send: bool
) -> SentFolder:
    files = gather(paths)
    folder = outbox_folder(to, reference)
    whole = reference is not None
    if whole:
        line.keep_at(lambda wire: _begin(wire, folder))
    sums, size = {}, 0
    own_sums = next((local for local, name in files if name == SUMS), None) if whole else None
    made = {folder} if whole else set()
    for local, name in files:
        if local is own_sums:
            continue
        _make_folders(line, folder, name, made)
        upload = _put(line, local, f"{folder}/{name}", name, progress)
        sums[name] = upload.digest
        size += upload.size
    said = ""
    if whole:
        text = write_sums(sums) if own_sums is None else _read(own_sums)
        line.keep_at(lambda wire: _finish(wire, folder, text))  # the moment of truth: it may leave from here on
        said = _send_now(line, folder) if now_send else ""
    return SentFolder(to, reference, tuple(name for _, name in files), size, said)


# ---- what ----------------------------------------------------------------------------------------------


def gather(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Every file to send, with its name below the reference's folder.  Folders bring theirs with them."""
    files = [found for path in paths for found in _files_at(path)]
    if not files:
        raise NothingToSend(", ".join(str(path) for path in paths) or "nothing")
    try:
        no_two_alike(name for _, name in files)
    except UnsafeName as problem:
        raise BadName(*problem.args) from None
    return files


def _files_at(path: Path) -> Iterator[tuple[Path, str]]:
    name = remote_name(path.name or path.resolve().name)
    kind = _kind(path)
    if S_ISREG(kind):
        yield path, name
        return
    if not S_ISDIR(kind):
        raise CantRead(path, "it is not an ordinary file")
    try:
        within = sorted(path.iterdir())
    except OSError as problem:
        raise CantRead(path, problem.strerror) from problem
    for entry in within:
        if is_litter(entry.name):
            continue
        if entry.is_symlink() and entry.is_dir():
            raise CantRead(entry, "it is a link to another folder; name that folder itself")
        for local, below in _files_at(entry):
            yield local, f"{name}/{below}"


def _kind(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as problem:
        raise CantRead(path, problem.strerror) from problem


# ---- where to -------------------------------------------------------------------------------------------


def outbox_folder(to: str, reference: str | None) -> str:
    """The folder in the outbox that means this recipient and reference."""
    if not re.fullmatch(r"[^\s/@\0]+@[^\s/@\0]+\.[^\s/@\0]+", to):
        raise BadAddress(to, "it is not written like one")
    folder = f"/outbox/{to}"
    if reference is None:
        return folder
    if reference != reference.strip() or reference.startswith("."):
        raise BadName(reference, "a reference begins and ends with a letter")
    return f"{folder}/{remote_name(reference)}"


def _begin(wire: Wire, folder: str) -> None:
    wire.make_folder(folder.rpartition("/")[0])
    wire.make_folder(folder)
    _put_text(wire, f"{folder}/{SUMS}.part", b"")


def _make_folders(line: Line, folder: str, name: str, made: set[str]) -> None:
    *above, _ = name.split("/")
    for depth in range(len(above) + 1):
        path = "/".join((folder, *above[:depth]))
        if path not in made:
            line.keep_at(lambda wire, path=path: wire.make_folder(path))  # type: ignore[misc]
            made.add(path)


# ---- putting ----------------------------------------------------------------------------------------------


def _put(line: Line, local: Path, remote: str, name: str, progress: Progress | None) -> Upload:
    told = (lambda done, size: progress(name, done, size)) if progress is not None else None
    upload = Upload(local, remote, told)
    try:
        line.keep_at(upload, lambda: upload.arrived)
    finally:
        upload.end()
    return upload


def _finish(wire: Wire, folder: str, text: bytes) -> None:
    partial, final = f"{folder}/{SUMS}.part", f"{folder}/{SUMS}"
    try:
        wire.stat(partial)
    except NotOffered:  # the line broke after the rename and before its answer
        if wire.stat(final).size == len(text):
            return
    _put_text(wire, partial, text)
    wire.rename(partial, final)


def _put_text(wire: Wire, path: str, text: bytes) -> None:
    handle = wire.open(path, WRITE | CREATE | TRUNCATE, len(text))
    for start in range(0, len(text), PIECE):
        wire.answer(wire.ask_write(handle, path, start, text[start : start + PIECE]))
    wire.close(handle, path)


def _send_now(line: Line, folder: str) -> str:
    """Ask the exchange not to wait for more.  One that takes no commands sends when the folder has settled."""
    try:
        said = line.run("send " + shlex.quote(folder.removeprefix("/")))
    except (LineBroken, CannotConnect):
        return ""  # all is there and goes by itself; asking twice might find it gone already
    if said.status in (None, -1, _NO_SUCH_COMMAND):
        return ""
    if said.status != 0:
        raise NotSentYet(_one_line(said.problems or said.out) or f"it answers {said.status}")
    return _one_line(said.out)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))[:500]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise CantRead(path, problem.strerror) from problem
