"""One errand with asyncssh:  HOST PORT USER KEY KNOWN_HOSTS, and on stdin ["upload", LOCAL, REMOTE] or the like."""

import asyncio
import json
import sys
from pathlib import Path

import asyncssh


class Errands:
    """What can be asked for."""

    def __init__(self, sftp: asyncssh.SFTPClient) -> None:
        self.sftp = sftp

    async def upload(self, local: str, remote: str) -> None:
        await self.sftp.put(local, remote)

    async def download(self, remote: str, local: str) -> None:
        await self.sftp.get(remote, local)

    async def resume_upload(self, local: str, remote: str) -> None:
        async with self.sftp.open(remote, "r+b") as target:
            at = await target.seek(0, asyncssh.SEEK_END)
            await target.write(content(local)[at:])

    async def resume_download(self, remote: str, local: str) -> None:
        half = content(local)
        async with self.sftp.open(remote, "rb") as source:
            await source.seek(len(half))
            keep(local, half + await source.read())

    async def upload_tree(self, local: str, remote: str) -> None:
        await self.sftp.put(local, remote, preserve=True, recurse=True)

    async def download_tree(self, remote: str, local: str) -> None:
        await self.sftp.get(remote, local, preserve=True, recurse=True)

    async def rename(self, old: str, new: str) -> None:
        await self.sftp.rename(old, new)

    async def names(self, remote: str) -> None:
        print(json.dumps([name for name in await self.sftp.listdir(remote) if name not in (".", "..")]))


def content(local: str) -> bytes:
    return Path(local).read_bytes()


def keep(local: str, data: bytes) -> None:
    Path(local).write_bytes(data)


async def main() -> None:
    """Connect, and do it."""
    host, port, user, key, known_hosts = sys.argv[1:]
    errand, *words = json.load(sys.stdin)
    async with (
        asyncssh.connect(
            host, int(port), username=user, client_keys=[key], known_hosts=known_hosts, config=None, agent_path=None
        ) as conn,
        conn.start_sftp_client() as sftp,
    ):
        await getattr(Errands(sftp), errand)(*words)


asyncio.run(main())
