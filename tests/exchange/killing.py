"""A dispatcher that dies: for each line "NUMBER NOW" on stdin, a process that is killed at its NUMBERth commit.

    python -m tests.exchange.killing SETTINGS PIECE

Says "killed", or "done" when there were not so many.  The commit at which it dies does not happen.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fxsftp import app
from fxsftp.exchange import loading
from fxsftp.settings import Settings, load
from fxsftp.store.registry import Registry


def dispatch(settings: Settings, number: int, now: float) -> None:
    """What the killed process does."""
    really, count = Registry.atomic, 0

    @contextmanager
    def atomic(self: Registry, *, durable: bool = True) -> Iterator[None]:
        nonlocal count
        with really(self, durable=durable):
            yield
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    exchange = app.open_exchange(settings, role="sftp")
    Registry.atomic = atomic  # type: ignore[method-assign]
    exchange.dispatch.step(now)
    exchange.close()


def main(path: str, piece: str) -> None:
    loading.PIECE = int(piece)
    settings = load(Path(path), {})
    for line in sys.stdin:
        child = os.fork()
        if not child:
            dispatch(settings, int(line.split()[0]), float(line.split()[1]))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status not in (0, signal.SIGKILL):
            raise SystemExit(f"the dispatcher ended with {status}")
        print("killed" if status else "done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
