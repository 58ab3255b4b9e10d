"""What every test may use: a house with a clock that can be turned, and its people.

The house is real: registry, secrets and vault on disk, the real keys, and, for those who ask for its
address, the real SFTP listener in a thread.  Only time is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import browser
from tests.house import House
from tests.plans import no_scan
from tests.spy import no_nonce_twice
from tests.work import light_work, real_work

__all__ = ["light_work", "no_nonce_twice", "no_scan", "real_work"]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An exchange of its own, empty."""
    with House(tmp_path / "house") as built:
        yield built


def pytest_sessionfinish() -> None:
    """Playwright's own process ends with the tests."""
    browser.stop()
