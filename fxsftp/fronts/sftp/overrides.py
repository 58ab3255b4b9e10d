"""What asyncssh does otherwise than we need it, put right on each connection; nowhere else is it reached into.

Methods are set on single objects, public ones where they serve.  A newer asyncssh that does better or calls them no
more breaks nothing; what we would lose then, a test shows: a full line stops us, a stranger waits, no environment.
The private names in use: `_transport`, `_send_version` and `_recv_handler` (a stranger is to wait before anything is
said or heard), `_process_env_request` (there is no public way to refuse one), `_login_timer` with its callback
(there is none to give who looks for a phone more time), `_next_service` (nor to let that be asked for twice), and
`_send_pktsize` (nor to refuse a client that takes a byte at a time), and `_close_send` (what was not sent is thrown
away before anybody hears of the end).  What only makes us faster is in `tuned`.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import asyncssh

IGNORE, KEXINIT, NEWKEYS = 2, 20, 21  # SSH_MSG_…
LEAST = 512  # bytes; the smallest packets that a client can have its data in

# Groups 16 and 18 are meant, and nobody who reads the service's log could do anything about it.
warnings.filterwarnings("ignore", "Diffie-Hellman over finite fields", module=r"asyncssh\.")


def mend(
    conn: asyncssh.SSHServerConnection, choke: Callable[[bool], None], offered: Callable[[bytes, bool], None]
) -> None:
    """Tell `choke` when the line is full and when it has room again, and leave out what only costs.

    `offered` gets the KEXINIT of both sides, ours with True.
    """
    # asyncssh takes no notice when its line is full; a client with an endless window (PuTTY's) that does
    # not read would have us keep for it whatever it asks for.
    line: Any = conn
    line.pause_writing = lambda: choke(True)
    line.resume_writing = lambda: choke(False)

    # An empty IGNORE before every packet hides the next IV of CBC ciphers (RFC 4251, 9.3.1).  None is served here,
    # and without it a download takes up to a fifth less of a core.
    send_packet = conn.send_packet

    def send_what_matters(kind: int, *args: bytes, handler: Any = None) -> None:
        if kind != IGNORE:
            send_packet(kind, *args, handler=handler)

    line.send_packet = send_what_matters
    _overhear(line, offered)


def _overhear(line: Any, offered: Callable[[bytes, bool], None]) -> None:
    """Pass on what is offered in the first key exchange, then no more."""

    def sent(kind: int, _seq: object, payload: bytes) -> None:
        if kind == KEXINIT:
            offered(bytes(payload), True)
        elif kind == NEWKEYS:
            hush(line)

    def received(kind: int, _seq: object, packet: Any, _note: str = "") -> None:
        if kind == KEXINIT:
            offered(bytes(packet.get_full_payload()), False)

    line.log_sent_packet, line.log_received_packet = sent, received


def hold(conn: asyncssh.SSHServerConnection) -> Callable[[], None]:
    """Say and hear nothing on a new connection, not even the version, until what is returned is called."""
    line: Any = conn
    transport, send_version, hear = (
        getattr(line, name, None) for name in ("_transport", "_send_version", "_recv_handler")
    )
    if not (transport and send_version and hear):
        return _nothing
    line._send_version, line._recv_handler = _nothing, _not_yet
    # What the loop reads before it gets here is kept, unheard; what it would read after stays in the socket.
    asyncio.get_running_loop().call_soon(transport.pause_reading)

    def go_on() -> None:
        if not transport.is_closing():
            line._recv_handler = hear
            send_version()
            line.data_received(b"")
            transport.resume_reading()

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
