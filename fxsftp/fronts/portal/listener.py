"""Listening for HTTP: one uvicorn server in the loop that the wiring runs.

No access log, for paths name notices and links.  TLS is the web server's in front of us, or ours by a certificate of
its own.  What uvicorn leaves open is closed here: a caller gets so long, and so many bytes, to say what it wants.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

AT_ONCE = 400  # connections; beyond that, 503 at once
HEADERS = 16 << 10  # bytes of one head
HEAD_WITHIN = 15.0  # seconds for it to come in whole, and for a new caller to begin
IDLE = 10  # seconds that a line is kept between two calls
STOPPING = 10  # seconds that calls under way get at a stop


@dataclass(frozen=True)
class Certificate:
    """Where our own certificate and its key lie, in PEM."""

    chain: Path
    key: Path


class Listener:
    """A portal that is served from now on.  `ended` is done when it is not any more."""

    def __init__(self, server: uvicorn.Server, listening: socket.socket) -> None:
        self.port: int = listening.getsockname()[1]
        self._server = server
        self.ended = asyncio.create_task(server.serve(sockets=[listening]))

    async def close(self) -> None:
        """Take no more calls; return when those under way are answered."""
        self._server.should_exit = True
        await self.ended


def listen(app: ASGIApp, host: str, port: int, certificate: Certificate | None = None) -> Listener:
    """Serve `app`.  From here on callers are heard, and answered as soon as the loop turns.  Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=AT_ONCE)
    # Each line inherits it.  asyncio sets it only where a socket names its protocol, and create_server's does not:
    # what follows a head would wait for the caller's acknowledgement, which comes 40 ms late.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        http=_Bounded,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=AT_ONCE,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=STOPPING,
        ssl_certfile=certificate.chain if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
    )
    return Listener(_Server(config), listening)


class _Bounded(HttpToolsProtocol):
    """uvicorn's protocol, with an end to how long and how large a head may be: it has none of its own."""

    _head = 0  # bytes of a head that is not whole yet
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._head > HEADERS:
            self.send_400_response("The head of this request is too large.")
            return
        if self._late:
            self._head += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEADERS:
            raise ValueError("too large")  # the parser passes it on, and the caller hears 400
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._stop_waiting()
        self._late = self.loop.call_later(HEAD_WITHIN, self.transport.close)

    def _stop_waiting(self) -> None:
        self._head = 0
        if self._late:
            self._late.cancel()
            self._late = None


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT are the wiring's, which tells every part of a process to stop in its turn."""
        yield
