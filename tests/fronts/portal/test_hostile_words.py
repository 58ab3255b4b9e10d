"""Hostile words: what is typed into fields, written in addresses, or sent to others, and would like to run."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from fxsftp.domain.model import User
from tests.fronts.portal.test_send import Tus, begin
from tests.gate import PASSWORD, Gate, Visitor
from tests.house import ANN, KARI, House

DATA = Path(__file__).parents[2] / "data"
NAUGHTY: list[str] = json.loads((DATA / "blns.json").read_text()) + json.loads((DATA / "sqli_strings.json").read_text())
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg/onload=alert(1)>{{7*7}}${7*7}"


@pytest.fixture
def kari(house: House) -> User:
    house.ann()
    return house.kari()


@pytest.fixture
def visitor(gate: Gate, kari: User) -> Visitor:
    return gate.logged_in(kari)


class Armed(HTMLParser):
    """What of a page could run, save our own scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        is_ours = tag == "script" and given.get("src", "").startswith("/static/")
        is_data = tag == "script" and given.get("type") == "application/json"
        if tag in ("script", "iframe", "object", "embed", "base") and not is_ours and not is_data:
            self.found.append(tag)
        self.found += [name for name in given if name.startswith("on")]
        for name in ("href", "src", "action", "formaction"):
            if re.match(r"\s*(javascript|data|vbscript):", given.get(name, ""), re.IGNORECASE):
                self.found.append(name)


def fields_of(page: str) -> list[str]:
    return {
        "/log-in": ["email", "password", "next"],
        "/forgotten": ["email"],
        "/account": ["name", "language", "timezone", "quiet", "digest", "phrase"],
        "/account/phone": ["phone"],
        "/account/delivery": ["delivery"],
        "/account/keys": ["line"],
        "/account/keys/remove": ["key"],
        "/account/totp": ["digits"],
        "/account/password": ["old", "password", "again"],
        "/partners": ["email", "phone"],
        "/send": ["to", "subject", "message", "phone"],
    }[page]


@pytest.mark.parametrize(
    "path",
    [
        "/log-in", "/forgotten", "/account", "/account/phone", "/account/delivery", "/account/keys",
        "/account/keys/remove", "/account/totp", "/account/password", "/partners", "/send",
    ],
)  # fmt: skip
def test_no_word_in_any_field_breaks_a_page_or_runs_in_it(gate: Gate, house: House, kari: User, path: str) -> None:
    """Each string of others' lists goes into some field of some form, and some of them into each."""
    visitor = gate.logged_in(kari) if path not in ("/log-in", "/forgotten") else gate.visitor()
    fields = fields_of(path)
    step = 200 if "password" in fields else 11  # Argon2 takes its time
    mine = NAUGHTY[sum(map(ord, path)) % step :: step]
    for number, words in enumerate([EVIL, *mine]):
        house.clock.turn(4)
        visitor.get("/account" if path.startswith("/account") else path)
        known = {each: "kari@ssb.example" if each in ("to", "email") else "" for each in fields}
        known[fields[number % len(fields)]] = words.encode("utf-8", "replace").decode()
        page = visitor.post(path, **known)
        assert page.status < 500, (known, page.text)
        assert Armed(page.html).found == [], known
        assert "Traceback" not in page.html
        assert "sqlite" not in page.html


def test_what_a_sender_has_written_runs_in_no_page(gate: Gate, house: House, kari: User) -> None:
    """Name, phrase, subject, message and names of files, in the pages of who sent and who receives."""
    people = house.exchange.people
    people.change(KARI, house.clock(), name=EVIL[:100], phrase="<b>bold</b>{{7*7}}")
    sender = gate.logged_in(kari)
    shipment = begin(sender, subject=EVIL, message=f"{EVIL}\n{EVIL}")
    tus = Tus(sender, shipment)
    for name in ("<img src=x onerror=alert(1)>.csv", '"><script>alert(1)<', "a' onload='b.csv", "{{7*7}}.txt"):
        tus.put(name.replace("/", ""), b"1")
    pages = [sender.get(path).html for path in ("/account", f"/send/{shipment}", f"/send/{shipment}/edit", "/sent")]
    sender.get(f"/send/{shipment}")
    parts = [("form", (None, sender.form_token)), ("act", (None, "send"))]
    answer = sender.client.post(f"/send/{shipment}", files=parts, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    reader = gate.logged_in(people.find(ANN))
    pages += [sender.get(path).html for path in ("/sent", f"/sent/{shipment}")]
    pages += [reader.get(path).html for path in ("/inbox", f"/inbox/{shipment}", f"/inbox/{shipment}/open")]
    for html in pages:
        assert Armed(html).found == []
        assert "<b>bold" not in html
        assert "49.txt" not in html
    assert sum("&lt;img src=x" in html for html in pages) >= 6
    receipt = sender.client.get(f"/sent/{shipment}/receipt.txt")
    assert receipt.headers["Content-Type"].startswith("text/plain")
    assert receipt.headers["Content-Disposition"].startswith("attachment")
    whole = reader.client.get(f"/inbox/{shipment}/all")
    assert re.fullmatch(
        r'attachment; filename="[^"\\]*"; filename\*=UTF-8\'\'[^\s;"\']*', whole.headers["Content-Disposition"]
    )


@pytest.mark.parametrize(
    "next_", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nSet-Cookie: a=b"]
)
def test_no_word_in_an_address_leads_away_or_into_a_header(gate: Gate, house: House, kari: User, next_: str) -> None:
    house.exchange.people.set_password(kari.email, PASSWORD, house.clock())
    visitor = gate.visitor()
    for path in ("/log-in", "/forgotten", "/log-in/code", "/inbox", "/no-such-page"):
        for name in ("next", "lang", "said", "email", "to", "before"):
            answer = visitor.client.get(path, params={name: next_})
            assert answer.status_code < 500
            assert urlless(answer), (path, name)
    visitor.get("/log-in")
    answer = visitor.client.post(
        "/log-in", data={"form": visitor.form_token, "email": KARI, "password": PASSWORD, "next": next_}
    )
    assert answer.headers["Location"] == "/inbox"
    assert urlless(answer)
    for path in ("/log-in", "/", "/inbox"):
        assert urlless(visitor.client.get(path, params={"next": next_, "before": next_, "said": next_}))


def urlless(answer: httpx.Response) -> bool:
    """Whether it names no other site as a place to go to, and has no header that was smuggled in."""
    where = answer.headers.get("Location", "/")
    is_here = where.startswith("/") and not where.startswith(("//", "/\\"))
    return is_here and "a=b" not in str(answer.headers.get_list("Set-Cookie"))


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/account", {"name": "x" * 60_000}),
        ("/account", {"phrase": "x" * 60_000}),
        ("/account/keys", {"line": "ssh-ed25519 " + "A" * 60_000}),
        ("/account/phone", {"phone": "+" + "4" * 60_000}),
        ("/account/password", {"old": "x" * 30_000, "password": "y" * 25_000, "again": "y" * 25_000}),
        ("/partners", {"email": "x" * 60_000, "phone": "1"}),
        ("/send", {"to": "x@y.example, " * 4000}),
        ("/send", {"to": KARI, "subject": "x" * 60_000}),
        ("/send", {"to": KARI, "message": "x" * 60_000}),
        ("/account/totp", {"digits": "1" * 60_000}),
    ],
)
def test_a_field_that_is_far_too_long_is_refused_or_cut(visitor: Visitor, path: str, fields: dict[str, str]) -> None:
    visitor.get("/account")
    page = visitor.post(path, **fields)
    assert 200 <= page.status < 500
    assert len(page.html) < 200_000
