"""Ahead: small files of a shipment that were opened before they were asked for.

Who fetches a folder asks for one file after the other.  To look each up, and to open it, costs more than to send it; so
with one that follows another the next few are opened as well, and wait here.  They are handed out while the delivery
and its shipment are as they were then, which their stamp says: what is taken back, hidden, expired or closed again is
not.  Nothing here decides who may read what.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from fxsftp.domain.model import Delivery, Shipment
from fxsftp.exchange.reading import Offer
from fxsftp.seal.stream import ReadAt

SMALL = 64 << 10  # bytes; a larger body costs more to read than to open
LEAST, MOST = 8, 64  # files opened together: twice as many each time, for who takes them
HELD = 512 << 10  # bytes of bodies in one batch; unsealed, for files as small as these
BATCHES = 32  # with the above, 16 MiB in a process
STALE = 60.0  # seconds; nobody comes for it any more

Key = tuple[int, str]  # of a user and a shipment


@dataclass(frozen=True)
class Batch:
    """Files that follow one another in a folder, each by the name it was asked for under."""

    stamp: object
    delivery: Delivery
    shipment: Shipment
    made: float
    until: float  # it is handed out: the shipment expires then, or what a code has opened closes
    files: dict[str, tuple[Offer, ReadAt]]


class Ahead:
    """Batches of one process.  May be used in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: OrderedDict[Key, Batch] = OrderedDict()
        self._asked: OrderedDict[Key, tuple[str, int]] = OrderedDict()  # the last name, and how many were opened then

    def wanted(self, key: Key, name: str) -> int:
        """How many to open after the file asked for as `name`, which had to be looked up."""
        with self._lock:
            batch = self._batches.get(key)
            left = batch.files if batch else {}
            last, count = self._asked.get(key, ("", 0))
            if name in left:
                return 0  # who fetches several at a time was quicker than we
            follows = last and name > last and 2 * len(left) <= count
            count = min(max(2 * count, LEAST), MOST) if follows else 0
            self._asked[key] = name, count
            self._asked.move_to_end(key)
            while len(self._asked) > 2 * BATCHES:
                self._asked.popitem(last=False)
            return count

    def keep(self, key: Key, batch: Batch) -> None:
        """Hand these out from now on, instead of what is left of those before."""
        with self._lock:
            self._batches[key] = batch
            self._batches.move_to_end(key)
            while len(self._batches) > BATCHES or next(iter(self._batches.values())).made < batch.made - STALE:
                self._batches.popitem(last=False)

    def find(self, key: Key) -> Batch | None:
        """The batch of a user and a shipment."""
        return self._batches.get(key)

    def take(self, batch: Batch, name: str) -> tuple[Offer, ReadAt] | None:
        """It, for one reader; None if another was quicker."""
        return batch.files.pop(name, None)

    def forget(self, key: Key) -> None:
        """It is not as it was."""
        with self._lock:
            self._batches.pop(key, None)
