"""Reads: how much of its files was sent to a recipient, and so whether a delivery is collected.

What was sent of a file is written when it is closed.  Of a folder of small files that costs more than to send them; so
of a file that was sent whole, while others of its delivery are not, it is kept for a moment and written together with
those that follow.  Whoever has kept something has marked the delivery, for all processes to see, and who ends one waits
for that first: so whether it was collected is never told wrong.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fxsftp.domain.lifecycle import READABLE, DeliveryState
from fxsftp.domain.model import Delivery, Shipment
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.notices import Notices
from fxsftp.exchange.reading import SUMS, Offer, Reading, merged
from fxsftp.exchange.steps import step

REMEMBERED = 1024  # deliveries of which a file is known that is missing
KEPT = 1000  # reads of one delivery kept at most
WAIT = 2.0  # seconds for another process that has marked a delivery; it writes within a tenth of one

NONE_MISSING = 0  # of a delivery that is collected


@dataclass(frozen=True, slots=True)
class Read:
    """What was sent of one file in one form, in one go."""

    offer: Offer
    spans: Sequence[tuple[int, int]]
    now: float

    @property
    def is_whole(self) -> bool:
        """Whether it was all."""
        return _is_whole(self.spans, self.offer)


class Reads:
    """Of all deliveries, in one process.  May be used in any thread."""

    def __init__(self, holdings: Holdings, notices: Notices) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._marks = holdings.workers.marks
        self._notices = notices
        self._lock = threading.Lock()
        self._kept: defaultdict[int, list[Read]] = defaultdict(list)
        self._deliveries: dict[int, tuple[Delivery, Shipment]] = {}  # of those
        self._missing: OrderedDict[int, int] = OrderedDict()  # by delivery: a file that was not yet sent whole
        self._writing = threading.Lock()

    def count(self, reading: Reading, now: float) -> None:
        """What was sent of it counts.  With the last byte of the last file, the delivery is collected.

        Only that is durable: of the reads before it nobody was promised anything, and its sync covers them.
        """
        read = _read(reading, now)
        if read is None or reading.delivery is None or reading.shipment is None:
            return
        with self._writing:
            kept = self._kept_of(reading.delivery.id)
            self._write(reading.delivery, reading.shipment, [*kept, read])
            self._written(reading.delivery.id, len(kept))

    def keep(self, reading: Reading, now: float) -> bool:
        """Keep it for `write`, in a loop; False where it has to be written at once."""
        read = _read(reading, now)
        if read is None:
            return True
        if reading.delivery is None or reading.shipment is None or not read.is_whole:
            return False
        number = reading.delivery.id
        with self._lock:
            if self._missing.get(number, read.offer.file.id) == read.offer.file.id:
                return False
            kept = self._kept.get(number, ())
            if len(kept) >= KEPT or (not kept and not self._marks.mark(number)):
                return False
            self._kept[number].append(read)
            self._deliveries[number] = reading.delivery, reading.shipment
        return True

    def write(self) -> None:
        """Write what was kept."""
        for number in list(self._kept):
            self._write_kept(number)

    def catch_up(self, delivery_ids: Iterable[int]) -> None:
        """Return when all that was sent is written, by this process or another."""
        numbers = list(delivery_ids)
        for number in numbers:
            self._write_kept(number)
        self._marks.wait(numbers, WAIT)

    # ---- below

    def _write_kept(self, number: int) -> None:
        with self._writing:
            kept = self._kept_of(number)
            if kept:
                self._write(*self._deliveries[number], kept)
                self._written(number, len(kept))

    def _kept_of(self, number: int) -> list[Read]:
        with self._lock:
            return list(self._kept.get(number, ()))

    def _written(self, number: int, count: int) -> None:
        with self._lock:
            if not count:
                return
            del self._kept[number][:count]
            if not self._kept[number]:
                del self._kept[number], self._deliveries[number]
                self._marks.unmark(number)

    def _write(self, delivery: Delivery, shipment: Shipment, reads: Sequence[Read]) -> None:
        deliveries, is_collected, now = self._registry.deliveries, False, reads[-1].now
        with self._registry.atomic(durable=False):
            current = deliveries.find(delivery.id)
            if current is None or current.state not in (*READABLE, DeliveryState.REMOVED):
                return
            deliveries.set_spans(delivery.id, [self._row(delivery, read) for read in reads if read.is_whole])
            for part in (read for read in reads if not read.is_whole):
                deliveries.set_spans(delivery.id, [self._row(delivery, part)])
            if current.state is DeliveryState.WAITING:
                step(self._registry, delivery.id, "open", now, opened=now)
            missing = None
            if current.collected is None:
                missing = deliveries.missing(delivery.id, shipment.id, shipment.path_of(SUMS))
                is_collected = missing is None
            if is_collected:
                self._collected(delivery, now)
        self._remember(delivery.id, missing or NONE_MISSING)
        if is_collected:
            self._holdings.ring()

    def _row(self, delivery: Delivery, read: Read) -> tuple[int, str, list[tuple[int, int]], bool]:
        spans = list(read.spans)
        if not read.is_whole:
            spans = merged([*self._registry.deliveries.spans(delivery.id, read.offer.file.id, read.offer.form), *spans])
        return read.offer.file.id, read.offer.form, spans, _is_whole(spans, read.offer)

    def _remember(self, number: int, missing: int) -> None:
        with self._lock:
            self._missing[number] = missing
            self._missing.move_to_end(number)
            while len(self._missing) > REMEMBERED:
                self._missing.popitem(last=False)

    def _collected(self, delivery: Delivery, now: float) -> None:
        """The sender hears of it; of what was removed before it was closed, if not yet of that."""
        with self._registry.atomic():
            shipment = self._registry.drops.find(delivery.shipment_id)
            recipient = self._registry.people.by_id(delivery.user_id)
            assert shipment is not None
            assert recipient is not None
            is_told = step(self._registry, delivery.id, "collect", now, collected=now)
            if not is_told and self._notices.was_read_after_all(shipment, recipient.email, now):
                self._registry.deliveries.change(delivery.id, collected=now)
                self._registry.record.tell(now, recipient.email, "collected", shipment_id=shipment.id)
                is_told = True
            if not is_told:
                return
            self._notices.to_sender("collected", shipment, now, recipient=recipient.email)
            self._notices.events.collected(shipment.id, delivery.id, now)


def _read(reading: Reading, now: float) -> Read | None:
    """None where nothing was sent; of an empty file there is nothing to read."""
    offer = reading.offer
    if offer is None or not (reading.spans or not offer.size):
        return None
    return Read(offer, merged(reading.spans), now)


def _is_whole(spans: Sequence[tuple[int, int]], offer: Offer) -> bool:
    return not offer.size or (len(spans) == 1 and spans[0][0] == 0 and spans[0][1] >= offer.size)
