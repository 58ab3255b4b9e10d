"""What the post brings to people: mails with links and SMS with codes, by the courier's own key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Barrier, Thread
from typing import TYPE_CHECKING

from fxsftp import app
from fxsftp.exchange import Exchange
from fxsftp.exchange.carriage import Errand
from tests.house import House

if TYPE_CHECKING:
    from collections.abc import Callable

PORTAL = '\n[portal]\npublic_url = "https://portal.ssb.example"\n'
PASSWORD = "correct horse battery staple"


@contextmanager
def courier(house: House) -> Iterator[Exchange]:
    """The exchange as the courier has it."""
    exchange = app.open_exchange(house.settings, role="courier")
    try:
        yield exchange
    finally:
        exchange.close()


def delivered(house: House, kind: str, way: str = "mail") -> list[Errand]:
    """Everything that is due by this way is carried; answers what is of this kind, oldest first."""
    with courier(house) as exchange:
        errands = exchange.carriage.take_due(way, house.clock(), lease="post", seconds=60, limit=1000)
        for errand in errands:
            exchange.carriage.carried(errand.notice.id, "post", "", house.clock())
    return [errand for errand in errands if errand.kind == kind]


def token(house: House, kind: str, email: str) -> str:
    """What the newest link of this kind in somebody's mailbox says."""
    found = [errand for errand in delivered(house, kind) if errand.notice.address == email]
    assert found, f"no {kind} for {email}"
    assert found[-1].token is not None
    return found[-1].token


def digits(house: House, phone: str) -> str:
    """What the newest SMS that confirms says."""
    found = [errand for errand in delivered(house, "confirm", "sms") if errand.notice.address == phone]
    assert found, f"no digits for {phone}"
    assert found[-1].code is not None
    return found[-1].code


def at_once(*calls: Callable[[], object]) -> list[object]:
    """All of them in threads that begin together; answers what each gave back or raised."""
    together, results = Barrier(len(calls)), [None] * len(calls)

    def run(index: int, call: Callable[[], object]) -> None:
        together.wait(30)
        try:
            results[index] = call()  # type: ignore[call-overload]
        except Exception as problem:  # noqa: BLE001 - it is the test's to see
            results[index] = problem  # type: ignore[call-overload]

    threads = [Thread(target=run, args=(index, call)) for index, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return list(results)
