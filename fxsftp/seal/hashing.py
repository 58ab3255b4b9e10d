"""SHA-256 of a plaintext while it passes: a thread follows the frontier, and the loop that writes hashes nothing.

hashlib lets go of the interpreter's lock while it computes, but has to get it back after each piece, which takes up
to a millisecond while a loop is busy.  So what is handed over is large.  Hashing is what takes longest of all that is
done to a byte here, and two threads are enough for a process: they keep up with several loops.

Nothing here is durable, and nothing needs to be: who resumes a file has it merged, and it is hashed on that way.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fxsftp.seal.stream import Bytes

PAGE = 256 << 10  # bytes handed over at a time; half a millisecond of work
FAR, NEAR = 4, 1  # more pages waiting, and whoever can is to let the thread catch up; until no more than so many
MOST = 16  # pages waiting at which whoever hands over another one has to wait
SPARE = 16  # pages kept for the next who needs one
THREADS = 2

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="hashing")
_spare: deque[memoryview] = deque(maxlen=SPARE)  # new memory would come zeroed and page by page from the kernel

Pause = Callable[[Callable[[], None]], None]
"""Asks to be left alone for a moment.  What it is given is called, in any thread, when it may go on."""


def new_page() -> memoryview:
    """Return PAGE bytes of memory, with anything in them."""
    try:
        return _spare.pop()
    except IndexError:
        return memoryview(bytearray(PAGE))


class Follower:
    """The hash of what it is given, in its order.  For one caller at a time, who may be in an event loop."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pages: deque[memoryview] = deque()  # the first is being hashed if somebody is at work
        self._is_at_work = False
        self._turn = threading.Condition()
        self._on_near: list[Callable[[], None]] = []

    def take(self, page: memoryview) -> None:
        """Hash this soon.  The memory is the follower's from here on.  Waits only where `pause` was not heeded."""
        with self._turn:
            self._turn.wait_for(lambda: len(self._pages) < MOST)
            self._pages.append(page)
            if not self._is_at_work:
                self._is_at_work = True
                _threads.submit(self._work)

    def pause(self) -> Pause | None:
        """Return how to wait until the thread is near again, or None while it is."""
        return self._when_near if len(self._pages) > FAR else None

    def digest(self, rest: Bytes) -> str:
        """Return the hash of all that was given and of `rest`, in hex.  Waits for the thread: not for a loop."""
        with self._turn:
            self._turn.wait_for(lambda: not self._is_at_work)
        whole = self._hash.copy()
        whole.update(rest)
        return whole.hexdigest()

    def forget(self) -> None:
        """Hash no more of what waits; nobody will ask.  Returns at once, though a page may be at work."""
        with self._turn:
            while len(self._pages) > 1:
                self._pages.pop()

    def _work(self) -> None:
        """Hash one page, then let another draft have its turn."""
        page = self._pages[0]
        self._hash.update(page)
        with self._turn:
            self._pages.popleft()
            self._is_at_work = bool(self._pages)
            if self._is_at_work:
                _threads.submit(self._work)
            near, self._on_near = ([], self._on_near) if len(self._pages) > NEAR else (self._on_near, [])
            self._turn.notify_all()
        if len(page) == PAGE:
            _spare.append(page)
        for call in near:
            call()

    def _when_near(self, call: Callable[[], None]) -> None:
        with self._turn:
            if len(self._pages) > NEAR:
                self._on_near.append(call)
                return
        call()
