"""The local vault: opaque blobs that grow, are committed, are read, and are erased."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fxsftp import errors
from fxsftp.store.vault import Blob, Reader, Vault
from fxsftp.store.vault.local import LocalVault


@pytest.fixture
def vault(tmp_path: Path) -> LocalVault:
    return LocalVault(tmp_path / "vault")


def stored(vault: LocalVault, content: bytes) -> str:
    blob = vault.create()
    blob.append(content)
    blob.sync()
    blob.close()
    vault.commit(blob.id)
    return blob.id


def content(vault: LocalVault, blob_id: str) -> bytes:
    reader = vault.open(blob_id)
    try:
        return reader.read(0, reader.size + 1)
    finally:
        reader.close()


def test_the_local_vault_is_a_vault(vault: LocalVault) -> None:
    """mypy reads this one: the verbs are those of the protocols."""
    as_vault: Vault = vault
    as_blob: Blob = vault.create()
    as_reader: Reader = as_vault.open(as_blob.id)
    assert (as_blob.size, as_reader.size) == (0, 0)


def test_a_blob_grows_is_cut_and_is_read_where_one_likes(vault: LocalVault) -> None:
    blob = vault.create()
    blob.append(b"hello ")
    blob.append(memoryview(b"wide world"))
    assert (blob.size, blob.read(6, 4), blob.read(12, 100), blob.read(16, 1)) == (16, b"wide", b"orld", b"")
    blob.cut(6)
    blob.append(b"there")
    blob.sync()
    assert (blob.size, blob.read(0, 100)) == (11, b"hello there")
    with pytest.raises(ValueError, match="cut"):
        blob.cut(12)


def test_a_draft_is_resumed_by_another_process_and_committed_once(vault: LocalVault, tmp_path: Path) -> None:
    blob = vault.create()
    blob.append(b"first ")
    blob.sync()
    again = LocalVault(tmp_path / "vault").resume(blob.id)
    assert again.size == 6
    again.append(b"second")
    again.close()
    vault.commit(blob.id)
    vault.commit(blob.id)
    assert content(vault, blob.id) == b"first second"
    with pytest.raises(errors.Missing):
        vault.resume(blob.id)


def test_a_committed_blob_is_not_aborted(vault: LocalVault) -> None:
    blob_id = stored(vault, b"kept")
    vault.abort(blob_id)
    assert content(vault, blob_id) == b"kept"


def test_aborting_and_erasing_are_idempotent(vault: LocalVault) -> None:
    draft, kept = vault.create(), stored(vault, b"kept")
    vault.abort(draft.id)
    vault.abort(draft.id)
    assert not vault.exists(draft.id)
    vault.erase(kept, draft.id)
    vault.erase(kept)
    assert list(vault.ids()) == []
    with pytest.raises(errors.Missing):
        vault.open(kept)


def test_a_reader_keeps_what_it_has_open_when_the_blob_is_erased(vault: LocalVault) -> None:
    blob_id = stored(vault, b"being fetched")
    reader = vault.open(blob_id)
    vault.erase(blob_id)
    assert reader.read(6, 7) == b"fetched"
    reader.close()


@pytest.mark.parametrize(
    "blob_id", ["", "..", "../../etc/passwd", "0" * 31, "0" * 33, "G" * 32, "0" * 31 + "\n", "A" * 32]
)
def test_only_an_id_is_ever_made_a_path(vault: LocalVault, blob_id: str) -> None:
    for verb in (vault.open, vault.resume, vault.commit, vault.abort, vault.erase, vault.exists):
        with pytest.raises(errors.Missing):
            verb(blob_id)


def test_a_symbolic_link_is_never_followed(vault: LocalVault, tmp_path: Path) -> None:
    blob_id = stored(vault, b"x")
    path = next((tmp_path / "vault" / "blobs").rglob(blob_id))
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(b"not yours")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.Unavailable, match="ELOOP") as refusal:
        vault.open(blob_id)
    assert str(tmp_path) not in str(refusal.value)


def test_on_disk_there_are_only_ids_and_only_the_owner_may_look(vault: LocalVault, tmp_path: Path) -> None:
    stored(vault, b"x")
    vault.create()
    for path in (tmp_path / "vault").rglob("*"):
        relative = path.relative_to(tmp_path / "vault").as_posix()
        assert re.fullmatch(r"(drafts|blobs)(/[0-9a-f]{2}(/[0-9a-f]{32})?)?", relative)
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_the_sweep_sees_every_blob_and_can_leave_the_young_ones_alone(vault: LocalVault, tmp_path: Path) -> None:
    old, young, draft = stored(vault, b"old"), stored(vault, b"young"), vault.create().id
    os.utime(next((tmp_path / "vault").rglob(old)), (1000, 1000))
    (tmp_path / "vault" / "blobs" / old[:2] / "a note of the operator").touch()
    assert set(vault.ids()) == {old, young, draft}
    assert list(vault.ids(unchanged_since=2000.0)) == [old]
    assert vault.free_bytes() > 0


def test_short_writes_are_continued(vault: LocalVault, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:3], offset))
    blob = vault.create()
    blob.append(b"0123456789")
    assert blob.read(0, 20) == b"0123456789"


def test_a_full_disk_leaves_the_blob_as_it_was(vault: LocalVault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when a part of the data had found room."""
    blob = vault.create()
    blob.append(b"good")
    pwrite, room = os.pwrite, [3, 0]

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        if not (count := room.pop(0)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data[:count], offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(errors.StoreFull):
            blob.append(b"too much")
    assert (blob.size, blob.read(0, 20)) == (4, b"good")
    blob.append(b" again")
    assert content(vault, blob.id) == b"good again"


def test_a_really_full_disk_is_said_so(vault: LocalVault, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full answers every write as a full disk does."""
    blob = vault.create()
    blob.close()
    really_open = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *mode: really_open("/dev/full", os.O_RDWR))
    monkeypatch.setattr(os, "ftruncate", lambda *_: None)  # which devices don't have
    with pytest.raises(errors.StoreFull):
        blob.append(b"x")


class Disk:
    """One of 10 MiB, as statvfs shows it."""

    def __init__(self, free: int) -> None:
        self.free, self.asked = free, 0

    def __call__(self, _: Path) -> os.statvfs_result:
        self.asked += 1
        blocks, free = (10 << 20) // 4096, self.free // 4096
        return os.statvfs_result((4096, 4096, blocks, free, free, 0, 0, 0, 0, 255))


def test_bodies_leave_a_reserve_and_all_else_goes_on(tmp_path: Path) -> None:
    """Of a small disk never more than a tenth."""
    disk = Disk(free=4 << 20)
    vault = LocalVault(tmp_path / "vault", reserve=256 << 20, statvfs=disk)
    kept = stored(vault, b"fetched")
    draft = vault.create()
    draft.append(b"good")
    assert vault.free_bytes() == 3 << 20

    disk.free = 1 << 20
    assert vault.free_bytes() == 0
    for refused in (
        vault.create,
        vault.check_room,
        lambda: draft.append(b"more"),
        lambda: vault.resume(draft.id).append(b"x"),
    ):
        with pytest.raises(errors.StoreFull):
            refused()
    assert (draft.size, draft.read(0, 10), content(vault, kept)) == (4, b"good", b"fetched")
    draft.sync()
    draft.cut(1)
    vault.commit(draft.id)
    vault.erase(kept)

    disk.free = 2 << 20
    vault.create().append(bytes(1 << 20))


def test_what_would_touch_the_reserve_is_refused_before_it_does(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path / "vault", reserve=1 << 20, statvfs=Disk(free=2 << 20))
    with pytest.raises(errors.StoreFull):
        vault.create().append(bytes((1 << 20) + 4096))


def test_the_disk_is_asked_every_few_chunks_and_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, now = Disk(free=8 << 20), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    vault = LocalVault(tmp_path / "vault", reserve=1 << 20, statvfs=disk)
    blob = vault.create()
    for _ in range(1000):
        blob.append(bytes(1024))
    assert disk.asked <= 1 + 16
    disk.asked = 0
    blob.append(b"x")
    now[0] += 1.5
    blob.append(b"x")
    assert disk.asked == 1


def test_what_another_process_has_erased_is_let_go_once_nobody_uses_it(tmp_path: Path) -> None:
    """Its room on the disk is free only then; who still reads is not disturbed."""
    vault, other = LocalVault(tmp_path / "vault"), LocalVault(tmp_path / "vault")
    kept, draft = vault.create(), vault.create()
    for blob in (kept, draft):
        blob.append(b"content")
    reader = vault.open(stored(vault, b"being fetched"))
    before = len(os.listdir("/proc/self/fd"))
    other.erase(draft.id, reader.id)

    for _ in range(3):
        vault.let_go()
        assert reader.read(6, 7) == b"fetched"

    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert kept.read(0, 7) == b"content"
    with pytest.raises(errors.Missing):
        draft.read(0, 7)
    vault.let_go()
    vault.let_go()
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_many_open_blobs_share_a_few_descriptors(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path / "vault", descriptors=4)
    before = len(os.listdir("/proc/self/fd"))
    blobs = [vault.create() for _ in range(40)]
    for turn in range(3):
        for number, blob in enumerate(blobs):
            blob.append(b"%d:%d " % (number, turn))
            assert len(os.listdir("/proc/self/fd")) <= before + 4
    for number, blob in enumerate(blobs):
        assert content(vault, blob.id) == b"%d:0 %d:1 %d:2 " % (number, number, number)
        blob.close()
        blob.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_share_readers_beyond_the_limit_of_descriptors(tmp_path: Path) -> None:
    """A descriptor in use is never closed under its user, nor its number taken for another blob."""
    vault = LocalVault(tmp_path / "vault", descriptors=2)
    readers = {number: vault.open(stored(vault, b"%04d" % number * 5000)) for number in range(12)}

    def read(turn: int) -> bool:
        number = turn * 7 % 12
        return readers[number].read(turn % 5000 * 4, 4) == b"%04d" % number

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(2000)))
    for reader in readers.values():
        reader.close()


def test_commit_syncs_the_content_and_both_folders_before_it_returns(
    vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def spy(really: object) -> object:
        def sync(descriptor: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            really(descriptor)  # type: ignore[operator]

        return sync

    monkeypatch.setattr(os, "fsync", spy(os.fsync))
    monkeypatch.setattr(os, "fdatasync", spy(os.fdatasync))
    blob = vault.create()
    blob.append(b"x")
    synced.clear()
    blob.sync()
    assert [Path(path).name for path in synced] == [blob.id, blob.id[:2]]
    blob.sync()
    assert [Path(path).name for path in synced[2:]] == [blob.id]  # the name is durable already
    synced.clear()
    vault.commit(blob.id)
    assert [Path(path).parts[-2:] for path in synced if Path(path).name != "blobs"] == [
        (blob.id[:2], blob.id),
        ("blobs", blob.id[:2]),
        ("drafts", blob.id[:2]),
    ]
