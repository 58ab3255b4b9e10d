"""Scanning: nothing leaves unseen, what is found holds it, and what was changed is looked at again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Kind, Shipment
from fxsftp.errors import Missing
from fxsftp.exchange.scanning import LARGE, TOLD, Scan
from tests.exchange.hands import Hand, another_process, dispatched, notices, registry_of, sent_ids, with_policy, write
from tests.house import ANN, BOB, KARI, House

TO_ANN, TO_KARI = f"/outbox/{ANN}", f"/outbox/{KARI}"


@pytest.fixture
def scanned(house: House, ann: Hand, kari: Hand) -> House:
    """The house, in which something is to be looked at before it leaves."""
    with_policy(house, scan=("clamd",))
    ann.exchange = kari.exchange = house.exchange
    return house


def due(house: House) -> Sequence[Sequence[Scan]]:
    return house.exchange.scanning.due(house.clock())


def scan_of(house: House) -> Scan:
    """The one drop that is to be looked at."""
    ((only,),) = due(house)
    return only


def passes(house: House, *warnings: str) -> None:
    """All that is due is found clean."""
    for scans in due(house):
        house.exchange.scanning.passed([(scan, warnings) for scan in scans], "clamd", house.clock())


def only(hand: Hand) -> Shipment:
    (drop,) = hand.drops()
    return drop


def history(house: House, hand: Hand, event: str) -> list[str]:
    sent = house.exchange.sent.find(hand.user, only(hand).id, house.clock())
    return [each.detail for each in sent.history if each.event == event]


def test_nothing_leaves_unseen(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    assert scanned.settle() == []
    assert scanned.settle(3600) == []
    assert only(ann).state is ShipmentState.SETTLING

    passes(scanned)
    assert sent_ids(scanned.settle(1)) == [only(ann).id]
    assert due(scanned) == []
    assert history(scanned, ann, "scanned") == ["clamd"]


def test_what_has_not_settled_is_not_looked_at(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    assert due(scanned) == []
    scanned.settle()
    draft = ann.open(f"{TO_KARI}/Ref/b.csv")
    write(draft, b"2")
    assert due(scanned) == []


def test_every_byte_of_the_plaintext_can_be_read_also_of_what_was_resumed(scanned: House, ann: Hand) -> None:
    """Small files in their rows, large ones in the vault, and those that came in pieces."""
    large = bytes(range(256)) * 1000
    ann.put(f"{TO_KARI}/Ref/large", large)
    ann.put(f"{TO_KARI}/Ref/small", b"small")
    ann.put(f"{TO_KARI}/Ref/none", b"")
    draft = ann.open(f"{TO_KARI}/Ref/resumed")
    write(draft, large[:140_000])
    ann.lose(draft)
    size = ann.stat(f"{TO_KARI}/Ref/resumed").size
    draft = ann.open(f"{TO_KARI}/Ref/resumed", truncate=False)
    write(draft, large[size:], start=size)
    ann.close(draft)
    scanned.settle(800)

    scan = scan_of(scanned)
    read = {file.name: scanned.exchange.scanning.plaintext(file)(0, file.size) for file in scan.files}
    assert read == {"large": large, "small": b"small", "none": b"", "resumed": large}
    assert (scan.sender, scan.size) == (Kind.PARTNER, 2 * len(large) + 5)


# ---- what is found


def test_what_is_found_holds_it_and_the_sender_is_told_once(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.doc", b"1")
    scanned.settle()
    scan = scan_of(scanned)
    for _ in range(2):
        scanned.exchange.scanning.found(scan, "a.doc: clamd found Eicar", scanned.clock())
    drop = only(ann)
    assert (drop.state, drop.cause, drop.reason) == (ShipmentState.HELD, "scan", "a.doc: clamd found Eicar")
    assert [mail["reason"] for mail in notices(scanned, "held")] == ["a.doc: clamd found Eicar"]
    assert due(scanned) == []
    assert scanned.settle(3600) == []


def test_an_admin_may_release_what_was_found_as_it_is_and_only_so(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.doc", b"1")
    scanned.settle()
    scanned.exchange.scanning.found(scan_of(scanned), "found", scanned.clock())
    scanned.exchange.dispatch.release(only(ann).id, "admin", scanned.clock())
    ann.put(f"{TO_KARI}/Ref/b.doc", b"another than the admin has seen")
    assert scanned.settle() == []
    scanned.exchange.scanning.found(scan_of(scanned), "found", scanned.clock())

    scanned.exchange.dispatch.release(only(ann).id, "admin", scanned.clock())
    assert dispatched(scanned) == only(ann).id


def test_releasing_what_is_held_for_another_reason_does_not_spare_it_the_scan(
    scanned: House, ann: Hand, kari: Hand
) -> None:
    scanned.exchange.people.invite(kari.user, BOB, "+4790000001", scanned.clock())
    kari.put(f"/outbox/{BOB}/Ref/a.csv", b"1")
    scanned.settle()
    passes(scanned)
    scanned.settle(1)
    assert only(kari).cause == "recipient"
    scanned.exchange.dispatch.release(only(kari).id, "admin", scanned.clock())
    scanned.settle()
    assert scan_of(scanned).drop.id == only(kari).id


def test_without_the_file_that_was_found_the_rest_is_looked_at_and_leaves(
    scanned: House, ann: Hand, kari: Hand
) -> None:
    ann.put(f"{TO_KARI}/Ref/a.doc", b"1")
    ann.put(f"{TO_KARI}/Ref/b.csv", b"2")
    scanned.settle()
    scanned.exchange.scanning.found(scan_of(scanned), "a.doc", scanned.clock())
    ann.rm(f"{TO_KARI}/Ref/a.doc")
    assert scanned.settle() == []
    passes(scanned)
    shipment = dispatched(scanned, 1)
    assert set(kari.ls(f"/inbox/{shipment}")) == {"SHIPMENT.txt", "SHA256SUMS", "b.csv"}


def test_a_sender_can_not_send_past_the_scan(scanned: House, ann: Hand, kari: Hand) -> None:
    """`send` spares the waiting, and nothing else; not for what was held either."""
    ann.put(f"{TO_KARI}/Ref/a.doc", b"1")
    (drop,) = scanned.exchange.dispatch.send(ann.user, None, scanned.clock())
    assert drop.state is ShipmentState.SETTLING
    scanned.exchange.scanning.found(scan_of(scanned), "found", scanned.clock())

    (drop,) = scanned.exchange.dispatch.send(ann.user, None, scanned.clock())
    assert (drop.state, drop.is_scanned) == (ShipmentState.SETTLING, False)
    passes(scanned)
    assert sent_ids(scanned.settle(0)) == [drop.id]


def test_warnings_stand_in_the_receipt_and_hold_nothing(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.zip", b"1")
    scanned.settle()
    passes(scanned, *[f"{number}.zip: encrypted already" for number in range(TOLD + 5)])
    dispatched(scanned, 1)
    warned = history(scanned, ann, "warned")
    assert (len(warned), warned[0], warned[-1]) == (TOLD + 1, "0.zip: encrypted already", "… and 5 more")


# ---- nobody looks


def test_what_nobody_could_look_at_is_held_and_goes_on_by_itself(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    scanned.settle()
    for _ in range(2):
        scanned.exchange.scanning.unanswered(scan_of(scanned), "the scanner clamd is down", scanned.clock())
        scanned.clock.turn(60)
    assert [mail["reason"] for mail in notices(scanned, "held")] == ["the scanner clamd is down"]
    assert only(ann).cause == "scanner"

    passes(scanned)
    assert sent_ids(scanned.settle(1)) == [only(ann).id]
    assert (only(ann).cause, only(ann).reason) == ("", "")


def test_what_waits_for_a_scanner_is_not_taken_for_abandoned(scanned: House, ann: Hand, kari: Hand) -> None:
    for name in ("a", "b"):
        ann.put(f"{TO_KARI}/Ref {name}/a.csv", b"1")
    scanned.settle()
    (first,), (second,) = due(scanned)
    scanned.exchange.scanning.unanswered(first, "down", scanned.clock())
    scanned.exchange.scanning.found(second, "found", scanned.clock())
    for _ in range(10):
        scanned.clock.turn(86_400)
        scanned.exchange.upkeep.sweep(scanned.clock(), scanned.clock(), "boot")
    assert [drop.state for drop in ann.drops()] == [ShipmentState.HELD, ShipmentState.ENDED]


def test_what_is_found_once_the_scanner_is_back_holds_for_another_reason(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    scanned.settle()
    scanned.exchange.scanning.unanswered(scan_of(scanned), "down", scanned.clock())
    scanned.clock.turn(60)
    scanned.exchange.scanning.found(scan_of(scanned), "found", scanned.clock())
    assert only(ann).cause == "scan"
    assert sorted(str(mail["reason"]) for mail in notices(scanned, "held")) == ["down", "found"]
    assert due(scanned) == []


# ---- changed meanwhile


def _again(ann: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"2")


def _more(ann: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/b.csv", b"2")


def _renamed(ann: Hand) -> None:
    ann.mv(f"{TO_KARI}/Ref/a.csv", f"{TO_KARI}/Ref/c.exe")


def _begun(ann: Hand) -> None:
    write(ann.open(f"{TO_KARI}/Ref/b.csv"), b"2")


def _resumed(ann: Hand) -> None:
    write(ann.open(f"{TO_KARI}/Ref/a.csv", truncate=False), b"2", start=1)


def _cut(ann: Hand) -> None:
    ann.set(f"{TO_KARI}/Ref/a.csv", size=0)


@pytest.mark.parametrize("change", [_again, _more, _renamed, _begun, _resumed, _cut])
def test_what_was_changed_while_somebody_looked_is_looked_at_again(change, scanned: House, ann: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    scanned.settle()
    scan = scan_of(scanned)
    change(ann)
    assert not scanned.exchange.scanning.is_current(scan)
    assert scanned.exchange.scanning.passed([(scan, ())], "clamd", scanned.clock()) == []
    assert scanned.exchange.scanning.found(scan, "found", scanned.clock()) == []
    assert scanned.exchange.scanning.unanswered(scan, "down", scanned.clock()) == []
    assert not only(ann).is_scanned
    assert scanned.settle() == []


def test_what_was_changed_after_it_passed_is_looked_at_again(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    scanned.settle()
    passes(scanned)
    ann.put(f"{TO_KARI}/Ref/a.csv", b"another")
    assert scanned.settle() == []
    assert scan_of(scanned).files[0].size == 7


def test_what_is_gone_while_somebody_looks_is_no_damage(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", bytes(100_000))
    scanned.settle()
    scan = scan_of(scanned)
    ann.rm(f"{TO_KARI}/Ref/a.csv")
    scanned.exchange._holdings.later(lambda: None).result()
    with pytest.raises(Missing):
        scanned.exchange.scanning.plaintext(scan.files[0])
    assert scanned.exchange.scanning.unreadable(scan, scan.files[0], scanned.clock()) == []


# ---- together


def test_loose_files_are_looked_at_together_and_leave_as_one(scanned: House, ann: Hand, kari: Hand) -> None:
    for name in ("a.csv", "b.csv"):
        ann.put(f"{TO_KARI}/{name}", b"1")
    scanned.settle()
    (together,) = due(scanned)
    assert len(together) == 2
    scanned.exchange.scanning.found(together[0], "found", scanned.clock())
    passes(scanned)
    assert len(sent_ids(scanned.settle(1))) == 1
    assert sorted(drop.state for drop in ann.drops()) == [ShipmentState.HELD, ShipmentState.WAITING]


def test_no_small_file_waits_for_a_large_one(scanned: House, ann: Hand, kari: Hand) -> None:
    for name in ("a.csv", "b.csv", "large.csv"):
        ann.put(f"{TO_KARI}/{name}", b"1")
    scanned.settle()
    rows = registry_of(scanned.exchange).drops
    large = next(drop for drop in ann.drops() if rows.of_shipment(drop.id)[0].name == "large.csv")
    rows.change_file(rows.of_shipment(large.id)[0].id, size=LARGE + 1)
    assert sorted(len(scans) for scans in due(scanned)) == [1, 2]


def test_many_that_are_large_together_are_looked_at_in_parts(scanned: House, ann: Hand, kari: Hand) -> None:
    for name in ("a", "b", "c", "d"):
        ann.put(f"{TO_KARI}/{name}", b"1")
    scanned.settle()
    rows = registry_of(scanned.exchange).drops
    for drop in ann.drops():
        rows.change_file(rows.of_shipment(drop.id)[0].id, size=LARGE // 2)
    assert [len(scans) for scans in due(scanned)] == [2, 2]


def test_two_processes_that_look_at_the_same_drop_let_it_leave_once(scanned: House, ann: Hand, kari: Hand) -> None:
    other = another_process(scanned)
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    scanned.settle()
    scan = scan_of(scanned)
    for exchange in (scanned.exchange, other):
        exchange.scanning.passed([(scan, ())], "clamd", scanned.clock())
    assert len(sent_ids(scanned.settle(1))) == 1
    assert len(notices(scanned, "arrived")) == 1
    other.close()


def test_without_a_scanner_nothing_waits(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    assert dispatched(house) == only(ann).id


def test_what_waited_for_a_scanner_goes_on_when_there_is_to_be_none(scanned: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", b"1")
    scanned.settle()
    scanned.exchange.scanning.unanswered(scan_of(scanned), "down", scanned.clock())
    with_policy(scanned, scan=())
    assert scanned.settle(1) == []
    assert dispatched(scanned) == only(ann).id
