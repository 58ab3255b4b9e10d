"""A real browser for tests: Debian's Chromium, without a head, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

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
    """A browser; skipped where there is none.

    For one module at a time: while it runs, this thread has a running event loop, and asyncio.run() fails.
    """
    arguments = _arguments()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def chromium_at(folder: Path) -> Iterator[BrowserContext]:
    """A browser with a profile on disk: in the others, which forget, what a page stores is in memory."""
    arguments = _arguments()
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(folder, executable_path=CHROMIUM, args=arguments)
        try:
            yield context
        finally:
            context.close()


def _arguments() -> list[str]:
    if shutil.which(CHROMIUM) is None:
        pytest.skip("chromium is not installed")
    return [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else QUIET  # its sandbox does not work for root
