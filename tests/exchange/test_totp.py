"""TOTP: digits that an app shows count once, and turning it on or off is nobody's who holds the mailbox only."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest

from fxsftp.domain.model import User
from fxsftp.errors import Conflict, Forbidden, NotConfirmed, TotpRequired, Unavailable, WrongDigits
from tests.exchange.hands import Hand, another_process, notices, state_files, with_policy
from tests.exchange.post import PASSWORD, at_once, courier
from tests.house import ANN, KARI, START, House

STEP = 30


class App:
    """Ann's phone."""

    def __init__(self, house: House, user: User) -> None:
        house.exchange.totp.allow(user, house.clock())
        self.house, self.user = house, user
        self.secret, self.uri = house.exchange.totp.begin(user, house.clock())
        self.codes = house.exchange.totp.confirm(user, self.shows(), house.clock())

    def shows(self, later: float = 0) -> str:
        return pyotp.TOTP(self.secret).at(int(self.house.clock() + later))

    def lets_in(self, digits: str) -> bool:
        return self.house.exchange.totp.check(self.user, digits, self.house.clock())


@pytest.fixture
def app(house: House, ann: Hand) -> App:
    """Set up on the phone, and time has passed since."""
    found = App(house, ann.user)
    house.clock.turn(5 * STEP)
    return found


def test_it_is_on_when_the_app_has_shown_the_right_digits_and_not_before(house: House, ann: Hand) -> None:
    totp, now = house.exchange.totp, house.clock()
    totp.allow(ann.user, now)
    secret, uri = totp.begin(ann.user, now)
    assert not totp.is_on(ann.user)
    with pytest.raises(WrongDigits):
        totp.confirm(ann.user, f"{(int(pyotp.TOTP(secret).at(int(now))) + 1) % 10**6:06}", now)
    codes = totp.confirm(ann.user, pyotp.TOTP(secret).at(int(now)), now)
    assert totp.is_on(ann.user)
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"[0-9a-hjkmnp-tv-z]{5}(-[0-9a-hjkmnp-tv-z]{5}){2}", code) for code in codes)
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc, unquote(parts.path)) == ("otpauth", "totp", f"/Example Institution:{ANN}")
    assert parse_qs(parts.query) == {"secret": [secret], "issuer": ["Example Institution"]}


def test_nobody_turns_it_on_without_leave(house: House, ann: Hand) -> None:
    """Who has a browser left open, or the mailbox, must not shut the owner out."""
    totp, now = house.exchange.totp, house.clock()
    secret, _ = totp.begin(ann.user, now)
    with pytest.raises(NotConfirmed):
        totp.confirm(ann.user, pyotp.TOTP(secret).at(int(now)), now)
    totp.allow(ann.user, now)
    house.clock.turn(3600)
    secret, _ = totp.begin(ann.user, house.clock())
    with pytest.raises(NotConfirmed):
        totp.confirm(ann.user, pyotp.TOTP(secret).at(int(house.clock())), house.clock())


def test_leave_is_for_one_app(house: House, ann: Hand, app: App) -> None:
    secret, _ = house.exchange.totp.begin(ann.user, house.clock())
    with pytest.raises(NotConfirmed):
        house.exchange.totp.confirm(ann.user, pyotp.TOTP(secret).at(int(house.clock())), house.clock())
    assert app.lets_in(app.shows()), "the one before goes on working"


def test_what_was_begun_long_ago_is_begun_again(house: House, ann: Hand) -> None:
    totp = house.exchange.totp
    with pytest.raises(Conflict):
        totp.confirm(ann.user, "123456", house.clock())
    secret, _ = totp.begin(ann.user, house.clock())
    house.clock.turn(3600)
    totp.allow(ann.user, house.clock())
    with pytest.raises(Conflict):
        totp.confirm(ann.user, pyotp.TOTP(secret).at(int(house.clock())), house.clock())


@pytest.mark.parametrize(("later", "is_right"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_phones_clock_may_be_off_by_one_step(app: App, later: float, is_right: bool) -> None:
    assert app.lets_in(app.shows(later)) is is_right


def test_digits_count_once_also_those_that_confirmed(house: House, ann: Hand) -> None:
    app = App(house, ann.user)
    assert not app.lets_in(app.shows()), "with these it was turned on"
    house.clock.turn(STEP)
    digits = app.shows()
    assert app.lets_in(f" {digits[:3]} {digits[3:]} ")
    assert not app.lets_in(digits)
    assert not app.lets_in(app.shows(-STEP)), "nor those from before"


def test_of_many_who_type_the_same_digits_at_once_one_comes_in(house: House, app: App) -> None:
    digits, now, other = app.shows(), house.clock(), another_process(house)
    try:
        results = at_once(
            *(lambda each=each: each.totp.check(app.user, digits, now) for each in (house.exchange, other) * 3)
        )
        assert sorted(map(bool, results)) == [False] * 5 + [True]
        results = at_once(
            *(lambda each=each: each.totp.check(app.user, app.codes[0], now) for each in (house.exchange, other) * 2)
        )
        assert sorted(map(bool, results)) == [False] * 3 + [True]
    finally:
        other.close()


def test_a_recovery_code_lets_in_once_however_it_is_typed_and_is_told(house: House, app: App) -> None:
    assert app.lets_in(f" {app.codes[0].upper().replace('-', ' ')} ")
    assert not app.lets_in(app.codes[0])
    assert app.lets_in(app.codes[1])
    assert house.exchange.totp.codes_left(app.user) == 8
    told = [(each["way"], each["address"]) for each in notices(house, "changed") if each["what"] == "recovery_used"]
    assert sorted(told) == [("mail", ANN), ("mail", ANN), ("sms", "+4790000000"), ("sms", "+4790000000")]


def test_new_recovery_codes_end_the_old_ones(house: House, app: App) -> None:
    fresh = house.exchange.totp.new_codes(app.user, house.clock())
    assert not app.lets_in(app.codes[0])
    assert app.lets_in(fresh[0])


@pytest.mark.parametrize(
    "typed", ["", "12345", "1234567", "abcdef", "１２３４５６", "x" * 10_000, "\ud800", "00000-00000-00000"]
)
def test_what_can_not_be_digits_is_wrong_and_breaks_nothing(app: App, typed: str) -> None:
    assert not app.lets_in(typed)


def test_wrong_digits_count_with_wrong_passwords_and_lock_the_account(house: House, app: App) -> None:
    house.exchange.people.set_password(ANN, PASSWORD, house.clock())
    for _ in range(5):
        assert not app.lets_in("000000" if app.shows() != "000000" else "000001")
        assert house.exchange.people.check_password(ANN, "wrong " * 3, house.clock()) is None
    assert house.exchange.people.locked_until(app.user, house.clock())
    assert not app.lets_in(app.shows())
    assert not app.lets_in(app.codes[0])
    house.clock.turn(15 * 60)
    assert app.lets_in(app.shows())
    assert app.lets_in(app.codes[0])


def test_no_secret_and_no_recovery_code_lies_in_clear(house: House, app: App) -> None:
    pending, _ = house.exchange.totp.begin(app.user, house.clock())
    for word in (app.secret, pending, *app.codes):
        assert not [path for path, content in state_files(house) if word.encode() in content]


def test_only_who_has_the_house_key_can_tell_digits(house: House, app: App) -> None:
    with courier(house) as exchange, pytest.raises(Unavailable):
        exchange.totp.check(app.user, app.shows(), house.clock())


def test_an_admin_turns_it_off_and_the_owner_is_told(house: House, app: App) -> None:
    house.exchange.totp.turn_off(app.user, house.clock())
    assert not house.exchange.totp.is_on(app.user)
    assert not app.lets_in(app.shows())
    assert not app.lets_in(app.codes[0])
    told = [(each["way"], each["what"]) for each in notices(house, "changed")]
    assert sorted(told) == [("mail", "totp"), ("mail", "totp"), ("sms", "totp"), ("sms", "totp")]
    with pytest.raises(Conflict):
        house.exchange.totp.turn_off(app.user, house.clock())


def test_a_new_password_leaves_it_as_it_is(house: House, app: App) -> None:
    house.exchange.people.set_password(ANN, PASSWORD, house.clock())
    assert house.exchange.totp.is_on(app.user)
    assert app.lets_in(app.shows())


def test_policy_says_who_must_have_it_and_whether_anybody_may(house: House, ann: Hand, kari: Hand) -> None:
    due = {}
    for policy in ("off", "optional", "members", "all"):
        with_policy(house, totp=policy)
        due[policy] = [user.email for user in (ann.user, kari.user) if house.exchange.totp.is_due(user)]
    assert due == {"off": [], "optional": [], "members": [KARI], "all": [ANN, KARI]}
    app = App(house, ann.user)
    assert not house.exchange.totp.is_due(app.user)
    with pytest.raises(TotpRequired):
        house.exchange.totp.turn_off(app.user, house.clock(), who=ANN)
    with_policy(house, totp="off")
    assert not house.exchange.totp.is_on(app.user)
    with pytest.raises(Forbidden):
        house.exchange.totp.begin(ann.user, house.clock())


def test_the_digits_are_those_of_rfc_6238() -> None:
    """Its appendix B, the last six of eight digits."""
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert [pyotp.TOTP(secret).generate_otp(at // STEP) for at in (59, 1111111109)] == ["287082", "081804"]
    assert START > 0
