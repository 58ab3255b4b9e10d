"""What the tests fetch from npm: the packages locked in `tests/node`."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = Path(__file__).parent / "node"


def package(name: str) -> Path:
    """Return the folder of a package, fetched if it isn't there yet; the test is skipped where there is no npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    with (NODE / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes come here at once
        if not _is_current():
            fetched = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NODE, capture_output=True, text=True
            )
            if fetched.returncode != 0:
                pytest.skip(f"npm can't fetch {name}: {fetched.stderr.strip().splitlines()[-1]}")
            (NODE / "node_modules" / ".fetched").write_bytes((NODE / "package-lock.json").read_bytes())
    return NODE / "node_modules" / name


def _is_current() -> bool:
    stamp = NODE / "node_modules" / ".fetched"
    return stamp.exists() and stamp.read_bytes() == (NODE / "package-lock.json").read_bytes()
