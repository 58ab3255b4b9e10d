"""Reading: one file of a shipment in the form in which it is offered, and how much of it has been sent.

In plain, it is as it was put; in age, the header of one lock goes before the sealed body, as in any `.age` file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fxsftp.domain.model import Delivery, Entry, File, Shipment
from fxsftp.exchange.bodies import Content
from fxsftp.seal.stream import ReadAt

PLAIN, AGE = "plain", "age"
FILE_MODE = 0o444
LETTER, SUMS, KEY = "SHIPMENT.txt", "SHA256SUMS", "KEY.age"
RENDERED = (KEY, SUMS, LETTER)  # what the exchange writes itself


@dataclass(frozen=True)
class Offer:
    """One file of a delivery in one form."""

    file: File
    form: str
    kind: str  # of the lock whose header goes before the body; empty in plain
    name: str
    size: int


def in_plain(file: File) -> Offer:
    """As it was put."""
    return Offer(file, PLAIN, "", file.name, file.size)


def in_age(file: File, sizes: Mapping[str, int]) -> Offer:
    """Under the lock that stock tools open most easily; `sizes` are those of the headers that there are."""
    kind = _easiest(sizes)
    return Offer(file, AGE, kind, f"{file.name}.age", sizes[kind] + file.body)


def size_in_age(body: int, sizes: Mapping[str, int]) -> int:
    """How long that is."""
    return sizes[_easiest(sizes)] + body


def _easiest(sizes: Mapping[str, int]) -> str:
    return next(kind for kind in ("direct", "code", "keys", "session") if kind in sizes)


class Reading:
    """One file open for reading.  `read` may run in an event loop: it reads from the page cache and unseals."""

    def __init__(
        self,
        entry: Entry,
        size: int,
        read_at: ReadAt,
        *,
        delivery: Delivery | None = None,
        shipment: Shipment | None = None,
        offer: Offer | None = None,
        on_first: Callable[[], None] | None = None,
    ) -> None:
        self.entry = entry
        self.size = size
        self.delivery = delivery
        self.shipment = shipment
        self.offer = offer
        self.spans: list[tuple[int, int]] = []
        self._read_at = read_at
        self._on_first = on_first

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes; none at the end.  Raises Forged when the stored body does not verify."""
        data = self._read_at(offset, min(count, max(0, self.size - offset)))
        if self._on_first:
            self._on_first()
            self._on_first = None
        end = offset + len(data)
        if self.spans and self.spans[-1][1] == offset:
            self.spans[-1] = (self.spans[-1][0], end)
        elif data or not self.size:  # clients also ask beyond the end, to see that it is one
            self.spans.append((offset, end))
        return data

    def unsent(self, count: int) -> None:
        """The last `count` bytes that were read have not left: they do not count."""
        first, end = self.spans.pop()
        if end - count > first:
            self.spans.append((first, end - count))

    def lost(self) -> None:
        """Its session ended, before it was closed, with bytes that never left: so the end of the file did not.

        Not to count its last byte is enough: who has not got what goes before it asks for it once more.
        """
        self.spans = [(first, min(end, self.size - 1)) for first, end in self.spans if first < self.size - 1]

    def content(self) -> Content:
        """The same bytes, to be hashed: that does not count as reading."""
        return Content(self.size, self._read_at)


def merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in as few spans as can be, in order."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
