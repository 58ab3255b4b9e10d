"""The libraries that batch jobs are written with, each in a little program of its own in `programs/`.

A program is given whom to connect to as words, and what to do as a JSON list on its stdin.  It ends with 0, or with
1 and what went wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import ClassVar

from tests.node_packages import package
from tests.walks.clients.client import HOST, Client
from tests.walks.guests import Ran

PROGRAMS = Path(__file__).parent / "programs"


class Library(Client):
    """One of them."""

    program: ClassVar[str]

    def upload_command(self, local: Path, remote: str) -> list[str]:
        return self._command()

    def given(self, local: Path, remote: str) -> bytes:
        return json.dumps(["upload", str(local), remote]).encode()

    def download(self, remote: str, local: Path) -> Ran:
        return self._do("download", remote, str(local))

    def resume_upload(self, local: Path, remote: str) -> Ran:
        return self._do("resume_upload", str(local), remote)

    def resume_download(self, remote: str, local: Path) -> Ran:
        return self._do("resume_download", remote, str(local))

    def upload_tree(self, local: Path, remote: str) -> Ran:
        return self._do("upload_tree", str(local), remote)

    def download_tree(self, remote: str, local: Path) -> Ran:
        return self._do("download_tree", remote, str(local))

    def rename(self, old: str, new: str) -> Ran:
        return self._do("rename", old, new)

    def names(self, remote: str) -> list[str]:
        found: list[str] = json.loads(self._must(self._do("names", remote)).out)
        return found

    def _do(self, *words: str) -> Ran:
        return self._run(self._command(), json.dumps(words).encode())

    def _command(self) -> list[str]:
        # Not the folder of the program first in Python's path (-P), where one may be called as its library is.
        return [sys.executable, "-P", str(PROGRAMS / self.program), *self._to()]

    def _to(self) -> list[str]:
        return [HOST, str(self.port), self.email, str(self.key), str(self.known_hosts)]


class Paramiko(Library):
    """paramiko."""

    closes_when_interrupted = True  # Python leaves its `with`
    name, program = "paramiko", "with_paramiko.py"


class Asyncssh(Library):
    """asyncssh's client."""

    closes_when_interrupted = True  # Python leaves its `with`
    name, program = "asyncssh", "with_asyncssh.py"


class Ssh2Python(Library):
    """ssh2-python, which is libssh2."""

    closes_when_interrupted = True  # Python leaves its `with`
    name, program = "ssh2-python", "with_ssh2_python.py"


class Ssh2SftpClient(Library):
    """npm's ssh2-sftp-client."""

    name, program = "ssh2-sftp-client", "with_ssh2_sftp_client.js"
    needs = ("node", "npm")

    def _command(self) -> list[str]:
        return ["node", str(PROGRAMS / self.program), *self._to()]

    def _env(self) -> dict[str, str]:
        return super()._env() | {"NODE_PATH": str(package("ssh2-sftp-client").parent)}
