"""Seals: files are encrypted while they arrive, and opened by whoever holds a key to one of their locks.

A body is an age v1 payload, stored once under a random file key; a header offers locks to that key.
They are kept apart, and put one behind the other they are an ordinary `.age` file:

    file_key = new_file_key()
    draft = Draft(file_key, new_blob)               # bytes arrive in any order, sealed as they come
    draft.write(0, b"a;b;c\\n")
    body = draft.finish()                           # durable when this returns

    header = header_for(file_key, X25519Lock.parse("age1…"), SshLock("ssh-ed25519 AAAA…"))
    header + body.small                             # `age -d -i …` opens it, and so does open_small

Nothing here knows users, shipments or where blobs lie, and nothing here decides who may open what.
"""

from fxsftp.seal.ahead import Crowd
from fxsftp.seal.blobs import Blob, Body, Sealed, SmallBody, Stored
from fxsftp.seal.drafts import Draft
from fxsftp.seal.files import code_identity, open_key_file, open_small, seal_small, seal_stream, unseal_stream
from fxsftp.seal.hashing import Pause
from fxsftp.seal.locks import (
    CodeKey,
    CodeLock,
    Identity,
    Key,
    Lock,
    SshKey,
    SshLock,
    X25519Key,
    X25519Lock,
    header_for,
    new_drop_key,
    new_file_key,
    open_header,
    parse_recipient,
    unwrap_under,
    usable_for_sealing,
    wrap_under,
)
from fxsftp.seal.primitives import (
    PublicKey,
    hash_password,
    load_public_key,
    needs_rehash,
    random_bytes,
    verify_password,
)
from fxsftp.seal.segments import digest, merge, pieces_reader
from fxsftp.seal.stream import CHUNK, Unsealer, age_read, bytes_at, payload_size, plain_size

__all__ = [
    "CHUNK",
    "Blob",
    "Body",
    "CodeKey",
    "CodeLock",
    "Crowd",
    "Draft",
    "Identity",
    "Key",
    "Lock",
    "Pause",
    "PublicKey",
    "Sealed",
    "SmallBody",
    "SshKey",
    "SshLock",
    "Stored",
    "Unsealer",
    "X25519Key",
    "X25519Lock",
    "age_read",
    "bytes_at",
    "code_identity",
    "digest",
    "hash_password",
    "header_for",
    "load_public_key",
    "merge",
    "needs_rehash",
    "new_drop_key",
    "new_file_key",
    "open_header",
    "open_key_file",
    "open_small",
    "parse_recipient",
    "payload_size",
    "pieces_reader",
    "plain_size",
    "random_bytes",
    "seal_small",
    "seal_stream",
    "unseal_stream",
    "unwrap_under",
    "usable_for_sealing",
    "verify_password",
    "wrap_under",
]
