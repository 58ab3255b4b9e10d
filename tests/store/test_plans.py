"""Plans: no statement that the store issues, in any test, reads a large table from end to end.

tests/conftest.py looks after each test; here a life of everything that asks for rows is led, so that it holds alone.
"""

from __future__ import annotations

from pathlib import Path

from fxsftp.domain.policy import DAY
from fxsftp.store.registry import Registry
from tests import plans
from tests.exchange.hands import Hand, dispatched
from tests.house import ANN, House, at


def test_a_scan_of_a_large_table_is_seen_also_by_an_index_and_by_another_name(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.db")
    for sql, is_seen in (
        ("SELECT * FROM files WHERE blob = 'x'", False),
        ("SELECT * FROM files WHERE mode = 1", True),
        ("SELECT COUNT(*) FROM files", True),
        ("SELECT 1 FROM files AS newer WHERE newer.mode = 1", True),
        ("DELETE FROM shipments WHERE subject = 'x'", True),
        ("SELECT * FROM lots", False),
    ):
        plan = [row["detail"] for row in registry._engine.rows(f"EXPLAIN QUERY PLAN {sql}")]
        assert bool(plans.scanned(sql, plan)) == is_seen, (sql, plan)
    registry.close()


def test_every_table_is_looked_after_unless_it_says_why_it_stays_small(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.db")
    tables = {row["name"] for row in registry._engine.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == plans.LARGE | plans.SMALL.keys()
    assert not plans.LARGE & plans.SMALL.keys()
    registry.close()


def test_no_statement_of_a_shipments_life_walks_over_all_there_is(house: House) -> None:
    kari, ann = Hand(house, house.kari(), "kari-1"), Hand(house, house.ann(), "ann-1")
    kari.put(f"/outbox/{ANN}/Ref/sub/a.csv", b"x" * 100_000)
    kari.mv(f"/outbox/{ANN}/Ref/sub/a.csv", f"/outbox/{ANN}/Ref/b.csv")
    shipment = dispatched(house)
    for number in range(3):
        kari.put(f"/outbox/{ANN}/{number}.csv", b"x")
    house.settle()
    for room in ("/outbox", f"/outbox/{ANN}", "/inbox"):
        kari.ls(room)
    ann.ls("/inbox")
    ann.ls(f"/inbox/{shipment}")
    house.exchange.inbox.arrivals(ann.user, house.clock())
    house.exchange.inbox.package(ann.user, at(f"/inbox/{shipment}"), house.clock())
    ann.type_code(shipment, house.code(shipment, ann.user))
    ann.get(f"/inbox/{shipment}/b.csv")
    sent = house.exchange.sent
    sent.page(kari.user, house.clock())
    sent.parts(kari.user, shipment, house.clock())
    sent.receipts(kari.user, "edition", after="", most=10)
    sent.outdated("edition", 10)
    ann.rm(f"/inbox/{shipment}/b.csv")
    other = sent.list(kari.user, house.clock())[0].id
    sent.recall(kari.user, other, house.clock())
    kari.rm(f"/outbox/{ANN}/Ref/b.csv")
    for days in (1, 2, 23, 8, 400):
        house.clock.turn(days * DAY)
        house.exchange.upkeep.confirm_clock(house.clock(), house.clock(), "boot")
        house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")
    assert len(plans.seen) > 100
    assert not plans.scans


def test_the_drop_of_a_folder_is_looked_for_among_those_of_that_folder_and_not_among_all_of_its_sender(
    tmp_path: Path,
) -> None:
    """Each OPEN asks; who has sent for years has a hundred thousand others."""
    registry = Registry(tmp_path / "registry.db")
    registry.drops.joined_at(1, ANN, "Ref/a.csv")
    registry.drops.joined_at(1, ANN, "Ref/a.csv", at_once=True)
    registry.drops.open_folder_drop(1, ANN, "Ref")
    found = [
        plan for sql, plan in plans.seen.items() if "AND who" in sql and "FROM shipments" in sql and "folder =" in sql
    ]
    assert len(found) >= 2
    for plan in found:
        assert "SEARCH shipments USING INDEX shipments_sender (sender_id=? AND who=? AND folder=?)" in plan, plan
    registry.close()
