"""A real browser for tests: Debian's Chromium, without a head, driven by Playwright.

Once Playwright is there, its thread has a running event loop until the end, and asyncio.run() fails.  So the tests that
use it are marked `browser` and run in processes of their own, where one Playwright serves them all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright

CHROMIUM = "/usr/bin/chromium"
QUIET = [  # it calls nobody but us
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; skipped where there is none."""
    browser = _playwright().chromium.launch(executable_path=CHROMIUM, args=_arguments())
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def chromium_at(folder: Path) -> Iterator[BrowserContext]:
    """A browser with a profile on disk: in the others, which forget, what a page stores is in memory."""
    context = _playwright().chromium.launch_persistent_context(folder, executable_path=CHROMIUM, args=_arguments())
    try:
        yield context
    finally:
        context.close()


_running: list[Playwright] = []


def _playwright() -> Playwright:
    """The one of this process."""
    if not _running:
        _running.append(sync_playwright().start())
    return _running[0]


def stop() -> None:
    """At the end of all tests.  Nothing where no browser was wanted."""
    while _running:
        _running.pop().stop()


def _arguments() -> list[str]:
    if shutil.which(CHROMIUM) is None:
        pytest.skip("chromium is not installed")
    return [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else QUIET  # its sandbox does not work for root
