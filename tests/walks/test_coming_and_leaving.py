"""Whoever comes in a rush, or has to leave in the middle of something, at the real service."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fxsftp.domain.model import Kind
from tests.house import ANN, KARI
from tests.walks.guests import Guest, until
from tests.walks.served import Served

LARGE = b"0123456789abcdef" * (1 << 19)  # 8 MiB: eight seconds at the pace of `slowly`
REMOTE = f"outbox/{KARI}/Ref 1/large.bin"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """An exchange that gives running transfers two seconds when it is stopped."""
    with Served(tmp_path / "exchange", {"sftp": {"drain": "2 s"}}) as exchange:
        yield exchange
    assert "Traceback" not in exchange.log()


def test_a_rush_waits_in_line_and_none_of_it_is_lost(served: Served) -> None:
    """Twelve at once where four a second are answered: five at once, the last after two seconds, all well."""
    served.env["FXSFTP_SFTP__MAX_RATE"] = "4"
    ann = served.add(ANN, Kind.PARTNER)
    served.serve()

    began = time.monotonic()
    clients = [ann.start("ls outbox") for _ in range(12)]

    assert [client.wait(30) for client in clients] == [0] * 12
    assert time.monotonic() - began > 1.5
    assert "turned away" not in served.log()


def uploading(served: Served, ann: Guest) -> subprocess.Popen[bytes]:
    """A client in the middle of a file."""
    client = ann.start(f'put {ann.file(LARGE, "large.bin")} "{REMOTE}"', slowly=True)
    vault = served.folder / "state" / "vault"
    until(lambda: sum(path.stat().st_size for path in vault.rglob("*") if path.is_file()) > 300_000)
    return client


def finish(served: Served, ann: Guest, kari: Guest) -> None:
    """What was cut short is taken up where it was, and arrives whole."""
    with ann.paramiko() as sftp:
        kept = sftp.stat(REMOTE).st_size or 0
    assert 0 < kept < len(LARGE)
    assert kari.ls("inbox") == []
    assert ann.sftp(f'reput large.bin "{REMOTE}"').status == 0
    until(lambda: kari.ls("inbox"))
    (folder,) = kari.ls("inbox")
    assert hashlib.sha256(kari.get(f"inbox/{folder}/large.bin")).digest() == hashlib.sha256(LARGE).digest()


@pytest.mark.parametrize("how", ["disabled", "key removed"])
def test_who_may_no_longer_be_here_is_cut_off_in_the_middle_of_a_file(served: Served, how: str) -> None:
    """Within five seconds of the operator's command; let in again, they go on where they were."""
    kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    served.serve()
    client = uploading(served, ann)
    key = Path(f"{ann.key}.pub").read_text()

    if how == "disabled":
        served.must("user", "disable", ANN)
    else:
        fingerprint = subprocess.run(
            ["ssh-keygen", "-lf", f"{ann.key}.pub"], capture_output=True, text=True, check=True
        )
        served.must("key", "remove", ANN, fingerprint.stdout.split()[1])
    began = time.monotonic()

    assert client.wait(10) != 0
    assert time.monotonic() - began < 5
    assert f"{ANN} sent away: Your access to this exchange has ended." in served.log()
    assert ann.sftp("ls").status != 0
    if how == "disabled":
        served.must("user", "enable", ANN)
    else:
        served.must("key", "add", ANN, "-", stdin=key)
    finish(served, ann, kari)


def test_a_stop_waits_so_long_and_what_it_cuts_short_is_taken_up_later(served: Served) -> None:
    """While it waits, nobody comes in; the status is 0, and no file that is incomplete leaves."""
    kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    process = served.serve()
    client = uploading(served, ann)
    began = time.monotonic()
    process.terminate()

    until(lambda: not is_open(served))
    assert client.poll() is None  # it goes on, and nobody else begins
    assert kari.sftp("ls").status != 0

    assert process.wait(30) == 0
    assert time.monotonic() - began >= 2
    assert client.wait(10) != 0
    served.serve()
    finish(served, ann, kari)


def is_open(served: Served) -> bool:
    try:
        socket.create_connection(("127.0.0.1", served.port), timeout=5).close()
    except OSError:
        return False
    return True
