"""Bringing a database up to this program's schema: all of the pending steps, or none.

A step is a name and a script of plain SQL, and never changes once released.  sqlite-utils keeps the book
(`_sqlite_migrations`); the transaction is the engine's, so two processes that start together take turns.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence

from sqlite_utils import Database, Migrations

from fxsftp import errors
from fxsftp.store.registry.engine import Engine

Steps = Sequence[tuple[str, str]]


def bring_up(engine: Engine, name: str, steps: Steps) -> None:
    """Apply the steps of the set `name` that are not applied yet.

    Raises NewerStore, with nothing changed, if the database knows a step that is not among them.
    """
    migrations = Migrations(name)
    for step, script in steps:
        migrations(name=step)(_running(script))
    with engine.atomic():
        known = {step for step, _ in steps}
        for applied in migrations.applied(engine.database):
            if applied.name not in known:
                raise errors.NewerStore(engine.name, applied.name)
        migrations.apply(engine.database)


class _running:  # noqa: N801  it reads as the verb that it is
    """A migration that runs a script within the transaction that is open.

    Statement by statement: sqlite3's own executescript() begins with a COMMIT.
    """

    __name__ = "script"

    def __init__(self, script: str) -> None:
        self._script = script

    def __call__(self, db: Database, /) -> None:
        for statement in statements(self._script):
            db.conn.execute(statement)
            if not db.conn.in_transaction:
                raise ValueError(f"a migration may not end the transaction it runs in: {statement}")


def statements(script: str) -> Iterator[str]:
    """The statements of a script, each with its semicolon; one in a string, comment or trigger does not divide."""
    statement = ""
    for piece in re.split(r"(?<=;)", script):
        statement += piece
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement  # a comment, which does nothing, or half a statement, which SQLite refuses
