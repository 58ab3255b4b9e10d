"""Notices: what is told to whom by which way, and how it went.

A notice's row is written in the transaction of what it tells of.  A code never stands in a row: the
courier fetches it from the secrets, opens it with its own key, and passes it on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from fxsftp import seal
from fxsftp.domain import places
from fxsftp.domain.addresses import hint
from fxsftp.domain.model import Delivery, File, LockKind, Notice, Shipment, User
from fxsftp.errors import NoticeUnknown
from fxsftp.exchange.events import WAY as WEBHOOK
from fxsftp.exchange.events import Events
from fxsftp.exchange.holdings import Holdings

log = logging.getLogger("fxsftp.exchange")

BACKOFF = (30.0, 120.0, 600.0, 1800.0, 3600.0)  # seconds; the last one repeats


@dataclass(frozen=True)
class Errand:
    """A notice ready to be carried.  `code` is in clear, for this one message."""

    notice: Notice
    facts: dict[str, object]
    code: str | None


class Notices:
    """Written by the other rooms, taken by the courier."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self.events = Events(holdings)  # the same for programs

    # ---- written in somebody's transaction

    def arrived(
        self, shipment: Shipment, delivery_id: int, user: User, lock: LockKind, files: Sequence[File], now: float
    ) -> None:
        """One mail, and one SMS where a code opens it, however many files."""
        facts = self._facts(shipment, files, lock, user)
        self._add("arrived", "mail", user, shipment, facts, now, delivery_id)
        if lock is LockKind.CODE:
            self._add("code", "sms", user, shipment, {"shipment": shipment.id}, now, delivery_id)

    def to_recipient(self, kind: str, shipment: Shipment, delivery: Delivery, now: float, **more: object) -> None:
        """A mail to one recipient of a shipment."""
        user = self._registry.people.by_id(delivery.user_id)
        assert user is not None
        files = self._registry.drops.of_shipment(shipment.id)
        facts = self._facts(shipment, files, delivery.lock, user) | more
        self._add(kind, "mail", user, shipment, facts, now, delivery.id)

    def to_sender(self, kind: str, shipment: Shipment, now: float, **more: object) -> None:
        """A mail to the sender of a shipment, about their own words."""
        sender = self._registry.people.by_id(shipment.sender_id)
        assert sender is not None
        facts: dict[str, object] = {
            "shipment": shipment.id,
            "subject": shipment.subject,
            "recipient": shipment.recipient,
            "files": len(self._registry.drops.of_shipment(shipment.id)),
            "sender": sender.email,
            **more,
        }
        self._add(kind, "mail", sender, shipment, facts, now)

    def to_user(self, kind: str, user: User, now: float, **facts: object) -> None:
        """A mail about an account."""
        self._add(kind, "mail", user, None, {"user": user.email, **facts}, now)

    def _facts(self, shipment: Shipment, files: Sequence[File], lock: LockKind, user: User) -> dict[str, object]:
        sender = self._registry.people.by_id(shipment.sender_id)
        assert sender is not None
        shows = self._holdings.policy.show_subject
        return {
            "shipment": shipment.id,
            "folder": folder_name(shipment),
            "user": user.email,
            "sender": sender.email,
            "sender_name": sender.name,
            "subject": shipment.subject if shows else "",
            "files": len(files),
            "size": sum(file.size for file in files),
            "expires": shipment.expires,
            "lock": str(lock),
            "direct": len(files) <= 8,
            "first_file": files[0].name if shows and len(files) == 1 else "",
            "phone_hint": hint(user.phone),
        }

    def _add(
        self,
        kind: str,
        way: str,
        user: User,
        shipment: Shipment | None,
        facts: dict[str, object],
        now: float,
        delivery_id: int | None = None,
    ) -> None:
        address = user.phone if way == "sms" else user.email
        if not address:
            return
        self._registry.notices.add(
            kind, way, address, user.language, facts, now,
            user_id=user.id, shipment_id=shipment.id if shipment else None, delivery_id=delivery_id,
        )  # fmt: skip

    # ---- taken by the courier

    def take_due(self, way: str, now: float, *, lease: str, seconds: float, limit: int) -> list[Errand]:
        """At most `limit` notices of one way that are due, for this courier alone until the lease is over."""
        with self._registry.atomic():
            taken = self._registry.notices.take(way, now, lease, now + seconds, limit)
        errands = []
        for notice in taken:
            code = None
            if notice.kind == "code":
                code = self._code(notice)
                if code is None:
                    self.failed(notice.id, lease, "the code is gone", now)
                    continue
            errands.append(Errand(notice, dict(notice.facts), code))
        return errands

    def _code(self, notice: Notice) -> str | None:
        courier, sealed = self._holdings.keys.courier, None
        if notice.delivery_id is not None:
            sealed = self._holdings.secrets.code(notice.delivery_id)
        return seal.open_small(sealed, courier).decode() if sealed and courier else None

    def carried(self, notice_id: str, lease: str, reference: str, now: float) -> None:
        """A hook has passed it on."""
        self._finish(notice_id, lease, "carried", "", reference, now)

    def later(self, notice_id: str, lease: str, reason: str, now: float) -> None:
        """Try again after a while; give up in the end, and then its failure is shown to the sender."""
        notice = self._registry.notices.find(notice_id)
        if notice is None:
            return
        if now - notice.made > self._holdings.policy.give_up:
            self.failed(notice_id, lease, reason, now)
            return
        wait = BACKOFF[min(notice.attempts, len(BACKOFF)) - 1]
        with self._registry.atomic():
            self._registry.notices.put_off(notice_id, lease, now + wait, reason)

    def failed(self, notice_id: str, lease: str, reason: str, now: float) -> None:
        """It will never arrive; whoever sent the shipment is told."""
        self._finish(notice_id, lease, "failed", reason, "", now)

    def _finish(self, notice_id: str, lease: str, state: str, reason: str, reference: str, now: float) -> None:
        with self._registry.atomic():
            notice = self._registry.notices.finish(notice_id, lease, state, reason, reference, now)
            if notice is None:
                return
            told = f"{notice.way} {notice.kind}: {reason}".rstrip(": ")
            self._registry.record.tell(now, "exchange", f"notice {state}", told, notice.shipment_id)
            if state != "failed" or notice.way == WEBHOOK:  # which programs hear is no sender's concern
                return
            self.events.failed(notice, reason, now)
            shipment = self._registry.drops.find(notice.shipment_id) if notice.shipment_id else None
            if shipment and notice.user_id != shipment.sender_id:
                user = self._registry.people.by_id(notice.user_id) if notice.user_id else None
                self.to_sender(
                    "not_delivered", shipment, now,
                    what=notice.way, reason=reason, recipient=user.email if user else shipment.recipient,
                )  # fmt: skip

    def next_due(self) -> float | None:
        """When there is something to carry again, in seconds UTC."""
        return self._registry.notices.next_due()

    def waiting_ways(self) -> dict[str, int]:
        """How many notices wait, by way."""
        return self._registry.notices.waiting()

    def list(self, state: str | None = None) -> list[Notice]:
        """The newest first."""
        return self._registry.notices.all(state)

    def find(self, notice_id: str) -> Notice:
        """Raises NoticeUnknown."""
        found = self._registry.notices.find(notice_id)
        if found is None:
            raise NoticeUnknown(notice_id)
        return found


def folder_name(shipment: Shipment) -> str:
    """`2026-11-22_7k3f-q2mp_Ref-23-4567`: sorts by date, has no blanks, and the id alone would do."""
    day = places.day(shipment.sent or shipment.made)
    slug = places.slug(shipment.subject)
    return f"{day}_{shipment.id}_{slug}" if slug else f"{day}_{shipment.id}"
