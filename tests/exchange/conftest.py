"""Kari, a member, and ann, a partner, with their hands on a house's exchange."""

from __future__ import annotations

import pytest

from tests.exchange.hands import Hand
from tests.house import House


@pytest.fixture
def kari(house: House) -> Hand:
    """A member of the institution: files come to her by session."""
    return Hand(house, house.kari(), "kari-1")


@pytest.fixture
def ann(house: House) -> Hand:
    """A partner: files come to her by code."""
    return Hand(house, house.ann(), "ann-1")
