"""CometBFT's genesis file, which follows from one block of the channel alone.

The *starting block* is the configuration block by which the channel became `cometbft`: its genesis
block, or that of the migration from another engine. Before it CometBFT knows nothing of the
channel; its first height follows on it. Since every node has that block, every node writes the same
file, byte for byte, and nobody hands one round.

The chain id has the block's header hash in it, so that no vote of one chain can count in another.

Invariants: pure; the same starting block gives the same bytes.

Absent: the files' places and CometBFT's settings (`home.py`).

Source: CometBFT v0.38 types/{genesis,params}.go.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.orderer import configuration_pb2

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of, last_config_of, with_validation
from ledger.errors import CorruptionError
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration, config_of_block
from network.decoding import decode_message
from network.errors import ConfigurationError
from network.ordering.cometbft.blocks.app_hash import compute_app_hash
from network.ordering.cometbft.validators import CONSENSUS_TYPE, validators_of

__all__ = [
    "APP_VERSION",
    "EVIDENCE_AGE_BLOCKS",
    "EVIDENCE_AGE_S",
    "INITIAL_HEIGHT",
    "LARGEST_BLOCK_BYTES",
    "chain_id_of",
    "configuration_blocks",
    "consensus_type_of",
    "largest_block_bytes",
    "render_genesis",
    "starting_block",
]

APP_VERSION: Final = 1
"""Of the application; CometBFT puts it into every header."""
INITIAL_HEIGHT: Final = 1
EVIDENCE_AGE_BLOCKS: Final = 100_000
"""Heights for which CometBFT takes evidence of a double vote; it must keep its blocks as long."""
EVIDENCE_AGE_S: Final = 48 * 3600
LARGEST_BLOCK_BYTES: Final = 100 * 1024 * 1024
"""CometBFT's own limit for a block (its MaxBlockSizeBytes)."""

_ROOM_BYTES: Final = 1024 * 1024
"""Beside a block's largest envelope: framing, header, commit and evidence."""
_EVIDENCE_BYTES: Final = 1024 * 1024
_CHANNEL_CHARACTERS: Final = 30
_HASH_DIGITS: Final = 16
_NANOSECONDS: Final = 1_000_000_000

BlockSource = Callable[[int], "Block | None"]
"""Blocks by their numbers, as a node has committed them."""


def chain_id_of(channel_id: str, starting: Block) -> str:
    """Return the name under which CometBFT runs the channel; 47 characters at most.

    Args:
        channel_id: the channel.
        starting: the starting block.
    """
    digits = starting.header.hash().hex()[:_HASH_DIGITS]
    return f"{channel_id[:_CHANNEL_CHARACTERS]}-{digits}"


def configuration_blocks(block_of: BlockSource, number: int) -> Iterator[Block]:
    """Yield the configuration blocks in force at block *number* and before, newest first.

    What holds a configuration that was refused (INVALID_CONFIG_TRANSACTION) is none of them.

    Raises:
        CorruptionError: a block is missing.
        BlockError: a block does not say which configuration block is the newest.
    """
    while True:
        number = last_config_of(_stored(block_of, number))
        block = _stored(block_of, number)
        if number == 0 or codes_of(block) == (TxValidationCode.VALID,):
            yield block
        if number == 0:
            return
        number -= 1


def _stored(block_of: BlockSource, number: int) -> Block:
    block = block_of(number)
    if block is None:
        raise CorruptionError(
            f"block {number} is missing, though later ones name it; fetch the channel anew from "
            "another member"
        )
    return block


def starting_block(block_of: BlockSource, number: int) -> Block:
    """Return the starting block of the channel as it stands at block *number*.

    Raises:
        ConfigurationError: the channel is ordered by another engine there.
    """
    starting: Block | None = None
    for block in configuration_blocks(block_of, number):
        engine = consensus_type_of(block)
        if engine != CONSENSUS_TYPE:
            break
        starting = block
    if starting is None:
        raise ConfigurationError(
            f"the channel is ordered by {engine!r} at block {number}, so CometBFT has nothing to "
            f"start from: have the members agree on the consensus type {CONSENSUS_TYPE!r}"
        )
    return starting


def consensus_type_of(block: Block) -> str:
    """Return the engine that a configuration block names, without reading all members' MSPs."""
    found = config_of_block(block)
    if found is None:
        raise ConfigurationError(
            f"block {block.number} is no configuration block, though later ones name it as one; "
            "fetch the channel anew from another member"
        )
    what = f"the configuration in block {block.number}"
    envelope = decode_message(configtx_pb2.ConfigEnvelope, found[1], what, ConfigurationError)
    groups = envelope.config.channel_group.groups
    values = groups["Orderer"].values if "Orderer" in groups else {}
    raw = values["ConsensusType"].value if "ConsensusType" in values else b""
    value = decode_message(configuration_pb2.ConsensusType, raw, what, ConfigurationError)
    engine: str = value.type
    return engine


def largest_block_bytes(configuration: ChannelConfiguration) -> int:
    """Return CometBFT's `block.max_bytes` under a configuration: its largest envelope and room."""
    return min(configuration.batch.absolute_max_bytes + _ROOM_BYTES, LARGEST_BLOCK_BYTES)


def render_genesis(channel_id: str, starting: Block) -> bytes:
    """Return CometBFT's genesis.json.

    Args:
        channel_id: the channel.
        starting: the starting block, as committed; a channel's genesis block as it was handed
            out, without its verdict, will do too.
    Raises:
        ConfigurationError: it is no configuration block with the engine `cometbft` and usable
            consenters.
    """
    configuration = ChannelConfiguration.from_block(starting)
    if configuration.channel_id != channel_id:
        raise ConfigurationError(
            f"block {starting.number} configures channel {configuration.channel_id}, and "
            f"{channel_id} was to start from it: give a block of that channel"
        )
    if starting.number == 0:
        starting = with_validation(starting, (TxValidationCode.VALID,), b"")
    document = {
        "genesis_time": _time_of(starting),
        "chain_id": chain_id_of(channel_id, starting),
        "initial_height": str(INITIAL_HEIGHT),
        "consensus_params": {
            "block": {"max_bytes": str(largest_block_bytes(configuration)), "max_gas": "-1"},
            "evidence": {
                "max_age_num_blocks": str(EVIDENCE_AGE_BLOCKS),
                "max_age_duration": str(EVIDENCE_AGE_S * _NANOSECONDS),
                "max_bytes": str(_EVIDENCE_BYTES),
            },
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": str(APP_VERSION)},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": [
            {
                "address": each.address.hex().upper(),
                "pub_key": {
                    "type": "tendermint/PubKeyEd25519",
                    "value": base64.b64encode(each.public_key).decode(),
                },
                "power": str(each.power),
                "name": each.msp_id,
            }
            for each in validators_of(configuration)
        ],
        "app_hash": compute_app_hash(starting).hex().upper(),
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _time_of(block: Block) -> str:
    """Return the time of a configuration block as Go writes one: RFC 3339, no zeros at the end."""
    what = f"block {block.number}"
    header = _channel_header(block, what)
    if not header.HasField("timestamp"):
        raise ConfigurationError(
            f"{what} has no time, and CometBFT's genesis needs one: make the configuration anew"
        )
    text: str = header.timestamp.ToDatetime().strftime("%Y-%m-%dT%H:%M:%S")
    nanoseconds = f".{header.timestamp.nanos:09}".rstrip("0").rstrip(".")
    return f"{text}{nanoseconds}Z"


def _channel_header(block: Block, what: str) -> Any:
    envelope = decode_message(common_pb2.Envelope, block.data[0], what, ConfigurationError)
    payload = decode_message(common_pb2.Payload, envelope.payload, what, ConfigurationError)
    return decode_message(
        common_pb2.ChannelHeader, payload.header.channel_header, what, ConfigurationError
    )
