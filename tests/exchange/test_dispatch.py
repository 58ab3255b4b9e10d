"""Dispatch: what leaves, what is held and why, under which locks, and what is left behind of keys and codes."""

from __future__ import annotations

import io
import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from hashlib import md5, sha256

import pytest

from fxsftp import app, seal
from fxsftp.domain.lifecycle import ShipmentState
from fxsftp.domain.model import Kind, LockKind
from fxsftp.domain.policy import DAY
from fxsftp.errors import AlreadySent, FxError, NotOpen, ShipmentUnknown, WrongState
from fxsftp.exchange import Exchange
from tests.exchange.hands import (
    Hand,
    another_process,
    dispatched,
    files_of,
    named_blobs,
    notices,
    registry_of,
    sent_ids,
    state_files,
    with_policy,
    write,
)
from tests.house import ANN, BOB, KARI, House

TO_ANN, TO_KARI = f"/outbox/{ANN}", f"/outbox/{KARI}"
GROUP = "mikrodata@ssb.example"
PLAIN = b"id;value\n" + b"12345;secret\n" * 20_000


def held(house: House, hand: Hand) -> tuple[str, str]:
    """(id, reason) of the one drop that is held."""
    (drop,) = [drop for drop in hand.drops() if drop.state is ShipmentState.HELD]
    return drop.id, drop.reason


# ---- locks by kind


def test_a_partner_gets_a_code_by_sms_and_a_mail_without_it(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    kari.put(f"{TO_ANN}/Ref/b.csv", PLAIN)
    shipment = dispatched(house)
    code = house.code(shipment, ann.user)

    assert ann.delivery(shipment).lock is LockKind.CODE
    ((mail,), (sms,)) = notices(house, "arrived"), notices(house, "code")
    assert (mail["way"], mail["address"], sms["way"], sms["address"]) == ("mail", ANN, "sms", "+4790000000")
    assert (mail["files"], mail["subject"]) == (2, "")
    assert code not in json.dumps([mail, sms])
    assert ann.ls(f"/inbox/{shipment}").keys() == {"SHIPMENT.txt", "SHA256SUMS", "a.csv.age", "b.csv.age"}
    for name in ("a.csv", "b.csv"):
        assert seal.open_small(ann.get(f"/inbox/{shipment}/{name}.age"), seal.CodeKey(code)) == PLAIN


def test_more_than_8_files_open_with_the_key_file_only(house: House, ann: Hand, kari: Hand) -> None:
    for number in range(9):
        kari.put(f"{TO_ANN}/Ref/{number}.csv", b"%d" % number)
    shipment = dispatched(house)
    identity = seal.open_key_file(ann.get(f"/inbox/{shipment}/KEY.age"), house.code(shipment, ann.user))

    for number in range(9):
        sealed = ann.get(f"/inbox/{shipment}/{number}.csv.age")
        assert b"-> scrypt" not in sealed
        assert seal.open_small(sealed, identity) == b"%d" % number


def test_8_files_each_ask_for_the_code_themselves(house: House, ann: Hand, kari: Hand) -> None:
    for number in range(8):
        kari.put(f"{TO_ANN}/Ref/{number}.csv", b"x")
    shipment = dispatched(house)
    salts = {re.findall(rb"-> scrypt (\S+)", ann.get(f"/inbox/{shipment}/{n}.csv.age"))[0] for n in range(8)}
    assert len(salts) == 8  # never two file keys under one salt


def test_a_user_with_keys_gets_files_for_those_that_can_open(house: House, ann: Hand, kari: Hand) -> None:
    private = house.key_for(ANN)
    house.exchange.people.change(ANN, house.clock(), delivery="keys")
    kari.put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    shipment = dispatched(house)

    assert notices(house, "code") == []
    assert ann.ls(f"/inbox/{shipment}").keys() == {"SHIPMENT.txt", "SHA256SUMS", "a.csv.age"}
    sink = io.BytesIO()
    seal.unseal_stream(io.BytesIO(ann.get(f"/inbox/{shipment}/a.csv.age")), [seal.SshKey(private.read_bytes())], sink)
    assert sink.getvalue() == PLAIN
    with pytest.raises(NotOpen):
        ann.read(f"/inbox/{shipment}/a.csv")


def test_without_a_key_that_opens_the_policy_says_what_instead(house: House, ann: Hand, kari: Hand) -> None:
    house.exchange.people.change(ANN, house.clock(), delivery="keys")
    kari.put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    assert ann.delivery(dispatched(house)).lock is LockKind.CODE


def test_a_minimum_lock_lifts_a_member_from_session_to_code(house: House, ann: Hand, kari: Hand) -> None:
    with_policy(house, minimum_lock=LockKind.CODE)
    Hand(house, ann.user).put(f"{TO_KARI}/Ref/a.csv", PLAIN)
    assert kari.delivery(dispatched(house)).lock is LockKind.CODE


def test_a_recovery_key_opens_what_was_sent_with_a_code(house: House, ann: Hand, kari: Hand) -> None:
    offline = seal.Identity.generate()
    holdings = house.exchange._holdings
    house.exchange = Exchange(replace(holdings, keys=replace(holdings.keys, recovery_lock=offline.lock)))
    Hand(house, kari.user).put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    (file,) = files_of(house, dispatched(house))
    row = registry_of(house.exchange)._engine.row("SELECT header FROM recoveries WHERE file_id = ?", (file.id,))
    assert row is not None
    reader = house.exchange._holdings.bodies.open(file.blob or "")
    key, _ = seal.open_header(bytes(row["header"]), [offline])
    assert seal.Unsealer(reader.read, key, file.body).read(0, len(PLAIN)) == PLAIN


# ---- groups


def group(house: House, *members: str) -> None:
    house.exchange.people.add_group(GROUP, house.clock(), name="Microdata")
    for member in members:
        house.exchange.people.add_to_group(GROUP, member, house.clock())


def test_each_member_of_a_group_reads_it(house: House, ann: Hand, kari: Hand) -> None:
    ola = Hand(house, house.add("ola@ssb.example", Kind.MEMBER))
    group(house, KARI, "ola@ssb.example")
    ann.put(f"/outbox/{GROUP}/Ref/a.csv", PLAIN)
    shipment = dispatched(house)

    assert kari.get(f"/inbox/{shipment}/a.csv") == PLAIN
    assert ann.state(shipment) == "partly collected"
    assert ola.get(f"/inbox/{shipment}/a.csv") == PLAIN
    assert ann.state(shipment) == "collected"
    assert {mail["address"] for mail in notices(house, "arrived")} == {KARI, "ola@ssb.example"}


def test_members_by_code_get_a_code_each(house: House, ann: Hand, kari: Hand) -> None:
    bob = Hand(house, house.add(BOB, Kind.PARTNER))
    group(house, ANN, BOB)
    kari.put(f"/outbox/{GROUP}/Ref/a.csv", PLAIN)
    shipment = dispatched(house)
    codes = {house.code(shipment, ann.user)}
    house.clock.turn(61)
    codes.add(house.code(shipment, bob.user))
    assert len(codes) == 2


def test_a_sender_in_the_group_gets_nothing_and_an_empty_group_holds(house: House, ann: Hand, kari: Hand) -> None:
    group(house, KARI)
    kari.put(f"/outbox/{GROUP}/Ref/a.csv", PLAIN)
    assert sent_ids(house.settle()) == []
    assert held(house, kari)[1] == f"nobody in the group {GROUP} can receive now"

    house.exchange.people.add_to_group(GROUP, ANN, house.clock())
    assert ann.delivery(dispatched(house)).via == GROUP


def test_a_member_who_can_not_receive_is_left_out_and_the_receipt_says_so(house: House, ann: Hand, kari: Hand) -> None:
    group(house, ANN, KARI)
    ola = Hand(house, house.add("ola@ssb.example", Kind.MEMBER))
    house.exchange.people.disable(ANN, house.clock())
    ola.put(f"/outbox/{GROUP}/Ref/a.csv", PLAIN)
    shipment = dispatched(house)

    assert kari.get(f"/inbox/{shipment}/a.csv") == PLAIN
    history = house.exchange.sent.find(ola.user, shipment, house.clock()).history
    assert [event.detail for event in history if event.event == "left out"] == [
        f"{ANN} can't receive now; ask the operator"
    ]


# ---- held


def test_what_is_held_can_be_removed_by_its_sender(house: House, ann: Hand, kari: Hand) -> None:
    house.exchange.people.invite(kari.user, BOB, "+4790000001", house.clock())
    for path in (f"/outbox/{BOB}/Ref/a.csv", f"/outbox/{BOB}/loose.csv"):
        kari.put(path, PLAIN)
    house.settle()
    assert len(notices(house, "held")) == 2
    for path in (f"/outbox/{BOB}/Ref/a.csv", f"/outbox/{BOB}/loose.csv"):
        kari.rm(path)
    assert kari.drops() == []


def test_loose_files_that_were_held_leave_as_one_and_what_was_told_goes_along(
    house: House, ann: Hand, kari: Hand
) -> None:
    house.exchange.people.invite(kari.user, BOB, "+4790000001", house.clock())
    for name in ("a.csv", "b.csv"):
        kari.put(f"/outbox/{BOB}/{name}", PLAIN)
    house.settle()
    house.add(BOB, Kind.PARTNER)
    shipment = dispatched(house)
    sent = house.exchange.sent.find(kari.user, shipment, house.clock())
    assert [notice.kind for notice in sent.notices].count("held") == 2
    assert len(sent.files) == 2


def test_a_drop_for_who_has_not_registered_is_held_and_goes_on_when_they_have(
    house: House, ann: Hand, kari: Hand
) -> None:
    house.exchange.people.invite(kari.user, BOB, "+4790000001", house.clock())
    kari.put(f"/outbox/{BOB}/Ref/a.csv", PLAIN)
    assert sent_ids(house.settle()) == []
    shipment, reason = held(house, kari)
    assert reason == f"{BOB} has not registered yet"
    assert [mail["reason"] for mail in notices(house, "held")] == [reason]
    assert house.settle(3600) == []

    bob = Hand(house, house.add(BOB, Kind.PARTNER))
    assert dispatched(house) == shipment
    assert bob.delivery(shipment).lock is LockKind.CODE


def test_a_drop_for_who_is_disabled_is_held_and_goes_on_when_enabled(house: House, ann: Hand, kari: Hand) -> None:
    house.exchange.people.disable(ANN, house.clock())
    kari.put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    assert sent_ids(house.settle()) == []
    house.exchange.people.enable(ANN, house.clock())
    assert dispatched(house) == kari.drops()[0].id


def test_a_member_enabled_frees_what_was_held_for_the_group(house: House, ann: Hand, kari: Hand) -> None:
    group(house, ANN)
    house.exchange.people.disable(ANN, house.clock())
    kari.put(f"/outbox/{GROUP}/Ref/a.csv", PLAIN)
    assert sent_ids(house.settle()) == []
    house.exchange.people.enable(ANN, house.clock())
    assert dispatched(house)


def test_without_a_phone_there_is_no_code_and_a_number_lets_it_go(house: House, kari: Hand) -> None:
    house.add(ANN, Kind.PARTNER, phone=None)
    kari.put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    assert sent_ids(house.settle()) == []
    assert "no phone number" in held(house, kari)[1]
    house.exchange.people.change(ANN, house.clock(), phone="+4790000000")
    assert dispatched(house)


def test_a_recipient_removed_meanwhile_holds_it(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    house.exchange.people.remove(ANN, house.clock())
    assert sent_ids(house.settle()) == []
    assert held(house, kari)[1].startswith("You can't send to")


def test_what_is_held_is_taken_up_again_by_its_sender(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"{TO_ANN}/Ref/a.csv.part", PLAIN)
    house.settle(DAY)
    shipment, reason = held(house, kari)
    assert reason == "no progress, and not complete: a.csv.part"
    with pytest.raises(FxError, match="a name that says it is not"):
        house.exchange.dispatch.release(shipment, "admin", house.clock())
    kari.mv(f"{TO_ANN}/Ref/a.csv.part", f"{TO_ANN}/Ref/a.csv")
    assert dispatched(house) == shipment


def test_what_is_held_is_released_by_an_admin(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    kari.put(f"{TO_ANN}/Ref/SHA256SUMS", f"{'0' * 64}  a.csv\n".encode())
    house.settle()
    shipment, _ = held(house, kari)
    house.exchange.dispatch.release(shipment, "admin", house.clock())
    house.settle()
    assert held(house, kari)[0] == shipment  # the sums are as wrong as before
    with pytest.raises(ShipmentUnknown):
        house.exchange.dispatch.release("0000-0000", "admin", house.clock())
    kari.rm(f"{TO_ANN}/Ref/SHA256SUMS")
    assert dispatched(house) == shipment
    with pytest.raises(WrongState):
        house.exchange.dispatch.release(shipment, "admin", house.clock())


def test_what_is_held_for_7_days_is_swept(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"{TO_ANN}/Ref/a.part", PLAIN)
    house.settle(DAY)
    shipment, _ = held(house, kari)
    house.clock.turn(7 * DAY)
    house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")
    assert kari.state(shipment) == "ended"
    house.clock.turn(DAY)
    house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")
    assert list(house.exchange._holdings.bodies.ids()) == []


# ---- lists of checksums


@pytest.mark.parametrize(("name", "algorithm"), [("SHA256SUMS", sha256), ("MD5SUMS", md5)])
def test_a_true_list_of_checksums_lets_it_go(house: House, ann: Hand, kari: Hand, name: str, algorithm: type) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", PLAIN)
    ann.put(f"{TO_KARI}/Ref/sub/b.csv", b"b")
    sums = f"{algorithm(PLAIN).hexdigest()}  a.csv\n{algorithm(b'b').hexdigest().upper()} *./sub/b.csv\n"
    ann.put(f"{TO_KARI}/Ref/{name}", sums.encode())
    shipment = dispatched(house)

    assert kari.ls(f"/inbox/{shipment}").keys() == {"SHIPMENT.txt", "SHA256SUMS", "a.csv", "sub"} | {name}
    ours = f"{sha256(PLAIN).hexdigest()}  a.csv\n".encode()
    assert ours in kari.get(f"/inbox/{shipment}/SHA256SUMS")


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        (f"{sha256(b'other').hexdigest()}  a.csv\n", "'a.csv' is not what SHA256SUMS says; put it again"),
        (f"{'0' * 64}  missing.csv\n", "SHA256SUMS names 'missing.csv', which is not there"),
        ("what is this\n", "SHA256SUMS has a line that is no checksum"),
    ],
)
def test_a_list_that_is_not_true_holds_it_and_says_why(
    house: House, ann: Hand, kari: Hand, sums: str, reason: str
) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", PLAIN)
    ann.put(f"{TO_KARI}/Ref/SHA256SUMS", sums.encode())
    assert sent_ids(house.settle()) == []
    assert held(house, ann)[1] == reason

    ann.put(f"{TO_KARI}/Ref/SHA256SUMS", f"{sha256(PLAIN).hexdigest()}  a.csv\n".encode())
    assert dispatched(house)


def test_a_list_that_is_no_text_holds_it(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/a.csv", PLAIN)
    ann.put(f"{TO_KARI}/Ref/SHA256SUMS", os.urandom(500))
    house.settle()
    assert held(house, ann)[1] == "SHA256SUMS is not a list of checksums"


def test_checksums_of_nothing_are_no_shipment(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Ref/SHA256SUMS", b"")
    house.settle()
    assert held(house, ann)[1] == "there is nothing in it but checksums"


def test_a_loose_list_of_checksums_is_refused(house: House, ann: Hand, kari: Hand) -> None:
    with pytest.raises(FxError, match="put them there"):
        ann.put(f"{TO_KARI}/SHA256SUMS", b"")


# ---- one broken drop holds back no other


def test_a_resumed_file_damaged_on_the_disk_is_held_and_the_others_leave(house: House, ann: Hand, kari: Hand) -> None:
    draft = ann.open(f"{TO_KARI}/Bad/a.bin")
    write(draft, PLAIN[:140_000])
    ann.lose(draft)
    size = ann.stat(f"{TO_KARI}/Bad/a.bin").size
    draft = ann.open(f"{TO_KARI}/Bad/a.bin", truncate=False)
    write(draft, PLAIN[size:], start=size)
    ann.close(draft)
    ann.put(f"{TO_KARI}/Good/a.bin", PLAIN)
    bad = next(drop.id for drop in ann.drops() if drop.folder == "Bad")
    blob = registry_of(house.exchange).segments.of(files_of(house, bad)[0].id)[0].blob
    path = next(house.settings.vault.rglob(blob))
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])

    (good,) = sent_ids(house.settle())
    assert kari.get(f"/inbox/{good}/a.bin") == PLAIN
    assert held(house, ann) == (bad, "a.bin was damaged on the exchange's disk; put it again")
    assert house.settle() == []
    ann.put(f"{TO_KARI}/Bad/a.bin", PLAIN)
    assert dispatched(house) == bad


def test_a_drop_whose_body_is_gone_is_held_and_the_others_leave(house: House, ann: Hand, kari: Hand) -> None:
    ann.put(f"{TO_KARI}/Bad/a.bin", PLAIN)
    ann.put(f"{TO_KARI}/Good/a.bin", PLAIN)
    bad = next(drop.id for drop in ann.drops() if drop.folder == "Bad")
    next(house.settings.vault.rglob(files_of(house, bad)[0].blob or "?")).unlink()

    assert len(sent_ids(house.settle())) == 1
    assert held(house, ann)[0] == bad


# ---- many at once


def test_however_many_processes_dispatch_one_drop_leaves_once(house: House, ann: Hand, kari: Hand) -> None:
    for number in range(6):
        kari.put(f"{TO_ANN}/Ref {number}/a.csv", PLAIN)
    house.clock.turn(400)
    others = [another_process(house) for _ in range(2)]
    begin = threading.Barrier(3)

    def step(number: int) -> list[str]:
        begin.wait()
        return [house.exchange, *others][number].dispatch.step(house.clock())

    with ThreadPoolExecutor(3) as pool:
        left = [shipment for lines in pool.map(step, range(3)) for shipment in sent_ids(lines)]
    for other in others:
        other.close()

    assert sorted(left) == sorted(drop.id for drop in kari.drops())
    assert len(notices(house, "arrived")) == len(notices(house, "code")) == 6
    for shipment in left:
        assert len(registry_of(house.exchange).deliveries.of_shipment(shipment)) == 1
    assert named_blobs(house) == set(house.exchange._holdings.bodies.ids())


def test_what_is_put_while_it_leaves_is_in_it_or_in_the_next_never_lost(house: House, ann: Hand, kari: Hand) -> None:
    """A sender goes on in one process while another one dispatches as fast as it can."""
    other, stop = another_process(house), threading.Event()
    left: list[str] = []

    def step() -> None:
        while not stop.is_set():
            left.extend(sent_ids(other.dispatch.step(house.clock() + 400)))

    with ThreadPoolExecutor(1) as pool:
        stepping = pool.submit(step)
        for number in range(60):
            ann.put(f"{TO_KARI}/Ref/{number}.csv", b"%d" % number)
            ann.put(f"{TO_KARI}/{number}.part", b"%d" % number)
            ann.mv(f"{TO_KARI}/{number}.part", f"{TO_KARI}/Ref/moved-{number}.csv")
            draft = ann.open(f"{TO_KARI}/Ref/{number}.csv", truncate=False)
            with suppress(AlreadySent):
                write(draft, b"+", start=len(str(number)))
            ann.close(draft)
        stop.set()
        stepping.result()
    other.close()
    left += sent_ids(house.settle(800))

    received: dict[str, bytes] = {}
    for shipment in left:
        for file in files_of(house, shipment):
            data = kari.get(f"/inbox/{shipment}/{file.name}")
            assert len(data) == file.size
            received.setdefault(file.name, data)
    assert len(left) == len(set(left))
    for number in range(60):
        assert received[f"moved-{number}.csv"] == b"%d" % number
        assert received[f"{number}.csv"] in (b"%d" % number, b"%d+" % number)
    assert {drop.state for drop in ann.drops()} == {ShipmentState.WAITING}


# ---- what is left behind


def test_after_dispatch_no_plaintext_no_code_and_no_key_lies_anywhere(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"{TO_ANN}/Ref/large.csv", PLAIN)
    kari.put(f"{TO_ANN}/Ref/small.csv", b"12345;secret\n")
    draft = kari.open(f"{TO_ANN}/Ref/resumed.csv")
    write(draft, PLAIN[:140_000])
    kari.lose(draft)
    size = kari.stat(f"{TO_ANN}/Ref/resumed.csv").size
    draft = kari.open(f"{TO_ANN}/Ref/resumed.csv", truncate=False)
    write(draft, PLAIN[size:], start=size)
    kari.close(draft)
    drop = kari.drops()[0].id
    bodies = house.exchange.outbox._bodies
    secrets = [bodies.drop_key(drop), *(bodies.draft_key(file) for file in files_of(house, drop))]
    wraps = [registry_of(house.exchange).drops.file_key(file.id) for file in files_of(house, drop)]
    sealed_key = house.exchange._holdings.secrets.drop_key(drop)

    shipment = dispatched(house)
    code = house.code(shipment, ann.user)
    house.exchange._holdings.later(lambda: None).result()
    registry_of(house.exchange)._engine.checkpoint()

    assert house.exchange._holdings.secrets.drop_key(drop) is None
    assert None not in wraps
    forbidden = [b"12345;secret", code.encode(), code.replace("-", "").encode(), *secrets, *wraps, sealed_key]
    for path, content in state_files(house):
        for secret in forbidden:
            assert secret is not None
            assert secret not in content, path


def test_names_and_addresses_lie_in_the_registry_only(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"{TO_ANN}/Subject of weight/telling-name.csv", PLAIN)
    dispatched(house)
    for path, content in state_files(house):
        if path.parent == house.settings.registry.parent:
            continue
        for word in (b"telling-name", b"of weight", ANN.encode(), KARI.encode()):
            assert word not in content
            assert word.decode() not in str(path.relative_to(house.settings.state))


def test_the_service_writes_a_code_and_can_not_read_it_back(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    dispatched(house)
    assert house.exchange.carriage.take_due("sms", house.clock(), lease="x", seconds=1, limit=9) == []
    assert house.exchange._holdings.keys.courier is None
    courier = app.open_exchange(house.settings, role="courier")
    assert courier._holdings.vault is None
    assert courier._holdings.keys.house is None
    courier.close()


def test_codes_in_carriage_are_erased_after_72_hours(house: House, ann: Hand, kari: Hand) -> None:
    kari.put(f"{TO_ANN}/Ref/a.csv", PLAIN)
    delivery = ann.delivery(dispatched(house)).id
    sealed = house.exchange._holdings.secrets.code(delivery)
    assert sealed
    for hours, is_there in ((71, True), (2, False)):
        house.clock.turn(hours * 3600)
        house.exchange.upkeep.sweep(house.clock(), house.clock(), "boot")
        assert (house.exchange._holdings.secrets.code(delivery) is not None) is is_there
    assert not [path for path, content in state_files(house) if sealed in content]
