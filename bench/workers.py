"""What a second process at the port gains, and what it costs: eight clients at once, with one worker and with two.

    python -m bench.workers [ROUNDS] [MIB]

A real `fxsftp serve` on this machine's disk and OpenSSH's sftp as the clients, who take their share of the same cores:
on a machine with few, wall time says less than it seems to.  Server CPU is that of all its processes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.peers.accounts import Meter, anonymous_below
from bench.peers.client import Client, once
from bench.peers.contestants import Contestant, Ours, make_key
from bench.peers.works import MIB, Files, UploadMany, Work


class One(Ours):
    name, workers = "1 worker", "1"


class Two(Ours):
    name, workers = "2 workers", "2"


class FillMany(UploadMany):
    """Eight who each put a folder of small files: they wait for each other's rows, in whichever process."""

    unit = "files"

    @property
    def amount(self) -> float:
        return self.COUNT * self.files.count

    def turn(self, contestant: Contestant, number: int) -> float:
        clients = [Client(contestant.sender) for _ in range(self.COUNT)]
        began = time.perf_counter()
        for index, client in enumerate(clients):
            client.begin(f"put -r {self.files.tree} {contestant.home}/folder-{number}-{index}")
        for client in clients:
            client.end()
        taken = time.perf_counter() - began
        for client in clients:
            client.__exit__(None, None, None)
        return taken

    def tidy(self, contestant: Contestant, number: int) -> None:
        once(contestant.sender, *(f"rm {contestant.home}/folder-{number}-{index}/*" for index in range(self.COUNT)))


def main(rounds: int, mib: int) -> None:
    with tempfile.TemporaryDirectory() as disk, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        files, key = Files(Path(memory), 1, mib, 100), Path(memory) / "key"
        make_key(key)
        works = [UploadMany("8 uploads at once", files), FillMany("8 folders at once", files)]
        print(f"{'':20} {'':10} {'per s':>10} {'CPU s':>8} {'memory':>8}   of {rounds} rounds, {os.cpu_count()} cores")
        standing: list[Contestant] = [each(Path(disk), key) for each in (One, Two)]
        try:
            for contestant in standing:
                contestant.start()
            for work in works:
                compare(work, standing, rounds)
        finally:
            for contestant in standing:
                contestant.stop()


def compare(work: Work, standing: Sequence[Contestant], rounds: int) -> None:
    """Each in turn, A B B A."""
    found: dict[str, list[tuple[float, float]]] = {contestant.name: [] for contestant in standing}
    for number in range(rounds):
        for contestant in standing[:: -1 if number % 2 else 1]:
            os.sync()
            with Meter(contestant.pid) as meter:
                seconds = work.turn(contestant, number)
            work.tidy(contestant, number)
            found[contestant.name].append((work.amount / seconds, meter.seconds))
    for contestant in standing:
        rate, cpu = (median(column) for column in zip(*found[contestant.name], strict=True))
        memory = anonymous_below(contestant.pid) / MIB
        print(f"{work.name:20} {contestant.name:10} {rate:6.0f} {work.unit:3} {cpu:8.2f} {memory:4.0f} MiB")


if __name__ == "__main__":
    main(*([int(word) for word in sys.argv[1:]] + [5, 64][len(sys.argv) - 1 :]))
