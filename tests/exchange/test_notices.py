"""Notices: taken under leases, carried, reported, shown; quiet hours, digests, a stopped way, the same code again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from fxsftp import app
from fxsftp.domain.model import Notice
from fxsftp.errors import Conflict, Forbidden, NoticeOver, NoticeUnknown, ShipmentUnknown, WrongState
from fxsftp.exchange import Exchange
from fxsftp.exchange.carriage import Carriage, Errand, Outcome
from fxsftp.exchange.notices import Notices
from tests.exchange.hands import Hand, notices
from tests.house import ANN, KARI, House

TO_ANN = f"/outbox/{ANN}"
PHONE, OTHER = "+4790000000", "+4791111111"


@pytest.fixture
def courier(house: House) -> Iterator[Exchange]:
    """What the courier's process has: its own key, and no vault."""
    opened = app.open_exchange(house.settings, role="courier")
    yield opened
    opened.close()


def sent(house: House, kari: Hand, name: str = "Ref") -> str:
    """A shipment from kari to ann that has left; its id."""
    kari.put(f"{TO_ANN}/{name}/a.csv", b"1")
    house.settle()
    return kari.exchange.sent.list(kari.user, kari.now)[0].id


def take(courier: Exchange, house: House, way: str, *, lease: str = "one", limit: int = 99) -> list[Errand]:
    return courier.carriage.take_due(way, house.clock(), lease=lease, seconds=30, limit=limit)


def record(courier: Exchange, house: House, errand: Errand, became: str, **more: object) -> None:
    outcome = Outcome(errand.notice.id, became, is_question=errand.is_question, **more)  # type: ignore[arg-type]
    courier.carriage.record(errand.notice.way, "one", [outcome], house.clock())


def carry(courier: Exchange, house: House, way: str, **more: object) -> list[Notice]:
    """Everything that is due by one way, carried."""
    errands = take(courier, house, way)
    for errand in errands:
        record(courier, house, errand, "carried", **more)
    return [courier.notices.find(errand.notice.id) for errand in errands]


def kinds(errands: list[Errand]) -> list[str]:
    return sorted(errand.kind for errand in errands)


# ---- leases --------------------------------------------------------------------------------------


def test_several_couriers_never_have_one_notice_at_a_time(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    for number in range(6):
        sent(house, kari, f"Ref {number}")
    with_one, with_two = take(courier, house, "mail", limit=4), take(courier, house, "mail", lease="two")
    assert len(with_one) == 4
    assert len({errand.notice.id for errand in with_one + with_two}) == 6
    record(courier, house, replace(with_one[0], notice=with_two[0].notice), "carried")  # not its own
    assert courier.notices.find(with_two[0].notice.id).state == "due"


def test_what_a_dead_courier_had_in_hand_is_free_half_a_minute_later_and_its_late_word_counts_for_nothing(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    (dead,) = take(courier, house, "mail")
    assert courier.carriage.next_due("mail") == house.clock() + 30
    house.clock.turn(31)
    (alive,) = take(courier, house, "mail", lease="two")
    assert alive.notice.id == dead.notice.id
    record(courier, house, dead, "failed", reason="too late")
    assert courier.notices.find(dead.notice.id).state == "due"


def test_a_try_later_waits_longer_each_time_and_in_the_end_the_sender_hears(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    waits = []
    while errands := take(courier, house, "mail"):
        if errands[0].kind != "arrived":
            break
        record(courier, house, errands[0], "later", reason="450 busy")
        due = courier.notices.find(errands[0].notice.id).due
        waits.append(due - house.clock())
        house.clock.turn(max(0.0, due - house.clock()))
    assert 24 <= waits[0] <= 36
    assert 2880 <= waits[-2] <= 4320
    assert len(set(waits)) > 5, "chance keeps apart what failed together"
    assert 72 * 3600 < sum(waits) < 75 * 3600
    (told,) = notices(house, "not_delivered")
    assert (told["address"], told["recipient"], told["what"], told["reason"]) == (KARI, ANN, "mail", "450 busy")


def test_days_without_a_hook_count_for_nothing_once_there_is_one(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    house.clock.turn(10 * 86400)
    (errand,) = take(courier, house, "mail")
    record(courier, house, errand, "later", reason="450 greylisted")
    assert courier.notices.find(errand.notice.id).state == "due"


def test_what_no_hook_has_seen_goes_back_as_it_was(house: House, ann: Hand, kari: Hand, courier: Exchange) -> None:
    sent(house, kari)
    (errand,) = take(courier, house, "mail")
    before = house.exchange.notices.find(errand.notice.id)
    record(courier, house, errand, "back")
    after = courier.notices.find(errand.notice.id)
    assert (before.attempts, after.attempts, after.begun, after.due) == (1, 0, None, before.due)


# ---- what providers report -----------------------------------------------------------------------


def test_a_code_that_has_arrived_is_erased_and_its_sender_sees_it(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    shipment = sent(house, kari)
    (sms,) = carry(courier, house, "sms", reference="SM1")
    assert courier.carriage.delivered(way="sms", reference="SM1", now=house.clock())
    assert courier.notices.find(sms.id).state == "delivered"
    receipt = kari.exchange.sent.find(kari.user, shipment, kari.now).as_json()
    assert {(told["what"], told["state"]) for told in receipt["recipients"][0]["notices"]} == {  # type: ignore[index]
        ("code", "delivered"),
        ("arrived", "due"),
    }
    assert house.exchange._holdings.secrets.code(ann.delivery(shipment).id) is None


def test_reports_come_early_late_twice_and_in_any_order_and_the_first_end_stays(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    (errand,) = take(courier, house, "sms")
    report, now = courier.carriage, house.clock()
    assert not report.delivered(way="sms", reference="SM1", now=now)  # nobody knows it by that name yet
    assert report.undelivered(errand.notice.id, way="sms", reference="SM1", reason="no phone", hard=False, now=now)
    record(courier, house, errand, "carried", reference="SM1")
    found = courier.notices.find(errand.notice.id)
    assert (found.state, found.reason, found.reference) == ("failed", "no phone", "SM1")
    assert not report.delivered(errand.notice.id, way="sms", reference="SM1", now=now)
    assert not report.undelivered(way="sms", reference="SM1", reason="again", hard=True, now=now)
    assert not report.delivered(errand.notice.id, way="mail", now=now)
    assert not report.delivered("no such", way="sms", now=now)
    assert len(notices(house, "not_delivered")) == 1


def test_a_report_about_an_older_attempt_says_nothing_of_this_one(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    (sms,) = carry(courier, house, "sms", reference="SM1")
    assert courier.carriage.again(way="sms", reference="SM1", reason="queue full", now=house.clock())
    house.clock.turn(60)
    (second,) = carry(courier, house, "sms", reference="SM2")
    assert second.id == sms.id
    assert not courier.carriage.undelivered(
        sms.id, way="sms", reference="SM1", reason="late", hard=True, now=house.clock()
    )
    assert courier.carriage.delivered(sms.id, way="sms", reference="SM2", now=house.clock())


def test_a_hard_bounce_marks_the_address_and_the_next_that_arrives_clears_it(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    (mail,) = carry(courier, house, "mail")
    assert courier.carriage.undelivered(mail.id, way="mail", reason="550 no such user", hard=True, now=house.clock())
    bounce = ann.user.bounce
    assert bounce is not None
    assert (bounce.at, bounce.way, bounce.reason) == (house.clock(), "mail", "550 no such user")
    sent(house, kari, "Ref 2")
    carried = carry(courier, house, "mail")
    for notice in carried:
        assert courier.carriage.delivered(notice.id, way="mail", now=house.clock())
    assert ann.user.bounce is None


def test_a_mark_goes_with_a_new_phone_and_with_enable(house: House, ann: Hand, kari: Hand, courier: Exchange) -> None:
    for clear in (
        lambda: house.exchange.people.change(ANN, house.clock(), phone=OTHER),
        lambda: house.exchange.people.enable(ANN, house.clock()),
    ):
        sent(house, kari)
        (sms, *_) = (notice for notice in carry(courier, house, "sms") if notice.kind == "code")
        assert courier.carriage.undelivered(sms.id, way="sms", reason="no phone", hard=True, now=house.clock())
        assert ann.user.bounce
        clear()
        assert ann.user.bounce is None


def test_a_hook_that_can_be_asked_is_asked_when_it_said_and_its_answer_counts(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    carry(courier, house, "sms", reference="SM1", ask=20.0)
    assert courier.carriage.next_due("sms") == house.clock() + 20
    assert take(courier, house, "sms") == []
    house.clock.turn(20)
    (question,) = take(courier, house, "sms")
    assert (question.is_question, question.notice.reference, question.notice.asked, question.code) == (
        True, "SM1", 1, None,
    )  # fmt: skip
    record(courier, house, question, "carried", ask=60.0)
    house.clock.turn(60)
    (question,) = take(courier, house, "sms")
    record(courier, house, question, "delivered")
    assert courier.notices.find(question.notice.id).state == "delivered"
    assert courier.carriage.next_due("sms") is None


@pytest.mark.parametrize(
    ("answer", "state", "is_asked_again"),
    [("failed", "failed", False), ("again", "due", False), ("later", "carried", True), ("carried", "carried", False)],
)
def test_every_answer_to_a_question_has_its_end(
    answer: str, state: str, is_asked_again: bool, house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    carry(courier, house, "sms", reference="SM1", ask=20.0)
    house.clock.turn(20)
    (question,) = take(courier, house, "sms")
    record(courier, house, question, answer, reason="because")
    assert courier.notices.find(question.notice.id).state == state
    assert (courier.carriage.next_due("sms") is not None) == (is_asked_again or state == "due")


# ---- a way that is broken ------------------------------------------------------------------------


def test_a_stopped_way_keeps_its_notices_due_and_is_tried_with_one_after_a_while(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    for number in range(3):
        sent(house, kari, f"Ref {number}")
    first, second, _ = take(courier, house, "mail")
    record(courier, house, first, "stop", reason="535 wrong password")
    record(courier, house, second, "back")
    began = house.clock()
    assert [notice.attempts for notice in house.exchange.notices.list("due") if notice.way == "mail"].count(0) == 2
    stop = house.exchange.carriage.stopped("mail")
    assert stop
    assert (stop.since, stop.reason) == (began, "535 wrong password")
    assert take(courier, house, "mail") == []
    assert take(courier, house, "sms") != [], "no other way stops"
    house.clock.turn(stop.until - began)
    (probe,) = take(courier, house, "mail")
    record(courier, house, probe, "stop", reason="535 still")
    stop = house.exchange.carriage.stopped("mail")
    assert stop
    assert (stop.since, stop.reason) == (began, "535 still")
    courier.carriage.resume("mail", house.clock())  # as a courier does when it is started again
    (probe,) = take(courier, house, "mail")
    record(courier, house, probe, "carried")
    assert house.exchange.carriage.stopped("mail") is None
    assert len(take(courier, house, "mail")) >= 1


# ---- quiet hours and digests -----------------------------------------------------------------------


def wait_until(house: House, text: str) -> None:
    house.clock.turn(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Oslo")).timestamp() - house.clock())


def test_quiet_hours_hold_a_code_until_the_morning_where_its_reader_is_and_no_warning(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    house.exchange.people.change(ANN, house.clock(), quiet="22:00-07:00", timezone="Europe/Oslo")
    wait_until(house, "2026-11-27T22:30:00")
    kari.put(f"{TO_ANN}/Ref/a.csv", b"1")
    house.settle()
    house.exchange.people.change(ANN, house.clock(), phone=OTHER)
    assert kinds(take(courier, house, "sms")) == ["changed"]
    assert kinds(take(courier, house, "mail")) == ["arrived", "changed"]
    wait_until(house, "2026-11-28T06:59:59")
    assert "code" not in kinds(take(courier, house, "sms"))
    wait_until(house, "2026-11-28T07:00:00")
    assert "code" in kinds(take(courier, house, "sms"))


def test_what_was_due_before_the_quiet_and_not_sent_waits_too(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    house.exchange.people.change(ANN, house.clock(), quiet="22:00-07:00", timezone="Europe/Oslo")
    wait_until(house, "2026-11-27T21:50:00")
    kari.put(f"{TO_ANN}/Ref/a.csv", b"1")
    house.settle(400)
    wait_until(house, "2026-11-27T22:10:00")
    assert take(courier, house, "sms") == []
    (code,) = (notice for notice in house.exchange.notices.list("due") if notice.kind == "code")
    assert code.attempts == 0
    wait_until(house, "2026-11-28T07:00:00")
    assert kinds(take(courier, house, "sms")) == ["code"]


def test_a_digest_is_one_mail_a_day_and_each_of_its_notices_shares_its_fate(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    house.exchange.people.change(ANN, house.clock(), digest="08:00", timezone="Europe/Oslo", phrase="blue hippo")
    wait_until(house, "2026-11-27T12:00:00")
    ids = {sent(house, kari, f"Ref {number}") for number in range(3)}
    house.exchange.people.set_password(ANN, "three unrelated words", house.clock())
    assert [notice.kind for notice in carry(courier, house, "mail")] == ["changed"], "what warns waits for nothing"
    wait_until(house, "2026-11-28T08:00:00")
    (digest,) = take(courier, house, "mail", limit=2)
    assert digest.kind == "digest"
    assert {item["shipment"] for item in digest.facts["items"]} == ids  # type: ignore[attr-defined]
    assert digest.facts["phrase"] == "blue hippo"
    assert len(digest.ids) == 3
    later = sent(house, kari, "Ref 4")
    record(courier, house, digest, "later", reason="450 busy")
    house.clock.turn(3600)
    (again,) = take(courier, house, "mail")
    assert (again.notice.id, set(again.ids)) == (digest.notice.id, set(digest.ids)), "its id and its contents stay"
    record(courier, house, again, "carried", reference="<1@x>")
    assert courier.carriage.undelivered(again.notice.id, way="mail", reason="550 gone", hard=True, now=house.clock())
    states = {notice.shipment_id: notice.state for notice in house.exchange.notices.list() if notice.kind == "arrived"}
    assert states == dict.fromkeys(ids, "failed") | {later: "due"}
    assert {told["shipment"] for told in notices(house, "not_delivered")} == ids


def test_a_digest_of_one_is_that_one(house: House, ann: Hand, kari: Hand, courier: Exchange) -> None:
    house.exchange.people.change(ANN, house.clock(), digest="08:00")
    sent(house, kari)
    house.clock.turn(86400)
    assert kinds(take(courier, house, "mail")) == ["arrived"]


# ---- what is written -----------------------------------------------------------------------------


def test_every_mail_has_the_phrase_of_today_and_no_row_has_it(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    shipment = sent(house, kari)
    house.exchange.people.change(ANN, house.clock(), phrase="  blue   hippo ")
    (errand,) = take(courier, house, "mail")
    assert errand.facts["phrase"] == "blue hippo"
    assert "phrase" not in errand.notice.facts
    assert errand.facts["shipment"] == shipment
    with pytest.raises(Conflict, match="one line of 60 letters"):
        house.exchange.people.change(ANN, house.clock(), phrase="x" * 61)
    with pytest.raises(Conflict, match="one line"):
        house.exchange.people.change(ANN, house.clock(), phrase="a\x1b[31mb")


def test_a_mail_names_neither_subject_nor_sender_unless_policy_shows_them(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    kari.put(f"{TO_ANN}/Merger with Acme/plan.csv", b"1")
    house.settle()
    for shows in (False, True):
        policy = replace(house.exchange.policy, show_subject=shows)
        rooms = Notices(replace(house.exchange._holdings, policy=policy))
        shipment = kari.exchange.sent.list(kari.user, kari.now)[0]
        with house.exchange._holdings.registry.atomic():
            rooms.to_recipient("reminder", shipment, ann.delivery(shipment.id), house.clock(), days=1)
            rooms.to_sender("collected", shipment, house.clock())
        facts = str(notices(house, "reminder")) if not shows else ""
        for secret in ("Merger", "Acme", KARI, "Nordmann", "plan.csv"):
            assert secret not in facts
    shown = str(notices(house, "reminder"))
    assert all(said in shown for said in ("Merger with Acme", KARI, "Nordmann", "plan.csv"))
    assert {told["subject"] for told in notices(house, "collected")} == {"", "Merger with Acme"}


def test_what_changes_a_way_in_is_told_to_the_addresses_of_before(house: House, ann: Hand) -> None:
    house.exchange.people.change(ANN, house.clock(), phone=OTHER)
    house.exchange.people.change(ANN, house.clock(), delivery="session")
    house.exchange.people.change(ANN, house.clock(), delivery="session", name="Ann")  # nothing that opens anything
    house.key_for(ANN)
    told = {(notice["what"], notice["address"]) for notice in notices(house, "changed")}
    assert told == {
        ("phone", ANN), ("phone", PHONE), ("delivery", ANN), ("delivery", OTHER), ("key", ANN), ("key", OTHER),
    }  # fmt: skip


def test_a_quota_is_told_at_80_percent_once_and_again_when_it_was_free_in_between(
    house: House, kari: Hand, ann: Hand
) -> None:
    house.exchange.people.change(KARI, house.clock(), quota=1000)
    sweep = house.exchange.upkeep.sweep
    for size, told in ((790, 0), (10, 1), (5, 1)):
        kari.put(f"{TO_ANN}/Ref/{size}.csv", b"x" * size)
        sweep(house.clock(), house.clock(), "boot")
        assert len(notices(house, "quota")) == told
    assert (notices(house, "quota")[0]["used"], notices(house, "quota")[0]["quota"]) == (800, 1000)
    kari.rm(f"{TO_ANN}/Ref/790.csv")
    sweep(house.clock(), house.clock(), "boot")
    kari.put(f"{TO_ANN}/Ref/790.csv", b"x" * 790)
    sweep(house.clock(), house.clock(), "boot")
    assert len(notices(house, "quota")) == 2


def test_a_drop_without_progress_is_called_unfinished_and_one_that_may_not_leave_held(house: House, kari: Hand) -> None:
    house.ann()
    draft = kari.open(f"{TO_ANN}/Ref/a.csv")
    draft.write(0, b"1" * 200_000)
    kari.lose(draft)
    house.settle(86_400 + 60)
    assert [told["recipient"] for told in notices(house, "unfinished")] == [ANN]
    assert notices(house, "held") == []


# ---- what people do about it -----------------------------------------------------------------------


def test_the_same_code_goes_to_a_corrected_number_of_that_shipment_only(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    shipment = sent(house, kari)
    (first,) = take(courier, house, "sms")
    record(courier, house, first, "failed", reason="no such number")
    again = house.exchange.resending.resend(shipment, ANN, house.clock(), phone="+47 91 11 11 11", who=KARI)
    assert again.address == OTHER
    (second,) = take(courier, house, "sms")
    assert (second.notice.id, second.code) == (again.id, first.code)
    assert first.code is not None
    assert ann.user.phone == PHONE


def test_a_code_goes_again_for_its_sender_and_admins_five_times_and_only_members_give_numbers(
    house: House, ann: Hand, kari: Hand
) -> None:
    shipment, resend = sent(house, kari), house.exchange.resending.resend
    with pytest.raises(ShipmentUnknown):
        resend(shipment, ANN, house.clock(), who=ANN)
    with pytest.raises(ShipmentUnknown):
        resend(shipment, "bob@works.example", house.clock(), who=KARI)
    for _ in range(4):
        resend(shipment, ANN, house.clock(), who="admin")
    with pytest.raises(Conflict, match="sent 5 times"):
        resend(shipment, ANN, house.clock(), who=KARI)
    codes = [told["state"] for told in notices(house, "code")]
    assert sorted(codes) == ["dropped"] * 4 + ["due"]
    house.exchange.people.change(KARI, house.clock(), delivery="code", phone=PHONE)
    ann.put(f"/outbox/{KARI}/Back/b.csv", b"1")
    house.settle()
    back = ann.exchange.sent.list(ann.user, ann.now)[0].id
    with pytest.raises(Forbidden, match="members"):
        resend(back, KARI, house.clock(), phone=OTHER, who=ANN)
    assert resend(back, KARI, house.clock(), who=ANN).address == PHONE


def test_an_erased_code_can_not_go_again(house: House, ann: Hand, kari: Hand, courier: Exchange) -> None:
    shipment = sent(house, kari)
    (sms,) = carry(courier, house, "sms", reference="SM1")
    courier.carriage.delivered(sms.id, way="sms", now=house.clock())
    with pytest.raises(WrongState, match="no longer in the keeping of its code"):
        house.exchange.resending.resend(shipment, ANN, house.clock(), who="admin")


def test_what_failed_is_tried_again_by_a_persons_word_to_where_its_reader_is_now(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    (first,) = take(courier, house, "sms")
    record(courier, house, first, "failed", reason="no such number")
    house.exchange.people.change(ANN, house.clock(), phone=OTHER)
    again = house.exchange.resending.retry(first.notice.id, house.clock())
    assert (again.state, again.address, again.attempts, again.reason) == ("due", OTHER, 1, "")
    errand = next(errand for errand in take(courier, house, "sms") if errand.kind == "code")
    assert errand.code == first.code
    record(courier, house, errand, "carried", reference="SM1")
    with pytest.raises(NoticeOver, match="carried"):
        house.exchange.resending.retry(first.notice.id, house.clock())
    with pytest.raises(NoticeUnknown):
        house.exchange.resending.retry("no such", house.clock())


def test_what_is_dropped_is_not_carried_even_if_a_courier_has_it_in_hand(
    house: House, ann: Hand, kari: Hand, courier: Exchange
) -> None:
    sent(house, kari)
    (errand,) = take(courier, house, "mail")
    dropped = house.exchange.resending.drop(errand.notice.id, house.clock())
    assert (dropped.state, dropped.reason) == ("dropped", "dropped by admin")
    record(courier, house, errand, "later", reason="x")
    assert take(courier, house, "mail") == []
    with pytest.raises(NoticeOver):
        house.exchange.resending.drop(errand.notice.id, house.clock())
    assert house.exchange.resending.retry(errand.notice.id, house.clock()).state == "due"


def test_a_failure_is_told_at_once_and_rings(house: House, ann: Hand, kari: Hand) -> None:
    sent(house, kari)
    rung: list[None] = []
    holdings = replace(house.exchange._holdings, ring=lambda: rung.append(None))
    carriage = Carriage(holdings, Notices(holdings))
    (mail,) = carriage.take_due("mail", house.clock(), lease="one", seconds=30, limit=1)
    carriage.record("mail", "one", [Outcome(mail.notice.id, "failed", "550")], house.clock())
    assert rung
    assert [told["state"] for told in notices(house, "not_delivered")] == ["due"]
    assert carriage.next_due("mail") == house.clock()
