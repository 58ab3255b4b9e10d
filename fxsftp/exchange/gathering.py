"""Gathering: loose files that leave together become one drop before they do, piece by piece.

Each piece is whole by itself: a file belongs to one drop or to the other, its key wrapped under that one's.  Who
gathers may die or be overtaken between two pieces; what is gathered then is a drop with more files than one, and the
rest is gathered next time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fxsftp import seal
from fxsftp.domain.model import Shipment
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.holdings import Holdings
from fxsftp.store.registry.gatherings import Taken

log = logging.getLogger("fxsftp.exchange")

PIECE = 100  # drops in one transaction: some milliseconds


class Gathering:
    """Of drops that have settled, from one folder and for one recipient."""

    def __init__(self, holdings: Holdings, bodies: Bodies) -> None:
        self._registry = holdings.registry
        self._rows = holdings.registry.gatherings
        self._bodies = bodies

    def gather(self, drops: Sequence[Shipment], most: int) -> list[Shipment]:
        """As few drops as hold all of their files, with at most so many each; the first of them gives its number.

        What was changed since it was read stays by itself, and so does the rest of its piece.
        """
        gathered = []
        for bundle in self._bundles(drops, most):
            first = bundle[0]
            for start in range(1, len(bundle), PIECE):
                first = self._take(first, bundle[start : start + PIECE])
            gathered.append(first)
        return gathered

    def _bundles(self, drops: Sequence[Shipment], most: int) -> list[list[Shipment]]:
        bundles: list[list[Shipment]] = []
        room = 0
        for start in range(0, len(drops), PIECE):
            piece = drops[start : start + PIECE]
            counts = self._rows.counts([drop.id for drop in piece])
            for drop in piece:
                room -= counts.get(drop.id, 0)
                if room < 0 or not bundles:
                    bundles.append([])
                    room = most - counts.get(drop.id, 0)
                bundles[-1].append(drop)
        return bundles

    def _take(self, first: Shipment, others: Sequence[Shipment]) -> Shipment:
        """`first` as it is with the files of the others, or as it was."""
        key = self._bodies.drop_key(first.id)
        taken = [
            Taken(file.id, seal.wrap_under(key, seal.unwrap_under(self._bodies.drop_key(file.shipment_id), file.key)))
            for file in self._rows.wrapped([other.id for other in others])
        ]
        with self._registry.atomic():  # durable, since the others' keys are erased next
            found = self._rows.take(first, others, taken)
        if not found:
            log.info("shipment %s: loose files beside it were changed, and leave by themselves", first.id)
            return first
        self._bodies.forget_drop_key(*(other.id for other in others))
        return found
