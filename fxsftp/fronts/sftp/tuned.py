"""SSH's packets at the speed of the machine: what asyncssh's private names are needed for, and no more.

House rules.  A connection becomes a TunedConnection and its channel a TunedChannel while they are objects of asyncssh;
nothing is patched for others.  Only data on an open channel, and the room for more of it, go by here, and these under
AES-GCM or ChaCha20-Poly1305.  Every other packet (key exchange, log-in, requests, whatever is malformed) is handed to
asyncssh's own methods, one at a time and with their own checks.  `begin` compares what is built on with PINNED, and
where it is not the same all is served as asyncssh does it, with one line in the log.  What makes us robust, and not
fast, is in `overrides`, the only other place where private names of asyncssh are used, and stays.

Why, and what asyncssh would have to do so that it could go:

| what | why | gone with |
|---|---|---|
| Intake | all that arrived was put into a new object each time | a BufferedProtocol |
| serve, _recv_data, _serve_any | each packet was cut off the front of all that had arrived, twice | an index |
| _serve_data, _serve_opened, _may_open | between the cipher and the session lay five copies | `decrypt_into` |
| has_room, take, widen | and between two numbers eleven calls | one call for data and for room |
| send_data, _send_some, may_seal | answers were copied nine times | `encrypt_into` |
| write, writelines, _flush_send_buf | and sent packet by packet | pieces sent together |
| send_newkeys, Gcm, Chacha | the object of a cipher was made anew for each packet | keeping it |
| send_packet, in `overrides` | an empty SSH_MSG_IGNORE went before each packet | sending it for CBC alone |
| _steer | OpenSSH's first choice, ChaCha20, costs a fifth to a third more than AES-GCM | nothing: it is our choice |

What `_steer` does is not seen in the first exchange of keys, which offers what `algorithms` says: whoever names OpenSSH
and has AES-GCM too gets new keys for it, once, when enough has been moved.  To offer it alone from the start would turn
those away whose owners have chosen something else, and to wait with our offer for theirs takes a round trip of each.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import os
import struct
import sys
import time
from collections.abc import Iterable, Mapping
from functools import cache
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncssh

from fxsftp.fronts.sftp.algorithms import Offer
from fxsftp.fronts.sftp.ciphers import FORGED, SIZE, TAG, Chacha, Gcm
from fxsftp.fronts.sftp.valve import Valve

log = logging.getLogger("fxsftp.sftp")

BETTER = (b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com")
WINDOW_ADJUST, CHANNEL_DATA = 93, 94  # SSH_MSG_CHANNEL_…
HEAD = 10  # bytes before the data in what is sealed: length of the padding, kind, channel, length of the data
RECEIVED = 256 << 10  # bytes taken from the socket at a time
PACKET = 256 << 10  # bytes; asyncssh takes none that is longer
KEPT = 2 * PACKET  # bytes; no more is received while nothing is served, as in the middle of an exchange of keys
TOGETHER = 256 << 10  # bytes sealed at a time, and given to the socket with one call
STEER = 8 << 20  # bytes moved until another cipher is worth an exchange of keys, which takes us some 5 ms
ROUND = 32 << 10  # bytes; what coming and going count for besides, since ChaCha20 costs 18 µs more each time
ALIVE = 16  # parts of the time after which a silent client is asked; the timer is set anew once in each

SEALS = frozenset((Gcm, Chacha))  # asked for nine times a request: isinstance of an abstract class costs 3 µs of it
_DATA = struct.Struct(">BBII")


def begin() -> Tuning | None:
    """Something to tune connections with, for one loop; None if asyncssh is not as we know it."""
    unlike = [name for name, (functions, digest) in PINNED.items() if _digest(name, functions) != digest]
    if not unlike:
        return Tuning()
    log.warning(
        "asyncssh %s is not as it is tuned for (%s); SFTP is served all the same, slower",
        asyncssh.__version__, ", ".join(unlike),
    )  # fmt: skip
    return None


class Tuning:
    """The buffers that the connections of one loop share.

    One connection at a time uses them, and nothing stays in them: from asking where to receive until the last packet
    received is served, a loop does nothing else.
    """

    def __init__(self) -> None:
        self.received = memoryview(bytearray(KEPT + RECEIVED))
        self.opened = memoryview(bytearray(PACKET))
        self.to_seal = memoryview(bytearray(PACKET))

    def connection(self, conn: asyncssh.SSHServerConnection, heard: Valve) -> None:
        """Tune a connection that was just made, before anything was received; it closes `heard` when too much waits."""
        transport: Any = conn._transport
        if type(conn) is asyncssh.SSHServerConnection and hasattr(transport, "set_protocol"):
            conn.__class__ = TunedConnection
            assert isinstance(conn, TunedConnection)
            conn._tuning, conn._heard = self, heard
            conn._moved = 0 if _has_aes() else -sys.maxsize
            transport.set_protocol(Intake(conn, self.received))


def tune(chan: asyncssh.SSHServerChannel[bytes]) -> None:
    """Tune a channel, before anything is written, if its connection is tuned."""
    if type(chan) is asyncssh.SSHServerChannel and isinstance(chan.get_connection(), TunedConnection):
        chan.__class__ = TunedChannel


class Intake(asyncio.BufferedProtocol):
    """Stands before a connection, so that its transport receives into a buffer of ours."""

    def __init__(self, conn: TunedConnection, buffer: memoryview) -> None:
        self._conn, self._buffer, self._kept = conn, buffer, 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where to receive: after what was kept of what came before."""
        kept = self._conn._inpbuf
        self._kept = len(kept)
        self._buffer[: self._kept] = kept
        return self._buffer[self._kept : self._kept + RECEIVED]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were received."""
        self._conn.serve(self._buffer, self._kept + nbytes)

    def pause_writing(self) -> None:
        self._conn.pause_writing()

    def resume_writing(self) -> None:
        self._conn.resume_writing()

    def eof_received(self) -> None:
        self._conn.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._conn.connection_lost(exc)


class TunedConnection(asyncssh.SSHServerConnection):
    """A connection whose packets are taken from a buffer where they lie."""

    _tuning: Tuning
    _heard: Valve  # closed when so much has to wait that no more may be received
    _moved: int  # bytes in both directions; far below 0 where no other cipher is wished for
    _alive: float = 0.0  # when the timer of who is silent was set

    # ---- receiving

    def _recv_data(self) -> None:
        """Go on with what had to wait."""
        waiting, self._inpbuf = self._inpbuf, b""
        self.serve(memoryview(waiting), len(waiting))
        if len(self._inpbuf) < KEPT:
            self._heard.open("unserved")

    def serve(self, view: memoryview, end: int) -> None:
        """Serve the packets that lie before `end`, and keep what is there of one that is not whole."""
        if (now := self._loop.time()) - self._alive >= self._keepalive_interval / ALIVE:
            self._alive = now
            self._reset_keepalive_timer()
        self._inpbuf, at = b"", 0
        try:
            while at < end and self._transport:
                known, serves = at, self._recv_handler
                at = self._serve_data(view, at, end) if self._may_open() else self._serve_any(view, at, end)
                if at == known and serves == self._recv_handler:
                    break
            self._moved += at + ROUND
            if self._moved >= STEER:
                self._steer()
        except asyncssh.DisconnectError as error:
            self._send_disconnect(error.code, error.reason, error.lang)
            self._force_close(error)
        except Exception:  # noqa: BLE001  # as asyncssh: whatever it is, it ends this connection and no other
            self.internal_error()
        finally:
            self._inpbuf = bytes(view[at:end]) if self._transport else b""
            if len(self._inpbuf) >= KEPT:
                self._heard.close("unserved")

    def _may_open(self) -> bool:
        cipher: Any = self._recv_encryption
        return type(cipher) in SEALS and not self._decompressor and self._recv_handler == self._recv_pkthdr

    def _serve_data(self, view: memoryview, at: int, end: int) -> int:
        """Serve sealed packets until one is not whole or had to do with keys; answers how far that was."""
        cipher: Any = self._recv_encryption
        opened, channels = self._tuning.opened, self._channels
        while end - at >= SIZE + TAG and self._transport:
            seq = self._recv_seq
            size = cipher.size(seq, view, at)
            if size > PACKET:
                raise asyncssh.ProtocolError("Max packet size exceeded")
            stop = at + SIZE + size + TAG
            if stop > end:
                break
            try:
                cipher.open(seq, view[at:stop], opened[:size])
            except FORGED:
                raise asyncssh.MACError("MAC verification failed") from None
            if size > HEAD and WINDOW_ADJUST <= opened[1] <= CHANNEL_DATA:
                padding, kind, number, count = _DATA.unpack_from(opened)  # of bytes: they come, or may be sent
                length = count if kind == CHANNEL_DATA else 0
                chan = channels.get(number)
                is_whole = padding and HEAD + length + padding == size
                if is_whole and isinstance(chan, TunedChannel) and chan.has_room(length):
                    at, self._recv_seq, self._auth_final = stop, (seq + 1) & 0xFFFFFFFF, True
                    if kind == CHANNEL_DATA:
                        chan.take(opened[HEAD : HEAD + length])
                    else:
                        chan.widen(count)
                    continue
            is_done = self._serve_opened(view[at:stop], cipher, bytes(opened[:size]))
            at = stop
            if not is_done or self._recv_encryption is not cipher:
                break
        return at

    def _serve_opened(self, packet: memoryview, cipher: Any, opened: bytes) -> bool:
        """Let asyncssh serve one packet that is open already: whether it has."""
        first = self._recv_blocksize
        self._packet, self._inpbuf, self._pktlen = bytes(packet[:first]), bytes(packet[first:]), len(opened)
        self._recv_handler = self._recv_packet
        once: Any = _Opened(opened)
        self._recv_encryption = once
        try:
            return self._recv_packet()
        finally:
            if self._recv_encryption is once:  # and not the one that NEWKEYS has put there
                self._recv_encryption = cipher

    def _serve_any(self, view: memoryview, at: int, end: int) -> int:
        """Let asyncssh go one step, with no more than it looks at; answers how far that was."""
        count = end - at
        if self._recv_handler == self._recv_pkthdr:
            count = self._recv_blocksize
        elif self._recv_handler == self._recv_packet:
            count = max(SIZE + self._pktlen + self._recv_macsize - self._recv_blocksize, 0)
        if count > end - at:
            return at
        self._inpbuf = bytes(view[at : at + count])
        self._recv_handler()
        left, self._inpbuf = len(self._inpbuf), b""
        return at + count - left

    # ---- sending

    def may_seal(self) -> bool:
        """Whether data may be sealed and sent as it is: no keys are, or are to be, exchanged."""
        cipher: Any = self._send_encryption
        return bool(
            self._kex_complete
            and self._auth_complete
            and type(cipher) in SEALS
            and not self._compressor
            and self._rekey_bytes_sent < self._rekey_bytes
            and (not self._rekey_seconds or time.monotonic() < self._rekey_time)
        )

    def send_data(self, number: int, pieces: Iterable[bytes | bytearray | memoryview], total: int, most: int) -> None:
        """Send `pieces`, `total` bytes in all, as data on a channel, in packets of at most `most`."""
        cipher: Any = self._send_encryption
        to_seal, block, seq = self._tuning.to_seal, cipher.block, self._send_seq
        most, length = min(most, PACKET - 64), 0
        sealed = bytearray(total + -(-total // most) * (SIZE + HEAD + TAG + 4 + block))
        into, at, sources = memoryview(sealed), 0, iter(pieces)
        source, used = memoryview(next(sources)), 0
        while total:
            if length != min(most, total):  # the first, and a shorter last; what is between is of one size
                length = min(most, total)
                padding = 4 + -(HEAD + length + 4) % block
                size = HEAD + length + padding
                body = to_seal[:size]
                _DATA.pack_into(body, 0, padding, CHANNEL_DATA, number, length)
                body[HEAD + length :] = os.urandom(padding)
            filled = HEAD
            while filled < HEAD + length:
                if used == len(source):
                    source, used = memoryview(next(sources)), 0
                part = min(len(source) - used, HEAD + length - filled)
                to_seal[filled : filled + part] = source[used : used + part]
                filled, used = filled + part, used + part
            stop = at + SIZE + size + TAG
            cipher.seal(seq, body, into[at:stop])
            at, seq, total = stop, (seq + 1) & 0xFFFFFFFF, total - length
        self._send_seq = seq
        self._rekey_bytes_sent += at
        self._moved += at
        self._send(into[:at])  # type: ignore[arg-type]  # which every transport takes

    # ---- keys

    def _steer(self) -> None:
        """Ask OpenSSH for new keys, for a cipher that costs less than the one it prefers."""
        if not self._kex_complete or self._next_recv_encryption or not self._transport:
            return
        self._moved = -sys.maxsize
        theirs = Offer.parse(self._client_kexinit)
        if b"OpenSSH" not in self._client_version or not theirs or {self._enc_alg_cs, self._enc_alg_sc} <= set(BETTER):
            return
        better = [name for name in self._enc_algs if name in BETTER]
        if all(any(name.decode() in offered for name in better) for offered in theirs.ciphers):
            self._enc_algs = better
            self._send_kexinit()
            self._kexinit_sent = True

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        """Finish an exchange of keys, with ciphers of ours."""
        super().send_newkeys(k, h)
        self._send_encryption = _kept(self._send_encryption)
        self._next_recv_encryption = _kept(self._next_recv_encryption)


class TunedChannel(asyncssh.SSHServerChannel[bytes]):
    """A channel that copies nothing it need not."""

    def has_room(self, length: int) -> bool:
        """Whether so much data is welcome."""
        return self._recv_state == "open" and length <= self._recv_window

    def take(self, data: memoryview) -> None:
        """Accept data, which is not kept after."""
        self._accept_data(bytes(data))

    def widen(self, more: int) -> None:
        """The client has room for so much more."""
        self._send_window += more
        self._flush_send_buf()

    def write(self, data: bytes, datatype: int | None = None) -> None:
        """Send data."""
        if datatype is None:
            self.writelines((data,))
        else:
            super().write(data, datatype)

    def writelines(self, list_of_data: Iterable[bytes], datatype: int | None = None) -> None:
        """Send several pieces of data, none of which will be changed."""
        if datatype is not None:
            super().writelines(list_of_data, datatype)
            return
        if self._send_state != "open":
            raise BrokenPipeError("Channel not open for sending")
        unsent: list[Any] = self._send_buf
        for data in list_of_data:
            if data:
                unsent.append((data, None))
                self._send_buf_len += len(data)
        self._flush_send_buf()

    def _flush_send_buf(self) -> None:
        conn: Any = self._conn
        while self._send_window and self._send_buf and self._send_buf[0][1] is None and conn.may_seal():
            self._send_some(conn)
        if self._send_window and self._send_buf:  # for stderr, or in the middle of an exchange of keys
            self._send_buf = [(bytearray(data), kind) for data, kind in self._send_buf]  # it cuts pieces off
        super()._flush_send_buf()

    def _send_some(self, conn: TunedConnection) -> None:
        unsent: list[Any] = self._send_buf
        most, total, count = min(self._send_window, TOGETHER), 0, 0
        pieces: list[bytes | bytearray | memoryview] = []
        while total < most and count < len(unsent) and unsent[count][1] is None:
            piece = unsent[count][0]
            if len(piece) > most - total:
                whole = memoryview(piece)
                piece, unsent[count] = whole[: most - total], (whole[most - total :], None)
            else:
                count += 1
            pieces.append(piece)
            total += len(piece)
        del unsent[:count]
        self._send_buf_len -= total
        self._send_window -= total
        assert self._send_chan is not None
        conn.send_data(self._send_chan, pieces, total, self._send_pktsize)


# ---- ciphers ---------------------------------------------------------------------------------------


class _Opened:
    """Stands for the cipher of a packet that is open already."""

    def __init__(self, opened: bytes) -> None:
        self._opened = opened

    def decrypt_packet(self, *_: object) -> bytes:
        return self._opened


def _kept(cipher: Any) -> Any:
    """A cipher of ours that goes on where asyncssh's stands; those that need a MAC beside them stay as they are."""
    if type(cipher) is asyncssh.encryption.GCMEncryption:
        return Gcm(cipher._cipher._key, cipher._cipher._iv)
    if type(cipher) is asyncssh.encryption.ChachaEncryption:
        return Chacha(cipher._cipher._key, cipher._cipher._adkey)
    return cipher


@cache
def _has_aes() -> bool:
    """Whether this machine has instructions for it: without them, ChaCha20 is faster."""
    try:
        return "aes" in Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False


# ---- what this is built on -------------------------------------------------------------------------

_CIPHER = "__init__ encrypt_packet decrypt_header decrypt_packet"
_CHACHA = "__init__ encrypt_and_sign decrypt_header verify_and_decrypt"

# Of asyncssh 2.24.1: whose functions are overridden here, called, or taken for granted, and the digest of their source.
PINNED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "connection.SSHConnection": (
            "__init__ connection_made data_received _recv_data _recv_version _recv_pkthdr _recv_packet "
            "_finish_recv_packet send_packet _send _send_disconnect _send_deferred_packets _send_kexinit send_newkeys "
            "_process_kexinit _process_newkeys _reset_keepalive_timer internal_error _force_close _cleanup",
            "343edf18c0b5756d",
        ),
        "channel.SSHChannel": (
            "__init__ write writelines _flush_send_buf _pause_resume_writing _close_send _accept_data _deliver_data "
            "_flush_recv_buf _process_data _process_window_adjust",
            "03a3ca398f96fba2",
        ),
        "encryption.GCMEncryption": (_CIPHER, "b11ded1915d63063"),
        "encryption.ChachaEncryption": (_CIPHER, "229be9a0f0d1d4f3"),
        "crypto.cipher.GCMCipher": ("__init__ _update_iv encrypt_and_sign verify_and_decrypt", "0401d0242e007489"),
        "crypto.chacha.ChachaCipher": (_CHACHA, "3659f4fb16387940"),
    }
)


def _digest(name: str, functions: str) -> str:
    """What the functions of a class are known by: their sources, and so their names, signatures and all they do."""
    try:
        found = attrgetter(name)(asyncssh)
        sources = [_source(getattr(found, function)) for function in functions.split()]
    except (AttributeError, OSError, TypeError):
        return ""
    return hashlib.sha256("".join(sources).encode()).hexdigest()[:16]


_source = cache(inspect.getsource)  # 30 ms for all of them, which a process with several loops spends once
