"""The bell at the courier's door: a datagram that carries nothing but 'there may be work'.

Whoever has written a notice rings; it never blocks, never fails and never waits for anyone.  A ring that is lost costs
at most the courier's usual half minute, for the notices themselves are rows in the registry.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 100  # bytes; the kernel keeps 108 for the path of a socket


class Bell:
    """The bell at `path`.  Anyone may `ring`; one process has called `hang` and waits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hung: socket.socket | None = None
        self._inode = 0

    def ring(self) -> None:
        """Wakes the one who waits, if there is one."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as hand:
            try:
                with _short(self.path) as path:
                    hand.sendto(b"!", path)
            except OSError:  # nobody there, or its queue is full of rings already
                pass

    def hang(self) -> None:
        """Puts the bell up, in place of one that a killed process may have left."""
        if self._hung:
            self._hung.close()
            self._hung = None
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        hung = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            with _short(self.path) as path:
                hung.bind(path)
            self.path.chmod(0o660)  # the sftp service may run as another user of our group
            self._inode = self.path.stat().st_ino
        except OSError:
            hung.close()
            raise
        self._hung = hung

    def see_to(self) -> None:
        """Puts the bell up again where nobody is behind it any more: another courier that had hung its own has died."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hand:
            try:
                with _short(self.path) as path:
                    hand.connect(path)
            except (ConnectionRefusedError, FileNotFoundError):
                self.hang()

    async def wait(self, within: float) -> bool:
        """True once it was rung, however often; False after `within` seconds without a ring."""
        if not self._hung:
            self.hang()
        assert self._hung
        loop, rung = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._hung.fileno(), rung.set)
        try:
            async with asyncio.timeout(within):
                await rung.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._hung.fileno())
        self._hush(self._hung)
        return True

    def _hush(self, hung: socket.socket) -> None:
        try:
            while hung.recv(16):
                pass
        except BlockingIOError:
            pass

    def take_down(self) -> None:
        """Takes the bell down, unless another process has hung its own by now."""
        if not self._hung:
            return
        self._hung.close()
        self._hung = None
        try:
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            pass


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a socket address, however deep its folder lies."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
