"""The programs that distributions package: OpenSSH's, PuTTY's, lftp, curl and rclone.

Paths given to them are relative to the root of the exchange.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tests.walks.clients.client import HOST, Client
from tests.walks.guests import Ran, quoted

# PATH without the folder of our own programs, among which is a newer rclone.
NOT_OURS = os.pathsep.join(part for part in os.get_exec_path() if Path(part) != Path(sys.executable).parent)


class Sftp(Client):
    """OpenSSH's `sftp -b -`."""

    name = "sftp"
    needs = ("sftp",)
    closes_when_interrupted = True  # after FSETSTAT to what has arrived
    ends_well_when_interrupted = True

    def upload_command(self, local: Path, remote: str) -> list[str]:
        return ["sftp", *self._batch()]

    def given(self, local: Path, remote: str) -> bytes:
        return f"put {quoted(str(local))} {quoted(remote)}\n".encode()

    def download(self, remote: str, local: Path) -> Ran:
        return self.sftp(f"get {quoted(remote)} {quoted(str(local))}")

    def resume_upload(self, local: Path, remote: str) -> Ran:
        return self.sftp(f"reput {quoted(str(local))} {quoted(remote)}")

    def resume_download(self, remote: str, local: Path) -> Ran:
        return self.sftp(f"reget {quoted(remote)} {quoted(str(local))}")

    def upload_tree(self, local: Path, remote: str) -> Ran:
        return self.sftp(f"put -R {quoted(str(local))} {quoted(remote.rpartition('/')[0])}")

    def download_tree(self, remote: str, local: Path) -> Ran:
        return self.sftp(f"get -R {quoted(remote)} {quoted(str(local))}")

    def rename(self, old: str, new: str) -> Ran:
        return self.sftp(f"rename {quoted(old)} {quoted(new)}")

    def names(self, remote: str) -> list[str]:
        return self.ls(remote)


class Scp(Client):
    """OpenSSH's `scp`, from version 9 on."""

    name = "scp"
    needs = ("scp",)

    def upload_command(self, local: Path, remote: str) -> list[str]:
        return ["scp", *self._options("-P"), str(local), f"{HOST}:{remote}"]

    def download(self, remote: str, local: Path) -> Ran:
        return self.scp(f"exchange:{remote}", str(local))

    def upload_tree(self, local: Path, remote: str) -> Ran:
        return self.scp(str(local), f"exchange:{remote.rpartition('/')[0]}", options=["-r", "-p"])

    def download_tree(self, remote: str, local: Path) -> Ran:
        return self.scp(f"exchange:{remote}", str(local), options=["-r", "-p"])


class Lftp(Client):
    """`lftp -c`, which lets OpenSSH make the connection."""

    name = "lftp"
    needs = ("lftp", "ssh")

    def upload_command(self, local: Path, remote: str) -> list[str]:
        return self._command(f"put {quoted(str(local))} -o {quoted(remote)}")

    def download(self, remote: str, local: Path) -> Ran:
        return self.run(f"get {quoted(remote)} -o {quoted(str(local))}")

    def resume_upload(self, local: Path, remote: str) -> Ran:
        return self.run(f"put -c {quoted(str(local))} -o {quoted(remote)}")

    def resume_download(self, remote: str, local: Path) -> Ran:
        return self.run(f"get -c {quoted(remote)} -o {quoted(str(local))}")

    def upload_tree(self, local: Path, remote: str) -> Ran:
        return self.run(f"mirror -R {quoted(str(local))} {quoted(remote)}")

    def download_tree(self, remote: str, local: Path) -> Ran:
        return self.run(f"mirror {quoted(remote)} {quoted(str(local))}")

    def rename(self, old: str, new: str) -> Ran:
        return self.run(f"mv {quoted(old)} {quoted(new)}")

    def names(self, remote: str) -> list[str]:
        ran = self._must(self.run(f"cls -1 {quoted(remote + '/')}"))
        return [line.rstrip("/").rpartition("/")[2] for line in ran.out.splitlines()]

    def run(self, *lines: str) -> Ran:
        """These commands, which end at the first that fails."""
        return self._run(self._command(*lines))

    def _command(self, *lines: str) -> list[str]:
        before = [
            "set cmd:fail-exit yes",
            "set net:max-retries 1",
            f'set sftp:connect-program "{self.ssh_command()}"',
            f"open -u {self.email},none -p {self.port} sftp://{HOST}",
        ]
        return ["lftp", "-c", "; ".join([*before, *lines])]


class Putty(Client):
    """What PuTTY's two have in common: keys in a format of their own, and the host key by its fingerprint."""

    def _words(self) -> list[str]:
        own = self.home / "key.ppk"
        if not own.exists():
            subprocess.run(["puttygen", str(self.key), "-O", "private", "-o", str(own)], check=True, env=self._env())
        fingerprint = "SHA256:" + self.fingerprint().rstrip("=")
        return ["-batch", "-P", str(self.port), "-hostkey", fingerprint, "-i", str(own), "-l", self.email]


class Psftp(Putty):
    """`psftp -b`."""

    name = "psftp"
    needs = ("psftp", "puttygen")

    def upload_command(self, local: Path, remote: str) -> list[str]:
        return self._script(f"put {_putty(str(local))} {_putty(remote)}")

    def download(self, remote: str, local: Path) -> Ran:
        return self.run(f"get {_putty(remote)} {_putty(str(local))}")

    def resume_upload(self, local: Path, remote: str) -> Ran:
        return self.run(f"reput {_putty(str(local))} {_putty(remote)}")

    def resume_download(self, remote: str, local: Path) -> Ran:
        return self.run(f"reget {_putty(remote)} {_putty(str(local))}")

    def upload_tree(self, local: Path, remote: str) -> Ran:
        return self.run(f"put -r {_putty(str(local))} {_putty(remote)}")

    def download_tree(self, remote: str, local: Path) -> Ran:
        return self.run(f"get -r {_putty(remote)} {_putty(str(local))}")

    def rename(self, old: str, new: str) -> Ran:
        return self.run(f"mv {_putty(old)} {_putty(new)}")

    def names(self, remote: str) -> list[str]:
        ran = self._must(self.run(f"ls {_putty(remote)}"))
        return [line.split(None, 8)[8] for line in ran.out.splitlines() if re.match(r"[d-][rwx-]{9} ", line)]

    def run(self, *lines: str) -> Ran:
        """These commands, which end at the first that fails."""
        return self._run(self._script(*lines))

    def _script(self, *lines: str) -> list[str]:
        script = self.home / "script"
        script.write_text("\n".join([*lines, ""]))
        return ["psftp", *self._words(), "-b", str(script), HOST]


class Pscp(Putty):
    """`pscp -sftp`."""

    name = "pscp"
    needs = ("pscp", "puttygen")

    def upload_command(self, local: Path, remote: str) -> list[str]:
        return self._line(str(local), f"{HOST}:{remote}")

    def download(self, remote: str, local: Path) -> Ran:
        return self._run(self._line(f"{HOST}:{remote}", str(local)))

    def upload_tree(self, local: Path, remote: str) -> Ran:
        return self._run(self._line("-r", str(local), f"{HOST}:{remote.rpartition('/')[0]}"))

    def download_tree(self, remote: str, local: Path) -> Ran:
        return self._run(self._line("-r", f"{HOST}:{remote}", str(local)))

    def _line(self, *words: str) -> list[str]:
        options = [word for word in words if word.startswith("-")]
        return ["pscp", "-sftp", "-q", *self._words(), *options, *(word for word in words if word not in options)]


class Curl(Client):
    """`curl`, which has libssh2 in it."""

    name = "curl"
    needs = ("curl",)

    def upload_command(self, local: Path, remote: str) -> list[str]:
        return self._command("-T", str(local), self._url(remote))

    def download(self, remote: str, local: Path) -> Ran:
        return self._run(self._command("-o", str(local), self._url(remote)))

    def resume_upload(self, local: Path, remote: str) -> Ran:
        return self._run(self._command("-C", "-", "-T", str(local), self._url(remote)))

    def resume_download(self, remote: str, local: Path) -> Ran:
        return self._run(self._command("-C", "-", "-o", str(local), self._url(remote)))

    def rename(self, old: str, new: str) -> Ran:
        line = f"rename {quoted('/' + old)} {quoted('/' + new)}"
        return self._run(self._command("-Q", line, "-o", "/dev/null", self._url("")))

    def names(self, remote: str) -> list[str]:
        ran = self._must(self._run(self._command("-l", self._url(remote) + "/")))
        return [name for name in ran.out.splitlines() if name not in (".", "..")]

    def _url(self, remote: str) -> str:
        return f"sftp://{HOST}:{self.port}/{quote(remote)}"

    def _command(self, *words: str) -> list[str]:
        who = ["-u", f"{self.email}:", "--key", str(self.key), "--pubkey", f"{self.key}.pub"]
        return ["curl", "-q", "-sS", *who, "--hostpubsha256", self.fingerprint(), *words]


class Rclone(Client):
    """`rclone`, with a remote `exchange:` in a configuration file that it may write to."""

    program: ClassVar[str]

    def upload_command(self, local: Path, remote: str) -> list[str]:
        return self._command("copyto", str(local), f"exchange:{remote}")

    def download(self, remote: str, local: Path) -> Ran:
        return self.run("copyto", f"exchange:{remote}", str(local))

    def upload_tree(self, local: Path, remote: str) -> Ran:
        return self.run("copy", str(local), f"exchange:{remote}")

    def download_tree(self, remote: str, local: Path) -> Ran:
        return self.run("copy", f"exchange:{remote}", str(local))

    def rename(self, old: str, new: str) -> Ran:
        return self.run("moveto", f"exchange:{old}", f"exchange:{new}")

    def names(self, remote: str) -> list[str]:
        return [name.rstrip("/") for name in self._must(self.run("lsf", f"exchange:{remote}")).out.splitlines()]

    def run(self, *words: str) -> Ran:
        """One command of it."""
        return self._run(self._command(*words))

    def _command(self, *words: str) -> list[str]:
        config = self.home / "rclone.conf"
        if not config.exists():
            said = {
                "type": "sftp", "host": HOST, "port": self.port, "user": self.email, "key_file": self.key,
                "known_hosts_file": self.known_hosts,
            }  # fmt: skip
            config.write_text("\n".join(["[exchange]", *(f"{name} = {value}" for name, value in said.items()), ""]))
        # A port other than that of its first use is a gate before the same exchange.
        port = ["--sftp-port", str(self.port), "--sftp-known-hosts-file", str(self.known_hosts)]
        return [self.program, "--config", str(config), "--retries", "1", *port, *words]


class RcloneOfDebian(Rclone):
    """What apt installs: in Debian 12 version 1.60, which writes bytes after the data of its last WRITE."""

    name = "rclone-debian"
    program = shutil.which("rclone", path=NOT_OURS) or "/usr/bin/rclone"
    needs = (program,)


class RcloneOfToday(Rclone):
    """The newest, which puts under a `.partial` name and renames."""

    name = "rclone-today"
    program = str(Path(sys.executable).with_name("rclone"))
    needs = (program,)


def _putty(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
