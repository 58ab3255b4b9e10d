"""What bad and idle clients cost a real `fxsftp serve`, in memory.

python -m bench.memory greedy        an endless window, 100,000 READs, and no answer is ever read
python -m bench.memory ahead         data out of order until it is refused, by eight drafts at once
python -m bench.memory idle [COUNT]  sessions that are logged in and say nothing (500)
python -m bench.memory folders       100,000 entries in outbox, inbox and sent, listed while another asks
"""

from __future__ import annotations

import asyncio
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path

from bench.probe import probing
from fxsftp.domain.model import Kind
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.crowds import fill_outbox, fill_rooms
from tests.fronts.sftp.raw import CREATE, TRUNCATE, Raw, W, read, write
from tests.house import ANN, BOB, KARI
from tests.walks.guests import Guest
from tests.walks.served import Served

MIB, KIB = 1 << 20, 1 << 10


def main(what: str, *more: str) -> None:
    settings = {"sftp": {"max_sessions": 2000, "max_sessions_per_user": 2000, "max_rate": 0}}
    with tempfile.TemporaryDirectory() as folder, Served(Path(folder) / "exchange", settings) as served:
        kari, ann, bob = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER), served.add(BOB, Kind.PARTNER)
        if what == "folders":
            with closing(served.exchange()) as exchange:
                kari_id, ann_id = (exchange.people.find(email).id for email in (KARI, ANN))
                fill_outbox(exchange, ann_id, KARI, [f"{number:06}.csv" for number in range(100_000)], 1e9)
                fill_rooms(exchange, ann_id, kari_id, KARI, 100_000, 1e9)
        served.serve()
        pid = served.child("sftp")
        match what:
            case "greedy":
                asyncio.run(greedy(served, kari, pid))
            case "ahead":
                asyncio.run(ahead(served, ann, pid))
            case "idle":
                asyncio.run(idle(served, ann, pid, int(more[0]) if more else 500))
            case "folders":
                folders(served, kari, ann, bob, pid)


async def greedy(served: Served, kari: Guest, pid: int) -> None:
    """Asks for 26 GB, and reads nothing."""
    async with Raw(served.port, kari.email, client_keys=[str(kari.key)]) as raw:
        path = f"/outbox/{ANN}/Ref 1/large.bin"
        handle = (await raw.open(path, W | CREATE | TRUNCATE)).handle
        for number in range(32):
            raw.send(write(number, handle, number * 256 * KIB, bytes(256 * KIB)))
            assert (await raw.answer()).code == sftp.OK
        before = rss(pid)
        raw.chan._recv_window = raw.chan._init_recv_window = 1 << 31  # what PuTTY's clients announce
        raw.chan.send_packet(93, (1 << 31 - 1).to_bytes(4, "big"))  # SSH_MSG_CHANNEL_WINDOW_ADJUST
        transport = raw.conn._transport
        assert transport
        transport.pause_reading()
        raw.send(*(read(number, handle, 0, 255 * KIB) for number in range(100_000)))
        await growth(pid, before, "a client that asks and never reads")


async def ahead(served: Served, ann: Guest, pid: int) -> None:
    """Leaves a hole at the beginning, and goes on."""
    before = rss(pid)
    async with AsyncExitStack() as stack:
        for number in range(24):
            raw = await stack.enter_async_context(Raw(served.port, ann.email, client_keys=[str(ann.key)]))
            handle = (await raw.open(f"/outbox/{KARI}/Ref 1/{number}.bin", W | CREATE | TRUNCATE)).handle
            offset, answer = 1, None
            while answer is None or answer.code == sftp.OK:
                raw.send(write(1, handle, offset, bytes(256 * KIB)))
                answer, offset = await raw.answer(), offset + 256 * KIB
            print(f"draft {number:2}: {offset / MIB:5.1f} MiB, then: {answer.text[:60]}; {rss(pid) - before:6.1f} MiB")


async def idle(served: Served, ann: Guest, pid: int, count: int) -> None:
    """Logged in, greeted, silent."""
    async with AsyncExitStack() as stack:
        for _ in range(5):  # what the first ones load stays
            await stack.enter_async_context(Raw(served.port, ann.email, client_keys=[str(ann.key)]))
        before = pss(pid)
        for _ in range(count):
            await stack.enter_async_context(Raw(served.port, ann.email, client_keys=[str(ann.key)]))
        await asyncio.sleep(2)
        after = pss(pid)
        print(f"{count} idle sessions: {KIB * (after - before) / count:.1f} KiB each ({before:.1f} -> {after:.1f} MiB)")


def folders(served: Served, kari: Guest, ann: Guest, bob: Guest, pid: int) -> None:
    """Each listed by OpenSSH's sftp; sent twice, since the first time its pages have to be made."""
    phases: list[tuple[str, int, float, float, float]] = []
    with probing(bob, served.port, f"/outbox/{KARI}/Mine") as waits:
        for guest, path in ((ann, f"/outbox/{KARI}"), (kari, "/inbox"), (ann, "/sent"), (ann, "/sent")):
            before, began = rss(pid), time.monotonic()
            line = shlex.join(["sftp", *guest._batch()])
            command = ["sh", "-c", f"echo ls -1f {path} | {line}"]
            ran = subprocess.run(command, capture_output=True, env=guest._env(), check=True)
            phases.append((path, len(ran.stdout.splitlines()), began, time.monotonic(), rss(pid) - before))
    for name, count, began, ended, grown in phases:
        print(f"{name:24} {count} names in {ended - began:5.1f} s, {grown:+5.1f} MiB   {waits.within(began, ended)}")


async def growth(pid: int, before: float, who: str) -> None:
    """The most that it grew by in ten seconds."""
    most = 0.0
    for _ in range(100):
        await asyncio.sleep(0.1)
        most = max(most, rss(pid) - before)
    print(f"{who}: at most {most:.1f} MiB, in the end {rss(pid) - before:.1f} MiB")


def rss(pid: int) -> float:
    """Resident memory, in MiB."""
    return _of(pid, "status", "VmRSS")


def pss(pid: int) -> float:
    """Its share of the memory, in MiB."""
    return _of(pid, "smaps_rollup", "Pss")


def _of(pid: int, file: str, key: str) -> float:
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) / KIB


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    main(*sys.argv[1:])
