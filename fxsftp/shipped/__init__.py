"""The folders that come with the program and are not Python: hooks, config, systemd.

In an installed wheel they stand inside this package; in a checkout at its top, where people look for
them.  Nothing but this file knows which of the two it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_INSTALLED = Path(__file__).resolve().parent
_CHECKOUT = _INSTALLED.parents[1]


def folder(name: Literal["hooks", "config", "systemd"]) -> Path:
    """The absolute path of a shipped folder."""
    installed = _INSTALLED / name
    return installed if installed.is_dir() else _CHECKOUT / name
