"""What the benchmark's figures stand on: the books of the kernel are read right, and what is written has its shape."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import people
from bench.peers import report
from bench.peers.accounts import Meter
from bench.peers.contestants import OpenSsh, Ours
from bench.peers.works import Files, works
from tests.house import House

BURN = """
import os, signal, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
def child(seconds):
    pid = os.fork()
    if not pid:
        burn(seconds)
        os._exit(0)
    return pid
burn(0.2)  # before anybody measures
print("ready", flush=True)
sys.stdin.readline()
{work}
print("done", flush=True)
sys.stdin.readline()
"""


@contextmanager
def measured(work: str) -> Iterator[Meter]:
    """A process that works while it is looked at; it lives on until its books are closed."""
    with subprocess.Popen(
        [sys.executable, "-c", BURN.format(work=work)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        with Meter(process.pid) as meter:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
        yield meter
        process.stdin.close()


@pytest.mark.parametrize(
    "work",
    [
        "burn(0.3)",
        "import threading; each = threading.Thread(target=burn, args=(0.3,)); each.start(); each.join()",
        "[os.waitpid(child(0.03), 0) for _ in range(10)]",  # as sshd's, gone before anybody looks
        "pids = [child(0.1) for _ in range(3)]; [os.waitpid(pid, 0) for pid in pids]",
        "pid = child(0.1) or child(0.1); burn(0.1); os.waitpid(pid, 0); os.waitpid(child(0.1), 0)",
    ],
)
def test_a_tree_is_billed_for_just_what_it_has_used(work: str) -> None:
    """The CPU seconds of a tree are those since the measuring began, of the living and of those waited for."""
    with measured(work) as meter:
        assert meter.seconds == pytest.approx(0.3, abs=0.08)


def test_a_child_that_nobody_waits_for_is_billed_for_what_was_seen_of_it() -> None:
    """Where SIGCHLD is ignored, no book has a child's times after its end."""
    work = "signal.signal(signal.SIGCHLD, signal.SIG_IGN); child(0.3)\ntry: os.wait()\nexcept ChildProcessError: pass"
    with measured(work) as meter:
        assert 0.2 < meter.seconds < 0.38


def test_a_tree_is_weighed_at_its_heaviest() -> None:
    """What was held only for a while counts, in a child too."""
    work = "pid = os.fork()\nif not pid:\n    held = b'x' * (64 << 20); burn(0.5); os._exit(0)\nos.waitpid(pid, 0)"
    with measured(work) as meter:
        assert meter.peak > 64 << 20


def test_each_row_has_just_the_keys_that_programs_look_for(tmp_path) -> None:
    """latest.json is a list of rows, of which each says its rate in one unit."""
    findings = report.Findings()
    for work in works(Files(tmp_path, 1, 1, 1)):
        for name, seconds, cpu in ((Ours.name, (1, 2, 9), (1, 1, 1)), (OpenSsh.name, (4, 4, 4), (2, 2, 2))):
            for took, used in zip(seconds, cpu, strict=True):
                findings.of(work, name).add(took, used, 1 << 20)
    report.write(findings, {"date": "2026-11-24"}, tmp_path)
    rows = json.loads((tmp_path / "latest.json").read_text())
    assert len(rows) == 2 * len(findings.works)
    common = {"work", "contestant", "ratio_to_openssh", "server_cpu", "cpu_ratio_to_openssh", "runs"}
    for row in rows:
        assert row.keys() in (common | {"mib_per_s"}, common | {"ops_per_s"})
        is_ours = row["contestant"] == Ours.name
        assert (row["ratio_to_openssh"], row["cpu_ratio_to_openssh"]) == ((2, 0.5) if is_ours else (1, 1))
        assert row["runs"] == 3


def test_the_table_goes_into_the_readme_once(tmp_path) -> None:
    """The part of the README is made the first time, replaced after that, and nothing else is touched."""
    page = tmp_path / "README.md"
    page.write_text("# It\n\nWords.\n\n## The house\n\nMore.\n")
    report.into_readme("| first |", page)
    report.into_readme("| second |", page)
    text = page.read_text()
    assert text.count("## How fast") == 1
    assert "| second |" in text
    assert "| first |" not in text
    assert text.startswith("# It\n\nWords.\n\n## How fast\n")
    assert text.endswith("\n\n## The house\n\nMore.\n")


def test_a_registry_after_years_holds_what_the_exchange_would_have_left_there(house: House) -> None:
    """What is kept beside the rows, so that nobody has to count them, agrees with them."""
    people.fill(house.exchange, 400, 600, house.clock())
    rows = house.exchange._holdings.registry._engine.rows
    assert [tuple(row) for row in rows("SELECT COUNT(*) FROM shipments")] == [(600,)]
    assert not rows(
        "SELECT deliveries.id FROM deliveries JOIN shipments ON shipments.id = shipment_id"
        " WHERE listed <> (shipments.state = 'waiting')"
    )
    assert not rows(
        "SELECT id FROM users WHERE used <> (SELECT COALESCE(SUM(size), 0) FROM files JOIN shipments"
        " ON shipments.id = shipment_id WHERE sender_id = users.id AND erased IS NULL)"
    )
    assert house.settle() == []
