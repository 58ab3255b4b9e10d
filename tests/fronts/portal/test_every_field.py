"""Every field of every form, and every hostile string there is: none is a failure of ours, and all are shown as text.

The portal is called without sockets here, as uvicorn would call it.  FIELDS is the table; a test goes through all pages
and looks that no field is missing.  Each kind of field gets every string in each run, alone, dealt out among the fields
of that kind, in another order each time; and every field that keeps a text gets all strings at once, and shows them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyotp
import pytest
from markupsafe import escape
from starlette.types import ASGIApp

from fxsftp import app, serving, shipped
from fxsftp.domain.model import Kind
from fxsftp.exchange import people
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.portal import routes
from fxsftp.fronts.portal.statics import Statics
from fxsftp.seal import primitives
from tests.gate import PASSWORD, PORTAL, mail_links
from tests.house import ANN, BOB, KARI, House

DATA = Path(__file__).parents[2] / "data"
LISTS = [json.loads((DATA / f"{name}.json").read_text()) for name in ("blns", "sqli_strings")]
STRINGS = sorted({text.encode("utf-8", "replace").decode() for texts in LISTS for text in texts})
PATHS = json.loads((DATA / "traversal_paths.json").read_text())
SQL = re.compile(r"sqlite|OperationalError|syntax error|unrecognized token|Traceback", re.IGNORECASE)
NEW = "nina@firm.example"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Field:
    """One field: what kind of thing it wants, whose it is, where it goes, and what else stands in its form."""

    kind: str
    who: str
    to: str
    name: str
    rest: Mapping[str, str] = field(default_factory=dict)
    at: str = ""  # the page on which it is shown again, where it is kept
    most: int = 0  # letters that are kept


FIELDS = (
    Field("address", "", "/log-in", "email", {"password": PASSWORD}),
    Field("address", "", "/forgotten", "email"),
    Field("address", KARI, "/partners", "email", {"phone": "+4790000001"}),
    Field("address", KARI, "/send", "to"),
    Field("address", KARI, "/send/{begun}/edit", "to"),
    Field("address", KARI, "/send", "invitee", {"to": NEW, "phone": "+4790000001"}),
    Field("address", KARI, "/send/{begun}/edit", "invitee", {"to": NEW, "phone": "+4790000001"}),
    Field("address", KARI, "/sent/{package}/resend", "to", {"phone": "+4790000001"}),
    Field("address", KARI, "/sent/{package}/new-code", "to"),
    Field("phone", KARI, "/partners", "phone", {"email": NEW}),
    Field("phone", KARI, "/send", "phone", {"to": NEW, "invitee": NEW}),
    Field("phone", KARI, "/send/{begun}/edit", "phone", {"to": NEW, "invitee": NEW}),
    Field("phone", KARI, "/sent/{package}/resend", "phone", {"to": ANN}),
    Field("phone", ANN, "/account/phone", "phone"),
    Field("password", "", "/log-in", "password", {"email": ANN}),
    Field("password", "", "/password/{link}", "password"),
    Field("password", "", "/password/{link}", "again", {"password": PASSWORD}),
    Field("password", ANN, "/account/password", "old", {"password": PASSWORD, "again": PASSWORD}),
    Field("password", ANN, "/account/password", "password", {"old": PASSWORD}),
    Field("password", ANN, "/account/password", "again", {"old": PASSWORD, "password": PASSWORD}),
    Field("digits", BOB, "/log-in/code", "digits"),
    Field("digits", ANN, "/account/confirm/{waits}", "digits"),
    Field("digits", ANN, "/account/totp", "digits"),
    Field("digits", f"{BOB} in", "/account/totp/codes", "digits"),
    Field("digits", ANN, "/inbox/{package}/open", "code"),
    Field("text", ANN, "/account/keys", "line", at="/account", most=16_000),
    Field("text", ANN, "/account/keys", "line", {"opens": "1"}, at="/account", most=16_000),
    Field("text", ANN, "/account", "name", {"language": "en"}, at="/account", most=100),
    Field("text", ANN, "/account", "phrase", {"language": "en"}, at="/account", most=60),
    Field("text", KARI, "/send", "subject"),
    Field("text", KARI, "/send", "message"),
    Field("text", KARI, "/send/{begun}/edit", "subject", {"to": ANN}, at="/send/{begun}", most=200),
    Field("text", KARI, "/send/{begun}/edit", "message", {"to": ANN}, at="/send/{begun}", most=10_000),
    Field("text", "", "/log-in", "next", {"email": ANN, "password": "wrong"}),
    Field("text", BOB, "/log-in/code", "next", {"digits": "000000"}),
    Field("choice", ANN, "/account", "timezone", {"language": "en"}),
    Field("choice", ANN, "/account", "quiet", {"language": "en"}),
    Field("choice", ANN, "/account", "digest", {"language": "en"}),
    Field("choice", ANN, "/account", "language"),
    Field("choice", ANN, "/account/delivery", "delivery"),
    Field("choice", ANN, "/account/keys", "opens"),
    Field("choice", ANN, "/account/keys/remove", "key"),
    Field("choice", KARI, "/send", "must_have_code", {"to": ANN}),
    Field("choice", KARI, "/send/{begun}/edit", "must_have_code", {"to": ANN}),
    Field("choice", KARI, "/send/{begun}/remove", "file"),
    Field("choice", KARI, "/send/{begun}", "act"),
    Field("choice", KARI, "/sent/{package}/extend", "days"),
    Field("file", KARI, "/send/{begun}", "files"),
    Field("file", KARI, "/send/{begun}/files", "Upload-Metadata"),
    Field("query", "", "/log-in", "next"),
    Field("query", "", "/log-in", "lang"),
    Field("query", "", "/log-in", "said"),
    Field("query", "", "/forgotten", "email"),
    Field("query", KARI, "/send", "to"),
    Field("query", ANN, "/inbox", "before"),
    Field("query", ANN, "/inbox", "after"),
    Field("query", KARI, "/sent", "after"),
    Field("query", BOB, "/log-in/code", "next"),
)
PAGES = (  # all that have a form
    ("", "/log-in"), ("", "/forgotten"), ("", "/password/{link}"), (BOB, "/log-in/code"),
    (ANN, "/account"), (f"{BOB} in", "/account"), (ANN, "/account/totp"), (KARI, "/account/confirm/{hers}"),
    (ANN, "/inbox"), (ANN, "/inbox/{package}"), (ANN, "/inbox/{package}/open"), (KARI, "/partners"), (KARI, "/send"),
    (KARI, "/send/{begun}"), (KARI, "/send/{begun}/edit"), (KARI, "/sent"), (KARI, "/sent/{package}"),
)  # fmt: skip
NOT_TYPED = {"form", "username"}  # the token; and what a password manager is told, which goes nowhere


@dataclass
class Answer:
    status: int
    html: str
    location: str


@dataclass
class Town:
    """The portal over a house, called in this thread; and the visits, the packages and the links that there are."""

    house: House
    tokens: dict[str, str]
    places: dict[str, str] = field(default_factory=dict)
    count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.desk, self.portal = self.loop.run_until_complete(self._open())

    async def _open(self) -> tuple[Desk, ASGIApp]:
        desk, statics = Desk(self.house.exchange, self.house.clock), Statics(shipped.folder("config") / "static")
        terms = serving.portal_terms(self.house.settings, statics.prefix)
        return desk, routes.portal(desk, app.templates_of(self.house.settings), terms, statics)

    def close(self) -> None:
        self.loop.run_until_complete(self.desk.close())
        self.loop.close()

    def form_token(self, who: str) -> str:
        return hashlib.sha256(f"form of {self.tokens.get(who, 'a guest')}".encode()).hexdigest()[:32]

    def call(self, method: str, who: str, path: str, body: bytes = b"", kind: str = FORM, **more: str) -> Answer:
        """Each comes from elsewhere: how often one may try is tested elsewhere."""
        path, _, query = path.format(**self.places).partition("?")
        number, sent = next(self.count), []
        headers = {"cookie": f"fxsftp={self.tokens.get(who, 'a guest')}", "content-type": kind} | more
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": (f"10.0.{number >> 8 & 255}.{number & 255}", 1), "server": ("portal.example", 80),
            "scheme": "http", "http_version": "1.1", "root_path": "",
        }  # fmt: skip
        bodies = [body]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": bodies.pop()} if bodies else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        self.loop.run_until_complete(self.portal(scope, receive, send))
        start = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        html = b"".join(message.get("body", b"") for message in sent[1:]).decode()
        return Answer(sent[0]["status"], html, start.get("location", ""))

    def post(self, who: str, path: str, **fields: str) -> Answer:
        return self.call("POST", who, path, urlencode({"form": self.form_token(who)} | fields).encode())

    def type_in(self, where: Field, text: str) -> Answer:
        """The form of this field with this text in it, and sent."""
        if where.kind == "query":
            return self.call("GET", where.who, f"{where.to}?{urlencode({where.name: text})}")
        if where.name == "Upload-Metadata":
            return self._upload(text)
        if where.name in ("files", "act"):
            return self._send_files(where, text)
        more = {"again": text} if (where.to, where.name) == ("/account/password", "password") else {}
        return self.post(where.who, where.to, **{**where.rest, **more, where.name: text})

    def begin(self) -> None:
        """A package of kari's with a file that has not come in whole."""
        self.places["begun"] = self.post(KARI, "/send", to=ANN, subject="Ref 2").location.rpartition("/")[2]
        assert self._upload("a.csv").status == 201

    def _upload(self, name: str) -> Answer:
        """As a script does it."""
        headers = {"Upload-Length": "5", "Tus-Resumable": "1.0.0", "X-CSRF-Token": self.form_token(KARI)}
        headers["Upload-Metadata"] = f"filename {base64.b64encode(name.encode()).decode()}"
        return self.call("POST", KARI, "/send/{begun}/files", b"", FORM, **headers)

    def _send_files(self, where: Field, text: str) -> Answer:
        """As a browser does it."""
        quoted = text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        name = f'name="files"; filename="{quoted}"' if where.name == "files" else 'name="act"'
        parts = [('name="form"', self.form_token(where.who)), (name, text if where.name == "act" else "a;b\n")]
        body = "".join(f"--x\r\nContent-Disposition: form-data; {head}\r\n\r\n{data}\r\n" for head, data in parts)
        return self.call("POST", where.who, where.to, f"{body}--x--\r\n".encode(), "multipart/form-data; boundary=x")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Kari has sent ann a package and begun another; both wait for digits by SMS, and bob has an app that shows some.

    Argon2 is as cheap here as it can be.
    """
    with pytest.MonkeyPatch.context() as patch, House(tmp_path_factory.mktemp("field"), settings_text=PORTAL) as house:
        patch.setattr(primitives, "_PASSES", 1)
        patch.setattr(primitives, "_MEMORY", 8 << 10)
        people._nobody.cache_clear()
        exchange, now = house.exchange, house.clock()
        kari, ann, bob = house.kari(), house.ann(), house.add(BOB, Kind.PARTNER)
        exchange.people.set_password(ANN, PASSWORD, now)
        house.put(kari, f"/outbox/{ANN}/Ref 1/report.csv", b"a;b\n")
        exchange.writing.session_ended("s1", now)
        house.settle()
        house.key_for(ANN)
        now = house.clock()
        for each in (ann, bob):
            exchange.totp.allow(each, now)
        secret, _ = exchange.totp.begin(bob, now)
        exchange.totp.confirm(bob, pyotp.TOTP(secret).at(int(now)), now)
        visits = exchange.visits
        tokens = {user.email: visits.begin(user, now) for user in (kari, ann)}
        town = Town(house, tokens | {BOB: visits.half(bob, now), f"{BOB} in": visits.begin(bob, now)})
        town.post("", "/forgotten", email=ANN)
        town.places |= {
            "package": house.inbox(ann)[0].split("_")[1],
            "link": mail_links(house, ANN, "/password/")[0].rpartition("/")[2],
            "waits": town.post(ANN, "/account/phone", phone="+4791111111").location.rpartition("/")[2],
            "hers": town.post(KARI, "/account/phone", phone="+4791111112").location.rpartition("/")[2],
        }
        town.begin()
        yield town
        town.close()
        people._nobody.cache_clear()


class Forms(HTMLParser):
    """Where the forms of a page go, and by which names their fields are known."""

    def __init__(self, page: Answer) -> None:
        super().__init__()
        self.fields: set[tuple[str, str]] = set()
        self._to = ""
        self.feed(page.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._to = known.get("action", "") if known.get("method") == "post" else ""
        elif tag in ("input", "textarea", "select", "button") and self._to and known.get("name", "") not in NOT_TYPED:
            self.fields |= {(self._to, known["name"])} if "name" in known else set()


def test_every_field_of_every_page_is_in_the_table(town: Town) -> None:
    found = set()
    for who, path in PAGES:
        page = town.call("GET", who, path)
        assert page.status == 200, (path, page.location)
        found |= Forms(page).fields
    found |= Forms(town.post(ANN, "/account/totp/begin")).fields
    found = {(to.replace(town.places["hers"], town.places["waits"]), name) for to, name in found}  # ann's may be over
    known = {(each.to.format(**town.places), each.name) for each in FIELDS if each.kind != "query"}
    assert found - known == set()
    of_scripts = {(f"/send/{town.places['begun']}/files", "Upload-Metadata")}
    not_always = {(to, name) for to, name in known if name in ("phone", "invitee") and to.startswith("/send")}
    not_always |= {(to, name) for to, name in known if to.endswith("/new-code")}  # where the server can make one
    assert known - found <= of_scripts | not_always


def looked_at(where: Field, text: str, page: Answer) -> None:
    """No failure of ours, no word of a database, and nothing of it as it was typed, where that could run."""
    told = (where.to, where.name, text, page.status)
    assert page.status < 500, told
    assert not SQL.search(page.html) or SQL.search(text), told
    assert len(text) < 6 or not set(text) & set("<\"'") or text not in page.html, told
    assert re.match(r"(/[^/]|$)", page.location), told


KINDS = sorted({each.kind for each in FIELDS})


@pytest.mark.parametrize("kind", KINDS)
def test_every_string_in_every_kind_of_field_is_text_and_no_failure(town: Town, kind: str) -> None:
    fields = [each for each in FIELDS if each.kind == kind]
    strings = STRINGS + random.sample(PATHS, 60) if kind == "file" else list(STRINGS)
    random.shuffle(strings)
    for number, (text, where) in enumerate(zip(strings, itertools.cycle(fields), strict=False)):
        if kind == "file" and number % 40 == 39:  # a page with hundreds of files takes its time
            town.post(KARI, "/send/{begun}/cancel")
            town.begin()
        page = town.type_in(where, text)
        looked_at(where, text, page)
        if where.to == "/account/password" and page.status == 303:
            town.house.exchange.people.set_password(ANN, PASSWORD, town.house.clock())
        if where.to == "/send" and page.status == 303:  # so that there are never too many
            town.post(KARI, f"{page.location}/cancel")


def packed(most: int) -> Iterator[str]:
    """All strings of one line that could end a text or an attribute in HTML, as many at a time as a field takes."""
    line = ""
    for text in (text for text in STRINGS if text.isprintable() and set(text) & {"<", '"'}):
        if line and len(line) + 1 + len(text) > most:
            yield line
            line = ""
        line = " ".join(f"{line} {text}".split())[:most].strip()
    yield line


@pytest.mark.parametrize("where", [each for each in FIELDS if each.most], ids=lambda each: f"{each.to} {each.name}")
def test_every_string_that_is_kept_is_shown_as_it_was_typed(town: Town, where: Field) -> None:
    """All of them, many at a time: on the page of the package or the account, or beside what was wrong with it."""
    for line in packed(where.most):
        page = town.type_in(where, line)
        looked_at(where, line, page)
        shown = page.html if page.status == 400 else town.call("GET", where.who, where.at).html
        assert str(escape(line)) in shown, (where.name, line)
