"""WALK.md is true: its tables are the code's, and every room and verb it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests import draw_walk

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "WALK.md").read_text()
STEPS = PAGE.partition("## The floors")[0]


def test_the_tables_are_those_of_the_code() -> None:
    """`python -m tests.draw_walk` would change nothing."""
    assert draw_walk.drawn(PAGE) == PAGE


def _named() -> list[tuple[str, str]]:
    """(room, verb) as the steps name them; a verb alone is in the room named last that has it."""
    found, rooms = [], [""]
    for name in re.findall(r"`([\w/.]+(?:\(\))?)`", STEPS):
        if name.endswith(".py"):
            rooms.append(name)
        elif re.fullmatch(r"[A-Z][a-z]\w+\.\w+|\w+\(\)", name):
            verb = name.removesuffix("()")
            room = next((room for room in reversed(rooms) if room and verb in _verbs(room)), rooms[-1])
            found.append((room, verb))
    return found


def _verbs(room: str) -> set[str]:
    verbs = set()
    for node in ast.parse((ROOT / room).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            verbs.add(node.name)
        elif isinstance(node, ast.ClassDef):
            verbs |= {
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return verbs


@pytest.mark.parametrize(("room", "verb"), _named())
def test_every_step_of_the_walk_is_there(room: str, verb: str) -> None:
    """Who follows the page with a finger finds each function in the file that is named."""
    assert verb in _verbs(room)


def test_the_walk_is_long_enough_to_be_one() -> None:
    """The page names the rooms from the listener to the sweep."""
    assert len(_named()) >= 15
