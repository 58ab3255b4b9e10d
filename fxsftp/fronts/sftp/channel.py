"""A channel: it is for SFTP or for one command of ours, and for nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import asyncssh

from fxsftp.domain.model import User
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp import tuned
from fxsftp.fronts.sftp.commands import CommandSession
from fxsftp.fronts.sftp.overrides import cut_no_crumbs, hush, take_no_environment
from fxsftp.fronts.sftp.rooms import Rooms
from fxsftp.fronts.sftp.session import SftpSession
from fxsftp.templates import Templates


class Door(asyncssh.SSHServerSession[bytes]):
    """A channel, until the client says what it is for; from then on it stands aside."""

    def __init__(self, user: User, desk: Desk, templates: Templates, *, explains: bool) -> None:
        self._desk = desk
        self._rooms = Rooms(user, desk, templates, secrets.token_hex(8))
        self._explains = explains
        self._chan: asyncssh.SSHServerChannel[bytes]
        self._inner: SftpSession | CommandSession | None = None
        self._is_choked = False
        self._is_closing: Callable[[], bool] = lambda: False
        self.is_gone = False

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is there."""
        self._chan, self._is_closing = chan, chan.is_closing
        hush(chan)
        take_no_environment(chan)
        cut_no_crumbs(chan)
        tuned.tune(chan)

    def subsystem_requested(self, subsystem: str) -> bool:
        """SFTP, and nothing else."""
        if subsystem != "sftp":
            return False
        session = SftpSession(self._rooms, self._desk, explains=self._explains)
        session.connection_made(self._chan)
        self._inner = session
        if self._is_choked:
            session.choke(True)
        return True

    def exec_requested(self, command: str) -> bool:
        """One command of ours."""
        self._inner = CommandSession(self._rooms, self._desk, command)
        self._inner.connection_made(self._chan)
        return True

    def shell_requested(self) -> bool:
        """There is none, and whoever asks is told what there is."""
        return self.exec_requested("")

    def session_started(self) -> None:
        """The client has heard that it may go on."""
        if self._inner:
            self._inner.session_started()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass it on."""
        self._inner.data_received(data, datatype)  # type: ignore[union-attr]  # none comes before the request

    def eof_received(self) -> bool:
        """Pass it on."""
        return self._inner.eof_received() if self._inner else False

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._inner:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self.is_gone = True
        if self._inner:
            self._inner.connection_lost(exc)

    def choke(self, is_choked: bool) -> None:
        """The line below is full, or no longer."""
        self._is_choked = is_choked
        if isinstance(self._inner, SftpSession):
            self._inner.choke(is_choked)

    @property
    def is_open(self) -> bool:
        """Whether something may still be asked."""
        return not self.is_gone and not self._is_closing()

    @property
    def is_busy(self) -> bool:
        """Whether something is open or being served."""
        return not self.is_gone and self._inner is not None and self._inner.is_busy

    @property
    def heard(self) -> float:
        """When something was last asked, on the loop's clock."""
        return self._inner.heard if self._inner else 0.0
