"""What is sealed here is sealed in earnest."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def in_earnest(real_work: None) -> None:
    """Codes and passwords cost what they cost everybody."""
