"""What one small file costs a real `fxsftp serve`: CPU milliseconds of its SFTP process, up and down.

    python -m bench.small [COUNT] [--runs N] [--against FOLDER] [--folder FOLDER]

OpenSSH's sftp puts and gets a folder of files of 4 KiB in one session that was there before.  With `--against`, another
checkout of this project is served too, by turns: on a machine that others use as well, only what was measured side by
side can be compared.  The two must have the same registry; else run this in one and in the other, by turns.  One worker
serves, so that there is one process to look at.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.client import Address, Client, command
from bench.transfer import cpu
from fxsftp.domain.model import Kind
from tests.house import ANN, KARI
from tests.walks import served as walks
from tests.walks.guests import ROOT, Guest

EACH = 4096  # bytes
# Nothing leaves by itself in the middle of a turn; `send` is said for what is to be downloaded.
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "exchange": dict.fromkeys(("settle_loose", "settle_folder", "settle_connected", "settle_suspect"), "1 h"),
    "sftp": {"workers": 1},
}


@dataclass
class Contestant:
    """A checkout that is served, with a sender and a recipient, and what each turn cost: CPU and other seconds."""

    name: str
    served: walks.Served
    ann: Guest
    kari: Guest
    costs: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def address(self, guest: Guest) -> Address:
        host_key = (self.served.folder / "ssh_host_ed25519_key.pub").read_text()
        assert guest.key
        return Address(self.served.port, guest.email, guest.key, host_key)

    def measure(self, work: str, guest: Guest, line: str) -> None:
        """Note what one line costs, said by a client that is logged in."""
        with Client(self.address(guest)) as client, self._costing(work):
            client.do(line)

    @contextmanager
    def _costing(self, work: str) -> Iterator[None]:
        pid, began = self.served.child("sftp"), time.monotonic()
        before = cpu(f"{pid}")
        yield
        self.costs[work].append((cpu(f"{pid}") - before, time.monotonic() - began))

    def shipment(self, subject: str) -> str:
        (found,) = [one.shipment.id for one in self.served.shipments() if one.shipment.subject == subject]
        return found


def main() -> None:
    words = argparse.ArgumentParser("bench.small")
    words.add_argument("count", nargs="?", type=int, default=2000)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--against", type=Path)
    words.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to be used (%(default)s)")
    asked = words.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=asked.folder)))
        tree = folder / "tree"
        tree.mkdir()
        for number in range(asked.count):
            (tree / f"{number:05}.csv").write_bytes(os.urandom(EACH))
        contestants = [serve(stack, "here", folder / "here", ROOT)]
        if asked.against:
            contestants.insert(0, serve(stack, "there", folder / "there", asked.against.resolve()))
        for run in range(asked.runs):
            for each in contestants[:: 1 if run % 2 else -1]:
                os.sync()
                move(each, tree, f"Round-{run}", folder / "got")
        report(contestants, asked.count)


def serve(stack: ExitStack, name: str, folder: Path, checkout: Path) -> Contestant:
    """Start one; what `python -m fxsftp` finds first is the folder it is started in."""
    folder.mkdir()
    served = stack.enter_context(walks.Served(folder / "exchange", SETTINGS, checkout=checkout))
    ann, kari = served.add(ANN, Kind.PARTNER), served.add(KARI, Kind.MEMBER)
    served.serve()
    assert Path(f"/proc/{served.child('sftp')}/cwd").resolve() == checkout
    return Contestant(name, served, ann, kari)


def move(each: Contestant, tree: Path, subject: str, into: Path) -> None:
    """Put all, send, get all."""
    each.measure("up", each.ann, f"put -r {tree} /outbox/{KARI}/{subject}")
    command(each.address(each.ann), f"send {subject}")
    each.measure("down", each.kari, f"get -r /inbox/{each.shipment(subject)} {into}")
    names = [path.name for path in tree.iterdir()]
    assert filecmp.cmpfiles(tree, into, names, shallow=False)[1:] == ([], [])
    shutil.rmtree(into)


def report(contestants: list[Contestant], count: int) -> None:
    print(f"{count} files of {EACH} bytes; medians of {len(contestants[0].costs['up'])}; per file")
    print(f"{'':10} {'':8} {'CPU ms':>8} {'ms':>8}")
    for work in contestants[0].costs:
        for each in contestants:
            spent, took = (statistics.median(cost[index] for cost in each.costs[work]) for index in (0, 1))
            print(f"{work:10} {each.name:8} {spent * 1000 / count:8.2f} {took * 1000 / count:8.2f}")


if __name__ == "__main__":
    main()
