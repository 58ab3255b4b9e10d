"""Composing: a package put together piece by piece, which leaves by a word and not by being quiet."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from fxsftp.domain.lifecycle import DeliveryState, ShipmentState
from fxsftp.domain.model import Kind, LockKind, Shipment, Standing
from fxsftp.domain.policy import DAY
from fxsftp.errors import (
    BadAddress,
    BadName,
    BadPhone,
    BadText,
    Conflict,
    EmptyPackage,
    FxError,
    Incomplete,
    IsAFolder,
    NoSuchPlace,
    NotAFolder,
    NotYours,
    Overlong,
    OverQuota,
    PhoneNeeded,
    RecipientUnknown,
    ShipmentUnknown,
    TooManyFiles,
    Unfinished,
    WrongCode,
    WrongOffset,
    WrongState,
)
from fxsftp.exchange.composing import Composing
from fxsftp.exchange.drafts import Draft
from tests.exchange.hands import (
    Hand,
    another_process,
    killed,
    notices,
    registry_of,
    sent_ids,
    state_files,
    with_policy,
    write,
)
from tests.house import ANN, BOB, KARI, House

CHUNK = 65536
TEXT = b"region;antall\r\n0301;717710\r\n"
LONG = bytes(range(256)) * 1024  # four chunks


def room(hand: Hand) -> Composing:
    return hand.exchange.composing


def begin(hand: Hand, *to: str, subject: str = "Ref 23/4567", **more: object) -> Shipment:
    return room(hand).begin(hand.user, recipients=to, subject=subject, now=hand.now, **more)  # type: ignore[arg-type]


def opened(hand: Hand, drop: Shipment, name: str, size: int | None, session: str = "tab") -> tuple[Draft, int]:
    return room(hand).add_file(hand.user, drop.id, name, size, None, session, hand.now)


def add(hand: Hand, drop: Shipment, name: str = "a.csv", data: bytes = TEXT) -> int:
    """A whole file, as one request brings it."""
    draft, file_id = opened(hand, drop, name, len(data))
    write(draft, data)
    room(hand).finish_file(draft, hand.now)
    return file_id


def submit(hand: Hand, drop: Shipment) -> Shipment:
    return room(hand).submit(hand.user, drop.id, hand.now)


def resume(hand: Hand, drop: Shipment, file_id: int, offset: int, session: str = "tab") -> Draft:
    return room(hand).resume_file(hand.user, drop.id, file_id, offset, session, hand.now)


def offset(hand: Hand, drop: Shipment, file_id: int) -> int:
    return room(hand).file_state(hand.user, drop.id, file_id, hand.now).offset


def still(house: House) -> None:
    """What was put off is done."""
    house.exchange._holdings.later(lambda: None).result()


# ---- it leaves by a word


def test_a_package_leaves_at_once_when_it_is_submitted_and_not_before(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN, message="Hei.\nSe vedlegg.")
    add(kari, drop)
    add(kari, drop, "sub/b.csv", LONG)
    assert sent_ids(house.settle(3600)) == []
    gone = submit(kari, drop)
    assert (gone.id, gone.state, gone.subject) == (drop.id, ShipmentState.WAITING, "Ref 23/4567")
    assert gone.message == "Hei.\nSe vedlegg."
    ann.type_code(drop.id, house.code(drop.id, ann.user))
    assert ann.get(f"/inbox/{drop.id}/a.csv") == TEXT
    assert ann.get(f"/inbox/{drop.id}/sub/b.csv") == LONG
    assert ann.delivery(drop.id).state is DeliveryState.COLLECTED


def test_a_second_submit_answers_the_same_shipment_and_sends_nothing_twice(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    add(kari, drop)
    assert submit(kari, drop).state is ShipmentState.WAITING
    assert submit(kari, drop).id == drop.id
    assert len(notices(house, "arrived")) == len(notices(house, "code")) == 1


def test_of_two_submits_at_once_in_two_processes_one_sends(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    for number in range(20):
        add(kari, drop, f"{number}.csv")
    other = another_process(house)
    hands = [kari, Hand(house, kari.user, exchange=other), kari, Hand(house, kari.user, exchange=other)]
    together, answers, problems = threading.Barrier(4), list[Shipment](), list[Exception]()

    def send(hand: Hand) -> None:
        together.wait()
        try:
            answers.append(submit(hand, drop))
        except Exception as problem:  # noqa: BLE001 - it is the test's to see
            problems.append(problem)

    threads = [threading.Thread(target=send, args=(hand,)) for hand in hands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert problems == []
    assert {answer.id for answer in answers} == {drop.id}
    assert len(notices(house, "code")) == 1
    assert len(registry_of(house.exchange).deliveries.of_shipment(drop.id)) == 1
    other.close()


def test_what_is_submitted_leaves_even_when_the_process_is_killed_before_it_could(
    house: House, kari: Hand, ann: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = begin(kari, ANN)
    add(kari, drop)
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(house.exchange.dispatch, "send_one", die)
        with pytest.raises(KeyboardInterrupt):
            submit(kari, drop)
    killed(house)
    assert sent_ids(house.settle(61)) == [drop.id]
    assert Hand(house, kari.user).state(drop.id) == "waiting"


def test_scanning_comes_before_leaving(house: House, kari: Hand, ann: Hand) -> None:
    with_policy(house, scan=("look",))
    kari = Hand(house, kari.user)
    drop = begin(kari, ANN)
    add(kari, drop)
    assert [scan for together in house.exchange.scanning.due(kari.now) for scan in together] == []
    assert submit(kari, drop).state is ShipmentState.SETTLING
    ((scan,),) = house.exchange.scanning.due(kari.now)  # without waiting for the quiet
    house.exchange.scanning.passed([(scan, ())], "look", kari.now)
    assert sent_ids(house.exchange.dispatch.step(kari.now)) == [drop.id]


def test_an_empty_package_or_one_with_unfinished_files_does_not_leave(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    with pytest.raises(EmptyPackage):
        submit(kari, drop)
    add(kari, drop)
    draft, _ = opened(kari, drop, "sub/late.csv", 10)
    with pytest.raises(Unfinished, match=r"sub/late\.csv"):
        submit(kari, drop)
    write(draft, b"0123456789")
    room(kari).finish_file(draft, kari.now)
    assert submit(kari, drop).state is ShipmentState.WAITING


def test_no_other_way_makes_it_leave(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    add(kari, drop)
    assert house.exchange.dispatch.send(kari.user, None, kari.now) == []
    with pytest.raises(ShipmentUnknown):
        house.exchange.dispatch.send(kari.user, drop.id, kari.now)
    with pytest.raises(Conflict):
        kari.mv(f"/outbox/{ANN}/{drop.folder}", f"/outbox/{ANN}/other")
    with pytest.raises(Conflict):
        kari.mv(f"/outbox/{ANN}/{drop.folder}/a.csv", f"/outbox/{ANN}/a.csv")
    house.settle(DAY)
    with pytest.raises(Conflict):
        house.exchange.dispatch.release(drop.id, "admin", kari.now)
    assert sent_ids(house.settle(3600)) == []


def test_what_nobody_goes_on_with_is_held_told_and_swept(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    add(kari, drop)
    assert house.settle(DAY) == [f"{drop.id} held: stalled"]
    assert len(notices(house, "unfinished")) == 1
    assert kari.state(drop.id) == "held"
    later = begin(kari, ANN)
    add(kari, later)
    house.settle(DAY)
    room(kari).edit(kari.user, later.id, subject="on it", now=kari.now)  # taken up again
    house.clock.turn(7 * DAY - 10)
    house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")
    assert kari.state(drop.id) == "ended"
    assert kari.state(later.id) == "dropping"
    with pytest.raises(WrongState):
        submit(kari, drop)


def test_what_never_got_a_file_goes_without_a_word(house: House, kari: Hand, ann: Hand) -> None:
    begin(kari, ANN)
    assert house.settle(DAY) == []
    assert kari.drops() == []
    assert notices(house, "unfinished") == []
    still(house)
    assert house.exchange._holdings.secrets.shipments_with_drop_key() == []


# ---- for whom


def test_each_of_several_recipients_has_a_lock_a_code_and_a_notice_of_their_own(
    house: House, kari: Hand, ann: Hand
) -> None:
    bob = Hand(house, house.add(BOB, Kind.PARTNER, phone="+4790000002"))
    ola = Hand(house, house.add("ola@ssb.example", Kind.MEMBER, phone="+4790000003"))
    drop = begin(kari, ANN, "BOB@works.example", "ola@ssb.example", ANN)
    assert drop.recipients == (ANN, BOB, "ola@ssb.example")
    add(kari, drop)
    submit(kari, drop)
    anns, bobs = house.code(drop.id, ann.user), None
    house.clock.turn(61)  # the lease of the others is over
    bobs = house.code(drop.id, bob.user)
    assert anns != bobs
    for hand, wrong in ((ann, bobs), (bob, anns)):
        with pytest.raises(WrongCode):
            hand.type_code(drop.id, wrong)
    for hand, code in ((ann, anns), (bob, bobs)):
        hand.type_code(drop.id, code)
        assert hand.get(f"/inbox/{drop.id}/a.csv") == TEXT
    assert ola.get(f"/inbox/{drop.id}/a.csv") == TEXT
    assert {notice["address"] for notice in notices(house, "arrived")} == {ANN, BOB, "ola@ssb.example"}
    assert len(notices(house, "code")) == 2
    assert not [path for path, content in state_files(house) for code in (anns, bobs) if code.encode() in content]
    key_files = {registry_of(house.exchange).deliveries.key_file(hand.delivery(drop.id).id) for hand in (ann, bob)}
    assert len(key_files) == 2


def test_who_is_named_and_in_a_named_group_gets_it_once_by_name(house: House, kari: Hand, ann: Hand) -> None:
    ola = Hand(house, house.add("ola@ssb.example", Kind.MEMBER))
    house.exchange.people.add_group("all@ssb.example", house.clock())
    for member in (KARI, "ola@ssb.example"):
        house.exchange.people.add_to_group("all@ssb.example", member, house.clock())
    drop = begin(ann, "all@ssb.example", "ola@ssb.example")
    add(ann, drop)
    submit(ann, drop)
    assert ola.delivery(drop.id).via == ""
    assert kari.delivery(drop.id).via == "all@ssb.example"
    assert len(notices(house, "arrived")) == 2


def test_every_recipient_is_in_the_receipts(house: House, kari: Hand, ann: Hand) -> None:
    house.add(BOB, Kind.PARTNER)
    drop = begin(kari, ANN, BOB)
    add(kari, drop)
    submit(kari, drop)
    sent = kari.exchange.sent.find(kari.user, drop.id, kari.now)
    assert sent.as_json()["recipient"] == ANN
    assert sent.as_json()["to"] == [ANN, BOB]
    assert sent.shipment.to == f"{ANN}, {BOB}"


def test_recall_takes_it_back_from_every_recipient(house: House, kari: Hand, ann: Hand) -> None:
    bob = Hand(house, house.add(BOB, Kind.PARTNER))
    drop = begin(kari, ANN, BOB)
    add(kari, drop)
    submit(kari, drop)
    kari.exchange.sent.recall(kari.user, drop.id, kari.now)
    assert {hand.delivery(drop.id).state for hand in (ann, bob)} == {DeliveryState.RECALLED}
    assert house.inbox(ann.user) == house.inbox(bob.user) == []
    with pytest.raises(WrongState):
        room(kari).edit(kari.user, drop.id, subject="again", now=kari.now)
    assert submit(kari, drop).state is ShipmentState.RECALLED


def test_a_member_invites_who_is_not_registered_by_sending(house: House, kari: Hand, ann: Hand) -> None:
    with pytest.raises(PhoneNeeded):
        begin(kari, ANN, BOB)
    with pytest.raises(BadPhone):
        begin(kari, BOB, invite_with={BOB: "12"})
    drop = begin(kari, ANN, BOB, invite_with={"Bob@works.example": "+4790000009"})
    add(kari, drop)
    assert notices(house, "invited") == []  # nobody hears of what is not sent
    held = submit(kari, drop)
    assert (held.state, held.cause) == (ShipmentState.HELD, "recipient")
    assert BOB in held.reason
    bob = house.exchange.people.find(BOB)
    assert (bob.standing, bob.phone, bob.kind) == (Standing.INVITED, "+4790000009", Kind.PARTNER)
    assert len(notices(house, "invited")) == len(notices(house, "held")) == 1
    assert submit(kari, drop).state is ShipmentState.HELD
    assert registry_of(house.exchange).compositions.invites(drop.id) == {}
    house.add(BOB, Kind.PARTNER)
    assert sent_ids(house.settle(61)) == [drop.id]


def test_a_partner_does_not_learn_who_else_is_here(house: House, kari: Hand, ann: Hand) -> None:
    house.add(BOB, Kind.PARTNER)
    said = set()
    for unknown in (BOB, "nobody@works.example", ANN):
        with pytest.raises(RecipientUnknown) as refusal:
            begin(ann, KARI, unknown, invite_with={unknown: "+4790000001"})
        said.add(str(refusal.value).replace(unknown, "…"))
    assert len(said) == 1
    with pytest.raises(BadAddress):
        begin(ann, "kari")
    with pytest.raises(BadText):
        begin(ann)


def test_a_sender_may_ask_for_a_stronger_lock_and_never_for_a_weaker_one(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(ann, KARI, minimum=LockKind.CODE)
    add(ann, drop)
    submit(ann, drop)
    assert kari.delivery(drop.id).lock is LockKind.CODE
    drop = begin(kari, ANN, minimum=LockKind.SESSION)
    add(kari, drop)
    submit(kari, drop)
    assert ann.delivery(drop.id).lock is LockKind.CODE


def test_it_is_its_senders_own(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    file_id = add(kari, drop)
    tries: list[Callable[[], object]] = [
        lambda: submit(ann, drop),
        lambda: add(ann, drop),
        lambda: offset(ann, drop, file_id),
        lambda: room(ann).cancel(ann.user, drop.id, ann.now),
        lambda: room(ann).cancel_file(ann.user, drop.id, file_id, ann.now),
        lambda: room(ann).edit(ann.user, drop.id, subject="mine", now=ann.now),
        lambda: resume(ann, drop, file_id, 0),
    ]
    for each in tries:
        with pytest.raises(ShipmentUnknown):
            each()
    mine = begin(ann, KARI)
    with pytest.raises(NoSuchPlace):
        offset(ann, mine, file_id)


# ---- words


def test_a_subject_is_kept_exactly_and_its_folder_is_safe(house: House, kari: Hand, ann: Hand) -> None:
    subject = "Ref 23/4567: «../../etc» {{ 7*7 }} 100 %"
    drop = begin(kari, ANN, subject=subject)
    assert drop.subject == subject
    add(kari, drop)
    (folder,) = kari.ls(f"/outbox/{ANN}")
    assert folder == drop.folder == f"Ref-23-4567-etc-7-7-100_{drop.id}"
    assert kari.ls(f"/outbox/{ANN}/{folder}") == {"a.csv": len(TEXT)}
    submit(kari, drop)
    assert kari.ls(f"/outbox/{ANN}/{folder}") == {"a.csv": len(TEXT)}
    assert begin(kari, ANN, subject="").folder


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ("a\nb", ""), ("a\x00b", ""), ("\x1b[2J", ""), ("x" * 201, ""), ("\u202egpj.exe", ""), ("\ud800", ""),
        ("", "x" * 10_001), ("", "a\x07b"), ("", "\udcff"),
    ],
)  # fmt: skip
def test_words_that_could_pass_for_others_are_refused(
    house: House, kari: Hand, ann: Hand, subject: str, message: str
) -> None:
    with pytest.raises(BadText):
        begin(kari, ANN, subject=subject, message=message)
    assert kari.drops() == []


def test_everything_can_be_changed_until_it_is_submitted(house: House, kari: Hand, ann: Hand) -> None:
    house.add(BOB, Kind.PARTNER)
    drop = begin(kari, ANN, subject="first")
    draft, file_id = opened(kari, drop, "sub/a.csv", len(LONG))
    write(draft, LONG[:CHUNK])
    changed = room(kari).edit(
        kari.user, drop.id, recipients=[BOB, ANN], subject="second/2", message="Hei\r\ndu", now=kari.now
    )
    assert (changed.recipients, changed.subject, changed.message) == ((BOB, ANN), "second/2", "Hei\ndu")
    write(draft, LONG[CHUNK:], start=CHUNK)
    room(kari).finish_file(draft, kari.now)
    assert kari.ls(f"/outbox/{BOB}/{changed.folder}/sub") == {"a.csv": len(LONG)}
    with pytest.raises(NoSuchPlace):
        kari.stat(f"/outbox/{ANN}/{drop.folder}")
    assert offset(kari, drop, file_id) == len(LONG)
    submit(kari, drop)
    with pytest.raises(WrongState):
        room(kari).edit(kari.user, drop.id, message="too late", now=kari.now)
    with pytest.raises(WrongState):
        add(kari, drop, "more.csv")


def test_a_page_loaded_again_can_go_on(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN, BOB, subject="Ref", message="Hei", invite_with={BOB: "+4790000001"})
    add(kari, drop)
    draft, late = opened(kari, drop, "late.csv", len(LONG))
    write(draft, LONG[: 2 * CHUNK])
    room(kari).interrupt_file(draft, kari.now)
    (found,) = room(kari).compositions(kari.user, kari.now)
    assert (found.shipment.id, found.shipment.message, found.invited) == (drop.id, "Hei", [BOB])
    assert [(file.name, file.size, file.offset, file.is_complete) for file in found.files] == [
        ("a.csv", len(TEXT), len(TEXT), True),
        ("late.csv", len(LONG), CHUNK, False),
    ]
    assert room(ann).compositions(ann.user, ann.now) == []
    write(resume(kari, drop, late, CHUNK, "another tab"), LONG[CHUNK:], start=CHUNK)


# ---- files


@pytest.mark.parametrize(
    "name", ["", "/", "..", "a\x00b", "C:\\x", "con", "SHIPMENT.txt", "x.part", ".DS_Store", "\ud800"]
)
def test_hostile_names_are_refused(house: House, kari: Hand, ann: Hand, name: str) -> None:
    drop = begin(kari, ANN)
    with pytest.raises(BadName):
        opened(kari, drop, name, 3)
    assert room(kari).composition(kari.user, drop.id, kari.now).files == []


def test_names_are_relative_paths_as_in_sftp(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    add(kari, drop, "../../../etc/passwd")
    add(kari, drop, "/æ/./b//c.csv")
    names = [file.name for file in room(kari).composition(kari.user, drop.id, kari.now).files]
    assert names == ["etc/passwd", "æ/b/c.csv"]
    with pytest.raises(IsAFolder):
        opened(kari, drop, "etc", 1)
    with pytest.raises(NotAFolder):
        opened(kari, drop, "etc/passwd/x", 1)


def test_a_name_twice_is_replaced_by_the_one_that_is_complete_later(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    add(kari, drop, "a.csv", b"old")
    draft, again = opened(kari, drop, "a.csv", len(LONG))
    write(draft, LONG[:100_000])
    room(kari).cancel_file(kari.user, drop.id, again, kari.now)
    assert submit_content(house, kari, ann, drop, cancelled=True) == b"old"
    drop = begin(kari, ANN)
    add(kari, drop, "a.csv", b"old")
    add(kari, drop, "a.csv", b"new")
    assert submit_content(house, kari, ann, drop) == b"new"


def submit_content(house: House, kari: Hand, ann: Hand, drop: Shipment, *, cancelled: bool = False) -> bytes:
    assert len(room(kari).composition(kari.user, drop.id, kari.now).files) == 1, cancelled
    submit(kari, drop)
    house.clock.turn(61)
    ann.type_code(drop.id, house.code(drop.id, ann.user))
    return ann.get(f"/inbox/{drop.id}/a.csv")


def test_a_broken_line_goes_on_where_it_broke(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    draft, file_id = opened(kari, drop, "big", len(LONG))
    write(draft, LONG[:150_000])
    room(kari).interrupt_file(draft, kari.now)
    room(kari).interrupt_file(draft, kari.now)
    assert offset(kari, drop, file_id) == 2 * CHUNK
    with pytest.raises(WrongOffset) as refusal:
        resume(kari, drop, file_id, 150_000)
    assert refusal.value.args[1] == 2 * CHUNK
    draft = resume(kari, drop, file_id, 2 * CHUNK)
    write(draft, LONG[2 * CHUNK :], start=2 * CHUNK)
    room(kari).finish_file(draft, kari.now)
    with pytest.raises(WrongOffset):
        resume(kari, drop, file_id, 0)
    submit(kari, drop)
    ann.type_code(drop.id, house.code(drop.id, ann.user))
    assert ann.get(f"/inbox/{drop.id}/big") == LONG


def test_a_file_that_broke_off_before_its_first_byte_is_still_there(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    draft, file_id = opened(kari, drop, "big", len(LONG))
    room(kari).interrupt_file(draft, kari.now)
    assert offset(kari, drop, file_id) == 0
    draft = resume(kari, drop, file_id, 0)
    write(draft, LONG[:1000])
    room(kari).interrupt_file(draft, kari.now)
    draft = resume(kari, drop, file_id, 0)
    write(draft, LONG)
    room(kari).finish_file(draft, kari.now)
    submit(kari, drop)
    ann.type_code(drop.id, house.code(drop.id, ann.user))
    assert ann.get(f"/inbox/{drop.id}/big") == LONG


@pytest.mark.parametrize("sftp_begins", [False, True])
def test_resuming_works_after_the_process_was_killed(house: House, kari: Hand, ann: Hand, sftp_begins: bool) -> None:
    drop = begin(kari, ANN)
    draft, file_id = opened(kari, drop, "big", len(LONG))
    write(draft, LONG[:150_000])
    draft.settle_chores()
    if sftp_begins:
        killed(house)
    else:
        house.exchange._holdings.workers.end()
        house.exchange = another_process(house)
    kari = Hand(house, kari.user)
    assert offset(kari, drop, file_id) == 2 * CHUNK
    draft = resume(kari, drop, file_id, 2 * CHUNK)
    write(draft, LONG[2 * CHUNK :], start=2 * CHUNK)
    room(kari).finish_file(draft, kari.now)
    assert submit(kari, drop).state is ShipmentState.WAITING
    ann = Hand(house, ann.user)
    ann.type_code(drop.id, house.code(drop.id, ann.user))
    assert ann.get(f"/inbox/{drop.id}/big") == LONG


def test_an_sftp_service_that_starts_leaves_alone_what_the_portal_writes(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    draft, _ = opened(kari, drop, "big", len(LONG))
    write(draft, LONG[:150_000])
    draft.settle_chores()
    other = another_process(house)
    other.writing.elsewhere.begin()
    write(draft, LONG[150_000:], start=150_000)
    room(kari).finish_file(draft, kari.now)
    assert submit(kari, drop).state is ShipmentState.WAITING
    other.close()


def test_the_same_page_takes_its_file_over_and_another_only_once_it_is_still(
    house: House, kari: Hand, ann: Hand
) -> None:
    drop = begin(kari, ANN)
    draft, file_id = opened(kari, drop, "big", len(LONG))
    write(draft, LONG[:100_000])
    with pytest.raises(NotYours):
        resume(kari, drop, file_id, CHUNK, "another tab")
    newer = resume(kari, drop, file_id, CHUNK)
    with pytest.raises(NotYours):
        draft.write(100_000, b"late")
    room(kari).interrupt_file(draft, kari.now)  # the old request ends
    write(newer, LONG[CHUNK:], start=CHUNK)
    house.clock.turn(11)
    newest = resume(kari, drop, file_id, 3 * CHUNK, "another tab")
    write(newest, LONG[3 * CHUNK :], start=3 * CHUNK)
    room(kari).finish_file(newest, kari.now)
    assert submit(kari, drop).state is ShipmentState.WAITING


def test_of_two_who_resume_at_once_one_writes(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    draft, file_id = opened(kari, drop, "big", len(LONG))
    write(draft, LONG[:100_000])
    room(kari).interrupt_file(draft, kari.now)
    other = another_process(house)
    hands = [(kari, "1"), (Hand(house, kari.user, exchange=other), "2")]
    together, won = threading.Barrier(2), list[Draft]()

    def go(hand: Hand, session: str) -> None:
        together.wait()
        try:
            won.append(resume(hand, drop, file_id, CHUNK, session))
        except NotYours:
            pass

    threads = [threading.Thread(target=go, args=each) for each in hands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(won) == 1
    other.close()


def test_what_was_announced_must_come_and_no_more(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    draft, file_id = opened(kari, drop, "big", len(LONG))
    write(draft, LONG[:-1])
    with pytest.raises(Incomplete):
        room(kari).finish_file(draft, kari.now)
    write(resume(kari, drop, file_id, 3 * CHUNK), LONG[3 * CHUNK :], start=3 * CHUNK)
    draft, _ = opened(kari, drop, "short", 3)
    write(draft, b"1234")
    with pytest.raises(Overlong):
        room(kari).finish_file(draft, kari.now)
    assert [file.name for file in room(kari).composition(kari.user, drop.id, kari.now).files] == ["big"]


def test_an_empty_file_and_one_of_unknown_size_are_whole_at_their_end(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    add(kari, drop, "empty", b"")
    draft, file_id = opened(kari, drop, "form", None)
    write(draft, LONG)
    assert room(kari).file_state(kari.user, drop.id, file_id, kari.now).size is None
    room(kari).finish_file(draft, kari.now)
    assert submit(kari, drop).state is ShipmentState.WAITING
    history = kari.exchange.sent.find(kari.user, drop.id, kari.now).history
    assert "suspect" not in [event.event for event in history]


def test_what_is_announced_counts_against_the_quota(house: House, kari: Hand, ann: Hand) -> None:
    with_policy(house, quota=1000, max_files=2)
    kari = Hand(house, kari.user)
    drop = begin(kari, ANN)
    draft, _ = opened(kari, drop, "a", 600)
    with pytest.raises(OverQuota):
        opened(kari, drop, "b", 500)
    write(draft, b"x" * 600)
    room(kari).finish_file(draft, kari.now)
    open_ended, file_id = opened(kari, drop, "b", None)
    with pytest.raises(OverQuota):
        open_ended.write(0, b"x" * 401)
    with pytest.raises(TooManyFiles):
        opened(kari, drop, "c", 1)
    room(kari).cancel_file(kari.user, drop.id, file_id, kari.now)
    add(kari, drop, "a", b"y" * 1000)  # it replaces the first
    assert submit(kari, drop).state is ShipmentState.WAITING


def test_nothing_stays_of_what_is_cancelled(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    add(kari, drop, "a", LONG)
    draft, file_id = opened(kari, drop, "b", len(LONG))
    write(draft, LONG[:150_000])
    room(kari).cancel_file(kari.user, drop.id, file_id, kari.now)
    with pytest.raises(NotYours):
        draft.write(150_000, b"late")
    room(kari).interrupt_file(draft, kari.now)
    lost, _ = opened(kari, drop, "c", len(LONG))
    write(lost, LONG[:150_000])
    room(kari).cancel(kari.user, drop.id, kari.now)
    with pytest.raises(FxError):
        room(kari).finish_file(lost, kari.now)
    still(house)
    assert kari.drops() == []
    assert kari.ls(f"/outbox/{ANN}") == {}
    holdings = house.exchange._holdings
    assert list(holdings.bodies.ids()) == []
    assert holdings.secrets.shipments_with_drop_key() == []
    assert kari.exchange.outbox.usage(kari.user)[0] == 0
    with pytest.raises(ShipmentUnknown):
        submit(kari, drop)


def test_an_sftp_client_sees_it_and_may_add_to_it(house: House, kari: Hand, ann: Hand) -> None:
    drop = begin(kari, ANN)
    add(kari, drop)
    kari.put(f"/outbox/{ANN}/{drop.folder}/by-sftp.csv", b"more")
    kari.put(f"/outbox/{ANN}/Ref-23-4567/own.csv", b"a drop of its own")
    (own,) = sent_ids(house.settle(400))
    assert own != drop.id
    assert [file.name for file in room(kari).composition(kari.user, drop.id, kari.now).files] == [
        "a.csv",
        "by-sftp.csv",
    ]
    kari.rm(f"/outbox/{ANN}/{drop.folder}/a.csv")
    kari.rm(f"/outbox/{ANN}/{drop.folder}/by-sftp.csv")
    assert room(kari).composition(kari.user, drop.id, kari.now).files == []


def test_too_many_begun_at_once_are_refused(
    house: House, kari: Hand, ann: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxsftp.exchange.composing.OPEN", 2)
    begin(kari, ANN)
    drop = begin(kari, ANN)
    with pytest.raises(Conflict):
        begin(kari, ANN)
    room(kari).cancel(kari.user, drop.id, kari.now)
    begin(kari, ANN)
