"""Notices: what is told to whom by which way, and how it went.

A notice's row is written in the transaction of what it tells of.  A code or a link's token never stands in a
row: the courier fetches it from the secrets, opens it with its own key, and passes it on.

    due ──► carried ──► delivered          what the providers say comes in by `delivered` and `undelivered`,
     │         └──────► failed             in any order and more than once; nothing leaves a final state
     └──► failed, dropped                  but by a person's word (`retry`)
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from fxsftp import seal
from fxsftp.domain import addresses, lifecycle, places
from fxsftp.domain import notices as domain
from fxsftp.domain.addresses import hint
from fxsftp.domain.model import Delivery, File, Kind, LockKind, Notice, Shipment, User
from fxsftp.domain.notices import SORTS
from fxsftp.errors import Conflict, Forbidden, NoticeOver, NoticeUnknown, ShipmentUnknown, WrongState
from fxsftp.exchange.events import WAY as WEBHOOK
from fxsftp.exchange.events import Events
from fxsftp.exchange.holdings import Holdings

log = logging.getLogger("fxsftp.exchange")

Became = Literal["carried", "later", "failed", "stop", "back", "delivered", "again"]

STOPPED = "way stopped: "  # and the way: a standing fact
PROBE = 300.0  # seconds until a stopped way is tried again with one notice
CODES = 5  # times that one code is sent to a phone; each costs somebody money
BEFORE = {state: tuple(old for old, new in domain.MOVES.items() if state in new) for state in domain.MOVES}


@dataclass(frozen=True)
class Errand:
    """A notice ready to be carried, as the kind and with the facts that its template is to have.

    `code`, for an SMS, and `token`, for a mail, are in clear, for this one message.
    In a digest, `notice` stands for all `ids` that go with it.
    `is_question`: it was carried, and its provider is only asked what became of it.
    """

    notice: Notice
    kind: str
    facts: dict[str, object]
    code: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ids: tuple[str, ...] = ()
    is_question: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a hook has said of a notice; `back` is the courier's own word for one that no hook has seen.

    `ask`: in so many seconds the hook can be asked what became of it.
    """

    notice_id: str
    became: Became
    reason: str = ""
    reference: str = ""
    ask: float | None = None
    is_question: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """A way that is broken for a reason that only the operator can mend."""

    since: float
    until: float
    reason: str


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

    def held(self, drop: Shipment, cause: str, reason: str, now: float) -> None:
        """To its sender: a drop does not leave, and why."""
        self.to_sender("unfinished" if cause == "stalled" else "held", drop, now, reason=reason, cause=cause)

    def to_recipient(self, kind: str, shipment: Shipment, delivery: Delivery, now: float, **more: object) -> None:
        """A mail to one recipient of a shipment."""
        user = self._registry.people.by_id(delivery.user_id)
        assert user is not None
        files = self._registry.drops.of_shipment(shipment.id)
        facts = self._facts(shipment, files, delivery.lock, user) | more
        self._add(kind, "mail", user, shipment, facts, now, delivery.id)

    def to_sender(self, kind: str, shipment: Shipment, now: float, **more: object) -> None:
        """A mail to the sender of a shipment."""
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
        self._add(kind, "mail", sender, shipment, facts, now)

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

    def _facts(self, shipment: Shipment, files: Sequence[File], lock: LockKind, user: User) -> dict[str, object]:
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
    ) -> str | None:
        address = user.phone if way == "sms" else user.email
        if not address:
            return None
        waits = way == "mail" and SORTS[kind].may_wait and user.digest is not None
        due = domain.next_time(user.digest, self._zone(user), now) if waits and user.digest else now
        if way == "sms" and not SORTS[kind].warns:
            due = domain.quiet_until(user.quiet, self._zone(user), now) or now
        return self._registry.notices.add(
            kind, way, address, user.language, facts, now, due=due, digest=waits,
            user_id=user.id, shipment_id=shipment.id if shipment else None, delivery_id=delivery_id,
        )  # fmt: skip

    def _zone(self, user: User) -> str:
        return user.timezone or self._holdings.policy.timezone

    # ---- taken by the courier

    def take_due(self, way: str, now: float, *, lease: str, seconds: float, limit: int) -> list[Errand]:
        """At most `limit` notices of one way that are due, for this courier alone until the lease is over.

        A way that is stopped has none, and when it is tried again, one.  The members of a digest come as one errand.
        """
        rows, until = self._registry.notices, now + seconds
        due = self.next_due(way)
        if due is None or due > now:
            return []
        with self._registry.atomic():
            stop = self.stopped(way)
            if stop and stop.until > now:
                return []
            rows.free_lapsed(way, now)
            taken = rows.take(way, now, lease, until, 1 if stop else limit)
            bundles = list(self._bundles(taken, now, lease, until))
            room = (1 if stop else limit) - len(taken)
            questions = rows.take_questions(way, now, lease, until, room) if room else []
        errands = [Errand(each, each.kind, {}, ids=(each.id,), is_question=True) for each in questions]
        for bundle, user in bundles:
            notice, carries = bundle[0], carried_by(bundle[0])
            secret = self._secret(notice, now) if carries else None
            if carries and secret is None:
                self.failed(notice.id, lease, f"the {carries} is gone", now)
                continue
            ids = tuple(each.id for each in bundle)
            known = {"user": notice.address, "phrase": user.phrase if user and user.phrase else ""}
            if len(bundle) == 1:
                facts = known | {"until": None} | notice.facts
                code, token = (None, secret) if notice.way == "mail" else (secret, None)
                errands.append(Errand(notice, notice.kind, facts, code, token, ids))
            else:
                items = [{"kind": each.kind, **each.facts} for each in bundle]
                errands.append(Errand(notice, "digest", known | {"items": items}, ids=ids))
        return errands

    def _bundles(
        self, taken: Sequence[Notice], now: float, lease: str, until: float
    ) -> Iterator[tuple[Sequence[Notice], User | None]]:
        """Each with those that go in one envelope with it.  The members of an envelope are in one bundle only."""
        rows, seen = self._registry.notices, set[str]()
        for notice in taken:
            if notice.id in seen:
                continue
            user = self._registry.people.by_id(notice.user_id) if notice.user_id is not None else None
            if notice.way == "sms" and user and not SORTS[notice.kind].warns:
                wakes = domain.quiet_until(user.quiet, self._zone(user), now)
                if wakes is not None:  # it was due before, and there was more to do than time
                    rows.put_back(notice.id, lease, wakes, notice.reason)
                    continue
            if not notice.digest:
                yield [notice], user
                continue
            together = rows.take_along(notice, now, lease, until)
            seen |= {each.id for each in together}
            yield sorted(together, key=lambda each: each.id != each.envelope), user  # first the one whose id it has

    def _secret(self, notice: Notice, now: float) -> str | None:
        courier, sealed = self._holdings.keys.courier, self._sealed(notice, now)
        if sealed is None or courier is None:
            return None
        secret, _, parcel = seal.open_small(sealed, courier).decode().partition(" ")
        is_for_another = parcel and parcel != self._registry.deliveries.parcel(notice.delivery_id or 0)
        return None if is_for_another else secret

    def _sealed(self, notice: Notice, now: float) -> bytes | None:
        if carried_by(notice) != "code":
            return self._holdings.secrets.link(notice.id, now)
        return self._holdings.secrets.code(notice.delivery_id) if notice.delivery_id is not None else None

    def renew(self, way: str, lease: str, until: float, notice_ids: Sequence[str]) -> None:
        """This courier lives, and keeps these, which it has in hand."""
        with self._registry.atomic(durable=False):
            self._registry.notices.renew(way, lease, until, notice_ids)

    def record(self, way: str, lease: str, outcomes: Sequence[Outcome], now: float) -> None:
        """What became of them, all in one transaction.  An outcome of a lease that is over changes nothing."""
        with self._registry.atomic():
            for outcome in outcomes:
                if outcome.is_question:
                    self._answered(way, lease, outcome, now)
                else:
                    self._became(way, lease, outcome, now)
            if any(outcome.became in ("carried", "failed") for outcome in outcomes) and self.stopped(way):
                self._registry.record.set_standing(STOPPED + way, None)
        self._erase_links(
            [outcome.notice_id for outcome in outcomes if outcome.became in ("carried", "delivered")], way
        )
        if any(outcome.became in ("failed", "delivered") for outcome in outcomes):
            self._holdings.ring()

    def _erase_links(self, notice_ids: Sequence[str], way: str) -> None:
        """A mail that was taken is not sent again, and needs its link no more; of an SMS, only delivery says so."""
        if way == "mail" and notice_ids:
            self._holdings.later(self._holdings.secrets.erase_links, notice_ids)

    def _became(self, way: str, lease: str, outcome: Outcome, now: float) -> None:
        match outcome.became:
            case "carried":
                ask = None if outcome.ask is None else now + outcome.ask
                self._finish(outcome.notice_id, lease, "carried", "", outcome.reference, now, ask)
            case "failed":
                self.failed(outcome.notice_id, lease, outcome.reason, now)
            case "stop":
                self.stop(outcome.notice_id, lease, way, outcome.reason, now)
            case "back":
                self._put_back(outcome.notice_id, lease, "")
            case _:
                self.later(outcome.notice_id, lease, outcome.reason, now)

    def _answered(self, way: str, lease: str, outcome: Outcome, now: float) -> None:
        notice = self._registry.notices.find(outcome.notice_id)
        if notice is None:
            return
        when: float | None = now
        match outcome.became:
            case "delivered":
                self.delivered(notice.id, way=way, now=now)
                return
            case "failed":
                self.undelivered(notice.id, way=way, reason=outcome.reason, hard=False, now=now)
                return
            case "again":
                self.again(notice.id, way=way, reason=outcome.reason, now=now)
                return
            case "carried":
                when = None if outcome.ask is None else now + outcome.ask
            case "later":
                when = now + domain.backoff(notice.asked, random.random())  # noqa: S311
            case "stop":
                self._stop_way(way, outcome.reason, now)
        for each in self._together(notice):
            self._registry.notices.ask_at(each.id, lease, when if each.id == notice.id else None)

    def carried(self, notice_id: str, lease: str, reference: str, now: float) -> None:
        """A hook has passed it on."""
        self._finish(notice_id, lease, "carried", "", reference, now)
        self._erase_links([notice_id], self.find(notice_id).way)

    def later(self, notice_id: str, lease: str, reason: str, now: float) -> None:
        """Try again after a while; give up in the end, and then its failure is shown to the sender."""
        notice = self._registry.notices.find(notice_id)
        if notice is None:
            return
        if now - (notice.begun or now) > self._holdings.policy.give_up:
            self.failed(notice_id, lease, reason, now)
            return
        due = now + domain.backoff(notice.attempts, random.random())  # noqa: S311  it is no secret
        with self._registry.atomic():
            for each in self._together(notice):
                self._registry.notices.put_off(each.id, lease, due, reason)

    def failed(self, notice_id: str, lease: str, reason: str, now: float) -> None:
        """It will never arrive; whoever sent the shipment is told."""
        self._finish(notice_id, lease, "failed", reason, "", now)

    def _finish(
        self,
        notice_id: str,
        lease: str,
        state: str,
        reason: str,
        reference: str,
        now: float,
        ask: float | None = None,
    ) -> None:
        with self._registry.atomic():
            first = self._registry.notices.find(notice_id)
            for each in self._together(first) if first else ():
                ask_due = ask if each.id == notice_id else None  # one question for all of a digest
                notice = self._registry.notices.finish(each.id, lease, state, reason, reference, now, ask_due)
                if notice is not None:
                    self._tell(notice, state, reason, now)
                elif reference:  # the provider was quicker to report than we to write down what it calls it
                    self._registry.notices.refer(each.id, reference)
        if state == "failed":
            self._holdings.ring()

    def _together(self, notice: Notice) -> Sequence[Notice]:
        return self._registry.notices.in_envelope(notice.id) if notice.envelope == notice.id else [notice]

    def _tell(self, notice: Notice, state: str, reason: str, now: float) -> None:
        """The record hears of it; and where it failed, so does whoever sent the shipment."""
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
                what=notice.way, reason=reason, recipient=user.email if user else shipment.to,
            )  # fmt: skip

    # ---- a way that is broken

    def stop(self, notice_id: str, lease: str, way: str, reason: str, now: float) -> None:
        """Nothing goes by this way until an operator has mended it; the notice stays due, as if it was never tried."""
        with self._registry.atomic():
            self._put_back(notice_id, lease, reason)
            self._stop_way(way, reason, now)

    def _put_back(self, notice_id: str, lease: str, reason: str) -> None:
        notice = self._registry.notices.find(notice_id)
        for each in self._together(notice) if notice else ():
            self._registry.notices.put_back(each.id, lease, each.due, reason or each.reason)

    def _stop_way(self, way: str, reason: str, now: float) -> None:
        before = self.stopped(way)
        stop = {"since": before.since if before else now, "until": now + PROBE, "reason": reason}
        self._registry.record.set_standing(STOPPED + way, json.dumps(stop))

    def stopped(self, way: str) -> Stop | None:
        """Whether a way is stopped, since when and why."""
        found = self._registry.record.standing(STOPPED + way)
        return None if found is None else Stop(**json.loads(found))

    def resume(self, way: str, now: float) -> None:
        """Somebody may have mended it: it is tried at once, with one notice."""
        stop = self.stopped(way)
        if stop is not None:
            with self._registry.atomic():
                tried = {"since": stop.since, "until": now, "reason": stop.reason}
                self._registry.record.set_standing(STOPPED + way, json.dumps(tried))

    def next_due(self, way: str) -> float | None:
        """When there is something to carry again by this way, in seconds UTC."""
        due, stop = self._registry.notices.next_due(way), self.stopped(way)
        return due if due is None or stop is None else max(due, stop.until)

    def waiting_ways(self) -> dict[str, int]:
        """How many notices wait, by way."""
        return self._registry.notices.waiting()

    # ---- what providers report

    def delivered(self, notice_id: str | None = None, *, way: str, reference: str | None = None, now: float) -> bool:
        """The provider says that it has arrived; a code that has is erased here.

        Known by our id, or by what the provider calls it.  False when nothing is known of it or it is over already.
        """
        done = self._report(notice_id, way, reference, "delivered", "", now)
        with self._registry.atomic():
            for notice in done:
                self._tell(notice, "delivered", "", now)
                user = self._registry.people.by_id(notice.user_id) if notice.user_id is not None else None
                if user and user.bounce and user.bounce.way == way:
                    self._registry.people.change(user.id, **NO_BOUNCE)
        codes = [each.delivery_id for each in done if each.delivery_id is not None and self._is_last_code(each)]
        self._holdings.secrets.erase_codes(codes)
        self._holdings.secrets.erase_links(each.id for each in done if carried_by(each))
        return bool(done)

    def undelivered(
        self,
        notice_id: str | None = None,
        *,
        way: str,
        reference: str | None = None,
        reason: str,
        hard: bool,
        now: float,
    ) -> bool:
        """The provider says that it will not arrive: the sender is told at once.

        `hard`: it never will, to this address; then the user's address is marked.  False as for `delivered`.
        """
        done = self._report(notice_id, way, reference, "failed", reason, now)
        with self._registry.atomic():
            for notice in done:
                self._tell(notice, "failed", reason, now)
                if hard and notice.user_id is not None and self._is_where(notice):
                    self._registry.people.change(
                        notice.user_id, bounced=now, bounced_way=way, bounced_reason=reason or "it can't be reached"
                    )
        self._holdings.ring()
        return bool(done)

    def again(
        self, notice_id: str | None = None, *, way: str, reference: str | None = None, reason: str, now: float
    ) -> bool:
        """The provider says that what was carried did not arrive, and may if it is sent again; in the end it failed."""
        reported = [each for each in self._reported(notice_id, way, reference) if each.state == "carried"]
        if reported and now - (reported[0].begun or now) > self._holdings.policy.give_up:
            return self.undelivered(notice_id, way=way, reference=reference, reason=reason, hard=False, now=now)
        with self._registry.atomic():
            for each in reported:
                due = now + domain.backoff(each.attempts, random.random())  # noqa: S311
                self._registry.notices.carry_again(each.id, due, reason)
        self._holdings.ring()
        return bool(reported)

    def _report(
        self, notice_id: str | None, way: str, reference: str | None, state: str, reason: str, now: float
    ) -> list[Notice]:
        rows = self._registry.notices
        with self._registry.atomic():
            reported = self._reported(notice_id, way, reference)
            settled = [rows.settle(each.id, state, BEFORE[state], reason, now) for each in reported]
            for each in reported:
                rows.refer(each.id, reference or "")
        return [each for each in settled if each is not None]

    def _reported(self, notice_id: str | None, way: str, reference: str | None) -> Sequence[Notice]:
        """Those that a report is about; one that names another reference than ours is about an older attempt."""
        if notice_id is None:
            return self._registry.notices.by_reference(way, reference) if reference else []
        found = self._registry.notices.find(notice_id)
        if found is None or found.way != way or (reference and found.reference not in ("", reference)):
            return []
        return self._together(found)

    def _is_where(self, notice: Notice) -> bool:
        """Whether the notice went to an address that its reader still has."""
        user = self._registry.people.by_id(notice.user_id) if notice.user_id is not None else None
        return user is not None and notice.address in (user.phone, user.email)

    # ---- what people do about it

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
        if delivery.lock is not LockKind.CODE or delivery.state in lifecycle.DONE:
            raise WrongState(shipment_id, f"{delivery.state}, locked by {delivery.lock}", "opened by a new SMS")
        if self._holdings.secrets.code(delivery.id) is None:
            raise WrongState(shipment_id, "no longer in the keeping of its code", "sent a code again; send it anew")
        number = addresses.phone(phone) if phone else found.phone
        if not number:
            raise Conflict(f"{found.email} has no phone number")
        with self._registry.atomic():
            made = self.code_again(replace(found, phone=number), shipment, delivery.id, "sent again", now)
            where = f"{found.email}: {hint(number)}"
            self._registry.record.tell(now, who, "code sent again", where, shipment_id)
        self._holdings.ring()
        return made

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

    def _is_last_code(self, notice: Notice) -> bool:
        """Whether this brought a code, and no later SMS is still to bring it, or a newer one."""
        if notice.kind != "code" or notice.shipment_id is None or notice.delivery_id is None:
            return False
        codes = self._codes(notice.shipment_id, notice.delivery_id)
        later = [each for each in codes if each.id != notice.id and each.made >= notice.made]
        return not any(each.state in ("due", "carried") for each in later)

    def retry(self, notice_id: str, now: float, *, who: str = "admin") -> Notice:
        """What waits, failed or was dropped is tried at once, to where its reader is reached now; its way, too.

        Raises NoticeUnknown, or NoticeOver for what is on its way or has arrived, or whose code is gone.
        """
        notice = self.find(notice_id)
        if notice.state in ("carried", "delivered"):
            raise NoticeOver(notice_id, notice.state, "tried again")
        carries = carried_by(notice)
        if carries and self._sealed(notice, now) is None:
            raise NoticeOver(notice_id, f"{notice.state}, and its {carries} erased", "tried again")
        user = self._registry.people.by_id(notice.user_id) if notice.user_id is not None else None
        address = (user.phone if notice.way == "sms" else user.email) if user else None
        with self._registry.atomic():
            self._registry.notices.due_again(notice_id, address or notice.address, now)
            told = f"{notice.way} {notice.kind}"
            self._registry.record.tell(now, who, "notice retried", told, notice.shipment_id)
            self.resume(notice.way, now)
        self._holdings.ring()
        return self.find(notice_id)

    def drop(self, notice_id: str, now: float, *, who: str = "admin") -> Notice:
        """It is not sent any more.  Raises NoticeUnknown, or NoticeOver for what is not due."""
        with self._registry.atomic():
            notice = self.find(notice_id)
            for each in self._together(notice):
                dropped = self._registry.notices.settle(each.id, "dropped", ("due",), f"dropped by {who}", now)
                if dropped is None:
                    raise NoticeOver(notice_id, notice.state, "dropped")
                told = f"{each.way} {each.kind}"
                self._registry.record.tell(now, who, "notice dropped", told, each.shipment_id)
        return self.find(notice_id)

    def test(self, way: str, address: str, language: str, now: float) -> Notice:
        """A notice that says nothing but that it arrived.  Raises BadAddress or BadPhone."""
        known = addresses.phone(address) if way == "sms" else addresses.address(address)
        with self._registry.atomic():
            notice_id = self._registry.notices.add("test", way, known, language, {"user": known}, now)
            self.resume(way, now)
        self._holdings.ring()
        return self.find(notice_id)

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
    """`2026-11-22_7k3f-q2mp_Ref-23-4567`: sorts by date, has no blanks, and the id alone would do."""
    day = places.day(shipment.sent or shipment.made)
    slug = places.slug(shipment.subject)
    return f"{day}_{shipment.id}_{slug}" if slug else f"{day}_{shipment.id}"
