"""Listening for HTTP: one uvicorn server in the loop that the wiring runs.

No access log, for paths name notices; no headers of a proxy are believed, for nothing here depends on who calls from
where.  TLS and slow callers are the web server's in front of us, as config/fxsftp.toml says.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

AT_ONCE = 200  # connections; beyond that, 503 at once
HEADERS = 16 << 10  # bytes
STOPPING = 10  # seconds that calls under way get at a stop


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


def listen(app: Starlette, host: str, port: int) -> Listener:
    """Serve `app`.  From here on callers are heard, and answered as soon as the loop turns.  Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=AT_ONCE)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=AT_ONCE,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=STOPPING,
        h11_max_incomplete_event_size=HEADERS,
    )
    return Listener(_Server(config), listening)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT are the wiring's, which tells every part of a process to stop in its turn."""
        yield
