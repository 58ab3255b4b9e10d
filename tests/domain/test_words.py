"""Words: what people write of a shipment is kept as it was typed, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsftp.domain import words
from fxsftp.errors import BadText


@pytest.mark.parametrize(
    "text", ["", "Ref 23/4567", " two  blanks ", "Sámi: čáhci 水 🐟", "{{ 7*7 }} %s <b>'\"", "..", "x" * 200]
)
def test_any_printable_line_is_a_subject_and_is_kept_exactly(text: str) -> None:
    assert words.subject(text) == text


@pytest.mark.parametrize("text", ["a\nb", "a\r", "\t", "\x7f", "\x85", "\u2028", "\u202etxt.exe", "\ud800", "x" * 201])
def test_what_could_pass_for_something_else_is_no_subject(text: str) -> None:
    with pytest.raises(BadText):
        words.subject(text)


def test_a_message_has_lines_and_nothing_that_moves_a_cursor() -> None:
    assert words.message("Hei.\r\n\tSe vedlegg.\n") == "Hei.\n\tSe vedlegg.\n"
    for text in ("a\rb", "\x1b[2J", "\x00", "\u2066", "\udcff", "x" * 10_001):
        with pytest.raises(BadText):
            words.message(text)


@given(st.text())
def test_what_is_kept_can_be_stored_and_shown_in_a_line(text: str) -> None:
    try:
        kept = words.subject(text)
    except BadText:
        return
    assert kept.encode().decode() == kept
    assert len(kept.splitlines()) <= 1
