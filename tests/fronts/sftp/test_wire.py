"""The wire: nothing is read past its end, and what is written is what the draft says."""

from __future__ import annotations

import stat
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsftp.domain.model import Entry, Wishes
from fxsftp.errors import BadPacket
from fxsftp.fronts.sftp import wire
from fxsftp.fronts.sftp.wire import Kind, Reader, Status
from tests.fronts.sftp.raw import attrs

NOW = 1_795_000_000.0
TIMES = st.floats(-1e12, 1e12) | st.floats(NOW - 400 * 86400, NOW + 2 * 86400)


def reader(data: bytes) -> Reader:
    return Reader(data, 0, len(data))


@given(data=st.binary(max_size=40), start=st.integers(0, 40), asked=st.lists(st.sampled_from("1238"), max_size=8))
def test_a_reader_stops_at_the_end_of_its_packet(data: bytes, start: int, asked: str) -> None:
    """Whatever is asked of whatever bytes: a value from within the packet, or BadPacket."""
    packet = b"before" + data + b"of the next packet, and never to be seen"
    taking = Reader(packet, min(6 + start, 6 + len(data)), 6 + len(data))
    left = max(len(data) - start, 0)
    for one in asked:
        try:
            if one == "1":
                taking.uint32()
                left -= 4
            elif one == "2":
                taking.uint64()
                left -= 8
            elif one == "3":
                left -= 4 + len(taking.string())
            else:
                taking.wishes()
                return
        except BadPacket:
            return
        assert left >= 0


@given(
    size=st.none() | st.integers(0, (1 << 64) - 1),
    mode=st.none() | st.integers(0, 0xFFFFFFFF),
    times=st.none() | st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF)),
)
def test_attributes_are_read_as_they_were_meant(
    size: int | None, mode: int | None, times: tuple[int, int] | None
) -> None:
    """Absent stays absent, and of a mode only the permissions count: no setuid, no type."""
    atime, mtime = times or (None, None)
    meant = Wishes(size=size, mode=None if mode is None else mode & 0o777, atime=atime, mtime=mtime)
    assert reader(attrs(size, mode, times)).wishes() == meant


def test_owners_and_extensions_are_passed_over() -> None:
    flags = 0x80000000 | 0x08 | 0x02
    owner, times = struct.pack(">II", 1000, 1000), struct.pack(">II", 1, 2)
    extended = struct.pack(">I", 1) + wire.string(b"acl@example.org") + wire.string(b"everything")
    taking = reader(struct.pack(">I", flags) + owner + times + extended + wire.string(b"next"))
    assert taking.wishes() == Wishes(atime=1, mtime=2)
    assert taking.string() == b"next"


def test_a_status_has_its_text_in_utf_8_and_no_language() -> None:
    packet = wire.status(7, Status.FAILURE, "æøå")
    text = "æøå".encode()
    assert packet == struct.pack(">IBIII", 13 + len(text) + 4, Kind.STATUS, 7, 4, len(text)) + text + b"\0\0\0\0"
    assert wire.status(7, Status.OK) == struct.pack(">IBIIII", 17, Kind.STATUS, 7, 0, 0, 0)


def told(entries: list[Entry], owner: str) -> list[tuple[str, str, bytes]]:
    """Name, line and attributes of each, as a listing tells them."""
    found = []
    for one in wire.listed(entries, owner, NOW):
        taking = reader(one)
        name, line = taking.string().decode(), taking.string().decode()
        found.append((name, line, one[8 + len(name.encode()) + len(line.encode()) :]))
    return found


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (
            Entry("report.csv", False, 12345, NOW - 86400, 0o640),
            "-rw-r-----    1 kari@ssb.example exchange        12345 Nov 17 11:06 report.csv",
        ),
        (
            Entry("Ref 23-4567", True, 0, 1_600_000_000, 0o755),
            "drwxr-xr-x    2 kari@ssb.example exchange            0 Sep 13  2020 Ref 23-4567",
        ),
        (
            Entry("far", False, 0, NOW + 7200, 0o444),
            "-r--r--r--    1 kari@ssb.example exchange            0 Nov 18  2026 far",
        ),
    ],
)
def test_a_line_of_a_listing_is_what_ls_would_show(entry: Entry, line: str) -> None:
    assert told([entry], "kari@ssb.example.which.is.far.too.long") == [(entry.name, line, wire.attrs(entry))]


@given(
    entries=st.lists(
        st.builds(Entry, st.text(), st.booleans(), st.integers(-1, 1 << 60), TIMES, st.integers(0, 0o7777))
    )
)
def test_what_lines_have_in_common_is_put_together_as_if_each_were_alone(entries: list[Entry]) -> None:
    """Time and again, in whatever order: with gmtime, and letter by letter."""
    for entry, (name, line, attributes) in zip(entries, told(entries, "kari"), strict=True):
        when = time.gmtime(min(max(int(entry.mtime), 0), 0xFFFFFFFF))
        hour = time.strftime("%H:%M" if -3600 < NOW - entry.mtime < 182 * 86400 else " %Y", when)
        day = f"{'JanFebMarAprMayJunJulAugSepOctNovDec'[3 * when.tm_mon - 3 : 3 * when.tm_mon]} {when.tm_mday:2}"
        letters = stat.filemode(entry.mode & 0o777 | (stat.S_IFDIR if entry.is_folder else stat.S_IFREG))
        links, size = 1 + entry.is_folder, max(entry.size, 0)
        assert line == f"{letters}    {links} kari             exchange {size:12} {day} {hour} {entry.name}"
        assert (name, attributes) == (entry.name, wire.attrs(entry))


@given(names=st.lists(st.text(max_size=30), max_size=30), most=st.integers(0, 1000))
def test_names_are_parted_into_answers_of_up_to_so_many_bytes(names: list[str], most: int) -> None:
    """All come, in their order; none has to be put off that would have fitted, and a long one comes alone."""
    entries = [Entry(name, False, 1, NOW, 0o644) for name in names]
    one_by_one, first = wire.listed(entries, "kari", NOW), 0
    for answer in wire.answers(entries, "kari", NOW, most):
        count = reader(answer).uint32()
        assert count
        assert answer[4:] == b"".join(one_by_one[first : first + count])
        assert len(answer) - 4 <= most or count == 1
        first += count
        assert first == len(names) or len(answer) - 4 + len(one_by_one[first]) > most
    assert first == len(names)


def test_an_answer_fits_into_what_clients_accept() -> None:
    """OpenSSH's sftp gives up on packets over 256 KiB."""
    assert len(wire.data_head(1, wire.READ_MOST)) + wire.READ_MOST <= 256 << 10


@given(
    size=st.integers(-1, (1 << 63) - 1),
    mtime=st.floats(-1e12, 1e12),
    mode=st.integers(0, 0o7777),
    is_folder=st.booleans(),
)
def test_any_entry_can_be_told(size: int, mtime: float, mode: int, is_folder: bool) -> None:
    flags, told, how, _, when = struct.unpack(">IQIII", wire.attrs(Entry("x", is_folder, size, mtime, mode)))
    assert (flags, told, how & 0o7777) == (0x0D, max(size, 0), mode & 0o777)
    assert how >> 12 == (0o4 if is_folder else 0o10)
    assert when == min(max(int(mtime), 0), 0xFFFFFFFF)
