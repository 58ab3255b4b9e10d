"""In hand: new small files of a folder that is being filled, which get no row before their CLOSE.

Thousands of small files make most of what a small file costs: here it is one look at its OPEN, and at its CLOSE one
transaction.  Nobody can tell the difference.  Who looks at an outbox first has all that its owner has in hand written
down; what stays open for a moment, or grows, is written down as well; and no dispatcher, in whatever process, can find
its drop settled before that.  Who sends the drop at once asks first whether anything of its sender `is_elsewhere`.  A
session that is lost loses what it has in hand, as it would lose what was not flushed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Protocol

from fxsftp import seal
from fxsftp.domain.lifecycle import FileState, ShipmentState
from fxsftp.domain.model import File, User, Wishes
from fxsftp.errors import FxError, NoSuchPlace, Unavailable
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.drafts import FILE_MODE, MODE_MASK, NO_ROW, Draft
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.holdings import Holdings
from fxsftp.store.registry.drops import Closed, Joining

MOMENT = 1.0  # seconds after which what is still open gets its row
UNSEEN = 5.0  # seconds in which every process has said its `beat`, and so written down what it had in hand
REMEMBERED = 1024  # drops whose files were counted, and recipients who were looked for

Place = tuple[int, str, str]  # owner, recipient, path


class DraftOf(Protocol):
    """Begins a draft of a file: Writing's."""

    def __call__(
        self, file: File, file_key: bytes, *, allowance: int, quota: int, now: float, add_row: Callable[[Draft], File]
    ) -> Draft: ...


class InHand:
    """What this process has in hand, by place.  `add_row(user, draft)` gives one the row that an OPEN makes."""

    def __init__(
        self,
        holdings: Holdings,
        bodies: Bodies,
        drops: Drops,
        draft_of: DraftOf,
        add_row: Callable[[User, Draft], File],
    ) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._rows = holdings.registry.drops
        self._policy = holdings.policy
        self._bodies = bodies
        self._drops = drops
        self._draft_of = draft_of
        self._add_row = add_row
        self._drafts: dict[Place, tuple[Draft, Joining]] = {}  # with the drop that it joins, as it was at its OPEN
        self._held: dict[int, int] = {}  # how many of them, by owner
        self._turn = Lock()  # of whoever changes these two; the last that is taken
        self._addressed: dict[tuple[int, str], float] = {}  # when it was last looked whether they may be
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()  # by drop: its revision, and its files then

    # ---- OPEN

    def open(
        self, user: User, who: str, path: str, wishes: Wishes, session: str, now: float, *, at_once: bool = False
    ) -> Draft | None:
        """A draft without a row, where a new file joins a drop that is being filled; None where that is not so.

        `at_once` is for a loop: None, or Unavailable, also where that is not to be seen without waiting.
        """
        size = wishes.size or 0
        if "/" not in path or not who or size > seal.CHUNK or self._policy.is_litter(path):
            return None
        if at_once and not self._was_addressed(user, who, now):
            return None
        drop = self._rows.joined_at(user.id, who, path, at_once=at_once)
        if drop is None or not self._is_being_filled(drop, now):
            return None
        if not self._was_addressed(user, who, now):
            self._drops.recipient(user, who)
            self._note_addressed(user, who, now)
        quota = user.quota or self._policy.quota
        if drop.used + size > quota:
            return None
        writer = self._holdings.workers.signed(session)
        file = File(
            NO_ROW, drop.id, user.id, who, path, FileState.DRAFT, shown=True, announced=wishes.size, size=0,
            mtime=now if wishes.mtime is None else wishes.mtime,
            mode=(FILE_MODE if wishes.mode is None else wishes.mode) & MODE_MASK,
            sha256=None, writer=writer, progress=now, connected=writer, blob=None, start=0, body=0, in_row=False,
            beat=None,
        )  # fmt: skip

        def add_row(draft: Draft) -> File:
            return self._write_down(user, draft)

        draft = self._draft_of(
            file, seal.new_file_key(), allowance=quota - drop.used, quota=quota, now=now, add_row=add_row
        )
        return draft if self._hold(draft, drop) else None

    def _hold(self, draft: Draft, drop: Joining) -> bool:
        """Have it in hand, unless another is at its place."""
        place = _place(draft.file)
        owner = place[0]
        with self._turn:
            count = self._held.get(owner, 0)
            if place in self._drafts or not (count or self._holdings.workers.hands.mark(owner)):
                return False
            self._drafts[place], self._held[owner] = (draft, drop), count + 1
        return True

    def _let_go(self, place: Place) -> None:
        """It has its row, or gets none."""
        owner = place[0]
        with self._turn:
            if self._drafts.pop(place, None) is None:
                return
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]
                self._holdings.workers.hands.unmark(owner)

    def _was_addressed(self, user: User, who: str, now: float) -> bool:
        """Whether this user could send there a moment ago.  What leaves is looked at again."""
        return 0 <= now - self._addressed.get((user.id, who), -MOMENT) < MOMENT

    def _note_addressed(self, user: User, who: str, now: float) -> None:
        while len(self._addressed) >= REMEMBERED:
            self._addressed.pop(next(iter(self._addressed)), None)
        self._addressed[user.id, who] = now

    def _is_being_filled(self, drop: Joining, now: float) -> bool:
        quiet = min(self._policy.settle_loose, self._policy.settle_folder)
        is_open = drop.state in (ShipmentState.DROPPING, ShipmentState.SETTLING) and not drop.is_composing
        return is_open and now + UNSEEN <= drop.progress + quiet

    # ---- who looks

    def write_down(self, user_id: int) -> None:
        """Whatever this user has in hand gets its row, because somebody is about to look.  Not within a transaction."""
        if self._drafts:
            self._write_down_all([draft for place, (draft, _) in list(self._drafts.items()) if place[0] == user_id])

    def is_elsewhere(self, user_id: int) -> bool:
        """Whether another process has anything of this user in hand: it writes that down, at the latest in UNSEEN."""
        return self._holdings.workers.hands.is_elsewhere(user_id)

    def beat(self, now: float) -> None:
        """So does what has been in hand for a moment."""
        if self._drafts:
            self._write_down_all([draft for draft, _ in list(self._drafts.values()) if draft.opened + MOMENT <= now])

    @staticmethod
    def _write_down_all(drafts: list[Draft]) -> None:
        for draft in drafts:
            with suppress(FxError):  # its own WRITE or CLOSE will say so
                draft.write_down()

    def _write_down(self, user: User, draft: Draft) -> File:
        before = self._rows.find(draft.file.shipment_id)
        if before and before.state is ShipmentState.RECALLED:
            raise NoSuchPlace(draft.file.name)
        file = self._add_row(user, draft)
        self._let_go(_place(file))
        return file

    # ---- CLOSE

    def close(self, draft: Draft, sealed: seal.Sealed, state: FileState, now: float) -> bool:
        """All of a small file in one transaction, the moment of truth; False when it has a row or needs one first."""
        place, small = _place(draft.file), sealed.small
        with draft.turn:
            held, drop = self._drafts.get(place, (None, None))
            if drop is None or held is not draft or draft.has_row or small is None:
                return False
            mtime = draft.file.mtime if draft.mtime is None else draft.mtime
            closed = Closed(state, draft.announced, sealed.size, sealed.sha256, mtime, draft.mode)
            with self._registry.atomic():
                # Most often nobody has come in between, and what was seen at its OPEN need not be looked at again.
                if not self._join(drop, draft, closed, small, now):
                    found = self._rows.joined_at(*place)
                    if found is None or found.id != drop.id or not self._join(found, draft, closed, small, now):
                        return False  # it left or was held meanwhile, or somebody put something else there
            draft.forgo_row()
        self._let_go(place)
        return True

    def _join(self, drop: Joining, draft: Draft, closed: Closed, small: bytes, now: float) -> bool:
        """The row of a closed file, and what follows for its drop, if that still is as it was seen and takes it."""
        count = self._count(drop)
        if count >= self._policy.max_files or not self._is_being_filled(drop, now):
            return False
        waits = self._policy.is_partial(draft.file.path)
        try:
            key = seal.wrap_under(self._bodies.drop_key(drop.id), draft.fresh_key)
        except Unavailable:  # it was recalled meanwhile
            return False
        if not self._rows.add_small(draft.file, drop, closed, key, small, now, waits=waits):
            return False
        self._drops.joined(drop, now, waits=waits or drop.is_waiting)
        self._counts[drop.id] = drop.revision + 1, count + 1
        return True

    def _count(self, drop: Joining) -> int:
        """How many files it has.  Whoever adds one moves its revision on."""
        revision, count = self._counts.get(drop.id, (0, 0))
        if revision != drop.revision:
            count = self._rows.tally(drop.id)[0]
            while len(self._counts) >= REMEMBERED:
                self._counts.popitem(last=False)
        return count

    # ---- a session that is gone

    def lose(self, draft: Draft) -> bool:
        """Nothing stays of what has no row, and flushed nothing; answers whether it was so."""
        if not draft.drop_from_hand():
            return False
        self._let_go(_place(draft.file))
        return True

    def settle_chores(self) -> None:
        """Wait for the rows that are on their way."""
        for draft, _ in list(self._drafts.values()):
            draft.settle_chores()


def _place(file: File) -> Place:
    return file.owner_id, file.who, file.path
