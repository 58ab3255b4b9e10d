"""The three tables: everything in them can be reached, and nothing else can happen."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import pytest

from fxsftp.domain.lifecycle import (
    BEFORE_DISPATCH,
    DELIVERIES,
    DONE,
    FILES,
    READABLE,
    SHIPMENTS,
    DeliveryState,
    FileState,
    ShipmentState,
    Step,
    after,
)
from fxsftp.errors import WrongState

TABLES = pytest.mark.parametrize(
    ("table", "states", "first"),
    [
        (FILES, FileState, FileState.DRAFT),
        (SHIPMENTS, ShipmentState, ShipmentState.DROPPING),
        (DELIVERIES, DeliveryState, DeliveryState.WAITING),
    ],
    ids=["files", "shipments", "deliveries"],
)


@TABLES
def test_every_state_can_be_reached_from_the_first(
    table: Sequence[Step[Any]], states: type[StrEnum], first: StrEnum
) -> None:
    reached = {first}
    for _ in states:
        reached |= {step.next for step in table if reached & set(step.states)}
    assert reached == set(states)


@TABLES
def test_an_event_leads_from_a_state_to_one_other_or_nowhere(
    table: Sequence[Step[Any]], states: type[StrEnum], first: StrEnum
) -> None:
    for state in states:
        for event in {step.event for step in table}:
            rows = [step for step in table if step.event == event and state in step.states]
            assert len(rows) <= 1
            if rows:
                assert after(table, state, event) is rows[0].next
                assert rows[0].next is not state
            else:
                with pytest.raises(WrongState):
                    after(table, state, event)


@TABLES
def test_every_row_says_itself_in_a_sentence(table: Sequence[Step[Any]], states: type[StrEnum], first: StrEnum) -> None:
    assert all(step.sentence and len(step.sentence) < 90 for step in table)


def test_what_is_over_stays_over() -> None:
    for state in (ShipmentState.RECALLED, ShipmentState.ENDED):
        assert not [step for step in SHIPMENTS if state in step.states]
    for state in DONE:
        assert not [step for step in DELIVERIES if state in step.states]


def test_a_dispatched_shipment_never_becomes_a_drop_again() -> None:
    assert not [step for step in SHIPMENTS if ShipmentState.WAITING in step.states and step.next in BEFORE_DISPATCH]


def test_a_recipient_who_may_come_back_reads_where_they_were() -> None:
    back = {step.next for step in DELIVERIES if DeliveryState.SUSPENDED in step.states and "enable" in step.event}
    assert back == set(READABLE)


def test_a_refusal_names_the_shipment_and_its_state() -> None:
    with pytest.raises(WrongState, match="Shipment 7k3f-q2mp is ended; it can't be recalled"):
        after(SHIPMENTS, ShipmentState.ENDED, "recall", "7k3f-q2mp")
