"""The simulator against a naive recorder: any list of stub calls gives the same read/write set."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger.state.version import Version
from ledger.transactions.rwset import (
    KVRead,
    KVWrite,
    MetadataWrite,
    NamespaceRWSet,
    RangeQuery,
    TxRWSet,
    decode_tx_rwset,
    encode_tx_rwset,
)
from ledger.validation.ranges import RangeResults
from tests.support.memory_state import MemoryState
from tests.support.operations import simulate
from tests.support.toy_package import define

KEYS = st.sampled_from(["a", "aa", "ab", "b", "ñ", "\uffff", "\U0001f600", "z" * 5])
BOUNDS = st.one_of(st.just(""), KEYS)
VALUES = st.sampled_from(["", "x", "y"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("many"), st.lists(KEYS, max_size=4)),
        st.tuples(st.just("put"), KEYS, VALUES),
        st.tuples(st.just("del"), KEYS),
        st.tuples(st.just("policy"), KEYS, st.sampled_from([None, "p"])),
        st.tuples(st.just("range"), BOUNDS, BOUNDS),
        st.tuples(st.just("range"), BOUNDS, BOUNDS, st.integers(0, 4)),
    ).map(list),
    max_size=12,
)
STATES = st.dictionaries(KEYS, st.tuples(st.integers(2, 9), st.integers(0, 3)))


def in_bytes(text: str) -> bytes:
    return text.encode()


def naive(committed: dict[str, Version], operations: list[list[Any]]) -> NamespaceRWSet:
    """Record by the rules as they are written down, one after another."""
    reads: set[KVRead] = set()
    writes: dict[str, str] = {}
    metadata: dict[str, bytes] = {}
    ranges: list[RangeQuery] = []
    for name, *args in operations:
        if name == "get":
            reads.add(KVRead(args[0], committed.get(args[0])))
        elif name == "many":
            reads |= {KVRead(key, committed.get(key)) for key in args[0]}
        elif name in ("put", "del"):
            writes[args[0]] = args[1] if name == "put" else ""
        elif name == "policy":
            metadata[args[0]] = (args[1] or "").encode()
        else:
            start, end, *most = args
            inside = [
                key
                for key in sorted(committed, key=in_bytes)
                if in_bytes(start) <= in_bytes(key) and (not end or in_bytes(key) < in_bytes(end))
            ]
            taken = inside[: most[0]] if most else inside
            # A contract that takes as many as it wants does not look whether there are more.
            exhausted = not most or len(inside) < most[0]
            if not exhausted and not taken:
                continue
            found = tuple(KVRead(key, committed[key]) for key in taken)
            query = RangeQuery(
                start or "\x01", end if exhausted else taken[-1], exhausted, found or None, None
            )
            if not any(query[:3] == earlier[:3] for earlier in ranges):
                ranges.append(query)
    return NamespaceRWSet(
        "ops",
        tuple(sorted(reads, key=lambda read: in_bytes(read.key))),
        tuple(
            KVWrite(key, not writes[key], writes[key].encode())
            for key in sorted(writes, key=in_bytes)
        ),
        tuple(
            MetadataWrite(key, (("VALIDATION_PARAMETER", metadata[key]),))
            for key in sorted(metadata, key=in_bytes)
        ),
        tuple(ranges),
    )


def state_of(committed: dict[str, Version]) -> MemoryState:
    state = MemoryState()
    define(state, "ops", "1")
    for key, version in committed.items():
        state.put("ops", key, b"v", version)
    return state


@given(STATES, OPERATIONS)
def test_simulation_of_any_calls_records_what_the_rules_say(
    versions: dict[str, tuple[int, int]], operations: list[list[Any]]
) -> None:
    """Reads, writes, metadata and ranges are those of the naive recorder, in its order, and the
    bytes are those of its set.
    """
    committed = {key: Version(*version) for key, version in versions.items()}
    result = simulate(state_of(committed), b"Run", json.dumps(operations).encode())
    assert result.status == 200, result.message
    expected = naive(committed, operations)
    found = {each.namespace: each for each in decode_tx_rwset(result.rwset).namespaces}
    lifecycle = found.pop("_lifecycle")
    empty = NamespaceRWSet("ops")
    assert found.get("ops", empty) == expected
    whole = TxRWSet((lifecycle,) if expected == empty else (lifecycle, expected))
    assert result.rwset == encode_tx_rwset(whole)
    assert result.writes == expected.is_writing


@given(STATES, OPERATIONS)
def test_simulation_twice_gives_the_same_bytes(
    versions: dict[str, tuple[int, int]], operations: list[list[Any]]
) -> None:
    """Two endorsers with the same state agree byte for byte, in whatever order it was written."""
    committed = {key: Version(*version) for key, version in versions.items()}
    turned = dict(reversed(committed.items()))
    call = json.dumps(operations).encode()
    assert simulate(state_of(committed), b"Run", call) == simulate(state_of(turned), b"Run", call)


@given(st.integers(0, 160), st.one_of(st.none(), st.integers(0, 160)))
def test_range_of_any_length_is_recorded_as_validation_reads_it(
    count: int, most: int | None
) -> None:
    """The record of a scan is what the validator builds from the same results."""
    state = state_of({f"k{number:04d}": Version(2, number) for number in range(count)})
    call = json.dumps([["range", "k", "l", *([] if most is None else [most])]]).encode()
    result = simulate(state, b"Run", call)
    taken = count if most is None else min(count, most)
    expected = RangeResults()
    for number in range(taken):
        expected.add(f"k{number:04d}", Version(2, number))
    reads, merkle = expected.finish()
    sets = {each.namespace: each for each in decode_tx_rwset(result.rwset).namespaces}
    if most is not None and taken == most == 0:
        assert "ops" not in sets
    else:
        (query,) = sets["ops"].range_queries
        assert (query.raw_reads, query.merkle) == (reads or None, merkle)
        assert query.exhausted == (most is None or count < most)
