"""One call at the portal: who calls, in which language, what they sent, and how they are answered.

Every page module speaks through this and never to Starlette's request itself.  Three rules are kept here and nowhere
else: a form is taken only from our own pages, a call is bounded in size and time, and what is private is never cached.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from fxsftp.domain.model import Kind, Stage, User, Visit
from fxsftp.domain.reasons import N_
from fxsftp.errors import (
    AskedTooOften,
    BadForm,
    Conflict,
    Forbidden,
    FxError,
    LogInFirst,
    Malformed,
    Missing,
    TooOften,
    Unavailable,
)
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.portal.pace import Pace
from fxsftp.templates import LANGUAGES, Templates, spoken

FORM_MOST = 64 << 10  # bytes; a message has at most 10,000 letters of up to 4 bytes, three times that when quoted
FIELDS = 200
FORM_WITHIN = 20.0  # seconds for a form to come in whole
LANGUAGE = "language"  # the cookie of a guest who has chosen one
YEAR = 365 * 86400
LOOK = 2.0  # seconds between two looks, while bytes come or go, at whether the caller may still be here

STATUS: tuple[tuple[type[FxError], int], ...] = (
    (AskedTooOften, 429),
    (TooOften, 429),
    (Missing, 404),
    (Forbidden, 403),
    (Conflict, 409),
    (Malformed, 400),
    (Unavailable, 503),
)


def status_of(problem: FxError) -> int:
    """The one table from our errors to HTTP's numbers."""
    return next((status for kind, status in STATUS if isinstance(problem, kind)), 500)


@dataclass(frozen=True)
class Terms:
    """How the portal is reached from outside, and on which terms guests are served.

    `public_url` is `https://exchange.example.org`, without a path; plain http is for loopback alone.
    """

    public_url: str
    twilio_token: str = ""
    institution: str = ""
    support: str = ""
    demo: bool = False
    static: str = "/static"  # where our own files are, with their hash in the path
    proxies: tuple[str, ...] = ()
    languages: tuple[str, ...] = tuple(LANGUAGES)
    sftp: SftpTerms | None = None

    @property
    def is_secure(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """The prefix binds it to this host, https and the whole path; loopback without TLS can't have that."""
        return "__Host-fxsftp" if self.is_secure else "fxsftp"


@dataclass(frozen=True)
class SftpTerms:
    """What people type into an SFTP program; `fingerprints` are of the host keys, as OpenSSH shows them."""

    host: str
    port: int
    fingerprints: tuple[str, ...]


@dataclass(frozen=True)
class House:
    """What every page needs: the desk, the words, the terms."""

    desk: Desk
    templates: Templates
    terms: Terms
    pace: Pace = field(default_factory=lambda: Pace(at_once=20, a_minute=20))


class Call:
    """One request and all that its answer needs.  `visit` is there when somebody is logged in."""

    def __init__(self, house: House, request: Request, token: str, visit: Visit | None) -> None:
        self.house = house
        self.request = request
        self.desk = house.desk
        self.exchange = house.desk.exchange
        self.terms = house.terms
        self.visit = visit
        self.token = token
        self.language = self._language()
        self._has_new_cookie = False
        self._looked = self.now()
        if not token:
            self.renew(secrets.token_urlsafe(32))

    # ---- who

    @property
    def user(self) -> User:
        """Who is logged in.  Raises LogInFirst."""
        if self.visit is None or not self.is_in:
            raise LogInFirst
        return self.visit.user

    @property
    def is_in(self) -> bool:
        """Whether somebody is logged in, wholly."""
        return self.visit is not None and self.visit.stage is Stage.WHOLE

    @property
    def source(self) -> str:
        """The address that calls, as the trusted proxy in front of us says."""
        return self.request.client.host if self.request.client else ""

    @property
    def session(self) -> str:
        """Names this visit to the exchange, which keeps apart who writes what; it is no secret."""
        return self.visit.id[:32] if self.visit else ""

    def now(self) -> float:
        return self.desk.now()

    async def may_stay(self) -> bool:
        """Whether the visit that asked goes on; asked again and again by what takes long.

        A user who is disabled, or logs out, is out within LOOK.  Bytes that come or go keep a visit from idleness.
        """
        now = self.now()
        if now - self._looked < LOOK:
            return True
        self._looked = now
        visit = await self.desk.ask(self.exchange.visits.find, self.token, now)
        if visit is None:
            return False
        await self.desk.ask(self.exchange.visits.touch, visit, now)
        return True

    def keep_pace(self) -> None:
        """Before what a guesser would try again and again.  Raises TooOften."""
        if not self.house.pace.allows(self.source, self.now()):
            raise TooOften

    def _language(self) -> str:
        if self.visit:
            return self.visit.user.language
        wished = self.request.query_params.get("lang") or self.request.cookies.get(LANGUAGE)
        if wished in self.terms.languages:
            return wished
        for part in self.request.headers.get("Accept-Language", "").split(",")[:10]:
            name = part.partition(";")[0].strip()
            if name and (spoken(name) != "en" or name.lower().startswith("en")):
                return spoken(name)
        return "en"

    # ---- forms

    @property
    def form_token(self) -> str:
        """What a form of ours carries.  Of the cookie, which no other site can read; not the cookie itself."""
        return hashlib.sha256(f"form of {self.token}".encode()).hexdigest()[:32]

    async def form(self) -> Form:
        """The fields of a form of our own, in memory.  Raises BadForm for anything else."""
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise BadForm(N_("it is no form"))
        body = bytearray()
        try:
            async with asyncio.timeout(FORM_WITHIN):
                async for piece in self.request.stream():
                    body += piece
                    if len(body) > FORM_MOST:
                        raise BadForm(N_("it is too large"))
        except (TimeoutError, ClientDisconnect):
            raise BadForm(N_("it did not come in whole")) from None
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
        except ValueError:
            raise BadForm(N_("its letters are not understood")) from None
        form = Form(pairs)
        self.check_form_token(form.text("form"))
        return form

    def check_form_token(self, given: str) -> None:
        """Raises BadForm unless the form is one of our own, made for this very visitor."""
        if not hmac.compare_digest(given.encode(), self.form_token.encode()):
            raise BadForm(N_("the page it stands on is too old, or not of this site"))

    # ---- answers

    def renew(self, token: str) -> None:
        """From this answer on the visitor is known by another cookie: whoever planted the old one knows nothing."""
        self.token, self._has_new_cookie = token, True

    def forget(self) -> None:
        """The visitor is nobody again."""
        self.visit = None
        self.renew(secrets.token_urlsafe(32))

    def page(self, name: str, status: int = 200, /, **facts: object) -> Response:
        """The page portal/`name`.html in the visitor's language."""
        user = self.user if self.is_in else None
        shared = {
            "page": name,
            "user": user.email if user else "",
            "user_name": (user.name or user.email) if user else "",
            "is_member": bool(user and user.kind is Kind.MEMBER),
            "form_token": self.form_token,
            "static": self.terms.static,
            "demo": self.terms.demo,
            "language": self.language,
            "languages": [] if user else self.terms.languages,
            "path": self.request.url.path,
            "said": self.request.query_params.get("said", ""),
            "problem": "",
        }
        text = self.house.templates.page(name, self.language, shared | facts)
        return self._with_cookies(HTMLResponse(text, status))

    def refusal(self, problem: FxError) -> str:
        """What an error says, in the visitor's language."""
        return self.house.templates.sentence(problem, self.language)

    def go(self, path: str, said: str = "") -> Response:
        """On to another page of ours; `said` names what that page tells was done."""
        query = f"{'&' if '?' in path else '?'}said={quote(said)}" if said else ""
        return self._with_cookies(RedirectResponse(path + query, 303))

    def answer(self, response: Response) -> Response:
        """Any other answer, with the visitor's cookie where it is new."""
        return self._with_cookies(response)

    def _with_cookies(self, response: Response) -> Response:
        wished = self.request.query_params.get("lang")
        if wished in self.terms.languages:
            response.set_cookie(
                LANGUAGE, wished, max_age=YEAR, path="/", secure=self.terms.is_secure, httponly=True, samesite="lax"
            )
        if self._has_new_cookie:
            # A session cookie: it goes with the browser.  Lax and not strict, so that the link in a mail finds the
            # visitor still logged in.
            response.set_cookie(
                self.terms.cookie, self.token, path="/", secure=self.terms.is_secure, httponly=True, samesite="lax"
            )
        return response


class Form:
    """The fields of a form.  What is not there is empty."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._fields: Mapping[str, str] = dict(pairs)
        self._all = pairs

    def text(self, name: str) -> str:
        """One line, without blanks around it."""
        return self._fields.get(name, "").strip()

    def exact(self, name: str) -> str:
        """As it was typed: a password may begin with a blank."""
        return self._fields.get(name, "")

    def lines(self, name: str) -> str:
        """Several lines, ended as Unix does."""
        return self._fields.get(name, "").replace("\r\n", "\n").replace("\r", "\n").strip()

    def all(self, name: str) -> list[str]:
        """Each field of that name."""
        return [value.strip() for field, value in self._all if field == name]

    def has(self, name: str) -> bool:
        return name in self._fields


def safe_path(path: str, otherwise: str = "/inbox") -> str:
    """`path` if it is one of ours, to go to after a log-in; never another site's.

    A browser reads `//evil.example` and `/\\evil.example` as another site's address, and drops tabs and line ends.
    """
    is_ours = path.startswith("/") and not path.startswith("//") and path.isprintable() and "\\" not in path
    return path if is_ours else otherwise
