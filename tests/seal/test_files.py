"""Whole files, from a pipe or in memory."""

from __future__ import annotations

import hashlib
from io import BytesIO, RawIOBase
from random import Random
from typing import cast

import pytest

from fxsftp.errors import CannotOpen, Forged, NotAge
from fxsftp.seal import (
    CHUNK,
    CodeKey,
    CodeLock,
    Identity,
    code_identity,
    open_key_file,
    open_small,
    seal_small,
    seal_stream,
    unseal_stream,
)
from fxsftp.seal.stream import SEALED_CHUNK

ANN = Identity.generate()
SIZES = [0, 1, 65535, 65536, 65537, 131072, 131073]


class Drip(RawIOBase):
    """A pipe: it can't be sought in, and gives less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = BytesIO(data)
        self._chance = Random(len(data))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._data.read(self._chance.randint(1, max(1, len(buffer))) if len(buffer) else 0)
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("size", SIZES)
def test_what_goes_into_a_file_comes_out_of_a_pipe(size: int) -> None:
    plaintext = Random(size).randbytes(size)
    sealed, opened = BytesIO(), BytesIO()
    heard: list[int] = []
    assert seal_stream(cast("BytesIO", Drip(plaintext)), sealed, ANN.lock, progress=heard.append) == size
    assert heard[-1] == size
    assert unseal_stream(cast("BytesIO", Drip(sealed.getvalue())), [ANN], opened, heard.append) == size
    assert heard[-1] == size
    assert hashlib.sha256(opened.getvalue()).digest() == hashlib.sha256(plaintext).digest()
    assert open_small(seal_small(plaintext, ANN.lock), ANN) == plaintext


@pytest.mark.parametrize("size", SIZES)
def test_nothing_past_a_bad_chunk_is_released(size: int) -> None:
    """What came out before is the true beginning, and the error says that it is not all."""
    plaintext = Random(size).randbytes(size)
    file = bytearray(seal_small(plaintext, ANN.lock))
    file[-1] ^= 1
    opened = BytesIO()
    with pytest.raises(Forged):
        unseal_stream(BytesIO(file), [ANN], opened)
    assert opened.getvalue() == plaintext[: max(0, size - 1) // CHUNK * CHUNK]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_cut_short_anywhere_is_refused(size: int) -> None:
    file = seal_small(bytes(size), ANN.lock)
    for length in {0, 10, 22, 100, 180, len(file) - 1, len(file) - 16, len(file) - 17, len(file) - SEALED_CHUNK}:
        if 0 <= length < len(file):
            with pytest.raises((NotAge, Forged)):
                open_small(file[:length], ANN)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_with_something_behind_it_is_refused(size: int) -> None:
    file = seal_small(bytes(size), ANN.lock)
    for more in (b"\n", file):
        with pytest.raises(Forged):
            open_small(file + more, ANN)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\n",
        b"PK\3\4 a zip",
        b"age-encryption.org/v2\n-> X25519 a\n",
        b"age-encryption.org/v1",
        b"age-encryption.org/v1\n",
        b"-----BEGIN AGE ENCRYPTED FILE-----\n",
        b"age-encryption.org/v1\r\n",
        b"age-encryption.org/v1\n" + b"x" * (2 << 20),
        b"age-encryption.org/v1\n" + b"-> x\n\n" * 300_000,
    ],
    ids=range(10),
)
def test_what_is_no_age_file_is_refused(file: bytes) -> None:
    with pytest.raises(NotAge):
        open_small(file, ANN)


def test_a_stranger_opens_nothing_and_gets_nothing() -> None:
    opened = BytesIO()
    with pytest.raises(CannotOpen):
        unseal_stream(BytesIO(seal_small(b"figures", ANN.lock)), [Identity.generate(), CodeKey("x")], opened)
    assert opened.getvalue() == b""


def test_key_age_gives_its_identity_to_who_knows_the_code() -> None:
    identity, key_age = code_identity("7k3f-q2mp-x9ab-0c1d")
    assert open_key_file(key_age, "7k3f-q2mp-x9ab-0c1d") == identity
    with pytest.raises(CannotOpen):
        open_key_file(key_age, "7k3f-q2mp-x9ab-0c1e")
    assert identity.secret_text().encode() not in key_age
    assert code_identity("7k3f-q2mp-x9ab-0c1d")[0] != identity


def test_a_small_thing_opens_by_its_code() -> None:
    sealed = seal_small(b"figures", CodeLock("word", log_n=10))
    assert open_small(sealed, CodeKey("word")) == b"figures"
