"""What is shipped: the list of packages is the tree, and the wheel brings hooks that run."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fxsftp.shipped import folder

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("config", "hooks", "systemd")
FOR_TRANSLATORS = (".cfg", ".pot")  # in the tree and the sdist only


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as pip builds it, from a copy: building leaves files in the tree."""
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("fxsftp", "requirements", *FOLDERS):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(out), str(copy)], check=True)
    (found,) = out.glob("fxsftp-*.whl")
    return found


def test_the_list_of_packages_is_the_tree() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    in_tree = {".".join(path.relative_to(ROOT).parent.parts) for path in (ROOT / "fxsftp").rglob("*.py")}
    assert sorted(listed) == sorted(in_tree | {f"fxsftp.shipped.{name}" for name in FOLDERS})


def test_the_wheel_has_what_the_tree_has_and_hooks_keep_their_run_bits(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    for path in (ROOT / "fxsftp").rglob("*.py"):
        assert path.relative_to(ROOT).as_posix() in modes
    assert "fxsftp/py.typed" in modes
    for name in FOLDERS:
        for path in (ROOT / name).rglob("*"):
            if path.is_dir() or "__pycache__" in path.parts or path.suffix in FOR_TRANSLATORS:
                continue
            packed = f"fxsftp/shipped/{name}/{path.relative_to(ROOT / name).as_posix()}"
            assert packed in modes
            assert bool(modes[packed] & stat.S_IXUSR) == os.access(path, os.X_OK), packed


def test_an_installed_wheel_finds_its_shipped_folders(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    ask = "from fxsftp.shipped import folder; print(folder('hooks'), folder('config'), folder('systemd'))"
    environment = {"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}
    answer = subprocess.run(
        [sys.executable, "-S", "-c", ask], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == [
        str(tmp_path / "fxsftp" / "shipped" / name) for name in ("hooks", "config", "systemd")
    ]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_checkout_finds_them_at_its_top(name: str) -> None:
    assert folder(name) == ROOT / name  # type: ignore[arg-type]


@pytest.mark.parametrize("lock", ["run.txt", "test.txt", "dkim.txt"])
def test_the_locks_have_hashes_and_name_no_index_no_host_and_no_path(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links|--trusted-host|\s@\s|(?:^|\s)/", text)
    for entry in re.split(r"\n(?=[a-z])", text):
        assert not re.match(r"[a-z]", entry) or "--hash=sha256:" in entry, entry.splitlines()[0]


def test_the_two_locks_agree() -> None:
    run, test = (
        set(re.findall(r"^[a-z0-9._-]+==\S+", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))
        for lock in ("run.txt", "test.txt")
    )
    assert run
    assert run <= test
