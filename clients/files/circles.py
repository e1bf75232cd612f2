"""Which members keep the terms of which lender, as the contract's definition has it.

A transaction that reads or writes terms can be endorsed only by members of the lender's collection
``terms-…`` (docs/contracts.md), and its transient data must not be shown to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fabric_protos.msp import msp_principal_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2
from google.protobuf.message import DecodeError

from clients.gateway.asynchronous import AsyncContract
from clients.gateway.errors import EvaluateError

TERMS: Final = "terms-"

Circles = Mapping[str, frozenset[str]]
"""MSP ids of the members of each collection of terms, by its name."""


def circle_of(circles: Circles, lender: str) -> frozenset[str]:
    """Return who keeps the terms of a lender; empty where the definition does not say it."""
    # A name of a collection has no dots; see docs/contracts.md.
    written = lender.replace("_", "_u").replace(".", "_d")
    return circles.get(TERMS + written, frozenset())


async def circles_of(lifecycle: AsyncContract, contract: str) -> Circles:
    """Ask for the circles of a contract's definition; none where it tells of none.

    Args:
        lifecycle: the contract ``_lifecycle`` on the channel.
    Raises:
        EvaluateError: the gateway did not get an answer.
    """
    asked = lifecycle_pb2.QueryChaincodeDefinitionArgs(name=contract)
    try:
        raw = await lifecycle.evaluate("QueryChaincodeDefinition", asked.SerializeToString())
    except EvaluateError as error:
        if not error.chaincode_status:
            raise
        return {}
    try:
        definition = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(raw)
        return {
            config.name: frozenset(
                msp_principal_pb2.MSPRole.FromString(identity.principal).msp_identifier
                for identity in config.member_orgs_policy.signature_policy.identities
            )
            for config in [each.static_collection_config for each in definition.collections.config]
            if config.name.startswith(TERMS)
        }
    except DecodeError:
        return {}
