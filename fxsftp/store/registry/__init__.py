"""The registry: every row of the exchange, behind one class.

The engine below it is SQLite; the statements in these modules are plain SQL that PostgreSQL would
take as well.  Rows go in and values of `domain` come out; no rule is applied on this floor.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from fxsftp.store.migrations import bring_up
from fxsftp.store.registry.accounts import Accounts
from fxsftp.store.registry.compositions import Compositions
from fxsftp.store.registry.contents import Contents
from fxsftp.store.registry.deliveries import Deliveries
from fxsftp.store.registry.drops import Drops
from fxsftp.store.registry.endings import Endings
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.folders import Folders
from fxsftp.store.registry.gatherings import Gatherings
from fxsftp.store.registry.guests import Guests
from fxsftp.store.registry.lots import Lots
from fxsftp.store.registry.notices import Notices
from fxsftp.store.registry.people import People
from fxsftp.store.registry.receipts import Receipts
from fxsftp.store.registry.record import Record
from fxsftp.store.registry.schema import MIGRATIONS
from fxsftp.store.registry.segments import Segments
from fxsftp.store.registry.usages import Usages
from fxsftp.store.registry.writers import Writers


class Registry:
    """All rows.  `with registry.atomic():` everything inside happens, or nothing."""

    def __init__(self, path: Path) -> None:
        self._engine = Engine(path, "registry")
        bring_up(self._engine, "registry", MIGRATIONS)
        self.people = People(self._engine)
        self.accounts = Accounts(self._engine)
        self.drops = Drops(self._engine)
        self.writers = Writers(self._engine)
        self.segments = Segments(self._engine)
        self.folders = Folders(self._engine)
        self.contents = Contents(self._engine)
        self.compositions = Compositions(self._engine)
        self.deliveries = Deliveries(self._engine)
        self.guests = Guests(self._engine)
        self.endings = Endings(self._engine)
        self.gatherings = Gatherings(self._engine)
        self.lots = Lots(self._engine)
        self.notices = Notices(self._engine)
        self.receipts = Receipts(self._engine)
        self.record = Record(self._engine)
        self.usages = Usages(self._engine)

    def atomic(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """One transaction.  When `durable`, it returns only after the rows are safe from a power cut."""
        return self._engine.atomic(durable=durable)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.close()
