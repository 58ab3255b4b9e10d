"""A portal that listens on loopback, over a house whose clock is turned by hand; and a visitor without JavaScript."""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from fxsftp import app, serving, shipped
from fxsftp.domain.model import User
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.portal import routes
from fxsftp.fronts.portal.listener import Certificate, listen
from fxsftp.fronts.portal.statics import Statics
from tests.house import House, templates_of

PORTAL = '\n[portal]\npublic_url = "http://127.0.0.1:8080"\n'  # for settings; the links of mails begin so
PASSWORD = "correct horse battery staple"


class Gate:
    """The real portal on a free loopback port, in a thread of its own."""

    def __init__(self, house: House, *, certificate: Certificate | None = None, **terms: Any) -> None:
        """`terms` replace single ones of the settings'."""
        self.house = house
        self._certificate = certificate
        self._terms = terms
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._visitors: list[Visitor] = []
        self.url = ""
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop, self._stop = self._ready.result(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for visitor in self._visitors:
            visitor.client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as problem:  # noqa: BLE001 - it is the test's to see
            if not self._ready.done():
                self._ready.set_exception(problem)

    async def _serve(self) -> None:
        from dataclasses import replace

        desk = Desk(self.house.exchange, self.house.clock)
        statics = Statics(shipped.folder("config") / "static")
        terms = serving.portal_terms(self.house.settings, statics.prefix)
        # The port is known only once it is listened on, and the address stands in the terms: a door for the door.
        late = _Late()
        listener = listen(late, "127.0.0.1", 0, self._certificate)
        self.port = listener.port
        scheme, host = ("https", "localhost") if self._certificate else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{listener.port}"
        terms = replace(terms, **({"public_url": self.url} | self._terms))
        late.app = routes.portal(desk, templates_of(self.house.settings), terms, statics)
        stop = asyncio.Event()
        self._ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        await listener.close()
        await desk.close()

    def visitor(self, **how: Any) -> Visitor:
        """Somebody who comes without cookies and without JavaScript."""
        self._visitors.append(Visitor(httpx.Client(base_url=self.url, timeout=30, **how)))
        return self._visitors[-1]

    def logged_in(self, user: User) -> Visitor:
        """A user who is in already.  The log-in itself has tests of its own; Argon2 need not be paid for in each."""
        token = self.house.exchange.visits.begin(user, self.house.clock())
        visitor = self.visitor()
        visitor.client.cookies.set("fxsftp", token, domain="127.0.0.1")
        page = visitor.get("/inbox")
        assert page.path == "/inbox", page.text
        return visitor


class _Late:
    app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@dataclass
class Shown:
    """A page as somebody without JavaScript has it."""

    status: int
    path: str
    html: str
    headers: httpx.Headers
    forms: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What can be read, in one line."""
        bare = re.sub(r"<(script|style|template).*?</\1>", " ", self.html, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", bare)).split())

    def links(self) -> list[str]:
        return [unescape(link) for link in re.findall(r'<a [^>]*href="([^"]*)"', self.html)]


class Visitor:
    """The plainest of browsers: follows redirects, keeps cookies, submits forms with all their fields."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.page = Shown(0, "", "", httpx.Headers())

    def get(self, path: str, **how: Any) -> Shown:
        return self._shown(self.client.get(path, follow_redirects=True, **how))

    def post(self, path: str, /, **fields: Any) -> Shown:
        """A form that is put together by hand; with the token of the page that is shown."""
        form = {"form": self.form_token} | fields
        return self._shown(self.client.post(path, data=form, follow_redirects=True))

    def submit(self, to: str = "", /, **fields: Any) -> Shown:
        """The form on the shown page that goes `to` this address; else the one that has the first of these fields."""
        wanted = next(iter(fields), "")
        for form in self.page.forms:
            if (to and form["action"] == to) or (not to and (wanted in form["fields"] or not wanted)):
                known = dict(form["fields"])
                return self._shown(self.client.post(form["action"], data=known | fields, follow_redirects=True))
        raise AssertionError(f"no form goes to {to!r} or has {wanted!r} on {self.page.path}: {self.page.text}")

    @property
    def form_token(self) -> str:
        found = re.search(r'name="form-token" content="([0-9a-f]+)"', self.page.html)
        return found[1] if found else ""

    def _shown(self, answer: httpx.Response) -> Shown:
        kind = answer.headers.get("Content-Type", "")
        html = answer.text if kind.startswith("text/") else ""
        forms = _Forms()
        forms.feed(html)
        self.page = Shown(answer.status_code, answer.url.raw_path.decode(), html, answer.headers, forms.found)
        return self.page


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []
        self._is_in = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._is_in = True
            self.found.append({"action": given.get("action") or "", "fields": {}})
        elif tag in ("input", "textarea", "select") and self._is_in and given.get("name"):
            if given.get("type") in ("checkbox", "radio") and "checked" not in given:
                return
            self.found[-1]["fields"].setdefault(given["name"], given.get("value") or "")
        elif tag == "button" and self._is_in and given.get("name") and len(self.found[-1]["fields"]) < 50:
            self.found[-1].setdefault("buttons", {})[given["name"]] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_in = False


def mail_links(house: House, address: str, part: str) -> list[str]:
    """The links with `part` in them in the mails that wait for this address: they are carried to a spool, and read."""
    courier = app.open_exchange(house.settings, role="courier")
    found: list[str] = []
    try:
        templates = templates_of(house.settings)
        for errand in courier.carriage.take_due("mail", house.clock(), lease="test", seconds=60, limit=1000):
            if errand.notice.address == address:
                said = templates.render(errand.kind, "mail", "en", errand.facts | {"token": errand.token or ""}).text
                found += [link for link in re.findall(r"https?://\S+", said) if part in link]
    finally:
        courier.close()
    return found


def write_certificate(folder: Path) -> tuple[Certificate, Any]:
    """A certificate for localhost, and who vouches for it."""
    import trustme

    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1")
    chain, key = folder / "portal.pem", folder / "portal.key"
    made.cert_chain_pems[0].write_to_path(chain)
    made.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    return Certificate(chain, key), authority
