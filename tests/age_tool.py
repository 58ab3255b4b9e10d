"""Stock `age`, as a person uses it: it asks for passphrases on its terminal only, so it is given one."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

DEADLINE = 60  # seconds; age's own scrypt takes about one
_PROMPT = re.compile(r"(?:passphrase|[Cc]ode)[^\n]*: \Z")


class AgeRefused(Exception):
    """What age said, and that it did not end with 0."""


def age_decrypt(path: Path, *, passphrase: str | None = None, identity: Path | None = None) -> bytes:
    """Return what `age -d` makes of a file.  With both, the passphrase opens the identity file."""
    into = path.with_name(path.name + ".opened")
    by_identity = ["-i", str(identity)] if identity else []
    age("-d", *by_identity, "-o", str(into), str(path), answers=[passphrase] if passphrase is not None else [])
    return into.read_bytes() if into.exists() else b""  # age makes no file when there is nothing to write


def age_encrypt(path: Path, into: Path, *, passphrase: str | None = None, recipients: Sequence[str] = ()) -> None:
    """Let `age` seal a file, to a passphrase or to recipients (age1…, ssh-…)."""
    by = ["-p"] if passphrase is not None else [word for recipient in recipients for word in ("-r", recipient)]
    age(*by, "-o", str(into), str(path), answers=[passphrase, passphrase] if passphrase is not None else [])


def age(*arguments: str, answers: Sequence[str] = ()) -> str:
    """Run `age` on a terminal of its own, answer what it asks, and return what it showed."""
    if shutil.which("age") is None:
        pytest.skip("age is not installed")
    return on_a_terminal(["age", *arguments], answers=answers)


def on_a_terminal(
    command: Sequence[str],
    *,
    answers: Sequence[str] = (),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program that asks on its terminal, answer what it asks, and return what it showed."""
    ours, its = pty.openpty()
    try:
        # setsid makes the pty the controlling terminal, which is what programs open as /dev/tty.
        alone = ["setsid", "--ctty", "--wait", *command]
        program = subprocess.Popen(alone, stdin=its, stdout=its, stderr=its, cwd=cwd, env=env)
        os.close(its)
        shown = _converse(ours, list(answers))
        if program.wait(DEADLINE) != 0:
            raise AgeRefused(shown)
        return shown
    finally:
        os.close(ours)


def _converse(terminal: int, answers: list[str]) -> str:
    shown, unread = "", ""
    end = time.monotonic() + DEADLINE
    while select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
        try:
            text = os.read(terminal, 4096).decode("utf-8", "replace")
        except OSError:  # EIO: the other end is closed, the program has ended
            return shown
        shown, unread = shown + text, unread + text
        if _PROMPT.search(unread):
            if not answers:
                raise AgeRefused(shown)
            unread = ""
            os.write(terminal, answers.pop(0).encode() + b"\n")
    raise AgeRefused(f"age said nothing for {DEADLINE} s: {shown}")
