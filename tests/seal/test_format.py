"""Header bytes: one way to write them, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsftp.errors import BadKey, NotAge
from fxsftp.seal.format import (
    MAX_HEADER,
    MAX_STANZAS,
    Stanza,
    bech32_decode,
    bech32_encode,
    decode64,
    encode64,
    header_mac,
    make_header,
    parse_header,
)

KEY = b"sixteen byte key"
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
stanzas = st.builds(Stanza, st.lists(words, min_size=1, max_size=5).map(tuple), st.binary(max_size=200))


@given(st.lists(stanzas, min_size=1, max_size=8), st.binary(max_size=50))
def test_what_is_written_is_read(written: list[Stanza], payload: bytes) -> None:
    """Whatever follows the header, and at every length of a body's last line."""
    data = make_header(KEY, written)
    header = parse_header(data + payload)
    assert list(header.stanzas) == written
    assert header.length == len(data)
    assert header.mac == header_mac(KEY, data[: header.mac_input_len])


@given(st.lists(stanzas, min_size=1, max_size=3), st.data())
def test_a_header_cut_anywhere_is_refused(written: list[Stanza], data: st.DataObject) -> None:
    header = make_header(KEY, written)
    with pytest.raises(NotAge):
        parse_header(header[: data.draw(st.integers(0, len(header) - 1))])


@given(st.lists(stanzas, min_size=1, max_size=3), st.data())
def test_a_header_with_one_byte_changed_never_reads_the_same(written: list[Stanza], data: st.DataObject) -> None:
    """It is refused, or it reads as something else, which its MAC then gives away."""
    header = bytearray(make_header(KEY, written))
    place = data.draw(st.integers(0, len(header) - 1))
    header[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = parse_header(bytes(header))
    except NotAge:
        return
    assert header_mac(KEY, bytes(header[: changed.mac_input_len])) != changed.mac


@given(st.binary(max_size=300))
def test_rubbish_is_refused(rubbish: bytes) -> None:
    for data in (rubbish, b"age-encryption.org/v1\n" + rubbish, b"age-encryption.org/v1\n-> X\n" + rubbish):
        try:
            parse_header(data)
        except NotAge:
            continue
        assert b"\n--- " in data


def test_a_header_has_at_most_a_thousand_stanzas() -> None:
    stanza = Stanza(("X25519", "share"), b"body")
    assert len(parse_header(make_header(KEY, [stanza] * MAX_STANZAS)).stanzas) == MAX_STANZAS
    with pytest.raises(NotAge, match="stanzas"):
        parse_header(make_header(KEY, [stanza] * (MAX_STANZAS + 1)))


def test_a_header_has_at_most_a_mebibyte() -> None:
    large = Stanza(("grease",), bytes(MAX_HEADER // 2))
    assert parse_header(make_header(KEY, [large]))
    with pytest.raises(NotAge, match="too long"):
        parse_header(make_header(KEY, [large, large]))


def test_a_header_without_a_stanza_is_refused() -> None:
    with pytest.raises(NotAge):
        parse_header(make_header(KEY, []))


@pytest.mark.parametrize("text", ["YQ==", "YR", "Y", "Y Q", "YQ\n", "Y-Q_", "Yé", "YWJj=", "="])
def test_base64_that_could_be_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(NotAge):
        decode64(text)


@given(st.binary(max_size=80))
def test_base64_reads_what_it_writes(data: bytes) -> None:
    assert decode64(encode64(data)) == data


@given(st.binary(max_size=64))
def test_bech32_reads_what_it_writes(data: bytes) -> None:
    assert bech32_decode(bech32_encode("age", data)) == ("age", data)
    assert bech32_decode(bech32_encode("age", data).upper()) == ("age", data)


@given(st.binary(min_size=32, max_size=32), st.integers(4, 61), st.integers(1, 31))
def test_bech32_finds_one_slip_of_the_pen(data: bytes, place: int, shift: int) -> None:
    text = bech32_encode("age", data)
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    wrong = letters[(letters.index(text[place]) + shift) % 32]
    with pytest.raises(BadKey):
        bech32_decode(text[:place] + wrong + text[place + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age1",
        "1qqqqqq",
        "age1bbbbbb",
        "Age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
        "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujw",
        "åge1qqqqqqqqq",
    ],
)
def test_what_is_no_bech32_is_refused(text: str) -> None:
    with pytest.raises(BadKey):
        bech32_decode(text)


LONG = "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio"


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("A12UEL5L", "a"),  # BIP 173's own vectors
        ("an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs", LONG),
        ("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw", "abcdef"),
    ],
)
def test_bech32_is_that_of_bip_173(text: str, prefix: str) -> None:
    found, data = bech32_decode(text)
    assert found == prefix
    assert bech32_encode(found, data) == text.lower()
