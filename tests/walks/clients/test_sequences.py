"""Programs that can't be run here, as their sources say what they ask for, request by request."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

from tests.fronts.sftp import raw
from tests.fronts.sftp.raw import Raw, attrs, string
from tests.house import ANN
from tests.walks.clients.party import TO_KARI, Party, of

DATA = bytes(range(256)) * 700 + b"end"  # 179 kB: six blocks
BLOCK = 32768
TIMES = (1_700_000_000, 1_700_000_000)
FOLDER = f"{TO_KARI}/Ref 1"
FILE = f"{FOLDER}/data.csv"


def as_ann(party: Party, *jobs: Callable[[Raw], Awaitable[None]]) -> None:
    """Do these at once, each over a connection of its own."""

    async def one(job: Callable[[Raw], Awaitable[None]]) -> None:
        async with Raw(party.house.port, ANN, client_keys=[str(party.keys[ANN])]) as session:
            await job(session)

    async def all_of_them() -> None:
        await asyncio.gather(*map(one, jobs))

    asyncio.run(all_of_them())
    party.everyone_left()


async def code(session: Raw, kind: int, *parts: bytes) -> int:
    """How a request is answered that has only a status."""
    return (await session.ask(kind, *parts)).code


async def is_there(session: Raw, kind: int, path: str) -> bool:
    """By LSTAT or STAT."""
    found = await session.ask(kind, string(path))
    assert found.kind == raw.ATTRS or found.code == raw.NO_SUCH_FILE
    return found.kind == raw.ATTRS


async def write_all(session: Raw, handle: bytes, data: bytes, at: int = 0, trailing: bytes = b"") -> None:
    """Blocks from `at` on, all under way at once."""
    starts = range(at, len(data), BLOCK)
    blocks = (raw.write(start, handle, start, data[start : start + BLOCK], trailing) for start in starts)
    session.send(*blocks)
    for answer in await session.answers(len(starts)):
        assert answer.code == raw.OK, answer.text


# ---- WinSCP


def winscp(data: bytes, *, until: int | None = None) -> Callable[[Raw], Awaitable[None]]:
    """WinSCP puts a file of 100 KiB or more; with `until`, the line is lost at this byte."""

    async def job(session: Raw) -> None:
        partial = f"{FILE}.filepart"
        is_old = await is_there(session, raw.LSTAT, FILE)
        at, how = 0, raw.W | raw.CREATE | raw.TRUNCATE
        if await is_there(session, raw.LSTAT, partial):
            at, how = (await session.ask(raw.LSTAT, string(partial))).size, raw.W
        handle = (await session.open(partial, how, attrs(size=len(data)))).handle
        await write_all(session, handle, data[:until] if until else data, at)
        if until:
            return
        assert await code(session, raw.CLOSE, string(handle)) == raw.OK
        if is_old:
            assert await code(session, raw.REMOVE, string(FILE)) == raw.OK
        assert await code(session, raw.RENAME, string(partial), string(FILE)) == raw.OK
        assert await code(session, raw.SETSTAT, string(FILE), attrs(times=TIMES)) == raw.OK
        assert (await session.ask(raw.LSTAT, string(FILE))).size == len(data)

    return job


def test_winscp_sends_what_has_its_final_name(party: Party) -> None:
    """And the time that it sets by the final path stays."""
    as_ann(party, winscp(DATA))

    assert len(party.house.settle()) == 1
    assert party.arrived() == [("Ref 1", of({"data.csv": DATA}))]
    as_ann(party, sees_time)


async def sees_time(session: Raw) -> None:
    """TIMES, of FILE."""
    answer = await session.ask(raw.STAT, string(FILE))
    assert struct.unpack_from(">I", answer.body, 20)[0] == TIMES[1]


def test_winscp_puts_again_before_and_after_it_was_sent(party: Party) -> None:
    """It removes what is there and renames: before dispatch the newer replaces it, after dispatch it is one more."""
    as_ann(party, winscp(b"-" + DATA))
    as_ann(party, winscp(DATA))
    party.house.settle()
    as_ann(party, winscp(DATA + b"+"))
    party.house.settle()

    assert party.arrived() == [("Ref 1", of({"data.csv": DATA})), ("Ref 1", of({"data.csv": DATA + b"+"}))]


def test_winscp_goes_on_with_its_filepart(party: Party) -> None:
    """A lost line leaves it, and nothing else."""
    as_ann(party, winscp(DATA, until=5 * BLOCK))
    assert party.house.settle() == []

    as_ann(party, winscp(DATA))

    assert len(party.house.settle()) == 1
    assert party.arrived() == [("Ref 1", of({"data.csv": DATA}))]


# ---- FileZilla


def test_filezilla_fills_a_folder_over_three_connections(party: Party) -> None:
    """One looks and two put, and all make the folder: one shipment, and not before the last has left."""
    files = {f"part {number}.csv": b"%d" % number + DATA for number in range(6)}
    meet = asyncio.Barrier(3)

    async def looks(session: Raw) -> None:
        assert (await session.ask(raw.REALPATH, string("."))).names == ["/"]
        await session.list("outbox")
        await code(session, raw.MKDIR, string(FOLDER), attrs())
        await meet.wait()
        assert await session.list(FOLDER) == sorted(files)
        assert party.house.settle(299) == []  # as long as they are here, more may come
        await meet.wait()

    def puts(names: list[str]) -> Callable[[Raw], Awaitable[None]]:
        async def job(session: Raw) -> None:
            if await code(session, raw.MKDIR, string(FOLDER), attrs()) != raw.OK:
                assert (await session.ask(raw.STAT, string(FOLDER))).mode & 0o040000
            for name in names:
                path = f"{FOLDER}/{name}"
                await session.list(FOLDER)
                handle = (await session.open(path, raw.W | raw.CREATE | raw.TRUNCATE)).handle
                await write_all(session, handle, files[name])
                assert await code(session, raw.CLOSE, string(handle)) == raw.OK
                assert await code(session, raw.SETSTAT, string(path), attrs(times=TIMES)) == raw.OK
            await meet.wait()
            await meet.wait()

        return job

    as_ann(party, looks, puts(list(files)[::2]), puts(list(files)[1::2]))

    assert len(party.house.settle(60)) == 1
    assert party.arrived() == [("Ref 1", of(files))]


# ---- old libraries


def test_old_go_programs_that_write_more_than_they_say_are_served(party: Party) -> None:
    """pkg/sftp before 1.13.6 puts bytes after the data of its WRITEs: restic, terraform and others of that time."""

    async def job(session: Raw) -> None:
        handle = (await session.open(FILE, raw.W | raw.CREATE | raw.TRUNCATE)).handle
        await write_all(session, handle, DATA, trailing=b"\0" * 500)
        assert await code(session, raw.CLOSE, string(handle)) == raw.OK
        assert (await session.ask(raw.STAT, string(FILE))).size == len(DATA)

    as_ann(party, job)
    party.house.settle()

    assert party.arrived() == [("Ref 1", of({"data.csv": DATA}))]


def test_camel_steps_down_and_leaves_a_done_file(party: Party) -> None:
    """JSch asks for each part of a path; Camel puts under `.inprogress`, renames, and says that it is done."""

    async def job(session: Raw) -> None:
        here = ""
        for part in FOLDER.split("/"):
            here += "/" + part
            (found,) = (await session.ask(raw.REALPATH, string(here))).names
            if not await is_there(session, raw.STAT, found):
                assert await code(session, raw.MKDIR, string(here), attrs()) == raw.OK
            assert (await session.ask(raw.STAT, string(found))).mode & 0o040000
        temporary = f"{FILE}.inprogress"
        for name, data in ((temporary, DATA), (f"{FILE}.done", b"")):
            assert not await is_there(session, raw.STAT, name)
            assert (await session.put(name, data)).code == raw.OK
            if name == temporary:
                assert not await is_there(session, raw.STAT, FILE)
                assert await code(session, raw.RENAME, string(name), string(FILE)) == raw.OK
        assert await code(session, raw.SETSTAT, string(FILE), attrs(mode=0o640)) == raw.OK

    as_ann(party, job)

    assert len(party.house.settle()) == 1
    assert party.arrived() == [("Ref 1", of({"data.csv": DATA, "data.csv.done": b""}))]


# ---- sshfs


def test_a_file_made_by_sshfs_is_not_sent_empty(party: Party) -> None:
    """It makes a file with EXCL, looks at it, closes it, and opens it anew to write."""

    async def job(session: Raw) -> None:
        assert not await is_there(session, raw.LSTAT, FILE)
        handle = (await session.open(FILE, raw.W | raw.CREATE | raw.EXCLUSIVE, attrs(mode=0o100644))).handle
        assert (await session.ask(raw.LSTAT, string(FILE))).size == 0
        assert (await session.ask(raw.FSTAT, string(handle))).size == 0
        assert await code(session, raw.CLOSE, string(handle)) == raw.OK
        again = await session.open(FILE, raw.W | raw.CREATE | raw.EXCLUSIVE)
        assert again.code == raw.FAILURE

        handle = (await session.open(FILE, raw.W)).handle
        assert (await session.ask(raw.FSTAT, string(handle))).size == 0
        await write_all(session, handle, DATA)
        assert (await session.ask(raw.LSTAT, string(FILE))).size == len(DATA)
        assert await code(session, raw.CLOSE, string(handle)) == raw.OK

    as_ann(party, job)

    assert len(party.house.settle()) == 1
    assert party.arrived() == [("Ref 1", of({"data.csv": DATA}))]
