"""What is measured, one work after the other, each as a person or a batch job would do it with OpenSSH's sftp.

Where nothing else is said, the client's default ciphers are used.  What is uploaded is removed after each turn, so that
nobody's turn is spent on writing back another's pages.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from bench.peers.client import Address, Client, once
from bench.peers.contestants import LISTED, Contestant, OpenSsh, Ours, Rclone, Stock

MIB = 1 << 20
GCM = ("Ciphers=aes128-gcm@openssh.com",)
ALL: Sequence[type[Contestant]] = (Ours, OpenSsh, Rclone, Stock)


@dataclass(frozen=True)
class Goals:
    """What is wanted of ours: at least so many times as fast as each, and at most this share of OpenSSH's CPU."""

    openssh: float | None = None
    rclone: float | None = None
    stock: float | None = None
    cpu: float | None = None


class Files:
    """What is uploaded, in memory, so that the client's disk plays no part."""

    def __init__(self, folder: Path, large: int, each: int, count: int) -> None:
        self.folder, self.large_mib, self.each_mib, self.count = folder, large, each, count
        self.large, self.each, self.tree = folder / "large.bin", folder / "each.bin", folder / "small"
        for path, size in ((self.large, large), (self.each, each)):
            with path.open("wb") as file:
                for _ in range(size):
                    file.write(os.urandom(MIB))
        self.tree.mkdir()
        for number in range(count):
            (self.tree / f"{number:05}.csv").write_bytes(os.urandom(2048).hex().encode())
        self.into = folder / "fetched"


@dataclass
class Work:
    """One row of the table.  `turn` answers the seconds that one contestant took; `amount` is what was done in them."""

    name: str
    files: Files
    goals: Goals = field(default_factory=Goals)
    entrants: Sequence[type[Contestant]] = ALL
    on: str = "disk"

    unit: ClassVar[str] = "ops"

    @property
    def amount(self) -> float:
        raise NotImplementedError

    def prepare(self, contestant: Contestant) -> None:
        """Before the first turn."""

    def turn(self, contestant: Contestant, number: int) -> float:
        raise NotImplementedError

    def tidy(self, contestant: Contestant, number: int) -> None:
        """After each turn."""


class Upload(Work):
    """One large file."""

    unit = "MiB"
    options: Sequence[str] = ()

    @property
    def amount(self) -> float:
        return self.files.large_mib

    def turn(self, contestant: Contestant, number: int) -> float:
        with Client(contestant.sender, *self.options) as client:
            return client.time(f"put {self.files.large} {contestant.home}/large-{number}.bin")

    def tidy(self, contestant: Contestant, number: int) -> None:
        once(contestant.sender, f"rm {contestant.home}/large-{number}.bin")


class UploadGcm(Upload):
    options = GCM


class UploadMany(Work):
    """Eight at once, each in a session of its own."""

    unit = "MiB"
    COUNT = 8

    @property
    def amount(self) -> float:
        return self.COUNT * self.files.each_mib

    def turn(self, contestant: Contestant, number: int) -> float:

        clients = [Client(contestant.sender) for _ in range(self.COUNT)]
        try:
            began = time.perf_counter()
            for index, client in enumerate(clients):
                client.begin(f"put {self.files.each} {contestant.home}/each-{number}-{index}.bin")
            for client in clients:
                client.end()
            return time.perf_counter() - began
        finally:
            for client in clients:
                client.__exit__(None, None, None)

    def tidy(self, contestant: Contestant, number: int) -> None:
        once(contestant.sender, *(f"rm {contestant.home}/each-{number}-{index}.bin" for index in range(self.COUNT)))


class Download(Work):
    """One large file; ours is a session delivery, decrypted on the fly."""

    unit = "MiB"
    options: Sequence[str] = ()
    offered = "large.bin"
    is_sealed = False

    @property
    def amount(self) -> float:
        return self.files.large_mib

    def prepare(self, contestant: Contestant) -> None:
        place = self._places(contestant)
        if self.offered not in place:
            offer = contestant.offer_sealed if self.is_sealed else contestant.offer
            place[self.offered] = offer(self._local, self.offered)

    @property
    def _local(self) -> Path:
        return self.files.large

    @staticmethod
    def _places(contestant: Contestant) -> dict[str, tuple[Address, str]]:
        """What has been offered there already, for all works that want it."""
        places: dict[str, tuple[Address, str]] = contestant.__dict__.setdefault("places", {})
        return places

    def turn(self, contestant: Contestant, number: int) -> float:  # noqa: ARG002
        address, remote = self._places(contestant)[self.offered]
        with Client(address, *self.options) as client:
            return client.time(self._get(remote))

    def _get(self, remote: str) -> str:
        return f"get {remote} {self.files.into}"

    def tidy(self, contestant: Contestant, number: int) -> None:  # noqa: ARG002
        """What came is what was sent, or nothing was measured."""
        assert self.is_sealed or filecmp.cmp(self.files.into, self._local, shallow=False), contestant.name
        self.files.into.unlink()


class DownloadGcm(Download):
    options = GCM


class DownloadSealed(Download):
    """The `.age` of a delivery by code, as it lies there; of OpenSSH the file."""

    offered = "sealed.bin"
    is_sealed = True


class UploadSmall(Work):
    """`put -r`; with the same promise of the others that can give it: `sftp -f`."""

    @property
    def amount(self) -> float:
        return self.files.count

    def turn(self, contestant: Contestant, number: int) -> float:
        with Client(contestant.sender, flags=contestant.flags) as client:
            return client.time(f"put -r {self.files.tree} {contestant.home}/round-{self.on}-{number}")


class DownloadSmall(Download):
    """`get -r`."""

    unit = "ops"
    offered = "small"

    @property
    def amount(self) -> float:
        return self.files.count

    @property
    def _local(self) -> Path:
        return self.files.tree

    def _get(self, remote: str) -> str:
        return f"get -r {remote} {self.files.into}"

    def tidy(self, contestant: Contestant, number: int) -> None:  # noqa: ARG002
        names = sorted(path.name for path in self._local.iterdir())
        _, wrong, missing = filecmp.cmpfiles(self._local, self.files.into, names, shallow=False)
        assert not wrong + missing, f"{contestant.name}: {len(wrong)} differ, {len(missing)} are missing"
        shutil.rmtree(self.files.into)


class Connect(Work):
    """A whole life of a client, again and again."""

    COUNT = 20

    @property
    def amount(self) -> float:
        return self.COUNT

    def turn(self, contestant: Contestant, number: int) -> float:  # noqa: ARG002

        began = time.perf_counter()
        for _ in range(self.COUNT):
            once(contestant.sender, f"cd {contestant.home or '/'}")  # for which the client asks for a STAT
        return time.perf_counter() - began


class ListMany(Work):
    """All names in a folder."""

    @property
    def amount(self) -> float:
        return LISTED

    def turn(self, contestant: Contestant, number: int) -> float:  # noqa: ARG002
        with Client(contestant.lister) as client:
            began = time.perf_counter()
            said = client.do(f"ls -1f {contestant.listed}")
            took = time.perf_counter() - began
        assert len(said) >= LISTED, f"{contestant.name}: {len(said)} entries"
        return took


def works(files: Files) -> Sequence[Work]:
    """All of them, with what is wanted of each."""
    large = f"{files.large_mib} MiB"
    small = f"{files.count:,} files of 4 KiB"
    pair = (Ours, OpenSsh)
    return (
        UploadGcm(f"upload {large}, aes128-gcm", files, Goals(1.5, 3.5, 1.1, 0.60)),
        Upload(f"upload {large}, default ciphers", files, Goals(1.9, 4.5, 1.6, 0.50)),
        DownloadGcm(f"download {large}, aes128-gcm", files, Goals(1.0, 1.8, 1.2, 0.75)),
        Download(f"download {large}, default ciphers", files, Goals(1.3, 2.4, 1.8, 0.55)),
        DownloadSealed(f"download {large} as .age", files, Goals(1.1, cpu=0.60), pair),
        UploadMany(f"8 uploads of {files.each_mib} MiB at once", files, Goals(2.0, 3.0, 1.3, 0.35)),
        UploadSmall(f"upload {small}, synced, on disk", files, Goals(1.0), pair),
        DownloadSmall(f"download {small}", files, Goals(1.0, 1.2, 1.5)),
        Connect("connect, log in by key, stat, close", files, Goals(1.7, 0.9, 0.95, 0.40)),
        ListMany(f"list {LISTED:,} entries", files, Goals(1.2, 1.0, 2.5)),
        UploadSmall(f"upload {small}, on tmpfs", files, Goals(0.8, 1.3, 1.2), on="tmpfs"),
    )


# For the memory of an idle session.
IDLE_GOAL = 64 << 10


def idle_sessions(contestant: Contestant, count: int, weigh: Callable[[int], int]) -> float:
    """Bytes that each of so many sessions costs that have logged in and say nothing."""

    clients: list[Client] = []

    def more(count: int) -> int:
        for _ in range(0, count, 10):
            new = [Client(contestant.sender, waits=False) for _ in range(10)]
            clients.extend(new)
            for client in new:
                client.end()
        time.sleep(0.5)
        return weigh(contestant.pid)

    try:
        before = more(20)  # what the first ones load stays
        return (more(count) - before) / count
    finally:
        for client in clients:
            client.__exit__(None, None, None)
