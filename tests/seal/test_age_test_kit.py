"""The age test kit (C2SP CCTV): what every age program must open, and what it must refuse, and why.

Left out are the vectors for what we don't speak: ASCII armor and post-quantum keys.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from io import BytesIO

import pytest

from fxsftp.errors import CannotOpen, Forged, FxError, NotAge
from fxsftp.seal import CodeKey, Identity, Key, unseal_stream
from tests.node_packages import NODE, package

APPLICABLE = 92  # of cctv-age 0.2.0

REFUSALS: dict[str, tuple[type[FxError], ...]] = {
    "no match": (CannotOpen,),
    "HMAC failure": (Forged,),
    "header failure": (NotAge,),
    "payload failure": (Forged,),
}


@dataclass(frozen=True)
class Vector:
    """One file of the kit: what it says about itself, and the age file."""

    name: str
    says: tuple[tuple[str, str], ...]
    file: bytes

    def all(self, word: str) -> list[str]:
        return [value for key, value in self.says if key == word]

    @property
    def expect(self) -> str:
        return self.all("expect")[0]

    @property
    def is_ours(self) -> bool:
        hybrid = any(identity.startswith("AGE-SECRET-KEY-PQ-") for identity in self.all("identity"))
        return not (self.all("armored") or hybrid)


def vectors() -> list[Vector]:
    text = (package("cctv-age") / "index.js").read_text("utf-8")
    return [
        _vector(name, base64.b64decode(data)) for name, data in re.findall(r'var (\w+)_default = \w+\("(.*?)"\);', text)
    ]


def _vector(name: str, raw: bytes) -> Vector:
    head, _, file = raw.partition(b"\n\n")
    says = tuple((key, value) for key, _, value in (line.partition(": ") for line in head.decode().splitlines()))
    return Vector(name, says, zlib.decompress(file) if ("compressed", "zlib") in says else file)


def keys_of(vector: Vector) -> list[Key]:
    codes = [CodeKey(passphrase) for passphrase in vector.all("passphrase")]
    return [*map(Identity.parse, vector.all("identity")), *codes]


def test_every_vector_of_the_kit_gets_its_verdict() -> None:
    """Opened or refused for the right reason, and what came out before a refusal is as the kit says, to the byte."""
    ours = [vector for vector in vectors() if vector.is_ours]
    wrong = {vector.name: verdict for vector in ours if (verdict := judge(vector))}
    assert not wrong
    assert len(ours) == APPLICABLE


def judge(vector: Vector) -> str:
    """Return what is wrong with our verdict, or nothing."""
    released = BytesIO()
    try:
        unseal_stream(BytesIO(vector.file), keys_of(vector), released)
    except FxError as refusal:
        if not isinstance(refusal, REFUSALS.get(vector.expect, ())):
            return f"expected {vector.expect}, not {refusal!r}"
    else:
        if vector.expect != "success":
            return f"expected {vector.expect}, but it opened"
    if vector.all("payload") and vector.all("payload") != [hashlib.sha256(released.getvalue()).hexdigest()]:
        return "released something else"
    return ""


def test_what_is_left_out_is_armor_and_post_quantum_only() -> None:
    """No vector escapes by being misread."""
    left_out = [vector.name for vector in vectors() if not vector.is_ours]
    assert left_out
    assert all(name.startswith(("armor", "hybrid")) for name in left_out), left_out


def test_the_lock_of_npm_names_no_host() -> None:
    """Who runs the tests fetches from the registry of their own settings."""
    lock = (NODE / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock  # other addresses in it are where authors like to be thanked
    assert "integrity" in lock


@pytest.mark.parametrize("expect", [*REFUSALS, "success"])
def test_the_kit_holds_each_kind_of_verdict(expect: str) -> None:
    """A kit that failed to load would pass everything."""
    assert any(vector.expect == expect for vector in vectors() if vector.is_ours)
