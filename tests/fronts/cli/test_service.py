"""The command line itself: settings, exit statuses, init, serve, doctor; and that it never shows a trace."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from fxsftp import __version__, app, founding
from fxsftp.errors import StoreFull, Unavailable
from fxsftp.fronts import cli
from fxsftp.settings import Settings, load
from tests.fronts.cli.conftest import Admin
from tests.house import ANN, House

DEADLINE = 60  # seconds; what is waited for takes two


def wired(**parts: object) -> click.Group:
    """The command line as `fxsftp` has it, but for the parts given."""
    usual = {
        "load": lambda path: load(path, {}),
        "exchange": app.open_exchange,
        "found": founding.found,
        "serve": lambda _settings, _only: 0,
        "boot": lambda: (0.0, "boot"),
        "now": time.time,
    }
    return cli.build(cli.Wiring(**(usual | parts)))  # type: ignore[arg-type]


# ---- settings and statuses -----------------------------------------------------------------------


def test_the_settings_file_may_be_named_before_or_after_the_command(admin: Admin, house: House) -> None:
    file = str(house.folder / "fxsftp.toml")
    for words in (
        ["--settings", file, "user", "list"],
        ["user", "--settings", file, "list"],
        ["user", "list", "--settings", file],
        ["group", "member", "--settings", file, "add", "--help"],
    ):
        done = CliRunner().invoke(admin.command, words)
        assert done.exit_code == 0, done.output


def test_every_admin_command_takes_settings(admin: Admin) -> None:
    partner = {"send", "fetch", "open"}

    def walk(command: click.Command) -> None:
        assert "--settings" in [option for each in command.params for option in each.opts], command.name
        for name, each in getattr(command, "commands", {}).items():
            if name not in partner:
                walk(each)

    walk(admin.command)


def test_settings_from_the_environment_are_found(tmp_path: Path) -> None:
    founding.found(tmp_path / "x", demo=True, sftp_port=0)
    command = wired(load=lambda path: load(path, {"FXSFTP_SETTINGS": str(tmp_path / "x" / "fxsftp.toml")}))
    assert CliRunner().invoke(command, ["user", "list", "--json"]).stdout == "[]\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[exchange]\nstate = [", "is not TOML"),
        ("[exchnge]\n", "did you mean"),
        ("[sftp]\nport = 70000\n", "sftp.port"),
        ("[exchange]\nsettle_loose = 'soon'\n", "exchange.settle_loose"),
    ],
)
def test_settings_that_can_not_be_used_exit_with_2(admin: Admin, house: House, line: str, reason: str) -> None:
    (house.folder / "fxsftp.toml").write_text(line)
    assert reason in admin.refused("user", "list", status=2)


def test_a_settings_file_that_is_not_there_exits_with_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(wired(), ["user", "list", "--settings", str(tmp_path / "no.toml")])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)


def test_what_may_succeed_later_exits_with_3(admin: Admin, house: House) -> None:
    def busy(settings: Settings, *, role: str = "admin") -> object:
        raise Unavailable("its registry is being moved")

    done = CliRunner().invoke(wired(exchange=busy), ["user", "list", "--settings", str(house.folder / "fxsftp.toml")])
    assert done.exit_code == 3
    assert "Try again in a moment" in done.stderr


@pytest.mark.parametrize("problem", [StoreFull(), OSError(28, "No space left on device", "/var/lib/fxsftp")])
def test_a_full_disk_is_one_line_and_exits_with_3(house: House, problem: Exception) -> None:
    def full(settings: Settings, *, role: str = "admin") -> object:
        raise problem

    done = CliRunner().invoke(wired(exchange=full), ["user", "list", "--settings", str(house.folder / "fxsftp.toml")])
    assert (done.exit_code, len(done.stderr.splitlines())) == (3, 1)


def test_what_nobody_foresaw_is_one_line_and_its_trace_one_variable_away(house: House) -> None:
    def broken(settings: Settings, *, role: str = "admin") -> object:
        raise KeyError("secret inside")

    words = ["user", "list", "--settings", str(house.folder / "fxsftp.toml")]
    done = CliRunner().invoke(wired(exchange=broken), words)
    assert (done.exit_code, len(done.stderr.splitlines())) == (70, 1)
    assert "secret inside" not in done.stderr
    told = CliRunner(env={"FXSFTP_DEBUG": "1"}).invoke(wired(exchange=broken), words)
    assert "Traceback" in told.stderr


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["user"], ["user", "add"], ["user", "list", "--nope"], ["user", "show", "a", "b"], ["--port"]],
)
def test_wrong_usage_exits_with_2(admin: Admin, words: list[str]) -> None:
    assert admin(*words).exit_code == 2


def test_the_version_is_said(admin: Admin) -> None:
    assert CliRunner().invoke(admin.command, ["--version"]).stdout == f"fxsftp {__version__}\n"


def test_every_command_has_a_help_text(admin: Admin) -> None:
    def walk(command: click.Command) -> None:
        assert command.help, command.name
        for each in getattr(command, "commands", {}).values():
            walk(each)

    walk(admin.command)


def test_a_registry_from_a_newer_version_is_refused_by_its_own_words(people: Admin, house: House) -> None:
    house.exchange.close()
    with sqlite3.connect(house.settings.registry) as registry:
        tables = [name for (name,) in registry.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        (migrations,) = [name for name in tables if "migration" in name]
        columns = [row[1] for row in registry.execute(f"PRAGMA table_info({migrations})")]
        values = {"migration_set": "registry", "name": "from tomorrow", "applied_at": "2030-01-01"}
        chosen = [column for column in columns if column in values]
        marks = ", ".join("?" * len(chosen))
        registry.execute(
            f"INSERT INTO {migrations} ({', '.join(chosen)}) VALUES ({marks})", [values[column] for column in chosen]
        )
    registry.close()
    assert "newer version" in people.refused("user", "list")


# ---- init and serve ------------------------------------------------------------------------------


def test_init_makes_an_exchange_and_never_writes_over_one(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    done = CliRunner().invoke(
        wired(), ["init", "--demo", str(folder), "--port", "2299", "--institution", 'Ålesund "A"']
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{folder}/fxsftp.toml made; the host key is SHA256:")
    settings = load(folder / "fxsftp.toml", {})
    assert (settings.sftp.port, settings.institution.name, settings.exchange.demo) == (2299, 'Ålesund "A"', True)
    assert settings.state.parent == folder
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    again = CliRunner().invoke(wired(), ["init", "--demo", str(folder)])
    assert again.exit_code == 2
    assert "there is an exchange in" in again.stderr
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_init_takes_no_name_that_would_part_a_code_in_two_sms(tmp_path: Path) -> None:
    done = CliRunner().invoke(wired(), ["init", "--demo", str(tmp_path / "x"), "--institution", "x" * 48])
    assert done.exit_code == 2
    assert "has 48 letters" in done.stderr
    assert "sms_name" in done.stderr
    assert not (tmp_path / "x").exists()


def test_init_without_a_demo_configures_no_spools(tmp_path: Path) -> None:
    assert CliRunner().invoke(wired(), ["init", str(tmp_path / "x")]).exit_code == 0
    settings = load(tmp_path / "x" / "fxsftp.toml", {})
    assert (settings.exchange.demo, settings.notify.mail, settings.notify.sms) == (False, "", "")


def test_init_in_a_place_that_is_a_file_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert CliRunner().invoke(wired(), ["init", str(tmp_path / "file")]).exit_code == 2


@pytest.mark.parametrize("only", [None, "sftp", "courier", "sweep"])
def test_serve_ends_with_the_status_of_what_it_served(house: House, only: str | None) -> None:
    asked = []

    def serve(settings: Settings, service: str | None) -> int:
        asked.append((settings.file, service))
        return 7

    words = ["serve", "--settings", str(house.folder / "fxsftp.toml"), *(("--only", only) if only else ())]
    assert CliRunner().invoke(wired(serve=serve), words).exit_code == 7
    assert asked == [(house.folder / "fxsftp.toml", only)]


def test_a_service_that_breaks_leaves_its_trace_in_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    def broken(settings: Settings, service: str | None) -> int:
        raise KeyError("in the engine room")

    words = ["serve", "--only", "courier", "--settings", str(house.folder / "fxsftp.toml")]
    assert CliRunner().invoke(wired(serve=broken), words).exit_code == 1
    assert "courier ended in an unforeseen way" in caplog.text
    assert "in the engine room" in caplog.text


# ---- doctor --------------------------------------------------------------------------------------


def findings(admin: Admin) -> dict[str, tuple[str, str]]:
    done = admin("doctor", "--json")
    return {each["what"]: (each["state"], each["says"]) for each in json.loads(done.stdout)}


def test_doctor_finds_a_sound_exchange_well(people: Admin) -> None:
    assert people("doctor").exit_code == 0
    found = findings(people)
    assert {what for what, (state, _) in found.items() if state == "wrong"} == set()
    assert found["mail"] == ("well", "by the hook mail-spool")


def test_doctor_names_a_key_that_is_missing_or_lies_open(people: Admin, house: House) -> None:
    (house.folder / "house.key").chmod(0o644)
    (house.folder / "courier.key").unlink()
    assert people("doctor").exit_code == 1
    found = findings(people)
    assert found["house key"][0] == "wrong"
    assert "0644" in found["house key"][1]
    assert found["courier key"][0] == "wrong"


def test_doctor_says_when_what_is_kept_of_the_disk_is_touched(
    people: Admin, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10 << 30, free=200 << 20))
    assert findings(people)["disk"] == (
        "wrong",
        f"200.0 MiB free of 10.0 GiB for {house.settings.state}; 256.0 MiB are kept free, "
        "and so nothing new is taken in until there is room",
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10 << 30, free=2 << 30))
    assert findings(people)["disk"] == ("well", f"2.0 GiB free of 10.0 GiB for {house.settings.state}")


def test_doctor_says_for_what_notices_wait(people: Admin, house: House) -> None:
    people.does("user", "change", ANN, "--phone", "+4791111111")
    file = house.folder / "fxsftp.toml"
    file.write_text(file.read_text().replace('mail = "spool"', "").replace('sms = "spool"', 'sms = "pigeon"'))
    found = findings(people)
    assert found["mail"] == ("waits", "no hook: set [notify] mail; 1 notice for it")
    assert found["sms"][0] == "wrong"
    assert "sms-pigeon" in found["sms"][1]


def test_doctor_sees_whether_the_exchange_answers(people: Admin, house: House) -> None:
    def with_port(port: int) -> tuple[str, str]:
        file = house.folder / "fxsftp.toml"
        lines = [f"port = {port}" if line.startswith("port") else line for line in file.read_text().splitlines()]
        file.write_text("\n".join(lines) + "\n")
        return findings(people)["sftp"]

    assert with_port(house.port)[0] == "well"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert with_port(port)[0] == "waits"


def test_doctor_shows_what_is_held(people: Admin, house: House) -> None:
    people.does("user", "change", ANN, "--phone", "")
    kari = house.exchange.people.find("kari@ssb.example")
    house.put(kari, f"/outbox/{ANN}/Ref/data.csv", b"1")
    house.settle()
    state, said = findings(people)["held"]
    assert state == "waits"
    assert "has no phone number" in said


# ---- at a terminal -------------------------------------------------------------------------------


def typed(words: list[str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run `fxsftp` in a terminal: wait for each question, type its answer.  What came, and the exit status."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fxsftp", *words], stdin=child, stdout=child, stderr=child, start_new_session=True
    )
    os.close(child)
    shown, waiting, end = "", list(answers), time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if not select.select([parent], [], [], 1)[0]:
            continue
        try:
            shown += os.read(parent, 4096).decode()
        except OSError:
            break
        if waiting and waiting[0][0] in shown.rpartition("\n")[2]:
            os.write(parent, waiting.pop(0)[1].encode() + b"\n")
            shown += "\n"
    os.close(parent)
    return process.wait(DEADLINE), shown


def test_a_password_is_asked_for_twice_and_never_echoed(people: Admin, house: House) -> None:
    words = ["user", "password", ANN, "--settings", str(house.folder / "fxsftp.toml")]
    secret = "three blind mice in a row"
    status, shown = typed(words, [("New password", secret), ("Repeat", secret)])
    assert (status, secret in shown) == (0, False), shown
    assert house.exchange.people.check_password(ANN, secret, house.clock())


def test_what_can_not_be_taken_back_is_asked_first(people: Admin, house: House) -> None:
    words = ["user", "remove", ANN, "--settings", str(house.folder / "fxsftp.toml")]
    status, _ = typed(words, [("Remove ann@firm.example?", "n")])
    assert status == 1
    assert house.exchange.people.find(ANN)
    status, shown = typed(words, [("Remove ann@firm.example?", "y")])
    assert (status, "ann@firm.example removed" in shown) == (0, True), shown
    assert people.json("user", "list")[0]["email"] != ANN
