"""What comes back about a notice: who may say so, and what it changes."""

from __future__ import annotations

import pytest

from fxsftp import app
from fxsftp.exchange.reports import Fate
from tests.carried import carried, shipment_to_ann, waiting
from tests.house import ANN, House

NOTICE = "0123456789abcdef01234567"


@pytest.fixture
def reports(house: House):
    """With an address for bounces."""
    house.exchange.reports._bounces = "bounces@fx.example"
    return house.exchange.reports


def test_each_mail_has_an_address_of_its_own_that_proves_itself(reports):
    address = reports.return_path(NOTICE)
    assert address.startswith(f"bounces+{NOTICE}-")
    assert address.endswith("@fx.example")
    assert len(address.partition("@")[0]) <= 64  # RFC 5321, 4.5.3.1.1
    assert reports.whose([f"<{address}>"]) == NOTICE
    assert reports.whose(["somebody@fx.example", address.upper()]) == NOTICE


def test_all_processes_of_an_exchange_make_the_same_address_and_no_other_exchange_does(house, reports, tmp_path):
    other = app.open_exchange(house.settings, role="courier")
    other.reports._bounces = "bounces@fx.example"
    assert other.reports.return_path(NOTICE) == reports.return_path(NOTICE)
    other.close()
    with House(tmp_path / "other") as elsewhere:
        elsewhere.exchange.reports._bounces = "bounces@fx.example"
        assert elsewhere.exchange.reports.return_path(NOTICE) != reports.return_path(NOTICE)
        assert elsewhere.exchange.reports.whose([reports.return_path(NOTICE)]) is None


@pytest.mark.parametrize(
    "forged",
    [
        "bounces@fx.example",
        f"bounces+{NOTICE}@fx.example",
        f"bounces+{NOTICE}-aaaaaaaaaaaaaaaa@fx.example",
        f"bounces+{NOTICE}-ååååååååååååååå@fx.example",
        "",
    ],
)
def test_an_address_that_we_have_not_made_is_nobodys(forged, reports):
    assert reports.whose([forged]) is None


def test_a_tag_of_another_notice_is_no_proof(reports):
    tag = reports.return_path(NOTICE).partition("-")[2]
    assert reports.whose([f"bounces+{NOTICE[::-1]}-{tag}"]) is None


def test_without_an_address_for_bounces_mails_have_none(house):
    assert house.exchange.reports.return_path(NOTICE) == ""


def test_a_lost_code_is_told_to_its_sender_and_a_wrong_number_is_marked(house):
    kari, _ = house.kari(), house.ann()
    shipment_to_ann(house, kari)
    notice = carried(house, "sms")
    came = house.exchange.reports.came
    why = "the number is not in use (Twilio 30005)"
    assert came(notice.id, Fate.WRONG, house.clock(), way="sms", reference="SM1", reason=why)
    assert house.exchange.notices.find(notice.id).state == "failed"
    (told,) = [each for each in waiting(house, "mail") if each.kind == "not_delivered"]
    assert (told.address, told.facts["reason"]) == (kari.email, why)
    assert house.exchange.people.find(ANN).bounce.reason == why


def test_what_may_arrive_another_time_is_due_again_under_the_same_id(house):
    kari, _ = house.kari(), house.ann()
    shipment_to_ann(house, kari)
    notice = carried(house, "sms")
    assert house.exchange.reports.came(notice.id, Fate.AGAIN, house.clock(), way="sms", reference="SM1", reason="off")
    again = house.exchange.notices.find(notice.id)
    assert (again.state, again.reason, again.due > house.clock()) == ("due", "off", True)
    assert not [each for each in waiting(house, "mail") if each.kind == "not_delivered"]


def test_nothing_that_comes_late_or_twice_changes_what_is_final(house):
    kari, _ = house.kari(), house.ann()
    shipment_to_ann(house, kari)
    notice = carried(house, "sms")
    came = house.exchange.reports.came
    assert came(notice.id, Fate.DELIVERED, house.clock(), way="sms", reference="SM1")
    for late in Fate:
        assert not came(notice.id, late, house.clock(), way="sms", reference="SM1", reason="late")
    assert house.exchange.notices.find(notice.id).state == "delivered"
