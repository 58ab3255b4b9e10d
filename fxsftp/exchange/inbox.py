"""The inbox: what a recipient sees of a shipment, and removes.

In which form files are offered, `offers` knows; they are read in `collecting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fxsftp.domain import ids, places
from fxsftp.domain.addresses import hint
from fxsftp.domain.lifecycle import READABLE, DeliveryState
from fxsftp.domain.model import Arrival, Delivery, Entry, Key, LockKind, Shipment, User
from fxsftp.domain.places import Place
from fxsftp.errors import IsAFolder, NoSuchPlace, NotAFolder, NotEmpty
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.notices import Notices, folder_name
from fxsftp.exchange.offers import Offers, entry_of
from fxsftp.exchange.reading import RENDERED, SUMS, Offer
from fxsftp.exchange.reads import Reads
from fxsftp.exchange.steps import step
from fxsftp.store.registry.drops import ALL

FOLDER_MODE = 0o555
TOGETHER = 500  # entries fetched at a time
CLOSED_LATE = 60.0  # seconds in which a client closes what it has read and then removed

Bookmark = tuple[str, str]  # how far a listing has come: at what, and after which name
BEGIN: Bookmark = ("rendered", "")


@dataclass(frozen=True)
class Letter:
    """What SHIPMENT.txt says; the words are the front's."""

    shipment: Shipment
    folder: str
    sender: str
    sender_name: str
    via: str
    files: Sequence[tuple[str, int]]
    lock: LockKind
    is_open: bool
    direct: bool
    phone_hint: str


@dataclass(frozen=True)
class Package:
    """A shipment as a page shows it, whose words are the front's.

    `offers` are its files as they are listed, without those that the user has removed; `keys` are those of the user's
    that open it, where keys do.
    """

    letter: Letter
    delivery: Delivery
    offers: Sequence[Offer]
    keys: Sequence[Key]
    open_until: float | None


class Inbox:
    """One room."""

    def __init__(self, holdings: Holdings, offers: Offers, reads: Reads, notices: Notices) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._offers = offers
        self._reads = reads
        self._notices = notices

    # ---- looking

    def list(self, user: User, now: float, *, after: str = "", most: int = ALL) -> Sequence[Entry]:
        """The shipments that wait for this user, each a folder; on from the folder named `after`."""
        shipments = self._registry.drops.in_inbox(user.id, now, ids.shipment_id(after) or "", most)
        return [_folder(places.folder_name(shipment, subject, sent), sent) for shipment, subject, sent in shipments]

    def stat(self, user: User, place: Place, now: float) -> Entry:
        """What stands at a place in the inbox, in either form.  SHIPMENT.txt has size -1: its words are the front's."""
        delivery, shipment = self._offers.delivery(user, place, now)
        if not place.path:
            return _folder(folder_name(shipment), shipment.sent or shipment.made)
        rendered = self._offers.page(delivery, shipment, place.path, now)
        if rendered:
            return rendered
        offer = self._offers.named(delivery, shipment, place.path, now)
        if offer and not self._registry.deliveries.is_hidden(delivery.id, offer.file.name):
            return entry_of(offer)
        if self._registry.contents.has_below(shipment.id, shipment.path_of(place.path)):
            return _folder(place.name, shipment.sent or shipment.made)
        raise NoSuchPlace(str(place))

    def list_folder(self, user: User, place: Place, now: float) -> Sequence[Entry]:
        """What a shipment's folder holds, each file in the form in which it is offered; by name."""
        entries: list[Entry] = []
        more: Bookmark | None = BEGIN
        while more:
            page, more = self.list_some(user, place, now, more, TOGETHER)
            entries += page
        return sorted(entries, key=lambda entry: entry.name)

    def list_some(
        self, user: User, place: Place, now: float, on: Bookmark, most: int
    ) -> tuple[Sequence[Entry], Bookmark | None]:
        """The same in pages: what comes after a bookmark, and the next one, or None at the end.

        First what the exchange writes itself, then the folders, then the files.  A name that stays there comes once.
        """
        delivery, shipment = self._offers.delivery(user, place, now)
        if on == BEGIN and place.path and not self.stat(user, place, now).is_folder:
            raise NotAFolder(place.name)
        inner = f"{place.path}/" if place.path else ""
        folder, when = shipment.path_of(inner), shipment.sent or shipment.made
        what, after = on
        if what == "rendered":
            rendered = [self._offers.page(delivery, shipment, name, now) for name in RENDERED if not place.path]
            return [entry for entry in rendered if entry], ("folders", "")
        if what == "folders":
            found = self._registry.contents.folders_sent_in(shipment.id, folder, delivery.id, after, most)
            folders = [
                _folder(name, when) for name in found if not self._offers.page(delivery, shipment, inner + name, now)
            ]
            return folders, ("folders", found[-1]) if len(found) == most else ("files", "")
        files = self._registry.contents.listed_in(shipment, inner, delivery.id, after, most)
        # In a folder, the exchange's own list of sums stands for the sender's.
        offered = [file for file in files if file[0] != SUMS or inner or not shipment.folder]
        entries = self._offers.entries(delivery, offered, now)
        shown = [each for each in entries if not self._is_shadowed(delivery, shipment, inner + each.name, now)]
        return shown, ("files", files[-1][0]) if len(files) == most else None

    def _is_shadowed(self, delivery: Delivery, shipment: Shipment, name: str, now: float) -> bool:
        """Whether a page of the exchange's own is listed by this name."""
        return name in RENDERED and self._offers.page(delivery, shipment, name, now) is not None

    def letter(self, user: User, place: Place, now: float) -> Letter:
        """What is to be said in SHIPMENT.txt."""
        delivery, shipment = self._offers.delivery(user, place, now)
        sender = self._registry.people.by_id(shipment.sender_id)
        assert sender is not None
        is_locked = not self._offers.is_in_plain(delivery, now)
        return Letter(
            shipment,
            folder_name(shipment),
            sender.email,
            sender.name,
            delivery.via,
            self._offers.names(delivery, shipment, now),
            delivery.lock,
            self._offers.is_open(delivery, now),
            is_locked and self._registry.deliveries.has_kind(delivery.id, "direct"),
            hint(user.phone),
        )

    def arrivals(
        self, user: User, now: float, *, before: str = "", after: str = "", most: int = ALL
    ) -> Sequence[Arrival]:
        """The shipments that wait for this user, newest first: on from `before`, or the last ones that are newer than
        `after`; both are ids of shipments, and count for nothing when they are no such.
        """
        return self._registry.deliveries.arrivals(user.id, now, before, after, most)

    def package(self, user: User, place: Place, now: float) -> Package:
        """One of them with its files, and how they open."""
        delivery, shipment = self._offers.delivery(user, place, now)
        if delivery.state not in READABLE:
            raise NoSuchPlace(str(place))
        hidden = self._registry.deliveries.hidden(delivery.id)
        offers = self._offers.listed(delivery, self._registry.drops.of_shipment(shipment.id), now)
        keys = self._registry.people.keys(user.id) if delivery.lock is LockKind.KEYS else []
        return Package(
            self.letter(user, place, now),
            delivery,
            [offer for offer in offers if offer.file.name not in hidden],
            [key for key in keys if key.opens and key.added <= (shipment.sent or now)],
            self._registry.deliveries.open_until(delivery.id, now) if delivery.lock is LockKind.CODE else None,
        )

    # ---- removing

    def remove(self, user: User, place: Place, now: float) -> None:
        """Hide one file from this recipient.  With the last one the delivery is REMOVED."""
        delivery, shipment = self._offers.delivery(user, place, now)
        entry = self.stat(user, place, now)
        if entry.is_folder:
            raise IsAFolder(place.name)
        offer = self._offers.named(delivery, shipment, place.path, now)
        if not self._has_files(delivery, shipment, *([offer.file.path] if offer else [])):
            self._reads.catch_up([delivery.id])
        with self._registry.atomic():
            self._registry.deliveries.hide(delivery.id, [offer.file.name if offer else place.path])
            if not self._has_files(delivery, shipment):
                self._removed(user, delivery, shipment, now)
        self._holdings.ring()

    def remove_folder(self, user: User, place: Place, now: float) -> None:
        """Only one whose files were all removed; the rendered ones don't count."""
        delivery, shipment = self._offers.delivery(user, place, now)
        if place.path:
            if self.list_folder(user, place, now):
                raise NotEmpty(place.name)
            return
        if self._has_files(delivery, shipment):
            raise NotEmpty(place.name)
        with self._registry.atomic():
            self._registry.deliveries.hide(delivery.id, [""])

    def remove_all(self, user: User, place: Place, now: float) -> None:
        """Hide a shipment, with all that is in it, from this recipient: the delivery is REMOVED."""
        delivery, shipment = self._offers.delivery(user, place, now)
        self._reads.catch_up([delivery.id])
        with self._registry.atomic():
            self._registry.deliveries.hide(delivery.id, [""])
            self._removed(user, delivery, shipment, now)
        self._holdings.ring()

    def _removed(self, user: User, delivery: Delivery, shipment: Shipment, now: float) -> None:
        current = self._registry.deliveries.find(delivery.id)
        if (
            current
            and step(self._registry, delivery.id, "remove", now, ended=now)
            and current.state is not DeliveryState.COLLECTED
        ):
            # Not at once: a client may remove what it has read before it closes it, or by another process than that.
            self._notices.to_sender("removed_unread", shipment, now, after=CLOSED_LATE, recipient=user.email)

    def _has_files(self, delivery: Delivery, shipment: Shipment, *but: str) -> bool:
        """Whether the recipient has not removed all of them, or of the others."""
        return self._registry.contents.has_shown(shipment.id, delivery.id, shipment.path_of(SUMS), *but)


def _folder(name: str, mtime: float) -> Entry:
    return Entry(name, True, 0, mtime, FOLDER_MODE)
