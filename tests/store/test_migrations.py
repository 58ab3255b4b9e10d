"""Migrations: all or none, once, and never below a newer program."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fxsftp import errors
from fxsftp.store.migrations import Steps, bring_up, statements
from fxsftp.store.registry.engine import Engine

FIRST = ("first", "CREATE TABLE a (x TEXT); INSERT INTO a VALUES ('one; two');")
SECOND = ("second", "ALTER TABLE a ADD COLUMN y TEXT; CREATE INDEX a_y ON a (y);")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "registry.db")
    yield engine
    engine.close()


def tables(engine: Engine) -> set[str]:
    return {row["name"] for row in engine.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_each_step_is_applied_once(engine: Engine) -> None:
    bring_up(engine, "registry", [FIRST])
    bring_up(engine, "registry", [FIRST, SECOND])
    bring_up(engine, "registry", [FIRST, SECOND])
    assert [tuple(row) for row in engine.rows("SELECT x, y FROM a")] == [("one; two", None)]


@pytest.mark.parametrize(
    "broken", ["CREATE TABLE b (x TEXT); CREATE TABLE b (x TEXT);", "CREATE TABLE b (x", "COMMIT;"]
)
def test_a_step_that_fails_leaves_nothing_of_any(engine: Engine, broken: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever it is, it reaches the developer who wrote the step
        bring_up(engine, "registry", [FIRST, ("broken", broken)])
    if broken != "COMMIT;":
        assert tables(engine) == set()
    bring_up(engine, "other", [("second", "CREATE TABLE c (x TEXT)")])
    assert "c" in tables(engine)


def test_a_newer_registry_is_refused_and_not_changed(engine: Engine) -> None:
    bring_up(engine, "registry", [FIRST, SECOND])
    before = list(engine.database.iterdump())
    with pytest.raises(errors.NewerStore, match=r"registry was written by a newer version .*'second'"):
        bring_up(engine, "registry", [FIRST, ("another", "CREATE TABLE b (x TEXT);")])
    assert list(engine.database.iterdump()) == before


def test_two_that_start_together_take_turns(tmp_path: Path) -> None:
    def start(_: int) -> None:
        engine = Engine(tmp_path / "registry.db")
        bring_up(engine, "registry", [FIRST, SECOND])
        engine.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(start, range(8)))
    engine = Engine(tmp_path / "registry.db")
    assert engine.value("SELECT count(*) FROM a") == 1
    engine.close()


def test_a_semicolon_in_a_string_a_comment_or_a_trigger_does_not_divide() -> None:
    script = """
    -- one; two
    INSERT INTO a VALUES ('x;y');
    CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; DELETE FROM b; END;
    SELECT 1
    """
    found = [" ".join(statement.split()) for statement in statements(script)]
    assert found == [
        "-- one; two INSERT INTO a VALUES ('x;y');",
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; DELETE FROM b; END;",
        "SELECT 1",
    ]


def test_the_shipped_schemas_come_up(engine: Engine) -> None:
    from fxsftp.store.registry.schema import MIGRATIONS

    steps: Steps = MIGRATIONS
    bring_up(engine, "registry", steps)
    assert "users" in tables(engine)
