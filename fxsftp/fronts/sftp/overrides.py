"""What asyncssh does otherwise than we need it, put right on each connection; nowhere else is it reached into.

Only methods with public names are set, on single objects, so that a newer asyncssh that does better or
calls them no more loses us speed and nothing else, but for one: a test shows that a full line still stops us.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncssh

IGNORE = 2  # SSH_MSG_IGNORE


def mend(conn: asyncssh.SSHServerConnection, choke: Callable[[bool], None]) -> None:
    """Tell `choke` when the line is full and when it has room again, and leave out what only costs."""
    # asyncssh takes no notice when its line is full; a client with an endless window (PuTTY's) that does
    # not read would have us keep for it whatever it asks for.
    line: Any = conn
    line.pause_writing = lambda: choke(True)
    line.resume_writing = lambda: choke(False)

    # An empty IGNORE before every packet hides the next IV of CBC ciphers (RFC 4251, 9.3.1).  None is served here,
    # and without it a download takes up to a fifth less of a core.
    send_packet = conn.send_packet

    def send_what_matters(kind: int, *args: bytes, handler: Any = None) -> None:
        if kind != IGNORE:
            send_packet(kind, *args, handler=handler)

    line.send_packet = send_what_matters
    hush(line)


def hush(speaker: Any) -> None:
    """Make no log line of each packet: asyncssh puts them together before it knows that nobody wants them."""
    speaker.log_sent_packet = speaker.log_received_packet = _nothing


def _nothing(*_: object) -> None:
    pass
