"""A user's hands on the exchange, without a front between: what a client could do, as plain calls.

Time is the house's.  A hand has a session of its own, which can end as sessions do: by being lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from fxsftp import app
from fxsftp.domain.model import Delivery, Entry, File, Shipment, User, Wishes
from fxsftp.errors import NotYet
from fxsftp.exchange import Exchange
from fxsftp.exchange.drafts import Draft, Litter
from fxsftp.exchange.reading import Reading
from fxsftp.fronts.desk import AGAIN, PATIENCE
from fxsftp.store.registry import Registry
from tests.house import House, at

P = ParamSpec("P")
T = TypeVar("T")

BLOCK = 32768  # what most clients send at a time


class Hand:
    """One user in one session."""

    def __init__(self, house: House, user: User, session: str = "s1", exchange: Exchange | None = None) -> None:
        self.house, self.session = house, session
        self._user = user
        self.exchange = exchange or house.exchange

    @property
    def user(self) -> User:
        """As the registry has it now."""
        return self.exchange.people.by_id(self._user.id)

    @property
    def now(self) -> float:
        return self.house.clock()

    # ---- the outbox

    def open(
        self,
        path: str,
        *,
        truncate: bool = True,
        create: bool = True,
        exclusive: bool = False,
        appends: bool = False,
        wishes: Wishes | None = None,
    ) -> Draft:
        """OPEN for writing."""
        draft = self._open(path, truncate, create, exclusive, appends, wishes or Wishes())
        assert isinstance(draft, Draft)
        return draft

    def _open(
        self, path: str, truncate: bool, create: bool, exclusive: bool, appends: bool, wishes: Wishes
    ) -> Draft | Litter:
        return patiently(
            self.exchange.writing.open_draft, self.user, at(path), truncate=truncate, create=create,
            exclusive=exclusive, appends=appends, wishes=wishes, session=self.session, now=self.now,
        )  # fmt: skip

    def close(self, draft: Draft | Litter) -> None:
        """A genuine CLOSE."""
        self.exchange.writing.close_draft(draft, self.now)

    def lose(self, *drafts: Draft) -> None:
        """The session is gone."""
        for draft in drafts:
            self.exchange.writing.lose_draft(draft, self.now)
        self.exchange.writing.session_ended(self.session, self.now)

    def put(self, path: str, data: bytes, *, wishes: Wishes | None = None) -> None:
        """OPEN, WRITE, CLOSE.  Says how large it is, as most clients do, so that nothing is suspect."""
        draft = self._open(path, True, True, False, False, wishes or Wishes(size=len(data)))
        write(draft, data)
        self.close(draft)

    def rm(self, path: str) -> None:
        room = self.exchange.inbox if path.startswith("/inbox") else self.exchange.outbox
        room.remove(self.user, at(path), self.now)

    def rmdir(self, path: str) -> None:
        room = self.exchange.inbox if path.startswith("/inbox") else self.exchange.outbox
        room.remove_folder(self.user, at(path), self.now)

    def mkdir(self, path: str) -> None:
        self.exchange.outbox.make_folder(self.user, at(path), self.now)

    def mv(self, old: str, new: str, *, replace: bool = False) -> None:
        self.exchange.outbox.rename(self.user, at(old), at(new), replace=replace, now=self.now)

    def set(self, path: str, **wishes: float | int) -> None:
        self.exchange.outbox.set_attributes(self.user, at(path), Wishes(**wishes), self.now)  # type: ignore[arg-type]

    # ---- looking

    def stat(self, path: str) -> Entry:
        room = self.exchange.inbox if path.startswith("/inbox") else self.exchange.outbox
        return patiently(room.stat, self.user, at(path), self.now)

    def ls(self, path: str) -> dict[str, int]:
        """Names and sizes; a folder's is -2."""
        place = at(path)
        if not path.startswith("/inbox"):
            found = patiently(self.exchange.outbox.list, self.user, place, self.now)
        elif place.shipment:
            found = self.exchange.inbox.list_folder(self.user, place, self.now)
        else:
            found = self.exchange.inbox.list(self.user, self.now)
        return {entry.name: -2 if entry.is_folder else entry.size for entry in found}

    # ---- the inbox

    def read(self, path: str) -> Reading:
        """OPEN for reading."""
        return self.exchange.collecting.open(self.user, at(path), self.now)

    def done(self, reading: Reading) -> None:
        self.exchange.collecting.read_done(reading, self.now)

    def get(self, path: str, *, step: int = BLOCK) -> bytes:
        """OPEN, READ to the end, CLOSE."""
        reading = self.read(path)
        data = b""
        while part := reading.read(len(data), step):
            data += part
        self.done(reading)
        return data

    def type_code(self, shipment_id: str, code: str) -> None:
        self.exchange.opening.open_with_code(self.user, shipment_id, code, self.now)

    def delivery(self, shipment_id: str) -> Delivery:
        found = registry_of(self.exchange).deliveries.for_user(self._user.id, shipment_id)
        assert found is not None
        return found

    # ---- sent

    def state(self, shipment_id: str) -> str:
        """As this sender sees it."""
        return self.exchange.sent.find(self.user, shipment_id, self.now).state

    def drops(self) -> list[Shipment]:
        """All of this sender's, in any state, oldest first."""
        return registry_of(self.exchange).drops.of_sender(self._user.id)[::-1]


def patiently(verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As the desk does: what is NotYet so is asked again."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return verb(*args, **kwargs)
        except NotYet:
            assert time.monotonic() < until
            time.sleep(AGAIN[0])


def write(draft: Draft | Litter, data: bytes, *, start: int = 0, step: int = BLOCK) -> None:
    """WRITE after WRITE."""
    for offset in range(0, len(data), step):
        draft.write(start + offset, data[offset : offset + step])


def registry_of(exchange: Exchange) -> Registry:
    """The rows behind an exchange, for what no verb shows."""
    return exchange._holdings.registry


def files_of(house: House, shipment_id: str) -> list[File]:
    return registry_of(house.exchange).drops.of_shipment(shipment_id)


def sent_ids(lines: list[str]) -> list[str]:
    """The shipments that left, from what the dispatcher says."""
    return [line.split()[0] for line in lines if " dispatched to " in line]


def dispatched(house: House, seconds: float = 400) -> str:
    """Let everything settle; answers the one shipment that left."""
    (only,) = sent_ids(house.settle(seconds))
    return only


def another_process(house: House) -> Exchange:
    """A second process on the same stores, with the keys that a service has."""
    return app.open_exchange(house.settings, role="sftp", running=house.running)


def killed(house: House) -> Exchange:
    """As after kill -9: what the first process had in memory is gone, and a new one begins."""
    house.exchange.writing.in_hand.settle_chores()
    for draft in list(house.exchange.outbox._drops.writers.values()):
        draft.settle_chores()  # a moment passes: rows that were on their way have arrived
    house.exchange._holdings.workers.end()
    house.exchange = another_process(house)
    house.exchange.writing.elsewhere.begin()
    return house.exchange


def with_policy(house: House, **rules: object) -> None:
    """The same house under other rules."""
    holdings = house.exchange._holdings
    house.exchange = Exchange(replace(holdings, policy=replace(holdings.policy, **rules)))  # type: ignore[arg-type]


def state_files(house: House) -> Iterator[tuple[Path, bytes]]:
    """Everything that lies on the disk of this house."""
    for path in sorted(house.settings.state.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()


def notices(house: House, kind: str) -> list[dict[str, object]]:
    """The facts of every notice of one kind, with its address and way."""
    return [
        {**notice.facts, "address": notice.address, "way": notice.way, "state": notice.state}
        for notice in house.exchange.notices.list()
        if notice.kind == kind
    ]


def named_blobs(house: House) -> set[str]:
    """Every blob that some row speaks of."""
    rows = registry_of(house.exchange)._engine.rows(
        "SELECT blob FROM files WHERE blob IS NOT NULL UNION SELECT blob FROM segments"
        " UNION SELECT pack FROM lots WHERE pack IS NOT NULL"
    )
    return {row["blob"] for row in rows}
