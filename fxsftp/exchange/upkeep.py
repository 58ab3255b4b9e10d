"""Upkeep: what time does to shipments, and a watch on time itself.

Erasing takes two steps a day apart, and none is taken while the clock is in doubt: a clock that jumps a
month ahead must not destroy what it makes look old.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice

from fxsftp.domain import lifecycle
from fxsftp.domain.lifecycle import DeliveryState, ShipmentState
from fxsftp.domain.model import Shipment
from fxsftp.domain.policy import DAY, HOUR
from fxsftp.errors import ClockDoubt
from fxsftp.exchange.erasing import Erasing
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.notices import Notices
from fxsftp.exchange.reads import Reads
from fxsftp.store.registry.drops import LAST
from fxsftp.store.registry.usages import Usage

log = logging.getLogger("fxsftp.exchange")

TOLERANCE = HOUR  # how far wall clock and heartbeat may disagree
DOWN = DAY  # how long a machine may have been off before an admin is asked whether its clock is right
BEAT, DOUBT = "heartbeat", "clock doubt"
PIECE = 5  # shipments that end in one transaction: some milliseconds
ROWS = 250  # that are looked at in one question
USERS = 20  # whose usage is summed up in one
NEVER = (0.0, "")  # before any expiry


@dataclass(frozen=True)
class Swept:
    """How many of each."""

    reminded: int
    expired: int
    ended: int
    abandoned: int
    erased: int
    codes: int
    orphans: int
    quotas: int


class Upkeep:
    """The sweep and the heartbeat."""

    def __init__(self, holdings: Holdings, erasing: Erasing, reads: Reads, notices: Notices) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._policy = holdings.policy
        self._rows = holdings.registry.endings
        self._erasing = erasing
        self._reads = reads
        self._notices = notices

    # ---- the clock

    def beat(self, now: float, boottime: float, boot_id: str) -> None:
        """Said every minute: what the wall says, and what the clock says that nobody can set."""
        with self._registry.atomic(durable=False):
            jump = self._jump(now, boottime, boot_id)
            if jump and self._registry.record.standing(DOUBT) is None:
                self._registry.record.set_standing(DOUBT, json.dumps(jump))
            self._registry.record.set_standing(BEAT, json.dumps([now, boottime, boot_id]))

    def _jump(self, now: float, boottime: float, boot_id: str) -> float:
        """By how many seconds the wall clock is not where the last heartbeat lets it be; 0 when it is."""
        found = self._registry.record.standing(BEAT)
        if found is None:
            return 0
        then, then_boottime, then_boot = json.loads(found)
        if then_boot == boot_id:
            jump = now - then - (boottime - then_boottime)
            return float(jump) if abs(jump) > TOLERANCE else 0
        passed = float(now - then)
        return passed if passed < -TOLERANCE or passed > DOWN else 0

    def let_go(self) -> None:
        """Of bodies that were erased and that this process still has open: only then is their room free."""
        self._holdings.bodies.let_go()

    def doubt(self) -> str | None:
        """By how much the clock jumped, if it did and no admin has looked yet: `30.0 days ahead`."""
        found = self._registry.record.standing(DOUBT)
        return None if found is None else _span(json.loads(found))

    def confirm_clock(self, now: float, boottime: float, boot_id: str) -> None:
        """An admin has looked: the clock is right."""
        with self._registry.atomic():
            self._registry.record.set_standing(DOUBT, None)
            self._registry.record.set_standing(BEAT, json.dumps([now, boottime, boot_id]))
            self._registry.record.tell(now, "admin", "clock confirmed")

    # ---- the sweep

    def sweep(self, now: float, boottime: float, boot_id: str) -> Swept:
        """Remind, expire, end, erase.  Raises ClockDoubt, having done nothing."""
        counts = dict.fromkeys((field.name for field in fields(Swept)), 0)
        for what, count in self.steps(now, boottime, boot_id):
            counts[what] += count
        return Swept(**counts)

    def steps(self, now: float, boottime: float, boot_id: str) -> Iterator[tuple[str, int]]:
        """The same piece by piece, however much is due: others read and write in between.  Answers what was done."""
        self.beat(now, boottime, boot_id)
        doubt = self.doubt()
        if doubt is not None:
            raise ClockDoubt(doubt)
        yield from (("reminded", count) for count in self._remind_all(now))
        for what, due, see_to in (
            ("expired", partial(self._rows.expiring, NEVER, now), self._expire),
            ("ended", partial(self._rows.done, now), self._end),
            ("abandoned", partial(self._rows.abandoned, now - self._policy.stale, "scanner"), self._abandon),
        ):
            while found := due(PIECE):
                deliveries = self._registry.deliveries
                self._reads.catch_up(each.id for shipment in found for each in deliveries.of_shipment(shipment.id))
                with self._registry.atomic():
                    count = sum(see_to(shipment, now) for shipment in found)
                yield what, count
                if not count:
                    break  # somebody else sees to them just now
        for shipment_id in self._erasing.due(now - self._policy.erase_after):
            yield from (("erased", 0) for _ in self._erasing.pieces(shipment_id, now))
            yield "erased", 1
        yield "codes", self._erase_codes(now)
        yield from (("orphans", count) for count in self._erase_orphans(now))
        yield from (("quotas", count) for count in self._warn_of_quotas(now))
        with self._registry.atomic():
            self._registry.deliveries.end_openings(now)
        while self._rows.forget_shown(now - self._policy.remember, ROWS):
            yield "ended", 0
        self._tidy_accounts(now)
        self._holdings.ring()

    def _tidy_accounts(self, now: float) -> None:
        """Links, wrong tries, confirmations and visits that are over; and what their notices were to carry."""
        policy = self._policy
        with self._registry.atomic():
            self._registry.accounts.sweep(
                now,
                tries=now - policy.wrong_within,
                asked=now - HOUR,  # those of the last hour are counted
                seen=now - policy.visit_idle,
                made=now - policy.visit_longest,
            )
        self._holdings.secrets.erase_links(self._holdings.secrets.links_over(now))

    def _remind_all(self, now: float) -> Iterator[int]:
        """Before it expires, those who have not collected it hear of it, once for each reminder."""
        mark = (now, LAST)
        while found := self._rows.expiring(mark, now + max(self._policy.reminders, default=0), ROWS):
            mark = found[-1].expires or now, found[-1].id
            late: list[tuple[Shipment, int]] = []
            for times in range(1, len(self._policy.reminders) + 1):
                due = {each.id: each for each in found if self._reminders(each, now) == times}
                late += [(due[each], times) for each in self._rows.not_reminded(list(due), times)]
            for first in range(0, len(late), PIECE):
                with self._registry.atomic():
                    count = sum(self._remind(shipment, now, times) for shipment, times in late[first : first + PIECE])
                yield count
            yield 0

    def _reminders(self, shipment: Shipment, now: float) -> int:
        """How many there should have been."""
        left = (shipment.expires or now) - now
        return sum(1 for reminder in self._policy.reminders if left <= reminder)

    def _remind(self, shipment: Shipment, now: float, times: int) -> int:
        count, left = 0, (shipment.expires or now) - now
        for delivery in self._registry.deliveries.of_shipment(shipment.id):
            if delivery.state not in (DeliveryState.WAITING, DeliveryState.OPENED):
                continue
            if self._registry.deliveries.reminded(delivery.id) < times:
                self._registry.deliveries.change(delivery.id, reminded=times)
                self._notices.to_recipient("reminder", shipment, delivery, now, days=max(1, round(left / DAY)))
                count += 1
        return count

    def _warn_of_quotas(self, now: float) -> Iterator[int]:
        """Whose room is nearly used up hears of it, once for each time that it fills."""
        people, after, usual = self._registry.people, 0, self._policy.quota
        while found := self._registry.usages.summed(after, USERS):
            after = found[-1].user.id
            changed = []
            for usage in found:
                if usage.used != usage.summed:
                    self._mend(usage)
                is_full = usage.summed >= self._policy.quota_warns * (usage.user.quota or usual) and usage.summed > 0
                if is_full != usage.is_told:
                    changed.append((usage, is_full))
            if changed:
                with self._registry.atomic():
                    for usage, is_full in changed:
                        people.change(usage.user.id, quota_told=int(is_full))
                        if is_full:
                            quota = usage.user.quota or usual
                            self._notices.to_user("quota", usage.user, now, used=usage.summed, quota=quota)
            yield sum(1 for _, is_full in changed if is_full)

    def miscounted(self) -> Iterator[Usage]:
        """Users whose room in use is not what their files take up.  Reads a row of each file that is not erased."""
        after = 0
        while found := self._registry.usages.summed(after, USERS):
            after = found[-1].user.id
            yield from (usage for usage in found if usage.used != usage.summed)

    def _mend(self, usage: Usage) -> None:
        """Triggers keep the figure; a registry that was written to by hand, without them, is put right here."""
        log.error(
            "the room in use of user %d was said to be %d bytes, and is %d", usage.user.id, usage.used, usage.summed
        )
        with self._registry.atomic():
            self._registry.usages.mend(usage.user.id)

    def _expire(self, shipment: Shipment, now: float) -> int:
        if shipment.expires is None or shipment.expires > now:
            return 0
        state = lifecycle.after(lifecycle.SHIPMENTS, shipment.state, "expire", shipment.id)
        with self._registry.atomic():
            if not self._registry.drops.step(shipment, state, now):
                return 0
            self._registry.drops.change(shipment.id, ended=now)
            unread = []
            for delivery in self._registry.deliveries.of_shipment(shipment.id):
                if delivery.state in lifecycle.DONE:
                    continue
                if not delivery.collected:
                    user = self._registry.people.by_id(delivery.user_id)
                    unread.append(user.email if user else "?")
                after = lifecycle.after(lifecycle.DELIVERIES, delivery.state, "expire")
                self._registry.deliveries.step(delivery, after, ended=now)
            if unread:
                self._notices.to_sender("expired_unread", shipment, now, recipient=", ".join(unread))
            self._notices.events.expired(shipment.id, now)
            self._registry.notices.drop_for(shipment.id, now)
            self._registry.record.tell(now, "exchange", "expired", shipment_id=shipment.id)
        return 1

    def _end(self, shipment: Shipment, now: float) -> int:
        """When every recipient is done with it."""
        deliveries = self._registry.deliveries.of_shipment(shipment.id)
        fresh = self._registry.drops.find(shipment.id)
        if fresh is None or fresh.state is not ShipmentState.WAITING:
            return 0
        if not all(delivery.state in lifecycle.DONE for delivery in deliveries):
            return 0
        state = lifecycle.after(lifecycle.SHIPMENTS, fresh.state, "done", fresh.id)
        with self._registry.atomic():
            if not self._registry.drops.step(fresh, state, now):
                return 0
            self._registry.drops.change(fresh.id, ended=max(delivery.ended or now for delivery in deliveries))
            self._registry.record.tell(now, "exchange", "ended", "every recipient is done", fresh.id)
        return 1

    def _abandon(self, shipment: Shipment, now: float) -> int:
        if shipment.progress + self._policy.stale > now or shipment.cause == "scanner":
            return 0  # nobody has abandoned what waits for us
        state = lifecycle.after(lifecycle.SHIPMENTS, shipment.state, "sweep", shipment.id)
        with self._registry.atomic():
            if not self._registry.drops.step(shipment, state, now, "abandoned", shipment.reason):
                return 0
            self._registry.drops.change(shipment.id, ended=now)
            self._registry.record.tell(now, "exchange", "ended", "held for too long", shipment.id)
        return 1

    def _erase_codes(self, now: float) -> int:
        old = self._holdings.secrets.codes_older_than(now - self._policy.code_kept)
        self._holdings.secrets.erase_codes(old)
        return len(old)

    def _erase_orphans(self, now: float) -> Iterator[int]:
        """Blobs and keys that no row speaks of, a day old: what a crash between the stores leaves."""
        old = self._holdings.bodies.ids(unchanged_since=now - DAY)
        while some := list(islice(old, ROWS)):
            orphans = set(some) - self._rows.known_blobs(some)
            self._holdings.bodies.erase(*orphans)
            yield len(orphans)
        self._holdings.secrets.erase_drop_keys(
            [
                each
                for each in self._holdings.secrets.shipments_with_drop_key(now - DAY)
                if not self._registry.drops.is_before_dispatch(each)
            ]
        )


def _span(seconds: float) -> str:
    hours = abs(seconds) / HOUR
    way = "ahead" if seconds > 0 else "back"
    return f"{hours / 24:.1f} days {way}" if hours >= 48 else f"{hours:.1f} hours {way}"
