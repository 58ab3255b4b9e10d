"""The vault: opaque blobs by id.  It knows no names, no addresses, no keys and no content.

A blob is born as a *draft*, which grows at its end and can be cut; committed, it only ever is read and erased.
Engines: local.py (a folder).  Whatever the engine, these are the verbs and their promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Blob(Protocol):
    """A draft: bytes that are appended.  One hand at a time; nothing is durable before sync()."""

    @property
    def id(self) -> str: ...

    @property
    def size(self) -> int: ...

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Add all of the data at the end, or raise (StoreFull, Unavailable) with the size as it was."""

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer only at the end."""

    def cut(self, size: int) -> None:
        """Forget all beyond `size`."""

    def sync(self) -> None:
        """Return once everything appended survives a power cut, the blob's name included."""

    def close(self) -> None:
        """Let go of it; the draft stays.  Closing twice is fine."""


class Reader(Protocol):
    """A blob opened for reading; safe to share among threads."""

    @property
    def id(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer only at the end."""

    def close(self) -> None: ...


class Vault(Protocol):
    """Blobs by id.  An id that is not there is Missing, save where a verb says otherwise."""

    def create(self) -> Blob:
        """A new, empty draft under a new id.  Raises StoreFull as `check_room`."""

    def resume(self, blob_id: str) -> Blob:
        """A draft as far as it reached the disk, to be continued."""

    def commit(self, blob_id: str) -> None:
        """Make a draft final, durably.  Committing again changes nothing."""

    def abort(self, blob_id: str) -> None:
        """Erase a draft.  What is committed or gone stays as it is."""

    def open(self, blob_id: str) -> Reader:
        """Read a blob, draft or committed."""

    def erase(self, *blob_ids: str) -> None:
        """Erase blobs durably, drafts and committed ones.  Those that are gone already are no trouble."""

    def exists(self, blob_id: str) -> bool: ...

    def ids(self, unchanged_since: float | None = None) -> Iterator[str]:
        """Every blob, drafts included, in no order; or those last written before that moment (Unix time).

        The sweep compares them with the registry.  A draft is here a moment before its row is there, which is why
        it asks for old ones only.
        """

    def free_bytes(self) -> int:
        """How much can still be stored, beside what is kept free for all else."""

    def check_room(self) -> None:
        """Raises StoreFull when nothing more can be stored; for a loop."""

    def let_go(self) -> None:
        """Let go of what was erased, by whatever process, and is not in use; said every moment.

        A body takes up room as long as anybody has it open.
        """

    def close(self) -> None:
        """Let go of what is kept open.  Blobs and readers open it again if they are used after all."""
