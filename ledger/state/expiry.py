"""Private data that lives for a number of blocks, then goes.

A collection's definition may say ``block_to_live``. A hash written in block *w* then vanishes with
the commit of block ``w + block_to_live + 1``, after that block was validated, unless a later block
has changed it. What goes so takes no part in the commit hash. The plain write sets of block *w* go
with the same block, those of its invalid transactions too.

The definition is read from the state before the block, in ``_lifecycle``, where Fabric's peers have
it. It is all that the ledger understands of what contracts wrote.

Absent: the plain data themselves, see ``ledger.state.private_plan``.

Source: Fabric, core/ledger/kvledger/txmgmt/privacyenabledstate and pvtstatepurgemgmt; observed in
tests/vectors/fabric-3.1.5-raft, blocks 43, 48, 49.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from fabric_protos.peer import collection_pb2
from fabric_protos.peer.lifecycle import db_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.state.keys import decode_expiry, expiry_key, hashed_prefix
from ledger.state.ports import VersionedValue
from ledger.validation.updates import BlockUpdates

SETS = b""
"""What stands in a schedule key in the place of a key's hash when it is about write sets."""

_LIFECYCLE = "_lifecycle"
_NO_BLOCK = 1 << 64


class SchedulingState(Protocol):
    """What is asked of the state before the block."""

    def get(self, namespace: str, key: str) -> VersionedValue | None:
        """Return the entry of a public key, None if absent."""

    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> VersionedValue | None:
        """Return the entry of a private key by the key's SHA-256, None if absent."""

    def expiring(self, number: int) -> Iterator[bytes]:
        """Iterate over the schedule keys of what goes with block *number*."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """What one block does to the schedule, as keys of the database.

    Attributes:
        scheduled: schedule keys to be added.
        removed: private hashes that go, and the schedule keys that are used up.
        hashes: the private keys whose turn it is: namespace, collection, hash of the key, and
            whether the hash goes, not being changed since.
        sets: the plain write sets that go: number of the block, namespace, collection.
    """

    scheduled: tuple[bytes, ...] = ()
    removed: tuple[bytes, ...] = ()
    hashes: tuple[tuple[str, str, bytes, bool], ...] = ()
    sets: tuple[tuple[int, str, str], ...] = ()


def blocks_to_live(state: SchedulingState, namespace: str) -> dict[str, int]:
    """Return for how many blocks the data of a contract's collections live; 0: for ever."""
    entry = state.get(_LIFECYCLE, f"namespaces/fields/{namespace}/Collections")
    if entry is None:
        return {}
    try:
        package = collection_pb2.CollectionConfigPackage.FromString(
            db_pb2.StateData.FromString(entry.value).Bytes
        )
    except ProtobufDecodeError:
        # Such a definition defines nothing (nodes refuse its transactions), so nothing expires.
        return {}
    lives: dict[str, int] = {}
    for config in package.config:
        collection = config.static_collection_config
        lives.setdefault(collection.name, collection.block_to_live)
    return lives


def plan_expiry(
    number: int,
    updates: BlockUpdates,
    collections: Iterable[tuple[str, str]],
    state: SchedulingState,
) -> Expiry:
    """Work out what block *number* schedules and what goes with it.

    Args:
        number: of the block.
        updates: of the block.
        collections: to which any of its transactions writes, valid or not.
        state: before the block.
    """
    lives: dict[str, dict[str, int]] = {}
    expiries: dict[tuple[str, str], int] = {}
    scheduled: list[bytes] = []
    for namespace, collection in sorted(set(collections)):
        # Once a contract: a transaction may name any number of its collections.
        if namespace not in lives:
            lives[namespace] = blocks_to_live(state, namespace)
        blocks = lives[namespace].get(collection, 0)
        expiry = number + blocks + 1
        # Beyond the last number that a block can have, as in Fabric, is never.
        if blocks and expiry < _NO_BLOCK:
            expiries[namespace, collection] = expiry
            scheduled.append(expiry_key(expiry, number, namespace, collection, SETS))
    for namespace, collection, changed in updates.hashed():
        if (namespace, collection) in expiries:
            expiry = expiries[namespace, collection]
            scheduled.extend(
                expiry_key(expiry, number, namespace, collection, key_hash)
                for key_hash, update in sorted(changed.items())
                if update.value is not None
            )
    return _plan_removal(number, updates, state, scheduled)


def _plan_removal(
    number: int, updates: BlockUpdates, state: SchedulingState, scheduled: list[bytes]
) -> Expiry:
    removed: list[bytes] = []
    hashes: list[tuple[str, str, bytes, bool]] = []
    sets: list[tuple[int, str, str]] = []
    for key in state.expiring(number):
        written, namespace, collection, key_hash = decode_expiry(key)
        removed.append(key)
        if key_hash == SETS:
            sets.append((written, namespace, collection))
            continue
        goes = False
        if key_hash not in updates.of(namespace).hashed.get(collection, ()):
            entry = state.get_hashed(namespace, collection, key_hash)
            goes = entry is not None and entry.version.block_num == written
        if goes:
            removed.append(hashed_prefix(namespace, collection) + key_hash)
        hashes.append((namespace, collection, key_hash, goes))
    return Expiry(tuple(scheduled), tuple(removed), tuple(hashes), tuple(sets))
