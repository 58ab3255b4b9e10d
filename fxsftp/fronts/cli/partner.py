"""The partner's half of the command line: send, fetch and open.

Knows the client and nothing of the exchange: it runs on the partner's own machine.  Codes, passwords and
passphrases come by standard input or a hidden prompt, never by argv.  One line when it went well, nothing
when nothing is new, problems on stderr; what the exit code means stands in `fxsftp.client`, which is imported by who
calls it: with it comes an SSH client, for which no other command should wait.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click
from rich.console import Console

from fxsftp.domain import ids
from fxsftp.errors import (
    BadIdentity,
    BadProfile,
    CannotOpen,
    FxError,
    HostKeyUnknown,
    LoginRefused,
    WrongCode,
)

if TYPE_CHECKING:
    from rich.progress import TaskID

    from fxsftp import client

PROFILE = Path("~/.config/fxsftp/partner.toml")
P = ParamSpec("P")
Q = TypeVar("Q")

_HINTS: dict[type[FxError], str] = {
    HostKeyUnknown: "run it once more with --accept-new-host-key",
    LoginRefused: "--key FILE names a key, --ask-password asks for the password",
    BadIdentity: "a key with a passphrase asks for it on a terminal, or is used through the SSH agent",
    WrongCode: "each shipment has its own code, in the SMS that names it",
    CannotOpen: "--key FILE names a key, --code-stdin reads a code",
}


def _clerk(command: Callable[P, int | None]) -> Callable[P, NoReturn]:
    """Say a problem in one line on stderr, and leave with the code that says what kind it is."""

    @wraps(command)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        from fxsftp import client

        try:
            sys.exit(command(*args, **kwargs) or client.DONE)
        except FxError as problem:
            _tell(problem)
            sys.exit(client.exit_code([problem]))

    return spoken


def _tell(problem: FxError, about: str = "") -> None:
    text = f"fxsftp: {about}{problem}"
    click.echo("".join(letter if letter.isprintable() else "?" for letter in text), err=True)
    hint = next((hint for kind, hint in _HINTS.items() if isinstance(problem, kind)), None)
    if hint is not None:
        click.echo(f"hint: {hint}", err=True)


# ---- where to call -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    """The options that every command has which calls an exchange."""

    host: str | None
    port: int | None
    user: str | None
    key: tuple[Path, ...]
    ask_password: bool
    password_stdin: bool
    known_hosts: Path | None
    accept_new_host_key: bool
    profile: Path | None

    def keys(self) -> tuple[Path, ...]:
        """The key files, from the command line or else from the profile."""
        return self.key or tuple(Path(key) for key in self._profile().get("key", []))

    def connect(self, passphrase_for: Callable[[Path], str | None]) -> client.Session:
        from fxsftp import client

        profile = self._profile()
        host, user = self.host or profile.get("host"), self.user or profile.get("user")
        if not host or not user:
            raise click.UsageError(
                "Which exchange, and who are you there? Give --host and --user, "
                f"or write them in {PROFILE} under [exchange]."
            )
        password = None
        if self.password_stdin:
            password = sys.stdin.readline().rstrip("\r\n")
        elif self.ask_password:
            password = click.prompt(f"Password of {user}", hide_input=True, err=True)
        return client.connect(
            host,
            self.port or profile.get("port", 22),
            user,
            key_files=self.keys(),
            password=password,
            passphrase_for=passphrase_for,
            known_hosts=self.known_hosts or profile.get("known_hosts", "~/.ssh/known_hosts"),
            accept_new=self.accept_new_host_key,
        )

    def _profile(self) -> dict[str, Any]:
        return _read_profile((self.profile or PROFILE).expanduser(), is_asked_for=self.profile is not None)


_KINDS: dict[str, tuple[type, str]] = {
    "host": (str, "a text"),
    "port": (int, "a number"),
    "user": (str, "a text"),
    "key": (list, "a text, or a list of them"),
    "known_hosts": (str, "a text"),
}


def _read_profile(path: Path, *, is_asked_for: bool) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if is_asked_for:
            raise BadProfile(path, "there is no such file") from None
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise BadProfile(path, getattr(problem, "strerror", None) or "it is not UTF-8") from problem
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BadProfile(path, str(problem)) from None
    exchange = tables.pop("exchange", {})
    if tables or not isinstance(exchange, dict):
        raise BadProfile(path, "it holds one table, [exchange], and nothing else")
    if isinstance(exchange.get("key"), str):
        exchange["key"] = [exchange["key"]]
    for name, value in exchange.items():
        if name not in _KINDS:
            raise BadProfile(path, f"it has no key {name!r}; it knows {', '.join(_KINDS)}")
        kind, words = _KINDS[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadProfile(path, f"{name} must be {words}")
    return exchange


def _calling(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `_Call`, and hand them over as `call`."""

    @wraps(command)
    def gathered(**options: Any) -> Any:
        call = _Call(**{name: options.pop(name) for name in _Call.__slots__})
        if call.password_stdin and options.get("code_stdin"):
            raise click.UsageError("--password-stdin and --code-stdin can't both read standard input.")
        return command(call=call, **options)

    for option in reversed(
        (
            click.option("--host", envvar="FXSFTP_HOST", help="The exchange."),
            click.option("--port", type=click.IntRange(1, 65535), envvar="FXSFTP_PORT", help="22 if not given."),
            click.option("--user", metavar="EMAIL", envvar="FXSFTP_USER", help="Your user name there."),
            click.option("--key", type=_FILE, multiple=True, envvar="FXSFTP_KEY", help="Private SSH key; repeatable."),
            click.option("--ask-password", is_flag=True, help="Ask for the password, hidden."),
            click.option("--password-stdin", is_flag=True, help="Read the password from standard input."),
            click.option("--known-hosts", type=_FILE, help="Instead of ~/.ssh/known_hosts."),
            click.option("--accept-new-host-key", is_flag=True, help="Remember the key of a host never seen before."),
            click.option("--profile", type=_FILE, envvar="FXSFTP_PROFILE", help=f"Instead of {PROFILE}."),
        )
    ):
        gathered = option(gathered)
    return gathered


_FILE = click.Path(path_type=Path)


def _passphrase(path: Path) -> str | None:
    if not sys.stdin.isatty():
        return None
    answer: str = click.prompt(f"Passphrase of {path}", hide_input=True, err=True)
    return answer


# ---- the commands ------------------------------------------------------------------------------------


@click.command("send")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@click.option("--to", required=True, metavar="EMAIL", help="The recipient.")
@click.option("--reference", metavar="TEXT", help="The subject. Without it each file is a shipment of its own.")
@click.option("--wait-for-more", is_flag=True, help="Let the exchange wait whether more comes before it sends.")
@_calling
@_clerk
def send_command(files: tuple[Path, ...], to: str, reference: str | None, wait_for_more: bool, call: _Call) -> None:
    """Send files or whole folders; a broken line is taken up where it broke."""
    with _Bars() as bars, call.connect(_passphrase) as exchange:
        sent = exchange.send(files, to, reference, progress=bars.told, now_send=not wait_for_more)
    number = "1 file" if len(sent.files) == 1 else f"{len(sent.files)} files"
    became = f"sent to {sent.to} as {sent.shipment}" if sent.shipment else f"put for {sent.to}"
    click.echo(f"{number}, {sent.size} bytes, {became}")


@click.command("fetch")
@click.option("--into", required=True, type=_FILE, metavar="DIR", help="Where each shipment gets a folder of its own.")
@click.option("--shipment", "shipments", metavar="ID", multiple=True, help="Only this one; may be repeated.")
@click.option("--remove", is_flag=True, help="Take out of the inbox what is here and right.")
@click.option("--open", "opens", is_flag=True, help="Open what is locked: with --key, or with a code.")
@click.option("--code-stdin", is_flag=True, help="Read codes from standard input: a CODE, or lines of ID CODE.")
@_calling
@_clerk
def fetch_command(
    into: Path, shipments: tuple[str, ...], remove: bool, opens: bool, code_stdin: bool, call: _Call
) -> int:
    """Bring what is in the inbox, each file checked; what is here already is not fetched again."""
    from fxsftp import client

    with _Bars() as bars, call.connect(bars.pausing(_passphrase)) as exchange:
        fetched = exchange.fetch(
            into,
            shipments=shipments or None,
            code_for=bars.pausing(_codes(code_stdin)) if opens or code_stdin else None,
            open_with=call.keys() if opens else (),
            progress=bars.told,
            remove=remove,
        )
    for one in fetched:
        if one.problem is not None:
            _tell(one.problem, f"{one.name}: ")
        elif one.is_new:
            opened = f", {len(one.opened)} opened" if one.opened else ""
            click.echo(f"{one.folder}: {len(one.files)} new{opened}")
    return client.exit_code([one.problem for one in fetched if one.problem is not None])


@click.command("open")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@click.option("--code-stdin", is_flag=True, help="Read the code from standard input.")
@click.option("--key", "keys", type=_FILE, multiple=True, help="SSH key or age identity file; repeatable.")
@click.option("--into", type=_FILE, metavar="DIR", help="Where to put what was in them, instead of beside them.")
@_clerk
def open_command(files: tuple[Path, ...], code_stdin: bool, keys: tuple[Path, ...], into: Path | None) -> int:
    """Open .age files, offline, with a code or a key."""
    from fxsftp import client

    code = None
    if code_stdin:
        code = sys.stdin.readline().rstrip("\r\n")
    elif not keys:
        if not sys.stdin.isatty():
            raise click.UsageError("Nobody is here to ask for the code: give --code-stdin or --key.")
        code = click.prompt("Code", hide_input=True, err=True)
    keyring = client.Keyring(code, keys, _passphrase)
    problems: list[FxError] = []
    with _Bars() as bars:
        for path in files:
            if path.name == client.KEY_FILE and len(files) > 1:
                continue  # 'fxsftp open *.age': it opens the others, and holds nothing itself
            try:
                click.echo(str(keyring.open(path, into, bars.told)))
            except FxError as problem:
                problems.append(problem)
                _tell(problem, f"{path}: " if len(files) > 1 else "")
    return client.exit_code(problems)


COMMANDS: list[click.Command] = [send_command, fetch_command, open_command]


# ---- codes and bars ----------------------------------------------------------------------------------


def _codes(from_stdin: bool) -> Callable[[str], str | None]:
    """Who knows the code of a shipment: standard input, or whoever sits at the terminal."""
    if not from_stdin:
        return _ask_code if sys.stdin.isatty() else lambda _shipment: None
    codes: dict[str | None, str] = {}
    for line in sys.stdin.read().splitlines():
        first, _, rest = line.strip().partition(" ")
        named = ids.shipment_id(first) if rest else None
        if line.strip():
            codes[named] = rest.strip() if named else line.strip()
    return lambda shipment: codes.get(shipment, codes.get(None))


def _ask_code(shipment: str) -> str | None:
    question = f"Code of {shipment} (empty: leave it locked)"
    answer: str = click.prompt(question, "", hide_input=True, show_default=False, err=True)
    return answer or None


class _Bars:
    """Bars on stderr while somebody looks at a terminal; nothing in a log."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bars = Progress(*columns, console=console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self.told: client.Progress | None = self._told if console.is_terminal else None

    def pausing(self, ask: Callable[[Q], str | None]) -> Callable[[Q], str | None]:
        """`ask`, with the bars out of the way of the prompt."""

        def asked(about: Q) -> str | None:
            self._stop()
            return ask(about)

        return asked

    def _told(self, name: str, done: int, size: int) -> None:
        if not self._bars.live.is_started:
            self._bars.start()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=size)
        self._bars.update(self._tasks[name], completed=done, total=size)
        if done >= size:
            self._bars.remove_task(self._tasks.pop(name))

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bars.live.is_started:  # rich ends bars that never began with an empty line
            self._bars.stop()
