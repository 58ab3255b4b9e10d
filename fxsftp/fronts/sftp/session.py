"""One SFTP session: packets come in, are served strictly in their order, and are answered.

House rules.  What only touches memory and the page cache (READ, WRITE, listings already fetched, one of many small
files) is served in the loop, as it arrives; everything else is asked at the desk, and what follows it waits.  While
anything is waited for, the channel is not read, so that SSH's window, and in the end TCP's, stops the client: a
session costs a few MiB however hard it is leaned on.  A WRITE goes into its draft piece by piece as it comes, and is
never put together first.  What a request means, `verbs` knows.

Only a CLOSE packet closes a draft.  A session that ends, for whatever reason, loses what it has open.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncssh

from fxsftp.errors import (
    AlreadyThere,
    BadHandle,
    BadPacket,
    Forbidden,
    FxError,
    Missing,
    NoSuchPlace,
    NotSupported,
)
from fxsftp.fronts.desk import Desk
from fxsftp.fronts.sftp import wire
from fxsftp.fronts.sftp.handles import Handle
from fxsftp.fronts.sftp.overrides import unsent_of
from fxsftp.fronts.sftp.rooms import Rooms
from fxsftp.fronts.sftp.verbs import EXTENSIONS, VERBS, Verbs
from fxsftp.fronts.sftp.wire import DATA_MOST, HEAD, PACKET_MOST, Kind, Reader, Status

HANDLE_BYTES = 256  # the longest handle the draft allows
WRITE_LEAST = 21  # bytes after the length: kind, id, an empty handle, offset, no data
TOGETHER = 256 << 10  # bytes; answers are gathered up to this, so that each fills whole SSH packets
TURN = 1 << 20  # bytes; taken and given in one turn of the loop, before others have theirs (some 3 ms)
REQUEST = 2 << 10  # bytes; what serving a request counts for besides
PART = 64 << 10  # bytes of what was kept that are looked at together
FULL, DRAINED = 1 << 20, 256 << 10  # bytes unsent at which requests wait, and at which they go on

# Why requests wait.
SERVING, UNSENT, CHOKED, TURNED, OUTRUN = 1, 2, 4, 8, 16

log = logging.getLogger("fxsftp.sftp")


class SftpSession(asyncssh.SSHServerSession[bytes]):
    """SFTP version 3 with one client, over one channel."""

    def __init__(self, rooms: Rooms, desk: Desk, *, explains: bool = False) -> None:
        """`explains` says that the client hides the text of a refusal, so that it goes to stderr as well."""
        self._rooms, self._desk = rooms, desk
        self._explains, self._explained = explains, ""
        self._loop = asyncio.get_running_loop()
        self._chan: asyncssh.SSHServerChannel[bytes]
        self.heard = self._loop.time()
        self._verbs = Verbs(rooms, desk)
        self._is_greeted = False
        self._has_written = False

        self._kept = bytearray()  # what can't be served yet
        self._needed = 0  # how much must be kept before it is worth looking at
        self._waits = 0  # why nothing is served just now
        self._serving: asyncio.Task[None] | None = None
        self._is_over = False  # nothing more is served
        self._has_eof = False  # the client says no more

        self._out: list[bytes] = []
        self._out_bytes = 0
        self._unsent: Callable[[], int] = int  # bytes that have not left
        self._has_unsent = False  # in the end
        self._turn = 0

        # The WRITE whose bytes are arriving.
        self._number = 0
        self._target = _NOTHING
        self._offset = 0
        self._count = self._left = 0
        self._skip = 0  # bytes of a packet to be passed over
        self._fault: Exception | None = None
        self._has_trailed = False

    # ---- the channel

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is there."""
        self._chan = chan
        self._unsent = unsent_of(chan)
        chan.set_write_buffer_limits(FULL, DRAINED)

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002  # there is only one kind
        """Serve what arrived, or keep it until it can be."""
        self.heard = self._loop.time()
        if self._kept or self._waits:
            self._kept += data
            if not self._waits:
                self._take_kept()
        else:
            taken = self._take(data)
            if taken < len(data) and not self._is_over:
                self._kept += data[taken:] if taken else data

    def eof_received(self) -> bool:
        """Finish what is asked; the way back stays open until then."""
        self._has_eof = True
        if not self._waits:
            self._go_on()
        return True

    def pause_writing(self) -> None:
        """The client does not read its answers: ask it for no more questions."""
        self._wait(UNSENT)

    def resume_writing(self) -> None:
        """It has read most of them."""
        self._loop.call_soon(self._resume, UNSENT)

    def choke(self, is_choked: bool) -> None:
        """The same for the line below all channels."""
        if is_choked:
            self._wait(CHOKED)
        else:
            self._resume(CHOKED)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # lost is lost
        """The channel is gone.  What is open is lost, after what is being served is done."""
        self._end()

    @property
    def is_busy(self) -> bool:
        """Whether something is open or being served."""
        return not self._is_over and (self._verbs.has_open or self._waits & SERVING != 0)

    # ---- taking packets from the stream

    def _take_kept(self) -> None:
        """Serve what was kept, a part at a time: copying all of it for each few requests would cost more than these."""
        while self._kept and len(self._kept) >= self._needed and not self._stands_still():
            taken = self._take(bytes(self._kept[: max(PART, self._needed)]))
            del self._kept[:taken]

    def _take(self, data: bytes) -> int:
        """Serve the packets in `data` until they end or something must be waited for; answers how far that was."""
        at, end, self._needed = 0, len(data), 0
        while at < end and not self._waits and not self._is_over:
            if self._left:
                at = self._fill(data, at, end)
            elif self._skip:
                passed = min(self._skip, end - at)
                self._skip -= passed
                at += passed
            else:
                taken = self._packet(data, at, end)
                if taken < 0:
                    break
                at += taken
            if self._out_bytes >= TOGETHER or self._turn >= TURN:
                self._send()
        self._send()
        return at

    def _packet(self, data: bytes, at: int, end: int) -> int:
        """Serve the packet that begins at `at`: how many bytes of it are dealt with, or -1 when more are needed."""
        here = end - at
        if here < 9:
            self._needed = 9
            if here >= 4 and not 5 <= int.from_bytes(data[at : at + 4], "big") <= PACKET_MOST:
                self._break(None, "a packet is too short or too long")
            return -1
        length, kind, number = HEAD.unpack_from(data, at)
        if not 5 <= length <= PACKET_MOST:
            self._break(None if kind == Kind.INIT else number, f"a packet of {length} bytes, of at most {PACKET_MOST}")
            return -1
        if kind == Kind.WRITE and self._is_greeted:
            return self._begin_write(data, at, here, length, number)
        if here < 4 + length:
            self._needed = 4 + length
            return -1
        self._serve(kind, number, Reader(data, at + 9, at + 4 + length))
        return 4 + int(length)

    def _begin_write(self, data: bytes, at: int, here: int, length: int, number: int) -> int:
        if length < WRITE_LEAST:
            return self._bad_write(number, length, "a WRITE")
        if here < 13:
            self._needed = 13
            return -1
        size = int.from_bytes(data[at + 9 : at + 13], "big")
        head = 25 + size  # length, kind, id, handle, offset, length of the data
        if size > HANDLE_BYTES or head > 4 + length:
            return self._bad_write(number, length, "the handle of a WRITE")
        if here < head:
            self._needed = head
            return -1
        offset, count = _EXTENT.unpack_from(data, at + 13 + size)
        surplus = 4 + length - head - count
        if surplus < 0 or count > DATA_MOST:
            return self._bad_write(number, length, "the data of a WRITE")
        if surplus and not self._has_trailed:  # pkg/sftp before 1.13.6, so Debian 12's rclone: harmless
            self._has_trailed = True
            log.info("%s: bytes after the data of a WRITE, passed over", self._rooms.user.email)
        self._target = self._verbs.opened(data[at + 13 : at + 13 + size]) or _NOTHING
        self._fault = BadHandle() if self._target is _NOTHING else None
        self._number, self._offset, self._skip = number, offset, surplus
        self._count = self._left = count
        self._has_written = True
        if not count:
            self._end_write()
        return head

    def _bad_write(self, number: int, length: int, what: str) -> int:
        self._say(self._refusal(number, "WRITE", BadPacket(f"{what} reaches past the end of the packet")))
        self._skip = 4 + length
        return 0

    def _fill(self, data: bytes, at: int, end: int) -> int:
        """Give the draft the bytes of a WRITE that are here."""
        count = min(self._left, end - at)
        if not self._fault:
            try:
                pause = self._target.write(self._offset, memoryview(data)[at : at + count])
                if pause:
                    self._wait(OUTRUN)  # of what is done to the bytes in another thread
                    pause(self._caught_up)
            except Exception as error:  # noqa: BLE001  # told when the packet ends
                self._fault = error
        self._offset += count
        self._left -= count
        self._turn += count
        if not self._left:
            self._end_write()
        return at + count

    def _caught_up(self) -> None:
        """Called in any thread, and perhaps when the loop is gone."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resume, OUTRUN)

    def _end_write(self) -> None:
        if self._fault:
            self._say(self._refusal(self._number, "WRITE", self._fault))
        else:
            if self._count:
                self._target.wrote(self._count)
            self._say(wire.status(self._number, Status.OK))
        self._target, self._fault = _NOTHING, None

    # ---- serving

    def _serve(self, kind: int, number: int, reader: Reader) -> None:
        """Answer one request, now or when the desk has answered."""
        name = str(kind)
        try:
            verb = VERBS.get(kind)
            if kind == Kind.EXTENDED:
                name = reader.string()[:64].decode("ascii", "replace")
                verb = EXTENSIONS.get(name)
            if not verb:
                raise NotSupported(f"SFTP requests of type {name!r}")
            name = verb.name
            if self._is_greeted is (kind == Kind.INIT):
                raise BadPacket("INIT must come first, and once")
            self._has_written |= verb.does_write
            self._turn += verb.counts
            answer = verb.serve(self._verbs, number, reader)
            self._is_greeted = True
        except Exception as error:  # noqa: BLE001  # told to the client or, if it is no FxError, to the log
            answer = self._refusal(number, name, error)
        if isinstance(answer, bytes):
            self._say(answer)
        elif isinstance(answer, tuple):
            self._say(*answer)
        else:
            self._wait(SERVING)
            self._serving = self._loop.create_task(self._await(number, name, answer))

    async def _await(self, number: int, name: str, work: Coroutine[Any, Any, bytes]) -> None:
        try:
            answer = await work
        except Exception as error:  # noqa: BLE001  # as above
            answer = self._refusal(number, name, error)
        self._serving = None
        self._say(answer)
        self._resume(SERVING)

    def _refusal(self, number: int, name: str, error: Exception) -> bytes:
        """The status for `error`: its own words if it is ours, and none of its words if it isn't."""
        if isinstance(error, FxError):
            code = next((code for kind, code in CODES if isinstance(error, kind)), Status.FAILURE)
            text = str(error)
        else:
            code, text = Status.FAILURE, str(FxError())
            log.error("%s: %s failed", self._rooms.user.email, name, exc_info=error)
        if self._explains and not isinstance(error, QUIET) and text != self._explained:
            self._explained = text
            if not self._chan.is_closing():
                self._chan.write_stderr(text.encode() + b"\r\n")
        return wire.status(number, code, text)

    # ---- answering

    def _say(self, *pieces: bytes) -> None:
        """Answer one request."""
        self._out += pieces
        size = sum(map(len, pieces))
        self._out_bytes += size
        self._turn += size + REQUEST

    def _send(self) -> None:
        """Give the channel what was said.  Many answers at once, since each write costs at least one SSH packet."""
        if self._out:
            if not self._is_over and not self._chan.is_closing():
                self._chan.writelines(self._out)
            self._out.clear()
            self._out_bytes = 0
        if self._turn >= TURN and not self._waits & TURNED:
            self._wait(TURNED)
            self._loop.call_soon(self._resume, TURNED)

    # ---- waiting and going on

    def _stands_still(self) -> bool:
        return self._waits != 0 or self._is_over

    def _wait(self, why: int) -> None:
        self._waits |= why
        self._chan.pause_reading()

    def _resume(self, why: int) -> None:
        if self._waits & why:
            self._waits &= ~why
            self._turn = 0
            if not self._waits:
                self._go_on()

    def _go_on(self) -> None:
        """Serve what was kept; then read again or, after the client's last word, end."""
        self._send()
        if self._stands_still():
            return
        self._take_kept()
        if self._stands_still():
            return
        if not self._has_eof:
            self._chan.resume_reading()
        else:
            # OpenSSH's scp exits 1, though all bytes arrived, when the subsystem ends without a status.
            self._chan.exit(0)
            self._end()

    # ---- ending

    def _break(self, number: int | None, reason: str) -> None:
        """The stream can't be followed any more: say so, and close the channel."""
        log.warning("%s: SFTP session ended: %s", self._rooms.user.email, reason)
        if number is not None:
            self._say(self._refusal(number, "packet", BadPacket(reason)))
        self._send()
        if not self._chan.is_closing():
            self._chan.exit(1)
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = self._verbs.is_over = True
            self._kept.clear()
            self._has_unsent = bool(self._out or self._waits & CHOKED or self._unsent())
            self._desk.see_to(self._leave())

    async def _leave(self) -> None:
        """Lose what is still open, and tell the exchange that this session is gone."""
        if self._serving:
            await asyncio.wait([self._serving])
        await self._verbs.lose_all(has_unsent=self._has_unsent)
        if self._has_written:
            await self._desk.ask(self._desk.exchange.writing.session_ended, self._rooms.session, self._desk.now())


_NOTHING = Handle()  # where a WRITE goes that has no handle
_EXTENT = struct.Struct(">QI")  # offset and length of the data

# The first branch an error belongs to gives its code; whatever is in none of them is a FAILURE.
CODES: tuple[tuple[type[FxError], Status], ...] = (
    (Missing, Status.NO_SUCH_FILE),
    (Forbidden, Status.PERMISSION_DENIED),
    (NotSupported, Status.OP_UNSUPPORTED),
    (BadPacket, Status.BAD_MESSAGE),
)

# What clients run into on their usual way, and what a person need not hear of.
QUIET = (NoSuchPlace, AlreadyThere, NotSupported, BadPacket)
