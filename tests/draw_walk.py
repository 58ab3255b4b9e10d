"""Draws the state tables of WALK.md from domain/lifecycle.py:  python -m tests.draw_walk"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fxsftp.domain import lifecycle

PAGE = Path(__file__).parent.parent / "WALK.md"
BEGIN, END = "<!-- tables -->\n", "<!-- /tables -->\n"
TABLES: Sequence[tuple[str, Sequence[lifecycle.Step]]] = (  # type: ignore[type-arg]
    ("A file of a drop", lifecycle.FILES),
    ("A shipment", lifecycle.SHIPMENTS),
    ("A delivery", lifecycle.DELIVERIES),
)


def drawn(page: str) -> str:
    """The page with the tables as the code has them now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n".join(_table(title, steps) for title, steps in TABLES) + END + after


def _table(title: str, steps: Sequence[lifecycle.Step]) -> str:  # type: ignore[type-arg]
    lines = [f"**{title}**", "", "| from | event | to | |", "|---|---|---|---|"]
    for step in steps:
        states = ", ".join(state.value.upper() for state in step.states)
        lines.append(f"| {states} | {step.event} | {step.next.value.upper()} | {step.sentence} |")
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
