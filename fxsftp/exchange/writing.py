"""Writing: one file from its OPEN to its CLOSE, or to the loss of its session.

Only `close_draft` completes a file, and when it has returned the file is durable.  What was lost stays as a
draft that a later OPEN takes up; of two who write one name, the last genuine CLOSE wins.

New small files of a folder that is being filled have a way of their own, in_hand.py.  What other processes have open
stands in elsewhere.py, and which drop a new file joins in entering.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from fxsftp import seal
from fxsftp.domain import lifecycle, places
from fxsftp.domain.lifecycle import FileState
from fxsftp.domain.model import File, User, Wishes
from fxsftp.domain.places import Place
from fxsftp.errors import (
    AlreadySent,
    AlreadyThere,
    FxError,
    IsAFolder,
    NoSuchPlace,
    NotYet,
    NotYours,
    OverQuota,
    Unavailable,
)
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.drafts import NO_ROW, Draft, Litter, is_untouched, rows_of
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.elsewhere import STEAL_AFTER, Elsewhere
from fxsftp.exchange.entering import Entering
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.in_hand import InHand


class Writing:
    """The verbs of a session that writes.  Each returns with the registry committed, or raises and nothing happened."""

    def __init__(self, holdings: Holdings, bodies: Bodies, drops: Drops) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._rows = holdings.registry.drops
        self._policy = holdings.policy
        self._workers = holdings.workers
        self._bodies = bodies
        self._drops = drops
        self._crowd = seal.Crowd(self._policy.ahead_total)
        self._entering = Entering(holdings, bodies, drops)
        self.elsewhere = Elsewhere(holdings, bodies, drops)
        self.in_hand = InHand(holdings, bodies, drops, self.draft_of, self._row_of)

    # ---- OPEN

    def open_draft(
        self,
        user: User,
        place: Place,
        *,
        truncate: bool,
        create: bool,
        exclusive: bool,
        appends: bool,
        wishes: Wishes,
        session: str,
        now: float,
    ) -> Draft | Litter:
        """Begin to write one file.  Parent folders are made as needed.

        Raises AlreadyThere, NoSuchPlace, IsAFolder, RecipientUnknown, NoRecipient, BadName, OverQuota, TooManyFiles,
        StoreFull, and NotYet while what may be resumed is being put away.
        """
        who, path = self._as_file(user, place)
        places.may_be_written(path)
        if create and not exclusive and (small := self.in_hand.open(user, who, path, wishes, session, now)):
            return small
        self.in_hand.write_down(user.id)
        if self._registry.folders.find(user.id, who, path):
            raise IsAFolder(place.name)
        existing = self._rows.shown(user.id, who, path)
        if exclusive and existing:
            raise AlreadyThere(place.name)
        if not create and not existing:
            raise NoSuchPlace(str(place))
        if self._policy.is_litter(path):
            return self._entering.litter(user, who, path, existing, now)
        recipient, subject = self._drops.destination(user, who, path)
        used, quota = self._drops.usage(user)
        if existing and self._drops.is_before_dispatch(existing):
            used -= existing.size  # it goes, or goes on, with this one's CLOSE
        if wishes.size is not None and used + wishes.size > quota:
            raise OverQuota(quota, used)
        keeps = existing is not None and not truncate
        if keeps:
            self._ask_for(user, who, path)
        self._holdings.bodies.check_room()
        beat = None if keeps else self._workers.ticks()
        writer = self._workers.signed(session)
        file_key = seal.new_file_key()
        file = self._entering.row(user, who, path, recipient, subject, existing, wishes, writer, beat, now, file_key)
        try:
            # Only now: the new row keeps the drop from leaving while the older one is taken up.
            base, refusal = self._base(file, now) if keeps else (None, None)
            draft = Draft(
                self._holdings,
                file,
                file_key,
                base=base,
                keeps=keeps,
                refusal=refusal,
                appends=appends,
                claim=self._claim,
                crowd=self._crowd,
                allowance=quota - used,
                quota=quota,
                now=now,
            )
        except BaseException:
            self._entering.give_up(file, now)
            raise
        self._drops.writers[file.id] = draft
        return draft

    def open_at_once(self, user: User, place: Place, wishes: Wishes, session: str, now: float) -> Draft | None:
        """The same in a loop, of a file that may be made or put again; None where `open_draft` has to be asked.

        It is so for the many small files that a folder is filled with.  Raises BadName.
        """
        if not place.who or not place.path:
            return None
        places.may_be_written(place.path)
        try:
            return self.in_hand.open(user, place.who, place.path, wishes, session, now, at_once=True)
        except Unavailable:
            return None

    def draft_of(
        self,
        file: File,
        file_key: bytes,
        *,
        stored: Sequence[seal.Stored] = (),
        allowance: int,
        quota: int,
        now: float,
        add_row: Callable[[Draft], File] | None = None,
    ) -> Draft:
        """Write a row that is there already and this session's own, or one to come: nothing is left to be decided.

        Raises StoreFull: also bodies that lie in rows leave the rest of the disk to all else.
        """
        self._holdings.bodies.check_room()
        draft = Draft(
            self._holdings,
            file,
            file_key,
            base=(file, file_key, stored),
            keeps=False,
            refusal=None,
            appends=False,
            claim=self._claim,
            crowd=self._crowd,
            allowance=allowance,
            quota=quota,
            now=now,
            add_row=add_row,
        )
        if draft.has_row:
            self._drops.writers[file.id] = draft
        return draft

    def _as_file(self, user: User, place: Place) -> tuple[str, str]:
        if place.path:
            return place.who, place.path
        if place.who and not self._drops.may_address(user, place.who):
            return "", place.who
        raise IsAFolder(place.name)

    def _row_of(self, user: User, draft: Draft) -> File:
        """The row of what was in hand."""
        file = draft.file
        recipient, subject = self._drops.destination(user, file.who, file.path)
        existing = self._rows.shown(user.id, file.who, file.path)
        wishes = Wishes(size=file.announced, mtime=file.mtime, mode=file.mode)
        row = self._entering.row(
            user, file.who, file.path, recipient, subject, existing, wishes, draft.session, self._workers.ticks(),
            draft.opened, draft.fresh_key,
        )  # fmt: skip
        self._drops.writers[row.id] = draft
        return row

    # ---- what an OPEN may resume

    def _base(self, file: File, now: float) -> tuple[tuple[File, bytes, Sequence[seal.Stored]] | None, FxError | None]:
        """What `file`, just opened, may resume at its place, or why it can't."""
        older = self._older(file.owner_id, file.who, file.path, but=file.id)
        if older is None:
            return None, None
        if older.shipment_id != file.shipment_id:
            return None, AlreadySent(older.name)
        other = self._drops.writers.get(older.id)
        try:
            if other:
                if not other.is_lost:
                    if now - other.last_write < STEAL_AFTER:
                        return None, NotYours(older.name)
                    self.lose_draft(other, now)  # the same user, reconnected before the old connection was found dead
                if not other.is_put_away:
                    raise NotYet(older.name)
                older = self._rows.file(older.id)
            else:
                older = self.elsewhere.let_go(older)
        except NotYours as refusal:
            return None, refusal
        if older is None or not older.size:
            return None, None
        return (older, self._bodies.draft_key(older), self._bodies.stored(older)), None

    def _ask_for(self, user: User, who: str, path: str) -> None:
        """As `_base` does, before there is a row for each time that is asked.  Raises NotYet while it is put away."""
        older = self._older(user.id, who, path)
        if older is None:
            return
        other = self._drops.writers.get(older.id)
        if other and other.is_lost and not other.is_put_away:
            raise NotYet(older.name)
        if other is None and self._drops.is_before_dispatch(older):
            with suppress(NotYours):  # a WRITE is refused then, not the OPEN
                self.elsewhere.ask_for(older)

    def _older(self, owner_id: int, who: str, path: str, *, but: int = NO_ROW) -> File | None:
        """The newest row at a place `but` one, not counting other OPENs that have not written yet."""
        for row in reversed(self._rows.at(owner_id, who, path)):
            other = self._drops.writer(row)
            is_touched = other.is_touched if other else row.beat is not None or not self._drops.is_elsewhere(row)
            if row.id != but and is_touched:
                return row
        return None

    def _claim(self, draft: Draft, base: File) -> None:
        """From now on `draft` writes the row `base`.  Raises NotYours when another session was here first."""
        current = self._rows.file(base.id)
        if current is None or not is_untouched(current, base) or self._drops.writer(base):
            raise NotYours(base.name)
        self._drops.writers.pop(draft.file.id, None)
        self._drops.writers[base.id] = draft

    # ---- CLOSE

    def close_draft(self, draft: Draft | Litter, now: float) -> None:
        """A genuine CLOSE: when this returns, the file survives kill -9 and a power cut.

        Raises Incomplete or Gap when bytes are missing (what has arrived can be resumed), NoSuchPlace or NotYours
        when it was removed or recalled meanwhile.
        """
        if isinstance(draft, Litter):
            with self._registry.atomic(durable=False):
                self._rows.change_file(
                    draft.file.id, size=draft.size, mtime=draft.mtime or draft.file.mtime, mode=draft.mode
                )
            return
        if not draft.is_touched:
            self._close_untouched(draft, now)
            return
        try:
            sealed = draft.finish()
        except FxError:
            self.lose_draft(draft, now)
            raise
        try:
            if self.in_hand.close(draft, sealed, self._state_of(draft), now):
                return
            draft.write_down()
        except BaseException:
            self.lose_draft(draft, now)
            raise
        try:
            with self._registry.atomic():
                self._complete(draft, sealed, now)  # the moment of truth: only after this does the client hear OK
        except NotYours:
            self._taken(draft)
            raise
        self._drops.writers.pop(draft.file.id, None)
        draft.erase_blobs()

    @staticmethod
    def _state_of(draft: Draft) -> FileState:
        """Of what was closed."""
        event = "doubt" if draft.looks_cut else "close"
        return lifecycle.after(lifecycle.FILES, FileState.DRAFT, event, draft.file.name)

    def _complete(self, draft: Draft, sealed: seal.Sealed, now: float) -> None:
        rows = self._rows
        file = rows.file(draft.file.id)
        if file is None or not file.shown or not self._drops.is_before_dispatch(file):
            raise NoSuchPlace(draft.file.name)
        if file.writer != draft.session:
            raise NotYours(draft.file.name)
        for other in rows.at(file.owner_id, file.who, file.path):
            # Who still writes there may yet be the last to close.
            if other.id != file.id and not self._drops.is_being_written(other):
                self._drops.forget_or_hide(other, now)
        rows.change_file(
            file.id,
            state=self._state_of(draft),
            waits=int(self._policy.is_partial(file.path)),
            size=sealed.size,
            announced=draft.announced,
            sha256=sealed.sha256,
            mtime=draft.mtime if draft.mtime is not None else file.mtime,
            mode=draft.mode,
            writer=None,
            wanted=0,
            progress=now,
            small=sealed.small,
            blob=self._bodies.blob_id(sealed.blob) if sealed.blob else None,
            body=seal.payload_size(sealed.size),
        )
        self._registry.segments.set(file.id, rows_of(sealed.pieces))
        self._drops.changed(file.shipment_id, now)

    def _close_untouched(self, draft: Draft, now: float) -> None:
        """Opened without TRUNC over something and closed without a write: times and mode, nothing else."""
        with self._registry.atomic():
            below = self._older(draft.file.owner_id, draft.file.who, draft.file.path, but=draft.file.id)
            if below and draft.mtime is not None:
                self._rows.change_file(below.id, mtime=draft.mtime)
            if below and draft.mode != draft.file.mode:
                self._rows.change_file(below.id, mode=draft.mode)
            self._entering.give_up(draft.file, now)

    # ---- a session that is gone

    def lose_draft(self, draft: Draft | Litter, now: float) -> None:
        """The session is gone without a CLOSE: what has arrived can be resumed, and nobody ever sees it."""
        if isinstance(draft, Litter):
            return
        if draft.is_lost:
            draft.abandon()  # what a WRITE brought while somebody else gave it up
            if draft.is_taken:
                self._taken(draft)
            return
        if not draft.is_touched:
            draft.abandon()
            self._entering.give_up(draft.file, now)
            return
        if self.in_hand.lose(draft):
            return
        try:
            self._put_away(draft, now)
        finally:
            if self._drops.writers.get(draft.file.id) is draft:
                del self._drops.writers[draft.file.id]
            draft.is_put_away = True

    def _taken(self, draft: Draft) -> None:
        """Another process has its row: nothing here is to be touched, and nobody here to be asked, for it."""
        draft.taken()
        draft.abandon()
        if self._drops.writers.get(draft.file.id) is draft:
            del self._drops.writers[draft.file.id]
        draft.is_put_away = True

    def _put_away(self, draft: Draft, now: float) -> None:
        draft.settle_chores()
        with self._registry.atomic(durable=False):
            file = self._rows.file(draft.file.id)
            if draft.is_taken or (file and file.writer != draft.session):
                draft.taken()
                draft.abandon()
                return
            self._rows.change_file(draft.file.id, beat=0)  # whoever comes for it by another process waits
        segments = draft.suspend()
        with self._registry.atomic():
            file = self._rows.file(draft.file.id)
            if file is None:
                return
            is_worth_it = segments or draft.flushed or file.in_row or self._drops.is_composing(file)
            if self._is_outdone(draft) or not is_worth_it:
                self._drops.forget(file)
            else:
                self._registry.segments.set(file.id, segments)
                self._rows.change_file(
                    file.id, size=draft.flushed, writer=None, wanted=0, progress=now, announced=draft.announced,
                    sha256=None,
                )  # fmt: skip
            self._drops.changed(file.shipment_id, now)
        draft.erase_blobs()

    def _is_outdone(self, draft: Draft) -> bool:
        """Whether another CLOSE at its place came after its OPEN: the last genuine CLOSE wins, a loss never does."""
        file = draft.file
        return any(
            other.id != file.id and other.state is not FileState.DRAFT and other.progress >= draft.opened
            for other in self._rows.at(file.owner_id, file.who, file.path)
        )

    def session_ended(self, session: str, now: float) -> None:
        """Its folders need not wait for more from it."""
        del now  # a folder settles from its last change on
        with self._registry.atomic(durable=False):
            self._registry.writers.disconnect(self._workers.signed(session))

    # ---- meanwhile

    def sync_draft(self, draft: Draft | Litter) -> None:
        """fsync@openssh.com."""
        if isinstance(draft, Draft):
            draft.sync()

    def beat(self, now: float) -> None:
        """Drafts that grow are in progress; said every moment, so that no long upload is taken for stalled.

        What other processes ask for, and is still, is put away for them.
        """
        self.in_hand.beat(now)
        for file in self._registry.writers.wanted():
            if file.writer and self.elsewhere.is_ours(file.writer):
                self._answer(file, now)
        moved = [draft for draft in list(self._drops.writers.values()) if draft.moved and not draft.is_lost]
        if not moved:
            return
        with self._registry.atomic(durable=False):
            for draft in moved:
                self._note(draft, now)
        for draft in moved:
            draft.sync_meanwhile()

    def _answer(self, file: File, now: float) -> None:
        draft = self._drops.writers.get(file.id)
        if draft is None:  # it could not be put away when its session ended
            self.elsewhere.take_up(file)
        elif draft.moved or now - draft.last_write < STEAL_AFTER:
            with self._registry.atomic(durable=False):
                self._rows.change_file(file.id, wanted=0, beat=self._workers.ticks())
        else:
            self.lose_draft(draft, now)

    def _note(self, draft: Draft, now: float) -> None:
        wanted = draft.file
        if draft.has_chores:
            return  # its row may not be its own yet
        draft.moved, draft.last_write = False, now
        file = self._rows.file(wanted.id)
        if file is None or file.state is not FileState.DRAFT or draft.file is not wanted:
            return
        if file.writer != draft.session:
            self._taken(draft)
            return
        self._rows.change_file(file.id, progress=now, size=draft.flushed, beat=self._workers.ticks())
        self._drops.changed(file.shipment_id, now)
