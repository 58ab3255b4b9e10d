"""SSH as it is served in our own way, beside asyncssh's.

The same bytes whatever the cipher, through changes of keys and with packets cut anywhere; the same end for whatever
is malformed; and asyncssh's own way when asyncssh is another.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
import inspect
import re
import struct
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from operator import attrgetter
from pathlib import Path
from random import Random
from typing import Any, TypeGuard

import asyncssh
import pytest
from asyncssh import connection

from fxsftp.fronts.sftp import tuned
from fxsftp.fronts.sftp.tuned import TunedChannel, TunedConnection
from tests.exchange.hands import registry_of
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import ANN, KARI, Door
from tests.fronts.sftp.raw import CREATE, TRUNCATE, Raw, W, string
from tests.house import House

REPORT = f"/outbox/{ANN}/Ref 1/report.csv"
DATA = Random(6).randbytes(700_001)
GCM, CHACHA = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"), ("chacha20-poly1305@openssh.com",)
CIPHERS = (*GCM, *CHACHA, "aes256-ctr")
COMPRESSION = ("zlib", "zlib@openssh.com")


def guest(door: Door) -> Any:
    """The server's side of the one connection there is."""
    (found,) = door.listener.guests
    return found._conn


@pytest.fixture
def waiting(door: Door) -> str:
    """The path of DATA in kari's inbox."""
    return f"/inbox/{door.deliver(ANN, KARI, DATA)}/report.csv"


async def put_and_get(raw: Raw, waiting: str) -> bytes:
    """Put DATA, and answer what was got."""
    assert (await raw.put(REPORT, DATA)).code == sftp.OK
    return await raw.get(waiting)


def sent(door: Door) -> str:
    """The SHA-256 of what kari has sent."""
    drops = registry_of(door.exchange).drops
    (drop,) = drops.of_sender(door.users[KARI].id)
    (file,) = drops.of_shipment(drop.id)
    return file.sha256 or ""


DIGEST = hashlib.sha256(DATA).hexdigest()


# ---- the same bytes


@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_was_put_is_what_is_got(door: Door, waiting: str, is_tuned: bool, cipher: str) -> None:
    async def walk() -> None:
        async with door.raw(KARI, encryption_algs=[cipher]) as raw:
            assert isinstance(guest(door), TunedConnection) is is_tuned
            assert all(isinstance(chan, TunedChannel) is is_tuned for chan in guest(door)._channels.values())
            assert guest(door)._strict_kex
            assert await put_and_get(raw, waiting) == DATA

    asyncio.run(walk())
    assert sent(door) == DIGEST


@pytest.mark.parametrize("cipher", CIPHERS)
def test_keys_are_changed_in_the_middle_by_either_side(door: Door, waiting: str, cipher: str) -> None:
    """Every 100 kB, while requests and answers are under way; with strict key exchange, numbers begin anew."""
    changes = 0

    async def walk() -> None:
        nonlocal changes
        async with door.raw(KARI, encryption_algs=[cipher], rekey_bytes=100_000) as raw:
            server = guest(door)
            server._rekey_bytes = 100_000
            change = server.send_newkeys

            def count(*keys: bytes) -> None:
                nonlocal changes
                changes += 1
                change(*keys)

            server.send_newkeys = count
            assert await put_and_get(raw, waiting) == DATA
            assert server._send_seq < 100

    asyncio.run(walk())
    assert changes >= 10
    assert sent(door) == DIGEST


@pytest.mark.parametrize("cipher", CIPHERS)
def test_openssh_changes_keys_too_and_is_served_without_compression(door: Door, waiting: str, cipher: str) -> None:
    """`-C` asks for zlib@openssh.com, which is not offered: what is sealed does not compress."""
    large, back = door.house.folder / "large.bin", door.house.folder / "back.bin"
    large.write_bytes(DATA)
    options = ["-C", "-c", cipher, "-o", "RekeyLimit=128K", "-b", "-", "127.0.0.1"]

    done = door.openssh("sftp", KARI, *options, given=f'put {large} "{REPORT}"\nget "{waiting}" {back}\n')

    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == DATA
    assert sent(door) == DIGEST


@pytest.fixture
def offers_compression(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the listener would be if it were to offer it one day."""
    listen = asyncssh.listen
    monkeypatch.setattr(asyncssh, "listen", lambda **how: listen(**how | {"compression_algs": COMPRESSION}))


@pytest.mark.usefixtures("offers_compression")
@pytest.mark.parametrize("compression", COMPRESSION)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_is_compressed_is_what_is_got_too(door: Door, waiting: str, cipher: str, compression: str) -> None:
    """None of it is served in our own way, from the exchange of keys or from the log-in on, and through others."""
    options = {"encryption_algs": [cipher], "compression_algs": [compression], "rekey_bytes": 200_000}

    async def walk() -> None:
        async with door.raw(KARI, **options) as raw:
            server = guest(door)
            assert server.get_extra_info("recv_compression") == server.get_extra_info("send_compression") == compression
            assert server._compressor
            assert server._decompressor
            assert await put_and_get(raw, waiting) == DATA

    asyncio.run(walk())
    assert sent(door) == DIGEST


@pytest.mark.parametrize(
    ("client", "ciphers", "in_the_end"),
    [
        ("OpenSSH_9.9", [*CHACHA, "aes256-ctr", GCM[1]], GCM[1]),
        ("OpenSSH_9.9", [*CHACHA, "aes256-ctr"], CHACHA[0]),
        ("OpenSSH_9.9", ["aes256-ctr", *GCM], GCM[0]),
        ("PuTTY_Release_0.83", [*CHACHA, *GCM], CHACHA[0]),
    ],
)
def test_openssh_is_asked_for_a_cheaper_cipher_once_it_moves_much_and_has_it(
    door: Door, waiting: str, is_tuned: bool, monkeypatch: pytest.MonkeyPatch, *,
    client: str, ciphers: list[str], in_the_end: str,
) -> None:  # fmt: skip
    """Until then, and whoever has chosen something else, has what they prefer; so have others."""
    monkeypatch.setattr(tuned, "STEER", 300_000)
    monkeypatch.setattr(tuned, "ROUND", 0)
    monkeypatch.setattr(tuned, "_has_aes", lambda: True)

    async def walk() -> None:
        async with door.raw(KARI, client_version=client, encryption_algs=ciphers) as raw:
            assert raw.conn.get_extra_info("send_cipher") == ciphers[0]
            assert await put_and_get(raw, waiting) == DATA
            for way in ("send_cipher", "recv_cipher"):
                assert raw.conn.get_extra_info(way) == (in_the_end if is_tuned else ciphers[0])

    asyncio.run(walk())
    assert sent(door) == DIGEST


@pytest.mark.parametrize("is_tuned", [True], indirect=True)
def test_openssh_is_asked_for_a_cheaper_cipher_also_where_it_says_little_and_often(
    door: Door, is_tuned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of small files costs packets more than bytes."""
    assert is_tuned
    monkeypatch.setattr(tuned, "_has_aes", lambda: True)

    async def walk() -> None:
        async with door.raw(KARI, client_version="OpenSSH_9.9", encryption_algs=[*CHACHA, *GCM]) as raw:
            for _ in range(tuned.STEER // tuned.ROUND):
                assert (await raw.ask(sftp.STAT, string("/outbox"))).kind == sftp.ATTRS
            assert (await raw.ask(sftp.STAT, string("/outbox"))).kind == sftp.ATTRS
            assert raw.conn.get_extra_info("recv_cipher") == GCM[0]

    asyncio.run(walk())


def test_openssh_itself_changes_its_cipher(
    door: Door, waiting: str, is_tuned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "STEER", 300_000)
    monkeypatch.setattr(tuned, "ROUND", 0)
    monkeypatch.setattr(tuned, "_has_aes", lambda: True)
    back = door.house.folder / "back.bin"

    done = door.openssh("sftp", KARI, "-vvv", "127.0.0.1:" + waiting, str(back))

    ciphers = re.findall(r"kex: server->client cipher: (\S+)", done.stderr)
    assert ciphers[0] == CHACHA[0]
    assert [*ciphers[1:]] == [GCM[0]] * is_tuned
    assert back.read_bytes() == DATA


class Cutter:
    """Passes on what a client sends in parts of a given size, or with one bit of it turned over."""

    def __init__(self, port: int, size: int = 1 << 16, flip: int = -1) -> None:
        self._port, self._size, self._flip = port, size, flip
        self.at = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port to connect to."""
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.ensure_future(self._pump(there[0], writer, 1 << 16))
        await self._pump(reader, there[1], self._size, is_cut=True)
        await back

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int, *, is_cut: bool = False
    ) -> None:
        try:
            while data := bytearray(await reader.read(size)):
                if is_cut:
                    if self.at <= self._flip < self.at + len(data):
                        data[self._flip - self.at] ^= 1
                    self.at += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("size", [1, 19, 33_000])
def test_packets_may_be_cut_anywhere(door: Door, cipher: str, size: int) -> None:
    data = DATA[:3000] if size == 1 else DATA[: 20 * size]

    async def walk() -> None:
        async with (
            Cutter(door.port, size).open() as port,
            Raw(port, KARI, client_keys=[str(door.keys[KARI])], encryption_algs=[cipher]) as raw,
        ):
            assert (await raw.put(REPORT, data)).code == sftp.OK

    asyncio.run(walk())
    assert sent(door) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_bit_turned_over_on_the_way_ends_the_connection_and_nothing_is_taken(door: Door, cipher: str) -> None:
    """Wherever it is: in a length, in data, in a MAC."""

    async def walk(flip: int) -> None:
        cutter = Cutter(door.port)
        async with (
            cutter.open() as port,
            Raw(port, KARI, client_keys=[str(door.keys[KARI])], encryption_algs=[cipher]) as raw,
        ):
            handle = (await raw.open(REPORT, W | CREATE | TRUNCATE)).handle
            cutter._flip = cutter.at + flip
            raw.send(*(sftp.write(n, handle, n * 30_000, bytes(30_000)) for n in range(3)))
            raw.send(*(sftp.packet(sftp.CLOSE, n, string(handle)) for n in range(9)))
            async with asyncio.timeout(sftp.DEADLINE):
                await raw.conn.wait_closed()

    for flip in (0, 3, 4, 30, 17_000, 30_055, 30_070, 61_000):
        asyncio.run(walk(flip))
        door.until(lambda: not door.listener.guests and not door.exchange.writing._drops.writers)
    assert door.house.settle() == []


@pytest.mark.parametrize("is_tuned", [True], indirect=True)
def test_who_talks_on_while_nothing_is_served_is_not_listened_to_without_end(door: Door, is_tuned: bool) -> None:
    """What can't be served yet stays in the client's own buffers, but for 768 KiB; then all of it is served."""
    assert is_tuned

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            server, loop = guest(door), door.house._loop
            serves, server._recv_handler = server._recv_handler, lambda: False
            for _ in range(256):
                raw.conn.send_packet(2, string(bytes(32_000)))
            await asyncio.to_thread(door.until, lambda: server._heard.is_closed)
            assert tuned.KEPT <= len(server._inpbuf) <= tuned.KEPT + tuned.RECEIVED
            assert not server._transport.is_reading()
            server._recv_handler = serves
            loop.call_soon_threadsafe(server._recv_data)
            assert (await raw.ask(sftp.STAT, string("/outbox"))).kind == sftp.ATTRS
            assert server._transport.is_reading()

    asyncio.run(walk())


@pytest.mark.parametrize("is_tuned", [True, False], ids=["tuned", "stock"])
def test_who_speaks_is_not_asked_whether_they_are_still_there(tmp_path: Path, is_tuned: bool) -> None:
    """The timer of a silent client is put off by what is heard, though not by each packet."""

    async def walk(door: Door) -> None:
        async with door.raw(KARI) as raw:
            server = guest(door)
            first = server._keepalive_timer.when()
            async with asyncio.timeout(sftp.DEADLINE):
                while server._keepalive_timer.when() < first + 0.5:
                    assert (await raw.ask(sftp.STAT, string("/outbox"))).kind == sftp.ATTRS

    environ = {"FXSFTP_SFTP__KEEPALIVE": "1 s", "FXSFTP_SFTP__TUNED": str(is_tuned)}
    with House(tmp_path / "house", environ=environ) as house:
        asyncio.run(walk(Door(house)))


# ---- the same end


DATA_PACKET, EXTENDED, ADJUST, CLOSE, EOF, REQUEST = 94, 95, 93, 97, 96, 98


def u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


HELLO = string(sftp.HELLO)
ENDINGS = {
    "data-for-no-channel": (DATA_PACKET, u32(7) + HELLO),
    "data-without-length": (DATA_PACKET, u32(0)),
    "data-cut-short": (DATA_PACKET, u32(0, 500) + b"x" * 400),
    "data-with-a-surplus": (DATA_PACKET, u32(0) + HELLO + b"x"),
    "data-of-4-GiB": (DATA_PACKET, u32(0, 0xFFFFFFFF) + b"x" * 100),
    "data-beyond-the-window": (DATA_PACKET, u32(0) + string(bytes(200_000))),
    "no-data": (DATA_PACKET, u32(0) + string(b"")),
    "stderr": (EXTENDED, u32(0, 1) + string(b"x")),
    "window": (ADJUST, u32(0, 1000)),
    "window-with-a-surplus": (ADJUST, u32(0, 1000) + b"x"),
    "window-beyond-all": (ADJUST, u32(0, 0xFFFFFFFF)),
    "window-cut-short": (ADJUST, u32(0) + b"\0"),
    "window-of-no-channel": (ADJUST, u32(9, 1)),
    "close-with-a-surplus": (CLOSE, u32(0) + b"x"),
    "eof-and-data": (EOF, u32(0)),
    "close-and-data": (CLOSE, u32(0)),
    "request-without-name": (REQUEST, u32(0)),
    "unknown-kind": (77, b"x" * 30),
    "kex-out-of-turn": (30, string(bytes(32))),
    "newkeys-out-of-turn": (21, b""),
    "log-in-again": (50, string("x") + string("ssh-connection") + string("none")),
    "disconnect": (1, u32(11) + string("bye") + string("")),
    "unimplemented": (3, u32(5)),
    "debug": (4, b"\0" + string("hello") + string("")),
    "ignore": (2, string(b"x" * 300)),
}


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Callable[[], tuple[Door, Door]]]:
    """The doors of two houses, one tuned and one not."""
    houses: list[House] = []

    def build() -> tuple[Door, Door]:
        houses.extend(House(tmp_path / how, environ={"FXSFTP_SFTP__TUNED": how}) for how in ("true", "false"))
        return Door(houses[0]), Door(houses[1])

    yield build
    for house in houses:
        house.__exit__(None, None, None)


async def ending(door: Door, cipher: str, kind: int, payload: bytes) -> str:
    """What becomes of a session in which this is sent, and a request after it."""
    async with door.raw(KARI, encryption_algs=[cipher]) as raw:
        server, said = guest(door), []
        end = server._force_close
        server._force_close = lambda exc: (said.append(repr(exc)), end(exc))
        server._channels[0]._recv_window = 100_000
        raw.conn.send_packet(kind, payload)
        try:
            answered = await raw.ask(sftp.STAT, string("/outbox"))
            return f"goes on: {answered.kind}"
        except (AssertionError, OSError, TimeoutError):
            door.until(lambda: not door.listener.guests or not server._channels)
            return f"ends: {said[0] if kind != CLOSE else ''}"  # closed or gone: who comes first is not said


@pytest.mark.parametrize("cipher", [GCM[0], *CHACHA])
def test_whatever_is_malformed_comes_to_the_same_end(both: Callable[[], tuple[Door, Door]], cipher: str) -> None:
    """Each packet is sealed as it should be, and says what it should not."""
    ours, theirs = both()
    for name, (kind, payload) in ENDINGS.items():
        ends = [asyncio.run(ending(door, cipher, kind, payload)) for door in (ours, theirs)]
        assert ends[0] == ends[1], name
        assert "AttributeError" not in ends[0]


# ---- asyncssh is another


def test_asyncssh_is_the_one_that_was_read() -> None:
    """Where this fails after an update: read what has changed, then take the digests that it gives."""
    found = {name: tuned._digest(name, functions) for name, (functions, _) in tuned.PINNED.items()}
    assert found == {name: digest for name, (_, digest) in tuned.PINNED.items()}


def test_each_function_that_goes_another_way_says_why_and_what_would_end_it() -> None:
    """In the table at the head of the module, which names nothing that is not there."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]{10,} \| [^|]{5,} \|$", tuned.__doc__ or "", re.MULTILINE)
    named = {name for row in rows for name in row.partition(", in `")[0].split(", ")}
    written = {
        name
        for each in (TunedConnection, TunedChannel)
        for name, found in vars(each).items()
        if inspect.isfunction(found)
    }
    assert written <= named
    others = {name for name in named - written if not hasattr(tuned, name)}
    assert others == {"send_packet"}  # a public one, which is left out for both


def test_whatever_it_takes_from_asyncssh_is_compared_at_the_start() -> None:
    """Each method that it calls or goes another way than, and each attribute, by the functions that make and use it."""
    written = ast.parse(inspect.getsource(tuned))
    own = {node.name for node in ast.walk(written) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.target.id for node in ast.walk(written) if isinstance(node, ast.AnnAssign) and _is_name(node.target)}
    own |= {name for each in (tuned.Intake, tuned._Opened) for name in each.__init__.__code__.co_names}
    taken = {node.attr for node in ast.walk(written) if isinstance(node, ast.Attribute)}
    private = {name for name in taken if re.match("_[a-z]", name)} - own
    theirs = (asyncssh.SSHServerConnection, asyncssh.SSHServerChannel)
    called = {name for name in private if any(inspect.isfunction(getattr(each, name, None)) for each in theirs)}
    gone_by = {name for mine in (TunedConnection, TunedChannel) for name in vars(mine) if hasattr(mine.__base__, name)}
    compared = {name: functions.split() for name, (functions, _) in tuned.PINNED.items()}
    sources = "".join(
        inspect.getsource(getattr(attrgetter(name)(asyncssh), function))
        for name, functions in compared.items()
        for function in functions
    )
    functions = {function for each in compared.values() for function in each}
    assert len(private) > 40
    assert {name for name in private if name not in sources} == set()
    assert called | {name for name in gone_by if not name.startswith("__")} <= functions


def _is_name(node: ast.expr) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncssh as it would be with `_recv_packet` under another name."""
    source = textwrap.dedent(inspect.getsource(connection.SSHConnection._recv_pkthdr))
    space = dict(vars(connection))
    exec(source.replace("_recv_packet", "_recv_whole_packet"), space)
    monkeypatch.setattr(
        connection.SSHConnection, "_recv_whole_packet", connection.SSHConnection._recv_packet, raising=False
    )
    monkeypatch.setattr(connection.SSHConnection, "_recv_pkthdr", space["_recv_pkthdr"])
    monkeypatch.delattr(connection.SSHConnection, "_recv_packet")


@pytest.mark.usefixtures("renamed")
def test_with_a_private_method_renamed_all_is_served_in_asyncsshs_own_way(
    door: Door, waiting: str, caplog: pytest.LogCaptureFixture, is_tuned: bool
) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            assert type(guest(door)) is asyncssh.SSHServerConnection
            assert await put_and_get(raw, waiting) == DATA

    asyncio.run(walk())
    records = [*caplog.get_records("setup"), *caplog.records]
    said = [each.getMessage() for each in records if "is not as it is tuned for" in each.getMessage()]
    assert (
        said
        == [
            f"asyncssh {asyncssh.__version__} is not as it is tuned for (connection.SSHConnection); "
            "SFTP is served all the same, slower"
        ]
        * is_tuned
    )
