"""One exchange with its own processes, and one browser, for all walks through the portal."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from playwright.sync_api import Browser

from tests.browser import chromium
from tests.walks.guests import until
from tests.walks.portal.people import Town, Wire
from tests.walks.served import Served, _free_port


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def town(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Town]:
    """Members have to have a second factor here."""
    outside, inside = _free_port(), _free_port()
    url = f"http://127.0.0.1:{outside}"
    settings = {
        "portal": {"listen": "127.0.0.1", "port": inside, "public_url": url},
        "policy": {"totp": "members"},
    }
    with Served(tmp_path_factory.mktemp("town") / "exchange", settings) as served:
        served.serve()
        with closing(Wire(outside, inside)) as wire:
            until(lambda: _is_well(url))
            yield Town(served, url, wire, browser)


def _is_well(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@pytest.fixture(params=["nb", "en"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["scripts", "no-scripts"])
def scripts(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
