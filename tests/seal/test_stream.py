"""Payloads: arithmetic, random access, and every way in which one can be forged."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsftp.errors import Forged
from fxsftp.seal import Unsealer, age_read, bytes_at, new_file_key, payload_size, plain_size
from fxsftp.seal.stream import CHUNK, NONCE, SEALED_CHUNK, TAG, Sealer, chunk_at, chunks

BORDERS = [
    0,
    1,
    2,
    65535,
    65536,
    65537,
    131071,
    131072,
    131073,
    196607,
    196608,
    196609,
    1 << 20,
    (1 << 20) + 1,
]
KEY = new_file_key()
TEXT = Random(7).randbytes(max(BORDERS))


def sealed(size: int, key: bytes = KEY) -> bytes:
    """A payload of so many bytes of TEXT."""
    sealer = Sealer(key)
    parts = [sealer.nonce]
    for index in range(chunks(size)):
        last = index == chunks(size) - 1
        parts.append(sealer.seal(TEXT[index * CHUNK : min(size, (index + 1) * CHUNK)], last))
    return b"".join(parts)


def unsealer(payload: bytes, key: bytes = KEY) -> Unsealer:
    return Unsealer(bytes_at(payload), key, len(payload))


def read_all(payload: bytes) -> bytes:
    reader = unsealer(payload)
    return reader.read(0, reader.size)


@pytest.mark.parametrize("size", BORDERS)
def test_a_payload_holds_what_was_sealed_at_every_border(size: int) -> None:
    payload = sealed(size)
    assert len(payload) == payload_size(size)
    assert plain_size(len(payload)) == size
    assert unsealer(payload).size == size
    assert read_all(payload) == TEXT[:size]


@given(st.integers(0, 1 << 50))
def test_every_size_has_one_payload_length(size: int) -> None:
    assert plain_size(payload_size(size)) == size
    assert payload_size(size) == NONCE + size + TAG * max(1, -(-size // CHUNK))


@given(st.integers(-10, 4 * SEALED_CHUNK))
def test_a_length_is_possible_or_refused(length: int) -> None:
    try:
        size = plain_size(length)
    except Forged:
        over = (length - NONCE) % SEALED_CHUNK
        assert length < NONCE + TAG or 0 < over <= TAG
    else:
        assert payload_size(size) == length


@settings(deadline=None)
@given(
    st.sampled_from(BORDERS),
    st.lists(st.tuples(st.integers(0, (1 << 20) + 9), st.sampled_from([0, 1, 100, 32768, 65536, 262144])), max_size=8),
)
def test_reading_from_anywhere_gives_what_a_slice_gives(size: int, reads: list[tuple[int, int]]) -> None:
    reader = unsealer(sealed(size))
    for offset, count in reads:
        assert reader.read(offset, count) == TEXT[:size][offset : offset + count]


@pytest.mark.parametrize("step", [1000, 32768, 65536, 100_000, 262_144])
def test_reading_in_order_asks_for_each_chunk_once(step: int) -> None:
    """Clients read 32 KiB at a time; half of each chunk is not unsealed twice."""
    payload = sealed(1 << 20)
    asked: list[int] = []

    def read_at(offset: int, count: int) -> bytes:
        asked.extend(range(offset, offset + count, SEALED_CHUNK))
        return payload[offset : offset + count]

    reader = Unsealer(read_at, KEY, len(payload))
    assert b"".join(reader.read(offset, step) for offset in range(0, 1 << 20, step)) == TEXT[: 1 << 20]
    assert sorted(asked) == sorted({0, *map(chunk_at, range(16))})


def test_a_size_is_not_believed_before_the_final_chunk_is_unsealed() -> None:
    """A payload cut at a border of chunks has a possible length, and is refused before anybody learns its size."""
    payload = sealed(3 * CHUNK)
    cut = payload[: chunk_at(2)]
    assert plain_size(len(cut)) == 2 * CHUNK
    with pytest.raises(Forged):
        unsealer(cut)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 131073])
def test_a_payload_cut_short_is_refused(size: int) -> None:
    payload = sealed(size)
    for length in {0, 1, NONCE, NONCE + TAG - 1, chunk_at(1), chunk_at(1) + TAG, len(payload) - 1, len(payload) // 2}:
        if length < len(payload):
            with pytest.raises(Forged):
                read_all(payload[:length])


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 131073])
def test_a_payload_with_something_behind_it_is_refused(size: int) -> None:
    for more in (b"\0", bytes(TAG), bytes(SEALED_CHUNK), sealed(1)[NONCE:]):
        with pytest.raises(Forged):
            read_all(sealed(size) + more)


@settings(deadline=None)
@given(st.data())
def test_a_payload_with_one_bit_changed_is_refused(data: st.DataObject) -> None:
    payload = bytearray(sealed(CHUNK + 10))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Forged):
        read_all(bytes(payload))


def test_chunks_can_not_change_places() -> None:
    payload = sealed(3 * CHUNK)
    first, second = payload[chunk_at(0) : chunk_at(1)], payload[chunk_at(1) : chunk_at(2)]
    with pytest.raises(Forged):
        read_all(payload[:NONCE] + second + first + payload[chunk_at(2) :])


def test_chunks_of_another_payload_of_the_same_key_do_not_fit() -> None:
    one, other = sealed(2 * CHUNK), sealed(2 * CHUNK)
    assert one != other
    with pytest.raises(Forged):
        read_all(one[: chunk_at(1)] + other[chunk_at(1) :])


def test_another_file_key_opens_nothing() -> None:
    with pytest.raises(Forged):
        unsealer(sealed(10), new_file_key())


def test_an_empty_chunk_ends_an_empty_file_only() -> None:
    """One more way to write the same file would be one more file with the same content and another length."""
    sealer = Sealer(KEY)
    payload = sealer.nonce + sealer.seal(TEXT[:CHUNK]) + sealer.seal(b"", last=True)
    with pytest.raises(Forged):
        unsealer(payload)


def test_nothing_is_sealed_after_the_final_chunk() -> None:
    sealer = Sealer(KEY)
    sealer.seal(b"end", last=True)
    with pytest.raises(ValueError, match="final"):
        sealer.seal(b"more", last=True)


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 50), st.integers(0, 50))
def test_header_and_body_read_as_one_file(header: bytes, body: bytes, offset: int, count: int) -> None:
    read_at = age_read(header, bytes_at(body), len(body))
    assert read_at(offset, count) == (header + body)[offset : offset + count]
