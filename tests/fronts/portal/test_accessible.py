"""Every page for everybody: axe-core's rules by day and by night, a keyboard alone, twice the size, a narrow phone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from fxsftp.fronts.portal import routes
from tests.browser import chromium
from tests.draw_portal import ANN, KARI, PAGES, PASSWORD, Scene, Shown, Visits, scene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("portal-accessible")]

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}, "resultTypes": ["violations"]}  # all that changes
DESK, ZOOMED, PHONE = 1280, 640, 320  # CSS pixels; 640 are a desk at 200 %, and 320 is what WCAG 1.4.10 asks for
UNSHOWN = {"/", "/healthz"}  # they lead on, or are for programs
DOWNLOADS = re.compile(r"/(receipt\.(txt|json)|key|all|files(/.*)?)$")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """In bokmål, whose words are longer than those of English."""
    with scene(tmp_path_factory.mktemp("scene") / "house", language="nb") as made:
        yield made


@pytest.fixture(scope="module")
def visits(browser: Browser, portal: Scene) -> Iterator[Visits]:
    size = {"width": DESK, "height": 800}
    made = Visits(browser, portal, viewport=size, device_scale_factor=2, locale="nb-NO", reduced_motion="reduce")
    yield made
    made.close()


@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
def test_a_page_is_for_everybody(visits: Visits, shown: Shown) -> None:
    """No violation of WCAG 2.1 A or AA by day, by night or on a phone; and it fits at twice the size and at 320 px."""
    page = visits.show(shown)
    found = violations(page, "by day")
    page.emulate_media(color_scheme="dark")
    found += violations(page, "by night", COLOURS)
    page.emulate_media(color_scheme="light")
    for width in (ZOOMED, PHONE):
        page.set_viewport_size({"width": width, "height": 800})
        inside = page.evaluate("document.documentElement.scrollWidth")
        assert inside <= width, f"{inside} px wide in a window of {width}: {too_wide(page)}"
    found += violations(page, "on a phone")
    page.close()
    assert found == []


def test_every_page_there_is_is_looked_at(portal: Scene) -> None:
    """A route that answers GET with a page stands in tests/draw_portal.py."""
    looked_at = {shown.at(portal).partition("?")[0] for shown in PAGES}
    patterns = [page.path for page in routes.PAGES if page.get and not DOWNLOADS.search(page.path)]
    for pattern in set(patterns) - UNSHOWN - {"/account/confirm/{confirmation}"}:  # "account-confirm" is led to it
        matcher = re.compile(re.sub(r"\{[^}]+\}", "[^/]+", pattern))
        assert any(matcher.fullmatch(path) for path in looked_at), pattern


def violations(page: Page, when: str, rules: Mapping[str, object] = RULES) -> list[str]:
    """What axe-core has against a page, one line each."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    found = page.evaluate("(rules) => axe.run(rules)", rules)["violations"]
    return [f"{when}: {rule['id']} {rule['help']}: {[node['html'][:200] for node in rule['nodes']]}" for rule in found]


def too_wide(page: Page) -> list[str]:
    """The elements that stick out."""
    return list(
        page.evaluate(
            "[...document.querySelectorAll('main *')]"
            ".filter((one) => one.getBoundingClientRect().right > innerWidth + 1)"
            ".map((one) => one.outerHTML.slice(0, 120)).slice(0, 5)"
        )
    )


# ---- a keyboard alone ----------------------------------------------------------------------------------


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(locale="en-GB", viewport={"width": DESK, "height": 800})
    made.set_default_timeout(30_000)
    made.set_extra_http_headers({"X-Forwarded-For": "192.0.2.250"})
    yield made
    made.close()


def tabs_to(page: Page, what: str) -> None:
    """Tab, and again, until the focus is on `what`; and wherever it comes, it is seen."""
    page.wait_for_load_state()
    for _ in range(80):
        page.keyboard.press("Tab")
        ring = page.evaluate(
            "() => { const style = getComputedStyle(document.activeElement);"
            " return [document.activeElement.tagName, style.outlineStyle, parseFloat(style.outlineWidth)]; }"
        )
        assert ring[0] == "BODY" or (ring[1] != "none" and ring[2] >= 2), f"no focus to be seen: {ring}"
        if page.evaluate("(what) => document.activeElement.matches(what)", what):
            return
    raise AssertionError(f"{what} can't be reached by Tab")


def test_a_keyboard_is_enough_to_log_in_open_send_and_log_out(
    portal: Scene, context: BrowserContext, visits: Visits, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With Tab, Enter and the space bar, and letters where letters are asked for."""
    portal.house.exchange.people.change(ANN, portal.house.clock(), language="en")
    package = portal.packages["code"]
    page = context.new_page()
    page.goto(f"{visits.url}/inbox/{package}")
    expect(page.locator("#email")).to_be_focused()
    page.keyboard.type(ANN)
    tabs_to(page, "#password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{visits.url}/inbox/{package}")

    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()  # past the head of the page, if one likes
    page.keyboard.press("Enter")
    tabs_to(page, "#code-here")
    page.keyboard.type(portal.codes[package])
    page.keyboard.press("Enter")
    page.locator("[data-opening-save]").first.wait_for()
    page.evaluate("delete window.showSaveFilePicker; delete window.showDirectoryPicker")
    tabs_to(page, "[data-opening-save]")
    with page.expect_download():
        page.keyboard.press("Enter")

    page.keyboard.press("Home")
    page.evaluate("document.activeElement.blur()")
    tabs_to(page, 'a[href="/send"]')
    page.keyboard.press("Enter")
    page.wait_for_url("**/send")
    page.keyboard.type(KARI)
    tabs_to(page, "#subject")
    page.keyboard.type("Ref 1")
    tabs_to(page, "main form button")
    page.keyboard.press("Enter")
    page.wait_for_url("**/send/*")
    path = tmp_path_factory.mktemp("own") / "report.csv"
    path.write_bytes(b"a;b\n")
    tabs_to(page, "#files")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")  # which is how Chromium opens the dialog; Enter would send a form
    chooser.value.set_files(path)
    expect(page.locator("[data-sending-submit]")).to_be_enabled()
    tabs_to(page, "[data-sending-submit]")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sent/*")

    tabs_to(page, ".leave button")
    page.keyboard.press("Enter")
    page.wait_for_url("**/log-in*")
    page.close()
