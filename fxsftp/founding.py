"""A new exchange: a folder with settings and keys in it, as `fxsftp init` makes it.  Nothing is ever written over."""

from __future__ import annotations

import json
import os
from pathlib import Path

from fxsftp import seal
from fxsftp.errors import BadSettings
from fxsftp.settings import unfit_for_sms


def found(folder: Path, *, demo: bool, sftp_port: int, portal_port: int = 0, institution: str | None = None) -> str:
    """Make settings and keys in `folder`, and the state in it too for a demo; answers the host key's fingerprint.

    A demo has a portal on loopback where it is given a port for one; elsewhere its address is the operator's to say.

    Raises BadSettings when there is an exchange already; nothing is ever written over.
    """
    from fxsftp.fronts.sftp import hostkeys

    if (folder / "fxsftp.toml").exists():
        raise BadSettings(f"there is an exchange in {folder} already")
    if wrong := unfit_for_sms(institution or ""):
        raise BadSettings(f"{wrong}. It is a setting: begin with a short name, and write both into fxsftp.toml then")
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    house, courier = seal.Identity.generate(), seal.Identity.generate()
    _write(folder / "house.key", f"{house.secret_text()}\n", 0o600)
    _write(folder / "courier.key", f"{courier.secret_text()}\n", 0o600)
    _write(folder / "courier.pub", f"{courier.recipient}\n", 0o644)
    fingerprint = hostkeys.make(folder / "ssh_host_ed25519_key")
    _write(folder / "fxsftp.toml", _first_settings(demo, sftp_port, portal_port, institution), 0o640)
    return fingerprint


def _first_settings(demo: bool, sftp_port: int, portal_port: int, institution: str | None) -> str:
    lines = ["# Every key, its default and the reason for it: config/fxsftp.toml of this version.", "", "[institution]"]
    lines += [f"name = {json.dumps(institution or 'Example Institution', ensure_ascii=False)}", "", "[exchange]"]
    if demo:
        lines += ['state = "state"', "demo = true", "", "[sftp]", 'listen = "127.0.0.1"', 'address = "127.0.0.1"']
    else:
        lines += ['state = "/var/lib/fxsftp"', "", "[sftp]"]
    lines += [f"port = {sftp_port}", "", "[notify]"]
    lines += ['mail = "spool"', 'sms = "spool"'] if demo else ['# mail = "smtp"', '# sms = "twilio"']
    if demo and portal_port:
        lines += ["", "[portal]", f"port = {portal_port}", f'public_url = "http://127.0.0.1:{portal_port}"']
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
