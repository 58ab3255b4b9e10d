"""Writing: one file from its OPEN to its CLOSE, or to the loss of its session.

Only `close_draft` completes a file, and when it has returned the file is durable.  What was lost stays as a
draft that a later OPEN takes up; of two who write one name, the last genuine CLOSE wins.

Any number of processes may write at one time.  A row belongs to the process that has signed it as `writer`, as long
as that lives: nobody else touches it.  Who wants to go on with what has been still for a while asks for it, and its
process lets go at its next beat.  What a dead process had open is taken up by whoever comes first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

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
    NotYours,
    OverQuota,
    TooManyFiles,
    Unavailable,
)
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.drafts import FILE_MODE, MODE_MASK, Draft, Litter, is_untouched, rows_of
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.in_hand import InHand
from fxsftp.workers import name_of

log = logging.getLogger("fxsftp.exchange")

STEAL_AFTER = 10.0  # seconds without a write after which a reconnected client may take over its own draft
PUT_AWAY = 30.0  # seconds that a client who reconnects waits for what its last session had open to be put away
LOOK = 0.02  # seconds between two looks whether another process has let go
PUTTING_AWAY = "puts away"  # the session that what a dead process had open is signed with meanwhile


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

        Raises AlreadyThere, NoSuchPlace, IsAFolder, RecipientUnknown, NoRecipient, BadName, OverQuota, TooManyFiles.
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
            return self._open_litter(user, who, path, existing, now)
        recipient, subject = self._drops.destination(user, who, path)
        used, quota = self._drops.usage(user)
        if existing and self._drops.is_before_dispatch(existing):
            used -= existing.size  # it goes, or goes on, with this one's CLOSE
        if wishes.size is not None and used + wishes.size > quota:
            raise OverQuota(quota, used)
        keeps = existing is not None and not truncate
        beat = None if keeps else self._workers.ticks()
        writer = self._workers.signed(session)
        file_key = seal.new_file_key()
        file = self._new_row(user, who, path, recipient, subject, existing, wishes, writer, beat, now, file_key)
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
            self._give_up(file, now)
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
        """Write a row that is there already and this session's own, or one to come: nothing is left to be decided."""
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

    def _new_row(
        self,
        user: User,
        who: str,
        path: str,
        recipient: str,
        subject: str,
        existing: File | None,
        wishes: Wishes,
        writer: str,
        beat: float | None,
        now: float,
        file_key: bytes,
    ) -> File:
        rows = self._rows
        before = self._drops.find_for(user, who, path, existing)
        drop_id = before.id if before else self._drops.new_id()
        drop_key = self._bodies.drop_key(drop_id, make=before is None, now=now)
        with self._registry.atomic(durable=False):
            # Meanwhile another session may have begun the folder, or the dispatcher may have sent it off.
            shipment = self._drops.find_for(user, who, path, existing)
            if shipment and shipment.id != drop_id:
                if before is None:
                    self._bodies.forget_drop_key(drop_id)
                drop_id = shipment.id
                drop_key = self._bodies.drop_key(drop_id)
            elif before and shipment is None:
                drop_id = self._drops.new_id()
                drop_key = self._bodies.drop_key(drop_id, make=True, now=now)
            if shipment is None:
                self._drops.begin(drop_id, user, recipient, who, path, subject, now)
            elif not (existing and existing.shipment_id == drop_id) and rows.has_files(
                drop_id, self._policy.max_files - 1
            ):
                raise TooManyFiles(self._policy.max_files)
            self._drops.make_parents(user, who, path, now)
            file_id = rows.add_file(
                drop_id,
                user.id,
                who,
                path,
                FileState.DRAFT,
                wishes.mtime if wishes.mtime is not None else now,
                (wishes.mode if wishes.mode is not None else FILE_MODE) & MODE_MASK,
                now,
                writer=writer,
                key=seal.wrap_under(drop_key, file_key),
                announced=wishes.size,
                waits=True,
                beat=beat,
            )
            self._drops.changed(drop_id, now)
            file = rows.file(file_id)
        assert file is not None
        return file

    def _row_of(self, user: User, draft: Draft) -> File:
        """The row of what was in hand."""
        file = draft.file
        recipient, subject = self._drops.destination(user, file.who, file.path)
        existing = self._rows.shown(user.id, file.who, file.path)
        wishes = Wishes(size=file.announced, mtime=file.mtime, mode=file.mode)
        row = self._new_row(
            user, file.who, file.path, recipient, subject, existing, wishes, draft.session, self._workers.ticks(),
            draft.opened, draft.fresh_key,
        )  # fmt: skip
        self._drops.writers[row.id] = draft
        return row

    def _open_litter(self, user: User, who: str, path: str, existing: File | None, now: float) -> Litter:
        with self._registry.atomic(durable=False):
            if who:
                self._drops.recipient(user, who)
            self._drops.make_parents(user, who, path, now)
            file_id = existing.id if existing else self._rows.add_file(
                None, user.id, who, path, FileState.COMPLETE, now, FILE_MODE, now,
                writer=None, key=None, announced=None, waits=False,
            )  # fmt: skip
            file = self._rows.file(file_id)
        assert file is not None
        return Litter(file)

    def _give_up(self, file: File, now: float) -> None:
        """An OPEN that came to nothing leaves no row."""
        self._drops.writers.pop(file.id, None)
        with self._registry.atomic():
            self._rows.forget_file(file.id)
            self._drops.changed(file.shipment_id, now)

    # ---- what an OPEN may resume

    def _base(self, file: File, now: float) -> tuple[tuple[File, bytes, Sequence[seal.Stored]] | None, FxError | None]:
        """What `file`, just opened, may resume at its place, or why it can't."""
        older = self._older(file)
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
                other.put_away.wait(PUT_AWAY)
                older = self._rows.file(older.id)
            else:
                older = self.let_go(older)
        except NotYours as refusal:
            return None, refusal
        if older is None or not older.size:
            return None, None
        return (older, self._bodies.draft_key(older), self._bodies.stored(older)), None

    def _older(self, file: File) -> File | None:
        """The newest row at the place of `file` besides it, not counting other OPENs that have not written yet."""
        for row in reversed(self._rows.at(file.owner_id, file.who, file.path)):
            other = self._drops.writer(row)
            is_touched = other.is_touched if other else row.beat is not None or not self._drops.is_elsewhere(row)
            if row.id != file.id and is_touched:
                return row
        return None

    def _claim(self, draft: Draft, base: File) -> None:
        """From now on `draft` writes the row `base`.  Raises NotYours when another session was here first."""
        current = self._rows.file(base.id)
        if current is None or not is_untouched(current, base) or self._drops.writer(base):
            raise NotYours(base.name)
        self._drops.writers.pop(draft.file.id, None)
        self._drops.writers[base.id] = draft

    # ---- what other processes have open

    def let_go(self, file: File) -> File | None:
        """The row when no other process has it open; None when it is gone.  Raises NotYours when one does, and writes.

        One that lives and has not written for a while puts it away itself, as soon as it hears that it is asked.
        """
        until = time.monotonic() + PUT_AWAY
        current: File | None = file
        while current and current.writer:
            if self._is_ours(current.writer):
                if current.id in self._drops.writers or current.beat is None or not self._has_been_still(current):
                    return current
                self.take_up(current)  # it could not be put away when its session ended
            elif not self._workers.is_there(name_of(current.writer)):
                self.take_up(current)
            elif time.monotonic() > until or not self._has_been_still(current):
                raise NotYours(current.name)
            else:
                with self._registry.atomic(durable=False):
                    self._registry.writers.want(current.id)
                time.sleep(LOOK)
            current = self._rows.file(file.id)
        return current

    def as_left(self, file: File) -> File | None:
        """The row as it is once what a dead process had open is taken up: what a client asks before it resumes."""
        until = time.monotonic() + PUT_AWAY
        current: File | None = file
        while current and current.writer:
            if not self._workers.is_there(name_of(current.writer)):
                self.take_up(current)
            elif current.writer.endswith(f" {PUTTING_AWAY}") and time.monotonic() < until:
                time.sleep(LOOK)
            else:
                return current
            current = self._rows.file(file.id)
        return current

    def _is_ours(self, writer: str) -> bool:
        return self._workers.is_mine(writer) and writer != self._workers.signed(PUTTING_AWAY)

    def _has_been_still(self, file: File) -> bool:
        return self._workers.ticks() - (file.beat or 0) >= STEAL_AFTER

    def take_up(self, file: File) -> None:
        """What nobody has open any more can be resumed: after kill -9, what lies in blobs, and stat shows that.

        The row may have been a beat behind it.  Several may do so at once, and one does.
        """
        writer = self._workers.signed(PUTTING_AWAY)
        with self._registry.atomic(durable=False):
            if not self._registry.writers.take_over(file.id, file.writer or "", writer):
                return
        try:
            self._take_up(file, writer)
        except FxError as problem:
            log.error("shipment %s: what is left of a draft can't be taken up: %s", file.shipment_id, problem)
            with self._registry.atomic(durable=False):
                self._rows.change_file(file.id, writer=None)

    def _take_up(self, file: File, writer: str) -> None:
        draft = seal.Draft(
            self._bodies.draft_key(file), lambda _: self._holdings.bodies.create(), self._bodies.stored(file),
            name=file.name,
        )  # fmt: skip
        segments = rows_of(draft.suspend())
        with self._registry.atomic():
            current = self._rows.file(file.id)
            if current is None or current.writer != writer:
                return
            if segments or draft.flushed or current.in_row or self._drops.is_composing(current):
                self._registry.segments.set(current.id, segments)
                self._rows.change_file(current.id, size=draft.flushed, writer=None, sha256=None)
            else:
                self._drops.forget(current)
            self._drops.changed(current.shipment_id, current.progress)
        self._holdings.bodies.erase(*(self._bodies.blob_id(blob) for blob in draft.dropped))

    def begin(self) -> None:
        """At the start of a process that serves: what dead ones had open is lost, and their sessions are gone."""
        names = {name_of(session) for session in self._registry.writers.sessions()} | self._registry.guests.workers()
        for name in names:
            if not self._workers.is_there(name):
                self._bury(name)
        self.bury_the_dead()

    def bury_the_dead(self) -> None:
        """The same meanwhile, said every moment: of those that have left a file behind."""
        for name in self._workers.dead():
            self._bury(name)
            self._workers.forget(name)

    def _bury(self, name: str) -> None:
        for file in self._registry.writers.written_by(name):
            self.take_up(file)
        with self._registry.atomic():
            self._registry.writers.disconnect_worker(name)
            self._registry.guests.forget_all(name)

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
            below = self._older(draft.file)
            if below and draft.mtime is not None:
                self._rows.change_file(below.id, mtime=draft.mtime)
            if below and draft.mode != draft.file.mode:
                self._rows.change_file(below.id, mode=draft.mode)
            self._give_up(draft.file, now)

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
            self._give_up(draft.file, now)
            return
        if self.in_hand.lose(draft):
            return
        try:
            self._put_away(draft, now)
        finally:
            if self._drops.writers.get(draft.file.id) is draft:
                del self._drops.writers[draft.file.id]
            draft.put_away.set()

    def _taken(self, draft: Draft) -> None:
        """Another process has its row: nothing here is to be touched, and nobody here to be asked, for it."""
        draft.taken()
        draft.abandon()
        if self._drops.writers.get(draft.file.id) is draft:
            del self._drops.writers[draft.file.id]
        draft.put_away.set()

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
            if file.writer and self._is_ours(file.writer):
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
            self.take_up(file)
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
