"""How values are written in the settings, by hand or in the environment, and what each of these kinds becomes.

A duration is written '15 min' and becomes seconds, a size is written '50 GiB' and becomes bytes; where several are
meant, the environment, which has no lists, divides them by commas.  What is not understood raises a ValueError that
shows how to write it; `settings` says of which key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

MOST_WORKERS = 64

_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_MEASURE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def _seconds(value: object) -> object:
    return _measured(value, _SECONDS, "'30 s', '15 min', '24 h' or '7 d'")


def _bytes(value: object) -> object:
    measured = _measured(value, _BYTES, "'512 KiB', '50 GiB' or '1 TiB'")
    return int(measured) if isinstance(measured, float) else measured


def _measured(value: object, units: Mapping[str, int], example: str) -> object:
    if isinstance(value, bool):
        raise ValueError(f"write it like {example}")
    if not isinstance(value, str):
        return value
    written = _MEASURE.fullmatch(value)
    if not written or written[2] not in units:
        raise ValueError(f"{value!r} is not understood; write it like {example}")
    return float(written[1]) * units[written[2]]


def _several(value: object) -> object:
    """The environment has no lists: there, commas divide."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _startups(value: object) -> object:
    """`start:percent:full` as three numbers."""
    parts = value.split(":") if isinstance(value, str) else []
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError("write it like '30:30:100'")
    start, percent, full = map(int, parts)
    if not 1 <= start <= full or percent > 100:
        raise ValueError("the first number is 1 at least and the last at most; the second is percent")
    return start, percent, full


def _workers(value: object) -> object:
    """A number, or 'auto'."""
    if value == "auto":
        return 0
    try:
        wanted = 0 if isinstance(value, bool) else int(str(value))
    except ValueError:
        wanted = 0
    if not 1 <= wanted <= MOST_WORKERS:
        raise ValueError(f"write 'auto', or how many, up to {MOST_WORKERS}")
    return wanted


def _zone(value: str) -> str:
    try:
        return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no time zone; write it like 'Europe/Oslo'") from None


def _public_url(value: str) -> str:
    """Without the slash at its end, for paths go behind it; its cookies are for a whole host, so it has none itself."""
    parts = urlsplit(value)
    is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    more = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if value and (not parts.hostname or parts.scheme not in ("https", "http") or more):
        raise ValueError("write it like 'https://exchange.example.org'")
    if parts.scheme == "http" and not is_here:
        raise ValueError("it must begin with https://; a web server in front of the portal speaks TLS")
    return value.rstrip("/")


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError(f"{value!r} is no address; write it like '192.0.2.7' or '192.0.2.0/24'") from None
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]
Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
Times = Annotated[tuple[Seconds, ...], BeforeValidator(_several)]
Startups = Annotated[tuple[int, int, int], BeforeValidator(_startups)]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any that is free
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
HookName = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]*)?$")]
Zone = Annotated[str, AfterValidator(_zone)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Workers = Annotated[int, BeforeValidator(_workers)]  # 0: one for each core
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(_several)]
HookNames = Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")], ...], BeforeValidator(_several)]
Delivery = Literal["code", "keys", "session"]
