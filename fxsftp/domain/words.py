"""What people write of a shipment: its subject and its message.  They are kept as they were typed, or refused.

Both stand later in mails, on pages and in terminals of others, so nothing in them may move a cursor, begin a line
that looks like one of ours, or turn the letters after it around.
"""

from __future__ import annotations

import unicodedata

from fxsftp.domain.places import UNSEEN
from fxsftp.errors import BadText

SUBJECT, MESSAGE = 200, 10_000  # characters; a subject is a line of a mail, a message is no document


def subject(text: str) -> str:
    """One printable line, with any letters: case numbers have slashes.  Raises BadText."""
    if len(text) > SUBJECT:
        raise BadText("subject", f"it is longer than {SUBJECT} characters")
    if any(_is_unprintable(letter) for letter in text):
        raise BadText("subject", "it has a line break or a control character in it")
    return text


def message(text: str) -> str:
    """Printable lines, each ended by a newline alone.  Raises BadText."""
    text = text.replace("\r\n", "\n")  # as browsers send what is typed into a form
    if len(text) > MESSAGE:
        raise BadText("message", f"it is longer than {MESSAGE} characters")
    if any(_is_unprintable(letter) for letter in text if letter not in "\n\t"):
        raise BadText("message", "it has a control character in it")
    return text


def _is_unprintable(letter: str) -> bool:
    """Controls, halves of letters, and what makes a line look like another."""
    return unicodedata.category(letter) in ("Cc", "Cs") or letter in UNSEEN
