"""Whether a finality record is that of a block.

A record proves a block if its header carries the block's app hash at the height after the block's
own, and the validators of the configuration in force before the block decided on that header. They
are the right ones for it: what CometBFT is told at height H counts from H + 2 on.

Invariants: pure; a record that passes proves every byte of the block as nodes store it.
"""

from __future__ import annotations

from ledger.blocks.block import Block
from ledger.errors import BlockError
from network.configuration import ChannelConfiguration
from network.errors import FinalityError
from network.ordering.cometbft.blocks.app_hash import app_hash_version, compute_app_hash
from network.ordering.cometbft.blocks.ordered import Ordered, ordered_of
from network.ordering.cometbft.finality.finality import (
    Finality,
    decode_record,
    verify_signed_header,
)
from network.ordering.cometbft.validators import validators_hash, validators_of

__all__ = ["OtherAppHash", "verify_record"]


class OtherAppHash(FinalityError):
    """Validators decided on another app hash than this block gives."""


def verify_record(
    record: bytes,
    block: Block,
    chain_id: str,
    before: ChannelConfiguration,
    after: ChannelConfiguration | None = None,
) -> Finality:
    """Check that *record* proves *block*.

    Args:
        record: the finality record.
        block: as committed, with its verdicts and its commit hash.
        chain_id: under which CometBFT runs the channel (`genesis.chain_id_of`).
        before: the configuration in force before the block.
        after: the one that the block brings, if it does.
    Returns:
        the header that proves it, and who voted for it.
    Raises:
        OtherAppHash: it is a record of these validators, and of another block or outcome.
        FinalityError: it proves nothing.
        ConfigurationError: a configuration has no validators.
    """
    signed = decode_record(record)
    ordered = _ordered(block, before)
    validators = validators_of(before)
    finality = verify_signed_header(signed, chain_id, validators)
    if finality.height != ordered.comet_height + 1:
        raise FinalityError(
            f"block {block.number} was made at CometBFT's height {ordered.comet_height}, and its "
            f"record is of height {finality.height}, not of the one after: take the block and its "
            "record from another member's node"
        )
    try:
        app_hash = compute_app_hash(block)
    except BlockError as error:
        raise FinalityError(f"the record cannot prove block {block.number}: {error}") from error
    if finality.app_hash != app_hash:
        raise OtherAppHash(
            f"the app hash of block {block.number} is {app_hash.hex()}, and the validators decided "
            f"on {finality.app_hash.hex()}: block, verdicts or commit hash are not theirs; take "
            "them from another member's node"
        )
    following = validators if after is None else validators_of(after)
    if finality.next_validators_hash != validators_hash(following):
        raise FinalityError(
            f"the record of block {block.number} names other validators for the height after it "
            "than the channel configuration: take the record from another member's node"
        )
    return finality


def _ordered(block: Block, before: ChannelConfiguration) -> Ordered:
    try:
        ordered = ordered_of(block)
    except BlockError as error:
        raise FinalityError(f"the record cannot prove block {block.number}: {error}") from error
    if ordered is None:
        raise FinalityError(
            f"block {block.number} does not say that CometBFT ordered it, and no record of "
            "CometBFT's can prove it: take the block from another member's node"
        )
    version = app_hash_version(before)
    if ordered.app_hash_version != version:
        raise FinalityError(
            f"block {block.number} names version {ordered.app_hash_version} of the app hash, and "
            f"{version} is in force: take the block from another member's node"
        )
    return ordered
