"""A large file, cut off at 60 % by a kill -9 of the server, and resumed: how long does its CLOSE wait, and for what?

    python -m bench.resume [MIB]

OpenSSH's sftp puts and `reput`s, and says with -vvv when it sent CLOSE and was answered.  10 GiB want 40 on the disk,
under TMPDIR; all of it is gone in the end.
"""

from __future__ import annotations

import filecmp
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.transfer import MIB, costing
from fxsftp.domain.model import Kind
from tests.house import ANN, KARI
from tests.walks import served as walks
from tests.walks.guests import Guest

LARGE = 10 << 10  # MiB
PATIENCE = 1800  # seconds; what is waited for here is long, and is said


def main(mib: int) -> None:
    with tempfile.TemporaryDirectory() as folder, walks.Served(Path(folder) / "exchange") as served:
        ann, kari = served.add(ANN, Kind.PARTNER), served.add(KARI, Kind.MEMBER)
        file = ann.home / "large.bin"
        fill(file, mib)
        served.serve()
        vault, before = served.folder / "state" / "vault", served.child("sftp")

        with said(f"put, until {mib * 6 // 10} MiB are there", before):
            putting = ann.start(f"put {file} /outbox/{KARI}/")
            wait(lambda: lying(vault) >= mib * MIB * 6 // 10)
        os.kill(before, signal.SIGKILL)
        putting.communicate()
        with timed("kill -9, until somebody answers"):
            wait(lambda: before not in served.children() and served.answers())
        pid = served.child("sftp")
        left = int(ann._must(ann.sftp(f"ls -ln /outbox/{KARI}/")).out.split()[-5])
        print(f"{'':34} stat shows {left / MIB:.0f} of {mib} MiB", flush=True)

        with said("reput, to the end", pid):
            moments = reput(ann, file)
        print(f"{'':34} OPEN took {moments['OPEN']:.3f} s, CLOSE took {moments['CLOSE']:.3f} s", flush=True)
        print(f"{'':34} in pieces: {blobs(vault)}", flush=True)
        with said("merge and dispatch", pid):
            wait(lambda: kari.ls("/inbox"))
        print(f"{'':34} whole: {blobs(vault)}", flush=True)
        (shipment,) = kari.ls("/inbox")
        with said("get", pid):
            getting = kari.start(f"get /inbox/{shipment}/large.bin {kari.home}/got")  # without the deadline of a test
            getting.communicate()
            assert getting.returncode == 0
        print("the same bytes" if filecmp.cmp(file, kari.home / "got", shallow=False) else "OTHER BYTES")


def fill(file: Path, mib: int) -> None:
    """No two MiB of it are the same."""
    block = bytearray(os.urandom(MIB))
    with file.open("wb") as large:
        for number in range(mib):
            block[:8] = number.to_bytes(8, "big")
            large.write(block)


def reput(guest: Guest, file: Path) -> dict[str, float]:
    """Resume; answers how many seconds OPEN and CLOSE took, as the client saw it."""
    command = ["sftp", "-vvv", *guest._batch()]
    client = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=guest._env()
    )
    assert client.stdin
    assert client.stderr
    client.stdin.write(f"reput {file} /outbox/{KARI}/\n".encode())
    client.stdin.close()
    asked, since = "", 0.0
    took: dict[str, float] = {}
    for line in client.stderr:
        if asked and re.search(rb"SSH2_FXP_(WRITE|STATUS)", line):  # a handle is not told of, but what it is used for
            took[asked] = time.monotonic() - since
            asked = ""
        if sent := re.search(rb"Sent (?:dest )?message SSH2_FXP_(OPEN|CLOSE)", line):
            asked, since = sent[1].decode(), time.monotonic()
    assert client.wait() == 0
    return took


@contextmanager
def said(what: str, pid: int) -> Iterator[None]:
    """Say what it took."""
    with costing(pid) as cost:
        yield
    print(f"{what:34} {cost.seconds:6.1f} s, CPU {cost.all:6.1f} s, at most {cost.peak:6.1f} MiB", flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what:34} {time.monotonic() - began:6.1f} s", flush=True)


def lying(vault: Path) -> int:
    return sum(blobs(vault))


def blobs(vault: Path) -> list[int]:
    """The sizes of what lies in the vault."""
    return [path.stat().st_size for path in vault.rglob("*") if path.is_file()]


def wait(claim: Callable[[], object]) -> None:
    """As `until`, of what takes long."""
    end = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else LARGE)
