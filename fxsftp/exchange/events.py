"""Events: what other programs are told by webhook.  Facts and no words; ids and no names, unless policy lets more out.

An event is a row like any other notice, written in the transaction of what it tells of.  Where no webhook is set up,
none is written: nobody would ever carry it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Notice, Shipment
from fxsftp.exchange.holdings import Holdings

WAY = "webhook"


class Events:
    """Told by the other rooms, each in one line; what stands in an event is decided here."""

    def __init__(self, holdings: Holdings) -> None:
        self._registry = holdings.registry
        self._policy = holdings.policy

    def dispatched(self, shipment_id: str, now: float) -> None:
        """It waits for its recipients."""
        self._tell("shipment.dispatched", shipment_id, now)

    def collected(self, shipment_id: str, delivery_id: int, now: float) -> None:
        """One recipient has fetched all of it."""
        self._tell("shipment.collected", shipment_id, now, delivery=delivery_id)

    def expired(self, shipment_id: str, now: float) -> None:
        """Its time is over; the states of its deliveries say who had not fetched it."""
        self._tell("shipment.expired", shipment_id, now)

    def recalled(self, shipment_id: str, now: float) -> None:
        """Its sender or an admin has taken it back."""
        self._tell("shipment.recalled", shipment_id, now)

    def held(self, shipment_id: str, cause: str, reason: str, now: float) -> None:
        """It has not left; `reason` may name files, and so goes out where subjects do."""
        self._tell("shipment.held", shipment_id, now, cause=cause, **self._if("subject", reason=reason))

    def failed(self, notice: Notice, reason: str, now: float) -> None:
        """A mail or an SMS will never arrive.  Of an event that will not, no event tells."""
        if notice.way == WAY:
            return
        facts: dict[str, object] = {"notice": notice.id, "way": notice.way, "what": notice.kind}
        facts |= self._if("addresses", reason=reason)  # providers quote whom they could not reach
        if notice.delivery_id is not None:
            facts["delivery"] = notice.delivery_id
        self._tell("notice.failed", notice.shipment_id, now, **facts)

    # ---- what stands in one

    def _tell(self, event: str, shipment_id: str | None, now: float, **more: object) -> None:
        if not self._policy.webhook:
            return
        shipment = self._registry.drops.find(shipment_id) if shipment_id else None
        facts = (self._of(shipment) if shipment else {}) | more
        self._registry.notices.add(event, WAY, "", "", facts, now, shipment_id=shipment_id)

    def _of(self, shipment: Shipment) -> dict[str, object]:
        """The same for every event of a shipment, as it stands at that moment."""
        files, size = self._registry.drops.tally(shipment.id)
        sender = self._registry.people.by_id(shipment.sender_id)
        assert sender is not None
        return {
            "shipment": shipment.id,
            "state": shipment.state.value,
            "files": files,
            "size": size,
            "begun": _iso(shipment.made),
            "sent": _iso(shipment.sent),
            "expires": _iso(shipment.expires) if shipment.state is ShipmentState.WAITING else None,
            "deliveries": [
                {"delivery": delivery.id, "lock": delivery.lock.value, "state": delivery.state.value}
                | self._if("addresses", recipient=self._address(delivery.user_id))
                for delivery in self._registry.deliveries.of_shipment(shipment.id)
            ],
            **self._if("addresses", sender=sender.email, recipient=shipment.recipient, to=list(shipment.recipients)),
            **self._if("subject", subject=shipment.subject),
        }

    def _if(self, what: str, **facts: object) -> dict[str, object]:
        return facts if self._policy.webhook_tells(what) else {}

    def _address(self, user_id: int) -> str:
        user = self._registry.people.by_id(user_id)
        return user.email if user else "?"


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
