"""A registry after years: 10,000 users and 1,000,000 shipments in all their states, written as rows.

Nothing of it has a body.  How it is distributed: 400 days of shipments, most of them ended and erased, those of the
last 30 days waiting; few users send and receive most of it, as everywhere.  It is the same each time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fxsftp.domain.ids import ALPHABET
from fxsftp.domain.policy import DAY
from fxsftp.exchange import Exchange
from fxsftp.store.registry.engine import Engine

TOGETHER = 20_000  # shipments in one transaction
MEMBERS, GROUPS = 0.05, 0.005  # of all users
YOUNGEST = 120.0  # seconds; what is younger would be about to leave, which takes a body
LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{:043d} bench"
Row = tuple[object, ...]

_INSERTS = {
    "users": "id, email, kind, standing, name, language, phone, made, seen",
    "keys": "user_id, line, kind, fingerprint, comment, opens, added",
    "members": "group_id, user_id",
    "shipments": (
        "id, sender_id, recipient, who, folder, subject, state, revision, made, progress, sent, expires, ended, erased,"
        " cause, reason"
    ),
    "folders": "owner_id, who, path, mtime, mode",
    "files": (
        "id, shipment_id, owner_id, who, path, shown, state, size, mtime, mode, sha256, made, progress, waits, blob,"
        " body"
    ),
    "deliveries": "id, shipment_id, user_id, via, lock, state, opened, collected, ended, reminded, parcel, listed",
    "locks": "parcel, file_id, kind, header",
    "reads": "delivery_id, file_id, form, spans, whole",
    "notices": (
        "id, kind, way, user_id, shipment_id, delivery_id, address, language, facts, state, due, made, done, attempts"
    ),
    "history": "at, shipment_id, who, event, detail",
}


@dataclass
class Town:
    """Who is in it.  Their ids are numbers in a row, and so are their addresses."""

    users: int
    first: int

    @property
    def members(self) -> int:
        return int(self.users * MEMBERS)

    @property
    def groups(self) -> int:
        return int(self.users * GROUPS)

    def email(self, number: int) -> str:
        """Members first, then groups, then partners."""
        if number < self.members:
            return f"member{number:05}@ssb.example"
        if number < self.members + self.groups:
            return f"group{number:05}@ssb.example"
        return f"partner{number:05}@firm{number % 997:03}.example"

    def kind(self, number: int) -> str:
        return "member" if number < self.members else "group" if number < self.members + self.groups else "partner"

    def some_member(self, chance: random.Random) -> int:
        return int(self.members * chance.random() ** 3)

    def some_partner(self, chance: random.Random) -> int:
        rest = self.users - self.members - self.groups
        return self.members + self.groups + int(rest * chance.random() ** 3)


def fill(
    exchange: Exchange, users: int, shipments: int, now: float, told: Callable[[int], None] = lambda _: None
) -> Town:
    """Write them all; `told` hears how many shipments are there.  The registry must hold none of their ids yet."""
    engine = exchange._holdings.registry._engine
    chance = random.Random(7)
    town = Town(users, 1 + int(engine.value("SELECT COALESCE(MAX(id), 0) FROM users")))
    with _quickly(engine):
        with engine.atomic(durable=False):
            _people(engine, town, chance, now)
        at = {
            table: 1 + int(engine.value(f"SELECT COALESCE(MAX(id), 0) FROM {table}"))
            for table in ("files", "deliveries")
        }
        names = _new_ids(chance, shipments)
        for first in range(0, shipments, TOGETHER):
            rows: dict[str, list[Row]] = {table: [] for table in _INSERTS}
            last = min(first + TOGETHER, shipments)
            for number in range(first, last):
                # The oldest first, as they would have come.
                made = now - 400 * DAY * (1 - number / shipments) - YOUNGEST - chance.random()
                _shipment(rows, next(names), town, chance, made, now, at)
            with engine.atomic(durable=False):
                for table, some in rows.items():
                    _insert(engine, table, some)
            told(last)
    return town


def _people(engine: Engine, town: Town, chance: random.Random, now: float) -> None:
    rows: dict[str, list[Row]] = {"users": [], "keys": [], "members": []}
    for number in range(town.users):
        id_, kind, made = town.first + number, town.kind(number), now - 500 * DAY
        standing = "active" if kind != "partner" or chance.random() < 0.97 else chance.choice(("disabled", "invited"))
        rows["users"].append(
            (id_, town.email(number), kind, standing, f"Name {number}", "nb", f"+47{90_000_000 + number}", made, now)
        )
        if kind == "group":
            for member in {town.some_member(chance) for _ in range(5)}:
                rows["members"].append((id_, town.first + member))
            continue
        for index in range(chance.choice((0, 1, 1, 2))):
            key = 10 * number + index
            rows["keys"].append((id_, LINE.format(key), "ssh-ed25519", f"SHA256:{key:043}", "bench", 1, made))
    for table, some in rows.items():
        _insert(engine, table, some)


def _shipment(
    rows: dict[str, list[Row]],
    name: str,
    town: Town,
    chance: random.Random,
    made: float,
    now: float,
    at: dict[str, int],
) -> None:
    """One, with all that belongs to it."""
    sender, receiver = town.some_partner(chance), town.some_member(chance)
    if chance.random() < 0.4:
        sender, receiver = receiver, sender
    via = ""
    if town.kind(receiver) == "member" and chance.random() < 0.1:
        group = town.members + chance.randrange(town.groups)
        via = town.email(group)
    address = via or town.email(receiver)
    state = _state(chance, made, now)
    is_loose, is_sent = chance.random() < 0.3, state in ("waiting", "ended", "recalled")
    folder = "" if is_loose else f"Ref {chance.randrange(100_000)}"
    sent = made + 90 if is_sent else None
    expires = made + 30 * DAY if is_sent else None
    ended = None if state not in ("ended", "recalled") else min(now, made + chance.random() * 30 * DAY)
    erased = None
    if ended is not None and (state == "recalled" or now - ended > DAY):
        erased = ended if state == "recalled" else ended + DAY
    cause = chance.choice(("recipient", "stalled", "manifest")) if state == "held" else ""
    rows["shipments"].append(
        (name, town.first + sender, address, address, folder, folder, state, 3, made, made + 60, sent, expires, ended,
         erased, cause, "")
    )  # fmt: skip
    if folder:
        rows["folders"].append((town.first + sender, address, f"{folder} {name}", made, 0o755))
    count, files = chance.choice((1, 1, 1, 2, 3)), []
    for index in range(count):
        file_id, at["files"] = at["files"], at["files"] + 1
        path = f"{folder} {name}/part-{index}.csv" if folder else f"report-{name}.csv"
        file_state = "draft" if state == "dropping" else "complete"
        blob = None if erased is not None else f"{file_id:032x}"
        is_shown = int(chance.random() < 0.8)
        rows["files"].append(
            (file_id, name, town.first + sender, address, path, is_shown, file_state, chance.randrange(1 << 24),
             made, 0o644, f"{file_id:064x}", made, made + 60, int(state == "dropping"), blob, 100_000)
        )  # fmt: skip
        files.append(file_id)
    rows["history"] += [(made, name, town.email(sender), "begun", ""), (made + 60, name, "exchange", "complete", "")]
    if not is_sent:
        return
    receivers = [receiver] if not via else sorted({receiver, *(town.some_member(chance) for _ in range(2))})
    for one in receivers:
        _delivery(rows, name, one, via, files, state, town, chance, (made, now, ended, erased), at)
    rows["history"].append((made + 90, name, "exchange", "dispatched", f"{address}: code"))


def _delivery(
    rows: dict[str, list[Row]], name: str, receiver: int, via: str, files: list[int], state: str, town: Town,
    chance: random.Random, times: tuple[float, float, float | None, float | None], at: dict[str, int],
) -> None:  # fmt: skip
    made, now, ended, erased = times
    delivery_id, at["deliveries"] = at["deliveries"], at["deliveries"] + 1
    lock = "session" if town.kind(receiver) == "member" else chance.choice(("code", "code", "keys"))
    if state == "waiting":
        stands = chance.choice(("waiting", "waiting", "opened", "collected", "collected"))
    else:
        stands = "recalled" if state == "recalled" else chance.choice(("removed", "removed", "expired"))
    opened = made + 3600 if stands in ("opened", "collected", "removed") else None
    collected = made + 3700 if stands in ("collected", "removed") else None
    rows["deliveries"].append(
        (delivery_id, name, town.first + receiver, via, lock, stands, opened, collected, ended, 0, str(delivery_id),
         int(state == "waiting"))
    )  # fmt: skip
    if erased is None:
        rows["locks"] += [(str(delivery_id), file_id, lock, bytes(200)) for file_id in files]
        if collected:
            rows["reads"] += [(delivery_id, file_id, "plain", "[[0, 1000]]", 1) for file_id in files]
    ways = ("mail", "sms") if lock == "code" else ("mail",)
    for way in ways:
        is_due = now - made < 3600 and chance.random() < 0.2
        stage = "due" if is_due else chance.choice(("carried", "delivered", "delivered"))
        rows["notices"].append(
            (f"{delivery_id:x}-{way}", "arrived" if way == "mail" else "code", way, town.first + receiver, name,
             delivery_id, town.email(receiver), "nb", "{}", stage, made + 90, made + 90,
             None if is_due else made + 95, 1)
        )  # fmt: skip
    rows["history"].append((made + 3600, name, town.email(receiver), stands, ""))


def _state(chance: random.Random, made: float, now: float) -> str:
    age = now - made
    if age < 7 * DAY:
        drawn = chance.random()
        if drawn < 0.015:
            return "held" if age > 0.5 * DAY else "dropping"
    if chance.random() < 0.02:
        return "recalled"
    # Those whose recipients are done end before their time.
    return "waiting" if age < 30 * DAY and chance.random() < 0.8 else "ended"


def _new_ids(chance: random.Random, count: int) -> Iterator[str]:
    seen: dict[str, None] = {}  # in order, unlike a set
    while len(seen) < count:
        letters = "".join(chance.choices(ALPHABET, k=8))
        seen[f"{letters[:4]}-{letters[4:]}"] = None
    return iter(seen)


def _insert(engine: Engine, table: str, rows: list[Row]) -> None:
    columns = _INSERTS[table]
    marks = ", ".join("?" for _ in columns.split(","))
    engine.execute_many(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


class _quickly:  # noqa: N801  it reads as what it is
    """Without the indexes, which are made again in the end, and with room for what is being written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        writer = self._engine._writer
        writer.execute("PRAGMA cache_size = -1000000")
        writer.execute("PRAGMA foreign_keys = OFF")
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        self._indexes = [tuple(row) for row in self._engine.rows(query)]
        with self._engine.atomic(durable=False):
            for name, _ in self._indexes:
                self._engine.execute(f"DROP INDEX {name}")

    def __exit__(self, *_: object) -> None:
        with self._engine.atomic(durable=False):
            for _, sql in self._indexes:
                self._engine.execute(sql)
        writer = self._engine._writer
        writer.execute("PRAGMA cache_size = -2000")
        writer.execute("PRAGMA foreign_keys = ON")


if __name__ == "__main__":
    import tempfile
    from pathlib import Path

    from tests.house import House

    with tempfile.TemporaryDirectory() as folder, House(Path(folder) / "house") as house:
        began = time.monotonic()
        fill(house.exchange, 1000, 20_000, house.clock())
        print(f"{time.monotonic() - began:.1f} s")
