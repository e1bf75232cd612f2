"""Private simulations against a naive recorder: any list of calls gives the same three sets."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from hypothesis import given
from hypothesis import strategies as st

from ledger.state.version import Version
from tests.support.memory_state import MemoryState
from tests.support.operations import simulate
from tests.support.toy_package import define

COLLECTIONS = st.sampled_from(["terms", "kyc", "_implicit_org_BankMSP"])
KEYS = st.sampled_from(["a", "aa", "b", "ñ", "\uffff", "\U0001f600"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("private put"), COLLECTIONS, KEYS, st.sampled_from(["", "x", "y"])),
        st.tuples(st.sampled_from(["private del", "private purge"]), COLLECTIONS, KEYS),
        st.tuples(st.just("private policy"), COLLECTIONS, KEYS, st.sampled_from([None, "p"])),
        st.tuples(st.sampled_from(["private get", "private hash"]), COLLECTIONS, KEYS),
        st.tuples(st.just("private many"), COLLECTIONS, st.lists(KEYS, max_size=3)),
        st.tuples(st.just("put"), KEYS, st.just("public")),
    ).map(list),
    max_size=12,
)
STATES = st.dictionaries(
    st.tuples(COLLECTIONS, KEYS), st.tuples(st.integers(2, 9), st.integers(0, 3)), max_size=8
)


def by_bytes(item: tuple[str, Any]) -> bytes:
    return item[0].encode()


def digest(raw: bytes | str) -> bytes:
    return sha256(raw.encode() if isinstance(raw, str) else raw).digest()


class Naive:
    """What one collection's sets must be, by the rules as they are written down."""

    def __init__(self) -> None:
        self.reads: dict[str, tuple[int, int] | None] = {}
        self.writes: dict[str, tuple[str, bool]] = {}
        self.policies: dict[str, str] = {}

    def plain(self) -> bytes:
        """The private set: keys, values, and the keys of policies."""
        found = kv_rwset_pb2.KVRWSet()
        for key, (value, _purge) in sorted(self.writes.items(), key=by_bytes):
            found.writes.add(key=key, is_delete=not value, value=value.encode())
        for key, _policy in sorted(self.policies.items(), key=by_bytes):
            found.metadata_writes.add(key=key)
        return found.SerializeToString()

    def hashed(self) -> bytes:
        """The public set of hashes."""
        found = kv_rwset_pb2.HashedRWSet()
        for key, version in sorted(self.reads.items(), key=by_bytes):
            read = found.hashed_reads.add(key_hash=digest(key))
            if version is not None:
                read.version.block_num, read.version.tx_num = version
        for key, (value, purge) in sorted(self.writes.items(), key=by_bytes):
            found.hashed_writes.add(
                key_hash=digest(key),
                is_delete=not value,
                value_hash=digest(value) if value else b"",
                is_purge=purge,
            )
        for key, policy in sorted(self.policies.items(), key=by_bytes):
            written = found.metadata_writes.add(key_hash=digest(key))
            written.entries.add(name="VALIDATION_PARAMETER", value=policy.encode())
        return found.SerializeToString()


def naive(
    committed: dict[tuple[str, str], tuple[int, int]], operations: list[list[Any]]
) -> dict[str, Naive]:
    """Record one operation after another."""
    found: dict[str, Naive] = {}
    for name, *args in operations:
        if name == "put":
            continue
        record = found.setdefault(args[0], Naive())
        if name in ("private get", "private hash"):
            record.reads[args[1]] = committed.get((args[0], args[1]))
        elif name == "private many":
            record.reads |= {key: committed.get((args[0], key)) for key in args[1]}
        elif name == "private put":
            record.writes[args[1]] = (args[2], False)
        elif name == "private policy":
            record.policies[args[1]] = args[2] or ""
        else:
            record.writes[args[1]] = ("", name == "private purge")
    return found


@given(STATES, OPERATIONS)
def test_private_simulation_records_what_the_rules_say(
    committed: dict[tuple[str, str], tuple[int, int]], operations: list[list[Any]]
) -> None:
    """Hashed set, private set and its hash are those of the naive recorder, byte for byte."""
    state = MemoryState()
    define(state, "ops", "1")
    for (collection, key), version in committed.items():
        value = f"{collection}/{key}".encode()
        state.put_private("ops", collection, key, value, Version(*version))
    result = simulate(state, b"Run", json.dumps(operations).encode())
    assert result.status == 200, result.message

    expected = naive(committed, operations)
    touched = {name for name, each in expected.items() if each.reads or each.plain()}
    sets = {
        each.collection_name: each
        for namespace in rwset_pb2.TxReadWriteSet.FromString(result.rwset).ns_rwset
        for each in namespace.collection_hashed_rwset
    }
    assert list(sets) == sorted(touched)
    for name in touched:
        plain = expected[name].plain()
        assert sets[name].hashed_rwset == expected[name].hashed()
        assert sets[name].pvt_rwset_hash == (digest(plain) if plain else b"")

    private = rwset_pb2.TxPvtReadWriteSet.FromString(result.private).ns_pvt_rwset
    written = {
        each.collection_name: each.rwset for ns in private for each in ns.collection_pvt_rwset
    }
    assert written == {name: expected[name].plain() for name in touched if expected[name].plain()}
    assert list(written) == sorted(written)
    asked = {args[0] for name, *args in operations if name in ("private get", "private many")}
    assert result.private_reads == {("ops", name) for name in asked}
    assert set(result.collections) == {("ops", name) for name in touched | asked}
