"""Downloads: the bytes, their headers, their ranges; and what the exchange counts as having been sent."""

from __future__ import annotations

import http.client
import io
import json
import random
import socket
import struct
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from fxsftp import seal
from fxsftp.domain.lifecycle import DeliveryState
from fxsftp.domain.model import Wishes
from fxsftp.fronts.portal.downloads import disposition, wanted_range
from tests.exchange.hands import Hand, dispatched, registry_of
from tests.gate import Gate, Visitor
from tests.house import ANN, KARI, House

DATA = Path(__file__).parents[2] / "data"
PLAIN = random.Random(5).randbytes(300_000)  # more than one piece, and no whole number of them
LARGE = 32 << 20
D = DeliveryState


@pytest.fixture
def kari(house: House) -> Hand:
    return Hand(house, house.kari())


@pytest.fixture
def ann(house: House) -> Hand:
    return Hand(house, house.ann())


@pytest.fixture
def opened(house: House, ann: Hand, kari: Hand) -> str:
    """From ann to kari, whose log-in is enough: a.bin and an empty file."""
    ann.put(f"/outbox/{KARI}/Ref 2/a.bin", PLAIN)
    ann.put(f"/outbox/{KARI}/Ref 2/sub/nothing.txt", b"")
    return dispatched(house)


@pytest.fixture
def large(house: House, ann: Hand, kari: Hand) -> str:
    """A file of 32 MiB for kari."""
    ann.put(f"/outbox/{KARI}/Ref 2/large.bin", bytes(LARGE))
    return dispatched(house)


@pytest.fixture
def visitor(gate: Gate, kari: Hand) -> Visitor:
    """kari, logged in."""
    return gate.logged_in(kari.user)


def get(visitor: Visitor, path: str, **headers: str) -> httpx.Response:
    return visitor.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def soon(is_so: Callable[[], bool]) -> bool:
    """Whether it becomes so."""
    deadline = time.monotonic() + 20
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def spans(house: House, hand: Hand, shipment: str, form: str = "plain") -> list[tuple[int, int]]:
    """What counts as sent of a shipment's first file."""
    registry = registry_of(house.exchange)
    file = registry.drops.of_shipment(shipment)[0]
    return [(first, end) for first, end in registry.deliveries.spans(hand.delivery(shipment).id, file.id, form)]


# ---- whole files


def test_a_file_comes_as_it_was_put_and_no_browser_shows_it(visitor: Visitor, opened: str) -> None:
    answer = get(visitor, f"/inbox/{opened}/files/a.bin")
    assert answer.status_code == 200
    assert answer.content == PLAIN
    headers = answer.headers
    assert headers["Content-Length"] == str(len(PLAIN))
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment; filename=\"a.bin\"; filename*=UTF-8''a.bin"
    assert headers["Content-Security-Policy"].startswith("sandbox;")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Accept-Ranges"] == "bytes"
    assert not headers["ETag"].startswith("W/")
    assert "Content-Encoding" not in headers


def test_head_says_all_that_get_does_and_is_no_reading(kari: Hand, visitor: Visitor, opened: str) -> None:
    path = f"/inbox/{opened}/files/a.bin"
    heads = [visitor.client.head(each) for each in (f"/inbox/{opened}/files/sub/nothing.txt", f"/inbox/{opened}/all")]
    head = visitor.client.head(path, headers={"Range": "bytes=0-1"})
    assert {(each.status_code, each.content) for each in (*heads, head)} == {(200, b"")}
    assert kari.delivery(opened).state is D.WAITING
    whole = get(visitor, path)
    for name in ("Content-Length", "ETag", "Content-Disposition", "Content-Type", "Accept-Ranges"):
        assert head.headers[name] == whole.headers[name]


def test_a_locked_file_comes_with_its_header_and_opens_with_the_key_file_or_the_code(
    gate: Gate, ann: Hand, kari: Hand
) -> None:
    """Up to eight files ask for the code itself; KEY.age is there for them, too, for the module in the browser."""
    for number in (1, 9):
        for name in range(number):
            kari.put(f"/outbox/{ANN}/Ref {number}/{name}.bin", PLAIN[: 70_000 + name])
        shipment = dispatched(gate.house)
        code, visitor = gate.house.code(shipment, ann.user), gate.logged_in(ann.user)
        key = get(visitor, f"/inbox/{shipment}/key")
        assert key.headers["Content-Disposition"].startswith('attachment; filename="KEY.age"')
        identity = seal.open_key_file(key.content, code)
        opens_with = identity if number > 8 else seal.CodeKey(code)
        locked = get(visitor, f"/inbox/{shipment}/files/0.bin.age")
        assert seal.open_small(locked.content, opens_with) == PLAIN[:70_000]
        assert get(visitor, f"/inbox/{shipment}/files/0.bin").status_code == 403
        listed = get(visitor, f"/inbox/{shipment}/files/KEY.age")
        assert listed.content == key.content if number > 8 else listed.status_code == 404


def test_a_folder_and_a_page_of_the_exchange_are_no_downloads(visitor: Visitor, opened: str) -> None:
    for name in ("sub", "sub/", "", "SHIPMENT.txt", "a.bin/", "a.bin.age", "A.BIN", "sub/nothing.txt/x"):
        assert get(visitor, f"/inbox/{opened}/files/{name}").status_code == 404, name
    sums = get(visitor, f"/inbox/{opened}/files/SHA256SUMS")
    assert sums.text.splitlines()[0].endswith("  a.bin")


# ---- ranges

SIZE = len(PLAIN)


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-", 0, SIZE),
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=262140-262150", 262140, 262151),
        ("bytes=299999-", SIZE - 1, SIZE),
        ("bytes=10-999999999", 10, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-300000", 0, SIZE),
        ("bytes=-9999999", 0, SIZE),
    ],
)
def test_a_range_is_that_part_of_the_file(visitor: Visitor, opened: str, asked: str, first: int, end: int) -> None:
    answer = get(visitor, f"/inbox/{opened}/files/a.bin", Range=asked)
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(end - first)
    assert answer.content == PLAIN[first:end]


@pytest.mark.parametrize("asked", ["bytes=300000-", "bytes=999999999999-", "bytes=-0"])
def test_a_range_that_is_not_there_is_refused_with_the_size(visitor: Visitor, opened: str, asked: str) -> None:
    answer = get(visitor, f"/inbox/{opened}/files/a.bin", Range=asked)
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-6", "bytes=9-5", "bytes=-", "bytes=", "bytes=a-b", "lines=0-1", "bytes=0x1-2", "bytes=1-2 3", "\t",
     "bytes=" + "9" * 30 + "-", "bytes=--5", "bytes=+1-2", "bytes=٣-٤"],
)  # fmt: skip
def test_what_is_no_single_range_answers_the_whole_file(asked: str) -> None:
    assert wanted_range(asked, SIZE) is None


def test_of_an_empty_file_every_range_is_the_whole(visitor: Visitor, opened: str) -> None:
    for asked in ("bytes=0-", "bytes=-5", ""):
        answer = get(visitor, f"/inbox/{opened}/files/sub/nothing.txt", Range=asked)
        assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")


def test_a_resumed_download_goes_on_only_in_the_same_bytes(gate: Gate, ann: Hand, kari: Hand) -> None:
    """If-Range: the plain form and the locked one have different marks, and each keeps its own."""
    kari.put(f"/outbox/{ANN}/Ref 1/a.bin", PLAIN)
    shipment = dispatched(gate.house)
    visitor = gate.logged_in(ann.user)
    ann.type_code(shipment, gate.house.code(shipment, ann.user))
    plain, locked = f"/inbox/{shipment}/files/a.bin", f"/inbox/{shipment}/files/a.bin.age"
    marks = {path: get(visitor, path).headers["ETag"] for path in (plain, locked)}
    assert marks[plain] != marks[locked]
    assert marks == {path: get(visitor, path).headers["ETag"] for path in (plain, locked)}
    assert get(visitor, plain, Range="bytes=5-", If_Range=marks[plain]).content == PLAIN[5:]
    for other in (marks[locked], f"W/{marks[plain]}", "Wed, 18 Nov 2026 12:00:00 GMT"):
        answer = get(visitor, plain, Range="bytes=5-", If_Range=other)
        assert (answer.status_code, answer.content) == (200, PLAIN)


# ---- what counts as sent


def test_a_file_read_in_several_ranges_is_collected_when_all_of_it_was_sent(
    house: House, kari: Hand, visitor: Visitor, opened: str
) -> None:
    path = f"/inbox/{opened}/files/a.bin"
    get(visitor, path, Range="bytes=200000-")
    assert soon(lambda: kari.delivery(opened).state is D.OPENED)
    get(visitor, path, Range="bytes=0-99999")
    get(visitor, f"/inbox/{opened}/files/sub/nothing.txt")
    assert soon(lambda: spans(house, kari, opened) == [(0, 100_000), (200_000, SIZE)])
    assert kari.delivery(opened).state is D.OPENED
    get(visitor, path, Range="bytes=99000-200500")
    assert soon(lambda: kari.delivery(opened).state is D.COLLECTED)
    assert spans(house, kari, opened) == [(0, SIZE)]


def test_locked_files_are_collected_too_when_all_of_each_was_sent(gate: Gate, ann: Hand, kari: Hand) -> None:
    """As the browser fetches them: the server does not know whether they were opened."""
    kari.put(f"/outbox/{ANN}/Ref 1/a.bin", PLAIN)
    shipment = dispatched(gate.house)
    visitor = gate.logged_in(ann.user)
    get(visitor, f"/inbox/{shipment}/key")
    assert ann.delivery(shipment).state is D.WAITING
    get(visitor, f"/inbox/{shipment}/files/a.bin.age")
    assert soon(lambda: ann.delivery(shipment).state is D.COLLECTED)


def beginning(gate: Gate, visitor: Visitor, path: str, count: int) -> socket.socket:
    """A caller that has read `count` bytes of a file and then stops reading."""
    host, port = urlsplit(gate.url).hostname, gate.port
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
    line.settimeout(30)
    line.connect((host, port))
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())
    line.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += line.recv(1)
    assert head.startswith(b"HTTP/1.1 200 ")
    take(line, count)
    return line


def take(line: socket.socket, count: int) -> None:
    """So many bytes more."""
    while count > 0:
        piece = line.recv(min(count, 65536))
        assert piece, "the line has ended"
        count -= len(piece)


def rest(line: socket.socket) -> int:
    """How many bytes still come before the line ends."""
    had = 0
    while piece := line.recv(1 << 20):
        had += len(piece)
    return had


@pytest.mark.parametrize("name", ["files/large.bin", "all"])
def test_a_download_goes_no_faster_than_it_is_taken_and_what_is_left_does_not_count(
    house: House, gate: Gate, kari: Hand, visitor: Visitor, large: str, name: str
) -> None:
    """The caller takes 1 MiB of 32 and hangs up hard: what was read ahead is what the sockets hold, and no more."""
    line = beginning(gate, visitor, f"/inbox/{large}/{name}", 1 << 20)
    assert visitor.client.get("/healthz").status_code == 200
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()
    assert soon(lambda: spans(house, kari, large) != [])
    ((first, end),) = spans(house, kari, large)
    assert first == 0
    assert (1 << 20) - 4096 <= end < LARGE // 2
    assert kari.delivery(large).state is D.OPENED


def test_who_takes_all_and_hangs_up_at_once_has_collected(
    gate: Gate, kari: Hand, visitor: Visitor, opened: str
) -> None:
    get(visitor, f"/inbox/{opened}/files/sub/nothing.txt")
    line = beginning(gate, visitor, f"/inbox/{opened}/files/a.bin", SIZE)
    line.close()
    assert soon(lambda: kari.delivery(opened).state is D.COLLECTED)


@pytest.mark.parametrize("name", ["files/large.bin", "all"])
@pytest.mark.parametrize("end", ["log out", "recall"])
def test_a_download_ends_with_the_right_to_it_and_nobody_is_blamed_in_the_log(
    house: House, gate: Gate, ann: Hand, kari: Hand, visitor: Visitor, large: str,
    end: str, name: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with closing(beginning(gate, visitor, f"/inbox/{large}/{name}", 1 << 20)) as line:
        if end == "recall":
            house.exchange.sent.recall(ann.user, large, house.clock())
        else:
            house.exchange.visits.end_all(kari.user)
        house.clock.turn(61)
        assert rest(line) < LARGE - (2 << 20)
    assert visitor.get("/healthz").status == 200
    said = [(record.name, record.getMessage()) for record in caplog.records if record.levelname != "DEBUG"]
    assert [each for each in said if each[0].startswith("uvicorn")] == []
    assert any(large in text for _, text in said) == (end == "recall")


def test_a_download_under_way_keeps_its_visit_from_ending_by_idleness(
    house: House, gate: Gate, visitor: Visitor, large: str
) -> None:
    line = beginning(gate, visitor, f"/inbox/{large}/files/large.bin", 1 << 20)
    for _ in range(2):
        house.clock.turn(20 * 60)
        take(line, 8 << 20)  # more than sockets hold: some of it is sent only now
    assert rest(line) > 0
    line.close()
    assert get(visitor, "/inbox").status_code == 200


# ---- all at once


def test_all_files_come_as_one_zip_each_with_its_path(house: House, gate: Gate, ann: Hand, kari: Hand) -> None:
    put = {"a.bin": PLAIN, "sub/Ångström 100%.csv": b"x" * 10, "sub/empty": b"", 'we"ird;.txt': b"1"}
    for name, data in put.items():
        ann.put(f"/outbox/{KARI}/Réf 2/{name}", data, wishes=Wishes(size=len(data), mtime=0))  # before a ZIP's time
    shipment = dispatched(house)
    visitor = gate.logged_in(kari.user)
    answer = get(visitor, f"/inbox/{shipment}/all")
    assert answer.headers["Content-Type"] == "application/zip"
    assert "Content-Length" not in answer.headers
    assert unquote(answer.headers["Content-Disposition"]).endswith(f"_{shipment}_Réf-2.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == put
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert soon(lambda: kari.delivery(shipment).state is D.COLLECTED)


def test_the_zip_of_a_locked_package_has_all_that_age_needs(gate: Gate, ann: Hand, kari: Hand) -> None:
    for number in range(9):
        kari.put(f"/outbox/{ANN}/Ref 1/{number}.csv", b"%d" % number)
    shipment = dispatched(gate.house)
    answer = get(gate.logged_in(ann.user), f"/inbox/{shipment}/all")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert set(archive.namelist()) == {"KEY.age", *(f"{number}.csv.age" for number in range(9))}
        identity = seal.open_key_file(archive.read("KEY.age"), gate.house.code(shipment, ann.user))
        assert seal.open_small(archive.read("7.csv.age"), identity) == b"7"


# ---- malice


def test_a_path_that_tries_to_climb_finds_nothing(gate: Gate, visitor: Visitor, opened: str) -> None:
    """Sent as they are, which no browser would."""
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())
    line = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=30)  # connects anew where it was closed
    for path in json.loads((DATA / "traversal_paths.json").read_text())[::4]:  # a fourth has one of each sort
        raw = "".join(letter if "!" <= letter <= "~" else f"%{ord(letter):02x}" for letter in path)
        line.putrequest("GET", f"/inbox/{opened}/files{raw}", skip_accept_encoding=True)
        line.putheader("Cookie", cookies)
        line.endheaders()
        answer = line.getresponse()
        body = answer.read()
        assert answer.status in (400, 404), path
        assert b"root:" not in body
    line.close()


@pytest.mark.parametrize(
    "name",
    [
        'a"b.csv',
        "a\\b",
        "a;b.csv",
        "Ånd æøå.csv",
        "100%.csv",
        "x\r\nSet-Cookie: a=b",
        "a\u202egpj.exe",
        "日本語.txt",
        "'",
        "*",
    ],
)
def test_a_name_in_a_header_is_one_quoted_string_and_one_encoded_one(name: str) -> None:
    """RFC 6266 and 8187: nothing in a name ends the string, the header or the line."""
    said = disposition(name)
    assert said.isascii()
    assert said.isprintable()
    start, middle, end = said.partition("\"; filename*=UTF-8''")
    assert start.startswith('attachment; filename="')
    assert middle
    assert not set('"\\\r\n') & set(start.removeprefix('attachment; filename="'))
    assert unquote(end) == name
    assert not set(" ;\"'*\\") & set(end)
