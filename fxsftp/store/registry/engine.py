"""One SQLite database as the store sees it: transactions that hold, reads that don't wait, commits that share a sync.

Only this file and migrations.py know that it is SQLite; what is above speaks plain, portable SQL (no PRAGMA,
no `INSERT OR …`, no rowid) through seven verbs.  It is safe for any number of threads and processes.

**Transactions.** `with engine.atomic():` is BEGIN IMMEDIATE … COMMIT.  Not a deferred BEGIN: one that reads and then
writes fails at once when another process wrote in between, busy timeout or not.

**Group commit.** SQLite documents `synchronous=FULL` in WAL mode as `NORMAL` plus one sync of the -wal file after
each commit.  We run NORMAL and do that one sync ourselves, after the write lock is given back, so that all who
committed meanwhile share it (turns.py).  `atomic()` returns only after a sync that *began* after its COMMIT.  Why
this is FULL's promise and not less:
  - NORMAL syncs the -wal before each checkpoint, the database after it and the new -wal header when the log is reused
    (sqlite.org/pragma.html#pragma_synchronous): a commit that left the log before our sync is durable in the database.
  - The -wal stays the same file as long as the writing connection lives (only the last connection to close may unlink
    it), so one descriptor serves; and a sync of a file covers every process's writes to it.
  - We never open the database or its -shm by hand: closing any descriptor of those would drop SQLite's POSIX locks.
    The -wal carries no locks.
**Checkpoints.** What is in the log is copied into the database by a committer who has given the write lock back, so
that others write meanwhile; SQLite's own checkpoint within COMMIT is the bound, for a log that is never quiet.

Others may *see* a row some milliseconds before it is durable.  Who acts on the outer world for it first writes a row
of its own (claims it): that commit's sync covers all before it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from fxsftp import errors
from fxsftp.store.registry.turns import SyncGroup, Turn

Parameters = Sequence[Any] | Mapping[str, Any]

BUSY = 10.0  # seconds; transactions take milliseconds, so whoever waits longer waits for something broken
COPY = 400  # rows changed, some 1000 pages (4 MiB), until the log is copied: the unlucky committer's time
CHECKPOINT = 4000  # pages (16 MiB) until it is copied while everybody waits: bounds the -wal
LOOK = 0.005  # seconds between two looks whether another process has copied its own


class Engine:
    """One database file and the connections to it.  `name` is what people call it in messages."""

    def __init__(
        self,
        path: Path,
        name: str = "registry",
        *,
        busy: float = BUSY,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.path = path
        self.name = name
        self._busy = busy
        self._turn = Turn()  # to write; SQLite's own lock, among processes, comes after it
        self._owner: int | None = None  # the thread that has the turn
        self._depth = 0  # of its atomic()
        self._wants_sync = False
        self._copied = 0  # rows changed when the log was copied
        self._readers: deque[sqlite3.Connection] = deque()
        self._translating = _Translating(self)
        self._glancing: deque[sqlite3.Connection] = deque()
        _create_private(path)
        with self._translated(), ExitStack() as undo:
            self._writer = self._connect()
            undo.callback(self._writer.close)
            self._until(self._begin_log)
            # NORMAL, because we sync by ourselves: see the head of this file.
            self._writer.execute("PRAGMA synchronous = NORMAL")
            self._writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
            self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()  # makes sure that the -wal is there
            undo.pop_all()
        self._log = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._group = SyncGroup(name, lambda: sync(self._log))
        self.database = Database(self._writer, execute_plugins=False)  # for migrations, inspection, maintenance
        _sync_folder(path.parent)

    def close(self) -> None:
        with self._turn:
            for idle in (self._readers, self._glancing):
                while idle:
                    idle.pop().close()
            self._writer.close()
            if self._log >= 0:
                os.close(self._log)
                self._log = -1

    # ---- writing -------------------------------------------------------------------------------

    @contextmanager
    def atomic(self, *, durable: bool = True) -> Iterator[None]:
        """Everything inside happens, or nothing.  After it, what was written survives a power cut.

        An inner atomic() of the same thread joins the outer one: its writes become durable with the outer, and if
        it raises they are undone even where the outer goes on.  `durable=False` commits without waiting for a sync:
        for rows that nobody was promised; a durable inner makes the whole durable.  Raises Unavailable when the
        write lock can't be had, StoreFull when there is no room.
        """
        if self._is_inside():
            with self._joined(durable):
                yield
            return
        self._take_turn()
        try:
            with self._translating:
                self._begin(durable)
                try:
                    yield
                    self._still_in_transaction()
                    self._writer.execute("COMMIT")  # the moment of truth; for the durable, together with the sync below
                except BaseException:
                    if self._writer.in_transaction:  # a full disk has undone it already
                        self._writer.execute("ROLLBACK")
                    raise
                wants_sync, is_long = self._wants_sync, self._is_log_long()
        finally:
            self._give_turn()
        # Also where nothing was written: what this caller read, and now relies on, may be another's unsynced commit.
        if wants_sync:
            self._group.wait()
        if is_long:
            self._copy_log()

    def _begin(self, durable: bool) -> None:
        self._group.check()
        self._writer.execute("BEGIN IMMEDIATE")
        self._wants_sync = durable

    @contextmanager
    def _joined(self, durable: bool) -> Iterator[None]:
        self._still_in_transaction()
        self._wants_sync |= durable
        self._depth += 1
        mark = f"inner_{self._depth}"
        self._writer.execute(f"SAVEPOINT {mark}")
        try:
            yield
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute(f"ROLLBACK TO SAVEPOINT {mark}")
                self._writer.execute(f"RELEASE SAVEPOINT {mark}")
            raise
        else:
            self._still_in_transaction()
            self._writer.execute(f"RELEASE SAVEPOINT {mark}")
        finally:
            self._depth -= 1

    def _is_log_long(self) -> bool:
        """Whether it is this committer who copies it."""
        changed = self._writer.total_changes
        if changed - self._copied < COPY:
            return False
        self._copied = changed
        return True

    def _copy_log(self) -> None:
        """Copy what is in the log, and nobody needs to read there, into the database; who writes does not wait."""
        with self._connection() as connection, suppress(sqlite3.DatabaseError):  # what was committed is; the next tries
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _take_turn(self) -> None:
        if not self._turn.acquire(timeout=self._busy):
            raise errors.Unavailable(f"the {self.name} is busy")
        self._owner = threading.get_ident()

    def _give_turn(self) -> None:
        self._owner = None
        self._turn.release()

    def execute(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement that writes; outside atomic() it is a transaction of its own."""
        with self._within_atomic():
            return self._writer.execute(sql, parameters)

    def execute_many(self, sql: str, parameters: Iterable[Parameters]) -> int:
        """Run one writing statement for each of the parameters, all or none; answers how many rows it changed."""
        with self._within_atomic():
            return max(0, self._writer.executemany(sql, parameters).rowcount)

    def changes(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement that writes, and answer how many rows it changed."""
        return self.execute(sql, parameters).rowcount

    def _within_atomic(self) -> AbstractContextManager[None]:
        if self._is_inside():
            self._still_in_transaction()
            return self._translating
        return self.atomic()

    # ---- reading -------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """All rows of a query.  Inside atomic() it sees that transaction's writes, and may be `… RETURNING`."""
        with self._connection() as connection, self._translated():
            return connection.execute(sql, parameters).fetchall()

    def tuples(self, sql: str, parameters: Parameters = ()) -> list[Any]:
        """The same as plain tuples: made and taken apart in half the time, which counts where there are thousands."""
        with self._connection() as connection, self._translated():
            cursor = connection.cursor()
            cursor.row_factory = None
            return cursor.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Parameters = ()) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row, or None."""
        found = self.row(sql, parameters)
        return found[0] if found is not None else None

    def glance(self, sql: str, parameters: Parameters = ()) -> Any:
        """The first row of a query by its key, as a tuple, or None: some 10 µs, for a loop that can wait for nobody.

        Raises Unavailable where it would have to wait, as while another process finds out what a crash has left.
        """
        try:
            glancing = self._glancing.pop()
        except IndexError:
            with self._translated():
                glancing = self._connect(busy=0)
                glancing.execute("PRAGMA query_only = ON")
                glancing.row_factory = None
        try:
            return glancing.execute(sql, parameters).fetchone()
        except sqlite3.OperationalError as failure:
            raise errors.Unavailable(f"the {self.name} is busy") from failure
        finally:
            self._glancing.append(glancing)

    def _connection(self) -> _Connection:
        return _Connection(self)

    def _free_reader(self) -> sqlite3.Connection:
        try:
            return self._readers.pop()
        except IndexError:  # as many as ever read at one time, which the desk's threads bound
            with self._translated():
                reader = self._connect()
                reader.execute("PRAGMA query_only = ON")
                return reader

    # ---- maintenance ---------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Move the log into the database and cut it to nothing: what was deleted is in no file of ours any more.

        Raises Unavailable if someone was reading all the time, and then can be called again.
        """
        self._until(self._checkpoint)

    def _checkpoint(self) -> bool:
        """Whether it was done.  While another process is at its own, SQLite says busy at once and waits for nobody."""
        self._take_turn()
        try:
            with self._translated():
                is_busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._give_turn()
        return not is_busy

    # ---- below ---------------------------------------------------------------------------------

    def _begin_log(self) -> bool:
        """Whether there is a log.  While another process begins it, SQLite says busy at once and waits for nobody."""
        try:
            self._writer.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as failure:
            if failure.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def _until(self, is_done: Callable[[], bool]) -> None:
        """Try until it is done.  Raises Unavailable when that takes too long."""
        until = time.monotonic() + self._busy
        while not is_done():
            if time.monotonic() > until:
                raise errors.Unavailable(f"the {self.name} is busy")
            time.sleep(LOOK)

    def _is_inside(self) -> bool:
        """Whether this very thread is in atomic(); of another thread's coming and going it sees at most a not-us."""
        return self._owner == threading.get_ident()

    def _still_in_transaction(self) -> None:
        """SQLite ends a transaction by itself on a full disk; what came after would be written alone."""
        if not self._writer.in_transaction:
            raise errors.Unavailable(f"the {self.name} had to undo what was begun")

    def _connect(self, busy: float | None = None) -> sqlite3.Connection:
        # isolation_level=None: the module's own BEGINs are deferred ones.  Connections change threads, one at a time.
        wait = self._busy if busy is None else busy
        connection = sqlite3.connect(self.path, timeout=wait, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")  # statement journals hold old pages; none of that in /tmp
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    def _translated(self) -> _Translating:
        """SQLite's troubles in our words.  IntegrityError passes: what it means, only the caller knows."""
        return self._translating


_TROUBLE = {
    sqlite3.SQLITE_BUSY: "is busy",
    sqlite3.SQLITE_LOCKED: "is busy",
    sqlite3.SQLITE_IOERR: "can't be read or written: its disk fails",
    sqlite3.SQLITE_CANTOPEN: "can't be opened",
    sqlite3.SQLITE_READONLY: "can't be written",
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_NOTADB: "is damaged",
}


# Classes and not generators: each small file passes some twenty of these.
class _Translating:
    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        if not isinstance(failure, sqlite3.DatabaseError):
            return
        kind = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # extended codes carry theirs above
        if kind == sqlite3.SQLITE_FULL:
            raise errors.StoreFull from failure
        if kind == sqlite3.SQLITE_READONLY and not self._engine._is_inside():
            return  # a statement that writes, among the reads
        if kind in _TROUBLE:
            raise errors.Unavailable(f"the {self._engine.name} {_TROUBLE[kind]}") from failure


class _Connection:
    """The writer within a transaction of this thread, and else a reader, which goes back when it is done."""

    __slots__ = ("_engine", "_reader")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection:
        if self._engine._is_inside():
            self._engine._still_in_transaction()
            return self._engine._writer
        self._reader = self._engine._free_reader()
        return self._reader

    def __exit__(self, *_: object) -> None:
        if self._reader:
            self._engine._readers.append(self._reader)


def _create_private(path: Path) -> None:
    """Make the file as private as its folder: 0660 if the group may write there (service and courier), else 0600.

    SQLite gives the -wal and -shm the same mode.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        is_shared = path.parent.stat().st_mode & stat.S_IWGRP
        os.fchmod(descriptor, 0o660 if is_shared else 0o600)  # whatever the umask is
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
