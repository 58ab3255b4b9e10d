"""What a guess costs in tests: a hundredth of what it costs in earnest.

A code and a password are stretched so that each guess takes 0.1 s of a core, and the tests deliver and log in a
thousand times.  Here they are stretched by the same functions with smaller numbers, which stand in the header and the
hash, where stock age and a log-in read them as ever.  The real numbers are for tests/seal, whose subject they are, and
for whatever runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fxsftp.seal import locks, primitives

LOG_N = 8  # 256 KiB
MEMORY = 1 << 16  # bytes


@contextmanager
def stretching(log_n: int, memory: int, passes: int) -> Iterator[None]:
    """Codes and passwords are made to cost this much."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks.CodeLock.__init__, "__defaults__", (log_n,))
        patch.setattr(primitives, "_MEMORY", memory)
        patch.setattr(primitives, "_PASSES", passes)
        patch.setattr(primitives, "_PARAMETERS", f"$argon2id$v=19$m={memory >> 10},t={passes},p=1$")
        yield


@pytest.fixture(scope="session", autouse=True)
def light_work() -> Iterator[None]:
    """Of this whole run."""
    with stretching(LOG_N, MEMORY, 1):
        yield


REAL = locks.CODE_LOG_N, primitives._MEMORY, primitives._PASSES


@pytest.fixture
def real_work() -> Iterator[None]:
    """For a test in whose claim the cost is."""
    with stretching(*REAL):
        yield
