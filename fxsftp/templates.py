"""Templates: what people read from the exchange, in English, bokmål and nynorsk.

The only jinja2 environment and the only home of gettext and babel.  One template file per notice and way in
config/templates/{mail,sms}, the rendered files of the rooms in config/templates/rooms, the translations in
config/locale; a folder of the installation's own comes before the shipped one, file by file.

Templates only say: they get ready-made values, and a name that is not given is an error, never a gap.  The catalogues
are read from their .po files at the start, so that there is no compiled file which could be older than its source.
A code is given to the SMS and to nothing else.
"""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from gettext import NullTranslations
from html import escape
from pathlib import Path
from string import Formatter
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

import babel
from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.numbers import format_decimal
from babel.support import Translations
from babel.units import format_unit
from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fxsftp import shipped
from fxsftp.domain import reasons
from fxsftp.errors import BadTemplate, FxError, sentence

LANGUAGES: Mapping[str, str] = {"en": "en_GB", "nb": "nb_NO", "nn": "nn_NO"}  # ours, and how babel writes their dates
REMEMBERED = 4096  # numbers and moments of each sort, as they are written in one language
WIDTH = 76  # columns of a line of prose; what is indented is never broken
DOMAIN = "fxsftp"


@dataclass(frozen=True, slots=True)
class Institution:
    """Who speaks: these facts stand in every notice and room.  `host` and `port` are where users reach the exchange."""

    name: str
    support_mail: str
    support_phone: str
    host: str
    port: int = 22
    timezone: str = "UTC"
    demo: bool = False
    portal: str = ""  # where it is reached by browser, if it is
    sms_name: str = ""  # for SMS, where its name is too long for them

    @property
    def in_sms(self) -> str:
        """By what name it speaks in an SMS."""
        return self.sms_name or self.name

    @property
    def support(self) -> str:
        """Where people get help."""
        return ", ".join(part for part in (self.support_mail, self.support_phone) if part)


@dataclass(frozen=True, slots=True)
class Message:
    """One notice, ready to be carried.  An SMS has a text only; a mail's HTML is made of its text if it has none."""

    subject: str
    text: str
    html: str | None = None


class Templates:
    """All templates of one exchange.  `folders` hold the installation's own, beside the shipped ones."""

    def __init__(self, folders: Sequence[Path], institution: Institution) -> None:
        config = shipped.folder("config")
        self._institution = institution
        self._folders = [*folders, config / "templates"]
        self._absent: set[str] = set()  # templates that were looked for in vain
        self._words = {language: _catalogue(language, config / "locale") for language in LANGUAGES}
        self._sources = [config / "locale" / each / "LC_MESSAGES" / f"{DOMAIN}.po" for each in LANGUAGES]
        self._edition = ""
        self._speech = {language: self._environment(language) for language in LANGUAGES}

    def render(self, kind: str, way: str, language: str, facts: Mapping[str, object]) -> Message:
        """The notice `kind` as it goes out by `way`.  `facts["user"]` is the user name of the person who reads it.

        Raises BadTemplate when there is no such template or a fact is missing.
        """
        said = self._say(f"{way}/{kind}.txt", language, facts)
        if way == "sms":
            return Message("", " ".join(said.split()))
        head, _, body = said.partition("\n")
        title, colon, subject = head.partition(":")
        if title != "Subject" or not colon:
            raise BadTemplate(f"{way}/{kind}.txt", "its first line must say 'Subject: …'")
        try:
            html = self._say(f"{way}/{kind}.html", language, facts)
        except _NoTemplate:
            html = _page(subject.strip(), body, spoken(language))
        return Message(subject.strip(), _filled(body), html)

    def room(self, name: str, language: str, facts: Mapping[str, object]) -> str:
        """A file that a room shows without storing it: README.txt, SHIPMENT.txt, sent.txt."""
        return _filled(self._say(f"rooms/{name}", language, facts))

    @property
    def edition(self) -> str:
        """Another one when the same facts may be told in other words or another form than before."""
        if not self._edition:
            shown = [next(path for folder in self._folders if (path := folder / "rooms" / "sent.txt").exists())]
            code = [Path(module.__file__ or "") for module in (sys.modules[__name__], reasons, babel)]
            digest = hashlib.sha256(f"{self._institution!r} {babel.__version__}".encode())
            for path in (*shown, *self._sources, *code):
                digest.update(path.read_bytes() if path.exists() else b"")
            self._edition = digest.hexdigest()[:16]
        return self._edition

    def page(self, name: str, language: str, facts: Mapping[str, object]) -> str:
        """A page of the portal, as HTML."""
        return self._say(f"portal/{name}.html", language, facts)

    def sentence(self, problem: FxError, language: str) -> str:
        """What an error says, as far as the catalogue has it; the parts of it that are sentences of ours, too."""
        words = self._words[spoken(language)].gettext
        quoted = {field for _, field, _, how in Formatter().parse(sentence(type(problem))) if how == "r"}

        def put(place: int, part: object) -> object:
            if not isinstance(part, str) or not part or str(place) in quoted:  # quoted: a name, which is somebody's own
                return part
            known = words(WORDS.get(part, part))
            return known if known != part else reasons.argument(part, words)

        return problem.said(words, [put(place, part) for place, part in enumerate(problem.args)])

    def _say(self, name: str, language: str, facts: Mapping[str, object]) -> str:
        speech = self._speech[spoken(language)]
        if name in self._absent:
            raise _NoTemplate(name, "there is none")
        try:
            return self._said(speech, name, facts)
        except _NoTemplate:
            if name.endswith(".html"):  # which there need not be; the others an operator may yet put there
                self._absent.add(name)
            raise
        except BadTemplate:
            self._forget()
            raise

    def _forget(self) -> None:
        """What was read is read anew: somebody may have mended it."""
        self._edition = ""
        self._absent.clear()
        for speech in self._speech.values():
            if speech.cache is not None:
                speech.cache.clear()

    def _said(self, speech: ImmutableSandboxedEnvironment, name: str, facts: Mapping[str, object]) -> str:
        try:
            said = speech.get_template(name).render({fact: _plain(fact, value) for fact, value in facts.items()})
        except TemplateNotFound as error:
            raise _NoTemplate(name, f"there is no {error.name}") from None
        except TemplateError as error:
            raise BadTemplate(name, f"{error.message}") from None
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise BadTemplate(name, f"a fact is of the wrong sort ({type(error).__name__})") from None
        return said if name.endswith(".html") else _tidy(said)

    def _environment(self, language: str) -> ImmutableSandboxedEnvironment:
        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(self._folders),
            undefined=StrictUndefined,
            autoescape=lambda name: bool(name and name.endswith(".html")),
            extensions=["jinja2.ext.i18n"],
            lstrip_blocks=True,
            auto_reload=False,  # a look at three files for each mail costs as much as all of its words
        )
        words = self._words[language]
        environment.policies["ext.i18n.trimmed"] = True
        environment.install_gettext_callables(words.gettext, words.ngettext, newstyle=True)  # type: ignore[attr-defined]
        environment.filters |= _filters(LANGUAGES[language], ZoneInfo(self._institution.timezone), words.gettext)
        verbs: dict[str, Callable[..., str]] = {
            "table": _table,
            "link": self._link,
            "fetch": self._fetch,
            "ssh": self._ssh,
            "unlock": _unlock,
        }
        environment.globals |= {"institution": self._institution, "portal": self._institution.portal}
        environment.globals |= {name: _strict(verb) for name, verb in verbs.items()}
        return environment

    # ---- what the reader clicks on or types

    def _link(self, user: str, path: str) -> str:
        port = f":{self._institution.port}" if self._institution.port != 22 else ""
        return f"sftp://{quote(user, safe='')}@{_bracketed(self._institution.host)}{port}/{quote(path)}"

    def _fetch(self, user: str, folder: str) -> str:
        """Fetches the whole shipment: one name without blanks, whatever its files are called."""
        port = f"-P {self._institution.port} " if self._institution.port != 22 else ""
        # Of two @ OpenSSH parts user and host at the last one.
        return f"sftp -r {port}{shlex.quote(f'{user}@{_bracketed(self._institution.host)}:inbox/{folder}')} ."

    def _ssh(self, user: str, command: str) -> str:
        port = f"-p {self._institution.port} " if self._institution.port != 22 else ""
        return f"ssh {port}{shlex.quote(f'{user}@{self._institution.host}')} {command}"


class _NoTemplate(BadTemplate):
    """The template {0} can't be used: {1}"""


def spoken(language: str) -> str:
    """The language in which we answer someone who asks for `language`: nb-NO, no, nn_NO.utf8, en-US, …"""
    first = re.split(r"[-_.]", language.lower(), maxsplit=1)[0]
    first = {"no": "nb"}.get(first, first)
    return first if first in LANGUAGES else "en"


def _unlock(folder: str, lock: str, direct: bool, first_file: str) -> str:
    """The command that opens a file in a fetched folder, or nothing where a fetched file is open already."""
    if lock == "session":
        return ""
    name = first_file or "NAME"
    where = f"{folder}/" if folder else ""
    sealed, opened = shlex.quote(f"{where}{name}.age"), shlex.quote(name.rpartition("/")[2])
    identity = "-i ~/.ssh/id_ed25519 " if lock == "keys" else "" if direct else f"-i {shlex.quote(f'{where}KEY.age')} "
    return f"age -d {identity}-o {opened} {sealed}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


# ---- words, numbers, lines -------------------------------------------------------------------------


def N_(text: str) -> str:  # noqa: N802 - gettext's name for 'translate this where it is shown'
    return text


WORDS: Mapping[str, str] = {
    # states of a shipment and of a delivery
    "dropping": N_("still arriving"),
    "settling": N_("complete, leaves in a moment"),
    "held": N_("held back"),
    "waiting": N_("waiting to be collected"),
    "opened": N_("opened"),
    "partly collected": N_("collected by some"),
    "collected": N_("collected"),
    "suspended": N_("suspended"),
    "removed": N_("removed by the recipient"),
    "recalled": N_("recalled"),
    "expired": N_("expired"),
    "ended": N_("ended"),
    # events of a history that are not states
    "began": N_("begun"),
    "dispatched": N_("sent"),
    "left out": N_("left out"),
    "released": N_("released"),
    "scanned": N_("scanned"),
    "warned": N_("a scanner warns"),
    "suspect": N_("the end of a file is in doubt"),
    "emptied": N_("emptied"),
    "opened with the code": N_("opened with the code"),
    "wrong code": N_("wrong code"),
    "opening closed": N_("closed for a while after wrong codes"),
    "erased": N_("erased"),
    "notice carried": N_("message sent"),
    "notice delivered": N_("message delivered"),
    "notice failed": N_("message failed"),
    "notice retried": N_("message tried again"),
    "notice dropped": N_("message not sent"),
    "code sent again": N_("code sent again"),
    "new code": N_("new code"),
    "extended": N_("kept longer"),
    # locks
    "code": N_("code"),
    "keys": N_("SSH key"),
    "session": N_("log-in"),
    # notices
    "mail": N_("e-mail"),
    "sms": N_("SMS"),
    "due": N_("not sent yet"),
    "carried": N_("sent"),
    "delivered": N_("delivered"),
    "failed": N_("failed"),
    "dropped": N_("no longer needed"),
    # what a mail of the day tells
    "arrived": N_("a shipment for you"),
    "removed_unread": N_("removed unread"),
    "expired_unread": N_("expired unread"),
    # what was changed
    "password": N_("the password"),
    "phone": N_("the phone number for codes"),
    "delivery": N_("how shipments to you are locked"),
    "key": N_("your SSH keys"),
    "totp": N_("the code from your app at log-in"),
    "recovery": N_("your recovery codes"),
    "recovery_used": N_("a recovery code was used"),
}


def _filters(locale: str, zone: ZoneInfo, gettext: Callable[[str], str]) -> dict[str, Callable[..., str]]:
    # A shipment of ten thousand files has few sizes and moments, and babel takes 0.1 ms for one.
    @lru_cache(REMEMBERED)
    def day(at: float) -> str:
        return format_date(datetime.fromtimestamp(at, zone), "long", locale=locale)

    @lru_cache(REMEMBERED)
    def moment(at: float) -> str:
        when = datetime.fromtimestamp(at, zone)
        return gettext("%(day)s at %(time)s") % {
            "day": format_date(when, "long", locale=locale),
            "time": f"{when:%H:%M %Z}",
        }

    @lru_cache(REMEMBERED)
    def number(value: float) -> str:
        return format_decimal(value, locale=locale)

    @lru_cache(REMEMBERED)
    def amount(value: float, unit: str, length: Literal["short", "long"]) -> str:
        return format_unit(value, f"digital-{unit}", length, locale=locale)

    def size(value: int) -> str:
        if value < 1000:
            return amount(value, "byte", "long")
        for power, unit in enumerate(("kilobyte", "megabyte", "gigabyte", "terabyte"), 1):
            if value < 999.95 * 1000**power or unit == "terabyte":
                break
        return amount(round(value / 1000**power, 1), unit, "short")  # ten thousand files are of a few hundred of these

    def word(name: str) -> str:
        return gettext(WORDS[name]) if name in WORDS else name

    def because(reason: str) -> str:
        return reasons.said(reason, gettext)

    def detail(text: str) -> str:
        """Of an event: who and by which lock, or by which way what was told, and why not."""
        if locked := re.fullmatch(r"(\S+@\S+: )(code|keys|session)", text):
            return locked[1] + word(locked[2])
        if notice := re.fullmatch(r"(mail|sms) (\w+)(: .+)?", text):
            return f"{word(notice[1])} ({word(notice[2])}){because(notice[3] or '')}"
        return because(text)

    return {verb.__name__: _strict(verb) for verb in (day, moment, number, size, word, because, detail)}


def _strict(verb: Callable[..., str]) -> Callable[..., str]:
    """`verb`, given known values only; otherwise the name of what is missing is said, and not how the verb stumbled."""

    def checked(*values: object) -> str:
        for value in values:
            if isinstance(value, StrictUndefined):
                str(value)  # raises UndefinedError
        return verb(*values)

    return checked


def _catalogue(language: str, folder: Path) -> NullTranslations:
    if language == "en":
        return NullTranslations()  # the templates themselves
    path = folder / language / "LC_MESSAGES" / f"{DOMAIN}.po"
    compiled = io.BytesIO()
    try:
        with path.open("rb") as source:
            write_mo(compiled, read_po(source, locale=language, abort_invalid=True))
    except (OSError, PoFileError) as error:
        raise BadTemplate(f"locale/{language}", str(error)) from None
    compiled.seek(0)
    return Translations(compiled, DOMAIN)


def _table(rows: Mapping[str, object]) -> str:
    """A small table; what is not known has no row."""
    known = {label + ":": value for label, value in rows.items() if value not in ("", None)}
    width = max(map(len, known), default=0)
    return "\n".join(f"    {label:<{width}}  {value}" for label, value in known.items())


def _plain(name: str, value: object) -> Any:
    """A fact whose letters can't pretend to be more lines, or run the other way; only a message keeps its own lines."""
    match value:
        case str():
            if value.isprintable():  # nearly always, and a list may have ten thousand names
                return value
            return "".join(_letter(letter, keep="\n" if name == "message" else "") for letter in value)
        case Mapping():
            return {key: _plain(str(key), part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(name, part) for part in value]
    return value


def _letter(letter: str, keep: str) -> str:
    if letter in keep or unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return letter
    return " " if letter.isspace() else ""


def _tidy(text: str) -> str:
    """Without blanks at the ends of lines, blank lines never more than one at a time."""
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n") + "\n"


def _filled(text: str) -> str:
    """Prose broken into lines."""
    lines: list[str] = []
    for line in text.strip("\n").split("\n"):
        lines += [line] if len(line) <= WIDTH or line.startswith(" ") else _broken(line)
    return "\n".join(lines) + "\n"


def _broken(line: str) -> list[str]:
    """At blanks only, and never within a word.  As textwrap does it, in a small part of its time."""
    lines: list[str] = []
    while len(line) > WIDTH:
        at = line.rfind(" ", 1, WIDTH + 1)
        if at < 0:
            at = line.find(" ", WIDTH)
        if at < 0:
            break
        lines.append(line[:at].rstrip(" "))
        line = line[at:].lstrip(" ")
    return [*lines, line.rstrip(" ")] if line.rstrip(" ") else lines


def _page(title: str, text: str, language: str) -> str:
    """A text of ours as simple HTML: the same words, nothing to load, and nothing that says who has read it."""
    parts = [_part(part) for part in text.strip("\n").split("\n\n")]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="{language}">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _part(part: str) -> str:
    """A paragraph; what is indented keeps its form, and is a link if it is an address of ours."""
    if not part.startswith("    "):
        return f"<p>{'<br>'.join(escape(line) for line in part.split(chr(10)))}</p>"
    lines = [line.removeprefix("    ") for line in part.split("\n")]
    if len(lines) == 1 and lines[0].startswith(("sftp://", "https://", "http://")):
        return f'<p><a href="{escape(lines[0])}">{escape(lines[0])}</a></p>'
    return f"<pre>{escape(chr(10).join(lines))}</pre>"
