"""The house with floors: doors go down only, and each outside library has one home.

The plan is the data below; the test walks over every import of the package and looks it up there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each room and the rooms that it may enter, besides itself.  The first pattern that fits a module names its room.
ROOMS: dict[str, tuple[str, ...]] = {
    # on every floor
    "errors": ("fxsftp.errors", "fxsftp"),
    "shipped": ("fxsftp.shipped",),
    "readiness": ("fxsftp.readiness",),
    "bell": ("fxsftp.bell",),
    "clock": ("fxsftp.clock",),
    "pulse": ("fxsftp.pulse",),
    "workers": ("fxsftp.workers",),
    "supervisor": ("fxsftp.supervisor",),
    # the cellar
    "settings": ("fxsftp.settings", "fxsftp.written"),
    "domain": ("fxsftp.domain", "fxsftp.domain.*"),
    "seal": ("fxsftp.seal", "fxsftp.seal.*"),
    "store": ("fxsftp.store", "fxsftp.store.*"),
    # the one room where rules are applied
    "exchange": ("fxsftp.exchange", "fxsftp.exchange.*"),
    # the fronts, and what goes out
    "desk": ("fxsftp.fronts", "fxsftp.fronts.desk", "fxsftp.fronts.pool"),
    "sftp": ("fxsftp.fronts.sftp", "fxsftp.fronts.sftp.*"),
    "portal": ("fxsftp.fronts.portal", "fxsftp.fronts.portal.*"),
    "cli": ("fxsftp.fronts.cli", "fxsftp.fronts.cli.*"),
    "templates": ("fxsftp.templates",),
    "carriers": ("fxsftp.carriers",),
    "courier": ("fxsftp.courier",),
    "scanners": ("fxsftp.scanners",),
    # beside the house: the partner's half
    "client": ("fxsftp.client", "fxsftp.client.*"),
    # the wiring
    "app": ("fxsftp.app", "fxsftp.founding", "fxsftp.serving"),
    "main": ("fxsftp.__main__",),
}

DOORS: dict[str, set[str]] = {
    "errors": set(),
    "shipped": set(),
    "readiness": set(),
    "bell": set(),
    "clock": set(),
    "pulse": set(),
    "workers": set(),
    "supervisor": {"pulse"},
    "settings": {"errors", "shipped"},
    "domain": {"errors"},
    "seal": {"errors", "domain"},
    "store": {"errors", "domain"},
    "exchange": {"errors", "domain", "settings", "seal", "store", "bell", "workers"},
    "templates": {"errors", "domain", "settings", "shipped"},
    "carriers": {"errors", "domain", "settings", "shipped"},
    "courier": {"errors", "domain", "settings", "exchange", "templates", "carriers", "bell"},
    "scanners": {"errors", "domain", "settings", "exchange", "carriers", "desk"},  # as the dispatcher: by the desk
    "desk": {"errors", "domain", "settings", "exchange"},
    "sftp": {"errors", "domain", "settings", "exchange", "templates", "desk", "bell"},
    "portal": {"errors", "domain", "settings", "exchange", "templates", "desk", "bell"},
    "cli": {"errors", "domain", "settings", "exchange", "templates", "carriers", "client", "shipped", "bell"},
    "client": {"errors", "seal", "domain.ids"},
    "app": set(ROOMS) - {"app", "main"},
    "main": {"app", "cli", "clock", "settings"},
}

# Each outside library and the only modules that may import it.
HOMES: dict[str, tuple[str, ...]] = {
    "cryptography": ("fxsftp.seal.primitives", "fxsftp.fronts.sftp.ciphers"),  # of what is kept, and of SSH
    "nacl": ("fxsftp.seal.primitives",),
    "sqlite3": ("fxsftp.store", "fxsftp.store.*"),
    "sqlite_utils": ("fxsftp.store", "fxsftp.store.*"),
    "pydantic": ("fxsftp.settings", "fxsftp.written"),
    "pydantic_core": ("fxsftp.settings",),
    "pydantic_settings": ("fxsftp.settings",),
    "jinja2": ("fxsftp.templates",),
    "babel": ("fxsftp.templates",),
    "gettext": ("fxsftp.templates",),
    "subprocess": ("fxsftp.carriers", "fxsftp.fronts.cli.demo", "fxsftp.fronts.cli.stage"),
    "asyncssh": ("fxsftp.fronts.sftp", "fxsftp.fronts.sftp.*"),
    # The exchange and all beneath it are synchronous; so is the partner's side.
    "asyncio": (
        "fxsftp.fronts.sftp",
        "fxsftp.fronts.sftp.*",
        "fxsftp.fronts.portal.*",
        "fxsftp.fronts.desk",
        "fxsftp.fronts.pool",
        "fxsftp.courier",
        "fxsftp.carriers",
        "fxsftp.scanners",  # programs are started by carriers only; here is how one is shown a file
        "fxsftp.bell",
        "fxsftp.pulse",
        "fxsftp.supervisor",
        "fxsftp.serving",
    ),
    "uvloop": ("fxsftp.serving",),
    "starlette": ("fxsftp.fronts.portal", "fxsftp.fronts.portal.*"),
    "uvicorn": ("fxsftp.fronts.portal.listener",),
    "httptools": ("fxsftp.fronts.portal.listener",),
    "python_multipart": ("fxsftp.fronts.portal.*",),
    "segno": ("fxsftp.fronts.portal.*",),
    "pyotp": ("fxsftp.exchange.totp",),
    "click": ("fxsftp.fronts.cli", "fxsftp.fronts.cli.*"),
    "rich": ("fxsftp.fronts.cli", "fxsftp.fronts.cli.*"),
    "paramiko": ("fxsftp.client", "fxsftp.client.*"),
    "standardwebhooks": (),  # hooks/webhook-post, outside the package
    # At home in hooks/sms-twilio, outside the package; the portal takes from it how a callback's signature is computed.
    "twilio": ("fxsftp.fronts.portal.callbacks",),
    "email_validator": ("fxsftp.domain.*",),
    "phonenumbers": ("fxsftp.domain.*",),
}

STANDARD = {"sqlite3", "gettext", "subprocess", "asyncio"}  # of HOMES; these are not in requirements/run.in


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / "fxsftp").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of whatever a module imports, wherever in it; those for types only, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: an import says the whole name"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def room_of(name: str) -> str | None:
    return next((room for room, patterns in ROOMS.items() if fits(name, patterns)), None)


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def target(name: str, known: dict[str, Path]) -> str:
    """The module that an imported name belongs to: `fxsftp.errors.FxError` is in fxsftp.errors."""
    while name not in known and "." in name:
        name = name.rpartition(".")[0]
    return name


def complaints(module: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    room = room_of(module)
    if room is None:
        yield f"{module} is in no room of the plan"
        return
    for line, name in imports(path):
        if name.split(".")[0] == "fxsftp":
            entered = target(name, known)
            other = room_of(entered)
            doors = DOORS[room]
            is_open = other == room or other in doors or entered.removeprefix("fxsftp.") in doors
            if not is_open:
                yield f"{path.relative_to(ROOT)}:{line}: {room} has no door to {other} ({name})"
        else:
            homes = HOMES.get(name.split(".")[0])
            if homes is not None and not fits(module, homes):
                yield f"{path.relative_to(ROOT)}:{line}: {name} is at home in {', '.join(homes) or 'hooks/'}"


@pytest.mark.parametrize("module", modules())
def test_doors_go_down_only_and_libraries_stay_at_home(module: str) -> None:
    known = modules()
    assert list(complaints(module, known[module], known)) == []


def test_the_plan_is_of_one_piece() -> None:
    """Every door leads to a room, no two rooms lead to each other, and seal and store never meet."""
    assert set(DOORS) == set(ROOMS)
    for room, doors in DOORS.items():
        for other in doors:
            base = other.split(".")[0]
            assert base in ROOMS
            assert room not in DOORS[base], f"{room} and {base} lead to each other"
    assert "store" not in DOORS["seal"]
    assert "seal" not in DOORS["store"]
    for front in ("sftp", "portal", "cli", "desk"):
        assert not DOORS[front] & {"seal", "store", "app"}
        assert not DOORS[front] & ({"sftp", "portal", "cli"} - {front})


def test_every_library_that_is_installed_has_a_home() -> None:
    module_of = {"pynacl": "nacl", "sqlite-utils": "sqlite_utils", "email-validator": "email_validator"}
    module_of |= {"pydantic-settings": "pydantic_settings", "python-multipart": "python_multipart"}
    lines = (ROOT / "requirements" / "run.in").read_text().splitlines()
    names = {line.split(">=")[0] for line in lines if line and not line.startswith("#")}
    assert {module_of.get(name, name) for name in names} <= set(HOMES) - STANDARD


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("fxsftp.seal.stream", "from fxsftp.store import secrets", "seal has no door to store"),
        ("fxsftp.store.secrets", "import fxsftp.seal.primitives", "store has no door to seal"),
        ("fxsftp.domain.ids", "from fxsftp import exchange", "domain has no door to exchange"),
        ("fxsftp.fronts.sftp.rooms", "from fxsftp.store.registry import Registry", "sftp has no door to store"),
        ("fxsftp.fronts.sftp.rooms", "from fxsftp.fronts import cli", "sftp has no door to cli"),
        ("fxsftp.client.send", "from fxsftp.domain.places import Place", "client has no door to domain"),
        ("fxsftp.courier", "from fxsftp.app import open_exchange", "courier has no door to app"),
        ("fxsftp.exchange", "def f():\n    import asyncssh", "asyncssh is at home in"),
        ("fxsftp.novelty", "", "is in no room"),
    ],
)
def test_the_test_sees_a_door_that_goes_up(module: str, source: str, complaint: str, tmp_path: Path) -> None:
    path = ROOT / "fxsftp" / "_imagined.py"
    imagined = tmp_path / "imagined.py"
    imagined.write_text(source)
    known = dict.fromkeys(("fxsftp", "fxsftp.store", "fxsftp.store.registry", "fxsftp.store.secrets"), path)
    known |= dict.fromkeys(("fxsftp.seal", "fxsftp.seal.primitives", "fxsftp.exchange", "fxsftp.app"), path)
    known |= dict.fromkeys(("fxsftp.domain.places", "fxsftp.fronts", "fxsftp.fronts.cli"), path)
    found = "; ".join(complaints_of(module, imagined, known))
    assert complaint in found


def complaints_of(module: str, imagined: Path, known: dict[str, Path]) -> list[str]:
    """complaints() names paths from the root of the tree, where an imagined module is not."""
    from unittest.mock import patch

    with patch(f"{__name__}.ROOT", imagined.parent):
        return list(complaints(module, imagined, known))
