"""Erasing: what has ended loses its locks and bodies, in pieces small enough that nobody waits for them.

First, in the transaction that ends it, it is shut: nobody reaches it any more, however much there is.  Then the keys
in the secrets go, then bodies and locks, file by file.  All of it may be done twice: whoever comes next after a
crash finds what is not erased yet, and goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.errors import FxError
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.holdings import Holdings
from fxsftp.store.registry.endings import START

log = logging.getLogger("fxsftp.exchange")

PIECE = 250  # locks or files in one transaction: some milliseconds
TOGETHER = 20  # shipments looked for at a time
QUIET = 60.0  # seconds after which whoever began to recall is taken for dead


class Erasing:
    """The second step of an end."""

    def __init__(self, holdings: Holdings, bodies: Bodies) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._rows = holdings.registry.endings
        self._bodies = bodies

    def erase(self, shipment_id: str, now: float) -> None:
        """All of it, and return when it is gone."""
        for _ in self.pieces(shipment_id, now):
            pass

    def pieces(self, shipment_id: str, now: float) -> Iterator[None]:
        """The same piece by piece.  The shipment has ended, so nothing is added to it."""
        self._holdings.secrets.erase_codes(
            [delivery.id for delivery in self._registry.deliveries.of_shipment(shipment_id)]
        )
        self._bodies.forget_drop_key(shipment_id)
        parcels = self._rows.parcels(shipment_id)
        is_empty = False
        while not is_empty:
            mark = START
            while files := self._rows.remains(shipment_id, mark, max(1, PIECE // max(1, len(parcels)))):
                blobs = {*self._rows.segment_blobs(files), *(file.blob for file in files if file.blob)}
                self._holdings.bodies.erase(*blobs)
                with self._registry.atomic(durable=False):  # here and below: the commit that ends it comes last
                    self._rows.empty(files, parcels)
                mark = files[-1].path, files[-1].id
                yield
            is_empty = self._rows.is_empty(shipment_id)
        with self._registry.atomic():
            if self._rows.erased(shipment_id, now):
                self._registry.record.tell(now, "exchange", "erased", shipment_id=shipment_id)
        yield

    def finish_recalled(self, now: float) -> None:
        """What a process that died has begun to recall: that does not wait for the sweep."""
        for shipment_id in self._rows.due(ShipmentState.RECALLED, now - QUIET, TOGETHER):
            try:
                self.erase(shipment_id, now)
            except FxError as problem:
                log.error("shipment %s is erased later: %s", shipment_id, problem)

    def due(self, before: float) -> Iterator[str]:
        """The shipments that ended before, each until it is erased."""
        for state in (ShipmentState.ENDED, ShipmentState.RECALLED):
            while found := self._rows.due(state, before, TOGETHER):
                yield from found
