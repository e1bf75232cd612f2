"""The configuration in force, as a member's own node has it, and the way of an update into it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2
from google.protobuf.message import DecodeError

from clients.configuration.update_file import UpdateFile
from clients.explorer.chain import NEWEST, Chain
from clients.gateway.blocking import Gateway
from clients.gateway.messages import TransactionDraft
from ledger.blocks.block import Block
from ledger.blocks.metadata import last_config_of
from ledger.errors import Unavailable
from network.configuration import ChannelConfiguration, config_of_block, update_envelope
from network.msp import SigningIdentity

__all__ = ["Committed", "configuration_block", "submit_update"]

PAUSE_S: Final = 0.1
"""Between two looks at the node's height."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The block that put an update into force.

    Attributes:
        block: of the configuration.
        configuration: in it.
    """

    block: Block
    configuration: ChannelConfiguration


def configuration_block(chain: Chain) -> Block:
    """Return the block that holds the configuration in force."""
    newest = chain.block(NEWEST)
    number = last_config_of(newest)
    return newest if number == newest.number else chain.block(number)


def submit_update(
    gateway: Gateway,
    chain: Chain,
    update: UpdateFile,
    signer: SigningIdentity,
    *,
    now: datetime,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Committed:
    """Have an update ordered, and wait until the node has committed its block.

    Args:
        gateway: of the member's node, connected as *signer*.
        chain: of the same channel.
        update: with the signatures that it needs.
        signer: who sends it.
        now: the time of the envelope, aware.
        timeout_s: how long the block may take to come to this node.
        clock: seconds that pass.
    Raises:
        SubmitError: the orderer refuses it, or cannot be reached.
        Unavailable: it was ordered, and its block has not come to this node in time.
    """
    envelope = common_pb2.Envelope.FromString(
        update_envelope(update.channel_id, update.config_update, update.signatures, signer, now)
    )
    number = chain.height()
    gateway.submit(
        TransactionDraft(
            signer, update.channel_id, "", envelope.payload, b"", bytes(envelope.signature)
        )
    )
    deadline = clock() + timeout_s
    while True:
        height = chain.height()
        while number < height:
            block = chain.block(number)
            if _brings(block, envelope.payload):
                return Committed(block, ChannelConfiguration.from_block(block))
            number += 1
        if clock() > deadline:
            raise Unavailable(
                f"the orderer has taken the update, and this node has not got its block within "
                f"{timeout_s:g} s: look at `qist node status`, and then at `qist channel show`",
                outcome_definite=False,
            )
        time.sleep(PAUSE_S)


def _brings(block: Block, payload: bytes) -> bool:
    """Tell whether a block holds the configuration that came of an update."""
    found = config_of_block(block)
    if found is None:
        return False
    try:
        envelope: Any = configtx_pb2.ConfigEnvelope.FromString(found[1])
    except DecodeError:
        return False
    return bool(envelope.last_update.payload == payload)
