"""Telling systemd that a service is ready, stopping or alive: one datagram (sd_notify(3)), no library.

sendto() and never connect(): the sftp unit forbids the latter.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def tell_systemd(state: str, environ: Mapping[str, str]) -> bool:
    """Send `READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=…`.

    False if nobody listens; never an error, for nothing depends on it.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # how Linux writes an abstract name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notice:
        try:
            notice.sendto(state.encode(), address)
        except OSError:
            return False
    return True


def is_watched(environ: Mapping[str, str]) -> bool:
    """Whether systemd waits for `WATCHDOG=1` from this very process, and not from the one that has started it."""
    return bool(environ.get("WATCHDOG_USEC")) and environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
