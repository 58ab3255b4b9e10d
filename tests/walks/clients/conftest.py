"""A party: a house with a sender and a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import COMPAT, House
from tests.walks.clients.party import Party


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """One that serves Debian 12's curl as well; tests/fronts/sftp/test_algorithms.py shows that only curl needs it."""
    with House(tmp_path / "house", environ=COMPAT) as built:
        yield built


@pytest.fixture
def party(house: House) -> Party:
    """Ann and kari, at a house that has nothing else in it."""
    return Party(house)
