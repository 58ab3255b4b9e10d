"""Addresses and phone numbers.  The cases are isemail's; which of them can be a user name is for us to say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fxsftp.domain import addresses
from fxsftp.errors import BadAddress, BadPhone

CASES: list[dict[str, str]] = json.loads(
    (Path(__file__).resolve().parents[1] / "data" / "isemail_cases.json").read_text()
)

# What isemail's categories mean for a user name, which is also a folder and a line of a mail's header.
VERDICTS = {
    "ISEMAIL_ERR": "refused",  # no address at all
    "ISEMAIL_VALID_CATEGORY": "taken",  # save the two below
    "ISEMAIL_DNSWARN": "taken",  # nobody asks the DNS: addresses are known by an admin
    "ISEMAIL_CFWS": "refused",  # comments and folded lines; blanks around a pasted address are cut off
    "ISEMAIL_DEPREC": "refused",  # what RFC 5322 itself calls obsolete
    "ISEMAIL_RFC5321": "refused",  # quoted strings, address literals, bare top-level domains
    "ISEMAIL_RFC5322": "refused",  # too long for mail servers, or for nobody's server at all
}
EXCEPTIONS = {
    "test@io": "refused",  # a host without a dot is a slip, not a user
    "!#$%&`*+/=?^`{|}~@iana.org": "refused",  # the slash would part folders
    " test@iana.org": "taken",
    "test@iana.org ": "taken",
    "(comment)test@iana.org": "refused",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["address"])[:40])
def test_each_case_of_isemail_is_judged_as_the_table_says(case: dict[str, str]) -> None:
    text = case["address"]
    try:
        addresses.address(text)
        verdict = "taken"
    except BadAddress:
        verdict = "refused"
    assert verdict == EXCEPTIONS.get(text, VERDICTS[case["category"]]), case["diagnosis"]


def test_an_address_is_folded_and_kept() -> None:
    assert addresses.address("Kari.Nordmann@SSB.Example") == "kari.nordmann@ssb.example"
    assert addresses.address("a+b@x.test") == "a+b@x.test"
    assert addresses.address("o'hara@firm.example") == "o'hara@firm.example"


@pytest.mark.parametrize(
    "text",
    [
        "blåbær@ssb.example",
        "kari@blåbær.example",
        "a/b@x.example",
        "a\\b@x.example",
        '"a b"@x.example',
        "a@[127.0.0.1]",
        "a@x.example\nBcc: b@x.example",
    ],
)
def test_what_is_no_plain_ascii_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        addresses.address(text)


def test_a_number_is_kept_in_one_form() -> None:
    assert addresses.phone("+47 90 00 00 00") == "+4790000000"
    assert addresses.phone("+47-9000-0000") == "+4790000000"


@pytest.mark.parametrize("text", ["", "90000000", "+47", "+4790", "phone", "+4790000000000000000", "+999123456789"])
def test_a_number_without_its_country_is_refused(text: str) -> None:
    with pytest.raises(BadPhone):
        addresses.phone(text)


def test_a_hint_shows_two_digits() -> None:
    assert addresses.hint("+4790000017") == "…17"
    assert addresses.hint(None) == ""
