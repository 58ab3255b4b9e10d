"""What a guest may not do: forward anything, have a terminal, set variables, or open more than is served."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

import asyncssh
import pytest

from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import KARI, Door
from tests.fronts.sftp.raw import string
from tests.house import House

FAILS = ("-o", "ExitOnForwardFailure=yes")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-tt", "127.0.0.1"], "PTY allocation request failed on channel 0"),
        (["-W", "127.0.0.1:22", "127.0.0.1"], "stdio forwarding failed"),
        ([*FAILS, "-R", "0:127.0.0.1:1", "127.0.0.1", "pwd"], "remote port forwarding failed for listen port 0"),
        (
            [*FAILS, "-R", "/tmp/fx.sock:127.0.0.1:1", "127.0.0.1", "pwd"],
            "remote port forwarding failed for listen path",
        ),
        ([*FAILS, "-R", "0", "127.0.0.1", "pwd"], "remote port forwarding failed for listen port 0"),
        ([*FAILS, "-w", "any", "127.0.0.1", "pwd"], "unnel"),  # 'Tunnel forwarding failed', or no device here
        (["-s", "127.0.0.1", "netconf"], "subsystem request failed on channel 0"),
    ],
)
def test_ssh_is_refused_and_says_so_in_its_own_words(door: Door, words: list[str], said: str) -> None:
    refused = door.openssh("ssh", KARI, *words)

    assert refused.returncode == 255
    assert said in refused.stderr
    assert not Path("/tmp/fx.sock").exists()


def test_a_display_is_refused_and_the_command_goes_on(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":99")

    ran = door.openssh("ssh", KARI, "-X", "127.0.0.1", "pwd")

    assert (ran.returncode, ran.stdout) == (0, "/\n")
    assert "X11 forwarding request failed on channel 0" in ran.stderr


def test_who_asks_for_a_shell_is_told_in_one_line_what_there_is(door: Door) -> None:
    ran = door.openssh("ssh", KARI, "127.0.0.1")

    assert ran.returncode != 0
    assert len((ran.stdout + ran.stderr).strip().splitlines()) == 1


def test_an_agent_and_variables_are_passed_over(door: Door, tmp_path: Path) -> None:
    """ssh asks for both without wanting an answer: nothing of them may be there afterwards."""
    agent = tmp_path / "agent"
    keeper = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL)
    door.until(agent.exists)
    line = ["ssh", "-F", "none", "-A", "-i", str(door.keys[KARI]), "-l", KARI, "-p", str(door.port), "-o"]
    line += ["SetEnv=LD_PRELOAD=/x LANG=nb_NO.UTF-8", "-o", "StrictHostKeyChecking=no", "-o"]
    line += [f"UserKnownHostsFile={tmp_path}/known", "-s", "127.0.0.1", "sftp"]
    client = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | {"SSH_AUTH_SOCK": str(agent)},
    )  # fmt: skip
    try:
        assert client.stdin
        assert client.stdout
        client.stdin.write(sftp.packet(1, 3))
        client.stdin.flush()
        assert client.stdout.read(5)[4] == 2  # VERSION: all that came before it has been dealt with
        (guest,) = door.listener.guests
        (opened,) = guest._doors
        assert opened._chan.get_environment() == {}
        assert opened._chan.get_terminal_type() is None
        assert opened._chan.get_x11_display() is None
        assert guest._conn.get_agent_path() is None
    finally:
        for process in (client, keeper):
            process.kill()
            process.communicate()


def test_a_local_forward_reaches_nothing(door: Door, tmp_path: Path) -> None:
    """`ssh -L` opens the port at the client; the first connection through it is refused."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = ["ssh", "-F", "none", "-N", "-i", str(door.keys[KARI]), "-l", KARI, "-p", str(door.port), "-o"]
    line += ["StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "IdentitiesOnly=yes"]
    line += ["-o", "ServerAliveInterval=1"]  # else ssh 9.2 closes our end only when it next hears something
    line += ["-L", f"127.0.0.1:{port}:127.0.0.1:{door.port}", "127.0.0.1"]
    client = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        heard: list[bytes] = []

        def has_answered() -> bool:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)) as through:
                with contextlib.suppress(ConnectionResetError):
                    heard.append(through.recv(100))
                return True
            return False

        door.until(has_answered)
        assert heard in ([], [b""])
    finally:
        client.terminate()
        _, said = client.communicate()
    assert "open failed: connect failed: Connection refused" in said


def test_no_kind_of_channel_but_sessions_is_opened(door: Door) -> None:
    """And none that a program can ask for besides."""

    async def walk() -> None:
        async with door.connect(KARI) as conn:
            for attempt in (
                lambda: conn.open_connection("127.0.0.1", door.port),
                lambda: conn.open_unix_connection("/var/run/docker.sock"),
                conn.open_tun,
                conn.open_tap,
                lambda: conn.create_session(asyncssh.SSHClientSession, "pwd", x11_forwarding=True),
                lambda: conn.create_session(
                    asyncssh.SSHClientSession, "pwd", request_pty="force", term_type="vt100"
                ),
                lambda: conn.create_session(asyncssh.SSHClientSession, subsystem="netconf"),
            ):  # fmt: skip
                with pytest.raises(asyncssh.ChannelOpenError):
                    await attempt()
            with pytest.raises(asyncssh.ChannelListenError):
                await conn.start_server(lambda *_: None, "", 0)
            with pytest.raises(asyncssh.ChannelListenError):
                await conn.start_unix_server(lambda *_: None, "/tmp/x")
            assert (await conn.run("pwd", env={"A": "b"})).stdout == "/\n"

    asyncio.run(walk())


def test_the_next_handle_is_refused_and_those_that_are_open_work_on(door: Door) -> None:
    """256 in a session; clients keep one or two."""

    async def walk() -> None:
        async with door.raw(KARI) as raw:
            handles = [(await raw.ask(sftp.OPENDIR, string("/"))).handle for _ in range(256)]
            refused = await raw.ask(sftp.OPENDIR, string("/"))
            assert (refused.kind, refused.code) == (sftp.STATUS, sftp.FAILURE)
            assert (await raw.ask(sftp.READDIR, string(handles[0]))).kind == sftp.NAME
            assert (await raw.ask(sftp.CLOSE, string(handles[1]))).code == sftp.OK
            assert (await raw.ask(sftp.OPENDIR, string("/"))).handle

    asyncio.run(walk())


def test_a_client_that_is_there_no_more_is_noticed(tmp_path: Path, is_tuned: bool) -> None:
    """Its line stays open, as when a laptop is shut: what is not answered for long ends the session."""
    environ = {"FXSFTP_SFTP__KEEPALIVE": "0.3 s", "FXSFTP_SFTP__TUNED": str(is_tuned)}
    with House(tmp_path / "house", environ=environ) as house:
        door = Door(house)
        line = ["sftp", "-F", "none", "-i", str(door.keys[KARI]), "-P", str(door.port), "-o", f"User={KARI}", "-o"]
        line += ["StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known", "127.0.0.1"]
        client = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            door.until(lambda: any(guest._doors for guest in door.listener.guests))
            (below,) = map(int, Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split())
            os.kill(below, signal.SIGSTOP)  # the ssh that sftp talks through
            door.until(lambda: not door.listener.guests)
        finally:
            os.kill(below, signal.SIGCONT)
            client.kill()
            client.communicate()
