"""What listing a long folder costs: CPU of the server, CPU of the client and time, for each name.

    python -m bench.listing [COUNT] [--runs N] [--against FOLDER] [--ssh]

OpenSSH's sftp lists four folders of a real `fxsftp serve`, in sessions that were there before: one of an outbox, the
inbox, and a shipment in it, in plain and locked.  With `--against`, another checkout is served too, by turns, as in
`bench.small`; with `--ssh`, OpenSSH's sshd is asked for a folder of as many empty files.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers import contestants
from bench.peers.accounts import below
from bench.peers.client import Address, Client
from fxsftp.domain.model import Kind
from tests.fronts.sftp.crowds import fill_outbox, fill_rooms, fill_shipment
from tests.house import ANN, KARI
from tests.walks.guests import ROOT
from tests.walks.served import Served

SETTINGS: Mapping[str, Mapping[str, object]] = {"sftp": {"workers": 1}}


@dataclass
class Contestant:
    """Who lists what, and what each turn cost: CPU of the server and of the client, and seconds."""

    name: str
    pid: Callable[[], int]  # the root of the tree of processes that serve
    folders: Mapping[str, tuple[Address, str]]
    costs: dict[str, list[tuple[float, float, float]]] = field(default_factory=lambda: defaultdict(list))

    def measure(self, work: str, count: int) -> None:
        """Note what one listing costs, asked for by a client that is logged in."""
        address, path = self.folders[work]
        with Client(address) as client, Books(self.pid()) as server, Books(client._process.pid) as its:
            began = time.perf_counter()
            said = client.do(f"ls -1f {path}")
            took = time.perf_counter() - began
        assert len(said) >= count, f"{self.name}: {len(said)} names"
        self.costs[work].append((server.seconds, its.seconds, took))


class Books:
    """`with Books(pid) as books:` … and then `books.seconds`: CPU of a tree of processes, none of which may end."""

    def __init__(self, root: int) -> None:
        self._root, self.seconds = root, 0.0

    def __enter__(self) -> Books:
        self.seconds = -self._used()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += self._used()

    def _used(self) -> float:
        """In nanoseconds, where /proc/…/stat has hundredths of seconds."""
        tasks = [task for pid in below(self._root) for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def main() -> None:
    words = argparse.ArgumentParser("bench.listing")
    words.add_argument("count", nargs="?", type=int, default=10_000)
    words.add_argument("--runs", type=int, default=5)
    words.add_argument("--against", type=Path)
    words.add_argument("--ssh", action="store_true")
    words.add_argument("--only", action="append", default=[], help="of the works; repeatable")
    asked = words.parse_args()
    names = [f"{number:05}-of-many.csv" for number in range(asked.count)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        listed = [serve(stack, "here", folder / "here", ROOT, names)]
        if asked.against:
            listed.insert(0, serve(stack, "there", folder / "there", asked.against.resolve(), names))
        if asked.ssh:
            listed.append(stack.enter_context(openssh(folder, names)))
        works = [work for work in listed[0].folders if not asked.only or work in asked.only]
        for run in range(asked.runs):
            for work in works:
                for each in listed[:: 1 if run % 2 else -1]:
                    if work in each.folders:
                        each.measure(work, asked.count)
        report(works, listed, asked.count)


def serve(stack: ExitStack, name: str, folder: Path, checkout: Path, names: Sequence[str]) -> Contestant:
    """Fill one and start it; what `python -m fxsftp` finds first is the folder it is started in."""
    folder.mkdir()
    served = stack.enter_context(Served(folder / "exchange", SETTINGS, checkout=checkout))
    ann, kari = served.add(ANN, Kind.PARTNER), served.add(KARI, Kind.MEMBER)
    now = time.time()
    with closing(served.exchange()) as exchange:
        ann_id, kari_id = (exchange.people.find(email).id for email in (ANN, KARI))
        fill_outbox(exchange, ann_id, KARI, names, now)
        fill_rooms(exchange, ann_id, kari_id, KARI, len(names), now)
        plain = fill_shipment(exchange, ann_id, kari_id, KARI, names, "session", now)
        locked = fill_shipment(exchange, ann_id, kari_id, KARI, names, "code", now)
    served.serve()
    host_key = (served.folder / "ssh_host_ed25519_key.pub").read_text()
    assert ann.key
    assert kari.key
    sender = Address(served.port, ANN, ann.key, host_key)
    recipient = Address(served.port, KARI, kari.key, host_key)
    folders = {
        "outbox": (sender, f"/outbox/{KARI}"),
        "inbox": (recipient, "/inbox"),
        "shipment": (recipient, f"/inbox/{plain}"),
        "locked": (recipient, f"/inbox/{locked}"),
    }
    return Contestant(name, lambda: served.child("sftp"), folders)


@contextmanager
def openssh(folder: Path, names: Sequence[str]) -> Iterator[Contestant]:
    """sshd, with the sftp server that is in it."""
    contestants.make_key(folder / "key")
    peer = contestants.OpenSsh(folder, folder / "key")
    try:
        peer.start()
        for old in Path(peer.listed).iterdir():
            old.unlink()
        for name in names:
            (Path(peer.listed) / name).touch()
        yield Contestant(peer.name, lambda: peer.pid, {"outbox": (peer.sender, peer.listed)})
    finally:
        peer.stop()


def report(works: Sequence[str], listed: Sequence[Contestant], count: int) -> None:
    print(f"{count} names; medians of {len(listed[0].costs[works[0]])}, and the least; microseconds each")
    print(f"{'':10} {'':8} {'server CPU':>16} {'client CPU':>16} {'time':>16}")
    for work in works:
        for each in listed:
            if work in each.folders:
                columns = zip(*each.costs[work], strict=True)
                said = [f"{statistics.median(one) * 1e6 / count:8.1f} {min(one) * 1e6 / count:7.1f}" for one in columns]
                print(f"{work:10} {each.name:8} {' '.join(said)}")


if __name__ == "__main__":
    main()
