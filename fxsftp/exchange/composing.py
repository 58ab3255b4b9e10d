"""Composing: a package put together piece by piece, in a page that may be loaded again, and sent by a word.

It is a drop in the same tables as those that come by SFTP, and stands in its sender's outbox like them; but quiet
does not settle it.  Until `submit` nobody but its sender hears of it, and what is not submitted goes the way of every
unfinished drop.  Its files are resumable at the byte that was flushed, after a lost line as after kill -9.

    begin ──► add_file ──► finish_file ──► submit          `interrupt_file` and `resume_file` as often as the line
      │          │  ▲                                      breaks; `cancel_file` and `cancel` leave nothing behind
     edit        ▼  │
         interrupt_file, resume_file
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fxsftp import seal
from fxsftp.domain import addresses, places, policy, words
from fxsftp.domain.lifecycle import BEFORE_DISPATCH, FileState, ShipmentState
from fxsftp.domain.model import File, Kind, LockKind, Shipment, User
from fxsftp.errors import (
    BadName,
    BadText,
    Conflict,
    EmptyPackage,
    IsAFolder,
    NoSuchPlace,
    NotYet,
    NotYours,
    Overlong,
    OverQuota,
    PhoneNeeded,
    RecipientUnknown,
    ShipmentUnknown,
    TooManyFiles,
    Unfinished,
    WrongOffset,
    WrongState,
)
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.dispatch import Dispatch
from fxsftp.exchange.drafts import FILE_MODE, Draft
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.elsewhere import STEAL_AFTER
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.people import People
from fxsftp.exchange.writing import Writing

RECIPIENTS = 50  # each costs an SMS and up to nine scrypts; more people are a group
OPEN = 100  # packages that one sender has begun and not sent; who forgets this many has a program that does
NAMED = 5  # files named in one refusal


@dataclass(frozen=True, slots=True)
class Upload:
    """One file as far as it has come.  `size` is what was announced, None while nobody knows; `offset` is durable."""

    id: int
    name: str
    size: int | None
    offset: int
    is_complete: bool
    mtime: float


@dataclass(frozen=True, slots=True)
class Composition:
    """A package that is not sent yet.  `invited` are those who are asked in when it is."""

    shipment: Shipment
    files: Sequence[Upload]
    invited: Sequence[str]


class Composing:
    """One room.  Every method either returns with the registry committed, or raises and nothing happened."""

    def __init__(
        self,
        holdings: Holdings,
        bodies: Bodies,
        drops: Drops,
        writing: Writing,
        people: People,
        dispatch: Dispatch,
    ) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._rows = holdings.registry.drops
        self._compositions = holdings.registry.compositions
        self._policy = holdings.policy
        self._workers = holdings.workers
        self._bodies = bodies
        self._drops = drops
        self._writing = writing
        self._people = people
        self._dispatch = dispatch

    # ---- the package

    def begin(
        self,
        user: User,
        *,
        recipients: Sequence[str],
        subject: str = "",
        message: str = "",
        minimum: LockKind | None = None,
        invite_with: Mapping[str, str] | None = None,
        now: float,
    ) -> Shipment:
        """A new package, with nothing in it.  Nobody but its sender hears of it.

        `invite_with` is the mobile number of each recipient who is not registered, by address.  Raises BadText,
        BadAddress, BadPhone, RecipientUnknown, PhoneNeeded (to members only), or Conflict for too many at once.
        """
        subject, message = words.subject(subject), words.message(message)
        to, invites = self._addressed(user, recipients, invite_with or {})
        if len(self._compositions.open(user.id)) >= OPEN:
            raise Conflict(f"{OPEN} packages are begun and not sent; send or cancel one of them first")
        drop_id = self._drops.new_id()
        self._bodies.drop_key(drop_id, make=True, now=now)
        folder = _folder(subject, drop_id)
        with self._registry.atomic():
            self._drops.begin(drop_id, user, to[0], to[0], f"{folder}/", subject, now)
            self._compositions.write(drop_id, to=to, subject=subject, message=message, minimum=minimum, invites=invites)
            self._drops.make_parents(user, to[0], f"{folder}/", now)
            return self._of(user, drop_id)

    def edit(
        self,
        user: User,
        shipment_id: str,
        *,
        recipients: Sequence[str] | None = None,
        subject: str | None = None,
        message: str | None = None,
        minimum: LockKind | None = None,
        invite_with: Mapping[str, str] | None = None,
        now: float,
    ) -> Shipment:
        """Change what is given, until it is submitted.  Raises as `begin`, ShipmentUnknown, or WrongState after that.

        `minimum` can be made SESSION to take an earlier wish back.
        """
        with self._registry.atomic():
            drop = self._open(user, shipment_id)
            invites = self._compositions.invites(drop.id)
            to = drop.recipients
            if recipients is not None:
                to, invites = self._addressed(user, recipients, invites | dict(invite_with or {}))
            subject = drop.subject if subject is None else words.subject(subject)
            folder = _folder(subject, drop.id)
            self._compositions.write(
                drop.id,
                to=to,
                subject=subject,
                message=drop.message if message is None else words.message(message),
                minimum=minimum or drop.minimum,
                invites=invites,
            )
            if (to[0], folder) != (drop.who, drop.folder):
                self._compositions.move(drop, to[0], folder)
                self._drops.make_parents(user, to[0], f"{folder}/", now)
            self._drops.changed(drop.id, now)
            return self._of(user, drop.id)

    def _addressed(
        self, user: User, recipients: Sequence[str], invite_with: Mapping[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Who they are, each once, and by which phone those are invited who are not registered."""
        to = tuple(dict.fromkeys(addresses.address(each) for each in recipients))
        if not to:
            raise BadText("list of recipients", "it is empty; name at least one")
        if len(to) > RECIPIENTS:
            raise BadText("list of recipients", f"it has more than {RECIPIENTS}; ask the operator for a group")
        phones = {addresses.address(each): phone for each, phone in invite_with.items() if phone.strip()}
        invites = {}
        for each in to:
            found = self._registry.people.by_email(each)
            if found is None and user.kind is Kind.MEMBER:
                if each not in phones:
                    raise PhoneNeeded(each)
                invites[each] = addresses.phone(phones[each])
            elif found is None or not policy.may_send(user, found):
                raise RecipientUnknown(each)
        return to, invites

    def cancel(self, user: User, shipment_id: str, now: float) -> None:
        """All of it is erased: files, rows and keys.  Raises ShipmentUnknown, or WrongState once it is submitted."""
        with self._registry.atomic():
            drop = self._open(user, shipment_id)
            for file in self._rows.of_shipment(drop.id):
                self._drops.forget(file)
            self._drops.forget_drop(drop, now)

    # ---- its files

    def add_file(
        self,
        user: User,
        shipment_id: str,
        name: str,
        size: int | None,
        mtime: float | None,
        session: str,
        now: float,
    ) -> tuple[Draft, int]:
        """Begin one file: what to write on, and its number.  It is this session's until it is finished or interrupted.

        `name` may lie in folders; `size` is None only where nobody can know it, and then its end is taken for true.
        A name that is there already is replaced once this one is finished.
        Raises BadName, OverQuota, TooManyFiles, IsAFolder, NotAFolder, ShipmentUnknown, WrongState.
        """
        shown = self._name(name)
        file_key = seal.new_file_key()
        with self._registry.atomic(durable=False):
            drop = self._open(user, shipment_id)
            path = f"{drop.folder}/{shown}"
            places.may_be_written(path)
            if self._registry.folders.find(user.id, drop.who, path):
                raise IsAFolder(shown)
            older = self._rows.at(user.id, drop.who, path)
            if not older and self._rows.has_files(drop.id, self._policy.max_files - 1):
                raise TooManyFiles(self._policy.max_files)
            allowance, quota = self._allowance(user, older)
            if size is not None and size > allowance:
                raise OverQuota(quota, quota - allowance)
            self._drops.make_parents(user, drop.who, path, now)
            file_id = self._rows.add_file(
                drop.id,
                user.id,
                drop.who,
                path,
                FileState.DRAFT,
                now if mtime is None else mtime,
                FILE_MODE,
                now,
                writer=self._workers.signed(session),
                key=seal.wrap_under(self._bodies.drop_key(drop.id), file_key),
                announced=size,
                waits=True,
                beat=self._workers.ticks(),
            )
            self._drops.changed(drop.id, now)
            file = self._rows.file(file_id)
        assert file is not None
        return self._writing.draft_of(file, file_key, allowance=allowance, quota=quota, now=now), file_id

    def resume_file(self, user: User, shipment_id: str, file_id: int, offset: int, session: str, now: float) -> Draft:
        """Go on with a file where it broke off, which is where `file_state` says.

        Of the same session what is still open is given up for it; of another, once nothing has come for a while.
        Raises WrongOffset, which has the true one, NotYours while it is being written, NoSuchPlace, ShipmentUnknown
        or WrongState.
        """
        writer = self._workers.signed(session)
        self._let_go(self._file(self._open(user, shipment_id), file_id), writer, now)
        with self._registry.atomic(durable=False):
            drop = self._open(user, shipment_id)
            file = self._file(drop, file_id)
            if file.writer is not None:
                raise NotYours(file.name)
            if file.state is not FileState.DRAFT or offset != file.size:
                raise WrongOffset(file.name, file.size, offset)
            allowance, quota = self._allowance(user, [file])
            self._rows.change_file(file.id, writer=writer, connected=writer, progress=now, beat=self._workers.ticks())
        file = replace(file, writer=writer, progress=now)
        try:
            draft = self._writing.draft_of(
                file, self._bodies.draft_key(file), stored=self._bodies.stored(file),
                allowance=allowance, quota=quota, now=now,
            )  # fmt: skip
        except BaseException:
            with self._registry.atomic(durable=False):
                self._rows.change_file(file.id, writer=None, connected=None)
            raise
        if draft.size != offset:  # a power cut took what the row speaks of
            self._writing.lose_draft(draft, now)
            raise WrongOffset(file.name, draft.flushed, offset)
        return draft

    def _let_go(self, file: File, writer: str, now: float) -> None:
        """Nobody writes this row when this returns.

        Raises NotYours where somebody does who is not to be pushed, NotYet where it is being put away.
        """
        draft = self._drops.writers.get(file.id)
        if draft is None:
            self._writing.elsewhere.let_go(file)
            return
        if not draft.is_lost:
            if draft.session != writer and now - draft.last_write < STEAL_AFTER:
                raise NotYours(file.name)
            self._writing.lose_draft(draft, now)
        if not draft.is_put_away:
            raise NotYet(file.name)

    def file_state(self, user: User, shipment_id: str, file_id: int, now: float) -> Upload:
        """How far a file has come.  While somebody writes it, that much at least."""
        del now
        file = self._file(self._open(user, shipment_id), file_id)
        draft = self._drops.writer(file)
        if draft is None and file.state is FileState.DRAFT and file.writer is not None:
            with suppress(NotYours):  # another process has it; what the row says is true, if a moment old
                self._writing.elsewhere.let_go(file)
            file = self._file(self._open(user, shipment_id), file_id)
        return self._upload(file)

    def finish_file(self, draft: Draft, now: float) -> None:
        """All of it has come: when this returns, the file survives kill -9 and a power cut.

        Raises Incomplete when bytes are missing (what has come can be resumed), Overlong when there are more than
        were announced (it is erased), NotYours or NoSuchPlace when it was cancelled or taken over meanwhile.
        """
        if draft.announced is None:
            draft.announced = draft.size  # whoever calls this has seen the end, and so nothing is in doubt
        elif draft.size > draft.announced:
            announced = draft.announced
            with self._registry.atomic():
                self._drops.forget(draft.file)
                self._drops.changed(draft.file.shipment_id, now)
            raise Overlong(draft.file.name, announced)
        self._writing.close_draft(draft, now)

    def interrupt_file(self, draft: Draft, now: float) -> None:
        """The line is lost: what was flushed is durable and can be resumed.  May be said more than once."""
        self._writing.lose_draft(draft, now)

    def cancel_file(self, user: User, shipment_id: str, file_id: int, now: float) -> None:
        """Nothing stays of it, complete or not.  Raises NoSuchPlace, ShipmentUnknown, WrongState."""
        with self._registry.atomic():
            drop = self._open(user, shipment_id)
            self._drops.forget(self._file(drop, file_id))
            self._drops.changed(drop.id, now)

    def _name(self, name: str) -> str:
        """The path within the package, as an SFTP client's would be read."""
        try:
            parts = places.resolve(name.encode())
        except UnicodeEncodeError:
            raise BadName(ascii(name), "it is not Unicode text") from None
        if not parts:
            raise BadName(name, "it names no file")
        shown = "/".join(parts)
        if self._policy.is_litter(shown):
            raise BadName(parts[-1], "files of this name are never sent")
        if self._policy.is_partial(shown):
            raise BadName(parts[-1], "names like this say that a file is not complete; give it its final name")
        return shown

    def _allowance(self, user: User, replaced: Sequence[File]) -> tuple[int, int]:
        """How long a file may become, and the quota.  What is announced counts as if it were there."""
        used, quota = self._drops.usage(user)
        used += self._compositions.promised(user.id)
        return quota - used + sum(max(file.size, file.announced or 0) for file in replaced), quota

    # ---- sending it

    def submit(self, user: User, shipment_id: str, now: float) -> Shipment:
        """It leaves, at once or as soon as it is scanned; for who is not registered it is held, and they are invited.

        Saying it again changes nothing, and answers the same shipment.  Raises EmptyPackage, Unfinished,
        RecipientUnknown, ShipmentUnknown, or WrongState for one that was given up.
        """
        with self._registry.atomic():
            drop = self._of(user, shipment_id)
            if drop.is_composing:
                self._open(user, shipment_id)
                self._must_be_whole(drop)
                self._invite(user, drop, now)
                self._compositions.submit(drop.id)
                self._drops.changed(drop.id, now)
        # From that commit on it leaves, even if nobody comes to the next line: it is a drop that has all its files.
        self._dispatch.send_one(drop.id, now)
        return self._of(user, drop.id)

    def _must_be_whole(self, drop: Shipment) -> None:
        files = self._rows.of_shipment(drop.id)
        if not files:
            raise EmptyPackage
        missing = list(dict.fromkeys(
            file.name for file in files if file.state is FileState.DRAFT or self._policy.is_partial(file.path)
        ))  # fmt: skip
        if missing:
            raise Unfinished(", ".join(missing[:NAMED]) + (" …" if len(missing) > NAMED else ""))

    def _invite(self, user: User, drop: Shipment, now: float) -> None:
        invites = self._compositions.invites(drop.id)
        for each in drop.recipients:
            found = self._registry.people.by_email(each)
            if found is None and each in invites:
                self._people.invite(user, each, invites[each], now)
            elif found is None or not policy.may_send(user, found):
                raise RecipientUnknown(each)

    # ---- looking

    def compositions(self, user: User, now: float) -> list[Composition]:
        """Those that this user has begun and not sent, oldest first."""
        del now
        found = [self._rows.find(each) for each in self._compositions.open(user.id)]
        return [self._composition(drop) for drop in found if drop]

    def composition(self, user: User, shipment_id: str, now: float) -> Composition:
        """One of them.  Raises ShipmentUnknown, or WrongState once it is submitted."""
        del now
        return self._composition(self._open(user, shipment_id))

    def _composition(self, drop: Shipment) -> Composition:
        files = [self._upload(file) for file in self._rows.of_shipment(drop.id)]
        return Composition(drop, files, list(self._compositions.invites(drop.id)))

    def _upload(self, file: File) -> Upload:
        draft, is_complete = self._drops.writer(file), file.state is not FileState.DRAFT
        offset = draft.flushed if draft and not is_complete else file.size
        return Upload(file.id, file.name, file.size if is_complete else file.announced, offset, is_complete, file.mtime)

    def _of(self, user: User, shipment_id: str) -> Shipment:
        drop = self._rows.find(shipment_id)
        if drop is None or drop.sender_id != user.id:
            raise ShipmentUnknown(shipment_id)
        return drop

    def _open(self, user: User, shipment_id: str) -> Shipment:
        drop = self._of(user, shipment_id)
        if not drop.is_composing or drop.state not in BEFORE_DISPATCH:
            state = drop.state.value if drop.state is not ShipmentState.WAITING else "sent"
            raise WrongState(drop.id, state, "changed")
        return drop

    def _file(self, drop: Shipment, file_id: int) -> File:
        file = self._rows.file(file_id)
        if file is None or file.shipment_id != drop.id:
            raise NoSuchPlace(f"file {file_id}")
        return file


def _folder(subject: str, drop_id: str) -> str:
    """Its name in the outbox: nobody's nightly job puts files into a folder with a number in its name."""
    return "_".join(filter(None, (places.slug(subject), drop_id)))
