"""scan-payload: what real programs have encrypted is told from what they have not, and policy says what follows."""

from __future__ import annotations

import gzip
import lzma
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hooks.shown import Shown

SAMPLES = Path(__file__).parents[1] / "data" / "payloads"
ENCRYPTED = sorted((SAMPLES / "encrypted").iterdir())
PLAIN = sorted((SAMPLES / "plain").iterdir())
Show = Callable[..., Shown]

NAMES = {
    "7z-aes.zip": "ZIP, by AES",
    "7z-zipcrypto.zip": "ZIP",
    "infozip.zip": "ZIP",
    "7z-content.7z": "7z",
    "7z-several.7z": "7z",
    "7z-table-not-packed.7z": "7z",
    "7z-names-too.7z": "7z, with the names of its files",
    "gpg-key.gpg": "PGP",
    "gpg-key.asc": "PGP",
    "gpg-password.gpg": "PGP, by a password",
    "age.age": "age",
    "age-armored.age": "age",
    "openssl-cms.der": "CMS",
    "openssl-cms.pem": "CMS",
    "openssl-cms-ber.der": "CMS",
    "openssl-cms-authenticated.der": "CMS",
    "openssl-smime-pkcs7.pem": "CMS",
    "openssl-smime.eml": "S/MIME",
    "openssl-enc.bin": "OpenSSL",
    "office-2007.xlsx": "Office",
}


def test_there_is_a_sample_of_each() -> None:
    assert {path.name for path in ENCRYPTED} == set(NAMES)
    assert len(PLAIN) >= 8


@pytest.mark.parametrize("sample", ENCRYPTED, ids=lambda path: path.name)
def test_what_is_encrypted_is_known_by_its_format(sample: Path, show: Show) -> None:
    hook = show("scan-payload", {"policy": "hold"})
    reason = f"came encrypted already ({NAMES[sample.name]}): its recipient needs the key to that too"
    assert hook.scan(sample.read_bytes()) == ("hold", reason)


@pytest.mark.parametrize("sample", PLAIN, ids=lambda path: path.name)
def test_what_is_packed_or_signed_only_is_not_taken_for_it(sample: Path, show: Show) -> None:
    assert show("scan-payload", {"policy": "hold"}).scan(sample.read_bytes())[0] == "clean"


OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
BOF = b"\x09\x08\x10\x00\x00\x06\x05\x00" + bytes(12)
FIB = b"\xec\xa5\xc1\x00" + bytes(6)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (OLE2 + bytes(1 << 20) + "EncryptedPackage".encode("utf-16-le"), "Office"),
        (OLE2 + bytes(700_000) + "EncryptedSummary".encode("utf-16-le"), "PowerPoint 97-2003"),
        (OLE2 + BOF + b"\x2f\x00\x36\x00", "Excel 97-2003"),
        (OLE2 + BOF + b"\xe1\x00\x02\x00", ""),
        (OLE2 + FIB + b"\x00\x13", "Word 97-2003"),
        (OLE2 + FIB + b"\x00\x12", ""),
        (OLE2 + "WordDocument".encode("utf-16-le"), ""),
        (b"%PDF-1.7\n" + bytes(900_000) + b"trailer <</Size 9 /Encrypt 8 0 R>>", "PDF"),
        (b"%PDF-1.7\n" + bytes(900_000) + b"trailer <</Size 9 /EncryptMetadata true>>", ""),
        (b"LUKS\xba\xbe\x00\x02" + bytes(500), "LUKS"),
    ],
)
def test_what_no_program_here_makes_is_known_as_its_makers_describe_it(content, name, show: Show) -> None:
    verdict, reason = show("scan-payload", {"policy": "hold"}).scan(content)
    assert (verdict, f"({name})" in reason) == (("hold", True) if name else ("clean", False))


def test_a_mark_that_lies_across_two_pieces_is_seen(show: Show) -> None:
    hook = show("scan-payload", {"policy": "hold"})
    mark = b"/Encrypt 8 0 R"
    for cut in range(len(mark)):
        content = b"%PDF-1.7\n".ljust((256 << 10) - cut) + mark
        assert hook.scan(content, piece=256 << 10)[0] == "hold"


def test_the_table_of_a_large_archive_is_found_at_its_end(show: Show) -> None:
    """As 7z writes it: head, what is packed, table; here with much more packed."""
    sample = (SAMPLES / "encrypted" / "7z-table-not-packed.7z").read_bytes()
    offset = int.from_bytes(sample[12:20], "little")
    more = 3_000_000
    grown = sample[:12] + (offset + more).to_bytes(8, "little") + sample[20:32] + bytes(more) + sample[32:]
    assert show("scan-payload", {"policy": "hold"}).scan(grown)[0] == "hold"
    assert show("scan-payload", {"policy": "hold"}).scan(grown[:-50])[0] == "clean"  # cut off


@pytest.mark.parametrize("size", [4096, 70_000, 2_000_000])
def test_bytes_without_any_order_look_encrypted(size: int, show: Show) -> None:
    hook = show("scan-payload", {"random": "hold"})
    for seed in range(20):
        verdict, reason = hook.scan(random.Random(seed).randbytes(size))
        assert (verdict, reason) == ("hold", "looks encrypted already, though it does not say how")


def test_what_has_order_or_says_that_it_is_packed_does_not(show: Show) -> None:
    hook = show("scan-payload", {"policy": "hold"})
    noise = random.Random(1).randbytes(300_000)
    text = b"".join(b"%d;%d;%d\n" % (number, number**2, number**3) for number in range(30_000))
    ordinary = [
        b"", b"a", text, bytes(1_000_000), noise[:1000], noise.hex().encode(), gzip.compress(noise),
        lzma.compress(noise),
        b"\x89PNG\r\n\x1a\n" + noise, b"\xff\xd8\xff\xe0" + noise, b"\x00\x00\x00\x18ftypmp42" + noise, b"PAR1" + noise,
        bytes(byte % 250 for byte in noise),
    ]  # fmt: skip
    assert [hook.scan(content)[0] for content in ordinary] == ["clean"] * len(ordinary)


@pytest.mark.parametrize(
    ("settings", "of_encrypted", "of_random", "of_plain"),
    [
        ({}, "warn", "warn", "clean"),
        ({"policy": "pass"}, "clean", "clean", "clean"),
        ({"policy": "hold"}, "hold", "hold", "clean"),
        ({"policy": "hold", "random": "warn"}, "hold", "warn", "clean"),
        ({"policy": "pass", "plain": "hold"}, "clean", "clean", "hold"),
        ({"policy": "misspelt"}, "hold", "hold", "clean"),
    ],
)
def test_policy_says_what_follows(settings, of_encrypted, of_random, of_plain, show: Show) -> None:
    hook = show("scan-payload", settings)
    age, noise = (SAMPLES / "encrypted" / "age.age").read_bytes(), random.Random(1).randbytes(9999)
    assert [hook.scan(content)[0] for content in (age, noise, b"a;b\n1;2\n")] == [of_encrypted, of_random, of_plain]


def test_what_members_send_is_looked_at_only_if_asked_for(show: Show) -> None:
    age = (SAMPLES / "encrypted" / "age.age").read_bytes()
    assert show("scan-payload", {"policy": "hold"}).scan(age, sender="member")[0] == "clean"
    assert show("scan-payload", {"policy": "hold", "members": True}).scan(age, sender="member")[0] == "hold"


def test_it_answers_before_the_end_where_the_beginning_tells_enough(show: Show) -> None:
    hook = show("scan-payload", {})
    hook.scan(b"age-encryption.org/v1\n" + bytes(20_000_000))
    assert hook.shown < 2_000_000
    assert hook.scan(b"a;b\n")[0] == "clean"


def test_no_bytes_of_anyones_make_it_stumble(show: Show) -> None:
    """Every sample cut short and changed at random places: always an answer, and always from the same process."""
    hook, source = show("scan-payload", {}), random.Random(7)
    for sample in [*ENCRYPTED, *PLAIN]:
        content = sample.read_bytes()
        for _ in range(12):
            changed = bytearray(content[: source.randrange(len(content) + 1)])
            for _ in range(source.randrange(6)):
                if changed:
                    changed[min(int(source.expovariate(0.05)), len(changed) - 1)] = source.randrange(256)
            assert hook.scan(bytes(changed))[0] in ("clean", "warn")
    assert hook.end() == (0, "")


def test_a_file_that_breaks_off_ends_it(show: Show) -> None:
    """The exchange says by its end that it goes away, in the middle of a file, too."""
    hook = show("scan-payload", {})
    hook.begin(b"%PDF-" + os.urandom(1000), size=5000)
    assert hook.end() == (0, "")
