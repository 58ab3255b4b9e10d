"""`fxsftp send`, `fetch` and `open` as a person and as a cron job use them."""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pyrage
import pytest
from click.testing import CliRunner, Result

from fxsftp.domain.ids import new_code
from fxsftp.fronts.cli.partner import COMMANDS
from fxsftp.seal import CodeLock, seal_small

KARI = "kari@ssb.example"
ONE, TWO = "2026-11-22_7k3f-q2mp_Ref", "2026-11-23_0000-0000_Other"
fxsftp = click.Group("fxsftp", {command.name or "": command for command in COMMANDS})


@pytest.fixture
def run(foreign, key_file, tmp_path, monkeypatch):
    """Run a command as a partner with a profile."""
    home = tmp_path / "home"
    profile = home / ".config" / "fxsftp" / "partner.toml"
    profile.parent.mkdir(parents=True)
    profile.write_text(
        f'[exchange]\nhost = "127.0.0.1"\nport = {foreign.port}\nuser = "ann@firm.example"\nkey = "{key_file}"\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (home / ".ssh").mkdir()
    public = foreign.host_key.export_public_key().decode()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{foreign.port} {public}")

    def ran(*words: object, stdin: str = "") -> Result:
        result = CliRunner().invoke(fxsftp, [str(word) for word in words], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return ran


def _shipment(foreign, files: dict[str, bytes], name: str = ONE) -> Path:
    folder = foreign.root / "inbox" / name
    folder.mkdir()
    for path, content in files.items():
        (folder / path).write_bytes(content)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in files.items())
    (folder / "SHA256SUMS").write_text(sums)
    return folder


def test_sending_says_one_line(foreign, run, tmp_path):
    foreign.answer = ("sent: 7k3f-q2mp\n", "", 0)
    (tmp_path / "a.csv").write_bytes(b"12345")
    result = run("send", tmp_path / "a.csv", "--to", KARI, "--reference", "Ref 1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"1 file, 5 bytes, sent to {KARI} as 7k3f-q2mp\n"
    assert (foreign.root / "outbox" / KARI / "Ref 1" / "a.csv").read_bytes() == b"12345"


def test_fetching_says_one_line_each_and_nothing_the_second_time(foreign, run, tmp_path):
    _shipment(foreign, {"a": b"1", "b": b"2"})
    first, second = (run("fetch", "--into", tmp_path / "in") for _ in range(2))
    assert (first.exit_code, first.stdout, first.stderr) == (0, f"{tmp_path}/in/{ONE}: 2 new\n", "")
    assert (second.exit_code, second.stdout, second.stderr) == (0, "", "")


def test_one_bad_shipment_is_told_and_the_others_come(foreign, run, tmp_path):
    """Exit 1, the shipment and its reason on stderr."""
    (_shipment(foreign, {"a": b"1"}) / "a").write_bytes(b"2")
    _shipment(foreign, {"b": b"1"}, TWO)
    result = run("fetch", "--into", tmp_path / "in")
    assert (result.exit_code, result.stdout) == (1, f"{tmp_path}/in/{TWO}: 1 new\n")
    assert result.stderr.startswith(f"fxsftp: {ONE}: 'a' is not what SHA256SUMS says")


def test_codes_come_by_standard_input(foreign, run, tmp_path):
    """Lines of ID CODE, each for its shipment."""
    codes = {ONE: new_code(), TWO: new_code()}
    for name, code in codes.items():
        _shipment(foreign, {"a.age": seal_small(name.encode(), CodeLock(code))}, name)
    result = run(
        "fetch", "--into", tmp_path / "in", "--code-stdin", stdin=f"0000-0000 {codes[TWO]}\n7k3f-q2mp {codes[ONE]}\n"
    )
    assert result.stdout == f"{tmp_path}/in/{ONE}: 1 new, 1 opened\n{tmp_path}/in/{TWO}: 1 new, 1 opened\n"
    assert (tmp_path / "in" / TWO / "a").read_bytes() == TWO.encode()


def test_the_key_that_logs_in_opens(foreign, run, tmp_path):
    recipient = pyrage.ssh.Recipient.from_str(foreign.user_key.export_public_key().decode())
    _shipment(foreign, {"a.age": pyrage.encrypt(b"for ann", [recipient])})
    assert run("fetch", "--into", tmp_path / "in", "--open").exit_code == 0
    assert (tmp_path / "in" / ONE / "a").read_bytes() == b"for ann"


def test_removing_and_naming_a_shipment(foreign, run, tmp_path):
    _shipment(foreign, {"a": b"1"})
    _shipment(foreign, {"b": b"1"}, TWO)
    assert run("fetch", "--into", tmp_path / "in", "--remove", "--shipment", "7k3f-q2mp").exit_code == 0
    assert [path.name for path in (foreign.root / "inbox").iterdir()] == [TWO]


def test_opening_says_where(run, tmp_path):
    """With KEY.age among the files, as a shell's *.age gives it."""
    code = new_code()
    for name in ("KEY.age", "a.age", "b.age"):
        (tmp_path / name).write_bytes(seal_small(b"x", CodeLock(code)))
    result = run("open", *sorted(tmp_path.glob("*.age")), "--code-stdin", stdin=code.upper() + "\n")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/a\n{tmp_path}/b\n")


def test_a_code_is_asked_for_and_not_shown(tmp_path):
    """On a terminal, as people have one; what they type does not appear on it."""
    code = new_code()
    (tmp_path / "a.age").write_bytes(seal_small(b"x", CodeLock(code)))
    ours, its = pty.openpty()
    command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "fxsftp", "open", tmp_path / "a.age"]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as program:
        os.close(its)
        shown = b""
        while b"Code: " not in shown and (piece := _shown(ours)):
            shown += piece
        os.write(ours, code.encode() + b"\n")
        while piece := _shown(ours):
            shown += piece
    os.close(ours)
    assert (program.returncode, (tmp_path / "a").read_bytes()) == (0, b"x")
    assert code.encode() not in shown


def _shown(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how a terminal ends on Linux
        return b""


def test_a_code_that_nobody_can_be_asked_for_is_usage(run, tmp_path):
    """A batch job that forgot --code-stdin hears so at once, and does not wait."""
    (tmp_path / "a.age").write_bytes(seal_small(b"x", CodeLock(new_code())))
    result = run("open", tmp_path / "a.age")
    assert result.exit_code == 2
    assert "--code-stdin" in result.stderr


def test_what_does_not_open_is_told_with_a_hint(run, tmp_path):
    """Each file for itself; the others are opened."""
    code = new_code()
    (tmp_path / "a.age").write_bytes(seal_small(b"x", CodeLock(new_code())))
    (tmp_path / "b.age").write_bytes(seal_small(b"x", CodeLock(code)))
    result = run("open", tmp_path / "a.age", tmp_path / "b.age", "--code-stdin", stdin=code)
    assert (result.exit_code, result.stdout) == (1, f"{tmp_path}/b\n")
    assert "a.age: That code does not open a.age" in result.stderr
    assert "hint: each shipment has its own code" in result.stderr


def test_an_unknown_host_is_told_with_the_option_that_accepts_it(run, tmp_path):
    (Path(os.environ["HOME"]) / ".ssh" / "known_hosts").write_text("")
    result = run("fetch", "--into", tmp_path / "in")
    assert result.exit_code == 1
    assert "SHA256:" in result.stderr
    assert "--accept-new-host-key" in result.stderr
    assert run("fetch", "--into", tmp_path / "in", "--accept-new-host-key").exit_code == 0
    assert run("fetch", "--into", tmp_path / "in").exit_code == 0


def test_what_passes_by_itself_has_its_own_exit_code(run, tmp_path):
    """Nobody answers: 3, try again later.  Refused: 1, somebody must look."""
    (tmp_path / "a").write_bytes(b"x")
    assert run("fetch", "--into", tmp_path / "in", "--port", 1).exit_code == 3
    assert run("fetch", "--into", tmp_path / "in", "--user", "bob@works.example").exit_code == 1
    assert run("send", tmp_path / "a", "--to", "nobody").exit_code == 1


def test_a_password_comes_by_standard_input(run, password, tmp_path):
    profile = Path(os.environ["HOME"]) / ".config" / "fxsftp" / "partner.toml"
    profile.write_text("\n".join(line for line in profile.read_text().splitlines() if not line.startswith("key")))
    assert run("fetch", "--into", tmp_path / "in", "--password-stdin", stdin=password + "\n").exit_code == 0
    assert run("fetch", "--into", tmp_path / "in", "--ask-password", stdin=password + "\n").exit_code == 0
    assert run("fetch", "--into", tmp_path / "in", "--password-stdin", stdin="wrong\n").exit_code == 1


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("[exchange\n", "can't be used"),
        ('[exchange]\nhots = "x"\n', "no key 'hots'"),
        ('[exchange]\nport = "22"\n', "port must be a number"),
        ("[other]\n", "one table"),
        ("[exchange]\n", "--host and --user"),
    ],
)
def test_a_profile_that_is_wrong_is_usage(run, tmp_path, profile, said):
    """Exit 2, with the file and what is wrong in it."""
    (Path(os.environ["HOME"]) / ".config" / "fxsftp" / "partner.toml").write_text(profile)
    result = run("fetch", "--into", tmp_path / "in")
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_no_secret_fits_on_the_command_line():
    """Codes, passwords and passphrases have no option that takes them as a word."""
    options = [option for command in COMMANDS for option in command.params if isinstance(option, click.Option)]
    secret = [o for o in options if {"code", "pass"} & {part[:4] for name in o.opts for part in name.split("-")}]
    assert secret
    assert all(option.is_flag for option in secret)
