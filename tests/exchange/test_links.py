"""Links: from an invitation to a password, each used once, and nothing that tells who is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fxsftp.clock import boot
from fxsftp.domain.model import Kind, Standing
from fxsftp.errors import BadPassword, LinkOver, Unavailable
from fxsftp.exchange.links import ASKED
from tests.exchange.hands import Hand, another_process, notices, registry_of, sent_ids, state_files
from tests.exchange.post import PASSWORD, PORTAL, at_once, courier, delivered, token
from tests.house import ANN, BOB, KARI, House

PHONE = "+4790000001"
DAY, HOUR = 86400, 3600


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "house", settings_text=PORTAL) as found:
        yield found


@pytest.fixture
def invited(house: House, kari: Hand) -> str:
    """The token in bob's invitation."""
    house.exchange.people.invite(kari.user, BOB, PHONE, house.clock())
    return token(house, "invited", BOB)


def asked(house: House, email: str) -> str:
    """The token of a password link that somebody asked for."""
    house.exchange.links.request_password(email, house.clock())
    return token(house, "password_link", email.strip().casefold())


# ---- the way in --------------------------------------------------------------------------------------


def test_who_was_invited_asks_for_a_password_sets_it_and_is_registered(house: House, kari: Hand, invited: str) -> None:
    links, now = house.exchange.links, house.clock()
    kari.put(f"/outbox/{BOB}/report.csv", b"a;b\n")
    house.settle()
    assert links.look("invited", invited, now).email == BOB
    links.request_by_invitation(invited, now)
    second = token(house, "password_link", BOB)
    assert second != invited
    assert links.look("password", second, now).standing is Standing.INVITED
    bob = links.set_password(second, PASSWORD, now)
    assert (bob.standing, bob.phone, bob.has_password) == (Standing.ACTIVE, PHONE, True)
    assert house.exchange.people.check_password(BOB, PASSWORD, now) == bob
    assert len(sent_ids(house.settle())) == 1, "what was held for them goes on"


def test_a_forgotten_password_is_the_same_road_and_changes_nothing_else(house: House, ann: Hand) -> None:
    house.exchange.people.set_password(ANN, "an old password of hers", house.clock())
    before = ann.user
    assert house.exchange.links.set_password(asked(house, " Ann@FIRM.example "), PASSWORD, house.clock()) == before
    assert house.exchange.people.check_password(ANN, "an old password of hers", house.clock()) is None
    told = {(each["way"], each["address"]) for each in notices(house, "changed") if each["what"] == "password"}
    assert told == {("mail", ANN), ("sms", "+4790000000")}


def test_looking_uses_nothing_up_and_what_is_said_is_done_once(house: House, invited: str) -> None:
    """Mail scanners open links; people press buttons twice."""
    links, now = house.exchange.links, house.clock()
    for _ in range(3):
        assert links.look("invited", invited, now).email == BOB
    links.request_by_invitation(invited, now)
    for act in (lambda: links.look("invited", invited, now), lambda: links.request_by_invitation(invited, now)):
        with pytest.raises(LinkOver):
            act()
    second = token(house, "password_link", BOB)
    links.set_password(second, PASSWORD, now)
    with pytest.raises(LinkOver):
        links.set_password(second, "another good password", now)
    assert house.exchange.people.check_password(BOB, PASSWORD, now)


def test_a_password_that_can_not_be_used_leaves_the_link_alive(house: House, ann: Hand) -> None:
    link = asked(house, ANN)
    with pytest.raises(BadPassword):
        house.exchange.links.set_password(link, "short", house.clock())
    assert house.exchange.links.set_password(link, PASSWORD, house.clock()).email == ANN


def test_a_link_is_good_for_what_it_is_for_only(house: House, invited: str, ann: Hand) -> None:
    links, now = house.exchange.links, house.clock()
    for act in (
        lambda: links.look("password", invited, now),
        lambda: links.set_password(invited, PASSWORD, now),
        lambda: links.request_by_invitation(asked(house, ANN), now),
        lambda: links.look("password", "", now),
        lambda: links.look("password", "x' OR 1=1 --\ud800", now),
    ):
        with pytest.raises(LinkOver):
            act()


def test_links_are_over_when_their_time_is(house: House, invited: str, ann: Hand) -> None:
    links, link = house.exchange.links, asked(house, ANN)
    house.clock.turn(2 * HOUR - 1)
    assert links.look("password", link, house.clock()).email == ANN
    house.clock.turn(1)
    with pytest.raises(LinkOver):
        links.set_password(link, PASSWORD, house.clock())
    house.clock.turn(14 * DAY - 2 * HOUR)
    with pytest.raises(LinkOver):
        links.request_by_invitation(invited, house.clock())


def test_a_newer_link_ends_the_older_one_and_its_mail_if_that_waits(house: House, ann: Hand) -> None:
    first = asked(house, ANN)
    house.exchange.links.request_password(ANN, house.clock())
    house.clock.turn(1)
    second = asked(house, ANN)
    with pytest.raises(LinkOver):
        house.exchange.links.look("password", first, house.clock())
    assert house.exchange.links.look("password", second, house.clock()).email == ANN
    states = [each["state"] for each in notices(house, "password_link")]
    assert sorted(states) == ["carried", "carried", "dropped"]


def test_an_invitation_sent_once_more_ends_the_first(house: House, kari: Hand, invited: str) -> None:
    house.clock.turn(15 * DAY)
    house.exchange.people.invite(kari.user, BOB, PHONE, house.clock())
    again = token(house, "invited", BOB)
    assert house.exchange.links.look("invited", again, house.clock()).phone == PHONE


@pytest.mark.parametrize("standing", ["disable", "remove"])
def test_the_link_of_who_may_not_come_in_any_more_is_over(house: House, ann: Hand, standing: str) -> None:
    link = asked(house, ANN)
    getattr(house.exchange.people, standing)(ANN, house.clock())
    with pytest.raises(LinkOver):
        house.exchange.links.set_password(link, PASSWORD, house.clock())


def test_a_new_password_ends_all_visits_and_lifts_a_lock(house: House, ann: Hand) -> None:
    people, now = house.exchange.people, house.clock()
    people.set_password(ANN, "an old password of hers", now)
    visit = house.exchange.visits.begin(ann.user, now)
    for _ in range(house.exchange.policy.wrong_passwords):
        people.check_password(ANN, "a wrong guess at it", now)
    assert people.locked_until(ann.user, now)
    house.exchange.links.set_password(asked(house, ANN), PASSWORD, now)
    assert house.exchange.visits.find(visit, now) is None
    assert people.locked_until(ann.user, now) is None
    assert people.check_password(ANN, PASSWORD, now)


# ---- two at once -------------------------------------------------------------------------------------


def test_of_two_who_use_a_link_at_once_exactly_one_wins(house: House, invited: str, ann: Hand) -> None:
    """By threads of one process and by two processes."""
    other, now = another_process(house), house.clock()
    try:
        results = at_once(
            *(lambda each=each: each.links.request_by_invitation(invited, now) for each in (house.exchange, other) * 3)
        )
        assert sorted(type(result).__name__ for result in results) == ["LinkOver"] * 5 + ["NoneType"]
        assert len(notices(house, "password_link")) == 1
        link = asked(house, ANN)
        words = [f"password number {number} of hers" for number in range(4)]
        results = at_once(
            *(
                lambda each=each, word=word: each.links.set_password(link, word, now)
                for each, word in zip((house.exchange, other) * 2, words, strict=True)
            )
        )
        assert sorted(type(result).__name__ for result in results) == ["LinkOver"] * 3 + ["User"]
        won = [word for word, result in zip(words, results, strict=True) if not isinstance(result, LinkOver)]
        assert [word for word in words if house.exchange.people.check_password(ANN, word, now)] == won
    finally:
        other.close()


# ---- who is known ------------------------------------------------------------------------------------


def test_whoever_asks_hears_the_same_and_only_who_may_have_a_password_gets_a_mail(house: House, ann: Hand) -> None:
    people = house.exchange.people
    house.add(BOB, Kind.PARTNER)
    people.disable(BOB, house.clock())
    people.add_group("all@ssb.example", house.clock())
    for address in (
        ANN,
        BOB,
        "all@ssb.example",
        "nobody@works.example",
        "",
        "no address",
        "x" * 5000,
        "\ud800@x.example",
    ):
        assert house.exchange.links.request_password(address, house.clock()) is None
    assert [mail["address"] for mail in notices(house, "password_link")] == [ANN]


def test_the_same_work_is_done_for_who_is_unknown(house: House, ann: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sealing, and rows in the same tables; so how long it takes tells nothing."""
    rows = {}
    for address in (ANN, "nobody@works.example"):
        before = counted(house)
        house.exchange.links.request_password(address, house.clock())
        rows[address] = {table: count - before[table] for table, count in counted(house).items()}
    assert rows[ANN] == rows["nobody@works.example"] == {"links": 1, "sealed": 1}


def counted(house: House) -> dict[str, int]:
    holdings = house.exchange._holdings
    links = holdings.registry._engine.value("SELECT COUNT(*) FROM links")
    return {"links": links, "sealed": holdings.secrets._engine.value("SELECT COUNT(*) FROM links")}


def test_it_takes_about_as_long_for_who_is_unknown(house: House, ann: Hand) -> None:
    """The quickest of several: a busy machine only ever adds."""
    took: dict[str, list[float]] = {ANN: [], "nobody@works.example": []}
    for _ in range(ASKED):
        for address, times in took.items():
            began = time.perf_counter()
            house.exchange.links.request_password(address, house.clock())
            times.append(time.perf_counter() - began)
    known, unknown = (min(times) for times in took.values())
    assert abs(known - unknown) < 0.02


@pytest.mark.parametrize("address", [ANN, "nobody@works.example"])
def test_nobodys_mailbox_is_flooded(house: House, ann: Hand, address: str) -> None:
    for _ in range(ASKED + 5):
        house.exchange.links.request_password(address, house.clock())
    assert counted(house)["links"] == ASKED
    house.clock.turn(HOUR + 1)
    house.exchange.links.request_password(address, house.clock())
    assert counted(house)["links"] == ASKED + 1


# ---- where tokens are --------------------------------------------------------------------------------


def test_no_token_lies_in_clear_anywhere(house: House, invited: str, ann: Hand) -> None:
    house.exchange.links.request_password(ANN, house.clock())
    with courier(house) as exchange:
        (errand,) = exchange.carriage.take_due("mail", house.clock(), lease="x", seconds=60, limit=10)
        assert errand.token
        assert errand.code is None
        assert errand.token not in repr(errand)
    for word in (invited, errand.token):
        assert not [path for path, content in state_files(house) if word.encode() in content]


def test_a_token_is_erased_when_its_mail_is_carried_or_its_time_is_over(house: House, ann: Hand) -> None:
    asked(house, ANN)
    house.exchange.links.request_password("nobody@works.example", house.clock())
    assert len(house.exchange._holdings.secrets.links_over(1e12)) == 1, "that of nobody waits for its time"
    house.exchange.upkeep.beat(house.clock(), *boot())
    registry_of(house.exchange).record.set_standing("heartbeat", None)
    house.clock.turn(2 * HOUR)
    house.exchange.upkeep.sweep(house.clock(), *boot())
    assert counted(house) == {"links": 0, "sealed": 0}


def test_a_mail_that_is_late_is_not_sent_with_a_dead_link(house: House, ann: Hand) -> None:
    house.exchange.links.request_password(ANN, house.clock())
    house.clock.turn(2 * HOUR)
    assert delivered(house, "password_link") == []
    assert [mail["state"] for mail in notices(house, "password_link")] == ["failed"]


def test_without_a_portal_an_invitation_is_a_mail_without_a_link(tmp_path: Path) -> None:
    with House(tmp_path / "without") as house:
        house.exchange.people.invite(house.kari(), BOB, PHONE, house.clock())
        (mail,) = delivered(house, "invited")
        assert (mail.token, mail.facts["until"], mail.facts["sender"]) == (None, None, KARI)


def test_a_process_that_can_not_write_to_the_courier_invites_nobody(house: House, kari: Hand) -> None:
    with courier(house) as exchange, pytest.raises(Unavailable):
        exchange.people.invite(kari.user, BOB, PHONE, house.clock())
    assert notices(house, "invited") == []
