"""What a sender sees of what was sent: state per recipient and file, receipts; and taking it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime

from fxsftp.domain import lifecycle
from fxsftp.domain.addresses import hint
from fxsftp.domain.lifecycle import DeliveryState, ShipmentState
from fxsftp.domain.model import Delivery, Event, File, LockKind, Notice, Receipt, Shipment, User
from fxsftp.errors import ShipmentUnknown, WrongState
from fxsftp.exchange.erasing import Erasing
from fxsftp.exchange.events import WAY as WEBHOOK
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.manifest import is_replaced
from fxsftp.exchange.notices import Notices
from fxsftp.exchange.reads import Reads
from fxsftp.store.registry.drops import ALL


@dataclass(frozen=True)
class Sent:
    """A shipment as its sender may know it.  No code, no key, no phone number."""

    shipment: Shipment
    sender: str
    files: Sequence[File]
    deliveries: Sequence[tuple[Delivery, str]]
    notices: Sequence[Notice]
    history: Sequence[Event]

    @property
    def state(self) -> str:
        """One word for all of it, derived from the deliveries once it is sent."""
        return _state(self.shipment, {delivery.state for delivery, _ in self.deliveries})

    def as_json(self) -> dict[str, object]:
        """The receipt for programs.  Times are ISO 8601 in UTC, sizes bytes, sums SHA-256 in hex of the plaintext."""
        return {
            "shipment": self.shipment.id,
            "state": self.state,
            "sender": self.sender,
            "recipient": self.shipment.recipient,
            "to": list(self.shipment.recipients),
            "subject": self.shipment.subject,
            "begun": _iso(self.shipment.made),
            "sent": _iso(self.shipment.sent),
            "expires": _iso(self.shipment.expires),
            "ended": _iso(self.shipment.ended),
            "reason": self.shipment.reason,
            "files": [
                {"name": file.name, "size": file.size, "sha256": file.sha256, "state": file.state.value}
                for file in self.files
            ],
            "recipients": [
                {
                    "recipient": email,
                    "via": delivery.via,
                    "lock": delivery.lock.value,
                    "state": delivery.state.value,
                    "opened": _iso(delivery.opened),
                    "collected": _iso(delivery.collected),
                    "notices": [
                        {"what": notice.kind, "way": notice.way, "state": notice.state, "reason": notice.reason}
                        for notice in self.notices
                        if notice.delivery_id == delivery.id
                    ],
                }
                for delivery, email in self.deliveries
            ],
            "history": [
                {"at": _iso(event.at), "who": event.who, "event": event.event, "detail": event.detail}
                for event in self.history
            ],
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One shipment in a list, with its derived state."""

    shipment: Shipment
    state: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one message: due, carried, delivered, failed or dropped, since when and why.

    `where` is the address of a mail, or enough of a number to know a phone by.
    """

    state: str
    since: float
    reason: str
    where: str


@dataclass(frozen=True, slots=True)
class Part:
    """One recipient's part in a shipment, and what can be done about it.

    `mail` and `code` are the last of each that was for this recipient; None where there is none to be told by.
    `files` say of each whether it was fetched whole.
    """

    recipient: str
    name: str
    delivery: Delivery
    mail: Told | None
    code: Told | None
    files: Sequence[tuple[File, bool]]
    can_resend: bool
    can_renew: bool


class SentRoom:
    """One room, and the admin's view of every shipment."""

    def __init__(self, holdings: Holdings, erasing: Erasing, reads: Reads, notices: Notices) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._erasing = erasing
        self._reads = reads
        self._notices = notices

    def list(self, user: User, now: float, *, after: str = "", most: int = ALL) -> Sequence[Shipment]:
        """This sender's shipments, newest first, on from shipment `after`; what still drops is seen in the outbox."""
        del now
        return self._registry.drops.of_sender(user.id, after, most, but=ShipmentState.DROPPING)

    def receipts(self, user: User, edition: str, *, after: str, most: int) -> Sequence[Receipt]:
        """What `list` answers, each with how long its pages are, where that is known of this edition of them.

        An edition names the words and the language; a name or an address that changes later does not count.
        """
        return self._registry.receipts.of_sender(user.id, edition, after, most)

    def outdated(self, edition: str, most: int) -> Sequence[Receipt]:
        """Some of which that is known of no edition that begins so, and their senders need not wait for it."""
        return self._registry.receipts.outdated(edition, most)

    def remember(self, edition: str, receipts: Sequence[Receipt]) -> None:
        """How long the pages are is known now; what was changed since it was looked at is not kept."""
        with self._registry.atomic(durable=False):
            self._registry.receipts.remember(edition, receipts)

    def page(self, user: User, now: float, *, after: str = "", most: int = ALL) -> Sequence[Line]:
        """The same as `list`, each with its state and sums."""
        shipments = self.list(user, now, after=after, most=most)
        if not shipments:
            return []
        ids = [shipment.id for shipment in shipments]
        states, sums = self._registry.deliveries.states(ids), self._registry.drops.sums(ids)
        return [Line(each, _state(each, states.get(each.id, set())), *sums.get(each.id, (0, 0))) for each in shipments]

    def parts(self, user: User, shipment_id: str, now: float) -> Sequence[Part]:
        """What each recipient has heard and done, in the order in which they were written to.

        Raises ShipmentUnknown.  Before dispatch there are none.
        """
        sent = self.find(user, shipment_id, now)
        rows = self._registry.deliveries
        fetched = rows.fetched(shipment_id)
        with_house_key = rows.session_headers(shipment_id)
        is_there = sent.shipment.state is ShipmentState.WAITING and (sent.shipment.expires or now + 1) > now
        has_keys = all(file.id in with_house_key for file in sent.files)
        parts = []
        for delivery, email in sent.deliveries:
            whole = fetched.get(delivery.id, set())
            by_code = is_there and delivery.lock is LockKind.CODE and delivery.state in lifecycle.READABLE
            found = self._registry.people.by_id(delivery.user_id)
            parts.append(
                Part(
                    email,
                    found.name if found else "",
                    delivery,
                    _told(sent.notices, delivery, "arrived"),
                    _told(sent.notices, delivery, "code"),
                    [(file, file.id in whole) for file in sent.files],
                    can_resend=by_code and self._holdings.secrets.code(delivery.id) is not None,
                    can_renew=by_code and has_keys,
                )
            )
        return parts

    def find(self, user: User, shipment_id: str, now: float) -> Sent:
        """Raises ShipmentUnknown, also for another's."""
        del now
        shipment = self._registry.drops.find(shipment_id)
        if shipment is None or shipment.sender_id != user.id:
            raise ShipmentUnknown(shipment_id)
        return self._sent(shipment)

    def shipments(self, *states: ShipmentState) -> Sequence[Sent]:
        """For admins: all in these states, or in any."""
        return [self._sent(each) for each in self._registry.drops.in_states(*(states or tuple(ShipmentState)))]

    def show(self, shipment_id: str) -> Sent:
        """For admins.  Raises ShipmentUnknown."""
        shipment = self._registry.drops.find(shipment_id)
        if shipment is None:
            raise ShipmentUnknown(shipment_id)
        return self._sent(shipment)

    def _sent(self, shipment: Shipment) -> Sent:
        people = self._registry.people
        sender = people.by_id(shipment.sender_id)
        deliveries = []
        for delivery in self._registry.deliveries.of_shipment(shipment.id):
            user = people.by_id(delivery.user_id)
            deliveries.append((delivery, user.email if user else "?"))
        return Sent(
            shipment,
            sender.email if sender else "?",
            [file for file in self._registry.drops.of_shipment(shipment.id) if not is_replaced(file)],
            deliveries,
            [each for each in self._registry.notices.of_shipment(shipment.id) if each.way != WEBHOOK],
            self._registry.record.of_shipment(shipment.id),
        )

    # ---- recall

    def recall(self, user: User, shipment_id: str, now: float) -> str:
        """Take a shipment back: locks and bodies are erased at once.  Answers what was read already.

        Raises ShipmentUnknown, or WrongState when it is not one that can be taken back.
        """
        sent = self.find(user, shipment_id, now)
        return self._recall(sent, user.email, now)

    def recall_any(self, shipment_id: str, who: str, now: float) -> str:
        """The same, by an admin."""
        return self._recall(self.show(shipment_id), who, now)

    def _recall(self, sent: Sent, who: str, now: float) -> str:
        shipment = sent.shipment
        state = lifecycle.after(lifecycle.SHIPMENTS, shipment.state, "recall", shipment.id)
        self._reads.catch_up(each.id for each in self._registry.deliveries.of_shipment(shipment.id))
        with self._registry.atomic():
            if not self._registry.drops.step(shipment, state, now):
                raise WrongState(shipment.id, "being changed just now", "recalled")
            self._registry.drops.change(shipment.id, ended=now)
            deliveries = self._registry.deliveries.of_shipment(shipment.id)  # somebody may have opened it since
            for delivery in deliveries:
                self._recall_one(shipment, delivery, now)
            self._registry.endings.shut(shipment.id)
            self._notices.events.recalled(shipment.id, now)
            self._registry.notices.drop_for(shipment.id, now)
            self._registry.record.tell(now, who, "recalled", shipment_id=shipment.id)
        # That commit was the moment of truth: nobody reaches it any more.  What dies in the following is gone on with.
        self._erasing.erase(shipment.id, now)
        self._holdings.ring()
        return _what_was_read(deliveries, {delivery.id: email for delivery, email in sent.deliveries})

    def _recall_one(self, shipment: Shipment, delivery: Delivery, now: float) -> None:
        if delivery.state in lifecycle.DONE:
            return
        state = lifecycle.after(lifecycle.DELIVERIES, delivery.state, "recall", shipment.id)
        self._registry.deliveries.step(delivery, state, ended=now)
        self._notices.to_recipient("recalled", shipment, delivery, now)


def _state(shipment: Shipment, states: AbstractSet[DeliveryState]) -> str:
    if shipment.state is not ShipmentState.WAITING:
        return shipment.state.value
    if len(states) == 1:
        return next(iter(states)).value
    return "partly collected" if DeliveryState.COLLECTED in states else ShipmentState.WAITING.value


def _told(notices: Sequence[Notice], delivery: Delivery, kind: str) -> Told | None:
    """Of the last message of a kind to one recipient, in the order in which they were made."""
    found = [each for each in notices if each.delivery_id == delivery.id and each.kind == kind]
    if not found:
        return None
    last = max(found, key=lambda each: each.state != "dropped" and each.made)
    return Told(
        last.state, last.done or last.made, last.reason, hint(last.address) if last.way == "sms" else last.address
    )


def _what_was_read(deliveries: Sequence[Delivery], emails: Mapping[int, str]) -> str:
    collected = [emails[each.id] for each in deliveries if each.collected]
    opened = [emails[each.id] for each in deliveries if each.opened and not each.collected]
    if not collected and not opened:
        return "nobody had opened it"
    parts = [f"{', '.join(collected)} had collected it"] if collected else []
    parts += [f"{', '.join(opened)} had begun to read it"] if opened else []
    return "; ".join(parts)


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
