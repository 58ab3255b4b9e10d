"""Elsewhere: what other processes have open.

Any number of processes may write at one time.  A row belongs to the process that has signed it as `writer`, as long
as that lives: nobody else touches it.  Who wants to go on with what has been still for a while asks for it, and its
process lets go at its next beat.  What a dead process had open is taken up by whoever comes first.

Nobody waits here for another process: who would have to hears NotYet, and asks again.
"""

from __future__ import annotations

import logging

from fxsftp import seal
from fxsftp.domain.model import File
from fxsftp.errors import FxError, NotYet, NotYours
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.drafts import rows_of
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.holdings import Holdings
from fxsftp.workers import name_of

log = logging.getLogger("fxsftp.exchange")

STEAL_AFTER = 10.0  # seconds without a write after which a reconnected client may take over its own draft
PUTTING_AWAY = "puts away"  # the session that what a dead process had open is signed with meanwhile


class Elsewhere:
    """The rows that this process does not write, or not any more."""

    def __init__(self, holdings: Holdings, bodies: Bodies, drops: Drops) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._rows = holdings.registry.drops
        self._workers = holdings.workers
        self._bodies = bodies
        self._drops = drops

    def let_go(self, file: File) -> File | None:
        """The row when no other process has it open; None when it is gone.  Raises what `ask_for` does."""
        current: File | None = file
        while current and current.writer:
            if self.is_ours(current.writer):
                if current.id in self._drops.writers or current.beat is None or not self._has_been_still(current):
                    return current
                self.take_up(current)  # it could not be put away when its session ended
            elif not self._workers.is_there(name_of(current.writer)):
                self.take_up(current)
            else:
                self.ask_for(current)
            current = self._rows.file(file.id)
        return current

    def ask_for(self, file: File) -> None:
        """Nothing unless another process that lives has it open.  Raises NotYours when that writes, else NotYet.

        One that has not written for a while puts it away itself, as soon as it hears that it is asked.
        """
        writer = file.writer
        if writer is None or self.is_ours(writer) or not self._workers.is_there(name_of(writer)):
            return
        if not self._has_been_still(file):
            raise NotYours(file.name)
        if not _is_put_away(writer) and not self._registry.writers.is_wanted(file.id):
            with self._registry.atomic(durable=False):
                self._registry.writers.want(file.id)
        raise NotYet(file.name)

    def as_left(self, file: File) -> File | None:
        """The row as it is once what a dead process had open is taken up: what a client asks before it resumes.

        Raises NotYet while somebody else does so.
        """
        current: File | None = file
        while current and current.writer:
            if not self._workers.is_there(name_of(current.writer)):
                self.take_up(current)
            elif _is_put_away(current.writer):
                raise NotYet(current.name)
            else:
                return current
            current = self._rows.file(file.id)
        return current

    def is_ours(self, writer: str) -> bool:
        return self._workers.is_mine(writer) and writer != self._workers.signed(PUTTING_AWAY)

    def _has_been_still(self, file: File) -> bool:
        return self._workers.ticks() - (file.beat or 0) >= STEAL_AFTER

    def take_up(self, file: File) -> None:
        """What nobody has open any more can be resumed: after kill -9, what lies in blobs, and stat shows that.

        The row may have been a beat behind it.  Several may do so at once, and one does.
        """
        writer = self._workers.signed(PUTTING_AWAY)
        with self._registry.atomic(durable=False):
            if not self._registry.writers.take_over(file.id, file.writer or "", writer):
                return
        try:
            self._take_up(file, writer)
        except Exception as problem:  # whatever it is: a row that stays signed by one who lives could not be resumed
            trace = None if isinstance(problem, FxError) else problem
            log.error(
                "shipment %s: what is left of a draft can't be taken up: %s", file.shipment_id, problem, exc_info=trace
            )
            with self._registry.atomic(durable=False):
                self._rows.change_file(file.id, writer=None)

    def _take_up(self, file: File, writer: str) -> None:
        draft = seal.Draft(
            self._bodies.draft_key(file), lambda _: self._holdings.bodies.create(), self._bodies.stored(file),
            name=file.name,
        )  # fmt: skip
        segments = rows_of(draft.suspend())
        with self._registry.atomic():
            current = self._rows.file(file.id)
            if current is None or current.writer != writer:
                return
            if segments or draft.flushed or current.in_row or self._drops.is_composing(current):
                self._registry.segments.set(current.id, segments)
                self._rows.change_file(current.id, size=draft.flushed, writer=None, sha256=None)
            else:
                self._drops.forget(current)
            self._drops.changed(current.shipment_id, current.progress)
        self._holdings.bodies.erase(*(self._bodies.blob_id(blob) for blob in draft.dropped))

    def begin(self) -> None:
        """At the start of a process that serves: what dead ones had open is lost, and their sessions are gone."""
        names = {name_of(session) for session in self._registry.writers.sessions()} | self._registry.guests.workers()
        for name in names:
            if not self._workers.is_there(name):
                self._bury(name)
        self.bury_the_dead()

    def bury_the_dead(self) -> None:
        """The same meanwhile, said every moment: of those that have left a file behind."""
        for name in self._workers.dead():
            self._bury(name)
            self._workers.forget(name)

    def _bury(self, name: str) -> None:
        for file in self._registry.writers.written_by(name):
            self.take_up(file)
        with self._registry.atomic():
            self._registry.writers.disconnect_worker(name)
            self._registry.guests.forget_all(name)


def _is_put_away(writer: str) -> bool:
    """Whether a process is at it that takes up what a dead one had open."""
    return writer.endswith(f" {PUTTING_AWAY}")
