"""Draws every page of the portal into docs/screenshots/: on a desk, on a phone, in the dark.  `make screenshots`.

The exchange is a real one, with example people, and time stands still, so that pictures change when pages do.
`PAGES` is also what tests/fronts/portal/test_accessible.py looks at: a page that is missing here fails a test there.
"""

from __future__ import annotations

import base64
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page

from fxsftp import app
from fxsftp.domain.model import Kind, LockKind, User
from fxsftp.domain.places import parse
from fxsftp.domain.policy import DAY
from tests.browser import chromium
from tests.gate import PASSWORD, PORTAL, Gate
from tests.house import House

FOLDER = Path(__file__).parent.parent / "docs" / "screenshots"
SIZES: Mapping[str, Mapping[str, object]] = {
    "desktop": {"viewport": {"width": 1180, "height": 760}},
    "phone": {"viewport": {"width": 390, "height": 760}},
    "dark": {"viewport": {"width": 1180, "height": 760}, "color_scheme": "dark"},
}
NAME = "Statistics of Examples"
PLAIN = {  # not a demo, whose pages say so at the top: nothing is carried here
    "FXSFTP_EXCHANGE__DEMO": "false", "FXSFTP_NOTIFY__MAIL": "", "FXSFTP_NOTIFY__SMS": "",
    "FXSFTP_INSTITUTION__NAME": NAME, "FXSFTP_EXCHANGE__TIMEZONE": "Europe/Oslo",
    "FXSFTP_SFTP__ADDRESS": "sftp.example.org", "FXSFTP_SFTP__PORT": "22",
}  # fmt: skip
KARI, ANN, BOB, NINA, OLA, SIRI = (
    "kari@ssb.example", "ann@firm.example", "bob@works.example", "nina@clinic.example", "ola@ssb.example",
    "siri@ssb.example",
)  # fmt: skip
PHONE_OF_ANN = "+4790000002"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDUFSfCzqTidEZbu3gxhH3pWKr8gT7eB3lg1KDgO4ai9 ann@laptop"
CSV = b"person;municipality;value\n" * 9000


# ---- the exchange that is shown ----------------------------------------------------------------------


@dataclass
class Scene:
    """Who is there, what lies where, and what mails and phones said."""

    house: House
    packages: dict[str, str] = field(default_factory=dict)  # their numbers, by what they show
    codes: dict[str, str] = field(default_factory=dict)  # ann's, by package
    links: dict[tuple[str, str], str] = field(default_factory=dict)  # paths, by kind and address
    digits: dict[str, str] = field(default_factory=dict)  # by phone
    gate: Gate | None = None

    def user(self, email: str) -> User:
        return self.house.exchange.people.find(email)

    def begin(self, sender: str, to: list[str], subject: str, message: str = "", **more: object) -> str:
        """A package that is being put together."""
        composing, now = self.house.exchange.composing, self.house.clock()
        begun = composing.begin(self.user(sender), recipients=to, subject=subject, message=message, now=now, **more)  # type: ignore[arg-type]
        return begun.id

    def add(self, sender: str, package: str, files: Mapping[str, bytes]) -> None:
        """Files of it, as a browser brings them."""
        composing, now = self.house.exchange.composing, self.house.clock()
        for name, data in files.items():
            draft, _ = composing.add_file(self.user(sender), package, name, len(data), now, "scene", now)
            for offset in range(0, len(data), 1 << 18):
                draft.write(offset, data[offset : offset + (1 << 18)])
            composing.finish_file(draft, now)

    def send(self, sender: str, to: list[str], subject: str, files: Mapping[str, bytes], message: str = "") -> str:
        """A package, sent; its number."""
        package = self.begin(sender, to, subject, message)
        self.add(sender, package, files)
        self.house.exchange.composing.submit(self.user(sender), package, self.house.clock())
        return package

    def carry(self) -> None:
        """Whatever waits is carried, as the courier would, and what it says is remembered."""
        now = self.house.clock()
        with closing(app.open_exchange(self.house.settings, role="courier")) as courier:
            for way in ("mail", "sms"):
                for errand in courier.carriage.take_due(way, now, lease="scene", seconds=60, limit=1000):
                    notice = errand.notice
                    courier.carriage.carried(notice.id, "scene", notice.id, now)
                    if errand.kind == "code" and errand.code and notice.shipment_id and notice.address == PHONE_OF_ANN:
                        self.codes[notice.shipment_id] = errand.code
                    elif errand.kind == "confirm" and errand.code:
                        self.digits[notice.address] = errand.code
                    elif errand.token:
                        page = {"invited": "welcome", "password_link": "password"}[errand.kind]
                        self.links[page, notice.address] = f"/{page}/{errand.token}"


@contextmanager
def scene(folder: Path, *, language: str = "en") -> Iterator[Scene]:
    """The exchange with all that the pages show, served at `scene.gate`."""
    with House(folder, settings_text=PORTAL, environ=PLAIN) as house:
        made = Scene(house)
        _people(made, language)
        _packages(made)
        with Gate(house) as gate:
            made.gate = gate
            yield made


def _people(made: Scene, language: str) -> None:
    people, now = made.house.exchange.people, made.house.clock()
    everybody = (
        (KARI, Kind.MEMBER, "Kari Nordmann", "+4790000000"),
        (OLA, Kind.MEMBER, "Ola Nordmann", "+4790000001"),
        (SIRI, Kind.MEMBER, "Siri Nordmann", "+4790000005"),
        (ANN, Kind.PARTNER, "Ann Example", PHONE_OF_ANN),
        (BOB, Kind.PARTNER, "Bob Builder", "+4790000003"),
    )
    for email, kind, name, phone in everybody:
        people.add(email, kind, phone=phone, name=name, language=language, now=now)
        people.set_password(email, PASSWORD, now)
    people.add_key(ANN, KEY, now)
    people.change(ANN, now, phrase="two blue herons")


def _packages(made: Scene) -> None:
    house, put = made.house, made.packages
    put["old"] = made.send(KARI, [ANN], "Old figures 2025", {"a.csv": CSV[:5000]})
    house.clock.turn(27.4 * DAY)
    put["code"] = made.send(
        KARI, [ANN, BOB], "Ref 23/4567 Wage statistics for October",
        {"wages-october.csv": CSV * 20, "tables/appendix-1.xlsx": CSV[:182_000], "read me.txt": b"hello"},
        "Dear Ann,\n\nhere are the figures for October, with an appendix.\nCall me if something is missing.\n\nKari",
    )  # fmt: skip
    house.exchange.people.change(ANN, house.clock(), delivery=LockKind.KEYS)
    put["keys"] = made.send(KARI, [ANN], "Ref 23/9999 Nightly batch", {"batch.bin": CSV[:70_000]})
    house.exchange.people.change(ANN, house.clock(), delivery=LockKind.CODE)
    put["open"] = made.send(OLA, [ANN], "Questions about form 12", {"form-12.pdf": CSV[:90_000], "notes.txt": b"hello"})
    put["member"] = made.send(ANN, [KARI], "Ref 23/4567 Answers", {"answers.csv": CSV[:40_000]})
    house.exchange.people.invite(made.user(KARI), NINA, "+4790000004", house.clock())
    house.exchange.links.request_password(BOB, house.clock())
    house.exchange.totp.allow(made.user(SIRI), house.clock())  # who sets up a second factor, and then owes it
    made.carry()
    ann, now = made.user(ANN), house.clock()
    house.exchange.opening.open_with_code(ann, put["open"], made.codes[put["open"]], now)
    house.exchange.opening.open_with_code(ann, put["old"], made.codes[put["old"]], now)
    reading = house.exchange.collecting.open(
        made.user(BOB), parse(f"/inbox/{put['code']}/read me.txt.age".encode()), now
    )
    reading.read(0, reading.size)  # one of three
    house.exchange.collecting.read_done(reading, now)
    put["draft"] = made.begin(ANN, [KARI], "Ref 23/4711 Quarterly report")
    made.add(ANN, put["draft"], {"report.csv": CSV, "tables/table-1.csv": CSV[:5000]})


# ---- the pages ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """One page: who looks at it, where it is, and what they do there first."""

    name: str
    who: str
    at: Callable[[Scene], str]
    does: Callable[[Page, Scene], None] = lambda _page, _scene: None
    scripts: bool = True


def _presses(name: str, **fields: str) -> Callable[[Page, Scene], None]:
    """Fields filled by their id, then the first button that goes to `name`."""

    def act(page: Page, _scene: Scene) -> None:
        for field_id, value in fields.items():
            page.fill(f"#{field_id}", value)
        page.locator(f'form[action="{name}"] button').first.click()

    return act


def _unfolds(page: Page, _scene: Scene) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


def _opens(page: Page, scene: Scene) -> None:
    page.fill("#code-here", scene.codes[scene.packages["code"]])
    page.locator("form[data-opening-form] button").click()
    page.locator("[data-opening-save]").first.wait_for()


def _slips(page: Page, scene: Scene) -> None:
    page.fill("#code-here", "abcd-efgh")
    page.locator("form[data-opening-form] button").click()
    page.locator("[data-opening-status][data-outcome=mistyped]").wait_for()


def _confirms_phone(page: Page, scene: Scene) -> None:
    page.locator("summary").filter(has=page.locator("xpath=..//input[@id='phone']")).click()
    _presses("/account/phone", phone="+47 911 11 111")(page, scene)


def _begins_totp(page: Page, scene: Scene) -> None:
    _presses("/account/totp/begin")(page, scene)
    page.locator(".picture").wait_for()


def _ends_totp(page: Page, scene: Scene) -> None:
    import pyotp

    _begins_totp(page, scene)
    secret = page.locator("details pre").text_content() or ""
    digits = pyotp.TOTP(secret.replace(" ", "")).at(int(scene.house.clock()))
    _presses("/account/totp", digits=digits)(page, scene)
    page.locator("#recovery").wait_for()


def _shows_files(page: Page, _scene: Scene) -> None:
    page.locator("[data-sending-list] li").nth(1).wait_for()


def _address(name: str, under: str = "inbox", then: str = "") -> Callable[[Scene], str]:
    return lambda scene: f"/{under}/{scene.packages[name]}{then}"


def _link(page: str, address: str) -> Callable[[Scene], str]:
    return lambda scene: scene.links[page, address]


def _at(path: str) -> Callable[[Scene], str]:
    return lambda _scene: path


PAGES = (
    Shown("log-in", "", _at("/log-in")),
    Shown("log-in-wrong", "", _at("/log-in"), _presses("/log-in", email=ANN, password="not it")),
    Shown("forgotten", "", _at("/forgotten")),
    Shown("on-its-way", "", _at("/forgotten"), _presses("/forgotten", email=ANN)),
    Shown("welcome", "", _link("welcome", NINA)),
    Shown("password", "", _link("password", BOB)),
    Shown("accessibility", "", _at("/accessibility")),
    Shown("missing", "", _at("/no-such-page")),
    Shown("inbox", ANN, _at("/inbox")),
    Shown("inbox-empty", OLA, _at("/inbox")),
    Shown("package-code", ANN, _address("code")),
    Shown("package-code-ways", ANN, _address("code"), _unfolds),
    Shown("package-code-slip", ANN, _address("code"), _slips),
    Shown("package-code-opened", ANN, _address("code"), _opens),
    Shown("package-on-server", ANN, _address("code", then="/open")),
    Shown("package-without-scripts", ANN, _address("code"), scripts=False),
    Shown("package-open", ANN, _address("open")),
    Shown("package-keys", ANN, _address("keys")),
    Shown("package-member", KARI, _address("member")),
    Shown("send", ANN, _at("/send")),
    Shown("send-invite", KARI, _at("/send"), _presses("/send", to="new@firm.example", subject="Ref 23/1")),
    Shown("send-edit", ANN, _address("draft", "send", "/edit")),
    Shown("send-files", ANN, _address("draft", "send"), _shows_files),
    Shown("send-files-without-scripts", ANN, _address("draft", "send"), scripts=False),
    Shown("sent", KARI, _at("/sent")),
    Shown("sent-empty", BOB, _at("/sent")),
    Shown("sent-unsent", ANN, _at("/sent")),
    Shown("sent-package", KARI, _address("code", "sent")),
    Shown("sent-package-ways", KARI, _address("code", "sent"), _unfolds),
    Shown("account", ANN, _at("/account")),
    Shown("account-unfolded", ANN, _at("/account"), _unfolds),
    Shown("account-confirm", ANN, _at("/account"), _confirms_phone),
    Shown("partners", KARI, _at("/partners")),
    Shown("totp", ANN, _at("/account/totp")),
    Shown("totp-begin", SIRI, _at("/account/totp"), _begins_totp),
    Shown("totp-codes", SIRI, _at("/account/totp"), _ends_totp),
    Shown("second", SIRI, _at("/log-in/code")),  # after the one before it, which has turned it on
)


class Visits:
    """A browser profile for each who looks, logged in once."""

    def __init__(self, browser: Browser, scene: Scene, **how: object) -> None:
        assert scene.gate
        self._browser, self._scene, self._how = browser, scene, how
        self._contexts: dict[tuple[str, bool], BrowserContext] = {}
        self.url = scene.gate.url

    def show(self, shown: Shown) -> Page:
        """The page, as whoever looks at it has it."""
        page = self._context(shown).new_page()
        if shown.name == "second":
            page.context.clear_cookies()
            self._log_in(page, shown.who)
        page.goto(self.url + shown.at(self._scene))
        shown.does(page, self._scene)
        return page

    def close(self) -> None:
        for context in self._contexts.values():
            context.close()

    def _context(self, shown: Shown) -> BrowserContext:
        key = shown.who, shown.scripts
        if key not in self._contexts:
            context = self._browser.new_context(**self._how)  # type: ignore[arg-type]
            if not shown.scripts:  # none of ours; those that examine pages run all the same
                context.route("**/*.js", lambda route: route.abort())
            context.set_default_timeout(60_000)
            # Each profile is a source of its own, as behind a web server; otherwise all share one pace.
            context.set_extra_http_headers({"X-Forwarded-For": f"192.0.2.{len(self._contexts) + 1}"})
            self._contexts[key] = context
            if shown.who:
                page = context.new_page()
                self._log_in(page, shown.who)
                page.close()
        return self._contexts[key]

    def _log_in(self, page: Page, who: str) -> None:
        page.goto(f"{self.url}/log-in")
        _presses("/log-in", email=who, password=PASSWORD)(page, self._scene)
        page.wait_for_url(lambda url: not url.endswith("/log-in"))


# ---- the pictures ------------------------------------------------------------------------------------


def draw(folder: Path, only: set[str]) -> None:
    """A picture of each page in each size; of the ones named in `only`, if any are."""
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        table = browser.new_page()
        for size, how in SIZES.items():
            with tempfile.TemporaryDirectory() as home, scene(Path(home) / "house") as made:
                visits = Visits(browser, made, locale="en-GB", **how)
                for shown in PAGES:
                    if only and shown.name not in only:
                        continue
                    page = visits.show(shown)
                    picture = page.screenshot(full_page=True, animations="disabled")
                    (folder / f"{shown.name}-{size}.png").write_bytes(small(table, picture))
                    page.close()
                visits.close()


COUNT_COLOURS = """async (picture) => {
  const bitmap = await createImageBitmap(await (await fetch(picture)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(pen.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const palette = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 64).map(([pixel]) => pixel);
  const far = (a, b) => [0, 8, 16].reduce((sum, at) => sum + (((a >> at) & 255) - ((b >> at) & 255)) ** 2, 0);
  const index = new Map(palette.map((pixel, at) => [pixel, at]));
  const closer = (pixel, best, at) => (far(pixel, palette[at]) < far(pixel, palette[best]) ? at : best);
  const nearest = (pixel) => palette.reduce((best, _, at) => closer(pixel, best, at), 0);
  for (const pixel of counts.keys()) if (!index.has(pixel)) index.set(pixel, nearest(pixel));
  let rows = "";
  for (const pixel of pixels) rows += String.fromCharCode(index.get(pixel));
  return { width: bitmap.width, height: bitmap.height, palette, rows: btoa(rows) };
}"""


def small(page: Page, picture: bytes) -> bytes:
    """The same PNG in 64 colours, which are plenty for pages, and a third of the bytes."""
    found = page.evaluate(COUNT_COLOURS, f"data:image/png;base64,{base64.b64encode(picture).decode()}")
    width, height = found["width"], found["height"]
    rows = base64.b64decode(found["rows"])
    lines = b"".join(b"\0" + rows[at : at + width] for at in range(0, len(rows), width))
    colours = b"".join(struct.pack("<I", colour & 0xFFFFFFFF)[:3] for colour in found["palette"])
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", colours),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


if __name__ == "__main__":
    draw(FOLDER, set(sys.argv[1:]))
