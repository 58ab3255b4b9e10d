"""How long others wait for an answer while 5,000 small files are put, dispatched, listed, opened and fetched.

    python -m bench.latency [FILES]

A real `fxsftp serve`, OpenSSH's sftp as the busy client, and beside it a session that asks something every 10 ms.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.probe import probing
from fxsftp.domain.model import Kind
from tests.house import ANN, BOB, KARI
from tests.walks.guests import until
from tests.walks.served import Served

FILES = 5000


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Served(Path(folder) / "exchange") as served:
        kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
        other = served.add(BOB, Kind.PARTNER)
        served.serve()
        tree = kari.home / "Ref 1"
        for number in range(count):
            kari.file(b"%06d;%0500d\n" % (number, number), f"Ref 1/{number % 10}/{number:05}.csv")
        phases: list[tuple[str, float, float]] = []

        def phase(name: str, work: Callable[[], object]) -> None:
            began = time.monotonic()
            work()
            phases.append((name, began, time.monotonic()))

        def dispatched() -> bool:
            return bool(served.sms())

        with probing(other, served.port, f"/outbox/{KARI}/Mine") as waits:
            phase("nothing", lambda: time.sleep(3))
            phase("put -r", lambda: kari._must(kari.sftp(f'put -r "{tree}" /outbox/{ANN}/')))
            phase("dispatch", lambda: until(dispatched))
            shipment = served.shipments()[0].shipment.id
            code = re.search(r"\b[0-9a-z]{4}(-[0-9a-z]{4}){3}\b", served.sms()[0])
            assert code
            phase("list locked", lambda: ann.ls(f"/inbox/{shipment}/3"))
            phase("ls -lR sender", lambda: kari._must(kari.sftp(f'ls -l "/outbox/{ANN}/Ref 1/3"')))
            phase("open", lambda: ann.ssh(f"open {shipment}", (code[0] + "\n").encode()))
            phase("get -r", lambda: ann.fetch(f"/inbox/{shipment}"))
            phase("SHA256SUMS", lambda: ann.get(f"/inbox/{shipment}/SHA256SUMS"))
            phase("sent", lambda: kari.ls("/sent"))
            phase("collected", lambda: until(lambda: served.shipments()[0].state == "collected"))
        start = phases[0][1]
        for name, began, ended in phases:
            print(f"{name:14} {began - start:5.1f} s + {ended - began:5.1f} s   {waits.within(began, ended)}")
        print(f"the slowest: {waits.slowest(start)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else FILES)
