"""The contestant that asyncssh itself is: its own SFTPServer over a folder, with nothing added.

python -m bench.peers.stock PORT FOLDER HOST_KEY AUTHORIZED_KEYS
"""

from __future__ import annotations

import asyncio
import sys

import asyncssh


class Server(asyncssh.SSHServer):
    """Whoever has the key comes in."""


async def main(port: str, folder: str, host_key: str, authorized: str) -> None:
    def rooms(chan: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(chan, chroot=folder.encode())

    await asyncssh.listen(
        "127.0.0.1", int(port), server_host_keys=[host_key], authorized_client_keys=authorized,
        server_factory=Server, sftp_factory=rooms,
    )  # fmt: skip
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
