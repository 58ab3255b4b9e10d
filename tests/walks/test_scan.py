"""What is dropped is looked at by the real clamd, in the real processes, and never lies on a disk while it is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fxsftp.domain.model import Kind
from fxsftp.settings import load
from tests.hooks.clamav import EICAR, RealClamd, real_clamd
from tests.house import ANN, KARI
from tests.walks.guests import until
from tests.walks.served import Served
from tests.walks.test_no_plaintext import MARKER, STRACE, found_in, opened_for_writing, with_markers

AGE = (Path(__file__).parents[1] / "data" / "payloads" / "encrypted" / "age.age").read_bytes()
BACK = 60  # seconds; the scanners ask again after 30


@pytest.fixture
def clamd() -> Iterator[RealClamd]:
    folder = Path(tempfile.mkdtemp())  # a short path: pytest's are too long for a socket
    with real_clamd(folder) as running:
        yield running
    shutil.rmtree(folder)


def states(served: Served) -> dict[str, str]:
    """Of each shipment, by its subject."""
    return {each.shipment.subject: each.state for each in served.shipments()}


def test_infected_is_held_clean_leaves_and_without_a_scanner_nothing_does(tmp_path: Path, clamd: RealClamd) -> None:
    """And the kernel sees nothing opened for writing but the state, in which no plaintext is found."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    scan = {"hooks": "clamd,payload", "patience": "0 s"}
    hooks = {f"scan_clamd__{name}": value for name, value in clamd.settings.items()}
    with Served(tmp_path / "exchange", {"scan": scan, "hook": hooks}) as served:
        ann = served.add(ANN, Kind.PARTNER)
        served.add(KARI, Kind.MEMBER)
        served.env["PYTHONDONTWRITEBYTECODE"] = "1"
        calls = tmp_path / "calls"
        calls.mkdir()
        served.serve(*STRACE, "-o", str(calls / "of"))
        until(load(served.folder / "fxsftp.toml", {}).bell.exists)
        before = {path: path.stat().st_size for path in calls.iterdir()}

        ann.put(with_markers(3 << 20), f"outbox/{KARI}/Clean/a.bin")
        ann.put(with_markers(8192), f"outbox/{KARI}/Infected/a.csv")
        ann.put(MARKER + EICAR, f"outbox/{KARI}/Infected/b.com")
        ann.put(AGE, f"outbox/{KARI}/Encrypted/a.age")
        until(lambda: states(served) == {"Clean": "waiting", "Infected": "held", "Encrypted": "waiting"})

        (held,) = (each for each in served.shipments() if each.state == "held")
        found = "b.com: clamd found Local.Eicar.UNOFFICIAL. Remove the file, or put a clean one in its place"
        assert held.shipment.reason == found
        until(lambda: any(found in " ".join(str(mail.get_body()).split()) for mail in served.mails(ANN)))
        (warned,) = (each for each in served.shipments() if each.shipment.subject == "Encrypted")
        assert [each.detail for each in warned.history if each.event == "warned"] == [
            "a.age: came encrypted already (age): its recipient needs the key to that too"
        ]

        clamd.stop()
        ann.put(with_markers(8192), f"outbox/{KARI}/Later/a.csv")
        until(lambda: states(served)["Later"] == "held")
        said = ann.ssh(f"send outbox/{KARI}/Later").out
        assert "is being checked" in said
        until(lambda: states(served)["Later"] == "held")
        clamd.start()
        until(lambda: states(served)["Later"] == "waiting", BACK)
        assert served.must("doctor").out.count("by the hook scan-") == 2
        assert served.stop() == 0

        assert found_in(served, MARKER) == []
        assert found_in(served, EICAR) == []
        said = "\n".join(path.read_bytes()[before.get(path, 0) :].decode() for path in calls.iterdir())
        state = f"{served.folder / 'state'}/"
        written = set(opened_for_writing(said.split("\n")))
        assert {path for path in written if not path.startswith(state) and path != "/dev/null"} == set()
        assert "memfd_create(" not in said
