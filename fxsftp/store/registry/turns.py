"""How the threads of a process share one writer and one disk: they write by turns, and sync together.

Why a shared sync holds what each was promised stands in engine.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fxsftp import errors


class Turn:
    """A lock that nobody has twice while another waits: some write many short transactions, one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = threading.Lock()

    def acquire(self, *, timeout: float = threading.TIMEOUT_MAX) -> bool:
        """False when it can't be had within so many seconds."""
        until = time.monotonic() + timeout
        if not self._next.acquire(timeout=timeout):
            return False
        try:
            left = min(max(0, until - time.monotonic()), threading.TIMEOUT_MAX)
            return self._lock.acquire(timeout=left)
        finally:
            self._next.release()

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class SyncGroup:
    """Many wait, one syncs: each returns after a sync that began after it asked.

    The first to come leads.  Those who ask while its sync runs can't be covered by it (their commit may be younger),
    so they wait, and one of them leads the next, for all who asked until that one begins.
    """

    def __init__(self, name: str, sync: Callable[[], None]) -> None:
        self._name = name
        self._sync = sync
        self._changed = threading.Condition()
        self._asked = 0  # tickets given
        self._covered = 0  # tickets whose sync is done
        self._is_syncing = False
        self._failure: OSError | None = None

    def wait(self) -> None:
        """Return once everything written before this call is on the disk."""
        with self._changed:
            self._asked += 1
            ticket = self._asked
            while self._covered < ticket:
                self.check()
                if self._is_syncing:
                    self._changed.wait()
                else:
                    self._lead()

    def check(self) -> None:
        """Refuse for good after a failure.

        The kernel drops the pages that it could not write, so the next sync's success would prove nothing; what is
        really on the disk shows when the process starts anew.
        """
        if self._failure is not None:
            raise errors.Unavailable(f"the {self._name} could not be synced") from self._failure

    def _lead(self) -> None:
        covers = self._asked
        self._is_syncing = True
        self._changed.release()
        try:
            self._sync()
        except OSError as failure:
            self._failure = failure
        finally:
            self._changed.acquire()
            self._is_syncing = False
            if self._failure is None:
                self._covered = covers
            self._changed.notify_all()
