"""People at browsers: each has a Chromium profile of their own, a mailbox and a phone, and knows nothing from within.

What is shown on a page is found by its words, in the language of whoever looks; mails and SMS are those that the real
courier has carried to the spool.  Whatever a script gets wrong, a policy forbids or a server fails at fails the walk.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyotp
from babel.messages.pofile import read_po
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Response, expect

from fxsftp import app, shipped
from fxsftp.domain.model import Kind
from fxsftp.settings import load
from tests.walks.guests import Guest, until
from tests.walks.served import Served, said

PASSWORD = "a quiet harbour in november"
SOON = 30_000  # milliseconds; what is waited for takes a fraction of it
EITHER = [("nb", True), ("en", False)]  # language and scripts, where all four would say the same again
NO_PICKERS = "delete window.showSaveFilePicker; delete window.showDirectoryPicker;"  # as Firefox and Safari are
_CODE = re.compile(r"\b[0-9a-z]{4}(?:-[0-9a-z]{4}){3}\b")


@cache
def words(language: str) -> Callable[[str], str]:
    """How our own words are said in a language."""
    if language == "en":
        return str
    path = shipped.folder("config") / "locale" / language / "LC_MESSAGES" / "fxsftp.po"
    with path.open("rb") as file:
        found = {str(message.id): str(message.string) for message in read_po(file) if isinstance(message.id, str)}
    return found.__getitem__


class Wire:
    """The line between all browsers and the portal; what goes up it is kept, byte for byte."""

    def __init__(self, port: int, to: int) -> None:
        self._ports = port, to
        self._up: list[bytes] = []
        self._left: int | None = None  # bytes until a line is held, once
        self._loop = asyncio.new_event_loop()
        self._stop, self._cut = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), name="wire")
        self._thread.start()

    @property
    def up(self) -> bytes:
        """All that browsers have said so far."""
        return b"".join(self._up)

    def hold_after(self, count: int) -> None:
        """That many bytes up from now, one line goes still, until `cut`."""
        self._cut.clear()
        self._left = count

    def cut(self) -> None:
        """The line that is held breaks."""
        assert self._left is None, "no line is held yet"
        self._loop.call_soon_threadsafe(self._cut.set)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()

    async def _run(self) -> None:
        port, _ = self._ports
        server = await asyncio.start_server(self._carry_both, "127.0.0.1", port)
        await self._stop.wait()
        server.close()
        await server.wait_closed()
        lines = asyncio.all_tasks() - {asyncio.current_task()}
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    async def _carry_both(self, browser: asyncio.StreamReader, to_browser: asyncio.StreamWriter) -> None:
        writers = [to_browser]
        with suppress(OSError, asyncio.CancelledError):
            portal, to_portal = await asyncio.open_connection("127.0.0.1", self._ports[1])
            writers.append(to_portal)
            await asyncio.gather(self._carry(browser, to_portal, is_up=True), self._carry(portal, to_browser))
        for writer in writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_up: bool = False) -> None:
        while piece := await source.read(1 << 16):
            sink.write(piece)
            await sink.drain()
            if is_up:
                self._up.append(piece)
                await self._count(len(piece))
        raise ConnectionError  # one end has gone, so the other way is over as well

    async def _count(self, size: int) -> None:
        if self._left is None:
            return
        self._left -= size
        if self._left <= 0:
            self._left = None
            await self._cut.wait()
            raise ConnectionError


@dataclass
class Person:
    """Somebody with an address, a phone and a browser."""

    email: str
    phone: str
    language: str
    context: BrowserContext
    town: Town
    app: pyotp.TOTP | None = None  # an authenticator, for who has to have one
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page: Page = self.context.new_page()
        self.say = words(self.language)

    # ---- at the browser

    def goes_to(self, path: str) -> None:
        """An address typed, or a link of a mail followed."""
        self.page.goto(path if path.startswith("http") else f"{self.town.url}{path}")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("main").get_by_role("button", name=self.say(name), exact=True)

    def clicks(self, name: str, role: str = "button") -> None:
        """A button or a link of the page, by what stands on it."""
        self.page.get_by_role("main").get_by_role(role, name=self.say(name), exact=True).first.click()  # type: ignore[arg-type]

    def unfolds(self, name: str) -> None:
        """What is under a heading that can be opened."""
        self.page.locator("summary").filter(has_text=self.say(name)).first.click()

    def fills(self, label: str, value: str) -> None:
        self.page.get_by_label(self.say(label), exact=True).locator("visible=true").fill(value)

    def sees(self, text: str, *, translated: bool = True) -> None:
        expect(self.page.locator("body")).to_contain_text(self.say(text) if translated else text, timeout=SOON)

    def comes_to_see(self, path: str, text: str) -> None:
        """What a page says sooner or later, loaded again and again."""

        def says() -> bool:
            self.goes_to(path)
            return self.say(text) in self.page.locator("body").inner_text()

        until(says)

    def is_at(self, path: str) -> None:
        expect(self.page).to_have_url(re.compile(re.escape(self.town.url + path)), timeout=SOON)

    def logs_in(self, password: str = PASSWORD, at: str = "") -> None:
        """From the log-in page, or from a link that leads to it."""
        self.goes_to(at or "/log-in")
        self.sees("Account password")
        self.fills("User name", self.email)
        self.fills("Account password", password)
        self.clicks("Log in")
        if self.app:
            self.fills("Six digits, or a recovery code", digits_of(self.app, 1))
            self.clicks("Log in")

    def downloads(self, press: Callable[[], None]) -> tuple[str, bytes]:
        """What a press of something brings: its name and its bytes."""
        with self.page.expect_download(timeout=SOON) as coming:
            press()
        return coming.value.suggested_filename, coming.value.path().read_bytes()

    # ---- at the mailbox and the phone

    def mails(self) -> list[str]:
        return [said(mail) for mail in self.town.served.mails(self.email)]

    def link(self, part: str) -> str:
        """The newest link of that kind, once its mail is there."""
        found: list[str] = []

        def came() -> bool:
            found[:] = [link for text in self.mails() for link in re.findall(r"http://\S+", text) if part in link]
            return bool(found)

        until(came)
        assert len(set(found)) == 1, found  # a test that asks for a second one of a kind says which
        return found[-1]

    def sms(self, holds: str = "") -> str:
        """The only SMS to this phone that `holds` something, once it is there."""
        found: list[str] = []

        def came() -> bool:
            mine = [text for text in self.town.served.sms() if f"To: {self.phone}\n" in text]
            found[:] = [text for text in mine if holds in text]
            return bool(found)

        until(came)
        return found[-1]

    def code(self, shipment: str) -> str:
        """The code of a package."""
        (code,) = set(_CODE.findall(self.sms(shipment)))
        return str(code)

    def digits(self, *, but: str = "") -> str:
        """The six digits that confirm a change; another than an older one."""
        found: list[str] = []

        def came() -> bool:
            texts = [text for text in self.town.served.sms() if f"To: {self.phone}\n" in text]
            found[:] = [each for text in texts for each in re.findall(r"(?<!\S)\d{6}(?!\S)", text) if each != but]
            return bool(found)

        until(came)
        return found[-1]


@dataclass
class Town:
    """An exchange that is served by its own processes, with a portal; and who lives there."""

    served: Served
    url: str
    wire: Wire
    browser: Browser
    count: int = 0
    guests: dict[str, Guest] = field(default_factory=dict)

    @contextmanager
    def person(
        self, name: str, language: str = "en", *, scripts: bool = True, domain: str = "firm.example"
    ) -> Iterator[Person]:
        """Somebody new, whom the exchange does not know yet; nothing on their pages went wrong in the end."""
        self.count += 1
        context = self.browser.new_context(
            locale={"en": "en-GB", "nb": "nb-NO"}[language],
            java_script_enabled=scripts,
            accept_downloads=True,
            # As the web server in front would say; otherwise all of them share one pace.
            extra_http_headers={"X-Forwarded-For": f"192.0.2.{self.count}"},
        )
        context.set_default_timeout(SOON)
        context.add_init_script(NO_PICKERS)
        somebody = Person(f"{name}{self.count}@{domain}", f"+47900{self.count:05}", language, context, self)
        context.on("weberror", lambda error: somebody.problems.append(str(error.error)))
        context.on("console", lambda message: self._heard(somebody, message.type, message.text))
        context.on("response", lambda response: self._answered(somebody, response))
        try:
            yield somebody
        finally:
            context.close()
        assert somebody.problems == []

    @contextmanager
    def user(
        self, name: str, language: str = "en", *, scripts: bool = True, kind: Kind = Kind.PARTNER
    ) -> Iterator[Person]:
        """The same, registered, with a password and an SSH key."""
        domain = "ssb.example" if kind is Kind.MEMBER else "firm.example"
        with self.person(name, language, scripts=scripts, domain=domain) as somebody:
            guest = self.guests[somebody.email] = self.served.guest(somebody.email)
            with closing(self.served.exchange()) as exchange:
                keys, now = [Path(f"{guest.key}.pub").read_text()], time.time()
                exchange.people.add(somebody.email, kind, phone=somebody.phone, keys=keys, language=language, now=now)
                exchange.people.set_password(somebody.email, PASSWORD, now)
            if kind is Kind.MEMBER:
                somebody.app = self._second_factor(somebody.email)
            yield somebody

    def guest(self, somebody: Person) -> Guest:
        """The same party with OpenSSH's clients: with their key, or else by password."""
        return self.guests.get(somebody.email) or Guest(self.served, somebody.email, password=PASSWORD)

    def _second_factor(self, email: str) -> pyotp.TOTP:
        """Policy asks members for one: set up before the walk begins."""
        settings = load(self.served.folder / "fxsftp.toml", self.served.env)
        with closing(app.open_exchange(settings, role="portal")) as exchange:
            user, now = exchange.people.find(email), time.time()
            exchange.totp.allow(user, now)
            secret, _ = exchange.totp.begin(user, now)
            made = pyotp.TOTP(secret)
            exchange.totp.confirm(user, digits_of(made, 0), now)
        return made

    @staticmethod
    def _heard(somebody: Person, kind: str, text: str) -> None:
        if kind == "error" and not text.startswith("Failed to load resource"):  # those are looked at as answers
            somebody.problems.append(text)

    @staticmethod
    def _answered(somebody: Person, response: Response) -> None:
        is_page = response.request.is_navigation_request()
        if response.status >= 500 or (response.status >= 400 and not is_page):
            somebody.problems.append(f"{response.status} {response.request.method} {response.url}")


def digits_of(app: pyotp.TOTP, step: int) -> str:
    """What it shows, or will show so many half minutes from now: each counts once; a phone may be ahead."""
    return app.at(int(time.time()) + step * 30)


def write(folder: Path, name: str, data: bytes) -> Path:
    """A file of somebody's own."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
