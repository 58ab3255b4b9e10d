"""Renewing: what can still be done for a recipient when a shipment has left: a new code, and more time.

A new code needs the keys of the files, and those the server has only where somebody else gets them by log-in.
Nothing here opens a body: headers are made anew, and the old ones are gone in the same moment.
"""

from __future__ import annotations

from collections.abc import Sequence

from fxsftp import seal
from fxsftp.domain import lifecycle, places
from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Delivery, File, LockKind, Notice, Shipment, Standing, User
from fxsftp.domain.policy import DAY
from fxsftp.errors import BadExpiry, Conflict, NoNewCode, ShipmentUnknown, WrongState
from fxsftp.exchange.dispatch import Dispatch
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.manifest import is_replaced
from fxsftp.exchange.notices import Notices


class Renewing:
    """One room.  Every method either returns with the registry committed, or raises and nothing happened."""

    def __init__(self, holdings: Holdings, dispatch: Dispatch, notices: Notices) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._dispatch = dispatch
        self._notices = notices

    # ---- a new code

    def new_code(self, user: User, shipment_id: str, recipient: str, now: float) -> Notice:
        """One recipient's old code is dead, and a new one is on its way by SMS; wrong tries are forgotten.

        Raises ShipmentUnknown, also for another's or for who is no recipient of it; NoNewCode, which says what to do,
        where nobody but the recipient's code opens it; WrongState, or Conflict for too many.  Slow: scrypt.
        """
        return self._new_code(self._of(user, shipment_id), recipient, user.email, now)

    def new_code_any(self, shipment_id: str, recipient: str, who: str, now: float) -> Notice:
        """The same, by an admin."""
        return self._new_code(self._any(shipment_id), recipient, who, now)

    def _new_code(self, shipment: Shipment, email: str, who: str, now: float) -> Notice:
        recipient, delivery = self._delivery(shipment, email)
        _must_wait(shipment, "given a new code", now)
        if delivery.lock is not LockKind.CODE:
            raise WrongState(shipment.id, "not locked by a code", "given a new code")
        if delivery.state not in lifecycle.READABLE:
            raise WrongState(shipment.id, delivery.state.value, "given a new code")
        if recipient.standing is not Standing.ACTIVE or not recipient.phone:
            raise Conflict(f"{recipient.email} has no phone number for a code; ask the operator to add it")
        files = [file for file in self._registry.drops.of_shipment(shipment.id) if not is_replaced(file)]
        keys = self._file_keys(shipment, files)
        name = seal.random_bytes(8).hex()
        parcel = self._dispatch.parcel(recipient, delivery.via, LockKind.CODE, files, keys, code_of=name)
        assert parcel.sealed_code is not None
        assert parcel.key_file is not None
        with self._registry.atomic():
            current = self._registry.drops.find(shipment.id)
            is_waiting = current is not None and current.state is ShipmentState.WAITING
            # In one transaction, however many files: between the old locks and the new ones there must be no moment.
            if not is_waiting or not self._registry.deliveries.relock(delivery, name, parcel.key_file, parcel.headers):
                raise WrongState(shipment.id, "being changed just now", "given a new code")
            notice = self._notices.code_again(recipient, shipment, delivery.id, "a new code was made", now)
            self._registry.record.tell(now, who, "new code", recipient.email, shipment.id)
            # First, and durable: undone by a crash, it is known by its parcel's name to open nothing, and is not sent.
            self._holdings.secrets.keep_codes([(delivery.id, parcel.sealed_code)], now)
        self._holdings.ring()
        return notice

    def _file_keys(self, shipment: Shipment, files: Sequence[File]) -> dict[int, bytes]:
        """Of every file, by the house key.  Raises NoNewCode when there is no lock for it."""
        headers = self._registry.deliveries.session_headers(shipment.id)
        if any(file.id not in headers for file in files):
            if self._registry.deliveries.has_recovery(shipment.id):
                raise NoNewCode(
                    shipment.id, "only its code and the institution's offline recovery key open it. Recall it and send"
                    " it again, or ask the operator, who has that key"
                )  # fmt: skip
            raise NoNewCode(shipment.id, "nothing but its code opens it. Recall it and send it again")
        house = self._holdings.keys.house_key
        return {file.id: seal.open_header(headers[file.id], [house])[0] for file in files}

    # ---- more time

    def extend(
        self, user: User, shipment_id: str, now: float, *, days: float | None = None, until: float | None = None
    ) -> Shipment:
        """It waits until a moment, or for some days more, and reminders go out before its new end.

        Raises ShipmentUnknown, WrongState, or BadExpiry for what is no longer, or longer than policy lets it wait.
        """
        return self._extend(self._of(user, shipment_id), user.email, now, days, until)

    def extend_any(
        self, shipment_id: str, who: str, now: float, *, days: float | None = None, until: float | None = None
    ) -> Shipment:
        """The same, by an admin."""
        return self._extend(self._any(shipment_id), who, now, days, until)

    def latest(self, shipment: Shipment) -> float:
        """Until when it can be kept at most."""
        return max((shipment.sent or shipment.made) + self._holdings.policy.longest, shipment.expires or 0)

    def _extend(self, shipment: Shipment, who: str, now: float, days: float | None, until: float | None) -> Shipment:
        with self._registry.atomic():
            current = self._any(shipment.id)
            _must_wait(current, "extended", now)
            ends, latest = current.expires or now, self.latest(current)
            wish = until if until is not None else ends + (days or 0) * DAY
            if not ends < wish <= latest:  # also what is no number
                raise BadExpiry(current.id, places.day(ends), places.day(latest))
            self._registry.drops.change(current.id, expires=wish)
            # Those whose time has come already, as if they had been sent; the others, once more.
            past = sum(1 for reminder in self._holdings.policy.reminders if wish - now <= reminder)
            for delivery in self._registry.deliveries.of_shipment(current.id):
                self._registry.deliveries.change(delivery.id, reminded=past)
            self._registry.record.tell(now, who, "extended", places.day(wish), current.id)
            return self._any(current.id)

    # ---- whose

    def _of(self, user: User, shipment_id: str) -> Shipment:
        shipment = self._any(shipment_id)
        if shipment.sender_id != user.id:
            raise ShipmentUnknown(shipment_id)
        return shipment

    def _any(self, shipment_id: str) -> Shipment:
        shipment = self._registry.drops.find(shipment_id)
        if shipment is None:
            raise ShipmentUnknown(shipment_id)
        return shipment

    def _delivery(self, shipment: Shipment, email: str) -> tuple[User, Delivery]:
        found = self._registry.people.by_email(email.strip().casefold())
        delivery = self._registry.deliveries.for_user(found.id, shipment.id) if found else None
        if found is None or delivery is None:
            raise ShipmentUnknown(shipment.id)
        return found, delivery


def _must_wait(shipment: Shipment, done: str, now: float) -> None:
    if shipment.state is not ShipmentState.WAITING:
        raise WrongState(shipment.id, shipment.state.value, done)
    if shipment.expires is not None and shipment.expires <= now:
        raise WrongState(shipment.id, "expired", done)
