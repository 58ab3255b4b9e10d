"""People: who may come in and by what, and what is told when that changes."""

from __future__ import annotations

import pytest

from fxsftp.domain.model import Key, Kind, LockKind, Standing, User
from fxsftp.errors import (
    BadAddress,
    BadKey,
    BadPassword,
    BadPhone,
    Conflict,
    Forbidden,
    KeyUnknown,
    Unavailable,
    UserExists,
    UserUnknown,
)
from tests.exchange.hands import Hand, notices, registry_of, state_files
from tests.house import ANN, BOB, KARI, House

PASSWORD = "correct horse battery staple"


def test_a_user_is_added_once_whatever_the_case(house: House, ann: Hand) -> None:
    with pytest.raises(UserExists):
        house.add("Ann@FIRM.example", Kind.PARTNER)
    assert house.exchange.people.find("ANN@firm.example").id == ann.user.id


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"phone": "90000000"}, BadPhone),
        ({"keys": ["ssh-ed25519 rubbish"]}, BadKey),
        ({"language": "klingon"}, Conflict),
    ],
)
def test_what_can_not_be_added_leaves_nothing(house: House, more: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        house.add(BOB, Kind.PARTNER, **more)  # type: ignore[arg-type]
    with pytest.raises(UserUnknown):
        house.exchange.people.find(BOB)
    with pytest.raises(BadAddress):
        house.add("no address", Kind.PARTNER)


def test_a_password_lets_in_and_only_its_hash_is_kept(house: House, ann: Hand) -> None:
    house.exchange.people.set_password(ANN, PASSWORD, house.clock())
    assert house.exchange.people.check_password("ANN@firm.example", PASSWORD, house.clock()) == ann.user
    assert house.exchange.people.check_password(ANN, PASSWORD + "!", house.clock()) is None
    assert house.exchange.people.check_password(BOB, PASSWORD, house.clock()) is None
    assert not [path for path, content in state_files(house) if PASSWORD.encode() in content]
    told = {(notice["way"], notice["what"]) for notice in notices(house, "changed")}
    assert told == {("mail", "password"), ("sms", "password")}


@pytest.mark.parametrize("password", ["short", "x" * 1025, "ann and more words", "aaaaaaaaaaaaaaaaaaaa"])
def test_a_password_that_is_easy_to_guess_is_refused(house: House, ann: Hand, password: str) -> None:
    with pytest.raises(BadPassword):
        house.exchange.people.set_password(ANN, password, house.clock())
    assert not ann.user.has_password


def test_who_is_disabled_removed_invited_or_a_group_does_not_come_in(house: House, ann: Hand, kari: Hand) -> None:
    people = house.exchange.people
    people.set_password(ANN, PASSWORD, house.clock())
    people.invite(kari.user, BOB, "+4790000001", house.clock())
    people.add_group("g@ssb.example", house.clock())
    assert people.may_log_in(BOB) is None
    assert people.may_log_in("g@ssb.example") is None
    people.disable(ANN, house.clock())
    assert people.check_password(ANN, PASSWORD, house.clock()) is None
    assert not people.is_active(ann.user.id)
    people.enable(ANN, house.clock())
    assert people.may_log_in(ANN)
    people.remove(ANN, house.clock())
    assert people.may_log_in(ANN) is None
    again = house.add(ANN, Kind.PARTNER)
    assert again.id != ann.user.id
    assert not again.has_password
    assert people.keys(ANN) == []


def test_a_loop_sees_by_a_glance_whose_a_key_is(
    house: House, ann: Hand, kari: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs and nobody else's, as long as it is theirs and they may come in; the rest is asked at the desk."""
    people, now = house.exchange.people, house.clock()
    house.key_for(ANN)
    house.key_for(KARI)
    (key,), (karis,) = people.keys(ANN), people.keys(KARI)

    def owner(email: str, key: Key) -> User | None:
        return people.owner_at_once(email, key.line.split()[1], key.fingerprint)

    assert owner("ANN@firm.example", key) == people.may_log_in(ANN) == ann.user
    assert owner(KARI, karis) == kari.user
    assert owner(ANN, karis) is owner(BOB, key) is owner("\udc80", key) is None
    assert people.owner_at_once(ANN, karis.line.split()[1], key.fingerprint) is None
    people.disable(ANN, now)
    assert owner(ANN, key) is None
    people.enable(ANN, now)
    assert owner(ANN, key)
    people.remove_key(ANN, key.fingerprint, now)
    assert owner(ANN, key) is None

    def busy(*_: object) -> None:
        raise Unavailable("the registry is busy")

    monkeypatch.setattr(registry_of(house.exchange)._engine, "glance", busy)
    assert owner(KARI, karis) is None


def test_standing_changes_only_where_it_changes(house: House, ann: Hand, kari: Hand) -> None:
    people = house.exchange.people
    with pytest.raises(Conflict, match="active already"):
        people.enable(ANN, house.clock())
    people.invite(kari.user, BOB, "+4790000001", house.clock())
    with pytest.raises(Conflict, match="has not registered"):
        people.enable(BOB, house.clock())
    with pytest.raises(Conflict, match="has not registered"):
        people.add_key(BOB, "ssh-ed25519 AAAA", house.clock())


def test_members_invite_and_the_number_is_their_word(house: House, ann: Hand, kari: Hand) -> None:
    people = house.exchange.people
    with pytest.raises(Forbidden):
        people.invite(ann.user, BOB, "+4790000001", house.clock())
    bob = people.invite(kari.user, BOB, "+4790000001", house.clock())
    assert (bob.standing, bob.phone) == (Standing.INVITED, "+4790000001")
    assert [mail["address"] for mail in notices(house, "invited")] == [BOB]
    with pytest.raises(UserExists):
        people.invite(kari.user, BOB, "+4790000002", house.clock())
    assert house.add(BOB, Kind.PARTNER, phone=None).phone == "+4790000001"


def test_a_changed_number_is_told(house: House, ann: Hand) -> None:
    house.exchange.people.change(ANN, house.clock(), phone="+4790000009", name="Ann", language="nn")
    assert (ann.user.phone, ann.user.language) == ("+4790000009", "nn")
    assert {mail["what"] for mail in notices(house, "changed")} == {"phone"}
    with pytest.raises(Conflict, match="no language"):
        house.exchange.people.change(ANN, house.clock(), language="klingon")


def test_keys_are_added_once_and_removed_by_any_of_their_names(house: House, ann: Hand) -> None:
    people = house.exchange.people
    path = house.key_for(ANN)
    line = path.with_name(path.name + ".pub").read_text()
    with pytest.raises(BadKey, match="already"):
        people.add_key(ANN, line, house.clock())
    (key,) = people.keys(ANN)
    assert key.opens
    with pytest.raises(KeyUnknown):
        people.remove_key(ANN, "nothing", house.clock())
    people.remove_key(ANN, key.fingerprint, house.clock())
    assert people.keys(ANN) == []


def test_keys_that_can_not_open_may_still_log_in(house: House, ann: Hand) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    def line(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
        return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    people = house.exchange.people
    assert not people.add_key(ANN, line(ec.generate_private_key(ec.SECP256R1())), house.clock()).opens
    with pytest.raises(BadKey, match="too weak"):
        people.add_key(ANN, line(rsa.generate_private_key(65537, 1024)), house.clock())
    assert people.add_key(ANN, line(rsa.generate_private_key(65537, 2048)), house.clock()).opens


def test_groups_have_members_who_are_users(house: House, ann: Hand, kari: Hand) -> None:
    people = house.exchange.people
    people.add_group("g@ssb.example", house.clock(), delivery=LockKind.SESSION)
    for _ in range(2):
        people.add_to_group("g@ssb.example", KARI, house.clock())
    people.add_to_group("g@ssb.example", ANN, house.clock())
    assert [user.email for user in people.members("g@ssb.example")] == [ANN, KARI]
    with pytest.raises(Conflict):
        people.add_to_group("g@ssb.example", "g@ssb.example", house.clock())
    with pytest.raises(Conflict):
        people.add_to_group(ANN, KARI, house.clock())
    people.remove_from_group("g@ssb.example", ANN, house.clock())
    people.remove(KARI, house.clock())
    assert people.members("g@ssb.example") == []
    assert registry_of(house.exchange).people.groups(kari._user.id) == []
