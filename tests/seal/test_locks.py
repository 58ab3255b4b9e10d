"""Locks and keys: each opens what it is for, nothing else, and says why not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fxsftp.errors import BadIdentity, BadKey, CannotOpen, Forged, NotAge
from fxsftp.seal import (
    CodeKey,
    CodeLock,
    Identity,
    Key,
    Lock,
    SshKey,
    SshLock,
    X25519Key,
    X25519Lock,
    header_for,
    new_drop_key,
    new_file_key,
    open_header,
    parse_recipient,
    unwrap_under,
    usable_for_sealing,
    wrap_under,
)
from fxsftp.seal.format import Stanza, encode64, make_header, parse_header
from tests.seal.test_primitives import LOW_ORDER, ssh_keygen

CODE = "7k3f-q2mp-x9ab-0c1d"
FILE_KEY = new_file_key()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Lock, Key]]:
    """A lock of each kind and its key."""
    folder = tmp_path_factory.mktemp("keys")
    ed25519, ed25519_line = ssh_keygen(folder, "-t", "ed25519", passphrase="en to tre")
    rsa, rsa_line = ssh_keygen(folder, "-t", "rsa", "-b", "2048")
    identity = Identity.generate()
    return {
        "code": (CodeLock(CODE, log_n=10), CodeKey(CODE)),
        "x25519": (X25519Lock.parse(identity.recipient), X25519Key(identity.secret)),
        "ssh-ed25519": (SshLock(ed25519_line), SshKey(ed25519, "en to tre")),
        "ssh-rsa": (SshLock(rsa_line), SshKey(rsa.decode())),
    }


KINDS = ["code", "x25519", "ssh-ed25519", "ssh-rsa"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_opens_to_its_key_and_to_no_other(pairs: dict[str, tuple[Lock, Key]], kind: str) -> None:
    lock, key = pairs[kind]
    header = header_for(FILE_KEY, lock)
    assert open_header(header + b"payload", [key]) == (FILE_KEY, len(header))
    others = [other for name, (_, other) in pairs.items() if name != kind]
    with pytest.raises(CannotOpen):
        open_header(header, [*others, Identity.generate(), CodeKey("another-code")])


def test_several_locks_open_to_each_of_their_keys(pairs: dict[str, tuple[Lock, Key]]) -> None:
    kinds = [kind for kind in KINDS if kind != "code"]
    header = header_for(FILE_KEY, *(pairs[kind][0] for kind in kinds))
    for kind in kinds:
        assert open_header(header, [pairs[kind][1]])[0] == FILE_KEY


@pytest.mark.parametrize("kind", KINDS)
def test_two_headers_of_one_file_have_nothing_in_common(pairs: dict[str, tuple[Lock, Key]], kind: str) -> None:
    """Fresh salts and shares, so that nobody sees which deliveries belong together."""
    one, other = (parse_header(header_for(FILE_KEY, pairs[kind][0])).stanzas[0] for _ in range(2))
    assert one.body != other.body


def test_a_code_stands_alone_when_written_and_when_read(pairs: dict[str, tuple[Lock, Key]]) -> None:
    locks = (pairs["code"][0], pairs["x25519"][0])
    with pytest.raises(ValueError, match="beside a code"):
        header_for(FILE_KEY, *locks)
    mixed = make_header(FILE_KEY, [lock.wrap(FILE_KEY) for lock in locks])
    for _, key in pairs.values():
        with pytest.raises(NotAge, match="passphrase"):
            open_header(mixed, [key])


def test_a_header_without_locks_is_not_written() -> None:
    with pytest.raises(ValueError, match="nobody"):
        header_for(FILE_KEY)


def test_a_header_whose_mac_does_not_fit_is_forged() -> None:
    """Somebody took a stanza away, or added one."""
    one, other = Identity.generate(), Identity.generate()
    header = parse_header(header_for(FILE_KEY, one.lock, other.lock))
    fewer = make_header(new_file_key(), header.stanzas[:1])
    with pytest.raises(Forged):
        open_header(fewer, [one])


def test_a_code_that_asks_for_too_much_work_is_not_tried() -> None:
    stanza = CodeLock(CODE, log_n=1).wrap(FILE_KEY)
    for log_n in ("19", "40", "999"):
        dear = make_header(FILE_KEY, [Stanza(("scrypt", stanza.args[1], log_n), stanza.body)])
        with pytest.raises(NotAge, match="too much work"):
            open_header(dear, [CodeKey(CODE)])
    with pytest.raises(NotAge, match="too much work"):
        open_header(header_for(FILE_KEY, CodeLock(CODE, log_n=11)), [CodeKey(CODE, max_log_n=10)])


def _x25519() -> Stanza:
    return Identity(b"k" * 32).lock.wrap(FILE_KEY)


@pytest.mark.parametrize(
    "args",
    [
        ("scrypt",),
        ("scrypt", encode64(bytes(16))),
        ("scrypt", encode64(bytes(15)), "10"),
        ("scrypt", encode64(bytes(16)), "010"),
        ("scrypt", encode64(bytes(16)), "+10"),
        ("scrypt", encode64(bytes(16)), "0"),
        ("scrypt", encode64(bytes(16)), "10", "more"),
        ("X25519",),
        ("X25519", encode64(bytes(31))),
        ("X25519", _x25519().args[1], "more"),
        *(("X25519", encode64(bytes.fromhex(point))) for point in LOW_ORDER),
    ],
)
def test_a_stanza_not_made_as_it_must_be_is_refused(args: tuple[str, ...]) -> None:
    header = make_header(FILE_KEY, [Stanza(args, bytes(32))])
    with pytest.raises(NotAge):
        open_header(header, [Identity(b"k" * 32), CodeKey(CODE)])


@pytest.mark.parametrize("length", [0, 31, 33, 48])
def test_a_stanza_holds_a_file_key_and_nothing_longer(length: int) -> None:
    """Else one ciphertext could be made that opens under many codes."""
    for args in (_x25519().args, ("scrypt", encode64(bytes(16)), "10")):
        with pytest.raises(NotAge):
            open_header(make_header(FILE_KEY, [Stanza(args, bytes(length))]), [Identity(b"k" * 32), CodeKey(CODE)])


def test_ssh_stanzas_not_made_as_they_must_be_are_refused(pairs: dict[str, tuple[Lock, Key]]) -> None:
    for kind in ("ssh-ed25519", "ssh-rsa"):
        lock, key = pairs[kind]
        whole = lock.wrap(FILE_KEY)
        for args in ((*whole.args, "more"), (whole.args[0], whole.args[1], "AA")):
            with pytest.raises(NotAge):
                open_header(make_header(FILE_KEY, [Stanza(args, whole.body)]), [key])
        with pytest.raises(CannotOpen):  # a stanza without a tag is for nobody
            open_header(make_header(FILE_KEY, [Stanza(whole.args[:1], whole.body)]), [key])


def test_an_rsa_stanza_for_another_key_with_the_same_tag_is_passed_over(pairs: dict[str, tuple[Lock, Key]]) -> None:
    lock, key = pairs["ssh-rsa"]
    whole = lock.wrap(FILE_KEY)
    with pytest.raises(CannotOpen):
        open_header(make_header(FILE_KEY, [Stanza(whole.args, bytes(256))]), [key])


def test_stanzas_of_kinds_from_the_future_are_passed_over() -> None:
    identity = Identity.generate()
    stanzas = [Stanza(("mlkem-whatever", "x"), bytes(99)), identity.lock.wrap(FILE_KEY)]
    assert open_header(make_header(FILE_KEY, stanzas), [identity])[0] == FILE_KEY


def test_only_a_file_key_can_be_wrapped(pairs: dict[str, tuple[Lock, Key]]) -> None:
    for kind in ("code", "x25519", "ssh-ed25519"):
        with pytest.raises(ValueError, match="16 bytes"):
            pairs[kind][0].wrap(bytes(32))


# ---- identities ------------------------------------------------------------------------------------


def test_an_identity_reads_as_it_writes() -> None:
    identity = Identity.generate()
    text = identity.secret_text()
    assert text.startswith("AGE-SECRET-KEY-1")
    assert Identity.parse(text) == identity
    assert Identity.parse(f"# created: 2026-11-22\n# public key: {identity.recipient}\n\n{text}\n") == identity
    assert parse_recipient(identity.recipient + "\n") == identity.public
    assert identity.recipient.startswith("age1")


def test_a_secret_is_not_printed_in_passing() -> None:
    identity = Identity(b"S" * 32)
    for shown in (repr(identity), repr(CodeLock(CODE)), repr(CodeKey(CODE))):
        assert CODE not in shown
        assert "SSSS" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing here",
        "AGE-SECRET-KEY-1QQQQ",
        Identity(b"k" * 32).secret_text()[:-1] + "X",
        Identity(b"k" * 32).secret_text().lower(),
        Identity(b"k" * 32).secret_text() + "\n" + Identity(b"j" * 32).secret_text(),
        Identity(b"k" * 32).recipient,
    ],
)
def test_what_is_no_identity_is_refused(text: str) -> None:
    with pytest.raises(BadIdentity) as refusal:
        Identity.parse(text)
    assert not text or text.strip() not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["", "age1", "kari@ssb.example", Identity(b"k" * 32).secret_text(), Identity(b"k" * 32).recipient.upper()]
)
def test_what_is_no_recipient_is_refused(text: str) -> None:
    with pytest.raises(BadKey):
        parse_recipient(text)


# ---- which SSH keys ----------------------------------------------------------------------------------

SK = (
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIBX4GhPZ5cgvbC8Xp0iNyOAuP6Nd3iNp"
    "Z0KsCvxsTfvRAAAABHNzaDo= ann"
)


def test_keys_that_can_only_sign_say_why_nothing_is_sealed_to_them(tmp_path: Path) -> None:
    """They may log in all the same."""
    lines = {
        "ECDSA": ssh_keygen(tmp_path, "-t", "ecdsa")[1],
        "1024 bits": ssh_keygen(tmp_path, "-t", "rsa", "-b", "1024")[1],
        "hardware token": SK,
        "a public key is one line": "rubbish",
    }
    for reason, line in lines.items():
        assert reason in (usable_for_sealing(line) or "")
        with pytest.raises(BadKey, match=reason):
            SshLock(line)


def test_a_certificate_is_not_the_key_itself(tmp_path: Path) -> None:
    ssh_keygen(tmp_path, "-t", "ed25519")
    key = tmp_path / "-t-ed25519"
    subprocess.run(["ssh-keygen", "-q", "-s", key, "-I", "ann", f"{key}.pub"], check=True)
    assert "certificate" in (usable_for_sealing((tmp_path / "-t-ed25519-cert.pub").read_text()) or "")


def test_ed25519_and_rsa_of_2048_bits_are_usable(tmp_path: Path) -> None:
    for arguments in (("-t", "ed25519"), ("-t", "rsa", "-b", "2048")):
        assert usable_for_sealing(ssh_keygen(tmp_path, *arguments)[1]) is None


def test_what_is_no_point_of_the_curve_is_not_sealed_to() -> None:
    """Such a line has the right form, and may stand among somebody's keys; nothing is lost when it is sent to."""
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEkhhxHGVqWtTvBjrhWxbTvPpAYPkmQbcS0Q9fHiIyqB nobody"
    assert "not a point" in (usable_for_sealing(line) or "")
    with pytest.raises(BadKey, match="not a point"):
        SshLock(line)


# ---- under another key -------------------------------------------------------------------------------


def test_a_file_key_comes_back_from_under_its_drop_key_only() -> None:
    drop_key = new_drop_key()
    wrapped = wrap_under(drop_key, FILE_KEY)
    assert FILE_KEY not in wrapped
    assert unwrap_under(drop_key, wrapped) == FILE_KEY
    for key, data in ((new_drop_key(), wrapped), (drop_key, wrapped[:-1]), (drop_key, wrap_under(drop_key, b"short"))):
        with pytest.raises(Forged):
            unwrap_under(key, data)
