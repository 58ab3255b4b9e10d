"""E-mail addresses and phone numbers: what may be a user name here, and how numbers are kept."""

from __future__ import annotations

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from fxsftp.errors import BadAddress, BadPhone


def address(text: str) -> str:
    """The user name of an address: ASCII grammar (RFC 5321's dot-string), case-folded.  Raises BadAddress."""
    text = text.strip(" ")  # pasted; a line break is no slip of the mouse
    if "/" in text or "\\" in text:
        raise BadAddress(text, "it names a folder here, so it can't have a slash in it")
    if not text.isascii():
        raise BadAddress(text, "it has letters beyond ASCII; write its host as DNS has it, xn--…")
    try:
        found = validate_email(
            text,
            check_deliverability=False,
            allow_smtputf8=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            strict=True,  # 64 bytes before the @, as mail servers have it
            test_environment=True,  # lets *.test through: addresses are known by an admin, not guessed from the web
        )
    except EmailNotValidError as problem:
        raise BadAddress(text, str(problem).rstrip(".")) from None
    return found.normalized.casefold()


def phone(text: str) -> str:
    """The number in E.164, `+4790000000`.  Raises BadPhone."""
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        raise BadPhone(text) from None
    if not phonenumbers.is_possible_number(number):
        raise BadPhone(text)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def hint(number: str | None) -> str:
    """Enough of a number to know one's own phone by: `…00`."""
    return f"…{number[-2:]}" if number else ""
