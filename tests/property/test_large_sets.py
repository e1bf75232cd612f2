"""Large sets are decoded in pieces: the same outcome as at once, and little memory for any."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import DecodeError
from ledger.transactions import large
from ledger.transactions.parse import parse_transaction
from ledger.transactions.rwset import TxRWSet, decode_tx_rwset, encode_tx_rwset
from tests.support.recording import recorded_blocks

ROOT = Path(__file__).parents[2]
TIMES = 40
"""How many times its own size a message may take at most while it is read."""
SETS = [
    encode_tx_rwset(transaction.rwset)
    for recorded in recorded_blocks()
    for transaction in recorded.transactions
    if transaction.rwset is not None
]


def outcome(decode: Callable[[bytes], TxRWSet], raw: bytes) -> TxRWSet | None:
    """Return what is decoded, None for a refusal."""
    try:
        return decode(raw)
    except DecodeError:
        return None


def in_pieces(raw: bytes, size: int) -> TxRWSet | None:
    """Decode as if messages of more than *size* bytes were large."""
    before, large.LARGE_BYTES = large.LARGE_BYTES, size
    try:
        return outcome(large.decode_rwset, raw)
    finally:
        large.LARGE_BYTES = before


@pytest.mark.parametrize("size", [0, 3, 40])
def test_recorded_set_in_pieces_is_the_set(size: int) -> None:
    """Whatever the length of a piece."""
    for raw in SETS:
        assert in_pieces(raw, size) == decode_tx_rwset(raw)


@pytest.mark.parametrize("size", [0, 30])
def test_recorded_transaction_in_pieces_is_the_transaction(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its endorsements, and with every verdict that its bytes decide."""
    monkeypatch.setattr(large, "LARGE_BYTES", size)
    for recorded in recorded_blocks():
        for transaction in recorded.transactions:
            assert parse_transaction(transaction.raw) == transaction


@given(
    st.sampled_from(SETS),
    st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=3), st.integers(0, 3)), max_size=3),
    st.integers(0, 64),
)
@settings(max_examples=300)
def test_damaged_set_in_pieces_is_read_or_refused_as_at_once(
    raw: bytes, edits: list[tuple[float, bytes, int]], size: int
) -> None:
    """One decoder must not accept what the other refuses: nodes would part over it."""
    for share, put, taken in edits:
        at = int(share * len(raw))
        raw = raw[:at] + put + raw[at + taken :]
    assert in_pieces(raw, size) == outcome(decode_tx_rwset, raw)


@given(st.binary(max_size=40), st.integers(0, 8))
@settings(max_examples=300)
def test_any_bytes_in_pieces_are_read_or_refused_as_at_once(raw: bytes, size: int) -> None:
    """Unknown fields, groups, numbers and lengths of every kind among them."""
    assert in_pieces(raw, size) == outcome(decode_tx_rwset, raw)


def test_message_of_many_empty_parts_takes_no_more_than_forty_times_its_size() -> None:
    """Two bytes may not become a hundred, or one message would empty a node's memory."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.empty_messages"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    taken = json.loads(ran.stdout)
    assert len(taken) >= 19
    assert {name: times for name, times in taken.items() if not 0 < times < TIMES} == {}
