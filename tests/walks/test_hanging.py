"""A process that hangs is found out, killed and replaced, and what it had begun goes on elsewhere."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fxsftp.domain.model import Kind
from tests.house import ANN, KARI
from tests.walks.guests import Guest, until
from tests.walks.served import Served, is_running
from tests.walks.test_serve import CSV
from tests.walks.test_workers import client_at, holds_the_turn, workers

# A test has no half minute to wait: the same command, whose supervisor has less patience.
IMPATIENT = """
import sys
from fxsftp import supervisor
from fxsftp.__main__ import main
supervisor.Supervisor.__init__.__kwdefaults__["silent"] = 8
sys.argv = sys.argv[3:]
main()
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """An exchange with two processes at its port, and a portal."""
    portal = {"port": "0", "public_url": "http://127.0.0.1:8080"}
    with Served(tmp_path / "exchange", {"sftp": {"workers": "2"}, "portal": portal}) as exchange:
        yield exchange
    assert "Traceback" not in exchange.log()


@pytest.fixture
def kari(served: Served) -> Guest:
    return served.add(KARI, Kind.MEMBER)


@pytest.fixture
def ann(served: Served) -> Guest:
    return served.add(ANN, Kind.PARTNER)


def test_whoever_hangs_is_replaced_and_all_goes_on(served: Served, kari: Guest, ann: Guest) -> None:
    """The process that decides, the courier and the portal, all at once; the other sessions notice nothing."""
    served.serve(sys.executable, "-c", IMPATIENT)
    until(lambda: "portal listens on port" in served.log())
    until(lambda: sum(holds_the_turn(served, pid) for pid in workers(served)) == 1)
    (hangs,) = [pid for pid in workers(served) if holds_the_turn(served, pid)]
    (other,) = [pid for pid in workers(served) if pid != hangs]
    stopped = [hangs, served.child("courier"), served.child("portal")]
    with ExitStack() as here:
        kept = here.enter_context(client_at(served, ann, other))
        lost = here.enter_context(client_at(served, ann, hangs))
        draft = lost.open(f"outbox/{KARI}/Ref 1/large.csv", "w")
        draft.write(CSV)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        with kept.open(f"outbox/{KARI}/loose.csv", "w") as file:
            file.write(CSV)

        until(lambda: not any(is_running(pid) for pid in stopped) and len(workers(served)) == 2)

        with kept.open(f"outbox/{KARI}/Ref 1/large.csv", "r+") as again:
            again.write(CSV)
        until(lambda: len(kari.ls("inbox")) == 2)
    until(lambda: served.mails(KARI))
    assert served.log().count("it hangs, and is killed") == 3
    assert served.log().count("ended with status -9") == 3
    assert served.stop() == 0


@pytest.mark.parametrize("only", ["sftp", "courier", "portal"])
def test_each_service_tells_systemd_that_it_lives_and_no_child_of_it_does(served: Served, only: str) -> None:
    path = served.folder.parent / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(60)
        served.env |= {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "60000000"}
        served.serve(only=only, waits=False)

        heard = [systemd.recv(100)]
        while heard.count(b"WATCHDOG=1") < 3 or b"READY=1" not in heard:
            heard.append(systemd.recv(100))

        assert set(heard) == {b"READY=1", b"WATCHDOG=1"}
        assert served.stop() == 0
