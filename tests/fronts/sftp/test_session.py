"""Sessions as clients see them, packet by packet: in order, in bounds, and true about what is durable."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxsftp import errors
from fxsftp.fronts.sftp.session import CODES
from fxsftp.fronts.sftp.verbs import VERBS
from fxsftp.fronts.sftp.wire import Kind, Status
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import ANN, KARI, Door
from tests.fronts.sftp.raw import CREATE, TRUNCATE, W, attrs, opening, packet, string, write

REPORT = f"/outbox/{ANN}/Ref 23-4567/report.csv"


def test_an_upload_is_whole_and_sealed_after_its_close(door: Door) -> None:
    """A file put in blocks is there, with its size, as soon as CLOSE is answered."""
    content = bytes(range(256)) * 1000

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            closed = await raw.put(REPORT, content)
            assert closed.code == sftp.OK, closed.text
            assert (await raw.ask(sftp.STAT, string(REPORT))).size == len(content)
            assert await raw.list(f"/outbox/{ANN}/Ref 23-4567") == ["report.csv"]

    asyncio.run(walk())
    assert len(door.house.settle()) == 1


def test_a_session_that_dies_completes_nothing(door: Door) -> None:
    """All bytes written, no CLOSE: the file stays a draft and is never dispatched."""

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            handle = (await raw.open(REPORT, W | CREATE | TRUNCATE)).handle
            raw.send(write(7, handle, 0, b"a;b\n"))
            assert (await raw.answer()).code == sftp.OK

    asyncio.run(walk())
    door.until(lambda: not door.listener.guests)
    assert door.house.settle() == []


def test_eof_without_close_completes_nothing_and_still_exits_well(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            await raw.open(REPORT, W | CREATE | TRUNCATE)
            raw.eof()
            assert await raw.closed() == 0

    asyncio.run(walk())
    assert door.house.settle() == []


def test_requests_sent_at_once_are_answered_in_their_order(door: Door) -> None:
    """Answers from the desk and answers from the loop don't overtake each other."""
    path = string("/outbox")

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            asked = []
            for number in range(100):
                kind = (sftp.STAT, sftp.REALPATH, sftp.LSTAT, sftp.READLINK)[number % 4]
                asked.append(packet(kind, number, path))
            raw.send(*asked)
            assert [answer.number for answer in await raw.answers(100)] == list(range(100))

    asyncio.run(walk())


def test_what_is_asked_before_eof_is_still_answered(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            raw.send(*(packet(sftp.STAT, number, string("/inbox")) for number in range(20)))
            raw.eof()
            assert [answer.kind for answer in await raw.answers(20)] == [sftp.ATTRS] * 20
            assert await raw.closed() == 0

    asyncio.run(walk())


# ---- malformed packets


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(packet(99, 1), sftp.UNSUPPORTED, id="unknown-type"),
        pytest.param(packet(sftp.STATUS, 1), sftp.UNSUPPORTED, id="an-answer"),
        pytest.param(packet(sftp.EXTENDED, 1, string("nothing@example.org")), sftp.UNSUPPORTED, id="unknown-extension"),
        pytest.param(packet(sftp.EXTENDED, 1), sftp.BAD_MESSAGE, id="extension-without-name"),
        pytest.param(packet(sftp.STAT, 1), sftp.BAD_MESSAGE, id="no-path"),
        pytest.param(packet(sftp.STAT, 1, b"\0\0"), sftp.BAD_MESSAGE, id="half-a-length"),
        pytest.param(packet(sftp.STAT, 1, b"\0\0\0\x09/inbox"), sftp.BAD_MESSAGE, id="path-cut-short"),
        pytest.param(packet(sftp.STAT, 1, b"\xff\xff\xff\xff/inbox"), sftp.BAD_MESSAGE, id="path-of-4-GiB"),
        pytest.param(packet(sftp.REALPATH, 1, b"\0"), sftp.BAD_MESSAGE, id="realpath-cut-short"),
        pytest.param(packet(sftp.OPEN, 1, string("/outbox/x")), sftp.BAD_MESSAGE, id="open-without-flags"),
        pytest.param(opening(1, REPORT, W | CREATE, struct.pack(">I", 5)), sftp.BAD_MESSAGE, id="attrs-cut-short"),
        pytest.param(
            opening(1, REPORT, W | CREATE, struct.pack(">II", 0x80000000, 0xFFFFFFFF)), sftp.BAD_MESSAGE, id="4-G-attrs"
        ),
        pytest.param(packet(sftp.CLOSE, 1, string(b"nothing")), sftp.FAILURE, id="close-of-nothing"),
        pytest.param(packet(sftp.CLOSE, 1, string(b"")), sftp.FAILURE, id="close-of-empty"),
        pytest.param(packet(sftp.FSTAT, 1, string(b"\0\0\0\0")), sftp.FAILURE, id="stat-of-nothing"),
        pytest.param(packet(sftp.READDIR, 1, string(b"\0\0\0\0")), sftp.FAILURE, id="list-of-nothing"),
        pytest.param(sftp.read(1, b"\0\0\0\x09", 0, 1), sftp.FAILURE, id="read-of-nothing"),
        pytest.param(write(1, b"\0\0\0\x09", 0, b"x" * 1000), sftp.FAILURE, id="write-to-nothing"),
        pytest.param(write(1, b"h" * 300, 0, b"x"), sftp.BAD_MESSAGE, id="write-with-endless-handle"),
        pytest.param(
            packet(sftp.WRITE, 1, string(b"\0\0\0\0"), struct.pack(">QI", 0, 500), b"x" * 400),
            sftp.BAD_MESSAGE,
            id="write-cut-short",
        ),
        pytest.param(
            packet(sftp.WRITE, 1, struct.pack(">I", 0xFFFFFFFF), b"x" * 40), sftp.BAD_MESSAGE, id="write-handle-4-GiB"
        ),
        pytest.param(packet(sftp.WRITE, 1), sftp.BAD_MESSAGE, id="write-of-nothing-at-all"),
        pytest.param(packet(sftp.WRITE, 1, string(b"12345678")), sftp.BAD_MESSAGE, id="write-without-offset"),
        pytest.param(packet(sftp.EXTENDED, 1, string(b"x" * 200_000)), sftp.UNSUPPORTED, id="endless-extension"),
        pytest.param(struct.pack(">IBI", 5, sftp.INIT, 3), sftp.BAD_MESSAGE, id="second-hello"),
        pytest.param(packet(sftp.SYMLINK, 1, string("a"), string("b")), sftp.DENIED, id="symlink"),
        pytest.param(packet(sftp.READLINK, 1, string("a")), sftp.DENIED, id="readlink"),
        pytest.param(
            packet(sftp.EXTENDED, 1, string("hardlink@openssh.com"), string("a"), string("b")),
            sftp.DENIED,
            id="hardlink",
        ),
    ],
)
def test_a_bad_packet_gets_its_status_and_the_session_goes_on(door: Door, sent: bytes, code: int) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            raw.send(sent)
            refused = await raw.answer()
            assert refused.code == code, refused.text
            assert "Traceback" not in refused.text
            assert len(refused.text) < 300
            assert (await raw.ask(sftp.STAT, string("/outbox"))).kind == sftp.ATTRS

    asyncio.run(walk())


@pytest.mark.parametrize(
    ("sent", "is_told"),
    [
        pytest.param(struct.pack(">IBI", 257 * 1024 + 1, sftp.STAT, 1), True, id="just-over-the-limit"),
        pytest.param(struct.pack(">IBI", 0xFFFFFFFF, sftp.WRITE, 1), True, id="4-GiB"),
        pytest.param(struct.pack(">I", 0), False, id="empty"),
        pytest.param(struct.pack(">IB", 1, sftp.STAT), False, id="only-a-type"),
        pytest.param(struct.pack(">IBI", 4, sftp.STAT, 1), True, id="too-short-for-an-id"),
    ],
)
def test_a_stream_that_cannot_be_followed_is_closed(door: Door, sent: bytes, is_told: bool) -> None:
    """After a length that can't be right, nothing that follows can be trusted: told where possible, then closed."""

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            raw.send(sent)
            if is_told:
                assert (await raw.answer()).code == sftp.BAD_MESSAGE
            assert await raw.closed() == 1
        async with door.raw(KARI) as raw:
            assert (await raw.ask(sftp.STAT, string("/"))).kind == sftp.ATTRS

    asyncio.run(walk())


def test_nothing_is_served_before_the_hello(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(KARI, greet=False) as raw:
            raw.send(packet(sftp.STAT, 1, string("/")), write(2, b"\0\0\0\0", 0, b"x"), sftp.HELLO)
            first, second, hello = await raw.answers(3)
            assert (first.code, second.code, hello.kind) == (sftp.BAD_MESSAGE, sftp.BAD_MESSAGE, sftp.VERSION)

    asyncio.run(walk())


def test_the_largest_packet_is_served(door: Door) -> None:
    """256 KiB in one WRITE, as limits@ promises."""

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            assert (await raw.put(REPORT, b"x" * (1 << 20), block=256 << 10)).code == sftp.OK
            assert (await raw.ask(sftp.STAT, string(REPORT))).size == 1 << 20

    asyncio.run(walk())


def test_bytes_after_the_data_of_a_write_are_passed_over(door: Door) -> None:
    """pkg/sftp before 1.13.6 sends them; OpenSSH's server takes no notice, and neither do we."""

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            handle = (await raw.open(REPORT, W | CREATE | TRUNCATE)).handle
            raw.send(write(1, handle, 0, b"abc", b"trailing" * 5000), write(2, handle, 3, b"def", b"x"))
            assert [answer.code for answer in await raw.answers(2)] == [sftp.OK] * 2
            assert (await raw.ask(sftp.FSTAT, string(handle))).size == 6
            assert (await raw.ask(sftp.CLOSE, string(handle))).code == sftp.OK

    asyncio.run(walk())


def test_a_closed_handle_stays_closed(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            first = (await raw.ask(sftp.OPENDIR, string("/"))).handle
            assert (await raw.ask(sftp.CLOSE, string(first))).code == sftp.OK
            second = (await raw.ask(sftp.OPENDIR, string("/"))).handle
            assert second != first
            assert (await raw.ask(sftp.READDIR, string(first))).code == sftp.FAILURE
            assert (await raw.ask(sftp.CLOSE, string(first))).code == sftp.FAILURE

    asyncio.run(walk())


def test_a_session_has_so_many_handles_and_no_more(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as raw:
            raw.send(*(packet(sftp.OPENDIR, number, string("/sent")) for number in range(257)))
            *opened, refused = await raw.answers(257)
            assert len({answer.handle for answer in opened}) == 256
            assert refused.code == sftp.FAILURE
            assert "256" in refused.text
            assert (await raw.ask(sftp.CLOSE, string(opened[0].handle))).code == sftp.OK
            assert (await raw.ask(sftp.OPENDIR, string("/sent"))).kind == sftp.HANDLE

    asyncio.run(walk())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 3000), max_size=40))
def test_however_the_stream_is_cut_the_answers_are_the_same(door: Door, cuts: list[int]) -> None:
    """SSH packets have nothing to do with SFTP packets: any cutting of the stream gives the same answers."""
    handle = b"\0\0\0\0"
    stream = b"".join(
        (
            opening(1, f"/outbox/{ANN}/cut/a.csv", W | CREATE | TRUNCATE, attrs(mode=0o600)),
            write(2, handle, 0, b"a" * 1500),
            write(3, handle, 1500, b"b" * 700, b"trailing"),
            packet(sftp.STAT, 4, string("/inbox")),
            write(5, b"wrong", 0, b"c" * 300),
            packet(sftp.WRITE, 6, string(handle), struct.pack(">QI", 0, 90), b"d" * 80),
            packet(99, 7, b"e" * 200),
            write(8, handle, 2200, b""),
            packet(sftp.FSTAT, 9, string(handle)),
            packet(sftp.REALPATH, 10, string("/a/../outbox/./x")),
            packet(sftp.CLOSE, 11, string(handle)),
            packet(sftp.STAT, 12, string(f"/outbox/{ANN}/cut/a.csv")),
        )
    )
    codes = [sftp.OK, sftp.OK, None, sftp.FAILURE, sftp.BAD_MESSAGE, sftp.UNSUPPORTED, sftp.OK, None, None, sftp.OK]

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            at = 0
            for cut in cuts:
                raw.chan.write(stream[at : at + cut])
                at += cut
            raw.chan.write(stream[at:])
            found = await raw.answers(12)
            assert [answer.number for answer in found] == list(range(1, 13))
            assert found[0].handle == handle
            assert [answer.code if answer.kind == sftp.STATUS else None for answer in found[1:11]] == codes
            assert (found[8].size, found[9].names, found[11].size) == (2200, ["/outbox/x"], 2200)
            assert (await raw.ask(sftp.REMOVE, string(f"/outbox/{ANN}/cut/a.csv"))).code == sftp.OK

    asyncio.run(walk())


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packets=st.lists(
        st.builds(
            lambda kind, body: packet(kind, 1, body),
            st.integers(0, 255),
            st.one_of(
                st.binary(max_size=60),
                st.builds(lambda *parts: b"".join(map(string, parts)), st.binary(max_size=8), st.binary(max_size=8)),
            ),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_well_framed_packet_breaks_a_session(door: Door, packets: list[bytes]) -> None:
    """Whatever a packet holds, it gets one answer, and the session goes on."""

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            raw.send(*packets)
            assert {answer.number for answer in await raw.answers(len(packets))} <= {1, 3}
            assert (await raw.ask(sftp.STAT, string("/"))).kind == sftp.ATTRS

    asyncio.run(walk())


# ---- extensions


def test_extensions_are_offered_and_true(door: Door) -> None:
    door.exchange.people.change(KARI, 0.0, quota=1 << 30)  # less than any disk here has free

    async def walk() -> None:
        async with door.raw(KARI, greet=False) as raw:
            raw.send(sftp.HELLO)
            hello = await raw.answer()
            offered = sftp._strings(hello.body)
            assert hello.number == 3
            assert b"posix-rename@openssh.com" in offered
            assert b"users-groups-by-id@openssh.com" not in offered
            assert b"hardlink@openssh.com" not in offered
            limits = await raw.ask(sftp.EXTENDED, string("limits@openssh.com"))
            assert struct.unpack(">4Q", limits.body) == (263168, 261120, 262144, 256)
            quota = await raw.ask(sftp.EXTENDED, string("statvfs@openssh.com"), string("/outbox"))
            block, _, blocks, free = struct.unpack_from(">4Q", quota.body)
            assert (block * blocks, free) == (1 << 30, blocks)

    asyncio.run(walk())


@pytest.mark.parametrize(
    ("asked", "found"),
    [("", "/"), (".", "/"), ("a/../b", "/b"), ("/../../x/", "/x"), ("/outbox/nobody@x.example/y", None), ("æøå", None)],
)
def test_realpath_goes_by_the_letters_alone(door: Door, asked: str, found: str | None) -> None:
    async def walk() -> None:
        async with door.raw(ANN) as raw:
            assert (await raw.ask(sftp.REALPATH, string(asked))).names == [found or "/" + asked.strip("/")]

    asyncio.run(walk())


@pytest.mark.parametrize(
    ("name", "asked", "found"),
    [
        ("expand-path@openssh.com", "~", "/"),
        ("expand-path@openssh.com", "~/outbox", "/outbox"),
        ("expand-path@openssh.com", f"~{ANN}/inbox", "/inbox"),
        ("expand-path@openssh.com", f"~{KARI}/inbox", None),
        ("expand-path@openssh.com", "sent/", "/sent"),
        ("home-directory", "", "/"),
        ("home-directory", ANN, "/"),
        ("home-directory", KARI, None),
    ],
)
def test_home_is_the_root_and_nobody_else_has_one(door: Door, name: str, asked: str, found: str | None) -> None:
    async def walk() -> None:
        async with door.raw(ANN) as raw:
            answer = await raw.ask(sftp.EXTENDED, string(name), string(asked))
            if found:
                assert answer.names == [found]
            else:
                assert answer.code == sftp.NO_SUCH_FILE

    asyncio.run(walk())


# ---- what goes wrong inside


def test_an_unexpected_error_is_logged_and_not_told(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client reads a neutral sentence; the traceback is in the log."""

    def usage(user: object) -> tuple[int, int]:
        raise RuntimeError("/var/lib/fxsftp/registry.db is on fire")

    monkeypatch.setattr(door.exchange.outbox, "usage", usage)

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            answer = await raw.ask(sftp.EXTENDED, string("statvfs@openssh.com"), string("/"))
            assert answer.code == sftp.FAILURE
            assert answer.text == "Something went wrong. Ask the operator to look at the log."

    asyncio.run(walk())
    assert "is on fire" in caplog.text


# ---- bounds


def test_a_read_of_4_gib_gets_what_one_packet_may_hold(door: Door) -> None:
    door.deliver(ANN, KARI, b"y" * (1 << 20))

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            (folder,) = await raw.list("/inbox")
            handle = (await raw.open(f"/inbox/{folder}/report.csv", sftp.R)).handle
            found = await raw.ask(sftp.READ, string(handle), struct.pack(">QI", 0, 0xFFFFFFFF))
            assert len(found.data) == 261120
            beyond = await raw.ask(sftp.READ, string(handle), struct.pack(">QI", 1 << 63, 10))
            assert beyond.code == sftp.EOF

    asyncio.run(walk())


def test_who_takes_a_byte_at_a_time_holds_up_nobody(door: Door) -> None:
    """256 KiB in packets of a byte would keep the loop for seconds; they come in packets of 512."""
    content = bytes(range(256)) * 1000
    shipment = door.deliver(ANN, KARI, content)
    packets: list[int] = []

    async def walk() -> None:
        async with door.raw(KARI, greet=False) as raw:
            chan, wire = await raw.conn.create_session(sftp._Wire, subsystem="sftp", encoding=None, max_pktsize=1)
            raw.chan, raw._wire = chan, wire
            chan.log_received_packet = lambda kind, *_: packets.append(kind)
            raw.send(sftp.HELLO)
            assert (await raw.answer()).kind == sftp.VERSION
            handle = (await raw.open(f"/inbox/{shipment}/report.csv", sftp.R)).handle
            raw.send(sftp.read(1, handle, 0, len(content)))
            assert (await raw.answer()).data == content

    asyncio.run(walk())
    assert len(content) // 512 <= len(packets) < len(content) // 256


@pytest.mark.parametrize("window", [2 << 20, (1 << 31) - 1], ids=["usual-window", "endless-window"])
def test_who_does_not_read_costs_a_few_mib(door: Door, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    """Neither SSH's window nor an endless one makes the server fetch far ahead of a client that takes nothing."""
    door.deliver(ANN, KARI, b"z" * (4 << 20))
    served = 0
    opened = door.exchange.collecting.open

    def open_(*args: object) -> object:
        reading = opened(*args)  # type: ignore[arg-type]
        read = reading.read

        def counted(offset: int, count: int) -> bytes:
            nonlocal served
            data = read(offset, count)
            served += len(data)
            return data

        reading.read = counted  # type: ignore[method-assign]
        return reading

    monkeypatch.setattr(door.exchange.collecting, "open", open_)

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            (folder,) = await raw.list("/inbox")
            chan, wire = await raw.conn.create_session(sftp._Wire, subsystem="sftp", encoding=None, window=window)
            raw.chan, raw._wire = chan, wire
            raw.send(sftp.HELLO)
            await raw.answer()
            handle = (await raw.open(f"/inbox/{folder}/report.csv", sftp.R)).handle
            raw.send(*(sftp.read(number, handle, 0, 256 << 10) for number in range(200)))
            raw.conn._transport.pause_reading()  # type: ignore[union-attr]
            before, seen = -1, 0
            while seen < 5:  # until it has stood still for half a second
                await asyncio.sleep(0.1)
                before, seen = served, seen + 1 if served == before else 0
            assert 0 < served <= 8 << 20
            raw.conn._transport.resume_reading()  # type: ignore[union-attr]
            assert {len(answer.data) for answer in await raw.answers(200)} == {261120}

    asyncio.run(walk())


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=1, max_size=4000), packets=st.integers(0, 3))
def test_noise_ends_a_session_at_most(door: Door, noise: bytes, packets: int) -> None:
    """Bytes that are no SFTP at all: answers or a closed channel, and the exchange serves the next."""

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            raw.send(*(packet(sftp.STAT, number, string("/outbox")) for number in range(packets)), noise)
            raw.eof()
            assert await raw.closed() in (0, 1)
        async with door.raw(KARI) as raw:
            assert (await raw.ask(sftp.STAT, string("/"))).kind == sftp.ATTRS

    asyncio.run(walk())


# ---- the tables


def test_every_request_of_the_draft_has_its_verb() -> None:
    """All requests of version 3, from INIT to SYMLINK; nothing under two numbers by mistake."""
    assert set(VERBS) == {1, *range(3, 21)}
    assert all(verb.name == Kind(kind).name for kind, verb in VERBS.items())


def _all(kind: type[errors.FxError]) -> list[type[errors.FxError]]:
    return [kind, *(found for one in kind.__subclasses__() for found in _all(one))]


@pytest.mark.parametrize("kind", _all(errors.FxError), ids=lambda kind: kind.__name__)
def test_every_refusal_has_one_code(kind: type[errors.FxError]) -> None:
    """The branches of the error tree decide, and no error is in two rows of the table."""
    rows = [code for branch, code in CODES if issubclass(kind, branch)]
    assert len(rows) <= 1
    if issubclass(kind, errors.Missing):
        assert rows == [Status.NO_SUCH_FILE]
    if issubclass(kind, errors.Forbidden):
        assert rows == [Status.PERMISSION_DENIED]


# ---- what people hear


def test_openssh_which_hides_the_reason_gets_it_on_stderr_too(door: Door) -> None:
    """Once, however many requests fail for it; what clients run into on their usual way is not told."""

    async def walk() -> None:
        async with door.raw(KARI, client_version="OpenSSH_9.2p1") as raw:
            assert (await raw.ask(sftp.STAT, string("/outbox/nobody@x.example/y"))).code == sftp.NO_SUCH_FILE
            for _ in range(3):
                assert (await raw.open("/inbox/x.csv", W | CREATE)).code == sftp.DENIED
            assert (await raw.ask(sftp.MKDIR, string("/outbox"), attrs())).code == sftp.FAILURE
            assert raw.stderr == "Nothing in inbox can be changed; files to send go in outbox/name@their.example/.\r\n"
        async with door.raw(KARI) as raw:
            assert (await raw.open("/inbox/x.csv", W | CREATE)).code == sftp.DENIED
            assert raw.stderr == ""

    asyncio.run(walk())
