"""The courier: real hooks, real templates, a bell; the exchange's side is a list in memory with the same verbs."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fxsftp import courier as courier_module
from fxsftp.bell import Bell
from fxsftp.carriers import Carrier
from fxsftp.courier import Courier, Crew, hire, shown
from fxsftp.domain.model import Notice
from fxsftp.errors import Conflict, HookUnusable, Unavailable
from fxsftp.exchange.carriage import Errand, Outcome
from fxsftp.templates import Institution, Templates
from tests.walks.guests import until as wait_until

CODE = "7k3f-q2mp-0abc-defg"
PHONE = "+4790000012"
PATIENCE = 30  # seconds; a busy machine starts Python slowly
FACTS = {
    "shipment": "7k3f-q2mp",
    "sender": "kari@ssb.example",
    "sender_name": "",
    "subject": "Ref 23-4567",
    "recipient": "ann@firm.example",
}

# A hook that keeps what it is given, one line each, and then does as the kind of notice in the subject or text says.
HOOK = """
    #!/usr/bin/env python3
    import json, os, sys, time
    settings = json.loads(sys.stdin.readline())["settings"]
    def answer(verdict, **more): print(json.dumps({"id": message["id"], "verdict": verdict, **more}), flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        with open(settings["kept"], "a") as kept:
            kept.write(json.dumps(message | {"pid": os.getpid()}) + "\\n")
        {}
"""


@dataclass
class InMemory:
    """The notices of an exchange, with the interface that the courier uses and nothing else."""

    clock: Callable[[], float]
    rows: dict[str, Notice] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    refuse: list[Exception] = field(default_factory=list)
    questions: dict[str, float] = field(default_factory=dict)
    stopped: dict[str, float] = field(default_factory=dict)
    renewed: list[str] = field(default_factory=list)
    takes: int = 0
    records: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def add(self, kind: str, way: str, code: str = "", **more: Any) -> str:
        notice_id = f"n-{len(self.rows)}"
        address = PHONE if way == "sms" else "ann@firm.example"
        self.rows[notice_id] = Notice(
            notice_id, kind, way, 1, "7k3f-q2mp", 1, address, "en", FACTS, "due", self.clock(), self.clock(), 0, "", ""
        )
        self.rows[notice_id] = replace(self.rows[notice_id], **more)
        if code:
            self.codes[notice_id] = code
        return notice_id

    def take_due(self, way: str, now: float, *, lease: str, seconds: float, limit: int) -> list[Errand]:
        with self.lock:
            self.takes += 1
            if self.refuse:
                raise self.refuse.pop()
            if self.stopped.get(way, 0) > now:
                return []
            due = [n for n in self.rows.values() if n.way == way and n.state == "due" and n.due <= now]
            due += [n for n in self.rows.values() if n.way == way and self.questions.get(n.id, now + 1) <= now]
            taken = [n for n in due if self.leases.get(n.id, ("", 0.0))[1] <= now]
            errands = []
            for row in itertools.islice(taken, limit):
                is_question = row.state != "due"
                more = {"asked": row.asked + 1} if is_question else {"attempts": row.attempts + 1}
                notice = replace(row, **more)
                self.rows[notice.id] = notice
                self.leases[notice.id] = (lease, now + seconds)
                facts = {"user": notice.address, "phrase": ""} | notice.facts
                code = self.codes.get(notice.id)
                errands.append(Errand(notice, notice.kind, facts, code, ids=(notice.id,), is_question=is_question))
            return errands

    def renew(self, way: str, lease: str, until: float, notice_ids: Sequence[str]) -> None:
        self.renewed += notice_ids

    def record(self, way: str, lease: str, outcomes: Sequence[Outcome], now: float) -> None:
        with self.lock:
            if self.refuse:
                raise self.refuse.pop()
            self.records += 1
            for outcome in outcomes:
                assert self.leases.pop(outcome.notice_id)[0] == lease
                notice = self.rows[outcome.notice_id]
                change: dict[str, Any] = {"state": outcome.became, "reason": outcome.reason}
                if outcome.became in ("later", "back", "stop"):
                    change |= {"state": notice.state}
                if outcome.became == "later":
                    change |= {"due": now + 600}
                if outcome.became in ("back", "stop"):
                    change |= {"attempts": notice.attempts - 1}
                if outcome.became == "carried" and outcome.reference:
                    change |= {"reference": outcome.reference}
                if outcome.became == "stop":
                    self.stopped[way] = now + 300
                self.questions.pop(notice.id, None)
                if outcome.ask is not None:
                    self.questions[notice.id] = now + outcome.ask
                self.rows[notice.id] = replace(notice, **change)

    def resume(self, way: str, now: float) -> None:
        self.stopped.pop(way, None)

    def next_due(self, way: str) -> float | None:
        rows = [n for n in self.rows.values() if n.way == way]
        times = [max(n.due, self.leases.get(n.id, ("", 0.0))[1]) for n in rows if n.state == "due"]
        times += [self.questions[n.id] for n in rows if n.id in self.questions]
        return min(times, default=None)

    def waiting_ways(self) -> dict[str, int]:
        waiting = [n.way for n in self.rows.values() if n.state == "due"]
        return {way: waiting.count(way) for way in waiting}


@dataclass
class House:
    """A courier with its surroundings; `walk` runs it while something is done and looked at."""

    folder: Path
    notices: InMemory
    now: float = 1_795_000_000.0
    within: float = PATIENCE
    templates: Templates = field(
        default_factory=lambda: Templates([], Institution("SSB", "help@ssb.example", "+47 21 09 00 00", "fx.example"))
    )
    crews: dict[str, Crew] = field(default_factory=dict)
    return_path: Callable[[str], str] = lambda _: ""

    def hook(
        self, way: str, body: str = "answer('carried', reference='R1')", *, at_once: int = 1, rate: float = 0.0
    ) -> None:
        """`body` is what this way's hook does with each message."""
        program = self.folder / f"{way}-test"
        lines = textwrap.dedent(HOOK).lstrip().rstrip().removesuffix("{}").rstrip(" ")
        program.write_text(lines + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n")
        program.chmod(0o755)
        self.crews[way] = self.crew(way, at_once, rate)

    def crew(self, way: str, at_once: int = 1, rate: float = 0.0) -> Crew:
        kept = {"kept": str(self.folder / way)}
        return Crew([Carrier(self.folder / f"{way}-test", kept) for _ in range(at_once)], rate)

    def kept(self, way: str) -> list[dict[str, Any]]:
        path = self.folder / way
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def bell(self) -> Bell:
        return Bell(self.folder / "run" / "courier.bell")

    def courier(self) -> Courier:
        return Courier(
            self.notices, self.crews, self.templates, self.bell,
            sender="exchange@ssb.example", return_path=self.return_path, clock=lambda: self.now, within=self.within,
        )  # fmt: skip

    def walk(self, steps: Callable[[Courier], Awaitable[object]]) -> None:
        async def run() -> None:
            courier = self.courier()
            running = asyncio.create_task(courier.run())
            try:
                await steps(courier)
            finally:
                courier.stop()
                await asyncio.wait_for(running, PATIENCE)

        asyncio.run(run())

    def carry(self, *ids: str) -> list[Notice]:
        """What has become of these notices once none of them is untouched."""

        async def steps(_: Courier) -> None:
            await until(lambda: all(self.is_done(notice_id) for notice_id in ids))

        self.walk(steps)
        return [self.notices.rows[notice_id] for notice_id in ids]

    def is_done(self, notice_id: str) -> bool:
        notice = self.notices.rows[notice_id]
        return notice.state != "due" or notice.due > self.now


async def until(claim: Callable[[], object]) -> None:
    """Returns when `claim` is true; fails when it does not come true in time."""

    def watch() -> None:
        end = time.monotonic() + PATIENCE
        while not claim():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.005)

    await asyncio.to_thread(watch)


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path, InMemory(lambda: made.now))
    return made


# ---- what is carried -----------------------------------------------------------------------------


def test_a_mail_and_an_sms_go_out_each_by_its_way_and_what_became_of_them_is_recorded(house):
    house.hook("mail")
    house.hook("sms")
    mail, sms = house.notices.add("recalled", "mail", language="nb"), house.notices.add("code", "sms", CODE)
    done = house.carry(mail, sms)
    assert [(notice.state, notice.reference) for notice in done] == [("carried", "R1")] * 2
    (letter,), (text,) = house.kept("mail"), house.kept("sms")
    assert (letter["id"], letter["way"], letter["to"], letter["attempt"]) == (mail, "mail", "ann@firm.example", 1)
    assert letter["from"] == "exchange@ssb.example"
    assert letter["subject"] == "Forsendelse 7k3f-q2mp er trukket tilbake"
    assert letter["headers"] == {"Content-Language": "nb"}
    assert letter["html"].startswith("<!DOCTYPE html>")
    assert letter["message_id"] == f"<{mail}@ssb.example>"
    assert letter["list_id"] == "<notices.ssb.example>"
    assert "return_path" not in letter
    assert CODE not in json.dumps(letter)
    assert set(text) - {"pid"} == {"id", "way", "to", "text", "attempt"}
    assert text["to"] == PHONE
    assert CODE in text["text"]


def test_a_code_never_comes_into_a_mail_whatever_its_template_says(house):
    """Should an exchange ever give a code to a mail, then there is no such fact for its template."""
    (house.folder / "mail").mkdir()
    (house.folder / "mail" / "recalled.txt").write_text("Subject: x\n\n{{ code }}\n")
    house.templates = Templates([house.folder], Institution("SSB", "", "", "fx.example"))
    house.hook("mail")
    (done,) = house.carry(house.notices.add("recalled", "mail", CODE))
    assert "'code' is undefined" in done.reason
    assert CODE not in done.reason


@pytest.mark.parametrize(("verdict", "state"), [("later", "due"), ("failed", "failed")])
def test_a_verdict_that_is_not_carried_is_recorded_with_its_reason(verdict, state, house):
    house.hook("mail", f"answer({verdict!r}, reason='because')")
    (done,) = house.carry(house.notices.add("recalled", "mail"))
    assert (done.state, done.reason, done.attempts) == (state, "because", 1)


def test_one_hook_process_carries_all_that_is_due(house):
    house.hook("mail")
    house.carry(*[house.notices.add("recalled", "mail") for _ in range(5)])
    assert len({kept["pid"] for kept in house.kept("mail")}) == 1
    assert [kept["id"] for kept in house.kept("mail")] == [f"n-{number}" for number in range(5)]


def test_what_was_put_off_is_tried_again_when_it_is_due_with_the_same_id(house):
    house.hook("mail", "answer('later' if message['attempt'] == 1 else 'carried', reason='busy')")
    notice = house.notices.add("recalled", "mail")

    async def steps(_: Courier) -> None:
        await until(lambda: house.is_done(notice))
        house.now += 601
        house.bell.ring()
        await until(lambda: house.notices.rows[notice].state == "carried")

    house.walk(steps)
    assert [(kept["id"], kept["attempt"]) for kept in house.kept("mail")] == [(notice, 1), (notice, 2)]


def test_a_due_time_that_comes_while_nobody_rings_is_kept(house):
    house.hook("mail")
    notice = house.notices.add("recalled", "mail", due=house.now + 0.05)

    async def steps(_: Courier) -> None:
        await until(lambda: house.notices.takes)
        house.now += 1
        await until(lambda: house.notices.rows[notice].state == "carried")

    house.walk(steps)


def test_two_couriers_carry_each_notice_once(house):
    house.hook("mail")
    notices = [house.notices.add("recalled", "mail") for _ in range(20)]

    async def run() -> None:
        couriers = []
        for _ in range(2):
            house.crews = {"mail": house.crew("mail")}
            couriers.append(house.courier())
        running = [asyncio.create_task(courier.run()) for courier in couriers]
        await until(lambda: all(house.notices.rows[notice].state == "carried" for notice in notices))
        for courier in couriers:
            courier.stop()
        await asyncio.gather(*running)

    asyncio.run(run())
    assert sorted(kept["id"] for kept in house.kept("mail")) == sorted(notices)


def test_as_many_are_with_hooks_at_a_time_as_the_way_allows_and_hooks_start_only_for_work(house):
    """Each hook waits until a second one is at work too."""
    both = "beside = settings['kept'] + '.' + str(os.getpid())\nopen(beside, 'w')\n"
    both += "while len(__import__('glob').glob(settings['kept'] + '.*')) < 2: time.sleep(0.01)\nanswer('carried')"
    house.hook("mail", both, at_once=2)
    house.carry(*[house.notices.add("recalled", "mail") for _ in range(12)])
    assert len({kept["pid"] for kept in house.kept("mail")}) == 2
    house.hook("sms", at_once=4)
    house.carry(house.notices.add("code", "sms", CODE))
    assert len({kept["pid"] for kept in house.kept("sms")}) == 1


def test_what_comes_back_together_is_recorded_together(house, monkeypatch):
    """Hooks go on while something is recorded, and what they have done until then is next, all of it."""
    house.hook("mail", at_once=2)
    record = house.notices.record

    def record_slowly(*args):
        if not house.notices.records:
            wait_until(lambda: len(house.kept("mail")) >= 6)  # so four have come back
        record(*args)

    monkeypatch.setattr(house.notices, "record", record_slowly)
    house.carry(*[house.notices.add("recalled", "mail") for _ in range(40)])
    assert house.notices.records <= 38
    assert house.notices.takes < 20


def test_a_way_with_a_rate_goes_no_faster(house):
    house.hook("mail", at_once=4, rate=20)
    began = time.monotonic()
    house.carry(*[house.notices.add("recalled", "mail") for _ in range(9)])
    assert time.monotonic() - began >= 8 / 20


def test_the_lease_of_what_takes_long_is_renewed(house, monkeypatch):
    monkeypatch.setattr(courier_module, "RENEW", 0.02)
    go = house.folder / "go"
    house.hook("mail", f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\nanswer('carried')")
    notice = house.notices.add("recalled", "mail")

    async def steps(_: Courier) -> None:
        await until(lambda: house.notices.renewed[:2] == [notice] * 2)
        go.touch()
        await until(lambda: house.notices.rows[notice].state == "carried")

    house.walk(steps)


def test_what_a_hook_can_be_asked_is_asked_when_it_said_and_only_by_its_reference(house):
    house.hook("sms", "answer('delivered') if 'ask' in message else answer('carried', reference='SM1', ask=20)")
    notice = house.notices.add("code", "sms", CODE)

    async def steps(_: Courier) -> None:
        await until(lambda: house.notices.rows[notice].state == "carried")
        house.now += 20
        house.bell.ring()
        await until(lambda: house.notices.rows[notice].state == "delivered")

    house.walk(steps)
    question = house.kept("sms")[1]
    assert {name: question[name] for name in question if name != "pid"} == {
        "id": notice, "way": "sms", "ask": "SM1", "attempt": 1,
    }  # fmt: skip


def test_an_event_for_a_program_has_facts_and_no_words(house):
    house.hook("webhook")
    event = house.notices.add("shipment.collected", "webhook", address="", language="", facts={"shipment": "7k3f-q2mp"})
    house.carry(event)
    (kept,) = house.kept("webhook")
    assert {name: kept[name] for name in kept if name != "pid"} == {
        "id": event, "way": "webhook", "type": "shipment.collected", "timestamp": "2026-11-18T11:06:40.000Z",
        "data": {"shipment": "7k3f-q2mp"}, "attempt": 1,
    }  # fmt: skip


def test_a_mail_comes_back_to_an_address_of_its_own(house):
    house.hook("mail")
    house.return_path = lambda notice_id: f"bounces+{notice_id}@ssb.example"
    notice = house.notices.add("recalled", "mail")
    house.carry(notice)
    assert house.kept("mail")[0]["return_path"] == f"bounces+{notice}@ssb.example"


# ---- the bell and the waiting --------------------------------------------------------------------


def test_the_bell_wakes_the_courier_at_once_and_in_between_it_leaves_the_disk_alone(house, monkeypatch):
    monkeypatch.setattr(courier_module, "POLL", 1000.0)
    house.hook("mail")

    async def steps(_: Courier) -> None:
        await until(lambda: house.notices.takes == 1)
        first = house.notices.add("recalled", "mail")
        house.bell.ring()
        await until(lambda: house.notices.rows[first].state == "carried")
        await until(lambda: house.notices.takes >= 2)

    house.walk(steps)
    assert house.notices.takes <= 3  # one that found it, and one that found nothing more


def test_a_way_without_a_hook_waits_says_so_once_and_keeps_nobody_busy(house, caplog):
    house.hook("mail")
    sms = [house.notices.add("code", "sms", CODE) for _ in range(2)]

    async def steps(_: Courier) -> None:
        for _ in range(3):
            mail = house.notices.add("recalled", "mail")
            house.bell.ring()
            await until(lambda mail=mail: house.notices.rows[mail].state == "carried")

    with caplog.at_level(logging.INFO, "fxsftp"):
        house.walk(steps)
    assert [house.notices.rows[notice].state for notice in sms] == ["due", "due"]
    said = [record.getMessage() for record in caplog.records if "wait" in record.getMessage()]
    assert said == ["2 sms notices wait: no hook is set for them ([notify] sms)"]
    assert house.notices.takes < 12


def test_a_hook_that_has_nothing_to_do_is_let_go_and_comes_back(house, monkeypatch):
    monkeypatch.setattr(courier_module, "IDLE", 0.0)
    monkeypatch.setattr(courier_module, "POLL", 0.05)
    house.hook("mail")

    async def steps(_: Courier) -> None:
        for number in range(2):
            notice = house.notices.add("recalled", "mail")
            house.bell.ring()
            await until(lambda notice=notice: house.notices.rows[notice].state == "carried")
            await until(lambda number=number: not is_running(house.kept("mail")[number]["pid"]))

    house.walk(steps)
    assert len({kept["pid"] for kept in house.kept("mail")}) == 2


# ---- trouble -------------------------------------------------------------------------------------


def test_a_mail_server_that_hangs_holds_up_no_sms(house):
    house.hook("mail", "time.sleep(1000)")
    house.hook("sms")
    mail, sms = house.notices.add("recalled", "mail"), house.notices.add("code", "sms", CODE)
    house.within = 3.0

    async def steps(_: Courier) -> None:
        await until(lambda: house.notices.rows[sms].state == "carried")
        assert not house.is_done(mail)

    house.walk(steps)
    assert house.notices.rows[mail].reason == "the hook mail-test gave no answer within 3 seconds"


def test_one_message_that_kills_its_hook_harms_no_other(house):
    house.hook("mail", "answer('carried') if message['id'] != 'n-1' else sys.exit(1)")
    done = house.carry(*[house.notices.add("recalled", "mail") for _ in range(3)])
    assert [notice.state for notice in done] == ["carried", "due", "carried"]
    assert done[1].reason == "the hook mail-test ended without an answer (exit status 1)"


def test_a_hook_that_always_breaks_gets_a_pause_and_not_every_notice_there_is(house, caplog):
    house.hook("mail", "sys.exit(1)")
    notices = [house.notices.add("recalled", "mail") for _ in range(10)]

    async def steps(_: Courier) -> None:
        await until(lambda: "mail waits 30 seconds" in caplog.text)

    with caplog.at_level(logging.INFO, "fxsftp"):
        house.walk(steps)
    assert [house.notices.rows[notice].attempts for notice in notices] == [1, 1] + [0] * 8


def test_a_registry_that_is_busy_is_asked_again_so_that_nothing_is_carried_twice(house, monkeypatch):
    house.hook("mail", "open(settings['kept'] + '.now', 'w'); answer('carried')")
    notice = house.notices.add("recalled", "mail")
    taken = house.notices.take_due

    def take_due(*args: Any, **more: Any) -> list[Errand]:
        errands = taken(*args, **more)
        if errands:
            house.notices.refuse = [Unavailable("busy")]
        return errands

    monkeypatch.setattr(house.notices, "take_due", take_due)
    (done,) = house.carry(notice)
    assert (done.state, len(house.kept("mail"))) == ("carried", 1)


def test_a_registry_that_can_not_be_asked_is_asked_again_at_the_next_ring(house, caplog):
    house.hook("mail")
    house.notices.refuse = [Conflict("a newer version wrote it")]
    notice = house.notices.add("recalled", "mail", due=house.now + 1000)

    async def steps(_: Courier) -> None:
        await until(lambda: "no notice can be taken" in caplog.text)
        house.now += 1001
        house.bell.ring()
        await until(lambda: house.notices.rows[notice].state == "carried")

    house.walk(steps)


def test_a_notice_without_a_usable_template_waits_for_the_operator(house, caplog):
    house.hook("mail")
    odd, good = house.notices.add("odd", "mail"), house.notices.add("recalled", "mail")
    done = house.carry(odd, good)
    assert [notice.state for notice in done] == ["due", "carried"]
    assert "mail/odd.txt" in done[0].reason


def test_stopping_finishes_what_is_in_hand_takes_nothing_new_and_leaves_no_process(house):
    go = house.folder / "go"
    house.hook("mail", f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\nanswer('carried')")
    first, second = house.notices.add("recalled", "mail"), house.notices.add("recalled", "mail")

    async def steps(courier: Courier) -> None:
        await until(lambda: house.kept("mail"))
        courier.stop()
        go.touch()

    house.walk(steps)
    assert [house.notices.rows[notice].state for notice in (first, second)] == ["carried", "due"]
    assert not is_running(house.kept("mail")[0]["pid"])
    assert not house.bell.path.exists()


def test_a_way_that_is_stopped_hands_out_no_more_and_says_why_once(house, caplog):
    house.hook("mail", "answer('stop', reason='535 wrong password')")
    house.hook("sms")
    mails = [house.notices.add("recalled", "mail") for _ in range(8)]
    sms = house.notices.add("code", "sms", CODE)

    async def steps(_: Courier) -> None:
        await until(lambda: house.notices.stopped and not house.notices.leases)
        await until(lambda: house.notices.rows[sms].state == "carried")

    with caplog.at_level(logging.INFO, "fxsftp"):
        house.walk(steps)
    assert len(house.kept("mail")) == 1
    assert [(house.notices.rows[mail].state, house.notices.rows[mail].attempts) for mail in mails] == [("due", 0)] * 8
    assert [said for said in caplog.messages if "stop" in said] == ["mail stops until it is mended: 535 wrong password"]


# ---- what is logged ------------------------------------------------------------------------------


def test_the_log_says_what_became_of_each_and_never_a_code_a_text_or_a_number(house, caplog):
    """Not even where a hook quotes all of it, in its reason, its reference and on stderr."""
    house.hook("mail")
    house.hook("sms", "print(message, file=sys.stderr); answer('failed', reason=message['text'] + message['to'])")
    mail, sms = house.notices.add("recalled", "mail"), house.notices.add("code", "sms", CODE)
    with caplog.at_level(logging.DEBUG, "fxsftp"):
        done = house.carry(mail, sms)
    assert "shipment 7k3f-q2mp: mail 'recalled' to ann@… carried" in caplog.messages
    assert any(said.startswith("shipment 7k3f-q2mp: sms 'code' to …12 failed: ") for said in caplog.messages)
    for secret in (CODE, PHONE, PHONE[3:]):
        assert secret not in caplog.text
        assert secret not in done[1].reason + done[1].reference


def test_an_address_is_half_shown():
    assert shown("ann@firm.example") == "ann@…"
    assert shown(PHONE) == "…12"


# ---- hiring --------------------------------------------------------------------------------------


def test_a_hook_is_hired_for_each_way_that_has_a_name(house):
    house.hook("mail")

    async def run() -> dict[str, Crew]:
        return hire({"mail": "test", "sms": ""}, [house.folder], lambda program: {"for": program}, at_once=3, rate=5)

    crews = asyncio.run(run())
    assert set(crews) == {"mail"}
    assert [carrier.program for carrier in crews["mail"].carriers] == [house.folder / "mail-test"] * 3
    assert crews["mail"].rate == 5
    with pytest.raises(HookUnusable, match="mail-nothing"):
        hire({"mail": "nothing"}, [house.folder], lambda _: {})


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
