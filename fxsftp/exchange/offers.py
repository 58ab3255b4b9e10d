"""Offers: what a recipient is offered, and in which form.

Files are offered in one of two forms: `name` in plain where this user may have it so, `name.age` where it
is locked.  Both can be fetched when both can be made; one of them is listed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from fxsftp import seal
from fxsftp.domain.lifecycle import READABLE, DeliveryState, ShipmentState
from fxsftp.domain.model import Delivery, Entry, File, LockKind, Shipment, User
from fxsftp.domain.places import Place
from fxsftp.errors import NoSuchPlace
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.manifest import is_replaced
from fxsftp.exchange.reading import FILE_MODE, KEY, RENDERED, SUMS, Offer, in_age, in_plain, size_in_age
from fxsftp.seal.primitives import unbox
from fxsftp.store.registry.contents import Listed

REMEMBERED = 1024  # deliveries whose rows are kept
TOGETHER = 1000  # files of which one question asks by their ids

_REMOVED = DeliveryState.REMOVED


@dataclass(frozen=True)
class Opener:
    """What opens the files of a delivery for its user: the headers of one kind, until then."""

    kind: str
    identity: seal.Identity
    until: float


class Offers:
    """Of every delivery to its user.  Nothing is opened here, and nothing changed."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._known: OrderedDict[tuple[int, str], tuple[object, Delivery, Shipment]] = OrderedDict()

    def delivery(self, user: User, place: Place, now: float) -> tuple[Delivery, Shipment]:
        """Which one a place means, with its shipment.  Raises NoSuchPlace, also for what is not this user's."""
        found = self._rows_of(user.id, place.shipment)
        if found and is_there(found[1], now) and (found[0].state in READABLE or found[0].state is _REMOVED):
            return found
        raise NoSuchPlace(str(place))

    def stamp(self, delivery: Delivery) -> object | None:
        """Of this very delivery, found a moment ago: as long as it is the same, so are the rows."""
        known = self._known.get((delivery.user_id, delivery.shipment_id))
        return known[0] if known and known[1] is delivery else None

    def _rows_of(self, user_id: int, shipment_id: str) -> tuple[Delivery, Shipment] | None:
        """A delivery that is not hidden, with its shipment; read once for the thousands of files that it may have."""
        deliveries, key = self._registry.deliveries, (user_id, shipment_id)
        stamp = deliveries.stamp(user_id, shipment_id)
        if stamp is None or stamp[2]:
            return None
        known = self._known.get(key)
        if known and known[0] == stamp:
            return known[1], known[2]
        delivery, shipment = deliveries.for_user(user_id, shipment_id), self._registry.drops.find(shipment_id)
        if delivery is None or shipment is None:
            return None
        self._known[key] = stamp, delivery, shipment  # no older than the stamp, or else read again the next time
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return delivery, shipment

    # ---- its files and pages

    def listed(self, delivery: Delivery, files: Sequence[File], now: float) -> Sequence[Offer]:
        """Each of these files as it is listed."""
        files = [file for file in files if not is_replaced(file)]
        if self.is_in_plain(delivery, now):
            return [in_plain(file) for file in files]
        sizes = self._header_sizes(delivery, [file.id for file in files])
        return [in_age(file, sizes.get(file.id, {})) for file in files]

    def entries(self, delivery: Delivery, files: Sequence[Listed], now: float) -> Sequence[Entry]:
        """The same as a folder lists them: without those that a folder is named like, or that are being erased."""
        if self.is_in_plain(delivery, now):
            return [Entry(name, False, size, mtime, FILE_MODE) for name, size, mtime, *_ in files]
        sizes = self._header_sizes(delivery, [file_id for _, _, _, file_id, _, _ in files])
        return [
            Entry(f"{name}.age", False, size_in_age(body, sizes[file_id]), mtime, FILE_MODE)
            for name, _, mtime, file_id, body, is_folders in files
            if file_id in sizes and not is_folders
        ]

    def names(self, delivery: Delivery, shipment: Shipment, now: float) -> Sequence[tuple[str, int]]:
        """How each of its files is listed, and its size in plain."""
        start, end = len(shipment.path_of("")), "" if self.is_in_plain(delivery, now) else ".age"
        replaced = shipment.path_of(SUMS) if shipment.folder else ""
        sizes = self._registry.contents.sizes(shipment.id)
        return [(path[start:] + end, size) for path, size in sizes if path != replaced]

    def _header_sizes(self, delivery: Delivery, file_ids: Sequence[int]) -> Mapping[int, Mapping[str, int]]:
        return self._registry.deliveries.header_sizes(delivery.id, file_ids if len(file_ids) <= TOGETHER else [])

    def named(self, delivery: Delivery, shipment: Shipment, name: str, now: float) -> Offer | None:
        """By the name it is listed under, else by that of its other form."""
        plain, age = self._file(shipment, name), None
        if name.endswith(".age") and delivery.lock is not LockKind.SESSION:
            age = self._file(shipment, name.removesuffix(".age"))
        if plain and (age is None or self.is_in_plain(delivery, now)):
            return in_plain(plain)
        return in_age(age, self._registry.deliveries.header_size(age.id, delivery.id)) if age else None

    def _file(self, shipment: Shipment, name: str) -> File | None:
        file = self._registry.contents.sent_file(shipment.id, shipment.path_of(name))
        return None if file is None or is_replaced(file) else file

    def page(self, delivery: Delivery, shipment: Shipment, name: str, now: float) -> Entry | None:
        """One of the pages that the exchange writes itself, if there is that one for this delivery, and not removed."""
        if name not in RENDERED or self._registry.deliveries.is_hidden(delivery.id, name):
            return None
        size = -1
        if name == SUMS:
            digits = 64 + 3  # two blanks and a newline
            size = sum(len(each.encode()) + digits for each, _ in self.names(delivery, shipment, now))
        elif name == KEY:
            # Where each file has a header that the code itself opens, nobody needs this one.
            is_needed = delivery.lock is LockKind.CODE and not self.is_open(delivery, now)
            if not is_needed or self._registry.deliveries.has_kind(delivery.id, "direct"):
                return None
            size = len(self._registry.deliveries.key_file(delivery.id) or b"")
        return Entry(name, False, size, shipment.sent or shipment.made, FILE_MODE)

    # ---- in which form

    def is_in_plain(self, delivery: Delivery, now: float) -> bool:
        """Whether its files are listed in plain now."""
        return delivery.lock is LockKind.SESSION or self.is_open(delivery, now)

    def is_open(self, delivery: Delivery, now: float) -> bool:
        """Whether its code was given, less than 15 minutes ago."""
        return delivery.lock is LockKind.CODE and self._registry.deliveries.opening(delivery.id, now) is not None

    def opener(self, delivery: Delivery, now: float) -> Opener | None:
        """What opens its files for this user, if anything here does."""
        if delivery.lock is LockKind.SESSION:
            return Opener("session", self._holdings.keys.house_key, inf)
        found = self._registry.deliveries.opening(delivery.id, now) if delivery.lock is LockKind.CODE else None
        if found is None:
            return None
        until, boxed = found
        return Opener("code", seal.Identity(unbox(self._holdings.keys.running, boxed)), until)


def is_there(shipment: Shipment, now: float) -> bool:
    """Whether anybody may have it."""
    return shipment.state is ShipmentState.WAITING and (shipment.expires is None or shipment.expires > now)


def entry_of(offer: Offer) -> Entry:
    """As a folder lists it."""
    return Entry(offer.name.rpartition("/")[2], False, offer.size, offer.file.mtime, FILE_MODE)
