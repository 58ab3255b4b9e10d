"""The clerk behind the admin's commands: opens the exchange, shows tables to people and JSON to programs.

Whatever came from a user is shown without its control characters: a subject must not move an admin's cursor.
What stands in JSON has stable names, times in ISO 8601 UTC and sizes in bytes.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import click
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from fxsftp.errors import BadSettings, FxError
from fxsftp.exchange import Exchange
from fxsftp.settings import Settings

REFUSED, USAGE, TEMPORARY, BROKEN = 1, 2, 3, 70  # the last one is EX_SOFTWARE, a fault of ours
WIDE = 10_000  # columns where nobody looks: a pipe gets each row in one line

P = ParamSpec("P")
R = TypeVar("R")


# ---- what the commands stand on ------------------------------------------------------------------


class Opens(Protocol):
    """How the wiring opens an exchange."""

    def __call__(self, settings: Settings, *, role: str = "admin") -> Exchange: ...


class Founds(Protocol):
    """How the wiring makes a new exchange; answers the fingerprint of its host key."""

    def __call__(
        self, folder: Path, *, demo: bool, sftp_port: int, portal_port: int = 0, institution: str | None = None
    ) -> str: ...


@dataclass(frozen=True)
class Wiring:
    """What the command line is given, so that it need not know how any of it is done."""

    load: Callable[[Path | None], Settings]
    exchange: Opens
    found: Founds
    serve: Callable[[Settings, str | None], int]
    boot: Callable[[], tuple[float, str]]
    now: Callable[[], float]


class Clerk:
    """What one run of the command line knows: the wiring, and where the settings are."""

    wiring: Wiring
    settings_file: Path | None = None

    def settings(self) -> Settings:
        """Raises BadSettings."""
        return self.wiring.load(self.settings_file)

    @contextmanager
    def exchange(self, role: str = "admin") -> Iterator[Exchange]:
        """The exchange, for as long as one command takes, with what `role` may have of it."""
        exchange = self.wiring.exchange(self.settings(), role=role)
        try:
            yield exchange
        finally:
            exchange.close()

    @property
    def now(self) -> float:
        """Seconds UTC."""
        return self.wiring.now()


pass_clerk = click.make_pass_decorator(Clerk, ensure=True)


# ---- --settings, before the command's name or after it -----------------------------------------------


def _remember(ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is not None:
        ctx.ensure_object(Clerk).settings_file = path


class WithSettings(click.Command):
    """A command that takes --settings.  FXSFTP_SETTINGS is read by the settings themselves, which know its rank."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params.append(
            click.Option(
                ["--settings"],
                type=click.Path(path_type=Path),
                metavar="FILE",
                expose_value=False,
                callback=_remember,
                help="The settings file.  [default: $FXSFTP_SETTINGS, /etc/fxsftp/fxsftp.toml]",
            )
        )


class Group(WithSettings, click.Group):
    """A noun; its commands are verbs."""

    command_class = WithSettings
    group_class = type  # a group within it is of this class too


def leaf(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that stands by itself."""
    return click.command(name, cls=WithSettings)


as_json = click.option("--json", "as_json", is_flag=True, help="For programs: JSON instead of a table.")
unasked = click.option("--yes", is_flag=True, help="Don't ask.")


def confirm(question: str, *, yes: bool) -> None:
    """Let whoever sits at the terminal think again; a script has thought before."""
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


# ---- what went wrong ---------------------------------------------------------------------------------


def shielded(command: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `command` answers.  A problem becomes one line on stderr and an exit status, never a traceback."""
    try:
        return command(*args, **kwargs)
    except FxError as problem:
        _trace_for_the_curious()
        say_problem(str(problem))
        sys.exit(USAGE if isinstance(problem, BadSettings) else TEMPORARY if problem.temporary else REFUSED)
    except BrokenPipeError:
        raise  # whoever read us has seen enough; click ends quietly
    except OSError as problem:
        _trace_for_the_curious()
        about = f"{problem.filename}: " if problem.filename else ""
        say_problem(f"{about}{problem.strerror or problem}")
        sys.exit(TEMPORARY if problem.errno in (errno.ENOSPC, errno.EDQUOT) else REFUSED)
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as problem:  # noqa: BLE001 - a person reads this; the trace is one variable away
        _trace_for_the_curious()
        say_problem(f"this went wrong in an unforeseen way ({type(problem).__name__}). FXSFTP_DEBUG=1 shows where.")
        sys.exit(BROKEN)


def _trace_for_the_curious() -> None:
    if os.environ.get("FXSFTP_DEBUG"):
        traceback.print_exc()


def say_problem(text: str) -> None:
    """One line on stderr."""
    click.echo(f"fxsftp: {plain(text)}", err=True)


# ---- what is shown -----------------------------------------------------------------------------------


def plain(text: object) -> str:
    """The text without what would act on a terminal or turn its direction."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def say(text: str) -> None:
    """One line on stdout: it went well."""
    click.echo(plain(text))


def show_json(values: object) -> None:
    """Indented, and in ASCII, which survives every locale on its way to a program."""
    click.echo(json.dumps(values, indent=2))


def console() -> Console:
    """Where people look; as wide as they have it, and as wide as it takes where nobody does."""
    seen = Console(highlight=False, soft_wrap=False)
    return seen if seen.is_terminal else Console(highlight=False, width=WIDE)


def show(*parts: RenderableType) -> None:
    """One below the other; into a pipe without blanks at the ends of lines."""
    screen = console()
    if screen.is_terminal:
        screen.print(*parts, sep="\n")
        return
    with screen.capture() as capture:
        screen.print(*parts, sep="\n")
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Columns under quiet heads.

    Beneath a head that begins with '>' are numbers; with '=' what is never broken; with '…' what may be cut short
    where it is narrow.
    """
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for head in columns:
        made.add_column(
            head.lstrip(">=…"),
            justify="right" if head.startswith(">") else "left",
            no_wrap=head.startswith((">", "=")),
            overflow="ellipsis" if head.startswith("…") else "fold",
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    return made


def show_rows(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table, and nothing at all when there is nothing in it."""
    if rows:
        show(table(columns, rows))


def sheet(facts: Iterable[tuple[str, object]]) -> Table:
    """What is known of one thing; what is empty is left out."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in facts:
        if value not in (None, "", ()):
            made.add_row(name, value if isinstance(value, Text) else Text(plain(value)))
    return made


def when(moment: float | None) -> str:
    """Local, to the minute."""
    return "" if moment is None else f"{datetime.fromtimestamp(moment, UTC).astimezone():%Y-%m-%d %H:%M}"


def iso(moment: float | None) -> str | None:
    """UTC, to the second."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def amount(size: float) -> str:
    """`1.4 MiB`."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def counted(number: int, one: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {one}" + ("" if number == 1 else "s")
