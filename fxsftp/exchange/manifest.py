"""SHA256SUMS and MD5SUMS dropped among the files: what they say must be true before anything leaves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fxsftp import seal
from fxsftp.domain.model import File
from fxsftp.exchange.bodies import Bodies

ALGORITHMS = {"SHA256SUMS": "sha256", "MD5SUMS": "md5"}
LARGEST = 4 << 20  # bytes; 40,000 lines
LINE = re.compile(r"(?P<sum>[0-9a-fA-F]{32,64}) [ *](?P<name>.+)")  # as coreutils write them


def is_manifest(file: File) -> bool:
    """Whether a file of a folder is a list of checksums."""
    return "/" in file.path and file.name in ALGORITHMS


def is_replaced(file: File) -> bool:
    """Whether the recipient gets the exchange's own list instead."""
    return "/" in file.path and file.name == "SHA256SUMS"


class Manifest:
    """One list of checksums, against the files beside it."""

    def __init__(self, bodies: Bodies, file: File) -> None:
        self._bodies = bodies
        self._file = file

    def problem(self, files: Sequence[File]) -> str:
        """What is not as the list says, in a sentence; empty when all is."""
        if self._file.size > LARGEST:
            return f"{self._file.name} is too large to be a list of checksums"
        by_name = {file.name: file for file in files}
        try:
            lines = self._text().splitlines()
        except UnicodeDecodeError:
            return f"{self._file.name} is not a list of checksums"
        for line in lines:
            match = LINE.fullmatch(line.strip())
            if not match:
                return f"{self._file.name} has a line that is no checksum"
            name = match["name"].removeprefix("./")
            file = by_name.get(name)
            if file is None:
                return f"{self._file.name} names {name!r}, which is not there"
            if self._sum(file) != match["sum"].lower():
                return f"{name!r} is not what {self._file.name} says; put it again"
        return ""

    def _text(self) -> str:
        unsealer = seal.Unsealer(self._bodies.read_at(self._file), self._bodies.draft_key(self._file), self._file.body)
        return unsealer.read(0, self._file.size).decode("utf-8")

    def _sum(self, file: File) -> str:
        algorithm = ALGORITHMS[self._file.name]
        if algorithm == "sha256" and file.sha256:
            return file.sha256
        return self._bodies.digest_of_draft(file, algorithm)
