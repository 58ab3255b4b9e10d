"""Hooks are driven as the courier drives them, as programs; a mail server and Twilio's stand-in are on loopback."""

from __future__ import annotations

import asyncio
import functools
import json
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP as MAIL
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult

from fxsftp import shipped

ANSWER = 30  # seconds; a busy machine starts Python slowly


class Hook:
    """One hook that runs, with its settings given."""

    def __init__(self, command: list[str], settings: dict[str, object]) -> None:
        env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd="/"
        )
        self._say({"settings": settings})

    def carry(self, message: dict[str, object]) -> dict[str, Any]:
        self._say(message)
        assert self.process.stdout
        assert select.select([self.process.stdout], [], [], ANSWER)[0], "the hook does not answer"
        answer = json.loads(self.process.stdout.readline())
        assert answer["id"] == message["id"]
        return answer

    def end(self) -> tuple[int, str]:
        """Exit status and all that it wrote to stderr."""
        _, said = self.process.communicate(timeout=ANSWER)
        return self.process.returncode, said.decode()

    def _say(self, line: dict[str, object]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()


@pytest.fixture
def start() -> Iterator[Callable[..., Hook]]:
    """Starts a shipped hook, or a command that is one."""
    hooks: list[Hook] = []

    def start(program: str | list[str], settings: dict[str, object]) -> Hook:
        command = [str(shipped.folder("hooks") / program)] if isinstance(program, str) else program
        hooks.append(Hook(command, settings))
        return hooks[-1]

    yield start
    for hook in hooks:
        hook.process.kill()
        hook.process.communicate()


@pytest.fixture
def show(start: Callable[..., Hook]) -> Callable[..., Any]:
    """Starts a shipped hook that is shown files."""
    from tests.hooks.shown import Shown  # which needs Hook

    return lambda program, settings: Shown(start(program, settings))


# ---- a mail server -------------------------------------------------------------------------------


@dataclass
class Post:
    """What has arrived at the mail server, and how it shall answer."""

    port: int = 0
    mails: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    log_ins: list[tuple[str, str]] = field(default_factory=list)
    callers: set[Any] = field(default_factory=set)
    contents: list[bytes] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    to_sender: list[str] = field(default_factory=list)  # for the next ones; then all are welcome
    to_recipient: dict[str, str] = field(default_factory=dict)
    to_data: str = "250 OK"
    drops: bool = False  # the line, once a mail is taken, instead of saying so
    waits: float = 0.0  # seconds before any answer …
    lingers: float = 0.0  # … and before the one that says that a mail is taken

    # aiosmtpd's names
    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        answer = self.to_sender.pop(0) if self.to_sender else "250 OK"
        await asyncio.sleep(self.waits)
        if answer == "hang up":
            server.transport.abort()
        if answer.startswith("250"):
            envelope.mail_from = address
        if answer.startswith("421"):
            asyncio.get_running_loop().call_soon(server.transport.close)
        return answer

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        self.callers.add(session.peer)
        answer = self.to_recipient.get(address, "250 OK")
        await asyncio.sleep(self.waits)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.to_data.startswith("250"):
            mail = BytesParser(EmailMessage, policy=MAIL).parsebytes(envelope.content)
            self.mails.append((envelope.mail_from, envelope.rcpt_tos, mail))
            self.contents.append(envelope.content)
        if self.drops:
            server.transport.abort()
        await asyncio.sleep(self.waits + self.lingers)
        return self.to_data

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.log_ins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"sesame", handled=False)


class ReportingPost(Post):
    """One that offers delivery reports (RFC 3461) …"""

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, said: list[str]) -> list[str]:
        session.host_name = hostname
        return [*said[:-1], "250-DSN", said[-1]]


class WithReports(SMTP):
    """… and notes their parameters, which aiosmtpd refuses."""

    async def smtp_MAIL(self, arg: str) -> None:
        await super().smtp_MAIL(self._noted(arg))

    async def smtp_RCPT(self, arg: str) -> None:
        await super().smtp_RCPT(self._noted(arg))

    def _noted(self, arg: str) -> str:
        address, *options = arg.split(" ")
        self.event_handler.options += [each for each in options if not each.startswith(("SIZE", "BODY"))]
        return address


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def post_office(authority: trustme.CA) -> Iterator[Callable[..., Post]]:
    """Opens a mail server on a port of its own: post_office("starttls" | "tls" | "none", log_in=True).

    `name` is the one in its certificate.
    """
    closers: list[Callable[[], None]] = []

    def open_one(security: str, *, log_in: bool = False, dsn: bool = False, name: str = "localhost") -> Post:
        post = ReportingPost() if dsn else Post()
        protocol = functools.partial(WithReports if dsn else SMTP, post)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        options: dict[str, Any] = {"hostname": "post.example", "enable_SMTPUTF8": False}
        if security == "starttls":
            options |= {"tls_context": context, "require_starttls": True}
        if log_in:
            # aiosmtpd counts STARTTLS only as TLS, and warns when a log-in is required without it.
            is_required = security == "starttls"
            options |= {"authenticator": post.authenticate}
            options |= {"auth_required": is_required, "auth_require_tls": is_required}
        listening = socket.create_server(("127.0.0.1", 0))
        post.port = listening.getsockname()[1]
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(
            loop.create_server(
                lambda: protocol(loop=loop, **options), sock=listening, ssl=context if security == "tls" else None
            )
        )
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        def close() -> None:
            asyncio.run_coroutine_threadsafe(_close(server), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

        closers.append(close)
        return post

    yield open_one
    for close in closers:
        close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
        await asyncio.wait([task], timeout=5)


# ---- Twilio's stand-in ---------------------------------------------------------------------------


@dataclass
class Twilio:
    """What the stand-in was sent, and how it shall answer."""

    url: str = ""
    ca_file: str = ""  # the authority that vouches for it
    calls: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # path, Authorization, form
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    answer: tuple[int, object] = (201, {"sid": "SM0123456789abcdef", "status": "queued", "error_code": None})
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # path, query
    tells: tuple[int, object] = (200, {"messages": []})  # to a GET
    hang: threading.Event | None = None  # it takes what it is sent, and says nothing until this is set


@contextmanager
def standing_in(context: ssl.SSLContext | None = None) -> Iterator[Twilio]:
    """One that listens on loopback, by HTTPS where it is given a certificate."""
    standing = Twilio()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            standing.calls.append((self.path, self.headers.get("Authorization", ""), form))
            standing.headers.append(dict(self.headers))
            standing.bodies.append(body)
            if standing.hang:
                standing.hang.wait(ANSWER)
                return
            self._say(*standing.answer)

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            standing.asked.append((path, {name: values[0] for name, values in parse_qs(query).items()}))
            standing.headers.append(dict(self.headers))
            self._say(*standing.tells)

        def _say(self, status: int, said: object) -> None:
            content = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    standing.url = f"{'https://localhost' if context else 'http://127.0.0.1'}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield standing
    finally:
        if standing.hang:
            standing.hang.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def twilio(authority: trustme.CA, ca_file: str) -> Iterator[Twilio]:
    """By HTTPS, as the real one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with standing_in(context) as standing:
        standing.ca_file = ca_file
        yield standing


@pytest.fixture
def gateway() -> Iterator[Twilio]:
    """Any HTTP server, on this very machine."""
    with standing_in() as standing:
        yield standing


def until(claim: Callable[[], object], seconds: float = 10) -> bool:
    """Whether `claim` comes true in time."""
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
