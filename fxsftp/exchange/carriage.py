"""Carriage: how the courier takes notices, and what becomes of them on their way.

due ──► carried ──► delivered          what the providers say comes in by `delivered` and `undelivered`,
 │         └──────► failed             in any order and more than once; nothing leaves a final state
 └──► failed, dropped                  but by a person's word (`resending.retry`)
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fxsftp import seal
from fxsftp.domain import notices as domain
from fxsftp.domain.model import Notice, User
from fxsftp.domain.notices import SORTS
from fxsftp.exchange.events import WAY as WEBHOOK
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.notices import NO_BOUNCE, Notices, carried_by

Became = Literal["carried", "later", "failed", "stop", "back", "delivered", "again"]

STOPPED = "way stopped: "  # and the way: a standing fact
PROBE = 300.0  # seconds until a stopped way is tried again with one notice
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


class Carriage:
    """Notices as the courier sees them, and their providers."""

    def __init__(self, holdings: Holdings, notices: Notices) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._notices = notices

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
                wakes = domain.quiet_until(user.quiet, self._notices.zone(user), now)
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
        courier, sealed = self._holdings.keys.courier, self.sealed(notice, now)
        if sealed is None or courier is None:
            return None
        secret, _, parcel = seal.open_small(sealed, courier).decode().partition(" ")
        is_for_another = parcel and parcel != self._registry.deliveries.parcel(notice.delivery_id or 0)
        return None if is_for_another else secret

    def sealed(self, notice: Notice, now: float) -> bytes | None:
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
        for each in self.together(notice):
            self._registry.notices.ask_at(each.id, lease, when if each.id == notice.id else None)

    def carried(self, notice_id: str, lease: str, reference: str, now: float) -> None:
        """A hook has passed it on."""
        self._finish(notice_id, lease, "carried", "", reference, now)
        self._erase_links([notice_id], self._notices.find(notice_id).way)

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
            for each in self.together(notice):
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
            for each in self.together(first) if first else ():
                ask_due = ask if each.id == notice_id else None  # one question for all of a digest
                notice = self._registry.notices.finish(each.id, lease, state, reason, reference, now, ask_due)
                if notice is not None:
                    self._tell(notice, state, reason, now)
                elif reference:  # the provider was quicker to report than we to write down what it calls it
                    self._registry.notices.refer(each.id, reference)
        if state == "failed":
            self._holdings.ring()

    def together(self, notice: Notice) -> Sequence[Notice]:
        return self._registry.notices.in_envelope(notice.id) if notice.envelope == notice.id else [notice]

    def _tell(self, notice: Notice, state: str, reason: str, now: float) -> None:
        """The record hears of it; and where it failed, so does whoever sent the shipment."""
        told = f"{notice.way} {notice.kind}: {reason}".rstrip(": ")
        self._registry.record.tell(now, "exchange", f"notice {state}", told, notice.shipment_id)
        if state != "failed" or notice.way == WEBHOOK:  # which programs hear is no sender's concern
            return
        self._notices.events.failed(notice, reason, now)
        shipment = self._registry.drops.find(notice.shipment_id) if notice.shipment_id else None
        if shipment and notice.user_id != shipment.sender_id:
            user = self._registry.people.by_id(notice.user_id) if notice.user_id else None
            self._notices.to_sender(
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
        for each in self.together(notice) if notice else ():
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
        codes = [each.delivery_id for each in done if each.delivery_id is not None and self._notices.is_last_code(each)]
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
        return self.together(found)

    def _is_where(self, notice: Notice) -> bool:
        """Whether the notice went to an address that its reader still has."""
        user = self._registry.people.by_id(notice.user_id) if notice.user_id is not None else None
        return user is not None and notice.address in (user.phone, user.email)
