"""Whatever is sent to whatever address, by whomever: a page, never a failure of ours, and always our headers."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import random
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxsftp import seal
from fxsftp.domain.model import Kind, User
from fxsftp.fronts.portal import routes
from fxsftp.fronts.portal.guard import HEADERS
from tests.gate import PASSWORD, PORTAL, Gate, Shown, Visitor
from tests.house import ANN, KARI, House

pytestmark = pytest.mark.xdist_group("portal-every-route")

DATA = Path(__file__).parent.parent.parent / "data"
NAUGHTY: list[str] = json.loads((DATA / "blns.json").read_text())
INJECTIONS: list[str] = json.loads((DATA / "sqli_strings.json").read_text())
TRAVERSALS: list[str] = json.loads((DATA / "traversal_paths.json").read_text())
UNREAD = b"Invalid HTTP request received."  # what was no HTTP at all
SQL = re.compile(r"sqlite|OperationalError|syntax error|unrecognized token|Traceback", re.IGNORECASE)
SOURCES = itertools.count(1)  # each call comes from elsewhere: how often one may try is tested elsewhere


@dataclass
class Town:
    """A portal with two people who have sent each other something, and what they are known by."""

    house: House
    gate: Gate
    package: str
    tokens: dict[str, str]

    def token(self, who: str) -> str:
        """The cookie of somebody; a new one if the last call has logged them out."""
        if not who:
            return ""
        visits, now = self.house.exchange.visits, self.house.clock()
        if visits.find(self.tokens.get(who, ""), now) is None:
            self.tokens[who] = visits.begin(self.house.exchange.people.find(who), now)
        return self.tokens[who]

    def call(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> http.client.HTTPResponse:
        """One request, byte for byte as it is given."""
        head = [f"{method} {target} HTTP/1.1", "Host: portal.example", "Connection: close"]
        head += [f"Content-Length: {len(body)}", f"X-Forwarded-For: {_source()}"]
        head += [f"{name}: {value}" for name, value in headers]
        with socket.create_connection(("127.0.0.1", self.gate.port), timeout=30) as line:
            line.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
            answer = http.client.HTTPResponse(line, method=method)
            answer.begin()
            answer.read_body = answer.read()  # type: ignore[attr-defined]
            return answer


def _source() -> str:
    number = next(SOURCES)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with House(tmp_path_factory.mktemp("hostile") / "house", settings_text=PORTAL) as house, Gate(house) as gate:
        kari, ann = house.kari(), house.ann()
        house.exchange.people.set_password(ANN, PASSWORD, house.clock())
        house.put(kari, f"/outbox/{ANN}/Ref 1/report.csv", b"a;b\n")
        house.put(ann, f"/outbox/{KARI}/Ref 2/answer.csv", b"c;d\n")
        house.exchange.writing.session_ended("s1", house.clock())
        house.settle()
        yield Town(house, gate, house.inbox(ann)[0].split("_")[1], {})


# ---- any call ------------------------------------------------------------------------------------------

letters = st.text(st.characters(codec="utf-8"), max_size=40)
values = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60),
    st.sampled_from(["0", "1", "-1", "9" * 20, "1e3", "bytes=0-", "bytes=5-1", "bytes=-0", "text/html", "*", "1.0.0"]),
    st.sampled_from(["filename YQ==", "filename !!", "filename " + "QUFB" * 2000, ",,,", "a b c"]),
    st.sampled_from(["application/offset+octet-stream", "multipart/form-data; boundary=x", "application/json"]),
)
HEADER_NAMES = (
    "Accept Accept-Language Range If-Range If-None-Match Origin Sec-Fetch-Site Content-Type Tus-Resumable "
    "Upload-Length Upload-Offset Upload-Metadata X-HTTP-Method-Override X-Forwarded-Proto Forwarded Referer User-Agent"
)
FIELD_NAMES = (
    "email password again old next digits phone delivery line opens key name language timezone quiet digest phrase to "
    "subject message must_have_code invitee act file upload code days form"
)
names, fields = st.sampled_from(HEADER_NAMES.split()), st.sampled_from(FIELD_NAMES.split())
params = st.one_of(letters, st.sampled_from([*TRAVERSALS[::40], *NAUGHTY[::40], "1", "0", "9" * 18, "aaaa-aaaa"]))
bodies = st.one_of(
    st.binary(max_size=200),
    st.dictionaries(fields, letters, max_size=6),
    st.lists(st.tuples(fields, st.one_of(st.none(), letters), st.binary(max_size=60)), max_size=4),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    route=st.sampled_from(
        [*(page.path for page in routes.PAGES), "/static/{name}", "/callbacks/twilio/{id}", "/{any}"]
    ),
    method=st.sampled_from(["GET", "POST", "HEAD", "PATCH", "DELETE", "OPTIONS", "PUT", "TRACE", "BREW"]),
    is_fitting=st.booleans(),
    who=st.sampled_from(["", ANN, KARI]),
    given_params=st.lists(params, min_size=2, max_size=2),
    is_ours=st.booleans(),
    query=st.dictionaries(st.sampled_from(["next", "lang", "said", "email", "to", "before", "after"]), letters),
    headers=st.lists(st.tuples(names, values), max_size=5, unique_by=lambda pair: pair[0]),
    cookies=letters,
    body=bodies,
)
def test_no_call_makes_the_portal_fail(
    town: Town, route: str, method: str, is_fitting: bool, who: str, given_params: list[str], is_ours: bool,
    query: dict[str, str], headers: list[tuple[str, str]], cookies: str, body: object,
) -> None:  # fmt: skip
    """Over the whole table of routes: below 500, no trace, and the headers of every answer."""
    page = next((page for page in routes.PAGES if page.path == route), None)
    if page and is_fitting:
        method = sorted(page.handlers())[len(query) % len(page.handlers())]
    token = town.token(who)
    form = hashlib.sha256(f"form of {token}".encode()).hexdigest()[:32]
    kind, content = _written(body, form)
    said = [*headers, ("Cookie", f"fxsftp={token}; other={quote(cookies)}")]
    said += [("X-CSRF-Token", form)] if is_fitting and "X-CSRF-Token" not in dict(said) else []
    said += [("Tus-Resumable", "1.0.0")] if is_fitting and "Tus-Resumable" not in dict(said) else []
    said += [("Content-Type", kind)] if kind and "Content-Type" not in dict(said) else []
    filled = iter([town.package if is_ours else given_params[0], given_params[1]])
    path = re.sub(r"\{[^}]+\}", lambda _: quote(next(filled), safe="/;"), route)
    answer = town.call(method, f"{path}?{urlencode(query)}" if query else path, said, content)
    text: bytes = answer.read_body  # type: ignore[attr-defined]
    assert answer.status < 500, (answer.status, text[:500])
    assert b"Traceback" not in text
    if not (answer.status == 400 and text == UNREAD):
        for name, _ in HEADERS:
            assert answer.headers[name], (name, answer.status)
        assert answer.headers["Cache-Control"]
        assert "server" not in answer.headers


def _written(body: object, token: str) -> tuple[str, bytes]:
    """A body and its content type: bytes, a form of ours, or a form with files."""
    if isinstance(body, dict):
        return "application/x-www-form-urlencoded", urlencode({"form": token} | body).encode()
    if isinstance(body, list):
        parts = [b'--x\r\nContent-Disposition: form-data; name="form"\r\n\r\n' + token.encode()]
        for name, filename, data in body:
            file = "" if filename is None else f'; filename="{filename}"'
            parts.append(f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data)
        return "multipart/form-data; boundary=x", b"\r\n".join([*parts, b"--x--\r\n"])
    assert isinstance(body, bytes)
    return "", body


@pytest.mark.parametrize("route", ["/inbox/{}/files/", "/inbox/", "/sent/", "/send/", "/static/", "/password/", "/"])
def test_no_traversal_leads_anywhere(town: Town, route: str) -> None:
    """As they come, and quoted, for somebody who is logged in."""
    before = route.format(town.package)
    cookie = [("Cookie", f"fxsftp={town.token(ANN)}")]
    for number, path in enumerate(TRAVERSALS[:: 3 if route != "/" else 2]):
        raw = quote(path.lstrip("/"), safe="/%;" if number % 2 else "")
        answer = town.call("GET", before + raw, cookie, b"")
        assert answer.status in (400, 403, 404), (raw, answer.status)
        assert b"root:" not in answer.read_body  # type: ignore[attr-defined]


# ---- any string in any field ---------------------------------------------------------------------------


@pytest.fixture
def stranger(town: Town) -> Visitor:
    visitor = town.gate.visitor()
    visitor.client.event_hooks["request"] = [lambda call: call.headers.update({"X-Forwarded-For": _source()})]
    return visitor


def logged_in(town: Town, visitor: Visitor, email: str) -> Visitor:
    visitor.client.cookies.set("fxsftp", town.token(email), domain="127.0.0.1")
    return visitor


FORMS = (  # where it stands, where it goes, its fields
    ("", "/log-in", "/log-in", ("email", "password", "next")),
    ("", "/forgotten", "/forgotten", ("email",)),
    (ANN, "/account", "/account", ("name", "language", "phrase", "quiet", "digest", "timezone")),
    (ANN, "/account", "/account/password", ("old", "password", "again")),
    (ANN, "/account", "/account/phone", ("phone",)),
    (ANN, "/account", "/account/delivery", ("delivery",)),
    (ANN, "/account", "/account/keys", ("line",)),
    (ANN, "/account", "/account/keys/remove", ("key",)),
    (ANN, "/account", "/account/totp", ("digits",)),
    (ANN, "/account", "/account/totp/codes", ("digits",)),
    (KARI, "/partners", "/partners", ("email", "phone")),
    (ANN, "/send", "/send", ("to", "subject", "message", "must_have_code", "invitee", "phone")),
    (ANN, "/inbox", "/inbox/{}/open", ("code",)),
    (KARI, "/sent", "/sent/{}/resend", ("to", "phone")),
    (KARI, "/sent", "/sent/{}/new-code", ("to",)),
    (KARI, "/sent", "/sent/{}/extend", ("days",)),
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form[2]}")
def test_no_string_in_a_field_makes_a_page_fail_or_speak_of_sql(
    town: Town, stranger: Visitor, form: tuple[str, str, str, tuple[str, ...]]
) -> None:
    """Some of both lists for each form, others in each run; all of them where text is kept, below."""
    who, at, to, names = form
    visitor = logged_in(town, stranger, who) if who else stranger
    visitor.get(at)
    strings = random.sample(NAUGHTY, 12) + random.sample(INJECTIONS, 12)
    for start in range(len(strings)):
        typed = {name: strings[(start + number) % len(strings)] for number, name in enumerate(names)}
        page = visitor.post(to.format(town.package), **{name: _sendable(text) for name, text in typed.items()})
        assert page.status < 500, (typed, page.status)
        assert not SQL.search(_without(page.text, typed.values())), typed


def test_text_that_is_kept_is_shown_as_text(town: Town, stranger: Visitor) -> None:
    """Whatever stands in a subject, a message or a phrase, the page has the same elements as with plain words."""
    visitor = logged_in(town, stranger, ANN)
    visitor.get("/send")
    plain = ""
    kept = 0
    strings = random.sample(NAUGHTY, 40) + random.sample(INJECTIONS, 20)  # others in each run
    for text in ["plain words", *strings]:
        typed = f"about {_sendable(text)}"
        page = visitor.post("/send", to=KARI, subject=typed[:200], message=typed)
        assert page.status < 500, text
        if not re.fullmatch(r"/send/[0-9a-z]{4}-[0-9a-z]{4}", page.path):
            visitor.get("/send")
            continue  # refused, with a reason
        plain = plain or skeleton(page.html)
        assert skeleton(page.html) == plain, text
        kept += 1
        visitor.post(f"{page.path}/cancel")
    assert kept > len(strings) // 2


def skeleton(html: str) -> str:
    """A page's elements and the names of their attributes, without what they say."""
    parser = _Elements()
    parser.feed(html)
    return " ".join(parser.found)


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(".".join([tag, *(name for name, _ in attrs)]))


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _without(text: str, typed: object) -> str:
    for each in typed:  # type: ignore[attr-defined]
        text = text.replace(" ".join(each.split()), "")
    return text


# ---- nobody learns who is known --------------------------------------------------------------------------


def test_an_address_costs_the_same_whether_it_is_known_or_not(
    town: Town, stranger: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in runs of Argon2, for seconds say nothing on a busy machine; and the pages say the same."""
    runs: list[str] = []
    for name in ("verify_password", "hash_password"):
        verb = getattr(seal, name)
        monkeypatch.setattr(seal, name, lambda *given, verb=verb, name=name: (runs.append(name), verb(*given))[1])
    new: User = town.house.exchange.people.invite(
        town.house.exchange.people.find(KARI), "new@firm.example", "+4790000009", town.house.clock(), kind=Kind.PARTNER
    )
    stranger.get("/log-in")
    stranger.submit("/log-in", email="first@firm.example", password="x")  # makes what all strangers are tried at
    said = []
    for address in (ANN, new.email, "nobody@firm.example", "no address"):
        costs, pages = [], []
        for path, typed in (("/log-in", {"email": address, "password": "not it"}), ("/forgotten", {"email": address})):
            stranger.get(path)
            runs.clear()
            pages.append(_of(stranger.submit(path, **typed), address))
            costs.append(list(runs))
        said.append((costs, pages))
    assert all(each == said[0] for each in said[1:])
    assert said[0][0] == [["verify_password"], []]


def _of(page: Shown, address: str) -> tuple[int, str, str]:
    return page.status, page.path, page.text.replace(address, "…")
