"""What holds for every run of the tests; the fixtures are in tests/."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ("tests.plugin_ci",)

# They start processes and wait for them: begun last, one of them alone would hold up the end.
LONG = ("tests/walks/", "tests/fronts/cli/test_demo.py", "tests/test_samples.py", "tests/hooks/", "tests/test_bench.py")
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a folder of its own there, for this user only
ROOM = 4 << 30  # bytes; half of one is what the tests have there at a time


def pytest_configure(config: pytest.Config) -> None:
    """The tests' folders lie in memory where there is room, for each house waits many times until a disk is sure."""
    if os.access(IN_MEMORY, os.W_OK) and config.option.markexpr != "soak":  # which is for hours and on a disk
        found = os.statvfs(IN_MEMORY)
        if found.f_bavail * found.f_frsize > ROOM and not found.f_flag & os.ST_NOEXEC:  # hooks are programs
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, in whatever order chance has put them."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
