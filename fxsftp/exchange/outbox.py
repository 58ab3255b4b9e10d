"""The outbox: what a sender sees and rearranges before a shipment leaves, and what stays to be seen after it has left.

Names, sizes and times stay true after dispatch, because batch tools compare them.  How a file is written
stands in writing.py; how a drop's state follows from its files, in drops.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from fxsftp import seal
from fxsftp.domain import places, policy
from fxsftp.domain.lifecycle import BEFORE_DISPATCH, FileState
from fxsftp.domain.model import Entry, File, Kind, User, Wishes
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
)
from fxsftp.exchange.bodies import Bodies, Content
from fxsftp.exchange.drafts import MODE_MASK
from fxsftp.exchange.drops import FOLDER_MODE, Drops
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.writing import Writing
from fxsftp.store.registry.drops import ALL
from fxsftp.store.registry.folders import Folder

LISTED = 200  # recipients listed without having been used; more would be an address book, not a folder


class Outbox:
    """One room.  Every method either returns with the registry committed, or raises and nothing happened."""

    def __init__(self, holdings: Holdings, bodies: Bodies, drops: Drops, writing: Writing) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._rows = holdings.registry.drops
        self._folders = holdings.registry.folders
        self._policy = holdings.policy
        self._bodies = bodies
        self._drops = drops
        self._writing = writing

    # ---- looking

    def stat(self, user: User, place: Place, now: float) -> Entry:
        """What stands at a place, listed or not.  Raises NoSuchPlace."""
        if not place.who and not place.path:
            return _folder_entry("outbox", now, FOLDER_MODE)
        file = self._file(user, place)
        file = self._as_left(file) if file else None
        if file:
            return self._entry(file)
        folder = self._folders.find(user.id, place.who, place.path)
        if folder:
            return _folder_entry(place.name, folder.mtime, folder.mode)
        if place.who and not place.path and self._drops.may_address(user, place.who):
            return _folder_entry(place.who, user.made, FOLDER_MODE)
        raise NoSuchPlace(str(place))

    def list(self, user: User, place: Place, now: float, *, after: str = "", most: int = ALL) -> Sequence[Entry]:
        """What a folder holds, by name, on from the name `after`.  Raises NoSuchPlace or NotAFolder."""
        if not after and not self.stat(user, place, now).is_folder:
            raise NotAFolder(place.name)
        who, path = place.who, place.path
        found = self._rows.in_folder(user.id, who, path, after, most)
        files = [entry if entry.may_write else self._in_hand(user, who, path, entry.name) for entry in found]
        entries = [entry for entry in files if entry]
        folders = self._folders_in(user, place, after, most)
        if not folders:
            return entries
        named = {entry.name: entry for entry in [*entries, *folders]}
        return [named[name] for name in sorted(named)[:most]]

    def _folders_in(self, user: User, place: Place, after: str, most: int) -> Sequence[Entry]:
        """Those in a folder, and in the outbox itself those of recipients."""
        found = [
            Entry(name, True, 0, mtime, mode, True)
            for name, mtime, mode in self._folders.within(user.id, place.who, place.path, after, most)
        ]
        if not place.who and not place.path:
            recipients = sorted(email for email in self._listed(user) if email > after)[:most]
            times = self._folders.times(user.id, recipients)
            found += [_folder_entry(email, times.get(email, user.made), FOLDER_MODE) for email in recipients]
        return found

    def _in_hand(self, user: User, who: str, folder: str, name: str) -> Entry | None:
        """A file that somebody has open, or had until now."""
        file = self._rows.shown(user.id, who, f"{folder}/{name}" if folder else name)
        file = self._as_left(file) if file else None
        return self._entry(file) if file else None

    def _as_left(self, file: File) -> File | None:
        """What a dead process had open, as it can be resumed.

        A row of ours that no draft has is that of an OPEN which has just taken up another row: soon it gives way to it.
        """
        if not file.writer or self._drops.writer(file):
            return file
        if self._holdings.workers.is_mine(file.writer):
            self._holdings.settle_chores()
            found = self._rows.shown(file.owner_id, file.who, file.path)
            if found is None or not found.writer or self._drops.writer(found):
                return found
            file = found
        return self._writing.elsewhere.as_left(file)

    def _entry(self, file: File) -> Entry:
        draft = self._drops.writers.get(file.id)
        name = file.path.rpartition("/")[2]
        if draft:
            size = draft.flushed if draft.is_lost else draft.size
            return draft.entry()._replace(name=name, size=size)  # it may have been renamed since it was opened
        return Entry(name, False, file.size, file.mtime, file.mode, True)

    def recipients(self, user: User) -> Sequence[str]:
        """The addresses that are shown to this user, who may be permitted others as well."""
        return sorted(self._listed(user))

    def _listed(self, user: User) -> set[str]:
        used = self._folders.recipients(user.id)
        if user.default_recipient:
            used.add(user.default_recipient)
        permitted = [
            other.email
            for other in self._registry.people.first(LISTED + 1, only_groups=user.kind is not Kind.MEMBER)
            if policy.may_send(user, other)
        ]
        return used | set(permitted[:LISTED])

    def _file(self, user: User, place: Place) -> File | None:
        self._writing.in_hand.write_down(user.id)
        if place.path:
            return self._rows.shown(user.id, place.who, place.path)
        if place.who:  # `outbox/report@2026.csv` looks like an address; whether it is one, the registry knows
            return self._rows.shown(user.id, "", place.who)
        return None

    # ---- changing

    def set_attributes(self, user: User, place: Place, wishes: Wishes, now: float) -> None:
        """Times and mode are remembered for files and folders; a size is honoured before dispatch."""
        file = self._file(user, place)
        if file:
            draft = self._drops.writer(file)
            if draft:
                draft.wish(wishes)
            elif wishes.size is not None and wishes.size != file.size:
                self._set_size(user, place, wishes, now)
            else:
                with self._registry.atomic(durable=False):
                    self._rows.change_file(
                        file.id,
                        mtime=wishes.mtime if wishes.mtime is not None else file.mtime,
                        mode=wishes.mode & MODE_MASK if wishes.mode is not None else file.mode,
                    )
            return
        self.stat(user, place, now)
        with self._registry.atomic(durable=False):
            folder = self._folders.find(user.id, place.who, place.path)
            if folder:
                self._folders.change(
                    user.id,
                    place.who,
                    place.path,
                    wishes.mtime if wishes.mtime is not None else folder.mtime,
                    wishes.mode & MODE_MASK if wishes.mode is not None else folder.mode,
                )

    def _set_size(self, user: User, place: Place, wishes: Wishes, now: float) -> None:
        draft = self._writing.open_draft(
            user, place, truncate=False, create=False, exclusive=False, appends=False,
            wishes=Wishes(), session="", now=now,
        )  # fmt: skip
        try:
            draft.wish(Wishes(size=wishes.size, mode=wishes.mode, mtime=wishes.mtime))
        except FxError:
            self._writing.lose_draft(draft, now)
            raise
        self._writing.close_draft(draft, now)

    def make_folder(self, user: User, place: Place, now: float) -> None:
        """A folder is a shipment in the making only once a file is in it; the folder of a recipient mails nobody."""
        if not place.who and place.path:
            raise NoRecipient(place.path)
        if place.who:
            self._drops.recipient(user, place.who)
        if self._file(user, place) or self._folders.find(user.id, place.who, place.path) or not place.who:
            raise AlreadyThere(place.name)
        if place.path:
            places.may_be_written(place.path)
            parent = place.path.rpartition("/")[0]
            if parent and not self._folders.find(user.id, place.who, parent):
                raise NoSuchPlace(str(Place(place.room, place.who, "", parent)))
        with self._registry.atomic(durable=False):
            self._folders.make(user.id, place.who, "", FOLDER_MODE, now)
            if place.path:
                if self._rows.shown(user.id, place.who, place.path):
                    raise AlreadyThere(place.name)  # another process had it in hand, and closed it meanwhile
                self._folders.make(user.id, place.who, place.path, FOLDER_MODE, now)

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
            self._folders.remove(user.id, place.who, place.path)

    def remove(self, user: User, place: Place, now: float) -> None:
        """Before dispatch the file is gone; after it the view is tidied, and nothing is recalled."""
        file = self._file(user, place)
        if file is None:
            if self.stat(user, place, now).is_folder:
                raise IsAFolder(place.name)
            raise NoSuchPlace(str(place))
        with self._registry.atomic():
            for each in self._rows.at(file.owner_id, file.who, file.path):
                self._drops.forget_or_hide(each, now)

    # ---- renaming

    def rename(self, user: User, old: Place, new: Place, *, replace: bool, now: float) -> None:
        """Anywhere within the outbox while it is not dispatched; the final name decides where it goes."""
        if new.room is not old.room:
            raise CrossRoom
        file = self._file(user, old)
        if file:
            who, path = self._writing._as_file(user, new)
            self._rename_file(user, file, who, path, replace=replace, now=now)
        elif self.stat(user, old, now).is_folder:
            self._rename_folder(user, old, new, now)

    def _rename_file(self, user: User, file: File, who: str, path: str, *, replace: bool, now: float) -> None:
        rows = self._rows
        if (who, path) == (file.who, file.path):
            return
        places.may_be_written(path)
        if self._folders.find(user.id, who, path):
            raise IsAFolder(path)
        if rows.shown(user.id, who, path) and not replace:
            raise AlreadyThere(path)
        if self._policy.is_litter(path) and file.shipment_id:
            raise BadName(path, "files of this name are never sent")
        if not self._policy.is_litter(path) and not file.shipment_id:
            raise BadName(path, f"what came as {file.name} was not kept; put the file again under its own name")
        if not file.shipment_id:
            with self._registry.atomic(durable=False):
                rows.change_file(file.id, who=who, path=path)
            return
        recipient, subject = self._drops.destination(user, who, path)
        with self._registry.atomic():  # also what is only looked at: nothing may be dispatched in between
            current, source = rows.file(file.id), rows.find(file.shipment_id)
            if current is None or source is None or source.state not in BEFORE_DISPATCH:
                raise AlreadySent(file.name)
            if source.is_composing and (who, places.folder_of(path)) != (source.who, source.folder):
                raise Conflict(
                    f"{file.name!r} belongs to a package that is begun in the portal; send or cancel it there"
                )
            is_alone = source.is_loose and not rows.has_files(source.id, 1)  # not while its place is being put again
            target = source if is_alone and not places.folder_of(path) else self._drops.find_for(user, who, path, None)
            drop_id = target.id if target else self._drops.new_id()
            drop_key = self._bodies.drop_key(drop_id, make=target is None, now=now)
            file_key = self._bodies.draft_key(file)
            replaced = rows.at(user.id, who, path)
            if target is None:
                self._drops.begin(drop_id, user, recipient, who, path, subject, now)
            elif target.is_loose:
                rows.change(drop_id, recipient=recipient, who=who, subject=subject)
            self._drops.make_parents(user, who, path, now)
            rows.change_file(
                file.id,
                shipment_id=drop_id,
                who=who,
                path=path,
                key=seal.wrap_under(drop_key, file_key),
                waits=int(current.state is FileState.DRAFT or self._policy.is_partial(path)),
                progress=now,
            )
            for older in replaced:  # not before: with its last file a drop would go
                self._drops.forget_or_hide(older, now)
            self._drops.changed(file.shipment_id, now)
            self._drops.changed(drop_id, now)

    def _rename_folder(self, user: User, old: Place, new: Place, now: float) -> None:
        rows = self._rows
        if not old.who or not old.path or not new.who or not new.path:
            raise CrossRoom
        self._drops.recipient(user, new.who)
        places.may_be_written(new.path + "/file")
        if self._file(user, new) or self._folders.find(user.id, new.who, new.path):
            raise AlreadyThere(new.name)
        if new.who == old.who and _is_within(new.path, old.path):
            raise CrossRoom
        files = rows.below(user.id, old.who, old.path)
        for file in files:
            if file.shipment_id and not self._drops.is_before_dispatch(file):
                raise AlreadySent(file.name)
        if len({file.path for file in files}) < len(files):
            raise Conflict(f"a file in {old.name!r} is being put again; rename it when that is done")
        moved = [folder for folder in self._folders.of(user.id, old.who) if _is_within(folder.path, old.path)]
        with self._registry.atomic():
            for folder in moved:
                self._move_folder(user, folder, new.who, new.path + folder.path[len(old.path) :], now)
            for file in files:
                path = new.path + file.path[len(old.path) :]
                self._rename_file(user, file, new.who, path, replace=False, now=now)

    def _move_folder(self, user: User, folder: Folder, who: str, path: str, now: float) -> None:
        self._folders.remove(user.id, folder.who, folder.path)
        self._drops.make_parents(user, who, path, now)
        self._folders.make(user.id, who, path, folder.mode, folder.mtime)

    # ---- questions

    def usage(self, user: User) -> tuple[int, int]:
        """(bytes in use, bytes allowed)."""
        return self._drops.usage(user)

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
            if self._folders.find(user.id, place.who, place.path):
                raise IsAFolder(place.name)
            raise NoSuchPlace(str(place))
        if file.state is FileState.DRAFT:
            raise NotYours(file.name)
        if not file.shipment_id:
            raise CannotHash("files of this name are never sent, and not kept")
        read = self._bodies.plain_at(file) if self._drops.is_before_dispatch(file) else None
        return Content(file.size, read, file.sha256)

    def hash_of(self, user: User, place: Place) -> str:
        """SHA-256, in hex, of what the user sent.  Raises NoSuchPlace, or NotYours while it is being written."""
        file = self._file(user, place)
        if file is None:
            raise NoSuchPlace(str(place))
        if file.state is FileState.DRAFT:
            raise NotYours(file.name)
        return file.sha256 or self._bodies.hash_of_draft(file)


def _folder_entry(name: str, mtime: float, mode: int) -> Entry:
    return Entry(name, True, 0, mtime, mode, True)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
