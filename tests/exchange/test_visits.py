"""Visits: who is here by browser, until when, and that only the browser has the token."""

from __future__ import annotations

import pytest

from fxsftp.clock import boot
from fxsftp.domain.model import Kind, Stage
from fxsftp.errors import Forbidden
from fxsftp.store.registry.accounts import FIND_VISIT
from tests.exchange.hands import Hand, another_process, registry_of, state_files
from tests.exchange.post import at_once
from tests.house import ANN, BOB, House

MINUTE, HOUR = 60, 3600


def test_a_visit_is_found_by_its_token_in_any_process(house: House, ann: Hand) -> None:
    token = house.exchange.visits.begin(ann.user, house.clock())
    other = another_process(house)
    try:
        visit = other.visits.find(token, house.clock())
    finally:
        other.close()
    assert visit is not None
    assert (visit.user, visit.stage, visit.made, visit.is_confirmed) == (ann.user, Stage.WHOLE, house.clock(), True)
    for wrong in ("", token.upper(), token[:-1], visit.id, "' OR 1=1 --", "\ud800"):
        assert house.exchange.visits.find(wrong, house.clock()) is None


def test_the_registry_knows_no_token(house: House, ann: Hand) -> None:
    token = house.exchange.visits.begin(ann.user, house.clock())
    assert not [path for path, content in state_files(house) if token.encode() in content]


def test_a_visit_ends_after_half_an_hour_without_a_request_and_twelve_hours_with_any(house: House, ann: Hand) -> None:
    visits = house.exchange.visits
    idle, busy = (visits.begin(ann.user, house.clock()) for _ in range(2))
    for _ in range(12 * 3 - 1):
        house.clock.turn(20 * MINUTE)
        visit = visits.find(busy, house.clock())
        assert visit is not None
        visits.touch(visit, house.clock())
    assert visits.find(idle, house.clock()) is None
    house.clock.turn(20 * MINUTE)
    assert visits.find(busy, house.clock()) is None


def test_a_visit_is_touched_once_a_minute_at_most(house: House, ann: Hand) -> None:
    """A page has many parts, and each would cost a write."""
    visits = house.exchange.visits
    token, began = visits.begin(ann.user, house.clock()), house.clock()
    for _ in range(2):
        house.clock.turn(59)
        visit = visits.find(token, house.clock())
        assert visit is not None
        visits.touch(visit, house.clock())
        assert visit.seen == began
    visit = visits.find(token, house.clock())
    assert visit is not None
    assert visit.seen == began + 118


def test_finding_is_one_query_by_an_index(house: House) -> None:
    plan = registry_of(house.exchange)._engine.rows(f"EXPLAIN QUERY PLAN {FIND_VISIT}", ("x", 0, 0))
    assert [row["detail"].split(" USING ")[0] for row in plan] == ["SEARCH visits", "SEARCH users"]


def test_half_a_visit_becomes_whole_under_a_new_token(house: House, ann: Hand) -> None:
    """So that a token which somebody planted or saw before log-in is worth nothing after it."""
    visits = house.exchange.visits
    half = visits.half(ann.user, house.clock())
    visit = visits.find(half, house.clock())
    assert visit is not None
    assert (visit.stage, visit.is_confirmed) == (Stage.HALF, False)
    house.clock.turn(MINUTE)
    whole = visits.elevate(half, house.clock())
    assert whole != half
    assert visits.find(half, house.clock()) is None
    found = visits.find(whole, house.clock())
    assert found is not None
    assert (found.stage, found.made, found.is_confirmed) == (Stage.WHOLE, visit.made, True)


def test_half_a_visit_lasts_ten_minutes_whatever_is_asked_meanwhile(house: House, ann: Hand) -> None:
    visits = house.exchange.visits
    half = visits.half(ann.user, house.clock())
    for _ in range(9):
        house.clock.turn(MINUTE)
        visit = visits.find(half, house.clock())
        assert visit is not None
        visits.touch(visit, house.clock())
    house.clock.turn(MINUTE)
    assert visits.find(half, house.clock()) is None
    with pytest.raises(Forbidden):
        visits.elevate(half, house.clock())


def test_of_two_who_elevate_a_visit_at_once_one_wins(house: House, ann: Hand) -> None:
    half = house.exchange.visits.half(ann.user, house.clock())
    other = another_process(house)
    try:
        now = house.clock()
        results = at_once(*(lambda each=each: each.visits.elevate(half, now) for each in (house.exchange, other) * 2))
    finally:
        other.close()
    assert sorted(type(result).__name__ for result in results) == ["Forbidden"] * 3 + ["str"]


def test_who_proved_who_they_are_is_taken_at_their_word_for_a_quarter_of_an_hour(house: House, ann: Hand) -> None:
    visits = house.exchange.visits
    token = visits.begin(ann.user, house.clock())
    house.clock.turn(15 * MINUTE)
    visit = visits.find(token, house.clock())
    assert visit is not None
    assert not visit.is_confirmed
    again = visits.find(visits.elevate(token, house.clock()), house.clock())
    assert again is not None
    assert again.is_confirmed


def test_log_out_ends_one_and_everywhere_ends_all_but_this(house: House, ann: Hand) -> None:
    visits, now = house.exchange.visits, house.clock()
    bob = house.add(BOB, Kind.PARTNER)
    one, two, three, bobs = (visits.begin(user, now) for user in (ann.user, ann.user, ann.user, bob))
    visits.end(one)
    visits.end(one)
    assert visits.find(one, now) is None
    assert visits.end_all(ann.user, but=two) == 1
    assert visits.find(two, now)
    assert visits.find(three, now) is None
    assert visits.end_all(ann.user) == 1
    assert visits.find(two, now) is None
    assert visits.find(bobs, now)


@pytest.mark.parametrize("standing", ["disable", "remove"])
def test_who_may_not_come_in_any_more_is_not_here_any_more(house: House, ann: Hand, standing: str) -> None:
    token = house.exchange.visits.begin(ann.user, house.clock())
    getattr(house.exchange.people, standing)(ANN, house.clock())
    assert house.exchange.visits.find(token, house.clock()) is None
    if standing == "disable":
        house.exchange.people.enable(ANN, house.clock())
        assert house.exchange.visits.find(token, house.clock()) is None


def test_the_sweep_forgets_visits_that_are_over(house: House, ann: Hand) -> None:
    house.exchange.visits.begin(ann.user, house.clock())
    house.clock.turn(HOUR)
    house.exchange.visits.begin(ann.user, house.clock())
    house.exchange.upkeep.sweep(house.clock(), *boot())
    assert registry_of(house.exchange)._engine.value("SELECT COUNT(*) FROM visits") == 1
