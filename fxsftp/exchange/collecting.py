"""Collecting: a recipient opens the files of a shipment and reads them, until all of it was sent.

What was sent is counted in `reads`; files that will be asked for next are opened in `prefetch`.
"""

from __future__ import annotations

from fxsftp import seal
from fxsftp.domain.lifecycle import READABLE, DeliveryState
from fxsftp.domain.model import Delivery, Entry, LockKind, Shipment, User
from fxsftp.domain.places import Place
from fxsftp.errors import IsAFolder, NoSuchPlace, NotOpen
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.manifest import is_replaced
from fxsftp.exchange.offers import Offers, entry_of
from fxsftp.exchange.prefetch import Prefetch
from fxsftp.exchange.reading import AGE, SUMS, Offer, Reading, in_plain
from fxsftp.exchange.reads import Reads
from fxsftp.exchange.steps import step
from fxsftp.exchange.sums import Sums
from fxsftp.seal.stream import ReadAt


class Collecting:
    """Of every delivery, by its user."""

    def __init__(self, holdings: Holdings, bodies: Bodies, offers: Offers, sums: Sums, reads: Reads) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._bodies = bodies
        self._offers = offers
        self._sums = sums
        self._reads = reads
        self._prefetch = Prefetch(holdings.registry, bodies, offers, holdings.meanwhile)

    def open(self, user: User, place: Place, now: float) -> Reading:
        """A file for reading.  Raises NotOpen for the plain form of what is locked."""
        delivery, shipment = self._offers.delivery(user, place, now)
        if not place.path:
            raise IsAFolder(place.name)
        page = self._offers.page(delivery, shipment, place.path, now)
        if page:
            data = self._sums.page(delivery, shipment, now) if place.path == SUMS else self.key_file(user, place, now)
            return Reading(page._replace(size=len(data)), len(data), seal.bytes_at(data))
        found = self._by_log_in(delivery, shipment, place.path) or self._by_lock(delivery, shipment, place.path, now)
        if found is None:
            if self._registry.contents.has_below(shipment.id, shipment.path_of(place.path)):
                raise IsAFolder(place.name)
            raise NoSuchPlace(str(place))
        offer, read_at = found
        self._prefetch.open_after(delivery, shipment, place.path, offer, now)
        return self._reading(delivery, shipment, offer, read_at, now)

    def open_at_once(self, user: User, place: Place, now: float) -> Reading | None:
        """The same, in a loop, for a file that was opened ahead; None for any other."""
        found = self._prefetch.take(user, place, now)
        return self._reading(*found, now) if found else None

    def stat_at_once(self, user: User, place: Place, now: float) -> Entry | None:
        """What a listing says of it."""
        return self._prefetch.entry(user, place, now)

    def key_file(self, user: User, place: Place, now: float) -> bytes:
        """KEY.age of a shipment that a code opens, also where it is not listed because the files open without it."""
        delivery, _shipment = self._offers.delivery(user, place, now)
        found = self._registry.deliveries.key_file(delivery.id)
        if found is None:
            raise NoSuchPlace(str(place))
        return found

    # ---- while it is read, and after

    def may_go_on(self, reading: Reading) -> bool:
        """Whether somebody who reads may read on: it was not taken back, nor did it expire or its reader lose access.

        What its reader has removed meanwhile is still read to its end.
        """
        delivery = reading.delivery and self._registry.deliveries.find(reading.delivery.id)
        return reading.delivery is None or (
            delivery is not None and delivery.state in {*READABLE, DeliveryState.REMOVED}
        )

    def read_done(self, reading: Reading, now: float) -> None:
        """Closed or lost: what was sent of it counts.  With the last byte of the last file, it is collected."""
        self._reads.count(reading, now)

    def keep_done(self, reading: Reading, now: float) -> bool:
        """The same in a loop, to be written by `write_done` soon; False where `read_done` has to be asked instead."""
        return self._reads.keep(reading, now)

    def write_done(self) -> None:
        """What was kept is written."""
        self._reads.write()

    # ---- below

    def _by_log_in(self, delivery: Delivery, shipment: Shipment, name: str) -> tuple[Offer, ReadAt] | None:
        """A file for whom logging in is enough, found and opened by one look at the registry."""
        if delivery.lock is not LockKind.SESSION or delivery.state not in READABLE:
            return None
        found = self._registry.contents.to_read(shipment.id, shipment.path_of(name), delivery.id, name, "session")
        if found is None:
            return None
        file, header, is_hidden = found
        if header is None or is_hidden or is_replaced(file):
            return None
        file_key = seal.open_header(header, [self._holdings.keys.house_key])[0]
        return in_plain(file), seal.Unsealer(self._bodies.read_at(file), file_key, file.body).read

    def _by_lock(self, delivery: Delivery, shipment: Shipment, name: str, now: float) -> tuple[Offer, ReadAt] | None:
        """The same for every other, in either form."""
        offer = self._offers.named(delivery, shipment, name, now)
        if offer is None or delivery.state not in READABLE:
            return None
        if self._registry.deliveries.is_hidden(delivery.id, offer.file.name):
            return None
        return offer, self._reader(delivery, offer, now)

    def _reader(self, delivery: Delivery, offer: Offer, now: float) -> ReadAt:
        read_at = self._bodies.read_at(offer.file)
        found = self._registry.deliveries.header(offer.file.id, delivery.id, *((offer.kind,) if offer.kind else ()))
        if offer.form == AGE:
            assert found is not None
            return seal.age_read(found[1], read_at, offer.file.body)
        return seal.Unsealer(read_at, self._file_key(delivery, offer, now), offer.file.body).read

    def _file_key(self, delivery: Delivery, offer: Offer, now: float) -> bytes:
        """The key of a file that this user may have in plain."""
        opener = self._offers.opener(delivery, now)
        if opener is None:
            raise NotOpen(offer.file.name, delivery.shipment_id)
        found = self._registry.deliveries.header(offer.file.id, delivery.id, opener.kind)
        assert found is not None
        return seal.open_header(found[1], [opener.identity])[0]

    def _reading(self, delivery: Delivery, shipment: Shipment, offer: Offer, read_at: ReadAt, now: float) -> Reading:
        def first() -> None:
            self._holdings.later(self._opened, delivery.id, now)

        return Reading(
            entry_of(offer),
            offer.size,
            read_at,
            delivery=delivery,
            shipment=shipment,
            offer=offer,
            on_first=first if delivery.state is DeliveryState.WAITING else None,
        )

    def _opened(self, delivery_id: int, now: float) -> None:
        with self._registry.atomic():
            step(self._registry, delivery_id, "open", now, opened=now)
