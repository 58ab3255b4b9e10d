"""A session with an exchange: send, fetch, and the line between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType

from fxsftp.client import fetching, sending
from fxsftp.client.fetching import Fetched
from fxsftp.client.line import PATIENCE, Account, Line
from fxsftp.client.opening import Progress
from fxsftp.client.sending import SentFolder

AnyPath = str | os.PathLike[str]


def connect(
    host: str,
    port: int = 22,
    user: str = "",
    *,
    key_files: Iterable[AnyPath] = (),
    agent: bool = True,
    password: str | None = None,
    passphrase_for: Callable[[Path], str | None] | None = None,
    known_hosts: AnyPath = "~/.ssh/known_hosts",
    accept_new: bool = False,
    timeout: float = 30.0,
    patience: Sequence[float] = PATIENCE,
) -> Session:
    """Dial, make sure that it is the right host, and log in.

    `user` is the e-mail address.  `key_files`, then the SSH agent's keys, then `password` are shown.  A host
    that `known_hosts` does not name is refused unless `accept_new`, which remembers it there.  `timeout` is
    how many seconds without an answer make a line broken, `patience` how many to wait before each new
    attempt.  Raises CannotConnect, HostKeyUnknown, HostKeyChanged, LoginRefused, BadIdentity or CantRead.
    """
    files = tuple(Path(path) for path in key_files)
    account = Account(
        host, port, user, files, agent, password, passphrase_for, Path(known_hosts), accept_new, timeout, patience
    )
    session = Session(account)
    session.line.wire()
    return session


class Session:
    """Logged in to an exchange.  A broken line is dialled again; a context manager hangs up at its end."""

    def __init__(self, account: Account) -> None:
        self.line = Line(account)

    def send(
        self,
        paths: Sequence[AnyPath],
        to: str,
        reference: str | None = None,
        *,
        progress: Progress | None = None,
        now_send: bool = True,
    ) -> SentFolder:
        """Put files and folders for `to`, and return when the exchange keeps every byte of them.

        With a `reference` they become one shipment of that subject, checked by a SHA256SUMS; nothing of it
        leaves before all of it is there.  Without one each file is a shipment.  `now_send` asks the exchange
        to send at once instead of waiting whether more comes.  A file that a broken line has cut is taken up
        where it was.  Raises the exchange's own refusal, ChangedMeanwhile, CantRead, NotSentYet or LineBroken.
        """
        try:
            return sending.send(self.line, [Path(path) for path in paths], to, reference, progress, now_send)
        except BaseException:
            self.line.hang_up()  # what is half written must look cut off, and not closed
            raise

    def fetch(
        self,
        into: AnyPath,
        *,
        shipments: Sequence[str] | None = None,
        code_for: Callable[[str], str | None] | None = None,
        open_with: Iterable[AnyPath] = (),
        progress: Progress | None = None,
        remove: bool = False,
    ) -> list[Fetched]:
        """Bring the inbox, or the `shipments` named, to `into`, each in a folder of its own, and check every file.

        What is there already and right is not fetched again, what an earlier run began is taken up.
        `code_for` is asked, by the shipment's id, for the code of one that is locked; `open_with` are keys.
        `remove` takes each shipment out of the inbox once it is here, right, and (if asked for) opened.
        A shipment that could not be brought has its `problem` set and the others are fetched; a line that is
        lost for good is the problem of the last one tried.  Raises only what concerns no shipment: LineBroken
        before the first, ShipmentUnknown, and what the exchange says when it shows no inbox at all.
        """
        keys = tuple(Path(path) for path in open_with)
        passphrase_for = self.line.account.passphrase_for
        terms = fetching.Terms(Path(into), code_for, keys, passphrase_for, progress, remove)
        try:
            return fetching.fetch(self.line, shipments, terms)
        except BaseException:
            self.line.hang_up()
            raise

    def close(self) -> None:
        self.line.hang_up()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _problem: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
