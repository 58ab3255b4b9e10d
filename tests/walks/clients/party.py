"""Ann, who sends to kari; whichever program they come with; and what came out at kari's end.

Kari is a member, who reads what she is sent by logging in, so that what went in can be compared with what comes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import pytest

from tests.house import ANN, KARI, House, at
from tests.walks.clients.client import Client
from tests.walks.clients.libraries import Asyncssh, Paramiko, Ssh2Python, Ssh2SftpClient
from tests.walks.clients.stock import Curl, Lftp, Pscp, Psftp, RcloneOfDebian, RcloneOfToday, Scp, Sftp
from tests.walks.guests import Exchange, until

PROGRAMS: Sequence[type[Client]] = (
    Sftp, Scp, Lftp, Psftp, Pscp, Curl, RcloneOfDebian, RcloneOfToday, Paramiko, Asyncssh, Ssh2Python, Ssh2SftpClient,
)  # fmt: skip

TO_KARI = f"outbox/{KARI}"
RENDERED = ("SHIPMENT.txt", "SHA256SUMS")

Program = TypeVar("Program", bound=Client)
Arrived = tuple[str, dict[str, str]]  # the subject, and the SHA-256 of each file


class Party:
    """A house with both of them, and a door that is open."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.users = {ANN: house.ann(), KARI: house.kari()}
        self.keys = {email: house.key_for(email) for email in self.users}

    def ann(self, program: type[Program], by: Exchange | None = None) -> Program:
        """The sender, at the door or at a gate before it."""
        return program(by or self.house, ANN, key=self.keys[ANN])

    def kari(self, program: type[Program]) -> Program:
        """The receiver."""
        return program(self.house, KARI, key=self.keys[KARI])

    def sent(self, folder: str, files: Mapping[str, bytes]) -> str:
        """A shipment of ann's that has left; answers the path at which kari finds it."""
        for name, data in files.items():
            self.house.put(self.users[ANN], f"{TO_KARI}/{folder}/{name}", data)
        before = set(self.house.inbox(self.users[KARI]))
        self.house.settle()
        (new,) = set(self.house.inbox(self.users[KARI])) - before
        return f"inbox/{new}"

    def has_arrived(self, folder: str, count: int) -> bool:
        """Whether so many bytes of a file that ann is still writing in a folder are there, whatever it is called."""
        outbox, now = self.house.exchange.outbox, self.house.clock()
        place = at(f"{TO_KARI}/{folder}")
        return any(entry.size >= count for entry in outbox.list(self.users[ANN], place, now))

    # ---- what came out

    def arrived(self) -> list[Arrived]:
        """All that kari was ever sent and has not removed, oldest first.  Looking does not count as reading."""
        kari, now = self.users[KARI], self.house.clock()
        folders = sorted(self.house.exchange.inbox.list(kari, now), key=lambda entry: entry.mtime)
        letters = [self.house.exchange.inbox.letter(kari, at(f"inbox/{entry.name}"), now) for entry in folders]
        return [(letter.shipment.subject, self._hashes(f"inbox/{letter.folder}")) for letter in letters]

    def _hashes(self, folder: str, below: str = "") -> dict[str, str]:
        kari, now, found = self.users[KARI], self.house.clock(), {}
        for entry in self.house.exchange.inbox.list_folder(kari, at(f"{folder}/{below}"), now):
            name = below + entry.name
            if entry.is_folder:
                found |= self._hashes(folder, name + "/")
            elif name not in RENDERED:
                found[name] = self.house.exchange.sums.hash_of(kari, at(f"{folder}/{name}"), now)
        return found

    def states(self) -> list[str]:
        """What each shipment of ann's is to kari when everyone has left, newest first: waiting, opened, collected …"""
        self.everyone_left()
        sent, ann, now = self.house.exchange.sent, self.users[ANN], self.house.clock()
        found = [sent.find(ann, shipment.id, now) for shipment in sent.list(ann, now)]
        return [delivery.state.value for one in found for delivery, _ in one.deliveries]

    def fetch_part(self, path: str, count: int) -> None:
        """Kari reads so many bytes from the beginning of a file, and goes."""
        collecting, now = self.house.exchange.collecting, self.house.clock()
        reading = collecting.open(self.users[KARI], at(path), now)
        assert len(reading.read(0, count)) == count
        collecting.read_done(reading, now)

    def everyone_left(self) -> None:
        """Return when no session is left, and what they left open is put away.  Some programs end before their line."""
        listener = self.house.listener
        until(lambda: not (listener and listener.guests))
        self.house.close_door()  # which waits for what is still being put away; the next to come opens it again


def of(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each, as `arrived` says it."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def with_each(verb: str = "upload") -> pytest.MarkDecorator:
    """Run a test with every program that can do this."""
    able = [program for program in PROGRAMS if hasattr(program, verb)]
    return pytest.mark.parametrize("program", able, ids=[program.name for program in able])
