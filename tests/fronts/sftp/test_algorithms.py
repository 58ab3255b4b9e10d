"""What is offered in the key exchange, as an auditor and as clients old and new see it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsftp.fronts.sftp.algorithms import COMPAT, MODERN, Offer, misfit
from tests.fronts.sftp.conftest import KARI, Door
from tests.house import House

# Only one key exchange here has something against quantum computers, and few clients have it (OpenSSH since 9.9): the
# others must stay.  ssh-audit warns of each of them, on whichever server.
QUANTUM = "does not provide protection against post-quantum attacks"
WITHOUT_IT = set(MODERN["kex_algs"]) - {"mlkem768x25519-sha256"}


@pytest.fixture
def opened(tmp_path: Path, is_tuned: bool) -> Iterator[Callable[..., Door]]:
    """Doors of houses with settings of their own."""
    houses: list[House] = []

    def build(**settings: str) -> Door:
        name = tmp_path / f"house-{len(houses)}"
        said = {"sftp__tuned": str(is_tuned), **settings}
        environ = {f"FXSFTP_{key.upper()}": value for key, value in said.items()}
        houses.append(House(name, environ=environ))
        if "keys__host_keys" in settings:
            command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-N", "", "-f", str(name / "ssh_host_rsa_key")]
            subprocess.run(command, check=True)
        return Door(houses[-1])

    yield build
    for house in houses:
        house.__exit__(None, None, None)


def audit(door: Door) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """What `ssh-audit` found, and of which algorithms it says what against them."""
    command = [str(Path(sys.executable).with_name("ssh-audit")), "-j", "-p", str(door.port), "127.0.0.1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found: dict[str, Any] = json.loads(ran.stdout)
    against = {
        (each["algorithm"], note)
        for part in ("kex", "key", "enc", "mac")
        for each in found[part]
        for kind in ("fail", "warn")
        for note in each["notes"].get(kind, ())
    }
    assert not [each for each in found["additional_notes"] if "throttling" in each]
    assert not found["cves"]
    return found, against


def test_the_auditor_finds_nothing_against_the_default(opened: Callable[..., Door]) -> None:
    """Nothing, but that key exchanges of today stand beside one for tomorrow; and a flood of them is slowed."""
    found, against = audit(opened())

    assert against == {(name, QUANTUM) for name in WITHOUT_IT}
    assert [each["algorithm"] for each in found["kex"]] == [
        *MODERN["kex_algs"], "ext-info-s", "kex-strict-s-v00@openssh.com"
    ]  # fmt: skip
    assert [each["algorithm"] for each in found["key"]] == ["ssh-ed25519"]
    assert {each["algorithm"] for each in found["mac"]} == set(MODERN["mac_algs"])
    assert {each["algorithm"] for each in found["enc"]} == set(MODERN["encryption_algs"])


def test_a_host_key_of_rsa_signs_with_sha2_only(opened: Callable[..., Door]) -> None:
    found, against = audit(opened(keys__host_keys="ssh_host_ed25519_key,ssh_host_rsa_key"))

    assert {each["algorithm"] for each in found["key"]} == {"ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"}
    assert against == {(name, QUANTUM) for name in WITHOUT_IT}


def test_the_auditor_finds_two_macs_against_compat(opened: Callable[..., Door]) -> None:
    _, against = audit(opened(sftp__algorithms="compat"))

    more = set(COMPAT["mac_algs"]) - set(MODERN["mac_algs"])
    assert against - {(name, QUANTUM) for name in WITHOUT_IT} == {(name, "using encrypt-and-MAC mode") for name in more}


# ---- clients that fit, and those that don't


def curl(door: Door) -> subprocess.CompletedProcess[str]:
    key = door.keys[KARI]
    command = ["curl", "-q", "-sS", "-k", "-u", f"{KARI}:", "--key", str(key), "--pubkey", f"{key}.pub"]
    return subprocess.run([*command, f"sftp://127.0.0.1:{door.port}/"], capture_output=True, text=True, timeout=60)


def has_etm() -> bool:
    """Whether curl is newer than Debian 12's: libssh2 has MACs over what was encrypted since 1.11."""
    version = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    return not any(f"libssh2/1.{minor}." in version for minor in range(11))


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if " refused: no common" in each.getMessage()]


# What libssh2 1.10, in Debian 12's curl, has for MACs: AES-CTR, curve25519 and Ed25519 it has.
OLD_MACS = "hmac-sha2-256,hmac-sha2-512,hmac-sha1,hmac-sha1-96,hmac-md5,hmac-md5-96"


def test_who_has_the_macs_of_debian_12s_curl_needs_compat_and_the_log_says_so(
    opened: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    """OpenSSH with what that curl would offer, which OpenSSH still has."""
    door = opened()
    asks = ["-o", "Ciphers=aes256-ctr,aes128-ctr", "-o", f"MACs={OLD_MACS}", "127.0.0.1", "pwd"]

    refused = door.openssh("ssh", KARI, *asks)

    assert refused.returncode == 255
    door.until(lambda: bool(refusals(caplog)))
    (said,) = refusals(caplog)
    assert said.endswith(f' refused: no common MAC; it offers {OLD_MACS}; [sftp] algorithms = "compat" would serve it')
    assert opened(sftp__algorithms="compat").openssh("ssh", KARI, *asks).stdout == "/\n"


def test_curl_is_served_by_the_default_or_told_in_the_log_what_would(
    opened: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    """As it is installed here, whichever it is."""
    door = opened()

    listed = curl(door)

    if has_etm():
        assert "outbox" in listed.stdout, listed.stderr
        assert not refusals(caplog)
        return
    assert listed.returncode != 0
    door.until(lambda: bool(refusals(caplog)))
    (said,) = refusals(caplog)
    assert said.startswith("127.0.0.1 with SSH-2.0-libssh2_1.")
    assert f"no common MAC; it offers {OLD_MACS}" in said
    assert said.endswith('[sftp] algorithms = "compat" would serve it')


def test_curl_is_served_by_compat(opened: Callable[..., Door]) -> None:
    listed = curl(opened(sftp__algorithms="compat"))

    assert listed.returncode == 0, listed.stderr
    assert "outbox" in listed.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["KexAlgorithms=diffie-hellman-group14-sha1,ecdh-sha2-nistp256"],
            "no common key exchange; it offers diffie-hellman-group14-sha1,ecdh-sha2-nistp256,ext-info-c,"
            "kex-strict-c-v00@openssh.com; no setting serves it: the client is too old",
        ),
        (
            ["HostKeyAlgorithms=rsa-sha2-512,ssh-rsa"],
            "no common host key; it offers rsa-sha2-512,ssh-rsa; an RSA key in [keys] host_keys would serve it",
        ),
        (
            ["HostKeyAlgorithms=rsa-sha2-512", "Ciphers=aes128-ctr", "MACs=hmac-sha2-512"],
            "no common host key; it offers rsa-sha2-512; no common MAC; it offers hmac-sha2-512; "
            'an RSA key in [keys] host_keys and [sftp] algorithms = "compat" would serve it',
        ),
        (
            ["Ciphers=aes128-cbc,3des-cbc"],
            "no common cipher; it offers aes128-cbc,3des-cbc; no setting serves it: the client is too old",
        ),
        (
            ["Ciphers=aes256-ctr", "MACs=hmac-sha1,umac-64-etm@openssh.com"],
            "no common MAC; it offers hmac-sha1,umac-64-etm@openssh.com; no setting serves it: the client is too old",
        ),
    ],
)  # fmt: skip
def test_a_refused_handshake_is_logged_once_with_what_would_serve(
    door: Door, caplog: pytest.LogCaptureFixture, options: list[str], said: str
) -> None:
    refused = door.openssh("ssh", KARI, *(word for each in options for word in ("-o", each)), "127.0.0.1", "pwd")

    assert refused.returncode == 255
    door.until(lambda: not door.listener.guests)
    (line,) = refusals(caplog)
    assert line.startswith("127.0.0.1 with SSH-2.0-OpenSSH_")
    assert line.endswith(f" refused: {said}")


def test_ciphers_with_a_mac_of_their_own_need_no_other(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    served = door.openssh(
        "ssh", KARI, "-o", "Ciphers=aes256-gcm@openssh.com", "-o", "MACs=hmac-sha1", "127.0.0.1", "pwd"
    )

    assert (served.returncode, served.stdout) == (0, "/\n")
    assert not refusals(caplog)


def test_a_line_of_a_client_cannot_break_the_log() -> None:
    """Names are the client's: no control characters, and not without end."""
    ours = Offer(("curve25519-sha256",), ("ssh-ed25519",), (("aes256-ctr",),) * 2, (("hmac-sha2-256",),) * 2)
    theirs = Offer(("evil\r\n2027 ERROR root: all is lost\x1b[2J", "x" * 5000), *([()] * 2), ours.macs)  # type: ignore[arg-type]

    said = misfit(Offer(theirs.kex, ours.host_keys, ours.ciphers, ours.macs), ours)

    assert said.isprintable()
    assert len(said) < 500


@given(st.binary(max_size=400))
def test_anything_is_parsed_as_an_offer_or_as_none(kexinit: bytes) -> None:
    found = Offer.parse(kexinit)
    if found:
        misfit(found, found)
