"""How fast a browser opens a sealed file: fetched from loopback, opened by its code, saved; nothing is skipped.

python -m bench.browser [MIB]   256 by default; with the browser's own cipher and without, into a file and as a download

The file is in the browser's own storage, on disk, since a file that a hand chooses needs the hand.

The second number is what a second of processor time is worth, all of the browser's processes together.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.browser import chromium_at
from tests.fronts.portal.sealed import NO_PICKERS, PICKERS, Package, save, says
from tests.fronts.portal.stage import on_stage

MIB = 1 << 20


def main(size: int) -> None:
    with tempfile.TemporaryDirectory() as folder, chromium_at(Path(folder)) as context, on_stage() as stage:
        package = Package(stage, {"large.bin": os.urandom(size)})
        for cipher, static in (("the browser's cipher", "/static"), ("JavaScript's cipher", "/bare")):
            for where, prepare in (("a file", PICKERS), ("a download", NO_PICKERS)):
                shown = package.opened(context, static=static, prepare=prepare)
                spent, began = cpu(os.getpid()), time.monotonic()
                if prepare == PICKERS:
                    save(shown)
                else:
                    with shown.expect_download() as coming:
                        save(shown)
                    coming.value.path()
                says(shown, "saved")
                took, spent = time.monotonic() - began, cpu(os.getpid()) - spent
                load = Path("/proc/loadavg").read_text().split()[0]
                print(
                    f"{cipher:20} into {where:10} {size / 1e6 / took:6.1f} MB/s   "
                    f"{size / 1e6 / spent:6.1f} MB per second of one core   (load {load})"
                )
                shown.close()


def cpu(pid: int) -> float:
    """Seconds of processor time of all that this process has started, and what those have."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        each = int(stat.parent.name)
        parents[each] = int(fields[1])
        seconds[each] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    found, total = {pid}, 0.0
    while new := {each for each, parent in parents.items() if parent in found} - found:
        found |= new
        total += sum(seconds[each] for each in new)
    return total


if __name__ == "__main__":
    main(int(sys.argv[1] if sys.argv[1:] else 256) * MIB)
