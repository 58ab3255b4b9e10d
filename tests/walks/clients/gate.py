"""A line to an exchange that stops carrying, so that a client can be cut short in the middle of a file.

No rate and no clock is in it: the client is held at a byte, for as long as the test likes.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from types import TracebackType
from typing import Self

from tests.walks.guests import DEADLINE, Exchange

PIECE = 65536


class Gate:
    """Stands before the door of `exchange`; the first `most` bytes that one client says go through."""

    def __init__(self, exchange: Exchange, most: int = sys.maxsize) -> None:
        self.folder = exchange.folder
        self.upward = 0  # bytes that the clients said
        self._target, self._most = exchange.port, most
        self._is_held, self._may_go = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lines: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._may_go.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(DEADLINE)

    def wait_until_held(self) -> None:
        """Until `most` bytes have gone through, and more would like to."""
        assert self._is_held.wait(DEADLINE), "the client never came so far"

    def release(self) -> None:
        """Everything goes through from now on."""
        self._may_go.set()

    def cut(self) -> None:
        """The line is dead for both, and what was held is lost."""
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._lines += [client, server]
            for way in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._carry, args=way, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, target: socket.socket, is_upward: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                if is_upward:
                    self.upward += len(piece)
                    if self.upward > self._most and not self._may_go.is_set():
                        self._is_held.set()
                        self._may_go.wait()
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        if not is_upward:
            source.close()
            target.close()
