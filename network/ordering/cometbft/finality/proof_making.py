"""Makes the proof of a block out of what a node has stored; `proofs.py` verifies it.

Absent: whether it holds. Who makes one verifies it before handing it on, so that what is lacking
shows here and not at the auditor's.
"""

from __future__ import annotations

from typing import Final

from fabric_protos.common import common_pb2

from ledger.blocks.block import Block, BlockHeader
from ledger.errors import Refusal
from network.ordering.cometbft.blocks.app_hash import encode_app_hash
from network.ordering.cometbft.finality.finality import FINALITY
from network.ordering.cometbft.finality.proof_file import (
    Covered,
    Proof,
    ProofPart,
    Recorded,
    Signed,
    encode_proof,
)
from network.ordering.cometbft.genesis import configuration_blocks, consensus_type_of
from network.ordering.cometbft.ports import ProofSource
from network.ordering.cometbft.validators import CONSENSUS_TYPE

__all__ = ["MOST_HEADERS", "make_proof"]

MOST_HEADERS: Final = 10_000
"""Blocks after one without a record among which another one's is looked for."""


def make_proof(source: ProofSource, number: int) -> bytes:
    """Return the file that proves a block, out of what a node has stored.

    Args:
        source: the ledger.
        number: of the block, 1 or more.
    Raises:
        Refusal: there is no such block, or nothing that proves it is here yet.
    """
    if not 0 < number < source.height:
        raise Refusal(
            f"block {number} cannot be proved here: the chain has the blocks 0 to "
            f"{source.height - 1}, and the genesis block is what a proof begins with"
        )
    blocks = list(configuration_blocks(source.block, number - 1))[::-1]
    genesis, engine, parts = blocks[0], "", []
    for block in blocks:
        if block.number:
            parts.append(_make_part(source, block, engine))
        engine = consensus_type_of(block)
    target = source.block(number)
    assert target is not None
    return encode_proof(
        Proof(genesis.header.hash(), tuple(parts), _make_part(source, target, engine))
    )


def _make_part(source: ProofSource, block: Block, engine: str) -> ProofPart:
    if engine != CONSENSUS_TYPE:
        return ProofPart(block.header, block.data, Signed(block.metadata[common_pb2.SIGNATURES]))
    record = source.evidence(block.number, FINALITY)
    if record is not None:
        return ProofPart(block.header, block.data, Recorded(block.metadata, record))
    headers: list[BlockHeader] = []
    for number in range(block.number + 1, min(source.height, block.number + 1 + MOST_HEADERS)):
        later = source.block(number)
        assert later is not None
        headers.append(later.header)
        record = source.evidence(number, FINALITY)
        if record is not None:
            covered = Covered(tuple(headers), encode_app_hash(later), record)
            return ProofPart(block.header, block.data, covered)
    raise Refusal(
        f"neither block {block.number} nor one of the {len(headers)} after it has a finality "
        "record here: it comes with CometBFT's next height, so try again, or ask another member's "
        "node"
    )
