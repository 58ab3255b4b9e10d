"""Rows of what lets people in: links, wrong tries, second factors, confirmations, visits.

Of tokens and recovery codes only hashes come here, of TOTP secrets and confirming digits only what is sealed.  Each
statement that must let exactly one of several through compares and sets in one, and answers whether it was this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from fxsftp.domain.model import Confirmation, Factor, Link, Stage, Visit
from fxsftp.store.registry.engine import Engine
from fxsftp.store.registry.people import user_of

# Asked with every request of a browser; tests/exchange/test_visits.py asks SQLite how.
FIND_VISIT = (
    "SELECT users.*, token, stage, visits.made AS began, visits.seen AS touched, confirmed"
    " FROM visits JOIN users ON users.id = user_id"
    " WHERE token = ? AND visits.seen > ? AND visits.made > ? AND standing = 'active' AND kind <> 'group'"
)


class Accounts:
    """No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    # ---- links

    def add_link(
        self, token: str, kind: str, user_id: int | None, asked: str, notice_id: str, now: float, expires: float
    ) -> None:
        """One for an address that nobody has is like the others, but belongs to nobody."""
        self._db.execute(
            "INSERT INTO links (token, kind, user_id, asked, notice_id, made, expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (token, kind, user_id, asked, notice_id, now, expires),
        )

    def link(self, token: str, kind: str, now: float) -> Link | None:
        """One that lives: not used, not too old."""
        row = self._db.row(
            "SELECT * FROM links WHERE token = ? AND kind = ? AND used IS NULL AND expires > ?", (token, kind, now)
        )
        return None if row is None or row["user_id"] is None else Link(row["kind"], row["user_id"], row["expires"])

    def use_link(self, token: str, kind: str, now: float) -> bool:
        """Whether this very call has used it up."""
        return self._was_one(
            "UPDATE links SET used = ? WHERE token = ? AND kind = ? AND used IS NULL AND expires > ?",
            (now, token, kind, now),
        )

    def end_links(self, user_id: int, kind: str, now: float) -> list[str]:
        """Those of a user that live are over; answers the notices that carry them."""
        rows = self._db.rows(
            "UPDATE links SET used = ? WHERE user_id = ? AND kind = ? AND used IS NULL RETURNING notice_id",
            (now, user_id, kind),
        )
        return [row["notice_id"] for row in rows]

    def asked(self, name: str, kind: str, since: float) -> int:
        """How many links were asked for by this address."""
        query = "SELECT COUNT(*) FROM links WHERE asked = ? AND kind = ? AND made > ?"
        return int(self._db.value(query, (name, kind, since)))

    # ---- wrong tries

    def locked_until(self, name: str) -> float | None:
        """When log-in by password opens again; may be past."""
        found = self._db.value("SELECT until FROM locked WHERE name = ?", (name,))
        return None if found is None else float(found)

    def add_try(self, name: str, now: float, since: float) -> int:
        """One more; answers how many there are since then."""
        self._db.execute("INSERT INTO tries (name, at) VALUES (?, ?)", (name, now))
        return int(self._db.value("SELECT COUNT(*) FROM tries WHERE name = ? AND at > ?", (name, since)))

    def lock(self, name: str, until: float) -> None:
        """And what led to it is forgotten."""
        self._db.execute(
            "INSERT INTO locked (name, until) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET until = excluded.until",
            (name, until),
        )
        self._db.execute("DELETE FROM tries WHERE name = ?", (name,))

    def unlock(self, name: str) -> None:
        """As if nothing wrong had been tried."""
        self._db.execute("DELETE FROM locked WHERE name = ?", (name,))
        self._db.execute("DELETE FROM tries WHERE name = ?", (name,))

    # ---- TOTP

    def totp(self, user_id: int) -> Factor | None:
        """Nothing where none was ever begun or allowed."""
        row = self._db.row("SELECT * FROM totp WHERE user_id = ?", (user_id,))
        if row is None:
            return None
        return Factor(row["secret"], row["step"], row["pending"], row["begun"], row["allowed_until"])

    def set_totp(self, user_id: int, **columns: object) -> None:
        """Set columns; the row is made if there is none."""
        self._db.execute("INSERT INTO totp (user_id) VALUES (?) ON CONFLICT DO NOTHING", (user_id,))
        names = ", ".join(f"{name} = ?" for name in columns)  # names are our own keywords, never a user's
        self._db.execute(f"UPDATE totp SET {names} WHERE user_id = ?", (*columns.values(), user_id))  # noqa: S608

    def turn_on_totp(self, user_id: int, pending: bytes, step: int, now: float) -> bool:
        """What was pending is the secret, if it is still the same and was not confirmed by another just now."""
        return self._was_one(
            "UPDATE totp SET secret = pending, since = ?, step = ?, pending = NULL, begun = NULL, allowed_until = NULL"
            " WHERE user_id = ? AND pending = ? AND allowed_until > ?",
            (now, step, user_id, pending, now),
        )

    def take_step(self, user_id: int, secret: bytes, step: int) -> bool:
        """Whether this very call is the first with digits of this step or a later one."""
        return self._was_one(
            "UPDATE totp SET step = ? WHERE user_id = ? AND secret = ? AND step < ?", (step, user_id, secret, step)
        )

    def remove_totp(self, user_id: int) -> bool:
        """Whether there was a secret."""
        self._db.execute("DELETE FROM recovery_codes WHERE user_id = ?", (user_id,))
        return self._was_one("DELETE FROM totp WHERE user_id = ? AND secret IS NOT NULL", (user_id,))

    def set_recovery_codes(self, user_id: int, hashes: Iterable[str]) -> None:
        """These, instead of those there were."""
        self._db.execute("DELETE FROM recovery_codes WHERE user_id = ?", (user_id,))
        self._db.execute_many(
            "INSERT INTO recovery_codes (user_id, code) VALUES (?, ?)", [(user_id, each) for each in hashes]
        )

    def use_recovery_code(self, user_id: int, code: str, now: float) -> bool:
        """Whether this very call has used it up."""
        return self._was_one(
            "UPDATE recovery_codes SET used = ? WHERE user_id = ? AND code = ? AND used IS NULL", (now, user_id, code)
        )

    def recovery_codes_left(self, user_id: int) -> int:
        """How many were not used."""
        query = "SELECT COUNT(*) FROM recovery_codes WHERE user_id = ? AND used IS NULL"
        return int(self._db.value(query, (user_id,)))

    # ---- confirmations

    def add_confirmation(self, confirmation: Confirmation, user_id: int, notice_id: str, now: float) -> None:
        """Its digits are sealed already."""
        self._db.execute(
            "INSERT INTO confirmations (id, user_id, what, wish, phone, digits, notice_id, made, expires)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                confirmation.id, user_id, confirmation.what, json.dumps(confirmation.wish), confirmation.phone,
                confirmation.digits, notice_id, now, confirmation.expires,
            ),
        )  # fmt: skip

    def confirmation(self, id_: str, user_id: int, now: float) -> Confirmation | None:
        """One that lives, of this user."""
        row = self._db.row(
            "SELECT * FROM confirmations WHERE id = ? AND user_id = ? AND used IS NULL AND expires > ?",
            (id_, user_id, now),
        )
        if row is None:
            return None
        return Confirmation(
            id=row["id"],
            what=row["what"],
            wish=json.loads(row["wish"]),
            phone=row["phone"],
            digits=row["digits"],
            expires=row["expires"],
            wrong=row["wrong"],
        )

    def use_confirmation(self, id_: str, now: float) -> bool:
        """Whether this very call has used it up."""
        return self._was_one("UPDATE confirmations SET used = ? WHERE id = ? AND used IS NULL", (now, id_))

    def wrong_digits(self, id_: str) -> None:
        """One more."""
        self._db.execute("UPDATE confirmations SET wrong = wrong + 1 WHERE id = ?", (id_,))

    def end_confirmations(self, user_id: int, what: str, now: float) -> list[str]:
        """Those of a user about one thing that live are over; answers the notices that carry their digits."""
        rows = self._db.rows(
            "UPDATE confirmations SET used = ? WHERE user_id = ? AND what = ? AND used IS NULL RETURNING notice_id",
            (now, user_id, what),
        )
        return [row["notice_id"] for row in rows]

    def confirmations_asked(self, user_id: int, since: float) -> int:
        """How many a user has asked for since then."""
        query = "SELECT COUNT(*) FROM confirmations WHERE user_id = ? AND made > ?"
        return int(self._db.value(query, (user_id, since)))

    # ---- visits

    def add_visit(self, token: str, user_id: int, stage: str, now: float, confirmed: float | None) -> None:
        """It begins now."""
        self._db.execute(
            "INSERT INTO visits (token, user_id, stage, made, seen, confirmed) VALUES (?, ?, ?, ?, ?, ?)",
            (token, user_id, stage, now, now, confirmed),
        )

    def visit(self, token: str, seen_after: float, made_after: float) -> Visit | None:
        """One of a user who may come in, and whose visit was seen and made after these times."""
        row = self._db.row(FIND_VISIT, (token, seen_after, made_after))
        if row is None:
            return None
        stage = Stage(row["stage"])
        return Visit(row["token"], user_of(row), row["began"], row["touched"], stage, row["confirmed"])

    def touch_visit(self, token: str, now: float) -> None:
        """It is still going on."""
        self._db.execute("UPDATE visits SET seen = ? WHERE token = ? AND seen < ?", (now, token, now))

    def elevate_visit(self, token: str, new: str, now: float, seen_after: float, made_after: float) -> bool:
        """It goes on under a new token, as a whole one that was confirmed just now; its age stays."""
        return self._was_one(
            "UPDATE visits SET token = ?, stage = 'whole', seen = ?, confirmed = ?"
            " WHERE token = ? AND seen > ? AND made > ?",
            (new, now, now, token, seen_after, made_after),
        )

    def end_visit(self, token: str) -> None:
        """Nothing when it is over."""
        self._db.execute("DELETE FROM visits WHERE token = ?", (token,))

    def end_visits(self, user_id: int, but: str = "") -> int:
        """All of a user, save perhaps one; answers how many there were."""
        return self._db.changes("DELETE FROM visits WHERE user_id = ? AND token <> ?", (user_id, but))

    # ---- what time does

    def sweep(self, now: float, *, tries: float, asked: float, seen: float, made: float) -> None:
        """What is over goes.  The arguments are times: what is older is of no use to anybody."""
        self._db.execute("DELETE FROM links WHERE expires <= ? AND made <= ?", (now, asked))
        self._db.execute("DELETE FROM tries WHERE at <= ?", (tries,))
        self._db.execute("DELETE FROM locked WHERE until <= ?", (now,))
        self._db.execute("DELETE FROM confirmations WHERE expires <= ? AND made <= ?", (now, asked))
        self._db.execute("DELETE FROM visits WHERE seen <= ? OR made <= ?", (seen, made))
        self._db.execute("UPDATE totp SET pending = NULL, begun = NULL WHERE begun <= ?", (asked,))

    def _was_one(self, sql: str, parameters: Sequence[object]) -> bool:
        return self._db.changes(sql, parameters) == 1
