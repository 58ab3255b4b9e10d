"""A courier that is killed again and again: every notice arrives, counted where it arrives and not in our registry."""

from __future__ import annotations

import asyncio
import random
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

from fxsftp import app
from fxsftp.settings import load
from tests.walks.guests import ROOT, until

AT_ONCE = 4
SLOW = 0.02  # seconds that the mail server takes for each: so that a kill finds some on their way
PATIENCE = 180  # seconds; what a dead courier had in hand is free after 30


class Mailbox:
    """A mail server that counts what it has said 250 to."""

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
        self.arrived[message_from_bytes(envelope.content)["Message-ID"]] += 1
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


@pytest.mark.parametrize(
    ("notices", "kills"),
    [
        pytest.param(60, 5, marks=pytest.mark.timeout(400)),
        pytest.param(2000, 200, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
def test_every_notice_arrives_and_only_those_on_their_way_at_a_kill_arrive_twice(
    notices: int, kills: int, tmp_path: Path, mailbox: Mailbox
) -> None:
    """Two couriers at a time; one of them is killed at random while mails are under way, and replaced."""
    folder = tmp_path / "house"
    app.found(folder, demo=True, sftp_port=0)
    file = folder / "fxsftp.toml"
    file.write_text(
        file.read_text().replace('mail = "spool"', f'mail = "smtp"\nmail_at_once = {AT_ONCE}')
        + f'\n[hook.mail-smtp]\nhost = "127.0.0.1"\nport = {mailbox.port}\nsecurity = "none"\n'
    )
    exchange = app.open_exchange(load(file, {}))
    rows, ids = exchange._holdings.registry.notices, []

    def write(count: int) -> None:
        with exchange._holdings.registry.atomic():
            for _ in range(count):
                to = f"n{len(ids)}@firm.example"
                ids.append(rows.add("test", "mail", to, "en", {"user": to}, time.time()))
        exchange._holdings.ring()

    def courier() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fxsftp", "serve", "--only", "courier", "--settings", str(file)]
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    chance = random.Random(kills)
    couriers = [courier(), courier()]
    try:
        for number in range(kills):
            before = mailbox.arrived.total()
            write(notices // kills)
            until(lambda before=before: mailbox.arrived.total() > before, PATIENCE)
            time.sleep(chance.uniform(0, 3 * SLOW))  # a kill comes when it comes
            couriers[number % 2].kill()
            couriers[number % 2].wait()
            couriers[number % 2] = courier()
        until(lambda: len(mailbox.arrived) == notices, PATIENCE)
        until(lambda: rows.count("carried") == notices, PATIENCE)
    finally:
        for process in couriers:
            process.terminate()
        assert [process.wait(30) for process in couriers] == [0, 0]
        exchange.close()
    assert {said.strip("<>").partition("@")[0] for said in mailbox.arrived} == set(ids)
    twice = mailbox.arrived.total() - notices
    assert twice <= kills * 2 * AT_ONCE, "with a hook, or just back from it"
