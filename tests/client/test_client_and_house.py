"""The client and the real exchange: the whole way of a shipment, and a line that breaks on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fxsftp import client
from fxsftp.errors import FxError
from tests.client.conftest import SOON, Cut
from tests.house import ANN, KARI

MB = 1 << 20


@pytest.fixture
def connect(house, tmp_path):
    """Connects as somebody with a key of their own, over `port` if one is given."""
    keys: dict[str, Path] = {}

    def connected(email: str, port: int | None = None) -> client.Session:
        if email not in keys:
            keys[email] = house.key_for(email)
        known = tmp_path / "known_hosts"
        return client.connect(
            "127.0.0.1", port or house.port, email,
            key_files=[keys[email]], agent=False, known_hosts=known, accept_new=True, patience=SOON,
        )  # fmt: skip

    return connected


@pytest.fixture
def cut(house):
    """Makes a line to the exchange that is cut after so many bytes."""
    made: list[Cut] = []

    def make(*after: int) -> Cut:
        made.append(Cut(house.port, *after))
        return made[-1]

    yield make
    for line in made:
        line.stop()


def _file(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def test_kari_sends_and_ann_fetches_and_opens(house, connect, tmp_path):
    """A tree with a reference leaves at once, is fetched, opened with the code, and is no news the second time."""
    ann, _ = house.ann(), house.kari()
    table, deep = _file(tmp_path / "a.csv", 300_000), _file(tmp_path / "tree" / "sub" / "æøå", 3)
    with connect(KARI) as exchange:
        sent = exchange.send([table, tmp_path / "tree"], to=ANN, reference="Ref 23-4567")
    assert sent.shipment is not None
    code = house.code(sent.shipment, ann)
    with connect(ANN) as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in", code_for=lambda _shipment: code)
        (again,) = exchange.fetch(tmp_path / "in", code_for=lambda _shipment: code)
    assert fetched.problem is None
    assert fetched.shipment == sent.shipment
    assert (fetched.folder / "a.csv").read_bytes() == table.read_bytes()
    assert (fetched.folder / "tree" / "sub" / "æøå").read_bytes() == deep.read_bytes()
    assert not again.is_new


def test_removing_hides_the_shipment(house, connect, tmp_path):
    """Fetched with `remove`, it is out of the inbox; the next run has nothing to do."""
    house.ann(), house.kari()
    with connect(ANN) as exchange:
        exchange.send([_file(tmp_path / "a", 5)], to=KARI, reference="R")
    with connect(KARI) as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in", remove=True)
        assert fetched.is_removed
        assert exchange.fetch(tmp_path / "in") == []
    assert (fetched.folder / "a").read_bytes() == (tmp_path / "a").read_bytes()


def test_more_than_eight_files_open_with_one_code(house, connect, tmp_path):
    """KEY.age comes along and is used."""
    ann, _ = house.ann(), house.kari()
    files = [_file(tmp_path / "out" / f"{number}.csv", number) for number in range(10)]
    with connect(KARI) as exchange:
        sent = exchange.send(files, to=ANN, reference="R")
    code = house.code(sent.shipment or "", ann)
    with connect(ANN) as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in", code_for=lambda _shipment: code)
    assert fetched.problem is None
    assert (fetched.folder / client.KEY_FILE).exists()
    assert {path.name: path.read_bytes() for path in fetched.opened} == {p.name: p.read_bytes() for p in files}


def test_a_broken_line_is_taken_up_both_ways(house, connect, cut, tmp_path):
    """5 MB over lines of 4 MB each: the second begins where the first was cut, and one shipment comes of it."""
    house.ann(), house.kari()
    big, up, down = _file(tmp_path / "big", 5 * MB + 12_345), cut(4 * MB, 4 * MB), cut(4 * MB, 4 * MB)
    with connect(ANN, up.port) as exchange:
        exchange.send([big], to=KARI, reference="R")
    with connect(KARI, down.port) as exchange:
        (fetched,) = exchange.fetch(tmp_path / "in")
    assert fetched.problem is None
    assert (fetched.folder / "big").read_bytes() == big.read_bytes()
    assert (up.connections, down.connections) == (2, 2)


def test_what_the_exchange_refuses_is_told_in_its_words(house, connect, tmp_path):
    """A recipient whom nobody knows."""
    house.ann(), house.kari()
    with connect(ANN) as exchange, pytest.raises(FxError, match=r"nobody@ssb\.example"):
        exchange.send([_file(tmp_path / "a", 5)], to="nobody@ssb.example", reference="R")
