"""A hook that is shown files as the exchange shows them: a line of JSON, then pieces with their lengths before them."""

from __future__ import annotations

import json
import os
import select
from itertools import count

from tests.hooks.conftest import ANSWER, Hook


class Shown:
    """One scanner that runs.  `shown` is how much of the last file it was given before it had answered."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._ids = count(1)
        self.shown = 0

    def scan(self, content: bytes, *, sender: str = "partner", piece: int = 64 << 10) -> tuple[str, str]:
        """(verdict, reason)."""
        id_ = self.begin(b"", size=len(content), sender=sender)
        stdin, stdout = self._hook.process.stdin, self._hook.process.stdout
        assert stdin
        assert stdout
        self.shown = 0
        for offset in range(0, len(content), piece):
            if select.select([stdout], [], [], 0)[0]:
                break
            part = content[offset : offset + piece]
            self._write(len(part).to_bytes(4, "big") + part)
            self.shown += len(part)
        self._write(bytes(4))
        assert select.select([stdout], [], [], ANSWER)[0], "the hook does not answer"
        answer = json.loads(stdout.readline())
        assert answer["id"] == id_
        return answer["verdict"], answer["reason"]

    def begin(self, part: bytes, *, size: int, sender: str = "partner") -> str:
        """The line of a file, and perhaps a part of it."""
        id_ = f"7k3f-q2mp-{next(self._ids)}"
        message = {"id": id_, "way": "scan", "name": "a.bin", "size": size, "sender": sender}
        self._write(json.dumps(message).encode() + b"\n")
        if part:
            self._write(len(part).to_bytes(4, "big") + part)
        return id_

    def end(self) -> tuple[int, str]:
        """Exit status, and all that it wrote to stderr."""
        return self._hook.end()

    def _write(self, data: bytes) -> None:
        stdin = self._hook.process.stdin
        assert stdin
        view = memoryview(data)
        while view:
            view = view[os.write(stdin.fileno(), view) :]
