"""How much room each sender's files take up: a figure that is kept, and a sum that it must equal.

Counted are drafts, drops and what is sent and not yet erased; not what is thrown away as it comes, which has no
shipment.  Triggers keep the figure (schema.py), within the transaction of what changes it, so that no program that
writes can forget to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fxsftp.domain.model import User
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.people import user_of

_SUM = (
    "(SELECT COALESCE(SUM(size), 0) FROM shipments CROSS JOIN files ON files.shipment_id = shipments.id"
    " WHERE sender_id = users.id AND erased IS NULL)"
)


@dataclass(frozen=True, slots=True)
class Usage:
    """How many bytes a user's files take up, and whether the user was told that it is nearly all of the quota."""

    user: User
    used: int
    summed: int  # what `used` must be
    is_told: bool


class Usages:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def of(self, user_id: int) -> int:
        """Bytes that this sender's files take up."""
        return int(self._db.value("SELECT used FROM users WHERE id = ?", (user_id,)))

    def summed(self, after: int, most: int) -> Sequence[Usage]:
        """What the next users after an id take up, by id, added up anew; without those who have been removed."""
        rows = self._db.rows(
            f"SELECT *, {_SUM} AS summed FROM users WHERE id > ?"  # noqa: S608
            " AND standing <> 'removed' ORDER BY id LIMIT ?",
            (after, most),
        )
        return [Usage(user_of(row), row["used"], row["summed"], bool(row["quota_told"])) for row in rows]

    def mend(self, user_id: int) -> None:
        """What is kept of this user is the sum."""
        self._db.execute(f"UPDATE users SET used = {_SUM} WHERE id = ?", (user_id,))  # noqa: S608
