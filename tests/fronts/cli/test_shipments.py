"""`fxsftp shipment`, `notice` and `sweep`: what is under way, and an admin's verbs for it."""

from __future__ import annotations

import json

import pytest

from fxsftp.domain.addresses import hint
from fxsftp.domain.model import Kind, User
from tests.carried import carried
from tests.fronts.cli.conftest import Admin
from tests.house import ANN, KARI, House

SUBJECT = "Ref 23-4567"
DAY = 86400.0


def sent_by(admin: Admin, subject: str = SUBJECT) -> str:
    """The id of a shipment from kari that waits for ann."""
    house = admin.house
    house.put(kari(house), f"/outbox/{ANN}/{subject}/data.csv", b"a;b\n1;2\n")
    house.settle()
    return str(admin.json("shipment", "list")[0]["shipment"])


def kari(house: House) -> User:
    return house.exchange.people.find(KARI)


def held_by(admin: Admin) -> str:
    """The id of a shipment that is held, for ann has no phone number for the code."""
    admin.does("user", "change", ANN, "--phone", "")
    return sent_by(admin)


# ---- showing -------------------------------------------------------------------------------------


def test_where_nothing_is_under_way_nothing_is_said(people: Admin) -> None:
    assert people.does("shipment", "list") == ""
    assert people.json("shipment", "list") == []
    assert people.does("notice", "list") == ""


def test_a_shipment_is_listed_with_who_what_and_when(people: Admin) -> None:
    shipment = sent_by(people)
    head, row = people.does("shipment", "list").splitlines()
    assert " ".join(head.split()) == "Shipment State From To Subject Files Size Sent Expires"
    assert row.split()[:9] == [shipment, "waiting", KARI, ANN, "Ref", "23-4567", "1", "8", "B"]


def test_a_list_can_be_narrowed_to_one_state(people: Admin) -> None:
    sent_by(people)
    assert len(people.json("shipment", "list", "--state", "waiting")) == 1
    assert people.json("shipment", "list", "--state", "held") == []
    assert people("shipment", "list", "--state", "lost").exit_code == 2


def test_one_shipment_is_shown_whole(people: Admin) -> None:
    shipment = sent_by(people)
    shown = people.does("shipment", "show", shipment)
    for words in (
        "State     waiting",
        f"Subject   {SUBJECT}",
        "data.csv",
        ANN,
        "mail  arrived",
        "sms   code",
        "dispatched",
    ):
        assert words in shown
    receipt = people.json("shipment", "show", shipment)
    assert (
        " ".join(receipt)
        == "shipment state sender recipient to subject begun sent expires ended reason files recipients history"
    )
    assert receipt["files"][0]["name"] == "data.csv"


def test_any_name_of_a_shipment_will_do(people: Admin) -> None:
    shipment = sent_by(people)
    for name in (shipment.upper(), f"2026-11-18_{shipment}_Ref-23-4567", f"inbox/{shipment}/"):
        assert people.json("shipment", "show", name)["shipment"] == shipment


def test_markup_in_a_subject_is_only_letters(people: Admin) -> None:
    shipment = sent_by(people, "[red]Ref :smile: [bold")
    for shown in (people.does("shipment", "list"), people.does("shipment", "show", shipment)):
        assert "[red]Ref :smile: [bold" in shown


@pytest.mark.parametrize("name", ["7k3f-q2mp", "", "../../etc/passwd", "7k3f", "\x1b[31m", "%s{0}"])
@pytest.mark.parametrize("verb", ["show", "recall", "release"])
def test_an_unknown_shipment_is_refused(people: Admin, verb: str, name: str) -> None:
    reason = people.refused("shipment", verb, name)
    assert "There is no shipment" in reason
    assert "\x1b" not in reason


def test_a_code_typed_in_place_of_an_id_is_not_repeated(people: Admin) -> None:
    assert "abcd-1234-abcd-1234" not in people.refused("shipment", "show", "abcd-1234-abcd-1234")


# ---- recall and release --------------------------------------------------------------------------


def test_a_recalled_shipment_is_gone_and_what_was_read_is_said(people: Admin) -> None:
    shipment = sent_by(people)
    assert people.does("shipment", "recall", shipment) == f"{shipment} recalled; nobody had opened it\n"
    assert people.house.inbox(people.house.exchange.people.find(ANN)) == []
    assert "it can't be recalled" in people.refused("shipment", "recall", shipment)


def test_a_held_shipment_is_released_and_leaves(people: Admin) -> None:
    shipment = held_by(people)
    assert people.json("shipment", "show", shipment)["state"] == "held"
    assert "has no phone number for the code" in people.does("shipment", "show", shipment)
    people.does("user", "change", ANN, "--name", "Ann")
    people.house.exchange.people.change(ANN, people.house.clock(), phone="+4790000000")
    if people.json("shipment", "show", shipment)["state"] == "held":
        assert people.does("shipment", "release", shipment) == f"{shipment} released; it leaves when it has settled\n"
    people.house.settle()
    assert people.json("shipment", "show", shipment)["state"] == "waiting"


def test_what_is_not_held_is_not_released(people: Admin) -> None:
    assert "it can't be released" in people.refused("shipment", "release", sent_by(people))


# ---- notices -------------------------------------------------------------------------------------


def test_notices_are_listed_and_shown_and_hold_no_code(people: Admin) -> None:
    shipment = sent_by(people)
    found = people.json("notice", "list", "--state", "due")
    assert {(each["way"], each["what"], each["shipment"]) for each in found} == {
        ("mail", "arrived", shipment),
        ("sms", "code", shipment),
    }
    assert " ".join(found[0]) == "id what way to language shipment state reason reference attempts made due done facts"
    code = people.house.code(shipment, people.house.exchange.people.find(ANN))
    for each in found:
        shown = people.does("notice", "show", each["id"])
        assert shipment in shown
        assert code not in shown + json.dumps(people.json("notice", "show", each["id"]))
    assert len(people.does("notice", "list").splitlines()) == 3
    assert people.does("notice", "list", "--state", "failed") == ""


def test_an_unknown_notice_is_refused(people: Admin) -> None:
    assert "There is no notice 'no'" in people.refused("notice", "show", "no")


# ---- sweep ---------------------------------------------------------------------------------------


def test_a_sweep_says_what_it_did_and_nothing_when_there_was_nothing(people: Admin) -> None:
    shipment = sent_by(people)
    assert people.does("sweep") == ""
    people.house.clock.turn(24 * DAY)
    assert people.does("sweep").startswith("swept: 1 reminded")
    people.house.clock.turn(7 * DAY)
    assert "1 expired" in people.does("sweep")
    assert people.json("shipment", "show", shipment)["state"] == "ended"


def test_a_clock_in_doubt_stops_the_sweep_until_an_admin_has_looked(house: House, people: Admin) -> None:
    """A clock that jumps ahead must not destroy what it makes look old."""
    shipment = sent_by(people)
    people.does("sweep")
    house.exchange.upkeep.beat(house.clock() + 40 * DAY, house.clock(), "one boot")
    assert "--confirm-clock" in people.refused("sweep")
    assert people.json("shipment", "show", shipment)["state"] == "waiting"
    people.does("sweep", "--confirm-clock")
    people.does("sweep")


# ---- a wrong number ------------------------------------------------------------------------------


def test_a_wrong_number_is_mended_and_the_same_code_goes_again(people: Admin) -> None:
    shipment = sent_by(people)
    house = people.house
    ann = house.exchange.people.find(ANN)
    code = house.code(shipment, ann)
    said = people.does("shipment", "resend", shipment, ANN, "--phone", "+4790000012")
    assert said == f"{shipment}: the same code goes to {ANN} again, by SMS to {hint('+4790000012')}\n"
    house.clock.turn(3600)
    assert house.code(shipment, ann) == code
    (due,) = [each for each in people.json("notice", "list", "--state", "due") if each["way"] == "sms"]
    assert due["to"] == "+4790000012"
    assert house.exchange.people.find(ANN).phone == "+4790000000"  # for this one shipment only


def sent_to_both(admin: Admin) -> str:
    """The id of a shipment from kari to ann, by code, and to ola, by log-in."""
    house, room = admin.house, admin.house.exchange.composing
    house.add("ola@ssb.example", Kind.MEMBER)
    drop = room.begin(kari(house), recipients=[ANN, "ola@ssb.example"], now=house.clock())
    draft, _ = room.add_file(kari(house), drop.id, "data.csv", 3, None, "tab", house.clock())
    draft.write(0, b"1;2")
    room.finish_file(draft, house.clock())
    return room.submit(kari(house), drop.id, house.clock()).id


def test_a_lost_code_is_replaced_where_the_house_key_lets_it(people: Admin) -> None:
    house, shipment = people.house, sent_to_both(people)
    assert f"{ANN}, ola@ssb.example" in people.does("shipment", "show", shipment)
    ann = house.exchange.people.find(ANN)
    old = house.code(shipment, ann)
    said = people.does("shipment", "new-code", shipment, ANN)
    assert said == f"{shipment}: a new code goes to {ANN}, by SMS to {hint('+4790000000')}\n"
    house.clock.turn(61)
    assert house.code(shipment, ann) != old
    people.refused("shipment", "new-code", shipment, "ola@ssb.example")


def test_where_only_the_lost_code_opens_it_the_refusal_says_what_to_do(people: Admin) -> None:
    assert "Recall it" in people.refused("shipment", "new-code", sent_by(people), ANN)


def test_a_shipment_can_be_kept_longer_and_not_for_ever(people: Admin) -> None:
    shipment = sent_by(people)
    before = people.house.exchange.sent.show(shipment).shipment.expires
    assert people.does("shipment", "extend", shipment, "14").startswith(f"{shipment} is kept until ")
    after = people.house.exchange.sent.show(shipment).shipment.expires
    assert (after or 0) - (before or 0) == 14 * DAY
    assert "at the latest" in people.refused("shipment", "extend", shipment, "60")
    assert people("shipment", "extend", shipment, "-1").exit_code == 2


def test_a_code_that_is_gone_is_not_sent_again(people: Admin) -> None:
    shipment = sent_by(people)
    notice = carried(people.house, "sms")
    people.house.exchange.carriage.delivered(notice.id, way="sms", now=people.house.clock())
    assert shipment in people.refused("shipment", "resend", shipment, ANN)
    people.refused("shipment", "resend", shipment, "nobody@firm.example")
    people.refused("shipment", "resend", "0000-0000", ANN)
