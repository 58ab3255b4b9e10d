"""The line to an exchange: found, known to be the right one, logged in to, and dialled again when it breaks.

The only file that knows how paramiko connects.  A host whose key is not in known_hosts is refused unless
the caller said that a new one is welcome; a host whose key has changed is refused whatever the caller says.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import paramiko
from paramiko.auth_strategy import AuthFailure, AuthSource, AuthStrategy, InMemoryPrivateKey, Password
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from fxsftp.client.wire import Wire
from fxsftp.errors import (
    BadAnswer,
    BadIdentity,
    CannotConnect,
    CantRead,
    CantWrite,
    HostKeyChanged,
    HostKeyUnknown,
    LineBroken,
    LoginRefused,
)

PATIENCE = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # seconds before each new attempt; starts over whenever bytes got through
KEEPALIVE = 15  # seconds; under the idle limits of common firewalls
WINDOW = 4 << 20  # bytes; holds all READs that are in flight
COMMAND_TIME = 600  # seconds a command on the exchange may take: it may have gigabytes to seal
MOST_SAID = 64 << 10  # bytes of a command's answer that are read

# AES-GCM is one pass in OpenSSL where CTR needs a MAC besides; CBC, SHA-1 and MD5 are not even offered.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")

# A broken line is told once, by LineBroken, and not by paramiko's traceback on stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to call, as whom, and what to show."""

    host: str
    port: int
    user: str
    key_files: tuple[Path, ...] = ()
    agent: bool = True
    password: str | None = field(default=None, repr=False)
    passphrase_for: Callable[[Path], str | None] | None = field(default=None, repr=False)
    known_hosts: Path = Path("~/.ssh/known_hosts")
    accept_new: bool = False
    timeout: float = 30.0  # seconds without an answer
    patience: Sequence[float] = PATIENCE


@dataclass(frozen=True, slots=True)
class Said:
    """What a command on the exchange answered.  `status` is None when it ran none."""

    status: int | None
    out: str
    problems: str


class Line:
    """A line that is there when it is needed."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._keys = _private_keys(account)
        self._client: paramiko.SSHClient | None = None
        self._wire: Wire | None = None

    def keep_at(self, work: Callable[[Wire], T], stands: Callable[[], int] = lambda: 0) -> T:
        """Do `work`, and do it again after each broken line for as long as it gets on.

        `stands` says how far it has come: as long as that grows, patience starts over.  Raises LineBroken
        when patience has run out, and whatever else `work` raises at once.
        """
        tries, stood = 0, stands()
        while True:
            try:
                return work(self.wire())
            except (LineBroken, CannotConnect) as problem:
                self.hang_up()
                if stands() > stood:
                    tries, stood = 0, stands()
                if tries >= len(self.account.patience):
                    raise LineBroken(self.account.host, problem.args[1]) from problem
                time.sleep(self.account.patience[tries])
                tries += 1

    def wire(self) -> Wire:
        """The SFTP session; dials when there is none."""
        if self._wire is None:
            self._wire = Wire(self._channel(lambda channel: channel.invoke_subsystem("sftp")), self.account.host)
        return self._wire

    def run(self, command: str) -> Said:
        """Run a command of the exchange, such as `status`, in the same connection."""
        try:
            channel = self._channel(lambda opened: opened.exec_command(command))
        except LineBroken:
            if self._is_alive():
                return Said(None, "", "")  # there is a line, but the other side runs no commands
            raise
        try:
            channel.settimeout(COMMAND_TIME)
            channel.shutdown_write()
            with channel.makefile("rb") as out, channel.makefile_stderr("rb") as err:
                said, problems = out.read(MOST_SAID), err.read(MOST_SAID)
            channel.status_event.wait(self.account.timeout)
        except (OSError, EOFError, paramiko.SSHException) as problem:
            raise LineBroken(self.account.host, _why(problem)) from problem
        finally:
            channel.close()
        return Said(channel.exit_status, said.decode("utf-8", "replace"), problems.decode("utf-8", "replace"))

    def hang_up(self) -> None:
        """Close the line; it is dialled again when it is needed."""
        client, self._client, self._wire = self._client, None, None
        if client is not None:
            client.close()

    # ---- dialling ----------------------------------------------------------------------------------

    def _channel(self, start: Callable[[paramiko.Channel], None]) -> paramiko.Channel:
        if self._client is None:
            self._client = self._dial()
        transport = self._client.get_transport()
        try:
            if transport is None:
                raise EOFError
            channel = transport.open_session(timeout=self.account.timeout)
            channel.settimeout(self.account.timeout)
            start(channel)
        except (OSError, EOFError, paramiko.SSHException) as problem:
            raise LineBroken(self.account.host, _why(problem)) from problem
        return channel

    def _is_alive(self) -> bool:
        transport = self._client.get_transport() if self._client is not None else None
        return transport is not None and transport.is_active()

    def _dial(self) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        try:
            self._log_in(client)
        except BaseException:
            client.close()
            raise
        return client

    def _log_in(self, client: paramiko.SSHClient) -> None:
        account = self.account
        _remember_hosts(client, account)
        try:
            client.connect(
                account.host,
                account.port,
                account.user,
                timeout=account.timeout,
                banner_timeout=account.timeout,
                auth_timeout=account.timeout,
                transport_factory=_transport,
                auth_strategy=_Login(account, self._keys),
            )
        except paramiko.BadHostKeyException as problem:
            raise HostKeyChanged(_host(account), account.known_hosts, *_seen(problem.key)) from problem
        except AuthFailure as problem:
            raise self._why_not_let_in(problem) from problem
        except paramiko.ssh_exception.IncompatiblePeer as problem:
            raise BadAnswer(_host(account), f"no algorithm is known to both sides ({_why(problem)})") from problem
        except (OSError, EOFError, paramiko.SSHException) as problem:
            raise CannotConnect(_host(account), _why(problem)) from problem
        transport = client.get_transport()
        if transport is None or not transport.is_authenticated():
            raise LoginRefused(account.host, account.user, "it asks for more than one proof")
        transport.set_keepalive(KEEPALIVE)

    def _why_not_let_in(self, failure: AuthFailure) -> LoginRefused | CannotConnect:
        tried = [tried.result for tried in failure.result]
        if tried and not any(isinstance(result, paramiko.AuthenticationException) for result in tried):
            return CannotConnect(_host(self.account), "it hung up during the log-in")
        reason = "its answer was no" if tried else "there was no key and no password to show"
        return LoginRefused(self.account.host, self.account.user, reason)


def _transport(sock: Any, /, **more: Any) -> paramiko.Transport:
    """A connection that offers nothing which is known to be weak."""
    transport = paramiko.Transport(sock, default_window_size=WINDOW, **more)
    options = transport.get_security_options()
    options.ciphers = [name for name in _CIPHERS if name in options.ciphers]
    options.digests = [name for name in _MACS if name in options.digests]
    return transport


# ---- who they are ------------------------------------------------------------------------------------


class _AskFirst(paramiko.MissingHostKeyPolicy):
    """A host that nobody has seen before: remembered when that is welcome, refused with its fingerprint else."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def missing_host_key(self, _client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        if not self._account.accept_new:
            raise HostKeyUnknown(_host(self._account), *_seen(key))
        path = self._account.known_hosts.expanduser()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A line more, and not paramiko's save, which drops what it does not understand of the rest.
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "rb+") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(end - 1, 0))
                parted = b"" if file.read(1) in (b"", b"\n") else b"\n"
                file.write(parted + f"{hostname} {key.get_name()} {key.get_base64()}\n".encode())
        except OSError as problem:
            raise CantWrite(path, problem.strerror) from problem


def _remember_hosts(client: paramiko.SSHClient, account: Account) -> None:
    client.set_missing_host_key_policy(_AskFirst(account))
    path = account.known_hosts.expanduser()
    try:
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    except OSError as problem:
        raise CantRead(path, problem.strerror) from problem
    for line in lines:
        try:
            entry = HostKeyEntry.from_line(line) if line and not line.startswith(("#", "@")) else None
        except (paramiko.SSHException, InvalidHostKey):
            continue  # as OpenSSH: one odd line does not lock everybody out, where paramiko's own `load` gives up
        if entry is not None and entry.key is not None:
            for name in entry.hostnames or ():
                client.get_host_keys().add(name, entry.key.get_name(), entry.key)


def _seen(key: paramiko.PKey) -> tuple[str, str]:
    return key.get_name(), key.fingerprint


def _host(account: Account) -> str:
    return account.host if account.port == 22 else f"{account.host}:{account.port}"


# ---- who we are --------------------------------------------------------------------------------------


class _Login(AuthStrategy):
    """The keys that were named, then the agent's, then the password."""

    def __init__(self, account: Account, keys: Sequence[paramiko.PKey]) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._account = account
        self._keys = keys

    def get_sources(self) -> Iterator[AuthSource]:
        user, password = self._account.user, self._account.password
        for key in self._keys:
            yield InMemoryPrivateKey(user, key)
        if self._account.agent:
            agent = paramiko.Agent()
            try:
                for agent_key in agent.get_keys():
                    yield InMemoryPrivateKey(user, agent_key)
            finally:
                agent.close()
        if password is not None:
            yield Password(user, lambda: password)


def _private_keys(account: Account) -> list[paramiko.PKey]:
    return [_private_key(Path(path).expanduser(), account.passphrase_for) for path in account.key_files]


def _private_key(path: Path, passphrase_for: Callable[[Path], str | None] | None) -> paramiko.PKey:
    passphrase: str | None = None
    for kind in (paramiko.Ed25519Key, paramiko.RSAKey, paramiko.ECDSAKey):
        try:
            try:
                return kind.from_private_key_file(str(path), passphrase)
            except paramiko.PasswordRequiredException:
                passphrase = passphrase_for(path) if passphrase is None and passphrase_for else passphrase
                if passphrase is None:
                    raise BadIdentity(f"{path.name} needs its passphrase") from None
                return kind.from_private_key_file(str(path), passphrase)
        except OSError as problem:
            raise CantRead(path, problem.strerror) from problem
        except (paramiko.SSHException, ValueError, TypeError):
            continue  # of another kind
    raise BadIdentity(f"{path.name} is no private key of a known kind, or the passphrase is wrong")


def _why(problem: BaseException) -> str:
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    if isinstance(problem, socket.gaierror):
        return "there is no host of that name"
    if isinstance(problem, paramiko.ssh_exception.NoValidConnectionsError):
        return "nothing listens there"
    text = getattr(problem, "strerror", None) or " ".join(str(problem).split())
    return "".join(letter for letter in text if letter.isprintable())[:200] or "it was closed from the other side"
