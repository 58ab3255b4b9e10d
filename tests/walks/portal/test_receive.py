"""The second walk: a mail, a log-in, the package, the code from the phone; the files open where they are read."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from fxsftp.domain.model import Kind
from tests.age_tool import age_decrypt
from tests.walks.guests import Guest, shipments_in
from tests.walks.portal.people import EITHER, Person, Town

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("more-portal-walks")]

CSV = b"person;value\n" + b"".join(b"%d;%d\n" % (each, each * each) for each in range(9000))
SECRET = b"4711;22325521\n"  # a line of it


@pytest.fixture(scope="package")
def kari(town: Town) -> Guest:
    """A member, who sends by SFTP."""
    return town.served.add("kari@ssb.example", Kind.MEMBER)


def sent_to(somebody: Person, kari: Guest, **files: bytes) -> str:
    """A package for them, by stock sftp; its number, once the SMS with the code is there."""
    folder = kari.home / f"Ref 23-4567 {somebody.email.partition('@')[0]}"
    for name, data in files.items():
        kari.file(data, f"{folder.name}/{name.replace('_', '.')}")
    assert kari.sftp(f'put -R "{folder}" outbox/{somebody.email}/').status == 0
    ran = kari.ssh(f'send "{folder.name}"')
    assert ran.status == 0, ran.err
    return shipments_in(ran.out)[0]


def finds(somebody: Person, shipment: str) -> None:
    """By the mail's link and the log-in it leads to; then by the inbox."""
    somebody.logs_in(at=somebody.link("/inbox/"))
    somebody.is_at(f"/inbox/{shipment}")
    somebody.page.get_by_role("link", name=somebody.say("Inbox"), exact=True).click()
    somebody.page.get_by_role("link", name="Ref 23-4567").first.click()
    somebody.is_at(f"/inbox/{shipment}")
    for words in ("kari@ssb.example", shipment, "data.csv"):
        somebody.sees(words, translated=False)
    somebody.sees("Available until")


def test_a_package_is_opened_in_the_browser_and_the_server_learns_nothing(
    town: Town, kari: Guest, language: str
) -> None:
    """Neither the code nor a line of what is in it goes up the wire, in any form."""
    with town.user("ann", language) as ann:
        shipment = sent_to(ann, kari, data_csv=CSV, empty_txt=b"")
        code = ann.code(shipment)
        finds(ann, shipment)
        ann.fills("Code from the SMS", code[:-1] + ("x" if code[-1] != "x" else "y"))
        ann.clicks("Open")
        ann.sees(
            "That code has a slip in it: its last letter does not fit the others. Type it as it stands in the SMS."
        )
        ann.fills("Code from the SMS", code.upper().replace("-", " "))
        ann.clicks("Open")
        ann.sees("The code is right. Save the files below: each is opened on your computer while it is saved.")
        save = ann.page.locator("[data-opening-file]").filter(has_text="data.csv").locator("[data-opening-save]")
        assert ann.downloads(save.click) == ("data.csv", CSV)
        expect(ann.page.locator("body")).to_contain_text(ann.say("{name} is saved.").format(name="data.csv"))
        said = town.wire.up
        assert f"GET /inbox/{shipment}/key".encode() in said  # what went up is what we look at
        for secret in (code.encode(), code.replace("-", "").encode(), code.upper().encode(), SECRET):
            assert secret not in said
            for shift in range(3):  # base64 begins anew every three bytes
                assert base64.b64encode(b"x" * shift + secret)[4:-4] not in said
        ann.goes_to(f"/inbox/{shipment}")
        ann.sees("Open the package")  # on the server it stays locked


def test_without_scripts_stock_age_opens_it_or_else_the_server_which_says_what_that_means(
    town: Town, kari: Guest, language: str, tmp_path: Path
) -> None:
    """The locked file as the page says it; then, here, both files by one link, in a ZIP; and the sender hears of it."""
    with town.user("ann", language, scripts=False) as ann:
        shipment = sent_to(ann, kari, data_csv=CSV, more_txt=b"more")
        code = ann.code(shipment)
        finds(ann, shipment)
        expect(ann.page.get_by_text("age -d -o data.csv data.csv.age")).to_have_count(1)
        row = ann.page.get_by_role("listitem").filter(has_text="data.csv")
        name, locked = ann.downloads(row.get_by_role("link").click)
        assert name == "data.csv.age"
        (tmp_path / name).write_bytes(locked)
        assert age_decrypt(tmp_path / name, passphrase=code) == CSV

        ann.fills("Code from the SMS", "0000-0000-0000-0000")
        ann.clicks("Open on the server")
        ann.is_at(f"/inbox/{shipment}/open")
        ann.fills("Code from the SMS", code)
        ann.clicks("Open on the server")
        ann.sees("The package is open: download its files as they are.")
        assert ann.downloads(row.get_by_role("link").click) == ("data.csv", CSV)
        _, zipped = ann.downloads(lambda: ann.clicks("Download all (ZIP)", "link"))
        with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == {"data.csv": CSV, "more.txt": b"more"}
        assert "collected" in kari.ssh(f"status {shipment}").out


@pytest.mark.parametrize(("language", "scripts"), EITHER)
def test_a_member_just_downloads_what_a_partner_sends(town: Town, language: str, scripts: bool) -> None:
    """Session delivery: no code, no form."""
    with town.user("ola", language, scripts=scripts, kind=Kind.MEMBER) as ola, town.user("ann") as ann:
        guest = town.guest(ann)
        guest.put(CSV, f"outbox/{ola.email}/Ref 23-4567/data.csv")
        shipment = shipments_in(guest.ssh('send "Ref 23-4567"').out)[0]
        ola.logs_in(at=ola.link("/inbox/"))
        ola.goes_to(f"/inbox/{shipment}")  # policy has led to the second factor first
        link = ola.page.get_by_role("listitem").filter(has_text="data.csv").get_by_role("link")
        assert ola.downloads(link.click) == ("data.csv", CSV)
