"""The courier's bell: it wakes, and never hurts."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from fxsftp.bell import Bell

LONG = 30  # seconds; a ring ends the wait long before


def wait(bell: Bell, within: float) -> bool:
    return asyncio.run(bell.wait(within))


@pytest.fixture
def bell(tmp_path: Path):
    bell = Bell(tmp_path / "run" / "courier.bell")
    bell.hang()
    yield bell
    bell.take_down()


def test_a_ring_wakes_the_one_who_waits(bell):
    ringing = threading.Timer(0.05, Bell(bell.path).ring)
    ringing.start()
    assert wait(bell, LONG)
    ringing.join()


def test_a_ring_before_the_waiting_is_not_lost_and_many_are_one(bell):
    for _ in range(1000):
        Bell(bell.path).ring()
    assert wait(bell, LONG)
    assert not wait(bell, 0)


def test_without_a_ring_the_waiting_ends_in_time(bell):
    assert not wait(bell, 0.01)


def test_ringing_where_nobody_is_does_nothing(tmp_path, bell):
    Bell(tmp_path / "none" / "courier.bell").ring()
    bell.take_down()
    Bell(bell.path).ring()
    assert not bell.path.exists()


def test_a_bell_that_a_killed_courier_left_is_replaced(bell):
    """The second hangs its own; the first, when it ends, leaves that one alone."""
    second = Bell(bell.path)
    second.hang()
    bell.take_down()
    Bell(bell.path).ring()
    assert wait(second, LONG)
    second.take_down()
    assert not second.path.exists()


def test_only_its_owner_and_group_may_ring(bell):
    assert bell.path.stat().st_mode & 0o777 == 0o660


def test_a_folder_too_deep_for_a_sockets_name_is_no_trouble(tmp_path):
    bell = Bell(tmp_path / ("d" * 120) / "courier.bell")
    bell.hang()
    Bell(bell.path).ring()
    assert wait(bell, LONG)
    bell.take_down()
    assert not bell.path.exists()


def test_who_lives_takes_the_place_of_one_who_has_died_and_of_nobody_else(bell):
    second = Bell(bell.path)
    second.hang()
    bell.see_to()
    bell.ring()
    assert wait(second, LONG), "it was the second's, and stays so"
    assert second._hung
    second._hung.close()  # as a kill leaves it: the path is there, and nobody behind it
    second._hung = None
    bell.see_to()
    bell.ring()
    assert wait(bell, LONG)
