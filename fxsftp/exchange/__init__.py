"""The exchange: every rule about a shipment is applied here.

Nothing on this floor knows SFTP, HTTP, mail or a terminal.  Time comes in as an argument, in seconds UTC.
A method either returns with the registry committed, or raises and nothing happened.

One drop's way through these rooms:  writing (open_draft, close_draft)  →  dispatch (step)  →  carriage
(take_due)  →  inbox (list)  →  opening (open_with_code)  →  collecting (open, read_done)  →  sent (find);  upkeep
(sweep) ends it.
One person's:  people (invite)  →  links (request_by_invitation, set_password)  →  visits (begin), totp (check).
"""

from __future__ import annotations

from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.carriage import Carriage
from fxsftp.exchange.collecting import Collecting
from fxsftp.exchange.composing import Composing
from fxsftp.exchange.confirmations import Confirmations
from fxsftp.exchange.dispatch import Dispatch
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.erasing import Erasing
from fxsftp.exchange.guests import Guests
from fxsftp.exchange.holdings import Holdings, Keyring
from fxsftp.exchange.inbox import Inbox
from fxsftp.exchange.links import Links
from fxsftp.exchange.lockout import Lockout
from fxsftp.exchange.notices import Notices
from fxsftp.exchange.offers import Offers
from fxsftp.exchange.opening import Opening
from fxsftp.exchange.outbox import Outbox
from fxsftp.exchange.people import People
from fxsftp.exchange.reads import Reads
from fxsftp.exchange.renewing import Renewing
from fxsftp.exchange.reports import Reports
from fxsftp.exchange.resending import Resending
from fxsftp.exchange.scanning import Scanning
from fxsftp.exchange.sent import SentRoom
from fxsftp.exchange.sums import Sums
from fxsftp.exchange.tokens import Tokens
from fxsftp.exchange.totp import Totp
from fxsftp.exchange.upkeep import Upkeep
from fxsftp.exchange.visits import Visits
from fxsftp.exchange.writing import Writing

__all__ = ["Exchange", "Holdings", "Keyring"]


class Exchange:
    """All rooms over one set of holdings."""

    def __init__(self, holdings: Holdings, language: str = "en", bounces: str = "", name: str = "fxsftp") -> None:
        self._holdings = holdings
        self.policy = holdings.policy
        bodies = Bodies(holdings)
        self.notices = Notices(holdings)
        self.carriage = Carriage(holdings, self.notices)
        self.resending = Resending(holdings, self.notices, self.carriage)
        self.reports = Reports(holdings, self.carriage, bounces)
        erasing, drops = Erasing(holdings, bodies), Drops(holdings, bodies)
        self.writing = Writing(holdings, bodies, drops)
        self.outbox = Outbox(holdings, bodies, drops, self.writing)
        tokens, lockout = Tokens(holdings, self.notices), Lockout(holdings, self.notices)
        self._reads = reads = Reads(holdings, self.notices)
        self.people = People(holdings, drops, reads, self.notices, tokens, lockout, language)
        self.links = Links(holdings, self.people, drops, tokens, lockout)
        self.totp = Totp(holdings, self.notices, lockout, name)
        self.confirmations = Confirmations(holdings, self.people, self.totp, tokens)
        self.visits = Visits(holdings)
        self.guests = Guests(holdings)
        self.dispatch = Dispatch(holdings, bodies, drops, erasing, self.writing, self.notices)
        self.composing = Composing(holdings, bodies, drops, self.writing, self.people, self.dispatch)
        self.scanning = Scanning(holdings, bodies, self.dispatch)
        offers = Offers(holdings)
        self.inbox = Inbox(holdings, offers, reads, self.notices)
        self.opening = Opening(holdings, offers, self.notices)
        self.sums = Sums(holdings, bodies, offers)
        self.collecting = Collecting(holdings, bodies, offers, self.sums, reads)
        self.sent = SentRoom(holdings, erasing, reads, self.notices)
        self.renewing = Renewing(holdings, self.dispatch, self.notices)
        self.upkeep = Upkeep(holdings, erasing, reads, self.notices)

    def close(self) -> None:
        """Finish what is under way and let go of the stores."""
        self._reads.write()
        self._holdings.close()
