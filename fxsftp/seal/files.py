"""Whole `.age` files: header and payload in one piece, as any age program writes and reads them.

The server keeps headers and bodies apart and needs this for small things only (KEY.age, a code sealed
to the courier key); the partner's `fxsftp open` reads any `.age` file with it, from a pipe if need be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import BinaryIO

from fxsftp.errors import Forged, NotAge
from fxsftp.seal.format import MAX_HEADER, VERSION
from fxsftp.seal.locks import CodeKey, CodeLock, Identity, Key, Lock, header_for, new_file_key, open_header
from fxsftp.seal.primitives import Aead
from fxsftp.seal.stream import CHUNK, NONCE, SEALED_CHUNK, TAG, Sealer, chunk_nonce, payload_aead

Progress = Callable[[int], None]
"""Hears how many bytes of plaintext are done so far."""


def seal_stream(source: BinaryIO, sink: BinaryIO, *locks: Lock, progress: Progress | None = None) -> int:
    """Write everything `source` gives as an `.age` file to `sink`; return how many bytes went in."""
    file_key = new_file_key()
    sealer = Sealer(file_key)
    sink.write(header_for(file_key, *locks) + sealer.nonce)
    done = 0
    chunk = _fill(source, CHUNK)
    while not sealer.has_ended:
        following = _fill(source, CHUNK) if len(chunk) == CHUNK else b""
        sink.write(sealer.seal(chunk, last=not following))
        done += len(chunk)
        if progress is not None:
            progress(done)
        chunk = following
    return done


def unseal_stream(source: BinaryIO, keys: Sequence[Key], sink: BinaryIO, progress: Progress | None = None) -> int:
    """Write the plaintext of the `.age` file that `source` gives to `sink`; return how many bytes came out.

    Every byte written is authentic, but that they are *all* is only known when this returns: who keeps
    what came before Forged keeps a torn file.  Raises NotAge, CannotOpen or Forged.
    """
    file_key, _ = open_header(_read_header(source), keys)
    nonce = _fill(source, NONCE)
    if len(nonce) != NONCE:
        raise NotAge("it ends with its header")
    aead = payload_aead(file_key, nonce)
    done = index = 0
    has_ended = False
    while not has_ended:
        sealed = _fill(source, SEALED_CHUNK)
        plaintext, has_ended = _unseal_next(aead, index, sealed)
        sink.write(plaintext)
        done += len(plaintext)
        index += 1
        if progress is not None:
            progress(done)
    if source.read(1):
        raise Forged("something follows its end")
    return done


def seal_small(plaintext: bytes, *locks: Lock) -> bytes:
    """Return a whole `.age` file, made in memory."""
    sink = BytesIO()
    seal_stream(BytesIO(plaintext), sink, *locks)
    return sink.getvalue()


def open_small(data: bytes, *keys: Key) -> bytes:
    """Return what a whole `.age` file holds, all of it or nothing.  Raises NotAge, CannotOpen or Forged."""
    sink = BytesIO()
    unseal_stream(BytesIO(data), keys, sink)
    return sink.getvalue()


def code_identity(code: str) -> tuple[Identity, bytes]:
    """Make an identity for one delivery, and KEY.age, which gives it to who knows the code.

    KEY.age is what `age-keygen | age -p` would have made, so `age -d -i KEY.age report.csv.age` asks for
    the code and opens any file sealed to the identity.
    """
    identity = Identity.generate()
    text = f"# public key: {identity.recipient}\n{identity.secret_text()}\n"
    return identity, seal_small(text.encode("ascii"), CodeLock(code))


def open_key_file(key_age: bytes, code: str) -> Identity:
    """Return the identity in a KEY.age, or raise CannotOpen when that is not its code."""
    return Identity.parse(open_small(key_age, CodeKey(code)).decode("utf-8", "replace"))


# ---- reading from a pipe ---------------------------------------------------------------------------


def _read_header(source: BinaryIO) -> bytes:
    line = source.readline(len(VERSION) + 1)
    if line != VERSION + b"\n":
        raise NotAge("it does not begin like one")
    lines = [line]
    room = MAX_HEADER - len(line)
    while not line.startswith(b"---"):
        line = source.readline(room)
        if not line.endswith(b"\n"):
            raise NotAge("its header is cut short or too long")
        lines.append(line)
        room -= len(line)
    return b"".join(lines)


def _unseal_next(aead: Aead, index: int, sealed: bytes) -> tuple[bytes, bool]:
    if len(sealed) < TAG or (index > 0 and len(sealed) == TAG):
        raise Forged("it was cut short")
    if len(sealed) == SEALED_CHUNK:
        try:
            return aead.unseal(chunk_nonce(index, False), sealed), False
        except Forged:
            pass  # a full chunk may be the last one, too
    return aead.unseal(chunk_nonce(index, True), sealed), True


def _fill(source: BinaryIO, count: int) -> bytes:
    """Read `count` bytes, fewer only at the end: a pipe gives less than asked for at any time."""
    data = source.read(count)
    while 0 < len(data) < count:
        more = source.read(count - len(data))
        if not more:
            break
        data += more
    return data
