"""One errand with paramiko:  HOST PORT USER KEY KNOWN_HOSTS, and on stdin ["upload", LOCAL, REMOTE] or the like."""

import json
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

import paramiko


def upload(local: str, remote: str) -> None:
    sftp.put(local, remote)


def download(remote: str, local: str) -> None:
    sftp.get(remote, local)


def resume_upload(local: str, remote: str) -> None:
    with open(local, "rb") as source, sftp.open(remote, "ab") as target:
        source.seek(target.stat().st_size or 0)
        target.set_pipelined(True)
        while piece := source.read(32768):
            target.write(piece)
    assert sftp.stat(remote).st_size == os.path.getsize(local)


def resume_download(remote: str, local: str) -> None:
    with sftp.open(remote, "rb") as source, open(local, "ab") as target:
        source.seek(target.tell())
        while piece := source.read(32768):
            target.write(piece)


def upload_tree(local: str, remote: str) -> None:
    with suppress(OSError):
        sftp.mkdir(remote)
    for path in sorted(Path(local).iterdir()):
        (upload_tree if path.is_dir() else upload)(str(path), f"{remote}/{path.name}")


def download_tree(remote: str, local: str) -> None:
    Path(local).mkdir(exist_ok=True)
    for entry in sftp.listdir_attr(remote):
        is_folder = stat.S_ISDIR(entry.st_mode or 0)
        (download_tree if is_folder else download)(f"{remote}/{entry.filename}", f"{local}/{entry.filename}")


def rename(old: str, new: str) -> None:
    sftp.rename(old, new)


def names(remote: str) -> None:
    print(json.dumps(sftp.listdir(remote)))


host, port, user, key, known_hosts = sys.argv[1:]
client = paramiko.SSHClient()
client.load_host_keys(known_hosts)
client.set_missing_host_key_policy(paramiko.RejectPolicy())
client.connect(host, int(port), user, key_filename=key, allow_agent=False, look_for_keys=False)
with client, client.open_sftp() as sftp:
    errand, *words = json.load(sys.stdin)
    globals()[errand](*words)
