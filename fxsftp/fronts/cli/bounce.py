"""`fxsftp bounce`: what a mail server hands back to us, one message on stdin.

A mail server runs this through a pipe, and acts on the exit status (sysexits.h); hooks/README.md shows how Postfix is
told to.  Three of them are used: 0 when there is nothing more to do with the message, 67 for an address that we have
never given to anyone, 75 for another try, because nothing of a report may be lost to a disk that is full for a while.

What the message says is a stranger's word: it counts when the address that it came to is one that we have made, and it
is parsed as data, by the standard library (RFC 3464 in a multipart/report).  All else that comes there, such as replies
of people on holiday, is dropped without a word.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message
from email.policy import compat32
from typing import BinaryIO

import click

from fxsftp.carriers import discreet
from fxsftp.errors import FxError
from fxsftp.exchange.reports import Fate
from fxsftp.fronts.cli import clerk
from fxsftp.fronts.cli.clerk import Clerk, leaf, pass_clerk

DONE, NO_USER, TRY_AGAIN = 0, 67, 75  # EX_OK, EX_NOUSER, EX_TEMPFAIL
MOST = 1 << 20  # bytes that are looked at: the report comes first, and what is behind it is our own mail

# Where a mail server says which address a message came to.
ADDRESSED = ("X-Original-To", "Delivered-To", "Envelope-To", "To")

_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b", re.ASCII)
_REPLY = re.compile(r"\b([245])\d\d\b", re.ASCII)


@leaf("bounce")
@pass_clerk
def bounce(clerk_: Clerk) -> None:
    """Take a returned mail from a mail server's pipe, on stdin.

    Exits with 0 when it is dealt with, 67 when it came to an address that is not ours, 75 to be tried again.
    """
    try:
        status = taken(clerk_, _first(sys.stdin.buffer))
    except (FxError, OSError) as problem:
        clerk.say_problem(str(problem))
        status = TRY_AGAIN
    except Exception as problem:  # noqa: BLE001 - any other status would throw the report away
        clerk.say_problem(f"this went wrong in an unforeseen way ({type(problem).__name__})")
        status = TRY_AGAIN
    click.get_current_context().exit(status)


def taken(clerk_: Clerk, raw: bytes) -> int:
    """The exit status for one message."""
    message = _parsed(raw)
    with clerk_.exchange(role="bounce") as exchange:
        notice_id = exchange.reports.whose(_addressed(message))
        if notice_id is None:
            clerk.say_problem("this address is not one that bounces come to")
            return NO_USER
        report = report_in(message)
        if report is not None:
            exchange.reports.came(notice_id, report.fate, clerk_.now, way="mail", reason=report.reason)
    return DONE


@dataclass(frozen=True, slots=True)
class Report:
    """What a mail server says became of a mail."""

    fate: Fate
    reason: str = ""


def report_in(message: Message) -> Report | None:
    """The worst that the message reports; None if it reports nothing that is final."""
    reports = [report for block in _blocks(message) if (report := _of_recipient(block))]
    for fate in (Fate.WRONG, Fate.LOST, Fate.DELIVERED):
        for report in reports:
            if report.fate is fate:
                return report
    return None


def _of_recipient(block: Message) -> Report | None:
    """One recipient's part of a delivery report (RFC 3464, 2.3)."""
    action = _field(block, "Action").casefold()
    if action == "delivered":
        return Report(Fate.DELIVERED)
    if action != "failed":
        return None  # delayed, relayed, expanded: it is still under way
    said = _field(block, "Diagnostic-Code").partition(";")[2].strip()
    status = _STATUS.search(_field(block, "Status")) or _STATUS.search(said) or _REPLY.search(said)
    # 5.x.x: for good.  4.x.x: given up after days of trying, and the address may be right.
    fate = Fate.WRONG if status and status[1] == "5" else Fate.LOST
    return Report(fate, discreet(f"it came back: {said or (status[0] if status else 'nobody says why')}"))


def _blocks(message: Message) -> Iterator[Message]:
    """The parts about one recipient each, of every delivery report at the top of the message."""
    if message.get_content_type() != "multipart/report" or not message.is_multipart():
        return
    for part in message.get_payload():
        if isinstance(part, Message) and part.get_content_type() == "message/delivery-status" and part.is_multipart():
            yield from (block for block in part.get_payload() if isinstance(block, Message) and "Action" in block)


def _addressed(message: Message) -> Iterator[str]:
    for name in ADDRESSED:
        yield from (str(value) for value in message.get_all(name, []))


def _field(block: Message, name: str) -> str:
    return " ".join(str(block.get(name, "")).split())


def _parsed(raw: bytes) -> Message:
    """The message, however broken: compat32 looks into a header only when it is asked for it, and complains of none."""
    try:
        return message_from_bytes(raw, policy=compat32)
    except (MessageError, ValueError, LookupError, RecursionError):
        return Message()


def _first(stream: BinaryIO) -> bytes:
    """As much as is looked at; the rest is read all the same, for a mail server takes a closed pipe for a failure."""
    raw = stream.read(MOST)
    while stream.read(MOST):
        pass
    return raw
