"""Hostile lines: HTTP as no browser speaks it, bodies that trickle, callers that never read, proxies that lie."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from fxsftp.domain.model import User
from fxsftp.fronts.portal import arriving, call, downloads, listener
from tests.exchange.hands import Hand, dispatched
from tests.fronts.portal.test_send import Tus, begin
from tests.gate import Gate, Visitor
from tests.house import ANN, KARI, House

SOON = 0.3  # seconds, where it takes a minute in earnest
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@pytest.fixture
def kari(house: House) -> User:
    house.ann()
    return house.kari()


@pytest.fixture
def visitor(gate: Gate, kari: User) -> Visitor:
    return gate.logged_in(kari)


@contextmanager
def line_to(gate: Gate) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", gate.port), timeout=20)) as line:
        yield line


def say(gate: Gate, *words: bytes) -> bytes:
    """All that is answered until the line ends."""
    with line_to(gate) as line:
        line.sendall(b"".join(words))
        return rest(line)


def rest(line: socket.socket) -> bytes:
    said = b""
    try:
        while piece := line.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


def trickle(line: socket.socket, drop: bytes, is_over: Callable[[], bool]) -> None:
    """Say a little again and again, until it is over."""
    deadline = time.monotonic() + 20
    while not is_over():
        assert time.monotonic() < deadline
        try:
            line.sendall(drop)
        except OSError:
            return
        select.select([line], [], [], 0.02)


def is_answered(line: socket.socket) -> bool:
    return bool(select.select([line], [], [], 0)[0])


def is_gone(line: socket.socket) -> bool:
    """Whether the other end has cut the line, without reading what it said before."""
    poll = select.poll()
    poll.register(line, select.POLLERR | select.POLLHUP)
    return bool(poll.poll(0))


def cookies(visitor: Visitor) -> bytes:
    found = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())
    return f"Cookie: {found}\r\n".encode()


# ---- smuggling -----------------------------------------------------------------------------------------

SECOND = b"GET /log-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 0\r\nContent-Length: 50\r\n",
        b"Content-Length: 0, 50\r\n",
        b"Content-Length: +0\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x0\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X: a\r\n Transfer-Encoding: chunked\r\n",
        b"X: a\x00b\r\n",
        b"X\x00: a\r\n",
        b": a\r\n",
    ],
)
def test_a_head_that_two_readers_could_read_in_two_ways_is_refused_and_the_line_ends(
    gate: Gate, headers: bytes
) -> None:
    said = say(gate, b"POST /forgotten HTTP/1.1\r\nHost: x\r\n", headers, b"\r\n0\r\n\r\n", SECOND)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("size", [b"-1", b"0x5", b"5 ", b"5;\x00", b"fffffffffffffffff", b""])
def test_a_chunk_of_no_known_size_ends_the_line(gate: Gate, size: bytes) -> None:
    head = b"POST /forgotten HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + FORM
    said = say(gate, head, b"\r\n", size, b"\r\nhello\r\n0\r\n\r\n", SECOND)
    assert b"HTTP/1.1 200" not in said
    assert said.count(b"HTTP/1.1") <= 1


def test_what_stands_behind_a_body_is_no_header(gate: Gate) -> None:
    """A trailer is not believed, and one without end is cut off."""
    head = b"POST /forgotten HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + FORM
    said = say(gate, head, b"Connection: close\r\n\r\n1\r\na\r\n0\r\nAccept: application/json\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: text/html" in said
    with line_to(gate) as line:
        line.sendall(head + b"\r\n1\r\na\r\n0\r\nX: ")
        trickle(line, b"y" * 65536, lambda: is_answered(line) or is_gone(line))
        assert b"HTTP/1.1 200" not in rest(line)


def test_calls_made_ahead_are_answered_in_turn_and_too_many_are_not(gate: Gate) -> None:
    said = say(gate, b"GET /no-such-page HTTP/1.1\r\nHost: x\r\n\r\n", SECOND)
    assert said.index(b"HTTP/1.1 404") < said.index(b"HTTP/1.1 200")
    said = say(gate, b"GET /log-in HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    assert said.count(b"HTTP/1.1 200") < 100


def test_http_1_0_is_spoken_and_the_line_ends(gate: Gate) -> None:
    said = say(gate, b"GET /log-in HTTP/1.0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in said
    assert said.endswith((b"</html>\n", b"</html>"))


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "CONNECT", "PUT", "PROPFIND", "GETT", "get"])
def test_a_method_that_no_page_has_is_told_so_and_nothing_is_echoed(gate: Gate, method: str) -> None:
    target = "x:443" if method == "CONNECT" else "/inbox"
    said = say(gate, f"{method} {target} HTTP/1.1\r\nHost: x\r\nX-Echo: sesame\r\nConnection: close\r\n\r\n".encode())
    assert said.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert b"sesame" not in said


@pytest.mark.parametrize("target", [b"http://evil.example/inbox", b"*", b"inbox", b"/inbox#x", b"/\xff", b"/%zz"])
def test_a_target_that_is_no_path_is_no_page(gate: Gate, target: bytes) -> None:
    said = say(gate, b"GET ", target, b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert said.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 303"))
    assert b"evil.example" not in said


@pytest.mark.parametrize("path", [b"/log-in", b"/forgotten", b"/no-such-page", b"/healthz"])
def test_head_answers_without_a_body(gate: Gate, path: bytes) -> None:
    said = say(gate, b"HEAD ", path, b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert said.endswith(b"\r\n\r\n")
    assert said.count(b"\r\n\r\n") == 1


# ---- what is said twice, and what is said of who calls ---------------------------------------------------


def test_where_we_are_is_ours_to_say(gate: Gate) -> None:
    """Neither Host nor what stands for it comes into an address that we name."""
    lies = b"Host: evil.example\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n"
    for path in (b"/", b"/inbox", b"/log-in", b"/account/"):
        said = say(gate, b"GET ", path, b" HTTP/1.1\r\n", lies, b"Connection: close\r\n\r\n")
        assert b"evil.example" not in said


def test_a_header_that_stands_there_twice_lets_nobody_in(gate: Gate, visitor: Visitor) -> None:
    good = cookies(visitor)
    bad = good.split(b"=")[0] + b"=none\r\n"
    for pair in (good + bad, bad + good):
        said = say(gate, b"GET /inbox HTTP/1.1\r\nHost: x\r\n", pair, b"Connection: close\r\n\r\n")
        assert said.startswith((b"HTTP/1.1 303", b"HTTP/1.1 200"))
    body = b"form=" + visitor.form_token.encode()
    twice = FORM + FORM.replace(b"application/x-www-form-urlencoded", b"text/plain")
    twice += b"Origin: https://evil.example\r\nOrigin: " + gate.url.encode() + b"\r\n"
    head = b"POST /log-out HTTP/1.1\r\nHost: x\r\n" + good + twice + b"Content-Length: %d\r\n" % len(body)
    assert say(gate, head, b"Connection: close\r\n\r\n", body).startswith(b"HTTP/1.1 403")
    assert visitor.get("/inbox").path == "/inbox"


def answers(gate: Gate, *lines: str) -> set[int]:
    """Of 25 who ask for a password; `*` in a line is their number."""
    visitor = gate.visitor()
    visitor.get("/forgotten")
    form = {"form": visitor.form_token, "email": "x@y.example"}
    found = set()
    for number in range(25):
        headers = [("X-Forwarded-For", line.replace("*", str(number))) for line in lines]
        found.add(visitor.client.post("/forgotten", data=form, headers=headers).status_code)
    return found


def test_the_last_of_what_is_said_of_who_calls_is_the_proxys(gate: Gate) -> None:
    """HAProxy adds a line of its own beneath the caller's."""
    assert 429 in answers(gate, "192.0.2.*", "198.51.100.7")
    assert 429 in answers(gate, "192.0.2.*, 198.51.100.8")
    assert answers(gate, "203.0.113.1, 192.0.2.*") == {200}
    assert answers(gate, "203.0.113.*:4711") == {200}
    assert answers(gate, "[2001:db8:*::1]:4711") == {200}


@pytest.mark.parametrize("said", ["unknown-*", "_*", "<script>*", "' OR *=*", "x" * 4000 + "*", ",,,*,"])
def test_what_is_no_address_is_nobodys(gate: Gate, said: str) -> None:
    assert 429 in answers(gate, said)


# ---- bodies that trickle ---------------------------------------------------------------------------------


def test_a_form_that_trickles_is_given_up_and_its_line_too(
    gate: Gate, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "FORM_WITHIN", SOON)
    monkeypatch.setattr(listener, "REST_WITHIN", SOON)
    with line_to(gate) as line:
        line.sendall(
            b"POST /account HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n" + cookies(visitor) + FORM + b"\r\n"
        )
        trickle(line, b"a", lambda: is_answered(line))
        assert line.recv(100).startswith(b"HTTP/1.1 400")
        trickle(line, b"a", lambda: is_gone(line) or not line.recv(65536))


def test_an_upload_that_trickles_is_put_away_and_can_be_resumed(
    gate: Gate, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line brings a byte now and then: as a line it is alive, and as an upload it is not."""
    tus = Tus(visitor, begin(visitor))
    url = tus.create("a.bin", 300_000).headers["Location"]
    monkeypatch.setattr(arriving, "WITHIN", SOON)
    monkeypatch.setattr(listener, "REST_WITHIN", SOON)
    said = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": "300000"}
    head = "".join(f"{name}: {value}\r\n" for name, value in (tus.headers | said).items()).encode()
    with line_to(gate) as line:
        line.sendall(
            f"PATCH {url} HTTP/1.1\r\nHost: x\r\n".encode() + cookies(visitor) + head + b"\r\n" + b"x" * 200_000
        )
        trickle(line, b"x", lambda: is_answered(line))
        assert line.recv(100).startswith(b"HTTP/1.1 204")
        trickle(line, b"x", lambda: is_gone(line) or not line.recv(65536))
    monkeypatch.undo()
    offset = tus.offset(url)
    assert offset >= 196_608
    assert tus.patch(url, offset, b"x" * (300_000 - offset)).status_code == 204


def test_a_form_with_files_that_trickles_keeps_none_of_them(
    gate: Gate, visitor: Visitor, kari: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipment = begin(visitor)
    monkeypatch.setattr(arriving, "WITHIN", SOON)
    body = b'--x\r\nContent-Disposition: form-data; name="form"\r\n\r\n' + visitor.form_token.encode()
    body += b'\r\n--x\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\nbegins'
    head = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 300000\r\n\r\n"
    with line_to(gate) as line:
        line.sendall(f"POST /send/{shipment} HTTP/1.1\r\nHost: x\r\n".encode() + cookies(visitor) + head + body)
        trickle(line, b"x", lambda: is_answered(line))
        assert line.recv(100).startswith(b"HTTP/1.1 400")
    found = gate.house.exchange.composing.composition(kari, shipment, gate.house.clock())
    assert not [each for each in found.files if each.is_complete]


def test_who_is_answered_early_and_goes_on_talking_is_cut_off(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "REST_WITHIN", SOON)
    with line_to(gate) as line:
        line.sendall(b"POST /no-such-page HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        trickle(line, b"x" * 10_000, lambda: is_answered(line))
        assert line.recv(100).startswith(b"HTTP/1.1 404")
        trickle(line, b"x" * 10_000, lambda: is_gone(line))


def test_blank_lines_keep_no_line(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEAD_WITHIN", SOON)
    with line_to(gate) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        trickle(line, b"\r\n", lambda: is_gone(line) or (is_answered(line) and not line.recv(65536)))


def test_a_head_that_trickles_is_given_up(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEAD_WITHIN", SOON)
    with line_to(gate) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
        trickle(line, b"y", lambda: is_gone(line) or (is_answered(line) and not line.recv(65536)))


# ---- who never reads -------------------------------------------------------------------------------------


def test_who_never_reads_a_download_is_cut_off(
    gate: Gate, house: House, visitor: Visitor, kari: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the line is alive and only nobody takes from it: asyncio's own close would wait for ever."""
    Hand(house, house.exchange.people.find(ANN)).put(f"/outbox/{KARI}/Ref 2/large.bin", bytes(32 << 20))
    shipment = dispatched(house)
    assert kari.email == KARI
    monkeypatch.setattr(downloads, "STALLED", SOON)
    monkeypatch.setattr(listener, "LINGER", SOON)
    path = f"/inbox/{shipment}/files/large.bin".encode()
    with line_to(gate) as line:
        line.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n" + cookies(visitor) + b"\r\n")
        deadline = time.monotonic() + 20
        while not is_gone(line):
            assert time.monotonic() < deadline
            select.select([], [], [], 0.02)


def test_who_asks_and_asks_and_never_reads_is_cut_off(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEAD_WITHIN", SOON)
    monkeypatch.setattr(listener, "LINGER", SOON)
    with line_to(gate) as line:
        line.setblocking(False)
        deadline = time.monotonic() + 20
        while not is_gone(line):
            assert time.monotonic() < deadline
            try:
                line.send(b"GET /log-in HTTP/1.1\r\nHost: x\r\n\r\n")
            except BlockingIOError:
                select.select([], [], [], 0.02)
            except OSError:
                break
