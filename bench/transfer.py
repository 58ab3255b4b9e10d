"""What moving one large file costs a real `fxsftp serve`: CPU seconds per GiB, of its loop and of all its threads.

    python -m bench.transfer [MIB] [--runs N] [--against FOLDER]

OpenSSH's sftp puts a file, and its recipient gets it by `session` delivery; with aes128-gcm, and with what the
client prefers.  With `--against`, another checkout of this project is served too, by turns: on a machine that others
use as well, only what was measured side by side can be compared.  The loop is a server's first thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fxsftp.domain.model import Kind
from tests.house import ANN, KARI
from tests.walks import served as walks
from tests.walks.guests import ROOT, Guest, until

MIB, GIB = 1 << 20, 1 << 30
TICKS = os.sysconf("SC_CLK_TCK")
CIPHERS = {"aes128-gcm": ["-c", "aes128-gcm@openssh.com"], "default": []}


@dataclass
class Cost:
    """What one transfer took."""

    seconds: float = 0
    loop: float = 0  # CPU seconds of the loop's thread
    all: float = 0  # CPU seconds of all threads
    peak: float = 0  # MiB resident at most


@dataclass
class Contestant:
    """A checkout that is served, with a sender and a recipient."""

    name: str
    served: walks.Served
    ann: Guest
    kari: Guest
    costs: dict[str, list[Cost]] = field(default_factory=lambda: defaultdict(list))

    @property
    def pid(self) -> int:
        """The process that speaks SFTP."""
        return self.served.child("sftp")

    def measure(self, work: str, guest: Guest, line: str, options: list[str]) -> None:
        """Note what one line of `sftp` costs."""
        with costing(self.pid) as cost:
            guest._must(guest.sftp(line, options=options))
        self.costs[work].append(cost)


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("mib", nargs="?", type=int, default=512)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--against", type=Path)
    asked = words.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "large.bin"
        with file.open("wb") as large:
            for _ in range(asked.mib):
                large.write(os.urandom(MIB))
        contestants = [serve(stack, "here", folder / "here", ROOT)]
        if asked.against:
            contestants.insert(0, serve(stack, "there", folder / "there", asked.against.resolve()))
        for run in range(asked.runs):
            for cipher, options in CIPHERS.items():
                for each in contestants:
                    move(each, file, f"{cipher}-{run}", cipher, options)
        report(contestants, file.stat().st_size)


def serve(stack: ExitStack, name: str, folder: Path, checkout: Path) -> Contestant:
    """Start one; what `python -m fxsftp` finds first is the folder it is started in."""
    folder.mkdir()
    served = stack.enter_context(walks.Served(folder / "exchange", checkout=checkout))
    ann, kari = served.add(ANN, Kind.PARTNER), served.add(KARI, Kind.MEMBER)
    served.serve()
    assert Path(f"/proc/{served.child('sftp')}/cwd").resolve() == checkout
    return Contestant(name, served, ann, kari)


def move(each: Contestant, file: Path, name: str, cipher: str, options: list[str]) -> None:
    """Put, wait for the shipment, get."""
    each.measure(f"up, {cipher}", each.ann, f"put {file} /outbox/{KARI}/{name}", options)
    until(lambda: each.kari.ls("/inbox"))
    (shipment,) = each.kari.ls("/inbox")
    into = each.kari.home / "got"
    each.measure(f"down, {cipher}", each.kari, f"get /inbox/{shipment}/{name} {into}", options)
    into.unlink()
    each.kari._must(each.kari.sftp(f"rm /inbox/{shipment}/*", f"rmdir /inbox/{shipment}"))


@contextmanager
def costing(pid: int) -> Iterator[Cost]:
    """Measure a process."""
    cost = Cost()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak so far
    began, loop, all_ = time.monotonic(), cpu(f"{pid}/task/{pid}"), cpu(f"{pid}")
    yield cost
    cost.seconds = time.monotonic() - began
    cost.loop, cost.all = cpu(f"{pid}/task/{pid}") - loop, cpu(f"{pid}") - all_
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    cost.peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def cpu(where: str) -> float:
    """User and system seconds so far."""
    fields = Path(f"/proc/{where}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def report(contestants: list[Contestant], size: int) -> None:
    print(f"{size / MIB:.0f} MiB; medians of {len(next(iter(contestants[0].costs.values())))}; CPU seconds per GiB")
    print(f"{'':20} {'':8} {'loop':>6} {'all':>6} {'MiB/s':>7} {'peak MiB':>9}")
    for work in contestants[0].costs:
        for each in contestants:
            costs = each.costs[work]
            loop, all_, seconds, peak = (
                statistics.median(getattr(cost, name) for cost in costs) for name in ("loop", "all", "seconds", "peak")
            )
            per = GIB / size
            print(
                f"{work:20} {each.name:8} {loop * per:6.2f} {all_ * per:6.2f} {size / MIB / seconds:7.1f} {peak:9.1f}"
            )


if __name__ == "__main__":
    main()
