"""Policy: pure questions over values."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from fxsftp.domain.model import Kind, LockKind, Route, Standing, User
from fxsftp.domain.policy import STRENGTH, Policy, may_send, route

ANN = User(
    1, "ann@firm.example", Kind.PARTNER, Standing.ACTIVE, "Ann", "en", "+4790000000", None, None, (), None, False, 0,
    None,
)  # fmt: skip
BOB = replace(ANN, id=2, email="bob@works.example")
KARI = replace(ANN, id=3, email="kari@ssb.example", kind=Kind.MEMBER)
OLA = replace(KARI, id=4, email="ola@ssb.example")
GROUP = replace(KARI, id=5, email="mikrodata@ssb.example", kind=Kind.GROUP)


def test_partners_send_to_the_institution_and_members_to_everyone() -> None:
    assert may_send(ANN, KARI)
    assert may_send(ANN, GROUP)
    assert not may_send(ANN, BOB)
    assert may_send(KARI, ANN)
    assert may_send(KARI, OLA)
    assert may_send(KARI, replace(ANN, standing=Standing.INVITED))


def test_nobody_sends_to_themselves_or_to_who_was_removed() -> None:
    assert not may_send(KARI, KARI)
    assert not may_send(KARI, replace(ANN, standing=Standing.REMOVED))


@pytest.mark.parametrize(
    "name",
    [
        "a.filepart",
        "a.csv.part",
        "a.partial",
        "a.0a1b2c3d.partial",
        ".in.a.csv",
        "x.tmp",
        "x.inprogress",
        "x.uploading",
        "Ref/sub/x.part",
    ],
)
def test_partial_names_are_known(name: str) -> None:
    assert Policy().is_partial(name)


@pytest.mark.parametrize("name", ["a.csv", "part", "tmp", "x.tmp/a.csv", "a.parts", "in.a"])
def test_final_names_are_no_partial_ones(name: str) -> None:
    assert not Policy().is_partial(name)


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store",
        "Ref/.DS_Store",
        "._a.csv",
        "Thumbs.db",
        "Ref/desktop.ini",
        "~$report.docx",
        ".a.csv.swp",
        ".nfs0001",
        "._x/inner",
    ],
)
def test_litter_is_known(name: str) -> None:
    assert Policy().is_litter(name)


@pytest.mark.parametrize("name", ["a.csv", ".hidden", "DS_Store", "report~", "thumbs.db.csv"])
def test_other_names_are_no_litter(name: str) -> None:
    assert not Policy().is_litter(name)


def test_how_long_a_drop_must_be_quiet() -> None:
    policy = Policy()
    assert policy.settle(is_loose=True, connected=True, suspect=False) == 30
    assert policy.settle(is_loose=False, connected=False, suspect=False) == 60
    assert policy.settle(is_loose=False, connected=True, suspect=False) == 300
    assert policy.settle(is_loose=True, connected=False, suspect=True) == 300


def test_a_lock_is_the_users_wish_or_their_kinds() -> None:
    policy = Policy()
    assert policy.lock_for(ANN, has_key=True) is LockKind.CODE
    assert policy.lock_for(KARI, has_key=True) is LockKind.SESSION
    assert policy.lock_for(replace(ANN, delivery=LockKind.KEYS), has_key=True) is LockKind.KEYS
    assert policy.lock_for(replace(ANN, delivery=LockKind.KEYS), has_key=False) is LockKind.CODE
    assert policy.lock_for(KARI, has_key=True, via=LockKind.KEYS) is LockKind.KEYS


def test_no_lock_is_ever_weaker_than_the_minimum() -> None:
    for minimum, fallback, wish, via, has_key in product(
        LockKind, (LockKind.CODE, LockKind.SESSION), (None, *LockKind), (None, *LockKind), (True, False)
    ):
        policy = Policy(minimum_lock=minimum, key_fallback=fallback)
        for user in (ANN, KARI):
            lock = policy.lock_for(replace(user, delivery=wish), has_key, via)
            assert STRENGTH[lock] >= STRENGTH[minimum]
            assert has_key or lock is not LockKind.KEYS


def test_the_first_route_that_fits_says_where_a_loose_file_goes() -> None:
    user = replace(ANN, routes=(Route("*.csv", "kari@ssb.example", "Tables"), Route("r*", "ola@ssb.example")))
    assert route(user, "report.csv") == ("kari@ssb.example", "Tables")
    assert route(user, "report.pdf") == ("ola@ssb.example", "")
    assert route(user, "x.pdf") is None
    assert route(replace(user, default_recipient="kari@ssb.example"), "x.pdf") == ("kari@ssb.example", "")
