"""clamd itself, with a signature of our own for EICAR's harmless test file, and a stand-in for what it rarely says."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.walks.guests import until

# In two halves, so that no scanner takes this very file for what it only tells of.
EICAR = (r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*").encode()


class RealClamd:
    """Debian's clamd in a folder of its own; it keeps what it is shown in memory, as scan-clamd says it must."""

    def __init__(self, folder: Path, **settings: object) -> None:
        if not shutil.which("clamd"):
            pytest.skip("clamd is not installed")
        self.folder = folder
        self.socket = folder / "clamd.ctl"
        self.config = folder / "clamd.conf"
        self.memory = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.process: subprocess.Popen[bytes] | None = None
        signatures = folder / "signatures"
        signatures.mkdir()
        (signatures / "local.ndb").write_text(f"Local.Eicar:0:*:{EICAR.hex()}\n")
        told = {
            "DatabaseDirectory": signatures,
            "LocalSocket": self.socket,
            "TemporaryDirectory": self.memory,
            "LogFile": folder / "clamd.log",
            "Foreground": "yes",
            "StreamMaxLength": "4M",
            "MaxFileSize": "8M",
            **settings,
        }
        self.config.write_text("".join(f"{name} {value}\n" for name, value in told.items() if value))

    @property
    def settings(self) -> dict[str, object]:
        """What [hook.scan-clamd] says to reach it."""
        return {"socket": str(self.socket), "config": str(self.config)}

    def start(self) -> None:
        with (self.folder / "clamd.out").open("ab") as out:
            self.process = subprocess.Popen(["clamd", "-c", self.config], stdout=out, stderr=out, cwd=self.folder)
        until(self._answers)

    def _answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.folder / "clamd.out").read_text()
        with socket.socket(socket.AF_UNIX) as line:
            try:
                line.connect(str(self.socket))
                line.sendall(b"zPING\0")
                return line.recv(16) == b"PONG\0"
            except OSError:
                return False

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(30)
            self.process = None
        self.socket.unlink(missing_ok=True)

    def end(self) -> None:
        self.stop()
        shutil.rmtree(self.memory, ignore_errors=True)


@contextmanager
def real_clamd(folder: Path, **settings: object) -> Iterator[RealClamd]:
    """One that runs."""
    folder.mkdir(exist_ok=True)
    clamd = RealClamd(folder, **settings)
    try:
        clamd.start()
        yield clamd
    finally:
        clamd.end()


class StandIn:
    """Speaks INSTREAM as clamd's manual has it, and answers what it is told to.

    `says` None: hangs up without a word.  `takes`: after so many bytes it answers and hangs up, as at StreamMaxLength.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.says: bytes | None = b"stream: OK\0"
        self.takes = 1 << 40
        self.waits = threading.Event()
        self.waits.set()
        self.streams: list[bytes] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def end(self) -> None:
        self.waits.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)
        self.path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            with line, line.makefile("rb") as stream:
                assert stream.read(10) == b"zINSTREAM\0"
                content = b""
                while len(content) <= self.takes and (size := int.from_bytes(stream.read(4), "big")):
                    content += stream.read(size)
                self.streams.append(content)
                self.waits.wait(30)
                if self.says is not None:
                    try:
                        line.sendall(self.says)
                    except OSError:
                        pass


@contextmanager
def stand_in(folder: Path) -> Iterator[StandIn]:
    """One that listens."""
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        standing = StandIn(Path(os.path.relpath(inner)) / "ctl" if len(inner) > 90 else Path(inner) / "ctl")
        try:
            yield standing
        finally:
            standing.end()
