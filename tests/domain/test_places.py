"""Paths: what becomes a place, what is refused and why.  There is nothing behind a path to escape into."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsftp.domain import places
from fxsftp.domain.places import Place, Room
from fxsftp.errors import BadName, NoSuchPlace

DATA = Path(__file__).resolve().parents[1] / "data"
TRAVERSALS: list[str] = json.loads((DATA / "traversal_paths.json").read_text())
NAUGHTY: list[str] = json.loads((DATA / "blns.json").read_text())


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (b"", Place(Room.ROOT)),
        (b"/", Place(Room.ROOT)),
        (b".", Place(Room.ROOT)),
        (b"/README.txt", Place(Room.README)),
        (b"outbox", Place(Room.OUTBOX)),
        (b"/outbox/report.csv", Place(Room.OUTBOX, path="report.csv")),
        (b"/outbox/Kari@SSB.example", Place(Room.OUTBOX, who="kari@ssb.example")),
        (b"/outbox/kari@ssb.example/Ref 1/sub/a.csv", Place(Room.OUTBOX, "kari@ssb.example", "", "Ref 1/sub/a.csv")),
        (b"/inbox/", Place(Room.INBOX)),
        (b"/inbox/7k3f-q2mp/a.csv.age", Place(Room.INBOX, shipment="7k3f-q2mp", path="a.csv.age")),
        (b"/inbox/2026-11-22_7k3f-q2mp_Ref/sub/a", Place(Room.INBOX, shipment="7k3f-q2mp", path="sub/a")),
        (b"/sent/7k3f-q2mp.json", Place(Room.SENT, shipment="7k3f-q2mp", path="7k3f-q2mp.json")),
        (b"//outbox//.//x/", Place(Room.OUTBOX, path="x")),
        (b"/inbox/../outbox/x", Place(Room.OUTBOX, path="x")),
        (b"/../../../outbox/x", Place(Room.OUTBOX, path="x")),
    ],
)
def test_a_path_means_one_place(path: bytes, place: Place) -> None:
    assert places.parse(path) == place


@pytest.mark.parametrize(
    "path", [b"/etc/passwd", b"/inbox/nothing", b"/sent/x", b"/sent/7k3f-q2mp/x", b"/README.txt/x", b"/Inbox"]
)
def test_outside_of_the_rooms_there_is_nothing(path: bytes) -> None:
    with pytest.raises(NoSuchPlace):
        places.parse(path)


@given(st.lists(st.sampled_from([b"..", b".", b"", b"a", b"inbox", b"outbox", b"etc"]), max_size=12))
def test_dots_never_lead_above_the_root(parts: list[bytes]) -> None:
    found = places.resolve(b"/".join(parts))
    assert ".." not in found
    assert "." not in found
    assert "" not in found


@pytest.mark.parametrize("before", ["", "/inbox/7k3f-q2mp/", "/outbox/kari@ssb.example/Ref/", "/sent/"])
def test_no_traversal_leaves_the_four_rooms(before: str) -> None:
    """Every attempt ends in a place of ours, whose parts are plain names, or is refused."""
    for attempt in TRAVERSALS:
        try:
            place = places.parse((before + attempt).encode())
        except (BadName, NoSuchPlace):
            continue
        assert not {"", ".", ".."} & set(place.path.split("/")) or not place.path
        assert "\\" not in place.path


def test_naughty_strings_are_kept_as_they_are_or_refused_with_a_reason() -> None:
    kept, reasons = 0, []
    for text in NAUGHTY:
        raw = text.encode("utf-8", "surrogatepass")
        try:
            found = places.name(raw)
        except BadName as refusal:
            reasons.append(str(refusal))
        else:
            assert found == unicodedata.normalize("NFC", text)
            kept += 1
    assert kept > 300
    assert all(reason.isprintable() for reason in reasons)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"a\0b", "control"),
        (b"a\nb", "control"),
        (b"a\x1b[31mb", "control"),
        (b"a\x7f", "control"),
        ("a\u0085b".encode(), "control"),
        ("gpj.\u202eexe".encode(), "control"),
        ("\ufeffa".encode(), "control"),
        ("a\u2028b".encode(), "control"),
        (b"a\\b", "backslash"),
        ("bl\u00e5b\u00e6r.csv".encode("latin-1"), "UTF-8"),
        (b"\xed\xa0\x80", "UTF-8"),  # half of a surrogate pair
        (b"\xc0\xae\xc0\xae", "UTF-8"),  # '..' written too long
        (b"x" * 256, "255"),
        ("\u00e5".encode() * 128, "255"),
    ],
)
def test_a_bad_name_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(BadName, match=reason) as refusal:
        places.name(raw)
    assert str(refusal.value).isprintable()


def test_names_are_kept_as_nfc() -> None:
    """As a Mac sends it and as everybody else does is one and the same name."""
    assert places.name(unicodedata.normalize("NFD", "blåbær é.csv").encode()) == "blåbær é.csv"
    assert places.parse("/outbox/bla\u030abær".encode()) == places.parse("/outbox/blåbær".encode())


def test_the_longest_name_fits_and_the_longest_path_is_bounded() -> None:
    assert places.name(b"x" * 255) == "x" * 255
    with pytest.raises(BadName, match="4096"):
        places.parse(b"/outbox/" + b"a/" * 3000)


@pytest.mark.parametrize(
    "path",
    [
        "SHIPMENT.txt",
        "Ref/shipment.TXT",
        "Ref/KEY.age",
        "KEY",
        "Ref/Key",
        "SHA256SUMS",
        "con",
        "Ref/NUL.txt",
        "Ref/com1/x",
        "aux/x.csv",
    ],
)
def test_reserved_names_can_not_be_put(path: str) -> None:
    with pytest.raises(BadName):
        places.may_be_written(path)


@pytest.mark.parametrize(
    "path",
    ["Ref/SHA256SUMS", "Ref/sub/KEY.age", "Ref/sub/SHIPMENT.txt", "console.txt", "Ref/null", "KEYS.age", "com10.txt"],
)
def test_names_like_reserved_ones_can(path: str) -> None:
    places.may_be_written(path)


def test_a_code_in_a_path_never_shows() -> None:
    place = places.parse(b"/inbox/7k3f-q2mp/abcd-efgh-jkmn-pqrs")
    assert "abcd" not in str(place)
    with pytest.raises(NoSuchPlace) as refusal:
        places.parse(b"/abcd-efgh-jkmn-pqrs")
    assert "abcd" not in str(refusal.value)
    with pytest.raises(BadName) as bad:
        places.name(b"abcd-efgh-jkmn-pqrs\\")
    assert "\\" in str(bad.value)


@pytest.mark.parametrize(
    ("subject", "slug"),
    [
        ("Ref 23-4567", "Ref-23-4567"),
        ("", ""),
        ("../../x", "x"),
        ("Blåbær & co.", "Blåbær-co"),
        ("a" * 80, "a" * 40),
        ("💥", ""),
    ],
)
def test_a_slug_has_letters_digits_and_dashes(subject: str, slug: str) -> None:
    assert places.slug(subject) == slug


@given(st.text())
def test_a_slug_is_always_a_name_that_could_be_sent_back(subject: str) -> None:
    slug = places.slug(subject)
    assert len(slug) <= 40
    assert "/" not in slug
    assert " " not in slug


def test_days_are_utc() -> None:
    assert places.day(0) == "1970-01-01"
    assert places.day(1_795_000_000) == "2026-11-18"
