"""A house for tests: a real exchange on disk with a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fxsftp import app, founding, seal, serving
from fxsftp.domain import places
from fxsftp.domain.model import Kind, User, Wishes
from fxsftp.domain.places import Place
from fxsftp.exchange import Exchange
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp import hostkeys
from fxsftp.fronts.sftp.listener import Listener, listen
from fxsftp.settings import Settings, load
from fxsftp.store.registry import Registry
from fxsftp.store.secrets import Secrets
from fxsftp.templates import Templates

START = 1_795_000_000.0  # a Tuesday in November 2026, UTC
COMPAT = {"FXSFTP_SFTP__ALGORITHMS": "compat"}  # for Debian 12's curl: its libssh2 has no MAC that is served without
KARI, ANN, BOB = "kari@ssb.example", "ann@firm.example", "bob@works.example"


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        """Later."""
        self.now += seconds


class House:
    """An exchange with a folder, a clock and people; `listen()` opens its door."""

    def __init__(self, folder: Path, *, settings_text: str = "", environ: Mapping[str, str] | None = None) -> None:
        """`environ` sets single keys of sections that the file has already: FXSFTP_SFTP__ALGORITHMS."""
        self.folder = folder
        self.clock = Clock()
        founding.found(folder, demo=True, sftp_port=0)
        if settings_text:
            path = folder / "fxsftp.toml"
            path.write_text(path.read_text() + settings_text)
        self.settings: Settings = load(folder / "fxsftp.toml", environ or {})
        _fill(self.settings)
        self.running = seal.random_bytes(32)
        self.exchange: Exchange = app.open_exchange(self.settings, role="sftp", running=self.running)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.listener: Listener | None = None
        self.desk: Desk | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_door()
        self.exchange.close()

    # ---- people

    def add(self, email: str, kind: Kind, *, phone: str | None = "+4790000000", **more: Any) -> User:
        """A registered user."""
        return self.exchange.people.add(email, kind, phone=phone, now=self.clock(), **more)

    def kari(self) -> User:
        """A member of the institution."""
        return self.add(KARI, Kind.MEMBER, name="Kari Nordmann")

    def ann(self) -> User:
        """A partner, who gets codes."""
        return self.add(ANN, Kind.PARTNER, name="Ann Example")

    def key_for(self, email: str) -> Path:
        """A new SSH key, registered for `email`; answers the path of its private half."""
        key = Ed25519PrivateKey.generate()
        path = self.folder / f"{email.partition('@')[0]}-{len(self.exchange.people.keys(email))}"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        path.chmod(0o600)
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        path.with_name(path.name + ".pub").write_text(line + "\n")
        self.exchange.people.add_key(email, line, self.clock())
        return path

    # ---- the exchange without a front

    def put(self, user: User, path: str, data: bytes, *, session: str = "s1", step: int = 32768) -> None:
        """As a client would: OPEN, WRITE, CLOSE."""
        writing, now = self.exchange.writing, self.clock()
        draft = writing.open_draft(
            user, at(path), truncate=True, create=True, exclusive=False, appends=False,
            wishes=Wishes(), session=session, now=now,
        )  # fmt: skip
        for offset in range(0, len(data), step):
            draft.write(offset, data[offset : offset + step])
        writing.close_draft(draft, now)

    def settle(self, seconds: float = 400) -> list[str]:
        """Let time pass and the dispatcher look."""
        self.clock.turn(seconds)
        return self.exchange.dispatch.step(self.clock())

    def code(self, shipment_id: str, user: User) -> str:
        """The code that the SMS would say, by the courier's own key."""
        courier = app.open_exchange(self.settings, role="courier")
        try:
            lease = "test"
            for errand in courier.carriage.take_due("sms", self.clock(), lease=lease, seconds=60, limit=1000):
                if errand.notice.shipment_id == shipment_id and errand.notice.user_id == user.id and errand.code:
                    return errand.code
        finally:
            courier.close()
        raise AssertionError(f"no code waits for {user.email} and {shipment_id}")

    def inbox(self, user: User) -> list[str]:
        """The folders in a user's inbox."""
        return [entry.name for entry in self.exchange.inbox.list(user, self.clock())]

    # ---- the door

    def open_door(self) -> int:
        """The real listener on a free loopback port; answers the port."""
        ready = threading.Event()
        problem: list[BaseException] = []

        def run() -> None:
            async def main() -> None:
                self._loop = asyncio.get_running_loop()
                self._stop = asyncio.Event()
                self.desk = Desk(self.exchange, self.clock)
                keys = [hostkeys.read(self.settings.credential(name)) for name in self.settings.keys.host_keys]
                self.listener = await listen(
                    self.desk, templates_of(self.settings), serving.terms_of(self.settings),
                    host_keys=keys, host="127.0.0.1", port=0,
                )  # fmt: skip
                ready.set()
                await self._stop.wait()
                await self.listener.close()
                await self.desk.close()

            try:
                asyncio.run(main())
            except BaseException as error:  # noqa: BLE001 - it is the test's to see
                problem.append(error)
                ready.set()

        self._thread = threading.Thread(target=run, name="door", daemon=True)
        self._thread.start()
        assert ready.wait(30)
        if problem:
            raise problem[0]
        assert self.listener is not None
        return self.listener.port

    @property
    def port(self) -> int:
        """Where the door is; opened at the first asking."""
        if self.listener is None:
            self.open_door()
        assert self.listener is not None
        return self.listener.port

    def close_door(self) -> None:
        """Everyone out, and all that they left open put away.  Who asks for the port again opens it anew."""
        if self._loop and self._thread:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)
            self._loop = self._thread = self.listener = None


def at(path: str) -> Place:
    """The place of a path."""
    return places.parse(path.encode())


# ---- what every house would do alike


def _fill(settings: Settings) -> None:
    """Give it stores as a first opening leaves them, which takes 20 ms, most of what a house takes to be founded."""
    for store in (settings.registry, settings.secrets):
        store.parent.mkdir(mode=0o700, parents=True)
        store.touch(0o600)
        store.write_bytes(_new_stores()[store.name])


@cache
def _new_stores() -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        stores = Path(folder) / "registry.db", Path(folder) / "secrets.db"
        Registry(stores[0]).close()
        Secrets(stores[1]).close()
        return {store.name: store.read_bytes() for store in stores}


_said: dict[str, Templates] = {}


def templates_of(settings: Settings) -> Templates:
    """As in the wiring, but the catalogues are read and the templates compiled once for all houses that speak alike."""
    if (settings.folder / "templates").exists():
        return app.templates_of(settings)
    alike = settings.model_dump_json(include={"institution", "sftp", "exchange", "portal"})
    if alike not in _said:
        _said[alike] = app.templates_of(settings)
    return _said[alike]
