"""The guard: what is true of every call and every answer, before and after any page is asked.

A call with a path that two readers could read in two ways is refused; so is a form that another site sends.  Every
answer carries what keeps browsers from guessing, framing, caching and loading what is not ours.
Plain ASGI, so that it stands outside whatever may fail within.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fxsftp.fronts.portal.call import Terms

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
SIGNED = "/callbacks/"  # programs call here, and prove by a signature who they are

HEADERS: tuple[tuple[str, str], ...] = (
    (
        "Content-Security-Policy",
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),  # for browsers that do not know frame-ancestors
    ("X-Content-Type-Options", "nosniff"),
    # Not no-referrer: with it, Chromium sends `Origin: null` with our own forms.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
)
PRIVATE = "no-store"


class Guard:
    """Stands before the portal."""

    def __init__(self, app: ASGIApp, terms: Terms) -> None:
        self._app = app
        self._terms = terms
        self._proxies = [ipaddress.ip_network(name, strict=False) for name in terms.proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        scope["client"] = (self._caller(scope, headers), 0)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(raw=message.setdefault("headers", [])))
            await send(message)

        if is_ambiguous(scope["raw_path"]):
            await PlainTextResponse("There is no such page here.", 404)(scope, receive, guarded)
        elif self._is_foreign(scope, headers):
            await PlainTextResponse("This was sent by another site, and is not taken.", 403)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _mark(self, headers: MutableHeaders) -> None:
        for name, value in HEADERS:
            headers.setdefault(name, value)
        headers.setdefault("Cache-Control", PRIVATE)
        if self._terms.is_secure:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")

    def _is_foreign(self, scope: Scope, headers: Headers) -> bool:
        """Whether another site made the browser send this.  Who says nothing of it still needs a form's token."""
        if scope["method"] in SAFE or scope["path"].startswith(SIGNED):
            return False
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        return (origin is not None and origin != self._terms.public_url) or site in ("cross-site", "same-site")

    def _caller(self, scope: Scope, headers: Headers) -> str:
        """Who calls.  What a proxy says is believed only of proxies that the settings name, from the nearest on.

        Some proxies write a header of their own beneath what the caller sent, so all of them count as one.
        """
        address = str(scope["client"][0]) if scope.get("client") else ""
        for said in reversed(",".join(headers.getlist("X-Forwarded-For")).split(",")):
            found = _address(said.strip())
            if found is None or not self._is_proxy(address):
                break
            address = found
        return address

    def _is_proxy(self, address: str) -> bool:
        known = _address(address)
        return known is not None and any(ipaddress.ip_address(known) in network for network in self._proxies)


def _address(said: str) -> str | None:
    """An address as a proxy writes it, some with a port: `192.0.2.1:49152`, `[2001:db8::1]:49152`."""
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|([0-9.]+):\d+", said)
    try:
        return str(ipaddress.ip_address(match[1] or match[2] if match else said))
    except ValueError:
        return None


def is_ambiguous(raw_path: bytes) -> bool:
    """Whether a web server in front of us could read this path otherwise than we do: `//`, `;`, `%2f`, `..`."""
    lower = raw_path.lower()
    if b"//" in raw_path or b";" in raw_path or b"\\" in raw_path or b"%2f" in lower or b"%5c" in lower:
        return True
    parts = [unquote_to_bytes(part) for part in raw_path.split(b"/")]
    return any(part in (b".", b"..") or min(part, default=32) < 32 or b"\x7f" in part for part in parts)
