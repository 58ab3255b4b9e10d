"""How many notices a second the courier carries, and what its queries cost when 100,000 are due.

    python -m bench.notices [NOTICES]

The real courier, registry, templates and hooks.  Half are mails that announce a shipment, half SMS, for each of which
the code is opened.  First through the spool hooks; then mails through mail-smtp to an SMTP server on this machine.

A rate says what this machine had to spare; what one notice costs in CPU time, of the courier and of its hooks, says
what was gained.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP

from fxsftp import app, shipped
from fxsftp.bell import Bell
from fxsftp.courier import Courier, Crew, hire
from fxsftp.domain.model import LockKind
from fxsftp.exchange import Exchange
from fxsftp.exchange.carriage import Outcome
from tests.house import ANN, START, House

NOTICES = 4000
DUE = 100_000
AT_ONCE = 4  # the default of [notify] mail_at_once
GOALS = {"spool": 500, "smtp": 100, "query": 0.05}


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, House(Path(folder) / "house") as house:
        shipment, delivery = _shipment(house)
        courier = app.open_exchange(house.settings, role="courier")
        notices = _half(house, shipment, delivery, count)
        rate, costs = _carried(house, courier, notices, {}, "mail", "sms")
        _say("spool hooks", f"{rate:7.0f} notices/s, {costs}", rate >= GOALS["spool"])
        with _mail_server() as server:
            settings = {"host": "127.0.0.1", "port": server.port, "security": "none"}
            mails = _mails(house, shipment, delivery, count)
            rate, costs = _carried(house, courier, mails, settings, "mail")
            arrived, lines = server.counts()
            _say("mail-smtp", f"{rate:7.0f} mails/s, {costs}", rate >= GOALS["smtp"])
            _say("", f"{lines:7} connections", lines <= AT_ONCE)
            assert arrived == count, f"{arrived} of {count} arrived"
        _query(house, courier, shipment, delivery)
        courier.close()


def _say(what: str, figure: str, is_good: bool) -> None:
    print(f"{what:36} {figure:62} {'ok' if is_good else 'TOO SLOW'}")


# ---- what is carried ---------------------------------------------------------------------------------


def _shipment(house: House) -> tuple[str, int]:
    """One real shipment with a code; its notices are the pattern for all."""
    kari, ann = house.kari(), house.ann()
    house.put(kari, f"/outbox/{ANN}/Ref 23-4567/report.csv", b"a;b\n")
    house.settle()
    shipment = house.exchange.sent.list(kari, house.clock())[0]
    delivery = house.exchange.sent.find(kari, shipment.id, house.clock()).deliveries[0][0]
    assert (delivery.lock, delivery.user_id) == (LockKind.CODE, ann.id)
    registry = house.exchange._holdings.registry
    with registry.atomic():
        registry.notices.drop_for(shipment.id, START)
    return shipment.id, delivery.id


def _add(house: House, shipment: str, delivery: int, kind: str, way: str, count: int, now: float) -> None:
    registry = house.exchange._holdings.registry
    pattern = next(each for each in registry.notices.of_shipment(shipment) if each.kind == kind)
    with registry.atomic():
        for _ in range(count):
            registry.notices.add(
                kind, way, pattern.address, "nb", pattern.facts, now,
                user_id=pattern.user_id, shipment_id=shipment, delivery_id=delivery,
            )  # fmt: skip


def _mails(house: House, shipment: str, delivery: int, count: int) -> int:
    _add(house, shipment, delivery, "arrived", "mail", count, START)
    return count


def _half(house: House, shipment: str, delivery: int, count: int) -> int:
    _add(house, shipment, delivery, "code", "sms", count // 2, START)
    return _mails(house, shipment, delivery, count - count // 2) + count // 2


def _carried(house: House, exchange: Exchange, count: int, hook: Mapping[str, Any], *ways: str) -> tuple[float, str]:
    """Notices a second, in the loop that the service has; and what one of them costs."""
    before = [sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    rate = uvloop.run(_carry(house, exchange, count, hook, *ways))
    after = [sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    courier, hooks = ((now - then) / count * 1e3 for now, then in zip(after, before, strict=True))
    return rate, f"each {courier:.2f} ms of the courier, {hooks:.2f} ms of hooks"


async def _carry(
    house: House, exchange: Exchange, count: int, hook: Mapping[str, Any], *ways: str, at_once: int = AT_ONCE
) -> float:
    """Notices a second, from the start of the courier to the last record."""
    name = "smtp" if hook else "spool"
    crews: dict[str, Crew] = {}
    for way in ways:
        crews |= hire(
            {way: name}, [shipped.folder("hooks")], lambda program: house.settings.for_hook(program) | dict(hook),
            at_once=at_once,
        )  # fmt: skip
    bell = Bell(house.folder / "bell")
    courier = Courier(
        exchange.carriage, crews, app.templates_of(house.settings), bell,
        sender="exchange@ssb.example", clock=lambda: START + 1000,
    )  # fmt: skip
    before = exchange.notices.count("carried")
    began = time.monotonic()
    running = asyncio.create_task(courier.run())
    while (done := exchange.notices.count("carried") - before) < count:
        assert not exchange.notices.count("failed")
        if running.done():
            running.result()  # it raises what stopped the courier
        assert time.monotonic() - began < 300, f"only {done} of {count} in five minutes"
        await asyncio.sleep(0.02)
    took = time.monotonic() - began
    courier.stop()
    await running
    return count / took


# ---- the mail server ---------------------------------------------------------------------------------


class _mail_server:  # noqa: N801  it reads as what it is
    """An SMTP server in a process of its own, which counts."""

    def __enter__(self) -> _mail_server:
        self._line, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_serve_mail, args=(theirs,), daemon=True)
        self._process.start()
        self.port: int = self._line.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def counts(self) -> tuple[int, int]:
        """Mails that have arrived, and connections on which."""
        self._line.send("counts")
        found: tuple[int, int] = self._line.recv()
        return found


def _serve_mail(line: Connection) -> None:
    counts = {"mails": 0, "lines": 0}

    class Counting:
        async def handle_DATA(self, *_: object) -> str:  # noqa: N802
            counts["mails"] += 1
            return "250 OK"

    class Counted(SMTP):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            counts["lines"] += 1
            super().connection_made(transport)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Counted(Counting()), "127.0.0.1", 0)
        line.send(server.sockets[0].getsockname()[1])
        while await asyncio.to_thread(line.recv):
            line.send((counts["mails"], counts["lines"]))

    asyncio.run(serve())


# ---- 100,000 due -------------------------------------------------------------------------------------


def _query(house: House, courier: Exchange, shipment: str, delivery: int) -> None:
    """The slowest of some runs of everything that the courier and people ask."""
    _add(house, shipment, delivery, "arrived", "mail", DUE, START)
    carriage, now = courier.carriage, START + 1000

    def turn() -> None:
        taken = carriage.take_due("mail", now, lease="x", seconds=30, limit=32)
        assert len(taken) == 32
        carriage.renew("mail", "x", now + 30, [each.notice.id for each in taken])
        carriage.record("mail", "x", [Outcome(each.notice.id, "carried", reference="r") for each in taken], now)

    asks: dict[str, Callable[[], object]] = {
        "take, renew, record 32": turn,
        "next due": lambda: carriage.next_due("mail"),
        "what waits": carriage.waiting_ways,
        "newest 1000": courier.notices.list,
        "newest 1000 failed": lambda: courier.notices.list("failed"),
        "one reported": lambda: carriage.delivered(way="mail", reference="no such", now=now),
    }
    for what, ask in asks.items():
        times = []
        for _ in range(20):
            began = time.perf_counter()
            ask()
            times.append(time.perf_counter() - began)
        figure = f"median {statistics.median(times) * 1e3:6.2f} ms, slowest {max(times) * 1e3:6.2f} ms"
        _say(f"{DUE} due: {what}", figure, statistics.median(times) < GOALS["query"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else NOTICES)
