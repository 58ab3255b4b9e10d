"""Couriers that are killed again and again: every notice arrives, and twice only what was on its way at a kill.

What arrived is counted by the mail server.  What a courier had in hand when it died is read from the registry: rows
under its lease, of which nothing is recorded.  Those of them that the server took all the same were on their way, and
they are the ones that must come once more; whatever else comes twice, or not at all, fails the test.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from fxsftp import app, founding
from fxsftp.exchange import Exchange
from fxsftp.settings import load
from tests.walks.guests import ROOT, until

AT_ONCE = 4
SLOW = 0.02  # seconds that the mail server takes for each: so that a kill finds some on their way
PATIENCE = 180  # seconds; the last that a dead courier had in hand are free when its lease has run out

# `fxsftp serve --only courier`, with a lease as long as the test says: else each kill costs a test half a minute.
COURIER = """
import sys
from fxsftp import courier
from fxsftp.__main__ import main
courier.LEASE = float(sys.argv.pop(1))
courier.RENEW = courier.LEASE / 10
main()
"""


class Mailbox:
    """A mail server that counts what it has said 250 to, by the notices' ids."""

    def __init__(self) -> None:
        self.arrived: Counter[str] = Counter()
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(
            self.loop.create_server(lambda: SMTP(self), "127.0.0.1", 0)  # type: ignore[no-untyped-call]
        )
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    async def handle_DATA(self, _server: SMTP, _session: object, envelope: Any) -> str:
        await asyncio.sleep(SLOW)
        message_id = message_from_bytes(envelope.content)["Message-ID"]
        self.arrived[message_id.strip("<>").partition("@")[0]] += 1
        return "250 OK"

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.server.close()
        self.loop.close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.close()


@pytest.fixture
def exchange(tmp_path: Path, mailbox: Mailbox) -> Iterator[Exchange]:
    """Its settings stand in tmp_path/house/fxsftp.toml: mail goes to the mailbox."""
    folder = tmp_path / "house"
    founding.found(folder, demo=True, sftp_port=0)
    file = folder / "fxsftp.toml"
    file.write_text(
        file.read_text().replace('mail = "spool"', f'mail = "smtp"\nmail_at_once = {AT_ONCE}')
        + f'\n[hook.mail-smtp]\nhost = "127.0.0.1"\nport = {mailbox.port}\nsecurity = "none"\n'
    )
    opened = app.open_exchange(load(file, {}))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("notices", "kills", "lease"),
    [
        pytest.param(40, 4, 4.0, marks=pytest.mark.timeout(240)),
        pytest.param(2000, 200, 30.0, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
def test_every_notice_arrives_and_only_what_was_on_its_way_at_a_kill_arrives_twice(
    notices: int, kills: int, lease: float, tmp_path: Path, exchange: Exchange, mailbox: Mailbox
) -> None:
    """Two couriers at a time; one of them is killed at random while mails are under way, and replaced."""
    ids: list[str] = []
    on_their_way: Counter[str] = Counter()  # for each notice, the kills that found it so
    chance = random.Random(kills)
    couriers = [_courier(tmp_path, lease) for _ in range(2)]
    try:
        for number in range(kills):
            before = mailbox.arrived.total()
            ids += _write(exchange, notices // kills)
            until(lambda before=before: mailbox.arrived.total() > before, PATIENCE)
            time.sleep(chance.uniform(0, 3 * SLOW))  # a kill comes when it comes
            in_hand = _killed(couriers[number % 2], exchange)
            on_their_way.update(each for each in in_hand if mailbox.arrived[each] > on_their_way[each])
            couriers[number % 2] = _courier(tmp_path, lease)
        until(lambda: mailbox.arrived.keys() == set(ids), PATIENCE)
        until(lambda: exchange.notices.count("carried") == notices, PATIENCE)
    finally:
        for process in couriers:
            process.terminate()
        ended = [process.wait(30) for process in couriers]
    assert set(ended) <= {0, -signal.SIGTERM}  # the latter: it had not even begun
    assert mailbox.arrived == Counter(ids) + on_their_way
    print(f"{on_their_way.total()} of {notices} came twice, {on_their_way.total() / kills:.2f} for each kill")


def _write(exchange: Exchange, count: int) -> list[str]:
    registry = exchange._holdings.registry
    with registry.atomic():
        to = [f"n{number}@firm.example" for number in range(count)]
        made = [registry.notices.add("test", "mail", each, "en", {"user": each}, time.time()) for each in to]
    exchange._holdings.ring()
    return made


def _courier(folder: Path, lease: float) -> subprocess.Popen[bytes]:
    words = ["serve", "--only", "courier", "--settings", str(folder / "house" / "fxsftp.toml")]
    return subprocess.Popen([sys.executable, "-c", COURIER, str(lease), *words], cwd=ROOT, stderr=subprocess.DEVNULL)


def _killed(courier: subprocess.Popen[bytes], exchange: Exchange) -> list[str]:
    """Ends a courier by SIGKILL.  Answers what it had in hand, once its hooks are gone: they finish what they have.

    It is stopped for a moment before it dies, so that it can start no hook after we have looked who they are.
    """
    courier.send_signal(signal.SIGSTOP)
    until(lambda: _state(courier.pid) == "T")
    hooks = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == courier.pid]
    courier.kill()
    courier.wait()
    query = "SELECT id FROM notices WHERE state = 'due' AND lease LIKE ?"
    in_hand = [row["id"] for row in exchange._holdings.registry.notices._db.rows(query, (f"{courier.pid}-%",))]
    until(lambda: all(_state(pid) in ("", "Z") for pid in hooks))
    return in_hand


def _state(pid: int) -> str:
    return next(iter(_stat(pid)), "")


def _parent(pid: int) -> int:
    return int(next(iter(_stat(pid)[1:]), 0))


def _stat(pid: int) -> list[str]:
    """State, parent, …; nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
