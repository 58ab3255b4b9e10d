"""Who may come in, by which proof; and who has to leave."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import Any

import asyncssh
import pytest

from fxsftp.domain.model import Kind
from fxsftp.fronts.sftp import guest
from fxsftp.fronts.sftp.guest import Guest
from tests.exchange.hands import registry_of
from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import ANN, BOB, KARI, Door
from tests.fronts.sftp.raw import string

PASSWORD = "correct horse battery staple"  # not only long enough: it is everyone's


def try_password(door: Door, email: str, password: str, **how: object) -> str:
    """ "in", or what the client hears."""

    async def walk() -> str:
        try:
            async with door.connect(email, client_keys=None, password=password, **how):
                return "in"
        except asyncssh.Error as refused:
            return refused.reason

    return asyncio.run(walk())


@pytest.fixture
def hasty(door: Door) -> Door:
    """A door where a wrong password is told at once."""
    door.listener.terms = replace(door.listener.terms, wrong=0.0)
    return door


def test_a_password_logs_in(door: Door) -> None:
    door.exchange.people.set_password(ANN, PASSWORD, door.house.clock())
    assert try_password(door, ANN, PASSWORD) == "in"
    assert try_password(door, ANN.upper(), PASSWORD) == "in"
    assert try_password(door, ANN, PASSWORD, preferred_auth="keyboard-interactive") == "in"
    assert try_password(door, ANN, PASSWORD + "r") != "in"


def test_every_key_of_a_user_logs_in_and_nobody_elses(door: Door) -> None:
    second = door.house.key_for(ANN)

    async def walk() -> None:
        async with door.connect(ANN, client_keys=[str(second)]):
            pass
        async with door.connect(ANN.upper(), client_keys=[str(door.keys[ANN])]):
            pass
        with pytest.raises(asyncssh.PermissionDenied):
            await door.connect(ANN, client_keys=[str(door.keys[KARI])])

    asyncio.run(walk())


def test_whose_a_key_is_is_looked_for_once_when_it_is_shown_and_then_signs(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a moment has passed: then it may have been removed."""
    looked: list[str] = []
    owner = Guest._owner_at_once

    def look(guest: Guest, email: str, *shown: str) -> Any:
        looked.append(email)
        return owner(guest, email, *shown)

    monkeypatch.setattr(Guest, "_owner_at_once", look)

    async def walk() -> None:
        async with door.connect(ANN):
            (there,) = door.listener.guests
            assert there._keys == 2

    asyncio.run(walk())
    assert looked == [ANN]
    door.until(lambda: not door.listener.guests)
    monkeypatch.setattr(guest, "MOMENT", 0.0)
    asyncio.run(walk())
    assert looked == [ANN] * 3


def test_who_is_unknown_disabled_or_a_group_hears_the_same(hasty: Door) -> None:
    hasty.exchange.people.set_password(ANN, PASSWORD, hasty.house.clock())
    hasty.exchange.people.add_group("mikrodata@ssb.example", hasty.house.clock())
    wrong = try_password(hasty, ANN, "wrong wrong wrong")
    hasty.exchange.people.disable(ANN, hasty.house.clock())
    for email in ("nobody@x.example", "root", "x" * 900, "mikrodata@ssb.example", ANN):
        assert try_password(hasty, email, PASSWORD) == wrong.replace(ANN, email)


def test_six_wrong_passwords_end_a_connection(hasty: Door) -> None:
    tried = 0

    class Client(asyncssh.SSHClient):
        def password_auth_requested(self) -> str:
            nonlocal tried
            tried += 1
            return f"wrong password {tried}"

    async def walk() -> None:
        with pytest.raises(asyncssh.DisconnectError, match="Too many wrong passwords"):
            await hasty.connect(ANN, client_keys=None, client_factory=Client, preferred_auth="password")

    asyncio.run(walk())
    assert tried == 6


def test_nobody_comes_in_without_showing_something(door: Door) -> None:
    async def walk() -> None:
        with pytest.raises(asyncssh.PermissionDenied):
            await door.connect(ANN, client_keys=None)

    asyncio.run(walk())


def test_twelve_connections_are_served_and_the_next_is_told_why_not(door: Door) -> None:
    async def walk() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(12):
                await stack.enter_async_context(door.raw(KARI))
            async with door.raw(ANN):
                pass
            refused = await asyncio.to_thread(door.openssh, "ssh", KARI, "127.0.0.1", "pwd")
            assert (refused.returncode, "You have 12 connections" in refused.stderr) == (255, True)
        door.until(lambda: not door.listener.guests)
        async with door.raw(KARI):
            pass

    asyncio.run(walk())


def test_nobody_counts_who_has_left_also_where_the_doors_have_closed(door: Door) -> None:
    """They are seen off a moment later, together; those who go with the doors before these are shut."""
    rows = registry_of(door.exchange).guests

    async def walk() -> None:
        async with door.connect(ANN):
            await asyncio.to_thread(door.until, lambda: sum(rows.all().values()) == 1)
        await asyncio.to_thread(door.until, lambda: not rows.all())
        async with door.connect(ANN), door.connect(KARI):
            await asyncio.to_thread(door.until, lambda: sum(rows.all().values()) == 2)
            await asyncio.to_thread(door.house.close_door)

    asyncio.run(walk())
    assert not rows.all()


def test_a_full_house_says_so(door: Door) -> None:
    async def walk() -> None:
        door.listener.terms = replace(door.listener.terms, all_connections=1)
        async with door.raw(KARI):
            refused = await asyncio.to_thread(door.openssh, "ssh", ANN, "127.0.0.1", "pwd")
            assert (refused.returncode, "as many connections as" in refused.stderr) == (255, True)
        door.until(lambda: not door.listener.guests)
        async with door.raw(ANN):
            pass

    asyncio.run(walk())


def test_ten_sessions_share_a_connection_and_the_next_is_told_why_not(door: Door) -> None:
    async def walk() -> None:
        async with door.connect(KARI) as conn:
            clients = [await conn.start_sftp_client() for _ in range(10)]
            with pytest.raises(asyncssh.ChannelOpenError, match="10 sessions"):
                await conn.start_sftp_client()
            clients[0].exit()
            await clients[0].wait_closed()
            await conn.start_sftp_client()

    asyncio.run(walk())


@pytest.mark.parametrize("how", ["disabled", "key removed"])
def test_who_may_no_longer_be_here_is_cut_off_within_seconds(door: Door, how: str) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as other, door.raw(ANN) as raw:
            assert await raw.list("/sent") == []
            if how == "disabled":
                door.exchange.people.disable(ANN, door.house.clock())
            else:
                (key,) = door.exchange.people.keys(ANN)
                door.exchange.people.remove_key(ANN, key.fingerprint, door.house.clock())
            began = time.monotonic()
            await raw.closed()
            assert time.monotonic() - began < 5
            assert (await other.ask(sftp.STAT, string("/"))).kind == sftp.ATTRS

    asyncio.run(walk())


def _doors(door: Door, email: str) -> list[Any]:
    return [one for guest in door.listener.guests if guest.user and guest.user.email == email for one in guest._doors]


def test_who_asks_nothing_for_long_is_sent_away(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as idle, door.raw(ANN) as other:
            for door_ in _doors(door, KARI):  # as if the last request had been long ago
                door_._inner.heard -= 2000
            for guest in door.listener.guests:
                guest._here_since -= 2000
            assert (await other.ask(sftp.STAT, string("/"))).kind == sftp.ATTRS
            assert door.house._loop
            asyncio.run_coroutine_threadsafe(door.listener._look_round(), door.house._loop).result(10)
            await idle.closed()
            assert (await other.ask(sftp.STAT, string("/"))).kind == sftp.ATTRS

    asyncio.run(walk())


def test_who_is_revoked_leaves_and_nobody_else(door: Door) -> None:
    async def walk() -> None:
        async with door.raw(KARI) as gone, door.raw(ANN) as other:
            assert door.house._loop
            asyncio.run_coroutine_threadsafe(door.listener.revoke(door.users[KARI].id), door.house._loop).result(10)
            await gone.closed()
            assert (await other.ask(sftp.STAT, string("/"))).kind == sftp.ATTRS

    asyncio.run(walk())


def test_a_demonstration_says_so_before_log_in(door: Door) -> None:
    heard: list[str] = []

    class Client(asyncssh.SSHClient):
        def auth_banner_received(self, msg: str, lang: str) -> None:
            heard.append(msg)

    async def walk() -> None:
        door.listener.terms = replace(door.listener.terms, banner="This is a demonstration.")
        async with door.connect(KARI, client_factory=Client):
            pass

    asyncio.run(walk())
    assert heard == ["This is a demonstration.\r\n"]


def test_the_version_says_who_we_are_and_no_number(door: Door) -> None:
    async def walk() -> None:
        async with door.connect(KARI, kex_algs=["mlkem768x25519-sha256"]) as conn:
            assert conn.get_extra_info("server_version") == "SSH-2.0-fxsftp"

    asyncio.run(walk())


def test_draining_lets_a_transfer_finish_and_sends_the_idle_away(door: Door) -> None:
    """No new connection, the idle at once, and a file that is being written to its end."""
    door.add(BOB, Kind.MEMBER)

    async def walk() -> None:
        async with door.raw(ANN) as idle, door.raw(KARI) as busy:
            handle = (await busy.open(f"/outbox/{ANN}/Ref 1/a.csv", sftp.W | sftp.CREATE)).handle
            assert door.house._loop
            drained = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(door.listener.drain(30), door.house._loop))
            await idle.closed()
            with pytest.raises((OSError, asyncssh.Error)):
                await door.connect(BOB)
            busy.send(sftp.write(1, handle, 0, b"whole"))
            assert (await busy.answer()).code == sftp.OK
            assert (await busy.ask(sftp.CLOSE, string(handle))).code == sftp.OK
            await busy.closed()
            await drained

    asyncio.run(walk())
    assert len(door.house.settle()) == 1
