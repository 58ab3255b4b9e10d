"""Prefetch: small files of a shipment that were opened before they were asked for.

Who fetches a folder asks for one file after the other.  To look each up, and to open it, costs more than to send it; so
with one that follows another the next few are opened as well, and wait here; while half of them are still to be taken,
another thread opens more.  They are handed out while the delivery and its shipment are as they were then, which their
stamp says: what is taken back, hidden, expired or closed again is not.  Nothing here decides who may read what.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf

from fxsftp import seal
from fxsftp.domain.model import Delivery, Entry, File, Shipment, User
from fxsftp.domain.places import Place
from fxsftp.errors import FxError, Unavailable
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.manifest import is_replaced
from fxsftp.exchange.offers import Offers, Opener, entry_of
from fxsftp.exchange.reading import PLAIN, RENDERED, Offer, in_age, in_plain
from fxsftp.seal.stream import ReadAt
from fxsftp.store.registry import Registry

SMALL = 64 << 10  # bytes; a larger body costs more to read than to open
LEAST, MOST = 8, 64  # files opened together: twice as many each time, for who takes them
HELD = 512 << 10  # bytes of bodies in one batch; unsealed, for files as small as these
BATCHES = 32  # with the above, 16 MiB in a process
STALE = 60.0  # seconds; nobody comes for it any more

Key = tuple[int, str]  # of a user and a shipment


class Prefetch:
    """What one process has opened ahead.  May be used in any thread; `meanwhile` does in another what can be left."""

    def __init__(
        self,
        registry: Registry,
        bodies: Bodies,
        offers: Offers,
        meanwhile: Callable[[Callable[[], None]], object],
    ) -> None:
        self._meanwhile = meanwhile
        self._registry = registry
        self._bodies = bodies
        self._offers = offers
        self._batches = _Batches()

    def open_after(self, delivery: Delivery, shipment: Shipment, name: str, offer: Offer, now: float) -> None:
        """Open what stands in its folder after a file asked for as `name`: it may be asked for next, in that form."""
        batch = _Batch(self._offers.stamp(delivery), delivery, shipment, offer.form == PLAIN, offer.file.path, now)
        if self._is_true(batch, now) and (most := self._batches.wanted(batch.key, name)):
            self._open(batch, most, now)
            self._batches.keep(batch)

    def _open_on(self, batch: _Batch, now: float) -> None:
        """Open more, while those before are being taken."""
        try:
            if self._is_true(batch, now) and self._batches.renew(batch, now):
                self._open(batch, max(min(2 * batch.count, MOST), LEAST), now)
        finally:
            batch.is_growing = False

    def _is_true(self, batch: _Batch, now: float) -> bool:
        """Whether its stamp is that of the delivery as it was found last, and its files are offered in its form."""
        stamp = self._offers.stamp(batch.delivery)
        return stamp == batch.stamp is not None and batch.is_plain is self._offers.is_in_plain(batch.delivery, now)

    def _open(self, batch: _Batch, most: int, now: float) -> None:
        """Open up to so many files of its folder, on from the last."""
        delivery, shipment = batch.delivery, batch.shipment
        folder, slash, last = batch.last.rpartition("/")
        files = self._registry.contents.sent_in(shipment.id, folder + slash, delivery.id, last, most)
        small = [file for file in files if file.body <= SMALL and not is_replaced(file)]
        headers = self._registry.deliveries.headers(delivery.id, [file.id for file in small]) if small else {}
        opener = self._offers.opener(delivery, now) if batch.is_plain else None
        batch.until = min(batch.until, opener.until if opener else inf, shipment.expires or inf)
        batch.count = 0
        held = sum(offer.file.body for offer, _ in list(batch.files.values()))
        for file in small:
            held += file.body
            if held > HELD or file.id not in headers:  # or it is being erased
                break
            try:
                offer, read_at = self._opened_with(headers[file.id], file, opener)
            except FxError:  # told to who asks for it
                break
            if offer.name not in RENDERED:
                batch.files[offer.name] = offer, read_at
            batch.last, batch.count = file.path, batch.count + 1

    def _opened_with(self, headers: Mapping[str, bytes], file: File, opener: Opener | None) -> tuple[Offer, ReadAt]:
        """A file in plain or, if nothing opens it here, in age."""
        read_at = self._bodies.read_at(file)
        if opener:
            file_key = seal.open_header(headers[opener.kind], [opener.identity])[0]
            return in_plain(file), seal.Unsealer(read_at, file_key, file.body).read
        offer = in_age(file, {kind: len(header) for kind, header in headers.items()})
        return offer, seal.age_read(headers[offer.kind], read_at, file.body)

    def take(self, user: User, place: Place, now: float) -> tuple[Delivery, Shipment, Offer, ReadAt] | None:
        """One of them, for one reader; None where it is not there, or not to be had any more."""
        batch = self._batch(user, place, now)
        found = batch.files.pop(place.path, None) if batch else None
        if batch is None or found is None:
            return None
        if 2 * len(batch.files) < batch.count and not batch.is_growing:
            batch.is_growing = True
            self._meanwhile(partial(self._open_on, batch, now))
        return batch.delivery, batch.shipment, *found

    def entry(self, user: User, place: Place, now: float) -> Entry | None:
        """The same, as a folder lists it; it stays."""
        batch = self._batch(user, place, now)
        found = batch.files.get(place.path) if batch else None
        return entry_of(found[0]) if found else None

    def _batch(self, user: User, place: Place, now: float) -> _Batch | None:
        """The one that has it, if all is still as it was then."""
        key = user.id, place.shipment
        batch = self._batches.find(key)
        found = batch.files.get(place.path) if batch else None
        if batch is None or found is None:
            return None
        try:
            stamp = self._registry.deliveries.glance(*key, found[0].file.name)
        except Unavailable:
            return None
        if stamp == batch.stamp and now < batch.until:
            return batch
        self._batches.forget(key)
        return None


@dataclass(slots=True)
class _Batch:
    """Files that follow one another in a folder, each by the name it was asked for under."""

    stamp: object | None
    delivery: Delivery
    shipment: Shipment
    is_plain: bool
    last: str  # the path of the last that was opened
    made: float
    until: float = inf  # it is handed out: the shipment expires then, or what a code has opened closes
    files: dict[str, tuple[Offer, ReadAt]] = field(default_factory=dict)
    count: int = 0  # how many were opened last
    is_growing: bool = False

    @property
    def key(self) -> Key:
        return self.delivery.user_id, self.shipment.id


class _Batches:
    """Those of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: OrderedDict[Key, _Batch] = OrderedDict()
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

    def keep(self, batch: _Batch) -> None:
        """Hand these out from now on, instead of what is left of those before."""
        with self._lock:
            self._batches[batch.key] = batch
            self._batches.move_to_end(batch.key)
            while len(self._batches) > BATCHES or next(iter(self._batches.values())).made < batch.made - STALE:
                self._batches.popitem(last=False)

    def renew(self, batch: _Batch, now: float) -> bool:
        """It is about to grow; answers whether it is still handed out."""
        with self._lock:
            is_kept = self._batches.get(batch.key) is batch
            if is_kept:
                batch.made = now
                self._batches.move_to_end(batch.key)
        return is_kept

    def find(self, key: Key) -> _Batch | None:
        """The batch of a user and a shipment."""
        return self._batches.get(key)

    def forget(self, key: Key) -> None:
        """It is not as it was."""
        with self._lock:
            self._batches.pop(key, None)
