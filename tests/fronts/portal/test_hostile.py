"""Hostile people: forms of other sites, stolen links and cookies, guesses, and going on when one may not any more."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import paramiko
import pyotp
import pytest

from fxsftp import seal
from fxsftp.domain.model import Kind, User
from fxsftp.domain.policy import DAY, HOUR, MINUTE
from fxsftp.fronts.portal.routes import PAGES, Page, Who
from tests.exchange.hands import Hand, dispatched, with_policy
from tests.fronts.portal.test_downloads import beginning, rest
from tests.fronts.portal.test_send import TUS, Tus, begin
from tests.gate import PASSWORD, Gate, Visitor, mail_links
from tests.house import ANN, BOB, KARI, START, House
from tests.walks.guests import Guest

SECURE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
}


@pytest.fixture
def kari(house: House) -> User:
    house.ann()
    return house.kari()


@pytest.fixture
def ann(house: House, kari: User) -> User:
    assert kari.email == KARI
    return house.exchange.people.find(ANN)


@pytest.fixture
def visitor(gate: Gate, kari: User) -> Visitor:
    return gate.logged_in(kari)


@pytest.fixture
def shipment(house: House, ann: User) -> str:
    """From ann to kari, whose log-in is enough."""
    Hand(house, ann).put(f"/outbox/{KARI}/Ref 2/large.bin", bytes(32 << 20))
    return dispatched(house)


def addresses(shipment: str) -> Iterator[tuple[Page, str]]:
    """Every page of the portal, with an address of it."""
    for page in PAGES:
        path = page.path.replace("{shipment}", shipment).replace("{token}", "x" * 43)
        yield page, re.sub(r"\{[a-z]+(:path)?\}", "1", path)


def guest(house: House, password: str) -> Guest:
    """Kari, by SFTP."""
    assert house.port
    assert house.listener
    house.listener.terms = replace(house.listener.terms, wrong=0.0)
    return Guest(house, KARI, password=password)


def may_come_in(house: House, password: str) -> bool:
    """Whether SFTP takes this password of kari's."""
    try:
        with guest(house, password).paramiko():
            return True
    except paramiko.AuthenticationException:
        return False


# ---- every page there is -------------------------------------------------------------------------------


def test_no_page_is_shown_to_a_guest_framed_or_cached(gate: Gate, shipment: str) -> None:
    client = gate.visitor().client
    for page, path in addresses(shipment):
        for method in page.handlers():
            answer = client.request(method, path)
            assert answer.status_code < 500, (method, path)
            assert {name: answer.headers[name] for name in SECURE} == SECURE, (method, path)
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            if page.who in (Who.USER, Who.DUE, Who.HALF):
                assert answer.status_code == 303, (method, path)
                assert answer.headers["Location"].startswith("/log-in")
            elif page.who is Who.PROGRAM:
                assert answer.status_code in (400, 401), (method, path)


def test_no_form_of_another_site_does_anything(gate: Gate, visitor: Visitor, shipment: str) -> None:
    """Neither without our token, nor with it from another origin, whatever kind of form it is."""
    mine = begin(visitor)
    token, client = visitor.form_token, visitor.client
    for each in (shipment, mine):
        for page, path in addresses(each):
            for method in set(page.handlers()) - {"GET", "HEAD"}:
                for how in ({"data": {"x": "1"}}, {"content": b"{}"}, {"files": {"a": b"1"}}):
                    answer = client.request(method, path, headers=TUS, **how)
                    assert answer.status_code in (400, 404, 412), (method, path, answer.status_code)
                for lie in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
                    answer = client.request(method, path, data={"form": token}, headers=TUS | lie)
                    assert answer.status_code == 403, (method, path)
    assert visitor.get("/inbox").path == "/inbox"
    assert visitor.get(f"/send/{mine}").status == 200


def test_what_is_anothers_is_answered_as_what_is_not_there(gate: Gate, house: House, shipment: str) -> None:
    """Ann's packages, and kari's: to bob they are as a number that nobody has."""
    ann = gate.logged_in(house.exchange.people.find(ANN))
    begun = begin(ann, to=KARI)
    bob = gate.logged_in(house.add(BOB, Kind.MEMBER))
    bob.get("/account")
    form = {"form": bob.form_token, "file": "1", "to": KARI, "days": "1", "code": "0000-0000-0000-0000"}
    headers = TUS | {"X-CSRF-Token": bob.form_token, "Content-Type": "application/x-www-form-urlencoded"}

    def said(method: str, path: str, number: str) -> tuple[int, str]:
        answer = bob.client.request(method, path, data=form, headers=headers)
        return answer.status_code, answer.text.replace(number, "…")

    for number in (shipment, begun):
        for (page, theirs), (_, nobodys) in zip(addresses(number), addresses("0000-0000"), strict=True):
            if number in theirs:
                for method in page.handlers():
                    status, text = said(method, theirs, number)
                    assert status in (400, 404, 415), (method, theirs, status)
                    assert (status, text) == said(method, nobodys, "0000-0000"), (method, theirs)


# ---- a second factor that is due -------------------------------------------------------------------------


def owing(gate: Gate, user: User) -> Visitor:
    """A user who has just come in, where everybody must have a second factor."""
    visitor = gate.visitor()
    token = gate.house.exchange.visits.begin(user, gate.house.clock())
    visitor.client.cookies.set("fxsftp", token, domain="127.0.0.1")
    assert visitor.get("/").path.startswith("/account/totp")
    return visitor


def test_who_owes_a_second_factor_can_do_nothing_before_it_is_set_up(house: House, kari: User, shipment: str) -> None:
    with Gate(house) as gate:
        mine = begin(gate.logged_in(kari))
    with_policy(house, totp="members")
    with Gate(house) as gate:
        visitor = owing(gate, kari)
        token = visitor.form_token
        for each in (shipment, mine):
            for page, path in addresses(each):
                for method in page.handlers() if page.who in (Who.USER, Who.PROGRAM) else ():
                    headers = TUS | {"X-CSRF-Token": token}
                    answer = visitor.client.request(method, path, data={"form": token}, headers=headers)
                    due = (303, "/account/totp?said=totp-due") if page.who is Who.USER else (403, None)
                    assert (answer.status_code, answer.headers.get("Location")) == due, (method, path)
        house.exchange.totp.allow(kari, house.clock())
        assert visitor.get("/inbox").path.startswith("/account/totp")
        html = visitor.submit("/account/totp/begin").html
        secret = re.sub(r"\s", "", re.findall(r"<pre>([A-Z2-7 ]+)</pre>", html)[0])
        visitor.submit("/account/totp", digits=pyotp.TOTP(secret).at(int(house.clock())))
        assert visitor.get("/inbox").path == "/inbox"


def test_who_owes_a_second_factor_can_log_out(house: House, kari: User) -> None:
    with_policy(house, totp="all")
    with Gate(house) as gate:
        visitor = owing(gate, kari)
        assert visitor.submit("/log-out").path.startswith("/log-in")
        assert visitor.get("/account/totp").path.startswith("/log-in")


# ---- visits --------------------------------------------------------------------------------------------


def test_a_visit_ends_after_half_an_hour_without_a_word_and_after_twelve_in_any_case(
    gate: Gate, house: House, kari: User
) -> None:
    visitor = gate.logged_in(kari)
    house.clock.turn(29 * MINUTE)
    assert visitor.get("/inbox").path == "/inbox"
    house.clock.turn(31 * MINUTE)
    assert visitor.get("/inbox").path == "/log-in?next=/inbox"
    visitor = gate.logged_in(kari)
    for _ in range(28):
        house.clock.turn(25 * MINUTE)
        assert visitor.get("/inbox").path == "/inbox"
    house.clock.turn(21 * MINUTE)
    assert visitor.get("/inbox").path == "/log-in?next=/inbox"


def test_a_cookie_goes_with_the_browser_and_no_script_and_no_other_site_gets_it(gate: Gate, house: House) -> None:
    house.kari()
    house.exchange.people.set_password(KARI, PASSWORD, START)
    visitor = gate.visitor()
    visitor.get("/log-in")
    form = {"form": visitor.form_token, "email": KARI, "password": PASSWORD, "next": "/inbox"}
    (said,) = visitor.client.post("/log-in", data=form).headers.get_list("Set-Cookie")
    words = {word.strip().partition("=")[0].lower() for word in said.split(";")}
    assert words == {"fxsftp", "path", "httponly", "samesite"}


@pytest.mark.parametrize("cookie", ["x" * 8000, "", "\xff\xfe", "' OR 1=1 --", "{{7*7}}", "../../etc/passwd", "%00"])
def test_a_cookie_that_is_none_of_ours_is_a_guests(gate: Gate, cookie: str) -> None:
    headers = {"Cookie": f"fxsftp={cookie}".encode("latin-1")}
    answer = gate.visitor().client.get("/inbox", headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["Location"]) == (303, "/log-in?next=/inbox")


def disable(house: House, user: User) -> None:
    house.exchange.people.disable(user.email, house.clock())


def log_out_everywhere(house: House, user: User) -> None:
    house.exchange.visits.end_all(user)


def recall(house: House, user: User) -> None:
    (found,) = house.exchange.inbox.arrivals(user, house.clock(), most=2)
    house.exchange.sent.recall(house.exchange.people.find(ANN), found.shipment, house.clock())


@pytest.mark.parametrize("end", [disable, log_out_everywhere, recall])
def test_a_download_stops_with_the_right_to_it(
    gate: Gate, house: House, visitor: Visitor, kari: User, shipment: str, end: Callable[[House, User], None]
) -> None:
    with closing(beginning(gate, visitor, f"/inbox/{shipment}/files/large.bin", 1 << 20)) as line:
        end(house, kari)
        house.clock.turn(3)
        assert rest(line) < (32 << 20) - (2 << 20)
    assert visitor.client.get(f"/inbox/{shipment}/files/large.bin").status_code in (303, 404)


@pytest.mark.parametrize("end", [disable, log_out_everywhere])
def test_an_upload_stops_with_the_visit_that_began_it(
    house: House, visitor: Visitor, kari: User, end: Callable[[House, User], None]
) -> None:
    tus, half = Tus(visitor, begin(visitor)), 1 << 20
    url = tus.create("a.bin", 2 * half).headers["Location"]

    def pieces() -> Iterator[bytes]:
        yield bytes(half)
        end(house, kari)
        house.clock.turn(3)
        for _ in range(half >> 16):
            yield bytes(1 << 16)

    answer = tus.patch(url, 0, pieces(), **{"Content-Length": str(2 * half)})
    assert answer.status_code == 401
    assert tus.client.head(url, headers=tus.headers).status_code == 401


def test_an_upload_under_way_keeps_its_visit_from_ending_by_idleness(house: House, visitor: Visitor) -> None:
    tus, token = Tus(visitor, begin(visitor)), visitor.client.cookies["fxsftp"]
    url = tus.create("a.bin", 1 << 30).headers["Location"]

    def is_seen() -> bool:
        visit = house.exchange.visits.find(token, house.clock())
        return visit is not None and visit.seen > house.clock() - MINUTE

    def slowly() -> Iterator[bytes]:
        for _ in range(4):
            house.clock.turn(20 * MINUTE)
            end = time.monotonic() + 20
            while not is_seen():
                assert time.monotonic() < end
                yield bytes(1 << 14)

    assert tus.patch(url, 0, slowly()).status_code == 204
    assert visitor.get("/inbox").path == "/inbox"


def test_a_password_by_a_link_ends_every_visit_there_is(gate: Gate, house: House, visitor: Visitor) -> None:
    other = gate.visitor()
    other.get("/forgotten")
    other.submit(email=KARI)
    (link,) = mail_links(house, KARI, "/password/")
    other.get(path_of(link))
    other.submit(password="seven small lanterns", again="seven small lanterns")
    assert visitor.get("/inbox").path == "/log-in?next=/inbox"
    assert other.get("/inbox").path == "/inbox"


# ---- links ---------------------------------------------------------------------------------------------


def path_of(link: str) -> str:
    return "/" + link.split("/", 3)[3]


def asked(gate: Gate, address: str = KARI) -> str:
    """The path of the link that somebody asked for."""
    visitor = gate.visitor()
    visitor.get("/forgotten")
    visitor.submit(email=address)
    return path_of(mail_links(gate.house, address, "/password/")[-1])


def test_a_link_serves_once_and_a_newer_one_ends_it(gate: Gate, kari: User) -> None:
    first = asked(gate)
    second = asked(gate, kari.email)
    thief = gate.visitor()
    assert thief.get(first).status == 404
    visitor = gate.visitor()
    visitor.get(second)
    assert visitor.submit(password=PASSWORD, again=PASSWORD).path.startswith("/inbox")
    assert thief.get(second).status == 404
    page = thief.post(second, password="quite another one", again="quite another one")
    assert page.status == 404
    assert gate.house.exchange.people.check_password(KARI, PASSWORD, gate.house.clock())


def test_a_link_that_is_too_old_is_over(gate: Gate, house: House, kari: User) -> None:
    link = asked(gate, kari.email)
    house.clock.turn(2 * HOUR + 1)
    assert gate.visitor().get(link).status == 404


def test_of_two_who_use_one_invitation_exactly_one_wins(gate: Gate, house: House, kari: User) -> None:
    house.exchange.people.invite(kari, BOB, "+4792222222", house.clock())
    path = path_of(mail_links(house, BOB, "/welcome/")[0])
    visitors = [gate.visitor() for _ in range(2)]
    for each in visitors:
        each.get(path)
    threads = [threading.Thread(target=each.submit, args=(path,)) for each in visitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(each.page.status for each in visitors) == [200, 404]
    assert len(mail_links(house, BOB, "/password/")) == 1


def test_an_invitation_is_no_password_link_and_ends_by_itself(gate: Gate, house: House, kari: User) -> None:
    house.exchange.people.invite(kari, BOB, "+4792222222", house.clock())
    path = path_of(mail_links(house, BOB, "/welcome/")[0])
    visitor = gate.visitor()
    assert visitor.get(path.replace("/welcome/", "/password/")).status == 404
    assert visitor.get(asked(gate).replace("/password/", "/welcome/")).status == 404
    house.clock.turn(14 * DAY + 1)
    assert visitor.get(path).status == 404


@pytest.mark.parametrize("token", ["x", "x" * 43, "x" * 8000, "%27%20OR%201%3D1", "%7B%7B7*7%7D%7D", "%FF", "%C3%B8"])
@pytest.mark.parametrize("kind", ["welcome", "password"])
def test_a_token_that_is_none_opens_nothing(gate: Gate, kind: str, token: str) -> None:
    visitor = gate.visitor()
    page = visitor.get(f"/{kind}/{token}")
    assert page.status == 404
    assert "49" not in re.sub(r"[0-9a-f]{12,}", "", page.text)
    visitor.get("/log-in")
    assert visitor.post(f"/{kind}/{token}", password=PASSWORD, again=PASSWORD).status == 404


# ---- guesses -------------------------------------------------------------------------------------------


def wrong_by_portal(gate: Gate, times: int, email: str = KARI) -> None:
    for _ in range(times):
        gate.house.clock.turn(4)  # no faster than one source may
        visitor = gate.visitor()
        visitor.get("/log-in")
        assert visitor.submit(email=email, password="not the right one").status == 403


def lets_in(gate: Gate) -> bool:
    visitor = gate.visitor()
    visitor.get("/log-in")
    return visitor.submit(email=KARI, password=PASSWORD).path == "/inbox"


def test_wrong_passwords_in_the_portal_close_sftp_too(gate: Gate, house: House, kari: User) -> None:
    house.exchange.people.set_password(kari.email, PASSWORD, house.clock())
    assert may_come_in(house, PASSWORD)
    wrong_by_portal(gate, 10)
    assert not lets_in(gate)
    assert not may_come_in(house, PASSWORD)
    house.clock.turn(16 * MINUTE)
    assert may_come_in(house, PASSWORD)


def test_wrong_passwords_by_sftp_close_the_portal_too(gate: Gate, house: House, kari: User) -> None:
    house.exchange.people.set_password(kari.email, PASSWORD, house.clock())
    for _ in range(10):
        assert not may_come_in(house, "not the right one")
    assert not lets_in(gate)
    house.clock.turn(16 * MINUTE)
    assert lets_in(gate)


def test_wrong_digits_of_the_app_close_the_log_in_as_wrong_passwords_do(gate: Gate, house: House, kari: User) -> None:
    totp, now = house.exchange.totp, house.clock()
    totp.allow(kari, now)
    secret, _ = totp.begin(kari, now)
    totp.confirm(kari, pyotp.TOTP(secret).at(int(now)), now)
    house.exchange.people.set_password(KARI, PASSWORD, now)
    visitor = gate.visitor()
    visitor.get("/log-in")
    visitor.submit(email=KARI, password=PASSWORD)
    for _ in range(10):
        house.clock.turn(4)
        assert visitor.submit(digits="000000").status == 403
    house.clock.turn(30)
    assert visitor.submit(digits=pyotp.TOTP(secret).at(int(house.clock()))).status == 403
    assert not may_come_in(house, PASSWORD)


def test_digits_from_the_phone_can_be_guessed_five_times(gate: Gate, house: House, visitor: Visitor) -> None:
    visitor.get("/account")
    path = visitor.submit("/account/phone", phone="+47 911 11 111").path
    for _ in range(4):
        assert visitor.submit(digits="abcdef").status == 403
    assert visitor.submit(digits="abcdef").status in (403, 409)
    assert visitor.get(path).status == 409
    assert house.exchange.people.find(KARI).phone == "+4790000000"


@pytest.mark.parametrize("email", [KARI, BOB, "nobody@nowhere.example", "", "' OR '1'='1"])
def test_a_log_in_costs_one_argon2_whoever_is_named(
    gate: Gate, house: House, kari: User, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its time tells nobody who is known here, registered, or locked."""
    house.exchange.people.set_password(kari.email, PASSWORD, house.clock())
    house.exchange.people.invite(kari, BOB, "+4792222222", house.clock())
    real, spent = seal.verify_password, []

    def verify(kept: str, given: str) -> bool:
        spent.append(1)
        return real(kept, given)

    monkeypatch.setattr(seal, "verify_password", verify)
    wrong_by_portal(gate, 1, email)
    assert len(spent) == 1
