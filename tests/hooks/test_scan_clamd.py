"""scan-clamd: the real clamd finds what it knows, and nothing is shown to one that would write it to a disk."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hooks.clamav import EICAR, RealClamd, StandIn, real_clamd, stand_in
from tests.hooks.shown import Shown
from tests.walks.guests import until

Show = Callable[..., Shown]


# ---- clamd itself --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clamd() -> Iterator[RealClamd]:
    folder = Path(tempfile.mkdtemp())  # a short path: pytest's are too long for a socket
    try:
        with real_clamd(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@pytest.mark.xdist_group("clamd")
class TestWithTheRealClamd:
    def test_what_it_knows_is_found_wherever_it_lies(self, clamd: RealClamd, show: Show) -> None:
        hook = show("scan-clamd", clamd.settings)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", b"harmless")
            archive.writestr("b.com", EICAR)
        for content in (EICAR, b"x" * 100_000 + EICAR + b"y" * 500_000, gzip.compress(EICAR), packed.getvalue()):
            assert hook.scan(content) == ("infected", "Local.Eicar.UNOFFICIAL")

    def test_what_it_does_not_know_is_clean(self, clamd: RealClamd, show: Show) -> None:
        hook = show("scan-clamd", clamd.settings)
        for content in (b"", b"a;b\n1;2\n", os.urandom(3_000_000), EICAR[:-1]):
            assert hook.scan(content) == ("clean", "")

    def test_what_is_larger_than_it_looks_at_is_not_called_clean(self, clamd: RealClamd, show: Show) -> None:
        """Neither shown to it, nor taken for seen."""
        too_large = bytes((4 << 20) + 1)
        reason = "was not scanned, for it is larger than the 4 MiB that are scanned"
        for policy, verdict in (("hold", "hold"), ("warn", "warn"), ("pass", "clean")):
            hook = show("scan-clamd", clamd.settings | {"too_large": policy})
            assert hook.scan(too_large) == (verdict, reason)
            assert hook.shown < len(too_large)
        assert show("scan-clamd", clamd.settings).scan(bytes(4 << 20)) == ("clean", "")

    def test_it_says_itself_when_it_is_shown_too_much(self, clamd: RealClamd, show: Show) -> None:
        """Where its settings can't be read, its word counts."""
        hook = show("scan-clamd", {"socket": str(clamd.socket), "config": "/nowhere", "on_disk": True})
        reason = "was not scanned, for it is larger than what is scanned"
        assert hook.scan(bytes(12 << 20)) == ("hold", reason)
        assert hook.scan(EICAR)[0] == "infected"

    def test_when_it_is_gone_files_wait_and_when_it_is_back_they_do_not(self, clamd: RealClamd, show: Show) -> None:
        hook = show("scan-clamd", clamd.settings)
        clamd.stop()
        assert hook.scan(EICAR) == ("later", "no connection to clamd: No such file or directory")
        clamd.start()
        assert hook.scan(EICAR)[0] == "infected"

    def test_nothing_of_it_stays_where_it_keeps_what_it_is_shown(self, clamd: RealClamd, show: Show) -> None:
        show("scan-clamd", clamd.settings).scan(b"a secret")
        until(lambda: not list(clamd.memory.iterdir()))


# ---- what it rarely says -------------------------------------------------------------------------


@pytest.fixture
def standing(tmp_path: Path) -> Iterator[StandIn]:
    folder = Path(tempfile.mkdtemp())
    with stand_in(folder) as standing:
        yield standing
    shutil.rmtree(folder)


@pytest.fixture
def settings(standing: StandIn) -> dict[str, object]:
    return {"socket": str(standing.path), "config": "/nowhere", "on_disk": True, "timeout": 20}


@pytest.mark.parametrize(
    ("says", "opinion"),
    [
        (b"stream: OK\0", ("clean", "")),
        (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", ("infected", "Win.Test.EICAR_HDB-1")),
        (b"stream: A name with FOUND in it FOUND\0", ("infected", "A name with FOUND in it")),
        (
            b"stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND\0",
            ("hold", "was not scanned, for it holds more than is scanned (Heuristics.Limits.Exceeded.MaxScanSize)"),
        ),
        (
            b"stream: Heuristics.Encrypted.Zip FOUND\0",
            ("hold", "is encrypted, and so can't be scanned (Heuristics.Encrypted.Zip)"),
        ),
        (
            b"INSTREAM size limit exceeded. ERROR\0",
            ("hold", "was not scanned, for it is larger than what is scanned"),
        ),
        (b"INSTREAM: Can't allocate memory ERROR\0", ("later", "clamd says: INSTREAM: Can't allocate memory ERROR")),
        (b"COMMAND READ TIMED OUT\0", ("later", "clamd says: COMMAND READ TIMED OUT")),
        (b"stream: OK but not quite\0", ("later", "clamd says: stream: OK but not quite")),
        (b"", ("later", "clamd says: nothing")),
        (None, ("later", "clamd says: nothing")),
    ],
)
def test_each_answer_is_sorted(says, opinion, standing: StandIn, settings, show: Show) -> None:
    standing.says = says
    assert show("scan-clamd", settings).scan(b"12345") == opinion
    assert standing.streams == [b"12345"]


def test_one_that_breaks_off_in_the_middle_is_heard_out(standing: StandIn, settings, show: Show) -> None:
    standing.takes, standing.says = 1_000_000, b"INSTREAM size limit exceeded. ERROR\0"
    hook = show("scan-clamd", settings)
    assert hook.scan(bytes(30_000_000))[0] == "hold"
    assert hook.shown < 20_000_000
    standing.takes, standing.says = 1 << 40, b"stream: OK\0"
    assert hook.scan(b"1") == ("clean", "")


def test_one_that_hangs_is_left_in_time(standing: StandIn, settings, show: Show) -> None:
    standing.waits.clear()
    hook = show("scan-clamd", settings | {"timeout": 0.5})
    assert hook.scan(b"1") == ("later", "clamd took nothing and said nothing for too long")


# ---- what is not shown ---------------------------------------------------------------------------


NOT_IN_MEMORY = Path("/proc")  # wherever this runs, and not a disk either: the hook trusts what it knows only


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "can't be read, so nobody knows where clamd writes what it is shown"),
        ("TemporaryDirectory {elsewhere}\n", "set TemporaryDirectory (now {elsewhere}) to a tmpfs"),
        ("TemporaryDirectory {elsewhere}/not/there/yet\n", "(now {elsewhere}/not/there/yet) to a tmpfs"),
        ("TemporaryDirectory {link}\n", "set TemporaryDirectory (now {link}) to a tmpfs"),
        ('TemporaryDirectory "/dev/shm/not/there/yet"\n', ""),
    ],
)
def test_nothing_is_shown_to_one_that_would_write_it_to_a_disk(
    config, reason, standing: StandIn, settings, show: Show, tmp_path: Path
) -> None:
    link = Path(tempfile.mkdtemp(dir="/dev/shm")) / "link"
    link.symlink_to(NOT_IN_MEMORY)
    words = {"elsewhere": NOT_IN_MEMORY, "link": link}
    path = tmp_path / "clamd.conf"
    if config:
        path.write_text("# TemporaryDirectory /dev/shm\n" + config.format(**words))
    hook = show("scan-clamd", settings | {"config": str(path), "on_disk": False})
    verdict, said = hook.scan(b"a secret")
    shutil.rmtree(link.parent)
    assert (verdict, said.endswith(reason.format(**words))) == ("later" if reason else "clean", True)
    assert standing.streams == ([] if reason else [b"a secret"])


def test_one_that_does_not_say_where_it_writes_does_so_in_tmp(
    standing: StandIn, settings, show: Show, tmp_path: Path
) -> None:
    """That is clamd's own default.  It is judged like any other folder, and lies in memory on some machines."""
    (tmp_path / "clamd.conf").write_text("LocalSocket /x\n")
    verdict, said = show("scan-clamd", settings | {"config": str(tmp_path / "clamd.conf"), "on_disk": False}).scan(b"1")
    kind = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", "/tmp"], capture_output=True, text=True).stdout
    if kind.strip() in ("tmpfs", "ramfs"):
        assert (verdict, said) == ("clean", "")
    else:
        assert (verdict, said.endswith("set TemporaryDirectory (now /tmp) to a tmpfs")) == ("later", True)


def test_nothing_is_shown_over_a_network(show: Show) -> None:
    hook = show("scan-clamd", {"host": "clamd.ssb.example", "on_disk": True, "config": "/nowhere"})
    assert hook.scan(b"1") == ("later", "plaintext does not travel in clear: host must be this machine")


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ("StreamMaxLength 2M\n", 2 << 20),
        ("StreamMaxLength 1G\nMaxFileSize 3145728\n", 3 << 20),
        ("StreamMaxLength 1G\nMaxScanSize 5m\nMaxFileSize 0\n", 5 << 20),
    ],
)
def test_the_least_of_its_limits_counts(config, limit, standing: StandIn, settings, show: Show, tmp_path: Path) -> None:
    (tmp_path / "clamd.conf").write_text(config)
    hook = show("scan-clamd", settings | {"config": str(tmp_path / "clamd.conf")})
    assert hook.scan(bytes(limit)) == ("clean", "")
    assert hook.scan(bytes(limit + 1))[0] == "hold"
    assert len(standing.streams) == 1
