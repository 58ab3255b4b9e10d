"""Scanners: real hooks look at the real plaintext of a real exchange, which believes them no more than they deserve."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Shipment
from fxsftp.errors import HookUnusable
from fxsftp.fronts.desk import Desk
from fxsftp.scanners import PIECE, Finding, Opinion, Scanner, Scanners, hiring
from tests.exchange.hands import Hand, notices, with_policy
from tests.house import KARI, House

ANSWER = 30  # seconds; a busy machine starts Python slowly
TO_KARI = f"/outbox/{KARI}"
VERDICTS = "clean, warn, hold, infected or later"

# What each of these hooks does with the file that it is shown: `pieces` gives it, `answer("clean")` answers.
FRAME = """
    #!/usr/bin/env python3
    import hashlib, json, os, sys, time
    settings = json.loads(sys.stdin.buffer.readline())["settings"]
    def say(text): print(text, flush=True)
    def answer(verdict, reason=""): say(json.dumps({"id": file["id"], "verdict": verdict, "reason": reason}))
    def pieces():
        while size := int.from_bytes(sys.stdin.buffer.read(4), "big"):
            yield sys.stdin.buffer.read(size)
    for line in sys.stdin.buffer:
        file, shown = json.loads(line), pieces()
"""
ALL = 'content = b"".join(shown)\n'


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a hook `scan-NAME`."""

    def write(body: str, name: str = "test", *, frame: str = FRAME) -> Path:
        path = tmp_path / f"scan-{name}"
        text = textwrap.dedent(frame).lstrip()
        path.write_text(text + textwrap.indent(textwrap.dedent(body), "    " if frame is FRAME else "") + "\n")
        path.chmod(0o755)
        return path

    return write


# ---- one scanner ---------------------------------------------------------------------------------


def show(program: Path, *files: bytes, within: float = ANSWER) -> tuple[list[Opinion], list[int]]:
    """What one scanner says of each file, and how many bytes of each it was given."""
    given: list[int] = []

    async def walk() -> list[Opinion]:
        scanner, opinions = Scanner(program, {}), []
        for number, content in enumerate(files):
            given.append(0)

            async def read(offset: int, count: int, of: bytes = content) -> bytes:
                given[-1] += count
                return of[offset : offset + count]

            opinions.append(await scanner.scan({"id": f"f-{number}"}, len(content), read, within))
        await scanner.close()
        return opinions

    return asyncio.run(walk()), given


def test_every_byte_of_every_file_is_shown_to_one_process(write) -> None:
    program = write(ALL + 'answer("hold", f"{os.getpid()} {hashlib.sha256(content).hexdigest()}")')
    files = [os.urandom(size) for size in (0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 5_000_000, 7)]
    opinions, given = show(program, *files)
    assert [each.reason.split()[1] for each in opinions] == [hashlib.sha256(each).hexdigest() for each in files]
    assert len({each.reason.split()[0] for each in opinions}) == 1
    assert given == [len(each) for each in files]


def test_who_knows_enough_may_answer_before_the_end_and_is_shown_no_more(write) -> None:
    program = write("""
        head = next(shown, b"")
        answer("hold", head[:4].decode())
        for rest in shown: pass
    """)
    opinions, given = show(program, b"one " + bytes(20_000_000), b"two " + bytes(20_000_000), b"none")
    assert [each.reason for each in opinions] == ["one", "two", "none"]
    assert max(given) < 2_000_000


def test_what_it_is_shown_comes_through_pipes_and_nothing_else(write) -> None:
    program = write(
        ALL + 'answer("hold", " ".join(sorted({os.readlink(f"/proc/self/fd/{fd}").split(":")[0] for fd in range(3)})))'
    )
    (opinion,), _ = show(program, b"secret")
    assert opinion.reason in ("pipe", "socket")  # uvloop's are socket pairs


@pytest.mark.parametrize("finding", list(Finding))
def test_each_verdict_is_understood(finding: Finding, write) -> None:
    (opinion,), _ = show(write(ALL + f'answer("{finding}", "why")'), b"1")
    assert opinion == Opinion(finding, "why")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(3)", "the hook scan-test ended without seeing the whole file (exit status 3)"),
        (ALL + "sys.exit(3)", "the hook scan-test ended without an answer (exit status 3)"),
        (ALL + 'print("fine", flush=True)', "the hook scan-test answered with something that is not JSON"),
        (ALL + 'print("{}", flush=True)', "the hook scan-test answered for another message than the one it was given"),
        (ALL + 'answer("carried")', f"the hook scan-test answered without a verdict of {VERDICTS}"),
        (ALL + 'answer("clean", 70_000 * "x")', "the hook scan-test answered with a line of over 64 KiB"),
    ],
)  # fmt: skip
def test_one_that_breaks_has_said_nothing_good(body: str, reason: str, write) -> None:
    (opinion, _), _ = show(write(body), bytes(5_000_000), b"1")
    assert opinion.finding is Finding.LATER
    assert opinion.broke
    assert opinion.reason in (reason, reason.replace("seeing the whole file", "an answer"))


@pytest.mark.parametrize("body", ["time.sleep(60)", ALL + "time.sleep(60)"])
def test_one_that_hangs_is_ended_and_the_next_file_is_shown_to_another(body: str, write, tmp_path: Path) -> None:
    body = f'if not os.path.exists("{tmp_path}/hung"):\n    open("{tmp_path}/hung", "x").close()\n    ' + (
        body.replace("\n", "\n    ") + "\n" + ALL + 'answer("clean")'
    )
    began = time.monotonic()
    opinions, _ = show(write(body), bytes(5_000_000), b"1", within=2)
    assert [each.finding for each in opinions] == [Finding.LATER, Finding.CLEAN]
    assert opinions[0].reason == "the hook scan-test neither took anything nor answered within 2 seconds"
    assert time.monotonic() - began < 30


def test_a_slow_one_is_given_its_time_as_long_as_it_goes_on(write) -> None:
    """A file may take hours; what counts is that there is progress."""
    (opinion,), _ = show(write("for piece in shown: time.sleep(0.4)\nanswer('clean')"), bytes(8 * PIECE), within=2)
    assert opinion.finding is Finding.CLEAN


def test_what_can_not_be_read_is_raised_and_half_a_file_counts_for_nothing(write) -> None:
    async def walk() -> Opinion:
        scanner = Scanner(write(ALL + 'answer("clean")'), {})

        async def fails(offset: int, count: int) -> bytes:
            if offset:
                raise OSError("the disk")
            return bytes(count)

        async def reads(offset: int, count: int) -> bytes:
            return bytes(count)

        with pytest.raises(OSError, match="the disk"):
            await scanner.scan({"id": "1"}, 2 * PIECE, fails, ANSWER)
        opinion = await scanner.scan({"id": "2"}, 2 * PIECE, reads, ANSWER)
        await scanner.close()
        return opinion

    assert asyncio.run(walk()).finding is Finding.CLEAN


def test_what_others_could_have_changed_is_not_run(write, tmp_path: Path) -> None:
    write(ALL + 'answer("clean")').chmod(0o757)
    with pytest.raises(HookUnusable, match="everyone may write"):
        hiring([tmp_path], lambda _: {})("test")


# ---- scanners at work in an exchange -------------------------------------------------------------


class Looking:
    """A house whose scanners run in a loop; `until` waits for a claim to come true."""

    def __init__(self, house: House, folder: Path, **terms: Any) -> None:
        self.house = house
        self.desk = Desk(house.exchange, house.clock)
        names = house.exchange.policy.scan
        terms = {"at_once": 2, "within": ANSWER, "patience": 0, "retry": 0.1} | terms
        self.scanners = Scanners(self.desk, names, hiring([folder], lambda _: {"folder": str(folder)}), **terms)

    def walk(self, then: Callable[[], Awaitable[None]]) -> None:
        async def walk() -> None:
            looking = asyncio.create_task(self.scanners.run(every=0.02))
            try:
                await then()
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
                await self.desk.close()

        asyncio.run(walk())

    async def until(self, claim: Callable[[], object]) -> None:
        end = time.monotonic() + ANSWER
        while not await asyncio.to_thread(claim):
            assert time.monotonic() < end, claim
            await asyncio.sleep(0.02)

    def step(self) -> list[str]:
        return self.house.exchange.dispatch.step(self.house.clock())


@pytest.fixture
def kari(house: House) -> Hand:
    return Hand(house, house.kari(), "kari-1")


@pytest.fixture
def ann(house: House, kari: Hand) -> Hand:
    ann = house.ann()
    with_policy(house, scan=("test",))
    kari.exchange = house.exchange
    return Hand(house, ann, "ann-1")


def drop(hand: Hand, subject: str = "Ref") -> Shipment:
    return next(each for each in hand.drops() if each.subject == subject)


# Says of a file what its content says: `hold: because …`
FAITHFUL = ALL + 'verdict, _, reason = content.decode().partition(":")\nanswer(verdict, reason.strip())'


def test_what_the_hooks_say_decides_what_becomes_of_each(house: House, ann: Hand, write, tmp_path: Path) -> None:
    write(FAITHFUL)
    says = {
        "clean": "clean",
        "warn": "warn: is encrypted already (ZIP)",
        "hold": "hold: is encrypted already (7z)",
        "infected": "infected: Win.Test.EICAR_HDB-1",
        "later": "later: clamd does not answer",
        "rubbish": "marvellous",
    }
    for subject, content in says.items():
        ann.put(f"{TO_KARI}/{subject}/a.doc", content.encode())
    house.settle()
    looking = Looking(house, tmp_path)

    def is_done() -> bool:
        looking.step()
        return all(each.state is not ShipmentState.SETTLING for each in ann.drops())

    looking.walk(lambda: looking.until(is_done))
    found = {each.subject: (each.state.value, each.cause, each.reason) for each in ann.drops()}
    waits = "It leaves by itself once that is mended"
    assert found == {
        "clean": ("waiting", "", ""),
        "warn": ("waiting", "", ""),
        "hold": ("held", "scan", "a.doc: is encrypted already (7z)"),
        "infected": (
            "held",
            "scan",
            "a.doc: test found Win.Test.EICAR_HDB-1. Remove the file, or put a clean one in its place",
        ),
        "later": ("held", "scanner", f"the scanner test can't look at it now (clamd does not answer). {waits}"),
        "rubbish": (
            "held",
            "scanner",
            "the scanner test can't look at it now "
            f"(the hook scan-test answered without a verdict of {VERDICTS}). {waits}",
        ),
    }
    assert {mail["reason"] for mail in notices(house, "held")} == {reason for _, _, reason in found.values() if reason}
    receipt = house.exchange.sent.find(ann.user, drop(ann, "warn").id, house.clock())
    assert [each.detail for each in receipt.history if each.event == "warned"] == ["a.doc: is encrypted already (ZIP)"]


def test_each_file_is_seen_by_each_hook_with_its_name_and_its_senders_kind(
    house: House, kari: Hand, ann: Hand, write, tmp_path: Path
) -> None:
    with_policy(house, scan=("test", "other"))
    ann.exchange = kari.exchange = house.exchange
    note = f'with open("{tmp_path}/seen", "a") as seen: print(sys.argv[0][-5:], json.dumps(file), file=seen)\n'
    for name in ("test", "other"):
        write(ALL + note + 'answer("clean")', name)
    ann.put(f"{TO_KARI}/Ref/a.csv", b"12345")
    ann.put(f"{TO_KARI}/Ref/sub/b.csv", b"")
    house.settle()
    looking = Looking(house, tmp_path)
    looking.walk(lambda: looking.until(looking.step))
    seen = [line.split(" ", 1) for line in (tmp_path / "seen").read_text().splitlines()]
    assert [who for who, _ in seen] == ["-test", "other"] * 2
    told = [json.loads(what) for _, what in seen]
    assert [(each["name"], each["size"], each["sender"], each["way"]) for each in told[::2]] == [
        ("a.csv", 5, "partner", "scan"), ("sub/b.csv", 0, "partner", "scan"),
    ]  # fmt: skip
    assert len({each["id"] for each in told}) == 2


def test_a_missing_hook_lets_nothing_leave_until_it_is_there(house: House, ann: Hand, write, tmp_path: Path) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    house.settle()
    looking = Looking(house, tmp_path)

    async def then() -> None:
        await looking.until(lambda: drop(ann).cause == "scanner")
        assert "there is no such program" in drop(ann).reason
        write(ALL + 'answer("clean")')
        await looking.until(looking.step)

    looking.walk(then)
    assert drop(ann).state is ShipmentState.WAITING
    assert len(notices(house, "held")) == 1


def test_a_scanner_that_is_away_for_a_moment_makes_no_mail(house: House, ann: Hand, write, tmp_path: Path) -> None:
    write(f'{ALL}answer("clean" if os.path.exists("{tmp_path}/back") else "later")')
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    house.settle()
    looking = Looking(house, tmp_path, patience=60)

    async def then() -> None:
        await looking.until(lambda: looking.scanners._put_off)
        assert drop(ann).state is ShipmentState.SETTLING
        (tmp_path / "back").touch()
        await looking.until(looking.step)

    looking.walk(then)
    assert notices(house, "held") == []


def test_one_drop_that_takes_long_holds_up_no_other(house: House, ann: Hand, write, tmp_path: Path) -> None:
    write(f'{ALL}while content == b"slow" and not os.path.exists("{tmp_path}/go"): time.sleep(0.02)\nanswer("clean")')
    ann.put(f"{TO_KARI}/Slow/a.csv", b"slow")
    house.settle()
    looking = Looking(house, tmp_path)

    async def then() -> None:
        await looking.until(lambda: looking.scanners._under_way)
        for number in range(3):
            ann.put(f"{TO_KARI}/Quick {number}/a.csv", b"quick")
        house.clock.turn(400)
        left: list[str] = []

        def leaves() -> bool:
            left.extend(looking.step())
            return len(left) == 3

        await looking.until(leaves)
        assert drop(ann, "Slow").state is ShipmentState.SETTLING
        (tmp_path / "go").touch()
        await looking.until(looking.step)

    looking.walk(then)


def test_a_file_over_which_the_scanner_breaks_holds_up_no_other(house: House, ann: Hand, write, tmp_path: Path) -> None:
    """Loose files for one recipient, which would have left together."""
    write(ALL + 'if content == b"bomb": sys.exit(1)\nanswer("clean")')
    ann.put(f"{TO_KARI}/bomb.zip", b"bomb")
    house.settle()
    looking = Looking(house, tmp_path, patience=3600, retry=3600)

    async def then() -> None:
        await looking.until(lambda: looking.scanners._put_off)
        ann.put(f"{TO_KARI}/other.csv", b"1")
        house.clock.turn(400)
        await looking.until(looking.step)

    looking.walk(then)
    assert sorted(each.state.value for each in ann.drops()) == ["settling", "waiting"]


def test_what_is_changed_while_it_is_looked_at_is_looked_at_again(
    house: House, ann: Hand, write, tmp_path: Path
) -> None:
    write(
        f'{ALL}open("{tmp_path}/seen", "ab").write(content)\n'
        f'while content == b"first" and not os.path.exists("{tmp_path}/go"): time.sleep(0.02)\nanswer("clean")'
    )
    ann.put(f"{TO_KARI}/Ref/a.csv", b"first")
    house.settle()
    looking = Looking(house, tmp_path)

    async def then() -> None:
        await looking.until(lambda: looking.scanners._under_way)
        ann.put(f"{TO_KARI}/Ref/a.csv", b"second")
        (tmp_path / "go").touch()
        await looking.until(lambda: not looking.scanners._under_way)
        assert not drop(ann).is_scanned
        house.clock.turn(400)
        await looking.until(looking.step)

    looking.walk(then)
    assert (tmp_path / "seen").read_bytes() == b"firstsecond"


def test_damage_on_the_disk_is_told_as_such(house: House, ann: Hand, write, tmp_path: Path) -> None:
    write(ALL + 'answer("clean")')
    ann.put(f"{TO_KARI}/Ref/a.csv", os.urandom(300_000))
    (body,) = (path for path in house.settings.vault.rglob("*") if path.is_file() and path.stat().st_size > 300_000)
    sealed = bytearray(body.read_bytes())
    sealed[100_000] ^= 1
    body.chmod(0o600)
    body.write_bytes(sealed)
    house.settle()
    looking = Looking(house, tmp_path)
    looking.walk(lambda: looking.until(lambda: drop(ann).state is ShipmentState.HELD))
    assert drop(ann).cause == "damaged"


def test_when_it_ends_no_hook_is_left(house: House, ann: Hand, write, tmp_path: Path) -> None:
    write(f'{ALL}open("{tmp_path}/pid", "w").write(str(os.getpid()))\ntime.sleep(600)')
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    house.settle()
    looking = Looking(house, tmp_path)
    pid = tmp_path / "pid"
    looking.walk(lambda: looking.until(lambda: pid.exists() and pid.read_text()))
    assert not Path(f"/proc/{pid.read_text()}").exists()
    assert drop(ann).state is ShipmentState.SETTLING
