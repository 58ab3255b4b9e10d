"""The partner's side: send to an exchange, fetch from it, open what came.  Synchronous, for batch jobs.

    from fxsftp import client

    with client.connect("sftp.ssb.example", user="ann@firm.example", key_files=["~/.ssh/id_ed25519"]) as exchange:
        exchange.send(["data.csv"], to="kari@ssb.example", reference="Ref 23-4567")
        for shipment in exchange.fetch("incoming"):
            if shipment.problem:
                log.error("%s: %s", shipment.name, shipment.problem)

    client.open_file("incoming/2026-11-22_7k3f-q2mp_Ref/report.csv.age", code="xxxx-xxxx-xxxx-xxxx")

Everything that goes wrong is an `fxsftp.errors.FxError`; its text is for people, its `temporary` is for
programs.  `exit_code` makes of it what a cron job can act on:

    0   done, or nothing was new
    1   refused, or wrong: trying again changes nothing until somebody has looked
    2   wrong usage or settings (click's own, and BadProfile)
    3   temporary: the same command may succeed later, and takes up what this one has begun

This side stands beside the house.  It uses seal, errors and domain.ids, and nothing else of it; paramiko
is at home here and nowhere else.
"""

from collections.abc import Iterable

from fxsftp.client.fetching import Fetched
from fxsftp.client.opening import KEY_FILE, Keyring, Progress, open_file
from fxsftp.client.sending import SentFolder
from fxsftp.client.session import Session, connect
from fxsftp.errors import BadProfile, FxError

__all__ = [
    "KEY_FILE",
    "Fetched",
    "Keyring",
    "Progress",
    "SentFolder",
    "Session",
    "connect",
    "exit_code",
    "open_file",
]

DONE, REFUSED, USAGE, TEMPORARY = 0, 1, 2, 3


def exit_code(problems: Iterable[FxError]) -> int:
    """The exit code that says all of these: one that needs somebody to look outweighs those that pass."""
    codes = {_code(problem) for problem in problems}
    return next((code for code in (USAGE, REFUSED, TEMPORARY) if code in codes), DONE)


def _code(problem: FxError) -> int:
    if isinstance(problem, BadProfile):
        return USAGE
    return TEMPORARY if problem.temporary else REFUSED
