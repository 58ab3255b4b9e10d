"""Reasons: why a drop is held or a message did not arrive, so that they can be said in other languages.

A reason is made, kept and told to programs as one English sentence, wherever it comes from: the exchange, a hook, a
mail server.  Who shows it to people looks here which sentence of ours it is, and has that said by the catalogue; what
is somebody else's stays as it was.  So this table repeats sentences that are made elsewhere, and
tests/domain/test_reasons.py goes and looks that it has them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable


def N_(text: str) -> str:  # noqa: N802 - gettext's name for 'translate this where it is shown'
    return text


SENTENCES = (
    # of a drop that is held
    N_("no progress, and not complete: %(files)s"),
    N_("all files have arrived, but it was never sent"),
    N_("there is nothing in it but checksums"),
    N_("it has more than %(count)s files; send the rest as another"),
    N_("%(who)s has not registered yet"),
    N_("%(who)s can't receive now; ask the operator"),
    N_("%(who)s has no phone number for the code; ask the operator to add it"),
    N_("%(who)s has no key that can open a shipment; ask the operator to add one"),
    N_("nobody in the group %(who)s can receive now"),
    N_("the exchange has no courier key to seal codes to; ask the operator"),
    N_("what is in it was damaged on the exchange's disk; put it again"),
    N_("%(file)s was damaged on the exchange's disk; put it again"),
    N_("%(list)s is too large to be a list of checksums"),
    N_("%(list)s is not a list of checksums"),
    N_("%(list)s has a line that is no checksum"),
    N_("%(list)s names %(file)s, which is not there"),
    N_("%(file)s is not what %(list)s says; put it again"),
    # of a scanner
    N_("%(file)s: %(scanner)s found %(what)s. Remove the file, or put a clean one in its place"),
    N_("the scanner %(scanner)s can't look at it now (%(why)s). It leaves by itself once that is mended"),
    N_("was not scanned, for it is larger than the %(count)s MiB that are scanned"),
    N_("was not scanned, for it is larger than what is scanned"),
    N_("was not scanned, for it holds more than is scanned"),
    N_("is encrypted, and so can't be scanned"),
    N_("looks encrypted already, though it does not say how"),
    # of a message that nobody sends any more
    N_("the code is gone"),
    N_("no longer true"),
    N_("sent again"),
    N_("a new code was made"),
    # of a mail
    N_("the mail server answered %(words)s"),
    N_("no connection to the mail server"),
    N_("the connection to the mail server broke"),
    # of an SMS
    N_("too many requests just now"),
    N_("Twilio's queue is full"),
    N_("the phone can't be reached just now"),
    N_("the operator gave no reason"),
    N_("this is not a phone number that exists"),
    N_("sending to that country is not allowed on this account"),
    N_("the recipient has answered STOP to earlier messages"),
    N_("this is not the number of a mobile phone"),
    N_("the number is not in use"),
    N_("this phone can't receive SMS"),
    N_("the recipient's phone or operator blocks our messages"),
    N_("the operator took it for spam"),
    N_("the account at Twilio is suspended"),
    N_("Twilio gave it up and does not say why"),
    N_("Twilio gave it up"),
    N_("Twilio refused it"),
    N_("Twilio gave no answer in time"),
    N_("no connection to Twilio"),
    N_("the gateway answered %(words)s"),
    N_("the gateway gave no answer in time"),
    N_("no connection to the gateway"),
)

LONGEST = 15  # pieces of one sentence, of which names of files may have some: an odd number
VALUES = {"who": r"\S+", "list": r"\S+", "count": r"\d+"}  # the others may be any words


def _shape(sentence: str) -> re.Pattern[str]:
    parts = re.split(r"%\((\w+)\)s", sentence)
    values = [f"(?P<{name}>{VALUES.get(name, '.+')})" for name in parts[1::2]]
    words = [re.escape(part) for part in parts[::2]]
    return re.compile("".join(part for pair in zip(words, [*values, ""], strict=True) for part in pair))


_SHAPES = tuple((sentence, _shape(sentence)) for sentence in SENTENCES)


def said(reason: str, in_words: Callable[[str], str]) -> str:
    """The reason with the sentences of ours in it put into other words.

    Several may stand in it, one about a file, one with a number or a name behind it: `a.csv: … (…); …`.
    """
    pieces = re.split(r"(; |: | \()", reason)  # every other one is what parts them
    done, at = "", 0
    while at < len(pieces):
        for end in range(min(at + LONGEST, len(pieces)), at, -2):
            words = _put("".join(pieces[at:end]), in_words)
            if words is not None:
                break
        else:
            words, end = pieces[at], at + 1
        done += words + "".join(pieces[end : end + 1])
        at = end + 1
    return done


def _put(text: str, in_words: Callable[[str], str]) -> str | None:
    """One sentence of ours in other words; None for any other."""
    for sentence, shape in _SHAPES:
        found = shape.fullmatch(text)
        if found:
            values = {
                name: said(value, in_words) if name == "why" else value for name, value in found.groupdict().items()
            }
            return in_words(sentence) % values
    return None


def is_known(reason: str) -> bool:
    """Whether it is one sentence of ours."""
    return _put(reason, str) is not None
