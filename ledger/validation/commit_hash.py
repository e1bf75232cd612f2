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
from ledger.validation.updates import UpdateEntry
from ledger.varints import encode_varint


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
    last_namespace = last_collection = ""
    last_version: Version | None = None
    version_field = b""
    for namespace, collection, (key, value, version, _) in entries:
        if not namespace:
            continue
        head = b""
        if namespace != last_namespace:
            last_namespace, last_collection = namespace, ""
            head = _field(b"\x0a", namespace.encode())
        if collection != last_collection:
            last_collection = collection
            head += _field(b"\x12", collection.encode())
        if version is not last_version:
            last_version = version
            version_field = _field(b"\x32", encode_version(version))
        if key:
            head += b"\x1a%b%b" % (encode_varint(len(key)), key)
        if value is None:
            body = b"%b\x20\x01%b" % (head, version_field)
            parts.append(_field(b"\x0a", body))
        else:
            length = encode_varint(len(value))
            size = len(head) + len(length) + len(value) + len(version_field) + 1
            parts.append(
                b"\x0a%b%b\x2a%b%b%b" % (encode_varint(size), head, length, value, version_field)
            )
    parts.append(previous)
    return hashlib.sha256(b"".join(parts)).digest()


def _field(tag: bytes, content: bytes) -> bytes:
    return b"%b%b%b" % (tag, encode_varint(len(content)), content)
