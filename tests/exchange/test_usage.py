"""The room in use: what is kept of each sender is what the sender's files take up, at every moment."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from fxsftp.domain.model import Wishes
from fxsftp.domain.policy import DAY
from fxsftp.errors import FxError
from fxsftp.exchange.drafts import Draft
from fxsftp.store.migrations import bring_up
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.schema import MIGRATIONS
from tests.exchange.hands import Hand, dispatched, killed, registry_of, write
from tests.house import ANN, KARI, House

PATHS = [f"/outbox/{KARI}/{name}" for name in ("a.csv", "b.csv", ".DS_Store", "F/a.csv", "F/b.csv", "F/b.csv.part")]
SIZES = st.sampled_from([0, 10, 70_001])  # bytes; of the last a part is flushed before its CLOSE

path = st.sampled_from(PATHS)


class Room(RuleBasedStateMachine):
    """Whatever a sender, a recipient and time do; refusals are part of it."""

    writings = Bundle("writings")
    composed = Bundle("composed")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.begun: list[object] = []
        self.dead: list[object] = []  # whose process was killed: nobody has them any more
        self.house = House(Path(self.folder.name) / "house")
        self.kari, self.ann = Hand(self.house, self.house.kari()), Hand(self.house, self.house.ann())

    def teardown(self) -> None:
        self.house.__exit__(None, None, None)
        self.folder.cleanup()

    # ---- the sender

    @rule(path=path, size=SIZES)
    def put(self, path: str, size: int) -> None:
        self.tried(lambda: self.ann.put(path, b"x" * size))

    @rule(target=writings, path=path, size=SIZES, truncate=st.booleans())
    def begin(self, path: str, size: int, truncate: bool) -> object:
        found: list[object] = []

        def act() -> None:
            draft = self.ann._open(path, truncate, True, False, False, Wishes())
            found.append(draft)
            self.begun.append(draft)
            write(draft, b"x" * size)

        self.tried(act)
        return multiple(*found)

    @rule(draft=consumes(writings))
    def close(self, draft: Draft) -> None:
        if draft not in self.dead:
            self.tried(lambda: self.ann.close(draft))

    @rule(draft=consumes(writings))
    def lose(self, draft: Draft) -> None:
        if draft not in self.dead:
            self.ann.lose(draft)

    @rule(path=path, size=SIZES)
    def set_size(self, path: str, size: int) -> None:
        self.tried(lambda: self.ann.set(path, size=size))

    @rule(path=path)
    def remove(self, path: str) -> None:
        self.tried(lambda: self.ann.rm(path))

    @rule(old=path, new=path)
    def rename(self, old: str, new: str) -> None:
        self.tried(lambda: self.ann.mv(old, new, replace=True))

    @rule(pick=st.integers(0, 9))
    def recall(self, pick: int) -> None:
        if drops := self.ann.drops():
            drop = drops[pick % len(drops)]
            self.tried(lambda: self.ann.exchange.sent.recall(self.ann.user, drop.id, self.ann.now))

    @rule(target=composed)
    def compose(self) -> str:
        return self.ann.exchange.composing.begin(self.ann.user, recipients=[KARI], subject="F", now=self.ann.now).id

    @rule(drop=composed, path=st.sampled_from(["a.csv", "b.csv"]), size=SIZES)
    def add(self, drop: str, path: str, size: int) -> None:
        def act() -> None:
            draft, _ = self.ann.exchange.composing.add_file(self.ann.user, drop, path, size, None, "tab", self.ann.now)
            write(draft, b"x" * size)
            self.ann.exchange.composing.finish_file(draft, self.ann.now)

        self.tried(act)

    @rule(drop=composed)
    def submit(self, drop: str) -> None:
        self.tried(lambda: self.ann.exchange.composing.submit(self.ann.user, drop, self.ann.now))

    @rule(drop=consumes(composed))
    def cancel(self, drop: str) -> None:
        self.tried(lambda: self.ann.exchange.composing.cancel(self.ann.user, drop, self.ann.now))

    # ---- the others

    @rule()
    def settle(self) -> None:
        self.house.settle()

    @rule()
    def hide_all(self) -> None:
        for name in self.kari.ls("/inbox"):
            self.tried(lambda name=name: self.kari.rmdir(f"/inbox/{name}"))  # type: ignore[misc]

    @rule(days=st.sampled_from([1, 8, 31]))
    def sweep(self, days: int) -> None:
        self.house.clock.turn(days * DAY)
        now = self.house.clock()
        self.house.exchange.upkeep.confirm_clock(now, now, "boot")
        self.house.exchange.upkeep.sweep(now, now, "boot")

    @rule()
    def kill(self) -> None:
        self.dead += self.begun
        exchange = killed(self.house)
        self.kari.exchange = self.ann.exchange = exchange

    @invariant()
    def what_is_kept_is_the_sum(self) -> None:
        assert sums(self.house) == {ANN: self.house.exchange.outbox.usage(self.ann.user)[0], KARI: 0}
        assert list(self.house.exchange.upkeep.miscounted()) == []

    def tried(self, act: Callable[[], object]) -> None:
        """A refusal changes nothing."""
        with suppress(FxError):
            act()


def sums(house: House) -> dict[str, int]:
    """By address, said as plainly as it can be."""
    rows = registry_of(house.exchange)._engine.rows(
        "SELECT email, (SELECT COALESCE(SUM(size), 0) FROM files, shipments WHERE owner_id = users.id"
        " AND files.shipment_id = shipments.id AND erased IS NULL) AS summed FROM users"
    )
    return {row["email"]: row["summed"] for row in rows}


TestRoom = Room.TestCase
TestRoom.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_figure_that_was_changed_by_hand_is_put_right_by_the_sweep(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"/outbox/{KARI}/a.csv", b"x" * 600)
    registry_of(house.exchange)._engine.execute("UPDATE users SET used = 7 WHERE email = ?", (ANN,))
    (found,) = house.exchange.upkeep.miscounted()
    assert (found.user.email, found.used, found.summed) == (ANN, 7, 600)
    house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")
    assert house.exchange.outbox.usage(ann.user)[0] == 600
    assert list(house.exchange.upkeep.miscounted()) == []


def test_a_registry_of_before_is_counted_when_it_is_brought_up(house: House, ann: Hand, kari: Hand) -> None:
    """What a registry holds without the triggers and the figure counts as if they had been there."""
    ann.put(f"/outbox/{KARI}/F/a.csv", b"x" * 600)
    recalled = dispatched(house)
    ann.put(f"/outbox/{KARI}/F/b.csv", b"x" * 500)
    house.exchange.sent.recall(ann.user, recalled, house.clock())
    engine = registry_of(house.exchange)._engine
    with engine.atomic():
        for name in ("usages_file", "usages_file_gone", "usages_file_changed", "usages_erased"):
            engine.execute(f"DROP TRIGGER {name}")
        engine.execute("ALTER TABLE users DROP COLUMN used")
        engine.execute("CREATE INDEX files_usage ON files (owner_id, shipment_id, size)")
        engine.execute("DELETE FROM _sqlite_migrations WHERE name = '0016_usages'")
    again = Engine(engine.path)
    bring_up(again, "registry", MIGRATIONS)
    again.close()
    assert house.exchange.outbox.usage(ann.user)[0] == 500
