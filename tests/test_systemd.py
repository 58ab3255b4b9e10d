"""The units are what systemd understands, and part the two keys from each other."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from fxsftp.pulse import EVERY
from fxsftp.supervisor import SILENT

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "systemd"
SERVICES = ("fxsftp-courier.service", "fxsftp-portal.service", "fxsftp-sftp.service", "fxsftp-sweep.service")
UNITS = (*SERVICES, "fxsftp-sweep.timer", "fxsftp.target")

needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def values(unit: str) -> dict[str, list[str]]:
    found = defaultdict(list)
    for key, value in re.findall(r"^(\w+)=(.*)$", (FOLDER / unit).read_text(), re.MULTILINE):
        found[key] += value.split() or [""]
    return found


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The units with a program that is on this machine, too."""
    for unit in UNITS:
        text = (FOLDER / unit).read_text().replace("ExecStart=/usr/bin/fxsftp", "ExecStart=/bin/true")
        (tmp_path / unit).write_text(text)
    return tmp_path


def test_every_unit_of_the_folder_is_tested() -> None:
    assert sorted(path.name for path in FOLDER.glob("fxsftp*")) == sorted(UNITS)


@needs_analyze
def test_systemd_finds_nothing_to_say_about_them(copies: Path) -> None:
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{copies}:"}
    verify = ["systemd-analyze", "verify", "--man=no", *(str(copies / unit) for unit in UNITS)]
    said = subprocess.run(verify, capture_output=True, text=True, env=environment)
    ours = [line for line in said.stderr.splitlines() if "fxsftp" in line]
    assert (said.returncode, ours) == (0, [])


@needs_analyze
@pytest.mark.parametrize("service", SERVICES)
def test_systemd_rates_the_sandbox_as_tight(copies: Path, service: str) -> None:
    """0 is none exposed, 10 all; what opens a network port starts at about 1."""
    rate = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(copies / service)]
    said = subprocess.run(rate, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_who_hangs_is_killed_and_started_again() -> None:
    """By a signal that is also heard by who is stopped; after longer than one may drain, so that leaving is no hang."""
    for service in SERVICES:
        found = values(service)
        if found["Type"] == ["notify"]:
            assert (found["WatchdogSignal"], found["Restart"]) == (["SIGKILL"], ["on-failure"])
            assert int(found["WatchdogSec"][0].removesuffix("s")) > int(SILENT * EVERY)
    assert not values("fxsftp-sweep.service")["WatchdogSec"]  # it may take as long as there is something to erase


def test_each_key_reaches_its_own_services_only() -> None:
    holders = defaultdict(set)
    for service in SERVICES:
        for credential in values(service)["LoadCredential"]:
            holders[credential.partition(":")[0]].add(service)
    assert holders["house.key"] == {"fxsftp-sftp.service", "fxsftp-portal.service"}
    assert holders["courier.key"] == {"fxsftp-courier.service"}
    assert holders["ssh_host_ed25519_key"] == {"fxsftp-sftp.service"}


def test_who_goes_out_is_another_user_and_can_not_see_the_vault() -> None:
    courier = values("fxsftp-courier.service")
    assert courier["User"] not in [values(other)["User"] for other in SERVICES if "courier" not in other]
    assert "-/var/lib/fxsftp/vault" in courier["InaccessiblePaths"]
    assert "/var/lib/fxsftp" not in courier["ReadWritePaths"]


def test_the_portal_has_the_vault_as_the_sftp_service_has_it_and_hears_its_web_server_only() -> None:
    portal, sftp = values("fxsftp-portal.service"), values("fxsftp-sftp.service")
    for key in ("User", "ReadWritePaths", "InaccessiblePaths"):
        assert portal[key] == sftp[key]
    assert (portal["IPAddressDeny"], portal["IPAddressAllow"]) == (["any"], ["localhost"])


def test_only_the_courier_can_call_out() -> None:
    assert "connect" in values("fxsftp-sftp.service")["SystemCallFilter"]
    assert "connect" in values("fxsftp-portal.service")["SystemCallFilter"]
    assert values("fxsftp-sweep.service")["PrivateNetwork"] == ["yes"]
    assert "connect" not in values("fxsftp-courier.service")["SystemCallFilter"]


@needs_analyze
def test_scanners_may_call_once_scan_conf_is_there_and_nothing_else_changes(copies: Path) -> None:
    folder = copies / "fxsftp-sftp.service.d"
    folder.mkdir()
    shutil.copy(FOLDER / "scan.conf", folder)
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{copies}:"}
    verify = ["systemd-analyze", "verify", "--man=no", str(copies / "fxsftp-sftp.service")]
    said = subprocess.run(verify, capture_output=True, text=True, env=environment)
    assert [line for line in said.stderr.splitlines() if "fxsftp" in line or "scan.conf" in line] == []
    service = values("scan.conf")
    assert {key: service[key] for key in service if key not in ("Wants", "After")} == {"SystemCallFilter": ["connect"]}


def test_the_paths_of_the_units_are_those_of_the_default_settings() -> None:
    from fxsftp.settings import Settings

    settings = Settings()
    folders = {line.split()[1] for line in (FOLDER / "tmpfiles.conf").read_text().splitlines() if line[:1] == "d"}
    assert {str(path) for path in (settings.state, settings.vault)} <= folders
    assert {str(path.parent) for path in (settings.registry, settings.secrets, settings.bell)} <= folders
    assert f"tcp:{settings.sftp.port}" in values("fxsftp-sftp.service")["SocketBindAllow"]
    assert f"tcp:{settings.portal.port}" in values("fxsftp-portal.service")["SocketBindAllow"]
    keys = settings.keys
    loaded = {each.partition(":")[0] for service in SERVICES for each in values(service)["LoadCredential"]}
    assert loaded == {keys.house, keys.courier, *keys.host_keys}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users and gives folders away")
@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="systemd-sysusers is not installed")
def test_users_and_folders_come_up_as_written(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    shutil.copy(FOLDER / "sysusers.conf", tmp_path / "users.conf")
    shutil.copy(FOLDER / "tmpfiles.conf", tmp_path / "folders.conf")
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", tmp_path / "users.conf"], check=True)
    subprocess.run(["systemd-tmpfiles", f"--root={tmp_path}", "--create", tmp_path / "folders.conf"], check=True)
    users = {line.split(":")[0]: line.split(":")[2:4] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    assert len({users[name][0] for name in ("fxsftp", "fxsftp-courier", "fxsftp-bounce")}) == 3
    assert users["fxsftp"][1] == users["fxsftp-courier"][1] == users["fxsftp-bounce"][1]
    vault, registry = ((tmp_path / "var/lib/fxsftp" / name).stat() for name in ("vault", "registry"))
    assert (stat.S_IMODE(vault.st_mode), str(vault.st_uid)) == (0o700, users["fxsftp"][0])
    assert (stat.S_IMODE(registry.st_mode), str(registry.st_gid)) == (0o2770, users["fxsftp"][1])
