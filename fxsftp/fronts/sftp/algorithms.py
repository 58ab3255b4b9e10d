"""Which algorithms of SSH are served, and what to say of a client that has none of them.

Two choices, as `[sftp] algorithms` names them.  Neither has SHA-1, NIST curves for the exchange of keys, or short
MACs.  "modern" also wants each packet's MAC over what was encrypted (ETM); "compat" does without that, for clients
that have it not: libssh2 before 1.11, and so Debian 12's curl.  Nothing else about that libssh2 needs "compat": it
has curve25519, Ed25519 and AES-CTR, but neither AES-GCM nor ChaCha20.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

Algorithms = Mapping[str, Sequence[str]]

MODERN: Algorithms = MappingProxyType(
    {
        "kex_algs": (
            "mlkem768x25519-sha256",
            "curve25519-sha256",
            "curve25519-sha256@libssh.org",
            "diffie-hellman-group16-sha512",
            "diffie-hellman-group18-sha512",
        ),
        "encryption_algs": (
            "chacha20-poly1305@openssh.com",
            "aes256-gcm@openssh.com",
            "aes128-gcm@openssh.com",
            "aes256-ctr",
            "aes192-ctr",
            "aes128-ctr",
        ),
        # Not umac-128-etm: asyncssh needs libnettle for it, and who has it has these.
        "mac_algs": ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
        # Of users' keys, not of ours.
        "signature_algs": (
            "sk-ssh-ed25519@openssh.com",
            "sk-ecdsa-sha2-nistp256@openssh.com",
            "ssh-ed25519",
            "rsa-sha2-256",
            "rsa-sha2-512",
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp384",
            "ecdsa-sha2-nistp521",
        ),
    }
)

COMPAT: Algorithms = MappingProxyType({**MODERN, "mac_algs": (*MODERN["mac_algs"], "hmac-sha2-256", "hmac-sha2-512")})

CHOICES: Mapping[str, Algorithms] = MappingProxyType({"modern": MODERN, "compat": COMPAT})

HAS_ITS_OWN_MAC = ("chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com")
SAID_MOST = 300  # characters of a list in the log; OpenSSH's longest has about as many


@dataclass(frozen=True, slots=True)
class Offer:
    """What one side has, the best first, as its KEXINIT says (RFC 4253, 7.1)."""

    kex: Sequence[str]
    host_keys: Sequence[str]
    ciphers: tuple[Sequence[str], Sequence[str]]  # to the server, to the client
    macs: tuple[Sequence[str], Sequence[str]]

    @classmethod
    def parse(cls, kexinit: bytes) -> Offer | None:
        """The offer in a whole KEXINIT, from its first byte; None if it is none."""
        lists: list[Sequence[str]] = []
        at = 17  # its number and the cookie
        for _ in range(6):
            size = int.from_bytes(kexinit[at : at + 4], "big")
            names = kexinit[at + 4 : at + 4 + size]
            if len(kexinit) < at + 4 or len(names) < size:
                return None
            lists.append([name for name in names.decode("ascii", "replace").split(",") if name])
            at += 4 + size
        kex, host_keys, *ciphers_macs = lists
        return cls(kex, host_keys, (ciphers_macs[0], ciphers_macs[1]), (ciphers_macs[2], ciphers_macs[3]))


def misfit(client: Offer, ours: Offer) -> str:
    """What the two don't have in common, and which setting would serve the client; "" if there is nothing.

    `no common MAC; it offers hmac-sha2-256,hmac-sha1; [sftp] algorithms = "compat" would serve it`
    """
    lacks = [
        (kind, offered, remedy)
        for kind, offered, served, remedy in (
            ("key exchange", client.kex, ours.kex, ()),
            ("host key", client.host_keys, ours.host_keys, RSA),
            *(("cipher", offered, served, ()) for offered, served in zip(client.ciphers, ours.ciphers, strict=True)),
            *(
                ("MAC", offered, served, COMPAT["mac_algs"])
                for cipher, offered, served in zip(_ciphers(client, ours), client.macs, ours.macs, strict=True)
                if cipher not in HAS_ITS_OWN_MAC
            ),
        )
        if not _first(offered, served)
    ]
    said = list(dict.fromkeys(f"no common {kind}; it offers {_names(offered)}" for kind, offered, _ in lacks))
    if not said:
        return ""
    remedies = [REMEDIES[kind] if _first(offered, remedy) else "" for kind, offered, remedy in lacks]
    if all(remedies):
        return f"{'; '.join(said)}; {' and '.join(dict.fromkeys(remedies))} would serve it"
    return f"{'; '.join(said)}; no setting serves it: the client is too old"


RSA = ("rsa-sha2-256", "rsa-sha2-512")
REMEDIES = {"MAC": '[sftp] algorithms = "compat"', "host key": "an RSA key in [keys] host_keys"}


def _ciphers(client: Offer, ours: Offer) -> Sequence[str]:
    return [_first(offered, served) for offered, served in zip(client.ciphers, ours.ciphers, strict=True)]


def _first(offered: Sequence[str], served: Sequence[str]) -> str:
    """What is chosen: the client's first that we have too."""
    return next((name for name in offered if name in served), "")


def _names(offered: Sequence[str]) -> str:
    said = "".join(letter for letter in ",".join(offered) if letter.isprintable()) or "nothing"
    return said if len(said) <= SAID_MOST else f"{said[:SAID_MOST]}…"
