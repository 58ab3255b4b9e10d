"""The same streams, and packets of SSH that no client should send, over a real line: in our own way and in asyncssh's.

Conversations of `test_fuzz` go in data of any size, under each cipher, with other packets between them and changes of
keys in the middle.  Then packets of any kind and content, each sealed as it should be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fronts.sftp import raw as sftp
from tests.fronts.sftp.conftest import KARI, Door
from tests.fronts.sftp.raw import HELLO, Raw, string
from tests.fronts.sftp.test_fuzz import conversations, cut, cuts, numbered
from tests.fronts.sftp.test_tuned import CIPHERS, u32
from tests.house import House

IGNORE, UNIMPLEMENTED, DEBUG, GLOBAL, ADJUST = 2, 3, 4, 80, 93  # SSH_MSG_…
FLAWLESS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", params=["true", "false"], ids=["tuned", "stock"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One for many conversations."""
    with House(tmp_path_factory.mktemp("fuzz") / "house", environ={"FXSFTP_SFTP__TUNED": request.param}) as house:
        yield Door(house)


ciphers = st.sampled_from(CIPHERS)
between = st.one_of(
    st.builds(lambda words: (IGNORE, string(words)), st.binary(max_size=300)),
    st.builds(lambda number: (UNIMPLEMENTED, u32(number)), st.integers(0, 2**32 - 1)),
    st.just((DEBUG, b"\0" + string("hello") + string(""))),
    st.just((GLOBAL, string("nobody@knows.example") + b"\0")),
    st.builds(lambda more: (ADJUST, u32(0, more)), st.integers(0, 1000)),
)
anything = st.tuples(st.integers(1, 255), st.one_of(st.binary(max_size=200), st.builds(u32, st.integers(0, 3))))


@FLAWLESS
@given(
    sent=conversations, sizes=cuts, others=st.lists(between, min_size=1, max_size=5), cipher=ciphers,
    change=st.one_of(st.just(1 << 30), st.integers(20_000, 200_000)),
)  # fmt: skip
def test_every_request_gets_one_answer_in_its_order_whatever_comes_between(
    door: Door, sent: list[bytes], sizes: list[int], others: list[tuple[int, bytes]], cipher: str, change: int
) -> None:
    """However the client cuts it into data, and however often keys are changed meanwhile."""

    async def walk() -> None:
        async with door.raw(KARI, greet=False, encryption_algs=[cipher], rekey_bytes=change) as raw:
            stream = HELLO + b"".join(numbered(sent))
            for turn, part in enumerate(cut(stream, [max(size, 1 + len(stream) // 60) for size in sizes])):
                raw.conn.send_packet(*others[turn % len(others)])
                raw.send(part)
            answers = await raw.answers(1 + len(sent))
            assert answers[0].kind == sftp.VERSION
            assert [answer.number for answer in answers[1:]] == list(range(len(sent)))

    asyncio.run(walk())


@FLAWLESS
@given(packets=st.lists(anything, min_size=1, max_size=8), cipher=ciphers)
def test_whatever_is_sealed_as_it_should_be_is_nothing_to_others(
    door: Door, packets: list[tuple[int, bytes]], cipher: str
) -> None:
    """Whoever sends it is answered, or goes; who is here meanwhile is served on, and nothing of it stays."""

    async def asked(raw: Raw) -> int:
        return (await raw.ask(sftp.STAT, string("/outbox"))).kind

    async def walk() -> None:
        async with door.raw(KARI) as other:
            async with door.raw(KARI, encryption_algs=[cipher]) as raw:
                for kind, payload in packets:
                    raw.conn.send_packet(kind, payload)
                raw.conn.send_packet(IGNORE, string("the last"))
            assert await asked(other) == sftp.ATTRS

    asyncio.run(walk())
    door.until(lambda: not door.listener.guests)
    assert not door.exchange.writing._drops.writers
