"""What asyncssh does otherwise than we need it, put right on each connection; but for `tuned`, which makes us faster,
nowhere else is it reached into.

Methods are set on single objects, public ones where they serve.  A newer asyncssh that does better or calls them no
more breaks nothing; what we would lose then, a test shows: a full line stops us, a stranger waits, no environment.
The private names in use: `_transport`, `_send_version` and `_recv_handler` (a stranger is to wait before anything is
said or heard), `_send_kexinit`, `_send_deferred_packets`, `_deferred_packets`, `_kex_complete`, `_kexinit_sent` and
`_recv_seq` (what is to be sent waits without end while keys are changed), `_process_env_request` (there is no public
way to refuse one), `_login_timer` with its callback (there is none to give who looks for a phone more time),
`_next_service` (nor to let that be asked for twice), `_send_pktsize` (nor to refuse a client that takes a byte at a
time), and `_close_send` (what was not sent is thrown away before anybody hears of the end).
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncssh

from fxsftp.fronts.sftp.valve import Valve

IGNORE, KEXINIT, NEWKEYS, KEX_LAST = 2, 20, 21, 49  # SSH_MSG_…
UNSENT_MOST = 2 << 20  # bytes; what sessions have said by the time they are choked is less
DEFERRED_MOST = 4 << 20  # bytes; commands are not choked, and may fill a window, of 2 MiB as a rule
DEFERRED = 256  # bytes; what a packet that has to wait costs besides its own
QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux has it
LEAST = 512  # bytes; the smallest packets that a client can have its data in

# Groups 16 and 18 are meant, and nobody who reads the service's log could do anything about it.
warnings.filterwarnings("ignore", "Diffie-Hellman over finite fields", module=r"asyncssh\.")


def hearing(conn: asyncssh.SSHServerConnection) -> Valve:
    """Whether what the client says is heard at all."""
    line: Any = conn

    def turned(is_closed: bool) -> None:
        transport = getattr(line, "_transport", None)
        if transport and not transport.is_closing():
            (transport.pause_reading if is_closed else transport.resume_reading)()

    return Valve(turned)


def mend(
    conn: asyncssh.SSHServerConnection,
    heard: Valve,
    choke: Callable[[bool], None],
    offered: Callable[[bytes, bool], None],
    *,
    change: float,
    give_up: Callable[[], object],
) -> Outflow:
    """Tell `choke` when nothing more can be sent and when it can again, and leave out what only costs.

    `offered` gets the KEXINIT of both sides, ours with True.  `give_up` is called when a change of keys does not end:
    for `change` seconds nothing has moved, or too much waits for it.  What is returned is to be put away in the end.
    """
    line: Any = conn
    outflow = Outflow(conn, heard, choke, change, give_up)

    # An empty IGNORE before every packet hides the next IV of CBC ciphers (RFC 4251, 9.3.1).  None is served here,
    # and without it a download takes up to a fifth less of a core.
    send_packet = conn.send_packet

    def send_what_matters(kind: int, *args: bytes, handler: Any = None) -> None:
        if kind != IGNORE:
            send_packet(kind, *args, handler=handler)
            outflow.said(kind, args)

    line.send_packet = send_what_matters
    _overhear(line, offered)
    return outflow


class Outflow:
    """What is sent on a connection: while much of it waits, sessions serve nothing, and in the end nothing is heard.

    asyncssh takes no notice when its line is full, and keeps what it can't send while keys are changed.  A client with
    an endless window (PuTTY's) that does not read, or never ends a change, would have us keep whatever it asks for.
    """

    def __init__(
        self,
        conn: asyncssh.SSHServerConnection,
        heard: Valve,
        choke: Callable[[bool], None],
        change: float,
        give_up: Callable[[], object],
    ) -> None:
        self._line: Any = conn
        self._heard, self._served = heard, Valve(choke)
        self._change, self._give_up = change, give_up
        self._loop = asyncio.get_running_loop()
        self._is_full = False
        self._deferred = 0  # bytes
        self._timer: asyncio.TimerHandle | None = None

        line: Any = conn
        line.pause_writing, line.resume_writing = self._fill, self._drain
        begin, send_deferred = getattr(line, "_send_kexinit", None), getattr(line, "_send_deferred_packets", None)
        if not (begin and send_deferred):
            return

        def begin_change() -> None:
            begin()
            self._begin_change()

        def end_change() -> None:
            send_deferred()
            self._loop.call_soon(self._end_change)  # when the new keys are in place for both directions

        line._send_kexinit, line._send_deferred_packets = begin_change, end_change

    def said(self, kind: int, args: tuple[bytes, ...]) -> None:
        """A packet is sent, or waits."""
        if kind > KEX_LAST and not getattr(self._line, "_kex_complete", True):
            self._deferred += sum(map(len, args)) + DEFERRED
            if self._deferred > DEFERRED_MOST:
                self._loop.call_soon(self._stop)
        if self._is_full and self._in_line() > UNSENT_MOST:
            self._heard.close("unsent")

    def put_away(self) -> None:
        """The connection has ended: keep nothing for it."""
        if self._timer:
            self._timer.cancel()
        getattr(self._line, "_deferred_packets", []).clear()

    # ---- a full line

    def _fill(self) -> None:
        self._is_full = True
        self._served.close("unsent")

    def _drain(self) -> None:
        self._is_full = False
        self._served.open("unsent")
        self._heard.open("unsent")

    def _in_line(self) -> int:
        """Bytes that the system has not taken yet."""
        transport = getattr(self._line, "_transport", None)
        return transport.get_write_buffer_size() if transport else 0

    # ---- a change of keys

    def _begin_change(self) -> None:
        self._served.close("keys")
        if not self._timer:
            self._look_on()

    def _end_change(self) -> None:
        if not getattr(self._line, "_kex_complete", True):
            return  # the next has begun
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._deferred = 0
        self._served.open("keys")

    def _look_on(self, before: object = None) -> None:
        """Give up if nothing has moved since: what was said before the change has to arrive first."""
        moved = self._moved()
        if moved == before:
            self._stop()
        else:
            self._timer = self._loop.call_later(self._change, self._look_on, moved)

    def _stop(self) -> None:
        if getattr(self._line, "_transport", None):
            self._give_up()

    def _moved(self) -> tuple[int, int]:
        transport = getattr(self._line, "_transport", None)
        if not transport or transport.is_closing():
            return 0, 0
        sock = transport.get_extra_info("socket")
        unacknowledged = int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        # Once we have its KEXINIT, nothing but the change may come (RFC 4253, 7.1), and what comes besides counts not.
        heard = self._line._recv_seq if getattr(self._line, "_kexinit_sent", False) else 0
        return self._in_line() + unacknowledged, heard


def _overhear(line: Any, offered: Callable[[bytes, bool], None]) -> None:
    """Pass on what is offered in the first key exchange, of which nothing has to wait; then no more."""

    def sent(kind: int, _seq: object, payload: bytes) -> None:
        if kind == KEXINIT:
            offered(bytes(payload), True)

    def received(kind: int, _seq: object, packet: Any, _note: str = "") -> None:
        if kind == KEXINIT:
            offered(bytes(packet.get_full_payload()), False)
            _acknowledge(line)
        elif kind == NEWKEYS:
            hush(line)
            _acknowledge(line)

    line.log_sent_packet, line.log_received_packet = sent, received


def _acknowledge(line: Any) -> None:
    """Say at once that what was sent has arrived, though there is nothing to answer to it yet.

    After its KEXINIT and after its NEWKEYS OpenSSH sends one small packet more.  Its system keeps that back until it
    hears of the first (Nagle), and ours would keep back word of the first for an answer to go with: 40 ms each time.
    """
    sock = line.get_extra_info("socket")
    if sock is not None and QUICKACK is not None:
        with suppress(OSError):  # it is no TCP, or has just gone
            sock.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)


def hold(conn: asyncssh.SSHServerConnection, heard: Valve) -> Callable[[], None]:
    """Say and hear nothing on a new connection, not even the version, until what is returned is called."""
    line: Any = conn
    transport, send_version, hear = (
        getattr(line, name, None) for name in ("_transport", "_send_version", "_recv_handler")
    )
    if not (transport and send_version and hear):
        return _nothing
    line._send_version, line._recv_handler = _nothing, _not_yet
    # What the loop reads before it gets here is kept, unheard; what it would read after stays in the socket.
    pause = asyncio.get_running_loop().call_soon(heard.close, "held")

    def go_on() -> None:
        pause.cancel()
        if not transport.is_closing():
            line._recv_handler = hear
            send_version()
            line.data_received(b"")
            heard.open("held")

    return go_on


def ask_twice(conn: asyncssh.SSHServerConnection, is_not_enough: Callable[[], bool]) -> None:
    """Where asyncssh would let somebody in, say that this was right and not enough (RFC 4252, 5.1), if it is not.

    Each method ends with this one call, made when a password was right or a signature was verified.
    """
    line: Any = conn
    let_in, refuse = conn.send_userauth_success, conn.send_userauth_failure

    async def let_in_or_ask_on() -> None:
        if is_not_enough():
            conn.send_userauth_failure(partial_success=True)
        else:
            await let_in()

    def refuse_and_be_asked_anew(partial_success: bool) -> None:
        # paramiko asks for the service again before each of its methods; asyncssh would end the connection.
        line._next_service = b"ssh-userauth"
        refuse(partial_success)

    line.send_userauth_success, line.send_userauth_failure = let_in_or_ask_on, refuse_and_be_asked_anew


def give_time(conn: asyncssh.SSHServerConnection, seconds: float) -> None:
    """From now on, so long until who has not logged in must go: finding a phone takes longer than typing."""
    line: Any = conn
    timer, expired = getattr(line, "_login_timer", None), getattr(line, "_login_timer_callback", None)
    if timer and expired:
        timer.cancel()
        line._login_timer = asyncio.get_running_loop().call_later(seconds, expired)


def turn_away(conn: asyncssh.SSHServerConnection, reason: str) -> None:
    """Close, with a line before the version, which RFC 4253 (4.2) allows and `ssh -v` shows."""
    transport: Any = getattr(conn, "_transport", None)
    if transport and not transport.is_closing():
        transport.write(f"{reason}\r\n".encode())
    conn.abort()


def take_no_environment(chan: asyncssh.SSHServerChannel[bytes]) -> None:
    """Refuse each variable that a client would set; nothing here reads them, and they would be kept."""
    door: Any = chan
    door._process_env_request = _refuse


def cut_no_crumbs(chan: asyncssh.SSHServerChannel[bytes]) -> None:
    """Send data in packets that cost nobody else: one READ would fill 261,120 of a byte, and take seconds."""
    door: Any = chan
    door._send_pktsize = max(getattr(door, "_send_pktsize", LEAST), LEAST)


def unsent_of(chan: asyncssh.SSHServerChannel[bytes]) -> Callable[[], int]:
    """How many bytes have not left, by the client's window; of a channel that is closed, how many never did."""
    door: Any = chan
    close_send, never = getattr(door, "_close_send", _nothing), 0

    def close() -> None:
        nonlocal never
        never += chan.get_write_buffer_size()
        close_send()

    door._close_send = close
    return lambda: never + chan.get_write_buffer_size()


def _refuse(_packet: object) -> bool:
    return False


def hush(speaker: Any) -> None:
    """Make no log line of each packet: asyncssh puts them together before it knows that nobody wants them."""
    speaker.log_sent_packet = speaker.log_received_packet = _nothing


def _not_yet() -> bool:
    return False


def _nothing(*_: object) -> None:
    pass
