"""What is true of every call and every answer."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from tests.gate import PASSWORD, Gate, write_certificate
from tests.house import KARI, START, House


@pytest.fixture
def house(house: House) -> House:
    house.kari()
    return house


def test_no_page_can_be_framed_cached_or_load_what_is_not_ours(gate: Gate) -> None:
    visitor = gate.logged_in(gate.house.exchange.people.find(KARI))
    for path in ("/inbox", "/log-in", "/no-such-page", "/forgotten"):
        headers = visitor.get(path).headers
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe-inline" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_only_files_of_ours_are_kept_by_browsers_and_under_their_hash(gate: Gate) -> None:
    visitor = gate.visitor()
    page = visitor.get("/log-in")
    style = next(part.split('"')[0] for part in page.html.split('href="') if ".css" in part.split('"')[0])
    answer = visitor.client.get(style)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]
    assert visitor.client.get("/static/000000000000/portal.css").status_code == 404
    assert visitor.client.get(style.replace("portal.css", "..%2f..%2ffxsftp.toml")).status_code == 404


@pytest.mark.parametrize(
    "path", ["//inbox", "/inbox;/x", "/..;/inbox", "/%2finbox", "/a/%2e%2e/inbox", "/inbox%00", "/%5cinbox"]
)
def test_a_path_that_can_be_read_in_two_ways_leads_nowhere(gate: Gate, path: str) -> None:
    with socket.create_connection(("127.0.0.1", gate.port), timeout=10) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        said = b""
        while piece := line.recv(4096):
            said += piece
    assert said.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_what_another_site_sends_is_not_taken(gate: Gate, headers: dict[str, str]) -> None:
    visitor = gate.visitor()
    visitor.get("/forgotten")
    form = {"form": visitor.form_token, "email": "x@y.example"}
    assert visitor.client.post("/forgotten", data=form, headers=headers).status_code == 403
    assert visitor.client.post("/forgotten", data=form, headers={"Origin": gate.url}).status_code == 200


def test_a_form_without_our_token_or_with_anothers_is_not_taken(gate: Gate) -> None:
    visitor, other = gate.visitor(), gate.visitor()
    visitor.get("/forgotten")
    other.get("/forgotten")
    for token in ("", "0" * 32, other.form_token, "ø" * 32):
        page = visitor.post("/forgotten", form=token, email="x@y.example")
        assert page.status == 400
        assert "Load the page again" in page.text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 100_000),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % each for each in range(300))),
        ("application/x-www-form-urlencoded", b"form=%ff%fe"),
        ("", b"form=x"),
    ],
)
def test_a_body_that_is_no_form_of_ours_is_refused_with_a_page(gate: Gate, kind: str, body: bytes) -> None:
    visitor = gate.visitor()
    visitor.get("/forgotten")
    answer = visitor.client.post("/forgotten", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert "Load the page again" in answer.text
    assert "Traceback" not in answer.text


def test_unknown_pages_are_pages_in_the_visitors_language(gate: Gate) -> None:
    visitor = gate.visitor(headers={"Accept-Language": "nb-NO,nb;q=0.9,en;q=0.5"})
    page = visitor.get("/finnes-ikke")
    assert page.status == 404
    assert 'lang="nb"' in page.html
    assert "Her er det ingenting" in page.text
    assert visitor.client.post("/inbox").status_code in (404, 405)


def test_a_guest_chooses_the_language_and_it_is_remembered(gate: Gate) -> None:
    visitor = gate.visitor()
    assert 'lang="nn"' in visitor.get("/log-in?lang=nn").html
    assert 'lang="nn"' in visitor.get("/forgotten").html
    assert 'lang="en"' in visitor.get("/log-in?lang=en").html
    assert 'lang="en"' in visitor.get("/log-in?lang=klingon").html


def test_what_a_stranger_says_of_where_it_is_forwarded_from_is_not_believed(house: House) -> None:
    with Gate(house, proxies=()) as gate:
        visitor = gate.visitor()
        visitor.get("/forgotten")
        form = {"form": visitor.form_token, "email": "x@y.example"}
        answers = [
            visitor.client.post("/forgotten", data=form, headers={"X-Forwarded-For": f"192.0.2.{each}"}).status_code
            for each in range(25)
        ]
        assert answers[-1] == 429


def test_a_trusted_proxy_says_who_calls(house: House) -> None:
    with Gate(house) as gate:
        visitor = gate.visitor()
        visitor.get("/forgotten")
        form = {"form": visitor.form_token, "email": "x@y.example"}
        answers = [
            visitor.client.post("/forgotten", data=form, headers={"X-Forwarded-For": f"192.0.2.{each}"}).status_code
            for each in range(25)
        ]
        assert set(answers) == {200}


def test_with_a_certificate_of_its_own_cookies_are_for_this_host_and_https_only(house: House, tmp_path: Path) -> None:
    certificate, authority = write_certificate(tmp_path)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    house.exchange.people.set_password(KARI, PASSWORD, START)
    with Gate(house, certificate=certificate) as gate:
        visitor = gate.visitor(verify=trust)
        answer = visitor.client.get("/log-in")
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-fxsftp=")
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
        assert "Path=/" in cookie
        assert "SameSite=lax" in cookie
        assert "Domain" not in cookie
        assert "max-age" in answer.headers["Strict-Transport-Security"]
        visitor.get("/log-in")
        assert visitor.submit(email=KARI, password=PASSWORD).path == "/inbox"


def test_a_head_that_never_ends_is_cut_off(gate: Gate) -> None:
    with socket.create_connection(("127.0.0.1", gate.port), timeout=10) as line:
        line.sendall(b"GET /log-in HTTP/1.1\r\nHost: x\r\n")
        said = b""
        try:
            for number in range(4000):
                line.sendall(b"X-%d: %s\r\n" % (number, b"y" * 100))
            said = line.recv(100)
        except OSError:
            said = said or b"cut"
    assert said == b"cut" or said == b"" or said.startswith(b"HTTP/1.1 400")
    assert gate.visitor().get("/log-in").status == 200


def test_healthz_says_that_all_is_well(gate: Gate) -> None:
    assert gate.visitor().client.get("/healthz").text == "ok\n"
