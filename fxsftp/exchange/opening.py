"""Opening: a code opens one shipment for its user, in all of their sessions, for 15 minutes.

What it unwraps lies in the registry under a key that only the running processes share in memory.
"""

from __future__ import annotations

import threading

from fxsftp import seal
from fxsftp.domain import ids
from fxsftp.domain.lifecycle import READABLE
from fxsftp.domain.model import Delivery, User
from fxsftp.errors import CannotOpen, OpeningClosed, WrongCode
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.notices import Notices
from fxsftp.exchange.offers import Offers, is_there
from fxsftp.exchange.steps import step
from fxsftp.seal.primitives import box


class Opening:
    """Of every delivery by code."""

    def __init__(self, holdings: Holdings, offers: Offers, notices: Notices) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._offers = offers
        self._notices = notices
        self._stretching = threading.BoundedSemaphore(2)  # scrypt takes 32 MiB and 60 ms each

    def is_open(self, user: User, shipment_id: str, now: float) -> bool:
        """Whether this user has given the code, less than 15 minutes ago."""
        delivery = self._registry.deliveries.for_user(user.id, shipment_id)
        return delivery is not None and self._offers.is_open(delivery, now)

    def open_with_code(self, user: User, shipment_id: str, typed: str, now: float) -> None:
        """Open a shipment for this user, in all of their sessions, for 15 minutes.

        Raises WrongCode, the same for a wrong code and for no such shipment, and OpeningClosed after five wrong
        codes in a row, of which the owner is told.
        """
        delivery = self._registry.deliveries.for_user(user.id, shipment_id)
        shipment = self._registry.drops.find(shipment_id)
        if delivery and delivery.closed_until and delivery.closed_until > now:
            raise OpeningClosed(shipment_id, max(1, round((delivery.closed_until - now) / 60)))
        may_be_had = delivery is not None and shipment is not None and is_there(shipment, now)
        key_file = self._registry.deliveries.key_file(delivery.id) if delivery and may_be_had else None
        code = ids.normal_code(typed)
        identity = self._try(key_file, code) if code else None
        if delivery is None or delivery.state not in READABLE or key_file is None:
            raise WrongCode(shipment_id)
        if identity is None:
            self._count_wrong(user, delivery, now)
            raise WrongCode(shipment_id)
        policy = self._holdings.policy
        with self._registry.atomic():
            self._registry.deliveries.change(delivery.id, wrong=0, closed_until=None)
            boxed = box(self._holdings.keys.running, identity.secret)
            self._registry.deliveries.set_opening(delivery.id, now + policy.opening, boxed)
            self._registry.record.tell(now, user.email, "opened with the code", shipment_id=shipment_id)
            step(self._registry, delivery.id, "open", now, opened=now)

    def _try(self, key_file: bytes | None, code: str) -> seal.Identity | None:
        """One scrypt, also where there is nothing to open: the time tells nothing."""
        with self._stretching:
            if key_file is None:
                seal.code_identity(code)
                return None
            try:
                return seal.open_key_file(key_file, code)
            except CannotOpen:
                return None

    def _count_wrong(self, user: User, delivery: Delivery, now: float) -> None:
        policy = self._holdings.policy
        with self._registry.atomic():
            wrong = self._registry.deliveries.count_wrong(delivery.id)
            self._registry.record.tell(now, user.email, "wrong code", shipment_id=delivery.shipment_id)
            if wrong < policy.wrong_codes:
                return
            self._registry.deliveries.change(delivery.id, wrong=0, closed_until=now + policy.closed)
            shipment = self._registry.drops.find(delivery.shipment_id)
            assert shipment is not None
            self._notices.to_recipient("wrong_codes", shipment, delivery, now)
            self._registry.record.tell(now, "exchange", "opening closed", user.email, delivery.shipment_id)
        self._holdings.ring()
