"""Scanning: what a settled drop holds is looked at before it leaves, and what is found may hold it.

Who looks are hooks, elsewhere and for as long as it takes; nothing here waits for them.  This room says what is due,
opens it to be read, and records what came of it, each time only if the drop is still what it was when they began:
one that was changed meanwhile has another revision, settles anew, and is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fxsftp.domain import lifecycle
from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import File, Kind, Shipment
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.dispatch import Dispatch, Held, damaged, leaving_together
from fxsftp.exchange.holdings import Holdings
from fxsftp.seal.stream import ReadAt

LARGE = 256 << 20  # bytes that are looked at together; a drop of more is by itself, so that no other waits for it
TOLD = 20  # warnings in one receipt


@dataclass(frozen=True)
class Scan:
    """One drop that is to be looked at.  `sender` is the kind of whoever dropped it."""

    drop: Shipment
    files: Sequence[File]
    sender: Kind

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


class Scanning:
    """One room."""

    def __init__(self, holdings: Holdings, bodies: Bodies, dispatch: Dispatch) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._bodies = bodies
        self._dispatch = dispatch

    def due(self, now: float, *, without: Callable[[Shipment], bool] = lambda _: False) -> list[list[Scan]]:
        """What has settled and was not looked at, and what is held because nobody could look.

        Those that stand together here are to leave together, and so are looked at before any of them leaves.
        """
        waiting = [drop for drop in self._dispatch.settled(now) if not drop.is_scanned and not without(drop)]
        found: list[list[Scan]] = []
        for together in leaving_together(waiting, self._holdings.policy.max_files):
            size = LARGE + 1
            for scan in sorted(map(self._scan, together), key=lambda scan: scan.size):
                size += scan.size
                if size > LARGE:
                    found.append([])
                    size = scan.size
                found[-1].append(scan)
        held = self._registry.drops.held_by("scanner")
        return found + [[self._scan(drop)] for drop in held if not without(drop)]

    def _scan(self, drop: Shipment) -> Scan:
        sender = self._registry.people.by_id(drop.sender_id)
        assert sender is not None
        return Scan(drop, self._registry.drops.of_shipment(drop.id), sender.kind)

    def is_current(self, scan: Scan) -> bool:
        """Whether the drop is still what it was."""
        drop = self._registry.drops.find(scan.drop.id)
        return drop is not None and (drop.state, drop.revision) == (scan.drop.state, scan.drop.revision)

    def plaintext(self, file: File) -> ReadAt:
        """For one reader at a time.  Raises Missing or Forged when the body is not what it was."""
        return self._bodies.plain_at(file)

    # ---- what came of it

    def passed(self, scans: Sequence[tuple[Scan, Sequence[str]]], by: str, now: float) -> list[str]:
        """Nothing speaks against their leaving; what the scanners warned of is said in the receipts.

        Answers one line for the log for each drop that was still what it was.
        """
        done = []
        with self._registry.atomic():
            for scan, warnings in scans:
                if not self._pass(scan.drop):
                    continue
                more = [f"… and {len(warnings) - TOLD} more"] if len(warnings) > TOLD else []
                for warning in [*warnings[:TOLD], *more]:
                    self._registry.record.tell(now, "exchange", "warned", warning, scan.drop.id)
                self._registry.record.tell(now, "exchange", "scanned", by, scan.drop.id)
                done.append(f"{scan.drop.id} scanned" + (f": {len(warnings)} warnings" if warnings else ""))
        return done

    def _pass(self, drop: Shipment) -> bool:
        rows = self._registry.drops
        if drop.state is ShipmentState.HELD:  # the scanner is back
            state = lifecycle.after(lifecycle.SHIPMENTS, drop.state, "release", drop.id)
            if not rows.step(drop, state, drop.made):  # it had settled before it was held
                return False
            released = rows.find(drop.id)
            assert released is not None
            drop = released
        return rows.set_scanned(drop)

    def found(self, scan: Scan, reason: str, now: float) -> list[str]:
        """It is held until its sender changes it or an admin releases it."""
        return self._dispatch.hold(scan.drop, Held("scan", reason), now)

    def unanswered(self, scan: Scan, reason: str, now: float) -> list[str]:
        """Nobody could look: it is held too, and goes on by itself once somebody can."""
        return self._dispatch.hold(scan.drop, Held("scanner", reason), now)

    def unreadable(self, scan: Scan, file: File, now: float) -> list[str]:
        """What is stored of it does not verify, unless it was only changed meanwhile."""
        return self._dispatch.hold(scan.drop, damaged(file.name), now)
