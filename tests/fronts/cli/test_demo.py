"""`fxsftp demo`: what `make demo` runs, for real, and its clear sentences."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from httpx import Client

from tests.gate import Visitor

DEADLINE = 100  # seconds; it takes about ten


def demo(*words: str, tmp: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with its folder in `tmp`."""
    return subprocess.run(
        [sys.executable, "-m", "fxsftp", "demo", *words],
        env=os.environ | {"TMPDIR": str(tmp)} | environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def test_the_demo_shows_one_file_from_drop_to_receipt_and_leaves_nothing(tmp_path: Path) -> None:
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    done = demo("--once", "--port", "0", tmp=tmp)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    sums = re.findall(r"^  ([0-9a-f]{64})  ", done.stdout, re.MULTILINE)
    assert len(sums) == 4
    assert len(set(sums)) == 1
    code = re.search(r"The code for shipment (\S+)\s+is\s+([0-9a-z-]{19})", done.stdout.replace("│", " "))
    assert code
    for words in ("New package is waiting", "SMS to +4790000000", "collected", "dispatched", f"open {code[1]}"):
        assert words in done.stdout
    assert re.search(rf"http://127\.0\.0\.1:\d+/inbox/{code[1]}", done.stdout)
    assert list(tmp.iterdir()) == []


@pytest.mark.parametrize(("name", "size"), [("data 1 [æøå] 'x\".csv", 131072), ("-rf", 0)])
def test_a_file_of_ones_own_is_sent_whatever_it_is_called(tmp_path: Path, name: str, size: int) -> None:
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    own = tmp_path / name
    own.write_bytes(os.urandom(size))
    done = demo("--once", "--port", "0", "--file", str(own), tmp=tmp)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The same." in done.stdout
    assert own.stat().st_size == size


def test_without_once_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    """It shows commands to try, and the exact ones work; Ctrl-C ends all of it, and nothing is left."""
    running = subprocess.Popen(
        [sys.executable, "-u", "-m", "fxsftp", "demo", "--port", "0"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert running.stdout
    try:
        shown = ""
        end = time.monotonic() + DEADLINE
        while "doctor" not in shown and time.monotonic() < end:
            line = running.stdout.readline()
            assert line, shown
            shown += line
        (command,) = re.findall(r"^  (ssh -F \S+ kari status)$", shown, re.MULTILINE)
        (portal,) = re.findall(r"^  (http://127\.0\.0\.1:\d+)$", shown, re.MULTILINE)
        (password,) = re.findall(r"log in as ann@firm\.example, password: (.+)$", shown, re.MULTILINE)
        with Client(base_url=portal) as browser:
            visitor = Visitor(browser)
            visitor.get("/log-in")
            assert visitor.submit(email="ann@firm.example", password=password).path == "/inbox"
        status = subprocess.run(command.split(), capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert "collected" in status.stdout or "waiting" in status.stdout, status
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
        assert running.wait(DEADLINE) == 0, rest
        assert "The exchange has ended" in rest
    finally:
        running.stdout.close()
        if running.poll() is None:
            running.terminate()
            running.wait(DEADLINE)
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = demo("--once", "--port", port, tmp=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fxsftp demo: Port {port} is in use. --port 0 takes any that is free.\n"


def test_a_missing_sftp_is_one_sentence(tmp_path: Path) -> None:
    done = demo("--once", "--port", "0", tmp=tmp_path, PATH=str(tmp_path))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "needs sftp and ssh" in done.stderr


def test_a_file_for_which_there_is_no_room_is_one_sentence(tmp_path: Path) -> None:
    own = tmp_path / "huge.bin"
    with own.open("wb") as file:
        file.truncate(8 << 40)  # holes only; takes no room until it is sent
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    done = demo("--once", "--port", "0", "--file", str(own), tmp=tmp)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "TMPDIR=/another/folder" in done.stderr
    assert list(tmp.iterdir()) == []


def test_a_file_that_would_never_leave_is_one_sentence(tmp_path: Path) -> None:
    own = tmp_path / "report.tmp"
    own.touch()
    done = demo("--once", "--port", "0", "--file", str(own), tmp=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("fxsftp demo: report.tmp has a name")


def test_a_real_exchange_in_the_environment_is_left_alone(tmp_path: Path) -> None:
    """A variable that names another state folder outranks the demo's own settings, so the demo won't begin."""
    real = tmp_path / "real"
    done = demo("--once", "--port", "0", tmp=tmp_path, FXSFTP_EXCHANGE__STATE=str(real))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Unset them for the demo" in done.stderr
    assert not real.exists()


def test_a_folder_instead_of_a_file_is_wrong_usage(tmp_path: Path) -> None:
    assert demo("--once", "--file", str(tmp_path), tmp=tmp_path).returncode == 2
