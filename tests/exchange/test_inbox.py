"""The inbox: what a recipient sees, opens, reads and removes, and what the sender hears of it."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from fxsftp import seal
from fxsftp.domain import ids
from fxsftp.domain.lifecycle import DeliveryState
from fxsftp.domain.policy import DAY
from fxsftp.errors import (
    Forged,
    IsAFolder,
    NoSuchPlace,
    NotAFolder,
    NotEmpty,
    NotOpen,
    OpeningClosed,
    WrongCode,
)
from fxsftp.exchange import inbox, sums
from tests.exchange.hands import Hand, another_process, dispatched, files_of, notices
from tests.house import ANN, BOB, KARI, House, at

PLAIN = b"id;value\n" + b"7;3\n" * 50_000
PATH = f"/outbox/{ANN}/Ref 1/a.csv"
D = DeliveryState


@pytest.fixture
def shipment(house: House, ann: Hand, kari: Hand) -> str:
    """From kari to ann, with a code: a.csv and sub/b.csv."""
    kari.put(PATH, PLAIN)
    kari.put(f"/outbox/{ANN}/Ref 1/sub/b.csv", b"b")
    return dispatched(house)


@pytest.fixture
def code(house: House, ann: Hand, shipment: str) -> str:
    """What the SMS says."""
    return house.code(shipment, ann.user)


def wrong(code: str) -> str:
    """Another code, which is none mistyped."""
    while True:
        other = ids.new_code()
        if other != code:
            return other


# ---- two forms


def test_a_locked_shipment_offers_age_files_and_the_open_one_plain_ones(
    house: House, ann: Hand, shipment: str, code: str
) -> None:
    base = f"/inbox/{shipment}"
    assert ann.ls(base).keys() == {"SHIPMENT.txt", "SHA256SUMS", "a.csv.age", "sub"}
    assert ann.ls(f"{base}/sub").keys() == {"b.csv.age"}
    with pytest.raises(NotOpen, match=r"'a.csv' is locked"):
        ann.read(f"{base}/a.csv")

    ann.type_code(shipment, code)

    assert ann.ls(base).keys() == {"SHIPMENT.txt", "SHA256SUMS", "a.csv", "sub"}
    assert ann.get(f"{base}/a.csv") == PLAIN
    assert seal.open_small(ann.get(f"{base}/a.csv.age"), seal.CodeKey(code)) == PLAIN


def test_sizes_are_those_that_will_be_read(house: House, ann: Hand, shipment: str, code: str) -> None:
    base = f"/inbox/{shipment}"
    for _ in range(2):
        for name, size in ann.ls(base).items():
            if name not in ("SHIPMENT.txt", "sub"):
                assert len(ann.get(f"{base}/{name}")) == size == ann.stat(f"{base}/{name}").size
        ann.type_code(shipment, code)


def test_sums_are_of_the_files_as_they_are_offered(house: House, ann: Hand, shipment: str, code: str) -> None:
    base = f"/inbox/{shipment}"
    for names in (("a.csv.age", "sub/b.csv.age"), ("a.csv", "sub/b.csv")):
        lines = [f"{sha256(ann.get(f'{base}/{name}')).hexdigest()}  {name}" for name in names]
        assert ann.get(f"{base}/SHA256SUMS").decode().splitlines() == lines
        assert house.exchange.sums.hash_of(ann.user, at(f"{base}/{names[0]}"), ann.now) == lines[0][:64]
        ann.type_code(shipment, code)


def test_names_that_end_in_age_already_are_told_apart(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"/outbox/{ANN}/Ref/a", b"plain")
    kari.put(f"/outbox/{ANN}/Ref/a.age", b"was sealed by its sender")
    shipment = dispatched(house)
    code = house.code(shipment, ann.user)
    base = f"/inbox/{shipment}"
    assert ann.ls(base).keys() == {"SHIPMENT.txt", "SHA256SUMS", "a.age", "a.age.age"}
    assert seal.open_small(ann.get(f"{base}/a.age"), seal.CodeKey(code)) == b"plain"
    ann.type_code(shipment, code)
    assert ann.get(f"{base}/a.age") == b"was sealed by its sender"
    assert ann.get(f"{base}/a") == b"plain"


def test_the_letter_says_what_is_needed_and_no_more(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    letter = house.exchange.inbox.letter(ann.user, at(f"/inbox/{shipment}"), ann.now)
    assert (letter.sender, letter.sender_name, letter.shipment.subject) == (KARI, "Kari Nordmann", "Ref 1")
    assert letter.files == [("a.csv.age", len(PLAIN)), ("sub/b.csv.age", 1)]
    assert (letter.is_open, letter.direct, letter.phone_hint) == (False, True, "…00")


# ---- opening


def test_an_opening_holds_for_15_minutes_in_all_of_the_users_sessions(
    house: House, ann: Hand, shipment: str, code: str
) -> None:
    ann.type_code(shipment, code.upper().replace("-", " "))
    other = Hand(house, ann.user, exchange=another_process(house))
    assert other.get(f"/inbox/{shipment}/sub/b.csv") == b"b"
    house.clock.turn(15 * 60 - 1)
    assert ann.get(f"/inbox/{shipment}/sub/b.csv") == b"b"
    house.clock.turn(1)
    for hand in (ann, other):
        with pytest.raises(NotOpen):
            hand.read(f"/inbox/{shipment}/a.csv")
    other.exchange.close()


def test_an_opening_is_worthless_to_a_process_of_another_run(house: House, ann: Hand, shipment: str, code: str) -> None:
    from fxsftp import app

    ann.type_code(shipment, code)
    later = app.open_exchange(house.settings, role="sftp")
    with pytest.raises(Forged):
        Hand(house, ann.user, exchange=later).read(f"/inbox/{shipment}/a.csv")
    later.close()


def test_a_code_opens_its_one_shipment(house: House, ann: Hand, kari: Hand, shipment: str, code: str) -> None:
    kari.put(f"/outbox/{ANN}/Ref 2/c.csv", b"c")
    other = dispatched(house)
    with pytest.raises(WrongCode):
        ann.type_code(other, code)
    ann.type_code(shipment, code)


def test_a_wrong_code_and_no_such_shipment_are_answered_alike(
    house: House, ann: Hand, kari: Hand, shipment: str, code: str
) -> None:
    answers = []
    for user, number, typed in (
        (ann, shipment, wrong(code)),  # a wrong code
        (ann, shipment, "nonsense"),
        (ann, "0000-0000", code),  # no such shipment
        (kari, shipment, code),  # the sender's own, but not for her
        (kari, "0000-0000", "nonsense"),
    ):
        with pytest.raises(WrongCode) as refusal:
            user.type_code(number, typed)
        answers.append(str(refusal.value).replace(number, "…"))
    assert len(set(answers)) == 1


def test_five_wrong_codes_in_a_row_close_opening_for_15_minutes_and_tell_the_owner(
    house: House, ann: Hand, shipment: str, code: str
) -> None:
    for _ in range(5):
        with pytest.raises(WrongCode):
            ann.type_code(shipment, wrong(code))
    with pytest.raises(OpeningClosed, match="closed for 15 minutes"):
        ann.type_code(shipment, code)
    assert [mail["address"] for mail in notices(house, "wrong_codes")] == [ANN]

    house.clock.turn(15 * 60)
    ann.type_code(shipment, code)
    assert ann.get(f"/inbox/{shipment}/a.csv") == PLAIN


def test_a_right_code_begins_the_count_anew(house: House, ann: Hand, shipment: str, code: str) -> None:
    for _ in range(2):
        for _ in range(4):
            with pytest.raises(WrongCode):
                ann.type_code(shipment, wrong(code))
        ann.type_code(shipment, code)
    assert notices(house, "wrong_codes") == []


# ---- reading, until it is collected


def collected(house: House) -> list[object]:
    return [mail["recipient"] for mail in notices(house, "collected")]


def test_the_first_byte_opens_and_the_last_one_collects(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    assert ann.delivery(shipment).state is D.WAITING
    reading = ann.read(f"/inbox/{shipment}/a.csv.age")
    reading.read(0, 1)
    house.exchange._holdings.later(lambda: None).result()
    assert ann.delivery(shipment).state is D.OPENED
    ann.done(reading)
    ann.get(f"/inbox/{shipment}/sub/b.csv.age")
    assert kari.state(shipment) == "opened"
    ann.get(f"/inbox/{shipment}/a.csv.age")
    assert kari.state(shipment) == "collected"
    assert collected(house) == [ANN]
    ann.get(f"/inbox/{shipment}/a.csv.age")
    assert collected(house) == [ANN]


def test_parts_count_across_sessions_in_any_order(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    """Parallel reads, reget, and a client that asks beyond the end."""
    ann.get(f"/inbox/{shipment}/sub/b.csv.age")
    path = f"/inbox/{shipment}/a.csv.age"
    size = ann.stat(path).size
    parts = [(start, min(30_000, size - start)) for start in range(0, size, 30_000)]
    random.Random(1).shuffle(parts)
    readings = [ann.read(path) for _ in range(3)]
    for number, (start, count) in enumerate(parts[:-1]):
        readings[number % 3].read(start, count + 5)
    readings[0].read(size + 100, 100)
    for reading in readings:
        ann.done(reading)
    assert kari.state(shipment) == "opened"

    house.clock.turn(DAY)
    last = Hand(house, ann.user, "another").read(path)
    last.read(*parts[-1])
    ann.done(last)
    assert kari.state(shipment) == "collected"


def test_a_half_in_one_form_and_a_half_in_the_other_is_not_the_whole(
    house: House, ann: Hand, kari: Hand, shipment: str, code: str
) -> None:
    ann.type_code(shipment, code)
    ann.get(f"/inbox/{shipment}/sub/b.csv")
    size = len(PLAIN)
    for name, start, count in (("a.csv", 0, size // 2), ("a.csv.age", size // 2, size)):
        reading = ann.read(f"/inbox/{shipment}/{name}")
        reading.read(start, count)
        ann.done(reading)
    assert kari.state(shipment) == "opened"


def test_hashing_does_not_count_as_reading(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    for name in ("a.csv.age", "sub/b.csv.age"):
        house.exchange.sums.hash_of(ann.user, at(f"/inbox/{shipment}/{name}"), ann.now)
    ann.get(f"/inbox/{shipment}/SHA256SUMS")
    assert kari.state(shipment) == "waiting"


def test_an_empty_file_is_collected_by_opening_it(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"/outbox/{KARI}/Ref/empty", b"")
    shipment = dispatched(house)
    kari.done(kari.read(f"/inbox/{shipment}/empty"))
    assert ann.state(shipment) == "collected"


def test_a_body_changed_on_the_disk_is_not_handed_out_in_plain(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"/outbox/{KARI}/Ref/a.csv", PLAIN)
    shipment = dispatched(house)
    path = next(house.settings.vault.rglob(files_of(house, shipment)[0].blob or "?"))
    content = bytearray(path.read_bytes())
    content[100_000] ^= 1
    path.write_bytes(content)
    reading = kari.read(f"/inbox/{shipment}/a.csv")
    assert reading.read(0, 1000) == PLAIN[:1000]
    with pytest.raises(Forged):
        reading.read(90_000, 1000)


# ---- removing


def test_removing_hides_for_that_recipient_and_the_sender_hears_of_what_was_unread(
    house: House, ann: Hand, kari: Hand, shipment: str
) -> None:
    base = f"/inbox/{shipment}"
    ann.rm(f"{base}/a.csv.age")
    assert ann.delivery(shipment).state is D.WAITING
    assert "a.csv.age" not in ann.ls(base)
    with pytest.raises(NoSuchPlace):
        ann.read(f"{base}/a.csv.age")
    ann.rm(f"{base}/sub/b.csv.age")
    assert ann.delivery(shipment).state is D.REMOVED
    assert [mail["recipient"] for mail in notices(house, "removed_unread")] == [ANN]


def test_mget_rm_rmdir_scripts_run(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(PATH, PLAIN)
    shipment = dispatched(house)
    base = f"/inbox/{shipment}"
    with pytest.raises(NotEmpty):
        ann.rmdir(base)
    names = [name for name in ann.ls(base) if name != "SHIPMENT.txt"]
    for name in names:
        ann.get(f"{base}/{name}")
    for name in [*names, "SHIPMENT.txt"]:
        ann.rm(f"{base}/{name}")
    assert ann.ls(base) == {}
    ann.rmdir(base)
    assert ann.ls("/inbox") == {}
    with pytest.raises(NoSuchPlace):
        ann.stat(base)
    assert notices(house, "removed_unread") == []


def test_a_folder_below_goes_with_its_last_file(house: House, ann: Hand, shipment: str) -> None:
    base = f"/inbox/{shipment}"
    with pytest.raises(NotEmpty):
        ann.rmdir(f"{base}/sub")
    ann.rm(f"{base}/sub/b.csv.age")
    ann.rmdir(f"{base}/sub")
    assert "sub" not in ann.ls(base)


def test_what_one_recipient_removes_another_still_has(house: House, ann: Hand, kari: Hand) -> None:
    from fxsftp.domain.model import Kind

    bob = Hand(house, house.add(BOB, Kind.PARTNER))
    house.exchange.people.add_group("g@ssb.example", house.clock())
    for email in (ANN, BOB):
        house.exchange.people.add_to_group("g@ssb.example", email, house.clock())
    kari.put("/outbox/g@ssb.example/Ref/a.csv", PLAIN)
    shipment = dispatched(house)
    ann.rm(f"/inbox/{shipment}/a.csv.age")
    house.clock.turn(2 * DAY)
    house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")
    assert len(bob.get(f"/inbox/{shipment}/a.csv.age")) > len(PLAIN)


# ---- refusals


def test_files_and_folders_are_not_taken_for_each_other(house: House, ann: Hand, shipment: str) -> None:
    base = f"/inbox/{shipment}"
    for path in (base, f"{base}/sub"):
        with pytest.raises(IsAFolder):
            ann.read(path)
    with pytest.raises(IsAFolder):
        ann.rm(f"{base}/sub")
    with pytest.raises(NotAFolder):
        ann.ls(f"{base}/a.csv.age")
    for path in (f"{base}/nothing", f"{base}/sub/nothing", f"{base}/su", "/inbox/0000-0000/a"):
        with pytest.raises(NoSuchPlace):
            ann.read(path)
        with pytest.raises(NoSuchPlace):
            ann.stat(path)


def test_another_users_shipment_is_not_there(house: House, ann: Hand, kari: Hand, shipment: str) -> None:
    assert kari.ls("/inbox") == {}
    with pytest.raises(NoSuchPlace) as theirs:
        kari.ls(f"/inbox/{shipment}")
    with pytest.raises(NoSuchPlace) as nobodys:
        kari.ls("/inbox/0000-0000")
    assert str(theirs.value).replace(shipment, "…") == str(nobodys.value).replace("0000-0000", "…")


def test_who_is_disabled_has_nothing_and_finds_it_again_when_enabled(
    house: House, ann: Hand, kari: Hand, shipment: str
) -> None:
    reading = ann.read(f"/inbox/{shipment}/a.csv.age")
    reading.read(0, 100)
    ann.done(reading)
    user = ann.user
    house.exchange.people.disable(ANN, house.clock())
    assert kari.state(shipment) == "suspended"
    assert house.exchange.inbox.list(user, house.clock()) == []
    with pytest.raises(NoSuchPlace):
        ann.read(f"/inbox/{shipment}/a.csv.age")
    house.exchange.people.enable(ANN, house.clock())
    assert ann.delivery(shipment).state is D.OPENED
    assert ann.get(f"/inbox/{shipment}/a.csv.age")


# ---- page by page


def pages(ann: Hand, path: str, most: int) -> list[list[str]]:
    found: list[list[str]] = []
    mark: inbox.Bookmark | None = inbox.BEGIN
    while mark:
        page, mark = ann.exchange.inbox.list_some(ann.user, at(path), ann.now, mark, most)
        found.append([entry.name for entry in page])
    return found


def test_a_folder_is_listed_page_by_page_each_name_once(house: House, ann: Hand, kari: Hand) -> None:
    names = [f"{number}.csv" for number in range(7)]
    names += [f"{folder}/{number}.csv" for folder in ("a", "a-b", "a.b", "ab", "b") for number in range(3)]
    for name in names:
        kari.put(f"/outbox/{ANN}/Ref/{name}", b"x")
    shipment = dispatched(house)
    rendered = {"KEY.age", "SHA256SUMS", "SHIPMENT.txt"}
    top = rendered | {f"{number}.csv.age" for number in range(7)} | {"a", "a-b", "a.b", "ab", "b"}
    for most in (1, 2, 3, 5, 100):
        found = pages(ann, f"/inbox/{shipment}", most)
        listed = [name for page in found for name in page]
        assert (set(listed), len(listed)) == (top, len(top)), most
        assert all(len(page) <= max(most, len(rendered)) for page in found)
        assert [name for page in pages(ann, f"/inbox/{shipment}/a", most) for name in page] == [
            "0.csv.age", "1.csv.age", "2.csv.age",
        ]  # fmt: skip
    for number in range(3):
        ann.rm(f"/inbox/{shipment}/a/{number}.csv.age")
    ann.rm(f"/inbox/{shipment}/2.csv.age")
    ann.rm(f"/inbox/{shipment}/KEY.age")
    for most in (1, 100):
        listed = [name for page in pages(ann, f"/inbox/{shipment}", most) for name in page]
        assert sorted(listed) == sorted(top - {"a", "2.csv.age", "KEY.age"})


def test_of_two_things_with_one_name_one_is_listed(house: House, ann: Hand, kari: Hand) -> None:
    """A file that is locked has the name that a folder, or a page of ours, may have already."""
    for name in ("x", "x.age/below", "SHA256SUMS/below", *(f"{number}" for number in range(8))):
        kari.put(f"/outbox/{ANN}/Ref/{name}", b"x")
    shipment = dispatched(house)
    for most in (1, 100):
        listed = [name for page in pages(ann, f"/inbox/{shipment}", most) for name in page]
        assert len(listed) == len(set(listed))
        assert {"x.age", "SHA256SUMS", "SHIPMENT.txt", "KEY.age"} <= set(listed)


def test_what_is_to_be_hashed_is_hashed_in_pieces_beforehand(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a shipment of many gigabytes keeps nobody waiting; each body once."""
    kari.put(f"/outbox/{ANN}/Ref/a.bin", b"x" * (9 << 20))
    kari.put(f"/outbox/{ANN}/Ref/b.bin", b"y")
    shipment = dispatched(house)
    path = f"/inbox/{shipment}/SHA256SUMS"
    place = at(path)
    assert sum(1 for _ in ann.exchange.sums.hashing(ann.user, place, ann.now)) == 2  # and the rest
    with monkeypatch.context() as patched:
        patched.setattr(sums, "hashlib", None)
        listed = ann.get(path).decode()
    assert listed == "".join(
        f"{sha256(ann.get(f'/inbox/{shipment}/{name}.age')).hexdigest()}  {name}.age\n" for name in ("a.bin", "b.bin")
    )
