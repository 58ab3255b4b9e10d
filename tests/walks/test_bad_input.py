"""What people and programs get wrong, line by line: each gets a sentence that says so, and nothing is lost.

OpenSSH shows the sentence on stderr, since its sftp hides the text of a status; paramiko raises it.  That no stack
trace is logged is seen to by the fixture `heard`.  Malformed SFTP packets: tests/fronts/sftp/test_session.py.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Callable, Iterator

import pytest

from fxsftp.domain.ids import new_code
from tests.age_tool import AgeRefused, age_decrypt
from tests.house import ANN, BOB, KARI, House
from tests.walks.guests import Guest, shipments_in, until

CSV = b"id;value\n" + b"7;3\n" * 50_000
LOCKED = (
    "That code does not open {}. Check the number of the shipment in the SMS, and type the code as it stands there."
)


@pytest.fixture(autouse=True)
def nothing_is_lost(house: House, kari: Guest, ann: Guest) -> Iterator[None]:
    """What had been put before all this arrives, whatever is done meanwhile, and once."""
    ann.put(CSV, f"outbox/{KARI}/before/data.csv")
    yield
    house.settle()
    found = [name for name in kari.ls("inbox") if name.endswith("_before")]
    assert len(found) == 1
    assert kari.get(f"inbox/{found[0]}/data.csv") == CSV


def refused(guest: Guest, *lines: str) -> str:
    """What OpenSSH's sftp shows when the last line is refused."""
    ran = guest.sftp(*lines)
    assert ran.status == 1
    return ran.err


def status_of(guest: Guest, path: bytes) -> str:
    """The status text that paramiko hears when it writes a file at `path`."""
    with guest.paramiko() as sftp, pytest.raises(OSError, match="can't be a name here") as refusal:
        sftp.open(path, "w")  # type: ignore[arg-type]  # bytes pass as they are
    return str(refusal.value)


def letter_from_kari(house: House, kari: Guest) -> str:
    """A shipment that waits for ann, locked by a code."""
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    return next(
        each.shipment.id for line in house.settle() for each in house.exchange.sent.shipments()
        if each.shipment.id in shipments_in(line) and each.shipment.recipient == ANN
    )  # fmt: skip


# ---- recipients


def test_an_unknown_recipient_and_one_that_may_not_be_addressed_sound_alike(ann: Guest, bob: Guest) -> None:
    """Partners can't find out who else is here."""
    said = [refused(ann, f"put {ann.file(CSV)} outbox/{who}/data.csv") for who in ("nobody@works.example", BOB)]

    assert "You can't send to 'nobody@works.example' on this exchange." in said[0]
    alike = said[0].replace("nobody@works.example", BOB).replace("file-2", "file-3")
    assert sorted(said[1].splitlines()) == sorted(alike.splitlines())  # ours and the client's own, as they come in
    assert f"You can't send to '{BOB}'" in refused(ann, f"mkdir outbox/{BOB}")
    assert "not found" in refused(ann, f"ls outbox/{BOB}")


def test_a_loose_file_without_a_recipient_is_told_where_to_go(ann: Guest) -> None:
    """With the folder that it should be in."""
    said = refused(ann, f"put {ann.file(CSV)} outbox/data.csv")

    assert "'data.csv' has no recipient" in said
    assert "outbox/name@their.example/" in said


# ---- names


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"a\0b.csv", "it has a control character in it"),
        (b"a\nb.csv", "it has a control character in it"),
        (b"a\x1b[2Jb.csv", "it has a control character in it"),
        ("a\u202eb.csv".encode(), "it has a control character in it"),
        (b"a\\b.csv", "a backslash can't stand in a name"),
        (b"a" * 256, "it is longer than 255 bytes"),
        (("æ" * 128).encode(), "it is longer than 255 bytes"),
        (b"bl\xe5b\xe6r.csv", "it is not UTF-8; set your client's file names to UTF-8"),
        (b"SHIPMENT.txt", "the exchange writes a file of this name itself"),
        (b"KEY.age", "the exchange writes a file of this name itself"),
        (b"con", "Windows keeps this name for a device"),
        (b"NUL.csv", "Windows keeps this name for a device"),
    ],
    ids=["NUL", "newline", "escape", "bidi", "backslash", "256", "256 utf-8", "latin-1", "letter", "key", "con", "nul"],
)
def test_names_that_can_not_be_handed_out_again_are_refused_with_the_reason(
    ann: Guest, name: bytes, reason: str
) -> None:
    """And nothing of them is left."""
    said = status_of(ann, b"outbox/" + KARI.encode() + b"/Ref 1/" + name)

    assert "can't be a name here" in said
    assert reason in said
    assert ann.ls(f"outbox/{KARI}") == ["before"]


def test_the_longest_name_is_taken(ann: Guest) -> None:
    """255 bytes of UTF-8."""
    name = "æ" * 127 + "x"

    ann.put(CSV, f"outbox/{KARI}/before/{name}")

    assert name in ann.ls(f"outbox/{KARI}/before")
    assert ann.sftp(f"rm outbox/{KARI}/before/{name}").status == 0


def test_nfd_names_are_kept_as_nfc(house: House, kari: Guest, ann: Guest) -> None:
    """macOS sends them so; both spellings find the file."""
    nfc, nfd = "blåbær.csv", unicodedata.normalize("NFD", "blåbær.csv")

    ann.put(b"blue", f"outbox/{KARI}/Ref 1/{nfd}")

    with ann.paramiko() as sftp:
        assert sftp.listdir(f"outbox/{KARI}/Ref 1") == [nfc]
        assert sftp.stat(f"outbox/{KARI}/Ref 1/{nfd}").st_size == 4


def test_dots_never_lead_out_of_the_rooms(ann: Guest) -> None:
    """The root is the end of the way up; what is not one of four rooms is not there."""
    with ann.paramiko() as sftp:
        assert sftp.normalize("../../../etc/passwd") == "/etc/passwd"
        with pytest.raises(FileNotFoundError, match=r"There is no '/etc/passwd' here\."):
            sftp.stat(f"outbox/{KARI}/../../../../etc/passwd")
        assert sftp.listdir("inbox/../..") == ["README.txt", "inbox", "outbox", "sent"]
        with pytest.raises(PermissionError, match="Nothing in etc can be changed"):
            sftp.open(f"outbox/{KARI}/../../etc/passwd", "w")


def test_a_folder_that_is_not_there_gives_no_file_its_name(ann: Guest) -> None:
    """`put a.csv outbox/who/Ref/` where there is no `Ref` would else make a loose file `Ref`."""
    path = ann.file(CSV, "a.csv")

    assert "is a folder, not a file" in refused(ann, f"put {path} outbox/{KARI}/Ref/")
    ran = ann.scp(str(path), f"exchange:outbox/{KARI}/Ref/")
    assert ran.status == 1
    assert ann.ls(f"outbox/{KARI}") == ["before"]


# ---- rooms


def test_mkdir_of_a_folder_that_is_there_fails_and_stat_says_folder(ann: Guest) -> None:
    """FAILURE, as version 3 has no other word, and what lftp, curl and `put -r` do then goes on."""
    with ann.paramiko() as sftp:
        for path in ("outbox", f"outbox/{KARI}", f"outbox/{KARI}/before", "inbox"):
            if path == f"outbox/{KARI}":
                continue
            with pytest.raises(OSError, match="is there already") as refusal:
                sftp.mkdir(path)
            assert refusal.value.errno is None  # FAILURE, and neither ENOENT nor EACCES
            assert (sftp.stat(path).st_mode or 0) & 0o170000 == 0o040000
    (ann.home / "before").mkdir()
    ann.file(b"more", "before/more.csv")
    assert ann.sftp(f"put -R before outbox/{KARI}/").status == 0
    assert ann.sftp(f"rm outbox/{KARI}/before/more.csv").status == 0


def test_a_rename_to_another_room_is_refused(ann: Guest) -> None:
    """The file stays where it was."""
    for path in ("sent/7k3f-q2mp.txt", "README.txt", "inbox/7k3f-q2mp/data.csv"):
        said = refused(ann, f"rename outbox/{KARI}/before/data.csv {path}")
        assert "A file can be renamed within outbox only." in said
    assert ann.ls(f"outbox/{KARI}/before") == ["data.csv"]


@pytest.mark.parametrize("path", ["inbox/data.csv", "sent/data.csv", "data.csv", "README.txt"])
def test_writing_anywhere_but_in_the_outbox_is_refused(ann: Guest, path: str) -> None:
    """With a word on where to write."""
    said = refused(ann, f"put {ann.file(CSV)} {path}")

    assert "can be changed; files to send go in outbox/name@their.example/." in said


def test_nothing_in_a_received_shipment_can_be_changed(house: House, kari: Guest, ann: Guest) -> None:
    """Neither written, renamed nor added to."""
    shipment = letter_from_kari(house, kari)

    for line in (
        f"put {ann.file(CSV)} inbox/{shipment}/data.csv.age",
        f"mkdir inbox/{shipment}/sub",
        f"rename inbox/{shipment}/data.csv.age inbox/{shipment}/b.age",
    ):
        said = refused(ann, line)
        assert "Nothing in inbox can be changed" in said or "within outbox only" in said


def test_a_draft_can_not_be_read_back(ann: Guest) -> None:
    """Nor what is complete and not yet sent: it is sealed."""
    said = refused(ann, f"get outbox/{KARI}/before/data.csv")

    assert "'data.csv' is sealed and only its recipient can open it. You still have your own copy." in said


def test_links_are_not_made(ann: Guest) -> None:
    """Neither sort."""
    assert "There are no symbolic links on this exchange." in refused(ann, "symlink README.txt outbox/link")
    with ann.paramiko() as sftp, pytest.raises(PermissionError, match="There are no symbolic links"):
        sftp.readlink("README.txt")


def test_what_was_sent_can_not_be_written_on_but_put_again(house: House, kari: Guest, ann: Guest) -> None:
    """Writing beyond the start of a dispatched file would be half a file."""
    letter_from_kari(house, kari)
    kari.file(CSV + b"and more", "data.csv")

    said = refused(kari, f'reput data.csv "outbox/{ANN}/Ref 1/data.csv"')

    assert "'data.csv' was already sent; put the whole file to send it again." in said
    assert kari.sftp(f'put data.csv "outbox/{ANN}/Ref 1/data.csv"').status == 0


# ---- sealed content


@pytest.mark.parametrize(
    "spoil", [lambda age: age[:-1], lambda age: age[:-20] + b"\0" + age[-19:]], ids=["cut", "forged"]
)
def test_a_truncated_or_forged_age_file_does_not_open(
    house: House, kari: Guest, ann: Guest, spoil: Callable[[bytes], bytes]
) -> None:
    """Not with stock age and not with ours, and ours says what to do."""
    shipment = letter_from_kari(house, kari)
    code = house.code(shipment, house.exchange.people.find(ANN))
    path = ann.file(spoil(ann.get(f"inbox/{shipment}/data.csv.age")), "data.csv.age")

    with pytest.raises(AgeRefused):
        age_decrypt(path, passphrase=code)

    ran = ann.fxsftp("open", str(path), "--code-stdin", stdin=f"{code}\n".encode())
    assert ran.status == 1
    assert "does not verify" in ran.err
    assert "Traceback" not in ran.err
    assert not (ann.home / "data.csv").exists()


def test_a_body_damaged_on_the_exchanges_disk_is_not_handed_out(house: House, kari: Guest, ann: Guest) -> None:
    """The reader hears that it does not verify; of its damaged chunk not a byte is sent."""
    ann.put(CSV, f"outbox/{KARI}/other/data.csv")
    house.settle()
    found = next(name for name in kari.ls("inbox") if name.endswith("_other"))
    (blob,) = {
        file.blob for each in house.exchange.sent.shipments() for file in each.files if each.shipment.subject == "other"
    }
    (path,) = (house.settings.state / "vault").rglob(str(blob))
    path.chmod(0o600)
    with path.open("r+b") as body:
        body.seek(70_000)
        body.write(b"damage")

    said = refused(kari, f"get inbox/{found}/data.csv")

    assert "The sealed content does not verify" in said
    assert (kari.home / "data.csv").read_bytes() in (CSV[:65536], b"")


# ---- codes


def test_a_wrong_code_sounds_like_no_such_shipment(
    house: House, kari: Guest, ann: Guest, bob: Guest, heard: Callable[[], str]
) -> None:
    """For a wrong one, one with a slip, another's shipment and none at all; by mkdir as well; and none is logged."""
    shipment = letter_from_kari(house, kari)
    right, wrong = house.code(shipment, house.exchange.people.find(ANN)), new_code()
    slip = wrong[:-1] + ("0" if wrong[-1] != "0" else "1")
    tries = [(ann, shipment, wrong), (ann, shipment, slip), (bob, shipment, right), (ann, "0000-0000", wrong)]

    for guest, which, code in tries:
        ran = guest.ssh(f"open {which}", f"{code}\n".encode())
        assert ran.status == 1
        assert ran.err.splitlines()[-1] == LOCKED.format(which)
    for guest, which, code in tries:
        assert LOCKED.format(which) in refused(guest, f"mkdir inbox/{which}/{code}")

    for code in (right, wrong, slip):
        assert code not in heard()


def test_five_wrong_codes_in_a_row_close_opening_and_the_owner_is_told(house: House, kari: Guest, ann: Guest) -> None:
    """For 15 minutes, also for the right one; fetching and `age -d` go on."""
    shipment = letter_from_kari(house, kari)
    right = f"{house.code(shipment, house.exchange.people.find(ANN))}\n".encode()
    for _ in range(5):
        assert ann.ssh(f"open {shipment}", f"{new_code()}\n".encode()).status == 1

    ran = ann.ssh(f"open {shipment}", right)

    assert ran.status == 1
    assert f"Too many wrong codes: opening {shipment} is closed for 15 minutes." in ran.err
    assert [each.address for each in house.exchange.notices.list() if each.kind == "wrong_codes"] == [ANN]
    house.clock.turn(15 * 60)
    assert ann.ssh(f"open {shipment}", right).status == 0


# ---- commands


def test_what_is_no_command_exits_127_with_one_line(ann: Guest) -> None:
    """Shells, hashes that we don't do, scp's server side, and what only members may."""
    for command in ("md5sum x", "sha1sum x", "bash -i", "scp -t outbox", "rm -rf /", "invite a@b.example +4790000000"):
        ran = ann.ssh(command)
        assert (ran.status, ran.out, ran.err.count("\n")) == (127, "", 1), command


def test_wrong_usage_exits_2_and_shows_the_usage(ann: Guest) -> None:
    """Too few words, and quotation marks that don't close."""
    assert ann.ssh("open").err.splitlines()[-1] == "usage: ssh … open ID"
    assert ann.ssh("open").status == ann.ssh("send 'a").status == 2


def test_a_code_on_the_command_line_is_neither_taken_nor_repeated(ann: Guest, heard: Callable[[], str]) -> None:
    """It would stand in the history of a shell and in the list of processes."""
    code = new_code()

    ran = ann.ssh(f"open 7k3f-q2mp {code}")
    also = ann.ssh(code)

    assert (ran.status, also.status) == (2, 127)
    assert code not in ran.said + also.said + heard()


def test_there_is_no_shell_and_no_forwarding(ann: Guest) -> None:
    """Whoever asks is told what there is."""
    ran = ann.ssh()

    assert ran.status == 1
    assert "This service speaks SFTP only" in ran.err


# ---- packets


def test_a_stream_that_is_no_sftp_ends_that_session_only(ann: Guest, house: House) -> None:
    """What was being written in it stays a draft that can be resumed."""
    with ann.paramiko() as sftp:
        file = sftp.open(f"outbox/{KARI}/Ref 1/data.csv", "w")
        file.write(CSV)
        file.flush()
        channel = sftp.get_channel()
        assert channel
        channel.sendall(struct.pack(">IB", 1 << 30, 6) + b"x" * 100)

        until(channel.exit_status_ready)

        assert channel.recv_exit_status() == 1
        file.close()
    ann.file(CSV, "data.csv")
    assert ann.sftp(f'reput data.csv "outbox/{KARI}/Ref 1/data.csv"').status == 0


def test_errors_keep_their_numbers(ann: Guest) -> None:
    """Programs look at the code, people at the text."""
    with ann.paramiko() as sftp:
        for path in (f"outbox/{BOB}", "inbox/7k3f-q2mp", "sent/7k3f-q2mp.txt"):
            with pytest.raises(FileNotFoundError):
                sftp.stat(path)
        for path in ("inbox/7k3f-q2mp/a", "outbox/a.csv"):
            with pytest.raises(PermissionError):
                sftp.open(path, "w")
