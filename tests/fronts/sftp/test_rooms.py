"""The rooms as a client finds them: what there is, what may be done there, and what is said when it may not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import ANN, KARI, Door
from tests.fronts.sftp.raw import CREATE, TRUNCATE, Answer, R, Raw, W, attrs, string


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def extended(raw: Raw, name: str, *paths: str) -> Answer:
    return await raw.ask(sftp.EXTENDED, string(name), *map(string, paths))


def test_the_root_has_four_names(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(ANN) as raw:
            assert await raw.list("/") == ["README.txt", "inbox", "outbox", "sent"]
            modes = [(await raw.ask(sftp.STAT, string(name))).mode for name in ("/", "inbox", "outbox", "sent")]
            assert modes == [0o40555, 0o40555, 0o40755, 0o40555]
            assert (await raw.ask(sftp.STAT, string("README.txt"))).mode == 0o100444

    run(walk())


def test_readme_is_rendered_for_its_reader_and_as_long_as_it_says(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(ANN) as raw:
            text = await raw.get("/README.txt")
            assert ANN in text.decode()
            assert (await raw.ask(sftp.STAT, string("/README.txt"))).size == len(text)

    run(walk())


@pytest.mark.parametrize("path", ["/x", "x/y", "/readme.txt", "/inbox/x", "/inbox/7k3f-q2mp", "/sent/7k3f-q2mp.txt"])
def test_what_is_not_there_is_missing(door: Door, path: str) -> None:
    async def walk() -> None:
        async with door.raw(ANN) as raw:
            for kind in (sftp.STAT, sftp.LSTAT, sftp.OPENDIR):
                assert (await raw.ask(kind, string(path))).code == sftp.NO_SUCH_FILE
            assert (await raw.open(path, R)).code == sftp.NO_SUCH_FILE

    run(walk())


@pytest.mark.parametrize(
    "path", ["/x.csv", "/readme.txt", "/a/b.csv", "/inbox/x.csv", "/inbox/7k3f-q2mp/x", "/sent/7k3f-q2mp.txt"]
)
def test_writing_elsewhere_is_refused_and_says_where_to_write(door: Door, path: str) -> None:
    async def walk() -> None:
        async with door.raw(ANN) as raw:
            asked = (
                await raw.open(path, W | CREATE | TRUNCATE),
                await raw.ask(sftp.SETSTAT, string(path), attrs(mode=0o600)),
                await raw.ask(sftp.MKDIR, string(path), attrs()),
            )
            for refused in asked:
                assert (refused.code, "outbox/" in refused.text) == (sftp.DENIED, True), refused.text

    run(walk())


@pytest.mark.parametrize("room", ["/", "/inbox", "/outbox", "/sent"])
def test_a_room_is_there_already_and_stays(door: Door, room: str) -> None:
    """mkdir of what is there fails, and stat says that it is a folder: what clients rely on."""

    async def walk() -> None:
        async with door.raw(ANN) as raw:
            assert (await raw.ask(sftp.MKDIR, string(room), attrs())).code == sftp.FAILURE
            assert (await raw.ask(sftp.RMDIR, string(room))).code == sftp.DENIED
            assert (await raw.ask(sftp.STAT, string(room))).mode >> 12 == 0o4

    run(walk())


def test_a_recipient_need_not_be_listed_to_be_a_folder(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(ANN) as raw:
            assert (await raw.ask(sftp.STAT, string(f"/outbox/{KARI}"))).mode == 0o40755
            assert (await raw.ask(sftp.STAT, string(f"/outbox/{KARI.upper()}"))).mode == 0o40755
            assert (await raw.ask(sftp.STAT, string("/outbox/nobody@ssb.example"))).code == sftp.NO_SUCH_FILE
            refused = await raw.open("/outbox/nobody@ssb.example/x.csv", W | CREATE)
            assert (refused.code, "nobody@ssb.example" in refused.text) == (sftp.NO_SUCH_FILE, True)

    run(walk())


def test_a_member_reads_what_was_sent_and_nothing_else_can_be_done_to_it(door: Door) -> None:
    content = b"name;value\n" * 10_000
    shipment = door.deliver(ANN, KARI, content)

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            (folder,) = await raw.list("/inbox")
            assert await raw.list(f"/inbox/{folder}") == ["SHA256SUMS", "SHIPMENT.txt", "report.csv"]
            for name in (folder, shipment):
                assert await raw.get(f"/inbox/{name}/report.csv") == content
            letter = await raw.get(f"/inbox/{shipment}/SHIPMENT.txt")
            assert ANN in letter.decode()
            assert (await raw.ask(sftp.STAT, string(f"/inbox/{shipment}/SHIPMENT.txt"))).size == len(letter)
            sums = await raw.get(f"/inbox/{shipment}/SHA256SUMS")
            assert sums.decode() == f"{hashlib.sha256(content).hexdigest()}  report.csv\n"
            path = f"/inbox/{shipment}/report.csv"
            assert (await raw.open(path, W)).code == sftp.DENIED
            assert (await raw.ask(sftp.RENAME, string(path), string(f"/outbox/{ANN}/report.csv"))).code == sftp.DENIED
            handle = (await raw.open(path, R)).handle
            raw.send(sftp.write(9, handle, 0, b"x"))
            assert (await raw.answer()).code == sftp.DENIED
            assert (await raw.ask(sftp.FSETSTAT, string(handle), attrs(size=0))).code == sftp.DENIED

    run(walk())
    assert door.exchange.sent.find(door.users[ANN], shipment, door.house.clock()).state == "collected"


def test_what_is_taken_back_is_not_read_on_by_who_has_it_open(door: Door) -> None:
    shipment = door.deliver(ANN, KARI, b"x" * 500_000)

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            handle = (await raw.open(f"/inbox/{shipment}/report.csv", R)).handle
            piece = struct.pack(">QI", 0, 1000)
            assert (await raw.ask(sftp.READ, string(handle), piece)).kind == sftp.DATA
            door.exchange.sent.recall(door.users[ANN], shipment, door.house.clock())
            door.house.clock.turn(3)
            async with asyncio.timeout(20):
                while (again := await raw.ask(sftp.READ, string(handle), piece)).kind == sftp.DATA:
                    pass  # each asks the server, which looks meanwhile
            assert again.code == sftp.NO_SUCH_FILE

    run(walk())


def test_a_locked_shipment_opens_by_a_folder_named_after_its_code(door: Door) -> None:
    """The code's folder is there and empty until the session ends, and nowhere after."""
    content = b"secret;1\n"
    shipment = door.deliver(KARI, ANN, content)
    code = door.house.code(shipment, door.users[ANN])
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    inside = f"/inbox/{shipment}"

    async def walk() -> None:
        async with door.raw(ANN) as raw:
            assert "report.csv.age" in await raw.list(inside)
            locked = await raw.open(f"{inside}/report.csv", R)
            assert (locked.code, "locked" in locked.text) == (sftp.DENIED, True)
            refused = await raw.ask(sftp.MKDIR, string(f"{inside}/{wrong}"), attrs())
            assert (refused.code, wrong in refused.text) == (sftp.DENIED, False)
            assert (await raw.ask(sftp.STAT, string(f"{inside}/{wrong}"))).code == sftp.NO_SUCH_FILE

            assert (await raw.ask(sftp.MKDIR, string(f"{inside}/{code}"), attrs())).code == sftp.OK
            assert (await raw.ask(sftp.STAT, string(f"{inside}/{code}"))).mode >> 12 == 0o4
            assert await raw.list(f"{inside}/{code}") == []
            names = await raw.list(inside)
            assert "report.csv" in names
            assert code not in names
            assert await raw.get(f"{inside}/report.csv") == content
        async with door.raw(ANN) as raw:
            assert (await raw.ask(sftp.STAT, string(f"{inside}/{code}"))).code == sftp.NO_SUCH_FILE
            assert await raw.get(f"{inside}/report.csv") == content

    run(walk())


def test_no_code_is_logged_however_it_is_asked_for(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    shipment = door.deliver(KARI, ANN, b"secret")
    code = door.house.code(shipment, door.users[ANN])
    caplog.set_level("DEBUG", "fxsftp")

    async def walk() -> None:
        async with door.raw(ANN) as raw:
            path = string(f"/inbox/{shipment}/{code}")
            for kind in (sftp.STAT, sftp.OPENDIR, sftp.REMOVE, sftp.RMDIR, sftp.SETSTAT, sftp.MKDIR, sftp.MKDIR):
                answer = await raw.ask(kind, path, attrs())
                assert answer.kind != sftp.STATUS or code not in answer.text
            await raw.open(f"/inbox/{shipment}/{code}", R)
            await raw.ask(sftp.RENAME, path, string("/outbox/x"))

    run(walk())
    door.command(ANN, f"open {shipment} {code}")
    door.command(ANN, code)
    assert code not in caplog.text


def test_removing_from_the_inbox_lets_scripts_run(door: Door) -> None:
    """mget * ; rm * ; rmdir: the rendered files go too, and then the shipment is gone from view."""
    shipment = door.deliver(ANN, KARI, b"x")

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            for name in await raw.list(f"/inbox/{shipment}"):
                assert (await raw.ask(sftp.REMOVE, string(f"/inbox/{shipment}/{name}"))).code == sftp.OK
            assert (await raw.ask(sftp.RMDIR, string(f"/inbox/{shipment}"))).code == sftp.OK
            assert await raw.list("/inbox") == []

    run(walk())


def test_sent_shows_what_became_of_a_shipment(door: Door) -> None:
    shipment = door.deliver(KARI, ANN, b"x")

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            assert await raw.list("/sent") == [f"{shipment}.txt", f"{shipment}.json"]
            receipt = json.loads(await raw.get(f"/sent/{shipment}.json"))
            assert (receipt["shipment"], receipt["recipient"], receipt["subject"]) == (shipment, ANN, "Ref 1")
            text = await raw.get(f"/sent/{shipment}.txt")
            assert shipment in text.decode()
            assert (await raw.ask(sftp.STAT, string(f"/sent/{shipment}.txt"))).size == len(text)
            assert (await raw.ask(sftp.REMOVE, string(f"/sent/{shipment}.txt"))).code == sftp.DENIED
            assert (await raw.open(f"/sent/{shipment}.csv", R)).code == sftp.NO_SUCH_FILE
        async with door.raw(ANN) as raw:
            assert await raw.list("/sent") == []
            assert (await raw.open(f"/sent/{shipment}.json", R)).code == sftp.NO_SUCH_FILE

    run(walk())


def test_what_is_being_sent_is_not_read_back(door: Door) -> None:
    path = f"/outbox/{ANN}/Ref 1/a.csv"

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            assert (await raw.put(path, b"a;b\n")).code == sftp.OK
            refused = await raw.open(path, R)
            assert (refused.code, "sealed" in refused.text) == (sftp.DENIED, True)
            assert (await raw.open(f"/outbox/{ANN}/Ref 1", R)).code == sftp.FAILURE
            assert (await raw.open(f"/outbox/{ANN}/Ref 1/b.csv", R)).code == sftp.NO_SUCH_FILE

    run(walk())


def test_renaming_stays_within_the_outbox(door: Door) -> None:
    one, two = f"/outbox/{ANN}/a.csv.filepart", f"/outbox/{ANN}/a.csv"

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            await raw.put(one, b"new")
            assert (await raw.ask(sftp.RENAME, string(one), string("/inbox/a.csv"))).code == sftp.DENIED
            assert (await raw.ask(sftp.RENAME, string(one), string(two))).code == sftp.OK
            await raw.put(one, b"newer")
            assert (await raw.ask(sftp.RENAME, string(one), string(two))).code == sftp.FAILURE
            assert (await extended(raw, "posix-rename@openssh.com", one, two)).code == sftp.OK
            assert (await raw.ask(sftp.STAT, string(two))).size == 5
            assert (await raw.ask(sftp.STAT, string(one))).code == sftp.NO_SUCH_FILE

    run(walk())


def test_times_and_modes_are_kept_and_owners_passed_over(door: Door) -> None:
    path = f"/outbox/{ANN}/Ref 1/a.csv"
    owner = struct.pack(">III", 2, 1000, 1000)

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            handle = (await raw.open(path, W | CREATE | TRUNCATE)).handle
            assert (await raw.ask(sftp.FSETSTAT, string(handle), attrs(mode=0o4640, times=(5, 6)))).code == sftp.OK
            assert (await raw.ask(sftp.CLOSE, string(handle))).code == sftp.OK
            assert (await raw.ask(sftp.STAT, string(path))).mode == 0o100640
            assert (await raw.ask(sftp.SETSTAT, string(path), owner)).code == sftp.OK
            assert (await extended(raw, "lsetstat@openssh.com", path)).code == sftp.BAD_MESSAGE
            for folder in (f"/outbox/{ANN}/Ref 1", f"/outbox/{ANN}", "/outbox"):
                assert (await raw.ask(sftp.SETSTAT, string(folder), attrs(mode=0o700))).code == sftp.OK

    run(walk())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"a\0b", "control"),
        (b"a\nb", "control"),
        (b"a\\b", "backslash"),
        (b"\xe6\xf8", "UTF-8"),
        (b"x" * 256, "255"),
        ("\u202egnp.exe".encode(), "control"),
        (b"nul", "Windows"),
    ],
)
def test_a_name_nobody_could_store_is_refused_with_the_reason(door: Door, name: bytes, said: str) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            path = f"/outbox/{ANN}/Ref 1/".encode() + name
            refused = await raw.open(path, W | CREATE)
            assert (refused.code, said in refused.text) == (sftp.FAILURE, True), refused.text

    run(walk())


def test_a_decomposed_name_is_kept_composed(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            await raw.put(f"/outbox/{ANN}/Ref 1/a\u030a.csv", b"x")
            assert await raw.list(f"/outbox/{ANN}/Ref 1") == ["\u00e5.csv"]

    run(walk())


def test_a_file_may_be_resumed_by_another_session(door: Door) -> None:
    """Without TRUNC on a lost draft: stat tells where to go on, and CLOSE makes it whole."""
    path, content = f"/outbox/{ANN}/Ref 1/big.csv", bytes(300_000)

    async def first() -> None:
        async with door.raw(KARI) as raw:
            handle = (await raw.open(path, W | CREATE | TRUNCATE)).handle
            raw.send(*(sftp.write(n, handle, n * 32768, content[n * 32768 : (n + 1) * 32768]) for n in range(5)))
            await raw.answers(5)

    async def second() -> None:
        async with door.raw(KARI) as raw:
            at = (await raw.ask(sftp.STAT, string(path))).size
            assert 0 < at <= 5 * 32768
            handle = (await raw.open(path, W | CREATE)).handle
            raw.send(sftp.write(1, handle, at, content[at:]))
            assert (await raw.answer()).code == sftp.OK
            assert (await raw.ask(sftp.CLOSE, string(handle))).code == sftp.OK
            assert (await raw.ask(sftp.STAT, string(path))).size == len(content)

    run(first())
    door.until(lambda: not door.listener.guests)
    run(second())
