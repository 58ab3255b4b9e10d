"""Resending: what people do about a notice that did not arrive, and how they try a way out.

A code is never made here: the same one goes once more, to the phone of before or to a number that somebody corrects.
"""

from __future__ import annotations

from dataclasses import replace

from fxsftp.domain import addresses, lifecycle
from fxsftp.domain.addresses import hint
from fxsftp.domain.model import Kind, LockKind, Notice
from fxsftp.errors import Conflict, Forbidden, NoticeOver, ShipmentUnknown, WrongState
from fxsftp.exchange.carriage import Carriage
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.notices import Notices, carried_by


class Resending:
    """By the sender of a shipment, or by an admin."""

    def __init__(self, holdings: Holdings, notices: Notices, carriage: Carriage) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._notices = notices
        self._carriage = carriage

    def resend(self, shipment_id: str, user_email: str, now: float, *, phone: str | None = None, who: str) -> Notice:
        """The same code goes to a recipient's phone again; to `phone`, for this shipment only, if that is given.

        `who` is the sender of the shipment or "admin"; of senders only members, whose word a first phone number is, may
        give another one.  Raises ShipmentUnknown, also for another's; Forbidden, BadPhone, Conflict; or WrongState when
        the code is erased: it was delivered, or is older than it may be.
        """
        shipment = self._registry.drops.find(shipment_id)
        found = self._registry.people.by_email(user_email.strip().casefold())
        delivery = self._registry.deliveries.for_user(found.id, shipment_id) if found else None
        if shipment is None or found is None or delivery is None:
            raise ShipmentUnknown(shipment_id)
        if who != "admin":
            sender = self._registry.people.by_id(shipment.sender_id)
            if sender is None or sender.email != who:
                raise ShipmentUnknown(shipment_id)
            if phone and sender.kind is not Kind.MEMBER:
                raise Forbidden("another phone number is for members of the institution to give; ask the operator")
        if delivery.lock is not LockKind.CODE:
            raise WrongState(shipment_id, "not locked by a code", "opened by a new SMS")
        if delivery.state in lifecycle.DONE:
            raise WrongState(shipment_id, delivery.state.value, "opened by a new SMS")
        if self._holdings.secrets.code(delivery.id) is None:
            raise WrongState(shipment_id, "no longer in the keeping of its code", "sent a code again; send it anew")
        number = addresses.phone(phone) if phone else found.phone
        if not number:
            raise Conflict(f"{found.email} has no phone number")
        with self._registry.atomic():
            made = self._notices.code_again(replace(found, phone=number), shipment, delivery.id, "sent again", now)
            where = f"{found.email}: {hint(number)}"
            self._registry.record.tell(now, who, "code sent again", where, shipment_id)
        self._holdings.ring()
        return made

    def retry(self, notice_id: str, now: float, *, who: str = "admin") -> Notice:
        """What waits, failed or was dropped is tried at once, to where its reader is reached now; its way, too.

        Raises NoticeUnknown, or NoticeOver for what is on its way or has arrived, or whose code is gone.
        """
        notice = self._notices.find(notice_id)
        if notice.state in ("carried", "delivered"):
            raise NoticeOver(notice_id, notice.state, "tried again")
        carries = carried_by(notice)
        if carries and self._carriage.sealed(notice, now) is None:
            raise NoticeOver(notice_id, f"{notice.state}, and its {carries} erased", "tried again")
        user = self._registry.people.by_id(notice.user_id) if notice.user_id is not None else None
        address = (user.phone if notice.way == "sms" else user.email) if user else None
        with self._registry.atomic():
            self._registry.notices.due_again(notice_id, address or notice.address, now)
            told = f"{notice.way} {notice.kind}"
            self._registry.record.tell(now, who, "notice retried", told, notice.shipment_id)
            self._carriage.resume(notice.way, now)
        self._holdings.ring()
        return self._notices.find(notice_id)

    def drop(self, notice_id: str, now: float, *, who: str = "admin") -> Notice:
        """It is not sent any more.  Raises NoticeUnknown, or NoticeOver for what is not due."""
        with self._registry.atomic():
            notice = self._notices.find(notice_id)
            for each in self._carriage.together(notice):
                dropped = self._registry.notices.settle(each.id, "dropped", ("due",), f"dropped by {who}", now)
                if dropped is None:
                    raise NoticeOver(notice_id, notice.state, "dropped")
                told = f"{each.way} {each.kind}"
                self._registry.record.tell(now, who, "notice dropped", told, each.shipment_id)
        return self._notices.find(notice_id)

    def test(self, way: str, address: str, language: str, now: float) -> Notice:
        """A notice that says nothing but that it arrived.  Raises BadAddress or BadPhone."""
        known = addresses.phone(address) if way == "sms" else addresses.address(address)
        with self._registry.atomic():
            notice_id = self._registry.notices.add("test", way, known, language, {"user": known}, now)
            self._carriage.resume(way, now)
        self._holdings.ring()
        return self._notices.find(notice_id)
