"""Several processes behind one port: what one has open lives and dies with it, and all else is the same by each."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import paramiko
import pytest

from fxsftp.domain.model import Kind
from tests.house import ANN, KARI
from tests.walks.guests import Guest, shipments_in, until
from tests.walks.served import Served, is_running
from tests.walks.test_coming_and_leaving import LARGE, REMOTE, is_open, uploading
from tests.walks.test_serve import CODE, CSV


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """An exchange with two processes at its port."""
    with Served(tmp_path / "exchange", {"sftp": {"workers": "2"}}) as exchange:
        yield exchange
    assert "Traceback" not in exchange.log()
    assert not CODE.search(exchange.log())


@pytest.fixture
def kari(served: Served) -> Guest:
    return served.add(KARI, Kind.MEMBER)


@pytest.fixture
def ann(served: Served) -> Guest:
    return served.add(ANN, Kind.PARTNER)


def workers(served: Served) -> list[int]:
    """The processes that serve SFTP."""
    return sorted(pid for pid, command in served.children().items() if "--only sftp " in command)


def worker_of(served: Served, port: int) -> int:
    """Who serves the connection from this port."""
    ends = f":{served.port:04X}", f":{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    found = {line[9] for line in lines if line[1].endswith(ends[0]) and line[2].endswith(ends[1])}
    (inode,) = found - {"0"}  # that of a connection which is over
    (pid,) = [pid for pid in workers(served) if f"socket:[{inode}]" in open_files(pid)]
    return pid


def open_files(pid: int) -> set[str]:
    return {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}


@contextmanager
def client_at(served: Served, guest: Guest, pid: int) -> Iterator[paramiko.SFTPClient]:
    """A client that this process serves: it knocks until chance brings it there."""
    for _ in range(60):
        with guest.paramiko() as client:
            channel = client.get_channel()
            assert channel
            if worker_of(served, channel.get_transport().sock.getsockname()[1]) == pid:
                yield client
                return
    raise AssertionError("chance never came there")


def serving(served: Served, client_pid: int) -> int:
    """Who serves a client that runs as a process of its own, and the one that it has begun."""
    children = Path(f"/proc/{client_pid}/task/{client_pid}/children").read_text().split()
    inodes = {file for pid in (client_pid, *map(int, children)) for file in open_files(pid)}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (port,) = [int(line[1].split(":")[1], 16) for line in lines if f"socket:[{line[9]}]" in inodes]
    return worker_of(served, port)


def kill(served: Served, pid: int) -> None:
    """With -9; until the last of its threads is gone, connections may still come to it, and be lost."""
    before = served.log().count("ended with status -9")
    os.kill(pid, signal.SIGKILL)
    until(lambda: served.log().count("ended with status -9") > before)


def test_kill_9_of_one_is_nothing_to_the_sessions_of_another(served: Served, kari: Guest, ann: Guest) -> None:
    """It is replaced; what it had open is resumed at once, wherever its client comes back to, and arrives whole."""
    served.serve()
    client = uploading(served, ann)
    dying = serving(served, client.pid)
    (other,) = [pid for pid in workers(served) if pid != dying]

    with client_at(served, kari, other) as lives:
        with lives.open(f"outbox/{ANN}/Ref 2/data.csv", "w") as file:
            file.write(CSV[:1000])
            kill(served, dying)
            client.wait(60)
            with client_at(served, ann, other) as back:
                kept = back.stat(REMOTE).st_size or 0
            assert 0 < kept < len(LARGE)
            file.write(CSV[1000:])
        assert lives.stat(f"outbox/{ANN}/Ref 2/data.csv").st_size == len(CSV)

    until(lambda: len(workers(served)) == 2)
    assert ann.sftp(f'reput large.bin "{REMOTE}"').status == 0
    until(lambda: kari.ls("inbox"))
    (folder,) = kari.ls("inbox")
    assert kari.get(f"inbox/{folder}/large.bin") == LARGE
    assert served.process
    assert served.process.poll() is None


def test_a_code_that_was_given_by_one_opens_by_the_others(served: Served, kari: Guest, ann: Guest) -> None:
    """`mkdir inbox/ID/CODE` in one session, `get` in another, whoever serves them."""
    served.serve()
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    until(lambda: served.mails(ANN) and served.sms())
    (code,) = CODE.findall(served.sms()[0])
    shipment = shipments_in(served.sms()[0])[0]
    one, other = workers(served)

    with client_at(served, ann, one) as client:
        client.mkdir(f"inbox/{shipment}/{code}")

    with client_at(served, ann, other) as client, client.open(f"inbox/{shipment}/data.csv") as file:
        assert file.read() == CSV


def test_a_user_has_so_many_connections_whoever_serves_them(served: Served, ann: Guest) -> None:
    """One more is refused with the reason; those of a process that was killed count no more, at once."""
    served.env["FXSFTP_SFTP__MAX_SESSIONS_PER_USER"] = "4"
    served.serve()
    one, other = workers(served)
    with ExitStack() as here:
        for pid in (one, other, one):
            here.enter_context(client_at(served, ann, pid))
        last = here.enter_context(client_at(served, ann, other))
        refused = ann.ssh("pwd")
        assert "You have 4 connections here, and more are not served." in refused.err
        assert refused.status == 255
        kill(served, one)
        for _ in range(2):
            here.enter_context(client_at(served, ann, other))
        assert last.listdir("outbox") is not None
        assert ann.ssh("pwd").status == 255


def test_who_is_disabled_is_cut_off_by_all_of_them(served: Served, ann: Guest) -> None:
    """Within five seconds of the operator's command."""
    served.serve()
    with ExitStack() as here:
        clients = [here.enter_context(client_at(served, ann, pid)) for pid in workers(served)]
        served.must("user", "disable", ANN)
        began = time.monotonic()

        until(lambda: not any(is_connected(client) for client in clients))

        assert time.monotonic() - began < 5
    assert served.log().count(f"{ANN} sent away: Your access to this exchange has ended.") == 2


def is_connected(client: paramiko.SFTPClient) -> bool:
    channel = client.get_channel()
    return channel is not None and channel.get_transport().is_active()


def test_what_is_dropped_leaves_once_whoever_dies(served: Served, kari: Guest, ann: Guest) -> None:
    """Whoever decides is killed again and again, and another goes on."""
    served.serve()
    for number in range(4):
        with client_at(served, ann, workers(served)[number % 2]) as client:
            for name in ("a", "b", "c"):
                with client.open(f"outbox/{KARI}/{name}{number}.csv", "w") as file:
                    file.write(CSV)
        decides = [pid for pid in workers(served) if holds_the_turn(served, pid)]
        for pid in decides:
            kill(served, pid)
        until(lambda: len(workers(served)) == 2)

    until(lambda: len(names_in(kari)) == 12)

    assert Counter(names_in(kari)) == Counter(f"{name}{number}.csv" for number in range(4) for name in "abc")
    until(lambda: all(notice.state == "carried" for notice in served.notices()))
    assert len(served.mails(KARI)) == len(served.shipments())


def names_in(guest: Guest) -> list[str]:
    with guest.paramiko() as client:
        found = [name for folder in client.listdir("inbox") for name in client.listdir(f"inbox/{folder}")]
    return [name for name in found if name.endswith(".csv")]


def holds_the_turn(served: Served, pid: int) -> bool:
    return is_running(pid) and str(served.folder / "state" / "run" / "dispatcher") in open_files(pid)


def test_sigterm_lets_the_uploads_of_all_finish(served: Served, kari: Guest, ann: Guest) -> None:
    served.serve()
    with ExitStack() as here:
        files = []
        for pid in workers(served):
            client = here.enter_context(client_at(served, ann, pid))
            files.append(here.enter_context(client.open(f"outbox/{KARI}/Ref {pid}/data.csv", "w")))
        assert served.process
        served.process.terminate()
        until(lambda: not is_open(served))

        for file in files:
            file.write(CSV)
            file.close()

        assert served.process.wait(30) == 0
    assert sorted(each.state for each in served.shipments()) == ["settling", "settling"]


def test_the_sftp_service_alone_has_its_workers_and_tells_systemd_when_they_serve(served: Served, ann: Guest) -> None:
    """Once, by the process that systemd has started, as NotifyAccess=main wants it; without it nobody is left."""
    path = served.folder.parent / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(60)
        served.env["NOTIFY_SOCKET"] = str(path)
        process = served.serve(only="sftp", waits=False)

        assert systemd.recv(100) == b"READY=1"

        assert len(workers(served)) == 2
        assert ann.ssh("pwd").out == "/\n"
        assert served.log().count(f"sftp listens on port {served.port}") == 2
        children = served.children()
        assert served.stop() == 0
        assert systemd.recv(100) == b"STOPPING=1"
    assert process.returncode == 0
    until(lambda: not any(is_running(child) for child in children))


def test_any_port_that_is_free_is_the_same_for_all(served: Served) -> None:
    settings = served.folder / "fxsftp.toml"
    settings.write_text(settings.read_text().replace(f"port = {served.port}", "port = 0"))

    served.serve(only="sftp", waits=False)

    until(lambda: served.log().count("sftp listens on port ") == 2)
    ports = {line.rpartition(" ")[2] for line in served.log().splitlines() if "sftp listens on port " in line}
    assert len(ports) == 1


@pytest.mark.parametrize("only", ["", "sftp"])
def test_another_exchange_at_the_same_port_is_refused(served: Served, tmp_path: Path, only: str) -> None:
    """Else half of the connections would come to either."""
    served.serve(only=only)
    with Served(tmp_path / "other" / "exchange", {"sftp": {"workers": "2", "port": served.port}}) as other:
        assert other.serve(only=only, waits=False).wait(60) == 1

        assert other.log().count("\n") == 1
        assert f"port {served.port}" in other.log()
