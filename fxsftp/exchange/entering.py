"""Entering: the row that an OPEN makes, and the drop that it makes or joins.

Meanwhile another session may begin the same folder, or the dispatcher may send it off; so what was looked at before
the transaction is looked at again within it.
"""

from __future__ import annotations

from fxsftp import seal
from fxsftp.domain.lifecycle import FileState
from fxsftp.domain.model import File, User, Wishes
from fxsftp.errors import IsAFolder, TooManyFiles
from fxsftp.exchange.bodies import Bodies
from fxsftp.exchange.drafts import FILE_MODE, MODE_MASK, Litter
from fxsftp.exchange.drops import Drops
from fxsftp.exchange.holdings import Holdings


class Entering:
    """Rows of new files.  Whether they may be is decided by who asks for them."""

    def __init__(self, holdings: Holdings, bodies: Bodies, drops: Drops) -> None:
        self._registry = holdings.registry
        self._rows = holdings.registry.drops
        self._policy = holdings.policy
        self._bodies = bodies
        self._drops = drops

    def row(
        self,
        user: User,
        who: str,
        path: str,
        recipient: str,
        subject: str,
        existing: File | None,
        wishes: Wishes,
        writer: str,
        beat: float | None,
        now: float,
        file_key: bytes,
    ) -> File:
        """The row of a file that begins to be written, in the drop that it belongs to.

        Raises TooManyFiles, IsAFolder, NotAFolder.
        """
        rows = self._rows
        before = self._drops.find_for(user, who, path, existing)
        drop_id = before.id if before else self._drops.new_id()
        drop_key = self._bodies.drop_key(drop_id, make=before is None, now=now)
        with self._registry.atomic(durable=False):
            # Meanwhile another session may have begun the folder, or the dispatcher may have sent it off.
            if self._registry.folders.find(user.id, who, path):
                raise IsAFolder(path.rpartition("/")[2])
            shipment = self._drops.find_for(user, who, path, existing)
            if shipment and shipment.id != drop_id:
                if before is None:
                    self._bodies.forget_drop_key(drop_id)
                drop_id = shipment.id
                drop_key = self._bodies.drop_key(drop_id)
            elif before and shipment is None:
                drop_id = self._drops.new_id()
                drop_key = self._bodies.drop_key(drop_id, make=True, now=now)
            if shipment is None:
                self._drops.begin(drop_id, user, recipient, who, path, subject, now)
            elif not (existing and existing.shipment_id == drop_id) and rows.has_files(
                drop_id, self._policy.max_files - 1
            ):
                raise TooManyFiles(self._policy.max_files)
            self._drops.make_parents(user, who, path, now)
            file_id = rows.add_file(
                drop_id,
                user.id,
                who,
                path,
                FileState.DRAFT,
                wishes.mtime if wishes.mtime is not None else now,
                (wishes.mode if wishes.mode is not None else FILE_MODE) & MODE_MASK,
                now,
                writer=writer,
                key=seal.wrap_under(drop_key, file_key),
                announced=wishes.size,
                waits=True,
                beat=beat,
            )
            self._drops.changed(drop_id, now)
            file = rows.file(file_id)
        assert file is not None
        return file

    def litter(self, user: User, who: str, path: str, existing: File | None, now: float) -> Litter:
        """What is thrown away as it comes has a row, too: it is to be seen.  Raises RecipientUnknown, NotAFolder."""
        with self._registry.atomic(durable=False):
            if who:
                self._drops.recipient(user, who)
            self._drops.make_parents(user, who, path, now)
            file_id = existing.id if existing else self._rows.add_file(
                None, user.id, who, path, FileState.COMPLETE, now, FILE_MODE, now,
                writer=None, key=None, announced=None, waits=False,
            )  # fmt: skip
            file = self._rows.file(file_id)
        assert file is not None
        return Litter(file)

    def give_up(self, file: File, now: float) -> None:
        """An OPEN that came to nothing leaves no row."""
        self._drops.writers.pop(file.id, None)
        with self._registry.atomic():
            self._rows.forget_file(file.id)
            self._drops.changed(file.shipment_id, now)
