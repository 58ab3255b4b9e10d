"""Everything that can be refused, and the words in which people hear it.

A class's docstring is the message, formatted with the error's arguments: the cause, then the next
step.  No secret, no path of the host and no stack ever stands in one.  `temporary` says whether the
same request may succeed later without anyone changing anything.  How an error sounds in SFTP or as
an exit code is decided at the fronts, each in one table over the five branches:

    FxError
    ├── Missing         there is no such thing (or you may not know of it)
    ├── Forbidden       there is, and you may not
    ├── Conflict        not in the state this needs
    ├── Malformed       what was sent cannot be understood
    └── Unavailable     the exchange itself can't, just now
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import Formatter
from typing import ClassVar


class FxError(Exception):
    """Something went wrong. Ask the operator to look at the log."""

    temporary: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.said()

    def said(self, in_words: Callable[[str], str] = str, args: Sequence[object] | None = None) -> str:
        """The message, its sentence put into other words by `in_words`, and with other words for its arguments."""
        text = in_words(sentence(type(self)))
        try:
            return Formatter().vformat(text, self.args if args is None else args, {})
        except (IndexError, KeyError):
            return text


def sentence(kind: type[FxError]) -> str:
    """What errors of this kind say, before their arguments are put in."""
    return " ".join((kind.__doc__ or FxError.__doc__ or "").split())


class Missing(FxError):
    """There is no {0!r} here."""


class Forbidden(FxError):
    """That is not allowed: {0}"""


class Conflict(FxError):
    """That can't be done now: {0}"""


class Malformed(FxError):
    """That can't be understood: {0}"""


class Unavailable(FxError):
    """The exchange can't do that just now: {0}. Try again in a moment."""

    temporary = True


# ---- settings and start ------------------------------------------------------------------------


class BadSettings(Malformed):
    """The settings can't be used: {0}"""


class NewerStore(Conflict):
    """The {0} was written by a newer version of fxsftp (it knows {1!r}). Install that version; nothing was changed."""


class UnsafeFile(Forbidden):
    """{0} is not safe to use: {1}. Mend its owner or mode and try again."""


# ---- who -----------------------------------------------------------------------------------------


class BadAddress(Malformed):
    """{0!r} is not an e-mail address that can be a user name here: {1}"""


class BadPhone(Malformed):
    """{0!r} is not a phone number in international form. Write it like +4790000000."""


class BadKey(Malformed):
    """That is not a public key this exchange can use: {0}"""


class BadPassword(Malformed):
    """That password can't be used: {0}"""


class UserUnknown(Missing):
    """There is no user {0!r} on this exchange. 'fxsftp user list' shows those there are."""


class UserExists(Conflict):
    """{0} is registered already."""


class KeyUnknown(Missing):
    """{0} has no key {1!r}. 'fxsftp key list {0}' shows those there are."""


class RecipientUnknown(Missing):
    """You can't send to {0!r} on this exchange. Check the address, or ask the operator to add it."""


class NoRecipient(Forbidden):
    """{0!r} has no recipient: put it in a folder named after the recipient's e-mail address,
    outbox/name@their.example/."""


# ---- rooms and names -----------------------------------------------------------------------------


class NoSuchPlace(Missing):
    """There is no {0!r} here."""


class BadName(Malformed):
    """{0!r} can't be a name here: {1}"""


class ReadOnly(Forbidden):
    """Nothing in {0} can be changed; files to send go in outbox/name@their.example/."""


class NotAFolder(Conflict):
    """{0!r} is a file, not a folder."""


class IsAFolder(Conflict):
    """{0!r} is a folder, not a file."""


class AlreadyThere(Conflict):
    """{0!r} is there already."""


class NotEmpty(Conflict):
    """{0!r} is not empty. Remove what is in it first."""


class CrossRoom(Forbidden):
    """A file can be renamed within outbox only."""


class NoLinks(Forbidden):
    """There are no {0} on this exchange. Put the file itself."""


class NoCopies(Forbidden):
    """The exchange can't copy a file: it is sealed where it lies. Put it again under the other name."""


class CannotHash(Conflict):
    """These hashes can't be had: {0}"""


class NotReadable(Forbidden):
    """{0!r} is sealed and only its recipient can open it. You still have your own copy."""


# ---- drops ---------------------------------------------------------------------------------------


class AlreadySent(Conflict):
    """{0!r} was already sent; put the whole file to send it again."""


class NotYours(Conflict):
    """{0!r} is being written by another session. If that one was cut off, wait ten seconds and try again."""

    temporary = True


class NotYet(Conflict):
    """{0!r} is being put away after an interrupted transfer. Try again in a moment."""

    # Who asks by the desk never hears it: that asks again, and says NotYours when it has done so for long enough.
    temporary = True


class Rewritten(Conflict):
    """What is already sealed can't be written over. Put the whole file again."""


class TooFarAhead(Unavailable):
    """This part of the file came too far ahead of the rest. Send with fewer requests in flight, or resume."""


class Gap(Conflict):
    """{0!r} has a hole at byte {1}: a part of it never arrived. Put it again or resume from there."""


class Incomplete(Conflict):
    """{0!r} is incomplete: {1} of {2} bytes announced have arrived. Resume it, or put it again."""


class OverQuota(Forbidden):
    """This would take you over your quota of {0} bytes; {1} are in use. Remove or recall something first."""


class TooManyFiles(Forbidden):
    """There are too many files in one shipment (at most {0}). Send the rest as another, or pack them."""


class StoreFull(Unavailable):
    """The exchange's disk is full. What has arrived is kept; resume when the operator has made room."""


# ---- who comes in ----------------------------------------------------------------------------------


class TooManyOfYours(Forbidden):
    """You have {0} connections here, and more are not served."""

    temporary = True


class HouseFull(Unavailable):
    """The exchange has as many connections as it can serve. Try again in a moment."""


# ---- packages that are being composed --------------------------------------------------------------


class BadText(Malformed):
    """The {0} can't be sent like this: {1}."""


class PhoneNeeded(Conflict):
    """{0} is not registered here. Give their mobile number, and they are invited when this is sent."""


class EmptyPackage(Conflict):
    """There is no file in this package yet. Add one, then send it."""


class Unfinished(Conflict):
    """Not all of it has arrived: {0}. Wait for these files, resume them or remove them, then send it."""


class WrongOffset(Conflict):
    """{0!r} goes on at byte {1}, not at {2}."""


class Overlong(Malformed):
    """More of {0!r} arrived than the {1} bytes that were announced. Add it again."""


# ---- shipments -----------------------------------------------------------------------------------


class ShipmentUnknown(Missing):
    """There is no shipment {0!r} here for you to act on."""


class WrongCode(Forbidden):
    """That code does not open {0}. Check the number of the shipment in the SMS, and type the code
    as it stands there."""


class OpeningClosed(Forbidden):
    """Too many wrong codes: opening {0} is closed for {1} minutes. The code in the SMS still works after that."""

    temporary = True


class NotOpen(Forbidden):
    """{0!r} is locked. Fetch {0!r} + '.age' and open it with the code, or open the shipment: ssh … open {1}"""


class WrongState(Conflict):
    """Shipment {0} is {1}; it can't be {2}."""


class ClockDoubt(Conflict):
    """The clock jumped {0}; nothing is erased until an admin has looked: fxsftp sweep --confirm-clock"""


# ---- coming in -----------------------------------------------------------------------------------


class LinkOver(Missing):
    """This link does not work any more: it was used, is too old, or a newer one has been sent. Choose 'Forgotten
    password' on the log-in page, and a new one comes by e-mail."""


class ConfirmationOver(Conflict):
    """This code does not work any more: it was used, is too old, or was mistyped too often. Ask for the change once
    more."""


class WrongConfirmation(Forbidden):
    """That is not the code in the SMS. Type its six digits as they stand there."""


class NotConfirmed(Forbidden):
    """This change needs to be confirmed with a code by SMS first."""


class NoPhone(Conflict):
    """There is no phone to which a code that confirms this could be sent. Ask the operator to make the change."""


class AskedTooOften(Unavailable):
    """That was asked for {0} times within an hour. Wait an hour, or ask the operator."""

    temporary = True


class TotpRequired(Forbidden):
    """This exchange asks everybody like you for a code from an app at log-in, so that can't be turned off."""


class NoNewCode(Conflict):
    """No new code can be made for {0}: {1}."""


class BadExpiry(Malformed):
    """Shipment {0} is kept until {1}. That can be extended, until {2} at the latest."""


# ---- sealed containers ---------------------------------------------------------------------------


class NotAge(Malformed):
    """This is not an age file that can be opened here: {0}"""


class Forged(Malformed):
    """The sealed content does not verify: {0}. It was cut short or changed on its way; fetch it again."""


class BadIdentity(Malformed):
    """That is not a private key that can open anything here: {0}"""


class CannotOpen(Forbidden):
    """None of the keys given opens this file{0}."""


# ---- notices -------------------------------------------------------------------------------------


class NoticeUnknown(Missing):
    """There is no notice {0!r}. 'fxsftp notice list' shows those there are."""


class NoticeOver(Conflict):
    """Notice {0} is {1}; it can't be {2}."""


class BadTimes(Malformed):
    """{0!r} is not understood: {1}"""


class HookUnusable(Unavailable):
    """The hook {0} can't be used: {1}"""


class BadTemplate(Unavailable):
    """The template {0} can't be used: {1}"""


# ---- protocol ------------------------------------------------------------------------------------


class BadPacket(Malformed):
    """The client sent a malformed SFTP request: {0}"""


class BadHandle(Malformed):
    """That handle is not open in this session."""


class NotSupported(FxError):
    """This server does not do {0}."""


# ---- the portal --------------------------------------------------------------------------------------


class NoSuchPage(Missing):
    """There is no such page here. Check the address, or begin at the front page."""


class NoPackage(Missing):
    """There is no such package in your inbox. Its time may be over, its sender may have recalled it, or you may have
    removed it. If it was sent to another of your addresses, log in with that one."""


class LogInFirst(Forbidden):
    """Log in to see this page."""


class SecondFactorDue(Forbidden):
    """Set up the code from an app first: this exchange asks everybody like you for it."""


class WrongLogIn(Forbidden):
    """User name and password do not belong together, or there were too many tries. Type them once more, wait a
    quarter of an hour, or choose a new password by 'Forgotten password'."""


class WrongPassword(Forbidden):
    """That is not your password until now. Type it once more; if you have forgotten it, log out and choose 'No password
    yet, or forgotten it?'."""


class WrongDigits(Forbidden):
    """These digits are not right, or were used before. Type the ones that the app shows now."""


class BadForm(Malformed):
    """This form can't be taken: {0}. Load the page again and fill it in once more."""


class TooOften(Unavailable):
    """That was tried too often from where you are. Wait a minute and try again."""

    temporary = True


# ---- the partner's side: client, and its half of the command line ---------------------------------


class CannotConnect(Unavailable):
    """{0} can't be reached: {1}. Check host and port, or try again later."""

    temporary = True


class LineBroken(Unavailable):
    """The line to {0} broke and did not come back: {1}. What has arrived is kept; run the same again later."""

    temporary = True


class LoginRefused(Forbidden):
    """{0} did not let {1} in: {2}. Check the user name, and that the exchange knows this key or password."""


class HostKeyUnknown(Forbidden):
    """{0} is not known yet; it shows the key {1} {2}. If that is what the institution told you, accept it once."""


class HostKeyChanged(Forbidden):
    """{0} shows another key than {1} remembers: {2} {3}. Somebody may be in between; ask the institution first."""


class NotOffered(Missing):
    """The exchange has no {0!r}: {1}"""


class Refused(Forbidden):
    """The exchange refused {0!r}: {1}"""


class BadAnswer(Malformed):
    """{0} answers in a way that can't be understood: {1}. Check that this is the exchange."""


class UnsafeName(Malformed):
    """The exchange offers the name {0!r}, which is not safe to write here: {1}. Nothing of it was written."""


class SumMismatch(Malformed):
    """{0!r} is not what SHA256SUMS says: {1}. It was damaged or changed on its way; fetch it again."""


class ChangedMeanwhile(Conflict):
    """{0} changed while it was being sent. Send it again when nobody writes to it."""


class NotSentYet(Conflict):
    """All files have arrived, but the exchange does not send them yet: {0}"""


class CantRead(Missing):
    """{0} can't be read: {1}"""


class CantWrite(Conflict):
    """{0} can't be written: {1}"""


class NothingToSend(Malformed):
    """There is no file in {0} to send."""


class MistypedCode(Malformed):
    """That code has a slip in it: its last letter does not fit the others. Type it as it stands in the SMS."""


class BadProfile(Malformed):
    """{0} can't be used: {1}"""
