"""Changes of engine and consenters, made to a copy of the configuration in force.

As in `edits.py`, each function changes a `common.Config` in place and judges nothing but what the
change itself needs. A consenter comes into the group Orderer with its member, and goes with it.

Absent: the rules that what comes of it must keep (`consenters.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fabric_protos.common import configuration_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from network.configuration.channel import Consenter
from network.configuration.edits import group_of, set_value
from network.configuration.genesis import OrganisationSpec, orderer_member_group, orderers_value
from network.decoding import decode_message
from network.errors import ConfigurationError

__all__ = [
    "add_consenter",
    "has_consenter",
    "remove_consenter",
    "replace_consensus_certificate",
    "replace_link_certificate",
    "set_consenter_address",
    "set_engine",
]


def set_engine(config: Any, name: str) -> None:
    """Have another engine order the channel."""
    group = _orderer(config)
    value = decode_message(
        orderer_pb2.ConsensusType,
        group.values["ConsensusType"].value,
        "ConsensusType",
        ConfigurationError,
    )
    value.type = name
    set_value(group, "ConsensusType", value.SerializeToString(deterministic=True))


def add_consenter(
    config: Any, msp_id: str, address: tuple[str, int], identity: bytes, link: bytes
) -> None:
    """Have a member order; one that has not ordered before comes into the group Orderer.

    Its clients and the other nodes find its node there by the member's first anchor peer.

    Args:
        address: host and port of its consensus process.
        identity: certificate over its consensus key, in PEM.
        link: certificate over the key of its links, in PEM.
    Raises:
        ConfigurationError: it is no member, has a consenter already, or no anchor peer.
    """
    orderers = _read(config)
    if any(each.msp_id == msp_id for each in orderers.consenter_mapping):
        raise ConfigurationError(
            f"{msp_id} has a consenter already, and a member has one at most: give it another key "
            "with --consenter-key, or another address with --consenter-address"
        )
    _put_among_orderers(config, msp_id)
    number = 1 + max((each.id for each in orderers.consenter_mapping), default=0)
    made = orderers_value([Consenter(number, msp_id, identity, *address, link)])
    orderers.consenter_mapping.extend(made.consenter_mapping)
    _write(config, orderers)


def _put_among_orderers(config: Any, msp_id: str) -> None:
    ordering = _orderer(config).groups
    if group_of(ordering, msp_id) is not None:
        return
    members = config.channel_group.groups["Application"].groups
    name = group_of(members, msp_id)
    if name is None:
        raise ConfigurationError(
            f"{msp_id[:80]!r} is no member of the channel: add it with --add-organisation"
        )
    values = members[name].values
    anchors = decode_message(
        peer_pb2.AnchorPeers,
        values["AnchorPeers"].value if "AnchorPeers" in values else b"",
        "AnchorPeers",
        ConfigurationError,
    ).anchor_peers
    if not anchors:
        raise ConfigurationError(
            f"the channel does not know where the node of {msp_id} is: name its node port with "
            "--anchor"
        )
    msp = decode_message(msp_config_pb2.MSPConfig, values["MSP"].value, name, ConfigurationError)
    endpoint = (anchors[0].host, anchors[0].port)
    spec = OrganisationSpec(msp_id, msp, orderer_endpoints=[endpoint])
    ordering[name].CopyFrom(orderer_member_group(spec))


def remove_consenter(config: Any, msp_id: str) -> None:
    """Have a member order no longer: its consenter goes, and it leaves the group Orderer.

    Raises:
        ConfigurationError: it has none, or the only one.
    """
    orderers = _read(config)
    _consenter(orderers, msp_id)
    if len(orderers.consenter_mapping) == 1:
        raise ConfigurationError(
            f"{msp_id} has the only consenter, and without one the channel would stand still: "
            "have another member join first"
        )
    kept = [each for each in orderers.consenter_mapping if each.msp_id != msp_id]
    _write(config, configuration_pb2.Orderers(consenter_mapping=kept))
    ordering = _orderer(config).groups
    name = group_of(ordering, msp_id)
    if name is not None:
        del ordering[name]


def has_consenter(config: Any, msp_id: str) -> bool:
    """Tell whether a member has a consenter."""
    return any(each.msp_id == msp_id for each in _read(config).consenter_mapping)


def replace_consensus_certificate(config: Any, msp_id: str, pem: bytes) -> None:
    """Have a consenter vote with another key, the one that *pem* is over.

    Raises:
        ConfigurationError: the member has no consenter.
    """

    def change(consenter: Any) -> None:
        consenter.identity = pem

    _change(config, msp_id, change)


def replace_link_certificate(config: Any, msp_id: str, pem: bytes) -> None:
    """Have a consenter show another key on its links, the one that *pem* is over.

    Raises:
        ConfigurationError: the member has no consenter.
    """

    def change(consenter: Any) -> None:
        consenter.server_tls_cert = consenter.client_tls_cert = pem

    _change(config, msp_id, change)


def set_consenter_address(config: Any, msp_id: str, address: tuple[str, int]) -> None:
    """Say where a consenter is reached by the others.

    Raises:
        ConfigurationError: the member has no consenter.
    """

    def change(consenter: Any) -> None:
        consenter.host, consenter.port = address

    _change(config, msp_id, change)


def _change(config: Any, msp_id: str, change: Callable[[Any], None]) -> None:
    orderers = _read(config)
    change(_consenter(orderers, msp_id))
    _write(config, orderers)


def _consenter(orderers: Any, msp_id: str) -> Any:
    for each in orderers.consenter_mapping:
        if each.msp_id == msp_id:
            return each
    known = ", ".join(sorted(each.msp_id for each in orderers.consenter_mapping))
    raise ConfigurationError(
        f"{msp_id[:80]!r} has no consenter in the channel; those who have one: {known or 'nobody'}"
    )


def _orderer(config: Any) -> Any:
    return config.channel_group.groups["Orderer"]


def _read(config: Any) -> Any:
    values = _orderer(config).values
    raw = values["Orderers"].value if "Orderers" in values else b""
    return decode_message(configuration_pb2.Orderers, raw, "Orderers", ConfigurationError)


def _write(config: Any, orderers: Any) -> None:
    set_value(_orderer(config), "Orderers", orderers.SerializeToString(deterministic=True))
