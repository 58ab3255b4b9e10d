"""A disk that somebody has filled takes nothing more, and lets everybody in to make room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fxsftp.domain.model import Kind
from tests.house import ANN, KARI
from tests.walks.guests import Guest, until
from tests.walks.served import Served

MIB = 1 << 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a disk that is small")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """One of 40 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def served(disk: Path, tmp_path: Path) -> Iterator[Served]:
    with Served(disk / "x" / "exchange", {"sftp": {"workers": "2"}}) as exchange:
        exchange.said = tmp_path / "served.log"  # it has room
        yield exchange
    assert "Traceback" not in exchange.log()


def comes_in_without_a_row(served: Served, guest: Guest) -> bool:
    """A row or two find room in the registry's log even then."""
    assert "inbox" in guest.ls()
    return f"{guest.email} has come in, though the registry's disk is full" in served.log()


def test_whoever_fills_the_disk_is_refused_and_all_others_go_on(served: Served, disk: Path, tmp_path: Path) -> None:
    """A tenth of it stays free; and were that gone, too, people would still come in, look and fetch."""
    kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    for guest in (kari, ann):
        guest.home = tmp_path / guest.email  # on a disk of their own
        guest.home.mkdir()
    served.serve()
    ann.put(b"content", f"outbox/{KARI}/Ref 1/a.csv")
    until(lambda: kari.ls("inbox"))
    (folder,) = kari.ls("inbox")

    large, small = ann.file(os.urandom(60 * MIB), "large.bin"), ann.file(b"small", "small.csv")
    refused = ann.sftp(f'put {large} "outbox/{KARI}/Ref 2/large.bin"')

    assert refused.status != 0
    assert "disk is full" in refused.said
    assert shutil.disk_usage(disk).free > 3 * MIB
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - 3 * MIB))
    until(lambda: "disk is full" in ann.sftp(f'put {small} "outbox/{KARI}/Ref 3/small.csv"').said)
    assert kari.get(f"inbox/{folder}/a.csv") == b"content"

    with pytest.raises(OSError, match="No space"), filler.open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    for guest in (kari, ann):
        until(partial(comes_in_without_a_row, served, guest))
        assert kari.get(f"inbox/{folder}/a.csv") == b"content"

    filler.unlink()
    assert ann.sftp(f'rm "outbox/{KARI}/Ref 2/large.bin"').status == 0
    until(lambda: ann.sftp(f'put {small} "outbox/{KARI}/Ref 4/small.csv"').status == 0)
    until(lambda: any("Ref-4" in name for name in kari.ls("inbox")))
