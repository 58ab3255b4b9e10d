"""Plans: how SQLite would run each statement that the store issues, in any test.

However large the registry is, an answer must cost what there is of it.  So of every statement that some test makes the
store issue, SQLite is asked for its plan when it is first seen; `scans` has those that read a large table from end to
end, be it by way of an index.  Without statistics, which we never make, a plan is the same for ten rows and a million.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fxsftp.store.registry import engine as engine_module
from fxsftp.store.registry.engine import Engine

LARGE = {
    "shipments", "files", "deliveries", "notices", "history", "locks", "reads", "folders", "users", "receipts",
    "recoveries", "hidden", "keys", "members", "berths", "links", "tries", "recovery_codes", "confirmations",
}  # fmt: skip
SMALL = {  # whatever happened in all the years, and why they are
    "segments": "pieces of what is being written, or waits to be merged before it leaves",
    "lots": "what is being made ready to leave",
    "openings": "what was opened within a quarter of an hour",
    "locked": "who tried too often within a quarter of an hour",
    "visits": "who is in the portal, for half a day at most",
    "guests": "who is connected",
    "totp": "one for each user with a second factor, looked through by the sweep alone",
    "spent": "one row: the highest numbers that were ever given",
    "standing": "a word each, for all",
    "_sqlite_migrations": "one for each version",
}
ALLOWED = {
    "SELECT * FROM users WHERE standing <> 'removed' ORDER BY email",  # asked for all of them, by an admin
    "SELECT * FROM notices ORDER BY made DESC, id DESC LIMIT ?",  # along an index, and no further than asked
}
READ = ("rows", "tuples", "glance")  # the verbs of the engine that write nothing
ENGINE, STORE = engine_module.__file__, str(Path(engine_module.__file__).parent)

seen: dict[str, list[str]] = {}  # each statement's plan
scans: dict[str, list[str]] = {}  # what of it reads a large table from end to end


@pytest.fixture(autouse=True)
def no_scan() -> Iterator[None]:
    """No statement that a test makes the store issue reads a large table from end to end."""
    yield
    found = dict(scans)
    scans.clear()
    assert not found, found


def _watched(name: str, verb: Callable[..., Any]) -> Callable[..., Any]:
    is_many = name == "execute_many"

    def watched(self: Engine, sql: str, parameters: Any = ()) -> Any:
        if sql in seen or self.name != "registry" or not _is_ours(sys._getframe(1)):
            return verb(self, sql, parameters)
        if is_many:
            parameters = list(parameters)
        if not is_many or parameters:
            _explain(self, sql, parameters[0] if is_many else parameters, writes=name not in READ)
        return verb(self, sql, parameters)

    return watched


def _is_ours(frame: Any) -> bool:
    """Whether the store asks this, and not a test."""
    while frame.f_code.co_filename == ENGINE:
        frame = frame.f_back
    return bool(frame.f_code.co_filename.startswith(STORE))


def _explain(engine: Engine, sql: str, parameters: Any, *, writes: bool) -> None:
    if not re.match(r"SELECT|UPDATE|DELETE|WITH|INSERT.* SELECT ", sql):  # an INSERT finds its place by itself
        seen[sql] = []
        return
    question = f"EXPLAIN QUERY PLAN {sql}"
    if writes:
        with engine._within_atomic():
            rows = engine._writer.execute(question, parameters).fetchall()
    else:
        with engine._connection() as connection:
            rows = connection.execute(question, parameters).fetchall()
    plan = seen[sql] = [str(row["detail"]) for row in rows]
    found = scanned(sql, plan)
    if found and sql not in ALLOWED:
        scans[sql] = found


def scanned(sql: str, plan: list[str]) -> list[str]:
    """The steps of a plan that read a large table from end to end."""
    named = {alias: table for table, alias in re.findall(r"\b(?:FROM|JOIN|UPDATE) (\w+) AS (\w+)", sql)}
    tables = [(step, step.split()[1]) for step in plan if step.startswith("SCAN")]
    return [step for step, table in tables if named.get(table, table) in LARGE]


for each in (*READ, "execute", "execute_many"):
    setattr(Engine, each, _watched(each, getattr(Engine, each)))
