"""`fxsftp notice`: try again, drop, test; and what `user` and `doctor` say of how people are reached."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fxsftp import app, serving
from fxsftp.bell import Bell
from fxsftp.courier import Courier
from fxsftp.exchange.carriage import Outcome
from tests.fronts.cli.conftest import Admin
from tests.house import ANN, House


def failed(house: House, reason: str = "550 no such user") -> str:
    """A mail that was taken and failed; its id."""
    courier = app.open_exchange(house.settings, role="courier")
    (errand,) = courier.carriage.take_due("mail", house.clock(), lease="x", seconds=30, limit=1)
    courier.carriage.record("mail", "x", [Outcome(errand.notice.id, "failed", reason)], house.clock())
    courier.close()
    return errand.notice.id


def test_a_notice_that_failed_is_tried_again_or_dropped_by_its_id(people: Admin, house: House) -> None:
    people.does("user", "change", ANN, "--phone", "")
    notice = failed(house)
    assert people.json("notice", "list", "--state", "failed")[0]["reason"] == "550 no such user"
    assert people.does("notice", "retry", notice) == f"{notice} is tried again: mail to {ANN}\n"
    assert people.json("notice", "show", notice)["state"] == "due"
    assert people.does("notice", "drop", notice) == f"{notice} dropped: mail to {ANN}\n"
    assert "is dropped; it can't be dropped" in people.refused("notice", "drop", notice)
    assert "There is no notice 'no'" in people.refused("notice", "retry", "no")


def test_a_test_goes_by_the_courier_and_its_end_is_said(people: Admin, house: House) -> None:
    """The real courier with the demo's own hooks."""
    exchange = app.open_exchange(house.settings, role="courier")
    loop, stop = asyncio.new_event_loop(), threading.Event()
    courier: list[Courier] = []

    async def run() -> None:
        courier.append(
            Courier(
                exchange.carriage,
                serving._crews(house.settings, strict=False),
                app.templates_of(house.settings),
                Bell(house.settings.bell),
                sender="x@ssb.example",
                clock=house.clock,
            )
        )
        stop.set()
        await courier[0].run()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert stop.wait(30)
    try:
        assert "carried: " in people.does("notice", "test", "mail", ANN, "--language", "nb")
        assert "carried: " in people.does("notice", "test", "sms", "+4790000000")
    finally:
        loop.call_soon_threadsafe(courier[0].stop)
        thread.join(30)
        loop.close()
        exchange.close()
    (mail,) = (house.settings.state / "spool" / "mail").glob("*.eml")
    assert "sender denne e-posten for å prøve" in " ".join(mail.read_text().split())


def test_a_test_that_nobody_carries_says_so_and_exits_with_3(people: Admin) -> None:
    assert "no courier carries mail just now" in people.refused("notice", "test", "mail", ANN, "--wait", "0", status=3)
    assert "not an e-mail address" in people.refused("notice", "test", "mail", "nobody", "--wait", "0")
    assert "not a phone number" in people.refused("notice", "test", "sms", ANN, "--wait", "0")


def test_a_stopped_way_is_wrong_to_the_doctor_and_a_test_tries_it_at_once(people: Admin, house: House) -> None:
    courier = app.open_exchange(house.settings, role="courier")
    people.does("user", "change", ANN, "--phone", "+4791111111")
    (errand,) = courier.carriage.take_due("mail", house.clock(), lease="x", seconds=30, limit=1)
    courier.carriage.record("mail", "x", [Outcome(errand.notice.id, "stop", "535 wrong password")], house.clock())
    done = people("doctor", "--json")
    assert done.exit_code == 1
    assert "535 wrong password" in done.stdout
    assert courier.carriage.take_due("mail", house.clock(), lease="x", seconds=30, limit=1) == []
    assert "535 wrong password" in people.refused("notice", "test", "mail", ANN, "--wait", "0", status=3)
    assert len(courier.carriage.take_due("mail", house.clock(), lease="x", seconds=30, limit=9)) == 1
    courier.close()


def test_how_a_user_is_told_of_things_is_theirs_to_choose(people: Admin) -> None:
    people.does(
        "user", "change", ANN, "--quiet", "22:00-07:00", "--timezone", "Europe/Oslo", "--digest", "08:00",
        "--phrase", "blue hippo",
    )  # fmt: skip
    told = people.json("user", "show", ANN)
    assert (told["quiet"], told["timezone"], told["digest"], told["has_phrase"]) == (
        "22:00-07:00", "Europe/Oslo", "08:00", True,
    )  # fmt: skip
    shown = people.does("user", "show", ANN)
    assert "22:00-07:00" in shown
    assert "blue hippo" not in shown, "who looks over a shoulder must not learn it"
    people.does("user", "change", ANN, "--quiet", "", "--timezone", "", "--digest", "", "--phrase", "")
    told = people.json("user", "show", ANN)
    assert (told["quiet"], told["timezone"], told["digest"], told["has_phrase"]) == (None, None, None, False)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--quiet", "late"), ("--timezone", "Mars/Olympus"), ("--digest", "8"), ("--phrase", "x" * 61)],
)
def test_what_can_not_be_understood_is_refused(option: str, value: str, people: Admin) -> None:
    people.refused("user", "change", ANN, option, value)


def test_an_address_that_can_not_be_reached_is_shown_until_somebody_enables_it(people: Admin, house: House) -> None:
    people.does("user", "change", ANN, "--phone", "")
    mail = next(each for each in people.json("notice", "list") if each["way"] == "mail")
    house.exchange.carriage.undelivered(mail["id"], way="mail", reason="gone away", hard=True, now=house.clock())
    assert people.json("user", "show", ANN)["bounce"] == "mail: gone away"
    assert "gone away" in people.does("user", "show", ANN)
    people.does("user", "enable", ANN)
    assert people.json("user", "show", ANN)["bounce"] is None
