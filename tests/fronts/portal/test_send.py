"""Send package: by a plain form, and by tus as scripts send it."""

from __future__ import annotations

import base64
import os
import re
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from fxsftp import shipped
from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Kind, Standing, User
from fxsftp.domain.places import Place, Room
from tests.fronts.portal.test_downloads import soon
from tests.gate import Gate, Visitor
from tests.house import ANN, BOB, KARI, House

PART = b"Content-Disposition: form-data; "
KEPT = 3 * 65536  # of 200,000 bytes: an interrupted file keeps whole chunks
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
def kari(house: House) -> User:
    house.ann()
    return house.kari()


@pytest.fixture
def visitor(gate: Gate, kari: User) -> Visitor:
    return gate.logged_in(kari)


def begin(visitor: Visitor, to: str = ANN, subject: str = "Ref 23/4567", **more: str) -> str:
    """The first page, filled in; the number of the package."""
    visitor.get("/send")
    page = visitor.submit("/send", to=to, subject=subject, **more)
    assert page.path.startswith("/send/"), page.text
    return page.path.removeprefix("/send/").split("?")[0]


def put_form(visitor: Visitor, shipment: str, act: str, *files: tuple[str, bytes]) -> httpx.Response:
    parts: list[tuple[str, Any]] = [("form", (None, visitor.form_token))]
    parts += [("files", (name, data)) for name, data in files]
    return visitor.client.post(f"/send/{shipment}", files=[*parts, ("act", (None, act))], follow_redirects=True)


class Tus:
    """A script on the second page."""

    def __init__(self, visitor: Visitor, shipment: str) -> None:
        visitor.get(f"/send/{shipment}")
        self.client, self.path = visitor.client, f"/send/{shipment}/files"
        self.headers = TUS | {"X-CSRF-Token": visitor.form_token}

    def create(self, name: str, size: int, **more: str) -> httpx.Response:
        known = {"filename": name, "modified": "1700000000123"}
        metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in known.items())
        return self.client.post(
            self.path, headers=self.headers | {"Upload-Length": str(size), "Upload-Metadata": metadata} | more
        )

    def patch(self, url: str, offset: int, data: Any, **more: str) -> httpx.Response:
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        return self.client.patch(url, content=data, headers=self.headers | headers | more)

    def offset(self, url: str) -> int:
        return int(self.client.head(url, headers=self.headers).headers["Upload-Offset"])

    def put(self, name: str, data: bytes) -> str:
        url: str = self.create(name, len(data)).headers["Location"]
        if data:
            assert self.patch(url, 0, data).status_code == 204
        return url


def received(house: House, user: User, shipment: str, name: str) -> bytes:
    """What its recipient reads once it is open."""
    house.exchange.opening.open_with_code(user, shipment, house.code(shipment, user), house.clock())
    reading = house.exchange.collecting.open(user, Place(Room.INBOX, shipment=shipment, path=name), house.clock())
    return reading.read(0, reading.size)


# ---- a plain form ------------------------------------------------------------------------------------


def test_a_plain_form_sends_files_to_their_recipient(gate: Gate, visitor: Visitor) -> None:
    shipment = begin(visitor, message="Hello Ann,\nhere it is.")
    page = put_form(visitor, shipment, "send", ("report æøå.csv", b"a,b\n1,2\n"), ("empty.txt", b""))
    assert "The package is sent" in page.text
    ann = gate.house.exchange.people.find(ANN)
    (folder,) = gate.house.inbox(ann)
    assert "Ref-23-4567" in folder
    assert received(gate.house, ann, shipment, "report æøå.csv") == b"a,b\n1,2\n"


def test_files_are_added_in_parts_removed_and_then_sent(gate: Gate, visitor: Visitor, kari: User) -> None:
    shipment = begin(visitor)
    page = put_form(visitor, shipment, "add", ("one.txt", b"1"))
    assert "The files are here" in page.text
    put_form(visitor, shipment, "add", ("two.txt", b"2"))
    visitor.get(f"/send/{shipment}")
    visitor.submit(f"/send/{shipment}/remove")
    page = put_form(visitor, shipment, "send")
    assert "The package is sent" in page.text
    sent = gate.house.exchange.sent.find(kari, shipment, gate.house.clock())
    assert [file.name for file in sent.files] == ["two.txt"]


def test_a_package_without_files_is_not_sent(visitor: Visitor) -> None:
    shipment = begin(visitor)
    page = put_form(visitor, shipment, "send")
    assert page.status_code == 409
    assert "There is no file in this package yet" in page.text


def test_the_message_and_subject_arrive_as_they_were_typed(gate: Gate, visitor: Visitor, kari: User) -> None:
    shipment = begin(visitor, subject="Ref 23/4567: <b>æøå</b>", message="line one\n\nline {{7*7}}")
    put_form(visitor, shipment, "send", ("a.txt", b"1"))
    sent = gate.house.exchange.sent.find(kari, shipment, gate.house.clock()).shipment
    assert sent.subject == "Ref 23/4567: <b>æøå</b>"
    assert sent.message == "line one\n\nline {{7*7}}"
    ann = gate.logged_in(gate.house.exchange.people.find(ANN))
    page = ann.get(f"/inbox/{shipment}")
    assert "&lt;b&gt;æøå&lt;/b&gt;" in page.html
    assert "line {{7*7}}" in page.html


def test_who_is_not_registered_is_invited_by_a_member_with_a_phone(gate: Gate, visitor: Visitor) -> None:
    visitor.get("/send")
    page = visitor.submit("/send", to=f"{ANN}, {BOB}", subject="Ref 1")
    assert page.status == 409
    assert f"Mobile number of {BOB}" in page.text
    page = visitor.submit("/send", phone="+47 922 22 222")
    shipment = page.path.removeprefix("/send/")
    assert BOB in page.text
    assert "has not left yet" in put_form(visitor, shipment, "send", ("a.txt", b"1")).text
    assert gate.house.exchange.people.find(BOB).standing is Standing.INVITED


def test_partners_hear_of_nobody_whom_they_may_not_write_to(gate: Gate, kari: User) -> None:
    gate.house.add(BOB, Kind.PARTNER)
    ann = gate.logged_in(gate.house.exchange.people.find(ANN))
    page = ann.get("/send")
    assert BOB not in page.html
    said = []
    for address in (BOB, "nobody@nowhere.example"):
        ann.get("/send")
        said.append(ann.submit("/send", to=address).text.replace(address, "…"))
    assert said[0] == said[1]
    assert begin(ann, to=kari.email)


def test_a_package_that_is_given_up_leaves_nothing(gate: Gate, visitor: Visitor) -> None:
    shipment = begin(visitor)
    put_form(visitor, shipment, "add", ("a.bin", os.urandom(200_000)))
    visitor.get(f"/send/{shipment}")
    page = visitor.submit(f"/send/{shipment}/cancel")
    assert "is given up" in page.text
    assert visitor.get(f"/send/{shipment}").status == 404
    vault = gate.house.settings.vault
    assert soon(lambda: not [path for path in vault.rglob("*") if path.is_file()])  # erased once that is written down


def test_what_is_already_sent_is_shown_as_sent(visitor: Visitor) -> None:
    shipment = begin(visitor)
    put_form(visitor, shipment, "send", ("a.txt", b"1"))
    assert visitor.get(f"/send/{shipment}").path == f"/sent/{shipment}"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\x00b", "con.txt", "x" * 300, "SHIPMENT.txt", ".DS_Store"])
def test_a_hostile_name_is_refused_or_made_harmless(gate: Gate, visitor: Visitor, name: str, kari: User) -> None:
    shipment = begin(visitor)
    page = put_form(visitor, shipment, "add", (name, b"1"))
    assert page.status_code < 500
    found = gate.house.exchange.composing.composition(kari, shipment, gate.house.clock())
    assert all(".." not in each.name and "\x00" not in each.name for each in found.files)
    assert page.status_code in (400, 403) or [each.name for each in found.files] == ["etc/passwd"] or found.files


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=" + "x" * 200, b""),
        ("multipart/form-data; boundary=x", b"no boundary at all"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + PART + b"name=\"form\"\r\n\r\nabc"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: " + b"b" * 20_000 + b"\r\n\r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + PART + b"name=\"f\"; filename=\"a\"\r\n\r\n1\r\n--x--\r\n"),
        ("application/x-www-form-urlencoded", b"act=send"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_form_of_ours_adds_nothing(
    gate: Gate, visitor: Visitor, kari: User, kind: str, body: bytes
) -> None:
    shipment = begin(visitor)
    answer = visitor.client.post(f"/send/{shipment}", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert gate.house.exchange.composing.composition(kari, shipment, gate.house.clock()).files == []


# ---- tus ---------------------------------------------------------------------------------------------


def test_an_upload_goes_on_where_the_line_broke(gate: Gate, visitor: Visitor) -> None:
    shipment, data = begin(visitor), os.urandom(700_000)
    tus = Tus(visitor, shipment)
    url = tus.create("big.bin", len(data)).headers["Location"]

    def breaks() -> Any:
        yield data[:300_000]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        tus.patch(url, 0, breaks(), **{"Content-Length": str(len(data))})
    answer = tus.patch(url, tus.offset(url), b"")  # the broken call may still be there, and is put away by this one
    offset = tus.offset(url)
    assert 0 <= offset <= 300_000
    answer = tus.patch(url, offset, data[offset:])
    assert answer.status_code == 204
    assert answer.headers["Upload-Offset"] == str(len(data))
    assert "The package is sent" in put_form(visitor, shipment, "send").text
    ann = gate.house.exchange.people.find(ANN)
    assert received(gate.house, ann, shipment, "big.bin") == data


def test_a_wrong_offset_is_told_the_true_one(visitor: Visitor) -> None:
    tus = Tus(visitor, begin(visitor))
    url = tus.create("a.bin", 300_000).headers["Location"]
    assert tus.patch(url, 50, b"x" * 50).status_code == 409
    assert tus.offset(url) == 0
    assert tus.patch(url, 0, b"x" * 200_000).headers["Upload-Offset"] == str(KEPT)
    assert tus.offset(url) == KEPT
    assert tus.patch(url, KEPT, b"x" * (300_000 - KEPT)).status_code == 204
    assert tus.patch(url, KEPT, b"x" * (300_000 - KEPT)).status_code == 204  # its answer was lost


def test_more_than_was_announced_is_not_taken(visitor: Visitor) -> None:
    tus = Tus(visitor, begin(visitor))
    url = tus.create("a.bin", 10).headers["Location"]
    assert tus.patch(url, 0, b"x" * 11).status_code == 413


def test_a_cancelled_upload_is_gone(visitor: Visitor) -> None:
    tus = Tus(visitor, begin(visitor))
    url = tus.put("a.bin", b"x" * 1000)
    assert tus.client.delete(url, headers=tus.headers).status_code == 204
    assert tus.client.head(url, headers=tus.headers).status_code == 404
    assert tus.client.get(tus.path).json() == []


def test_the_page_has_all_the_words_that_its_script_says(gate: Gate, visitor: Visitor, kari: User) -> None:
    """And no sign that a value brings itself: browsers write `40 %` as each language does."""
    source = (shipped.folder("config") / "static" / "sending.js").read_text()
    (listed,) = re.findall(r"WORDS = \[(.*?)\];", source, re.DOTALL)
    wanted, shipment = set(re.findall(r'"([a-z-]+)"', listed)), begin(visitor)
    for language in ("en", "nb", "nn"):
        gate.house.exchange.people.change(kari.email, gate.house.clock(), language=language)
        words = dict(re.findall(r'data-word="([a-z-]+)">(.*?)</span>', visitor.get(f"/send/{shipment}").html))
        assert set(words) == wanted
        assert words["overall"].endswith("{percent}")
        assert not [each for each in words.values() if "%" in each]


def test_a_page_that_is_loaded_again_knows_its_files(gate: Gate, visitor: Visitor) -> None:
    shipment = begin(visitor)
    tus = Tus(visitor, shipment)
    tus.put("sub/a.bin", b"x" * 1000)
    url = tus.create("b.bin", 500_000).headers["Location"]
    tus.patch(url, 0, b"y" * 200_000)
    found = tus.client.get(tus.path).json()
    known = {(each["name"], each["size"], each["offset"]) for each in found}
    assert known == {("sub/a.bin", 1000, 1000), ("b.bin", 500_000, KEPT)}
    assert url in {each["url"] for each in found}
    assert all(len(each["fingerprint"]) == 64 for each in found)


def test_an_empty_file_needs_no_bytes(gate: Gate, visitor: Visitor) -> None:
    shipment = begin(visitor)
    Tus(visitor, shipment).put("empty", b"")
    assert "The package is sent" in put_form(visitor, shipment, "send").text


def test_an_unfinished_file_holds_the_package_back_by_name(visitor: Visitor) -> None:
    shipment = begin(visitor)
    Tus(visitor, shipment).create("a.bin", 100)
    page = put_form(visitor, shipment, "send")
    assert page.status_code == 409
    assert "a.bin" in page.text


def test_uploads_need_a_log_in_the_pages_token_and_the_right_version(gate: Gate, visitor: Visitor, kari: User) -> None:
    shipment = begin(visitor)
    tus = Tus(visitor, shipment)
    url = tus.create("a.bin", 10).headers["Location"]
    assert tus.client.patch(url, headers=TUS).status_code == 400
    assert tus.client.post(tus.path, headers={"X-CSRF-Token": tus.headers["X-CSRF-Token"]}).status_code == 412
    guest = gate.visitor()
    guest.get("/log-in")
    assert guest.client.head(url, headers=TUS | {"X-CSRF-Token": guest.form_token}).status_code == 401
    other = gate.logged_in(gate.house.add(BOB, Kind.MEMBER))
    strange = Tus(other, shipment)
    assert strange.client.head(url, headers=strange.headers).status_code == 404
    assert strange.create("b.bin", 1).status_code == 404
    assert kari.email == KARI


@pytest.mark.parametrize(
    "headers",
    [{"Upload-Length": "-1"}, {"Upload-Length": "x"}, {"Upload-Metadata": "filename ???"}, {"Upload-Metadata": ""}],
)
def test_a_creation_that_says_nonsense_is_refused(visitor: Visitor, headers: dict[str, str]) -> None:
    assert Tus(visitor, begin(visitor)).create("a.bin", 10, **headers).status_code == 400


def test_what_does_not_fit_the_quota_is_refused_before_a_byte_is_sent(gate: Gate, visitor: Visitor) -> None:
    answer = Tus(visitor, begin(visitor)).create("a.bin", 60 << 30)
    assert answer.status_code == 507
    assert "quota" in answer.text


def test_the_plaintext_of_an_upload_never_lies_in_a_file(gate: Gate, visitor: Visitor) -> None:
    """While 64 MiB come in by both ways, this process opens no temporary file, and no file of it has a byte in clear.

    One that has no name any more, as Python's own are, still says in /proc in which folder it lies.
    """
    shipment, mark = begin(visitor), b"these very words are secret " * 40
    data, stop = mark * (64 * 1024 * 1024 // len(mark)), threading.Event()
    before = opened()
    seen: set[str] = set()

    def watch() -> None:
        while not stop.is_set():
            seen.update(opened())
            stop.wait(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        put_form(visitor, shipment, "add", ("a.bin", data))
        Tus(visitor, shipment).put("b.bin", data)
    finally:
        stop.set()
        watcher.join()
    state = str(gate.house.settings.state)
    ours = [Path(path) for path in seen if path.startswith(state)]
    assert any("vault" in str(path) for path in ours)
    for path in ours:
        if path.is_file():
            assert b"very words are secret" not in path.read_bytes()
    folders = (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", "/memfd")
    assert [
        path for path in seen - before if path.startswith(folders) and not path.startswith(str(gate.house.folder))
    ] == []


def opened() -> set[str]:
    """The files that this process has open; of a deleted one, where it was."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(link).removesuffix(" (deleted)"))
    return {path for path in found if path.startswith("/") and not path.startswith(("/dev/null", "/proc"))}


def test_a_temporary_file_would_be_seen() -> None:
    before = opened()
    with tempfile.SpooledTemporaryFile(max_size=1) as spooled:
        spooled.write(b"12")
        assert [path for path in opened() - before if path.startswith((tempfile.gettempdir(), "/var/tmp"))]


def test_a_package_leaves_once_however_often_send_is_pressed(gate: Gate, visitor: Visitor, kari: User) -> None:
    shipment = begin(visitor)
    put_form(visitor, shipment, "add", ("a.txt", b"1"))
    threads = [threading.Thread(target=put_form, args=(visitor, shipment, "send")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert gate.house.exchange.sent.find(kari, shipment, gate.house.clock()).shipment.state is ShipmentState.WAITING
    assert len(gate.house.inbox(gate.house.exchange.people.find(ANN))) == 1
