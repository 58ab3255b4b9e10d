"""Every command that the README shows is run, as it stands there, by a shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.age_tool import on_a_terminal
from tests.house import ANN, COMPAT, KARI, House, at

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CLIENTS = (ROOT / "CLIENTS.md").read_text()


def commands(section: str, page: str = README) -> list[str]:
    """The lines after `$ ` in the console blocks of one section."""
    text = page.partition(f"## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def environment(home: Path) -> dict[str, str]:
    """A clean one, in which `fxsftp` is this checkout's."""
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8"}


def test_the_admins_commands_run(tmp_path: Path) -> None:
    """From nothing to an exchange with users, a group and a look at how it is."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ann"], check=True)
    lines = commands("As an admin")
    assert len(lines) >= 8
    script = "set -e\n" + "\n".join(line for line in lines if line != "fxsftp doctor")
    ran = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "ann@firm.example" in ran.stdout
    doctor = subprocess.run(
        ["sh", "-c", "fxsftp doctor"], cwd=tmp_path, capture_output=True, text=True,
        env=environment(tmp_path) | {"FXSFTP_SETTINGS": "exchange/fxsftp.toml"},
    )  # fmt: skip
    assert doctor.returncode in (0, 1), doctor.stderr  # it looks at this machine, and may find something


def test_the_partners_commands_run(house: House, tmp_path: Path) -> None:
    """ann sends a report, and opens the one that kari sent her."""
    kari, ann = house.kari(), house.ann()
    key = house.key_for(ANN)
    house.put(kari, f"/outbox/{ANN}/Ref 23-4567/report.csv", b"a;b\n1;2\n")
    house.exchange.writing.session_ended("s1", house.clock())
    house.settle()
    shipment = house.inbox(ann)[0].split("_")[1]
    code = house.code(shipment, ann)
    profile = tmp_path / ".config" / "fxsftp" / "partner.toml"
    profile.parent.mkdir(parents=True)
    profile.write_text(f'[exchange]\nhost = "127.0.0.1"\nport = {house.port}\nuser = "{ANN}"\nkey = "{key}"\n')
    (tmp_path / "report.csv").write_bytes(b"x;y\n")
    host_key = (house.folder / "ssh_host_ed25519_key.pub").read_text()
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{house.port} {host_key}")

    send, fetch, opens = commands("As a partner")
    for line in (send, fetch):
        ran = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
    on_a_terminal(["sh", "-c", opens], answers=[code], cwd=tmp_path, env=environment(tmp_path))

    [opened] = tmp_path.glob("received/*/report.csv")
    assert opened.read_bytes() == b"a;b\n1;2\n"
    house.settle()
    assert len(house.inbox(house.exchange.people.find(KARI))) == 1


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """One that serves Debian 12's curl as well, as the page says that it must be."""
    with House(tmp_path / "house", environ=COMPAT) as built:
        yield built


@pytest.fixture
def at_home(house: House, tmp_path: Path) -> dict[str, str]:
    """ann's home as the page has it, and OpenSSH made to look there (it asks the system, not HOME)."""
    house.kari(), house.ann()
    key = house.key_for(ANN)
    ssh = tmp_path / ".ssh"
    ssh.mkdir(mode=0o700)
    (ssh / "id_ed25519").write_bytes(key.read_bytes())
    (ssh / "id_ed25519").chmod(0o600)
    (ssh / "id_ed25519.pub").write_text(key.with_name(key.name + ".pub").read_text())
    host_key = (house.folder / "ssh_host_ed25519_key.pub").read_text()
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{house.port} {host_key}")
    [config] = re.findall(r"    Host exchange\n(?:    .+\n)+", CLIENTS)
    config += f"UserKnownHostsFile {ssh}/known_hosts\nLogLevel ERROR\n"
    (ssh / "config").write_text(_here(config, house).replace("~", str(tmp_path)))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ssh", "sftp", "scp"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shutil.which(name)} -F {ssh}/config "$@"\n')
        program.chmod(0o755)
    (tmp_path / "report.csv").write_bytes(b"x;y\n")
    (tmp_path / "appendix.csv").write_bytes(b"z\n")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "r1.csv").write_bytes(b"r1\n")
    (tmp_path / "commands.txt").write_text("put report.csv outbox/kari@ssb.example/psftp.csv\n")
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", house.folder / "ssh_host_ed25519_key.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    clean = environment(tmp_path)
    return clean | {"PATH": f"{programs}:{clean['PATH']}", "HOST_KEY": fingerprint}


def _here(text: str, house: House) -> str:
    return text.replace("sftp.example.org", "127.0.0.1").replace("2222", str(house.port))


@pytest.mark.parametrize(
    ("client", "sent"),
    [
        ("OpenSSH: sftp, scp, ssh", {"report.csv", "appendix.csv"}),
        ("PuTTY: psftp, pscp", {"psftp.csv"}),
        ("lftp", {"r1.csv"}),
        ("rclone", {"r1.csv"}),
        ("curl", {"report.csv"}),
    ],
)
def test_the_commands_for_a_client_send_what_they_say(
    house: House, at_home: dict[str, str], tmp_path: Path, client: str, sent: set[str]
) -> None:
    """Typed as they stand on the page, with this exchange's address, they end well and the files arrive."""
    program = client.partition(":")[0].split()[0].lower().replace("openssh", "sftp").replace("putty", "psftp")
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    lines = commands(client, CLIENTS)
    assert lines
    for line in lines:
        ran = subprocess.run(
            ["sh", "-c", _here(line, house)], cwd=tmp_path, env=at_home, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
    house.settle()
    kari = house.exchange.people.find(KARI)
    arrived = {
        entry.name
        for folder in house.inbox(kari)
        for entry in house.exchange.inbox.list_folder(kari, at(f"/inbox/{folder}"), house.clock())
    }
    assert sent <= arrived


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_there(target: str) -> None:
    """`make demo` and `make test` are targets of the Makefile."""
    assert f"    make {target} " in README
    ran = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_every_page_that_the_readme_names_is_there() -> None:
    """No link leads nowhere."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README + CLIENTS):
        assert (ROOT / target).exists(), target
