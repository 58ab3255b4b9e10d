"""Fifty clients of every sort lean on one `fxsftp serve` for minutes: nothing fails, leaks, grows or comes twice.

FXSFTP_SOAK_SECONDS says for how long (600).  Each client is a thread that walks up again and again, by OpenSSH's
sftp, by lftp, by paramiko or with packets of its own; every file that was closed is remembered by its name and hash,
and looked for at the end.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from fxsftp.domain.model import Kind
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.raw import CREATE, TRUNCATE, R, Raw, W, string, write
from tests.house import KARI
from tests.walks.guests import Guest, until
from tests.walks.served import Served

SECONDS = float(os.environ.get("FXSFTP_SOAK_SECONDS", "600"))
CLIENTS, SENDERS = 50, 8
GROWTH = 16  # MiB that the last quarter may lie above the one before it; allocators are not exact
BLOBS = 256  # descriptors of bodies that the vault keeps at hand
OTHERS = 60  # descriptors besides sockets and bodies: databases, by thread, and what Python needs


class Soak:
    """The clients, what they have put, and what they found wrong."""

    def __init__(self, served: Served, kari: Guest, senders: list[Guest]) -> None:
        self.served, self.kari, self.senders = served, kari, senders
        self.put: dict[str, str] = {}  # the SHA-256 of every file that was closed, by its name
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.ends = time.monotonic() + SECONDS
        self._names = itertools.count(1)
        self._lock = threading.Lock()

    def client(self, number: int) -> None:
        """One client's life."""
        chance = random.Random(number)
        ways: list[Callable[[Guest, random.Random], None]] = [
            self.by_sftp, self.by_lftp, self.by_paramiko, self.by_packets, self.cut_and_resumed, self.fetching,
        ]  # fmt: skip
        guest = self.guest(number)
        while time.monotonic() < self.ends and len(self.wrong) < 10:
            way = ways[number % len(ways)]
            try:
                way(guest, chance)
            except BaseException as error:  # noqa: BLE001  # told at the end
                self.wrong.append(f"{way.__name__}: {error!r}"[:500])
            else:
                with self._lock:
                    self.done[way.__name__] += 1

    def guest(self, number: int) -> Guest:
        """One of the senders, with a home of its own: clients write there while others read."""
        sender = self.senders[number % len(self.senders)]
        guest = Guest(self.served, sender.email, key=sender.key)
        guest.home = sender.home / f"client-{number}"
        guest.home.mkdir()
        return guest

    def file(self, guest: Guest, chance: random.Random, most: int = 300_000) -> tuple[Path, str]:
        """A new file of its own name, and the folder of an outbox that it is for."""
        with self._lock:
            name = f"file-{next(self._names)}.bin"
        path = guest.file(chance.randbytes(chance.randrange(1, most)), name)
        return path, f"/outbox/{KARI}/Ref {path.stem}"

    def closed(self, path: Path) -> None:
        self.put[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        path.unlink()

    # ---- ways to send

    def by_sftp(self, guest: Guest, chance: random.Random) -> None:
        """Under a name that says it is not whole, and then under its own."""
        path, folder = self.file(guest, chance)
        lines = [f'mkdir "{folder}"', f'put {path} "{folder}/{path.name}.part"']
        lines += [f'rename "{folder}/{path.name}.part" "{folder}/{path.name}"', f'ls -l "{folder}"']
        guest._must(guest.sftp(*lines))
        self.closed(path)

    def by_lftp(self, guest: Guest, chance: random.Random) -> None:
        path, folder = self.file(guest, chance)
        connect = f"ssh -a -x {' '.join(guest._trust())} -o BatchMode=yes"
        script = f'set sftp:connect-program "{connect}"; set net:max-retries 1; set cmd:fail-exit yes;'
        script += f"open -u {guest.email}, -p {self.served.port} sftp://127.0.0.1;"
        script += f' mkdir -p "{folder}"; put -c {path} -o "{folder}/{path.name}"; cls "{folder}"'
        ran = subprocess.run(
            ["lftp", "-c", script], capture_output=True, text=True, env=guest._env(), cwd=guest.home, timeout=120
        )
        assert ran.returncode == 0, ran.stderr
        self.closed(path)

    def by_paramiko(self, guest: Guest, chance: random.Random) -> None:
        path, folder = self.file(guest, chance)
        with guest.paramiko() as client:
            client.put(str(path), f"{folder}/{path.name}")
            client.listdir(folder)
        self.closed(path)

    def by_packets(self, guest: Guest, chance: random.Random) -> None:
        """Out of order, and beside it handles that are left open."""
        path, folder = self.file(guest, chance)
        data = path.read_bytes()

        async def walk() -> None:
            async with Raw(self.served.port, guest.email, client_keys=[str(guest.key)]) as raw:
                await raw.ask(sftp.OPENDIR, string("/outbox"))
                await raw.open("/README.txt", R)
                handle = (await raw.open(f"{folder}/{path.name}", W | CREATE | TRUNCATE)).handle
                starts = list(range(0, len(data), 16384))
                chance.shuffle(starts)
                raw.send(*(write(start, handle, start, data[start : start + 16384]) for start in starts))
                assert all(answer.code == sftp.OK for answer in await raw.answers(len(starts)))
                closed = await raw.ask(sftp.CLOSE, string(handle))
                assert closed.code == sftp.OK, closed.text

        asyncio.run(walk())
        self.closed(path)

    def cut_and_resumed(self, guest: Guest, chance: random.Random) -> None:
        """Killed in the middle, and taken up again where it was."""
        path, folder = self.file(guest, chance, 3_000_000)
        remote = f"{folder}/{path.name}"
        client = guest.start(f'mkdir "{folder}"', f'put {path} "{remote}"', slowly=True)
        try:
            client.wait(chance.uniform(0.3, 2))
        except subprocess.TimeoutExpired:
            client.kill()
        client.wait()
        until(lambda: self._taken_up(guest, path, remote))
        self.closed(path)

    def _taken_up(self, guest: Guest, path: Path, remote: str) -> bool:
        """Whether the rest is there now.  Who was killed does not know whether all was: the size says so."""
        there = [line.split() for line in guest.sftp(f'ls -ln "{remote}"').out.splitlines() if line.startswith("-rw")]
        size = int(there[0][4]) if there else 0
        if size == path.stat().st_size:
            return True
        return guest.sftp(f'{"reput" if size else "put"} {path} "{remote}"').status == 0

    # ---- and to fetch

    def fetching(self, _: Guest, chance: random.Random) -> None:
        """Whatever is fetched is one of those that were put, byte by byte."""

        async def walk() -> None:
            async with Raw(self.served.port, KARI, client_keys=[str(self.kari.key)]) as raw:
                folders = await raw.list("/inbox")
                for folder in chance.sample(folders, min(3, len(folders))):
                    for name in await raw.list(f"/inbox/{folder}"):
                        data = await raw.get(f"/inbox/{folder}/{name}")
                        if name in self.put:
                            assert hashlib.sha256(data).hexdigest() == self.put[name], name
                space = await raw.ask(sftp.EXTENDED, string("statvfs@openssh.com"), string("/"))
                assert space.kind == sftp.REPLY

        asyncio.run(walk())
        time.sleep(0.2)  # a person reads what came


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 600)
def test_fifty_mixed_clients_for_minutes(tmp_path: Path) -> None:
    """No error, every closed file delivered exactly once, and the server is afterwards as it was before."""
    # All fifty come from one address and as one person knocks; what a flood may do is tested elsewhere.
    limits = {"sftp": {"max_sessions_per_user": 100, "max_startups": "200:30:400", "max_rate": 0}}
    with Served(tmp_path / "exchange", limits) as served:
        kari = served.add(KARI, Kind.MEMBER)
        soak = Soak(served, kari, [served.add(f"ann{n}@firm.example", Kind.PARTNER) for n in range(SENDERS)])
        served.serve()
        pid = served.child("sftp")
        sockets = descriptors(pid)["socket"]
        memory: list[float] = []
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(soak.client, number) for number in range(CLIENTS)]
            while not all(client.done() for client in clients):
                memory.append(resident(pid))
                time.sleep(1)
        assert not soak.wrong, "\n".join(soak.wrong)

        until(lambda: len(delivered(served)) >= len(soak.put), 120)
        assert delivered(served) == Counter(soak.put.items())
        with closing(served.exchange()) as exchange:
            until(lambda: not exchange._holdings.registry.writers.being_written())
        until(lambda: descriptors(pid)["socket"] <= sockets)
        left = descriptors(pid)
        print(f"{len(soak.put)} files; {dict(soak.done)}; descriptors {dict(left)}")
        assert left["blob"] <= BLOBS
        assert left["other"] <= OTHERS

        quarter = len(memory) // 4
        third, fourth = (statistics.median(memory[n * quarter : (n + 1) * quarter]) for n in (2, 3))
        print(f"memory: {[round(each) for each in memory[:: max(1, len(memory) // 20)]]} MiB")
        assert fourth - third < GROWTH
        assert served.child("sftp") == pid
        said = served.log()
        assert " ERROR " not in said
        assert "Traceback" not in said
        assert served.stop() == 0


def delivered(served: Served) -> Counter[tuple[str, str]]:
    """Every file of every shipment that left, with its hash: how often."""
    return Counter(
        (file.name, file.sha256 or "") for sent in served.shipments() if sent.deliveries for file in sent.files
    )


def descriptors(pid: int) -> Counter[str]:
    """What a process has open, by kind."""
    found: Counter[str] = Counter()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(each.readlink())
        except FileNotFoundError:
            continue
        found["socket" if target.startswith("socket:") else "blob" if "/vault/" in target else "other"] += 1
    return found


def resident(pid: int) -> float:
    """MiB of memory in use."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
