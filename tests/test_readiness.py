"""systemd hears when a service is ready."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fxsftp.readiness import is_watched, tell_systemd


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_hears_it_on_the_socket_that_it_named(kind: str, tmp_path: Path) -> None:
    name = str(tmp_path / "notify")[-90:] if kind == "abstract" else "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)  # a socket's path has at most 107 bytes
        systemd.bind("\0" + name if kind == "abstract" else name)
        systemd.settimeout(5)
        path = f"@{name}" if kind == "abstract" else f"/proc/self/cwd/{name}"
        assert tell_systemd("READY=1\nSTATUS=listening", {"NOTIFY_SOCKET": path})
        assert systemd.recv(100) == b"READY=1\nSTATUS=listening"


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere"}, {"NOTIFY_SOCKET": "vsock:2:1"}]
)
def test_where_nobody_listens_nothing_happens(environ: dict[str, str]) -> None:
    assert not tell_systemd("READY=1", environ)


def test_systemd_waits_for_the_process_that_it_has_started_alone() -> None:
    """Its children have the same environment."""
    assert is_watched({"WATCHDOG_USEC": "60000000"})
    assert is_watched({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())})
    assert not is_watched({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getppid())})
    assert not is_watched({"WATCHDOG_PID": str(os.getpid())})
