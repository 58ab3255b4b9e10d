"""A portal that listens on loopback, over a house whose clock is turned by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest
import requests
from twilio.request_validator import RequestValidator

from fxsftp.fronts.desk import Desk
from fxsftp.fronts.portal.listener import listen
from fxsftp.fronts.portal.routes import Terms, portal
from tests.house import House

PUBLIC, TOKEN = "https://fx.example", "sesame"


@dataclass
class Caller:
    """Whoever calls the portal; by default Twilio, with its own signature."""

    port: int
    signer: RequestValidator = field(default_factory=lambda: RequestValidator(TOKEN))

    def tell(self, notice_id: str, *, signature: str | None = None, **form: str) -> requests.Response:
        """A status callback."""
        url = f"{PUBLIC}/callbacks/twilio/{notice_id}"
        signed = self.signer.compute_signature(url, form) if signature is None else signature
        return self.post(f"/callbacks/twilio/{notice_id}", data=form, headers={"X-Twilio-Signature": signed})

    def post(self, path: str, **how: object) -> requests.Response:
        """Any call."""
        return requests.post(f"http://127.0.0.1:{self.port}{path}", timeout=30, **how)  # type: ignore[arg-type]


@pytest.fixture
def caller(house: House) -> Iterator[Caller]:
    ready: Future[int] = Future()
    told: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        desk = Desk(house.exchange, house.clock)
        listener = listen(portal(desk, Terms(PUBLIC, TOKEN)), "127.0.0.1", 0)
        told.set_result((asyncio.get_running_loop(), stop))
        ready.set_result(listener.port)
        await stop.wait()
        await listener.close()
        await desk.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    yield Caller(ready.result(10))
    loop, stop = told.result(10)
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
