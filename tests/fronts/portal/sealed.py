"""A package on the stage: sealed by our own seal, shown on a page that opening.js works on, opened by its code."""

from __future__ import annotations

import html
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from fxsftp import seal
from fxsftp.domain import ids
from tests.fronts.portal.stage import Stage, exported, page, words

PICKERS = """
window.showSaveFilePicker = async ({ suggestedName }) =>
  (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true });
window.showDirectoryPicker = () => navigator.storage.getDirectory();
"""  # real handles, to files in the browser's own storage: only the dialog is left out
NO_PICKERS = "delete window.showSaveFilePicker; delete window.showDirectoryPicker;"
NO_WORKERS = NO_PICKERS + "delete Navigator.prototype.serviceWorker;"


class Package:
    """A package on the stage, sealed by our own seal."""

    def __init__(self, stage: Stage, files: dict[str, bytes], code: str = "") -> None:
        self.stage, self.files, self.code = stage, files, code or ids.new_code()
        self.identity, stage.files["/p/KEY.age"] = seal.code_identity(self.code)
        for number, data in enumerate(files.values()):
            stage.files[f"/p/{number}.age"] = seal.seal_small(data, self.identity.lock)

    def show(
        self,
        context: BrowserContext,
        *,
        static: str = "/static",
        delays: str = "0 0",
        prepare: str = PICKERS,
        key_url: str = "/p/KEY.age",
    ) -> Page:
        rows = "".join(
            f'<li data-opening-file data-name="{html.escape(name)}" data-size="{len(data)}" data-url="/p/{number}.age">'
            "<button type=button data-opening-save hidden>Save</button>"
            "<button type=button data-opening-cancel hidden>Cancel</button>"
            "<progress data-opening-progress hidden aria-label=file></progress><span data-opening-state></span>"
            for number, (name, data) in enumerate(self.files.items())
        )
        self.stage.pages["/p"] = page(
            f'<section data-opening data-key-url="{key_url}" data-retry-delays="{delays}">{words(*exported("opening"))}'
            "<form data-opening-form data-with-script hidden><input data-opening-code aria-label=code name=code>"
            "<button>Open</button></form><form method=post data-without-script><button>Open here</button></form>"
            f"<p data-opening-status role=status></p><ul>{rows}</ul>"
            "<button type=button data-opening-all hidden>All</button></section>",
            "opening.js",
            static=static,
        )
        shown = context.new_page()
        shown.add_init_script(prepare)
        shown.goto(self.stage.url("/p"))
        return shown

    def opened(self, context: BrowserContext, **how: Any) -> Page:
        """The same after the code was given."""
        shown = self.show(context, **how)
        give(shown, self.code)
        says(shown, "opened")
        return shown


def give(shown: Page, code: str) -> None:
    shown.locator("[data-opening-code]").fill(code)
    shown.get_by_role("button", name="Open", exact=True).click()


def says(shown: Page, outcome: str) -> None:
    """Wait until the status says this, and nothing else."""
    expect(shown.locator("[data-opening-status]")).to_have_attribute("data-outcome", outcome, timeout=20_000)


def save(shown: Page, number: int = 0) -> None:
    shown.locator("[data-opening-save]").nth(number).click()
