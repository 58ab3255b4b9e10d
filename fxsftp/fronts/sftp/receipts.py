"""Receipts: the pages in sent, and how long each is, which a listing has to say.

A client that compares sizes must find the right one, and only who makes a page knows it: 0.7 ms each.  So the sizes
are kept in the registry, which forgets them with every change, and those missing are found while nothing is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import replace
from pathlib import Path

from fxsftp.domain.model import Entry, Receipt, User
from fxsftp.domain.places import Place
from fxsftp.errors import FxError, NoSuchPlace, ShipmentUnknown
from fxsftp.exchange import pages
from fxsftp.exchange import sent as sent_room
from fxsftp.exchange.pages import receipt_facts, receipt_json
from fxsftp.exchange.sent import Sent
from fxsftp.fronts.desk import Desk
from fxsftp.templates import Templates

log = logging.getLogger("fxsftp.receipts")

READ_ONLY = 0o444
MADE = 25  # pages made in one question: 20 ms
EVERY = 1.0  # seconds between two looks for what is missing
WATCHED = 1000  # receipts that are watched for it at a time, so that many go on as fast as they are made
QUIET = 10.0  # seconds; who is sent something fetches it, and each step of that would make the pages anew
FORM = hashlib.sha256(b"".join(Path(module.__file__ or "").read_bytes() for module in (pages, sent_room))).hexdigest()[
    :8
]


class Receipts:
    """One room's pages, in the language of whoever sent."""

    def __init__(self, desk: Desk, templates: Templates) -> None:
        self._desk = desk
        self._sent = desk.exchange.sent
        self._templates = templates
        self._seen: dict[tuple[str, int], float] = {}  # when something was first missing, as it was changed last

    def page(self, user: User, place: Place) -> tuple[Entry, bytes]:
        """One page of sent.  Runs at the desk.  Raises NoSuchPlace."""
        pages = {f"{place.shipment}.txt": self.text, f"{place.shipment}.json": _json}
        if place.path not in pages:
            raise NoSuchPlace(str(place))
        try:
            sent = self._sent.find(user, place.shipment, self._desk.now())
        except ShipmentUnknown:
            raise NoSuchPlace(str(place)) from None
        text = pages[place.path](sent, user)
        return Entry(place.path, False, len(text), _last_event(sent), READ_ONLY), text

    def text(self, sent: Sent, user: User) -> bytes:
        """The receipt as a page in the user's language."""
        return self._templates.room("sent.txt", user.language, receipt_facts(sent, user)).encode()

    def entries(self, user: User, *, after: str, most: int) -> list[Entry]:
        """Some of sent, on from the page named `after`; fewer where pages have to be made for it.  Runs at the desk."""
        edition = self._edition(user)
        made: list[Receipt] = []
        found: list[Entry] = []
        for receipt in self._sent.receipts(user, edition, after=after.partition(".")[0], most=most // 2):
            if receipt.text is None:
                if len(made) == MADE:
                    break
                receipt = self._measured(receipt, user)  # noqa: PLW2901  the same, and known
                made.append(receipt)
            found += [
                Entry(f"{receipt.shipment}.txt", False, receipt.text or 0, receipt.at, READ_ONLY),
                Entry(f"{receipt.shipment}.json", False, receipt.json, receipt.at, READ_ONLY),
            ]
        self._sent.remember(edition, [receipt for receipt in made if receipt.turn])
        return found

    def _measured(self, receipt: Receipt, user: User) -> Receipt:
        sent = self._sent.find(user, receipt.shipment, self._desk.now())
        text, json = len(self.text(sent, user)), len(receipt_json(sent))
        return replace(receipt, text=text, json=json, at=_last_event(sent))

    def _edition(self, user: User) -> str:
        return f"{self._form()} {user.language}"

    def _form(self) -> str:
        """Of what the pages are made, in any language: whatever of it is changed, their sizes may be others."""
        return f"{self._templates.edition}{FORM}"

    # ---- while nothing is asked

    async def keep(self) -> None:
        """Find what is missing, a little each second, for as long as the service runs."""
        while True:
            try:
                await self._desk.ask_steadily(self.find_some, QUIET)
            except FxError as problem:
                log.error("the sizes of receipts are found later: %s", problem)
            await asyncio.sleep(EVERY)

    def find_some(self, quiet: float = 0) -> int:
        """Make some pages whose sizes are not known, of what has not changed for so long; answers how many."""
        now, outdated = self._desk.now(), self._sent.outdated(self._form(), WATCHED)
        self._seen = {(each.shipment, each.turn): now for each in outdated} | {
            key: self._seen[key] for each in outdated if (key := (each.shipment, each.turn)) in self._seen
        }
        due = [each for each in outdated if now - self._seen[each.shipment, each.turn] >= quiet][:MADE]
        for receipt in due:
            sender = self._desk.exchange.people.by_id(self._sent.show(receipt.shipment).shipment.sender_id)
            self._sent.remember(self._edition(sender), [self._measured(receipt, sender)])
        return len(due)


def _json(sent: Sent, user: User) -> bytes:  # noqa: ARG001  in no language
    return receipt_json(sent)


def _last_event(sent: Sent) -> float:
    return max([sent.shipment.made, *(event.at for event in sent.history)])
