"""The courier: takes due notices, carries them, records what became of them.

One round for each way, so that a mail server which hangs holds up no SMS.  A round takes some notices under a lease,
which it renews while it lives, hands them to as many hooks as its way may have at a time, and records their verdicts
together.  A courier that is killed holds back what it had in hand for half a minute, and any number of couriers may
work.  At least once, then, and each attempt with the same id; twice only what was with a hook, or just back from it,
when its courier died.  When to try again and when to give up is the exchange's to say.

Sees codes and links on their way out and never says one: log lines name the shipment, the kind, the way and half of an
address.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from fxsftp.bell import Bell
from fxsftp.carriers import Answer, Carrier, Verdict, discreet, find
from fxsftp.domain.model import Notice
from fxsftp.errors import BadTemplate, FxError
from fxsftp.exchange.carriage import Errand, Outcome
from fxsftp.templates import Templates, spoken

POLL = 30.0  # seconds; for a notice whose ring was lost, and for due times that another process has set
WITHIN = 60.0  # seconds for one message; a mail server may grey-list slowly, and a hook must start first
LEASE = 30.0  # seconds; after these, another courier may have what a dead one took
RENEW = 10.0  # seconds between renewals: two may fail
AHEAD = 8  # notices in hand for each hook at work: the next are there when one comes back
IDLE = 120.0  # seconds without work after which the hooks may go
BREAKS = 2  # hooks broken in a row before the way pauses: one may be the message's fault, two are the hook's

log = logging.getLogger(__name__)


class Carriage(Protocol):
    """What the courier asks of the exchange.  All of it may block, and is called in a thread."""

    def take_due(self, way: str, now: float, *, lease: str, seconds: float, limit: int) -> list[Errand]: ...
    def renew(self, way: str, lease: str, until: float, notice_ids: Sequence[str]) -> None: ...
    def record(self, way: str, lease: str, outcomes: Sequence[Outcome], now: float) -> None: ...
    def resume(self, way: str, now: float) -> None: ...
    def next_due(self, way: str) -> float | None: ...
    def waiting_ways(self) -> dict[str, int]: ...


@dataclass(frozen=True)
class Crew:
    """The hooks of one way, as many as may be at work at a time; `rate` is messages a second at most, or 0."""

    carriers: Sequence[Carrier]
    rate: float = 0.0


class Courier:
    """Carries notices from `run` until `stop`.

    `crews` has one for each way that is set up; notices of other ways wait, and the log says so.  `sender` is the
    address that mails come from, `return_path` the one to which that of a notice comes back.
    """

    def __init__(
        self,
        carriage: Carriage,
        crews: Mapping[str, Crew],
        templates: Templates,
        bell: Bell,
        *,
        sender: str,
        return_path: Callable[[str], str] = lambda _: "",
        clock: Callable[[], float] = time.time,
        within: float = WITHIN,
    ) -> None:
        self._carriage = carriage
        self._bell = bell
        self._stopping = asyncio.Event()
        self._told: set[str] = set()
        desk = _Desk(templates, sender, return_path)
        self._rounds = {
            way: _Round(way, crew, carriage, desk, clock, within, self._stopping) for way, crew in crews.items()
        }

    async def run(self) -> None:
        """Returns after `stop`, when what was in hand is carried or put back, and no hook is left."""
        self._bell.hang()
        try:
            async with asyncio.TaskGroup() as tasks:
                for round_ in self._rounds.values():
                    tasks.create_task(round_.run())
                listening = tasks.create_task(self._listen())  # also without any way, to say what waits
                await self._stopping.wait()
                listening.cancel()
        finally:
            self._bell.take_down()

    def stop(self) -> None:
        """Lets `run` return once it can.  May be called from a signal handler of the loop."""
        self._stopping.set()
        for round_ in self._rounds.values():
            round_.wake()

    async def _listen(self) -> None:
        """Passes each ring on to every way, and says now and then which notices have no way."""
        while True:
            await self._tell_what_waits()
            if await self._bell.wait(POLL):
                for round_ in self._rounds.values():
                    round_.wake()
            else:
                self._bell.see_to()

    async def _tell_what_waits(self) -> None:
        try:
            waiting = await asyncio.to_thread(self._carriage.waiting_ways)
        except FxError as error:
            log.error("what waits is not known: %s", error)
            return
        stuck = {way: count for way, count in waiting.items() if count and way not in self._rounds}
        for way in stuck.keys() - self._told:
            log.warning("%d %s notices wait: no hook is set for them ([notify] %s)", stuck[way], way, way)
        self._told = set(stuck)


# ---- one way -----------------------------------------------------------------------------------------


@dataclass
class _Round:
    """One way's work.  Whatever is taken is in hand until its outcome is recorded, or can't be."""

    way: str
    crew: Crew
    carriage: Carriage
    desk: _Desk
    clock: Callable[[], float]
    within: float
    stopping: asyncio.Event
    _lease: str = field(default_factory=lambda: f"{os.getpid()}-{secrets.token_hex(8)}")  # says whose it is
    _free: asyncio.LifoQueue[Carrier] = field(default_factory=asyncio.LifoQueue)  # so that few do, where few will
    _hand: dict[str, Errand] = field(default_factory=dict)
    _back: list[tuple[Outcome, asyncio.Future[None]]] = field(default_factory=list)
    _came_back: asyncio.Event = field(default_factory=asyncio.Event)
    _lighter: asyncio.Event = field(default_factory=asyncio.Event)  # the hand
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _leased_until: float = 0.0
    _broken: int = 0  # hooks in a row
    _is_halted: bool = False  # what no hook has seen goes back
    _next_turn: float = 0.0

    def wake(self) -> None:
        """There may be work, or it is time to stop."""
        self._woken.set()

    async def run(self) -> None:
        for carrier in reversed(self.crew.carriers):
            self._free.put_nowait(carrier)
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(self._record()), tasks.create_task(self._renew())]
                await self._resume()
                await self._take_turns(tasks)
                for task in beside:
                    task.cancel()
        finally:
            await asyncio.gather(*(carrier.close() for carrier in self.crew.carriers))

    async def _take_turns(self, tasks: asyncio.TaskGroup) -> None:
        most = AHEAD * len(self.crew.carriers)
        idle = 0.0
        while not self.stopping.is_set():
            if self._is_halted:
                await self._until_in_hand(0)
                await self._after_halt()
                continue
            asked, room = self.clock(), most - len(self._hand)
            errands = await self._take(asked, room)
            for errand in errands:
                self._hand[errand.notice.id] = errand
                tasks.create_task(self._attend(errand))
            if len(errands) == room:  # there may be more
                await self._until_in_hand(most // 2)
                idle = 0.0
                continue
            rested = await self._rest(asked)
            idle = 0.0 if errands or self._hand else idle + rested
            if idle >= IDLE:
                await asyncio.gather(*(carrier.close() for carrier in self.crew.carriers))
        await self._until_in_hand(0)

    async def _take(self, now: float, limit: int) -> list[Errand]:
        try:
            errands = await asyncio.to_thread(
                self.carriage.take_due, self.way, now, lease=self._lease, seconds=LEASE, limit=limit
            )
        except FxError as error:
            log.error("%s: no notice can be taken: %s", self.way, error)
            return []
        if errands and not self._hand:
            self._leased_until = now + LEASE
        return errands

    async def _attend(self, errand: Errand) -> None:
        """One errand, from the hand to its record.  Its hook is free for the next as soon as it has answered."""
        carrier = await self._free.get()
        try:
            await self._pace()
            outcome = await self._carry(carrier, errand)
        finally:
            self._free.put_nowait(carrier)
        recorded = asyncio.get_running_loop().create_future()
        self._back.append((outcome, recorded))
        self._came_back.set()
        await recorded
        del self._hand[errand.notice.id]
        self._lighter.set()

    async def _carry(self, carrier: Carrier, errand: Errand) -> Outcome:
        notice = errand.notice
        if self._is_halted or self.stopping.is_set() or self.clock() >= self._leased_until:
            return Outcome(notice.id, "back", is_question=errand.is_question)
        try:
            message = self.desk.message(errand)
        except BadTemplate as error:  # an operator can mend it, and then it goes out
            log.error("%s: %s", _about(notice), error)
            return Outcome(notice.id, "later", str(error))
        verdict = await carrier.carry(message, self.within)
        for secret in (errand.code, errand.token):
            verdict = _without(secret, verdict) if secret else verdict
        self._judge(notice, verdict)
        return Outcome(
            notice.id, verdict.answer.value, verdict.reason, verdict.reference, verdict.ask, errand.is_question
        )

    def _judge(self, notice: Notice, verdict: Verdict) -> None:
        """Says what became of one, and whether the others of its way can go on."""
        self._broken = self._broken + 1 if verdict.broke else 0
        match verdict.answer:
            case Answer.CARRIED | Answer.DELIVERED:
                log.info("%s %s", _about(notice), verdict.answer.value)
            case Answer.FAILED:
                log.error("%s failed: %s", _about(notice), verdict.reason)
            case Answer.STOP:
                log.error("%s stops until it is mended: %s", self.way, verdict.reason)
                self._is_halted = True
            case _:
                log.warning("%s put off: %s", _about(notice), verdict.reason)
        if self._broken == BREAKS:
            log.error("%s waits %d seconds: %s", self.way, POLL, verdict.reason)
            self._is_halted = True

    async def _after_halt(self) -> None:
        """A broken way waits a while here; of a stopped one the exchange says for how long it has no work."""
        if self._broken >= BREAKS:
            await self._pause(POLL)
            self._broken = 0
        self._is_halted = False

    # ---- what is beside: leases, records, the pace

    async def _renew(self) -> None:
        """While this courier lives, nobody else gets what it has in hand."""
        while True:
            await asyncio.sleep(RENEW)
            held = [notice_id for errand in self._hand.values() for notice_id in errand.ids]
            if not held:
                continue
            until = self.clock() + LEASE
            try:
                await asyncio.to_thread(self.carriage.renew, self.way, self._lease, until, held)
            except FxError as error:
                log.error("%s: what is in hand can't be kept: %s", self.way, error)
            else:
                self._leased_until = until

    async def _record(self) -> None:
        """Those that come back while one record is written are the next one's, together."""
        while True:
            await self._came_back.wait()
            self._came_back.clear()
            back, self._back = self._back, []
            if not back:
                continue
            await self._write_down([outcome for outcome, _ in back])
            for _, recorded in back:
                recorded.set_result(None)
            if any(outcome.became != "carried" or outcome.ask is not None for outcome, _ in back):
                self._woken.set()  # there are new due times

    async def _write_down(self, outcomes: Sequence[Outcome]) -> None:
        for pause in (1.0, 5.0, 10.0, 0.0):  # an unrecorded carrying is carried twice
            try:
                await asyncio.to_thread(self.carriage.record, self.way, self._lease, outcomes, self.clock())
                return
            except FxError as error:
                log.error("%s: %d outcomes are not recorded: %s", self.way, len(outcomes), error)
                if not error.temporary:
                    return
            await self._pause(pause)

    async def _pace(self) -> None:
        if not self.crew.rate:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next_turn)
        self._next_turn = turn + 1 / self.crew.rate
        await self._pause(turn - now)

    async def _resume(self) -> None:
        """A courier is started again after something was mended."""
        try:
            await asyncio.to_thread(self.carriage.resume, self.way, self.clock())
        except FxError as error:
            log.error("%s: %s", self.way, error)

    # ---- waiting

    async def _until_in_hand(self, few: int) -> None:
        while len(self._hand) > few:
            self._lighter.clear()
            await self._lighter.wait()

    async def _rest(self, asked: float) -> float:
        """Waits to be woken, or for the next due time after `asked`.  Answers how long it was ready to wait."""
        try:
            due = await asyncio.to_thread(self.carriage.next_due, self.way)
        except FxError as error:
            log.error("%s: the next due time is not known: %s", self.way, error)
            due = None
        # What was due when we asked is another courier's, or in our own hand: no reason to look again at once.
        seconds = POLL if due is None or due <= asked else min(max(due - self.clock(), 0.0), POLL)
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return seconds
        self._woken.clear()
        return 0.0

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            pass


# ---- what a hook is told -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Desk:
    """Where a notice becomes a message."""

    templates: Templates
    sender: str
    return_path: Callable[[str], str]

    def message(self, errand: Errand) -> dict[str, object]:
        """As hooks/README.md has it.  Raises BadTemplate."""
        notice = errand.notice
        message: dict[str, object] = {"id": notice.id, "way": notice.way}
        if errand.is_question:
            return message | {"ask": notice.reference, "attempt": notice.asked}
        message |= {"attempt": notice.attempts}
        if notice.way == "webhook":  # read by a program: facts and no words
            when = datetime.fromtimestamp(notice.made, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return message | {"type": notice.kind, "timestamp": when, "data": dict(notice.facts)}
        message |= {"to": notice.address}
        facts = dict(errand.facts)
        if errand.code is not None and notice.way == "sms":
            facts["code"] = errand.code
        if notice.way == "mail":
            facts["token"] = errand.token or ""
        said = self.templates.render(errand.kind, notice.way, notice.language, facts)
        message["text"] = said.text
        if notice.way == "sms":
            return message
        domain = self.sender.rpartition("@")[2]
        message |= {
            "from": self.sender,
            "subject": said.subject,
            "html": said.html,
            "message_id": f"<{notice.id}@{domain}>",
            "list_id": f"<notices.{domain}>",
            "headers": {"Content-Language": spoken(notice.language)},
        }
        return_path = self.return_path(notice.id)
        return message | {"return_path": return_path} if return_path else message


def hire(
    ways: Mapping[str, str],
    folders: Sequence[Path],
    settings_for: Callable[[str], Mapping[str, object]],
    *,
    strict: bool = False,
    at_once: int = 1,
    rate: float = 0.0,
) -> dict[str, Crew]:
    """A crew for each way of `[notify]`, such as {"mail": "smtp"}; a way with an empty name has none.

    `settings_for("mail-smtp")` is what that hook hears first.  Raises HookUnusable for one that is missing or not safe.
    """
    programs = {way: find(way, name, folders, strict=strict) for way, name in ways.items() if name}
    return {
        way: Crew([Carrier(path, settings_for(path.name), strict=strict) for _ in range(at_once)], rate)
        for way, path in programs.items()
    }


def _without(secret: str, verdict: Verdict) -> Verdict:
    """The verdict, should a hook have put the code or the token into it, without that."""
    reason, reference = (said.replace(secret, "****") for said in (verdict.reason, verdict.reference))
    return replace(verdict, reason=reason, reference=reference)


def _about(notice: Notice) -> str:
    shipment = f"shipment {notice.shipment_id}: " if notice.shipment_id else ""
    to = f" to {shown(notice.address)}" if notice.address else ""
    return f"{shipment}{notice.way} '{notice.kind}'{to}"


def shown(address: str) -> str:
    """`ann@…` or `…00`: enough to know whom a log line means."""
    local, at, _ = address.partition("@")
    return discreet(f"{local}@…") if at else f"…{address[-2:]}"
