"""A channel configuration in force: members, policies, batches, access, capabilities.

It is made of the ``Config`` in a configuration block, checked as a whole, and never changes: the
next configuration block gives a new one, and with the old one go all identities and policies that
were cached under it.

Absent: whether a configuration may follow another (`update.py`, `succession.py`), and Fabric's
system channel with its consortiums.

Source: Fabric common/channelconfig/bundle.go and its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2

from ledger.blocks.block import Block
from network.configuration.acls import CHANNEL_ACLS, LOCAL_ACLS
from network.configuration.consenters import verify_consenters
from network.configuration.elements import Element, map_elements
from network.configuration.values import (
    APPLICATION_ORGANISATION_VALUES,
    APPLICATION_VALUES,
    CHANNEL_VALUES,
    CONSORTIUM_ORGANISATION_VALUES,
    CONSORTIUM_VALUES,
    ORDERER_ORGANISATION_VALUES,
    ORDERER_VALUES,
    BatchParameters,
    read_batch,
    read_endpoint,
    read_values,
)
from network.decoding import decode_message
from network.errors import ConfigurationError
from network.msp import MSP, MSPManager
from network.policy import PolicyManager

REHEARSAL: Final = "QIST_REHEARSAL"
"""Channel capability of a network whose time its operator sets."""

SUPPORTED_CAPABILITIES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "channel": frozenset({"V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0", REHEARSAL}),
        "orderer": frozenset({"V1_1", "V1_4_2", "V2_0"}),
        "application": frozenset({"V1_1", "V1_2", "V1_3", "V1_4_2", "V2_0", "V2_5"}),
    }
)
"""What this program knows how to honour, by level; the older names ask for less than the newer."""

_CHANNEL_ID = re.compile(r"[a-z][a-z0-9.-]{0,248}")
_ALL_AT_ONCE = 0xFFFFFFFF
_CONFIG = 1
# Channel capabilities by the version of the rules that MSPs follow under them: 1.3, or later.
_OLD_MSP_RULES = frozenset({"V1_3", "V1_4_2"})
_NEW_MSP_RULES = frozenset({"V1_4_3", "V2_0", "V3_0"})
_GROUPS = frozenset({"Application", "Orderer"})
CONSORTIUMS = "Consortiums"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Names of capabilities that the channel demands, by level."""

    channel: frozenset[str]
    application: frozenset[str]
    orderer: frozenset[str]


@dataclass(frozen=True, slots=True)
class Consenter:
    """An orderer as a BFT engine knows it.

    Attributes:
        number: by which its signatures name it.
        msp_id: its member.
        identity: its certificate, in PEM.
        host: where the others' consensus processes reach its own; empty if it does not say.
        port: the port there; 0 if it does not say.
        server_tls_cert: the certificate of its link with the others, in PEM.
    """

    number: int
    msp_id: str
    identity: bytes
    host: str = ""
    port: int = 0
    server_tls_cert: bytes = b""


@dataclass(frozen=True, slots=True)
class Organisation:
    """A member in the group Application.

    Attributes:
        msp_id: its MSP.
        name: its group in the configuration.
        anchor_peers: host and node port of nodes through which others reach it.
    """

    msp_id: str
    name: str
    anchor_peers: tuple[tuple[str, int], ...]


def verify_channel_id(channel_id: str) -> None:
    """Check the name of a channel.

    Raises:
        ConfigurationError: it breaks Fabric's rule.
    Source: Fabric common/configtx/validator.go, `validateChannelID`.
    """
    if not _CHANNEL_ID.fullmatch(channel_id):
        raise ConfigurationError(
            f"the channel id {channel_id[:80]!r} is not allowed: begin with a small letter and "
            "use small letters, digits, dots and dashes, at most 249 of them"
        )


class ChannelConfiguration:
    """What a channel's members have agreed on, as it stands in one configuration block.

    Attributes:
        channel_id: the channel.
        sequence: 0 at genesis, one more with each configuration block.
        msps: the members' MSPs, with the cache of their identities.
        policies: the policies by their paths.
        capabilities: what the channel demands of its nodes.
        batch: when blocks are cut.
        acls: resources for which the channel names another policy than Fabric's default.
        organisations: the members of the group Application, by MSP id.
        orderer_organisations: MSP ids in the group Orderer, sorted.
        member_groups: MSP id of each member's group, by the group's path.
        consensus_type: `solo`, or another engine's name.
        consensus_metadata: the engine's own bytes.
        consenters: the orderers of a BFT engine, by whose numbers they sign blocks.
        consensus_state: 0 for normal operation, 1 while the engine is exchanged for another.
        orderer_endpoints: MSP id, host and port of each orderer; the MSP id is empty for an
            address that belongs to no member.
        elements: every group, value and policy by its key.
        config: the `common.Config` message; not to be changed.
    """

    def __init__(self, channel_id: str, config: Any) -> None:
        """Read a `common.Config` message; see `from_config_envelope`."""
        verify_channel_id(channel_id)
        self.channel_id = channel_id
        self.config = config
        self.sequence: int = config.sequence
        root = config.channel_group
        self.elements: Mapping[str, Element] = MappingProxyType(
            map_elements(root, f"the configuration of channel {channel_id}")
        )
        _verify_groups(root)
        channel = read_values(root, CHANNEL_VALUES, "/Channel")
        _verify_hashing(channel)
        orderer_group, application_group = root.groups["Orderer"], root.groups["Application"]
        orderer = read_values(orderer_group, ORDERER_VALUES, "/Channel/Orderer")
        application = read_values(application_group, APPLICATION_VALUES, "/Channel/Application")
        self.capabilities = Capabilities(
            channel=frozenset(channel["Capabilities"].capabilities),
            application=frozenset(application["Capabilities"].capabilities),
            orderer=frozenset(orderer["Capabilities"].capabilities),
        )
        if not self.capabilities.channel & (_OLD_MSP_RULES | _NEW_MSP_RULES):
            raise ConfigurationError(
                f"channel {channel_id} has no channel capability of V1_3 or later, and the rules "
                "before it are not supported: set V2_0 or V3_0"
            )
        if "Capabilities" not in orderer_group.values:
            raise ConfigurationError(
                "cannot enable channel capabilities without orderer support first: set the "
                "Capabilities of the group Orderer, if only to none"
            )
        self.batch: BatchParameters = read_batch(orderer)
        self.consensus_type: str = orderer["ConsensusType"].type
        self.consensus_metadata: bytes = orderer["ConsensusType"].metadata
        self.consensus_state: int = orderer["ConsensusType"].state
        self.consenters: tuple[Consenter, ...] = tuple(
            Consenter(
                each.id, each.msp_id, each.identity, each.host, each.port, each.server_tls_cert
            )
            for each in orderer["Orderers"].consenter_mapping
        )
        # An ACL without a policy is none: the default holds (Fabric common/channelconfig/acls.go).
        self.acls: Mapping[str, str] = MappingProxyType(
            {
                name: _absolute(acl.policy_ref)
                for name, acl in application["ACLs"].acls.items()
                if acl.policy_ref
            }
        )
        members = _Members(
            ed25519_allowed="V3_0" in self.capabilities.channel,
            old_rules=not self.capabilities.channel & _NEW_MSP_RULES,
        )
        self.organisations = members.read_application(application_group)
        addresses = channel["OrdererAddresses"].addresses
        self.orderer_endpoints = members.read_orderer(orderer_group, addresses)
        self.orderer_organisations = tuple(sorted(members.orderers))
        members.read_consortiums(root)
        self.member_groups: Mapping[str, str] = MappingProxyType(members.groups)
        if "V3_0" in self.capabilities.channel:
            _verify_endpoints(addresses, members.without_endpoints)
        self.msps = MSPManager(list(members.msps.values()))
        self.policies = PolicyManager(root, self.msps)
        verify_consenters(self)

    @classmethod
    def from_config_envelope(cls, raw: bytes, channel_id: str) -> ChannelConfiguration:
        """Read a marshalled ConfigEnvelope, the data of a configuration transaction.

        Args:
            raw: the bytes.
            channel_id: the channel, from the transaction's header.
        Raises:
            ConfigurationError: malformed, or it breaks a rule; the message says which.
            PolicyError: one of its policies is malformed.
        """
        envelope = decode_message(
            configtx_pb2.ConfigEnvelope, raw, "the configuration", ConfigurationError
        )
        if not envelope.HasField("config") or not envelope.config.HasField("channel_group"):
            raise ConfigurationError(
                "the configuration has no channel group: send a ConfigEnvelope with a config"
            )
        return cls(channel_id, envelope.config)

    @classmethod
    def from_block(cls, block: Block) -> ChannelConfiguration:
        """Read a configuration block, the genesis block among them.

        Raises:
            ConfigurationError: no configuration block, or the configuration breaks a rule.
            PolicyError: one of its policies is malformed.
        """
        found = config_of_block(block)
        if found is None:
            raise ConfigurationError(
                f"block {block.header.number} is no configuration block: give the one that "
                "LAST_CONFIG names"
            )
        return cls.from_config_envelope(found[1], found[0])

    @property
    def is_rehearsal(self) -> bool:
        """True if the network's time is set by its operator and nothing may leave it."""
        return REHEARSAL in self.capabilities.channel

    def acl_policy(self, resource: str) -> str:
        """Return the policy that guards *resource*.

        Returns:
            the path of a policy of this channel, or `LOCAL_ADMINS` or `LOCAL_MEMBERS` for what
            the node's own member decides.
        Raises:
            ConfigurationError: no such resource; nobody has access to it.
        """
        policy = LOCAL_ACLS.get(resource) or self.acls.get(resource) or CHANNEL_ACLS.get(resource)
        if policy is None:
            raise ConfigurationError(
                f"Unmapped policy for {resource}: name one in the channel's ACLs"
            )
        return policy

    def verify_capabilities(self) -> None:
        """Check that this program can honour all that the channel demands.

        Raises:
            ConfigurationError: it demands a capability that is unknown here. A node must stop
                then, since it would judge blocks by other rules than the rest.
        """
        for level, known in SUPPORTED_CAPABILITIES.items():
            demanded: frozenset[str] = getattr(self.capabilities, level)
            unknown = sorted(demanded - known)
            if unknown:
                raise ConfigurationError(
                    f"channel {self.channel_id} demands the {level} capabilities {unknown}, which "
                    "this program does not have: upgrade it"
                )


def config_of_block(block: Block) -> tuple[str, bytes] | None:
    """Return channel id and marshalled ConfigEnvelope of a configuration block.

    Returns:
        None if the block holds no configuration transaction.
    Raises:
        ConfigurationError: its only entry cannot be read as an envelope with a header.
    """
    if len(block.data) != 1:
        return None
    what = f"block {block.header.number}"
    envelope = decode_message(common_pb2.Envelope, block.data[0], what, ConfigurationError)
    payload = decode_message(common_pb2.Payload, envelope.payload, what, ConfigurationError)
    header = decode_message(
        common_pb2.ChannelHeader, payload.header.channel_header, what, ConfigurationError
    )
    if header.type != _CONFIG:
        return None
    return header.channel_id, payload.data


def _absolute(reference: str) -> str:
    """Return the path of a policy that an ACL names; relative ones are below Application.

    Source: Fabric common/channelconfig/acls.go.
    """
    return reference if reference.startswith("/") else f"/Channel/Application/{reference}"


def _verify_groups(root: Any) -> None:
    names = set(root.groups)
    if not names >= _GROUPS or names - _GROUPS - {CONSORTIUMS}:
        raise ConfigurationError(
            f"the channel group has the groups {sorted(names)}: it must have Application and "
            f"Orderer, may have {CONSORTIUMS}, and no other"
        )


def _verify_hashing(values: dict[str, Any]) -> None:
    name = values["HashingAlgorithm"].name
    # Fabric takes both names; blocks are hashed with SHA-256 all the same.
    if name not in ("SHA256", "SHA3_256"):
        raise ConfigurationError(f"the hashing algorithm {name[:40]!r} is unknown: use SHA256")
    if values["BlockDataHashingStructure"].width != _ALL_AT_ONCE:
        raise ConfigurationError(
            f"block data is hashed in one piece: set BlockDataHashingStructure to {_ALL_AT_ONCE}"
        )


def _verify_endpoints(global_addresses: Sequence[str], missing: Sequence[str]) -> None:
    if global_addresses:
        raise ConfigurationError(
            "global OrdererAddresses are not allowed with V3_0 capability: set the Endpoints of "
            "each organisation"
        )
    if missing:
        raise ConfigurationError(
            f"some orderer organizations endpoints are empty: {sorted(missing)}; set their "
            "Endpoints"
        )


def _endpoints(addresses: Iterable[str], where: str) -> Iterator[tuple[str, int]]:
    """Read addresses; those that no program could reach are passed over, as in Fabric."""
    for address in addresses:
        with suppress(ConfigurationError):
            yield read_endpoint(address, where)


class _Members:
    """The MSPs of both groups; a member in both must be defined alike in both."""

    def __init__(self, *, ed25519_allowed: bool, old_rules: bool) -> None:
        self._ed25519_allowed = ed25519_allowed
        self._old_rules = old_rules
        self._definitions: dict[str, bytes] = {}
        self.msps: dict[str, MSP] = {}
        self.groups: dict[str, str] = {}
        self.orderers: set[str] = set()
        self.without_endpoints: list[str] = []

    def _read_msp(self, config: Any, where: str) -> MSP:
        msp = MSP.from_config(
            config, ed25519_allowed=self._ed25519_allowed, old_rules=self._old_rules
        )
        definition = config.SerializeToString(deterministic=True)
        if self._definitions.setdefault(msp.msp_id, definition) != definition:
            raise ConfigurationError(
                f"{where} defines the MSP {msp.msp_id} otherwise than another group does: "
                "define it alike"
            )
        return self.msps.setdefault(msp.msp_id, msp)

    def _read_groups(self, group: Any, known: dict[str, Any], path: str) -> Any:
        for name, inner in group.groups.items():
            where = f"{path}/{name}"
            if inner.groups:
                raise ConfigurationError(f"{where} has groups below it: a member has none")
            values = read_values(inner, known, where)
            msp = self._read_msp(values["MSP"], where)
            self.groups[where] = msp.msp_id
            yield name, where, msp, values

    def read_application(self, group: Any) -> Mapping[str, Organisation]:
        """Return the members of the group Application by MSP id."""
        found: dict[str, Organisation] = {}
        known = APPLICATION_ORGANISATION_VALUES
        for name, _, msp, values in self._read_groups(group, known, "/Channel/Application"):
            # Two groups may name one MSP; then the first by name speaks for it.
            if msp.msp_id in found and found[msp.msp_id].name < name:
                continue
            peers = tuple((peer.host, peer.port) for peer in values["AnchorPeers"].anchor_peers)
            found[msp.msp_id] = Organisation(msp.msp_id, name, peers)
        return MappingProxyType(dict(sorted(found.items())))

    def read_orderer(self, group: Any, addresses: Any) -> tuple[tuple[str, str, int], ...]:
        """Return the endpoints of the group Orderer, sorted, those without a member first."""
        found = [("", *each) for each in _endpoints(addresses, "OrdererAddresses")]
        known = ORDERER_ORGANISATION_VALUES
        for name, where, msp, values in self._read_groups(group, known, "/Channel/Orderer"):
            self.orderers.add(msp.msp_id)
            own = values["Endpoints"].addresses
            if not own:
                self.without_endpoints.append(name)
            found.extend((msp.msp_id, *each) for each in _endpoints(own, where))
        return tuple(sorted(found))

    def read_consortiums(self, root: Any) -> None:
        """Take over the MSPs that the group Consortiums names; they count on the channel, too.

        A channel made out of a configuration that was an orderers' one may still have it.
        Source: Fabric common/channelconfig/{consortiums,consortium}.go.
        """
        if CONSORTIUMS not in root.groups:
            return
        for name, consortium in root.groups[CONSORTIUMS].groups.items():
            path = f"/Channel/{CONSORTIUMS}/{name}"
            read_values(consortium, CONSORTIUM_VALUES, path)
            for _ in self._read_groups(consortium, CONSORTIUM_ORGANISATION_VALUES, path):
                pass
