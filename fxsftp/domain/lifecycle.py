"""The life of a file, a shipment and a delivery, as three tables.

Each row: from which states, at what event, to which state, in one sentence.  WALK.md draws these
tables; a test walks over them; no state changes but by `after`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from fxsftp.errors import WrongState


class FileState(StrEnum):
    """Where the bytes of one file of a drop stand."""

    DRAFT = "draft"
    COMPLETE = "complete"
    SUSPECT = "suspect"


class ShipmentState(StrEnum):
    """Where a shipment stands as a whole."""

    DROPPING = "dropping"
    SETTLING = "settling"
    HELD = "held"
    WAITING = "waiting"
    RECALLED = "recalled"
    ENDED = "ended"


class DeliveryState(StrEnum):
    """Where one recipient's part in a shipment stands."""

    WAITING = "waiting"
    OPENED = "opened"
    COLLECTED = "collected"
    SUSPENDED = "suspended"
    REMOVED = "removed"
    RECALLED = "recalled"
    EXPIRED = "expired"


State = TypeVar("State", FileState, ShipmentState, DeliveryState)


@dataclass(frozen=True, slots=True)
class Step(Generic[State]):
    """One row of a table."""

    states: tuple[State, ...]
    event: str
    next: State
    sentence: str


_F, _S, _D = FileState, ShipmentState, DeliveryState

FILES: Sequence[Step[FileState]] = (
    Step((_F.DRAFT,), "close", _F.COMPLETE, "a genuine CLOSE, and every announced byte is there and durable"),
    Step((_F.DRAFT,), "doubt", _F.SUSPECT, "a genuine CLOSE, but the end looks as if an interrupt had cut it"),
    Step((_F.COMPLETE, _F.SUSPECT), "resume", _F.DRAFT, "opened again to be continued, before it was dispatched"),
    Step((_F.SUSPECT,), "trust", _F.COMPLETE, "nothing more came for long enough, or the sender said send"),
)

SHIPMENTS: Sequence[Step[ShipmentState]] = (
    Step((_S.DROPPING,), "complete", _S.SETTLING, "all its files are complete and durable"),
    Step((_S.SETTLING,), "change", _S.DROPPING, "the sender writes, adds, renames or removes before it has settled"),
    Step((_S.SETTLING,), "settle", _S.WAITING, "quiet for long enough: deliveries, locks and notices are written"),
    Step((_S.SETTLING,), "send", _S.WAITING, "the sender does not wait for the quiet"),
    Step((_S.DROPPING, _S.SETTLING), "hold", _S.HELD, "no progress, a failed check or no able recipient; sender told"),
    Step((_S.HELD,), "change", _S.DROPPING, "the sender takes it up again"),
    Step((_S.HELD,), "release", _S.SETTLING, "the reason is gone, or an admin releases it"),
    Step((_S.HELD,), "sweep", _S.ENDED, "held for so long that it is taken for abandoned"),
    Step((_S.SETTLING, _S.HELD, _S.WAITING), "recall", _S.RECALLED, "the sender takes it back; erased at once"),
    Step((_S.WAITING,), "done", _S.ENDED, "every recipient is done with it"),
    Step((_S.WAITING,), "expire", _S.ENDED, "its time is over, after reminders"),
)

DELIVERIES: Sequence[Step[DeliveryState]] = (
    Step((_D.WAITING,), "open", _D.OPENED, "the first byte was read, or the code was given"),
    Step((_D.OPENED,), "collect", _D.COLLECTED, "every file's whole range was sent; the sender hears of it"),
    Step((_D.WAITING, _D.OPENED, _D.COLLECTED), "remove", _D.REMOVED, "the recipient removes it"),
    Step((_D.WAITING, _D.OPENED, _D.COLLECTED, _D.SUSPENDED), "recall", _D.RECALLED, "the sender recalls it"),
    Step((_D.WAITING, _D.OPENED, _D.COLLECTED, _D.SUSPENDED), "expire", _D.EXPIRED, "its time is over"),
    Step((_D.WAITING, _D.OPENED, _D.COLLECTED), "suspend", _D.SUSPENDED, "the recipient is disabled"),
    Step((_D.SUSPENDED,), "enable", _D.WAITING, "the recipient is enabled again, nothing read yet"),
    Step((_D.SUSPENDED,), "enable-opened", _D.OPENED, "the recipient is enabled again, had begun to read"),
    Step((_D.SUSPENDED,), "enable-collected", _D.COLLECTED, "the recipient is enabled again, had read it all"),
)

SCAN_CAUSES = ("scan", "scanner")  # of being held: for what was found, or because nobody could look
BEFORE_DISPATCH = (_S.DROPPING, _S.SETTLING, _S.HELD)
READABLE = (_D.WAITING, _D.OPENED, _D.COLLECTED)
DONE = (_D.REMOVED, _D.RECALLED, _D.EXPIRED)


def after(table: Sequence[Step[State]], state: State, event: str, what: str = "it") -> State:
    """The state that `event` leads to.  WrongState when the table has no such row."""
    for step in table:
        if step.event == event and state in step.states:
            return step.next
    raise WrongState(what, state.value, _PAST.get(event, event))


_PAST = {"recall": "recalled", "release": "released", "send": "sent", "open": "opened", "remove": "removed"}
