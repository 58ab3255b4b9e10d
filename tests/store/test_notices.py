"""Rows of notices: however many are due, each is found by an index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fxsftp.store.registry import Registry
from fxsftp.store.registry import notices as statements

ASKED = {
    name: text
    for name, text in vars(statements).items()
    if name.isupper() and isinstance(text, str) and re.match("SELECT|UPDATE", text)
}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path / "registry.db")
    yield registry
    registry.close()


@pytest.mark.parametrize("name", sorted(ASKED))
def test_no_statement_walks_over_all_notices(name: str, registry: Registry) -> None:
    """Not even sorts them.  What is scanned by an index is only what stands in it: the waiting, the newest."""
    question = f"EXPLAIN QUERY PLAN {ASKED[name]}"
    plan = [row["detail"] for row in registry._engine.rows(question, [None] * ASKED[name].count("?"))]
    assert plan
    for step in plan:
        assert re.match(r"(SEARCH|SCAN) notices USING|LIST SUBQUERY|USE TEMP B-TREE FOR (LAST TERM OF )?ORDER", step), (
            plan
        )
    if name.startswith(("TAKE", "NEXT", "NEWEST", "WAITING", "COUNT")) and name != "TAKE_ALONG":
        assert not [step for step in plan if "TEMP B-TREE" in step], plan
    if name in ("WAITING", "COUNT_IN"):  # these count, and must not fetch what they count
        assert "COVERING INDEX" in plan[0], plan


def test_of_100000_that_are_due_each_is_taken_once_and_the_oldest_first(registry: Registry) -> None:
    with registry.atomic():
        insert = (
            "INSERT INTO notices (id, kind, way, address, language, facts, state, due, made)"
            " VALUES (?, 'arrived', 'mail', 'ann@firm.example', 'en', '{}', 'due', ?, ?)"
        )
        registry._engine.execute_many(insert, ((f"{n:06}", float(n), 0.0) for n in range(100_000)))
    taken = []
    for courier in ("a", "b", "a"):
        with registry.atomic():
            taken += [notice.id for notice in registry.notices.take("mail", 1e9, courier, 2e9, 50)]
    assert taken == [f"{n:06}" for n in range(150)]
    assert registry.notices.waiting() == {"mail": 100_000 - 150}
    assert registry.notices.next_due("mail") == 150.0
    assert registry.notices.next_due("sms") is None


def test_a_lease_keeps_others_away_until_it_lapses_and_a_courier_that_lives_renews_it(registry: Registry) -> None:
    rows = registry.notices
    with registry.atomic():
        first, second = (rows.add("arrived", "mail", "a@b.example", "en", {}, 1.0) for _ in range(2))
        assert {notice.id for notice in rows.take("mail", 10.0, "one", 40.0, 9)} == {first, second}
        rows.renew("mail", "one", 60.0, [first])
        rows.free_lapsed("mail", 50.0)
        assert [notice.id for notice in rows.take("mail", 50.0, "two", 80.0, 9)] == [second]
        assert rows.finish(second, "one", "carried", "", "r", 51.0) is None
        assert rows.finish(second, "two", "carried", "", "r", 51.0) is not None
        found = rows.find(first)
    assert found is not None
    assert (found.attempts, found.begun) == (1, 10.0)
