"""Small files in a folder that is being filled: no row before CLOSE, and nobody can tell."""

from __future__ import annotations

import os

import pytest

from fxsftp.domain import places
from fxsftp.domain.lifecycle import FileState, ShipmentState
from fxsftp.domain.model import Wishes
from fxsftp.errors import (
    AlreadyThere,
    Conflict,
    Gap,
    Incomplete,
    IsAFolder,
    NoSuchPlace,
    NotYours,
    OverQuota,
    TooManyFiles,
    Unavailable,
)
from fxsftp.exchange.drafts import Draft
from tests.exchange.hands import (
    Hand,
    another_process,
    dispatched,
    files_of,
    killed,
    registry_of,
    sent_ids,
    with_policy,
    write,
)
from tests.house import KARI, House, at

pytestmark = pytest.mark.usefixtures("kari")

FOLDER = f"/outbox/{KARI}/Ref"
PATH = f"{FOLDER}/b.csv"
CHUNK = 65536


def in_hand(ann: Hand, path: str = PATH, **how: object) -> Draft:
    """The second file of a folder, open."""
    ann.put(f"{FOLDER}/a.csv", b"the first makes the drop")
    draft = ann.open(path, **how)  # type: ignore[arg-type]
    assert not draft.has_row
    return draft


def names(house: House, hand: Hand) -> list[str]:
    return [file.name for file in files_of(house, hand.drops()[0].id)]


def changes(house: House) -> int:
    """How many rows were changed so far."""
    return registry_of(house.exchange)._engine._writer.total_changes


# ---- what it costs


def test_a_small_file_changes_nothing_before_its_close_and_then_three_rows(house: House, ann: Hand, kari: Hand) -> None:
    """Its own, its drop's, and its sender's, which says how much room is in use."""
    ann.put(f"{FOLDER}/a.csv", b"the first makes the drop")
    before = changes(house)
    draft = ann.open(PATH)
    draft.write(0, b"small")
    assert changes(house) == before
    ann.close(draft)
    assert changes(house) == before + 3
    assert kari.get(f"/inbox/{dispatched(house)}/b.csv") == b"small"


def test_a_closed_one_is_there_after_kill_9_with_all_that_was_said_of_it(house: House, ann: Hand, kari: Hand) -> None:
    draft = in_hand(ann, wishes=Wishes(size=5, mode=0o600))
    draft.write(0, b"small")
    draft.wish(Wishes(mtime=1_700_000_000.0))
    ann.close(draft)
    revived = Hand(house, ann.user, exchange=killed(house))
    entry = revived.stat(PATH)
    assert (entry.size, entry.mtime, entry.mode) == (5, 1_700_000_000.0, 0o600)
    (file,) = [file for file in files_of(house, ann.drops()[0].id) if file.name == "b.csv"]
    assert (file.state, file.announced, file.in_row) == (FileState.COMPLETE, 5, True)
    assert Hand(house, kari.user).get(f"/inbox/{dispatched(house)}/b.csv") == b"small"


# ---- in a loop


def at_once(ann: Hand, path: str) -> Draft | None:
    return ann.exchange.writing.open_at_once(ann.user, at(path), Wishes(), ann.session, ann.now)


def test_a_loop_opens_what_joins_a_folder_by_a_glance_and_asks_for_everything_else(
    house: House, ann: Hand, kari: Hand
) -> None:
    """Only once somebody has looked whether the recipient may be written to, and never what makes a drop or a row."""
    assert at_once(ann, PATH) is None
    ann.put(f"{FOLDER}/a.csv", b"the first makes the drop")
    assert at_once(ann, PATH) is None
    ann.put(f"{FOLDER}/c.csv", b"the second is looked at")
    before = changes(house)
    draft = at_once(ann, PATH)
    assert draft
    assert at_once(ann, PATH) is None  # while it is open, another is no longer alone
    draft.write(0, b"small")
    assert changes(house) == before
    ann.close(draft)
    assert at_once(ann, PATH) is None  # it stands there
    assert at_once(ann, f"/outbox/{KARI}/loose.csv") is None
    house.clock.turn(1.5)
    assert at_once(ann, f"{FOLDER}/d.csv") is None  # a moment has passed
    assert kari.get(f"/inbox/{dispatched(house)}/b.csv") == b"small"


def test_a_loop_waits_for_nobody_who_has_the_registry(house: House, ann: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    ann.put(f"{FOLDER}/a.csv", b"a")
    ann.put(f"{FOLDER}/c.csv", b"c")

    def busy(*_: object) -> None:
        raise Unavailable("the registry is busy")

    monkeypatch.setattr(registry_of(house.exchange)._engine, "glance", busy)
    assert at_once(ann, PATH) is None


# ---- who looks sees it


def test_another_session_sees_it_from_its_open_on(house: House, ann: Hand, kari: Hand) -> None:
    draft = in_hand(ann)
    draft.write(0, b"small")
    other = Hand(house, ann.user, "s2")
    assert other.stat(PATH).size == 5
    assert other.ls(FOLDER) == {"a.csv": 24, "b.csv": 5}
    ann.close(draft)
    assert names(house, ann) == ["a.csv", "b.csv"]
    assert kari.get(f"/inbox/{dispatched(house)}/b.csv") == b"small"


def test_a_listing_shows_it(house: House, ann: Hand) -> None:
    draft = in_hand(ann)
    assert ann.ls(FOLDER) == {"a.csv": 24, "b.csv": 0}
    ann.close(draft)


def test_it_is_there_for_who_wants_to_be_the_first(house: House, ann: Hand) -> None:
    draft = in_hand(ann)
    with pytest.raises(AlreadyThere):
        Hand(house, ann.user, "s2").open(PATH, exclusive=True)
    with pytest.raises(AlreadyThere):
        ann.mkdir(PATH)
    ann.close(draft)


def test_a_file_is_no_folder_and_a_folder_no_file(house: House, ann: Hand) -> None:
    draft = in_hand(ann)
    with pytest.raises(Exception, match="not a folder"):
        ann.open(f"{PATH}/below")
    ann.mkdir(f"{FOLDER}/sub")
    with pytest.raises(IsAFolder):
        ann.open(f"{FOLDER}/sub")
    ann.close(draft)


def test_what_stays_open_for_a_moment_keeps_its_folder_from_leaving(house: House, ann: Hand, kari: Hand) -> None:
    draft = in_hand(ann)
    draft.write(0, b"small")
    assert house.settle(3600) == []
    assert draft.has_row
    assert ann.drops()[0].state is ShipmentState.DROPPING
    ann.close(draft)
    assert kari.get(f"/inbox/{dispatched(house)}/b.csv") == b"small"


def test_a_folder_about_to_settle_is_told_of_an_open_at_once(house: House, ann: Hand) -> None:
    """Another process's dispatcher knows only rows."""
    ann.put(f"{FOLDER}/a.csv", b"the first makes the drop")
    house.clock.turn(house.exchange.policy.settle_loose - 4)
    draft = ann.open(PATH)
    assert draft.has_row
    assert another_process(house).dispatch.step(house.clock() + 3600) == []


def test_send_is_refused_while_one_is_open(house: House, ann: Hand) -> None:
    draft = in_hand(ann)
    with pytest.raises(Conflict, match=r"b\.csv"):
        house.exchange.dispatch.send(ann.user, "Ref", house.clock())
    draft.write(0, b"small")
    ann.close(draft)
    (sent,) = house.exchange.dispatch.send(ann.user, "Ref", house.clock())
    assert [file.name for file in files_of(house, sent.id)] == ["a.csv", "b.csv"]


# ---- two writers


@pytest.mark.parametrize("last", ["first", "second"])
def test_of_two_writers_the_last_close_wins(house: House, ann: Hand, kari: Hand, last: str) -> None:
    first = in_hand(ann)
    second = Hand(house, ann.user, "s2").open(PATH)
    first.write(0, b"first")
    second.write(0, b"second")
    for draft in (first, second) if last == "second" else (second, first):
        ann.close(draft)
    assert names(house, ann) == ["a.csv", "b.csv"]
    assert kari.get(f"/inbox/{dispatched(house)}/b.csv") == last.encode()


def test_of_two_writers_in_two_processes_the_last_close_wins(house: House, ann: Hand, kari: Hand) -> None:
    first, there = in_hand(ann), Hand(house, ann.user, "s2", another_process(house))
    second = there.open(PATH)
    assert not second.has_row
    first.write(0, b"first")
    second.write(0, b"second")
    ann.close(first)
    there.close(second)
    assert names(house, ann) == ["a.csv", "b.csv"]
    assert kari.get(f"/inbox/{dispatched(house)}/b.csv") == b"second"


# ---- without a CLOSE


def test_of_a_lost_one_nothing_is_kept(house: House, ann: Hand, kari: Hand) -> None:
    draft = in_hand(ann)
    draft.write(0, b"small")
    ann.lose(draft)
    with pytest.raises(NoSuchPlace):
        ann.stat(PATH)
    with pytest.raises(NotYours):
        draft.write(5, b"more")
    assert len(kari.ls(f"/inbox/{dispatched(house)}")) == 3


def test_of_a_killed_one_nothing_is_kept(house: House, ann: Hand) -> None:
    in_hand(ann).write(0, b"small")
    with pytest.raises(NoSuchPlace):
        Hand(house, ann.user, exchange=killed(house)).stat(PATH)


def test_one_that_grows_can_be_resumed_after_kill_9(house: House, ann: Hand, kari: Hand) -> None:
    data = os.urandom(3 * CHUNK + 5)
    write(in_hand(ann), data[: 2 * CHUNK + 1])
    revived = Hand(house, ann.user, "s2", killed(house))
    assert revived.stat(PATH).size == 2 * CHUNK
    again = revived.open(PATH, truncate=False)
    write(again, data[2 * CHUNK :], start=2 * CHUNK)
    revived.close(again)
    assert Hand(house, kari.user).get(f"/inbox/{dispatched(house)}/b.csv") == data


def test_one_that_grows_and_is_lost_can_be_resumed(house: House, ann: Hand) -> None:
    draft = in_hand(ann)
    write(draft, bytes(2 * CHUNK + 1))
    ann.lose(draft)
    assert ann.stat(PATH).size == 2 * CHUNK


@pytest.mark.parametrize("missing", ["an end", "a part"])
def test_what_is_not_whole_is_refused_and_not_kept(house: House, ann: Hand, missing: str) -> None:
    draft = in_hand(ann, wishes=Wishes(size=10) if missing == "an end" else None)
    draft.write(0 if missing == "an end" else 5, b"small")
    with pytest.raises((Incomplete, Gap)):
        ann.close(draft)
    with pytest.raises(NoSuchPlace):
        ann.stat(PATH)


# ---- meanwhile


def test_one_that_is_removed_meanwhile_never_comes_back(house: House, ann: Hand) -> None:
    draft = in_hand(ann)
    draft.write(0, b"small")
    Hand(house, ann.user, "s2").rm(PATH)
    with pytest.raises(NotYours):
        ann.close(draft)
    assert names(house, ann) == ["a.csv"]


def test_one_that_is_closed_again_is_there_once(house: House, ann: Hand) -> None:
    """Whoever comes too late is told so, and nothing is put twice."""
    draft = in_hand(ann)
    draft.write(0, b"small")
    ann.close(draft)
    with pytest.raises(NoSuchPlace):
        ann.close(draft)
    assert names(house, ann) == ["a.csv", "b.csv"]


def test_one_whose_drop_is_recalled_meanwhile_is_refused(house: House, ann: Hand) -> None:
    draft = in_hand(ann)
    draft.write(0, b"small")
    house.exchange.sent.recall(ann.user, ann.drops()[0].id, house.clock())
    with pytest.raises(NoSuchPlace):
        ann.close(draft)
    assert len(ann.drops()) == 1


def test_one_whose_drop_left_meanwhile_makes_another(house: House, ann: Hand, kari: Hand) -> None:
    """By the word of its sender, to another process."""
    draft = in_hand(ann)
    draft.write(0, b"small")
    another_process(house).dispatch.send(ann.user, "Ref", house.clock())
    ann.close(draft)
    (second,) = sent_ids(house.settle())
    assert kari.get(f"/inbox/{second}/b.csv") == b"small"


# ---- limits


@pytest.mark.parametrize("end", ["close", "lose", "look", "beat"])
def test_another_process_knows_that_a_user_has_something_in_hand_and_when_no_more(
    house: House, ann: Hand, kari: Hand, end: str
) -> None:
    draft, other = in_hand(ann), another_process(house).writing.in_hand
    second = ann.open(f"{FOLDER}/c.csv")
    own = house.exchange.writing.in_hand
    for each in (draft, second):
        each.write(0, b"small")
        assert (other.is_elsewhere(ann.user.id), other.is_elsewhere(kari.user.id)) == (True, False)
        assert not own.is_elsewhere(ann.user.id)
        if end == "close":
            ann.close(each)
        elif end == "lose":
            ann.lose(each)
        else:
            house.clock.turn(2)
            ann.stat(PATH) if end == "look" else house.exchange.writing.beat(house.clock())
            break
    assert not other.is_elsewhere(ann.user.id)


def test_a_folder_made_by_another_process_is_not_closed_over(house: House, ann: Hand) -> None:
    """Nor one that it makes for a file of its own: who closes is refused, and no shipment holds both."""
    draft, there = in_hand(ann), Hand(house, ann.user, "s2", another_process(house))
    draft.write(0, b"small")
    deeper = ann.open(f"{FOLDER}/c.csv")
    deeper.write(0, b"small")

    there.mkdir(PATH)
    there.put(f"{FOLDER}/c.csv/below.csv", b"below")

    for refused in (draft, deeper):
        with pytest.raises(IsAFolder):
            ann.close(refused)
    assert ann.ls(FOLDER) == {"a.csv": 24, "b.csv": -2, "c.csv": -2}
    assert sorted(file.path for file in files_of(house, ann.drops()[0].id)) == ["Ref/a.csv", "Ref/c.csv/below.csv"]
    there.exchange.close()


def test_no_folder_is_made_over_what_another_process_closes_meanwhile(
    house: House, ann: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, there = in_hand(ann), Hand(house, ann.user, "s2", another_process(house))
    draft.write(0, b"small")
    may_be_written = places.may_be_written

    def close_first(path: str) -> None:
        monkeypatch.setattr(places, "may_be_written", may_be_written)
        ann.close(draft)

    monkeypatch.setattr(places, "may_be_written", close_first)  # asked once it has looked that nothing is there
    with pytest.raises(AlreadyThere):
        there.mkdir(PATH)
    assert ann.ls(FOLDER) == {"a.csv": 24, "b.csv": 5}
    there.exchange.close()


def test_a_drop_takes_so_many_files_and_no_more(house: House, ann: Hand) -> None:
    with_policy(house, max_files=3)
    hand = Hand(house, ann.user)
    for number in range(3):
        hand.put(f"{FOLDER}/{number}", b"x")
    with pytest.raises(TooManyFiles):
        hand.put(f"{FOLDER}/3", b"x")
    assert names(house, hand) == ["0", "1", "2"]
    hand.rm(f"{FOLDER}/0")
    hand.put(f"{FOLDER}/3", b"x")
    assert names(house, hand) == ["1", "2", "3"]


def test_many_small_files_count_for_the_quota(house: House, ann: Hand) -> None:
    with_policy(house, quota=1000)
    hand = Hand(house, ann.user)
    for number in range(9):
        hand.put(f"{FOLDER}/{number}", bytes(100))
    with pytest.raises(OverQuota):
        hand.put(f"{FOLDER}/9", bytes(101))
    hand.put(f"{FOLDER}/9", bytes(100))
    with pytest.raises(OverQuota):
        hand.put(f"{FOLDER}/10", bytes(1))
    hand.rm(f"{FOLDER}/9")
    hand.put(f"{FOLDER}/10", bytes(1))
