"""A stage for the browser modules: a little server with our static files, the portal's policy, and lines that break.

It serves the files under two addresses: `/static/` as they are, and `/bare/` as a browser has them whose WebCrypto has
no ChaCha20-Poly1305.  Files and pages are put on it by tests; whatever a browser asks is written down.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext
from starlette.types import Receive, Scope, Send

from fxsftp.shipped import folder
from tests.browser import chromium

POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
KINDS = {".js": "text/javascript; charset=utf-8", ".html": "text/html; charset=utf-8"}
NO_CIPHER = b"""{
  const real = crypto.subtle.importKey.bind(crypto.subtle);
  const none = () => Promise.reject(new DOMException("", "NotSupportedError"));
  crypto.subtle.importKey = (format, key, name, ...more) =>
    name === "ChaCha20-Poly1305" ? none() : real(format, key, name, ...more);
}
"""
PIECE = 1 << 18  # bytes


@dataclass
class Asked:
    """One request, and what a browser told by it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


@dataclass
class Upload:
    """One file by tus."""

    size: int
    metadata: dict[str, str]
    data: bytearray = field(default_factory=bytearray)


@dataclass
class Stage:
    """What the server has, and what became of it."""

    port: int = 0
    pages: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)  # that are answered instead
    cuts: dict[str, list[int]] = field(default_factory=dict)  # path -> at which byte each next answer breaks off
    asked: list[Asked] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    upload_cuts: list[int] = field(default_factory=list)  # after how many bytes each next PATCH is broken off
    refusal: tuple[int, str] | None = None  # of whoever creates an upload
    _number: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def told(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    # ---- ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["method"], scope["path"], headers)
        self.asked.append(asked)
        if asked.path.startswith("/uploads"):
            await self._tus(asked, receive, send)
            return
        async for piece in _body(receive):
            asked.body += piece
        if asked.path in self.statuses:
            where = {"Location": "/log-in"} if self.statuses[asked.path] in (302, 303) else {}
            await _answer(send, self.statuses[asked.path], b"", where)
        elif asked.path in self.pages:
            await _answer(send, 200, self.pages[asked.path].encode(), {"Content-Type": KINDS[".html"]})
        elif asked.path in self.files:
            await self._file(asked, send)
        else:
            await self._static(asked, send)

    async def _static(self, asked: Asked, send: Send) -> None:
        match = re.fullmatch(r"/(static|bare)/((?:vendor/)?[\w.-]+)", asked.path)
        path = folder("config") / "static" / match[2] if match else Path("/nowhere")
        if match is None or not path.is_file():
            await _answer(send, 404, b"")
            return
        data = path.read_bytes()
        if match[1] == "bare" and path.name == "unsealing.js":
            data = NO_CIPHER + data
        await _answer(send, 200, data, {"Content-Type": KINDS.get(path.suffix, "text/plain")})

    async def _file(self, asked: Asked, send: Send) -> None:
        data = self.files[asked.path]
        match = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        start = int(match[1]) if match else 0
        headers = {"ETag": f'"{len(data)}"', "Content-Type": "application/octet-stream"}
        if match:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cuts = self.cuts.get(asked.path)
        end = cuts.pop(0) if cuts else len(data)
        await _start(send, 206 if match else 200, {**headers, "Content-Length": str(len(data) - start)})
        view = memoryview(data)
        for offset in range(start, end, PIECE):
            piece = view[offset : min(offset + PIECE, end)]
            await send({"type": "http.response.body", "body": bytes(piece), "more_body": True})
        if end == len(data):
            await send({"type": "http.response.body", "body": b""})
        # Otherwise the server closes the connection, for the answer is not whole.

    # ---- tus

    async def _tus(self, asked: Asked, receive: Receive, send: Send) -> None:
        upload = self.uploads.get(asked.path)
        if asked.method == "POST":
            if self.refusal:
                await _answer(
                    send, self.refusal[0], self.refusal[1].encode(), {"Content-Type": "text/plain; charset=utf-8"}
                )
                return
            self._number += 1
            path = f"/uploads/{self._number}"
            pairs = (pair.split(" ") for pair in asked.headers["upload-metadata"].split(","))
            metadata = {name: base64.b64decode(value).decode() for name, value in pairs}
            self.uploads[path] = Upload(int(asked.headers["upload-length"]), metadata)
            await _answer(send, 201, b"", {"Location": path, "Tus-Resumable": "1.0.0"})
        elif asked.method == "GET" and asked.path == "/uploads":
            await _answer(send, 200, json.dumps(self._open()).encode(), {"Content-Type": "application/json"})
        elif upload is None:
            await _answer(send, 404, b"")
        elif asked.method == "DELETE":
            del self.uploads[asked.path]
            await _answer(send, 204, b"", {"Tus-Resumable": "1.0.0"})
        else:
            if asked.method == "PATCH":
                assert int(asked.headers["upload-offset"]) == len(upload.data)
                left = self.upload_cuts.pop(0) if self.upload_cuts else None
                async for piece in _body(receive):
                    upload.data += piece if left is None else piece[:left]
                    left = None if left is None else left - len(piece)
                    if left is not None and left <= 0:
                        return  # the server closes the connection
            headers = {"Upload-Offset": str(len(upload.data)), "Upload-Length": str(upload.size)}
            await _answer(send, 204 if asked.method == "PATCH" else 200, b"", {**headers, "Tus-Resumable": "1.0.0"})

    def _open(self) -> list[dict[str, object]]:
        return [
            {
                "url": path,
                "name": upload.metadata["filename"],
                "size": upload.size,
                "offset": len(upload.data),
                "fingerprint": upload.metadata.get("fingerprint"),
            }
            for path, upload in self.uploads.items()
        ]


async def _body(receive: Receive):  # type: ignore[no-untyped-def]
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _start(send: Send, status: int, headers: dict[str, str]) -> None:
    raw = [
        (name.lower().encode(), value.encode())
        for name, value in {"Content-Security-Policy": POLICY, "X-Frame-Options": "DENY", **headers}.items()
    ]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _answer(send: Send, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
    await _start(send, status, {"Content-Length": str(len(data)), **(headers or {})})
    await send({"type": "http.response.body", "body": data})


@contextmanager
def on_stage() -> Iterator[Stage]:
    """A stage that is served on a free loopback port."""
    stage = Stage()
    listening = socket.create_server(("127.0.0.1", 0))
    stage.port = listening.getsockname()[1]
    config = uvicorn.Config(stage, lifespan="off", log_config=None, log_level="critical", access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="stage")
    thread.start()
    try:
        yield stage
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(20)
        listening.close()


# ---- fixtures, for the modules that import them ----------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module."""
    with chromium() as running:
        yield running


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A stage with nothing on it."""
    with on_stage() as built:
        yield built


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser's profile of its own, in which nothing of what scripts do is a slip, or against the policy."""
    made = browser.new_context(locale="nb-NO", accept_downloads=True)
    made.set_default_timeout(20_000)
    problems: list[str] = []
    made.on("weberror", lambda error: problems.append(str(error.error)))
    made.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    yield made
    made.close()
    assert problems == []


# ---- pages -----------------------------------------------------------------------------------------


def words(*keys: str) -> str:
    """A template in which each key says itself and the values it was given."""
    values = " ".join(f"{{{name}}}" for name in ("name", "done", "size", "limit", "reason", "sent", "count", "percent"))
    return (
        "<template data-words>" + "".join(f'<p data-word="{key}">{key}: {values}</p>' for key in keys) + "</template>"
    )


def page(body: str, *modules: str, static: str = "/static") -> str:
    """A page of the portal, as bare as can be."""
    scripts = "".join(f'<script type="module" src="{static}/{module}"></script>' for module in modules)
    return (
        f'<!doctype html><html lang="nb"><meta charset="utf-8"><title>Stage</title>{scripts}<body>{body}</body></html>'
    )


def exported(module: str) -> list[str]:
    """The keys of words that a module wants."""
    found = re.search(
        r"export const WORDS = \[(.*?)\n\];", (folder("config") / "static" / f"{module}.js").read_text(), re.DOTALL
    )
    assert found
    return re.findall(r'"([\w-]+)"', found[1])
