"""What the rooms of the exchange work with: the stores, the keys, the policy.  No rule stands here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ParamSpec

from fxsftp import seal
from fxsftp.domain.policy import Policy
from fxsftp.errors import FxError, Unavailable
from fxsftp.store.registry import Registry
from fxsftp.store.secrets import Secrets
from fxsftp.store.vault import Vault
from fxsftp.workers import Workers

log = logging.getLogger("fxsftp.exchange")

P = ParamSpec("P")


@dataclass(frozen=True)
class Keyring:
    """The keys that this process holds, and no others.

    The service that reads the vault has the house key and only the *recipient* of the courier key: it
    can write a code but not read it back.  The courier has its key, and opens no body.
    """

    house: seal.Identity | None = None
    courier: seal.Identity | None = None
    courier_lock: seal.X25519Lock | None = None
    recovery_lock: seal.X25519Lock | None = None
    running: bytes = field(default_factory=lambda: seal.random_bytes(32), repr=False)

    @property
    def house_key(self) -> seal.Identity:
        """Raises Unavailable in a process that does not have it."""
        if self.house is None:
            raise Unavailable("this process does not hold the house key")
        return self.house


@dataclass(frozen=True)
class Holdings:
    """The stores, the keys, the policy, the bell that wakes the courier, and who else serves."""

    registry: Registry
    secrets: Secrets
    vault: Vault | None
    keys: Keyring
    policy: Policy
    ring: Callable[[], None]
    workers: Workers
    _chores: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="chores")
    )
    _syncs: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="syncs")
    )

    @property
    def bodies(self) -> Vault:
        """The vault.  Raises Unavailable in a process that does not reach it."""
        if self.vault is None:
            raise Unavailable("this process does not reach the vault")
        return self.vault

    def later(self, chore: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> Future[None]:
        """Do it soon, in another thread, one after the other: rows that a byte on its way can't wait for."""

        def run() -> None:
            try:
                chore(*args, **kwargs)
            except Exception:
                log.exception("a chore failed: %s", getattr(chore, "__qualname__", chore))
                raise

        return self._chores.submit(run)

    def settle_chores(self) -> None:
        """Return when what was to be done soon is done.  Not for a chore."""
        self._chores.submit(int).result()

    def meanwhile(self, work: Callable[[], None]) -> Future[None]:
        """Do what nobody waits for: a sync, or opening ahead.  What it meets is met again by who needs it."""

        def run() -> None:
            with suppress(FxError):
                work()

        return self._syncs.submit(run)

    def close(self) -> None:
        """Finish the chores, then let go of the stores."""
        self._syncs.shutdown(wait=True)
        self._chores.shutdown(wait=True)
        self.workers.end()
        self.registry.close()
        self.secrets.close()
        if self.vault:
            self.vault.close()
