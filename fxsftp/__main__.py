"""The command `fxsftp`, which `python -m fxsftp` is as well: gives the command line what stands above it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fxsftp import app, founding
from fxsftp.clock import boot
from fxsftp.fronts import cli
from fxsftp.settings import Settings, load


def main() -> None:
    """The command."""
    wiring = cli.Wiring(
        load=_load, exchange=app.open_exchange, found=founding.found, serve=_serve, boot=boot, now=time.time
    )
    cli.run(cli.build(wiring))


def _load(path: Path | None) -> Settings:
    return load(path, os.environ)


def _serve(settings: Settings, only: str | None) -> int:
    from fxsftp import serving  # what serves takes as long to be loaded as most commands take in all

    return serving.serve(settings, only)


if __name__ == "__main__":
    main()
