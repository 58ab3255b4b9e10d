"""The spy on every encryption of a test run: no (key, nonce) pair may serve twice.

Offered to `conftest.py` as an autouse fixture of the whole session, so that each test, whatever it is about,
is a test of this too.  It keeps 16 bytes per encryption, and neither keys nor nonces.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator

import pytest

from fxsftp.seal import primitives


class NonceUsedTwice(BaseException):
    """Not an Exception, so that no code under test can swallow it."""


def watch() -> Callable[[bytes, bytes], None]:
    """Return a spy that has seen nothing yet."""
    seen: set[bytes] = set()
    lock = threading.Lock()

    def see(key: bytes, nonce: bytes) -> None:
        pair = hashlib.blake2b(key + nonce, digest_size=16).digest()
        with lock:
            if pair in seen:
                raise NonceUsedTwice
            seen.add(pair)

    return see


@pytest.fixture(scope="session", autouse=True)
def no_nonce_twice() -> Iterator[None]:
    """Let every encryption of this run be seen."""
    primitives.on_seal = watch()
    yield
    primitives.on_seal = None
