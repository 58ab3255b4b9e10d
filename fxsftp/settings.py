"""Settings: one TOML file, over it the environment, beside them systemd's credentials; read once, checked once, frozen.

config/fxsftp.toml shows every key with its default and the reason for it (a test compares the two).  Durations are
seconds and sizes are bytes here; `written` knows the other ways to write them.  Relative paths are relative to the
settings file.  A key that nobody knows is refused with the nearest one that somebody does.  What must stay secret is
never a value here: settings name the file or credential, and `credential()` reads it when it is needed.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from fxsftp import errors
from fxsftp.written import (
    Bytes,
    Count,
    Delivery,
    HookName,
    HookNames,
    Names,
    Networks,
    Port,
    PublicUrl,
    Rate,
    Seconds,
    Share,
    Startups,
    Times,
    Workers,
    Zone,
)

USUAL = Path("/etc/fxsftp/fxsftp.toml")
PAYS = 8  # workers that `auto` makes: more would wait for each other's rows
SMS_NAME = 47  # letters beside which the longest of our SMS has room in 160; a test measures it
# 3GPP TS 23.038 §6.2.1, without line ends.  One letter beyond these, and an SMS has room for 70 instead of 160.
GSM = (
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings in the file at `path`, with what the environment (`FXSFTP_SECTION__KEY`) sets over it.

    Without a path: the file that FXSFTP_SETTINGS names, else /etc/fxsftp/fxsftp.toml if there is one, else the
    defaults.  Raises BadSettings, which names every key that is wrong and says how to write it.
    """
    if path is None and environ.get("FXSFTP_SETTINGS"):
        path = Path(environ["FXSFTP_SETTINGS"])
    if path is None and USUAL.exists():
        path = USUAL
    if path is not None and not path.is_file():
        raise errors.BadSettings(f"there is no settings file {path}; 'fxsftp init' writes one")

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return _Environment(settings_cls, environ), TomlConfigSettingsSource(settings_cls, path)

    try:
        settings = Sourced()
    except tomllib.TOMLDecodeError as failure:
        raise errors.BadSettings(f"{path} is not TOML: {failure}") from None
    except (UnicodeDecodeError, OSError) as failure:
        raise errors.BadSettings(f"{path} can't be read: {failure}") from None
    except ValidationError as failure:
        raise errors.BadSettings("; ".join(_sentences(failure))) from None
    settings._file = path.absolute() if path else None
    settings._credentials = Path(environ["CREDENTIALS_DIRECTORY"]) if environ.get("CREDENTIALS_DIRECTORY") else None
    return settings


# ---- the sections --------------------------------------------------------------------------------


class Section(BaseModel):
    """What it is for, and why each default is what it is, stands in config/fxsftp.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def unfit_for_sms(name: str) -> str:
    """Why an institution can't speak by this name in SMS, in which a code has to fit beside it; empty where it can."""
    odd = sorted(set(name) - set(GSM))
    if len(name) <= SMS_NAME and not odd:
        return ""
    wrong = f"has {' '.join(odd)} in it" if odd else f"has {len(name)} letters"
    return (
        f"{name!r} {wrong}, and so a code would not fit into one SMS; "
        f"give sms_name another form of the name, at most {SMS_NAME} letters of A to Z, å, ä, é, ø, ö, ü, æ"
    )


class Institution(Section):
    name: str = "Example Institution"
    sms_name: str = ""
    support_mail: str = "support@example.org"
    support_phone: str = ""

    @property
    def in_sms(self) -> str:
        """By what name it speaks in an SMS."""
        return self.sms_name or self.name

    @model_validator(mode="after")
    def _fits_into_an_sms(self) -> Institution:
        if wrong := unfit_for_sms(self.in_sms):
            raise ValueError(wrong)
        return self


class Exchange(Section):
    state: Path = Path("/var/lib/fxsftp")
    demo: bool = False
    language: Literal["en", "nb", "nn"] = "en"
    timezone: Zone = "UTC"
    domains: Names = ()
    quota: Bytes = 50 << 30
    quota_warns: Share = 0.8
    reserve: Bytes = 256 << 20
    max_file: Bytes = 1 << 40
    max_files: Count = 10_000
    ahead: Bytes = 16 << 20
    ahead_total: Bytes = 256 << 20
    settle_loose: Seconds = 30.0
    settle_folder: Seconds = 60.0
    settle_connected: Seconds = 300.0
    settle_suspect: Seconds = 300.0
    hold: Seconds = 86_400.0
    stale: Seconds = 7 * 86_400.0
    expiry: Seconds = 30 * 86_400.0
    reminders: Times = (7 * 86_400.0, 86_400.0)
    erase_after: Seconds = 86_400.0
    remember: Seconds = 400 * 86_400.0
    opening: Seconds = 900.0
    wrong_codes: Count = 5
    closed: Seconds = 900.0
    code_kept: Seconds = 72 * 3600.0
    partial: Names = ("*.filepart", "*.part", "*.partial", ".in.*", "*.tmp", "*.inprogress", "*.uploading")
    litter: Names = (".DS_Store", "._*", "Thumbs.db", "desktop.ini", "~$*", ".*.swp", ".nfs*")


class Policy(Section):
    partner_delivery: Delivery = "code"
    member_delivery: Delivery = "session"
    minimum_lock: Delivery = "session"
    key_fallback: Literal["code", "session"] = "code"
    show_subject: bool = False
    webhook_shows: Literal["ids", "addresses", "subject"] = "ids"
    longest: Seconds = 90 * 86_400.0
    wrong_passwords: Count = 10
    wrong_within: Seconds = 900.0
    locked: Seconds = 900.0
    totp: Literal["off", "optional", "members", "all"] = "optional"
    totp_with_keys: bool = False
    recovery: str = Field(default="", pattern=r"^(age1[0-9a-z]+)?$")


class Keys(Section):
    house: str = "house.key"
    courier: str = "courier.key"
    courier_recipient: str = "courier.pub"
    host_keys: Names = ("ssh_host_ed25519_key",)


class Sftp(Section):
    listen: str = ""
    port: Port = 2222
    address: str = "sftp.example.org"
    workers: Workers = Field(default="auto", validate_default=True)
    max_sessions: Count = 1000
    max_sessions_per_user: Count = 12
    max_startups: Startups = (30, 30, 100)
    max_rate: Rate = 15.0
    algorithms: Literal["modern", "compat"] = "modern"
    tuned: bool = True
    login_time: Seconds = 20.0
    login_tries: Count = 6
    idle: Seconds = 1800.0
    keepalive: Seconds = 60.0
    drain: Seconds = 20.0

    @property
    def processes(self) -> int:
        """How many workers there are to be: one for each core that this process may use, and no more than pay."""
        return self.workers or min(len(os.sched_getaffinity(0)), PAYS)


class Notify(Section):
    model_config = ConfigDict(populate_by_name=True)

    mail: HookName = ""
    sms: HookName = ""
    webhook: HookName = ""
    sender: str = Field(default="exchange@example.org", alias="from")
    hooks: Names = ()
    answer_within: Seconds = 60.0
    give_up: Seconds = 72 * 3600.0
    # At most 22 letters before the @: with a notice's id and its tag they make 64, and no name may be longer.
    bounces: str = Field(default="", pattern=r"^([A-Za-z0-9._-]{1,22}@[A-Za-z0-9.-]+)?$")
    mail_at_once: Count = 4
    mail_rate: Rate = 0.0
    sms_at_once: Count = 2
    sms_rate: Rate = 10.0
    webhook_at_once: Count = 2
    webhook_rate: Rate = 0.0


class Portal(Section):
    listen: str = "127.0.0.1"
    port: Port = 8080
    public_url: PublicUrl = ""
    invitation: Seconds = 14 * 86_400.0
    password_link: Seconds = 2 * 3600.0
    idle: Seconds = 1800.0
    longest: Seconds = 12 * 3600.0
    proxies: Networks = ("127.0.0.1", "::1")
    certificate: str = ""
    certificate_key: str = ""


class Scan(Section):
    hooks: HookNames = ()
    at_once: Count = 4
    answer_within: Seconds = 300.0
    patience: Seconds = 120.0


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    """All of them.  `settings.exchange.settle_loose` is 30.0."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    institution: Institution = Institution()
    exchange: Exchange = Exchange()
    policy: Policy = Policy()
    keys: Keys = Keys()
    sftp: Sftp = Sftp()
    notify: Notify = Notify()
    portal: Portal = Portal()
    scan: Scan = Scan()
    log: Log = Log()
    # By hook; a hook looks at its own table itself.  Not in repr: a password may stand there in spite of all advice.
    hook: dict[str, dict[str, Any]] = Field(default={}, repr=False)

    _file: Path | None = PrivateAttr(default=None)
    _credentials: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _hangs_together(self) -> Settings:
        for way, name in (("mail", self.notify.mail), ("sms", self.notify.sms)):
            if name == "spool" and not self.exchange.demo:
                raise ValueError(f"notify.{way}: 'spool' writes codes to disk, so it needs exchange.demo = true")
        if self.exchange.ahead > self.exchange.ahead_total:
            raise ValueError("exchange.ahead_total: it must be at least exchange.ahead")
        if bool(self.portal.certificate) != bool(self.portal.certificate_key):
            raise ValueError("portal.certificate: it is of use only with portal.certificate_key, and that only with it")
        return self

    @property
    def file(self) -> Path | None:
        """The file they came from, or None if they are the defaults."""
        return self._file

    @property
    def folder(self) -> Path:
        """What relative paths are relative to: the folder of the settings file."""
        return self._file.parent if self._file else USUAL.parent

    @property
    def state(self) -> Path:
        return self.folder / self.exchange.state

    # Folders of their own, because the services may enter different ones: systemd/tmpfiles.conf says which.

    @property
    def registry(self) -> Path:
        return self.state / "registry" / "registry.db"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets" / "secrets.db"

    @property
    def vault(self) -> Path:
        return self.state / "vault"

    @property
    def bell(self) -> Path:
        return self.state / "run" / "courier"

    @property
    def workers(self) -> Path:
        return self.state / "run" / "workers"

    @property
    def dispatcher(self) -> Path:
        return self.state / "run" / "dispatcher"

    @property
    def hook_folders(self) -> tuple[Path, ...]:
        """Where the operator's own hooks are, of every way; the shipped ones come after these."""
        return tuple(self.folder / name for name in self.notify.hooks)

    @property
    def credentials(self) -> Path:
        """Where keys and passwords lie: systemd's folder for this service, else beside the settings file."""
        return self._credentials or self.folder

    def credential(self, name: str) -> bytes:
        """The content of a secret file: systemd's credential of that name, else the file.

        Raises UnsafeFile unless the file is for its owner alone, and that is us, root or the owner of the state.
        """
        if self._credentials is not None and (self._credentials / name).is_file():
            return (self._credentials / name).read_bytes()  # systemd guards that folder better than a mode could
        return _private(self.folder / name, name, may_own=self._owners())

    def path_of(self, name: str) -> Path:
        """Where a file lies that a library wants to read itself: among the credentials, else beside the settings."""
        credential = self.credentials / name
        return credential if credential.is_file() else self.folder / name

    def public(self, name: str) -> bytes:
        """The content of a file that anyone may read, from the same two places."""
        if self._credentials is not None and (self._credentials / name).is_file():
            return (self._credentials / name).read_bytes()
        try:
            return (self.folder / name).read_bytes()
        except OSError as failure:
            raise errors.BadSettings(f"there is no readable file {name} ({failure.strerror})") from None

    def for_hook(self, program: str) -> dict[str, Any]:
        """What a hook hears first: its own table, and what all of them may need to know."""
        shared = {
            "institution": self.institution.name,
            "support_mail": self.institution.support_mail,
            "support_phone": self.institution.support_phone,
            "demo": self.exchange.demo,
            "state": str(self.state),
            "credentials": str(self.credentials),
            "callbacks": f"{self.portal.public_url}/callbacks" if self.portal.public_url else "",
        }
        return self.hook.get(program, {}) | shared

    def _owners(self) -> set[int]:
        owners = {0, os.geteuid()}
        try:
            owners.add(self.state.stat().st_uid)  # so that root can run 'fxsftp user add' with the service's own keys
        except OSError:
            pass
        return owners


def _private(path: Path, name: str, *, may_own: set[int]) -> bytes:
    try:
        # NONBLOCK: a pipe in the place of a key must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise errors.BadSettings(f"there is no {name}, neither as a credential nor in {path.parent}") from None
    except OSError as failure:
        raise errors.UnsafeFile(name, f"it can't be opened ({failure.strerror})") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise errors.UnsafeFile(name, "it is not a file")
        if found.st_uid not in may_own:
            raise errors.UnsafeFile(name, "it belongs to another user")
        if found.st_mode & 0o077:
            raise errors.UnsafeFile(name, f"others may use it (mode {stat.S_IMODE(found.st_mode):04o}, not 0600)")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


# ---- where values come from, and what is wrong with them -----------------------------------------


class _Environment(PydanticBaseSettingsSource):
    """FXSFTP_EXCHANGE__SETTLE_LOOSE is exchange.settle_loose; FXSFTP_HOOK__MAIL_SMTP__HOST is hook.mail-smtp.host.

    Ours and not pydantic's, because that one reads the process's own environment and overlooks misspelt sections.
    """

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._environ = environ

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for variable, value in self._environ.items():
            if not variable.startswith("FXSFTP_") or "__" not in variable:
                continue
            section, _, key = variable.removeprefix("FXSFTP_").lower().partition("__")
            table = values.setdefault(section, {})
            if section == "hook":
                program, _, key = key.partition("__")
                table = table.setdefault(program.replace("_", "-"), {})  # no shell exports a variable with a dash
                if not key:
                    raise errors.BadSettings(f"{variable} names no setting; write FXSFTP_HOOK__MAIL_SMTP__HOST")
            table[key] = value
        return values

    def get_field_value(self, field: object, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # pydantic asks for this one from __call__, which is ours


def _sentences(failure: ValidationError) -> Iterator[str]:
    for error in failure.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in error["loc"])
        if error["type"] == "extra_forbidden":
            nearest = _nearest(key)
            yield f"there is no setting {key}" + (f"; did you mean {nearest}?" if nearest else "")
        else:
            what = error["msg"].removeprefix("Value error, ")
            yield f"{key}: {what}" if key else what


def _nearest(key: str) -> str | None:
    """The known key that was probably meant: by its whole name, else by its last word in whichever section."""
    known = list(all_keys())
    sections = sorted({name.partition(".")[0] for name in known})
    if "." not in key:
        close = get_close_matches(key, sections, n=1)
        if close:
            return f"[{close[0]}]"
    close = get_close_matches(key, known, n=1, cutoff=0.75)
    if close:
        return close[0]
    by_word = {name.rpartition(".")[2]: name for name in known}
    close = get_close_matches(key.rpartition(".")[2], by_word, n=1, cutoff=0.75)
    return by_word[close[0]] if close else None


def all_keys() -> Iterator[str]:
    """Every key as it is written, `section.key`; of [hook.*] each hook knows its own."""
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            for name, key in field.annotation.model_fields.items():
                yield f"{section}.{key.alias or name}"
