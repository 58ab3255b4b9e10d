"""The first whole walk: a file dropped with sftp becomes a sealed shipment that its recipient opens."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from fxsftp.domain.model import Kind, LockKind
from tests.age_tool import age_decrypt
from tests.house import ANN, BOB, KARI, House
from tests.walks.guests import Guest, Ran, shipments_in

CSV = b"id;value\n" + b"7;3\n" * 50_000  # 200 kB: four chunks
PASSWORD = "mountain bicycle lantern"


def dispatched(house: House) -> str:
    """The one shipment that leaves when time passes."""
    (line,) = house.settle()
    return shipments_in(line)[0]


def code_for(house: House, guest: Guest, shipment: str) -> str:
    """What the SMS says."""
    return house.code(shipment, house.exchange.people.find(guest.email))


def sums_are_right(folder: Path) -> Ran:
    """What coreutils say to the list in a fetched folder."""
    ran = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


# ---- coming in


def test_public_keys_log_in_and_a_user_may_have_several(house: House, ann: Guest) -> None:
    """Each of her keys lets her in."""
    second = Guest(house, ANN, key=house.key_for(ANN))

    assert ann.sftp("pwd").status == second.sftp("pwd").status == 0


def test_a_key_that_is_nobodys_is_refused(house: House, kari: Guest, ann: Guest) -> None:
    """Also when it is somebody else's."""
    ran = Guest(house, ANN, key=kari.key).sftp("pwd")

    assert ran.status == 255
    assert "Permission denied" in ran.err


def test_a_password_logs_in_and_a_wrong_one_does_not(house: House, ann: Guest) -> None:
    """By the prompt of stock ssh."""
    house.exchange.people.set_password(ANN, PASSWORD, house.clock())

    assert Guest(house, ANN, password=PASSWORD).sftp("pwd").out.endswith("Remote working directory: /\n")
    refused = Guest(house, ANN, password="mountain bicycle lamp").sftp("pwd")
    assert refused.status == 255
    assert "Permission denied" in refused.err


def test_the_address_is_compared_case_folded(house: House, ann: Guest) -> None:
    """As people type it."""
    assert Guest(house, "Ann@Firm.Example", key=ann.key).sftp("pwd").status == 0


# ---- what stands there


def test_everyone_sees_a_readme_and_three_rooms(house: House, ann: Guest) -> None:
    """README.txt is rendered for the user."""
    assert ann.ls() == ["README.txt", "inbox", "outbox", "sent"]
    readme = ann.get("README.txt").decode()
    assert "You are logged in as ann@firm.example." in readme
    assert "outbox/name@their.example/" in readme


def test_readme_speaks_the_users_language(house: House, ann: Guest) -> None:
    """Bokmål and nynorsk as well."""
    english = ann.get("README.txt")
    house.exchange.people.change(ANN, house.clock(), language="nb")
    bokmal = ann.get("README.txt")
    house.exchange.people.change(ANN, house.clock(), language="nn")

    assert len({english, bokmal, ann.get("README.txt")}) == 3


def test_any_permitted_address_is_a_folder_to_put_into_without_mkdir(kari: Guest, ann: Guest) -> None:
    """Neither the recipient's folder nor the shipment's need be made before."""
    kari.put(CSV, f"outbox/{ANN}/Ref 23-4567/data.csv")

    assert kari.ls("outbox") == [ANN]
    assert kari.ls(f"outbox/{ANN}") == ["Ref 23-4567"]
    assert kari.ls(f"outbox/{ANN}/Ref 23-4567") == ["data.csv"]


def test_name_size_and_time_stay_true_in_the_outbox_after_dispatch(house: House, kari: Guest, ann: Guest) -> None:
    """So that tools which send only what is new send nothing twice."""
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    before = kari.sftp(f'ls -l "outbox/{ANN}/Ref 1"').out

    dispatched(house)

    assert kari.sftp(f'ls -l "outbox/{ANN}/Ref 1"').out == before
    assert f" {len(CSV)} " in before


# ---- by code


def test_a_locked_file_opens_with_stock_age_and_the_code(house: House, kari: Guest, ann: Guest) -> None:
    """`age -d data.csv.age` asks for the code on its terminal, and that is all it needs."""
    kari.put(CSV, f"outbox/{ANN}/Ref 23-4567/data.csv")
    shipment = dispatched(house)

    (folder,) = ann.ls("inbox")
    fetched = ann.fetch(f"inbox/{folder}")

    assert folder.endswith(f"_{shipment}_Ref-23-4567")
    assert sorted(path.name for path in fetched.iterdir()) == ["SHA256SUMS", "SHIPMENT.txt", "data.csv.age"]
    assert age_decrypt(fetched / "data.csv.age", passphrase=code_for(house, ann, shipment)) == CSV
    assert sums_are_right(fetched).out == "data.csv.age: OK\n"


def test_shipment_txt_says_what_it_is_and_how_to_open_it(house: House, kari: Guest, ann: Guest) -> None:
    """With the very command that opens it."""
    kari.put(CSV, f"outbox/{ANN}/Ref 23-4567/data.csv")
    shipment = dispatched(house)

    letter = ann.get(f"inbox/{shipment}/SHIPMENT.txt").decode()

    assert "Kari Nordmann <kari@ssb.example>" in letter
    assert "Ref 23-4567" in letter
    assert "    data.csv.age  (" in letter
    assert "    age -d -o data.csv data.csv.age\n" in letter
    assert f"open {shipment}\n" in letter


def test_more_than_eight_files_open_with_the_key_file_and_one_code(house: House, kari: Guest, ann: Guest) -> None:
    """`age -d -i KEY.age` asks once for each; nothing else is in the folder."""
    report = kari.home / "report"
    for number in range(9):
        kari.file(b"%d\n" % number, f"report/part-{number}.csv")
    assert kari.sftp(f"put -R {report} outbox/{ANN}/").status == 0
    shipment = dispatched(house)

    fetched = ann.fetch(f"inbox/{shipment}")

    assert (fetched / "KEY.age").exists()
    code = code_for(house, ann, shipment)
    for number in (0, 8):
        path = fetched / f"part-{number}.csv.age"
        assert age_decrypt(path, identity=fetched / "KEY.age", passphrase=code) == b"%d\n" % number
    assert sums_are_right(fetched).status == 0
    assert sums_are_right(fetched).out.count(": OK\n") == 9


def test_a_folder_named_after_the_code_opens_the_shipment(house: House, kari: Guest, ann: Guest) -> None:
    """`mkdir CODE`, and the plaintext is there to get; the folder stats as an empty one for the session."""
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    shipment = dispatched(house)
    code = code_for(house, ann, shipment)

    ran = ann.sftp(f"cd inbox/{shipment}", f"mkdir {code}", f"ls -la {code}", "get data.csv", "ls -1")

    assert ran.status == 0
    assert (ann.home / "data.csv").read_bytes() == CSV
    assert ran.out.splitlines()[-3:] == ["SHA256SUMS", "SHIPMENT.txt", "data.csv"]
    assert code not in "".join(ann.ls(f"inbox/{shipment}"))


def test_ssh_open_opens_the_shipment_for_all_sessions_of_the_user(house: House, kari: Guest, ann: Guest) -> None:
    """For 15 minutes; both forms can be fetched, one is listed, and the checksums are those of what is listed."""
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    shipment = dispatched(house)

    ran = ann.ssh(f"open {shipment}", f"{code_for(house, ann, shipment)}\n".encode())

    assert (ran.status, ran.out) == (0, f"{shipment} is open to you for 15 minutes: get inbox/{shipment}/\n")
    fetched = ann.fetch(f"inbox/{shipment}")
    assert (fetched / "data.csv").read_bytes() == CSV
    assert sums_are_right(fetched).out == "data.csv: OK\n"
    assert ann.get(f"inbox/{shipment}/data.csv.age").startswith(b"age-encryption.org/v1\n")
    house.clock.turn(15 * 60)
    assert "data.csv.age" in ann.ls(f"inbox/{shipment}")
    assert "is locked" in ann.sftp(f"get inbox/{shipment}/data.csv").err


def test_the_code_forgives_how_people_type(house: House, kari: Guest, ann: Guest) -> None:
    """Case and blanks."""
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    shipment = dispatched(house)
    typed = code_for(house, ann, shipment).upper().replace("-", " ")

    assert ann.ssh(f"open {shipment}", f"{typed}\r\n".encode()).status == 0


# ---- by key


@pytest.mark.parametrize("kind", [["ed25519"], ["rsa", "-b", "2048"]], ids=["ed25519", "rsa"])
def test_keys_delivery_opens_with_her_own_ssh_key(house: House, kari: Guest, ann: Guest, kind: list[str]) -> None:
    """`age -d -i ~/.ssh/id_…`: no code, no SMS, fit for a batch job."""
    key = ann.home / "id_batch"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", key, "-t", *kind], check=True)
    for old in house.exchange.people.keys(ANN):
        house.exchange.people.remove_key(ANN, old.fingerprint, house.clock())
    house.exchange.people.add_key(ANN, key.with_suffix(".pub").read_text(), house.clock())
    house.exchange.people.change(ANN, house.clock(), delivery=LockKind.KEYS)
    batch = Guest(house, ANN, key=key)
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    shipment = dispatched(house)

    fetched = batch.fetch(f"inbox/{shipment}")

    assert age_decrypt(fetched / "data.csv.age", identity=key) == CSV
    assert sums_are_right(fetched).out == "data.csv.age: OK\n"
    assert "-o data.csv data.csv.age\n" in (fetched / "SHIPMENT.txt").read_text()
    assert [notice.way for notice in house.exchange.notices.list() if notice.kind in ("arrived", "code")] == ["mail"]


# ---- by logging in, and the other direction


def test_a_member_simply_reads_what_a_partner_sends(house: House, kari: Guest, ann: Guest) -> None:
    """Ann's own outbox, session delivery at the other end."""
    ann.put(CSV, f"outbox/{KARI}/Survey 4/answers.csv")
    shipment = dispatched(house)

    fetched = kari.fetch(f"inbox/{shipment}")

    assert (fetched / "answers.csv").read_bytes() == CSV
    assert sums_are_right(fetched).out == "answers.csv: OK\n"
    assert "ann@firm.example" in (fetched / "SHIPMENT.txt").read_text()


def test_subfolders_belong_to_the_shipment_and_are_kept(house: House, kari: Guest, ann: Guest) -> None:
    """With coreutils' own checksum list across them."""
    for name in ("a.csv", "sub/b.csv", "sub/deep/c.csv"):
        ann.file(name.encode(), f"Ref 7/{name}")
    assert ann.sftp(f'put -R "Ref 7" outbox/{KARI}/').status == 0
    shipment = dispatched(house)

    fetched = kari.fetch(f"inbox/{shipment}")

    assert (fetched / "sub/deep/c.csv").read_bytes() == b"sub/deep/c.csv"
    assert sums_are_right(fetched).out == "a.csv: OK\nsub/b.csv: OK\nsub/deep/c.csv: OK\n"


def test_each_member_of_a_group_reads_it(house: House, kari: Guest, ann: Guest) -> None:
    """A shared address; each has a delivery of their own, and the sender none."""
    ola = house.add("ola@ssb.example", Kind.MEMBER)
    house.exchange.people.add_group("mikrodata@ssb.example", house.clock())
    for member in (KARI, ola.email):
        house.exchange.people.add_to_group("mikrodata@ssb.example", member, house.clock())
    other = Guest(house, ola.email, key=house.key_for(ola.email))
    ann.put(CSV, "outbox/mikrodata@ssb.example/Ref 1/data.csv")
    shipment = dispatched(house)

    assert kari.get(f"inbox/{shipment}/data.csv") == CSV
    assert json.loads(ann.get(f"sent/{shipment}.json"))["state"] == "partly collected"
    assert other.get(f"inbox/{shipment}/data.csv") == CSV
    receipt = json.loads(ann.get(f"sent/{shipment}.json"))
    assert receipt["state"] == "collected"
    assert {one["recipient"]: one["via"] for one in receipt["recipients"]} == {
        KARI: "mikrodata@ssb.example",
        ola.email: "mikrodata@ssb.example",
    }


def test_a_group_of_partners_gets_one_code_per_member(house: House, kari: Guest, ann: Guest, bob: Guest) -> None:
    """No code of one opens the files of another."""
    house.exchange.people.add_group("panel@ssb.example", house.clock())
    for member in (ANN, BOB):
        house.exchange.people.add_to_group("panel@ssb.example", member, house.clock())
    kari.put(CSV, "outbox/panel@ssb.example/Ref 1/data.csv")
    shipment = dispatched(house)
    code = code_for(house, ann, shipment)

    path = ann.fetch(f"inbox/{shipment}") / "data.csv.age"

    assert age_decrypt(path, passphrase=code) == CSV
    assert bob.get(f"inbox/{shipment}/data.csv.age") != path.read_bytes()
    assert bob.ssh(f"open {shipment}", f"{code}\n".encode()).status == 1


# ---- what the sender sees


def test_the_sender_sees_it_collected_and_is_told(house: House, kari: Guest, ann: Guest) -> None:
    """In sent/ for people and for programs, by ssh status, and by a notice."""
    kari.put(CSV, f"outbox/{ANN}/Ref 23-4567/data.csv")
    shipment = dispatched(house)
    assert kari.ls("sent") == [f"{shipment}.json", f"{shipment}.txt"]
    assert json.loads(kari.get(f"sent/{shipment}.json"))["state"] == "waiting"

    ann.get(f"inbox/{shipment}/data.csv.age")

    receipt = json.loads(kari.get(f"sent/{shipment}.json"))
    assert receipt["state"] == receipt["recipients"][0]["state"] == "collected"
    assert receipt["files"] == [
        {"name": "data.csv", "size": len(CSV), "sha256": hashlib.sha256(CSV).hexdigest(), "state": "complete"}
    ]
    assert "collected" in kari.get(f"sent/{shipment}.txt").decode()
    assert shipment in kari.ssh("status").out
    assert "collected" in kari.ssh(f"status {shipment}").out
    (told,) = [notice for notice in house.exchange.notices.list() if notice.kind == "collected"]
    assert (told.address, told.way, told.shipment_id) == (KARI, "mail", shipment)


def test_one_mail_and_one_sms_however_many_files(house: House, kari: Guest, ann: Guest) -> None:
    """And no code in either's row."""
    for name in ("a", "b", "c"):
        kari.put(CSV, f"outbox/{ANN}/Ref 1/{name}.csv")
    shipment = dispatched(house)

    notices = [notice for notice in house.exchange.notices.list() if notice.shipment_id == shipment]

    assert sorted((notice.kind, notice.way) for notice in notices) == [("arrived", "mail"), ("code", "sms")]
    assert code_for(house, ann, shipment) not in repr(notices)


def test_a_loose_file_goes_to_the_default_recipient(house: House, kari: Guest, ann: Guest) -> None:
    """Without a folder, and without a subject."""
    house.exchange.people.change(ANN, house.clock(), default_recipient=KARI)

    ann.put(CSV, "outbox/answers.csv")

    assert kari.get(f"inbox/{dispatched(house)}/answers.csv") == CSV


def test_send_dispatches_without_waiting_for_the_quiet(house: House, kari: Guest, ann: Guest) -> None:
    """`ssh … send FOLDER`."""
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")

    ran = kari.ssh('send "Ref 1"')

    assert ran.status == 0
    assert ran.out.endswith(f" sent to {ANN}: Ref 1\n")
    assert len(ann.ls("inbox")) == 1


def test_the_hashes_of_what_was_sent_and_what_can_be_fetched_are_told(house: House, kari: Guest, ann: Guest) -> None:
    """`ssh … sha256sum PATH`, which does not count as reading."""
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    shipment = dispatched(house)

    sent = kari.ssh(f'sha256sum "outbox/{ANN}/Ref 1/data.csv"').out
    offered = ann.ssh(f"sha256sum inbox/{shipment}/data.csv.age").out

    assert sent.startswith(hashlib.sha256(CSV).hexdigest())
    assert json.loads(kari.get(f"sent/{shipment}.json"))["state"] == "waiting"
    assert offered.startswith(hashlib.sha256(ann.get(f"inbox/{shipment}/data.csv.age")).hexdigest())


def test_scp_of_openssh_9_goes_both_ways_and_ends_with_status_0(house: House, kari: Guest, ann: Guest) -> None:
    """It wants an exit status of the subsystem, and FSETSTAT."""
    path = ann.file(CSV, "answers.csv")

    assert ann.scp(str(path), f"exchange:outbox/{KARI}/Ref-1/answers.csv").status == 0
    shipment = dispatched(house)
    assert kari.scp(f"exchange:inbox/{shipment}/answers.csv", "here.csv").status == 0
    assert (kari.home / "here.csv").read_bytes() == CSV
