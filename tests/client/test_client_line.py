"""Knowing the host, being let in, and what a server may say that is no SFTP."""

from __future__ import annotations

import socket
import struct
import subprocess
from pathlib import Path

import asyncssh
import pytest

from fxsftp.client.wire import MAX_PACKET, Wire
from fxsftp.errors import (
    BadAnswer,
    BadIdentity,
    CannotConnect,
    CantRead,
    HostKeyChanged,
    HostKeyUnknown,
    LineBroken,
    LoginRefused,
)


def test_an_unknown_host_is_refused_with_its_fingerprint(foreign, call, password):
    """The fingerprint is the one that `ssh-keygen -l` shows, and no password was given away."""
    with pytest.raises(HostKeyUnknown) as told:
        call(accept_new=False, password=password)
    assert foreign.host_key.get_fingerprint() in str(told.value)
    assert "ssh-ed25519" in str(told.value)


def test_a_new_host_is_remembered_when_it_is_welcome(call, tmp_path):
    """The second time it is known; what stood in the file before stays as it was."""
    known = tmp_path / "known_hosts"
    known.write_text("# mine\n@cert-authority *.example ssh-ed25519 AAAA\nodd line")
    call().close()
    call(accept_new=False).close()
    assert known.read_text().startswith("# mine\n@cert-authority *.example ssh-ed25519 AAAA\nodd line\n[127.0.0.1]:")


def test_known_hosts_of_openssh_are_understood(foreign, call, tmp_path):
    """Hashed names, as Debian's ssh writes them."""
    known = tmp_path / "known_hosts"
    line = foreign.host_key.export_public_key().decode().strip()
    known.write_text(f"[127.0.0.1]:{foreign.port} {line}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    assert "127.0.0.1" not in known.read_text()
    call(accept_new=False).close()


def test_a_changed_host_key_is_refused_even_when_new_ones_are_welcome(foreign, call, tmp_path):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{foreign.port} {other}\n")
    with pytest.raises(HostKeyChanged, match="in between"):
        call(accept_new=True)


def test_a_password_lets_in(call, password):
    call(key_files=[], password=password).close()


def test_a_key_with_a_passphrase_lets_in(call, key_file):
    """Without its passphrase the reason is said."""
    subprocess.run(["ssh-keygen", "-q", "-p", "-f", key_file, "-N", "secret"], check=True, capture_output=True)
    with pytest.raises(BadIdentity, match="passphrase"):
        call()
    with pytest.raises(BadIdentity):
        call(passphrase_for=lambda _path: "wrong")
    call(passphrase_for=lambda _path: "secret").close()


@pytest.mark.parametrize("kind", [("rsa", "-b", "2048"), ("ecdsa",), ("rsa", "-b", "2048", "-m", "PEM")], ids=str)
def test_keys_of_every_kind_are_shown(foreign, call, tmp_path, kind):
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", *kind, "-N", "", "-f", key], check=True)
    foreign.user_key = asyncssh.read_private_key(key)
    call(key_files=[key]).close()


def test_a_wrong_key_or_password_is_refused(call, tmp_path):
    """Who was refused stands there, and no password."""
    other = tmp_path / "other"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(other)
    with pytest.raises(LoginRefused) as told:
        call(key_files=[other], password="not it")
    assert "ann@firm.example" in str(told.value)
    assert "not it" not in str(told.value)


def test_nothing_to_show_is_said(call):
    with pytest.raises(LoginRefused, match="no key and no password"):
        call(key_files=[])


def test_what_is_no_key_file_is_said(call, tmp_path):
    (tmp_path / "nonsense").write_text("nonsense")
    with pytest.raises(BadIdentity, match="nonsense"):
        call(key_files=[tmp_path / "nonsense"])
    with pytest.raises(CantRead):
        call(key_files=[tmp_path / "none"])


def test_nobody_listening_is_temporary(call):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CannotConnect, match="nothing listens") as told:
        call(port)
    assert told.value.temporary


def test_a_host_that_says_nothing_is_temporary(call):
    """Neither a banner nor a key within the time-out."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(CannotConnect):
        call(server.getsockname()[1], timeout=0.3)


def test_a_server_that_knows_only_what_is_weak_is_not_called_temporary(foreign, call):
    """No algorithm in common: trying again changes nothing."""
    foreign.restart(encryption_algs=["aes128-cbc"])
    with pytest.raises(BadAnswer, match="no algorithm") as told:
        call()
    assert not told.value.temporary


def test_ciphers_that_are_strong_are_agreed_on(call):
    """AES-GCM wherever the other side has it."""
    with call() as exchange:
        transport = exchange.line._client.get_transport()
        assert transport.remote_cipher == transport.local_cipher == "aes128-gcm@openssh.com"


class _Talk:
    """A channel on which a server says what it likes, whatever it is asked."""

    def __init__(self, *packets: bytes) -> None:
        self._said = b"".join(packets)

    def sendall(self, data: bytes) -> None:
        pass

    def recv(self, count: int) -> bytes:
        part, self._said = self._said[:count], self._said[count:]
        return part


def _packet(kind: int, *fields: int | bytes) -> bytes:
    body = bytes([kind])
    for field in fields:
        body += struct.pack(">I", field) if isinstance(field, int) else struct.pack(">I", len(field)) + field
    return struct.pack(">I", len(body)) + body


VERSION = _packet(2, 3)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ([], LineBroken),
        ([VERSION[:6]], LineBroken),
        ([_packet(2, 6)], BadAnswer),
        ([_packet(101, 3)], BadAnswer),
        ([struct.pack(">I", 0)], BadAnswer),
        ([struct.pack(">I", MAX_PACKET + 1)], BadAnswer),
        ([b"Welcome to bash\n"], BadAnswer),
        ([VERSION, _packet(105, 1)], BadAnswer),  # no attributes in it
        ([VERSION, _packet(105, 7, 0)], BadAnswer),  # nobody asked 7
        ([VERSION, _packet(102, 1, b"handle")], BadAnswer),  # a handle to STAT
        ([VERSION, _packet(105, 1, 0x80000000, 0xFFFFFFFF)], BadAnswer),
        ([VERSION, _packet(101, 1, 7)], LineBroken),
    ],
    ids=str,
)
def test_what_is_no_sftp_is_said_and_bounded(said, kind):
    with pytest.raises(kind):
        Wire(_Talk(*said), "host").stat("/x")  # type: ignore[arg-type]


def test_odd_but_lawful_answers_are_understood():
    """No attributes, more than we know of, an extension of somebody's."""
    extended = struct.pack(">IIII", 0x80000001, 0, 5, 1) + struct.pack(">I4sI2s", 4, b"a@bc", 2, b"hi")
    packet = bytes([105]) + struct.pack(">I", 2) + extended
    wire = Wire(_Talk(_packet(2, 3, b"x@y", b"1"), _packet(105, 1, 0), struct.pack(">I", len(packet)) + packet), "host")
    assert wire.stat("/x").size is None
    assert wire.stat("/x").size == 5


def test_known_hosts_that_can_not_be_read_are_said(call, tmp_path):
    with pytest.raises(CantRead):
        call(known_hosts=_folder(tmp_path / "hosts"))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
