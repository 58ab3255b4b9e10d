"""Receive: the inbox and its packages, as somebody without JavaScript has them."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from fxsftp.domain import ids, places
from fxsftp.domain.lifecycle import DeliveryState
from fxsftp.domain.model import LockKind
from fxsftp.domain.policy import DAY, MINUTE
from fxsftp.errors import BadName
from tests.exchange.hands import Hand, dispatched, notices, registry_of, sent_ids
from tests.gate import Gate, Shown, Visitor, mail_links
from tests.house import ANN, KARI, House

DATA = Path(__file__).parents[2] / "data"
STATIC = Path(__file__).parents[3] / "config/static"
D = DeliveryState


@pytest.fixture
def kari(house: House) -> Hand:
    return Hand(house, house.kari())


@pytest.fixture
def ann(house: House) -> Hand:
    return Hand(house, house.ann())


@pytest.fixture
def shipment(house: House, ann: Hand, kari: Hand) -> str:
    """From kari to ann, with a code: a.csv and sub/b.csv."""
    kari.put(f"/outbox/{ANN}/Ref 1/a.csv", b"id;value\n" * 1000)
    kari.put(f"/outbox/{ANN}/Ref 1/sub/b.csv", b"b")
    return dispatched(house)


@pytest.fixture
def opened(house: House, ann: Hand, kari: Hand) -> str:
    """From ann to kari, whose log-in is enough."""
    ann.put(f"/outbox/{KARI}/Ref 2/svar.csv", b"svar")
    return dispatched(house)


def badges(page: Shown) -> list[str]:
    return [" ".join(unescape(found).split()) for found in re.findall(r'class="badge[^>]*>(.*?)</span>', page.html)]


def files(page: Shown) -> list[str]:
    """The links to files."""
    return [link for link in page.links() if "/files/" in link]


# ---- the inbox


def test_an_empty_inbox_says_what_will_appear_in_it(gate: Gate, ann: Hand) -> None:
    page = gate.logged_in(ann.user).get("/inbox")
    assert "Your inbox is empty" in page.text
    assert "we tell you by e-mail" in page.text


def test_a_package_in_the_inbox_says_what_from_whom_until_when_and_how_it_stands(
    gate: Gate, ann: Hand, shipment: str
) -> None:
    """New and locked, then opened, then collected; and in the end how few days are left."""
    house, visitor = gate.house, gate.logged_in(ann.user)
    page = visitor.get("/inbox")
    assert f"/inbox/{shipment}" in page.links()
    for said in ("Ref 1", "Kari Nordmann", "18 November 2026", "18 December 2026", "2 (9 kB)"):
        assert said in page.text
    assert badges(page) == ["New", "Locked with a code"]

    ann.type_code(shipment, house.code(shipment, ann.user))
    assert badges(visitor.get("/inbox")) == ["Opened", "Unlocked"]
    for path in ("a.csv", "sub/b.csv"):
        ann.get(f"/inbox/{shipment}/{path}")
    assert badges(visitor.get("/inbox")) == ["Collected", "Unlocked"]
    house.clock.turn(28.5 * DAY)
    visitor = gate.logged_in(ann.user)
    assert badges(visitor.get("/inbox")) == ["Collected", "Locked with a code", "1 day left"]
    house.clock.turn(DAY)
    assert badges(gate.logged_in(ann.user).get("/inbox"))[-1] == "Last day"
    house.clock.turn(DAY)
    assert "Your inbox is empty" in gate.logged_in(ann.user).page.text


def test_what_was_removed_by_sftp_is_not_counted(house: House, gate: Gate, ann: Hand, shipment: str) -> None:
    ann.rm(f"/inbox/{shipment}/a.csv.age")
    visitor = gate.logged_in(ann.user)
    assert "1 (1 byte)" in visitor.page.text
    page = visitor.get(f"/inbox/{shipment}")
    assert [link.rpartition("/")[2] for link in files(page)] == ["b.csv.age"]
    ann.rm(f"/inbox/{shipment}/sub/b.csv.age")
    assert "Your inbox is empty" in visitor.get("/inbox").text
    assert visitor.get(f"/inbox/{shipment}").status == 404


def test_a_large_inbox_comes_in_pages_newest_first(gate: Gate, ann: Hand, kari: Hand) -> None:
    """From the newest to the oldest and back; each package stands on one page, and the newest page is a whole one."""
    house = gate.house
    for number in range(103):
        ann.put(f"/outbox/{KARI}/{number:03}/a.csv", b"x")
        house.clock.turn(0.01)
    sent = sent_ids(house.settle())
    newest_first = [line.shipment for line in house.exchange.inbox.arrivals(kari.user, house.clock())]
    assert set(newest_first) == set(sent)

    visitor = gate.logged_in(kari.user)
    shown = [visitor.get("/inbox")]
    while "Older packages" in shown[-1].text:
        shown.append(visitor.get(link(shown[-1], "before=")))
    assert [packages(page) for page in shown] == [newest_first[:50], newest_first[50:100], newest_first[100:]]
    back = visitor.get(link(shown[-1], "after="))
    assert packages(back) == newest_first[50:100]
    back = visitor.get(link(back, "after="))
    assert packages(back) == newest_first[:50]
    assert "Newer packages" not in back.text
    for odd in (
        "before=aaaa-aaaa",
        "after=aaaa-aaaa",
        "before=' OR 1=1 --",
        "after=%00",
        f"after={newest_first[-1]}&lang=xx",
    ):
        assert visitor.get(f"/inbox?{odd}").status == 200


def packages(page: Shown) -> list[str]:
    return [
        found.rpartition("/")[2] for found in page.links() if re.fullmatch(r"/inbox/[0-9a-z]{4}-[0-9a-z]{4}", found)
    ]


def link(page: Shown, part: str) -> str:
    (found,) = [each for each in page.links() if part in each]
    return found


# ---- a package


def test_the_mails_link_leads_to_the_log_in_and_on_to_that_package(gate: Gate, ann: Hand, shipment: str) -> None:
    house = gate.house
    house.exchange.people.set_password(ANN, "correct horse battery staple", house.clock())
    (found,) = mail_links(house, ANN, "/inbox/")
    assert urlsplit(found).path == f"/inbox/{shipment}"
    visitor = gate.visitor()
    page = visitor.get(urlsplit(found).path)
    assert page.path.startswith("/log-in?next=")
    page = visitor.submit(email=ANN, password="correct horse battery staple")
    assert page.path == f"/inbox/{shipment}"
    assert "Ref 1" in page.text


def test_a_package_shows_its_letter_and_its_files(gate: Gate, ann: Hand, shipment: str) -> None:
    registry_of(gate.house.exchange).drops.change(shipment, message="Hei,\nher er tallene.")
    page = gate.logged_in(ann.user).get(f"/inbox/{shipment}")
    said = ("Ref 1", "Kari Nordmann", KARI, "18 November 2026 at", "18 December 2026 at", shipment, "her er tallene.")
    for each in (*said, "a.csv 9 kB", "sub/b.csv 1 byte", "phone number ending in 00"):
        assert each in page.text
    assert files(page) == [f"/inbox/{shipment}/files/a.csv.age", f"/inbox/{shipment}/files/sub/b.csv.age"]
    assert "age -d -o a.csv a.csv.age" in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert gate.house.exchange.inbox.package(
        ann.user, places.parse(f"/inbox/{shipment}".encode()), gate.house.clock()
    ).delivery.state is D.WAITING  # looking is not opening  # fmt: skip


def test_the_page_has_all_the_words_that_its_script_says(gate: Gate, ann: Hand, shipment: str) -> None:
    source = re.search(r"WORDS = \[(.*?)\];", (STATIC / "opening.js").read_text(), re.DOTALL)
    assert source
    wanted = set(re.findall(r'"([a-z-]+)"', source[1]))
    for language in ("en", "nb", "nn"):
        gate.house.exchange.people.change(ANN, gate.house.clock(), language=language)
        html = gate.logged_in(ann.user).get(f"/inbox/{shipment}").html
        assert set(re.findall(r'data-word="([a-z-]+)"', html)) == wanted
        assert f'data-key-url="/inbox/{shipment}/key"' in html
        assert html.count("data-opening-file ") == 2


def test_a_package_speaks_the_users_language(gate: Gate, ann: Hand, shipment: str) -> None:
    gate.house.exchange.people.change(ANN, gate.house.clock(), language="nn")
    visitor = gate.logged_in(ann.user)
    assert "18. november 2026" in visitor.page.text
    assert "Pakken er låst med ein kode" in visitor.get(f"/inbox/{shipment}").text
    assert "ingen slik pakke" in visitor.get("/inbox/aaaa-aaaa").text


def test_the_code_opens_the_package_on_the_server_which_says_so_first(gate: Gate, ann: Hand, shipment: str) -> None:
    visitor = gate.logged_in(ann.user)
    page = visitor.get(f"/inbox/{shipment}")
    assert "for 15 minutes our server can read what is in the files" in page.text

    page = visitor.submit(code=gate.house.code(shipment, ann.user).upper().replace("-", " "))

    assert page.path == f"/inbox/{shipment}?said=package-open"
    assert "The package is open" in page.text
    assert badges(page)[0] == "Opened"
    assert badges(page)[1].startswith("Unlocked until")
    assert files(page) == [f"/inbox/{shipment}/files/a.csv", f"/inbox/{shipment}/files/sub/b.csv"]
    assert visitor.client.get(files(page)[0]).content == b"id;value\n" * 1000

    gate.house.clock.turn(16 * MINUTE)
    late = visitor.get(files(page)[0])
    assert late.status == 403
    assert "locked again" in late.text
    assert "Open on the server" in late.text


def test_a_wrong_code_is_refused_with_the_reason_and_a_slip_in_it_is_no_try(
    gate: Gate, ann: Hand, shipment: str
) -> None:
    visitor, code = gate.logged_in(ann.user), gate.house.code(shipment, ann.user)
    visitor.get(f"/inbox/{shipment}")
    for slip in ("", "abcd", code[:-1] + ("0" if code[-1] != "0" else "1"), "x" * 5000, "' OR 1=1 --"):
        page = visitor.submit(code=slip)
        assert (page.status, "has a slip in it" in page.text) == (403, True)
    assert ann.delivery(shipment).wrong == 0
    for _ in range(5):
        page = visitor.submit(code=ids.new_code())
        assert (page.status, f"does not open {shipment}" in page.text) == (403, True)
        assert "Ref 1" in page.text
    page = visitor.submit(code=code)
    assert (page.status, "Too many wrong codes" in page.text) == (403, True)
    assert code not in page.html
    gate.house.clock.turn(16 * MINUTE)
    assert visitor.submit(code=code).status == 200


def test_a_code_is_taken_from_our_own_form_only(gate: Gate, ann: Hand, shipment: str) -> None:
    visitor, code = gate.logged_in(ann.user), gate.house.code(shipment, ann.user)
    for path, fields in ((f"/inbox/{shipment}/open", {"code": code}), (f"/inbox/{shipment}/remove", {})):
        assert visitor.post(path, **fields, form="0" * 32).status == 400
    assert ann.delivery(shipment).state is D.WAITING


def test_a_package_for_keys_says_which_of_them_open_it(gate: Gate, ann: Hand, kari: Hand) -> None:
    house = gate.house
    house.key_for(ANN)
    house.exchange.people.change(ANN, house.clock(), delivery=LockKind.KEYS)
    kari.put(f"/outbox/{ANN}/Ref 3/a b.csv", b"data")
    shipment = dispatched(house)
    (key,) = house.exchange.people.keys(ANN)
    house.clock.turn(1)
    house.key_for(ANN)  # too late for this package

    page = gate.logged_in(ann.user).get(f"/inbox/{shipment}")

    assert badges(page) == ["New", "Locked with your key"]
    assert re.findall(r"SHA256:[\w+/]+", page.text) == [key.fingerprint]
    assert "age -d -i ~/.ssh/id_ed25519 -o 'a b.csv' 'a b.csv.age'" in page.text
    assert files(page) == [f"/inbox/{shipment}/files/a%20b.csv.age"]
    assert "code" not in [name for form in page.forms for name in form["fields"]]


def test_a_package_for_which_the_log_in_is_enough_just_downloads(gate: Gate, kari: Hand, opened: str) -> None:
    visitor = gate.logged_in(kari.user)
    page = visitor.get(f"/inbox/{opened}")
    assert badges(page) == ["New", "Unlocked"]
    assert visitor.client.get(files(page)[0]).content == b"svar"
    assert "opening.js" not in page.html


def test_what_is_not_there_and_what_is_anothers_are_answered_alike(
    gate: Gate, ann: Hand, kari: Hand, shipment: str
) -> None:
    visitor = gate.logged_in(kari.user)
    visitor.get("/inbox")
    for rest in ("", "/open", "/key", "/all", "/files/a.csv", "/files/a.csv.age", "/files/SHA256SUMS"):
        told = {named: visitor.get(f"/inbox/{named}{rest}") for named in (shipment, "aaaa-aaaa", "no-number")}
        assert {page.status for page in told.values()} == {404}
        assert len({page.text for page in told.values()}) == 1
        assert "no such package" in told[shipment].text
    for rest in ("/open", "/remove"):
        told = {named: visitor.post(f"/inbox/{named}{rest}", code=ids.new_code()) for named in (shipment, "aaaa-aaaa")}
        assert {page.status for page in told.values()} == {404}
        assert len({page.text for page in told.values()}) == 1
    assert ann.delivery(shipment).wrong == 0


def test_removing_a_package_takes_it_away_and_tells_the_sender_that_it_was_not_read(
    gate: Gate, ann: Hand, shipment: str
) -> None:
    visitor = gate.logged_in(ann.user)
    page = visitor.get(f"/inbox/{shipment}")
    assert "We tell its sender so" in page.text
    page = visitor.submit(f"/inbox/{shipment}/remove")
    assert page.path == "/inbox?said=package-removed"
    assert "Your inbox is empty" in page.text
    assert visitor.get(f"/inbox/{shipment}").status == 404
    assert visitor.client.get(f"/inbox/{shipment}/files/a.csv.age").status_code == 404
    assert ann.delivery(shipment).state is D.REMOVED
    assert [each["recipient"] for each in notices(gate.house, "removed_unread")] == [ANN]
    assert gate.house.inbox(ann.user) == []


def test_hostile_subjects_messages_and_names_are_shown_as_they_are_and_do_nothing(
    gate: Gate, ann: Hand, kari: Hand
) -> None:
    """Strings of tests/data as names of files, all in one package; each link leads to its own file."""
    house, base = gate.house, f"/outbox/{KARI}/<svg onload=alert(1)>{{{{7*7}}}}' OR 1=1 --"
    put: dict[str, bytes] = {}
    for text in json.loads((DATA / "blns.json").read_text()):
        try:
            name = places.name(text.encode("utf-8", "surrogatepass"))
            is_name = name not in ("", ".", "..") and "/" not in name and len(name.encode()) < 250
            if not is_name or house.exchange.policy.is_partial(name) or house.exchange.policy.is_litter(name):
                continue
            places.may_be_written(f"folder/{name}")
        except (BadName, UnicodeEncodeError):
            continue
        if name.casefold() not in {each.casefold() for each in put}:
            put[name] = str(len(put)).encode()
            ann.put(f"{base}/{name}", put[name])
    assert len(put) > 200
    shipment = dispatched(house)
    registry_of(house.exchange).drops.change(shipment, message="</p><img src=x onerror=alert(1)>{{ 7*7 }}%(x)s")

    visitor = gate.logged_in(kari.user)
    for page in (visitor.get("/inbox"), visitor.get(f"/inbox/{shipment}")):
        assert "<svg onload=alert(1)>{{7*7}}' OR 1=1 --" in unescape(page.html)
        assert not re.search(r"<script(?! type=.module. src=./static)|<img(?! src=./static)|<svg", page.html)
    page = visitor.page
    assert len(files(page)) == len(put)
    for path in files(page)[::5]:
        answer = visitor.client.get(path)
        assert answer.status_code == 200, path
        assert answer.content == put[unquote(path.partition("/files/")[2])]
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="')
        assert len(answer.headers.get_list("Content-Disposition")) == 1


def test_a_visitor_who_is_not_logged_in_sees_nothing_of_a_package(gate: Gate, ann: Hand, shipment: str) -> None:
    visitor: Visitor = gate.visitor()
    for rest in ("", "/open", "/key", "/all", "/files/a.csv.age"):
        answer = visitor.client.get(f"/inbox/{shipment}{rest}")
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/log-in?next=")
    assert ann.delivery(shipment).state is D.WAITING
