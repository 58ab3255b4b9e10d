"""Carriers: a hook is found, judged, kept running and never believed more than it deserves."""

from __future__ import annotations

import asyncio
import grp
import json
import logging
import os
import pwd
import re
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fxsftp import carriers, shipped
from fxsftp.carriers import Answer, Carrier, Verdict, check, discreet, find
from fxsftp.errors import HookUnusable

ANSWER = 30  # seconds; a busy machine starts Python slowly
MESSAGE = {"id": "n-1", "to": "ann@firm.example", "text": "Hei på deg"}

# What each of these hooks does with the message that it is given; `answer` says 'carried'.
FRAME = """
    #!/usr/bin/env python3
    import json, os, signal, subprocess, sys, time
    settings = json.loads(sys.stdin.readline())["settings"]
    def say(text): print(text, flush=True)
    def answer(**more): say(json.dumps({"id": message["id"], "verdict": "carried", **more}))
    for line in sys.stdin:
        message = json.loads(line)
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a hook `mail-NAME`, by default into tmp_path itself."""

    def write(body: str, name: str = "test", folder: Path = tmp_path) -> Path:
        path = folder / f"mail-{name}"
        path.write_text(textwrap.dedent(FRAME).lstrip() + textwrap.indent(textwrap.dedent(body), "    ") + "\n")
        path.chmod(0o755)
        return path

    return write


def carry(program: Path, *messages: dict[str, object], first: float = ANSWER, **settings: object) -> list[Verdict]:
    """What one carrier brings back for each of the messages; the first gets `first` seconds."""

    async def walk() -> list[Verdict]:
        carrier = Carrier(program, settings)
        try:
            times = [first, *[ANSWER] * len(messages)]
            return [await carrier.carry(message, within) for message, within in zip(messages, times, strict=False)]
        finally:
            await carrier.close()

    return asyncio.run(walk())


# ---- finding -------------------------------------------------------------------------------------


def test_a_hook_is_found_by_way_and_name_in_the_first_folder_that_has_it(write, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    write("answer()", "own", second)
    assert find("mail", "own", [first, second]) == second / "mail-own"
    write("answer()", "own", first)
    assert find("mail", "own", [first, second]) == first / "mail-own"
    assert find("mail", "smtp", [first, second]) == shipped.folder("hooks") / "mail-smtp"
    write("answer()", "smtp", second)
    assert find("mail", "smtp", [first, second]) == second / "mail-smtp"


def test_a_hook_that_is_not_there_is_refused_with_the_names_of_those_that_are(write, tmp_path):
    write("answer()", "own")
    with pytest.raises(HookUnusable, match=r"mail-smpt.*there are: mail-own, mail-smtp, mail-spool$"):
        find("mail", "smpt", [tmp_path, tmp_path / "missing"])


@pytest.mark.parametrize("name", ["../mail-test", "test/../test", "", "Test", "te st", "-test", "test\n", "\0"])
def test_a_name_can_not_lead_out_of_its_folder(name, write, tmp_path):
    write("answer()")
    with pytest.raises(HookUnusable, match="small letters"):
        find("mail", name, [tmp_path])


def test_what_everyone_may_write_to_is_refused(write, tmp_path):
    path = write("answer()")
    check(path)
    path.chmod(0o757)
    with pytest.raises(HookUnusable, match=f"chmod o-w {path}"):
        find("mail", "test", [tmp_path])


def test_what_its_group_may_write_to_is_refused(write, tmp_path):
    path = write("answer()")
    path.chmod(0o775)
    with pytest.raises(HookUnusable, match=f"chmod g-w {path}"):
        find("mail", "test", [tmp_path], strict=True)


@pytest.mark.parametrize(
    ("uid", "gid", "members", "others", "is_own"),
    [
        (1000, 1000, [], [], True),  # a desktop's user and the group of the same name
        (1000, 1000, ["ann"], [], True),
        (1000, 1000, ["ann", "bob"], [], False),
        (1000, 1000, [], [1000], False),  # bob has it for his first group
        (1000, 100, [], [], False),  # not her own first group
        (0, 0, [], [], False),  # root needs no such comfort
        (4711, 4711, [], [], False),  # nobody knows this user
    ],
)
def test_a_group_is_the_owners_own_only_when_nobody_else_is_in_it(uid, gid, members, others, is_own, monkeypatch):
    def user(name, uid, gid):
        return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))

    users = [user("root", 0, 0), user("ann", 1000, 1000), *(user("bob", 1001, group) for group in others)]
    known = {user.pw_uid: user for user in users}
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(pwd, "getpwuid", known.__getitem__)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("group", "x", gid, members)))
    assert carriers._is_own_group(uid, gid) is is_own


@pytest.mark.parametrize("depth", [1, 2])
def test_a_folder_above_that_others_may_write_to_is_refused(depth, write, tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = write("answer()", folder=folder)
    open_one = path.parents[depth - 1]
    open_one.chmod(0o757)
    with pytest.raises(HookUnusable, match=f"chmod o-w {open_one}$"):
        check(path)
    open_one.chmod(0o1777)  # as /tmp is: there, only its owner can put another in the place of a file
    check(path)


def test_a_link_is_as_unsafe_as_each_folder_that_it_leads_through(write, tmp_path):
    far, between, near = tmp_path / "far", tmp_path / "between", tmp_path / "near"
    for folder in (far, between, near):
        folder.mkdir()
    write("answer()", folder=far)
    (between / "mail-test").symlink_to("../far/mail-test")
    (near / "mail-test").symlink_to(between / "mail-test")
    assert find("mail", "test", [near]) == near / "mail-test"
    between.chmod(0o757)
    with pytest.raises(HookUnusable, match=f"chmod o-w {between}$"):
        find("mail", "test", [near])


def test_links_in_a_circle_and_into_nothing_are_refused(tmp_path):
    (tmp_path / "mail-circle").symlink_to("mail-circle")
    (tmp_path / "mail-nothing").symlink_to("nowhere")
    with pytest.raises(HookUnusable, match="circle"):
        find("mail", "circle", [tmp_path])
    with pytest.raises(HookUnusable, match="No such file"):
        find("mail", "nothing", [tmp_path])


@pytest.mark.parametrize("strict", [False, True])
def test_what_belongs_to_somebody_else_is_refused(strict, write, tmp_path, monkeypatch):
    """Without being root one can't give a file away, so it is we who become somebody else, as far as we can see."""
    path = write("answer()")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(HookUnusable, match="belongs to"):
        check(path, strict=strict or os.geteuid() == 12345)


def test_what_is_not_a_program_is_refused(write, tmp_path):
    path = write("answer()")
    path.chmod(0o644)
    with pytest.raises(HookUnusable, match=f"chmod 755 {path}"):
        check(path)
    (tmp_path / "mail-folder").mkdir(mode=0o755)
    with pytest.raises(HookUnusable, match="not a program"):
        find("mail", "folder", [tmp_path])


# ---- carrying ------------------------------------------------------------------------------------


def test_one_process_carries_many_messages_and_hears_its_settings_first(write):
    program = write('answer(reference=f\'{os.getpid()} {settings["host"]} {message["text"]}\')')
    first, second = carry(program, MESSAGE, MESSAGE | {"id": "n-2"}, host="post.example")
    assert first.answer is Answer.CARRIED
    assert first.reference.endswith("post.example Hei på deg")
    assert first == second


def test_nothing_is_inherited_but_a_path_that_begins_with_our_own_python(write, monkeypatch):
    monkeypatch.setenv("FXSFTP_SECRET", "sesame")
    program = write("answer(reference=json.dumps([dict(os.environ), sys.executable, sys.argv, os.getcwd()]))")
    (verdict,) = carry(program, MESSAGE)
    environment, python, arguments, folder = json.loads(verdict.reference)
    ours = Path(sys.executable).parent
    assert environment["PATH"].startswith(f"{ours}:")
    assert set(environment) <= {"PATH", "LANG", "LC_CTYPE"}
    assert Path(python).parent == ours
    assert (arguments, folder) == ([str(program)], "/")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(3)", r"ended without an answer \(exit status 3\)"),
        ("sys.exit(0)", r"ended without an answer$"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"ended without an answer \(exit status -11\)"),
        ("sys.stdout.write('{\"id\"'); sys.stdout.flush(); sys.exit(1)", "ended within its answer"),
        ("say('hello')", "not JSON"),
        (r"sys.stdout.buffer.write(b'\xff\xfe\n'); sys.stdout.flush()", "not JSON"),
        ("say('')", "not JSON"),
        ("say('[' * 60000)", "not JSON"),
        ("say('[1]')", "another message"),
        ("answer(id='n-0')", "another message"),
        ("answer(verdict='yes')", "without a verdict"),
        ("answer(verdict=None)", "without a verdict"),
        ("answer(verdict=['carried'])", "without a verdict"),
        ("answer(reason='x' * 70000)", "over 64 KiB"),
        ("sys.stdout.write('x' * 200000); sys.stdout.flush()", "over 64 KiB"),
    ],
)
def test_a_hook_that_dies_or_answers_rubbish_costs_its_message_a_while_and_starts_anew(body, reason, write):
    program = write(f"if message['id'] == 'good': answer()\nelse: {body}")
    bad, good = carry(program, MESSAGE, MESSAGE | {"id": "good"})
    assert (bad.answer, bad.broke) == (Answer.LATER, True)
    assert good == Verdict(Answer.CARRIED)
    assert re.search(reason, bad.reason)


def test_a_hook_that_hangs_is_killed_with_all_its_children(write, tmp_path):
    program = write(
        f"""
        if message["id"] == "good":
            answer()
        else:
            child = subprocess.Popen(["sleep", "1000"])
            open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(1000)
        """
    )
    hung, good = carry(program, MESSAGE, MESSAGE | {"id": "good"}, first=3)
    assert hung == Verdict(Answer.LATER, "the hook mail-test gave no answer within 3 seconds", broke=True)
    assert good.answer is Answer.CARRIED
    assert is_gone(int((tmp_path / "child").read_text()))


def test_an_answer_after_the_time_is_never_taken_for_the_next_message(write):
    program = write("time.sleep(1000) if message['attempt'] == 1 else answer(reference=str(message['attempt']))")
    slow, good = carry(program, MESSAGE | {"attempt": 1}, MESSAGE | {"attempt": 2}, first=3)
    assert (slow.answer, good.reference) == (Answer.LATER, "2")


def test_a_hook_that_died_between_two_messages_harms_neither(write):
    """It is seen to be dead before the second is given to it."""
    program = write("answer(); sys.exit(1) if message['id'] == 'n-1' else None")

    async def walk() -> tuple[Verdict, Verdict]:
        carrier = Carrier(program, {})
        first = await carrier.carry(MESSAGE, ANSWER)
        assert carrier._running
        await carrier._running.wait()
        second = await carrier.carry(MESSAGE | {"id": "n-2"}, ANSWER)
        await carrier.close()
        return first, second

    assert {verdict.answer for verdict in asyncio.run(walk())} == {Answer.CARRIED}


def test_a_hook_that_answers_twice_is_found_out(write):
    first, second, third = carry(write("answer(); answer()"), *(MESSAGE | {"id": f"n-{n}"} for n in range(3)))
    assert [first.answer, second.answer, third.answer] == [Answer.CARRIED, Answer.LATER, Answer.CARRIED]


def test_a_hook_that_others_could_change_since_it_was_found_is_not_started(write, tmp_path):
    program = find("mail", write("answer()").name.removeprefix("mail-"), [tmp_path])
    program.chmod(0o777)
    (verdict,) = carry(program, MESSAGE)
    assert (verdict.answer, verdict.broke) == (Answer.LATER, True)
    assert "chmod o-w" in verdict.reason


@pytest.mark.parametrize("content", ["#!/nowhere/python3\n", "\x7fELF"])
def test_a_hook_that_does_not_start_is_told_in_the_reason(content, tmp_path):
    program = tmp_path / "mail-broken"
    program.write_text(content)
    program.chmod(0o755)
    (verdict,) = carry(program, MESSAGE)
    assert (verdict.answer, "does not start" in verdict.reason) == (Answer.LATER, True)


def test_closing_lets_a_hook_end_by_itself_and_kills_what_it_leaves_behind(write, tmp_path, monkeypatch):
    monkeypatch.setattr(carriers, "GRACE", 1.0)  # all of which is used up, for its child keeps the pipes open
    program = write(
        f"""
        child = subprocess.Popen(["sleep", "1000"])
        open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
        answer()
        """
    )
    with program.open("a") as file:
        file.write(f"open({str(tmp_path / 'ended')!r}, 'w')\n")
    assert carry(program, MESSAGE)[0].answer is Answer.CARRIED
    assert (tmp_path / "ended").exists()
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_courier_that_is_cancelled_leaves_no_hook_behind(write, tmp_path):
    program = write(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(1000)")

    async def walk() -> None:
        carrying = asyncio.create_task(Carrier(program, {}).carry(MESSAGE, ANSWER))
        assert await asyncio.to_thread(until, lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        carrying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await carrying

    asyncio.run(walk())
    assert is_gone(int((tmp_path / "pid").read_text()))


# ---- what is logged ------------------------------------------------------------------------------


def test_what_a_hook_says_on_stderr_is_logged_by_the_line_but_no_code_and_no_number(write, caplog):
    program = write("print('to +4790000012: 7k3f-q2mp-0abc-defg', 'is it', sep='\\n', file=sys.stderr); answer()")
    with caplog.at_level(logging.INFO, "fxsftp"):
        carry(program, MESSAGE)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["hook mail-test: to …12: ****", "hook mail-test: is it"]


def test_a_hook_that_says_too_much_neither_blocks_nor_fills_the_log(write, caplog):
    program = write("sys.stderr.write('x\\n' * 100000 + 'y' * 300000); sys.stderr.flush(); answer()")
    with caplog.at_level(logging.INFO, "fxsftp"):
        (verdict,) = carry(program, MESSAGE)
    assert verdict.answer is Answer.CARRIED
    assert len(caplog.records) < 210
    assert max(len(record.getMessage()) for record in caplog.records) < 400


def test_a_reason_is_one_short_line_without_codes_or_numbers(write):
    program = write("answer(verdict='failed', reason='no\\n+47 900 00 012 7k3f-q2mp-0abc-defg' + ' x' * 1000)")
    (verdict,) = carry(program, MESSAGE)
    assert verdict.answer is Answer.FAILED
    assert verdict.reason.startswith("no …12 **** x x")
    assert len(verdict.reason) <= 300


@pytest.mark.parametrize(
    "plain",
    [
        "shipment 7k3f-q2mp",
        "2026-11-22 14:05:00",
        "the mail server answered 550 5.1.1 no such user",
        "SM00a1b2c3d4e5f6",
    ],
)
def test_what_only_looks_a_little_like_a_code_or_a_number_stays(plain):
    assert discreet(plain) == plain


def is_gone(pid: int) -> bool:
    """Whether a process ends in time; a zombie has."""
    state = Path(f"/proc/{pid}/stat")

    def has_ended() -> bool:
        try:
            return state.read_text().rpartition(")")[2].split()[0] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True

    return until(has_ended)


def until(claim: Callable[[], object]) -> bool:
    """Whether `claim` comes true in time."""
    end = time.monotonic() + ANSWER
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
