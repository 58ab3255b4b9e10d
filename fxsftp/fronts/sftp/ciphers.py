"""The two ciphers of SSH that authenticate, each an object that is kept as long as its key.

A packet is its size, what is sealed, and a tag.  It is unsealed and sealed from memory into memory, so that nothing is
copied that need not be.  How packets are taken from a connection and given to it, `tuned` knows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

SIZE, TAG = 4, 16  # bytes before and behind what is sealed
FORGED = (InvalidTag, InvalidSignature)
_BLOCK = bytes(64)  # of ChaCha20


class Seal(ABC):
    """A cipher that authenticates, kept as long as its key.  Its second half is for asyncssh, with the same counter."""

    block: int  # what is sealed is a multiple of so many bytes

    @abstractmethod
    def size(self, seq: int, view: memoryview, at: int) -> int:
        """The length of the packet that begins at `at`; not to be trusted yet."""

    @abstractmethod
    def open(self, seq: int, packet: memoryview, into: memoryview) -> None:
        """Unseal a packet, or raise one of FORGED before a byte of it is looked at."""

    @abstractmethod
    def seal(self, seq: int, body: memoryview, into: memoryview) -> None:
        """Seal a packet."""

    def encrypt_packet(self, seq: int, _header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        """The packet with its header, and no MAC beside it."""
        sealed = bytearray(SIZE + len(packet) + TAG)
        self.seal(seq, memoryview(packet), memoryview(sealed))
        return bytes(sealed), b""

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        """The first block as it was, and the length."""
        return first_block, self.size(seq, memoryview(first_block), 0).to_bytes(header_len, "big")

    def decrypt_packet(self, seq: int, first: bytes, rest: bytes, _header_len: int, mac: bytes) -> bytes | None:
        """The packet, or None if it was forged."""
        packet = memoryview(first + rest + mac)
        opened = bytearray(max(len(packet) - SIZE - TAG, 0))
        try:
            self.open(seq, packet, memoryview(opened))
        except FORGED:
            return None
        return bytes(opened)


class Gcm(Seal):
    """AES-GCM as SSH has it (RFC 5647): the length is authenticated and not sealed, and packets count the nonce on."""

    block = 16

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aead, self._fixed, self._count = AESGCM(key), iv[:4], int.from_bytes(iv[4:], "big")

    def _nonce(self) -> bytes:
        count = self._count
        self._count = (count + 1) & 0xFFFFFFFFFFFFFFFF
        return self._fixed + count.to_bytes(8, "big")

    def size(self, seq: int, view: memoryview, at: int) -> int:  # noqa: ARG002
        return int.from_bytes(view[at : at + SIZE], "big")

    def open(self, seq: int, packet: memoryview, into: memoryview) -> None:  # noqa: ARG002
        self._aead.decrypt_into(self._nonce(), packet[SIZE:], packet[:SIZE], into)

    def seal(self, seq: int, body: memoryview, into: memoryview) -> None:  # noqa: ARG002
        into[:SIZE] = head = len(body).to_bytes(SIZE, "big")
        self._aead.encrypt_into(self._nonce(), body, head, into[SIZE:])


class Chacha(Seal):
    """chacha20-poly1305@openssh.com (PROTOCOL.chacha20poly1305): two keys, and the packet's number for a nonce."""

    block = 8

    def __init__(self, main: bytes, sizes: bytes) -> None:
        self._main, self._sizes = (Cipher(ChaCha20(key, bytes(16)), None).encryptor() for key in (main, sizes))

    def _begin(self, seq: int) -> bytes:
        """Go to the packet of this number; answers the key of its MAC.  What follows is sealed from block 1 on."""
        self._main.reset_nonce(seq.to_bytes(16, "big"))  # the first half is the counter, of blocks of 64 bytes
        return self._main.update(_BLOCK)[:32]

    def _size(self, seq: int, size: bytes | memoryview) -> bytes:
        self._sizes.reset_nonce(seq.to_bytes(16, "big"))
        return self._sizes.update(size)

    def size(self, seq: int, view: memoryview, at: int) -> int:
        return int.from_bytes(self._size(seq, view[at : at + SIZE]), "big")

    def open(self, seq: int, packet: memoryview, into: memoryview) -> None:
        Poly1305.verify_tag(self._begin(seq), packet[:-TAG], bytes(packet[-TAG:]))
        self._main.update_into(packet[SIZE:-TAG], into)

    def seal(self, seq: int, body: memoryview, into: memoryview) -> None:
        into[:SIZE] = self._size(seq, len(body).to_bytes(SIZE, "big"))
        key = self._begin(seq)
        self._main.update_into(body, into[SIZE:-TAG])
        into[-TAG:] = Poly1305.generate_tag(key, into[:-TAG])
