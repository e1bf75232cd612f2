"""What a new channel configuration means for CometBFT: its validators and the size of its blocks.

Invariants: the same two configurations give the same words on every node. CometBFT lets them count
two heights later.
"""

from __future__ import annotations

from network.configuration import ChannelConfiguration
from network.ordering.cometbft.genesis import largest_block_bytes
from network.ordering.cometbft.messages import abci_pb2, keys_pb2, params_pb2
from network.ordering.cometbft.validators import validator_updates, validators_of

__all__ = ["tell_changes"]


def tell_changes(
    response: abci_pb2.ResponseFinalizeBlock,
    before: ChannelConfiguration,
    after: ChannelConfiguration,
) -> None:
    """Put into *response* what changes with a configuration."""
    response.validator_updates.extend(
        abci_pb2.ValidatorUpdate(
            pub_key=keys_pb2.PublicKey(ed25519=change.public_key), power=change.power
        )
        for change in validator_updates(validators_of(before), validators_of(after))
    )
    most_bytes = largest_block_bytes(after)
    if most_bytes != largest_block_bytes(before):
        response.consensus_param_updates.CopyFrom(
            params_pb2.ConsensusParams(
                block=params_pb2.BlockParams(max_bytes=most_bytes, max_gas=-1)
            )
        )
