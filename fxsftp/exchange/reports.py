"""Reports: what comes back about a notice after it was carried, by bounces and by callbacks.

Whoever reports has to know what only we have said: a bounce comes to an address that was made for this one mail and
carries a tag which nobody can guess, a callback is signed by the provider (that is looked at where HTTP is spoken).
Reports come late, twice, in any order, and from strangers.  Whether one still changes anything is the notices' to say.

    bounces+9f0c…-kq3v…@exchange.example          base, the notice's id, and its tag: HMAC over the id, 80 bits of it
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

from fxsftp.exchange.carriage import Carriage
from fxsftp.exchange.holdings import Holdings
from fxsftp.seal.primitives import mac, random_bytes, same

KEY = "return path key"  # a standing fact; who can read the registry has no need to forge a bounce
TAG = 10  # bytes, 16 letters: the name before the @ has 64 at most, and most of them are the notice's id

_EXTENSION = re.compile(r"\+([0-9a-f]{24})-([a-z2-7]{16})@", re.IGNORECASE)  # some servers turn the case


class Fate(StrEnum):
    """What a provider says became of a message."""

    DELIVERED = "delivered"
    AGAIN = "again"  # it did not arrive, but another attempt may
    LOST = "lost"  # it did not arrive, and this message never will
    WRONG = "wrong"  # the same, and no other to this address will either


class Reports:
    """Takes what comes back.  `bounces` is the address that bounces go to; without one, they go to the sender."""

    def __init__(self, holdings: Holdings, carriage: Carriage, bounces: str = "") -> None:
        self._registry = holdings.registry
        self._carriage = carriage
        self._bounces = bounces
        self._key: bytes | None = None

    def return_path(self, notice_id: str) -> str:
        """The address that bounces of this one mail go to; empty if there is none for bounces."""
        if not self._bounces:
            return ""
        local, _, host = self._bounces.rpartition("@")
        return f"{local}+{notice_id}-{self._tag(notice_id)}@{host}"

    def whose(self, lines: Iterable[str]) -> str | None:
        """The notice whose return path stands in one of these lines; None for what we have never said."""
        return next(self._proven(lines), None)

    def came(
        self, notice_id: str, fate: Fate, now: float, *, way: str, reference: str | None = None, reason: str = ""
    ) -> bool:
        """A provider has said what became of a notice.  False when that changes nothing: unknown, late, or known."""
        carriage = self._carriage
        match fate:
            case Fate.DELIVERED:
                return carriage.delivered(notice_id, way=way, reference=reference, now=now)
            case Fate.AGAIN:
                return carriage.again(notice_id, way=way, reference=reference, reason=reason, now=now)
            case Fate.LOST | Fate.WRONG:
                is_hard = fate is Fate.WRONG
                return carriage.undelivered(
                    notice_id, way=way, reference=reference, reason=reason, hard=is_hard, now=now
                )

    def _proven(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            for notice_id, tag in _EXTENSION.findall(line.casefold()):
                if same(self._tag(notice_id).encode(), tag.encode()):
                    yield notice_id

    def _tag(self, notice_id: str) -> str:
        return base64.b32encode(mac(self._secret(), b"return path\0" + notice_id.encode())[:TAG]).decode().casefold()

    def _secret(self) -> bytes:
        """Made once for each exchange, by whichever process needs it first."""
        if self._key is None:
            known = self._registry.record.standing(KEY)
            if known is None:
                with self._registry.atomic():
                    known = self._registry.record.standing(KEY) or random_bytes(32).hex()
                    self._registry.record.set_standing(KEY, known)
            self._key = bytes.fromhex(known)
        return self._key
