"""The third walk: to whom and what about, the files, *Send package*; whoever gets it may use SFTP or a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from fxsftp.domain.model import Kind
from tests.walks.guests import until
from tests.walks.portal.people import EITHER, SOON, Person, Town, write
from tests.walks.portal.test_create_user import registers

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("more-portal-walks")]

FILES = {"report.csv": b"a;b\n1;2\n" * 50_000, "tom.txt": b"", "blåbær & co.txt": "æøå".encode()}
SUBJECT = "Ref 23/4567 Lønn <okt>"  # no folder could be called so


def begins(somebody: Person, to: str, subject: str = SUBJECT) -> None:
    """The first page, from the rooms at the top."""
    somebody.page.get_by_role("link", name=somebody.say("Send package"), exact=True).first.click()
    somebody.fills("To", to)
    somebody.fills("What it is about", subject)
    somebody.fills("Message", "Hei,\n\nher er tallene.")
    somebody.clicks("On to the files")


def picks(somebody: Person, folder: Path, files: dict[str, bytes]) -> None:
    """With the browser's own dialog for files, which here answers by itself."""
    paths = [write(folder, name, data) for name, data in files.items()]
    somebody.page.get_by_label(somebody.say("Files"), exact=True).set_input_files(paths)


def drags(somebody: Person, *paths: Path) -> None:
    """As a hand does it, from a window beside the browser: Chromium itself is told of the drag."""
    area = somebody.page.locator("[data-sending-drop]")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box
    devtools = somebody.context.new_cdp_session(somebody.page)
    data: dict[str, Any] = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        at = {"x": box["x"] + 5, "y": box["y"] + 5}
        devtools.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})


def drops(somebody: Person, name: str, text: str) -> None:
    """As another program's page does it: with a file that lies in no folder."""
    page = somebody.page
    files = page.evaluate_handle(
        "([name, text]) => { const all = new DataTransfer(); all.items.add(new File([text], name)); return all; }",
        [name, text],
    )
    for kind in ("dragenter", "dragover", "drop"):
        page.locator("[data-sending-drop]").dispatch_event(kind, {"dataTransfer": files})


def sends(somebody: Person, *, scripts: bool) -> str:
    """*Send package*, once all are there; the number of the package."""
    if scripts:
        expect(somebody.button("Send package")).to_be_enabled(timeout=SOON)
    somebody.button("Send package").click()
    somebody.is_at("/sent/")
    return somebody.page.url.partition("/sent/")[2].partition("?")[0]


def test_files_that_are_picked_arrive_as_they_are_by_sftp(
    town: Town, language: str, scripts: bool, tmp_path: Path
) -> None:
    """To a member, by a partner: with scripts by tus, without by a plain form."""
    with town.user("ann", language, scripts=scripts) as ann, town.user("ola", kind=Kind.MEMBER) as ola:
        ann.logs_in()
        begins(ann, ola.email)
        picks(ann, tmp_path, FILES)
        shipment = sends(ann, scripts=scripts)
        ann.sees(SUBJECT, translated=False)
        ola.link(f"/inbox/{shipment}")
        fetched = town.guest(ola).fetch(f"inbox/{shipment}")
        assert {path.name: path.read_bytes() for path in fetched.iterdir() if path.name in FILES} == FILES
        letter = (fetched / "SHIPMENT.txt").read_text()
        assert SUBJECT in letter
        assert "her er tallene" in letter


@pytest.mark.parametrize(("language", "scripts"), EITHER)
def test_files_come_in_parts_by_hand_or_picker_and_can_be_taken_away_again(
    town: Town, language: str, scripts: bool, tmp_path: Path
) -> None:
    """Dropped on the page, from a folder and from another program, or picked where there are no scripts.

    What is put together lies under Sent until it is sent; a page that is loaded again knows what is there.
    """
    with town.user("ann", language, scripts=scripts) as ann, town.user("ola", kind=Kind.MEMBER) as ola:
        ann.logs_in()
        begins(ann, ola.email)
        draft = ann.page.url
        if scripts:
            drags(ann, write(tmp_path, "report.csv", b"1"))
            drops(ann, "wrong.csv", "2")
            expect(ann.page.locator('[data-sending-list] [data-state="sent"]')).to_have_count(2, timeout=SOON)
            ann.sees("All files are here. You can send the package now.")
        else:
            picks(ann, tmp_path, {"report.csv": b"1", "wrong.csv": b"2"})
            ann.clicks("Add these files, and more later")
            ann.is_at("/send/")
        ann.page.get_by_role("link", name=ann.say("Sent"), exact=True).click()
        ann.sees("Not sent yet")
        ann.page.get_by_role("main").get_by_role("link", name=SUBJECT).click()
        expect(ann.page).to_have_url(draft)
        wrong = ann.page.get_by_role("listitem").filter(has_text="wrong.csv")
        wrong.get_by_role("button", name=ann.say("Remove")).click()
        expect(wrong).to_have_count(0)
        shipment = sends(ann, scripts=scripts)
        assert set(town.guest(ola).ls(f"inbox/{shipment}")) == {"SHA256SUMS", "SHIPMENT.txt", "report.csv"}
        assert town.guest(ola).get(f"inbox/{shipment}/report.csv") == b"1"


@pytest.mark.parametrize(("language", "scripts"), EITHER)
def test_a_member_sends_to_somebody_whom_nobody_knows_yet(
    town: Town, language: str, scripts: bool, tmp_path: Path
) -> None:
    """They are asked in: the member says their phone; the package waits until they have registered, then opens."""
    with (
        town.user("kari", language, scripts=scripts, kind=Kind.MEMBER) as kari,
        town.person("nina", language, scripts=scripts) as nina,
    ):
        kari.logs_in()
        begins(kari, nina.email)
        kari.page.get_by_label(nina.email).fill(nina.phone)
        kari.clicks("On to the files")
        picks(kari, tmp_path, {"report.csv": b"a;b\n"})
        shipment = sends(kari, scripts=scripts)
        registers(nina)
        nina.is_at("/inbox")
        nina.link(f"/inbox/{shipment}")
        nina.goes_to(f"/inbox/{shipment}")
        nina.fills("Code from the SMS", nina.code(shipment))
        if scripts:
            nina.clicks("Open")
            assert nina.downloads(nina.page.locator("[data-opening-save]").click) == ("report.csv", b"a;b\n")
        else:
            nina.clicks("Open on the server")
            link = nina.page.get_by_role("listitem").filter(has_text="report.csv").get_by_role("link")
            assert nina.downloads(link.click) == ("report.csv", b"a;b\n")


def test_a_broken_line_costs_nothing_that_has_arrived(town: Town, tmp_path: Path) -> None:
    """The line is cut in the middle of a file, and the upload goes on where it broke."""
    data = bytes(range(256)) * (8 << 12)  # 8 MiB
    with town.user("ann") as ann, town.user("ola", kind=Kind.MEMBER) as ola:
        ann.logs_in()
        begins(ann, ola.email, "Ref 9")
        before = len(town.wire.up)
        town.wire.hold_after(3 << 20)
        picks(ann, tmp_path, {"large.bin": data})
        until(lambda: any(each["offset"] > 0 for each in ann.context.request.get(f"{ann.page.url}/files").json()))
        town.wire.cut()
        shipment = sends(ann, scripts=True)
        assert town.guest(ola).get(f"inbox/{shipment}/large.bin") == data
        goes_on = [int(offset) for offset in re.findall(rb"Upload-Offset: (\d+)", town.wire.up[before:])]
        assert max(goes_on) > 0  # not from the beginning
        # Chromium sends a call whose line breaks once more by itself; by then the offset is another, and it hears so.
        ann.problems[:] = [problem for problem in ann.problems if not problem.startswith("409 PATCH")]
