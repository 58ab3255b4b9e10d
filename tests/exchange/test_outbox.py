"""The outbox: what a sender sees and may do, before a shipment has left and after."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Kind, Route, Wishes
from fxsftp.domain.policy import DAY
from fxsftp.errors import (
    AlreadySent,
    AlreadyThere,
    BadName,
    CrossRoom,
    FxError,
    IsAFolder,
    NoRecipient,
    NoSuchPlace,
    NotAFolder,
    NotEmpty,
    OverQuota,
    RecipientUnknown,
    TooManyFiles,
)
from tests.exchange.hands import Hand, dispatched, files_of, notices, sent_ids, with_policy, write
from tests.house import ANN, BOB, KARI, House, at

DATA = Path(__file__).resolve().parents[1] / "data"
TO_KARI = f"/outbox/{KARI}"
REF = f"{TO_KARI}/Ref 23-4567"


# ---- it is idempotent for batch tools


def test_names_sizes_and_times_stay_true_after_dispatch_and_after_the_end(house: House, ann: Hand, kari: Hand) -> None:
    """A daily mirror compares them, and sends only what is new."""
    ann.put(f"{REF}/a.csv", b"x" * 100_000, wishes=Wishes(size=100_000, mtime=1_700_000_000.0, mode=0o640))
    before = ann.stat(f"{REF}/a.csv")
    shipment = dispatched(house)
    after_dispatch = ann.stat(f"{REF}/a.csv")
    kari.get(f"/inbox/{shipment}/a.csv")
    kari.rm(f"/inbox/{shipment}/a.csv")
    for _ in range(3):
        house.clock.turn(2 * DAY)
        house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")

    assert ann.state(shipment) == "ended"
    assert before == after_dispatch == ann.stat(f"{REF}/a.csv")
    assert (before.size, before.mtime, before.mode) == (100_000, 1_700_000_000.0, 0o640)
    assert ann.ls(TO_KARI) == {"Ref 23-4567": -2}


def test_the_view_is_forgotten_after_400_days(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"1")
    dispatched(house)
    sizes = []
    for days in (31, 368, 2):
        house.clock.turn(days * DAY)
        house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")
        sizes.append(ann.ls(REF))
    assert sizes == [{"a.csv": 1}, {"a.csv": 1}, {}]


def test_putting_a_name_again_makes_a_new_shipment(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"one")
    first = dispatched(house)
    ann.put(f"{REF}/a.csv", b"second")
    second = dispatched(house)

    assert first != second
    assert kari.get(f"/inbox/{first}/a.csv") == b"one"
    assert kari.get(f"/inbox/{second}/a.csv") == b"second"
    assert ann.ls(REF) == {"a.csv": 6}


def test_files_that_arrive_in_a_dispatched_folder_form_a_new_shipment_of_that_subject(
    house: House, ann: Hand, kari: Hand
) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    first = dispatched(house)
    ann.put(f"{REF}/b.csv", b"b")
    second = dispatched(house)

    assert [file.name for file in files_of(house, second)] == ["b.csv"]
    assert {drop.subject for drop in ann.drops()} == {"Ref 23-4567"}
    assert kari.ls("/inbox").keys() == {f"2026-11-18_{first}_Ref-23-4567", f"2026-11-18_{second}_Ref-23-4567"}


def test_removing_what_was_dispatched_tidies_the_view_and_recalls_nothing(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    shipment = dispatched(house)
    ann.rm(f"{REF}/a.csv")
    ann.rmdir(REF)

    assert ann.ls(TO_KARI) == {}
    assert ann.state(shipment) == "waiting"
    assert kari.get(f"/inbox/{shipment}/a.csv") == b"a"


def test_removing_what_was_not_dispatched_leaves_nothing(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"x" * 200_000)
    ann.rm(f"{REF}/a.csv")

    assert ann.drops() == []
    assert house.settle() == []
    assert ann.ls(REF) == {}
    house.exchange._holdings.later(lambda: None).result()
    assert list(house.exchange._holdings.bodies.ids()) == []


# ---- settling, folders and loose files


def test_a_folder_leaves_after_60_seconds_of_quiet_and_300_while_its_session_is_there(
    house: House, ann: Hand, kari: Hand
) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    assert house.settle(299) == []
    assert len(house.settle(1)) == 1

    ann.put(f"{REF}/b.csv", b"b")
    ann.lose()
    assert house.settle(59) == []
    assert len(house.settle(1)) == 1


def test_loose_files_leave_after_30_seconds_together(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/a.csv", b"a")
    house.clock.turn(20)
    ann.put(f"{TO_KARI}/b.csv", b"b")
    assert house.settle(9) == []
    house.clock.turn(21)

    shipment = dispatched(house, 0)
    assert kari.ls(f"/inbox/{shipment}").keys() == {"SHIPMENT.txt", "SHA256SUMS", "a.csv", "b.csv"}
    assert len(notices(house, "arrived")) == 1


def test_one_stuck_loose_file_holds_back_no_other(house: House, ann: Hand, kari: Hand) -> None:
    stuck = ann.open(f"{TO_KARI}/stuck.csv")
    write(stuck, b"half")
    ann.put(f"{TO_KARI}/a.csv", b"a")

    assert [file.name for file in files_of(house, dispatched(house))] == ["a.csv"]


def test_loose_files_of_one_name_from_two_places_never_meet_in_one_shipment(
    house: House, ann: Hand, kari: Hand
) -> None:
    house.exchange.people.change(ANN, house.clock(), default_recipient=KARI)
    ann.put("/outbox/a.csv", b"from the outbox itself")
    ann.put(f"{TO_KARI}/a.csv", b"from the folder")

    first, second = sent_ids(house.settle())
    assert {kari.get(f"/inbox/{each}/a.csv") for each in (first, second)} == {
        b"from the outbox itself",
        b"from the folder",
    }


def test_more_loose_files_than_a_shipment_holds_leave_as_several(house: House, ann: Hand, kari: Hand) -> None:
    with_policy(house, max_files=3)
    ann = Hand(house, ann.user)
    for number in range(7):
        ann.put(f"{TO_KARI}/{number}.csv", b"x")
    assert [len(files_of(house, each)) for each in sent_ids(house.settle())] == [3, 3, 1]


def test_a_folder_takes_so_many_files_and_no_more(house: House, ann: Hand, kari: Hand) -> None:
    with_policy(house, max_files=3)
    ann = Hand(house, ann.user)
    for number in range(3):
        ann.put(f"{REF}/{number}.csv", b"x")
    with pytest.raises(TooManyFiles):
        ann.put(f"{REF}/3.csv", b"x")
    ann.put(f"{REF}/0.csv", b"put again is not one more")

    assert len(files_of(house, dispatched(house))) == 3


def test_subfolders_belong_to_their_shipment_and_are_kept(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    ann.put(f"{REF}/sub/deep/b.csv", b"b")
    shipment = dispatched(house)

    assert kari.ls(f"/inbox/{shipment}").keys() == {"SHIPMENT.txt", "SHA256SUMS", "a.csv", "sub"}
    assert kari.ls(f"/inbox/{shipment}/sub") == {"deep": -2}
    assert kari.get(f"/inbox/{shipment}/sub/deep/b.csv") == b"b"


def test_send_does_not_wait_for_the_quiet(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    ann.put(f"{TO_KARI}/Other/b.csv", b"b")
    (sent,) = house.exchange.dispatch.send(ann.user, "Ref 23-4567", house.clock())
    assert sent.state is ShipmentState.WAITING
    assert len(house.exchange.dispatch.send(ann.user, None, house.clock())) == 1
    with pytest.raises(FxError):
        house.exchange.dispatch.send(ann.user, "Nothing", house.clock())


# ---- partial names and litter


def test_a_partial_name_never_leaves_and_its_folder_waits(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    ann.put(f"{REF}/b.csv.filepart", b"b")
    assert house.settle(3600) == []

    ann.mv(f"{REF}/b.csv.filepart", f"{REF}/b.csv")
    assert {file.name for file in files_of(house, dispatched(house))} == {"a.csv", "b.csv"}


def test_winscp_replaces_by_removing_and_renaming(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/a.csv", b"old")
    first = dispatched(house)
    ann.put(f"{TO_KARI}/a.csv.filepart", b"new!")
    ann.rm(f"{TO_KARI}/a.csv")
    ann.mv(f"{TO_KARI}/a.csv.filepart", f"{TO_KARI}/a.csv")

    second = dispatched(house)
    assert ann.ls(TO_KARI) == {"a.csv": 4}
    assert kari.get(f"/inbox/{first}/a.csv") == b"old"
    assert kari.get(f"/inbox/{second}/a.csv") == b"new!"


def test_rclone_replaces_in_one_step(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/a.csv", b"old")
    ann.put(f"{TO_KARI}/a.csv.0a1b2c3d.partial", b"new!")
    with pytest.raises(AlreadyThere):
        ann.mv(f"{TO_KARI}/a.csv.0a1b2c3d.partial", f"{TO_KARI}/a.csv")
    ann.mv(f"{TO_KARI}/a.csv.0a1b2c3d.partial", f"{TO_KARI}/a.csv", replace=True)

    assert kari.get(f"/inbox/{dispatched(house)}/a.csv") == b"new!"
    assert ann.ls(TO_KARI) == {"a.csv": 4}


def test_litter_is_taken_shown_and_never_sent(house: House, ann: Hand, kari: Hand) -> None:
    for name in (".DS_Store", "._a.csv", "Thumbs.db"):
        ann.put(f"{REF}/{name}", b"litter")
    assert house.settle(DAY) == []
    ann.put(f"{REF}/a.csv", b"a")
    shipment = dispatched(house)

    assert ann.ls(REF) == {".DS_Store": 6, "._a.csv": 6, "Thumbs.db": 6, "a.csv": 1}
    assert [file.name for file in files_of(house, shipment)] == ["a.csv"]
    ann.rm(f"{REF}/.DS_Store")
    assert ".DS_Store" not in ann.ls(REF)


def test_what_was_thrown_away_as_litter_can_not_become_a_file_by_renaming(house: House, ann: Hand, kari: Hand) -> None:
    """Or else an empty promise would stand in the outbox under a good name."""
    ann.put(f"{REF}/._a", b"litter")
    with pytest.raises(BadName, match="put the file again"):
        ann.mv(f"{REF}/._a", f"{REF}/a.csv")
    ann.mv(f"{REF}/._a", f"{REF}/._b")
    ann.put(f"{REF}/a.csv", b"a")
    with pytest.raises(BadName, match="never sent"):
        ann.mv(f"{REF}/a.csv", f"{REF}/._c")
    assert ann.ls(REF) == {"._b": 6, "a.csv": 1}


# ---- renaming


def test_what_is_not_dispatched_may_be_renamed_anywhere_in_the_outbox(house: House, ann: Hand, kari: Hand) -> None:
    """Between folders, between recipients, into a folder and out of it."""
    house.add("ola@ssb.example", Kind.MEMBER)
    ann.put(f"{REF}/a.csv", b"a" * 70_000)
    ann.mv(f"{REF}/a.csv", f"{TO_KARI}/loose.csv")
    ann.mv(f"{TO_KARI}/loose.csv", "/outbox/ola@ssb.example/loose.csv")
    ann.mv("/outbox/ola@ssb.example/loose.csv", "/outbox/ola@ssb.example/New/sub/b.csv")
    ann.mv("/outbox/ola@ssb.example/New/sub/b.csv", f"{TO_KARI}/Last/b.csv")

    shipment = dispatched(house)
    assert kari.get(f"/inbox/{shipment}/b.csv") == b"a" * 70_000
    assert len(ann.drops()) == 1


def test_a_folder_is_renamed_with_all_that_is_in_it(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    ann.put(f"{REF}/sub/b.csv", b"b")
    ann.mv(REF, f"{TO_KARI}/Better")

    shipment = dispatched(house)
    assert ann.ls(TO_KARI) == {"Better": -2}
    assert ann.ls(f"{TO_KARI}/Better") == {"a.csv": 1, "sub": -2}
    (drop,) = ann.drops()
    assert (drop.id, drop.subject) == (shipment, "Better")


def test_what_was_dispatched_is_not_renamed(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    dispatched(house)
    with pytest.raises(AlreadySent):
        ann.mv(f"{REF}/a.csv", f"{REF}/b.csv")
    with pytest.raises(AlreadySent):
        ann.mv(REF, f"{TO_KARI}/Other")


def test_a_rename_to_another_room_or_into_itself_is_refused(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    for target in ("/inbox/7k3f-q2mp/a.csv", "/sent/7k3f-q2mp.txt"):
        with pytest.raises(CrossRoom):
            ann.mv(f"{REF}/a.csv", target)
    with pytest.raises(CrossRoom):
        ann.mv(REF, f"{REF}/sub")
    with pytest.raises(BadName):
        ann.mv(f"{REF}/a.csv", f"{REF}/SHIPMENT.txt")
    with pytest.raises(RecipientUnknown):
        ann.mv(f"{REF}/a.csv", "/outbox/nobody@ssb.example/a.csv")
    assert ann.ls(REF) == {"a.csv": 1}


def test_renaming_while_it_is_written_lets_the_bytes_go_on(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(f"{REF}/a.csv")
    write(draft, b"first ")
    ann.mv(f"{REF}/a.csv", f"{TO_KARI}/Other/b.csv")
    assert ann.ls(f"{TO_KARI}/Other") == {"b.csv": 6}
    draft.write(6, b"second")
    ann.close(draft)

    assert kari.get(f"/inbox/{dispatched(house)}/b.csv") == b"first second"


def test_a_rename_may_replace_the_only_file_of_another_drop(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"old")
    ann.put(f"{TO_KARI}/a.csv", b"new!")
    ann.mv(f"{TO_KARI}/a.csv", f"{REF}/a.csv", replace=True)
    assert len(ann.drops()) == 1
    assert kari.get(f"/inbox/{dispatched(house)}/a.csv") == b"new!"


def test_a_draft_renamed_to_another_recipient_takes_nothing_else_along(house: House, ann: Hand, kari: Hand) -> None:
    """A loose file is being put again, and its new version turns out to be for somebody else."""
    ola = Hand(house, house.add("ola@ssb.example", Kind.MEMBER))
    ann.put(f"{TO_KARI}/a.csv", b"for kari")
    draft = ann.open(f"{TO_KARI}/a.csv")
    write(draft, b"for ola")
    ann.mv(f"{TO_KARI}/a.csv", "/outbox/ola@ssb.example/a.csv")
    ann.close(draft)

    assert len(sent_ids(house.settle())) == 2
    of = {drop.recipient: drop.id for drop in ann.drops()}
    assert kari.get(f"/inbox/{of[KARI]}/a.csv") == b"for kari"
    assert ola.get(f"/inbox/{of['ola@ssb.example']}/a.csv") == b"for ola"


# ---- whom one may address


def test_a_permitted_address_is_a_folder_listed_or_not(house: House, ann: Hand, kari: Hand) -> None:
    assert ann.stat(TO_KARI).is_folder
    assert ann.ls("/outbox") == {}
    ann.mkdir(TO_KARI)
    assert ann.ls("/outbox") == {KARI: -2}
    assert house.exchange.notices.list() == []
    with pytest.raises(AlreadyThere):
        ann.mkdir(TO_KARI)


def test_an_unknown_recipient_and_one_that_may_not_be_known_are_refused_alike(
    house: House, ann: Hand, kari: Hand
) -> None:
    house.add(BOB, Kind.PARTNER)
    for who in (BOB, "nobody@works.example"):
        with pytest.raises(RecipientUnknown) as refusal:
            ann.put(f"/outbox/{who}/a.csv", b"a")
        assert str(refusal.value).replace(who, "…") == str(RecipientUnknown("…"))
        with pytest.raises(NoSuchPlace):
            ann.stat(f"/outbox/{who}")
    assert kari.stat(f"/outbox/{BOB}").is_folder


def test_members_see_whom_they_may_send_to(house: House, ann: Hand, kari: Hand) -> None:
    house.exchange.people.add_group("mikrodata@ssb.example", house.clock())
    assert kari.ls("/outbox") == {ANN: -2, "mikrodata@ssb.example": -2}
    assert ann.ls("/outbox") == {"mikrodata@ssb.example": -2}


def test_a_loose_file_without_recipient_goes_by_route_or_default_or_is_refused(
    house: House, ann: Hand, kari: Hand
) -> None:
    house.add("ola@ssb.example", Kind.MEMBER)
    with pytest.raises(NoRecipient):
        ann.put("/outbox/report.csv", b"x")
    with pytest.raises(NoRecipient):
        ann.put("/outbox/Folder/report.csv", b"x")
    house.exchange.people.change(
        ANN, house.clock(), routes=[Route("*.csv", "ola@ssb.example", "Tables")], default_recipient=KARI
    )

    ann.put("/outbox/report.csv", b"x")
    ann.put("/outbox/report.pdf", b"x")
    house.settle()
    assert {(drop.recipient, drop.subject) for drop in ann.drops()} == {("ola@ssb.example", "Tables"), (KARI, "")}


def test_routes_judge_the_final_name(house: House, ann: Hand, kari: Hand) -> None:
    house.exchange.people.change(ANN, house.clock(), routes=[Route("*.csv", KARI, "Tables")])
    ann.put("/outbox/report.csv.filepart", b"x")
    with pytest.raises(NoRecipient):
        ann.mv("/outbox/report.csv.filepart", "/outbox/report.pdf")
    ann.mv("/outbox/report.csv.filepart", "/outbox/report.csv")

    (drop,) = ann.drops()
    assert (drop.recipient, drop.subject) == (KARI, "Tables")
    assert dispatched(house)


def test_a_file_whose_name_looks_like_an_address_is_a_file(house: House, ann: Hand, kari: Hand) -> None:
    house.exchange.people.change(ANN, house.clock(), default_recipient=KARI)
    ann.put("/outbox/report@2026.csv", b"x")
    assert ann.ls("/outbox")["report@2026.csv"] == 1
    assert not ann.stat("/outbox/report@2026.csv").is_folder
    assert kari.get(f"/inbox/{dispatched(house)}/report@2026.csv") == b"x"


# ---- what is refused


def test_files_and_folders_do_not_take_each_others_places(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    with pytest.raises(IsAFolder):
        ann.put(REF, b"x")
    with pytest.raises(NotAFolder):
        ann.put(f"{REF}/a.csv/b", b"x")
    with pytest.raises(AlreadyThere):
        ann.mkdir(f"{REF}/a.csv")
    with pytest.raises(AlreadyThere):
        ann.mkdir(REF)
    with pytest.raises(IsAFolder):
        ann.rm(REF)
    with pytest.raises(NotAFolder):
        ann.rmdir(f"{REF}/a.csv")
    with pytest.raises(NotEmpty):
        ann.rmdir(REF)
    with pytest.raises(NoSuchPlace):
        ann.mkdir(f"{TO_KARI}/no/parent")
    with pytest.raises(NoSuchPlace):
        ann.rm(f"{REF}/nothing")
    with pytest.raises(NotEmpty):
        ann.rmdir("/outbox")


def test_open_modes_are_kept_to(house: House, ann: Hand, kari: Hand) -> None:
    with pytest.raises(NoSuchPlace):
        ann.open(f"{REF}/a.csv", create=False)
    ann.put(f"{REF}/a.csv", b"a")
    with pytest.raises(AlreadyThere):
        ann.open(f"{REF}/a.csv", exclusive=True)


def test_the_quota_is_the_users_own(house: House, ann: Hand, kari: Hand) -> None:
    house.exchange.people.change(ANN, house.clock(), quota=1000)
    ann.put(f"{REF}/a.csv", b"x" * 600)
    with pytest.raises(OverQuota, match="quota of 1000 bytes; 600 are in use"):
        ann.open(f"{REF}/b.csv", wishes=Wishes(size=401))
    draft = ann.open(f"{REF}/b.csv")
    with pytest.raises(OverQuota, match="quota of 1000 bytes; 600 are in use"):
        write(draft, b"x" * 401)
    ann.lose(draft)
    ann.put(f"{REF}/a.csv", b"x" * 1000)  # instead of the first
    assert house.exchange.outbox.usage(ann.user) == (1000, 1000)


def test_a_resumed_file_counts_once(house: House, ann: Hand, kari: Hand) -> None:
    house.exchange.people.change(ANN, house.clock(), quota=200_000)
    draft = ann.open(f"{REF}/a.csv")
    write(draft, b"x" * 150_000)
    ann.lose(draft)
    start = ann.stat(f"{REF}/a.csv").size
    draft = ann.open(f"{REF}/a.csv", truncate=False)
    write(draft, b"x" * (200_000 - start), start=start)
    ann.close(draft)
    assert ann.stat(f"{REF}/a.csv").size == 200_000


def test_what_is_recalled_no_longer_counts(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"x" * 600)
    shipment = dispatched(house)
    assert house.exchange.outbox.usage(ann.user)[0] == 600
    house.exchange.sent.recall(ann.user, shipment, house.clock())
    assert house.exchange.outbox.usage(ann.user)[0] == 0


# ---- names of every sort


@pytest.mark.parametrize("source", ["sqli_strings.json", "blns.json"])
def test_hostile_strings_are_names_subjects_and_nothing_else(house: House, ann: Hand, kari: Hand, source: str) -> None:
    """As a folder's name, which becomes the subject, and as a file's."""
    texts: list[str] = [text for text in json.loads((DATA / source).read_text()) if "/" not in text]
    put: dict[str, bytes] = {}
    for number, text in enumerate(texts):
        try:
            ann.put(f"{TO_KARI}/S{text}/f{text}", b"%d" % number)
        except BadName:
            continue
        put[f"S{text}"] = b"%d" % number
    shipments = sent_ids(house.settle())

    assert len(shipments) == len({drop.subject for drop in ann.drops()}) > 60
    for drop in ann.drops():
        (name,) = [name for name in kari.ls(f"/inbox/{drop.id}") if name not in ("SHIPMENT.txt", "SHA256SUMS")]
        assert f"S{name[1:]}" == drop.subject
        assert kari.get(f"/inbox/{drop.id}/{name}").isdigit()
    assert len(house.exchange.people.users()) == 2


# ---- times, modes, sizes


def test_times_and_modes_are_remembered(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"a")
    ann.set(f"{REF}/a.csv", mtime=1_600_000_000.0, mode=0o4755)
    ann.set(REF, mtime=1_500_000_000.0, mode=0o700)
    entry, folder = ann.stat(f"{REF}/a.csv"), ann.stat(REF)
    assert (entry.mtime, entry.mode) == (1_600_000_000.0, 0o755)
    assert (folder.mtime, folder.mode) == (1_500_000_000.0, 0o700)
    shipment = dispatched(house)
    ann.set(f"{REF}/a.csv", mtime=1_400_000_000.0)
    assert ann.stat(f"{REF}/a.csv").mtime == 1_400_000_000.0
    assert ann.state(shipment) == "waiting"


def test_a_size_is_honoured_before_dispatch(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"0123456789" * 20_000)
    ann.set(f"{REF}/a.csv", size=100_000)
    assert ann.stat(f"{REF}/a.csv").size == 100_000
    ann.lose()
    assert kari.get(f"/inbox/{dispatched(house)}/a.csv") == b"0123456789" * 10_000
    with pytest.raises(AlreadySent):
        ann.set(f"{REF}/a.csv", size=5)


def test_the_hash_of_what_was_sent_can_be_asked(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{REF}/a.csv", b"x" * 200_000)
    wanted = sha256(b"x" * 200_000).hexdigest()
    assert house.exchange.outbox.hash_of(ann.user, at(f"{REF}/a.csv")) == wanted
    dispatched(house)
    assert house.exchange.outbox.hash_of(ann.user, at(f"{REF}/a.csv")) == wanted
