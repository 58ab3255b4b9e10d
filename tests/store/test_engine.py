"""The engine: what atomic() promises, in one thread, in many, and across a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from fxsftp import errors
from fxsftp.store.registry.engine import COPY, Engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "registry.db")
    engine.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    yield engine
    engine.close()


def add(engine: Engine, name: str) -> None:
    engine.execute("INSERT INTO things (name) VALUES (?)", (name,))


def names(engine: Engine) -> list[str]:
    return [row["name"] for row in engine.rows("SELECT name FROM things ORDER BY id")]


# ---- one thread ----------------------------------------------------------------------------------


def test_what_raises_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), engine.atomic():
        add(engine, "a")
        raise ZeroDivisionError
    assert names(engine) == []


def test_an_inner_atomic_is_undone_with_the_outer(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), engine.atomic():
        with engine.atomic():
            add(engine, "inner")
        raise ZeroDivisionError
    assert names(engine) == []


def test_an_inner_atomic_that_raises_takes_only_its_own_writes_along(engine: Engine) -> None:
    with engine.atomic():
        add(engine, "before")
        with pytest.raises(ZeroDivisionError), engine.atomic():
            add(engine, "inner")
            raise ZeroDivisionError
        add(engine, "after")
    assert names(engine) == ["before", "after"]


def test_reads_inside_see_the_own_writes_and_others_do_not(engine: Engine) -> None:
    with engine.atomic(), ThreadPoolExecutor(1) as other:
        add(engine, "mine")
        assert names(engine) == ["mine"]
        assert other.submit(names, engine).result() == []
    assert names(engine) == ["mine"]


def test_the_verbs_answer_rows_a_row_a_value_and_changes(engine: Engine) -> None:
    engine.execute_many("INSERT INTO things (name) VALUES (?)", [("a",), ("b",)])
    assert [tuple(row) for row in engine.rows("SELECT id, name FROM things ORDER BY id")] == [(1, "a"), (2, "b")]
    assert (engine.row("SELECT * FROM things WHERE name = :name", {"name": "b"}) or {})["id"] == 2
    assert engine.row("SELECT * FROM things WHERE name = 'c'") is None
    assert engine.value("SELECT count(*) FROM things") == 2
    assert engine.value("SELECT id FROM things WHERE name = 'c'") is None
    assert engine.changes("UPDATE things SET name = name || '!'") == 2
    with engine.atomic():
        assert engine.value("UPDATE things SET name = 'z' WHERE id = 1 RETURNING name") == "z"


def test_a_read_outside_a_transaction_can_not_write(engine: Engine) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        engine.value("INSERT INTO things (name) VALUES ('x') RETURNING id")


def test_a_broken_constraint_is_the_callers_to_name(engine: Engine) -> None:
    add(engine, "a")
    with pytest.raises(sqlite3.IntegrityError):
        add(engine, "a")


def test_a_transaction_that_sqlite_ended_by_itself_is_not_continued(engine: Engine) -> None:
    """What is written after an automatic rollback would stand alone, without what it belongs to."""
    with pytest.raises(errors.Unavailable, match="undo"), engine.atomic():
        add(engine, "first")
        with pytest.raises(errors.StoreFull):
            fill(engine)
        add(engine, "second")
    assert names(engine) == []


def fill(engine: Engine) -> None:
    """Meet a full disk: SQLite answers a database at its largest allowed size just as it answers ENOSPC."""
    engine.database.conn.execute(f"PRAGMA max_page_count = {engine.value('PRAGMA page_count')}")
    with engine.atomic():
        add(engine, "x" * 1_000_000)


def test_a_full_disk_is_said_and_nothing_happened(engine: Engine) -> None:
    add(engine, "kept")
    with pytest.raises(errors.StoreFull):
        fill(engine)
    assert names(engine) == ["kept"]


@pytest.mark.parametrize(("folder", "file"), [(0o700, 0o600), (0o755, 0o600), (0o2770, 0o660)])
def test_the_files_are_as_private_as_their_folder(tmp_path: Path, folder: int, file: int) -> None:
    """The courier runs as another user of the same group, and never may anybody else look."""
    tmp_path.chmod(folder)
    engine = Engine(tmp_path / "registry.db")
    engine.execute("CREATE TABLE things (name TEXT)")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"registry.db": file, "registry.db-wal": file, "registry.db-shm": file}
    engine.close()


def test_the_pragmas_are_what_the_design_says(engine: Engine) -> None:
    with engine.atomic():
        found = {name: engine.value(f"PRAGMA {name}") for name in ("journal_mode", "foreign_keys", "secure_delete")}
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "secure_delete": 1}
    assert engine.value("PRAGMA foreign_keys") == 1


def test_a_damaged_file_is_said_without_its_path_and_let_go(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(errors.Unavailable, match="the registry is damaged") as refusal:
        Engine(tmp_path / "registry.db")
    assert str(tmp_path) not in str(refusal.value)
    assert not [
        file for file in os.listdir("/proc/self/fd") if str(tmp_path) in os.path.realpath(f"/proc/self/fd/{file}")
    ]


# ---- many threads and processes ------------------------------------------------------------------


def test_who_waits_too_long_for_the_write_lock_hears_busy(tmp_path: Path) -> None:
    """Behind a thread of this process, and behind another process's connection."""
    engine = Engine(tmp_path / "registry.db", busy=0.05)
    engine.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
    with engine.atomic(), ThreadPoolExecutor(1) as other, pytest.raises(errors.Unavailable, match="busy"):
        other.submit(add, engine, "late").result()
    second = Engine(tmp_path / "registry.db", busy=0.05)
    with engine.atomic(), pytest.raises(errors.Unavailable, match="busy"):
        add(second, "late")
    add(second, "in time")
    assert names(engine) == ["in time"]
    engine.close()
    second.close()


def test_threads_that_read_and_then_write_never_collide(engine: Engine) -> None:
    """With a deferred BEGIN most of these would fail at once."""
    add(engine, "0")

    def count_up(_: int) -> None:
        with engine.atomic():
            before = int(engine.value("SELECT name FROM things"))
            engine.execute("UPDATE things SET name = ?", (str(before + 1),))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count_up, range(100)))
    assert names(engine) == ["100"]


def test_who_waits_to_write_comes_before_who_has_just_written(engine: Engine) -> None:
    """Many short transactions in a row hold nobody up for longer than one of them."""
    said: list[str] = []

    def wait_for_a_turn() -> None:
        with engine.atomic(durable=False):
            said.append("the other")

    for _ in range(20):
        said.clear()
        with engine.atomic(durable=False):
            other = threading.Thread(target=wait_for_a_turn)
            other.start()
            deadline = time.monotonic() + 30
            while not engine._turn._next.locked() and time.monotonic() < deadline:
                time.sleep(0.001)
        with engine.atomic(durable=False):
            said.append("again")
        other.join(30)
        assert said == ["the other", "again"]


def test_the_log_is_copied_while_another_writes(engine: Engine, tmp_path: Path) -> None:
    """What was committed comes into the database itself, and no transaction has to be over for that."""
    for number in range(COPY - 1):
        add(engine, f"{number}")
    with ThreadPoolExecutor(1) as threads, engine.atomic():
        engine.execute("UPDATE things SET name = 'not yet' WHERE name = '0'")
        threads.submit(engine._copy_log).result(30)
        alone = tmp_path / "alone.db"
        alone.write_bytes(engine.path.read_bytes())  # without its log
    with closing(sqlite3.connect(alone)) as copied:
        assert copied.execute("SELECT COUNT(*) FROM things").fetchone()[0] == COPY - 1


def test_who_empties_the_log_while_another_does_waits_for_it(tmp_path: Path) -> None:
    def work(engine: Engine) -> None:
        for _ in range(50):
            engine.execute("DELETE FROM names")
            engine.execute("INSERT INTO names VALUES ('x')")
            engine.checkpoint()

    with closing(Engine(tmp_path / "r.db")) as one, closing(Engine(tmp_path / "r.db")) as other:
        one.execute("CREATE TABLE names (name)")
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(work, (one, other))) == [None, None]


def test_the_log_is_copied_every_few_hundred_rows(engine: Engine, tmp_path: Path) -> None:
    """A log that nobody copies would grow, and be slow to read."""
    alone = tmp_path / "alone.db"
    with engine.atomic():
        for number in range(COPY):
            add(engine, f"{number}")
    alone.write_bytes(engine.path.read_bytes())
    with closing(sqlite3.connect(alone)) as copied:
        assert copied.execute("SELECT COUNT(*) FROM things").fetchone()[0] == COPY


COUNT_UP = """
import sys
from pathlib import Path
from fxsftp.store.registry.engine import Engine
engine = Engine(Path(sys.argv[1]))
engine.execute("CREATE TABLE IF NOT EXISTS counts (n INTEGER)")
for _ in range(50):
    with engine.atomic(durable=False):
        if engine.value("SELECT n FROM counts") is None:
            engine.execute("INSERT INTO counts VALUES (0)")
        engine.execute("UPDATE counts SET n = n + 1")
engine.close()
"""


def test_processes_that_start_together_and_read_and_write_never_collide(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    processes = [subprocess.Popen([sys.executable, "-c", COUNT_UP, str(path)], cwd=ROOT) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    engine = Engine(path)
    assert engine.value("SELECT n FROM counts") == 200
    engine.close()


def test_who_opens_a_new_registry_waits_while_another_begins_its_log(tmp_path: Path) -> None:
    """SQLite itself would wait for nobody then: both would have to give way."""
    path = tmp_path / "registry.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE begun (n INTEGER)")
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as threads:
            opened = threads.submit(Engine, path)
            with pytest.raises(TimeoutError):
                opened.result(0.2)
            other.execute("COMMIT")
            opened.result(30).close()
    with pytest.raises(errors.Unavailable, match="the registry is busy"), closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        Engine(path, busy=0.05)


# ---- durability ----------------------------------------------------------------------------------


class CountingSync:
    """os.fdatasync that remembers how many there were, and is as slow as a disk."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended_of: list[int] = []  # the numbers of the syncs that are done
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, descriptor: int) -> None:
        self.begun += 1
        number = self.begun
        assert self.may_go_on.wait(10)
        os.fdatasync(descriptor)
        self.ended_of.append(number)


def test_fifty_commits_share_a_few_syncs_and_none_returns_before_its_own(tmp_path: Path) -> None:
    """Each returns after a sync that began after its COMMIT; a sync already under way does not count."""
    sync = CountingSync()
    engine = Engine(tmp_path / "registry.db", sync=sync)
    engine.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
    before = sync.begun
    sync.may_go_on.clear()  # the disk holds its breath: the first sync begins and does not end

    def commit(number: int) -> tuple[int, int]:
        with engine.atomic():
            add(engine, str(number))
            begun_before_commit = sync.begun
        return begun_before_commit, max(sync.ended_of)

    with ThreadPoolExecutor(50) as threads:
        commits = [threads.submit(commit, number) for number in range(50)]
        wait_until(lambda: engine.value("SELECT count(*) FROM things") == 50)
        assert not any(each.done() for each in commits)
        sync.may_go_on.set()
        for each in commits:
            begun_before_commit, last_ended = each.result(10)
            assert last_ended > begun_before_commit
    assert sync.begun - before <= 3
    engine.close()


def wait_until(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


def test_what_nobody_was_promised_waits_for_no_sync(tmp_path: Path) -> None:
    sync = CountingSync()
    engine = Engine(tmp_path / "registry.db", sync=sync)
    engine.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
    before = sync.begun
    with engine.atomic(durable=False):
        add(engine, "a")
    assert sync.begun == before
    with engine.atomic(durable=False), engine.atomic():
        add(engine, "b")  # a durable inner makes the whole durable
    assert sync.begun == before + 1
    engine.close()


def test_after_a_failed_sync_nothing_is_promised_any_more(tmp_path: Path) -> None:
    """The kernel forgets the pages that it could not write: a later sync that succeeds proves nothing."""
    disk = {"fails": False}

    def sync(descriptor: int) -> None:
        if disk["fails"]:
            raise OSError(5, "Input/output error")
        os.fdatasync(descriptor)

    engine = Engine(tmp_path / "registry.db", sync=sync)
    engine.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
    disk["fails"] = True
    with pytest.raises(errors.Unavailable, match="synced"):
        add(engine, "a")
    disk["fails"] = False
    with pytest.raises(errors.Unavailable, match="synced"):
        add(engine, "b")
    engine.close()


KEEP_COMMITTING = """
import sys
from pathlib import Path
from fxsftp.store.registry.engine import Engine
engine = Engine(Path(sys.argv[1]))
engine.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
number = 0
while True:
    number += 1
    with engine.atomic():
        engine.execute("INSERT INTO things (name) VALUES (?)", (str(number),))
        engine.execute("INSERT INTO things (name) VALUES (?)", (str(-number),))
    print(number, flush=True)
"""


def test_what_was_committed_survives_kill_9_and_what_was_not_is_whole_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    process = subprocess.Popen(
        [sys.executable, "-c", KEEP_COMMITTING, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 30:
        pass
    process.send_signal(signal.SIGKILL)
    said = [int(line) for line in process.stdout.read().split()]
    process.wait()
    process.stdout.close()
    engine = Engine(path)
    found = [int(name) for name in names(engine)]
    assert found == [signed for number in range(1, len(found) // 2 + 1) for signed in (number, -number)]
    assert len(found) // 2 >= max(said, default=30)
    assert engine.value("PRAGMA integrity_check") == "ok"
    engine.close()
