"""Foreign bytes never raise anything but a refusal: envelopes, blocks, sets, evidence, keys."""

from __future__ import annotations

from contextlib import suppress
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.blocks.block import Block
from ledger.blocks.structure import (
    is_config_block,
    verify_block_structure,
    verify_envelope_canonical,
)
from ledger.errors import BlockError, DecodeError
from ledger.state.descriptions import describe_key, describe_value
from ledger.transactions.change import find_change
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction, parse_transaction
from ledger.transactions.rwset import TxRWSet, decode_metadata, decode_tx_rwset, encode_tx_rwset
from ledger.validation.judgement import judge_block
from tests.support.chain import make_block, make_config_envelope, make_envelope
from tests.support.naive_world import NaiveWorld, Program, programs
from tests.support.recording import recorded_blocks

VALID = TxValidationCode.VALID
RECORDED = [
    transaction.raw for recorded in recorded_blocks() for transaction in recorded.transactions
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a recorded envelope with some bytes changed, taken out or put in."""
    raw = bytearray(draw(st.sampled_from(RECORDED)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(raw) - 1)))
        how = draw(st.sampled_from(("change", "cut", "insert", "end")))
        if how == "change" and raw:
            raw[place] = draw(st.integers(0, 255))
        elif how == "cut":
            del raw[place : place + draw(st.integers(1, 9))]
        elif how == "insert":
            raw[place:place] = draw(st.binary(max_size=9))
        else:
            del raw[place:]
    return bytes(raw)


foreign = st.one_of(damaged(), st.binary(max_size=80))


@given(foreign)
@settings(max_examples=300)
def test_envelope_of_any_bytes_becomes_a_verdict_or_is_refused(raw: bytes) -> None:
    """Parsing never raises; what it reads can be judged."""
    parsed = parse_transaction(raw)
    assert isinstance(parsed, ParsedTransaction)
    assert parsed.raw == raw
    find_change(raw, "agreement", "agr/A1")
    with suppress(BlockError):
        verify_envelope_canonical(raw)
    block = make_block(1, b"", [raw])
    is_config_block(block)
    with suppress(BlockError):
        verify_block_structure(block, 1, b"")


@given(foreign)
def test_block_and_sets_of_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """Each decoder gives a value or a refusal of its own kind."""
    for decode, error in (
        (Block.decode, BlockError),
        (decode_tx_rwset, DecodeError),
        (decode_metadata, DecodeError),
    ):
        with suppress(error):
            decode(raw)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_key_and_value_of_any_bytes_are_described(key: bytes, value: bytes) -> None:
    """A checker must be able to speak of whatever it finds."""
    assert describe_key(key)
    assert describe_value(key, value)


@given(st.lists(programs, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_sets_with_fields_mixed_up_are_judged_without_error(
    drawn: list[Program], random: Random
) -> None:
    """A dishonest endorser may combine anything; every node must come to a verdict."""
    world = NaiveWorld()
    transactions = []
    for index, program in enumerate(drawn):
        raw = bytearray(encode_tx_rwset(world.simulate(program)))
        for _ in range(3):
            if raw:
                raw[random.randrange(len(raw))] = random.randrange(256)
        transactions.append(parse_transaction(make_envelope(_decoded(bytes(raw)), b"%d" % index)))
    transactions.append(parse_transaction(make_config_envelope(1)))
    judged = judge_block(1, transactions, [VALID] * len(transactions), _AnyCollection())
    assert len(judged.codes) == len(transactions)
    list(judged.updates.entries())


class _AnyCollection(NaiveWorld):
    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> None:
        return None


def _decoded(raw: bytes) -> TxRWSet:
    try:
        return decode_tx_rwset(raw)
    except DecodeError:
        return decode_tx_rwset(b"")
