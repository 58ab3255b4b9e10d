"""A foreign SFTP server (asyncssh's own, in a thread, over a folder) and a line to it that can be cut.

The client must be right with any server; that it is right with the real house is what the walks show.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from fxsftp import client

USER, PASSWORD = "ann@firm.example", "correct horse"
SOON = (0.02,) * 6  # patience of tests: a server on loopback needs no time to recover


class Foreign:
    """An SFTP server that knows nothing of shipments; what it is made to do wrong is set on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for room in ("inbox", "outbox"):
            (root / room).mkdir(parents=True)
        self.user_key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.names: Callable[[bytes, list[bytes]], list[bytes]] = lambda _path, names: names
        self.refused: dict[str, str] = {}  # what is refused, by method and with these words
        self.commands: list[str] = []
        self.answer = ("", "", 127)  # to a command: stdout, stderr, status
        self.calls: list[str] = []  # what was asked for, in order
        self.announced: dict[str, int | None] = {}
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server: asyncssh.SSHAcceptor = self._await(self._listen())

    @property
    def port(self) -> int:
        return self._server.get_port()

    def restart(self, **terms: object) -> None:
        """Listen anew, on other terms of asyncssh's `listen`."""
        self._server.close()
        self._await(self._server.wait_closed())
        self._server = self._await(self._listen(**terms))

    def stop(self) -> None:
        async def close() -> None:
            self._server.close()
            for connection in self._connections:
                connection.abort()
                await connection.wait_closed()
            await self._server.wait_closed()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.wait(others or [asyncio.ensure_future(asyncio.sleep(0))], timeout=10)

        self._await(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self, **terms: object) -> asyncssh.SSHAcceptor:
        house = self

        class Door(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                house._connections.append(conn)

            def begin_auth(self, username: str) -> bool:
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return username == USER and key.public_data == house.user_key.public_data

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                return (username, password) == (USER, PASSWORD)

        class Rooms(asyncssh.SFTPServer):
            def __init__(self, chan: asyncssh.SSHServerChannel) -> None:
                super().__init__(chan, chroot=str(house.root).encode())

            async def scandir(self, path: bytes):  # type: ignore[no-untyped-def]
                entries = {entry.filename: entry async for entry in super().scandir(path)}
                for name in house.names(path, sorted(entries)):
                    entry = entries.get(name) or entries.get(b"honest.txt") or next(iter(entries.values()))
                    yield asyncssh.SFTPName(name, b"", entry.attrs)

            def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
                house.calls.append(f"open {path.decode()}")
                if pflags & asyncssh.FXF_WRITE:
                    house.announced[path.decode()] = attrs.size
                house._refuse("open")
                return super().open(path, pflags, asyncssh.SFTPAttrs(permissions=0o600))

            def write(self, file_obj: object, offset: int, data: bytes) -> int:
                house._refuse("write")
                return super().write(file_obj, offset, data)

            def close(self, file_obj: object) -> None:
                super().close(file_obj)
                house._refuse("close")

            def remove(self, path: bytes) -> None:
                house.calls.append(f"remove {path.decode()}")
                super().remove(path)

            def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
                house.calls.append(f"rename {oldpath.decode()} {newpath.decode()}")
                super().posix_rename(oldpath, newpath)

        def process(opened: asyncssh.SSHServerProcess[str]) -> None:
            self.commands.append(opened.command or "")
            out, err, status = self.answer
            opened.stdout.write(out)
            opened.stderr.write(err)
            opened.exit(status)

        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Door,
            server_host_keys=[self.host_key],
            sftp_factory=Rooms,
            **({"process_factory": process} | terms),  # type: ignore[arg-type]
        )

    def _refuse(self, what: str) -> None:
        if what in self.refused:
            raise asyncssh.SFTPFailure(self.refused[what])

    def _await(self, work):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


class Cut:
    """A TCP line to a server which is cut after so many bytes, as often as there are numbers."""

    def __init__(self, to: int, *after: int) -> None:
        self._to = to
        self.left = list(after)
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self._to))
            self._ends += [near, far]
            budget = [self.left.pop(0) if self.left else 1 << 60]
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=self._carry, args=(source, sink, budget))
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket, budget: list[int]) -> None:
        try:
            while budget[0] > 0 and (piece := source.recv(min(65536, budget[0]))):
                budget[0] -= len(piece)
                sink.sendall(piece)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Foreign]:
    server = Foreign(tmp_path / "server")
    yield server
    server.stop()


@pytest.fixture
def cut(foreign: Foreign) -> Iterator[Callable[..., Cut]]:
    """Makes a line that is cut after so many bytes."""
    made: list[Cut] = []

    def make(*after: int) -> Cut:
        made.append(Cut(foreign.port, *after))
        return made[-1]

    yield make
    for line in made:
        line.stop()


@pytest.fixture
def key_file(foreign: Foreign, tmp_path: Path) -> Path:
    """The private key which the foreign server lets in."""
    path = tmp_path / "id_ed25519"
    foreign.user_key.write_private_key(path)
    path.chmod(0o600)
    return path


@pytest.fixture
def call(foreign: Foreign, key_file: Path, tmp_path: Path) -> Callable[..., client.Session]:
    """Connects as ann, over `port` if one is given."""

    def connected(port: int | None = None, **more: object) -> client.Session:
        terms: dict[str, object] = {
            "key_files": [key_file],
            "agent": False,
            "known_hosts": tmp_path / "known_hosts",
            "accept_new": True,
            "timeout": 20,
            "patience": SOON,
        }
        return client.connect("127.0.0.1", port or foreign.port, USER, **(terms | more))  # type: ignore[arg-type]

    return connected


@pytest.fixture
def password() -> str:
    """What the foreign server lets in, too."""
    return PASSWORD
