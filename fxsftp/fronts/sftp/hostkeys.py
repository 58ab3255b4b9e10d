"""The key by which clients know this exchange again."""

from __future__ import annotations

import os
from pathlib import Path

import asyncssh


def make(path: Path) -> str:
    """A new Ed25519 host key at `path` (0600) with its .pub beside it; answers its fingerprint."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="fxsftp")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.export_private_key("openssh"))
    path.with_name(path.name + ".pub").write_bytes(key.export_public_key("openssh"))
    return key.get_fingerprint()


def read(text: bytes) -> asyncssh.SSHKey:
    """A host key as its file holds it; one of RSA signs with SHA-2 only."""
    key = asyncssh.import_private_key(text)
    if key.algorithm == b"ssh-rsa":
        key.sig_algorithms = (b"rsa-sha2-512", b"rsa-sha2-256")
    return key


def fingerprint(public: bytes) -> str:
    """Of a public key as its .pub file holds it, as OpenSSH shows it."""
    return asyncssh.import_public_key(public).get_fingerprint()
