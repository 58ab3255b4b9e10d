"""`fxsftp user`, `key` and `group`: who may come in, by what, and how their shipments open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fronts.cli.conftest import Admin
from tests.house import ANN, KARI, START

# ---- adding --------------------------------------------------------------------------------------


def test_one_line_says_who_was_added_and_how_shipments_open_for_them(
    admin: Admin, new_key: Callable[..., Path]
) -> None:
    key = f"{new_key()}.pub"
    said = admin.does("user", "add", ANN, "--kind", "partner", "--phone", "+47 900 00 000", "--key", key)
    assert said == "ann@firm.example added: partner, shipments by code to …00\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "member"], "member, shipments open by logging in"),
        (["--kind", "partner"], "partner, shipments by code, and no phone number for it yet"),
        (["--kind", "member", "--delivery", "code", "--phone", "+4791234567"], "member, shipments by code to …67"),
    ],
)
def test_who_can_not_log_in_yet_is_said_so(admin: Admin, words: list[str], said: str) -> None:
    hint = "; can't log in before 'fxsftp key add' or 'fxsftp user password'"
    assert admin.does("user", "add", "bo@firm.example", *words) == f"bo@firm.example added: {said}{hint}\n"


def test_a_key_of_their_own_opens_shipments_for_whom_it_is_wished(admin: Admin, new_key: Callable[..., Path]) -> None:
    words = ("user", "add", ANN, "--kind", "partner", "--delivery", "keys", "--key", f"{new_key()}.pub")
    assert admin.does(*words) == "ann@firm.example added: partner, shipments open with their own key\n"


def test_without_a_kind_the_domain_decides(admin: Admin) -> None:
    """exchange.domains names the institution's own; everybody else is a partner."""
    file = admin.house.folder / "fxsftp.toml"
    file.write_text(file.read_text().replace("[exchange]\n", '[exchange]\ndomains = ["SSB.example"]\n'))
    assert "added: member" in admin.does("user", "add", "Per@ssb.example")
    assert "added: partner" in admin.does("user", "add", "per@firm.example")


@pytest.mark.parametrize(
    "email", ["nobody", "a/b@firm.example", "a\nb@firm.example", "", "é@firm.example", "a@firm.example "]
)
def test_what_is_no_address_is_refused_or_put_right(admin: Admin, email: str) -> None:
    """Blanks around an address are put right; all else is refused with the reason, and nobody is added."""
    if email.strip() == "a@firm.example":
        assert admin.does("user", "add", email, "--kind", "partner").startswith("a@firm.example added")
        return
    assert "is not an e-mail address" in admin.refused("user", "add", email, "--kind", "partner")
    assert admin.json("user", "list") == []


def test_an_address_that_begins_with_a_dash_is_wrong_usage(admin: Admin) -> None:
    done = admin("user", "add", "--phone@firm.example", "--kind", "partner")
    assert done.exit_code == 2


def test_a_second_user_of_one_address_is_refused(people: Admin) -> None:
    assert "is registered already" in people.refused("user", "add", ANN.upper(), "--kind", "member")
    assert people.json("user", "show", ANN)["kind"] == "partner"


@pytest.mark.parametrize("phone", ["90000000", "+4", "+47900000001234567", "'; DROP TABLE users"])
def test_a_phone_number_that_is_none_adds_nobody(admin: Admin, phone: str) -> None:
    assert "Write it like +4790000000" in admin.refused("user", "add", ANN, "--kind", "partner", "--phone", phone)
    assert admin.json("user", "list") == []


@pytest.mark.parametrize(
    "words", [["--kind", "group"], ["--kind", "admin"], ["--delivery", "mail"], ["--language", "tlh"]]
)
def test_words_that_do_not_exist_are_wrong_usage(admin: Admin, words: list[str]) -> None:
    assert admin("user", "add", ANN, *words).exit_code == 2


# ---- showing -------------------------------------------------------------------------------------


def test_the_list_shows_people_to_people(people: Admin) -> None:
    head, ann, kari = people.does("user", "list").splitlines()
    assert " ".join(head.split()) == "Address Kind Standing Name Phone Delivery Keys Password Last seen"
    assert ann.split() == ["ann@firm.example", "partner", "active", "+4790000000", "by", "policy", "0", "no"]
    assert kari.startswith("kari@ssb.example  member   active    Kari Nordmann")
    assert kari == kari.rstrip()


def test_a_list_of_nobody_is_empty(admin: Admin) -> None:
    assert admin.does("user", "list") == ""
    assert admin.json("user", "list") == []


def test_programs_get_stable_names_and_iso_times(people: Admin, new_key: Callable[..., Path]) -> None:
    key = new_key()
    people.does("key", "add", ANN, f"{key}.pub")
    people.does("group", "add", "mikrodata@ssb.example")
    people.does("group", "member", "add", "mikrodata@ssb.example", ANN)
    shown = people.json("user", "show", ANN)
    (added,) = shown.pop("keys")
    assert shown == {
        "email": "ann@firm.example",
        "kind": "partner",
        "standing": "active",
        "name": "",
        "language": "en",
        "phone": "+4790000000",
        "delivery": None,
        "default_recipient": None,
        "routes": [],
        "quota": None,
        "timezone": None,
        "quiet": None,
        "digest": None,
        "has_phrase": False,
        "bounced": None,
        "bounce": None,
        "has_password": False,
        "added": "2026-11-18T11:06:40+00:00",
        "seen": None,
        "groups": ["mikrodata@ssb.example"],
        "used": 0,
        "allowed": 50 << 30,
        "locked_until": None,
        "has_totp": False,
        "recovery_codes": 0,
    }
    assert set(added) == {"id", "fingerprint", "kind", "comment", "opens", "added", "line"}
    assert (added["kind"], added["comment"], added["opens"]) == ("ssh-ed25519", "key of ann", True)
    assert START == 1_795_000_000  # the moment above


def test_what_a_name_could_do_to_a_terminal_is_not_shown(admin: Admin) -> None:
    """Escape sequences and letters that turn the writing direction are replaced; JSON has them escaped."""
    evil = "Kari\x1b[2J\x07\u202egpj\u2028"
    admin.does("user", "add", KARI, "--kind", "member", "--name", evil)
    for shown in (admin.does("user", "list"), admin.does("user", "show", KARI)):
        assert "Kari\ufffd[2J\ufffd\ufffdgpj\ufffd" in shown
    raw = admin.does("user", "list", "--json")
    assert raw.isascii()
    assert json.loads(raw)[0]["name"] == evil


def test_markup_in_a_name_is_only_letters(admin: Admin) -> None:
    admin.does("user", "add", KARI, "--kind", "member", "--name", "[bold red]Kari[/] :smile:")
    assert "[bold red]Kari[/] :smile:" in admin.does("user", "list")


def test_an_unknown_user_is_refused_by_every_command(admin: Admin) -> None:
    for words in (
        ("user", "show"),
        ("user", "disable"),
        ("user", "enable"),
        ("user", "remove"),
        ("user", "password", "--stdin"),
        ("user", "change", "--name", "X"),
        ("key", "list"),
        ("group", "show"),
    ):
        assert "There is no user 'ann@firm.example'" in admin.refused(*words, ANN, stdin="correct horse battery\n")


# ---- changing ------------------------------------------------------------------------------------


def test_disabled_and_enabled_is_said_and_seen(people: Admin) -> None:
    assert people.does("user", "disable", ANN).startswith("ann@firm.example disabled: no log-in")
    assert people.json("user", "show", ANN)["standing"] == "disabled"
    assert "is disabled already" in people.refused("user", "disable", ANN)
    assert people.does("user", "enable", ANN) == "ann@firm.example enabled\n"
    assert people.json("user", "show", ANN)["standing"] == "active"


def test_a_removed_user_frees_the_address(people: Admin) -> None:
    assert people.does("user", "remove", ANN) == "ann@firm.example removed\n"
    assert [each["email"] for each in people.json("user", "list")] == [KARI]
    people.does("user", "add", ANN, "--kind", "partner")


def test_everything_that_can_change_changes_and_can_be_taken_back(people: Admin) -> None:
    said = people.does(
        *("user", "change", ANN, "--phone", "+4791111111", "--language", "nn", "--delivery", "keys", "--name", "Ann"),
        *("--default-recipient", KARI, "--quota", "10 GiB"),
        *("--route", "rep=*.csv=kari@ssb.example;Monthly; all", "--route", "*.xml=kari@ssb.example"),
    )
    assert said == "ann@firm.example changed: phone, language, delivery, name, default recipient, routes, quota\n"
    shown = people.json("user", "show", ANN)
    assert shown["routes"] == [
        {"pattern": "rep=*.csv", "recipient": KARI, "subject": "Monthly; all"},
        {"pattern": "*.xml", "recipient": KARI, "subject": ""},
    ]
    wanted = {"phone": "+4791111111", "language": "nn", "delivery": "keys", "name": "Ann", "default_recipient": KARI}
    assert shown | wanted | {"quota": 10 << 30, "allowed": 10 << 30} == shown

    people.does(
        *("user", "change", ANN, "--phone", "", "--delivery", "policy", "--name", "", "--default-recipient", ""),
        *("--quota", "policy", "--route", ""),
    )
    shown = people.json("user", "show", ANN)
    empty = {"phone": None, "delivery": None, "name": "", "default_recipient": None, "quota": None, "routes": []}
    assert shown | empty | {"language": "nn"} == shown


def test_a_new_phone_number_is_told_by_mail_and_to_the_old_phone(people: Admin) -> None:
    people.does("user", "change", ANN, "--phone", "+4791111111")
    told = {(each["what"], each["way"], each["to"]) for each in people.json("notice", "list")}
    assert told == {("changed", "mail", ANN), ("changed", "sms", "+4790000000")}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--route", "no recipient"],
        ["--route", "=kari@ssb.example"],
        ["--quota", "much"],
        ["--quota", "0"],
        ["--quota", "-1"],
        ["--quota", "9999999999 TiB"],
        ["--language", "xx"],
    ],
)
def test_a_change_that_can_not_be_understood_is_wrong_usage_and_changes_nothing(
    people: Admin, words: list[str]
) -> None:
    before = people.json("user", "show", ANN)
    assert people("user", "change", ANN, *words).exit_code == 2
    assert people.json("user", "show", ANN) == before


def test_a_route_to_what_is_no_address_is_refused(people: Admin) -> None:
    assert "is not an e-mail address" in people.refused("user", "change", ANN, "--route", "*.csv=kari")


# ---- passwords -----------------------------------------------------------------------------------


def test_a_password_from_standard_input_logs_in_and_is_never_shown(people: Admin) -> None:
    said = people.does("user", "password", ANN, "--stdin", stdin="correct horse battery\nand more\n")
    assert said == "password of ann@firm.example set\n"
    check = people.house.exchange.people.check_password
    assert check(ANN, "correct horse battery", START)
    assert not check(ANN, "correct horse battery\n", START)
    assert people.json("user", "show", ANN)["has_password"] is True


def test_a_password_may_have_any_letters(people: Admin) -> None:
    people.does("user", "password", ANN, "--stdin", stdin=" blåbær og fløte ☂ \r\n")
    assert people.house.exchange.people.check_password(ANN, " blåbær og fløte ☂ ", START)


@pytest.mark.parametrize(
    "typed", [b"", b"\n", b"short\n", b"aaaaaaaaaaaaaaaa\n", b"x" * 9000, b"\xff\xfe not utf-8 at all\n"]
)
def test_a_password_that_can_not_be_used_is_refused_and_not_repeated(people: Admin, typed: bytes) -> None:
    reason = people.refused("user", "password", ANN, "--stdin", stdin=typed)
    assert "That password can't be used" in reason
    assert len(typed) < 5 or typed.strip().decode("utf-8", "replace") not in reason
    assert people.json("user", "show", ANN)["has_password"] is False


def test_a_password_is_never_a_word_of_the_command_line(people: Admin) -> None:
    assert people("user", "password", ANN, "correct horse battery").exit_code == 2
    assert people("user", "password", ANN, "--password", "correct horse battery").exit_code == 2
    assert people("user", "add", "x@firm.example", "--password", "correct horse battery").exit_code == 2


def test_without_a_terminal_and_without_stdin_there_is_no_password(people: Admin) -> None:
    done = people("user", "password", ANN, stdin="correct horse battery\n")
    assert done.exit_code == 2
    assert "--stdin" in done.stderr


# ---- keys ----------------------------------------------------------------------------------------


def test_keys_are_added_listed_and_removed_by_any_of_their_names(people: Admin, new_key: Callable[..., Path]) -> None:
    keys = [new_key(name) for name in ("one", "two", "three")]
    for key in keys[:2]:
        assert people.does("key", "add", ANN, f"{key}.pub").endswith(" added: logs in, opens shipments\n")
    people.does("key", "add", ANN, "-", stdin=Path(f"{keys[2]}.pub").read_text())
    one, two, three = people.json("key", "list", ANN)
    assert "one of ann" in people.does("key", "list", ANN)
    for name in (one["fingerprint"], str(two["id"]), three["comment"]):
        assert people.does("key", "remove", ANN, name) == f"{name} removed from ann@firm.example\n"
    assert people.json("key", "list", ANN) == []
    assert "has no key" in people.refused("key", "remove", ANN, one["fingerprint"])


def test_a_key_that_can_not_open_files_is_said_so(people: Admin, new_key: Callable[..., Path]) -> None:
    said = people.does("key", "add", ANN, f"{new_key('e', 'ecdsa')}.pub")
    assert said.endswith(" added: logs in, opens no shipments\n")
    assert people.does("key", "add", ANN, f"{new_key()}.pub", "--login-only").endswith("opens no shipments\n")


def test_a_private_key_is_refused_before_it_goes_anywhere(people: Admin, new_key: Callable[..., Path]) -> None:
    key = new_key()
    reason = people.refused("key", "add", ANN, str(key))
    assert "is a private key" in reason
    assert not any(line in reason for line in key.read_text().splitlines()[1:-1])
    assert people.json("key", "list", ANN) == []


@pytest.mark.parametrize(
    "text", ["", "\n# only a remark\n", "ssh-ed25519 AAAA", "not a key", "ssh-dss AAAAB3NzaC1kc3M= x", "\0" * 70_000]
)
def test_what_is_no_key_is_refused(people: Admin, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.pub").write_text(text)
    assert "That is not a public key" in people.refused("key", "add", ANN, str(tmp_path / "bad.pub"))
    assert "That is not a public key" in people.refused(
        "user", "add", "x@y.example", "--key", str(tmp_path / "bad.pub")
    )
    assert people.json("key", "list", ANN) == []


def test_a_key_file_that_is_not_there_is_refused(people: Admin, tmp_path: Path) -> None:
    assert "there is no file" in people.refused("key", "add", ANN, str(tmp_path / "no.pub"))
    assert "there is no file" in people.refused("key", "add", ANN, str(tmp_path))


# ---- groups --------------------------------------------------------------------------------------


def test_a_group_has_the_members_that_were_added(people: Admin) -> None:
    address = "mikrodata@ssb.example"
    assert people.does("group", "add", address, "--name", "Microdata") == f"{address} added: group, no members yet\n"
    people.does("group", "member", "add", address, KARI)
    people.does("group", "member", "add", address, ANN)
    assert people.json("group", "show", address)["members"] == [ANN, KARI]
    assert KARI in people.does("group", "show", address)
    assert people.does("group", "list").splitlines()[1].split() == [address, "Microdata", "by", "policy", "2"]
    assert people.does("group", "member", "remove", address, ANN) == f"{ANN} removed from {address}\n"
    assert [each["members"] for each in people.json("group", "list")] == [[KARI]]
    assert address not in people.does("user", "list")
    assert people.does("group", "remove", address) == f"{address} removed\n"
    assert people.json("group", "list") == []


def test_a_user_is_no_group_and_a_group_no_member(people: Admin) -> None:
    people.does("group", "add", "g@ssb.example")
    assert "not a group" in people.refused("group", "show", ANN)
    assert "not a group" in people.refused("group", "remove", ANN)
    assert "not a group" in people.refused("group", "member", "add", ANN, KARI)
    assert "can't be a member" in people.refused("group", "member", "add", "g@ssb.example", "g@ssb.example")
