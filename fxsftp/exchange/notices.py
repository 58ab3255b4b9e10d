"""Notices: what is told to whom by which way.

A notice's row is written in the transaction of what it tells of.  A code or a link's token never stands in a
row: the courier fetches it from the secrets, opens it with its own key, and passes it on (see `carriage`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fxsftp.domain import notices as domain
from fxsftp.domain import places
from fxsftp.domain.addresses import hint
from fxsftp.domain.model import Delivery, File, LockKind, Notice, Shipment, User
from fxsftp.domain.notices import SORTS
from fxsftp.errors import Conflict, NoticeUnknown
from fxsftp.exchange.events import Events
from fxsftp.exchange.holdings import Holdings

CODES = 5  # times that one code is sent to a phone; each costs somebody money


class Notices:
    """Written by the other rooms, carried by `carriage`, mended by people in `resending`."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self.events = Events(holdings)  # the same for programs

    # ---- written in somebody's transaction

    def arrived(
        self, shipment: Shipment, delivery_id: int, user: User, lock: LockKind, files: Sequence[File], now: float
    ) -> None:
        """One mail, and one SMS where a code opens it, however many files."""
        tally = len(files), sum(file.size for file in files)
        facts = self._facts(shipment, tally, files, lock, user)
        self._add("arrived", "mail", user, shipment, facts, now, delivery_id)
        if lock is LockKind.CODE:
            self._add("code", "sms", user, shipment, {"shipment": shipment.id}, now, delivery_id)

    def held(self, drop: Shipment, cause: str, reason: str, now: float) -> None:
        """To its sender: a drop does not leave, and why."""
        self.to_sender("unfinished" if cause == "stalled" else "held", drop, now, reason=reason, cause=cause)

    def to_recipient(self, kind: str, shipment: Shipment, delivery: Delivery, now: float, **more: object) -> None:
        """A mail to one recipient of a shipment."""
        user = self._registry.people.by_id(delivery.user_id)
        assert user is not None
        tally = self._registry.drops.tally(shipment.id)
        files = self._registry.drops.of_shipment(shipment.id) if tally[0] == 1 else []  # of thousands, only the sums
        facts = self._facts(shipment, tally, files, delivery.lock, user) | more
        self._add(kind, "mail", user, shipment, facts, now, delivery.id)

    def to_sender(self, kind: str, shipment: Shipment, now: float, *, after: float = 0, **more: object) -> None:
        """A mail to the sender of a shipment, `after` so many seconds."""
        sender = self._registry.people.by_id(shipment.sender_id)
        assert sender is not None
        facts: dict[str, object] = {
            "shipment": shipment.id,
            "subject": shipment.subject if self._holdings.policy.show_subject else "",
            "recipient": shipment.to,
            "files": self._registry.drops.tally(shipment.id)[0],
            "sender": sender.email,
            **more,
        }
        self._add(kind, "mail", sender, shipment, facts, now, after=after)

    def was_read_after_all(self, shipment: Shipment, recipient: str, now: float) -> bool:
        """In somebody's transaction: whether the sender need not be told that it was removed unread."""
        for each in self._registry.notices.of_shipment(shipment.id):
            if each.kind == "removed_unread" and each.facts.get("recipient") == recipient:
                settled = self._registry.notices.settle(each.id, "dropped", ("due",), "it was being read", now)
                return settled is not None
        return False

    def to_user(self, kind: str, user: User, now: float, **facts: object) -> None:
        """About an account, by each way that this kind has, to the addresses that `user` has."""
        for way in SORTS[kind].ways:
            self._add(kind, way, user, None, {"user": user.email, **facts}, now)

    def to_user_with(self, kind: str, way: str, user: User, now: float, **facts: object) -> str:
        """The same by one way, for what carries a link or digits; answers its id, by which they are kept."""
        made = self._add(kind, way, user, None, {"user": user.email, **facts}, now)
        assert made is not None  # the caller has seen that the user has an address of this way
        return made

    def supersede(self, notice_ids: Iterable[str], now: float) -> None:
        """A newer one takes the place of these: what is not on its way yet is not sent."""
        for notice_id in notice_ids:
            self._registry.notices.settle(notice_id, "dropped", ("due",), "a newer one was sent", now)

    def _facts(
        self, shipment: Shipment, tally: tuple[int, int], files: Sequence[File], lock: LockKind, user: User
    ) -> dict[str, object]:
        """`tally` is how many files it has and how large they are; `files` may be none where they are many."""
        count, size = tally
        sender = self._registry.people.by_id(shipment.sender_id)
        assert sender is not None
        shows = self._holdings.policy.show_subject
        return {
            "shipment": shipment.id,
            "folder": folder_name(shipment) if shows else shipment.id,  # the id alone works, and says no subject
            "user": user.email,
            "sender": sender.email if shows else "",
            "sender_name": sender.name if shows else "",
            "subject": shipment.subject if shows else "",
            "files": count,
            "size": size,
            "expires": shipment.expires,
            "lock": str(lock),
            "direct": count <= 8,
            "first_file": files[0].name if shows and count == 1 else "",
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
        *,
        after: float = 0,
    ) -> str | None:
        address = user.phone if way == "sms" else user.email
        if not address:
            return None
        waits = way == "mail" and SORTS[kind].may_wait and user.digest is not None
        due = domain.next_time(user.digest, self.zone(user), now) if waits and user.digest else now + after
        if way == "sms" and not SORTS[kind].warns:
            due = domain.quiet_until(user.quiet, self.zone(user), now) or now
        return self._registry.notices.add(
            kind, way, address, user.language, facts, now, due=due, digest=waits,
            user_id=user.id, shipment_id=shipment.id if shipment else None, delivery_id=delivery_id,
        )  # fmt: skip

    def zone(self, user: User) -> str:
        """In which the hours and times of day of a user are meant."""
        return user.timezone or self._holdings.policy.timezone

    # ---- codes that are sent once more

    def code_again(self, user: User, shipment: Shipment, delivery_id: int, why: str, now: float) -> Notice:
        """In somebody's transaction: another SMS with a code instead of one that waits.  Raises Conflict after some."""
        before = self._codes(shipment.id, delivery_id)
        if len(before) >= CODES:
            raise Conflict(f"its code was sent {len(before)} times; ask the operator")
        for each in before:
            self._registry.notices.settle(each.id, "dropped", ("due",), why, now)
        made = self._add("code", "sms", user, shipment, {"shipment": shipment.id}, now, delivery_id)
        assert made is not None
        return self.find(made)

    def _codes(self, shipment_id: str, delivery_id: int) -> list[Notice]:
        of_shipment = self._registry.notices.of_shipment(shipment_id)
        return [each for each in of_shipment if each.delivery_id == delivery_id and each.kind == "code"]

    def is_last_code(self, notice: Notice) -> bool:
        """Whether this brought a code, and no later SMS is still to bring it, or a newer one."""
        if notice.kind != "code" or notice.shipment_id is None or notice.delivery_id is None:
            return False
        codes = self._codes(notice.shipment_id, notice.delivery_id)
        later = [each for each in codes if each.id != notice.id and each.made >= notice.made]
        return not any(each.state in ("due", "carried") for each in later)

    # ---- looked at

    def list(self, state: str | None = None) -> list[Notice]:
        """The newest first."""
        return self._registry.notices.all(state)

    def count(self, state: str) -> int:
        """How many are in this state."""
        return self._registry.notices.count(state)

    def find(self, notice_id: str) -> Notice:
        """Raises NoticeUnknown."""
        found = self._registry.notices.find(notice_id)
        if found is None:
            raise NoticeUnknown(notice_id)
        return found


def carried_by(notice: Notice) -> str:
    """What it carries besides words: "code", "digits", "link", or nothing."""
    carries = SORTS[notice.kind].carries if notice.kind in SORTS else ""
    return "" if carries == "link" and notice.facts.get("until") is None else carries  # an invitation without a portal


NO_BOUNCE: dict[str, str | None] = {"bounced": None, "bounced_way": None, "bounced_reason": ""}


def folder_name(shipment: Shipment) -> str:
    """Of a shipment's folder in an inbox."""
    return places.folder_name(shipment.id, shipment.subject, shipment.sent or shipment.made)
