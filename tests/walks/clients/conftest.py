"""A party: a house with a sender and a receiver."""

from __future__ import annotations

import pytest

from tests.house import House
from tests.walks.clients.party import Party


@pytest.fixture
def party(house: House) -> Party:
    """Ann and kari, at a house that has nothing else in it."""
    return Party(house)
