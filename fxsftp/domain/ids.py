"""Shipment numbers, one-time codes, link tokens: how they are made, read and recognised.

All are Crockford base32 in lower case (digits and letters without i, l, o, u), so that they survive
being read aloud and typed on a phone.  Randomness comes from the operating system.
"""

from __future__ import annotations

import re
import secrets

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE = {letter: value for value, letter in enumerate(ALPHABET)}
_TYPED = str.maketrans("oil", "011", " -_.\t\r\n\u00ad\u2010\u2011\u2012\u2013\u2014\u00a0\u202f")
_CODE_SHAPED = re.compile(r"\s*[0-9a-z]{3,5}([\W_][0-9a-z]{3,5}){3}\s*|[0-9a-z]{15,17}", re.IGNORECASE)
_SHIPMENT = re.compile(
    r"(?:\d{4}-\d\d-\d\d_)?([0-9a-hjkmnp-tv-z]{4}-[0-9a-hjkmnp-tv-z]{4})(?:_.*)?", re.IGNORECASE | re.ASCII
)


def new_shipment_id() -> str:
    """`7k3f-q2mp`: 40 random bits.  A name, not a secret; the registry refuses the rare repeat."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def shipment_id(text: str) -> str | None:
    """The id in `7k3f-q2mp` or in a folder name such as `2026-11-22_7k3f-q2mp_Ref-23-4567`."""
    match = _SHIPMENT.fullmatch(text)
    return match[1].lower() if match else None


def new_code() -> str:
    """`xxxx-xxxx-xxxx-xxxx`: 15 random characters (75 bits) and a check character."""
    values = [secrets.randbelow(32) for _ in range(15)]
    return _grouped([*values, _check(values)])


def normal_code(typed: str) -> str | None:
    """The exact code that was meant, or None when it can't be one: mistypings cost no scrypt.

    Forgives case, blanks and dashes, and reads o as 0, i and l as 1.
    """
    letters = typed.lower().translate(_TYPED)
    if len(letters) != 16 or any(letter not in _VALUE for letter in letters):
        return None
    values = [_VALUE[letter] for letter in letters]
    return _grouped(values) if _check(values[:-1]) == values[-1] else None


def is_code_shaped(name: str) -> bool:
    """Whether a name might be a code, mistyped or not: such names are never logged or stored."""
    return _CODE_SHAPED.fullmatch(name) is not None or normal_code(name) is not None


def redacted(path: str) -> str:
    """`path` with each code-shaped part blotted out, fit for a log."""
    return "/".join("****" if is_code_shaped(part) else part for part in path.split("/"))


def new_token() -> str:
    """32 letters for a link: 160 random bits.  Only its hash is ever stored."""
    return "".join(secrets.choice(ALPHABET) for _ in range(32))


def new_recovery_code() -> str:
    """`xxxxx-xxxxx-xxxxx`: 75 random bits, and does not look like the code of a shipment.  Only its hash is stored."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(3))


def normal_recovery_code(typed: str) -> str | None:
    """As it was shown, or None when it can't be one; forgives what normal_code does."""
    letters = typed.lower().translate(_TYPED)
    if len(letters) != 15 or any(letter not in _VALUE for letter in letters):
        return None
    return "-".join(letters[i : i + 5] for i in range(0, 15, 5))


def new_digits() -> str:
    """Six random digits, for an SMS that confirms a change."""
    return f"{secrets.randbelow(10**6):06}"


def _grouped(values: list[int]) -> str:
    letters = "".join(ALPHABET[value] for value in values)
    return "-".join(letters[i : i + 4] for i in range(0, 16, 4))


def _check(values: list[int]) -> int:
    """Luhn's check in base 32: catches every single wrong letter and nearly every swap of neighbours."""
    total, factor = 0, 2
    for value in reversed(values):
        product = value * factor
        total += product // 32 + product % 32
        factor = 3 - factor
    return -total % 32
