"""A house with kari and ann at its door, and an ear on everything that it logs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from fxsftp.domain.model import Kind
from tests.hooks.conftest import authority, ca_file, post_office, twilio
from tests.house import ANN, BOB, KARI, House
from tests.walks.guests import Guest

__all__ = ["authority", "ca_file", "post_office", "twilio"]


@pytest.fixture
def kari(house: House) -> Guest:
    """A member of the institution, who logs in with a key."""
    house.kari()
    return Guest(house, KARI, key=house.key_for(KARI))


@pytest.fixture
def ann(house: House) -> Guest:
    """A partner, who gets codes, and logs in with a key."""
    house.ann()
    return Guest(house, ANN, key=house.key_for(ANN))


@pytest.fixture
def bob(house: House) -> Guest:
    """Another partner."""
    house.add(BOB, Kind.PARTNER, name="Bob Builder")
    return Guest(house, BOB, key=house.key_for(BOB))


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """All that was logged so far.  Whatever a walk does to the house, no stack trace ever stands in it."""
    caplog.set_level(logging.DEBUG, "fxsftp")
    yield lambda: "\n".join(_line(record) for record in caplog.get_records("call"))
    for record in caplog.get_records("call"):
        assert not record.exc_info, _line(record)
        assert record.levelno < logging.ERROR, _line(record)


def _line(record: logging.LogRecord) -> str:
    return logging.Formatter("%(levelname)s %(name)s: %(message)s").format(record)
