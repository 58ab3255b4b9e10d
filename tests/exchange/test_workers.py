"""Two processes that serve one exchange: what one has open the other leaves alone, until it lets go or dies."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fxsftp.domain.lifecycle import FileState
from fxsftp.domain.model import File, Wishes
from fxsftp.errors import NotYours, OverQuota
from fxsftp.exchange import Exchange
from tests.exchange.hands import Hand, another_process, registry_of, write
from tests.house import KARI, House

CHUNK = 65536
DATA = bytes(range(251)) * 1500  # 376,500 bytes: five chunks and a bit
PATH = f"/outbox/{KARI}/Ref/data.bin"


@pytest.fixture
def kari(house: House) -> Hand:
    return Hand(house, house.kari())


@pytest.fixture
def ann(house: House, kari: Hand) -> Hand:
    """In a session of the first process."""
    return Hand(house, house.ann())


@pytest.fixture
def other(house: House, ann: Hand) -> Iterator[Exchange]:
    """The second process."""
    exchange = another_process(house)
    for each in (house.exchange, exchange):
        each._holdings.workers.ticks = house.clock
    yield exchange
    exchange.close()


def there(ann: Hand, other: Exchange) -> Hand:
    """The same user in a session of the second process."""
    return Hand(ann.house, ann.user, "s2", exchange=other)


def die(exchange: Exchange) -> None:
    """As by kill -9, a moment after the last byte: the kernel lets go of the lock."""
    for draft in list(exchange.outbox._drops.writers.values()):
        draft.settle_chores()
    exchange._holdings.workers.end()


@contextmanager
def beating(exchange: Exchange, house: House) -> Iterator[None]:
    """As its process does every moment."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.005):
            exchange.writing.beat(house.clock())

    thread = threading.Thread(target=beat)
    thread.start()
    yield
    ended.set()
    thread.join()


def content(house: House, kari: Hand) -> bytes:
    """What kari got, the only shipment there is."""
    house.settle()
    (folder,) = house.inbox(kari.user)
    return kari.get(f"/inbox/{folder}/data.bin")


def test_a_start_a_beat_and_a_dispatcher_leave_alone_what_another_process_writes(
    house: House, ann: Hand, kari: Hand, other: Exchange
) -> None:
    draft = ann.open(PATH, wishes=Wishes(size=len(DATA)))
    write(draft, DATA[:200_000])
    draft.settle_chores()

    other.writing.elsewhere.begin()
    house.clock.turn(3600)
    other.dispatch.step(house.clock())

    write(draft, DATA[200_000:], start=200_000)
    ann.close(draft)
    assert content(house, kari) == DATA


def test_what_a_dead_process_had_open_is_resumed_by_another_at_once(
    house: House, ann: Hand, kari: Hand, other: Exchange
) -> None:
    """Its row may never have heard of what was flushed: stat shows it nevertheless."""
    write(ann.open(PATH), DATA[:200_000])
    die(house.exchange)
    hand = there(ann, other)

    size = hand.stat(PATH).size
    draft = hand.open(PATH, truncate=False)
    write(draft, DATA[size:], start=size)
    hand.close(draft)

    assert size == 3 * CHUNK
    house.exchange = other
    assert content(house, Hand(house, kari.user)) == DATA


def test_what_a_dead_process_had_open_is_put_away_by_the_dispatcher_of_another(
    house: House, ann: Hand, other: Exchange
) -> None:
    write(ann.open(PATH), DATA[:200_000])
    die(house.exchange)

    other.dispatch.step(house.clock())

    (file,) = registry_of(other).drops.below(ann.user.id, KARI, "Ref")
    assert (file.writer, file.connected, file.size, file.state) == (None, None, 3 * CHUNK, FileState.DRAFT)
    assert list(other._holdings.workers.dead()) == []


def test_a_folder_waits_for_a_session_of_another_process_until_that_process_is_dead(
    house: House, ann: Hand, kari: Hand, other: Exchange
) -> None:
    """Its session may yet put another file; 300 seconds, or 60 once it is gone."""
    ann.put(PATH, DATA)
    house.clock.turn(100)
    assert other.dispatch.step(house.clock()) == []

    die(house.exchange)

    assert other.dispatch.step(house.clock()) != []


def test_who_comes_back_by_another_process_is_refused_while_the_first_session_writes(
    house: House, ann: Hand, other: Exchange
) -> None:
    draft = ann.open(PATH)
    write(draft, DATA[:200_000])
    house.exchange.writing.beat(house.clock())
    house.clock.turn(9)
    again = there(ann, other).open(PATH, truncate=False)

    with pytest.raises(NotYours):
        again.write(3 * CHUNK, b"more")
    write(draft, DATA[200_000:], start=200_000)
    ann.close(draft)


def test_who_comes_back_by_another_process_takes_over_what_was_still(
    house: House, ann: Hand, kari: Hand, other: Exchange
) -> None:
    """The first puts it away when it is asked, to the byte that stat shows; its session can't go on, nor close it."""
    draft = ann.open(PATH)
    write(draft, DATA[:200_000])
    house.exchange.writing.beat(house.clock())
    house.clock.turn(11)
    hand = there(ann, other)

    with beating(house.exchange, house):
        again = hand.open(PATH, truncate=False)
    assert hand.stat(PATH).size == 3 * CHUNK
    with pytest.raises(NotYours):
        draft.write(200_000, DATA[200_000:])
    with pytest.raises(NotYours):
        ann.close(draft)
    ann.lose(draft)
    write(again, DATA[3 * CHUNK :], start=3 * CHUNK)
    hand.close(again)

    assert content(house, kari) == DATA


def test_who_was_still_and_goes_on_keeps_what_another_process_asks_for(
    house: House, ann: Hand, other: Exchange
) -> None:
    draft = ann.open(PATH)
    write(draft, DATA[:200_000])
    house.exchange.writing.beat(house.clock())
    house.clock.turn(11)
    write(draft, DATA[200_000:300_000], start=200_000)

    with beating(house.exchange, house):
        again = there(ann, other).open(PATH, truncate=False)
        with pytest.raises(NotYours):
            again.write(3 * CHUNK, b"more")

    write(draft, DATA[300_000:], start=300_000)
    ann.close(draft)


def test_a_process_taken_for_dead_finds_out_at_its_close_and_refuses(
    house: House, ann: Hand, kari: Hand, other: Exchange
) -> None:
    """Whatever becomes of its lock: of two who go on with a draft one hears OK, and only its bytes are sent."""
    draft = ann.open(PATH)
    write(draft, DATA[:200_000])
    die(house.exchange)  # it lives on
    hand = there(ann, other)
    again = hand.open(PATH, truncate=False)
    write(again, DATA[3 * CHUNK :], start=3 * CHUNK)
    write(draft, b"x" * 200_000, start=200_000)

    with pytest.raises(NotYours):
        ann.close(draft)
    hand.close(again)

    house.exchange = other
    assert content(house, Hand(house, kari.user)) == DATA


def test_a_process_taken_for_dead_finds_out_at_its_next_beat(house: House, ann: Hand, other: Exchange) -> None:
    draft = ann.open(PATH)
    write(draft, DATA[:200_000])
    die(house.exchange)
    other.writing.elsewhere.begin()
    write(draft, DATA[200_000:250_000], start=200_000)

    house.exchange.writing.beat(house.clock())

    with pytest.raises(NotYours):
        draft.write(250_000, b"more")


def test_of_two_processes_that_resume_at_once_one_writes(house: House, ann: Hand, kari: Hand, other: Exchange) -> None:
    draft = ann.open(PATH)
    write(draft, DATA[:200_000])
    ann.lose(draft)
    hands = [ann, there(ann, other)]
    drafts = [hand.open(PATH, truncate=False) for hand in hands]

    heard = []
    for hand, draft in zip(hands, drafts, strict=True):
        try:
            write(draft, DATA[3 * CHUNK :], start=3 * CHUNK)
            hand.close(draft)
            heard.append("OK")
        except NotYours:
            hand.lose(draft)
            heard.append("no")

    assert sorted(heard) == ["OK", "no"]
    assert content(house, kari) == DATA


@pytest.mark.parametrize("wishes", [Wishes(), Wishes(size=len(DATA))])
def test_what_another_process_writes_counts_for_the_quota(
    house: House, ann: Hand, other: Exchange, wishes: Wishes
) -> None:
    """A second after it has come, and until it is gone."""
    registry_of(other).people.change(ann.user.id, quota=500_000)
    hand, elsewhere = there(ann, other), f"/outbox/{KARI}/Other/data.bin"
    draft = ann.open(PATH)
    write(draft, DATA)
    house.exchange.writing.beat(house.clock())

    with pytest.raises(OverQuota):
        write(hand.open(elsewhere, wishes=wishes), DATA)

    ann.lose(draft)
    ann.rm(PATH)
    hand.put(elsewhere, DATA)


def test_what_another_process_still_writes_survives_a_close_of_the_same_name(
    house: House, ann: Hand, kari: Hand, other: Exchange
) -> None:
    """The last genuine CLOSE wins, wherever it is heard."""
    first = ann.open(PATH)
    write(first, DATA)
    there(ann, other).put(PATH, b"the other")

    ann.close(first)

    assert content(house, kari) == DATA


def test_what_can_t_be_taken_up_is_nobody_s_and_can_be_once_it_is_mended(
    house: House, ann: Hand, other: Exchange, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with it: signed by a process that lives, nobody could come to it until that ends."""
    write(ann.open(PATH), DATA[:200_000])
    house.exchange.writing.beat(house.clock())
    die(house.exchange)

    def fail(file: File) -> bytes:
        raise OSError(errno.EIO, "a bad disk")

    with monkeypatch.context() as broken:
        broken.setattr(other.writing.elsewhere._bodies, "draft_key", fail)
        other.writing.elsewhere.begin()

    (file,) = registry_of(other).drops.below(ann.user.id, KARI, "Ref")
    assert (file.writer, file.state) == (None, FileState.DRAFT)
    assert "can't be taken up: [Errno 5] a bad disk" in caplog.text
    hand = there(ann, other)
    draft = hand.open(PATH, truncate=False)
    write(draft, DATA[3 * CHUNK :], start=3 * CHUNK)
    hand.close(draft)


def test_many_take_up_at_once_what_a_dead_process_had_open(house: House, ann: Hand, kari: Hand) -> None:
    write(ann.open(PATH), DATA[:200_000])
    die(house.exchange)
    others = [another_process(house) for _ in range(4)]
    threads = [threading.Thread(target=each.writing.elsewhere.begin) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    hand = there(ann, others[0])
    assert hand.stat(PATH).size == 3 * CHUNK
    draft = hand.open(PATH, truncate=False)
    write(draft, DATA[3 * CHUNK :], start=3 * CHUNK)
    hand.close(draft)
    house.exchange = others[0]
    assert content(house, Hand(house, kari.user)) == DATA
    for each in others[1:]:
        each.close()
