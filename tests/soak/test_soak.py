"""Fifty clients of every sort lean on one `fxsftp serve` for minutes: nothing fails, leaks, grows or comes twice.

FXSFTP_SOAK_SECONDS says for how long (600).  Each client is a thread that walks up again and again, by OpenSSH's
sftp, by lftp, by paramiko or with packets of its own; every file that was closed is remembered by its name and hash,
and looked for at the end.  There are as many workers as by default, and KILLS times one of them dies by kill -9: whom
it served comes back and goes on with what is there, and whom another served must not notice.  Each client comes from
an address of its own, so that it is known who was served by whom.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import socket
import statistics
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from fxsftp.domain.model import Kind
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.raw import CREATE, TRUNCATE, R, Raw, W, string, write
from tests.house import KARI
from tests.walks.guests import Guest, Ran, until
from tests.walks.served import Served
from tests.walks.test_workers import holds_the_turn, kill, open_files, workers

SECONDS = float(os.environ.get("FXSFTP_SOAK_SECONDS", "600"))
CLIENTS, SENDERS = 50, 8
AUTO = "auto" if len(os.sched_getaffinity(0)) > 1 else "2"  # workers; one of several is to die
KILLS = 4  # a tenth of the time apart, from the first tenth on: the second half is left to see what grows
GROWTH = 16  # MiB that the last quarter may lie above the one before it; allocators are not exact
BLOBS = 256  # descriptors of bodies that the vault keeps at hand
OTHERS = 60  # descriptors besides sockets and bodies: databases, by thread, and what Python needs
CUT_OFF = 255  # exit status of sftp; it is 1 when a file is not there

Way = Callable[[Guest, Path, str, bool], None]


@dataclass(frozen=True)
class Death:
    """One worker's."""

    buried: float  # when
    clients: int  # whom it served
    files: int  # that it had open
    untouched: frozenset[str]  # the addresses of those whom others served meanwhile


class Soak:
    """The clients, what they have put, and what they found wrong."""

    def __init__(self, served: Served, kari: Guest, senders: list[Guest]) -> None:
        self.served, self.kari, self.senders = served, kari, senders
        self.put: dict[str, str] = {}  # the SHA-256 of every file that was closed, by its name
        self.done: Counter[str] = Counter()
        self.back: Counter[str] = Counter()  # of whom a death had cut off
        self.resumed: Counter[str] = Counter()  # and of whom it had left something to go on with
        self.deaths: list[Death] = []
        self.wrong: list[str] = []
        self.began = self.ends = time.monotonic()
        self._names = itertools.count(1)
        self._lock, self._dying = threading.Lock(), threading.Lock()

    def begin(self) -> None:
        """From now on."""
        self.began = time.monotonic()
        self.ends = self.began + SECONDS

    def client(self, number: int) -> None:
        """One client's life."""
        chance = random.Random(number)
        ways: list[Callable[[Guest, random.Random], None]] = [
            self.sending(self.by_sftp), self.sending(self.by_lftp), self.sending(self.by_paramiko),
            self.sending(self.by_packets), self.cut_and_resumed, self.fetching,
        ]  # fmt: skip
        way = ways[number % len(ways)]
        guest = self.guest(number)
        while time.monotonic() < self.ends and len(self.wrong) < 10:
            try:
                way(guest, chance)
            except BaseException as error:  # noqa: BLE001  # told at the end
                self.wrong.append(f"{way.__name__}: {error!r}"[:500])
            else:
                with self._lock:
                    self.done[way.__name__] += 1

    def guest(self, number: int) -> Guest:
        """One of the senders or who reads, with a home and an address of its own: clients write while others read."""
        guest = Guest(self.served, self.senders[number % len(self.senders)].email)
        guest.key = self.senders[number % len(self.senders)].key
        guest.address = f"127.0.1.{number + 1}"
        guest.home /= f"client-{number}"
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

    # ---- who dies

    def has_to_kill(self) -> bool:
        """Whether it is time."""
        count = len(self.deaths)
        return count < KILLS and time.monotonic() > self.began + SECONDS / 10 * (count + 1)

    def kill(self, pid: int) -> None:
        """One worker, in the middle of its work; returns when another is in its place, and nothing is open for it."""
        name = signature(pid)
        with closing(self.served.exchange()) as exchange:
            rows = exchange._holdings.registry.writers
            count, others = len(workers(self.served)), set(workers(self.served)) - {pid}
            until(lambda: rows.written_by(name))
            with self._dying:
                before, files = connections(self.served), len(rows.written_by(name))
                kill(self.served, pid)
                after = connections(self.served)
                stayed = {end for other in others for end in before[other] & after[other]}
                untouched = {address for address, _ in stayed} - {address for address, _ in before[pid]}
                self.deaths.append(Death(time.monotonic(), len(before[pid]), files, frozenset(untouched)))
            until(lambda: len(workers(self.served)) == count)
            until(lambda: not rows.written_by(name))
            assert others < set(workers(self.served)), "another died with it"

    def was_cut_off(self, guest: Guest, began: float) -> bool:
        """Whether who fails now, having begun then, may say that a worker has died under it."""
        with self._dying:
            meanwhile = [death for death in self.deaths if death.buried >= began]
        return any(guest.address not in death.untouched for death in meanwhile)

    # ---- ways to send

    def sending(self, way: Way) -> Callable[[Guest, random.Random], None]:
        """A new file in this way, again and again until it is there; only a death is a reason to begin again."""

        def send(guest: Guest, chance: random.Random) -> None:
            path, folder = self.file(guest, chance)
            is_back = False
            while True:
                began = time.monotonic()
                try:
                    way(guest, path, folder, is_back)
                    break
                except Exception:  # whatever the client makes of it
                    if not self.was_cut_off(guest, began):
                        raise
                    is_back = self.comes_back(way.__name__)
            self.closed(path)

        send.__name__ = way.__name__
        return send

    def comes_back(self, way: str) -> bool:
        with self._lock:
            self.back[way] += 1
        return True

    def goes_on(self, way: str, size: int) -> None:
        with self._lock:
            self.resumed[way] += size > 0

    def by_sftp(self, guest: Guest, path: Path, folder: str, is_back: bool) -> None:
        """Under a name that says it is not whole, and then under its own."""
        part, size = f"{folder}/{path.name}.part", 0
        if is_back:
            there = sizes(guest._must(guest.sftp(f'-mkdir "{folder}"', f'ls -ln "{folder}"')))
            if path.name in there:
                return
            size = there.get(f"{path.name}.part", 0)
            self.goes_on("by_sftp", size)
        lines = [] if is_back else [f'mkdir "{folder}"']
        lines += [f'{"reput" if size else "put"} {path} "{part}"'] if size < path.stat().st_size else []
        lines += [f'rename "{part}" "{folder}/{path.name}"', f'ls -l "{folder}"']
        guest._must(guest.sftp(*lines))

    def by_lftp(self, guest: Guest, path: Path, folder: str, is_back: bool) -> None:
        """It finds out by itself how much is there, but would not take a file that has left for one that is whole."""
        if is_back:
            there = sizes(guest._must(guest.sftp(f'-mkdir "{folder}"', f'ls -ln "{folder}"')))
            self.goes_on("by_lftp", there.get(path.name, 0))
            if there.get(path.name) == path.stat().st_size:
                return
        connect = f"ssh -a -x {' '.join(guest._trust())} -o BatchMode=yes"
        script = f'set sftp:connect-program "{connect}"; set net:max-retries 1; set cmd:fail-exit yes;'
        script += f"open -u {guest.email}, -p {self.served.port} sftp://127.0.0.1;"
        script += "" if is_back else f' mkdir -p "{folder}";'
        script += f' put -c {path} -o "{folder}/{path.name}"; cls "{folder}"'
        ran = subprocess.run(
            ["lftp", "-c", script], capture_output=True, text=True, env=guest._env(), cwd=guest.home, timeout=120
        )
        assert ran.returncode == 0, ran.stderr

    def by_paramiko(self, guest: Guest, path: Path, folder: str, is_back: bool) -> None:
        with guest.paramiko() as client:
            if is_back:
                self._rest_by_paramiko(client, path, f"{folder}/{path.name}")
            else:
                client.put(str(path), f"{folder}/{path.name}")
            client.listdir(folder)

    def _rest_by_paramiko(self, client: paramiko.SFTPClient, path: Path, remote: str) -> None:
        try:
            size = client.stat(remote).st_size or 0
        except FileNotFoundError:
            size = 0
        self.goes_on("by_paramiko", size)
        if size < path.stat().st_size:
            with client.open(remote, "ab" if size else "wb") as file:
                file.write(path.read_bytes()[size:])

    def by_packets(self, guest: Guest, path: Path, folder: str, is_back: bool) -> None:
        """Out of order, and beside it handles that are left open."""
        data, remote = path.read_bytes(), f"{folder}/{path.name}"

        async def walk() -> None:
            async with self.raw(guest) as raw:
                size = 0
                if is_back:
                    found = await raw.ask(sftp.STAT, string(remote))
                    size = found.size if found.kind == sftp.ATTRS else 0
                    self.goes_on("by_packets", size)
                    if size == len(data):
                        return
                await raw.ask(sftp.OPENDIR, string("/outbox"))
                await raw.open("/README.txt", R)
                handle = (await raw.open(remote, W | CREATE | (0 if size else TRUNCATE))).handle
                starts = list(range(size, len(data), 16384))
                random.shuffle(starts)
                raw.send(*(write(start, handle, start, data[start : start + 16384]) for start in starts))
                assert all(answer.code == sftp.OK for answer in await raw.answers(len(starts)))
                closed = await raw.ask(sftp.CLOSE, string(handle))
                assert closed.code == sftp.OK, closed.text

        asyncio.run(walk())

    def raw(self, guest: Guest) -> Raw:
        return Raw(self.served.port, guest.email, client_keys=[str(guest.key)], local_addr=(guest.address, 0))

    def cut_and_resumed(self, guest: Guest, chance: random.Random) -> None:
        """Killed in the middle, and taken up again where it was."""
        path, folder = self.file(guest, chance, 3_000_000)
        remote = f"{folder}/{path.name}"
        began, cut = time.monotonic(), chance.uniform(0.3, 2)
        client = guest.start(f'mkdir "{folder}"', f'put {path} "{remote}"', slowly=True)
        try:
            client.wait(cut)
        except subprocess.TimeoutExpired:
            client.kill()
        else:
            is_cut_off = client.returncode and self.was_cut_off(guest, began)
            assert client.returncode == 0 or (is_cut_off and self.comes_back("cut_and_resumed"))
        client.wait()
        until(lambda: self._taken_up(guest, path, remote))
        self.closed(path)

    def _taken_up(self, guest: Guest, path: Path, remote: str) -> bool:
        """Whether the rest is there now.  Who was killed does not know whether all was: the size says so."""
        began = time.monotonic()
        ran = guest.sftp(f'ls -ln "{remote}"')
        if ran.status != CUT_OFF:
            size = sizes(ran).get(path.name, 0)
            if size == path.stat().st_size:
                return True
            ran = guest.sftp(f'{"reput" if size else "put"} {path} "{remote}"')
        assert ran.status != CUT_OFF or self.was_cut_off(guest, began), ran.said
        return ran.status == 0

    # ---- and to fetch

    def fetching(self, guest: Guest, chance: random.Random) -> None:
        """Whatever is fetched is one of those that were put, byte by byte."""

        async def walk() -> None:
            async with self.raw(guest) as raw:
                folders = await raw.list("/inbox")
                for folder in chance.sample(folders, min(3, len(folders))):
                    for name in await raw.list(f"/inbox/{folder}"):
                        data = await raw.get(f"/inbox/{folder}/{name}")
                        if name in self.put:
                            assert hashlib.sha256(data).hexdigest() == self.put[name], name
                space = await raw.ask(sftp.EXTENDED, string("statvfs@openssh.com"), string("/"))
                assert space.kind == sftp.REPLY

        guest.email, guest.key = KARI, self.kari.key
        began = time.monotonic()
        try:
            asyncio.run(walk())
        except Exception:
            if not self.was_cut_off(guest, began):
                raise
            self.comes_back("fetching")
        time.sleep(0.2)  # a person reads what came


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 600)
def test_fifty_mixed_clients_for_minutes(tmp_path: Path) -> None:
    """No error but of whom a dead worker served, every closed file delivered exactly once, and all is as before."""
    # Nine people knock fifty times at once; what a flood may do is tested elsewhere.
    limits = {"sftp": {"workers": AUTO, "max_sessions_per_user": 100, "max_startups": "200:30:400", "max_rate": 0}}
    with Served(tmp_path / "exchange", limits) as served:
        kari = served.add(KARI, Kind.MEMBER)
        soak = Soak(served, kari, [served.add(f"ann{n}@firm.example", Kind.PARTNER) for n in range(SENDERS)])
        served.serve()
        until(lambda: served.log().count("sftp listens on port ") == len(workers(served)) > 1, 120)
        count, sockets = len(workers(served)), max(descriptors(pid)["socket"] for pid in workers(served))
        memory: list[dict[int, float]] = []
        soak.begin()
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(soak.client, number) for number in range(CLIENTS)]
            while not all(client.done() for client in clients):
                if soak.has_to_kill():
                    pids = sorted(workers(served), key=lambda pid: holds_the_turn(served, pid))
                    soak.kill(pids[len(soak.deaths) % 2 - 1])  # by turns who decides what leaves, and who does not
                memory.append({pid: resident(pid) for pid in workers(served)})
                time.sleep(1)
        print(f"{len(soak.put)} files; {dict(soak.done)}")
        print(
            f"{[(death.clients, death.files, len(death.untouched)) for death in soak.deaths]} cut off, open, untouched"
        )
        print(f"back {dict(soak.back)}, went on {dict(soak.resumed)}")
        assert not soak.wrong, "\n".join(soak.wrong)
        assert len(soak.deaths) == KILLS
        assert any(death.untouched for death in soak.deaths)
        assert sum(soak.resumed.values()) > 0

        until(lambda: len(delivered(served)) >= len(soak.put), 120)
        assert delivered(served) == Counter(soak.put.items())
        with closing(served.exchange()) as exchange:
            rows, pids = exchange._holdings.registry.writers, workers(served)
            until(lambda: not any(rows.written_by(signature(pid)) for pid in pids))
        assert len(pids) == count
        for pid in pids:
            until(lambda pid=pid: descriptors(pid)["socket"] <= sockets)
            left = descriptors(pid)
            print(f"descriptors {dict(left)}")
            assert left["blob"] <= BLOBS
            assert left["other"] <= OTHERS

        last = memory[len(memory) // 2 :]
        for each in [*([sample.get(pid, 0) for sample in last] for pid in pids), [sum(s.values()) for s in last]]:
            third, fourth = statistics.median(each[: len(each) // 2]), statistics.median(each[len(each) // 2 :])
            print(f"memory: {[round(mib) for mib in each[:: max(1, len(each) // 10)]]} MiB")
            assert fourth - third < GROWTH
        assert set(last[0]) == set(pids), "somebody died of something else"
        wrong = [
            line for line in served.log().splitlines() if " ERROR " in line and " ended with status -9;" not in line
        ]
        assert not wrong
        assert served.log().count(" ended with status ") == KILLS
        assert "Traceback" not in served.log()
        assert served.stop() == 0


def delivered(served: Served) -> Counter[tuple[str, str]]:
    """Every file of every shipment that left, with its hash: how often."""
    return Counter(
        (file.name, file.sha256 or "") for sent in served.shipments() if sent.deliveries for file in sent.files
    )


def signature(pid: int) -> str:
    """The name under what this worker has open."""
    (name,) = [Path(file).name for file in open_files(pid) if "/run/workers/" in file]
    return name


def sizes(listed: Ran) -> dict[str, int]:
    """What `ls -ln` shows of files, by their names."""
    lines = [line.rpartition("/")[2].split()[-1:] + line.split() for line in listed.out.splitlines()]
    return {line[0]: int(line[5]) for line in lines if line[1:] and line[1].startswith("-rw")}


def connections(served: Served) -> dict[int, set[tuple[str, int]]]:
    """The other ends of what each worker has open."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    ours = {f"socket:[{line[9]}]": line[2] for line in lines if line[1].endswith(f":{served.port:04X}")}
    found: dict[int, set[tuple[str, int]]] = defaultdict(set)
    for pid in workers(served):
        with suppress(FileNotFoundError):
            ends = [ours[file].split(":") for file in open_files(pid) if file in ours]
            found[pid] = {(socket.inet_ntoa(bytes.fromhex(ip)[::-1]), int(port, 16)) for ip, port in ends}
    return found


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
