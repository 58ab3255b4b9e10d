"""The portal that listens on loopback, over a house whose clock is turned by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from twilio.request_validator import RequestValidator

from tests.gate import PORTAL, Gate
from tests.house import House

PUBLIC, TOKEN = "https://fx.example", "sesame"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An exchange that has a portal; where that is in truth, only the gate knows."""
    with House(tmp_path / "house", settings_text=PORTAL) as built:
        yield built


@pytest.fixture
def gate(house: House) -> Iterator[Gate]:
    with Gate(house) as gate:
        yield gate


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
    with Gate(house, public_url=PUBLIC, twilio_token=TOKEN) as gate:
        yield Caller(gate.port)
