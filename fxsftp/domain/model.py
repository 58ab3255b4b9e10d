"""The things that pass from room to room.  All are values; what lives is elsewhere.

Times are seconds UTC since 1970, sizes are bytes of plaintext unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from fxsftp.domain.addresses import hint
from fxsftp.domain.lifecycle import DeliveryState, FileState, ShipmentState


class Kind(StrEnum):
    """What sort of party a user is."""

    PARTNER = "partner"
    MEMBER = "member"
    GROUP = "group"


class Standing(StrEnum):
    """Whether a user may come in.  `invited` may be sent to, and is held until registered."""

    INVITED = "invited"
    ACTIVE = "active"
    DISABLED = "disabled"
    REMOVED = "removed"


class LockKind(StrEnum):
    """One way to a file key, weakest first."""

    SESSION = "session"
    KEYS = "keys"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Route:
    """A loose file whose name matches `pattern` goes to `recipient` under `subject`."""

    pattern: str
    recipient: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Bounce:
    """When and why an address of a user's, that of `way`, was last said to be wrong for good."""

    at: float
    way: str
    reason: str


@dataclass(frozen=True, slots=True)
class User:
    """A registered party.  `email` is the user name, case-folded.

    `quiet` are the hours without SMS, `digest` is when the mails of a day come as one, both in `timezone`; `phrase`
    stands in each mail, so that its reader knows us by it.
    """

    id: int
    email: str
    kind: Kind
    standing: Standing
    name: str
    language: str
    phone: str | None
    delivery: LockKind | None
    default_recipient: str | None
    routes: tuple[Route, ...]
    quota: int | None
    has_password: bool
    made: float
    seen: float | None
    timezone: str | None = None
    quiet: str | None = None
    digest: str | None = None
    phrase: str | None = None
    bounce: Bounce | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """One public SSH key of a user.  `opens` says that it also opens shipments sealed to keys."""

    id: int
    user_id: int
    line: str
    kind: str
    fingerprint: str
    comment: str
    opens: bool
    added: float


class Entry(NamedTuple):
    """One line of a listing: what a user sees of a file or a folder.  A tuple: a folder may have thousands of them."""

    name: str
    is_folder: bool
    size: int
    mtime: float
    mode: int
    may_write: bool = False


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a client may say of a file besides its bytes; None means that it did not."""

    size: int | None = None
    mode: int | None = None
    atime: float | None = None
    mtime: float | None = None


@dataclass(frozen=True, slots=True)
class Shipment:
    """A drop in the making, and later the sealed thing.

    `is_composing`: it leaves when its sender says so, and not by being quiet.  `minimum` is the weakest lock that its
    sender lets it have.
    """

    id: str
    sender_id: int
    recipient: str
    who: str
    folder: str
    subject: str
    message: str
    state: ShipmentState
    revision: int
    made: float
    progress: float
    sent: float | None
    expires: float | None
    ended: float | None
    erased: float | None
    cause: str
    reason: str
    scanned: int
    others: tuple[str, ...] = ()
    is_composing: bool = False
    minimum: LockKind | None = None

    @property
    def recipients(self) -> tuple[str, ...]:
        """Everyone it is addressed to.  In the sender's outbox it stands in the folder of the first."""
        return (self.recipient, *self.others)

    @property
    def to(self) -> str:
        """The same in one line."""
        return ", ".join(self.recipients)

    @property
    def is_scanned(self) -> bool:
        """Whether it was looked at as it is now.  Whatever changes it makes another revision of it."""
        return self.scanned == self.revision

    @property
    def is_loose(self) -> bool:
        """Whether this is a single file without a folder, and so without a subject of its own."""
        return not self.folder

    def path_of(self, name: str) -> str:
        """The path in the sender's outbox of the file that the recipient sees as `name`."""
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True, slots=True)
class File:
    """One file of a shipment.

    `path` begins with the shipment's folder, if it has one.  The sealed body is `body` bytes at `start`
    of the vault's `blob`; a small one rides in the row until it is dispatched (`in_row`).  `writer` is
    the session that has it open, `connected` the one that wrote it and is still there.  `beat` is when that
    session last wrote, on the machine's steady clock: 0 while it is put away, None if it has not.
    """

    id: int
    shipment_id: str
    owner_id: int
    who: str
    path: str
    state: FileState
    shown: bool
    announced: int | None
    size: int
    mtime: float
    mode: int
    sha256: str | None
    writer: str | None
    progress: float
    connected: str | None
    blob: str | None
    start: int
    body: int
    in_row: bool
    beat: float | None

    @property
    def name(self) -> str:
        """The file's path within its shipment, as the recipient sees it."""
        folder, slash, rest = self.path.partition("/")
        return rest if slash else folder


@dataclass(frozen=True, slots=True)
class Delivery:
    """One shipment for one recipient."""

    id: int
    shipment_id: str
    user_id: int
    via: str
    lock: LockKind
    state: DeliveryState
    opened: float | None
    collected: float | None
    ended: float | None
    wrong: int
    closed_until: float | None
    revision: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """One line of an inbox: a shipment that waits for its reader.  `open_until` is there once the code was given."""

    shipment: str
    subject: str
    sender: str
    sender_name: str
    sent: float
    expires: float | None
    state: DeliveryState
    lock: LockKind
    open_until: float | None
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one person by one way.

    `begun` is when it was first tried.  A `digest` one may go out with others, under the id that `envelope` says.
    """

    id: str
    kind: str
    way: str
    user_id: int | None
    shipment_id: str | None
    delivery_id: int | None
    address: str
    language: str
    facts: dict[str, object]
    state: str
    due: float
    made: float
    attempts: int
    reason: str
    reference: str
    done: float | None = None
    begun: float | None = None
    digest: bool = False
    envelope: str | None = None
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a history."""

    at: float
    shipment_id: str | None
    who: str
    event: str
    detail: str


@dataclass(frozen=True, slots=True)
class Link:
    """What a token in a mail stands for; `kind` is "invited" or "password"."""

    kind: str
    user_id: int
    expires: float


@dataclass(frozen=True, slots=True)
class Factor:
    """A user's second factor, or one that is being set up.  Both secrets are sealed.

    `step` is the last one whose digits were taken; until `allowed_until`, what is `pending` may be turned on.
    """

    secret: bytes | None = field(repr=False)
    step: int
    pending: bytes | None = field(repr=False)
    begun: float | None
    allowed_until: float | None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A wish that waits for the digits of an SMS; `digits` are sealed, and nobody is shown them."""

    id: str
    what: str
    wish: dict[str, object]
    phone: str
    digits: bytes = field(repr=False)
    expires: float
    wrong: int = 0

    @property
    def phone_hint(self) -> str:
        """Enough of its number to know the phone by."""
        return hint(self.phone)


class Stage(StrEnum):
    """How far somebody has come in: `half` has given a password and owes the second factor."""

    HALF = "half"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Visit:
    """One browser's being here.  `id` is the hash of its token, which nobody but that browser has.

    `confirmed` is when the user last proved who they are; `is_confirmed` says whether that is recent.
    """

    id: str
    user: User
    made: float
    seen: float
    stage: Stage
    confirmed: float | None
    is_confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many bytes the pages about a shipment have, as text and as JSON, and when the last was that they tell of.

    `text` is None where that is not known.  `turn` says which state of the shipment it is about.
    """

    shipment: str
    turn: int
    text: int | None
    json: int
    at: float
