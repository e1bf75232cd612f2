"""Transactions that write to private collections, with the plain sets that belong to them.

The collections stand under contract ``shop``: ``terms`` lives for ever, ``brief`` for two blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fabric_protos.peer import collection_pb2
from fabric_protos.peer.lifecycle import db_pb2

from ledger.state.version import Version
from ledger.transactions.private import (
    PrivateRWSet,
    PrivateWrite,
    encode_private_rwset,
    hash_key,
    hash_value,
)
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedMetadataWrite,
    HashedWrite,
    KVRead,
    KVWrite,
    NamespaceRWSet,
    TxRWSet,
)
from tests.support.chain import make_envelope

SHOP = "shop"
LIVES = {"terms": 0, "brief": 2}
"""Blocks to live, by collection; 0: for ever."""
_NEVER = KVRead("nobody writes this", Version(10**6, 0))


@dataclass(frozen=True)
class Op:
    """What a transaction does to one private key.

    Attributes:
        kind: ``put``, ``delete``, ``purge`` or ``policy``, which writes metadata only.
        value: of a put.
    """

    kind: str
    key: str
    value: bytes = b""


def plain_set(ops: Sequence[Op]) -> bytes:
    """Return the plain write set of *ops*, one a key."""
    ordered = sorted(ops, key=lambda op: op.key)
    return encode_private_rwset(
        PrivateRWSet(
            tuple(
                KVWrite(op.key, op.kind != "put", op.value) for op in ordered if op.kind != "policy"
            ),
            tuple(op.key for op in ordered if op.kind == "policy"),
        )
    )


def hashed_set(collection: str, ops: Sequence[Op]) -> CollectionRWSet:
    """Return the hashes of *ops* as the block carries them."""
    written = [op for op in ops if op.kind != "policy"]
    return CollectionRWSet(
        collection,
        (),
        tuple(
            sorted(
                HashedWrite(
                    hash_key(op.key),
                    op.kind != "put",
                    hash_value(op.value) if op.kind == "put" else b"",
                    op.kind == "purge",
                )
                for op in written
            )
        ),
        tuple(
            sorted(
                HashedMetadataWrite(hash_key(op.key), (("owner", op.value),))
                for op in ops
                if op.kind == "policy"
            )
        ),
        hashlib.sha256(plain_set(ops)).digest(),
    )


def private_write(collection: str, ops: Sequence[Op]) -> PrivateWrite:
    """Return the plain set of *ops* as it travels beside the block."""
    return PrivateWrite(SHOP, collection, plain_set(ops))


def private_envelope(sets: dict[str, Sequence[Op]], nonce: bytes, *, valid: bool = True) -> bytes:
    """Return a transaction that does *sets*, ops by collection; an invalid one falls to MVCC."""
    collections = tuple(hashed_set(name, ops) for name, ops in sorted(sets.items()))
    reads = () if valid else (_NEVER,)
    return make_envelope(
        TxRWSet((NamespaceRWSet(SHOP, reads=reads, collections=collections),)), nonce
    )


def definition_envelope(
    nonce: bytes = b"definition", lives: Mapping[str, int] | None = None
) -> bytes:
    """Return the transaction that says how many blocks the data of each collection live."""
    package = collection_pb2.CollectionConfigPackage()
    for name, blocks in (LIVES if lives is None else lives).items():
        config = package.config.add().static_collection_config
        config.name, config.block_to_live = name, blocks
    value = db_pb2.StateData(Bytes=package.SerializeToString()).SerializeToString()
    write = KVWrite(f"namespaces/fields/{SHOP}/Collections", False, value)
    return make_envelope(TxRWSet((NamespaceRWSet("_lifecycle", writes=(write,)),)), nonce)
