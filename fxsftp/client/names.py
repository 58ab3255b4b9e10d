"""Which names may be written here, and how a SHA256SUMS is read and written.

What an exchange offers is not trusted: it may be somebody else's server, or ours in somebody else's
hands.  A name is one part of a path below the folder that the user gave, on any system that folder
may be copied to, or it is refused whole; nothing is ever mended into something that looks alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from hashlib import sha256

from fxsftp.errors import BadName, UnsafeName

SUMS = "SHA256SUMS"
NAME_BYTES = 255  # what ext4, NTFS and APFS can hold in one name
UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.part")  # what `unfinished` makes
# Files that a desktop leaves behind in folders: exchanges take and forget them, so they aren't sent at all.
LITTER = (".DS_Store", "._*", "Thumbs.db", "desktop.ini", "~$*", ".*.swp", ".nfs*")

_DEVICES = re.compile(r"(con|prn|aux|nul|com[1-9¹²³]|lpt[1-9¹²³])\s*(\..*)?", re.IGNORECASE)
_UNSEEN = frozenset("\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_SUM_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


def local_name(raw: bytes) -> str:
    """The one name that `raw` is, or UnsafeName with the reason."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UnsafeName(shown(raw), "it is not UTF-8") from None
    reason = _why_unsafe(name)
    if reason is not None:
        raise UnsafeName(shown(raw), reason)
    return name


def _why_unsafe(name: str) -> str | None:
    if name in ("", ".", ".."):
        return "it means another folder"
    if "/" in name or "\\" in name:
        return "it is a path and not a name"
    if any(unicodedata.category(letter) == "Cc" or letter in _UNSEEN for letter in name):
        return "it has a control character in it"
    if len(name.encode()) > NAME_BYTES:
        return f"it is longer than {NAME_BYTES} bytes"
    if _DEVICES.fullmatch(name):
        return "Windows takes it for a device"
    if UNFINISHED.fullmatch(name):
        return "unfinished files are kept under such names"
    return None


def no_two_alike(names: Iterable[str]) -> None:
    """Raises UnsafeName when two names would be one file on a disk that ignores case or composition."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()), name)
        if first is not name:
            raise UnsafeName(name, f"it would overwrite {first!r} on a disk that ignores case")


def unfinished(name: str) -> str:
    """Under which name a file lies until all of it is here: hidden, and never as long as a name may not be."""
    return f".{sha256(name.encode()).hexdigest()[:16]}.part"


def is_litter(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in LITTER)


def remote_name(name: str) -> str:
    """A local name as it is sent: NFC, one part of a path.  What else an exchange minds, it says itself."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadName(shown(name.encode("utf-8", "surrogateescape")), "it is not UTF-8") from None
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise BadName(shown(name.encode()), "it is not one name")
    return unicodedata.normalize("NFC", name)


def read_sums(text: bytes) -> dict[str, str]:
    """Path to SHA-256 in hexadecimal.  Lines that say nothing about a path we would write are passed over."""
    sums: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        match = _SUM_LINE.fullmatch(line)
        if match:
            sums[match[2].removeprefix("./")] = match[1].lower()
    return sums


def write_sums(sums: Mapping[str, str]) -> bytes:
    """As `sha256sum` writes it, so that `sha256sum -c` checks it."""
    return b"".join(_sum_line(path, digest) for path, digest in sorted(sums.items()))


def _sum_line(path: str, digest: str) -> bytes:
    plain = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if plain == path else chr(92)}{digest}  {plain}\n".encode()


def shown(raw: bytes) -> str:
    """A name that is refused, fit for a terminal."""
    text = raw[:80].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
