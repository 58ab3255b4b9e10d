"""The outbox against a model of a few lines, through any sequence of what clients and the world do to it.

The model: at each place lies a pile of rows; the newest is seen.  A row is live (being written), lost, complete or
sent.  What settles leaves as one shipment for each folder, and one for all loose files of a recipient.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from fxsftp.domain.model import Kind
from fxsftp.errors import AlreadySent, AlreadyThere, FxError, NoSuchPlace, NotYours
from fxsftp.exchange.drafts import Draft
from tests.exchange.hands import Hand, files_of, killed, sent_ids
from tests.house import KARI, House

OLA = "ola@ssb.example"
CHUNK = 65536
PLACES = [
    f"/outbox/{who}/{folder}{name}"
    for who in (KARI, OLA)
    for folder in ("", "F/")
    for name in ("a.csv", "b.csv", "b.csv.part")
]
SIZES = st.sampled_from([10, 70_001, 140_001])  # bytes; of the first nothing is flushed before its CLOSE

place = st.sampled_from(PLACES)


@dataclass(eq=False)
class Row:
    """One version of a file at one place."""

    drop: object
    state: Literal["live", "lost", "complete", "sent"]
    content: bytes
    opened: int
    closed: int = 0

    @property
    def seen(self) -> int:
        """What stat shows."""
        return len(self.content) // CHUNK * CHUNK if self.state == "lost" else len(self.content)


@dataclass(eq=False)
class Writing:
    """One OPEN."""

    draft: Draft
    row: Row


class Outbox(RuleBasedStateMachine):
    writings = Bundle("writings")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.house = House(Path(self.folder.name) / "house")
        self.readers = {
            KARI: Hand(self.house, self.house.kari()),
            OLA: Hand(self.house, self.house.add(OLA, Kind.MEMBER)),
        }
        self.ann = Hand(self.house, self.house.ann())
        self.piles: dict[str, list[Row]] = {path: [] for path in PLACES}
        self.numbers = count(1)
        self.live = 0

    def teardown(self) -> None:
        self.house.__exit__(None, None, None)
        self.folder.cleanup()

    # ---- what clients do

    @rule(path=place, size=SIZES)
    def put(self, path: str, size: int) -> None:
        content = self.new_content(size)
        row = Row(self.drop_at(path), "live", content, opened=self.tick())
        self.ann.put(path, content)
        self.completed(path, row)

    @rule(target=writings, path=place, size=SIZES)
    def begin(self, path: str, size: int) -> Writing:
        content = self.new_content(size)
        draft = self.ann.open(path)
        draft.write(0, content)
        row = Row(self.drop_at(path), "live", content, opened=self.tick())
        self.piles[path].append(row)
        self.live += 1
        return Writing(draft, row)

    @rule(writing=consumes(writings))
    def close(self, writing: Writing) -> None:
        self.live -= 1
        path = self.path_of(writing.row)
        if path is None:  # removed, or replaced by a rename
            self.refused(NotYours, lambda: self.ann.close(writing.draft))
            return
        self.ann.close(writing.draft)
        self.completed(path, writing.row)

    @rule(writing=consumes(writings))
    def lose(self, writing: Writing) -> None:
        self.live -= 1
        self.ann.exchange.writing.lose_draft(writing.draft, self.house.clock())
        path = self.path_of(writing.row)
        if path is None:
            return
        outdone = any(other.closed > writing.row.opened for other in self.piles[path])
        writing.row.state = "lost"
        if outdone or not writing.row.seen:
            self.piles[path].remove(writing.row)

    @rule(path=place, size=SIZES)
    def resume_or_append(self, path: str, size: int) -> None:
        if not self.piles[path] or self.piles[path][-1].state == "live":
            return
        row = self.piles[path][-1]
        start = row.seen
        draft = self.ann.open(path, truncate=False)
        content = self.new_content(size)
        if row.state == "sent":
            self.refused(AlreadySent, lambda: draft.write(start, content))
            self.ann.close(draft)
            return
        draft.write(start, content)
        self.ann.close(draft)
        row.content = row.content[:start] + content
        self.completed(path, row)

    @rule(path=place)
    def remove(self, path: str) -> None:
        if not self.piles[path]:
            self.refused(NoSuchPlace, lambda: self.ann.rm(path))
            return
        self.ann.rm(path)
        self.piles[path] = []

    @rule(old=place, new=place, replace=st.booleans())
    def rename(self, old: str, new: str, replace: bool) -> None:
        def act() -> None:
            self.ann.mv(old, new, replace=replace)

        if not self.piles[old]:
            self.refused(NoSuchPlace, act)
        elif old == new:
            act()
        elif self.piles[new] and not replace:
            self.refused(AlreadyThere, act)
        elif self.piles[old][-1].state == "sent":
            self.refused(AlreadySent, act)
        else:
            act()
            row = self.piles[old].pop()
            is_alone = isinstance(row.drop, int) and [r for r in self.rows() if r.drop == row.drop] == []
            if isinstance(folder := self.drop_of_folder(new), tuple):
                row.drop = folder
            elif not is_alone:
                row.drop = self.tick()
            if row.state == "complete":
                row.closed = self.tick()
            self.piles[new] = [row]

    # ---- what the world does

    @rule()
    def settle(self) -> None:
        waiting = {row.drop for path, pile in self.piles.items() for row in pile if self.waits(path, row)}
        expected: dict[object, dict[str, bytes]] = {}
        for path, pile in self.piles.items():
            for row in pile:
                if row.state == "complete" and row.drop not in waiting:
                    row.state = "sent"
                    _, _, who, *rest = path.split("/")
                    shipment = expected.setdefault(row.drop if len(rest) > 1 else who, {})
                    assert rest[-1] not in shipment
                    shipment[rest[-1]] = row.content
        shipments = [self.received(each) for each in sent_ids(self.house.settle())]
        assert sorted(map(sorted, (each.items() for each in shipments))) == sorted(
            map(sorted, (each.items() for each in expected.values()))
        )

    @precondition(lambda self: not self.live)
    @rule()
    def kill(self) -> None:
        exchange = killed(self.house)
        for hand in (self.ann, *self.readers.values()):
            hand.exchange = exchange

    # ---- what must always be true

    @invariant()
    def what_is_seen_is_the_newest(self) -> None:
        for path, pile in self.piles.items():
            if pile:
                assert self.ann.stat(path).size == pile[-1].seen, path
            else:
                self.refused(NoSuchPlace, lambda path=path: self.ann.stat(path))  # type: ignore[misc]

    # ---- the model's own

    def tick(self) -> int:
        """A number that nobody had before; no two things happen at one moment."""
        self.house.clock.turn(0.001)
        return next(self.numbers)

    def new_content(self, size: int) -> bytes:
        return b"%09d." % self.tick() * (size // 10) + b"!" * (size % 10)

    def rows(self) -> list[Row]:
        return [row for pile in self.piles.values() for row in pile if row.state != "sent"]

    def drop_of_folder(self, path: str) -> object:
        _, _, who, *rest = path.split("/")
        return (who, rest[0]) if len(rest) > 1 else None

    def drop_at(self, path: str) -> object:
        """The drop that a new row here belongs to."""
        pile = self.piles[path]
        joins = pile[-1].drop if pile and pile[-1].state != "sent" else self.tick()
        return self.drop_of_folder(path) or joins

    def path_of(self, row: Row) -> str | None:
        return next((path for path, pile in self.piles.items() if row in pile), None)

    def waits(self, path: str, row: Row) -> bool:
        return row.state in ("live", "lost") or (row.state == "complete" and path.endswith(".part"))

    def completed(self, path: str, row: Row) -> None:
        """The last genuine CLOSE wins over all but those who are still writing; the newest OPEN is seen."""
        row.state, row.closed = "complete", self.tick()
        others = [other for other in self.piles[path] if other.state == "live"]
        self.piles[path] = sorted([row, *others], key=lambda each: each.opened)

    def received(self, shipment: str) -> dict[str, bytes]:
        drop = next(drop for drop in self.ann.drops() if drop.id == shipment)
        reader = self.readers[drop.recipient]
        return {file.name: reader.get(f"/inbox/{shipment}/{file.name}") for file in files_of(self.house, shipment)}

    def refused(self, error: type[FxError], act: object) -> None:
        try:
            act()  # type: ignore[operator]
        except error:
            return
        raise AssertionError(f"{error.__name__} was not raised")


TestOutbox = Outbox.TestCase
TestOutbox.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
