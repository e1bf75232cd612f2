"""The genesis block: the first configuration of a channel, in the shape of Fabric's samples.

Everything in it is a message of Fabric's; a rehearsal is said by the name of a capability. The same
arguments give the same bytes. A member may stand in both groups, Application and Orderer, with one
MSP definition.

Source: Fabric internal/configtxgen/encoder/encoder.go, sampleconfig/configtx.yaml,
common/genesis/genesis.go.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from ledger.blocks.block import METADATA_ENTRIES, Block, BlockHeader, compute_data_hash
from network.configuration.channel import REHEARSAL, ChannelConfiguration, Consenter
from network.configuration.consenters import COMETBFT, SOLO, verify_certificates
from network.configuration.values import BatchParameters, format_duration, format_endpoint
from network.decoding import decode_message
from network.errors import ConfigurationError
from network.policy import implicit_meta, parse_policy

ADMINS: Final = "Admins"
NONCE_BYTES: Final = 24

DEFAULT_CAPABILITIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"channel": ("V3_0",), "orderer": ("V2_0",), "application": ("V2_5",)}
)

CHANNEL_POLICIES: Final[Mapping[str, str]] = MappingProxyType(
    {"Readers": "ANY Readers", "Writers": "ANY Writers", "Admins": "MAJORITY Admins"}
)
ORDERER_POLICIES: Final[Mapping[str, str]] = MappingProxyType(
    {**CHANNEL_POLICIES, "BlockValidation": "ANY Writers"}
)
APPLICATION_POLICIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **CHANNEL_POLICIES,
        "LifecycleEndorsement": "MAJORITY Endorsement",
        "Endorsement": "MAJORITY Endorsement",
    }
)
MEMBER_POLICIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Readers": "OR('{msp}.admin', '{msp}.peer', '{msp}.client')",
        "Writers": "OR('{msp}.admin', '{msp}.client')",
        "Admins": "OR('{msp}.admin')",
        "Endorsement": "OR('{msp}.peer')",
    }
)
ORDERER_MEMBER_POLICIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Readers": "OR('{msp}.member')",
        # Who may sign blocks. Fabric's sample says member, for an MSP of orderers alone; here the
        # MSP also has clients, who must not, and the sequencer is a node, whose unit is peer.
        "Writers": "OR('{msp}.orderer', '{msp}.peer')",
        "Admins": "OR('{msp}.admin')",
    }
)


@dataclass(frozen=True)
class OrganisationSpec:
    """A member of a channel to be.

    Attributes:
        msp_id: its MSP.
        msp_config: its MSPConfig, marshalled or not, as `load_msp_folder` gives it.
        anchor_peers: host and node port of its nodes.
        orderer_endpoints: host and port of its orderers, if it has any.
    """

    msp_id: str
    msp_config: Any
    anchor_peers: Sequence[tuple[str, int]] = ()
    orderer_endpoints: Sequence[tuple[str, int]] = ()


def _message(spec: OrganisationSpec) -> Any:
    if isinstance(spec.msp_config, bytes):
        return decode_message(
            msp_config_pb2.MSPConfig,
            spec.msp_config,
            f"the MSP definition of {spec.msp_id}",
            ConfigurationError,
        )
    return spec.msp_config


def _value(message: Any) -> Any:
    return configtx_pb2.ConfigValue(
        value=message.SerializeToString(deterministic=True), mod_policy=ADMINS
    )


def config_policy(rule: str) -> Any:
    """Return the ConfigPolicy of a rule in words: ``ANY Readers``, or a signature policy.

    Raises:
        PolicyError: neither of them.
    """
    meta, _, name = rule.partition(" ")
    if meta in ("ANY", "ALL", "MAJORITY"):
        kind, policy = policies_pb2.Policy.IMPLICIT_META, implicit_meta(meta, name.strip())
    else:
        kind, policy = policies_pb2.Policy.SIGNATURE, parse_policy(rule)
    return configtx_pb2.ConfigPolicy(
        policy=policies_pb2.Policy(type=kind, value=policy.SerializeToString(deterministic=True)),
        mod_policy=ADMINS,
    )


def _group(
    values: Mapping[str, Any], policies: Mapping[str, str], groups: Mapping[str, Any]
) -> Any:
    return configtx_pb2.ConfigGroup(
        groups=groups,
        values={name: _value(message) for name, message in values.items()},
        policies={name: config_policy(rule) for name, rule in policies.items()},
        mod_policy=ADMINS,
    )


def _capabilities(names: Sequence[str]) -> Any:
    return configuration_pb2.Capabilities(
        capabilities={name: configuration_pb2.Capability() for name in names}
    )


def application_member_group(spec: OrganisationSpec) -> Any:
    """Return the ConfigGroup of a member in the group Application."""
    values: dict[str, Any] = {"MSP": _message(spec)}
    if spec.anchor_peers:
        values["AnchorPeers"] = peer_pb2.AnchorPeers(
            anchor_peers=[
                peer_pb2.AnchorPeer(host=host, port=port) for host, port in spec.anchor_peers
            ]
        )
    return _group(values, _rules_of(spec, MEMBER_POLICIES), {})


def orderer_member_group(spec: OrganisationSpec) -> Any:
    """Return the ConfigGroup of a member in the group Orderer.

    Raises:
        ConfigurationError: it has no endpoint.
    """
    if not spec.orderer_endpoints:
        raise ConfigurationError(
            f"{spec.msp_id} is to order and has no orderer endpoint: give its host and port"
        )
    addresses = [format_endpoint(host, port) for host, port in spec.orderer_endpoints]
    values = {
        "MSP": _message(spec),
        "Endpoints": configuration_pb2.OrdererAddresses(addresses=addresses),
    }
    return _group(values, _rules_of(spec, ORDERER_MEMBER_POLICIES), {})


def _rules_of(spec: OrganisationSpec, rules: Mapping[str, str]) -> dict[str, str]:
    return {name: rule.replace("{msp}", spec.msp_id) for name, rule in rules.items()}


def orderers_value(consenters: Sequence[Consenter]) -> Any:
    """Return the Orderers message of a BFT engine's consenters, in the order of their numbers."""
    return configuration_pb2.Orderers(
        consenter_mapping=[
            configuration_pb2.Consenter(
                id=each.number,
                host=each.host,
                port=each.port,
                msp_id=each.msp_id,
                identity=each.identity,
                client_tls_cert=each.server_tls_cert,
                server_tls_cert=each.server_tls_cert,
            )
            for each in sorted(consenters, key=lambda each: each.number)
        ]
    )


def _orderer_group(
    specs: Sequence[OrganisationSpec],
    consensus: str,
    consenters: Sequence[Consenter],
    batch: BatchParameters,
    capabilities: Sequence[str],
) -> Any:
    values = {
        "ConsensusType": orderer_pb2.ConsensusType(type=consensus),
        "BatchSize": orderer_pb2.BatchSize(
            max_message_count=batch.max_message_count,
            absolute_max_bytes=batch.absolute_max_bytes,
            preferred_max_bytes=batch.preferred_max_bytes,
        ),
        "BatchTimeout": orderer_pb2.BatchTimeout(timeout=format_duration(batch.timeout_s)),
        "ChannelRestrictions": orderer_pb2.ChannelRestrictions(),
        "Capabilities": _capabilities(capabilities),
    }
    if consenters:
        values["Orderers"] = orderers_value(consenters)
    groups = {spec.msp_id: orderer_member_group(spec) for spec in specs}
    return _group(values, ORDERER_POLICIES, groups)


def _application_group(
    specs: Sequence[OrganisationSpec],
    policies: Mapping[str, str],
    acls: Mapping[str, str],
    capabilities: Sequence[str],
) -> Any:
    values: dict[str, Any] = {"Capabilities": _capabilities(capabilities)}
    if acls:
        values["ACLs"] = peer_pb2.ACLs(
            acls={name: peer_pb2.APIResource(policy_ref=policy) for name, policy in acls.items()}
        )
    groups = {spec.msp_id: application_member_group(spec) for spec in specs}
    return _group(values, {**APPLICATION_POLICIES, **policies}, groups)


def _channel_group(orderer: Any, application: Any, capabilities: Sequence[str]) -> Any:
    values = {
        "HashingAlgorithm": configuration_pb2.HashingAlgorithm(name="SHA256"),
        "BlockDataHashingStructure": configuration_pb2.BlockDataHashingStructure(width=0xFFFFFFFF),
        "Capabilities": _capabilities(capabilities),
    }
    groups = {"Orderer": orderer, "Application": application}
    return _group(values, CHANNEL_POLICIES, groups)


def build_genesis(
    channel_id: str,
    organisations: Sequence[OrganisationSpec],
    *,
    orderers: Sequence[str],
    when: datetime,
    consensus: str = SOLO,
    consenters: Sequence[Consenter] = (),
    batch: BatchParameters | None = None,
    policies: Mapping[str, str] | None = None,
    acls: Mapping[str, str] | None = None,
    capabilities: Mapping[str, Sequence[str]] | None = None,
    rehearsal: bool = False,
    nonce: bytes | None = None,
) -> Block:
    """Make the genesis block of a channel.

    Args:
        channel_id: the channel's name.
        organisations: all members; each stands in the group Application.
        orderers: MSP ids of those that stand in the group Orderer too.
        when: the time of the block, aware.
        consensus: the ordering engine.
        consenters: those of the engine cometbft; others have none.
        batch: when blocks are cut.
        policies: policies of the group Application in words, beside or instead of the usual ones.
        acls: resources with another policy than Fabric's default.
        capabilities: names for `channel`, `orderer`, `application`, instead of the usual ones.
        rehearsal: whether the network is a rehearsal.
        nonce: 24 bytes; random if absent.
    Raises:
        ConfigurationError: the configuration would break a rule.
        PolicyError: a policy is none.
    """
    by_id = {spec.msp_id: spec for spec in organisations}
    unknown = [msp_id for msp_id in orderers if msp_id not in by_id]
    if unknown or not orderers or len(by_id) != len(organisations):
        raise ConfigurationError(
            f"the orderers {list(orderers)} must be some of the members {sorted(by_id)}, and "
            "every member must be there once"
        )
    levels = {**DEFAULT_CAPABILITIES, **(capabilities or {})}
    channel_level = (*levels["channel"], REHEARSAL) if rehearsal else tuple(levels["channel"])
    ordering = [by_id[msp_id] for msp_id in orderers]
    group = _channel_group(
        _orderer_group(
            ordering, consensus, consenters, batch or BatchParameters(), levels["orderer"]
        ),
        _application_group(organisations, policies or {}, acls or {}, levels["application"]),
        channel_level,
    )
    envelope = _config_envelope(channel_id, group, when, nonce or secrets.token_bytes(NONCE_BYTES))
    block = _genesis_block(envelope)
    # What cannot be read back must not leave this function.
    configuration = ChannelConfiguration.from_block(block)
    for resource, policy in configuration.acls.items():
        configuration.policies.policy(policy)
        configuration.acl_policy(resource)
    for spec in organisations:
        configuration.msps.msp(spec.msp_id)
    if consensus == COMETBFT:
        verify_certificates(configuration)
    return block


def _config_envelope(channel_id: str, group: Any, when: datetime, nonce: bytes) -> bytes:
    header = common_pb2.ChannelHeader(
        type=common_pb2.CONFIG,
        version=1,
        channel_id=channel_id,
        tx_id=hashlib.sha256(nonce).hexdigest(),
    )
    header.timestamp.FromDatetime(when)
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=header.SerializeToString(),
            signature_header=common_pb2.SignatureHeader(nonce=nonce).SerializeToString(),
        ),
        data=configtx_pb2.ConfigEnvelope(
            config=configtx_pb2.Config(channel_group=group)
        ).SerializeToString(deterministic=True),
    )
    raw: bytes = common_pb2.Envelope(payload=payload.SerializeToString()).SerializeToString()
    return raw


def _genesis_block(envelope: bytes) -> Block:
    last_config = common_pb2.LastConfig(index=0)
    entries = [b""] * METADATA_ENTRIES
    entries[common_pb2.SIGNATURES] = common_pb2.Metadata(
        value=common_pb2.OrdererBlockMetadata(last_config=last_config).SerializeToString()
    ).SerializeToString()
    entries[common_pb2.LAST_CONFIG] = common_pb2.Metadata(
        value=last_config.SerializeToString()
    ).SerializeToString()
    header = BlockHeader(number=0, previous_hash=b"", data_hash=compute_data_hash([envelope]))
    return Block(header=header, data=(envelope,), metadata=tuple(entries))
