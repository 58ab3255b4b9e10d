"""Fifty people who log in to the portal at once, and a portal with a stopwatch.

What is measured is the server's own time: from when a call is whole to when its answer is handed to the network.  The
time that a call waits for Argon2id, and for its turn to have it, is noted apart.  The portal is a process of its own,
wired as `fxsftp serve --only portal` wires it, and the visitors are another.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlencode

import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from fxsftp import app, founding, serving, shipped
from fxsftp.domain.model import Kind
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.portal import routes
from fxsftp.fronts.portal.listener import listen
from fxsftp.fronts.portal.statics import Statics
from fxsftp.settings import load
from tests.fronts.sftp.crowds import fill_rooms
from tests.house import ANN
from tests.walks.guests import ROOT, until
from tests.walks.served import _free_port

PASSWORD = "correct horse battery staple"
PACKAGES = 60  # in each inbox; a page shows 50
P = ParamSpec("P")
T = TypeVar("T")

_argon: ContextVar[list[float]] = ContextVar("_argon")


@dataclass(frozen=True)
class Call:
    """One call: who asked for what, how many milliseconds the server had it, and how many of them for Argon2id."""

    who: str
    what: str
    took: float
    argon: float

    @property
    def own(self) -> float:
        """Without Argon2id."""
        return self.took - self.argon


# ---- the visitors --------------------------------------------------------------------------------------


def visit(folder: Path, users: int, rounds: int) -> Sequence[Call]:
    """All log in `rounds` times, at once; answers what each call took."""
    emails = [f"user{number:02}@ssb.example" for number in range(users)]
    port = _free_port()
    founding.found(folder, demo=True, sftp_port=0, portal_port=port)
    with closing(app.open_exchange(load(folder / "fxsftp.toml", {}), role="admin")) as exchange:
        now = time.time()
        ann = exchange.people.add(ANN, Kind.PARTNER, phone="+4790000000", now=now)
        for email in emails:
            user = exchange.people.add(email, Kind.MEMBER, phone="+4790000000", now=now)
            exchange.people.set_password(email, PASSWORD, now)
            fill_rooms(exchange, ann.id, user.id, email, PACKAGES, now)
    with _serving(folder, port) as noted:
        asyncio.run(_all(port, emails, rounds))
    return [Call(*each) for each in json.loads(noted.read_text())]


@contextmanager
def _serving(folder: Path, port: int) -> Iterator[Path]:
    noted = folder / "noted.json"
    server = subprocess.Popen([sys.executable, "-m", "bench.visiting", str(folder / "fxsftp.toml"), noted], cwd=ROOT)
    try:
        until(lambda: _answers(port))
        yield noted
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def _answers(port: int) -> bool:
    async def ask() -> bool:
        with suppress(OSError):
            line = await Line.open(port, 0)
            return "ok" in await line.call("GET", "/healthz")
        return False

    return asyncio.run(ask())


async def _all(port: int, emails: Sequence[str], rounds: int) -> None:
    await asyncio.gather(*(_one(port, number, email, rounds) for number, email in enumerate(emails)))


async def _one(port: int, number: int, email: str, rounds: int) -> None:
    for _ in range(rounds):
        line = await Line.open(port, number)
        page = await line.call("GET", "/log-in")
        found = re.search(r'name="form" value="([0-9a-f]+)"', page)
        assert found, page
        await line.call("POST", "/log-in", {"form": found[1], "email": email, "password": PASSWORD, "next": "/inbox"})
        assert "Ref 1" in await line.call("GET", "/inbox")
        line.close()


class Line:
    """The least of browsers: one connection, and the cookies that came by it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._reader, self._writer = reader, writer
        self._from = f"192.0.2.{number}"  # each their own address, as the web server in front would say
        self._cookies: dict[str, str] = {}

    @classmethod
    async def open(cls, port: int, number: int) -> Line:
        return cls(*await asyncio.open_connection("127.0.0.1", port), number)

    async def call(self, method: str, path: str, form: dict[str, str] | None = None) -> str:
        """What the body of the answer says."""
        body = urlencode(form or {})
        head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"X-Forwarded-For: {self._from}"]
        head += [f"Cookie: {'; '.join(f'{name}={value}' for name, value in self._cookies.items())}"]
        if form:
            head += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
        self._writer.write("\r\n".join([*head, "", body]).encode())
        said = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = [line.partition(": ")[::2] for line in said[1:] if line]
        for name, value in headers:
            if name == "set-cookie":
                cookie, _, token = value.partition(";")[0].partition("=")
                self._cookies[cookie] = token
        (length,) = [int(value) for name, value in headers if name == "content-length"]
        return (await self._reader.readexactly(length)).decode()

    def close(self) -> None:
        self._writer.close()


# ---- the portal with a stopwatch -----------------------------------------------------------------------


class Stopwatch:
    """Stands before the portal and notes how long it has each call."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.noted: list[tuple[str, str, float, float]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, argon = time.perf_counter(), [0.0]
        _argon.set(argon)
        await self._app(scope, receive, send)
        took = 1000 * (time.perf_counter() - began)
        self.noted.append((scope["client"][0], f"{scope['method']} {scope['path']}", took, 1000 * argon[0]))


class NotingDesk(Desk):
    """A desk that notes what key derivation takes."""

    async def ask_slowly(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        began = time.perf_counter()
        try:
            return await super().ask_slowly(verb, *args, **kwargs)
        finally:
            _argon.get()[0] += time.perf_counter() - began


async def serve(path: Path) -> list[tuple[str, str, float, float]]:
    """Until SIGTERM; answers what was noted."""
    settings = load(path, {})
    exchange: Any = app.open_exchange(settings, role="portal")
    desk, statics = NotingDesk(exchange, time.time), Statics(shipped.folder("config") / "static")
    terms = serving.portal_terms(settings, statics.prefix)
    watch = Stopwatch(routes.portal(desk, app.templates_of(settings), terms, statics))
    listener = listen(watch, settings.portal.listen, settings.portal.port)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await listener.close()
    await desk.close()
    exchange.close()
    return [each for each in watch.noted if each[1] != "GET /healthz"]


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(uvloop.run(serve(Path(sys.argv[1])))))
