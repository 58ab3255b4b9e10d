"""The inbox: what a recipient sees of a shipment, opens, reads and removes.

Files are offered in one of two forms: `name` in plain where this user may have it so, `name.age` where it
is locked.  Both can be fetched when both can be made; one of them is listed.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from fxsftp import seal
from fxsftp.domain import ids
from fxsftp.domain.addresses import hint
from fxsftp.domain.lifecycle import READABLE, DeliveryState, ShipmentState
from fxsftp.domain.model import Arrival, Delivery, Entry, File, Key, LockKind, Shipment, User
from fxsftp.domain.places import Place
from fxsftp.errors import (
    CannotOpen,
    FxError,
    IsAFolder,
    NoSuchPlace,
    NotAFolder,
    NotEmpty,
    NotOpen,
    OpeningClosed,
    Unavailable,
    WrongCode,
)
from fxsftp.exchange.ahead import HELD, SMALL, Ahead, Batch
from fxsftp.exchange.bodies import PIECE, Bodies
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.manifest import is_replaced
from fxsftp.exchange.notices import Notices, folder_name
from fxsftp.exchange.reading import AGE, FILE_MODE, KEY, PLAIN, RENDERED, SUMS, Offer, Reading, in_age, in_plain
from fxsftp.exchange.reads import Reads
from fxsftp.seal.primitives import box, unbox
from fxsftp.seal.stream import ReadAt
from fxsftp.store.registry.drops import ALL

FOLDER_MODE = 0o555
TURN = 4 << 20  # bytes hashed until others have their turn; 10 ms
EACH = 64 << 10  # bytes that could be hashed in the time in which a file is opened
REMEMBERED = 1024  # deliveries whose rows are kept
TOGETHER = 500  # rows fetched or remembered at a time

_REMOVED = DeliveryState.REMOVED
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


@dataclass(frozen=True)
class Opener:
    """What opens the files of a delivery for its user: the headers of one kind, until then."""

    kind: str
    identity: seal.Identity
    until: float


class Inbox:
    """One room."""

    def __init__(self, holdings: Holdings, bodies: Bodies, reads: Reads, notices: Notices) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._bodies = bodies
        self._reads = reads
        self._notices = notices
        self._known: OrderedDict[tuple[int, str], tuple[object, Delivery, Shipment]] = OrderedDict()
        self._ahead = Ahead()
        self._stretching = threading.BoundedSemaphore(2)  # scrypt takes 32 MiB and 60 ms each

    # ---- looking

    def list(self, user: User, now: float, *, after: str = "", most: int = ALL) -> Sequence[Entry]:
        """The shipments that wait for this user, each a folder; on from the folder named `after`."""
        shipments = self._registry.drops.in_inbox(user.id, now, ids.shipment_id(after) or "", most)
        return [_folder(folder_name(shipment), shipment.sent or shipment.made) for shipment in shipments]

    def stat(self, user: User, place: Place, now: float) -> Entry:
        """What stands at a place in the inbox, in either form.  SHIPMENT.txt has size -1: its words are the front's."""
        delivery, shipment = self._delivery(user, place, now)
        if not place.path:
            return _folder(folder_name(shipment), shipment.sent or shipment.made)
        rendered = self._rendered(delivery, shipment, place.path, now)
        if rendered:
            return rendered
        offer = self._offer(delivery, shipment, place.path, now)
        if offer and not self._is_hidden(delivery, offer.file.name):
            return _entry(offer)
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
        delivery, shipment = self._delivery(user, place, now)
        if on == BEGIN and place.path and not self.stat(user, place, now).is_folder:
            raise NotAFolder(place.name)
        inner = f"{place.path}/" if place.path else ""
        folder, when = shipment.path_of(inner), shipment.sent or shipment.made
        what, after = on
        if what == "rendered":
            rendered = [self._rendered(delivery, shipment, name, now) for name in RENDERED if not place.path]
            return [entry for entry in rendered if entry], ("folders", "")
        if what == "folders":
            found = self._registry.contents.folders_sent_in(shipment.id, folder, delivery.id, after, most)
            folders = [
                _folder(name, when) for name in found if not self._rendered(delivery, shipment, inner + name, now)
            ]
            return folders, ("folders", found[-1]) if len(found) == most else ("files", "")
        files = self._registry.contents.sent_in(shipment.id, folder, delivery.id, after, most)
        offers = self._offers(delivery, files, now)
        shown = [_entry(offer) for offer in offers if not self._is_shadowed(delivery, shipment, offer, now)]
        return shown, ("files", files[-1].path[len(folder) :]) if len(files) == most else None

    def _is_shadowed(self, delivery: Delivery, shipment: Shipment, offer: Offer, now: float) -> bool:
        """Whether something else of that name is listed: a page of the exchange's own, or a folder named `x.age`."""
        if self._rendered(delivery, shipment, offer.name, now):
            return True
        return offer.form == AGE and self._registry.contents.has_below(shipment.id, shipment.path_of(offer.name))

    def letter(self, user: User, place: Place, now: float) -> Letter:
        """What is to be said in SHIPMENT.txt."""
        delivery, shipment = self._delivery(user, place, now)
        sender = self._registry.people.by_id(shipment.sender_id)
        assert sender is not None
        offers = self._offers(delivery, self._registry.drops.of_shipment(shipment.id), now)
        return Letter(
            shipment,
            folder_name(shipment),
            sender.email,
            sender.name,
            delivery.via,
            [(offer.name, offer.file.size) for offer in offers],
            delivery.lock,
            self._is_open(delivery, now),
            any(offer.kind == "direct" for offer in offers),
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
        delivery, shipment = self._delivery(user, place, now)
        if delivery.state not in READABLE:
            raise NoSuchPlace(str(place))
        hidden = self._registry.deliveries.hidden(delivery.id)
        offers = self._offers(delivery, self._registry.drops.of_shipment(shipment.id), now)
        keys = self._registry.people.keys(user.id) if delivery.lock is LockKind.KEYS else []
        return Package(
            self.letter(user, place, now),
            delivery,
            [offer for offer in offers if offer.file.name not in hidden],
            [key for key in keys if key.opens and key.added <= (shipment.sent or now)],
            self._registry.deliveries.open_until(delivery.id, now) if delivery.lock is LockKind.CODE else None,
        )

    def _delivery(self, user: User, place: Place, now: float) -> tuple[Delivery, Shipment]:
        found = self._rows_of(user.id, place.shipment)
        if found and _is_there(found[1], now) and (found[0].state in READABLE or found[0].state is _REMOVED):
            return found
        raise NoSuchPlace(str(place))

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

    def _is_hidden(self, delivery: Delivery, name: str) -> bool:
        return self._registry.deliveries.is_hidden(delivery.id, name)

    def _has_files(self, delivery: Delivery, shipment: Shipment, *but: str) -> bool:
        """Whether the recipient has not removed all of them, or of the others."""
        return self._registry.contents.has_shown(shipment.id, delivery.id, shipment.path_of(SUMS), *but)

    def _rendered(self, delivery: Delivery, shipment: Shipment, name: str, now: float) -> Entry | None:
        """One of the pages that the exchange writes itself, if there is that one for this delivery, and not removed."""
        if name not in RENDERED or self._is_hidden(delivery, name):
            return None
        size = -1
        if name == SUMS:
            contents, start = self._registry.contents, len(shipment.path_of(""))
            names = [path[start:] for path in contents.names(shipment.id) if path != shipment.path_of(SUMS)]
            added = 67 if self._is_in_plain(delivery, now) else 71  # 64 digits, two blanks, a newline; `.age`
            size = sum(len(each.encode()) + added for each in names)
        elif name == KEY:
            # Where each file has a header that the code itself opens, nobody needs this one.
            is_needed = delivery.lock is LockKind.CODE and not self._is_open(delivery, now)
            if not is_needed or self._registry.deliveries.has_kind(delivery.id, "direct"):
                return None
            size = len(self._registry.deliveries.key_file(delivery.id) or b"")
        return Entry(name, False, size, shipment.sent or shipment.made, FILE_MODE)

    # ---- the two forms

    def _offers(self, delivery: Delivery, files: Sequence[File], now: float) -> Sequence[Offer]:
        """Each of these files as it is listed."""
        files = [file for file in files if not is_replaced(file)]
        if self._is_in_plain(delivery, now):
            return [in_plain(file) for file in files]
        ids = [file.id for file in files] if len(files) <= TOGETHER else []
        sizes = self._registry.deliveries.header_sizes(delivery.id, ids)
        return [in_age(file, sizes.get(file.id, {})) for file in files]

    def _offer(self, delivery: Delivery, shipment: Shipment, name: str, now: float) -> Offer | None:
        """By the name it is listed under, else by that of its other form."""
        plain, age = self._file(shipment, name), None
        if name.endswith(".age") and delivery.lock is not LockKind.SESSION:
            age = self._file(shipment, name.removesuffix(".age"))
        if plain and (age is None or self._is_in_plain(delivery, now)):
            return in_plain(plain)
        return in_age(age, self._registry.deliveries.header_size(age.id, delivery.id)) if age else None

    def _file(self, shipment: Shipment, name: str) -> File | None:
        file = self._registry.contents.sent_file(shipment.id, shipment.path_of(name))
        return None if file is None or is_replaced(file) else file

    def _is_in_plain(self, delivery: Delivery, now: float) -> bool:
        return delivery.lock is LockKind.SESSION or self._is_open(delivery, now)

    # ---- reading

    def open(self, user: User, place: Place, now: float) -> Reading:
        """A file for reading.  Raises NotOpen for the plain form of what is locked."""
        delivery, shipment = self._delivery(user, place, now)
        if not place.path:
            raise IsAFolder(place.name)
        if self._rendered(delivery, shipment, place.path, now):
            text = self._sums(delivery, shipment, now) if place.path == SUMS else None
            data = text if text is not None else self._registry.deliveries.key_file(delivery.id) or b""
            when = shipment.sent or shipment.made
            return Reading(Entry(place.path, False, len(data), when, FILE_MODE), len(data), seal.bytes_at(data))
        found = self._by_log_in(delivery, shipment, place.path) or self._by_lock(delivery, shipment, place.path, now)
        if found is None:
            if self.stat(user, place, now).is_folder:
                raise IsAFolder(place.name)
            raise NoSuchPlace(str(place))
        offer, read_at = found
        self._open_next(delivery, shipment, place.path, offer, now)
        return self._reading(delivery, shipment, offer, read_at, now)

    def open_at_once(self, user: User, place: Place, now: float) -> Reading | None:
        """The same, in a loop, for a file that was opened ahead; None for any other."""
        batch = self._batch(user, place, now)
        found = self._ahead.take(batch, place.path) if batch else None
        return self._reading(batch.delivery, batch.shipment, *found, now) if batch and found else None

    def stat_at_once(self, user: User, place: Place, now: float) -> Entry | None:
        """What `stat` would say of it."""
        batch = self._batch(user, place, now)
        found = batch.files.get(place.path) if batch else None
        return _entry(found[0]) if found else None

    def _batch(self, user: User, place: Place, now: float) -> Batch | None:
        """The one that has it, if all is still as it was then."""
        key = user.id, place.shipment
        batch = self._ahead.find(key)
        found = batch.files.get(place.path) if batch else None
        if batch is None or found is None:
            return None
        try:
            stamp = self._registry.deliveries.glance(*key, found[0].file.name)
        except Unavailable:
            return None
        if stamp == batch.stamp and now < batch.until:
            return batch
        self._ahead.forget(key)
        return None

    def _open_next(self, delivery: Delivery, shipment: Shipment, name: str, offer: Offer, now: float) -> None:
        """Open what stands after it in its folder and will be asked for next, in the same form."""
        key = delivery.user_id, shipment.id
        known = self._known.get(key)
        if known is None or known[1] is not delivery or (offer.form == PLAIN) is not self._is_in_plain(delivery, now):
            return
        most = self._ahead.wanted(key, name)
        if not most:
            return
        folder, slash, last = offer.file.path.rpartition("/")
        files = self._registry.contents.sent_in(shipment.id, folder + slash, delivery.id, last, most)
        small = [file for file in files if file.body <= SMALL and not is_replaced(file)]
        headers = self._registry.deliveries.headers(delivery.id, [file.id for file in small]) if small else {}
        opener = self._opener(delivery, now) if offer.form == PLAIN else None
        found: dict[str, tuple[Offer, ReadAt]] = {}
        held = 0
        for file in small:
            held += file.body
            if held > HELD:
                break
            try:
                next_offer, read_at = self._opened_with(headers[file.id], file, opener)
            except FxError:  # told to who asks for it
                break
            if next_offer.name not in RENDERED:
                found[next_offer.name] = next_offer, read_at
        until = min(opener.until if opener else inf, shipment.expires or inf)
        self._ahead.keep(key, Batch(known[0], delivery, shipment, now, until, found))

    def _opened_with(self, headers: Mapping[str, bytes], file: File, opener: Opener | None) -> tuple[Offer, ReadAt]:
        """A file in plain or, if nothing opens it here, in age."""
        read_at = self._bodies.read_at(file)
        if opener:
            file_key = seal.open_header(headers[opener.kind], [opener.identity])[0]
            return in_plain(file), seal.Unsealer(read_at, file_key, file.body).read
        offer = in_age(file, {kind: len(header) for kind, header in headers.items()})
        return offer, seal.age_read(headers[offer.kind], read_at, file.body)

    def _reading(self, delivery: Delivery, shipment: Shipment, offer: Offer, read_at: ReadAt, now: float) -> Reading:
        def first() -> None:
            self._holdings.later(self._opened, delivery.id, now)

        return Reading(
            _entry(offer),
            offer.size,
            read_at,
            delivery=delivery,
            shipment=shipment,
            offer=offer,
            on_first=first if delivery.state is DeliveryState.WAITING else None,
        )

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
        offer = self._offer(delivery, shipment, name, now)
        if offer is None or self._is_hidden(delivery, offer.file.name) or delivery.state not in READABLE:
            return None
        return offer, self._reader(delivery, offer, now)

    def key_file(self, user: User, place: Place, now: float) -> bytes:
        """KEY.age of a shipment that a code opens, also where it is not listed because the files open without it."""
        delivery, _shipment = self._delivery(user, place, now)
        found = self._registry.deliveries.key_file(delivery.id)
        if found is None:
            raise NoSuchPlace(str(place))
        return found

    def _reader(self, delivery: Delivery, offer: Offer, now: float) -> ReadAt:
        read_at = self._bodies.read_at(offer.file)
        found = self._registry.deliveries.header(offer.file.id, delivery.id, *((offer.kind,) if offer.kind else ()))
        if offer.form == AGE:
            assert found is not None
            return seal.age_read(found[1], read_at, offer.file.body)
        return seal.Unsealer(read_at, self._file_key(delivery, offer, now), offer.file.body).read

    def _file_key(self, delivery: Delivery, offer: Offer, now: float) -> bytes:
        """The key of a file that this user may have in plain."""
        opener = self._opener(delivery, now)
        if opener is None:
            raise NotOpen(offer.file.name, delivery.shipment_id)
        found = self._registry.deliveries.header(offer.file.id, delivery.id, opener.kind)
        assert found is not None
        return seal.open_header(found[1], [opener.identity])[0]

    def _opener(self, delivery: Delivery, now: float) -> Opener | None:
        """What opens its files for this user, if anything here does."""
        if delivery.lock is LockKind.SESSION:
            return Opener("session", self._holdings.keys.house_key, inf)
        found = self._registry.deliveries.opening(delivery.id, now) if delivery.lock is LockKind.CODE else None
        if found is None:
            return None
        until, boxed = found
        return Opener("code", seal.Identity(unbox(self._holdings.keys.running, boxed)), until)

    def _opened(self, delivery_id: int, now: float) -> None:
        with self._registry.atomic():
            self._reads.step(delivery_id, "open", now, opened=now)

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

    # ---- hashes

    def hash_of(self, user: User, place: Place, now: float) -> str:
        """SHA-256, in hex, of a file as this user could download it.  Does not count as reading."""
        delivery, shipment = self._delivery(user, place, now)
        offer = self._offer(delivery, shipment, place.path, now)
        if offer is None:
            raise NoSuchPlace(str(place))
        if offer.form == PLAIN:
            self._file_key(delivery, offer, now)
        return self._hash(delivery, offer)

    def hashing(self, user: User, place: Place, now: float) -> Iterator[None]:
        """Find beforehand, in pieces of some 10 ms, what `hash_of` or `open` of SHA256SUMS would have to hash.

        Bodies may have ten gigabytes.  What is found is remembered, so that it need not be looked for again.
        """
        delivery, shipment = self._delivery(user, place, now)
        if place.path == SUMS:
            offers = self._offers(delivery, self._registry.drops.of_shipment(shipment.id), now)
        else:
            offer = self._offer(delivery, shipment, place.path, now)
            offers = [offer] if offer else []
        yield from self._hash_all(delivery, [offer for offer in offers if offer.form == AGE])

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

    def _hash(self, delivery: Delivery, offer: Offer) -> str:
        if offer.form == PLAIN:
            assert offer.file.sha256 is not None  # known since it was merged, at the latest
            return offer.file.sha256
        for _ in self._hash_all(delivery, [offer]):
            pass
        found = self._registry.deliveries.lock_hash(offer.file.id, delivery.id, offer.kind)
        assert found is not None
        return found

    def _sums(self, delivery: Delivery, shipment: Shipment, now: float) -> bytes:
        """SHA256SUMS."""
        offers = self._offers(delivery, self._registry.drops.of_shipment(shipment.id), now)
        for _ in self._hash_all(delivery, [offer for offer in offers if offer.form == AGE]):
            pass  # nothing, where it was done beforehand
        known = self._registry.deliveries.lock_hashes(delivery.id)
        sums = (offer.file.sha256 if offer.form == PLAIN else known[offer.file.id, offer.kind] for offer in offers)
        return "".join(f"{found}  {offer.name}\n" for found, offer in zip(sums, offers, strict=True)).encode()

    # ---- opening

    def is_open(self, user: User, shipment_id: str, now: float) -> bool:
        """Whether this user has given the code, less than 15 minutes ago."""
        delivery = self._registry.deliveries.for_user(user.id, shipment_id)
        return delivery is not None and self._is_open(delivery, now)

    def _is_open(self, delivery: Delivery, now: float) -> bool:
        return delivery.lock is LockKind.CODE and self._registry.deliveries.opening(delivery.id, now) is not None

    def open_with_code(self, user: User, shipment_id: str, typed: str, now: float) -> None:
        """Open a shipment for this user, in all of their sessions, for 15 minutes.

        Raises WrongCode, the same for a wrong code and for no such shipment, and OpeningClosed after five wrong
        codes in a row, of which the owner is told.
        """
        delivery = self._registry.deliveries.for_user(user.id, shipment_id)
        shipment = self._registry.drops.find(shipment_id)
        if delivery and delivery.closed_until and delivery.closed_until > now:
            raise OpeningClosed(shipment_id, max(1, round((delivery.closed_until - now) / 60)))
        is_there = shipment is not None and _is_there(shipment, now) and delivery is not None
        key_file = self._registry.deliveries.key_file(delivery.id) if delivery and is_there else None
        code = ids.normal_code(typed)
        identity = self._try(key_file, code) if code else None
        if delivery is None or delivery.state not in READABLE or key_file is None:
            raise WrongCode(shipment_id)
        if identity is None:
            self._count_wrong(user, delivery, now)
            raise WrongCode(shipment_id)
        policy = self._holdings.policy
        with self._registry.atomic():
            self._registry.deliveries.change(delivery.id, wrong=0, closed_until=None)
            boxed = box(self._holdings.keys.running, identity.secret)
            self._registry.deliveries.set_opening(delivery.id, now + policy.opening, boxed)
            self._registry.record.tell(now, user.email, "opened with the code", shipment_id=shipment_id)
            self._reads.step(delivery.id, "open", now, opened=now)

    def _try(self, key_file: bytes | None, code: str) -> seal.Identity | None:
        """One scrypt, also where there is nothing to open: the time tells nothing."""
        with self._stretching:
            if key_file is None:
                seal.code_identity(code)
                return None
            try:
                return seal.open_key_file(key_file, code)
            except CannotOpen:
                return None

    def _count_wrong(self, user: User, delivery: Delivery, now: float) -> None:
        policy = self._holdings.policy
        with self._registry.atomic():
            wrong = self._registry.deliveries.count_wrong(delivery.id)
            self._registry.record.tell(now, user.email, "wrong code", shipment_id=delivery.shipment_id)
            if wrong < policy.wrong_codes:
                return
            self._registry.deliveries.change(delivery.id, wrong=0, closed_until=now + policy.closed)
            shipment = self._registry.drops.find(delivery.shipment_id)
            assert shipment is not None
            self._notices.to_recipient("wrong_codes", shipment, delivery, now)
            self._registry.record.tell(now, "exchange", "opening closed", user.email, delivery.shipment_id)
        self._holdings.ring()

    # ---- removing

    def remove(self, user: User, place: Place, now: float) -> None:
        """Hide one file from this recipient.  With the last one the delivery is REMOVED."""
        delivery, shipment = self._delivery(user, place, now)
        entry = self.stat(user, place, now)
        if entry.is_folder:
            raise IsAFolder(place.name)
        offer = self._offer(delivery, shipment, place.path, now)
        if not self._has_files(delivery, shipment, *([offer.file.path] if offer else [])):
            self._reads.catch_up([delivery.id])
        with self._registry.atomic():
            self._registry.deliveries.hide(delivery.id, [offer.file.name if offer else place.path])
            if not self._has_files(delivery, shipment):
                self._removed(user, delivery, shipment, now)
        self._holdings.ring()

    def remove_folder(self, user: User, place: Place, now: float) -> None:
        """Only one whose files were all removed; the rendered ones don't count."""
        delivery, shipment = self._delivery(user, place, now)
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
        delivery, shipment = self._delivery(user, place, now)
        self._reads.catch_up([delivery.id])
        with self._registry.atomic():
            self._registry.deliveries.hide(delivery.id, [""])
            self._removed(user, delivery, shipment, now)
        self._holdings.ring()

    def _removed(self, user: User, delivery: Delivery, shipment: Shipment, now: float) -> None:
        current = self._registry.deliveries.find(delivery.id)
        if (
            current
            and self._reads.step(delivery.id, "remove", now, ended=now)
            and current.state is not DeliveryState.COLLECTED
        ):
            self._notices.to_sender("removed_unread", shipment, now, recipient=user.email)


def _is_there(shipment: Shipment, now: float) -> bool:
    return shipment.state is ShipmentState.WAITING and (shipment.expires is None or shipment.expires > now)


def _entry(offer: Offer, name: str = "") -> Entry:
    return Entry(name or offer.name.rpartition("/")[2], False, offer.size, offer.file.mtime, FILE_MODE)


def _folder(name: str, mtime: float) -> Entry:
    return Entry(name, True, 0, mtime, FOLDER_MODE)
