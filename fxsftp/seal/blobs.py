"""What the seal asks of whoever keeps its bytes, and what it gives them to keep.

A Body is read; a Blob also grows, and can be cut.  Where they lie, and under which names, is the vault's to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fxsftp.seal.stream import Bytes


class Body(Protocol):
    """Bytes on disk, of which none changes any more."""

    @property
    def id(self) -> str:
        """What the caller knows it by."""
        ...

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def read(self, offset: int, count: int, /) -> bytes:
        """Return the bytes asked for, fewer only at the end."""
        ...


class Blob(Body, Protocol):
    """Bytes on disk that become more."""

    def append(self, data: Bytes, /) -> None:
        """Take all of it, or raise; does not keep `data`."""
        ...

    def cut(self, size: int, /) -> None:
        """Keep only the first `size` bytes."""
        ...

    def sync(self) -> None:
        """Return once all that was appended survives a power cut.

        Where it raised once it always raises: a kernel forgets what it could not write, and then says all is well.
        """
        ...


class SmallBody:
    """A whole body of up to 64 KiB, as its row keeps it, read as if it lay in the vault."""

    id = ""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.size = len(payload)

    def read(self, offset: int, count: int, /) -> bytes:
        """Return the bytes asked for, fewer only at the end."""
        return self.payload[offset : offset + count]


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment as an earlier session, or an earlier process, left it: exactly one of `blob` and `body` is set."""

    blob: Blob | None = None  # no CLOSE was answered for it: it may be cut
    start_chunk: int = 0
    durable: int = 0  # bytes of the blob known to be synced; what is beyond them is unsealed before it is believed
    body: Body | None = None  # a CLOSE was answered for the file that it is a part of: it stays as it is

    @property
    def kept(self) -> Body:
        """Whichever it is."""
        kept = self.body if self.blob is None else self.blob
        if kept is None:
            raise ValueError("a stored segment is a blob or a body")
        return kept


@dataclass(frozen=True, slots=True)
class Sealed:
    """A finished draft: exactly one of `small`, `blob` and `pieces` is set."""

    size: int  # bytes of plaintext
    sha256: str | None  # of the plaintext, in hex; None only of pieces, where not all of it passed through this draft
    small: bytes | None = None  # the payload itself, for CLOSE's own transaction
    blob: Body | None = None  # the payload, durable
    pieces: tuple[Stored, ...] = ()  # durable, in order, the last with the final chunk; to be merged before dispatch
