"""The courier: takes due notices, carries them, records what became of them.

One loop for each way, so that a mail server which hangs holds up no SMS.  Each takes one notice at a time under a
lease: a courier that is killed holds back that one for two minutes and no other, and any number of couriers may work.
At least once, then, and each attempt with the same id.  When to try again and when to give up is the exchange's to say.

Sees codes on their way out and never says one: log lines name the shipment, the kind, the way and half of an address.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from fxsftp.bell import Bell
from fxsftp.carriers import Answer, Carrier, Verdict, discreet, find
from fxsftp.domain.model import Notice
from fxsftp.errors import BadTemplate, FxError
from fxsftp.exchange.notices import Errand
from fxsftp.templates import Templates, spoken

POLL = 30.0  # seconds; for a notice whose ring was lost, and for due times that another process has set
WITHIN = 60.0  # seconds for one message; a mail server may grey-list slowly, and a hook must start first
IDLE = 120.0  # seconds without work after which a hook may go
BREAKS = 2  # hooks broken in a row before the way pauses: one may be the message's fault, two are the hook's

log = logging.getLogger(__name__)


class Notices(Protocol):
    """What the courier asks of the exchange.  All of it may block, and is called in a thread."""

    def take_due(self, way: str, now: float, *, lease: str, seconds: float, limit: int) -> list[Errand]: ...
    def carried(self, notice_id: str, lease: str, reference: str, now: float) -> None: ...
    def later(self, notice_id: str, lease: str, reason: str, now: float) -> None: ...
    def failed(self, notice_id: str, lease: str, reason: str, now: float) -> None: ...
    def next_due(self) -> float | None: ...
    def waiting_ways(self) -> dict[str, int]: ...


class Courier:
    """Carries notices from `run` until `stop`.

    `carriers` has one for each way that is set up; notices of other ways wait, and the log says so.  `sender` is the
    address that mails come from.
    """

    def __init__(
        self,
        notices: Notices,
        carriers: Mapping[str, Carrier],
        templates: Templates,
        bell: Bell,
        *,
        sender: str,
        clock: Callable[[], float] = time.time,
        within: float = WITHIN,
    ) -> None:
        self._notices = notices
        self._carriers = carriers
        self._templates = templates
        self._bell = bell
        self._sender = sender
        self._clock = clock
        self._within = within
        self._lease = secrets.token_hex(8)
        self._stopping = asyncio.Event()
        self._rung = {way: asyncio.Event() for way in carriers}
        self._told: set[str] = set()

    async def run(self) -> None:
        """Returns after `stop`, when what was in hand is carried or put off, and no hook is left."""
        self._bell.hang()
        try:
            async with asyncio.TaskGroup() as tasks:
                for way, carrier in self._carriers.items():
                    tasks.create_task(self._serve(way, carrier))
                listening = tasks.create_task(self._listen())  # also without any way, to say what waits
                await self._stopping.wait()
                listening.cancel()
        finally:
            self._bell.take_down()

    def stop(self) -> None:
        """Lets `run` return once it can.  May be called from a signal handler of the loop."""
        self._stopping.set()
        for rung in self._rung.values():
            rung.set()

    # ---- one way

    async def _serve(self, way: str, carrier: Carrier) -> None:
        idle, broken = 0.0, 0
        try:
            while not self._stopping.is_set():
                asked = self._clock()
                errand = await self._take(way, asked)
                if errand:
                    verdict = await self._carry(way, carrier, errand)
                    await self._record(errand.notice, verdict)
                    idle, broken = 0.0, broken + 1 if verdict.broke else 0
                    if broken < BREAKS:
                        continue
                    log.error("%s waits %d seconds: %s", way, POLL, verdict.reason)
                    broken = 0
                    await self._pause(POLL)
                    continue
                idle += await self._rest(way, asked)
                if idle >= IDLE:
                    await carrier.close()
        finally:
            await carrier.close()

    async def _take(self, way: str, now: float) -> Errand | None:
        try:
            # Long enough for the attempt, its end and its recording; after that another courier may have it.
            errands = await asyncio.to_thread(
                self._notices.take_due, way, now, lease=self._lease, seconds=2 * self._within, limit=1
            )
        except FxError as error:
            log.error("%s: no notice can be taken: %s", way, error)
            return None
        return errands[0] if errands else None

    async def _carry(self, way: str, carrier: Carrier, errand: Errand) -> Verdict:
        try:
            message = self._message(way, errand)
        except BadTemplate as error:  # an operator can mend it, and then it goes out
            log.error("%s: %s", _about(errand.notice), error)
            return Verdict(Answer.LATER, str(error))
        verdict = await carrier.carry(message, self._within)
        return verdict if errand.code is None else _without(errand.code, verdict)

    def _message(self, way: str, errand: Errand) -> dict[str, object]:
        notice = errand.notice
        if way == "webhook":  # read by a program: facts and no words
            when = datetime.fromtimestamp(notice.made, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            event = {"type": notice.kind, "timestamp": when, "data": errand.facts}
            return {"id": notice.id, "way": way, **event, "attempt": notice.attempts}
        facts: dict[str, object] = {"user": notice.address, **errand.facts}
        if errand.code is not None and way == "sms":
            facts["code"] = errand.code
        said = self._templates.render(notice.kind, way, notice.language, facts)
        message: dict[str, object] = {
            "id": notice.id,
            "way": way,
            "to": notice.address,
            "text": said.text,
            "attempt": notice.attempts,
        }
        if way != "sms":
            headers = {"Content-Language": spoken(notice.language)}
            message |= {"from": self._sender, "subject": said.subject, "headers": headers}
        if said.html is not None:
            message["html"] = said.html
        return message

    async def _record(self, notice: Notice, verdict: Verdict) -> None:
        now = self._clock()
        record: Callable[[str, str, str, float], None]
        match verdict.answer:
            case Answer.CARRIED:
                log.info("%s carried", _about(notice))
                record, words = self._notices.carried, verdict.reference
            case Answer.LATER:
                log.warning("%s put off: %s", _about(notice), verdict.reason)
                record, words = self._notices.later, verdict.reason
            case Answer.FAILED:
                log.error("%s failed: %s", _about(notice), verdict.reason)
                record, words = self._notices.failed, verdict.reason
        for pause in (1.0, 5.0, 10.0):  # an unrecorded carrying is carried twice
            try:
                await asyncio.to_thread(record, notice.id, self._lease, words, now)
                return
            except FxError as error:
                log.error("%s is not recorded: %s", _about(notice), error)
                if not error.temporary:
                    return
            await self._pause(pause)

    # ---- nothing to do

    async def _listen(self) -> None:
        """Passes each ring on to every way, and says now and then which notices have no way."""
        while True:
            await self._tell_what_waits()
            if await self._bell.wait(POLL):
                for rung in self._rung.values():
                    rung.set()

    async def _rest(self, way: str, asked: float) -> float:
        """Waits for the bell or for the next due time after `asked`.  Answers how long it was ready to wait."""
        try:
            due = await asyncio.to_thread(self._notices.next_due)
        except FxError as error:
            log.error("%s: the next due time is not known: %s", way, error)
            due = None
        # What was due when we asked is another way's, or another courier's: no reason to look again at once.
        seconds = POLL if due is None or due <= asked else min(max(due - self._clock(), 0.0), POLL)
        rung = self._rung[way]
        try:
            async with asyncio.timeout(seconds):
                await rung.wait()
        except TimeoutError:
            return seconds
        rung.clear()
        return 0.0

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _tell_what_waits(self) -> None:
        try:
            waiting = await asyncio.to_thread(self._notices.waiting_ways)
        except FxError as error:
            log.error("what waits is not known: %s", error)
            return
        stuck = {way: count for way, count in waiting.items() if count and way not in self._carriers}
        for way in stuck.keys() - self._told:
            log.warning("%d %s notices wait: no hook is set for them ([notify] %s)", stuck[way], way, way)
        self._told = set(stuck)


def hire(
    ways: Mapping[str, str],
    folders: Sequence[Path],
    settings_for: Callable[[str], Mapping[str, object]],
    *,
    strict: bool = False,
) -> dict[str, Carrier]:
    """A carrier for each way of `[notify]`, such as {"mail": "smtp"}; a way with an empty name has none.

    `settings_for("mail-smtp")` is what that hook hears first.  Raises HookUnusable for one that is missing or not safe.
    """
    programs = {way: find(way, name, folders, strict=strict) for way, name in ways.items() if name}
    return {way: Carrier(path, settings_for(path.name), strict=strict) for way, path in programs.items()}


def _without(code: str, verdict: Verdict) -> Verdict:
    """The verdict, should a hook have put the code into it, without the code."""
    reason, reference = (said.replace(code, "****") for said in (verdict.reason, verdict.reference))
    return replace(verdict, reason=reason, reference=reference)


def _about(notice: Notice) -> str:
    shipment = f"shipment {notice.shipment_id}: " if notice.shipment_id else ""
    to = f" to {shown(notice.address)}" if notice.address else ""
    return f"{shipment}{notice.way} '{notice.kind}'{to}"


def shown(address: str) -> str:
    """`ann@…` or `…00`: enough to know whom a log line means."""
    local, at, _ = address.partition("@")
    return discreet(f"{local}@…") if at else f"…{address[-2:]}"
