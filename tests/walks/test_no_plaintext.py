"""No plaintext on disk, ever, and no code: the kernel tells what was opened for writing, and all of it is searched."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fxsftp.domain.model import Kind
from fxsftp.settings import load
from tests.house import ANN, KARI
from tests.walks.guests import until
from tests.walks.served import Served

MARKER = b"-plaintext-7c1f0a9e5b2d4486-"
CODE = re.compile(r"\b[0-9a-z]{4}(?:-[0-9a-z]{4}){3}\b")
CALLS = "open,openat,openat2,creat,memfd_create"
# -ff: a file for each thread, so that no call is written in two halves.  -y: what was opened, also below a descriptor.
# -D: the service is our child and not strace's, which would keep signals from it.
STRACE = ["strace", "-D", "-ff", "-qq", "-y", "--seccomp-bpf", "-e", f"trace={CALLS}", "-e", "signal=none"]
OPENED = re.compile(r"(?:open|openat|openat2|creat)\((?P<how>.*)\) = \d+<(?P<path>.*)>")
FOR_WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE")


def with_markers(size: int) -> bytes:
    """Content that does not repeat and has the marker in each 4 KiB."""
    source = random.Random(1)
    return b"".join(MARKER + source.randbytes(4096 - len(MARKER)) for _ in range(size // 4096))


def test_what_the_service_opens_and_keeps_holds_no_plaintext_and_no_code(tmp_path: Path) -> None:
    """During an upload, a dispatch, the carrying of the code, an opening in place and a download."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    with Served(tmp_path / "exchange") as served:
        kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
        served.env |= {"PYTHONDONTWRITEBYTECODE": "1", "FXSFTP_EXCHANGE__SETTLE_FOLDER": "4 s"}
        calls = tmp_path / "calls"
        calls.mkdir()
        served.serve(*STRACE, "-o", str(calls / "of"))
        until(load(served.folder / "fxsftp.toml", {}).bell.exists)
        # Until here Python looked for libraries, with temporary files in /tmp, and nobody had been let in.
        before = {path: path.stat().st_size for path in calls.iterdir()}
        large, small = with_markers(20 << 20), with_markers(8192)

        kari.put(small, f"outbox/{ANN}/Ref 1/small.bin")
        kari.put(large, f"outbox/{ANN}/Ref 1/large.bin")
        assert [each.state for each in served.shipments()] == ["settling"]
        assert found_in(served, MARKER) == []

        until(served.sms)
        (code,) = CODE.findall(served.sms()[0])
        (folder,) = ann.ls("inbox")
        assert ann.ssh(f"open {folder}", f"{code}\n".encode()).status == 0
        assert ann.sftp(f"mkdir inbox/{folder}/{code}").status == 0
        assert ann.get(f"inbox/{folder}/large.bin") == large
        assert ann.get(f"inbox/{folder}/small.bin") == small
        until(lambda: served.mails(KARI))
        assert served.stop() == 0

        assert found_in(served, MARKER) == []
        for form in (code, code.replace("-", ""), code.upper()):
            assert found_in(served, form.encode()) == []
        said = [path.read_bytes()[before.get(path, 0) :].decode() for path in calls.iterdir()]
        written = set(opened_for_writing(said))
        state = f"{served.folder / 'state'}/"
        assert any(path.startswith(f"{state}vault/") for path in written)
        assert {path for path in written if not path.startswith(state) and path != "/dev/null"} == set()
        assert not any("memfd_create(" in text for text in said)


def found_in(served: Served, words: bytes) -> list[str]:
    """The files that hold these words: the state, but for what the demo's hooks stand for, and the log."""
    files = [Path(at) / name for at, _, names in os.walk(served.folder) for name in names]
    spool = served.folder / "state" / "spool"
    searched = [path for path in files if not path.is_relative_to(spool)] + [served.said]
    assert {"registry.db", "secrets.db", "served.log"} <= {path.name for path in searched}
    return [str(path) for path in searched if path.is_file() and words in path.read_bytes()]


def opened_for_writing(said: Sequence[str]) -> Iterator[str]:
    """What any process or thread of the service has opened so that it could write to it."""
    for text in said:
        for call in OPENED.finditer(text):
            if FOR_WRITING.search(call["how"]):
                yield call["path"]
