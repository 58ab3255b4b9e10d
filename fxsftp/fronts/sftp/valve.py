"""A valve: something flows as long as nobody has a reason against it.

Each who closes it says why, and opens it again for that reason only, so that none lets go on what another has stopped.
"""

from __future__ import annotations

from collections.abc import Callable


class Valve:
    """Open from the start; closed as long as there is a reason."""

    def __init__(self, turned: Callable[[bool], None]) -> None:
        """`turned` is called with True when it has closed, and with False when it is open again."""
        self._turned = turned
        self._reasons: set[str] = set()

    @property
    def is_closed(self) -> bool:
        """Whether there is a reason."""
        return bool(self._reasons)

    def close(self, why: str) -> None:
        """One reason more."""
        is_first = not self._reasons
        self._reasons.add(why)
        if is_first:
            self._turned(True)

    def open(self, why: str) -> None:
        """This is no reason any more."""
        if why in self._reasons:
            self._reasons.remove(why)
            if not self._reasons:
                self._turned(False)
