"""Commands by ssh: each says one thing, and its exit status is true."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from tests.exchange.hands import Hand, another_process, files_of
from tests.exchange.post import PORTAL, token
from tests.fronts.sftp.conftest import ANN, BOB, KARI, Door
from tests.house import House


def test_help_shows_what_this_user_may_ask(door: Door) -> None:
    """Members can invite, so only they read of it; what is for programs that probe is not shown."""
    for email, may_invite in ((KARI, True), (ANN, False)):
        status, said, complaint = door.command(email, "help")
        assert (status, complaint) == (0, "")
        assert ("invite EMAIL PHONE" in said) is may_invite
        assert "status [ID]" in said
        assert "echo" not in said


@pytest.mark.parametrize("command", ["md5sum", "md5sum '/outbox/x'", "sha1sum x", "md5 -r", "rclone md5sum", "/bin/sh"])
def test_what_there_is_not_exits_127_in_one_line(door: Door, command: str) -> None:
    status, said, complaint = door.command(KARI, command)
    assert (status, said, complaint.count("\n")) == (127, "", 1)


@pytest.mark.parametrize("command", ["scp -t /outbox", "scp -f /inbox/x", "scp -r -p -d -t ."])
def test_the_old_scp_is_refused_with_the_way_out(door: Door, command: str) -> None:
    status, _, complaint = door.command(KARI, command)
    assert (status, "without -O" in complaint) == (127, True)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("echo ${ShellId}%ComSpec%", "%ComSpec%\n"),
        ("echo hello  'two  words' $HOME", "hello two  words\n"),
        ("echo", "\n"),
        ("pwd", "/\n"),
        ("sha256sum", f"{hashlib.sha256().hexdigest()}  -\n"),
    ],
)
def test_clients_that_probe_get_true_answers(door: Door, command: str, answer: str) -> None:
    """rclone keeps in its settings what it hears: a wrong answer sticks."""
    assert door.command(ANN, command) == (0, answer, "")


@pytest.mark.parametrize("command", ["open", "status a b", "recall", "keys x", "open 7k3f-q2mp extra", "help 'x"])
def test_wrong_usage_exits_2(door: Door, command: str) -> None:
    status, said, complaint = door.command(KARI, command)
    assert (status, said, complaint.count("\n")) == (2, "", 1)


def test_send_takes_along_what_another_worker_has_in_hand(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file has no row before its CLOSE, so that the folder would leave without it."""
    house, other = door.house, another_process(door.house)
    there, in_hand = Hand(house, door.users[ANN], exchange=other), house.exchange.writing.in_hand
    there.put(f"/outbox/{KARI}/Ref/a.csv", b"the first makes the drop")
    draft = there.open(f"/outbox/{KARI}/Ref/b.csv")
    draft.write(0, b"small")
    assert not draft.has_row
    looks = []

    def look_and_close(user_id: int) -> bool:
        looks.append(is_elsewhere(user_id))
        if len(looks) == 2:
            there.close(draft)
        return looks[-1]

    is_elsewhere = in_hand.is_elsewhere
    monkeypatch.setattr(in_hand, "is_elsewhere", look_and_close)
    status, said, _ = door.command(ANN, "send Ref")

    assert (status, said.count("sent to"), looks) == (0, 1, [True, True, False])
    (drop,) = there.drops()
    assert [file.name for file in files_of(house, drop.id)] == ["a.csv", "b.csv"]
    other.close()


def test_send_does_not_wait_and_status_tells(door: Door) -> None:
    door.house.put(door.users[KARI], f"outbox/{ANN}/Ref 1/a.csv", b"x")
    status, said, _ = door.command(KARI, "send 'Ref 1'")
    assert (status, "Ref 1" in said, ANN in said) == (0, True, True)
    shipment = said.split()[0]
    assert door.command(KARI, "send") == (0, "Nothing is waiting to be sent.\n", "")
    status, said, _ = door.command(KARI, "status")
    assert (status, said.split("  ")[0], "waiting" in said) == (0, shipment, True)
    status, said, _ = door.command(KARI, f"status {shipment}")
    assert (status, shipment in said, "a.csv" in said) == (0, True, True)
    assert door.command(ANN, f"status {shipment}")[0] == 1
    assert door.command(KARI, "status zzzz-zzzz")[0] == 1
    assert door.command(KARI, "send 'Ref 9'")[0] == 1


def test_open_takes_the_code_from_stdin_however_it_was_typed(door: Door) -> None:
    shipment = door.deliver(KARI, ANN, b"secret")
    code = door.house.code(shipment, door.users[ANN])
    status, said, complaint = door.command(ANN, f"open {shipment}", typed="0000-0000-0000-0000\n")
    assert (status, said, shipment in complaint) == (1, "", True)
    typed = f"  {code.upper().replace('-', ' ')}\r\nmore"
    status, said, complaint = door.command(ANN, f"open {shipment}", typed=typed)
    assert (status, f"inbox/{shipment}/" in said, complaint) == (0, True, "")
    assert door.exchange.opening.is_open(door.users[ANN], shipment, door.house.clock())


def test_a_person_is_asked_for_the_code_and_a_program_is_not(door: Door) -> None:
    """Where nothing is typed for a second, a line on stderr says what is waited for."""
    shipment = door.deliver(KARI, ANN, b"secret")
    code = door.house.code(shipment, door.users[ANN])

    async def walk() -> None:
        async with door.connect(ANN) as conn:
            process = await conn.create_process(f"open {shipment}")
            assert "Type the code" in await process.stderr.readline()
            process.stdin.write(code + "\n")
            assert (await process.wait()).returncode == 0

    asyncio.run(walk())


def test_an_unknown_shipment_and_a_wrong_code_get_the_same_answer(door: Door) -> None:
    shipment = door.deliver(KARI, ANN, b"secret")
    wrong = door.command(ANN, f"open {shipment}", typed="0000-0000-0000-0000\n")
    unknown = door.command(ANN, "open zzzz-zzzz", typed="0000-0000-0000-0000\n")
    assert wrong[0] == unknown[0] == 1
    assert wrong[2].replace(shipment, "zzzz-zzzz") == unknown[2]


def test_recall_says_what_was_read(door: Door) -> None:
    shipment = door.deliver(KARI, ANN, b"x")
    assert door.command(ANN, f"recall {shipment}")[0] == 1
    status, said, _ = door.command(KARI, f"recall {shipment}")
    assert (status, bool(said.strip())) == (0, True)
    status, _, complaint = door.command(KARI, f"recall {shipment}")
    assert (status, "recalled" in complaint) == (1, True)


def test_a_sender_has_the_same_code_sent_again_and_status_says_what_became_of_it(door: Door) -> None:
    shipment = door.deliver(KARI, ANN, b"x")
    status, said, _ = door.command(KARI, f"resend {shipment} {ANN} +4791111119")
    assert (status, said) == (0, f"The same code for {shipment} goes to {ANN} again, to the phone …19\n")
    assert door.command(ANN, f"resend {shipment} {ANN}")[0] == 1
    notices, now = door.exchange.notices, door.house.clock()
    code = next(each for each in notices.list("due") if each.kind == "code")
    door.exchange.carriage.undelivered(code.id, way="sms", reason="the phone is off", hard=False, now=now)
    told = door.command(KARI, f"status {shipment}")[1]
    assert f"{ANN}  SMS: failed (the phone is off)" in told
    assert "+47" not in told


def test_members_invite_and_partners_do_not_know_that_one_can(door: Door) -> None:
    status, said, _ = door.command(KARI, f"invite {BOB} +4790000001")
    assert (status, BOB in said) == (0, True)
    assert door.command(ANN, f"invite {BOB} +4790000001")[0] == 127
    assert door.command(KARI, "invite nonsense +4790000001")[0] == 1
    assert door.command(KARI, f"invite x{BOB} 12")[0] == 1


def test_keys_are_shown_by_fingerprint(door: Door) -> None:
    status, said, _ = door.command(ANN, "keys")
    (key,) = door.exchange.people.keys(ANN)
    assert (status, said.startswith(key.fingerprint)) == (0, True)


def test_sums_are_of_what_was_sent_and_of_what_can_be_fetched(door: Door) -> None:
    content = b"a;b\n" * 1000
    total = hashlib.sha256(content).hexdigest()
    shipment = door.deliver(ANN, KARI, content)
    sent, offered = f"/outbox/{KARI}/Ref 1/report.csv", f"/inbox/{shipment}/report.csv"
    assert door.command(ANN, f"sha256sum '{sent}'") == (0, f"{total}  {sent}\n", "")
    assert door.command(KARI, f"sha256sum {offered} {offered}") == (0, f"{total}  {offered}\n" * 2, "")
    status, _, complaint = door.command(KARI, "sha256sum /inbox/nothing")
    assert (status, complaint.count("\n")) == (1, 1)
    assert door.command(KARI, "sha256sum README.txt")[0] == 0


def test_df_shows_the_quota(door: Door) -> None:
    door.exchange.people.change(ANN, 0.0, quota=1 << 30)  # less than any disk here has free
    status, said, _ = door.command(ANN, "df -k /outbox")
    head, line = said.splitlines()
    assert (status, head.split()[1], line.split()[1]) == (0, "1K-blocks", str(1 << 20))


def test_who_wants_a_shell_is_told_what_there_is(door: Door) -> None:
    """The system's ssh: one line, exit 1, and no terminal."""
    done = door.openssh("ssh", KARI, "-T", "127.0.0.1")
    assert done.returncode == 1
    assert "SFTP only" in done.stderr


def test_a_command_by_the_systems_ssh(door: Door) -> None:
    done = door.openssh("ssh", ANN, "127.0.0.1", "pwd")
    assert (done.returncode, done.stdout, done.stderr) == (0, "/\n", "")


def test_a_command_whose_client_vanishes_leaves_nothing_behind(door: Door) -> None:
    """`open` waits for a code that never comes: the connection goes, and so does the wait."""

    async def walk() -> None:
        conn = await door.connect(ANN)
        await conn.create_process("open 7k3f-q2mp")
        conn.abort()
        await conn.wait_closed()

    asyncio.run(walk())
    door.until(lambda: not door.listener.guests)


def test_where_there_is_a_portal_the_invitation_that_ssh_sends_has_a_link(tmp_path: Path) -> None:
    with House(tmp_path / "with a portal", settings_text=PORTAL) as house:
        door = Door(house)
        assert door.command(KARI, f"invite {BOB} +4790000001")[0] == 0
        link = token(house, "invited", BOB)
        assert door.exchange.links.look("invited", link, house.clock()).phone == "+4790000001"
