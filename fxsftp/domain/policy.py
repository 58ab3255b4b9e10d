"""What may be done, by whom and when.  Pure questions over values; the answers are used by the exchange."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate
from functools import lru_cache

from fxsftp.domain.model import Kind, LockKind, Standing, User

SIZE_LETTERS: Mapping[str, int] = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
STRENGTH = {LockKind.SESSION: 0, LockKind.KEYS: 1, LockKind.CODE: 2}
WEBHOOK_SHOWS = ("ids", "addresses", "subject")  # each with those before it

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one exchange, as its settings say.  Times in seconds, sizes in bytes."""

    settle_loose: float = 30
    settle_folder: float = 60
    settle_connected: float = 300
    settle_suspect: float = 300
    hold: float = DAY
    stale: float = 7 * DAY
    expiry: float = 30 * DAY
    longest: float = 90 * DAY
    erase_after: float = DAY
    remember: float = 400 * DAY
    reminders: tuple[float, ...] = (7 * DAY, DAY)
    opening: float = 15 * MINUTE
    wrong_codes: int = 5
    closed: float = 15 * MINUTE
    code_kept: float = 72 * HOUR
    give_up: float = 72 * HOUR
    quota: int = 50 << 30
    quota_warns: float = 0.8
    max_files: int = 10_000
    ahead: int = 16 << 20
    ahead_total: int = 256 << 20
    partner_delivery: LockKind = LockKind.CODE
    member_delivery: LockKind = LockKind.SESSION
    minimum_lock: LockKind = LockKind.SESSION
    key_fallback: LockKind = LockKind.CODE
    show_subject: bool = False
    scan: tuple[str, ...] = ()
    webhook: str = ""
    webhook_shows: str = "ids"
    wrong_passwords: int = 10
    wrong_within: float = 15 * MINUTE
    locked: float = 15 * MINUTE
    totp: str = "optional"
    totp_with_keys: bool = False
    portal: str = ""
    invitation: float = 14 * DAY
    password_link: float = 2 * HOUR
    visit_idle: float = 30 * MINUTE
    visit_longest: float = 12 * HOUR
    timezone: str = "UTC"
    recovery: str = ""
    partial: tuple[str, ...] = field(
        default=("*.filepart", "*.part", "*.partial", ".in.*", "*.tmp", "*.inprogress", "*.uploading")
    )
    litter: tuple[str, ...] = field(default=(".DS_Store", "._*", "Thumbs.db", "desktop.ini", "~$*", ".*.swp", ".nfs*"))

    def is_partial(self, path: str) -> bool:
        """Whether the name says that it is not final: it never leaves, and its folder waits."""
        return _matches(path.rpartition("/")[2], self.partial)

    def is_litter(self, path: str) -> bool:
        """Whether this is what desktops and editors leave behind: accepted, never sent."""
        return any(_matches(part, self.litter) for part in path.split("/"))

    def settle(self, *, is_loose: bool, connected: bool, suspect: bool) -> float:
        """How long a drop must be quiet before it is dispatched."""
        quiet = self.settle_loose if is_loose else self.settle_connected if connected else self.settle_folder
        return max(quiet, self.settle_suspect) if suspect else quiet

    def webhook_tells(self, what: str) -> bool:
        """Whether an event may go out with its `addresses` or its `subject`."""
        return WEBHOOK_SHOWS.index(what) <= WEBHOOK_SHOWS.index(self.webhook_shows)

    def wants_totp(self, user: User) -> bool:
        """Whether this user must have a second factor at log-in by password."""
        return self.totp == "all" or (self.totp == "members" and user.kind is Kind.MEMBER)

    def lock_for(
        self, user: User, has_key: bool, via: LockKind | None = None, minimum: LockKind | None = None
    ) -> LockKind:
        """How a shipment for `user` is locked: their own wish, else their kind's, never below either minimum."""
        least = max(self.minimum_lock, minimum or self.minimum_lock, key=STRENGTH.__getitem__)
        wish = via or user.delivery or (self.member_delivery if user.kind is Kind.MEMBER else self.partner_delivery)
        if STRENGTH[wish] < STRENGTH[least]:
            wish = least
        if wish is LockKind.KEYS and not has_key:
            wish = self.key_fallback
            if STRENGTH[wish] < STRENGTH[least]:
                wish = LockKind.CODE
        return wish


def may_send(sender: User, recipient: User) -> bool:
    """Members may send to everyone registered or invited; partners to members and groups of the institution."""
    if recipient.standing is Standing.REMOVED or sender.id == recipient.id:
        return False
    return sender.kind is Kind.MEMBER or recipient.kind is not Kind.PARTNER


def route(user: User, name: str) -> tuple[str, str] | None:
    """(recipient, subject) of a loose file that lies in the outbox itself, by its final name."""
    for rule in user.routes:
        if fnmatchcase(name, rule.pattern):
            return rule.recipient, rule.subject
    return (user.default_recipient, "") if user.default_recipient else None


def kept_free(reserve: int, disk: int) -> int:
    """How many bytes of a disk no body takes: the reserve, and of a small disk never more than a tenth."""
    return min(reserve, disk // 10)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return bool(_any_of(patterns).match(name))


@lru_cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """All of them as one expression: every path that a client names is held against a dozen."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")
