"""The commit hash: one hash over all verdicts and updates of the channel so far.

    commit_hash(n) = SHA-256( varint(number of codes) ‖ codes ‖ U ‖ commit_hash(n−1) )

U is the marshalled message ``Updates { repeated KVWrite kvwrites = 1 }`` with
``KVWrite { namespace = 1; collection = 2; key = 3; isDelete = 4; value = 5; version_bytes = 6 }``:
one for each key that the block leaves changed, in the order of ``BlockUpdates.entries``. The
namespace stands only in the first of its entries, the collection only in the first of its own. The
genesis block has no commit hash, and block 1 has none before it.

Left out: the empty namespace (channel configuration), metadata, and what expires.

Source: tests/vectors/fabric-3.1.5-raft/README.md, recomputed there for 70 blocks; Fabric,
core/ledger/kvledger/kv_ledger.go and txmgmt/txmgr/update_batch_bytes.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from ledger.state.version import Version, encode_version
from ledger.transactions.codes import TxValidationCode
from ledger.validation.ranges import encode_varint
from ledger.validation.updates import UpdateEntry

# Lengths of keys, values and entries; nearly all are below this.
_VARINTS = [encode_varint(number) for number in range(4096)]


def _varint(number: int) -> bytes:
    return _VARINTS[number] if number < 4096 else encode_varint(number)


def compute_commit_hash(
    codes: Sequence[TxValidationCode], entries: Iterable[UpdateEntry], previous: bytes
) -> bytes:
    """Return the commit hash (32 bytes) of a block.

    Args:
        codes: final codes, one per transaction.
        entries: all updates of the block, in order; those of the empty namespace are passed over.
        previous: commit hash of the block before; empty for block 1.
    """
    parts = [encode_varint(len(codes)), bytes(codes)]
    namespace = collection = ""
    last_version: Version | None = None
    version_field = b""
    for entry in entries:
        if not entry.namespace:
            continue
        head = b""
        if entry.namespace != namespace:
            namespace, collection = entry.namespace, ""
            name = namespace.encode()
            head = b"\x0a%b%b" % (_varint(len(name)), name)
        if entry.collection != collection:
            collection = entry.collection
            name = collection.encode()
            head += b"\x12%b%b" % (_varint(len(name)), name)
        key, value, version, _ = entry.update
        if version != last_version:
            last_version = version
            encoded = encode_version(version)
            version_field = b"\x32%b%b" % (_varint(len(encoded)), encoded)
        name = b"\x1a%b%b" % (_varint(len(key)), key) if key else b""
        if value is None:
            body = b"%b%b\x20\x01%b" % (head, name, version_field)
        else:
            body = b"%b%b\x2a%b%b%b" % (head, name, _varint(len(value)), value, version_field)
        parts.append(b"\x0a%b" % _varint(len(body)))
        parts.append(body)
    parts.append(previous)
    return hashlib.sha256(b"".join(parts)).digest()
