"""A program that is told of events: a real HTTP server which verifies each with the library of Standard Webhooks."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Receiver:
    """What has arrived, and how it shall answer."""

    url: str = ""
    secret: str = SECRET
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    hang: threading.Event | None = None
    events: list[dict[str, Any]] = field(default_factory=list)  # those that verified, each with its `id`
    forged: int = 0
    connections: set[Any] = field(default_factory=set)

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        try:
            event = Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            self.forged += 1
        else:
            self.events.append(event | {"id": headers["webhook-id"]})

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """One that listens on loopback, by HTTPS where it is given a certificate."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.connections.add(self.client_address)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if receiver.hang:
                receiver.hang.wait(30)
                self.close_connection = True
                return
            receiver.take(body, dict(self.headers.items()))
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            if receiver.status != 204:
                self.send_header("Content-Length", "2")
            self.end_headers()
            if receiver.status != 204:
                self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that trusts no certificate of ours breaks off

    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver.url = f"{'https://localhost' if context else 'http://127.0.0.1'}:{server.server_port}/events"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        if receiver.hang:
            receiver.hang.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
