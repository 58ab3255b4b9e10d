"""Sums: the hashes of files as a recipient could download them, and SHA256SUMS, which lists them.

Of a locked file nobody knew the hash before it was locked, so it is found by reading; once, and then remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from fxsftp.domain.model import Delivery, Shipment, User
from fxsftp.domain.places import Place
from fxsftp.errors import NoSuchPlace, NotOpen
from fxsftp.exchange.bodies import PIECE, Bodies
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.offers import Offers
from fxsftp.exchange.reading import AGE, PLAIN, SUMS, Offer

TURN = 4 << 20  # bytes hashed until others have their turn; 10 ms
EACH = 64 << 10  # bytes that could be hashed in the time in which a file is opened
TOGETHER = 500  # hashes remembered at a time


class Sums:
    """Of every delivery.  None of it counts as reading."""

    def __init__(self, holdings: Holdings, bodies: Bodies, offers: Offers) -> None:
        self._registry = holdings.registry
        self._bodies = bodies
        self._offers = offers

    def hash_of(self, user: User, place: Place, now: float) -> str:
        """SHA-256, in hex, of a file as this user could download it.  Does not count as reading."""
        delivery, shipment = self._offers.delivery(user, place, now)
        offer = self._offers.named(delivery, shipment, place.path, now)
        if offer is None:
            raise NoSuchPlace(str(place))
        if offer.form == PLAIN and self._offers.opener(delivery, now) is None:
            raise NotOpen(offer.file.name, delivery.shipment_id)
        return self._hash(delivery, offer)

    def hashing(self, user: User, place: Place, now: float) -> Iterator[None]:
        """Find beforehand, in pieces of some 10 ms, what `hash_of` or `open` of SHA256SUMS would have to hash.

        Bodies may have ten gigabytes.  What is found is remembered, so that it need not be looked for again.
        """
        delivery, shipment = self._offers.delivery(user, place, now)
        if place.path == SUMS:
            offers = self._offers.listed(delivery, self._registry.drops.of_shipment(shipment.id), now)
        else:
            offer = self._offers.named(delivery, shipment, place.path, now)
            offers = [offer] if offer else []
        yield from self._hash_all(delivery, [offer for offer in offers if offer.form == AGE])

    def page(self, delivery: Delivery, shipment: Shipment, now: float) -> bytes:
        """SHA256SUMS, for who has found beforehand what it needs."""
        offers = self._offers.listed(delivery, self._registry.drops.of_shipment(shipment.id), now)
        for _ in self._hash_all(delivery, [offer for offer in offers if offer.form == AGE]):
            pass  # nothing, where it was done beforehand
        known = self._registry.deliveries.lock_hashes(delivery.id)
        sums = (offer.file.sha256 if offer.form == PLAIN else known[offer.file.id, offer.kind] for offer in offers)
        return "".join(f"{found}  {offer.name}\n" for found, offer in zip(sums, offers, strict=True)).encode()

    def _hash(self, delivery: Delivery, offer: Offer) -> str:
        if offer.form == PLAIN:
            assert offer.file.sha256 is not None  # known since it was merged, at the latest
            return offer.file.sha256
        for _ in self._hash_all(delivery, [offer]):
            pass
        found = self._registry.deliveries.lock_hash(offer.file.id, delivery.id, offer.kind)
        assert found is not None
        return found

    def _hash_all(self, delivery: Delivery, offers: Sequence[Offer]) -> Iterator[None]:
        known = self._registry.deliveries.lock_hashes(delivery.id)
        new: list[tuple[int, str, str]] = []
        done = 0  # bytes since others had their turn
        for offer in offers:
            if (offer.file.id, offer.kind) in known:
                continue
            found = self._registry.deliveries.header(offer.file.id, delivery.id, offer.kind)
            assert found is not None
            digest, read_at = hashlib.sha256(found[1]), self._bodies.read_at(offer.file)
            for offset in range(0, offer.file.body, PIECE):
                digest.update(read_at(offset, PIECE))
                done += min(PIECE, offer.file.body - offset) + EACH
                if done >= TURN:
                    done = 0
                    yield
            new.append((offer.file.id, offer.kind, digest.hexdigest()))
            if len(new) == TOGETHER:
                self._remember(delivery, new)
                new = []
        self._remember(delivery, new)

    def _remember(self, delivery: Delivery, hashes: Sequence[tuple[int, str, str]]) -> None:
        if hashes:
            with self._registry.atomic(durable=False):
                self._registry.deliveries.set_lock_hashes(delivery.id, hashes)
