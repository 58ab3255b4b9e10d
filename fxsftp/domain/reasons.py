"""Reasons: why a drop is held, a message did not arrive or a wish is refused, so that other languages can say them.

A reason is made, kept and told to programs as one English sentence, wherever it comes from: the exchange, a hook, a
mail server.  Who shows it to people looks here which sentence of ours it is, and has that said by the catalogue; what
is somebody else's stays as it was.  So these tables repeat sentences that are made elsewhere, and
tests/domain/test_reasons.py goes and looks that they have them all.
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
    N_("You can't send to %(who)s on this exchange. Check the address, or ask the operator to add it."),
    # of one that left, and how it ended
    N_("its end could not be checked"),
    N_("every recipient is done"),
    N_("held for too long"),
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

ARGUMENTS = (  # of errors that the portal may show
    # what can't be sent like this
    N_("list of recipients"),
    N_("subject"),
    N_("message"),
    N_("it is empty; name at least one"),
    N_("it has more than %(count)s; ask the operator for a group"),
    N_("it is longer than %(count)s characters"),
    N_("it has a line break or a control character in it"),
    N_("it has a control character in it"),
    # of a name
    N_("it is not Unicode text"),
    N_("it is not UTF-8; set your client's file names to UTF-8"),
    N_("it names no file"),
    N_("it is longer than %(count)s bytes"),
    N_("the path is longer than %(count)s bytes"),
    N_("a backslash can't stand in a name; folders are parted by '/'"),
    N_("files of this name are never sent"),
    N_("names like this say that a file is not complete; give it its final name"),
    N_("the exchange writes a file of this name itself"),
    N_("checksums are checked in a folder, with the files that they are of; put them there"),
    N_("Windows keeps this name for a device; the recipient could not store it"),
    # of an address: what email_validator says of slips
    N_("An email address must have an @-sign"),
    N_("There must be something before the @-sign"),
    N_("There must be something after the @-sign"),
    N_("The part after the @-sign is not valid. It should have a period"),
    N_("The part after the @-sign is not valid. It is not within a valid top-level domain"),
    N_("The email address contains invalid characters before the @-sign"),
    N_("The part after the @-sign contains invalid characters"),
    N_("An email address cannot have two periods in a row"),
    N_("An email address cannot start with a period"),
    N_("An email address cannot end with a period"),
    N_("An email address cannot have a period immediately before the @-sign"),
    N_("An email address cannot have a period immediately after the @-sign"),
    N_("The email address is too long"),
    N_("The email address is too long before the @-sign"),
    N_("The email address is too long after the @-sign"),
    N_("it names a folder here, so it can't have a slash in it"),
    N_("it has letters beyond ASCII; write its host as DNS has it, xn--…"),
    # of an account
    N_("it is no time zone; write it like Europe/Oslo"),
    N_("write quiet hours like 22:00-07:00"),
    N_("write a time of the day like 08:00"),
    N_("a phrase is one line of %(count)s letters at most"),
    N_("there is no language %(language)s here; choose one of %(languages)s"),
    N_("this log-in is over; log in again"),
    N_("this exchange asks nobody for codes from an app"),
    N_("nothing was begun, or too long ago; begin again"),
    N_("it was just changed by somebody else; begin again"),
    N_("there is no code from an app to recover from"),
    N_("%(who)s is not asked for a code from an app"),
    # of a key
    N_("a public key is one line: kind, key, comment"),
    N_("that is a private key; keep it to yourself and give the .pub file beside it"),
    N_("its second word is not base64; give the .pub file as it is"),
    N_("it says %(kind)s but holds another kind of key, or was cut short"),
    N_("this is not a whole %(kind)s key"),
    N_("%(who)s has this key already"),
    N_("keys of kind %(kind)s are no longer safe; make one with ssh-keygen -t ed25519"),
    N_("RSA with %(count)s bits is too weak; make one with ssh-keygen -t ed25519"),
    N_("it is a certificate; give the key itself"),
    N_("it lives in a hardware token, which can sign but not open files"),
    N_("it is an ECDSA key, to which age can't seal; use ssh-ed25519 or ssh-rsa"),
    N_("it is an RSA key of %(count)s bits; %(least)s are the least"),
    N_("it is of kind %(kind)s; use ssh-ed25519 or ssh-rsa"),
    N_("it is not a point on the Ed25519 curve"),
    N_("it is not a point X25519 can be done with"),
    N_("nothing can be encrypted to a key of kind %(kind)s"),
    # of what can still be done about a package
    N_("%(count)s packages are begun and not sent; send or cancel one of them first"),
    N_("%(who)s has no phone number"),
    N_("%(who)s has no phone number for a code; ask the operator to add it"),
    N_("another phone number is for members of the institution to give; ask the operator"),
    N_("its code was sent %(count)s times; ask the operator"),
    N_("nothing but its code opens it. Recall it and send it again"),
    N_(
        "only its code and the institution's offline recovery key open it. Recall it and send it again, "
        "or ask the operator, who has that key"
    ),
    N_("not locked by a code"),
    N_("no longer in the keeping of its code"),
    N_("being changed"),
    N_("being changed just now"),
    N_("changed"),
    N_("given a new code"),
    N_("opened by a new SMS"),
    N_("sent a code again; send it anew"),
    # of the exchange itself
    N_("the registry is busy"),
    N_("the key of drop %(drop)s is gone"),
    N_("%(file)s can't be opened here any more"),
    N_("the vault can't be used"),
    N_("it has no courier key to seal links and codes to"),
)

LONGEST = 15  # pieces of one sentence, of which names of files may have some: an odd number
VALUES = {"who": r"\S+", "list": r"\S+", "kind": r"\S+", "count": r"\d+", "least": r"\d+"}  # the others: any words


def _shape(sentence: str) -> re.Pattern[str]:
    parts = re.split(r"%\((\w+)\)s", sentence)
    values = [f"(?P<{name}>{VALUES.get(name, '.+')})" for name in parts[1::2]]
    words = [re.escape(part) for part in parts[::2]]
    return re.compile("".join(part for pair in zip(words, [*values, ""], strict=True) for part in pair))


class Shapes:
    """What sentences look like, each and any of them: most that is looked at, like the name of a file, is none."""

    def __init__(self, *sentences: str) -> None:
        self.each = [(sentence, _shape(sentence)) for sentence in sentences]
        nameless = (re.sub(r"\(\?P<\w+>", "(?:", shape.pattern) for _, shape in self.each)
        self.any = re.compile("|".join(nameless))


_OF_REASONS = Shapes(*SENTENCES)
_OF_ARGUMENTS = Shapes(*ARGUMENTS, *SENTENCES)


def said(reason: str, in_words: Callable[[str], str]) -> str:
    """The reason with the sentences of ours in it put into other words.

    Several may stand in it, one about a file, one with a number or a name behind it: `a.csv: … (…); …`.
    """
    return _said(reason, in_words, _OF_REASONS)


def argument(text: str, in_words: Callable[[str], str]) -> str:
    """The same for what an error tells beside its own sentence."""
    return _said(text, in_words, _OF_ARGUMENTS)


def _said(text: str, in_words: Callable[[str], str], shapes: Shapes) -> str:
    pieces = re.split(r"(; |: | \()", text)  # every other one is what parts them
    done, at = "", 0
    while at < len(pieces):
        for end in range(min(at + LONGEST, len(pieces)), at, -2):
            words = _put("".join(pieces[at:end]), in_words, shapes)
            if words is not None:
                break
        else:
            words, end = pieces[at], at + 1
        done += words + "".join(pieces[end : end + 1])
        at = end + 1
    return done


def _put(text: str, in_words: Callable[[str], str], shapes: Shapes) -> str | None:
    """One sentence of ours in other words; None for any other."""
    if not shapes.any.fullmatch(text):
        return None
    for sentence, shape in shapes.each:
        found = shape.fullmatch(text)
        if found:
            values = {
                name: said(value, in_words) if name == "why" else value for name, value in found.groupdict().items()
            }
            return in_words(sentence) % values
    return None


def is_known(text: str) -> bool:
    """Whether it is one sentence of ours."""
    return _put(text, str, _OF_ARGUMENTS) is not None
