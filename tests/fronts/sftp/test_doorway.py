"""Who is answered, who waits, who is turned away: rules, without a socket."""

from __future__ import annotations

import pytest

from fxsftp.fronts.sftp.doorway import BURST, WAITING_MOST, Doorway, Startups, source


def doorway(*, rate: float = 15, chance: float = 0.5, startups: Startups | None = None) -> Doorway[str]:
    return Doorway(startups or Startups(), rate, chance=lambda: chance)


def come(door: Doorway[str], count: int, address: str = "203.0.113.1", now: float = 100.0) -> tuple[int, int]:
    """So many at once: how many of all who wait are answered, and how many are turned away."""
    away = sum(not door.arrive(f"{address}/{now}/{number}", address, now) for number in range(count))
    turned = [is_in for _, is_in in door.turns(now)]
    return sum(turned), away + turned.count(False)


def test_a_few_are_answered_at_once_and_the_others_soon() -> None:
    """None is lost: rclone's twelve have all been answered after half a second."""
    door = doorway(chance=1.0)

    assert come(door, 12) == (BURST, 0)
    wait = door.next_turn(100.0)
    assert wait == pytest.approx(1 / 15)
    assert come(door, 0, now=100.25) == (3, 0)
    assert come(door, 0, now=100.5) == (4, 0)
    assert door.next_turn(100.5) is None


def test_no_second_has_more_of_one_source_than_the_rate() -> None:
    """An auditor of key exchange floods counts 20 a second, over one and a half."""
    door = doorway(startups=Startups(1000, 0, 1000))

    answered = sum(come(door, 3, now=100 + step / 100)[0] for step in range(150))

    assert answered < 20 * 1.5


def test_another_source_does_not_wait_behind_the_first() -> None:
    door = doorway()
    come(door, 100)

    assert come(door, 1, "198.51.100.7") == (1, 0)


def test_from_start_on_some_are_turned_away_and_at_full_all() -> None:
    """The chance grows from `rate` percent to 100, as sshd_config(5) says of MaxStartups."""
    startups = Startups(10, 30, 100)
    assert [startups.chance(count) for count in (0, 9)] == [0, 0]
    assert startups.chance(10) == pytest.approx(0.3)
    assert startups.chance(55) == pytest.approx(0.65)
    assert startups.chance(100) == 1

    lucky, unlucky = (Doorway[str](startups, 0, chance=lambda drawn=drawn: drawn) for drawn in (0.31, 0.29))
    assert come(lucky, 11) == (11, 0)
    assert come(unlucky, 11) == (10, 1)
    assert Startups(10, 30, 10).chance(10) == 1


def test_one_source_cannot_take_all_places() -> None:
    """However long it tries: half are the others', and whoever comes alone is not drawn for."""
    door = doorway(rate=0, chance=0.999)

    assert come(door, 150) == (50, 100)

    assert [come(door, 1, f"198.51.100.{number}") for number in range(50)] == [(1, 0)] * 50
    assert come(door, 1, "192.0.2.1") == (0, 1)


def test_who_logs_in_or_leaves_makes_room() -> None:
    door = doorway(rate=0, startups=Startups(2, 100, 2))
    assert come(door, 1) == (1, 0)
    assert come(door, 1, now=101) == (0, 1)

    door.leave("203.0.113.1/100.0/0")
    door.leave("203.0.113.1/100.0/0")
    door.leave("nobody")

    assert come(door, 1, now=102) == (1, 0)


def test_who_leaves_the_line_is_not_answered() -> None:
    door = doorway()
    come(door, BURST + 1)
    door.leave(f"203.0.113.1/100.0/{BURST}")

    assert door.next_turn(100) is None
    assert list(door.turns(200)) == []


def test_the_lines_have_so_many_places() -> None:
    door = doorway(rate=0.001)

    assert come(door, WAITING_MOST) == (BURST, WAITING_MOST // 2)
    assert come(door, WAITING_MOST, "198.51.100.7")[0] == BURST
    assert come(door, 2 * BURST + 3, "192.0.2.1") == (BURST, 3)


def test_a_million_sources_are_forgotten() -> None:
    door = doorway()
    for number in range(5000):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        come(door, 1, address, now=float(number))
        door.leave(f"{address}/{float(number)}/0")

    assert len(door._sources) <= 2 * WAITING_MOST + 1


def test_a_network_that_one_machine_may_have_counts_as_one() -> None:
    assert source("2001:db8:1:2:3::4") == source("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert source("::ffff:203.0.113.1") == source("203.0.113.1")
    assert source("fe80::1%eth0") == "fe80::/64"
    assert source("?") == "?"


@pytest.mark.parametrize(
    ("workers", "each"), [(1, (30, 30, 100)), (2, (15, 30, 50)), (4, (12, 30, 25)), (8, (12, 30, 24))]
)
def test_places_are_divided_among_workers_but_a_rush_of_one_client_fits_into_each(
    workers: int, each: tuple[int, int, int]
) -> None:
    assert Startups(30, 30, 100).among(workers) == Startups(*each)


def test_a_few_places_are_not_made_more_by_dividing_them() -> None:
    assert Startups(2, 30, 4).among(8) == Startups(2, 30, 4)
