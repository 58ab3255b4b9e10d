"""The outbox: what a sender may do before a shipment leaves, and what stays to be seen after it has left.

A drop is found by its folder.  Whatever changes in one goes through `_changed`, so that its state always
follows from its files.  Names, sizes and times stay true after dispatch, because batch tools compare them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fxsftp import seal
from fxsftp.domain import ids, lifecycle, places, policy
from fxsftp.domain.lifecycle import BEFORE_DISPATCH, FileState, ShipmentState
from fxsftp.domain.model import Entry, File, Kind, Shipment, Standing, User, Wishes
from fxsftp.domain.places import Place
from fxsftp.errors import (
    AlreadySent,
    AlreadyThere,
    BadName,
    CannotHash,
    Conflict,
    CrossRoom,
    FxError,
    IsAFolder,
    NoRecipient,
    NoSuchPlace,
    NotAFolder,
    NotEmpty,
    NotYours,
    OverQuota,
    RecipientUnknown,
    TooManyFiles,
)
from fxsftp.exchange.bodies import Bodies, Content
from fxsftp.exchange.drafts import MODE_MASK, Draft, Litter, rows_of
from fxsftp.exchange.holdings import Holdings
from fxsftp.store.registry.drops import ALL, Folder

log = logging.getLogger("fxsftp.exchange")

STEAL_AFTER = 10.0  # seconds without a write after which a reconnected client may take over its own draft
LISTED = 200  # recipients listed without having been used; more would be an address book, not a folder
FOLDER_MODE, FILE_MODE = 0o755, 0o644


class Outbox:
    """One room.  Every method either returns with the registry committed, or raises and nothing happened."""

    def __init__(self, holdings: Holdings, bodies: Bodies) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._policy = holdings.policy
        self._bodies = bodies
        self._open: dict[int, Draft] = {}
        self._crowd = seal.Crowd(self._policy.ahead_total)

    def begin(self) -> None:
        """At the start of the service: no session of an earlier process is there, and what one had open is lost."""
        for file in self._registry.drops.being_written():
            try:
                self._lose_left_behind(file)
            except FxError as problem:
                log.error("shipment %s: what is left of a draft can't be taken up: %s", file.shipment_id, problem)
        with self._registry.atomic():
            self._registry.drops.disconnect_all()

    def _lose_left_behind(self, file: File) -> None:
        """After kill -9, what lies in blobs is what stat shows; the row may be a beat behind it."""
        draft = seal.Draft(
            self._bodies.draft_key(file), lambda _: self._holdings.bodies.create(), self._bodies.stored(file),
            name=file.name,
        )  # fmt: skip
        segments = rows_of(draft.suspend())
        with self._registry.atomic():
            if segments or draft.flushed or file.in_row:
                self._registry.drops.set_segments(file.id, segments)
                self._registry.drops.change_file(file.id, size=draft.flushed, writer=None, sha256=None)
            else:
                self._forget(file)
            self._changed(file.shipment_id, file.progress)
        self._holdings.bodies.erase(*(self._bodies.blob_id(blob) for blob in draft.dropped))

    # ---- looking

    def stat(self, user: User, place: Place, now: float) -> Entry:
        """What stands at a place, listed or not.  Raises NoSuchPlace."""
        if not place.who and not place.path:
            return _folder_entry("outbox", now, FOLDER_MODE)
        file = self._file(user, place)
        if file:
            return self._entry(file)
        folder = self._registry.drops.folder(user.id, place.who, place.path)
        if folder:
            return _folder_entry(place.name, folder.mtime, folder.mode)
        if place.who and not place.path and self._may_address(user, place.who):
            return _folder_entry(place.who, user.made, FOLDER_MODE)
        raise NoSuchPlace(str(place))

    def list(self, user: User, place: Place, now: float, *, after: str = "", most: int = ALL) -> Sequence[Entry]:
        """What a folder holds, by name, on from the name `after`.  Raises NoSuchPlace or NotAFolder."""
        if not after and not self.stat(user, place, now).is_folder:
            raise NotAFolder(place.name)
        drops, who, path = self._registry.drops, place.who, place.path
        files = drops.in_folder(user.id, who, path, after, most)
        folders = [
            _folder_entry(folder.path.rpartition("/")[2], folder.mtime, folder.mode)
            for folder in drops.folders_in(user.id, who, path, after, most)
        ]
        entries = {entry.name: entry for entry in [*map(self._entry, files), *folders]}
        if not who and not path:
            for email in sorted(email for email in self._listed(user) if email > after)[:most]:
                found = drops.folder(user.id, email, "")
                entries[email] = _folder_entry(email, found.mtime if found else user.made, FOLDER_MODE)
        return [entries[name] for name in sorted(entries)[:most]]

    def _entry(self, file: File) -> Entry:
        draft = self._open.get(file.id)
        name = file.path.rpartition("/")[2]
        if draft and not draft.is_lost:
            return replace(draft.entry(), name=name)  # it may have been renamed since it was opened
        return Entry(name, False, file.size, file.mtime, file.mode, True)

    def _listed(self, user: User) -> set[str]:
        used = self._registry.drops.recipients(user.id)
        if user.default_recipient:
            used.add(user.default_recipient)
        permitted = [
            other.email
            for other in self._registry.people.all()
            if policy.may_send(user, other) and (user.kind is Kind.MEMBER or other.kind is Kind.GROUP)
        ]
        return used | set(permitted[:LISTED])

    def _file(self, user: User, place: Place) -> File | None:
        if place.path:
            return self._registry.drops.shown(user.id, place.who, place.path)
        if place.who:  # `outbox/report@2026.csv` looks like an address; whether it is one, the registry knows
            return self._registry.drops.shown(user.id, "", place.who)
        return None

    # ---- recipients

    def recipient(self, user: User, address: str) -> User:
        """Whom an address in the outbox stands for.  RecipientUnknown also for those one may not know of."""
        found = self._registry.people.by_email(address.casefold())
        if found is None or not policy.may_send(user, found):
            raise RecipientUnknown(address)
        return found

    def _may_address(self, user: User, address: str) -> bool:
        try:
            self.recipient(user, address)
        except RecipientUnknown:
            return False
        return True

    def _destination(self, user: User, who: str, path: str) -> tuple[str, str]:
        """(recipient, subject) of a file with this final name; recipient "" while the name is not final."""
        if who:
            return self.recipient(user, who).email, ""
        if "/" in path:
            raise NoRecipient(path)
        if self._policy.is_partial(path):
            return "", ""
        found = policy.route(user, path)
        if found is None:
            raise NoRecipient(path)
        return self.recipient(user, found[0]).email, found[1]

    # ---- writing a file

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
        if self._registry.drops.folder(user.id, who, path):
            raise IsAFolder(place.name)
        existing = self._registry.drops.shown(user.id, who, path)
        if exclusive and existing:
            raise AlreadyThere(place.name)
        if not create and not existing:
            raise NoSuchPlace(str(place))
        if self._policy.is_litter(path):
            return self._open_litter(user, who, path, existing, now)
        recipient, subject = self._destination(user, who, path)
        used, quota = self.usage(user)
        if existing and self._is_before_dispatch(existing):
            used -= existing.size  # it goes, or goes on, with this one's CLOSE
        if wishes.size is not None and used + wishes.size > quota:
            raise OverQuota(quota, used)
        file, file_key = self._new_row(user, who, path, recipient, subject, existing, wishes, session, now)
        keeps = existing is not None and not truncate
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
        self._open[file.id] = draft
        return draft

    def _as_file(self, user: User, place: Place) -> tuple[str, str]:
        if place.path:
            return place.who, place.path
        if place.who and not self._may_address(user, place.who):
            return "", place.who
        raise IsAFolder(place.name)

    def _base(self, file: File, now: float) -> tuple[tuple[File, bytes, Sequence[seal.Stored]] | None, FxError | None]:
        """What `file`, just opened, may resume at its place, or why it can't."""
        older = self._older(file)
        if older is None:
            return None, None
        if older.shipment_id != file.shipment_id:
            return None, AlreadySent(older.name)
        other = self._live(older)
        if other:
            if now - other.last_write < STEAL_AFTER:
                return None, NotYours(older.name)
            self.lose_draft(other, now)  # the same user, reconnected before the old connection was found dead
            older = self._registry.drops.file(older.id)
        if older is None or not older.size:
            return None, None
        return (older, self._bodies.draft_key(older), self._bodies.stored(older)), None

    def _older(self, file: File) -> File | None:
        """The newest row at the place of `file` besides it, not counting other OPENs that have not written yet."""
        for row in reversed(self._registry.drops.at(file.owner_id, file.who, file.path)):
            other = self._live(row)
            if row.id != file.id and (other is None or other.is_touched):
                return row
        return None

    def _live(self, file: File) -> Draft | None:
        draft = self._open.get(file.id)
        return draft if draft and not draft.is_lost else None

    def _claim(self, draft: Draft, base: File) -> None:
        """From now on `draft` writes the row `base`.  Raises NotYours when another session was here first."""
        current = self._registry.drops.file(base.id)
        is_same = current is not None and (current.state, current.progress) == (base.state, base.progress)
        if not is_same or self._live(base):
            raise NotYours(base.name)
        self._open.pop(draft.file.id, None)
        self._open[base.id] = draft

    def _give_up(self, file: File, now: float) -> None:
        """An OPEN that came to nothing leaves no row."""
        self._open.pop(file.id, None)
        with self._registry.atomic():
            self._registry.drops.forget_file(file.id)
            self._changed(file.shipment_id, now)

    def _new_row(
        self,
        user: User,
        who: str,
        path: str,
        recipient: str,
        subject: str,
        existing: File | None,
        wishes: Wishes,
        session: str,
        now: float,
    ) -> tuple[File, bytes]:
        file_key = seal.new_file_key()
        drops = self._registry.drops
        before = self._drop_for(user, who, path, existing)
        drop_id = before.id if before else self._new_drop_id()
        drop_key = self._bodies.drop_key(drop_id, make=before is None, now=now)
        with self._registry.atomic(durable=False):
            # Meanwhile another session may have begun the folder, or the dispatcher may have sent it off.
            shipment = self._drop_for(user, who, path, existing)
            if shipment and shipment.id != drop_id:
                if before is None:
                    self._bodies.forget_drop_key(drop_id)
                drop_id = shipment.id
                drop_key = self._bodies.drop_key(drop_id)
            elif before and shipment is None:
                drop_id = self._new_drop_id()
                drop_key = self._bodies.drop_key(drop_id, make=True, now=now)
            if shipment is None:
                drops.add(drop_id, user.id, recipient, who, places_folder(path), subject or places_folder(path), now)
                self._registry.record.tell(now, user.email, "began", shipment_id=drop_id)
            elif not (existing and existing.shipment_id == drop_id) and drops.has_files(
                drop_id, self._policy.max_files - 1
            ):
                raise TooManyFiles(self._policy.max_files)
            self._make_parents(user, who, path, now)
            file_id = drops.add_file(
                drop_id,
                user.id,
                who,
                path,
                FileState.DRAFT,
                wishes.mtime if wishes.mtime is not None else now,
                (wishes.mode if wishes.mode is not None else FILE_MODE) & MODE_MASK,
                now,
                writer=session,
                key=seal.wrap_under(drop_key, file_key),
                announced=wishes.size,
                waits=True,
            )
            self._changed(drop_id, now)
            file = drops.file(file_id)
        assert file is not None
        return file, file_key

    def _drop_for(self, user: User, who: str, path: str, existing: File | None) -> Shipment | None:
        folder = places_folder(path)
        if folder:
            return self._registry.drops.open_folder_drop(user.id, who, folder)
        if existing:
            shipment = self._registry.drops.find(existing.shipment_id)
            if shipment and shipment.state in BEFORE_DISPATCH:
                return shipment
        return None

    def _new_drop_id(self) -> str:
        while True:
            drop_id = ids.new_shipment_id()
            if self._registry.drops.find(drop_id) is None:
                return drop_id

    def _make_parents(self, user: User, who: str, path: str, now: float) -> None:
        if who:
            self._registry.drops.make_folder(user.id, who, "", FOLDER_MODE, now)
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            if self._registry.drops.shown(user.id, who, parent):
                raise NotAFolder(parent)
            self._registry.drops.make_folder(user.id, who, parent, FOLDER_MODE, now)

    def _open_litter(self, user: User, who: str, path: str, existing: File | None, now: float) -> Litter:
        with self._registry.atomic(durable=False):
            if who:
                self.recipient(user, who)
            self._make_parents(user, who, path, now)
            file_id = existing.id if existing else self._registry.drops.add_file(
                None, user.id, who, path, FileState.COMPLETE, now, FILE_MODE, now,
                writer=None, key=None, announced=None, waits=False,
            )  # fmt: skip
            file = self._registry.drops.file(file_id)
        assert file is not None
        return Litter(file)

    def close_draft(self, draft: Draft | Litter, now: float) -> None:
        """A genuine CLOSE: when this returns, the file survives kill -9 and a power cut.

        Raises Incomplete or Gap when bytes are missing (what has arrived can be resumed), NoSuchPlace or NotYours
        when it was removed or recalled meanwhile.
        """
        if isinstance(draft, Litter):
            with self._registry.atomic(durable=False):
                self._registry.drops.change_file(
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
        with self._registry.atomic():
            self._complete(draft, sealed, now)  # the moment of truth: only after this does the client hear OK
        self._open.pop(draft.file.id, None)
        draft.erase_blobs()

    def _complete(self, draft: Draft, sealed: seal.Sealed, now: float) -> None:
        drops = self._registry.drops
        file = drops.file(draft.file.id)
        if file is None or not file.shown or not self._is_before_dispatch(file):
            raise NoSuchPlace(draft.file.name)
        for other in drops.at(file.owner_id, file.who, file.path):
            if other.id != file.id and not self._live(other):  # who still writes there may yet be the last to close
                self._forget_or_hide(other, now)
        state = lifecycle.after(lifecycle.FILES, FileState.DRAFT, "doubt" if draft.looks_cut else "close", file.name)
        drops.change_file(
            file.id,
            state=state,
            waits=int(self._policy.is_partial(file.path)),
            size=sealed.size,
            announced=draft.announced,
            sha256=sealed.sha256,
            mtime=draft.mtime if draft.mtime is not None else file.mtime,
            mode=draft.mode,
            writer=None,
            progress=now,
            small=sealed.small,
            blob=self._bodies.blob_id(sealed.blob) if sealed.blob else None,
            body=seal.payload_size(sealed.size),
        )
        drops.set_segments(file.id, rows_of(sealed.pieces))
        self._changed(file.shipment_id, now)

    def _close_untouched(self, draft: Draft, now: float) -> None:
        """Opened without TRUNC over something and closed without a write: times and mode, nothing else."""
        with self._registry.atomic():
            below = self._older(draft.file)
            if below and draft.mtime is not None:
                self._registry.drops.change_file(below.id, mtime=draft.mtime)
            if below and draft.mode != draft.file.mode:
                self._registry.drops.change_file(below.id, mode=draft.mode)
            self._give_up(draft.file, now)

    def lose_draft(self, draft: Draft | Litter, now: float) -> None:
        """The session is gone without a CLOSE: what has arrived can be resumed, and nobody ever sees it."""
        if isinstance(draft, Litter):
            return
        if draft.is_lost:
            draft.abandon()  # what a WRITE brought while somebody else gave it up
            return
        if not draft.is_touched:
            draft.abandon()
            self._give_up(draft.file, now)
            return
        self._open.pop(draft.file.id, None)
        segments = draft.suspend()
        with self._registry.atomic():
            file = self._registry.drops.file(draft.file.id)
            if file is None:
                return
            if self._is_outdone(draft) or not (segments or draft.flushed or file.in_row):
                self._forget(file)
            else:
                self._registry.drops.set_segments(file.id, segments)
                self._registry.drops.change_file(
                    file.id, size=draft.flushed, writer=None, progress=now, announced=draft.announced, sha256=None
                )
            self._changed(file.shipment_id, now)
        draft.erase_blobs()

    def _is_outdone(self, draft: Draft) -> bool:
        """Whether another CLOSE at its place came after its OPEN: the last genuine CLOSE wins, a loss never does."""
        file = draft.file
        return any(
            other.id != file.id and other.state is not FileState.DRAFT and other.progress >= draft.opened
            for other in self._registry.drops.at(file.owner_id, file.who, file.path)
        )

    def sync_draft(self, draft: Draft | Litter) -> None:
        """fsync@openssh.com."""
        if isinstance(draft, Draft):
            draft.sync()

    def session_ended(self, session: str, now: float) -> None:
        """Its folders need not wait for more from it."""
        del now  # a folder settles from its last change on
        with self._registry.atomic(durable=False):
            self._registry.drops.disconnect(session)

    def beat(self, now: float) -> None:
        """Drafts that grow are in progress; said every few seconds, so that no long upload is taken for stalled."""
        moved = [draft for draft in list(self._open.values()) if draft.moved]
        if not moved:
            return
        with self._registry.atomic(durable=False):
            for draft in moved:
                draft.moved, draft.last_write = False, now
                file = self._registry.drops.file(draft.file.id)
                if file and file.state is FileState.DRAFT:
                    self._registry.drops.change_file(file.id, progress=now, size=draft.flushed)
                    self._changed(file.shipment_id, now)

    # ---- everything else that changes an outbox

    def set_attributes(self, user: User, place: Place, wishes: Wishes, now: float) -> None:
        """Times and mode are remembered for files and folders; a size is honoured before dispatch."""
        file = self._file(user, place)
        if file:
            draft = self._live(file)
            if draft:
                draft.wish(wishes)
            elif wishes.size is not None and wishes.size != file.size:
                self._set_size(user, place, wishes, now)
            else:
                with self._registry.atomic(durable=False):
                    self._registry.drops.change_file(
                        file.id,
                        mtime=wishes.mtime if wishes.mtime is not None else file.mtime,
                        mode=wishes.mode & MODE_MASK if wishes.mode is not None else file.mode,
                    )
            return
        self.stat(user, place, now)
        with self._registry.atomic(durable=False):
            folder = self._registry.drops.folder(user.id, place.who, place.path)
            if folder:
                self._registry.drops.change_folder(
                    user.id,
                    place.who,
                    place.path,
                    wishes.mtime if wishes.mtime is not None else folder.mtime,
                    wishes.mode & MODE_MASK if wishes.mode is not None else folder.mode,
                )

    def _set_size(self, user: User, place: Place, wishes: Wishes, now: float) -> None:
        draft = self.open_draft(
            user, place, truncate=False, create=False, exclusive=False, appends=False,
            wishes=Wishes(), session="", now=now,
        )  # fmt: skip
        try:
            draft.wish(Wishes(size=wishes.size, mode=wishes.mode, mtime=wishes.mtime))
        except FxError:
            self.lose_draft(draft, now)
            raise
        self.close_draft(draft, now)

    def make_folder(self, user: User, place: Place, now: float) -> None:
        """A folder is a shipment in the making only once a file is in it; the folder of a recipient mails nobody."""
        drops = self._registry.drops
        if not place.who and place.path:
            raise NoRecipient(place.path)
        if place.who:
            self.recipient(user, place.who)
        if self._file(user, place) or drops.folder(user.id, place.who, place.path) or not place.who:
            raise AlreadyThere(place.name)
        if place.path:
            places.may_be_written(place.path)
            parent = place.path.rpartition("/")[0]
            if parent and not drops.folder(user.id, place.who, parent):
                raise NoSuchPlace(str(Place(place.room, place.who, "", parent)))
        with self._registry.atomic(durable=False):
            drops.make_folder(user.id, place.who, "", FOLDER_MODE, now)
            if place.path:
                drops.make_folder(user.id, place.who, place.path, FOLDER_MODE, now)

    def remove_folder(self, user: User, place: Place, now: float) -> None:
        """Only an empty one."""
        if self._file(user, place):
            raise NotAFolder(place.name)
        self.stat(user, place, now)
        if not place.who:
            raise NotEmpty(place.name)
        if self.list(user, place, now, most=1):
            raise NotEmpty(place.name)
        with self._registry.atomic(durable=False):
            self._registry.drops.remove_folder(user.id, place.who, place.path)

    def remove(self, user: User, place: Place, now: float) -> None:
        """Before dispatch the file is gone; after it the view is tidied, and nothing is recalled."""
        file = self._file(user, place)
        if file is None:
            if self.stat(user, place, now).is_folder:
                raise IsAFolder(place.name)
            raise NoSuchPlace(str(place))
        with self._registry.atomic():
            for each in self._registry.drops.at(file.owner_id, file.who, file.path):
                self._forget_or_hide(each, now)

    def rename(self, user: User, old: Place, new: Place, *, replace: bool, now: float) -> None:
        """Anywhere within the outbox while it is not dispatched; the final name decides where it goes."""
        if new.room is not old.room:
            raise CrossRoom
        file = self._file(user, old)
        if file:
            who, path = self._as_file(user, new)
            self._rename_file(user, file, who, path, replace=replace, now=now)
        elif self.stat(user, old, now).is_folder:
            self._rename_folder(user, old, new, now)

    def _rename_file(self, user: User, file: File, who: str, path: str, *, replace: bool, now: float) -> None:
        drops = self._registry.drops
        if (who, path) == (file.who, file.path):
            return
        places.may_be_written(path)
        if drops.folder(user.id, who, path):
            raise IsAFolder(path)
        if drops.shown(user.id, who, path) and not replace:
            raise AlreadyThere(path)
        if self._policy.is_litter(path) and file.shipment_id:
            raise BadName(path, "files of this name are never sent")
        if not self._policy.is_litter(path) and not file.shipment_id:
            raise BadName(path, f"what came as {file.name} was not kept; put the file again under its own name")
        if not file.shipment_id:
            with self._registry.atomic(durable=False):
                drops.change_file(file.id, who=who, path=path)
            return
        recipient, subject = self._destination(user, who, path)
        with self._registry.atomic():  # also what is only looked at: nothing may be dispatched in between
            current, source = drops.file(file.id), drops.find(file.shipment_id)
            if current is None or source is None or source.state not in BEFORE_DISPATCH:
                raise AlreadySent(file.name)
            is_alone = source.is_loose and not drops.has_files(source.id, 1)  # not while its place is being put again
            target = source if is_alone and not places_folder(path) else self._drop_for(user, who, path, None)
            drop_id = target.id if target else self._new_drop_id()
            drop_key = self._bodies.drop_key(drop_id, make=target is None, now=now)
            file_key = self._bodies.draft_key(file)
            replaced = drops.at(user.id, who, path)
            if target is None:
                drops.add(drop_id, user.id, recipient, who, places_folder(path), subject or places_folder(path), now)
                self._registry.record.tell(now, user.email, "began", shipment_id=drop_id)
            elif target.is_loose:
                drops.change(drop_id, recipient=recipient, who=who, subject=subject)
            self._make_parents(user, who, path, now)
            drops.change_file(
                file.id,
                shipment_id=drop_id,
                who=who,
                path=path,
                key=seal.wrap_under(drop_key, file_key),
                waits=int(current.state is FileState.DRAFT or self._policy.is_partial(path)),
                progress=now,
            )
            for older in replaced:  # not before: with its last file a drop would go
                self._forget_or_hide(older, now)
            self._changed(file.shipment_id, now)
            self._changed(drop_id, now)

    def _rename_folder(self, user: User, old: Place, new: Place, now: float) -> None:
        drops = self._registry.drops
        if not old.who or not old.path or not new.who or not new.path:
            raise CrossRoom
        self.recipient(user, new.who)
        places.may_be_written(new.path + "/file")
        if self._file(user, new) or drops.folder(user.id, new.who, new.path):
            raise AlreadyThere(new.name)
        if new.who == old.who and _is_within(new.path, old.path):
            raise CrossRoom
        files = drops.below(user.id, old.who, old.path)
        for file in files:
            if file.shipment_id and not self._is_before_dispatch(file):
                raise AlreadySent(file.name)
        if len({file.path for file in files}) < len(files):
            raise Conflict(f"a file in {old.name!r} is being put again; rename it when that is done")
        moved = [folder for folder in drops.folders(user.id, old.who) if _is_within(folder.path, old.path)]
        with self._registry.atomic():
            for folder in moved:
                self._move_folder(user, folder, new.who, new.path + folder.path[len(old.path) :], now)
            for file in files:
                path = new.path + file.path[len(old.path) :]
                self._rename_file(user, file, new.who, path, replace=False, now=now)

    def _move_folder(self, user: User, folder: Folder, who: str, path: str, now: float) -> None:
        drops = self._registry.drops
        drops.remove_folder(user.id, folder.who, folder.path)
        self._make_parents(user, who, path, now)
        drops.make_folder(user.id, who, path, folder.mode, folder.mtime)

    # ---- questions

    def usage(self, user: User) -> tuple[int, int]:
        """(bytes in use, bytes allowed)."""
        return self._registry.drops.usage(user.id), user.quota or self._policy.quota

    def space(self, user: User) -> tuple[int, int]:
        """(bytes in use, bytes that may still come): what the quota leaves, or the disk if that is less."""
        used, quota = self.usage(user)
        return used, max(0, min(quota - used, self._holdings.bodies.free_bytes()))

    def content(self, user: User, place: Place) -> Content:
        """What the user sent, to be hashed.  Once it is dispatched only the hash of the whole of it is known.

        Raises NoSuchPlace, IsAFolder, NotYours while it is being written, CannotHash for what was not kept.
        """
        file = self._file(user, place)
        if file is None:
            if self._registry.drops.folder(user.id, place.who, place.path):
                raise IsAFolder(place.name)
            raise NoSuchPlace(str(place))
        if file.state is FileState.DRAFT:
            raise NotYours(file.name)
        if not file.shipment_id:
            raise CannotHash("files of this name are never sent, and not kept")
        read = self._bodies.plain_at(file) if self._is_before_dispatch(file) else None
        return Content(file.size, read, file.sha256)

    def hash_of(self, user: User, place: Place) -> str:
        """SHA-256, in hex, of what the user sent.  Raises NoSuchPlace, or NotYours while it is being written."""
        file = self._file(user, place)
        if file is None:
            raise NoSuchPlace(str(place))
        if file.state is FileState.DRAFT:
            raise NotYours(file.name)
        return file.sha256 or self._bodies.hash_of_draft(file)

    # ---- what follows from every change

    def _is_before_dispatch(self, file: File) -> bool:
        shipment = self._registry.drops.find(file.shipment_id)
        return shipment is not None and shipment.state in BEFORE_DISPATCH

    def _forget_or_hide(self, file: File, now: float) -> None:
        if file.shipment_id and self._is_before_dispatch(file):
            self._forget(file)
            self._changed(file.shipment_id, now)
        elif not file.shipment_id:
            self._registry.drops.forget_file(file.id)
        else:
            self._registry.drops.change_file(file.id, shown=0)

    def _forget(self, file: File) -> None:
        """Before dispatch, nothing stays of a file that its sender takes away."""
        draft = self._open.pop(file.id, None)
        if draft:
            draft.abandon()
        blobs = self._bodies.blobs(file)
        self._registry.drops.forget_file(file.id)
        if blobs:  # after the commit: a transaction undone must find its blobs again
            self._holdings.later(self._erase_unless_kept, file.id, blobs)

    def _erase_unless_kept(self, file_id: int, blobs: Iterable[str]) -> None:
        with self._registry.atomic(durable=False):
            is_kept = self._registry.drops.file(file_id) is not None
        if not is_kept:
            self._holdings.bodies.erase(*blobs)

    def _changed(self, drop_id: str, now: float) -> None:
        """The state of a drop follows from its files; an empty one leaves no row."""
        drops = self._registry.drops
        shipment = drops.find(drop_id)
        if shipment is None or shipment.state not in BEFORE_DISPATCH:
            return
        if not drops.has_files(drop_id):
            self._registry.record.tell(now, "exchange", "emptied", shipment_id=drop_id)
            drops.forget(drop_id)
            self._bodies.forget_drop_key(drop_id)
            return
        state = shipment.state
        if state is not ShipmentState.DROPPING:
            state = lifecycle.after(lifecycle.SHIPMENTS, state, "change", drop_id)
        if not drops.waits(drop_id):
            state = lifecycle.after(lifecycle.SHIPMENTS, state, "complete", drop_id)
        drops.step(shipment, state, now)

    def changed(self, drop_id: str, now: float) -> None:
        """For the dispatcher: a drop that was held goes on from what its files are."""
        with self._registry.atomic():
            self._changed(drop_id, now)

    def registered(self, user: User, now: float) -> Sequence[str]:
        """Drops that were held for want of this recipient go on; answers which."""
        if user.standing is not Standing.ACTIVE:
            return []
        addresses = [user.email, *(group.email for group in self._registry.people.groups(user.id))]
        held = [shipment for address in addresses for shipment in self._registry.drops.held_for(address)]
        for shipment in held:
            self._changed(shipment.id, now)
        return [shipment.id for shipment in held]


def places_folder(path: str) -> str:
    """The first-level folder of a path in the outbox; empty for a loose file."""
    return path.partition("/")[0] if "/" in path else ""


def _folder_entry(name: str, mtime: float, mode: int) -> Entry:
    return Entry(name, True, 0, mtime, mode, True)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
