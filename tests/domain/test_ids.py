"""Shipment numbers and codes: what is made, what is forgiven, what is caught."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsftp.domain import ids

CODES = st.lists(st.integers(0, 31), min_size=15, max_size=15).map(
    lambda values: ids._grouped([*values, ids._check(values)])
)


def test_a_code_is_four_groups_with_a_check_letter() -> None:
    codes = {ids.new_code() for _ in range(500)}
    assert len(codes) == 500
    assert all(re.fullmatch(r"([0-9a-hjkmnp-tv-z]{4}-){3}[0-9a-hjkmnp-tv-z]{4}", code) for code in codes)
    assert all(ids.normal_code(code) == code for code in codes)


@given(CODES)
def test_case_blanks_dashes_and_lookalikes_are_forgiven(code: str) -> None:
    for typed in (
        code.upper(),
        code.replace("-", ""),
        f"  {code.replace('-', ' ')}\r\n",
        code.replace("-", "\u2011"),  # a dash that a phone puts there
        code.replace("-", "_"),
        code.replace("0", "O").replace("1", "l"),
        code.replace("0", "o").replace("1", "I"),
    ):
        assert ids.normal_code(typed) == code


@given(CODES, st.integers(0, 15), st.integers(1, 31))
def test_every_single_wrong_letter_is_caught(code: str, place: int, shift: int) -> None:
    letters = list(code.replace("-", ""))
    letters[place] = ids.ALPHABET[(ids.ALPHABET.index(letters[place]) + shift) % 32]
    assert ids.normal_code("".join(letters)) is None


@given(CODES, st.integers(0, 14))
def test_swapped_neighbours_are_caught_save_the_one_pair_luhn_can_not_see(code: str, place: int) -> None:
    letters = list(code.replace("-", ""))
    pair = {letters[place], letters[place + 1]}
    letters[place], letters[place + 1] = letters[place + 1], letters[place]
    is_seen = len(pair) == 2 and pair != {"0", "z"}
    assert (ids.normal_code("".join(letters)) is None) == is_seen


@pytest.mark.parametrize(
    "typed", ["", "xxxx", "7k3f-q2mp", "uuuu-uuuu-uuuu-uuuu", "0000-0000-0000-00000", "a" * 5000, "\0" * 16]
)
def test_what_can_not_be_a_code_is_none(typed: str) -> None:
    assert ids.normal_code(typed) is None


@given(CODES)
def test_whatever_is_taken_for_a_code_is_blotted_out_of_a_path(code: str) -> None:
    """Each spelling that opens a shipment must be one that no log shows."""
    for typed in (
        code,
        code.upper(),
        code.replace("-", ""),
        code.replace("-", "_"),
        code.replace("-", " "),
        code.replace("-", "")[:9] + "-" + code.replace("-", "")[9:],
    ):
        assert ids.redacted(f"/inbox/7k3f-q2mp/{typed}") == "/inbox/7k3f-q2mp/****"


def test_a_mistyped_code_is_blotted_out_too() -> None:
    for typed in (
        "abcd-efgh-jkmn-pqr",
        "abcd-efgh-jkmn-pqrst",
        "abcd efgh jkmn pqrs",
        "ABCDEFGHJKMNPQRS",
        "ilou-ilou-ilou-ilou",
    ):
        assert ids.redacted(typed) == "****"


def test_ordinary_names_are_not_blotted_out() -> None:
    for path in (
        "/outbox/kari@ssb.example/Ref 23-4567/data.csv",
        "/inbox/2026-11-22_7k3f-q2mp_Ref-23-4567",
        "/sent/7k3f-q2mp.txt",
    ):
        assert ids.redacted(path) == path


def test_a_shipment_is_found_by_its_number_and_by_its_folder() -> None:
    assert ids.shipment_id("7k3f-q2mp") == "7k3f-q2mp"
    assert ids.shipment_id("7K3F-Q2MP") == "7k3f-q2mp"
    assert ids.shipment_id("2026-11-22_7k3f-q2mp") == "7k3f-q2mp"
    assert ids.shipment_id("2026-11-22_7k3f-q2mp_Ref-23-4567_x") == "7k3f-q2mp"
    made = ids.new_shipment_id()
    assert ids.shipment_id(made) == made


@pytest.mark.parametrize(
    "text", ["", "7k3f", "7k3f-q2m", "7k3f-q2mpp", "7k3f-q2mu", "x_7k3f-q2mp", "\u0667k3f-q2mp", "7\u212a3f-q2mp"]
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert ids.shipment_id(text) is None


def test_tokens_never_repeat() -> None:
    tokens = {ids.new_token() for _ in range(200)}
    assert len(tokens) == 200
    assert all(len(token) == 32 and set(token) <= set(ids.ALPHABET) for token in tokens)
