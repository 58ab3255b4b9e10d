"""Rows of notices: written with what they tell of, taken by a courier under a lease.

However many are due, every statement here finds its rows by an index; tests/store/test_notices.py asks SQLite how.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping

from fxsftp.domain.model import Notice
from fxsftp.domain.notices import WAYS
from fxsftp.store.registry.engine import Engine

# Statements whose plans a test looks at.
TAKE = (
    "UPDATE notices SET lease = ?, leased_until = ?, attempts = attempts + 1, begun = COALESCE(begun, ?) WHERE id IN ("
    " SELECT id FROM notices WHERE state = 'due' AND lease IS NULL AND way = ? AND due <= ?"
    " ORDER BY due, id LIMIT ?) RETURNING *"
)
TAKE_ALONG = (
    "UPDATE notices SET lease = ?, leased_until = ?, begun = COALESCE(begun, ?), envelope = ?,"
    " attempts = attempts + CASE WHEN lease IS NULL THEN 1 ELSE 0 END WHERE id IN ("
    " SELECT id FROM notices WHERE user_id = ? AND due <= ? AND state = 'due' AND digest = 1 AND envelope IS NULL"
    " AND (lease IS NULL OR lease = ?)) RETURNING *"
)
RETAKE_ALONG = (
    "UPDATE notices SET lease = ?, leased_until = ?, attempts = attempts + CASE WHEN lease IS NULL THEN 1 ELSE 0 END"
    " WHERE envelope = ? AND state = 'due' AND (lease IS NULL OR lease = ?) RETURNING *"
)
TAKE_QUESTIONS = (
    "UPDATE notices SET lease = ?, leased_until = ?, asked = asked + 1 WHERE id IN ("
    " SELECT id FROM notices WHERE ask_due IS NOT NULL AND lease IS NULL AND way = ? AND ask_due <= ?"
    " ORDER BY ask_due, id LIMIT ?) RETURNING *"
)
FREE_LAPSED = (
    "UPDATE notices SET lease = NULL, leased_until = NULL WHERE lease IS NOT NULL AND way = ? AND leased_until <= ?"
)
RENEW = "UPDATE notices SET leased_until = ? WHERE lease IS NOT NULL AND way = ? AND lease = ? AND id = ?"
FINISH = (
    "UPDATE notices SET state = ?, reason = ?, reference = ?, done = ?, ask_due = ?, lease = NULL, leased_until = NULL"
    " WHERE id = ? AND lease = ? AND state = 'due' RETURNING *"
)
NEXT_DUE = "SELECT MIN(due) FROM notices WHERE state = 'due' AND lease IS NULL AND way = ?"
NEXT_QUESTION = "SELECT MIN(ask_due) FROM notices WHERE ask_due IS NOT NULL AND lease IS NULL AND way = ?"
NEXT_LAPSE = "SELECT MIN(leased_until) FROM notices WHERE lease IS NOT NULL AND way = ?"
# The ways are named so that the index of what is due is the one to take: it begins with the way.
WAITING = (
    "SELECT way, COUNT(*) AS n FROM notices WHERE way IN (?, ?, ?) AND state = 'due' AND lease IS NULL GROUP BY way"
)
ENVELOPE = "SELECT * FROM notices WHERE envelope = ? ORDER BY due, id"
BY_REFERENCE = "SELECT * FROM notices WHERE reference = ? AND way = ? ORDER BY made, id"
NEWEST = "SELECT * FROM notices ORDER BY made DESC, id DESC LIMIT ?"
NEWEST_IN = "SELECT * FROM notices WHERE state = ? ORDER BY made DESC, id DESC LIMIT ?"
COUNT_IN = "SELECT COUNT(*) FROM notices WHERE state = ?"


class Notices:
    """Due, carried, delivered, failed, dropped.  No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def add(
        self,
        kind: str,
        way: str,
        address: str,
        language: str,
        facts: Mapping[str, object],
        now: float,
        *,
        due: float | None = None,
        digest: bool = False,
        user_id: int | None = None,
        shipment_id: str | None = None,
        delivery_id: int | None = None,
    ) -> str:
        """A new notice, due at once if nothing else is said.  Its id is stable over every attempt."""
        notice_id = secrets.token_hex(12)
        self._db.execute(
            "INSERT INTO notices (id, kind, way, user_id, shipment_id, delivery_id, address, language, facts, state,"
            " due, made, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'due', ?, ?, ?)",
            (
                notice_id, kind, way, user_id, shipment_id, delivery_id, address, language, json.dumps(facts),
                now if due is None else due, now, int(digest),
            ),
        )  # fmt: skip
        return notice_id

    # ---- under a lease

    def free_lapsed(self, way: str, now: float) -> None:
        """What a courier took and did not come back for is anyone's again."""
        self._db.execute(FREE_LAPSED, (way, now))

    def take(self, way: str, now: float, lease: str, until: float, limit: int) -> list[Notice]:
        """At most `limit` due notices of one way, leased until `until`: no other courier gets them before."""
        rows = self._db.rows(TAKE, (lease, until, now, way, now, limit))
        return sorted((_notice(row) for row in rows), key=_by_due)

    def take_along(self, notice: Notice, now: float, lease: str, until: float) -> list[Notice]:
        """All that goes in one digest with `notice`, itself among it.  A digest once made up keeps its contents."""
        if notice.envelope is not None:
            rows = self._db.rows(RETAKE_ALONG, (lease, until, notice.envelope, lease))
        else:
            rows = self._db.rows(TAKE_ALONG, (lease, until, now, notice.id, notice.user_id, now, lease))
        return sorted((_notice(row) for row in rows), key=_by_due)

    def take_questions(self, way: str, now: float, lease: str, until: float, limit: int) -> list[Notice]:
        """The same for those that were carried, and of which it is time to ask what became of them."""
        return [_notice(row) for row in self._db.rows(TAKE_QUESTIONS, (lease, until, way, now, limit))]

    def renew(self, way: str, lease: str, until: float, notice_ids: Iterable[str]) -> None:
        """A courier that lives keeps what it has in hand."""
        self._db.execute_many(RENEW, [(until, way, lease, notice_id) for notice_id in notice_ids])

    def finish(
        self,
        notice_id: str,
        lease: str,
        state: str,
        reason: str,
        reference: str,
        now: float,
        ask_due: float | None = None,
    ) -> Notice | None:
        """What became of it, if this courier still has it under its lease."""
        row = self._db.row(FINISH, (state, reason, reference, now, ask_due, notice_id, lease))
        return _notice(row) if row else None

    def ask_at(self, notice_id: str, lease: str, when: float | None) -> None:
        """What became of it is asked then, or never again."""
        self._db.execute(
            "UPDATE notices SET ask_due = ?, lease = NULL, leased_until = NULL WHERE id = ? AND lease = ?",
            (when, notice_id, lease),
        )

    def put_off(self, notice_id: str, lease: str, due: float, reason: str) -> None:
        """Try again at `due`."""
        self._db.execute(
            "UPDATE notices SET due = ?, reason = ?, lease = NULL, leased_until = NULL"
            " WHERE id = ? AND lease = ? AND state = 'due'",
            (due, reason, notice_id, lease),
        )

    def put_back(self, notice_id: str, lease: str, due: float, reason: str) -> None:
        """As if it had not been taken, but for the reason."""
        self._db.execute(
            "UPDATE notices SET due = ?, reason = ?, lease = NULL, leased_until = NULL, attempts = attempts - 1,"
            " begun = CASE WHEN attempts > 1 THEN begun END WHERE id = ? AND lease = ? AND state = 'due'",
            (due, reason, notice_id, lease),
        )

    # ---- without one

    def settle(self, notice_id: str, state: str, before: tuple[str, ...], reason: str, now: float) -> Notice | None:
        """To `state` if it is in one of those `before`; whoever has it in hand finds that out."""
        marks = ", ".join("?" for _ in before)
        row = self._db.row(
            "UPDATE notices SET state = ?, reason = ?, done = ?, ask_due = NULL, lease = NULL,"  # noqa: S608
            f" leased_until = NULL WHERE id = ? AND state IN ({marks}) RETURNING *",
            (state, reason, now, notice_id, *before),
        )
        return _notice(row) if row else None

    def refer(self, notice_id: str, reference: str) -> None:
        """What the provider calls it, if that is not known yet."""
        self._db.execute("UPDATE notices SET reference = ? WHERE id = ? AND reference = ''", (reference, notice_id))

    def carry_again(self, notice_id: str, due: float, reason: str) -> None:
        """What was carried did not arrive, and is tried again; that attempt has a name of its own at the provider."""
        self._db.execute(
            "UPDATE notices SET state = 'due', due = ?, reason = ?, done = NULL, reference = '', ask_due = NULL,"
            " lease = NULL, leased_until = NULL WHERE id = ? AND state = 'carried'",
            (due, reason, notice_id),
        )

    def due_again(self, notice_id: str, address: str, now: float) -> None:
        """As when it was new, to where its reader is reached today; but a hook hears that it is no first attempt, for
        what was put off may have arrived all the same."""
        self._db.execute(
            "UPDATE notices SET state = 'due', address = ?, due = ?, begun = NULL, done = NULL,"
            " attempts = MIN(attempts, 1),"
            " asked = 0, ask_due = NULL, reason = '', reference = '', envelope = NULL, digest = 0,"
            " lease = NULL, leased_until = NULL WHERE id = ?",
            (address, now, notice_id),
        )

    def drop_for(self, shipment_id: str, now: float) -> None:
        """What is still due about a shipment's arrival is not sent any more."""
        self._db.execute(
            "UPDATE notices SET state = 'dropped', done = ?, reason = 'no longer true', lease = NULL,"
            " leased_until = NULL WHERE shipment_id = ? AND state = 'due' AND kind IN ('arrived', 'code', 'reminder')",
            (now, shipment_id),
        )

    # ---- looking

    def find(self, notice_id: str) -> Notice | None:
        """By its id."""
        row = self._db.row("SELECT * FROM notices WHERE id = ?", (notice_id,))
        return _notice(row) if row else None

    def in_envelope(self, notice_id: str) -> list[Notice]:
        """Those that went out under this one's id, itself among them; nothing for one that went alone."""
        return [_notice(row) for row in self._db.rows(ENVELOPE, (notice_id,))]

    def by_reference(self, way: str, reference: str) -> list[Notice]:
        """Those that a provider knows by this name."""
        return [_notice(row) for row in self._db.rows(BY_REFERENCE, (reference, way))]

    def of_shipment(self, shipment_id: str) -> list[Notice]:
        """In the order in which they were made."""
        rows = self._db.rows("SELECT * FROM notices WHERE shipment_id = ? ORDER BY made, id", (shipment_id,))
        return [_notice(row) for row in rows]

    def all(self, state: str | None = None, limit: int = 1000) -> list[Notice]:
        """The newest first."""
        rows = self._db.rows(NEWEST_IN, (state, limit)) if state else self._db.rows(NEWEST, (limit,))
        return [_notice(row) for row in rows]

    def count(self, state: str) -> int:
        """How many are in this state."""
        return int(self._db.value(COUNT_IN, (state,)))

    def next_due(self, way: str) -> float | None:
        """When the next one of this way is due or to be asked for, or a lease runs out."""
        times = [self._db.value(query, (way,)) for query in (NEXT_DUE, NEXT_QUESTION, NEXT_LAPSE)]
        return min((float(time) for time in times if time is not None), default=None)

    def waiting(self) -> dict[str, int]:
        """How many are due and in nobody's hand, by way."""
        return {row["way"]: row["n"] for row in self._db.rows(WAITING, WAYS)}


def _by_due(notice: Notice) -> tuple[float, str]:
    return notice.due, notice.id


def _notice(row: sqlite3.Row) -> Notice:
    return Notice(
        id=row["id"],
        kind=row["kind"],
        way=row["way"],
        user_id=row["user_id"],
        shipment_id=row["shipment_id"],
        delivery_id=row["delivery_id"],
        address=row["address"],
        language=row["language"],
        facts=json.loads(row["facts"]),
        state=row["state"],
        due=row["due"],
        made=row["made"],
        attempts=row["attempts"],
        reason=row["reason"],
        reference=row["reference"],
        done=row["done"],
        begun=row["begun"],
        digest=bool(row["digest"]),
        envelope=row["envelope"],
        asked=row["asked"],
    )
