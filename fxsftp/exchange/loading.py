"""Loading: rows by the thousand that a shipment needs, written before and after it leaves, never while it does.

Whoever writes a row waits while another transaction does, so none here writes more than a piece.  Before the
moment of truth the rows lie in a lot where nobody looks; after it, small bodies and wrapped keys leave the
files' rows.  A lot is found by whoever dispatches next, when the process that began it has died: one that has
left is finished, one that has not is cleared away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TypeVar

from fxsftp import seal
from fxsftp.domain.policy import HOUR
from fxsftp.errors import FxError
from fxsftp.exchange.holdings import Holdings
from fxsftp.store.registry.lots import Berth, Header, Lot

log = logging.getLogger("fxsftp.exchange")

PIECE = 250  # rows in one transaction: some milliseconds
ABANDONED = HOUR  # after which a lot that has not left never will

T = TypeVar("T")


class Loading:
    """The work before and after `Dispatch` decides."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._lots = holdings.registry.lots

    def load(self, parcels: Sequence[Sequence[Header]], berths: Sequence[Berth], pack: str | None, now: float) -> str:
        """The locks of each parcel and the berths of all files are written: a lot, by its id, and nothing more yet."""
        lot = seal.random_bytes(8).hex()
        try:
            self._write(lot, parcels, berths, pack, now)
        except BaseException:
            self.finish(lot)
            raise
        return lot

    def _write(
        self, lot: str, parcels: Sequence[Sequence[Header]], berths: Sequence[Berth], pack: str | None, now: float
    ) -> None:
        with self._registry.atomic(durable=False):  # here and below: the commit that decides is durable, and comes last
            self._lots.begin(lot, pack, now)
        for piece in _pieces(berths):
            with self._registry.atomic(durable=False):
                self._lots.add_berths(lot, piece)
        for number, headers in enumerate(parcels):
            for part in _pieces(headers):
                with self._registry.atomic(durable=False):
                    self._lots.add_locks(parcel_of(lot, number), part)

    def finish(self, lot_id: str) -> None:
        """The files of what has left are put in order; of what has not, and now never will, nothing stays.

        Several may do it at once.  What can't be done just now is done by `finish_all`.
        """
        try:
            with self._registry.atomic(durable=False):
                self._lots.give_up(lot_id)
            lot = self._lots.find(lot_id)
            if lot:
                self._put_away(lot)
        except FxError as problem:
            log.error("what lot %s has left behind is put away later: %s", lot_id, problem)

    def finish_all(self, now: float) -> None:
        """What a process has left behind when it died."""
        for lot in self._lots.unfinished(before=now - ABANDONED):
            self.finish(lot.id)

    def _put_away(self, lot: Lot) -> None:
        has_left = bool(lot.shipment_id)
        while berths := self._lots.berths(lot.id, PIECE):
            with self._registry.atomic(durable=False):
                (self._lots.take if has_left else self._lots.drop)(lot, berths)
        # What was recalled while it was put away has taken no berth, and its recall knew of no pack.
        if lot.pack and not (has_left and self._lots.is_pack_in_use(lot)):
            self._holdings.bodies.erase(lot.pack)
        with self._registry.atomic(durable=False):
            self._lots.forget(lot)


def parcel_of(lot_id: str, number: int) -> str:
    """What a delivery calls its locks."""
    return f"{lot_id}-{number}"


def _pieces(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(rows), PIECE):
        yield rows[first : first + PIECE]
