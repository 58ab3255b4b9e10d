"""Rows of users, their keys and their groups."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from fxsftp.domain.model import Bounce, Key, Kind, LockKind, Route, Standing, User
from fxsftp.store.registry.engine import Engine


class People:
    """Users, keys, membership.  No rule is applied here."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def add(self, email: str, kind: Kind, standing: Standing, language: str, now: float) -> int:
        """A new user's row; everything else of it is set with `change`."""
        return int(
            self._db.value(
                "INSERT INTO users (email, kind, standing, name, language, made) VALUES (?, ?, ?, '', ?, ?)"
                " RETURNING id",
                (email, kind, standing, language, now),
            )
        )

    def by_email(self, email: str) -> User | None:
        """Whoever has this address now."""
        return _maybe(self._db.row("SELECT * FROM users WHERE email = ? AND standing <> 'removed'", (email,)))

    def by_id(self, user_id: int) -> User | None:
        """Also those who have been removed."""
        return _maybe(self._db.row("SELECT * FROM users WHERE id = ?", (user_id,)))

    def first(self, most: int, *, only_groups: bool) -> list[User]:
        """The first by address who are not removed, or the first groups."""
        if only_groups:
            found = "SELECT * FROM users WHERE kind = 'group' AND standing <> 'removed' AND email > ''"
        else:
            found = "SELECT * FROM users WHERE standing <> 'removed' AND email > ''"
        return [user_of(row) for row in self._db.rows(f"{found} ORDER BY email LIMIT ?", (most,))]

    def all(self) -> list[User]:
        """Everyone not removed, by address."""
        return [user_of(row) for row in self._db.rows("SELECT * FROM users WHERE standing <> 'removed' ORDER BY email")]

    def change(self, user_id: int, **columns: str | int | float | None) -> None:
        """Set columns of one user."""
        names = ", ".join(f"{name} = ?" for name in columns)  # names are our own keywords, never a user's
        self._db.execute(f"UPDATE users SET {names} WHERE id = ?", (*columns.values(), user_id))  # noqa: S608

    def password(self, user_id: int) -> str | None:
        """The Argon2id hash."""
        found = self._db.value("SELECT password FROM users WHERE id = ?", (user_id,))
        return None if found is None else str(found)

    def invitees(self, user_id: int) -> list[User]:
        """Whom this user has invited and who was not removed, newest first."""
        rows = self._db.rows(
            "SELECT * FROM users WHERE invited_by = ? AND standing <> 'removed' ORDER BY made DESC, id DESC", (user_id,)
        )
        return [user_of(row) for row in rows]

    def invited_by(self, user_id: int) -> int | None:
        """The member who invited this user; None for an admin."""
        found = self._db.value("SELECT invited_by FROM users WHERE id = ?", (user_id,))
        return None if found is None else int(found)

    # ---- keys

    def keys(self, user_id: int) -> list[Key]:
        """In the order in which they were added."""
        return [_key(row) for row in self._db.rows("SELECT * FROM keys WHERE user_id = ? ORDER BY id", (user_id,))]

    def add_key(
        self, user_id: int, line: str, kind: str, fingerprint: str, comment: str, opens: bool, now: float
    ) -> None:
        """The caller has seen that the user has no such key yet."""
        self._db.execute(
            "INSERT INTO keys (user_id, line, kind, fingerprint, comment, opens, added) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (user_id, line, kind, fingerprint, comment, int(opens), now),
        )

    def owner(self, email: str, fingerprint: str) -> tuple[User, str] | None:
        """For a loop: whoever has this address now, and the line of this key of theirs.  Raises Unavailable."""
        row = self._db.glance(_OWNER, (email, fingerprint))
        return (user_of(dict(zip(_COLUMNS, row, strict=False))), str(row[-1])) if row else None

    def remove_key(self, key_id: int) -> None:
        """Nothing when there is none."""
        self._db.execute("DELETE FROM keys WHERE id = ?", (key_id,))

    def remove_keys(self, user_id: int) -> None:
        """All of a user's."""
        self._db.execute("DELETE FROM keys WHERE user_id = ?", (user_id,))

    # ---- groups

    def members(self, group_id: int) -> list[User]:
        """The users of a group, by address."""
        return [
            user_of(row)
            for row in self._db.rows(
                "SELECT users.* FROM users JOIN members ON users.id = members.user_id "
                "WHERE members.group_id = ? AND standing <> 'removed' ORDER BY email",
                (group_id,),
            )
        ]

    def groups(self, user_id: int) -> list[User]:
        """The groups of a user, by address."""
        return [
            user_of(row)
            for row in self._db.rows(
                "SELECT users.* FROM users JOIN members ON users.id = members.group_id "
                "WHERE members.user_id = ? AND standing <> 'removed' ORDER BY email",
                (user_id,),
            )
        ]

    def join(self, group_id: int, user_id: int) -> None:
        """Once a member, joining again changes nothing."""
        self._db.execute(
            "INSERT INTO members (group_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING", (group_id, user_id)
        )

    def leave(self, group_id: int, user_id: int) -> None:
        """Nothing when not a member."""
        self._db.execute("DELETE FROM members WHERE group_id = ? AND user_id = ?", (group_id, user_id))

    def leave_all(self, user_id: int) -> None:
        """Out of every group."""
        self._db.execute("DELETE FROM members WHERE user_id = ? OR group_id = ?", (user_id, user_id))


def routes_text(routes: Sequence[Route]) -> str:
    """Routes as their column holds them."""
    return json.dumps([[route.pattern, route.recipient, route.subject] for route in routes])


# What a user is made of, by name: a glance has only places.
_COLUMNS = (
    "id", "email", "kind", "standing", "name", "language", "phone", "delivery", "default_recipient", "routes", "quota",
    "password", "made", "seen", "timezone", "quiet", "digest", "phrase", "bounced", "bounced_way", "bounced_reason",
)  # fmt: skip
_OWNER = (
    f"SELECT {', '.join(f'users.{name}' for name in _COLUMNS)}, keys.line"  # noqa: S608  # names of our own
    " FROM users JOIN keys ON keys.user_id = users.id AND keys.fingerprint = ?2"
    " WHERE users.email = ?1 AND users.standing <> 'removed'"
)


def _maybe(row: sqlite3.Row | None) -> User | None:
    return user_of(row) if row else None


def user_of(row: sqlite3.Row | Mapping[str, Any]) -> User:
    """The user in a row of all columns of `users`."""
    return User(
        id=row["id"],
        email=row["email"],
        kind=Kind(row["kind"]),
        standing=Standing(row["standing"]),
        name=row["name"],
        language=row["language"],
        phone=row["phone"],
        delivery=LockKind(row["delivery"]) if row["delivery"] else None,
        default_recipient=row["default_recipient"],
        routes=tuple(Route(*parts) for parts in json.loads(row["routes"])),
        quota=row["quota"],
        has_password=row["password"] is not None,
        made=row["made"],
        seen=row["seen"],
        timezone=row["timezone"],
        quiet=row["quiet"],
        digest=row["digest"],
        phrase=row["phrase"],
        bounce=Bounce(row["bounced"], row["bounced_way"], row["bounced_reason"]) if row["bounced"] else None,
    )


def _key(row: sqlite3.Row) -> Key:
    return Key(
        id=row["id"],
        user_id=row["user_id"],
        line=row["line"],
        kind=row["kind"],
        fingerprint=row["fingerprint"],
        comment=row["comment"],
        opens=bool(row["opens"]),
        added=row["added"],
    )
