"""What a configuration says, as plain JSON values and as lines for people.

Members with the fingerprints of their authorities, endpoints, batches, policies in words, access,
capabilities: all that a member wants to compare before it joins or signs.

Absent: what an update would change (`changes.py`), and who must sign it (`agreement.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ledger.blocks.block import Block
from network.configuration.channel import ChannelConfiguration
from network.configuration.consenters import COMETBFT, consensus_key, link_key
from network.configuration.values import format_endpoint
from network.msp import MSP, Certificate
from network.policy.words import policies_in_words

__all__ = ["configuration_lines", "describe_block", "describe_configuration"]


def describe_block(block: Block) -> dict[str, Any]:
    """Return what a configuration block says, with its number and header hash.

    Raises:
        ConfigurationError: no configuration block, or one that breaks a rule.
    """
    channel = ChannelConfiguration.from_block(block)
    place = {"block_num": block.header.number, "header_hash": block.header.hash().hex()}
    return {**place, **describe_configuration(channel)}


def describe_configuration(channel: ChannelConfiguration) -> dict[str, Any]:
    """Return what a configuration says."""
    batch = channel.batch
    return {
        "channel_id": channel.channel_id,
        "rehearsal": channel.is_rehearsal,
        "sequence": channel.sequence,
        "members": _members(channel),
        "consensus": channel.consensus_type,
        "consenters": _consenters(channel),
        "batch": {
            "max_message_count": batch.max_message_count,
            "absolute_max_bytes": batch.absolute_max_bytes,
            "preferred_max_bytes": batch.preferred_max_bytes,
            "timeout_s": batch.timeout_s,
        },
        "capabilities": {
            "channel": sorted(channel.capabilities.channel),
            "orderer": sorted(channel.capabilities.orderer),
            "application": sorted(channel.capabilities.application),
        },
        "policies": dict(policies_in_words(channel.config.channel_group)),
        "acls": dict(channel.acls),
    }


def _consenters(channel: ChannelConfiguration) -> list[dict[str, Any]]:
    """Return the consenters of CometBFT; those of other engines have nothing in common."""
    if channel.consensus_type != COMETBFT:
        return []
    return [
        {
            "number": each.number,
            "msp_id": each.msp_id,
            "address": format_endpoint(each.host, each.port),
            "consensus_key": consensus_key(each).hex(),
            "link_key": link_key(each).hex(),
        }
        for each in channel.consenters
    ]


def _members(channel: ChannelConfiguration) -> list[dict[str, Any]]:
    """Return the members of both groups; one that only orders has no nodes of peers."""
    endpoints: dict[str, list[str]] = {}
    for msp_id, host, port in channel.orderer_endpoints:
        endpoints.setdefault(msp_id, []).append(format_endpoint(host, port))
    members = []
    for msp_id in sorted({*channel.organisations, *channel.orderer_organisations}):
        member = channel.organisations.get(msp_id)
        peers = () if member is None else member.anchor_peers
        msp = channel.msps.msp(msp_id)
        members.append(
            {
                "msp_id": msp_id,
                "nodes": [format_endpoint(host, port) for host, port in peers],
                "orders_at": endpoints.get(msp_id, []),
                "authorities": list(_authorities(msp)),
                "revoked": msp.revoked_count,
            }
        )
    return members


def _authorities(msp: MSP) -> Iterator[dict[str, str]]:
    for kind, pems in (
        ("identities", msp.roots),
        ("identities, intermediate", msp.intermediates),
        ("tls", msp.tls_roots),
        ("tls, intermediate", msp.tls_intermediates),
    ):
        for pem in pems:
            certificate = Certificate.from_pem(pem)
            yield {
                "of": kind,
                "name": certificate.common_name,
                "expires": f"{certificate.not_after:%Y-%m-%d}",
                "fingerprint": hashlib.sha256(certificate.der).hexdigest(),
            }


def configuration_lines(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `describe_block` or `describe_configuration` has returned, line by line."""
    yield f"channel      {value['channel_id']}, configuration {value['sequence']}"
    if "header_hash" in value:
        yield f"block        {value['block_num']}"
        yield f"header hash  {value['header_hash']}"
    yield f"ordering     {value['consensus']}"
    for each in value["consenters"]:
        yield (
            f"consenter    {each['number']} of {each['msp_id']} at {each['address']}, "
            f"key {each['consensus_key']}"
        )
    batch = value["batch"]
    yield (
        f"blocks       {batch['max_message_count']} transactions, {batch['preferred_max_bytes']} "
        f"bytes (one of {batch['absolute_max_bytes']} at most), after {batch['timeout_s']:g} s"
    )
    for level, names in value["capabilities"].items():
        yield f"capabilities {level}: {', '.join(names)}"
    for member in value["members"]:
        yield from _member_lines(member)
    for path, rule in value["policies"].items():
        yield f"policy       {path}: {rule}"
    for resource, policy in value["acls"].items():
        yield f"access       {resource}: {policy}"


def _member_lines(member: Mapping[str, Any]) -> Iterator[str]:
    orders = f", orders at {', '.join(member['orders_at'])}" if member["orders_at"] else ""
    yield f"member       {member['msp_id']} at {', '.join(member['nodes']) or '-'}{orders}"
    for each in member["authorities"]:
        yield (
            f"  authority  {each['name']} ({each['of']}) until {each['expires']}, "
            f"{each['fingerprint']}"
        )
    if member["revoked"]:
        yield f"  revoked    {member['revoked']} certificates"
