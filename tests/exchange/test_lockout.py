"""Lock-out: guessing at an account stops after ten tries, for everybody, known or not, wherever they guess."""

from __future__ import annotations

import pytest

from fxsftp.clock import boot
from fxsftp.errors import UserUnknown
from fxsftp.exchange import Exchange
from tests.exchange.hands import Hand, another_process, notices, registry_of, state_files
from tests.exchange.post import PASSWORD, at_once
from tests.house import ANN, BOB, House

TRIES, MINUTES = 10, 60


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id takes a tenth of a second, which is its purpose and not what is looked at here."""
    monkeypatch.setattr("fxsftp.seal.verify_password", lambda kept, typed: kept == f"kept: {typed}")
    monkeypatch.setattr("fxsftp.seal.hash_password", lambda typed: f"kept: {typed}")
    monkeypatch.setattr("fxsftp.seal.needs_rehash", lambda _: False)


@pytest.fixture
def guessed(house: House, ann: Hand) -> Hand:
    """Ann, of whose password somebody has had ten guesses."""
    house.exchange.people.set_password(ANN, PASSWORD, house.clock())
    guess(house, ANN, TRIES)
    return ann


def guess(house: House, email: str, times: int, exchange: Exchange | None = None) -> None:
    for _ in range(times):
        assert (exchange or house.exchange).people.check_password(email, "wrong", house.clock()) is None


def is_let_in(house: House, email: str = ANN) -> bool:
    return house.exchange.people.check_password(email, PASSWORD, house.clock()) is not None


def test_ten_wrong_passwords_lock_the_account_and_a_right_one_is_answered_like_a_wrong_one(
    house: House, ann: Hand
) -> None:
    house.exchange.people.set_password(ANN, PASSWORD, house.clock())
    guess(house, ANN, TRIES - 1)
    assert is_let_in(house)
    guess(house, ANN, 1)
    assert not is_let_in(house)
    assert house.exchange.people.locked_until(ann.user, house.clock()) == house.clock() + 15 * MINUTES
    house.clock.turn(15 * MINUTES)
    assert is_let_in(house)


def test_the_owner_is_told_once_for_each_lock_by_mail_only(house: House, guessed: Hand) -> None:
    guess(house, ANN, 3 * TRIES)
    assert [(each["way"], each["address"], each["minutes"]) for each in notices(house, "locked")] == [("mail", ANN, 15)]
    house.clock.turn(15 * MINUTES)
    guess(house, ANN, TRIES)
    assert len(notices(house, "locked")) == 2


def test_wrong_tries_count_for_a_quarter_of_an_hour_and_no_right_one_takes_them_back(house: House, ann: Hand) -> None:
    """Else somebody who knows the password would have as many tries at the second factor as they like."""
    house.exchange.people.set_password(ANN, PASSWORD, house.clock())
    guess(house, ANN, TRIES - 1)
    assert is_let_in(house)
    house.clock.turn(15 * MINUTES - 1)
    guess(house, ANN, 1)
    assert not is_let_in(house)
    house.clock.turn(15 * MINUTES)
    guess(house, ANN, TRIES - 1)
    house.clock.turn(15 * MINUTES)
    guess(house, ANN, TRIES - 1)
    assert is_let_in(house)


def test_tries_while_it_is_locked_make_it_no_longer(house: House, guessed: Hand) -> None:
    for _ in range(14):
        house.clock.turn(MINUTES)
        guess(house, ANN, 5)
    house.clock.turn(MINUTES)
    assert is_let_in(house)


def test_keys_go_on_working(house: House, guessed: Hand) -> None:
    assert house.exchange.people.may_log_in(ANN) == guessed.user


def test_an_account_that_nobody_has_is_locked_like_another(house: House, ann: Hand) -> None:
    """The same rows are written; only nobody is told."""
    accounts = registry_of(house.exchange).accounts
    guess(house, "nobody@works.example", TRIES)
    assert house.exchange.people._lockout.until("Nobody@works.example", house.clock())
    assert notices(house, "locked") == []
    guess(house, "\ud800", 1)
    assert not [path for path, content in state_files(house) if b"nobody@works" in content]
    accounts.unlock("x")


def test_an_admin_can_lift_it(house: House, guessed: Hand) -> None:
    assert house.exchange.people.unlock(ANN, house.clock()) == guessed.user
    assert is_let_in(house)
    guess(house, ANN, TRIES - 1)
    assert is_let_in(house)
    with pytest.raises(UserUnknown):
        house.exchange.people.unlock(BOB, house.clock())


def test_however_many_guess_at_once_ten_are_counted_and_one_lock_is_told(house: House, ann: Hand) -> None:
    house.exchange.people.set_password(ANN, PASSWORD, house.clock())
    other = another_process(house)
    try:
        at_once(*(lambda each=each: guess(house, ANN, 5, each) for each in (house.exchange, other) * 4))
    finally:
        other.close()
    assert len(notices(house, "locked")) == 1
    assert not is_let_in(house)


def test_the_sweep_forgets_old_tries_and_past_locks(house: House, guessed: Hand) -> None:
    house.clock.turn(16 * MINUTES)
    guess(house, ANN, 3)
    house.exchange.upkeep.sweep(house.clock(), *boot())
    rows = registry_of(house.exchange)._engine
    assert rows.value("SELECT COUNT(*) FROM locked") == 0
    assert rows.value("SELECT COUNT(*) FROM tries") == 3
