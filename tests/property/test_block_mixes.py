"""Any mix of transactions whose envelopes pass the whole-block checks comes to a code each.

Recorded transactions of all kinds, and copies of them damaged inside, in any order and number: the
committer gives every one a verdict, the same each time, at a cost that their own sizes bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from ledger.channel import ChannelLedger
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import parse_transaction
from nodes.committer.committer import Committer, write_genesis
from nodes.committer.configuration import verify_update
from nodes.committer.signatures import Question, SignaturePool
from tests.support.recording import HEIGHT, recorded_blocks

ENVELOPES = [
    transaction.raw for recorded in recorded_blocks() for transaction in recorded.transactions
]
# Before key-level policies, in the middle of them, and at the end.
HEIGHTS = (5, 36, HEIGHT)
UNREACHABLE = {
    TxValidationCode.NIL_ENVELOPE,
    TxValidationCode.UNKNOWN_TX_TYPE,
    TxValidationCode.BAD_CHANNEL_HEADER,
    TxValidationCode.TARGET_CHAIN_NOT_FOUND,
    TxValidationCode.NIL_TXACTION,
    TxValidationCode.MARSHAL_TX_ERROR,
    TxValidationCode.EXPIRED_CHAINCODE,
    TxValidationCode.CHAINCODE_VERSION_CONFLICT,
    TxValidationCode.INVALID_WRITESET,
    TxValidationCode.NOT_VALIDATED,
}


class CountingPool(SignaturePool):
    """Counts what is verified."""

    verified = 0

    def verify(self, questions: Sequence[Question]) -> list[bool]:
        self.verified += len(questions)
        return super().verify(questions)


@pytest.fixture(scope="module", params=HEIGHTS)
def committer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Committer]:
    """A committer of the recorded chain at one height."""
    folder: Path = tmp_path_factory.mktemp("chain")
    ledger = ChannelLedger.open(folder / "ledger")
    pool = CountingPool(2)
    write_genesis(ledger, recorded_blocks()[0].block)
    made = Committer(ledger, pool, verify_update)
    for recorded in recorded_blocks()[1 : request.param]:
        made.commit(recorded.block)
    yield made
    pool.close()
    ledger.close()


def next_block(committer: Committer, envelopes: Sequence[bytes]) -> Block:
    ledger = committer._ledger
    header = BlockHeader(ledger.height, ledger.last_header_hash, compute_data_hash(envelopes))
    return Block(header, tuple(envelopes), (b"",) * 5)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a recorded envelope whose payload is damaged, wrapped anew so that it is canonical."""
    envelope = common_pb2.Envelope.FromString(draw(st.sampled_from(ENVELOPES)))
    payload = bytearray(envelope.payload)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(0, len(payload) - 1)))
        how = draw(st.sampled_from(("change", "cut", "insert", "end", "double")))
        if how == "change" and payload:
            payload[place] = draw(st.integers(0, 255))
        elif how == "cut":
            del payload[place : place + draw(st.integers(1, 40))]
        elif how == "insert":
            payload[place:place] = draw(st.binary(max_size=9))
        elif how == "double":
            payload[place:place] = payload[place : place + 200]
        else:
            del payload[place:]
    signature = draw(st.sampled_from((bytes(envelope.signature), b"s", b"\x30\x00")))
    raw: bytes = common_pb2.Envelope(
        payload=bytes(payload) or b"p", signature=signature or b"s"
    ).SerializeToString()
    return raw


whole = st.sampled_from([raw for raw in ENVELOPES if common_pb2.Envelope.FromString(raw).signature])


@given(st.lists(st.one_of(whole, whole, damaged()), min_size=1, max_size=30))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_block_of_any_mix_comes_to_a_code_each(
    committer: Committer, envelopes: list[bytes]
) -> None:
    """No exception, one reachable code for each, the same again, and a bounded number of checks."""
    pool = committer._signatures
    assert isinstance(pool, CountingPool)
    pool.verified = 0
    block = next_block(committer, envelopes)
    staged = committer.stage(block)
    codes = staged.prepared.codes
    assert len(codes) == len(envelopes)
    assert not UNREACHABLE & set(codes)
    signatures = sum(1 + len(parse_transaction(raw).endorsements) for raw in envelopes)
    assert pool.verified <= signatures
    again = committer.stage(block)
    assert again.prepared.codes == codes
    assert again.prepared.commit_hash == staged.prepared.commit_hash
    for asker in (committer, Committer(committer._ledger, pool, verify_update)):
        # Begun in parts; what another committer's validator asked is asked once more.
        parts = (envelopes[: len(envelopes) // 2], envelopes[len(envelopes) // 2 :])
        pool.verified = 0
        ahead = committer.stage(block, ahead=[asker.look_ahead(part) for part in parts])
        assert ahead.prepared.codes == codes
        assert ahead.prepared.commit_hash == staged.prepared.commit_hash
        assert asker is not committer or not pool.verified


@given(st.lists(st.one_of(whole, damaged()), min_size=2, max_size=12))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_verdict_that_the_bytes_decide_does_not_hang_on_the_others(
    committer: Committer, envelopes: list[bytes]
) -> None:
    """Wherever a malformed transaction stands, it has the code that it has alone."""
    local = {
        TxValidationCode.VALID,
        TxValidationCode.DUPLICATE_TXID,
        TxValidationCode.MVCC_READ_CONFLICT,
        TxValidationCode.PHANTOM_READ_CONFLICT,
        TxValidationCode.ENDORSEMENT_POLICY_FAILURE,
        TxValidationCode.INVALID_CONFIG_TRANSACTION,
    }
    alone = [committer.stage(next_block(committer, [raw])).prepared.codes[0] for raw in envelopes]
    together = committer.stage(next_block(committer, envelopes)).prepared.codes
    for single, code in zip(alone, together, strict=True):
        assert code is single or {single, code} <= local
