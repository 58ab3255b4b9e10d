"""check-file: hashes of files and of their parts, without fetching them."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

import paramiko
import pytest

from fxsftp.fronts.sftp import hashes
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import ANN, KARI, Door
from tests.fronts.sftp.raw import CREATE, TRUNCATE, R, Raw, W, packet, string, write
from tests.house import at

CONTENT = bytes(range(256)) * 1000 + b"end"  # 256,003 bytes
LARGE = bytes(range(251)) * 40_000  # ten megabytes: more than one piece
REPORT = f"/outbox/{ANN}/Ref 1/report.csv"


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def asked(
    number: int, form: str, what: bytes | str, start: int = 0, length: int = 0, block: int = 0, by: str = "sha256"
) -> bytes:
    extent = struct.pack(">QQI", start, length, block)
    return packet(sftp.EXTENDED, number, string(form), string(what), string(by), extent)


async def said(raw: Raw, form: str, what: bytes | str, **how: object) -> bytes:
    """The hashes in the answer, whose other parts must be the draft's."""
    raw.send(asked(1, form, what, **how))  # type: ignore[arg-type]
    answer = await raw.answer()
    assert answer.kind == sftp.REPLY, answer.text
    head = string("sha256") if form != "check-file" else string("check-file") + string("sha256")
    assert answer.body.startswith(head)
    return answer.body[len(head) :]


@contextmanager
def paramiko_client(door: Door, email: str) -> Iterator[paramiko.SFTPClient]:
    with closing(paramiko.Transport(("127.0.0.1", door.port))) as line:
        line.connect(username=email, pkey=paramiko.Ed25519Key.from_private_key_file(str(door.keys[email])))
        client = paramiko.SFTPClient.from_transport(line)
        assert client
        yield client


def test_paramiko_checks_what_it_could_fetch(door: Door) -> None:
    """SFTPFile.check of a delivered file: all of it, a part of it, and block by block."""
    shipment = door.deliver(ANN, KARI, CONTENT)
    with paramiko_client(door, KARI) as client, client.open(f"/inbox/{shipment}/report.csv") as file:
        assert file.check("sha256") == sha256(CONTENT)
        assert file.check("sha256", 1000, 5000) == sha256(CONTENT[1000:6000])
        blocks = b"".join(sha256(CONTENT[first : first + 65536]) for first in range(0, len(CONTENT), 65536))
        assert file.check("md5,sha256", 0, 0, 65536) == blocks
        with pytest.raises(OSError, match="only sha256 is served"):
            file.check("md5")


def test_paramiko_checks_what_it_just_wrote(door: Door) -> None:
    """Before CLOSE, by the very handle that wrote it."""
    with paramiko_client(door, KARI) as client, client.open(REPORT, "w") as file:
        file.write(CONTENT)
        assert file.check("sha256") == sha256(CONTENT)


@pytest.mark.parametrize("content", [pytest.param(b"", id="empty"), CONTENT[:300], CONTENT, LARGE])
def test_a_file_that_was_sent_can_be_hashed_by_its_name(door: Door, content: bytes) -> None:
    """Before dispatch any part; after it the whole of it, since nobody but the recipient can read it any more."""

    async def before() -> None:
        async with door.raw(KARI) as raw:
            assert (await raw.put(REPORT, content)).code == sftp.OK
            assert await said(raw, "check-file-name", REPORT) == sha256(content)
            assert await said(raw, "check-file-name", REPORT, start=len(content) // 2) == sha256(
                content[len(content) // 2 :]
            )
            assert await said(raw, "check-file-name", REPORT, length=100, block=256) == sha256(content[:100])
            assert await said(raw, "check-file-name", REPORT, length=1 << 60) == sha256(content)

    async def after() -> None:
        async with door.raw(KARI) as raw:
            assert await said(raw, "check-file-name", REPORT) == sha256(content)
            if content:
                raw.send(asked(1, "check-file-name", REPORT, start=1))
                refused = await raw.answer()
                assert refused.code == sftp.FAILURE
                assert "only its recipient can open it" in refused.text

    asyncio.run(before())
    assert len(door.house.settle()) == 1
    asyncio.run(after())


def test_a_file_resumed_in_pieces_is_hashed_over_its_seams(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            handle = (await raw.open(REPORT, W | CREATE | TRUNCATE)).handle
            raw.send(*(write(n, handle, n * 32768, LARGE[n * 32768 : (n + 1) * 32768]) for n in range(10)))
            await raw.answers(10)
        door.until(lambda: not door.listener.guests)
        async with door.raw(KARI) as raw:
            size = (await raw.ask(sftp.STAT, string(REPORT))).size
            assert size
            handle = (await raw.open(REPORT, W)).handle
            starts = range(size, len(LARGE), 32768)
            raw.send(*(write(n, handle, n, LARGE[n : n + 32768]) for n in starts))
            await raw.answers(len(starts))
            assert (await raw.ask(sftp.CLOSE, string(handle))).code == sftp.OK
            assert await said(raw, "check-file-name", REPORT) == sha256(LARGE)
            assert await said(raw, "check-file-name", REPORT, start=7, length=size) == sha256(LARGE[7 : size + 7])

    asyncio.run(walk())


def test_hashing_is_not_reading(door: Door) -> None:
    """A recipient who only compared hashes has not opened the shipment."""
    shipment = door.deliver(ANN, KARI, LARGE)
    path = f"/inbox/{shipment}/report.csv"

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            assert await said(raw, "check-file-name", path) == sha256(LARGE)
            handle = (await raw.open(path, R)).handle
            assert await said(raw, "check-file-handle", handle) == sha256(LARGE)
            assert (await raw.ask(sftp.CLOSE, string(handle))).code == sftp.OK

    asyncio.run(walk())
    assert door.exchange.sent.find(door.users[ANN], shipment, door.house.clock()).state == "waiting"


def test_a_locked_file_is_hashed_as_it_is_offered(door: Door) -> None:
    """`report.csv.age` has the hash of the bytes that a download would bring; the plain form is not to be had."""
    shipment = door.deliver(KARI, ANN, CONTENT)

    async def walk() -> None:
        async with door.raw(ANN) as raw:
            sealed = await raw.get(f"/inbox/{shipment}/report.csv.age")
            assert await said(raw, "check-file-name", f"/inbox/{shipment}/report.csv.age") == sha256(sealed)
            raw.send(asked(1, "check-file-name", f"/inbox/{shipment}/report.csv"))
            assert (await raw.answer()).code == sftp.DENIED
            letter = await raw.get(f"/inbox/{shipment}/SHIPMENT.txt")
            assert await said(raw, "check-file-name", f"/inbox/{shipment}/SHIPMENT.txt") == sha256(letter)

    asyncio.run(walk())


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"by": "md5,sha1"}, "only sha256 is served"),
        ({"by": ""}, "only sha256 is served"),
        ({"block": 255}, "a block is 256 bytes at the least"),
        ({"start": len(LARGE) + 1}, "the file ends before that"),
        ({"block": 256}, "at most 8000 blocks"),
    ],
)
def test_what_is_not_hashed_is_refused_with_the_reason(door: Door, how: dict[str, object], says: str) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            assert (await raw.put(REPORT, LARGE)).code == sftp.OK
            raw.send(asked(1, "check-file-name", REPORT, **how))  # type: ignore[arg-type]
            refused = await raw.answer()
            assert refused.code == sftp.FAILURE
            assert says in refused.text

    asyncio.run(walk())


def test_hashing_goes_piece_by_piece_and_ends_with_its_session(door: Door) -> None:
    """No piece reads more than its share, and nothing is read for who has left."""
    read = []

    def read_at(offset: int, count: int) -> bytes:
        read.append((offset, count))
        return bytes(count)

    async def walk() -> None:
        assert door.house.desk
        content = hashes.Content(10 * hashes.PIECE, read_at)
        found = await hashes.hashes(
            door.house.desk, content, "sha256", 0, 0, 0, lambda: sum(count for _, count in read) >= 3 * hashes.PIECE
        )
        assert found == b""

    asyncio.run(walk())
    assert sum(count for _, count in read) == 3 * hashes.PIECE
    assert max(count for _, count in read) == hashes.READ


@pytest.mark.parametrize("extension", ["copy-data", "copy-file"])
def test_copies_are_refused_with_the_reason(door: Door, extension: str) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            refused = await raw.ask(sftp.EXTENDED, string(extension), string("a"), string("b"))
            assert refused.code == sftp.DENIED
            assert "can't copy a file" in refused.text

    asyncio.run(walk())


def test_statvfs_says_the_quota_or_the_disk_whichever_is_less(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Used is what the user's files take; free is what could still come."""
    exchange = door.exchange
    exchange.outbox.usage(door.users[KARI])

    async def free() -> tuple[int, int, int]:
        async with door.raw(KARI) as raw:
            answer = await raw.ask(sftp.EXTENDED, string("statvfs@openssh.com"), string("/outbox"))
            block, _, blocks, unused, available = struct.unpack_from(">5Q", answer.body)
            assert unused == available
            return blocks * block, unused * block, block

    door.house.put(door.users[KARI], REPORT, bytes(1 << 20))
    total, unused, block = asyncio.run(free())
    used, quota = exchange.outbox.usage(door.users[KARI])
    disk = exchange._holdings.bodies.free_bytes()
    assert abs(unused - min(quota - used, disk)) < max(disk // 10, 2 * block)  # others use the disk meanwhile
    assert abs(total - unused - used) <= 2 * block
    assert exchange.outbox.stat(door.users[KARI], at(REPORT), door.house.clock()).size == 1 << 20

    monkeypatch.setattr(type(exchange._holdings.bodies), "free_bytes", lambda _: 8 << 20)  # a disk nearly full
    total, unused, block = asyncio.run(free())
    assert unused == 8 << 20
    assert total // block == (used + (8 << 20)) // block
