"""One file while it is written: a draft is one OPEN's own, and lives until its CLOSE.

Bytes go from here straight into the seal; rows follow.  `write` and `wish` may run in an event loop:
they never wait for the registry, and a row that a new segment needs is written as a chore.

A new file that is still small may be **in hand**: it has no row before its first chunk is flushed, it is closed, or
somebody looks, and so costs one transaction and not two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock

from fxsftp import seal
from fxsftp.domain import lifecycle
from fxsftp.domain.lifecycle import FileState
from fxsftp.domain.model import Entry, File, Wishes
from fxsftp.errors import FxError, Incomplete, NotReadable, NotYours, OverQuota
from fxsftp.exchange.bodies import Content
from fxsftp.exchange.holdings import Holdings
from fxsftp.store.registry.segments import SegmentRow

TYPICAL_BLOCKS = (30_000,)  # curl's; everybody else's block is a multiple of 1024
Pause = seal.Pause  # a front knows nothing of seals
COPIED_BY = 4096  # bytes; programs copy by this or a multiple, and few whole files end there
SYNCED = 128 << 20  # bytes; unsealing them takes less than a second
NO_ROW = 0  # the id of a file that is in hand
FILE_MODE = 0o644
MODE_MASK = 0o777  # setuid, setgid and sticky mean nothing here


class Draft:
    """One OPEN for writing.

    `base` is what it may take up: an earlier, undispatched file at the same place with its key and its
    stored segments.  The first write decides: at 0 the file begins anew, further on it is resumed, if
    `claim` lets it have the row.  `allowance` is how long it may become under `quota`.  A `file` without an id has no
    row yet; `add_row` makes it.
    """

    def __init__(
        self,
        holdings: Holdings,
        file: File,
        file_key: bytes,
        *,
        base: tuple[File, bytes, Sequence[seal.Stored]] | None,
        keeps: bool,
        refusal: Exception | None,
        appends: bool,
        claim: Callable[[Draft, File], None],
        crowd: seal.Crowd,
        allowance: int,
        quota: int,
        now: float,
        add_row: Callable[[Draft], File] | None = None,
    ) -> None:
        self.file = file
        self.turn = Lock()  # of whoever gives it a row, or sees that it gets none; never taken within a transaction
        self.session = file.writer or ""
        self.announced = file.announced
        self.mtime: float | None = None
        self.mode = file.mode
        self.is_touched = not keeps
        self.is_lost = False
        self.is_taken = False  # by another process: the row and what it speaks of are not ours to touch
        self.is_put_away = False  # it is lost, and its rows say so
        self.opened = self.last_write = now
        self.moved = False
        self._holdings = holdings
        self._add_row = add_row
        self._problem: FxError | None = None  # why it got no row
        self._refusal = refusal
        self._appends = appends
        self._claim = claim
        self._crowd = crowd
        self._shift = 0
        self._allowance = allowance
        self._quota = quota
        self._unfinished: int | None = None  # where the WRITE begins that is arriving
        self._chores: list[Future[None]] = []
        self._synced = 0  # bytes of the file when a sync was last begun
        self._syncing: Future[None] | None = None
        self._largest = self._last = self._writes = 0
        self.fresh_key = file_key
        self._base = base
        self._sealing = self._begin(base[1], base[2]) if base else self._begin(file_key)

    def _begin(self, file_key: bytes, stored: Sequence[seal.Stored] = ()) -> seal.Draft:
        ahead = self._holdings.policy.ahead
        return seal.Draft(file_key, self._new_blob, stored, ahead, crowd=self._crowd, name=self.file.name)

    # ---- its row

    @property
    def has_row(self) -> bool:
        """Whether the registry knows of it."""
        return self.file.id != NO_ROW

    def write_down(self) -> None:
        """From here on it has a row, and everybody sees it.  Raises what an OPEN does; then nothing can be written."""
        with self.turn:
            if self.has_row or self._add_row is None:
                return
            try:
                self.file = self._add_row(self)
            except FxError as problem:
                self._problem = problem
                raise

    def drop_from_hand(self) -> bool:
        """Give up what has no row and has flushed nothing; answers whether it was so, and then it gets none."""
        with self.turn:
            if self.has_row or (self._sealing.stored and not self._problem):
                return False
            self.forgo_row()
        self.abandon()
        return True

    def forgo_row(self) -> None:
        """It gets none any more.  For who has its turn."""
        self._add_row = None

    # ---- what a session does with it

    @property
    def size(self) -> int:
        """What stat shows: the bytes there are without a hole."""
        return self._sealing.size

    @property
    def ahead(self) -> int:
        """Bytes held in memory beyond the frontier."""
        return self._sealing.ahead_bytes

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """One WRITE that is here as a whole: `take` it, and it `wrote`."""
        self.take(offset, data)
        self.wrote(len(data))

    def take(self, offset: int, data: bytes | memoryview) -> seal.Pause | None:
        """Take a part of the file, as large as the network happens to bring it.

        Returns a pause that a loop is to make before it brings more.  Raises AlreadySent or NotYours when there is
        nothing to resume, Rewritten, TooFarAhead, OverQuota or StoreFull; what had arrived before stays.
        """
        self._alive()
        if not self.is_touched:
            offset = self._decide(offset)
        offset += self._shift
        count = len(data)
        self._check_quota(offset + count)
        if self._unfinished is None:
            self._unfinished = offset
        pause = self._sealing.write(offset, data)
        self.moved = True
        return pause

    def wrote(self, count: int) -> None:
        """A WRITE of `count` bytes is complete, in however many parts it was taken."""
        self._unfinished = None
        self._last = count
        self._writes += 1
        self._largest = max(self._largest, count)

    def _decide(self, offset: int) -> int:
        if self._refusal and (offset or self._appends):
            raise self._refusal
        if self._appends and self._base and offset < self._sealing.size:
            self._shift = self._sealing.size  # the client trusts the server to append, as the draft says APPEND does
        elif offset == 0:
            self._anew()
            return offset
        self._resume()
        return offset

    def _anew(self) -> None:
        self.is_touched = True
        if self._base:
            self._base = None
            self._sealing = self._begin(self.fresh_key)

    def _resume(self) -> None:
        """Take over the row of what is resumed; the row made for this OPEN goes."""
        if self._base:
            placeholder, (base, _, _) = self.file, self._base
            self._claim(self, base)
            self._base = None
            self.file = base
            self._chores.append(self._holdings.later(self._take_over, placeholder.id, base, self.announced))
        self.is_touched = True

    def _take_over(self, placeholder: int, seen: File, announced: int | None) -> None:
        drops, base_id = self._holdings.registry.drops, seen.id
        with self._holdings.registry.atomic(durable=False):
            drops.forget_file(placeholder)
            base = drops.file(base_id)
            if base is None:
                return
            if not is_untouched(base, seen):
                self.taken()  # another process was here first
                return
            state = base.state
            if state is not FileState.DRAFT:
                state = lifecycle.after(lifecycle.FILES, state, "resume", base.name)
            if base.blob:  # what CLOSE was answered for becomes the first segment, which nothing cuts
                self._holdings.registry.segments.set(base_id, [SegmentRow(base.blob, 0, True)])
            drops.change_file(
                base_id, state=state, waits=1, writer=self.session, connected=self.session, announced=announced,
                blob=None, sha256=None, beat=self._holdings.workers.ticks(),
            )  # fmt: skip

    def read(self, offset: int, count: int) -> bytes:
        """What this very session wrote; editors look.  Raises NotReadable where that can't be had."""
        self._alive()
        if not self.is_touched:
            raise NotReadable(self.file.name)
        return self._sealing.read(offset, count)

    def content(self) -> Content:
        """What was written so far, to be hashed.  Raises NotReadable where nothing was written by this OPEN."""
        if not self.is_touched:
            raise NotReadable(self.file.name)
        return Content(self.size, self.read)

    def wish(self, wishes: Wishes) -> None:
        """FSETSTAT: times and mode are remembered, a size is kept to."""
        self._alive()
        if wishes.mode is not None:
            self.mode = wishes.mode & MODE_MASK
        if wishes.mtime is not None:
            self.mtime = wishes.mtime
        if wishes.size is not None:
            self._resize(wishes.size, is_the_sources=wishes.mtime is not None)

    def truncate(self, size: int) -> None:
        """Let the file end at `size`; a larger one is an announcement that CLOSE checks."""
        self._alive()
        self._resize(size, is_the_sources=False)

    def _resize(self, size: int, *, is_the_sources: bool) -> None:
        if size == self._sealing.end and not self.is_touched:
            return
        if size == 0 and not self.is_touched:
            self._anew()
        elif not self.is_touched:
            if self._refusal:
                raise self._refusal
            self._resume()
        if size > self._sealing.end:
            self._check_quota(size)
            self.announced = size
        else:
            self._sealing.truncate(size)
            # OpenSSH's put says where an interrupt cut it by the same request, and without times; that is no promise.
            self.announced = size if is_the_sources else None
        self.moved = True

    def _check_quota(self, size: int) -> None:
        if size > self._allowance:
            raise OverQuota(self._quota, self._quota - self._allowance)

    def entry(self) -> Entry:
        """What FSTAT shows."""
        return Entry(
            self.file.path.rpartition("/")[2], False, self.size, self.mtime or self.file.mtime, self.mode, True
        )

    # ---- what the outbox does with it

    @property
    def looks_cut(self) -> bool:
        """Whether the end looks as an interrupt would leave it: no size was announced, the last block is a full one.

        Ctrl-C in OpenSSH's sftp sends a genuine CLOSE after a part of the file, as does a Python program's `with`,
        and nothing else tells.  libssh2 cuts the pieces that a program copies by into 30,000 bytes and the rest, so
        that the last block is seldom a full one; but then the whole is a multiple of those pieces.
        """
        if self.announced is not None or not self._writes:
            return False
        if self._sealing.end and self._sealing.end % COPIED_BY == 0:
            return True
        if self._last < self._largest:
            return False
        return self._writes > 1 or self._last % 1024 == 0 or self._last in TYPICAL_BLOCKS

    def finish(self) -> seal.Sealed:
        """All bytes durable.  Raises Incomplete or Gap; then what has arrived can be resumed."""
        self._alive()
        if self.announced is not None and self._sealing.end < self.announced:
            raise Incomplete(self.file.name, self._sealing.end, self.announced)
        sealed = self._sealing.finish()
        self.settle_chores()
        return sealed

    def suspend(self) -> list[SegmentRow]:
        """The session is gone: what lies in segments is durable when this returns."""
        self.is_lost = True
        if self._unfinished is not None:
            # A client stopped within a packet may go on with another: what was taken as data need not be any.
            self._sealing.truncate(self._unfinished)
        stored = self._sealing.suspend()
        self.settle_chores()
        return rows_of(stored)

    def abandon(self) -> None:
        """It was removed or replaced; nothing of it counts.  May be said more than once, and by several."""
        self.is_lost = True
        self._sealing.disperse()

    def taken(self) -> None:
        """The row is another process's."""
        self.is_lost = self.is_taken = True

    def erase_blobs(self) -> None:
        """The blobs that nothing refers to any more."""
        ids = [body.id for body in self._sealing.dropped]
        if ids:
            self._holdings.bodies.erase(*ids)
            self._sealing.dropped.clear()

    def sync(self) -> None:
        """fsync@openssh.com: what lies in segments is durable when this returns; the rest is at CLOSE."""
        self._alive()
        self._sync()

    def _sync(self) -> None:
        self._synced = self._sealing.flushed
        self._sealing.sync()
        with self._holdings.registry.atomic(durable=False):
            self._holdings.registry.segments.set_durable(self.file.id, rows_of(self._sealing.stored))

    def sync_meanwhile(self) -> None:
        """Make durable what has grown, where that is much: whoever takes it up after a kill -9 verifies the rest only.

        Returns at once.  What goes wrong is told by CLOSE, which syncs again.
        """
        is_idle = self._syncing is None or self._syncing.done()
        if is_idle and not self.is_lost and self._sealing.flushed - self._synced >= SYNCED:
            self._syncing = self._holdings.meanwhile(self._sync)

    @property
    def flushed(self) -> int:
        """What a resume would find."""
        return self._sealing.flushed

    @property
    def has_chores(self) -> bool:
        """Whether rows are still on their way, so that what is recorded is not yet what is so."""
        return not all(chore.done() for chore in list(self._chores))

    def settle_chores(self) -> None:
        """Wait for the rows that were still on their way."""
        chores, self._chores = self._chores, []
        for chore in chores:
            chore.result()

    def _alive(self) -> None:
        if self.is_lost:
            raise NotYours(self.file.name)
        if self._problem:
            raise self._problem

    def _new_blob(self, start_chunk: int) -> seal.Blob:
        blob = self._holdings.bodies.create()
        before = rows_of(self._sealing.stored)
        row = SegmentRow(blob.id, start_chunk, False)
        if not self.has_row:
            self._chores.append(self._holdings.later(self.write_down))
        self._chores.append(self._holdings.later(self._note_segments, [*before, row]))
        return blob

    def _note_segments(self, segments: list[SegmentRow]) -> None:
        """Without this row a resume after kill -9 would not find the segment; it need not wait for a sync."""
        file_id = self.file.id
        with self._holdings.registry.atomic(durable=False):
            row = self._holdings.registry.drops.file(file_id)
            is_ours = row is not None and row.writer == self.session
            if is_ours:
                self._holdings.registry.segments.set(file_id, segments)
        if not is_ours:  # removed meanwhile, or another's, so nobody else will know of this blob
            self.taken()
            self._holdings.bodies.erase(segments[-1].blob)


def is_untouched(row: File, seen: File) -> bool:
    """Whether nobody has written since it was seen."""
    return (row.state, row.progress, row.writer) == (seen.state, seen.progress, seen.writer)


def rows_of(stored: Sequence[seal.Stored]) -> list[SegmentRow]:
    """Segments as their rows."""
    return [
        SegmentRow(one.kept.id, one.start_chunk, one.blob is None, one.durable)
        for one in stored
        if not isinstance(one.kept, seal.SmallBody)
    ]


class Litter:
    """What desktops leave behind: taken, counted, thrown away."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.size = file.size
        self.ahead = 0
        self.mtime: float | None = None
        self.mode = file.mode
        self.session = file.writer or ""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Taken for what it is."""
        self.size = max(self.size, offset + len(data))

    def take(self, offset: int, data: bytes | memoryview) -> None:
        """The same, of a part."""
        self.write(offset, data)

    def wrote(self, count: int) -> None:
        """It does not matter where it was cut."""

    def read(self, offset: int, count: int) -> bytes:  # noqa: ARG002 - it has the verbs of a Draft
        """Nothing was kept."""
        raise NotReadable(self.file.name)

    def content(self) -> Content:
        """Nothing was kept."""
        raise NotReadable(self.file.name)

    def truncate(self, size: int) -> None:
        """As asked."""
        self.size = size

    def wish(self, wishes: Wishes) -> None:
        """Remembered as for any file."""
        if wishes.size is not None:
            self.size = wishes.size
        if wishes.mtime is not None:
            self.mtime = wishes.mtime
        if wishes.mode is not None:
            self.mode = wishes.mode & MODE_MASK

    def entry(self) -> Entry:
        """What FSTAT shows."""
        return Entry(
            self.file.path.rpartition("/")[2], False, self.size, self.mtime or self.file.mtime, self.mode, True
        )
