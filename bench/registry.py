"""How long the registry takes when it is large: 10,000 users and 1,000,000 shipments.

    python -m bench.registry [--shipments N] [--keep FOLDER] [--only WORDS]

Through the exchange, as a session asks it: log-in, a page of an inbox and of an outbox, opening a path, dispatching and
sweeping what is due.  Each is wanted in 20 ms.  Then every statement that was slow, or that reads a large table from
end to end, with its plan.  With --keep the registry stays there and is not made anew the next time.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.people import Town, fill
from fxsftp import founding
from fxsftp.clock import boot
from fxsftp.domain.model import User, Wishes
from fxsftp.fronts.sftp.rooms import PAGE
from fxsftp.store.registry.engine import Engine
from tests.house import ANN, KARI, START, House, at

WANTED = 20.0  # ms
USERS, SHIPMENTS = 10_000, 1_000_000
LARGE = (
    "shipments",
    "files",
    "deliveries",
    "locks",
    "reads",
    "notices",
    "history",
    "folders",
    "recoveries",
    "segments",
)
RUNS = 50


# ---- watching the statements ---------------------------------------------------------------------------


@dataclass
class Statement:
    """One text of SQL: how often, how long, and how long its slowest run took and of what."""

    sql: str
    times: list[float] = field(default_factory=list)  # ms
    slowest: Any = ()
    most: float = 0.0
    plan: list[str] = field(default_factory=list)

    @property
    def scans(self) -> list[str]:
        """Large tables that it reads from end to end, also by way of an index."""
        return [step for step in self.plan if step.startswith("SCAN") and step.split()[1] in self._named()]

    def _named(self) -> set[str]:
        return {*LARGE, *(word.strip("(),") for word in self.sql.split() if word.strip("(),") in LARGE)}


class Watch:
    """Notes every statement that an engine runs."""

    def __init__(self, engine: Engine) -> None:
        self.found: dict[str, Statement] = {}
        self._engine = engine
        for verb in ("rows", "tuples", "execute", "execute_many"):
            setattr(engine, verb, self._noting(getattr(engine, verb)))

    def _noting(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def noted(sql: str, parameters: Any = ()) -> Any:
            kept = list(parameters) if verb.__name__ == "execute_many" else parameters
            began = time.perf_counter()
            try:
                return verb(sql, kept)
            finally:
                took = (time.perf_counter() - began) * 1000
                one = self.found.setdefault(sql, Statement(sql))
                if took >= one.most:
                    one.most = took
                    one.slowest = (kept[0] if kept else None) if verb.__name__ == "execute_many" else kept
                one.times.append(took)

        return noted

    def explain(self) -> None:
        """Ask for the plan of each."""
        for one in list(self.found.values()):
            if one.slowest is None or one.sql.startswith("EXPLAIN"):
                continue
            # By the writer: a reader may not even be asked how it would write.
            found = self._engine._writer.execute(f"EXPLAIN QUERY PLAN {one.sql}", one.slowest).fetchall()
            one.plan = [str(row["detail"]) for row in found]


# ---- what is asked --------------------------------------------------------------------------------------


@dataclass
class Ask:
    """One thing that a session, or the service by itself, asks the exchange; `each` prepares and answers it.

    Noted are the time that passed and the CPU time of it: on a busy machine, only the second says much.
    """

    name: str
    each: Callable[[], Callable[[], object]]
    runs: int = RUNS
    passed: list[float] = field(default_factory=list)  # ms
    used: list[float] = field(default_factory=list)  # ms

    def run(self) -> None:
        gc.collect()  # what was asked before is not its load
        for _ in range(self.runs):
            ask = self.each()
            began, before = time.perf_counter(), time.thread_time()
            ask()
            self.passed.append((time.perf_counter() - began) * 1000)
            self.used.append((time.thread_time() - before) * 1000)

    def said(self) -> str:
        """In one line.  Half of all must have passed in time, and nearly all must need no more CPU than that."""
        figures = [_percentile(times, share) for times in (self.passed, self.used) for share in (0.5, 0.99)]
        verdict = "ok" if figures[0] < WANTED and figures[3] < WANTED else "TOO SLOW"
        passed = "passed p50 {:9.2f} p99 {:9.2f} ms   CPU p50 {:9.2f} p99 {:9.2f} ms".format(*figures)
        return f"{self.name:42} {len(self.passed):4} runs   {passed}   {verdict}"


def _percentile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Asking:
    """All of them, about a house."""

    def __init__(self, house: House, town: Town, now: float) -> None:
        self.house, self.exchange, self.town, self.now = house, house.exchange, town, now
        self.chance = random.Random(11)
        self.count = 0

    def asks(self) -> list[Ask]:
        people, inbox, outbox = self.exchange.people, self.exchange.inbox, self.exchange.outbox
        sent, dispatch, upkeep = self.exchange.sent, self.exchange.dispatch, self.exchange.upkeep
        kari, ann, now = people.find(KARI), people.find(ANN), self.now
        busiest, busy_sender = self._user(0), self._user(self.town.members + self.town.groups)

        def log_in(email: str) -> None:
            user = people.may_log_in(email)
            if user:
                people.key_lines(user)

        def any_email() -> Callable[[], object]:
            email = self.town.email(self.chance.randrange(self.town.users))
            return lambda: log_in(email)

        def opening() -> Callable[[], object]:
            place = at(self._path)
            return lambda: (inbox.stat(kari, place, now), self.exchange.collecting.open(kari, place, now))

        def outbox_page(user: User) -> Callable[[], object]:
            who = self.chance.choice(self._addressed(user))
            return lambda: outbox.list(user, at(f"/outbox/{who}"), now, most=PAGE)

        def writing() -> Callable[[], object]:
            place = self._new_place(KARI)
            return lambda: self._open_draft(busy_sender, place)

        def small_file() -> Callable[[], object]:
            place = self._new_place(KARI)
            return lambda: self.house.put(ann, str(place), b"a;b\n")

        def receipts(user: User) -> Callable[[], object]:
            return lambda: sent.receipts(user, "edition", after="", most=PAGE // 2)

        def due() -> Callable[[], object]:
            self.house.put(ann, str(self._new_place(KARI)), b"a;b\n")
            self.house.clock.turn(400)
            return lambda: dispatch.step(self.house.clock())

        return [
            Ask("log-in: user and keys", any_email),
            Ask("came in", lambda: lambda: people.came_in(kari, now)),
            Ask("inbox, first page, the busiest", lambda: lambda: inbox.list(busiest, now, most=PAGE)),
            Ask("inbox, first page, anyone", lambda: self._with_user(lambda user: inbox.list(user, now, most=PAGE))),
            Ask("inbox, a page in the middle", lambda: self._later_page(busiest)),
            Ask("outbox, recipients, the busiest", lambda: lambda: outbox.list(busy_sender, at("/outbox"), now)),
            Ask("outbox, a recipient's first page", lambda: outbox_page(busy_sender)),
            Ask("sent, first page, the busiest", lambda: receipts(busy_sender)),
            Ask("stat and open a path of an inbox", opening),
            Ask("dispatch step, nothing due", lambda: lambda: dispatch.step(self.house.clock())),
            Ask("dispatch step, one due", due, runs=20),
            Ask("sweep of what is due, a step", self._sweep(upkeep), runs=2000),
            # Last, since they leave drops behind.
            Ask("open a new file for writing", writing),
            Ask("put a small file whole", small_file),
        ]

    def shipment(self) -> None:
        """One with a body, for Kari."""
        ann, kari = self.exchange.people.find(ANN), self.exchange.people.find(KARI)
        self.house.put(ann, f"/outbox/{KARI}/Ref 23-4567/report.csv", b"a;b\n" * 5000)
        self.house.settle()
        self.now = self.house.clock()
        self._path = f"/inbox/{self.house.inbox(kari)[-1]}/report.csv"

    def _user(self, number: int) -> User:
        return self.exchange.people.by_id(self.town.first + number)

    def _with_user(self, ask: Callable[[User], object]) -> Callable[[], object]:
        user = self._user(self.chance.randrange(self.town.users))
        return lambda: ask(user)

    def _later_page(self, user: User) -> Callable[[], object]:
        if self.count == 0:
            names = [entry.name for entry in self.exchange.inbox.list(user, self.now)]
            self._middle, self.count = names[len(names) // 2] if names else "", 1
        return lambda: self.exchange.inbox.list(user, self.now, after=self._middle, most=PAGE)

    def _addressed(self, user: User) -> list[str]:
        rows = self.exchange._holdings.registry.folders.recipients(user.id)
        return sorted(rows)

    def _new_place(self, who: str) -> Any:
        self.count += 1
        return at(f"/outbox/{who}/Ref {self.count}/report.csv")

    def _open_draft(self, user: User, place: Any) -> None:
        self.exchange.writing.open_draft(
            user, place, truncate=True, create=True, exclusive=False, appends=False,
            wishes=Wishes(), session="bench", now=self.house.clock(),
        )  # fmt: skip

    def _sweep(self, upkeep: Any) -> Callable[[], Callable[[], object]]:
        """Step by step, and from the beginning when all is done."""
        _, boot_id = boot()
        steps: Iterator[tuple[str, int]] = iter(())

        def step() -> None:
            nonlocal steps
            if next(steps, None) is None:
                now = self.house.clock()
                upkeep.confirm_clock(now, now, boot_id)
                steps = upkeep.steps(now, now, boot_id)

        return lambda: step


# ---- what is said ---------------------------------------------------------------------------------------


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser("bench.registry", description="The registry at size.")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--shipments", type=int, default=SHIPMENTS)
    parser.add_argument("--keep", type=Path, help="a folder for the registry, also for the next time")
    parser.add_argument("--only", action="append", default=[], metavar="WORDS", help="what is asked; repeatable")
    wish = parser.parse_args(words)
    console = Console(width=max(150, Console().width))
    with ExitStack() as stack:
        folder = wish.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        house, town = stack.enter_context(_filled(folder, wish.users, wish.shipments))
        engine = house.exchange._holdings.registry._engine
        watch, asking = Watch(engine), Asking(house, town, START)
        asking.shipment()
        for ask in asking.asks():
            if wish.only and not any(word in ask.name for word in wish.only):
                continue
            ask.run()
            console.print(ask.said())
        watch.explain()
        _tell(console, watch)
    return 0


@contextmanager
def _filled(folder: Path, users: int, shipments: int) -> Iterator[tuple[House, Town]]:
    """A house with all of it.  What is kept is never worked on, but a copy, so that each run finds the same."""
    made, noted = folder / "house", folder / "town.json"
    if not noted.exists():
        folder.mkdir(exist_ok=True)
        with House(made) as house, Progress(console=Console(stderr=True)) as progress:
            house.kari()
            house.ann()
            bar = progress.add_task("shipments", total=shipments)
            town = fill(house.exchange, users, shipments, START, lambda done: progress.update(bar, completed=done))
        noted.write_text(json.dumps({"users": town.users, "first": town.first}))
    print(f"the registry has {_size(made) / (1 << 20):.0f} MiB", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder) as copy:
        shutil.copytree(made, Path(copy) / "house")
        os.sync()  # or the first checkpoint would wait for the copy
        with Moved(Path(copy) / "house") as house:
            yield house, Town(**json.loads(noted.read_text()))


class Moved(House):
    """A house that was built before."""

    def __init__(self, folder: Path) -> None:
        with mock.patch.object(founding, "found"), mock.patch("tests.house._fill"):
            super().__init__(folder)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


_MARKS = re.compile(r"\?(, \?){3,}")


def _tell(console: Console, watch: Watch) -> None:
    table = Table(
        "statement", "runs", "most, ms", "all, ms", "plan", title="slow, or a scan of a large table", show_lines=True
    )
    found = sorted(watch.found.values(), key=lambda one: -sum(one.times))
    for one in found:
        if max(one.times) >= WANTED / 4 or one.scans:
            table.add_row(
                _MARKS.sub("?, …", one.sql),
                str(len(one.times)),
                f"{max(one.times):.1f}",
                f"{sum(one.times):.0f}",
                "\n".join(one.plan),
            )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
