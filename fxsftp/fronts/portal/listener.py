"""Listening for HTTP: one uvicorn server in the loop that the wiring runs.

No access log, for paths name notices and links.  TLS is the web server's in front of us, or ours by a certificate of
its own.  What uvicorn leaves open is closed here: a caller gets so long, and so many bytes, to say what it wants.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

AT_ONCE = 400  # connections; beyond that, 503 at once
HEADERS = 16 << 10  # bytes of one head
HEAD_WITHIN = 15.0  # seconds for it to come in whole, and for a new caller to begin
REST_WITHIN = 30.0  # seconds for the rest of what was answered before it was whole; a browser reads no answer earlier
AHEAD = 10  # calls that one caller may ask ahead of their turn; browsers ask none
LINGER = 30.0  # seconds in which the other end has to take what was left to send at a close
IDLE = 10  # seconds that a line is kept between two calls
STOPPING = 10  # seconds that calls under way get at a stop
BREAK_OFF = "fxsftp.break_off"  # among the extensions of a call


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


def break_off(scope: Scope) -> bool:
    """Hang up on a call that gets no more of its answer, so that it sees that it has half of one.

    False under another server, which hangs up where an answer just stops.  So does uvicorn, but it writes into the log
    that the portal is at fault.
    """
    found = scope.get("extensions", {}).get(BREAK_OFF)
    if found:
        found["now"]()
    return bool(found)


class _Bounded(HttpToolsProtocol):
    """uvicorn's protocol, with an end to how long and how large what a caller says may be: it has none of its own.

    One clock runs whenever a caller owes us something that nobody else waits for: the first head, the next, and the
    rest of a body that was answered before it was whole.
    """

    _unheard = 0  # bytes since the parser last had something to say: of a head, of trailers, between two pieces
    _is_head = False
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", _Line(self.loop, cast("asyncio.Transport", transport))))
        self._wait(HEAD_WITHIN)

    def data_received(self, data: bytes) -> None:
        if self._unheard > HEADERS:
            self.send_400_response("The head of this request is too large.")
            return
        self._unheard += len(data)
        if not self.transport.is_closing():
            super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {BREAK_OFF: {"now": self.transport.close}}
        self._is_head = True
        self._wait(HEAD_WITHIN)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_head:  # and not a trailer, which would stand among the headers, long after they were judged
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_head, self._unheard = False, 0
        self._stop_waiting()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEADERS:
            raise ValueError("too large")  # the parser passes it on, and the caller hears 400
        if len(self.pipeline) >= AHEAD:
            raise ValueError("too many at once")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unheard = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unheard = 0
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait(HEAD_WITHIN)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # and nothing else was asked ahead
            self._wait(REST_WITHIN if self.cycle.more_body else HEAD_WITHIN)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        cast("_Line", self.transport).lost()
        super().connection_lost(exc)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._late = self.loop.call_later(seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None


class _Line:
    """A transport that is gone a while after its close: asyncio's waits until the other end has taken all."""

    _end: asyncio.TimerHandle | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()
            self._end = self._loop.call_later(LINGER, self._cut)

    def _cut(self) -> None:
        # Without this the kernel would go on offering what is left, to somebody who takes none of it.
        self.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def lost(self) -> None:
        """The line is no more."""
        if self._end:
            self._end.cancel()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT are the wiring's, which tells every part of a process to stop in its turn."""
        yield
