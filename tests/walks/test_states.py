"""Every row of the three life tables is reached through a real client; only the clock is turned by hand.

A test says which rows it is about with `reaches`.  Triggers in the registry see each change of a state: what a
test says it reached must have happened in it, nothing may happen that no table has, and the last test counts.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from fxsftp.domain import lifecycle
from fxsftp.domain.lifecycle import DELIVERIES, FILES, SHIPMENTS, DeliveryState, FileState, ShipmentState, Step
from fxsftp.domain.model import File, Kind, User
from fxsftp.domain.policy import DAY
from fxsftp.errors import NoSuchPlace
from tests.age_tool import age_decrypt
from tests.exchange.hands import registry_of
from tests.house import ANN, KARI, House, at
from tests.walks.guests import Guest, shipments_in, until

F, S, D = FileState, ShipmentState, DeliveryState
TABLES: dict[str, Sequence[Step[Any]]] = {"files": FILES, "shipments": SHIPMENTS, "deliveries": DELIVERIES}
CSV = b"id;value\n" + b"7;3\n" * 5_000
LARGE = b"0123456789abcdef" * (1 << 17) + b"end\n"  # 2 MiB, which a slow client needs two seconds for
PART = LARGE[: 1 << 18]
Row = tuple[str, str, str]  # table, state, event

_reached: dict[str, list[Row]] = {}


def reaches(table: str, *rows: tuple[str, str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Says which rows, by state and event, a test reaches."""

    def note(test: Callable[..., None]) -> Callable[..., None]:
        _reached.setdefault(test.__name__, []).extend((table, state, event) for state, event in rows)
        return test

    return note


@pytest.fixture(autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let what a test claims be true, and the tables be kept to."""
    if "house" not in request.fixturenames:
        yield
        return
    house: House = request.getfixturevalue("house")
    with closing(sqlite3.connect(house.settings.registry)) as db, db:
        db.execute("CREATE TABLE seen_by_the_test (what TEXT, before TEXT, after TEXT)")
        for table in TABLES:
            db.execute(
                f"CREATE TRIGGER seen_{table} AFTER UPDATE OF state ON {table} WHEN OLD.state IS NOT NEW.state"
                f" BEGIN INSERT INTO seen_by_the_test VALUES ('{table}', OLD.state, NEW.state); END"
            )
    yield
    with closing(sqlite3.connect(house.settings.registry)) as db:
        seen = set(db.execute("SELECT what, before, after FROM seen_by_the_test"))
    assert seen <= _by_the_tables()
    assert isinstance(request.node, pytest.Function)
    for table, state, event in _rows_of(request.node):
        after = lifecycle.after(TABLES[table], _state(table, state), event)
        assert (table, state, after.value) in seen, f"{table}: {state} at {event} was not reached"


def _rows_of(test: pytest.Function) -> Iterator[Row]:
    """The rows that a test says it reaches, with its parameters in their places."""
    params = test.callspec.params if hasattr(test, "callspec") else {}
    for table, before, event in _reached.get(test.function.__name__, []):
        yield table, before.format(**params), event.format(**params)


def _state(table: str, name: str) -> Any:
    return {"files": FileState, "shipments": ShipmentState, "deliveries": DeliveryState}[table](name)


def _by_the_tables() -> set[tuple[str, str, str]]:
    return {
        (table, before.value, step.next.value)
        for table, rows in TABLES.items()
        for step in rows
        for before in step.states
    }


# ---- how things stand


def drop(house: House) -> str:
    """The id of the only shipment there is, however far it has come."""
    (one,) = house.exchange.sent.shipments()
    return one.shipment.id


def has_left(house: House) -> None:
    """Who has put something is gone, also for the service, which gives those who are here more time."""
    rows = registry_of(house.exchange)._engine.rows
    until(lambda: not rows("SELECT 1 FROM files WHERE connected IS NOT NULL"))


def state(house: House) -> str:
    """Its state."""
    (one,) = house.exchange.sent.shipments()
    return one.shipment.state.value


def delivery(house: House) -> str:
    """The state of its only delivery."""
    (one,) = house.exchange.sent.shipments()
    return one.deliveries[0][0].state.value


def sweep(house: House, later: float = 0) -> None:
    """Time passes on both clocks, and the sweep looks."""
    house.clock.turn(later)
    house.exchange.upkeep.sweep(house.clock(), house.clock(), "this boot")


def told(house: House, kind: str) -> list[str]:
    """Who was told of it."""
    return [notice.address for notice in house.exchange.notices.list() if notice.kind == kind]


def receipt(sender: Guest, shipment: str) -> dict[str, Any]:
    """What the sender sees of it."""
    found: dict[str, Any] = json.loads(sender.get(f"sent/{shipment}.json"))
    return found


def sent(house: House, kari: Guest, data: bytes = CSV) -> str:
    """A shipment from kari that waits for ann."""
    kari.put(data, f"outbox/{ANN}/Ref 1/data.csv")
    (line,) = house.settle()
    return shipments_in(line)[0]


def cut_short(house: House, guest: Guest, remote: str, how: signal.Signals) -> int:
    """A slow put that a signal ends in the middle; answers how much of it the exchange has then."""
    user = house.exchange.people.find(guest.email)
    client = guest.start(f'put {guest.file(LARGE, "large.bin")} "{remote}"', slowly=True)
    until(lambda: _size(house, user, remote) > 200_000)
    client.send_signal(how)
    client.wait()
    until(lambda: the_file(house).writer is None)
    size = the_file(house).size
    assert 0 < size < len(LARGE)
    return size


def _size(house: House, user: User, remote: str) -> int:
    try:
        return house.exchange.outbox.stat(user, at(remote), house.clock()).size
    except NoSuchPlace:
        return 0


def the_file(house: House) -> File:
    """The only file of the only shipment."""
    (one,) = house.exchange.sent.shipments()
    (file,) = one.files
    return file


REMOTE = f"outbox/{KARI}/Ref 1/large.bin"


# ---- files, and a drop until it leaves


@reaches("files", ("draft", "close"))
@reaches("shipments", ("dropping", "complete"), ("settling", "settle"))
@reaches("deliveries", ("waiting", "open"), ("opened", "collect"))
def test_a_put_settles_waits_and_is_collected(house: House, kari: Guest, ann: Guest) -> None:
    """Nothing leaves before it was quiet for its time, and then it leaves by itself."""
    ann.put(CSV, f"outbox/{KARI}/Ref 1/data.csv")
    assert state(house) == S.SETTLING
    has_left(house)
    assert house.settle(59) == []
    assert kari.ls("inbox") == []

    (line,) = house.settle(1)

    assert kari.get(f"inbox/{shipments_in(line)[0]}/data.csv") == CSV
    assert (state(house), delivery(house)) == (S.WAITING, D.COLLECTED)
    assert told(house, "collected") == [ANN]


@reaches("shipments", ("settling", "send"))
def test_send_does_not_wait_for_the_quiet(house: House, kari: Guest, ann: Guest) -> None:
    """Whoever is sure says so."""
    ann.put(CSV, f"outbox/{KARI}/Ref 1/data.csv")

    assert ann.ssh("send").status == 0

    assert state(house) == S.WAITING


@reaches("shipments", ("settling", "change"), ("dropping", "complete"))
def test_before_it_has_settled_a_sender_may_change_everything(house: House, kari: Guest, ann: Guest) -> None:
    """Put again, rename, remove and add; each begins the quiet anew, and only the last word counts."""
    ann.put(b"first", f"outbox/{KARI}/Ref 1/a.csv")
    ann.put(b"second", f"outbox/{KARI}/Ref 1/a.csv")
    ann.put(b"regretted", f"outbox/{KARI}/Ref 1/b.csv")
    house.settle(50)
    assert ann.sftp(f'cd "outbox/{KARI}/Ref 1"', "rename a.csv c.csv", "rm b.csv").status == 0
    ann.put(b"more", f"outbox/{KARI}/Ref 1/d.csv")
    has_left(house)
    assert house.settle(50) == []

    (line,) = house.settle(10)

    fetched = kari.fetch(f"inbox/{shipments_in(line)[0]}")
    assert {path.name: path.read_bytes() for path in fetched.glob("*.csv")} == {"c.csv": b"second", "d.csv": b"more"}


def test_a_folder_waits_for_a_session_that_wrote_to_it_and_for_a_partial_name(house: House, ann: Guest) -> None:
    """300 seconds while she is still there; and as long as it takes while a name says that it is not done."""
    house.kari()
    client = ann.start(f"put {ann.file(CSV)} outbox/{KARI}/Ref/a.csv", stays=True)
    until(lambda: house.exchange.sent.shipments() and state(house) == S.SETTLING)
    assert house.settle(299) == []
    ann.put(CSV, f"outbox/{KARI}/Ref/b.csv.filepart")
    client.kill()
    client.communicate()
    assert house.settle(3600) == []
    assert state(house) == S.DROPPING

    assert ann.sftp(f"cd outbox/{KARI}/Ref", "rename b.csv.filepart b.csv").status == 0

    until(lambda: house.settle(60))
    assert state(house) == S.WAITING


@reaches("files", ("draft", "close"))
@reaches("shipments", ("dropping", "complete"))
def test_a_killed_client_ships_nothing_and_reput_goes_on_where_it_stopped(
    house: House, kari: Guest, ann: Guest
) -> None:
    """What had arrived stays, sealed, and is never seen by anyone; the whole arrives in the end."""
    cut = cut_short(house, ann, REMOTE, signal.SIGKILL)
    assert (state(house), the_file(house).state) == (S.DROPPING, F.DRAFT)
    assert house.settle(3600) == []
    assert kari.ls("inbox") == []
    listed = ann.sftp(f'ls -l "{REMOTE}"').out
    assert f" {cut} " in listed

    assert ann.sftp(f'reput large.bin "{REMOTE}"').status == 0

    assert state(house) == S.SETTLING
    (line,) = house.settle()
    assert kari.get(f"inbox/{shipments_in(line)[0]}/large.bin") == LARGE


@reaches("files", ("draft", "doubt"), ("suspect", "trust"))
def test_ctrl_c_leaves_a_suspect_which_settles_longer_and_its_receipt_says_so(
    house: House, kari: Guest, ann: Guest
) -> None:
    """OpenSSH's sftp closes genuinely after a part of the file; nothing else tells it from a whole one."""
    cut = cut_short(house, ann, REMOTE, signal.SIGINT)
    assert the_file(house).state == F.SUSPECT
    assert house.settle(299) == []

    (line,) = house.settle(1)

    shipment = shipments_in(line)[0]
    assert the_file(house).state == F.COMPLETE
    assert "its end could not be checked" in ann.get(f"sent/{shipment}.txt").decode()
    assert kari.get(f"inbox/{shipment}/large.bin") == LARGE[:cut]


@reaches("files", ("suspect", "resume"), ("draft", "close"))
@reaches("shipments", ("settling", "change"), ("dropping", "complete"))
def test_a_suspect_can_be_resumed_before_it_leaves(house: House, kari: Guest, ann: Guest) -> None:
    """Ctrl-C, and on second thoughts `reput`."""
    cut_short(house, ann, REMOTE, signal.SIGINT)
    house.clock.turn(200)

    assert ann.sftp(f'reput large.bin "{REMOTE}"').status == 0

    (line,) = house.settle()
    assert kari.get(f"inbox/{shipments_in(line)[0]}/large.bin") == LARGE


@reaches("files", ("complete", "resume"), ("draft", "close"))
def test_a_complete_file_can_be_continued_before_it_leaves(house: House, kari: Guest, ann: Guest) -> None:
    """As a log that has grown."""
    ann.put(PART + b"end", REMOTE)
    ann.file(PART + b"end, and more", "large.bin")

    assert ann.sftp(f'reput large.bin "{REMOTE}"').status == 0

    (line,) = house.settle()
    assert kari.get(f"inbox/{shipments_in(line)[0]}/large.bin") == PART + b"end, and more"


def test_an_announced_size_that_is_not_met_is_no_completion(house: House, kari: Guest, ann: Guest) -> None:
    """scp says how large the file is; cut short, it stays a draft."""
    path = ann.file(LARGE, "large.bin")
    client = ann.start_scp(str(path), f"exchange:outbox/{KARI}/Ref/large.bin")
    user = house.exchange.people.find(ANN)
    until(lambda: _size(house, user, f"outbox/{KARI}/Ref/large.bin") > 200_000)
    client.send_signal(signal.SIGINT)
    client.communicate()

    until(lambda: the_file(house).writer is None)

    assert the_file(house).state == F.DRAFT
    assert house.settle(3600) == []


# ---- HELD, and the ways out of it


@reaches("shipments", ("dropping", "hold"), ("held", "change"), ("dropping", "complete"))
def test_a_drop_without_progress_is_held_after_a_day_and_resumed(house: House, kari: Guest, ann: Guest) -> None:
    """The sender is told why; `reput` goes on as if nothing had been."""
    cut_short(house, ann, REMOTE, signal.SIGKILL)
    house.settle(DAY - 1)
    assert state(house) == S.DROPPING

    house.settle(1)

    assert state(house) == S.HELD
    assert told(house, "unfinished") == [ANN]
    found = receipt(ann, drop(house))
    assert found["state"] == "held"
    assert "large.bin" in found["reason"]
    assert ann.sftp(f'reput large.bin "{REMOTE}"').status == 0
    (line,) = house.settle()
    assert kari.get(f"inbox/{shipments_in(line)[0]}/large.bin") == LARGE


@reaches("shipments", ("settling", "hold"), ("held", "change"))
def test_a_failed_checksum_list_holds_it_until_the_file_is_put_again(house: House, kari: Guest, ann: Guest) -> None:
    """SHA256SUMS dropped among the files must be true; then it is replaced by the exchange's own."""
    sums = f"{hashlib.sha256(CSV).hexdigest()}  data.csv\n".encode()
    ann.put(b"damaged on its way", f"outbox/{KARI}/Ref 1/data.csv")
    ann.put(sums, f"outbox/{KARI}/Ref 1/SHA256SUMS")

    house.settle()

    assert state(house) == S.HELD
    assert "'data.csv' is not what SHA256SUMS says" in receipt(ann, drop(house))["reason"]
    assert kari.ls("inbox") == []
    ann.put(CSV, f"outbox/{KARI}/Ref 1/data.csv")
    (line,) = house.settle()
    assert kari.get(f"inbox/{shipments_in(line)[0]}/SHA256SUMS") == sums


@reaches("shipments", ("settling", "hold"), ("held", "release"))
def test_what_is_for_somebody_who_was_only_invited_is_held_until_they_register(house: House, kari: Guest) -> None:
    """A member invites by ssh, with the phone number that the code goes to."""
    assert kari.ssh("invite new@firm.example +4790000001").status == 0
    kari.put(CSV, "outbox/new@firm.example/Ref 1/data.csv")
    house.settle()
    assert state(house) == S.HELD
    assert "new@firm.example has not registered yet" in kari.ssh(f"status {drop(house)}").out

    house.add("new@firm.example", Kind.PARTNER)

    assert state(house) == S.SETTLING
    house.settle()
    new = Guest(house, "new@firm.example", key=house.key_for("new@firm.example"))
    assert len(new.ls("inbox")) == 1


@reaches("shipments", ("settling", "hold"), ("held", "release"))
def test_an_admin_releases_what_is_held(house: House, kari: Guest, ann: Guest) -> None:
    """Here the recipient was disabled for a while, and the phone number came later."""
    house.exchange.people.disable(ANN, house.clock())
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    house.settle()
    assert state(house) == S.HELD
    assert "ann@firm.example can't receive now" in receipt(kari, drop(house))["reason"]

    house.exchange.dispatch.release(drop(house), "admin", house.clock())

    assert state(house) == S.SETTLING
    house.exchange.people.enable(ANN, house.clock())
    house.settle()
    assert len(ann.ls("inbox")) == 1


@reaches("shipments", ("held", "sweep"))
def test_what_is_held_for_a_week_is_swept(house: House, kari: Guest, ann: Guest) -> None:
    """In two steps: first it has ended, a day later its bytes are gone."""
    cut_short(house, ann, REMOTE, signal.SIGKILL)
    house.settle(DAY)
    sweep(house, 7 * DAY - 1)
    assert state(house) == S.HELD

    sweep(house, 1)

    assert receipt(ann, drop(house))["state"] == "ended"
    assert bodies(house) == 1
    sweep(house, DAY)
    assert bodies(house) == 0


# ---- recall


@pytest.mark.parametrize("before", ["settling", "held", "waiting"])
@reaches("shipments", ("{before}", "recall"))
def test_a_sender_recalls(house: House, kari: Guest, ann: Guest, before: str) -> None:
    """By ssh, and at once locks and bodies are gone."""
    kari.put(LARGE, f"outbox/{ANN}/Ref 1/data.csv")
    if before == "held":
        kari.put(b"no sums", f"outbox/{ANN}/Ref 1/SHA256SUMS")
    if before != "settling":
        house.settle()
    assert state(house) == before

    ran = kari.ssh(f"recall {drop(house)}")

    assert (ran.status, ran.out) == (0, "nobody had opened it\n")
    assert receipt(kari, drop(house))["state"] == "recalled"
    assert bodies(house) == 0
    assert house.settle() == []
    assert ann.ls("inbox") == []
    again = kari.ssh(f"recall {drop(house)}")
    assert (again.status, again.err) == (1, f"Shipment {drop(house)} is recalled; it can't be recalled.\n")


# ---- deliveries


@pytest.mark.parametrize("before", ["waiting", "opened", "collected"])
@reaches("deliveries", ("{before}", "remove"))
@reaches("shipments", ("waiting", "done"))
def test_a_recipient_removes(house: House, kari: Guest, ann: Guest, before: str) -> None:
    """What is removed unread is told to the sender; when all are done it has ended, and a day later it is erased."""
    shipment = bring_to(house, kari, ann, before)

    assert ann.sftp(f"cd inbox/{shipment}", "rm *").status == 0
    assert ann.sftp(f"rmdir inbox/{shipment}").status == 0

    assert ann.ls("inbox") == []
    assert receipt(kari, shipment)["state"] == "removed"
    assert told(house, "removed_unread") == ([] if before == "collected" else [KARI])
    sweep(house)
    assert receipt(kari, shipment)["state"] == "ended"
    sweep(house, DAY)
    assert bodies(house) == 0


@pytest.mark.parametrize("before", ["waiting", "opened", "collected", "suspended"])
@reaches("deliveries", ("{before}", "recall"))
def test_a_recall_says_what_was_read_already(house: House, kari: Guest, ann: Guest, before: str) -> None:
    """And the recipient hears of it, and finds nothing."""
    shipment = bring_to(house, kari, ann, before)

    said = kari.ssh(f"recall {shipment}").out

    had = {"opened": f"{ANN} had begun to read it\n", "collected": f"{ANN} had collected it\n"}
    assert said == had.get(before, "nobody had opened it\n")
    assert told(house, "recalled") == [ANN]
    if before == "suspended":
        house.exchange.people.enable(ANN, house.clock())
    assert ann.ls("inbox") == []
    assert (
        "There is no"
        in ann.sftp(f"get inbox/{shipment}/data.csv.age").err + ann.ssh(f"sha256sum inbox/{shipment}/data.csv.age").err
    )


@pytest.mark.parametrize("before", ["waiting", "opened", "collected", "suspended"])
@reaches("deliveries", ("{before}", "expire"))
@reaches("shipments", ("waiting", "expire"))
def test_after_reminders_it_expires(house: House, kari: Guest, ann: Guest, before: str) -> None:
    """A week and a day before; who has collected it or can't come in is not reminded."""
    shipment = bring_to(house, kari, ann, before)
    reminded = []
    for later in (23 * DAY - 1000, 1000, 6 * DAY, DAY - 1000):
        sweep(house, later)
        reminded.append(len(told(house, "reminder")))
    assert reminded == ([0, 1, 2, 2] if before in ("waiting", "opened") else [0, 0, 0, 0])
    assert state(house) == S.WAITING

    sweep(house, 1000)

    assert receipt(kari, shipment)["recipients"][0]["state"] == "expired"
    assert receipt(kari, shipment)["state"] == "ended"
    assert told(house, "expired_unread") == ([] if before == "collected" else [KARI])
    assert bodies(house) == 1
    sweep(house, DAY)
    assert bodies(house) == 0
    assert kari.ls(f"outbox/{ANN}/Ref 1") == ["data.csv"]


@pytest.mark.parametrize(
    ("before", "event"), [("waiting", "enable"), ("opened", "enable-opened"), ("collected", "enable-collected")]
)
@reaches("deliveries", ("{before}", "suspend"), ("suspended", "{event}"))
def test_who_is_disabled_finds_everything_as_it_was_when_enabled(
    house: House, kari: Guest, ann: Guest, before: str, event: str
) -> None:
    """Meanwhile she can't come in, and the sender sees why nothing moves."""
    shipment = bring_to(house, kari, ann, before)
    house.exchange.people.disable(ANN, house.clock())
    assert receipt(kari, shipment)["state"] == "suspended"
    assert "Permission denied" in ann.sftp("pwd").err

    house.exchange.people.enable(ANN, house.clock())

    assert receipt(kari, shipment)["state"] == before
    assert told(house, "collected") == ([KARI] if before == "collected" else [])
    ann.get(f"inbox/{shipment}/data.csv.age")
    assert told(house, "collected") == [KARI]


@reaches("deliveries", ("waiting", "open"), ("opened", "collect"))
def test_collected_means_every_byte_across_sessions(house: House, kari: Guest, ann: Guest) -> None:
    """A get that is killed, then `reget` for the rest; what is hashed does not count."""
    shipment = sent(house, kari, LARGE)
    assert ann.ssh(f"sha256sum inbox/{shipment}/data.csv.age").status == 0
    assert delivery(house) == D.WAITING
    path = ann.home / "data.csv.age"
    client = ann.start(f"get inbox/{shipment}/data.csv.age", slowly=True)
    until(lambda: path.exists() and path.stat().st_size > 200_000)
    client.kill()
    client.wait()
    until(lambda: delivery(house) == D.OPENED)
    assert told(house, "collected") == []

    assert ann.sftp(f"reget inbox/{shipment}/data.csv.age").status == 0

    assert delivery(house) == D.COLLECTED
    assert age_decrypt(path, passphrase=house.code(shipment, house.exchange.people.find(ANN))) == LARGE


def bring_to(house: House, kari: Guest, ann: Guest, before: str) -> str:
    """A shipment whose delivery to ann has come so far."""
    shipment = sent(house, kari, LARGE)
    if before == "opened":
        code = house.code(shipment, house.exchange.people.find(ANN))
        assert ann.ssh(f"open {shipment}", f"{code}\n".encode()).status == 0
        house.clock.turn(900)  # so that it is locked again
    elif before == "collected":
        ann.get(f"inbox/{shipment}/data.csv.age")
    elif before == "suspended":
        house.exchange.people.disable(ANN, house.clock())
    assert delivery(house) == before
    return shipment


def bodies(house: House) -> int:
    """How many blobs lie in the vault."""
    return sum(path.is_file() for path in (house.settings.state / "vault").rglob("*"))


# ---- the count


def test_each_row_of_each_table_is_reached(request: pytest.FixtureRequest) -> None:
    """By some test above, which has checked that it did."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    if len(tests) < len(_reached):
        pytest.skip("only some of the tests are run")
    reached = {row for test in tests for row in _rows_of(test)}
    rows = {
        (table, before.value, step.event) for table, steps in TABLES.items() for step in steps for before in step.states
    }
    assert reached == rows
