"""Dispatch: the one decider.  A drop that has settled becomes a shipment, exactly once.

What takes long (merging, packing, deriving keys, writing a row for each file) is done first and counts for
nothing; then one short transaction compares and sets the drop's state and writes deliveries and notices.
Any number of processes may call this at one time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fxsftp import seal
from fxsftp.domain import ids, lifecycle
from fxsftp.domain.lifecycle import FileState, ShipmentState
from fxsftp.domain.model import File, Kind, LockKind, Shipment, Standing, User
from fxsftp.errors import Conflict, Forged, FxError, Missing, RecipientUnknown, ShipmentUnknown, WrongState
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.erasing import Erasing
from fxsftp.exchange.gathering import Gathering
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.loading import Loading, parcel_of
from fxsftp.exchange.manifest import Manifest, is_manifest, is_replaced
from fxsftp.exchange.notices import Notices
from fxsftp.exchange.writing import Writing
from fxsftp.store.registry.lots import Berth

log = logging.getLogger("fxsftp.exchange")

DIRECT = 8  # files for which a scrypt header of their own is worth its 60 ms
LONG_AGO = 0.0  # a progress after which any drop has settled
DOUBTS = "its end could not be checked"


class Held(Exception):
    """Why a drop can't leave: a word for the registry, a sentence for people."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(cause, reason)
        self.cause = cause
        self.reason = reason


@dataclass(frozen=True)
class Parcel:
    """One recipient's part, made before anybody decides."""

    user: User
    via: str
    lock: LockKind
    sealed_code: bytes | None
    key_file: bytes | None
    headers: Sequence[tuple[int, str, bytes]]  # file id, kind, header


@dataclass(frozen=True)
class Load:
    """Everything of a shipment that is made beforehand."""

    files: Sequence[File]
    replaced: Sequence[File]  # whose content nobody is to read any more
    parcels: Sequence[Parcel]
    left_out: Sequence[str]  # why members of the group get nothing
    recoveries: Mapping[int, bytes]  # by file id
    pack: seal.Blob | None
    packed: Mapping[int, int]  # by file id, where its body begins in the pack


class Dispatch:
    """Settled drops leave; stalled ones are held; what is held is told."""

    def __init__(
        self, holdings: Holdings, bodies: Bodies, drops: Drops, erasing: Erasing, writing: Writing, notices: Notices
    ) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._policy = holdings.policy
        self._bodies = bodies
        self._drops = drops
        self._erasing = erasing
        self._writing = writing
        self._notices = notices
        self._loading = Loading(holdings)
        self._gathering = Gathering(holdings, bodies)

    def step(self, now: float) -> list[str]:
        """Dispatch and hold whatever is due.  Answers one line for the log for each shipment that moved."""
        self._writing.beat(now)
        self._writing.elsewhere.bury_the_dead()
        self._loading.finish_all(now)
        self._erasing.finish_recalled(now)
        self._merge_all(now)
        done = []
        for drop in self._registry.drops.stalled(now - self._policy.hold):
            if not self._drops.forget_if_empty(drop, now):
                done += self.hold(drop, Held("stalled", self._stalled(drop)), now)
        if not self._policy.scan:
            for drop in self._registry.drops.held_by("scanner"):  # which is no more, and so nobody waits for it
                self._drops.go_on(drop.id, now)
        ready = [drop for drop in self.settled(now) if self._may_leave(drop)]
        for together in leaving_together(ready, self._policy.max_files):
            try:
                done += self._leave(together, "settle", now)
            except FxError as problem:  # a full disk, a busy registry: it stays settled and is tried again
                log.error("shipment %s can't leave just now: %s", together[0].id, problem)
        return done

    def settled(self, now: float) -> list[Shipment]:
        """Drops that have been quiet for long enough, oldest first."""
        soonest = min(self._policy.settle_loose, self._policy.settle_folder)
        return [
            quiet.drop
            for quiet in self._registry.drops.quiet(now - soonest)
            if quiet.drop.progress
            + self._policy.settle(is_loose=quiet.drop.is_loose, connected=quiet.is_connected, suspect=quiet.is_suspect)
            <= now
        ]

    def _may_leave(self, drop: Shipment) -> bool:
        return drop.is_scanned or not self._policy.scan

    def send(self, user: User, folder: str | None, now: float) -> list[Shipment]:
        """Dispatch without waiting for the quiet: one folder, or everything of this user that is complete.

        What is to be scanned first leaves as soon as that is done.  Raises ShipmentUnknown when there is no such drop,
        Conflict when a file of it is still arriving.
        """
        self._writing.in_hand.write_down(user.id)
        self._merge_all(now)
        drops = [
            drop
            for drop in self._registry.drops.in_states(*lifecycle.BEFORE_DISPATCH)
            if drop.sender_id == user.id and not drop.is_composing and (folder is None or _is_named(drop, folder))
        ]
        if folder is not None and not drops:
            raise ShipmentUnknown(folder)
        if folder is not None:
            for drop in drops:
                self._must_be_complete(drop)
        complete = [drop for drop in drops if not self._registry.drops.waits(drop.id)]
        for drop in complete:
            if drop.state is ShipmentState.HELD:
                self._drops.go_on(drop.id, now)
        settled = [found for drop in complete if (found := self._registry.drops.find(drop.id))]
        settled = [drop for drop in settled if not self._registry.segments.in_pieces(drop.id)]
        for drop in settled:
            if not self._may_leave(drop):
                self._registry.drops.change(drop.id, progress=LONG_AGO)
        for together in leaving_together(filter(self._may_leave, settled), self._policy.max_files):
            self._leave(together, "send", now)
        gone = [self._registry.drops.find(drop.id) for drop in complete]
        return [drop for drop in gone if drop]

    def send_one(self, shipment_id: str, now: float) -> None:
        """The same for one drop that is complete, by its number.  Nothing when it has left, or is held."""
        self._merge_all(now, shipment_id)
        drop = self._registry.drops.find(shipment_id)
        if drop is None or drop.state is not ShipmentState.SETTLING or self._registry.segments.in_pieces(drop.id):
            return
        if self._may_leave(drop):
            self._leave([drop], "send", now)
        elif drop.progress != LONG_AGO:  # or who looks at it just now would have looked at something else
            self._registry.drops.change(drop.id, progress=LONG_AGO)

    def _must_be_complete(self, drop: Shipment) -> None:
        if drop.is_composing:
            raise Conflict("its sender has not sent it yet")
        for file in self._registry.drops.of_shipment(drop.id):
            if file.state is FileState.DRAFT:
                raise Conflict(f"{file.name!r} is not complete; resume it, or remove it")
            if self._policy.is_partial(file.path):
                raise Conflict(f"{file.name!r} has a name that says it is not; rename it, or remove it")

    def release(self, shipment_id: str, who: str, now: float) -> None:
        """What was held goes on as it is, by an admin's word.  Raises ShipmentUnknown or WrongState."""
        drop = self._registry.drops.find(shipment_id)
        if drop is None:
            raise ShipmentUnknown(shipment_id)
        state = lifecycle.after(lifecycle.SHIPMENTS, drop.state, "release", f"{drop.id}")
        self._must_be_complete(drop)
        with self._registry.atomic():
            if not self._registry.drops.step(drop, state, now, cause="released"):
                raise WrongState(drop.id, "being changed", "released")
            released = self._registry.drops.find(drop.id)
            if (
                released and drop.cause in lifecycle.SCAN_CAUSES
            ):  # or it would be held again for what the admin has seen
                self._registry.drops.set_scanned(released)
            self._registry.record.tell(now, who, "released", shipment_id=drop.id)

    # ---- why it does not

    def _stalled(self, drop: Shipment) -> str:
        if drop.is_composing and not self._registry.drops.waits(drop.id):
            return "all files have arrived, but it was never sent"
        waiting = [
            file.name
            for file in self._registry.drops.of_shipment(drop.id)
            if file.state is FileState.DRAFT or self._policy.is_partial(file.path)
        ]
        return f"no progress, and not complete: {', '.join(waiting[:5])}{' …' if len(waiting) > 5 else ''}"

    def _merge_all(self, now: float, only: str = "") -> None:
        for file in self._registry.segments.to_merge():
            if only and file.shipment_id != only:
                continue
            try:
                self._merge(file)
            except (Forged, Missing):
                log.error("shipment %s: what was resumed does not verify", file.shipment_id)
                drop = self._registry.drops.find(file.shipment_id)
                if drop:
                    self.hold(drop, damaged(file.name), now)
            except FxError as problem:
                log.error("shipment %s can't be merged just now: %s", file.shipment_id, problem)

    def _merge(self, file: File) -> None:
        """A resumed file becomes one body.  Whoever puts it again meanwhile wins."""
        segments = self._registry.segments.of(file.id)
        pieces = self._bodies.stored(file)
        whole = self._holdings.bodies.create()
        try:
            size, sha256 = seal.merge(pieces, self._bodies.draft_key(file), whole)
        except BaseException:
            self._holdings.bodies.erase(whole.id)
            raise
        with self._registry.atomic():
            current = self._registry.drops.file(file.id)
            is_same = current is not None and (current.state, current.progress) == (file.state, file.progress)
            is_same = is_same and self._registry.segments.of(file.id) == segments  # another process may have merged
            if is_same:
                self._registry.drops.change_file(
                    file.id, blob=whole.id, body=seal.payload_size(size), size=size, sha256=sha256
                )
                self._registry.segments.set(file.id, [])
        self._holdings.bodies.erase(*([segment.blob for segment in segments] if is_same else [whole.id]))

    # ---- leaving

    def _leave(self, drops: Sequence[Shipment], event: str, now: float) -> list[str]:
        """Those of one sender for one recipient that are ready together leave as one shipment."""
        if len(drops) > 1:
            try:
                self._receivers_of(drops[0])
            except Held as held:  # each by itself: as long as they wait, each may be changed alone
                return [line for drop in drops for line in self.hold(drop, held, now)]
            drops = self._gathering.gather(drops, self._policy.max_files)
        return [line for drop in drops for line in self._leave_alone(drop, event, now)]

    def _leave_alone(self, drop: Shipment, event: str, now: float) -> list[str]:
        try:
            load = self._load(drop)
        except Held as held:
            return self.hold(drop, held, now)
        except (Forged, Missing) as damage:
            log.error("shipment %s: %s", drop.id, damage)
            return self.hold(drop, damaged("what is in it"), now)
        except FxError:
            if self._registry.drops.is_before_dispatch(drop.id):
                raise
            return []  # another process was quicker, and what this one wanted to read is gone
        lot = self._loading.load(
            [parcel.headers for parcel in load.parcels], self._berths(load), self._pack_id(load), now
        )
        try:
            self._commit(drop, load, lot, event, now)
        except _Overtaken:
            return []  # somebody changed it meanwhile; it will settle again
        finally:
            self._loading.finish(lot)
        self._bodies.forget_drop_key(drop.id)
        self._holdings.ring()
        return [f"{drop.id} dispatched to {', '.join(f'{p.user.email} by {p.lock}' for p in load.parcels)}"]

    def _load(self, drop: Shipment) -> Load:
        everything = self._registry.drops.of_shipment(drop.id)
        self._check_manifests(everything)
        files = [file for file in everything if not is_replaced(file)]
        if not files:
            raise Held("empty", "there is nothing in it but checksums")
        if len(files) > self._policy.max_files:
            raise Held("too many", f"it has more than {self._policy.max_files} files; send the rest as another")
        receivers, left_out = self._receivers_of(drop)
        keys = {file.id: self._bodies.draft_key(file) for file in files}
        parcels = [self.parcel(user, via, lock, files, keys) for user, via, lock in receivers]
        recovery = self._holdings.keys.recovery_lock
        recoveries = {file.id: seal.header_for(keys[file.id], recovery) for file in files} if recovery else {}
        pack, packed = self._pack(files)
        for file in files:
            if file.blob:
                self._holdings.bodies.commit(file.blob)
        return Load(files, [*filter(is_replaced, everything)], parcels, left_out, recoveries, pack, packed)

    def _check_manifests(self, files: Sequence[File]) -> None:
        for file in files:
            if is_manifest(file):
                problem = Manifest(self._bodies, file).problem(files)
                if problem:
                    raise Held("manifest", problem)

    def _receivers_of(self, drop: Shipment) -> tuple[list[tuple[User, str, LockKind]], list[str]]:
        """Who gets it, each once, and why others of a group don't.  It waits until every recipient can receive."""
        sender = self._registry.people.by_id(drop.sender_id)
        assert sender is not None
        found: dict[int, tuple[User, str, LockKind]] = {}
        left_out, unable = [], []
        for address in drop.recipients:
            try:
                receivers, missing = self._receivers_at(sender, address, drop.minimum)
            except Held as problem:
                unable.append(problem.reason)
                continue
            for user, via, lock in receivers:
                if not via or user.id not in found:  # who is named gets it by name
                    found[user.id] = user, via, lock
            left_out += missing
        if unable:
            raise Held("recipient", "; ".join(unable))
        return list(found.values()), left_out

    def _receivers_at(
        self, sender: User, address: str, minimum: LockKind | None
    ) -> tuple[list[tuple[User, str, LockKind]], list[str]]:
        recipient = self._registry.people.by_email(address)
        if recipient is None:
            raise Held("recipient", str(RecipientUnknown(address)))
        if recipient.kind is not Kind.GROUP:
            return [(recipient, "", self._lock_for(recipient, None, minimum))], []
        found, left_out = [], []
        for member in self._registry.people.members(recipient.id):
            if member.id == sender.id:
                continue
            try:
                found.append((member, recipient.email, self._lock_for(member, recipient.delivery, minimum)))
            except Held as problem:
                left_out.append(problem.reason)
        if not found:
            raise Held("recipient", "; ".join([f"nobody in the group {address} can receive now", *left_out]))
        return found, left_out

    def _lock_for(self, user: User, via: LockKind | None, minimum: LockKind | None) -> LockKind:
        if user.standing is Standing.INVITED:
            raise Held("recipient", f"{user.email} has not registered yet")
        if user.standing is not Standing.ACTIVE:
            raise Held("recipient", f"{user.email} can't receive now; ask the operator")
        has_key = any(key.opens for key in self._registry.people.keys(user.id))
        lock = self._policy.lock_for(user, has_key, via, minimum)
        if lock is LockKind.CODE and not user.phone:
            raise Held("recipient", f"{user.email} has no phone number for the code; ask the operator to add it")
        if lock is LockKind.KEYS and not has_key:
            raise Held("recipient", f"{user.email} has no key that can open a shipment; ask the operator to add one")
        return lock

    def parcel(
        self,
        user: User,
        via: str,
        lock: LockKind,
        files: Sequence[File],
        keys: Mapping[int, bytes],
        code_of: str = "",
    ) -> Parcel:
        """What this lock needs for one recipient; slow where it is a code, which can be one of a named parcel only."""
        if lock is LockKind.SESSION:
            house = self._holdings.keys.house_key.lock
            return Parcel(
                user, via, lock, None, None,
                [(file.id, "session", seal.header_for(keys[file.id], house)) for file in files],
            )  # fmt: skip
        if lock is LockKind.KEYS:
            locks = [seal.SshLock(key.line) for key in self._registry.people.keys(user.id) if key.opens]
            return Parcel(
                user, via, lock, None, None,
                [(file.id, "keys", seal.header_for(keys[file.id], *locks)) for file in files],
            )  # fmt: skip
        code = ids.new_code()
        identity, key_file = seal.code_identity(code)
        headers = [(file.id, "code", seal.header_for(keys[file.id], identity.lock)) for file in files]
        if len(files) <= DIRECT:
            headers += [(file.id, "direct", seal.header_for(keys[file.id], seal.CodeLock(code))) for file in files]
        return Parcel(user, via, lock, self._sealed_for_courier(f"{code} {code_of}".rstrip()), key_file, headers)

    def _pack(self, files: Sequence[File]) -> tuple[seal.Blob | None, dict[int, int]]:
        """Small bodies leave the registry, which the courier reads, for one blob that it does not reach."""
        small = [file for file in files if file.in_row]
        if not small:
            return None, {}
        pack = self._holdings.bodies.create()
        packed = {}
        for file in small:
            body = self._registry.drops.small(file.id)
            if body is None:
                self._holdings.bodies.erase(pack.id)
                raise _Overtaken
            packed[file.id] = pack.size
            pack.append(body)
        pack.sync()
        self._holdings.bodies.commit(pack.id)
        return pack, packed

    def _pack_id(self, load: Load) -> str | None:
        return self._bodies.blob_id(load.pack) if load.pack else None

    def _berths(self, load: Load) -> Sequence[Berth]:
        """No small body stays in the registry, also not that of a list of checksums, which the exchange replaces."""
        files = [*load.files, *load.replaced]
        return [Berth(file.id, load.packed.get(file.id), load.recoveries.get(file.id)) for file in files]

    def _commit(self, drop: Shipment, load: Load, lot: str, event: str, now: float) -> None:
        rows, deliveries = self._registry.drops, self._registry.deliveries
        state = lifecycle.after(lifecycle.SHIPMENTS, drop.state, event, drop.id)
        with self._registry.atomic():
            if not (rows.step(drop, state, now) and self._registry.lots.went(lot, drop.id)):
                raise _Overtaken
            rows.change(drop.id, sent=now, expires=now + self._policy.expiry, cause="", reason="")
            codes = []
            for file in [file for file in (*load.files, *load.replaced) if file.state is FileState.SUSPECT]:
                trusted = lifecycle.after(lifecycle.FILES, file.state, "trust", file.name)
                rows.change_file(file.id, state=trusted)
                self._registry.record.tell(now, "exchange", "suspect", f"{file.name}: {DOUBTS}", drop.id)
            sent = rows.find(drop.id)
            assert sent is not None
            for number, parcel in enumerate(load.parcels):
                named = parcel_of(lot, number)
                delivery_id = deliveries.add(drop.id, parcel.user.id, parcel.via, parcel.lock, parcel.key_file, named)
                if parcel.sealed_code:
                    codes.append((delivery_id, parcel.sealed_code))
                self._notices.arrived(sent, delivery_id, parcel.user, parcel.lock, load.files, now)
                self._registry.record.tell(
                    now, "exchange", "dispatched", f"{parcel.user.email}: {parcel.lock}", drop.id
                )
            self._notices.events.dispatched(drop.id, now)
            for reason in load.left_out:
                self._registry.record.tell(now, "exchange", "left out", reason, drop.id)
            if codes:  # first, and durable: a code without its shipment opens nothing and is swept after three days
                self._holdings.secrets.keep_codes(codes, now)
        # that commit was the moment of truth: before it there was a drop, now there is a shipment

    def _sealed_for_courier(self, code: str) -> bytes:
        lock = self._holdings.keys.courier_lock
        if lock is None:
            raise Held("keys", "the exchange has no courier key to seal codes to; ask the operator")
        return seal.seal_small(code.encode(), lock)

    def hold(self, drop: Shipment, held: Held, now: float) -> list[str]:
        """It does not leave, and its sender is told why; once for each cause.  Answers as `step` does."""
        if drop.state is ShipmentState.HELD and drop.cause == held.cause:
            return []
        state = drop.state
        if state is not ShipmentState.HELD:
            state = lifecycle.after(lifecycle.SHIPMENTS, state, "hold", drop.id)
        with self._registry.atomic():
            if not self._registry.drops.step(drop, state, now, held.cause, held.reason):
                return []
            self._registry.record.tell(now, "exchange", "held", held.reason, drop.id)
            self._notices.held(drop, held.cause, held.reason, now)
            self._notices.events.held(drop.id, held.cause, held.reason, now)
        self._holdings.ring()
        return [f"{drop.id} held: {held.cause}"]


class _Overtaken(FxError):
    """The drop was changed while it was made ready."""

    temporary = True


def damaged(name: str) -> Held:
    return Held("damaged", f"{name} was damaged on the exchange's disk; put it again")


def leaving_together(drops: Iterable[Shipment], most: int) -> list[list[Shipment]]:
    """Folders each by itself; loose files from one folder of an outbox for one recipient together, at most so many."""
    bundles: dict[tuple[int, str, str, str, str], list[Shipment]] = {}
    for drop in drops:
        apart = drop.folder and drop.id
        bundles.setdefault((drop.sender_id, drop.who, drop.recipient, drop.subject, apart), []).append(drop)
    return [bundle[first : first + most] for bundle in bundles.values() for first in range(0, len(bundle), most)]


def _is_named(drop: Shipment, folder: str) -> bool:
    return folder.strip("/") in (drop.folder, f"{drop.who}/{drop.folder}", f"outbox/{drop.who}/{drop.folder}", drop.id)
