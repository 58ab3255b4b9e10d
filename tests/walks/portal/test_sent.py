"""The fourth walk: what became of a package, its receipt, and what can still be done about it."""

from __future__ import annotations

import json

import pytest

from fxsftp.domain.model import Kind
from tests.walks.guests import until
from tests.walks.portal.people import EITHER, Person, Town
from tests.walks.portal.test_receive import sent_to

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("portal-walks")]


def looks_at(somebody: Person, shipment: str) -> None:
    """One's own package, from the list of what was sent."""
    somebody.page.get_by_role("link", name=somebody.say("Sent"), exact=True).first.click()
    somebody.page.get_by_role("main").get_by_role("link", name="Ref 23-4567").first.click()
    somebody.is_at(f"/sent/{shipment}")


@pytest.mark.parametrize(("language", "scripts"), EITHER)
def test_a_sender_follows_a_package_and_takes_it_back(town: Town, language: str, scripts: bool) -> None:
    """Mail sent, code sent, not opened; the same code to another number; longer; a receipt; opened; recalled."""
    with (
        town.user("kari", language, scripts=scripts, kind=Kind.MEMBER) as kari,
        town.user("ann", language, scripts=scripts) as ann,
    ):
        shipment = sent_to(ann, town.guest(kari), data_csv=b"a;b\n")
        code = ann.code(shipment)
        ann.link("/inbox/")
        kari.logs_in()
        looks_at(kari, shipment)
        kari.sees(ann.email, translated=False)
        kari.sees("Code by SMS")
        kari.sees("SHA-256", translated=False)

        kari.unfolds("The code did not arrive, or is lost")
        kari.fills("Another number", "+4799999999")
        kari.clicks("Send the same code again")
        kari.sees("The same code is on its way again.")
        again = "To: +4799999999\n"
        until(lambda: any(again in text and code in text and shipment in text for text in town.served.sms()))

        kari.unfolds("Let it wait longer")
        kari.fills("Days more", "7")
        kari.clicks("Let it wait longer")
        kari.sees("The package waits longer now.")

        ann.logs_in(at=f"/inbox/{shipment}")
        ann.downloads(lambda: ann.page.get_by_role("link", name=ann.say("Download locked (.age)")).click())
        kari.comes_to_see(f"/sent/{shipment}", "Opened")
        name, receipt = kari.downloads(lambda: kari.clicks("Download the receipt", "link"))
        assert name == f"{shipment}.txt"
        assert ann.email in receipt.decode()
        name, receipt = kari.downloads(lambda: kari.clicks("The same for programs (JSON)", "link"))
        assert json.loads(receipt)["recipients"][0]["recipient"] == ann.email

        kari.unfolds("Recall the package")
        kari.clicks("Recall the package")
        kari.sees("The package is recalled. The history below says who had read it before.")
        ann.goes_to(f"/inbox/{shipment}")
        ann.sees("There is nothing here")
