"""`fxsftp bounce`: a mail server's reports, and all else that comes to where they come."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxsftp.domain.model import Notice
from fxsftp.exchange.reports import Fate
from fxsftp.fronts.cli.bounce import _parsed, report_in
from tests.carried import carried, shipment_to_ann, waiting
from tests.fronts.cli.conftest import Admin
from tests.house import ANN, KARI

FAILED = "Final-Recipient: rfc822; ann@firm.example\nAction: failed\nStatus: 5.1.1\n" \
    "Diagnostic-Code: smtp; 550 5.1.1 <ann@firm.example>: Recipient address rejected:\n    User unknown\n"  # fmt: skip
EXPIRED = FAILED.replace("5.1.1\nD", "4.4.1\nD").replace("550 5.1.1", "451 4.4.1")
DELAYED = EXPIRED.replace("failed", "delayed")


def report(to: str, *blocks: str, header: str = "To") -> bytes:
    """A delivery report as Postfix writes it (RFC 3464)."""
    return REPORT.format(header=header, to=to, blocks="\n".join(blocks)).encode()


REPORT = """\
Received: by mx.firm.example (Postfix) id 4CcNrX1J; Tue, 24 Nov 2026 12:00:00 +0100 (CET)
Date: Tue, 24 Nov 2026 12:00:00 +0100 (CET)
From: MAILER-DAEMON@mx.firm.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
{header}: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4CcNrW6F.1606215600/mx.firm.example"

This is a MIME-encapsulated message.

--4CcNrW6F.1606215600/mx.firm.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

--4CcNrW6F.1606215600/mx.firm.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.firm.example
Original-Envelope-Id: 0123456789abcdef01234567
Arrival-Date: Tue, 24 Nov 2026 11:59:59 +0100 (CET)

{blocks}
--4CcNrW6F.1606215600/mx.firm.example
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers

Subject: New package is waiting

--4CcNrW6F.1606215600/mx.firm.example--
"""


@pytest.fixture
def mailed(people: Admin) -> Notice:
    """The mail that tells ann of a shipment, carried."""
    people.house.exchange.reports._bounces = "bounces@fx.example"
    shipment_to_ann(people.house, people.house.exchange.people.find(KARI))
    return carried(people.house, "mail", kind="arrived")


def address(people: Admin, notice: Notice) -> str:
    return people.house.exchange.reports.return_path(notice.id)


def test_an_address_that_does_not_exist_is_marked_and_the_sender_is_told_why(people: Admin, mailed: Notice) -> None:
    assert people.does("bounce", stdin=report(address(people, mailed), FAILED)) == ""
    exchange = people.house.exchange
    reason = "it came back: 550 5.1.1 <ann@firm.example>: Recipient address rejected: User unknown"
    assert (exchange.notices.find(mailed.id).state, exchange.notices.find(mailed.id).reason) == ("failed", reason)
    (told,) = [each for each in waiting(people.house, "mail") if each.kind == "not_delivered"]
    assert (told.address, told.facts["reason"]) == (KARI, reason)
    bounce = exchange.people.find(ANN).bounce
    assert bounce is not None
    assert (bounce.way, bounce.reason) == ("mail", reason)


def test_a_mail_that_was_given_up_is_told_but_marks_no_address(people: Admin, mailed: Notice) -> None:
    assert people.does("bounce", stdin=report(address(people, mailed), EXPIRED)) == ""
    assert people.house.exchange.notices.find(mailed.id).state == "failed"
    assert people.house.exchange.people.find(ANN).bounce is None


@pytest.mark.parametrize(
    "blocks", [(DELAYED,), (), (FAILED.replace("failed", "relayed"),), (FAILED.replace("failed", "novel"),)]
)
def test_what_is_not_final_changes_nothing(blocks: tuple[str, ...], people: Admin, mailed: Notice) -> None:
    assert people.does("bounce", stdin=report(address(people, mailed), *blocks)) == ""
    assert people.house.exchange.notices.find(mailed.id).state == "carried"


@pytest.mark.parametrize("header", ["To", "Delivered-To", "X-Original-To", "Envelope-To"])
def test_the_address_is_found_where_a_mail_server_writes_it(header: str, people: Admin, mailed: Notice) -> None:
    assert people.does("bounce", stdin=report(f"<{address(people, mailed).upper()}>", FAILED, header=header)) == ""
    assert people.house.exchange.notices.find(mailed.id).state == "failed"


def test_a_second_bounce_changes_nothing(people: Admin, mailed: Notice) -> None:
    for _ in range(2):
        people.does("bounce", stdin=report(address(people, mailed), FAILED))
    assert [each.kind for each in waiting(people.house, "mail")].count("not_delivered") == 1


def test_people_on_holiday_and_spam_are_dropped_without_a_word(people: Admin, mailed: Notice) -> None:
    away = EmailMessage()
    away["To"] = address(people, mailed)
    away["Auto-Submitted"] = "auto-replied"
    away.set_content("I'm away until Monday.\n\nAction: failed\nStatus: 5.1.1\n")
    assert people.does("bounce", stdin=away.as_bytes()) == ""
    nested = EmailMessage()
    nested["To"] = address(people, mailed)
    nested.set_content("see below")
    nested.add_attachment(report("somebody@firm.example", FAILED), maintype="message", subtype="global")
    assert people.does("bounce", stdin=nested.as_bytes()) == ""
    assert people.house.exchange.notices.find(mailed.id).state == "carried"


@pytest.mark.parametrize(
    "to", ["bounces@fx.example", "bounces+0123456789abcdef01234567-aaaaaaaaaaaaaaaa@fx.example", ""]
)
def test_an_address_that_was_never_given_out_is_nobodys(to: str, people: Admin, mailed: Notice) -> None:
    said = people.refused("bounce", stdin=report(to, FAILED), status=67)
    assert said == "fxsftp: this address is not one that bounces come to\n"
    assert people.house.exchange.notices.find(mailed.id).state == "carried"


def test_an_exchange_that_can_not_take_it_now_asks_for_another_try(people: Admin, mailed: Notice) -> None:
    """75 is EX_TEMPFAIL, upon which a mail server keeps it; our usual 1, 2 and 3 would send it to nobody."""
    (people.house.folder / "fxsftp.toml").write_text("[novel]\n")
    people.refused("bounce", stdin=report(address(people, mailed), FAILED), status=75)


def test_what_is_too_large_is_read_to_its_end_and_understood_by_its_beginning(people: Admin, mailed: Notice) -> None:
    mail = report(address(people, mailed), FAILED) + b"x" * (3 << 20)
    assert people.does("bounce", stdin=mail) == ""
    assert people.house.exchange.notices.find(mailed.id).state == "failed"


def test_a_code_that_a_server_quotes_is_blotted_out(people: Admin, mailed: Notice) -> None:
    quoting = FAILED.replace("User unknown", "7k3f-q2mp-0abc-defg")
    people.does("bounce", stdin=report(address(people, mailed), quoting))
    assert "7k3f-q2mp-0abc" not in people.house.exchange.notices.find(mailed.id).reason


# ---- what reports say ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "fate"),
    [
        ((FAILED,), Fate.WRONG),
        ((EXPIRED,), Fate.LOST),
        ((DELAYED, FAILED), Fate.WRONG),
        ((EXPIRED, FAILED), Fate.WRONG),
        ((FAILED.replace("Status: 5.1.1\n", ""),), Fate.WRONG),
        (("Action: Failed\nStatus: 5.7.1 (blocked)\n",), Fate.WRONG),
        (("Action: failed\nDiagnostic-Code: smtp; 550 no such user\n",), Fate.WRONG),
        (("Action: failed\nDiagnostic-Code: x; because\n",), Fate.LOST),
        (("Action: failed\n",), Fate.LOST),
        (("Action: delivered\nStatus: 2.0.0\n",), Fate.DELIVERED),
        (("Action: delivered\n", FAILED), Fate.WRONG),
        ((DELAYED,), None),
        (("Status: 5.1.1\n",), None),
    ],
)
def test_each_block_is_sorted_by_action_and_status_and_the_worst_counts(
    blocks: tuple[str, ...], fate: Fate | None
) -> None:
    found = report_in(_parsed(report("x@y.example", *blocks)))
    assert (found.fate if found else None) is fate


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\xff" * 1000,
        b"To: =?utf-8?b?////?= <a@b>\n\n",
        b"Content-Type: multipart/report; boundary=x\n\n--x\n--x--\n",
        b"Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\n\xff\n\n\n--x",
        b"Content-Type: multipart/report\n\nno boundary",
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\n" * 20_000,
    ],
)
def test_what_is_broken_reports_nothing(raw: bytes) -> None:
    assert report_in(_parsed(raw)) is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_no_cut_and_no_scratch_makes_it_fall_over(data: st.DataObject) -> None:
    raw = bytearray(report("x@y.example", FAILED, EXPIRED))
    for _ in range(data.draw(st.integers(0, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    report_in(_parsed(bytes(raw[: data.draw(st.integers(0, len(raw)))])))
