"""Every program that can be installed here, through everything that people do with one.

What counts is the exit status, the bytes, and that exactly the right shipments come out.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from tests.house import KARI
from tests.walks.clients.client import Client
from tests.walks.clients.party import RENDERED, TO_KARI, Party, of, with_each

CSV = b"id;value\n" + b"7;3\n" * 60_000  # 240 kB: more than one block of any client, and than one chunk
NORWEGIAN = "Blåbærsyltetøy på brød.csv"
TREE = {"a.csv": CSV, "tom.csv": b"", "under/b.csv": b"b", "under/enda dypere/c.csv": b"c"}


def make_tree(folder: Path) -> Path:
    """TREE on disk."""
    for name, data in TREE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def tree_in(folder: Path) -> dict[str, bytes]:
    """The files below a folder, but those that the exchange writes, by their paths there."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if name not in RENDERED}


# ---- a file


@with_each()
def test_a_file_that_is_put_is_one_shipment(party: Party, program: type[Client]) -> None:
    """Of that file and no other, with the bytes that went in."""
    ann = party.ann(program)

    ran = ann.upload(ann.file(CSV, "data.csv"), f"{TO_KARI}/Ref 1/data.csv")

    assert ran.status == 0, ran.said
    assert len(party.house.settle()) == 1
    assert party.arrived() == [("Ref 1", of({"data.csv": CSV}))]
    assert party.house.settle() == []


@with_each()
def test_a_file_is_fetched_as_it_was_sent(party: Party, program: type[Client]) -> None:
    """And then counts as collected."""
    inbox, kari = party.sent("Ref 1", {"data.csv": CSV}), party.kari(program)
    here = kari.home / "here.csv"

    ran = kari.download(f"{inbox}/data.csv", here)

    assert ran.status == 0, ran.said
    assert here.read_bytes() == CSV
    assert party.states() == ["collected"]


@with_each()
def test_an_empty_file_is_a_file(party: Party, program: type[Client]) -> None:
    """It arrives, and it can be fetched."""
    ann, kari = party.ann(program), party.kari(program)
    here = kari.home / "here.csv"

    assert ann.upload(ann.file(b"", "tom.csv"), f"{TO_KARI}/Ref 1/tom.csv").status == 0
    party.house.settle()
    (folder,) = party.house.inbox(party.users[KARI])
    ran = kari.download(f"inbox/{folder}/tom.csv", here)

    assert party.arrived() == [("Ref 1", of({"tom.csv": b""}))]
    assert ran.status == 0, ran.said
    assert here.read_bytes() == b""


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@with_each()
def test_norwegian_letters_arrive_in_either_form(party: Party, program: type[Client], form: str) -> None:
    """As NFC, by which and as NFD they can be fetched."""
    ann, kari = party.ann(program), party.kari(program)
    name = unicodedata.normalize(form, NORWEGIAN)  # type: ignore[arg-type]
    here = kari.home / "here.csv"

    ran = ann.upload(ann.file(CSV, name), f"{TO_KARI}/Ærlig talt/{name}")

    assert ran.status == 0, ran.said
    party.house.settle()
    assert party.arrived() == [("Ærlig talt", of({unicodedata.normalize("NFC", NORWEGIAN): CSV}))]
    (folder,) = party.house.inbox(party.users[KARI])
    ran = kari.download(f"inbox/{folder}/{name}", here)
    assert ran.status == 0, ran.said
    assert here.read_bytes() == CSV


@with_each()
def test_what_is_refused_or_missing_ends_with_an_error(party: Party, program: type[Client]) -> None:
    """So that a batch job hears of it; and nothing leaves."""
    ann = party.ann(program)
    local = ann.file(CSV, "data.csv")

    assert ann.upload(local, "outbox/nobody@ssb.example/Ref 1/data.csv").status != 0
    assert ann.upload(local, "inbox/data.csv").status != 0
    assert ann.download("sent/7k3f-q2mp.txt", ann.home / "here").status != 0
    assert party.house.settle() == []


# ---- folders


@with_each("upload_tree")
def test_a_tree_that_is_put_is_one_shipment(party: Party, program: type[Client]) -> None:
    """With its folders, and its empty files."""
    ann = party.ann(program)

    ran = ann.upload_tree(make_tree(ann.home / "Ref 7"), f"{TO_KARI}/Ref 7")

    assert ran.status == 0, ran.said
    assert len(party.house.settle()) == 1
    assert party.arrived() == [("Ref 7", of(TREE))]


@with_each("download_tree")
def test_a_tree_is_fetched_as_it_was_sent(party: Party, program: type[Client]) -> None:
    """With its folders, and then counts as collected."""
    inbox, kari = party.sent("Ref 7", TREE), party.kari(program)
    into = kari.home / "into"
    into.mkdir()

    ran = kari.download_tree(inbox, into)

    assert ran.status == 0, ran.said
    named = into / inbox.rpartition("/")[2]  # some make the folder anew below what they are given
    folder = named if named.exists() else into
    assert tree_in(folder) == TREE
    assert all((folder / name).stat().st_size for name in RENDERED)
    assert party.states() == ["collected"]


@with_each("names")
def test_a_folder_is_listed_with_all_its_names(party: Party, program: type[Client]) -> None:
    """Its own and no others."""
    inbox, kari = party.sent("Ref 7", {NORWEGIAN: CSV, "b c.csv": b"b"}), party.kari(program)

    assert sorted(kari.names(inbox)) == sorted([NORWEGIAN, "b c.csv", *RENDERED])
    assert sorted(kari.names("inbox")) == [inbox.rpartition("/")[2]]


# ---- what is not yet, and what is


@with_each("rename")
def test_nothing_leaves_before_it_has_its_name(party: Party, program: type[Client]) -> None:
    """What is put under temporary names waits, and leaves once, under the names that it is given."""
    ann, temporary = party.ann(program), {"a.csv": "a.csv.filepart", "b.csv": ".in.b.csv", "c.csv": "c.csv.partial"}
    for name in temporary.values():
        assert ann.upload(ann.file(name.encode(), "data.csv"), f"{TO_KARI}/Ref 1/{name}").status == 0
    assert party.house.settle() == []

    for final, name in temporary.items():
        assert party.house.settle() == []
        ran = ann.rename(f"{TO_KARI}/Ref 1/{name}", f"{TO_KARI}/Ref 1/{final}")
        assert ran.status == 0, ran.said

    assert len(party.house.settle()) == 1
    assert party.arrived() == [("Ref 1", of({final: name.encode() for final, name in temporary.items()}))]


@with_each("resume_download")
def test_a_download_goes_on_where_it_was_cut(party: Party, program: type[Client]) -> None:
    """What is fetched is the same bytes, from where the first half ended, and then counts as collected."""
    inbox, kari = party.sent("Ref 1", {"data.csv": CSV}), party.kari(program)
    half = len(CSV) // 2
    party.fetch_part(f"{inbox}/data.csv", half)
    here = kari.file(CSV[:half], "here.csv")
    assert party.states() == ["opened"]

    ran = kari.resume_download(f"{inbox}/data.csv", here)

    assert ran.status == 0, ran.said
    assert here.read_bytes() == CSV
    assert party.states() == ["collected"]
