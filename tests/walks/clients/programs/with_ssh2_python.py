"""One errand with ssh2-python:  HOST PORT USER KEY KNOWN_HOSTS, and on stdin ["upload", LOCAL, REMOTE] or the like."""

import base64
import json
import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path

from ssh2 import sftp as flags
from ssh2.exceptions import SSH2Error
from ssh2.session import Session

NEW = flags.LIBSSH2_FXF_WRITE | flags.LIBSSH2_FXF_CREAT | flags.LIBSSH2_FXF_TRUNC


def upload(local: str, remote: str, how: int = NEW, at: int = 0) -> None:
    with open(local, "rb") as source, sftp.open(remote, how, 0o644) as target:
        source.seek(at)
        target.seek64(at)
        while piece := source.read(1 << 20):
            target.write(piece)


def download(remote: str, local: str, at: int = 0) -> None:
    with open(local, "ab" if at else "wb") as target, sftp.open(remote, flags.LIBSSH2_FXF_READ, 0) as source:
        source.seek64(at)
        for size, piece in source:
            assert size >= 0, size
            target.write(piece)


def resume_upload(local: str, remote: str) -> None:
    upload(local, remote, flags.LIBSSH2_FXF_WRITE, sftp.stat(remote).filesize)


def resume_download(remote: str, local: str) -> None:
    download(remote, local, os.path.getsize(local))


def upload_tree(local: str, remote: str) -> None:
    with suppress(SSH2Error):
        sftp.mkdir(remote, 0o755)
    for path in sorted(Path(local).iterdir()):
        (upload_tree if path.is_dir() else upload)(str(path), f"{remote}/{path.name}")


def download_tree(remote: str, local: str) -> None:
    Path(local).mkdir(exist_ok=True)
    for name, mode in entries(remote):
        (download_tree if stat.S_ISDIR(mode) else download)(f"{remote}/{name}", f"{local}/{name}")


def rename(old: str, new: str) -> None:
    sftp.rename(old, new)


def names(remote: str) -> None:
    print(json.dumps([name for name, _ in entries(remote)]))


def entries(remote: str) -> list[tuple[str, int]]:
    with sftp.opendir(remote) as folder:
        found = [(name.decode(), attrs.permissions) for _, name, attrs in folder.readdir()]
    return [(name, mode) for name, mode in found if name not in (".", "..")]


host, port, user, key, known_hosts = sys.argv[1:]
session = Session()
session.handshake(socket.create_connection((host, int(port))))
known = base64.b64decode(Path(known_hosts).read_text().split()[2])
assert session.hostkey()[0] == known, "another host key"
session.userauth_publickey_fromfile(user, key, "", key + ".pub")
sftp = session.sftp_init()
errand, *words = json.load(sys.stdin)
globals()[errand](*words)
session.disconnect()
