"""Secrets: kept durably, and gone without a trace once erased."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fxsftp.store.secrets import Secrets

SEALED = b"the sealed bytes of somebody's code, unmistakably " * 3


@pytest.fixture
def secrets(tmp_path: Path) -> Iterator[Secrets]:
    secrets = Secrets(tmp_path / "secrets.db")
    yield secrets
    secrets.close()


def traces(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if SEALED[:40] in path.read_bytes())


def test_what_is_kept_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = Secrets(tmp_path / "secrets.db")
    first.keep_drop_key("7k3f-q2mp", SEALED, 100.0)
    first.keep_codes([(1, b"one"), (2, b"two")], 100.0)
    second = Secrets(tmp_path / "secrets.db")
    assert second.drop_key("7k3f-q2mp") == SEALED
    assert second.shipments_with_drop_key() == ["7k3f-q2mp"]
    assert (second.code(1), second.code(2), second.code(3)) == (b"one", b"two", None)
    first.close()
    second.close()


def test_what_is_erased_stands_in_no_file_any_more(secrets: Secrets, tmp_path: Path) -> None:
    """Neither in the database, nor in its log, nor in a page that was freed."""
    secrets.keep_drop_key("7k3f-q2mp", SEALED, 100.0)
    secrets.keep_codes([(number, SEALED) for number in range(100)], 100.0)
    assert traces(tmp_path)
    secrets.erase_drop_keys(["7k3f-q2mp"])
    secrets.erase_codes(range(100))
    assert traces(tmp_path) == []
    assert secrets.drop_key("7k3f-q2mp") is None
    assert secrets.code(5) is None


def test_erasing_leaves_the_others_and_can_be_repeated(secrets: Secrets) -> None:
    secrets.keep_codes([(1, b"one"), (2, b"two")], 100.0)
    secrets.erase_codes([1])
    secrets.erase_codes([1])
    secrets.erase_codes([])
    assert (secrets.code(1), secrets.code(2)) == (None, b"two")


def test_a_code_given_anew_replaces_the_old_one_and_its_age(secrets: Secrets, tmp_path: Path) -> None:
    secrets.keep_codes([(1, SEALED), (2, b"two")], 100.0)
    secrets.keep_codes([(1, b"newer")], 200.0)
    assert secrets.code(1) == b"newer"
    assert secrets.codes_older_than(150.0) == [2]
    assert secrets.codes_older_than(201.0) == [2, 1]


def test_a_shipments_drop_key_is_never_replaced(secrets: Secrets) -> None:
    secrets.keep_drop_key("7k3f-q2mp", SEALED, 100.0)
    with pytest.raises(Exception, match="UNIQUE"):
        secrets.keep_drop_key("7k3f-q2mp", b"another", 200.0)
    assert secrets.drop_key("7k3f-q2mp") == SEALED
