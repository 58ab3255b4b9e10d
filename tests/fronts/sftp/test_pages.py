"""Folders of any size: listed page by page, whole, and with no more of them in memory than a page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fxsftp import app
from fxsftp.domain.model import Entry
from fxsftp.errors import Unavailable
from fxsftp.fronts.sftp import receipts, rooms, verbs
from fxsftp.fronts.sftp.handles import FolderHandle, Page
from fxsftp.fronts.sftp.receipts import Receipts
from fxsftp.templates import Templates
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import ANN, KARI, Door
from tests.fronts.sftp.crowds import fill_outbox, fill_rooms
from tests.fronts.sftp.raw import string
from tests.house import at

PAGE = 20
OUTBOX = f"/outbox/{ANN}"
MANY = "That can't be done now: too many folders and pages are open in this session. Close one first"


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Pages of twenty; and how many names any listing held at a time, with those of the page that was sent for."""
    seen: list[int] = []
    more = FolderHandle.more

    def hold(handle: FolderHandle) -> None:
        coming = handle._coming
        is_here = coming and coming.done() and not coming.exception()
        seen.append(count(handle._page) + (count(coming.result()) if coming and is_here else 0))

    def names(handle: FolderHandle) -> bytes:
        hold(handle)
        told = more(handle)
        hold(handle)
        return told

    monkeypatch.setattr(rooms, "PAGE", PAGE)
    monkeypatch.setattr(FolderHandle, "more", names)
    yield seen
    assert max(seen, default=0) <= 2 * rooms.PAGE


def count(page: Page) -> int:
    """Of its names."""
    return sum(int.from_bytes(answer[:4], "big") for answer in page.answers)


def listed(door: Door, email: str, path: str) -> list[str]:
    async def walk() -> list[str]:
        async with door.raw(email) as raw:
            return list(await raw.list(path))

    return asyncio.run(walk())


def test_an_outbox_of_many_pages_is_listed_whole(door: Door, held: list[int]) -> None:
    """Files and folders in one order, each name once, whatever lies deeper."""
    kari, now = door.users[KARI], door.house.clock()
    names = [f"file {number:04}.csv" for number in range(3 * PAGE)]
    fill_outbox(door.exchange, kari.id, ANN, names, now)
    fill_outbox(door.exchange, kari.id, ANN, names[:5], now)  # put again: the newer row stands for both
    fill_outbox(door.exchange, kari.id, ANN, [f"file 0010/deep/{number}" for number in range(5 * PAGE)], now)
    for number in range(2 * PAGE):
        door.house.put(kari, f"{OUTBOX}/file {number:04} too/a.csv", b"x")
    found = listed(door, KARI, OUTBOX)
    assert found == sorted([*names, *(f"file {number:04} too" for number in range(2 * PAGE))])
    assert len(held) >= 2 * 5  # pages
    assert listed(door, KARI, f"{OUTBOX}/file 0003 too") == ["a.csv"]
    assert ANN in listed(door, KARI, "/outbox")


def test_names_that_stay_come_once_while_others_come_and_go(door: Door) -> None:
    kari, now = door.users[KARI], door.house.clock()
    fill_outbox(door.exchange, kari.id, ANN, [f"{number:04}" for number in range(5 * PAGE)], now)

    async def walk() -> list[str]:
        async with door.raw(KARI) as raw, door.raw(KARI) as other:
            handle = (await raw.ask(sftp.OPENDIR, string(OUTBOX))).handle
            found = (await raw.ask(sftp.READDIR, string(handle))).names
            for number in (0, PAGE - 1, 2 * PAGE, 3 * PAGE):  # some listed already, some not even fetched
                assert (await other.ask(sftp.REMOVE, string(f"{OUTBOX}/{number:04}"))).code == sftp.OK
            fill_outbox(door.exchange, kari.id, ANN, ["0000 new", "0099 new"], now)
            while (answer := await raw.ask(sftp.READDIR, string(handle))).kind == sftp.NAME:
                found += answer.names
            return found

    found = asyncio.run(walk())
    assert len(found) == len(set(found))
    gone = {f"{number:04}" for number in (2 * PAGE, 3 * PAGE)}
    assert {f"{number:04}" for number in range(5 * PAGE)} - gone <= set(found)
    assert not gone & set(found)
    assert "0099 new" in found


def test_inbox_and_sent_of_many_pages_are_listed_whole(door: Door) -> None:
    """Each shipment once; and each page of sent has the size that its listing says."""
    kari, ann = door.users[KARI], door.users[ANN]
    fill_rooms(door.exchange, ann.id, kari.id, KARI, 5 * PAGE, door.house.clock())
    shipments = {shipment.id for shipment in door.exchange.sent.list(ann, door.house.clock())}
    assert len(shipments) == 5 * PAGE
    inbox = listed(door, KARI, "/inbox")
    assert len(inbox) == 5 * PAGE
    assert {name.split("_")[1] for name in inbox} == shipments
    sent = listed(door, ANN, "/sent")
    assert sorted(sent) == sorted(shipment + end for shipment in shipments for end in (".txt", ".json"))


def test_a_receipt_is_made_again_for_a_listing_only_when_it_has_changed(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    kari, ann = door.users[KARI], door.users[ANN]
    for number in range(3):
        door.house.put(ann, f"/outbox/{KARI}/Ref {number}/a.csv", b"x" * number)
    door.house.settle()
    made: list[str] = []
    make = receipts.receipt_json
    monkeypatch.setattr(receipts, "receipt_json", lambda sent: made.append(sent.shipment.id) or make(sent))
    assert len(listed(door, ANN, "/sent")) == 6
    assert len(made) == 3
    listed(door, ANN, "/sent")
    assert len(made) == 3

    async def walk() -> str:
        async with door.raw(KARI) as raw:
            (_, folder, _) = await raw.list("/inbox")
            await raw.get(f"/inbox/{folder}/a.csv")
            return folder.split("_")[1]

    opened = asyncio.run(walk())
    door.until(lambda: door.exchange.sent.find(ann, opened, door.house.clock()).state == "collected")

    async def sizes() -> None:
        async with door.raw(ANN) as raw:
            assert len(await raw.list("/sent")) == 6
            told = made[3:]
            for name in await raw.list("/sent"):
                assert (await raw.ask(sftp.STAT, string(f"/sent/{name}"))).size == len(await raw.get(f"/sent/{name}"))
            assert told == [opened]

    asyncio.run(sizes())
    assert kari.id != ann.id


def test_the_sizes_of_receipts_are_found_while_nobody_asks(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """And forgotten with whatever changes a page: an event, or other words."""
    ann = door.users[ANN]
    fill_rooms(door.exchange, ann.id, door.users[KARI].id, KARI, 2 * PAGE, door.house.clock())
    assert door.house.desk
    found = Receipts(door.house.desk, app.templates_of(door.house.settings))
    while found.find_some():
        pass
    made: list[str] = []
    make = receipts.receipt_json
    monkeypatch.setattr(receipts, "receipt_json", lambda sent: made.append(sent.shipment.id) or make(sent))

    def sizes() -> list[tuple[str, int]]:
        user = door.exchange.people.by_id(ann.id)
        entries = found.entries(user, after="", most=10)
        pages = [found.page(user, at(f"/sent/{entry.name}")) for entry in entries]
        assert entries == [entry for entry, _ in pages]
        assert [entry.size for entry in entries] == [len(text) for _, text in pages]
        return [(entry.name, entry.size) for entry in entries]

    before = sizes()
    made.clear()
    sizes()
    assert len(made) == 5  # the pages themselves
    shipment = before[0][0].partition(".")[0]
    with door.exchange._holdings.registry.atomic():
        door.exchange._holdings.registry.record.tell(0, "exchange", "extended", "æ" * 99, shipment)
    after = sizes()
    assert [size - other for (_, size), (_, other) in zip(after, before, strict=True)][:2] > [99, 99]
    assert after[2:] == before[2:]
    with door.exchange._holdings.registry.atomic():
        door.exchange._holdings.registry.record.tell(0, "exchange", "extended", "again", shipment)
    assert found.find_some(receipts.QUIET) == 0  # more may happen to it
    door.house.clock.turn(receipts.QUIET)
    assert found.find_some(receipts.QUIET) == 1
    monkeypatch.setattr(Templates, "edition", "other words")
    assert found.find_some() == receipts.MADE


def test_the_next_page_is_fetched_while_one_is_read(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only then: who opens a folder and reads nothing has one page fetched."""
    fill_outbox(door.exchange, door.users[KARI].id, ANN, [f"{number:04}" for number in range(5 * PAGE)], 0)
    asked: list[str] = []
    outbox = door.exchange.outbox
    ask = outbox.list

    def listing(*words: Any, after: str, most: int) -> Sequence[Entry]:
        asked.append(after)
        return ask(*words, after=after, most=most)

    monkeypatch.setattr(outbox, "list", listing)

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            handle = (await raw.ask(sftp.OPENDIR, string(OUTBOX))).handle
            await raw.ask(sftp.STAT, string("/outbox"))
            assert asked == [""]
            assert len((await raw.ask(sftp.READDIR, string(handle))).names) == PAGE
            door.until(lambda: len(asked) == 2)
            assert asked == ["", f"{PAGE - 1:04}"]
            assert (await raw.ask(sftp.CLOSE, string(handle))).code == sftp.OK

    asyncio.run(walk())
    assert len(asked) == 2


def test_a_page_that_can_not_be_fetched_is_told_of_and_asked_for_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:04}" for number in range(2 * PAGE)]
    fill_outbox(door.exchange, door.users[KARI].id, ANN, names, 0)
    outbox, fails = door.exchange.outbox, [Unavailable("the registry is busy")]
    ask = outbox.list

    def listing(*words: Any, after: str, most: int) -> Sequence[Entry]:
        if after and fails:
            raise fails.pop()
        return ask(*words, after=after, most=most)

    monkeypatch.setattr(outbox, "list", listing)

    async def walk() -> list[str]:
        async with door.raw(KARI) as raw:
            handle = (await raw.ask(sftp.OPENDIR, string(OUTBOX))).handle
            found = (await raw.ask(sftp.READDIR, string(handle))).names
            refused = await raw.ask(sftp.READDIR, string(handle))
            assert (refused.code, "busy" in refused.text) == (sftp.FAILURE, True)
            while (answer := await raw.ask(sftp.READDIR, string(handle))).kind == sftp.NAME:
                found += answer.names
            return found

    assert asyncio.run(walk()) == names


def test_answers_fit_into_what_any_client_takes(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSch and Ganymed take no packet over 34,000 bytes, and names may be long."""
    monkeypatch.setattr(rooms, "PAGE", 400)
    names = [f"{number:04} " + "æ" * 120 for number in range(400)]
    fill_outbox(door.exchange, door.users[KARI].id, ANN, names, 0)

    async def walk() -> list[str]:
        async with door.raw(KARI) as raw:
            handle = (await raw.ask(sftp.OPENDIR, string(OUTBOX))).handle
            found: list[str] = []
            while (answer := await raw.ask(sftp.READDIR, string(handle))).kind == sftp.NAME:
                assert 20_000 < len(answer.body) + 9 < 34_000 or len(found) + len(answer.names) == len(names)
                found += answer.names
            return found

    assert asyncio.run(walk()) == names


def test_who_asks_for_limits_gets_a_page_in_one_answer(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to what it may read at once; OpenSSH's client takes no packet over 256 KiB."""
    monkeypatch.setattr(rooms, "PAGE", 800)
    names = [f"{number:04} " + "æ" * 120 for number in range(1000)]
    fill_outbox(door.exchange, door.users[KARI].id, ANN, names, 0)

    async def walk() -> list[list[str]]:
        async with door.raw(KARI) as raw:
            await raw.ask(sftp.EXTENDED, string("limits@openssh.com"))
            handle = (await raw.ask(sftp.OPENDIR, string(OUTBOX))).handle
            found: list[list[str]] = []
            while (answer := await raw.ask(sftp.READDIR, string(handle))).kind == sftp.NAME:
                assert len(answer.body) + 5 <= 256 << 10
                found.append(answer.names)
            return found

    found = asyncio.run(walk())
    assert [name for answer in found for name in answer] == names
    assert len(found) == 3  # the first page is longer than that


def test_a_listing_given_up_half_way_holds_up_nobody(door: Door) -> None:
    fill_outbox(door.exchange, door.users[KARI].id, ANN, [f"{number:04}" for number in range(5 * PAGE)], 0)

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            handle = (await raw.ask(sftp.OPENDIR, string(OUTBOX))).handle
            assert (await raw.ask(sftp.READDIR, string(handle))).kind == sftp.NAME
            assert (await raw.ask(sftp.CLOSE, string(handle))).code == sftp.OK
            assert (await raw.ask(sftp.READDIR, string(handle))).code == sftp.FAILURE

    asyncio.run(walk())


def test_a_session_keeps_sixteen_folders_open_and_no_more(door: Door) -> None:
    """What was read to its end counts no more, what was closed neither; and files are opened all the same."""
    fill_outbox(door.exchange, door.users[KARI].id, ANN, [f"{number:04}" for number in range(5 * PAGE)], 0)

    async def walk() -> None:
        async with door.raw(KARI) as raw, door.raw(KARI) as other:
            handles = [(await raw.ask(sftp.OPENDIR, string(OUTBOX))).handle for _ in range(16)]
            for number in range(2):
                refused = await raw.ask(sftp.OPENDIR, string(OUTBOX))
                assert (refused.code, refused.text) == (sftp.FAILURE, MANY)
                assert (await raw.open("/README.txt", sftp.R)).text == MANY
                assert (await raw.put(f"{OUTBOX}/a.csv", b"x")).code == sftp.OK
                assert len(await other.list(OUTBOX)) == 5 * PAGE + 1
                while (await raw.ask(sftp.READDIR, string(handles[number]))).kind == sftp.NAME:
                    pass
                handles.append((await raw.ask(sftp.OPENDIR, string(OUTBOX))).handle)
                assert (await raw.ask(sftp.CLOSE, string(handles.pop()))).code == sftp.OK
                handles.append((await raw.ask(sftp.OPENDIR, string(OUTBOX))).handle)

    asyncio.run(walk())


def test_rendered_pages_are_open_up_to_so_many_bytes_and_a_long_one_alone(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            size = (await raw.ask(sftp.STAT, string("/README.txt"))).size
            monkeypatch.setattr(verbs, "HELD_MOST", 3 * size)
            handles = [(await raw.open("/README.txt", sftp.R)).handle for _ in range(3)]
            assert (await raw.open("/README.txt", sftp.R)).text == MANY
            monkeypatch.setattr(verbs, "HELD_MOST", size - 1)
            for handle in handles:
                assert (await raw.open("/README.txt", sftp.R)).text == MANY
                assert (await raw.ask(sftp.CLOSE, string(handle))).code == sftp.OK
            assert (await raw.open("/README.txt", sftp.R)).handle

    asyncio.run(walk())
