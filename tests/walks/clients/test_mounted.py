"""The exchange as a folder of the machine, by sshfs.

Where the machine has no /dev/fuse, nothing can be mounted; one test says so, and `test_sequences.py` asks for the same
things in the same order.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.walks.clients.client import HOST, Client
from tests.walks.clients.party import RENDERED, TO_KARI, Party, of
from tests.walks.guests import until

CSV = b"id;value\n" + b"7;3\n" * 60_000


def can_mount() -> bool:
    """Whether there is a /dev/fuse that may be opened."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        return False
    return True


class Sshfs(Client):
    """`sshfs`, which lets OpenSSH make the connection."""

    name = "sshfs"
    needs = ("sshfs", "fusermount3", "ssh")

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """The root of the exchange."""
        at = self.home / "exchange"
        at.mkdir()
        ran = self._run(["sshfs", "-o", f"ssh_command={self.ssh_command()}", f"{HOST}:/", str(at)])
        assert ran.status == 0, ran.said
        try:
            yield at
        finally:
            subprocess.run(["fusermount3", "-u", str(at)], check=True)
            until(lambda: not os.path.ismount(at))


if can_mount():

    def test_what_is_copied_into_a_mounted_outbox_is_one_shipment(party: Party) -> None:
        """Made, written to, moved into place and removed with the tools of the shell."""
        ann = party.ann(Sshfs)
        with ann.mounted() as root:
            folder = root / TO_KARI / "Ref 1"
            (folder / "under").mkdir(parents=True)
            shutil.copy2(ann.file(CSV, "data.csv"), folder / "data.csv")
            with open(folder / "under/log.txt", "w") as log:
                log.writelines(f"{number}\n" for number in range(1000))
            with open(folder / "under/log.txt", "a") as log:
                log.write("end\n")
            (folder / "b.csv.part").write_bytes(b"b")
            (folder / "b.csv.part").rename(folder / "b.csv")
            (folder / "not this.csv").write_bytes(b"no")
            (folder / "not this.csv").unlink()
            assert (folder / "data.csv").stat().st_size == len(CSV)
        party.everyone_left()

        assert len(party.house.settle()) == 1
        log = "".join(f"{number}\n" for number in range(1000)) + "end\n"
        files = {"data.csv": CSV, "under/log.txt": log.encode(), "b.csv": b"b"}
        assert party.arrived() == [("Ref 1", of(files))]

    def test_a_mounted_inbox_is_read_like_any_folder(party: Party) -> None:
        """And then counts as collected."""
        inbox, kari = party.sent("Ref 1", {"data.csv": CSV, "under/b.csv": b"b"}), party.kari(Sshfs)

        with kari.mounted() as root:
            shutil.copytree(root / inbox, kari.home / "here")

        assert (kari.home / "here/data.csv").read_bytes() == CSV
        assert (kari.home / "here/under/b.csv").read_bytes() == b"b"
        assert all((kari.home / "here" / name).stat().st_size for name in RENDERED)
        assert party.states() == ["collected"]

else:

    def test_this_machine_has_no_dev_fuse_so_nothing_is_mounted() -> None:
        """Said by a test that passes, because nothing that could be installed would change it."""
        assert not can_mount()
