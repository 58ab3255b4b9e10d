"""The bytes of an age header (C2SP age v1), and the Bech32 texts in which age writes its keys.

Strict both ways: what `parse_header` lets through is byte for byte what `make_header` would write, since
the header's MAC covers bytes and two readings of the same bytes are how such formats are attacked.
Nothing here knows how a stanza is made or opened; that is `locks`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from fxsftp.errors import BadKey, NotAge
from fxsftp.seal import primitives

VERSION = b"age-encryption.org/v1"
FILE_KEY = 16  # bytes
MAX_HEADER = 1 << 20  # bytes; a header is read into memory before anything in it is trusted
MAX_STANZAS = 1000  # each may cost a reader one X25519

_COLUMNS = 64  # of base64 in a body line
_ARGUMENT = re.compile(r"[\x21-\x7e]+")
_MAC_LINE = re.compile(rb"--- ([A-Za-z0-9+/]{43})")


@dataclass(frozen=True, slots=True)
class Stanza:
    """One lock as it stands in a header: its kind and arguments, and the wrapped file key."""

    args: tuple[str, ...]
    body: bytes

    @property
    def kind(self) -> str:
        return self.args[0]


@dataclass(frozen=True, slots=True)
class Header:
    """A header that was read but not yet believed: its MAC can only be checked with the file key."""

    stanzas: tuple[Stanza, ...]
    mac: bytes
    mac_input_len: int  # bytes from the start which the MAC covers
    length: int  # bytes; the payload begins here


def make_header(file_key: bytes, stanzas: Iterable[Stanza]) -> bytes:
    """Write the header that offers these stanzas, sealed by its MAC."""
    lines = [VERSION]
    for stanza in stanzas:
        lines.append(" ".join(("->", *stanza.args)).encode("ascii"))
        body = encode64(stanza.body).encode("ascii")
        # A body ends with a line shorter than 64 columns, if need be an empty one.
        lines += [body[start : start + _COLUMNS] for start in range(0, len(body) + 1, _COLUMNS)]
    covered = b"\n".join(lines) + b"\n---"
    return covered + b" " + encode64(header_mac(file_key, covered)).encode("ascii") + b"\n"


def header_mac(file_key: bytes, covered: bytes) -> bytes:
    """Return the MAC that proves that who wrote this header knew the file key."""
    return primitives.mac(primitives.hkdf(file_key, b"", b"header"), covered)


def parse_header(data: bytes) -> Header:
    """Read the header at the start of `data`, which holds all of it, or raise NotAge."""
    lines = _Lines(data)
    if lines.take() != VERSION:
        raise NotAge("it does not begin like one")
    stanzas: list[Stanza] = []
    while True:
        start = lines.position
        line = lines.take()
        if line.startswith(b"---"):
            match = _MAC_LINE.fullmatch(line)
            if match is None or not stanzas:
                raise NotAge("its header ends wrongly")
            return Header(tuple(stanzas), decode64(match[1].decode("ascii")), start + 3, lines.position)
        if len(stanzas) == MAX_STANZAS:
            raise NotAge(f"it has more than {MAX_STANZAS} stanzas")
        stanzas.append(Stanza(_arguments(line), _body(lines)))


class _Lines:
    """The lines of a header, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self) -> bytes:
        end = self._data.find(b"\n", self.position, MAX_HEADER)
        if end < 0:
            raise NotAge("its header is cut short or too long")
        line = self._data[self.position : end]
        self.position = end + 1
        return line


def _arguments(line: bytes) -> tuple[str, ...]:
    if not line.startswith(b"-> "):
        raise NotAge("a stanza begins wrongly")
    args = tuple(line[3:].decode("latin-1").split(" "))
    if not all(_ARGUMENT.fullmatch(arg) for arg in args):
        raise NotAge("a stanza has an argument that can't be one")
    return args


def _body(lines: _Lines) -> bytes:
    text = b""
    while True:
        line = lines.take()
        if len(line) > _COLUMNS:
            raise NotAge("a stanza has a line that is too long")
        text += line
        if len(line) < _COLUMNS:
            return decode64(text.decode("latin-1"))


# ---- texts -----------------------------------------------------------------------------------------


def encode64(data: bytes) -> str:
    """Base64 as age writes it: the standard alphabet, no padding."""
    return base64.b64encode(data).rstrip(b"=").decode("ascii")


def decode64(text: str) -> bytes:
    """Read base64 that has one way only to be written, or raise NotAge."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise NotAge("a text in it is not base64") from None
    if encode64(data) != text:  # padding of its own, or stray bits at the end
        raise NotAge("a text in it is not base64 as it must be written")
    return data


_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECK = 6  # characters


def bech32_encode(prefix: str, data: bytes) -> str:
    """Write bytes as Bech32 (BIP 173, without its limit of 90 characters), in lower case."""
    words = _regroup(data, 8, 5, pad=True)
    check = _polymod(_spread(prefix) + words + [0] * _CHECK) ^ 1
    words += [check >> 5 * (_CHECK - 1 - place) & 31 for place in range(_CHECK)]
    return prefix + "1" + "".join(_BECH32[word] for word in words)


def bech32_decode(text: str) -> tuple[str, bytes]:
    """Return prefix (in lower case) and bytes, or raise BadKey on any slip of the pen."""
    if text not in (text.lower(), text.upper()):
        raise BadKey("it mixes capitals and small letters")
    prefix, _, rest = text.lower().rpartition("1")
    words = [_BECH32.find(char) for char in rest]
    if not prefix or not prefix.isascii() or len(words) < _CHECK or -1 in words:
        raise BadKey("it has characters that no such key has")
    if _polymod(_spread(prefix) + words) != 1:
        raise BadKey("it was mistyped")
    return prefix, bytes(_regroup(words[:-_CHECK], 5, 8, pad=False))


def _polymod(words: list[int]) -> int:
    check = 1
    for word in words:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ word
        for bit, generator in enumerate(_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    return check


def _spread(prefix: str) -> list[int]:
    return [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]


def _regroup(values: Iterable[int], width: int, target: int, *, pad: bool) -> list[int]:
    held = bits = 0
    words = []
    for value in values:
        held = held << width | value
        bits += width
        while bits >= target:
            bits -= target
            words.append(held >> bits & (1 << target) - 1)
        held &= (1 << bits) - 1
    if pad and bits:
        words.append(held << target - bits & (1 << target) - 1)
    elif not pad and (bits >= width or held):
        raise BadKey("it ends wrongly")
    return words
