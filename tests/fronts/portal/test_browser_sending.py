"""Sending from a real browser: many files, folders, broken lines, reloads, and what is said of it."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.fronts.portal.stage import Stage, browser, context, exported, page, stage, words

__all__ = ["browser", "context", "stage"]

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

MIB = 1 << 20
ROW = (
    "<template data-sending-row><li><span data-sending-name></span> <span data-sending-size></span>"
    "<progress data-sending-progress></progress><span data-sending-state></span>"
    "<button type=button data-sending-retry hidden>Again</button>"
    "<button type=button data-sending-cancel>Remove</button></li></template>"
)


def compose(stage: Stage, context: BrowserContext, *, more: str = "", waits: bool = True) -> Page:
    """A page to compose a package on."""
    stage.pages["/new"] = page(
        f'<form data-sending data-endpoint="/uploads" data-open="/uploads" data-token="sesame" {more} method=post'
        f' action="/sent" enctype="multipart/form-data">{words(*exported("sending"))}{ROW}'
        "<input name=subject aria-label=subject><div data-sending-drop>"
        "<input type=file name=files multiple required aria-label=files data-sending-picker>"
        "<span data-with-script hidden><input type=file webkitdirectory aria-label=folder data-sending-folder></span>"
        "</div><ul data-sending-list></ul><p data-sending-status role=status></p><button data-sending-submit>Send"
        "</button></form>",
        "sending.js",
    )
    stage.pages["/sent"] = page("<p>Thank you</p>")
    shown = context.new_page()
    shown.goto(stage.url("/new"), wait_until="load" if waits else "commit")
    if waits:
        expect(shown.get_by_label("folder")).to_be_visible()
    return shown


def pick(shown: Page, *files: Path, into: str = "files") -> None:
    shown.get_by_label(into).set_input_files([str(file) for file in files] if into == "files" else str(files[0]))


def row(shown: Page, name: str) -> Locator:
    return shown.locator("[data-sending-list] li").filter(has_text=name)


def becomes(shown: Page, name: str, state: str) -> None:
    expect(row(shown, name)).to_have_attribute("data-state", state, timeout=20_000)


def all_sent(shown: Page) -> None:
    expect(shown.get_by_role("button", name="Send")).to_be_enabled(timeout=20_000)
    expect(shown.get_by_role("status")).to_contain_text("all-sent")


def arrived(stage: Stage) -> dict[str, bytes]:
    return {upload.metadata["filename"]: bytes(upload.data) for upload in stage.uploads.values()}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Small, large, empty, and with a name that takes care."""
    made = {"a.csv": b"id;value\n", "tom.txt": b"", "blåbær-日本 \U0001f4ca.bin": random.Random(5).randbytes(6 * MIB)}
    for number in range(8):
        made[f"del {number}.csv"] = random.Random(number).randbytes(3000 + number)
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in made}


def test_many_files_arrive_and_the_form_names_them_and_carries_none(
    stage: Stage, context: BrowserContext, files: dict[str, Path]
) -> None:
    shown = compose(stage, context)
    expect(shown.get_by_role("button", name="Send")).to_be_disabled()
    shown.get_by_label("subject").fill("Ref 1")
    pick(shown, *files.values())
    all_sent(shown)
    assert arrived(stage) == {name: path.read_bytes() for name, path in files.items()}
    assert {asked.headers.get("x-csrf-token") for asked in stage.asked if asked.method in ("POST", "PATCH")} == {
        "sesame"
    }
    kept = shown.evaluate("JSON.stringify(localStorage)")
    assert not any(name in kept for name in files)
    paths = list(stage.uploads)
    shown.get_by_role("button", name="Send").click()
    shown.wait_for_url("**/sent")
    (sent,) = [asked for asked in stage.told("/sent") if asked.method == "POST"]
    fields = re.findall(rb'name="(\w+)"\r\n\r\n([^\r]*)', bytes(sent.body))
    assert sorted(value.decode() for name, value in fields if name == b"upload") == sorted(paths)
    assert (b"subject", b"Ref 1") in fields
    assert b"id;value" not in sent.body


def test_a_broken_line_is_mended_and_nothing_is_sent_twice(
    stage: Stage, context: BrowserContext, files: dict[str, Path]
) -> None:
    stage.upload_cuts = [2 * MIB + 7, 0, MIB]
    shown = compose(stage, context)
    large = files["blåbær-日本 \U0001f4ca.bin"]
    pick(shown, large)
    all_sent(shown)
    assert arrived(stage) == {large.name: large.read_bytes()}
    offsets = [int(asked.headers["upload-offset"]) for asked in stage.asked if asked.method == "PATCH"]
    assert offsets == sorted(offsets)
    assert len(offsets) == 4
    assert max(offsets) > 2 * MIB


def test_while_a_line_is_broken_nothing_is_shown_as_sent_that_may_be_lost(
    stage: Stage, context: BrowserContext, files: dict[str, Path]
) -> None:
    """What the server has is counted; the bar is empty until it is asked again, which is as soon as a line is back."""
    stage.upload_cuts = [4 * MIB, 0, 0, 0, 0, 0, 0, 0]
    shown = compose(stage, context)
    large = files["blåbær-日本 \U0001f4ca.bin"]
    pick(shown, large)
    bar = row(shown, large.name).get_by_role("progressbar")
    expect(row(shown, large.name)).to_contain_text("broken")
    expect(bar).not_to_have_attribute("value", re.compile(""))
    expect(shown.get_by_role("status")).to_contain_text(re.compile(r"overall: .* 60\s%"))  # 4 of 6 MiB, and no more
    stage.upload_cuts = []
    shown.evaluate("window.dispatchEvent(new Event('online'))")
    becomes(shown, large.name, "sent")
    expect(bar).to_have_attribute("value", str(large.stat().st_size))
    all_sent(shown)
    assert arrived(stage) == {large.name: large.read_bytes()}


@pytest.mark.parametrize("keeps", [True, False], ids=["this browser", "another browser"])
def test_after_a_reload_the_same_file_goes_on_where_it_was(
    stage: Stage, context: BrowserContext, files: dict[str, Path], keeps: bool
) -> None:
    """The page shows what is there of the draft; in another browser, too, for the server knows the file's mark."""
    large, small = files["blåbær-日本 \U0001f4ca.bin"], files["a.csv"]
    shown = compose(stage, context)
    pick(shown, small)
    all_sent(shown)
    stage.upload_cuts = [3 * MIB, 0, 0, 0, 0, 0, 0, 0]
    pick(shown, large)
    expect(row(shown, large.name)).to_contain_text("broken")
    shown.on("dialog", lambda dialog: dialog.accept())  # are you sure: it is still being sent
    shown.reload()
    becomes(shown, "a.csv", "sent")
    becomes(shown, large.name, "half")
    expect(shown.get_by_role("button", name="Send")).to_be_disabled()
    if not keeps:
        shown.evaluate("localStorage.clear()")
    stage.upload_cuts = []
    begun = len(stage.asked)
    pick(shown, large)
    all_sent(shown)
    assert arrived(stage) == {path.name: path.read_bytes() for path in (small, large)}
    assert [asked.method for asked in stage.asked[begun:]] == ["HEAD", "PATCH"]


def test_a_file_that_was_changed_meanwhile_begins_anew(stage: Stage, context: BrowserContext, tmp_path: Path) -> None:
    """Nothing of the old one is mixed in."""
    file = tmp_path / "a.bin"
    file.write_bytes(b"x" * 3 * MIB)
    shown = compose(stage, context)
    stage.upload_cuts = [MIB, 0, 0, 0, 0, 0, 0]
    pick(shown, file)
    expect(row(shown, "a.bin")).to_contain_text("broken")
    stage.upload_cuts = []
    file.write_bytes(b"y" * 3 * MIB)
    expect(row(shown, "a.bin")).to_contain_text("unreadable")
    pick(shown, file)
    all_sent(shown)
    assert arrived(stage) == {"a.bin": b"y" * 3 * MIB}


def test_a_file_can_be_taken_away_and_is_gone_from_the_server(
    stage: Stage, context: BrowserContext, files: dict[str, Path]
) -> None:
    shown = compose(stage, context)
    pick(shown, files["a.csv"])
    becomes(shown, "a.csv", "sent")
    stage.upload_cuts = [MIB] + [0] * 20
    pick(shown, files["blåbær-日本 \U0001f4ca.bin"])
    expect(row(shown, "blåbær")).to_contain_text("broken")
    shown.get_by_role("button", name=re.compile("Remove blåbær")).click()
    all_sent(shown)
    expect(shown.get_by_role("button", name="Remove a.csv")).to_be_focused()
    until_only(shown, stage, "a.csv")
    shown.get_by_role("button", name="Remove a.csv").press("Enter")
    expect(shown.get_by_label("files")).to_be_focused()
    expect(shown.get_by_role("button", name="Send")).to_be_disabled()
    until_only(shown, stage)
    assert shown.evaluate("localStorage.length") == 0


def until_only(shown: Page, stage: Stage, *names: str) -> None:
    """Poll the server's list, as the page itself reads it."""
    shown.wait_for_function(
        "async (names) => JSON.stringify((await (await fetch('/uploads')).json()).map((each) => each.name)) === names",
        arg=json.dumps(list(names), separators=(",", ":")),
    )


@pytest.mark.parametrize("way", ["picker", "drop"])
def test_whole_folders_are_sent_with_their_subfolders(
    stage: Stage, context: BrowserContext, tmp_path: Path, way: str
) -> None:
    top = tmp_path / "Måling"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "a.csv").write_bytes(b"a")
    for number in range(120):  # a browser reads a hundred at a time
        (top / "sub" / f"{number:03}.csv").write_bytes(b"%d" % number)
    (top / "sub" / "deep" / "b.csv").write_bytes(b"b")
    shown = compose(stage, context)
    if way == "picker":
        pick(shown, top, into="folder")
    else:
        drop(shown, "[data-sending-drop]", top)
    all_sent(shown)
    assert arrived(stage) == {
        path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()
    }


def drop(shown: Page, where: str, *paths: Path) -> None:
    """As a hand does it, from outside the browser."""
    box = shown.locator(where).bounding_box()
    assert box
    session = shown.context.new_cdp_session(shown)
    data: dict[str, Any] = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        at = {"x": box["x"] + 5, "y": box["y"] + 5}
        session.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})


def test_what_the_server_refuses_is_said_in_its_words_and_can_be_tried_again(
    stage: Stage, context: BrowserContext, files: dict[str, Path]
) -> None:
    stage.refusal = (422, "Dette navnet kan ikke sendes. <b>")
    shown = compose(stage, context, more='data-max-size="1000000"')
    pick(shown, files["a.csv"], files["blåbær-日本 \U0001f4ca.bin"])
    becomes(shown, "a.csv", "failed")
    expect(row(shown, "a.csv")).to_contain_text("Dette navnet kan ikke sendes. <b>")
    expect(row(shown, "blåbær")).to_contain_text("too-large")
    stage.refusal = None
    row(shown, "blåbær").get_by_role("button", name="Remove").click()
    row(shown, "a.csv").get_by_role("button", name="Again").click()
    all_sent(shown)
    for status, word in ((401, "signed-out"), (507, "no-room"), (410, "gone"), (409, "refused")):
        stage.refusal = (status, "")
        pick(shown, files[f"del {status % 7}.csv"])
        expect(row(shown, f"del {status % 7}.csv")).to_contain_text(word)


def test_who_leaves_while_files_are_being_sent_is_asked(
    stage: Stage, context: BrowserContext, files: dict[str, Path]
) -> None:
    shown = compose(stage, context)
    asked: list[str] = []
    shown.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    stage.upload_cuts = [MIB] + [0] * 20
    pick(shown, files["blåbær-日本 \U0001f4ca.bin"])
    expect(row(shown, "blåbær")).to_contain_text("broken")
    shown.get_by_label("subject").click()  # browsers ask only for who touched the page
    shown.reload()
    assert asked == ["beforeunload"]


def test_buttons_copy_what_stands_on_the_page(stage: Stage, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    stage.pages["/copy"] = page(
        "<code id=host>sftp.example.org</code>"
        "<button type=button hidden data-copy=host data-copied=Kopiert>Kopier</button>",
        "copy.js",
    )
    shown = context.new_page()
    shown.goto(stage.url("/copy"))
    shown.get_by_role("button", name="Kopier").press("Enter")
    expect(shown.get_by_role("button", name="Kopiert")).to_be_visible()
    assert shown.evaluate("navigator.clipboard.readText()") == "sftp.example.org"
    expect(shown.get_by_role("button", name="Kopier", exact=True)).to_be_visible()


def test_files_that_are_picked_before_the_script_has_come_are_sent_too(
    stage: Stage, context: BrowserContext, files: dict[str, Path]
) -> None:
    waiting: list[Route] = []
    context.route("**/sending.js", lambda route: waiting.append(route))  # noqa: PLW0108 - Playwright marks what it calls
    compose(stage, context, waits=False)
    (shown,) = context.pages
    shown.get_by_label("files").set_input_files([files["a.csv"]])
    shown.wait_for_timeout(50)  # lets events in
    (route,) = waiting
    route.continue_()
    all_sent(shown)
    assert arrived(stage) == {"a.csv": files["a.csv"].read_bytes()}
