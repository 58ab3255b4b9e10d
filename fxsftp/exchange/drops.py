"""Drops: shipments in the making, before anything leaves.

A drop is found by its folder, and its state always follows from its files: whoever changes one says `changed`
in the same transaction.  Who may be sent to is decided here, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fxsftp.domain import ids, lifecycle, places, policy
from fxsftp.domain.lifecycle import BEFORE_DISPATCH, ShipmentState
from fxsftp.domain.model import File, Shipment, Standing, User
from fxsftp.errors import NoRecipient, NotAFolder, RecipientUnknown
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.drafts import Draft
from fxsftp.exchange.holdings import Holdings
from fxsftp.store.registry.drops import Joining
from fxsftp.workers import name_of

FOLDER_MODE = 0o755


class Drops:
    """What outbox, writing and dispatch have in common.  `writers` are the drafts open in this process, by row."""

    def __init__(self, holdings: Holdings, bodies: Bodies) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._rows = holdings.registry.drops
        self._policy = holdings.policy
        self._bodies = bodies
        self.writers: dict[int, Draft] = {}

    # ---- for whom

    def recipient(self, user: User, address: str) -> User:
        """Whom an address in the outbox stands for.  RecipientUnknown also for those one may not know of."""
        found = self._registry.people.by_email(address.casefold())
        if found is None or not policy.may_send(user, found):
            raise RecipientUnknown(address)
        return found

    def may_address(self, user: User, address: str) -> bool:
        """Whether an address stands for somebody this user may send to."""
        try:
            self.recipient(user, address)
        except RecipientUnknown:
            return False
        return True

    def destination(self, user: User, who: str, path: str) -> tuple[str, str]:
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

    # ---- which drop

    def find_for(self, user: User, who: str, path: str, existing: File | None) -> Shipment | None:
        """The drop that a file put at this place now would belong to."""
        folder = places.folder_of(path)
        if folder:
            return self._rows.open_folder_drop(user.id, who, folder)
        if existing:
            shipment = self._rows.find(existing.shipment_id)
            if shipment and shipment.state in BEFORE_DISPATCH:
                return shipment
        return None

    def new_id(self) -> str:
        """A number that no shipment has."""
        while True:
            drop_id = ids.new_shipment_id()
            if self._rows.find(drop_id) is None:
                return drop_id

    def begin(self, drop_id: str, user: User, recipient: str, who: str, path: str, subject: str, now: float) -> None:
        """A new drop for the file at this place.  The folder's name is the subject, where a route names none."""
        folder = places.folder_of(path)
        self._rows.add(drop_id, user.id, recipient, who, folder, subject or folder, now)
        self._registry.record.tell(now, user.email, "began", shipment_id=drop_id)

    def usage(self, user: User) -> tuple[int, int]:
        """(bytes in use, bytes allowed)."""
        return self._registry.usages.of(user.id), user.quota or self._policy.quota

    def make_parents(self, user: User, who: str, path: str, now: float) -> None:
        """The folders that a file at this place lies in.  Raises NotAFolder."""
        if who:
            self._registry.folders.make(user.id, who, "", FOLDER_MODE, now)
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            if self._rows.shown(user.id, who, parent):
                raise NotAFolder(parent)
            self._registry.folders.make(user.id, who, parent, FOLDER_MODE, now)

    def is_before_dispatch(self, file: File) -> bool:
        """Whether the file's drop may still change."""
        shipment = self._rows.find(file.shipment_id)
        return shipment is not None and shipment.state in BEFORE_DISPATCH

    def writer(self, file: File) -> Draft | None:
        """The draft that writes this row at this moment."""
        draft = self.writers.get(file.id)
        return draft if draft and not draft.is_lost else None

    def is_being_written(self, file: File) -> bool:
        """Whether somebody writes this row, in this process or in another that lives."""
        return self.writer(file) is not None or self.is_elsewhere(file)

    def is_elsewhere(self, file: File) -> bool:
        """Whether another process that lives has it open."""
        workers, writer = self._holdings.workers, file.writer
        return writer is not None and not workers.is_mine(writer) and workers.is_there(name_of(writer))

    # ---- what follows from every change

    def changed(self, drop_id: str, now: float) -> None:
        """The state of a drop follows from its files; an empty one leaves no row.

        One that is being composed is complete when its sender says so, and not before.
        """
        rows = self._rows
        shipment = rows.find(drop_id)
        if shipment is None or shipment.state not in BEFORE_DISPATCH:
            return
        if not shipment.is_composing and not rows.has_files(drop_id):
            self.forget_drop(shipment, now)
            return
        self.joined(shipment, now, waits=shipment.is_composing or rows.waits(drop_id))

    def joined(self, drop: Shipment | Joining, now: float, *, waits: bool) -> None:
        """The same for one that has files, where it is known whether one of them `waits`."""
        state = drop.state
        if state is not ShipmentState.DROPPING:
            state = lifecycle.after(lifecycle.SHIPMENTS, state, "change", drop.id)
        if not waits:
            state = lifecycle.after(lifecycle.SHIPMENTS, state, "complete", drop.id)
        self._rows.step(drop, state, now)

    def forget_drop(self, drop: Shipment, now: float) -> None:
        """An empty drop leaves no row and no key, and one that was composed no folder."""
        self._registry.record.tell(now, "exchange", "emptied", shipment_id=drop.id)
        if drop.is_composing:
            self._registry.compositions.forget_folders(drop)
        self._rows.forget(drop.id)
        self._bodies.forget_drop_key(drop.id)

    def forget_if_empty(self, drop: Shipment, now: float) -> bool:
        """What was begun to be composed and never got a file is no drop; answers whether it was one."""
        with self._registry.atomic():
            if not drop.is_composing or self._rows.has_files(drop.id):
                return False
            self.forget_drop(drop, now)
        return True

    def is_composing(self, file: File) -> bool:
        """Whether the file's drop is being composed: such a file has a row before it has a byte."""
        shipment = self._rows.find(file.shipment_id)
        return shipment is not None and shipment.is_composing

    def go_on(self, drop_id: str, now: float) -> None:
        """For the dispatcher: a drop that was held goes on from what its files are."""
        with self._registry.atomic():
            self.changed(drop_id, now)

    def registered(self, user: User, now: float) -> Sequence[str]:
        """Drops that were held for want of this recipient go on; answers which."""
        if user.standing is not Standing.ACTIVE:
            return []
        addresses = {user.email, *(group.email for group in self._registry.people.groups(user.id))}
        held = [drop for drop in self._rows.held_by("recipient") if not addresses.isdisjoint(drop.recipients)]
        for shipment in held:
            self.changed(shipment.id, now)
        return [shipment.id for shipment in held]

    def forget_or_hide(self, file: File, now: float) -> None:
        """Before dispatch the file is gone; after it, out of sight."""
        if file.shipment_id and self.is_before_dispatch(file):
            self.forget(file)
            self.changed(file.shipment_id, now)
        elif not file.shipment_id:
            self._rows.forget_file(file.id)
        else:
            self._rows.change_file(file.id, shown=0)

    def forget(self, file: File) -> None:
        """Before dispatch, nothing stays of a file that its sender takes away."""
        draft = self.writers.pop(file.id, None)
        if draft:
            draft.abandon()
        blobs = self._bodies.blobs(file)
        self._rows.forget_file(file.id)
        if blobs:  # after the commit: a transaction undone must find its blobs again
            self._holdings.later(self._erase_unless_kept, file.id, blobs)

    def _erase_unless_kept(self, file_id: int, blobs: Iterable[str]) -> None:
        with self._registry.atomic(durable=False):
            is_kept = self._rows.file(file_id) is not None
        if not is_kept:
            self._holdings.bodies.erase(*blobs)
