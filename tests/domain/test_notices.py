"""Notices: which there are, what may become of one, and when one may go."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from fxsftp.domain.notices import BACKOFF, MOVES, SORTS, backoff, known_quiet, known_time, known_zone, next_time
from fxsftp.domain.notices import quiet_until as quiet
from fxsftp.errors import BadTimes

OSLO = "Europe/Oslo"


def at(text: str, zone: str = OSLO) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_nothing_leaves_a_final_state_and_every_state_can_be_reached() -> None:
    assert [state for state, after in MOVES.items() if not after] == ["delivered", "failed", "dropped"]
    assert {"due", *(state for after in MOVES.values() for state in after)} == set(MOVES)


def test_what_warns_of_a_change_goes_by_every_way_to_a_person() -> None:
    assert SORTS["changed"].ways == ("mail", "sms")
    assert SORTS["changed"].warns


def test_what_must_be_told_at_once_waits_for_no_digest() -> None:
    for kind in ("not_delivered", "held", "unfinished", "changed", "wrong_codes", "reminder", "invited"):
        assert not SORTS[kind].may_wait


def test_backoff_grows_to_an_hour_and_chance_moves_it_by_a_fifth_at_most() -> None:
    assert [backoff(attempt, 0.5) for attempt in (1, 2, 3, 4, 5, 99)] == [*BACKOFF, 3600.0]
    assert (backoff(1, 0.0), backoff(1, 1.0)) == pytest.approx((24, 36))


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-11-22T21:59:59", None),
        ("2026-11-22T22:00:00", "2026-11-23T07:00:00"),
        ("2026-11-23T03:00:00", "2026-11-23T07:00:00"),
        ("2026-11-23T06:59:59", "2026-11-23T07:00:00"),
        ("2026-11-23T07:00:00", None),
        ("2026-10-25T00:30:00", "2026-10-25T07:00:00"),  # that night has 25 hours
        ("2026-03-29T00:30:00", "2026-03-29T07:00:00"),  # and that one 23
    ],
)
def test_quiet_hours_over_midnight_end_in_the_morning_of_where_the_user_is(now: str, ends: str | None) -> None:
    assert quiet("22:00-07:00", OSLO, at(now)) == (at(ends) if ends else None)


def test_quiet_hours_of_a_day_and_none_at_all() -> None:
    assert quiet("12:00-13:30", "UTC", at("2026-11-22T13:00:00", "UTC")) == at("2026-11-22T13:30:00", "UTC")
    assert quiet("12:00-13:30", "UTC", at("2026-11-22T13:00:00")) == at("2026-11-22T13:30:00", "UTC")
    assert quiet("12:00-13:30", "UTC", at("2026-11-22T15:00:00", "UTC")) is None
    assert quiet(None, OSLO, 0) is quiet("", OSLO, 0) is None


@pytest.mark.parametrize(
    ("of_day", "now", "then"),
    [
        ("08:00", "2026-11-22T07:59:59", "2026-11-22T08:00:00"),
        ("08:00", "2026-11-22T08:00:00", "2026-11-23T08:00:00"),
        ("02:30", "2026-03-29T01:00:00", "2026-03-29T03:30:00"),  # there was no half past two
        ("02:30", "2026-10-25T01:00:00", "2026-10-25T02:30:00"),  # there were two
    ],
)
def test_the_next_time_of_a_day_is_later_and_true_where_the_user_is(of_day: str, now: str, then: str) -> None:
    assert next_time(of_day, OSLO, at(now)) == at(then)
    assert next_time(of_day, OSLO, at(now)) > at(now)


@pytest.mark.parametrize("text", ["22:00", "22-07", "24:00-07:00", "22:00-22:00", "22:00-07:60", "x", "", "22:00-7:00"])
def test_quiet_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadTimes, match="write quiet hours like"):
        known_quiet(text)


@pytest.mark.parametrize("text", ["8:00", "24:00", "08:0", "٠٨:٠٠", ""])
def test_a_time_of_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadTimes):
        known_time(text)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "", "Europe/Oslo\0"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadTimes, match="no time zone"):
        known_zone(name)
    assert known_zone(OSLO) == OSLO
