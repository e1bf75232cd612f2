"""Changes that members ask for, made to a copy of the configuration in force.

Each function changes a `common.Config` message in place: a member comes or goes, its authorities or
its revocation lists are others, batches, endpoints, policies, access, capabilities. Nothing is
judged but what the change itself needs; whether what comes of it is a configuration at all is seen
when it is read (`channel.py`), and the update is computed from before and after (`difference.py`).

Invariants:
- An element that stands keeps its modification policy; a new one gets ``Admins``.
- A member that stands in both groups is changed in both, since it must be defined alike in both.

Absent: versions, which `compute_update` gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fabric_protos.common import configtx_pb2, configuration_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from network.configuration.acls import CHANNEL_ACLS
from network.configuration.channel import REHEARSAL, ChannelConfiguration
from network.configuration.genesis import (
    ADMINS,
    OrganisationSpec,
    application_member_group,
    config_policy,
)
from network.configuration.values import (
    BatchParameters,
    format_duration,
    format_endpoint,
    parse_duration,
    read_batch,
)
from network.decoding import decode_message
from network.errors import ConfigurationError, IdentityError, PolicyError
from network.msp import MSP, Certificate
from network.msp.settings import RevocationList, read_revocation_list

__all__ = [
    "add_member",
    "add_revocation_lists",
    "remove_member",
    "replace_msp",
    "set_acl",
    "set_anchor_peers",
    "set_batch",
    "set_capability",
    "set_orderer_endpoints",
    "set_policy",
    "verify_access",
]

BATCH_SIZES: Final = ("max_message_count", "absolute_max_bytes", "preferred_max_bytes")
LEVELS: Final = ("channel", "orderer", "application")


def add_member(config: Any, spec: OrganisationSpec) -> None:
    """Add a member to the group Application.

    Raises:
        ConfigurationError: it is a member already, or names no TLS authority.
    """
    groups = config.channel_group.groups["Application"].groups
    if group_of(groups, spec.msp_id) is not None or spec.msp_id in groups:
        raise ConfigurationError(
            f"{spec.msp_id} is a member of the channel already: replace its authorities with "
            "--replace-ca, or its node's address with --anchor"
        )
    if not MSP.from_config(spec.msp_config, ed25519_allowed=True).tls_roots:
        raise ConfigurationError(
            f"the MSP folder of {spec.msp_id} has no certificate in tlscacerts, and its nodes "
            "could not connect to any other: have the member give its TLS authority, too"
        )
    groups[spec.msp_id].CopyFrom(application_member_group(spec))


def remove_member(config: Any, msp_id: str) -> None:
    """Take a member out of the channel.

    Raises:
        ConfigurationError: it is none, or the only one that orders.
    """
    found = _groups_of(config, msp_id)
    orderers = config.channel_group.groups["Orderer"].groups
    ordering = group_of(orderers, msp_id)
    if ordering is not None and len(orderers) == 1:
        raise ConfigurationError(
            f"{msp_id} is the only member that orders, and without one the channel would stand "
            "still: have another member order first"
        )
    for groups, name in found:
        del groups[name]


def replace_msp(config: Any, msp_id: str, msp_config: Any) -> None:
    """Give a member the MSP definition of its folder: authorities, lists, units.

    Args:
        msp_config: an MSPConfig message.
    """
    raw = msp_config.SerializeToString(deterministic=True)
    for groups, name in _groups_of(config, msp_id):
        set_value(groups[name], "MSP", raw)


def add_revocation_lists(config: Any, msp_id: str, lists: Iterable[bytes]) -> None:
    """Have the channel take over revocation lists of a member.

    A list takes the place of an older one of the same authority.

    Args:
        lists: in PEM or DER.
    Raises:
        ConfigurationError: no such member, a list that is none, or of no authority of the member.
    """
    given = [(raw, read_revocation_list(raw, msp_id)) for raw in lists]
    if not given:
        raise ConfigurationError(f"no revocation list is given for {msp_id}: name its file")
    for groups, name in _groups_of(config, msp_id):
        message = decode_message(
            msp_config_pb2.MSPConfig, groups[name].values["MSP"].value, name, ConfigurationError
        )
        fabric = decode_message(
            msp_config_pb2.FabricMSPConfig, message.config, name, ConfigurationError
        )
        for raw, found in given:
            _verify_issuer(fabric, found, msp_id)
            kept = [
                each
                for each in fabric.revocation_list
                if read_revocation_list(each, msp_id).authority_key_identifier
                != found.authority_key_identifier
            ]
            del fabric.revocation_list[:]
            fabric.revocation_list.extend([*kept, raw])
        message.config = fabric.SerializeToString(deterministic=True)
        set_value(groups[name], "MSP", message.SerializeToString(deterministic=True))


def _verify_issuer(fabric: Any, found: RevocationList, msp_id: str) -> None:
    kinds = ("root_certs", "intermediate_certs", "tls_root_certs", "tls_intermediate_certs")
    for pem in (pem for kind in kinds for pem in getattr(fabric, kind)):
        try:
            authority = Certificate.from_pem(pem)
        except IdentityError as reason:
            raise ConfigurationError(
                f"an authority of {msp_id} in the channel cannot be read: {reason}"
            ) from reason
        if authority.key_identifier == found.authority_key_identifier and found.is_signed_by(
            authority
        ):
            return
    raise ConfigurationError(
        f"the revocation list is of no authority that {msp_id} has in the channel: give one that "
        "`qist org revoke` has made in the member's own folder, or replace its authorities first"
    )


def set_anchor_peers(config: Any, msp_id: str, addresses: Sequence[tuple[str, int]]) -> None:
    """Say where the nodes of a member are reached; the addresses before are gone."""
    groups = config.channel_group.groups["Application"].groups
    peers = peer_pb2.AnchorPeers(
        anchor_peers=[peer_pb2.AnchorPeer(host=host, port=port) for host, port in addresses]
    )
    set_value(groups[_named(groups, msp_id, "a member of")], "AnchorPeers", _bytes(peers))


def set_orderer_endpoints(config: Any, msp_id: str, addresses: Sequence[tuple[str, int]]) -> None:
    """Say where a member that orders is reached; the addresses before are gone."""
    groups = config.channel_group.groups["Orderer"].groups
    name = _named(groups, msp_id, "one that orders in")
    written = [format_endpoint(host, port) for host, port in addresses]
    set_value(
        groups[name], "Endpoints", _bytes(configuration_pb2.OrdererAddresses(addresses=written))
    )


def set_batch(config: Any, changes: Mapping[str, str]) -> None:
    """Change when blocks are cut.

    Args:
        changes: new values by the names of `BATCH_SIZES`, and ``timeout`` as in ``500ms``.
    Raises:
        ConfigurationError: another name, or values that an orderer cannot use.
    """
    group = config.channel_group.groups["Orderer"]
    values = {
        name: decode_message(kind, group.values[name].value, name, ConfigurationError)
        for name, kind in (
            ("BatchSize", orderer_pb2.BatchSize),
            ("BatchTimeout", orderer_pb2.BatchTimeout),
        )
    }
    batch = read_batch(values)
    for name, text in changes.items():
        if name == "timeout":
            batch = replace(batch, timeout_s=parse_duration(text))
        elif name in BATCH_SIZES and text.isascii() and text.isdigit() and len(text) < 11:
            batch = replace(batch, **{name: int(text)})
        else:
            raise ConfigurationError(
                f"the batch cannot have {name[:40]}={text[:40]}: give "
                f"{', '.join(BATCH_SIZES)} as a whole number, or timeout as 500ms"
            )
    _write_batch(group, batch, set(changes))


def _write_batch(group: Any, batch: BatchParameters, changed: set[str]) -> None:
    if changed & set(BATCH_SIZES):
        size = orderer_pb2.BatchSize(**{name: getattr(batch, name) for name in BATCH_SIZES})
        set_value(group, "BatchSize", _bytes(size))
    if "timeout" in changed:
        timeout = orderer_pb2.BatchTimeout(timeout=format_duration(batch.timeout_s))
        set_value(group, "BatchTimeout", _bytes(timeout))


def set_acl(config: Any, resource: str, policy: str) -> None:
    """Guard a resource by another policy; an empty one brings Fabric's default back.

    Raises:
        ConfigurationError: no such resource of a channel, or nothing to take back.
    """
    if resource not in CHANNEL_ACLS:
        raise ConfigurationError(
            f"{resource[:80]!r} is no resource of a channel: name one of "
            f"{', '.join(sorted(CHANNEL_ACLS))}"
        )
    group = config.channel_group.groups["Application"]
    acls = decode_message(peer_pb2.ACLs, group.values["ACLs"].value, "ACLs", ConfigurationError)
    if policy:
        acls.acls[resource].policy_ref = policy
    elif resource in acls.acls:
        del acls.acls[resource]
    else:
        raise ConfigurationError(
            f"the channel names no policy for {resource[:80]}: nothing can be taken back"
        )
    if acls.acls:
        set_value(group, "ACLs", _bytes(acls))
    else:
        del group.values["ACLs"]


def verify_access(configuration: ChannelConfiguration) -> None:
    """Check that every resource that the channel guards otherwise is guarded by a policy it has.

    Fabric takes a configuration in which that is not so; nobody can use the resource then.

    Raises:
        PolicyError: a resource names a policy that is not there.
    """
    for resource, policy in configuration.acls.items():
        try:
            configuration.policies.policy(policy)
        except PolicyError as reason:
            raise PolicyError(f"nobody could use {resource[:80]}: {reason}") from reason


def set_policy(config: Any, path: str, rule: str) -> None:
    """Give a policy another rule, or make a new one.

    Args:
        path: as ``/Channel/Application/Endorsement``.
        rule: in words; see `config_policy`.
    Raises:
        ConfigurationError: the path leads into no group.
        PolicyError: the rule is none.
    """
    parts = path.removeprefix("/").split("/")
    group = config.channel_group
    for name in parts[1:-1]:
        if name not in group.groups:
            raise ConfigurationError(
                f"{path[:200]} is the place of no policy: there is no group {name[:80]}; "
                "write it as `qist channel show` does"
            )
        group = group.groups[name]
    if parts[0] != "Channel" or len(parts) < 2:
        raise ConfigurationError(
            f"{path[:200]} is the place of no policy: write it like /Channel/Application/Admins"
        )
    made = config_policy(rule)
    existing = group.policies.get(parts[-1])
    if existing is not None and existing.mod_policy:
        made.mod_policy = existing.mod_policy
    group.policies[parts[-1]].CopyFrom(made)


def set_capability(config: Any, level: str, name: str) -> None:
    """Demand a capability of all nodes instead of those that a level demands now.

    Args:
        level: ``channel``, ``orderer`` or ``application``.
        name: of the capability; several separated by commas. Whether the network is a rehearsal
            stays as it is.
    Raises:
        ConfigurationError: no such level, or no name.
    """
    names = [each.strip() for each in name.split(",") if each.strip() not in ("", REHEARSAL)]
    if level not in LEVELS or not names:
        raise ConfigurationError(
            f"{level[:40]}={name[:80]} is no capability: write it like application=V2_5, with one "
            f"of {', '.join(LEVELS)}"
        )
    group = config.channel_group
    if level != "channel":
        group = group.groups[level.capitalize()]
    before = decode_message(
        configuration_pb2.Capabilities,
        group.values["Capabilities"].value,
        "Capabilities",
        ConfigurationError,
    )
    if REHEARSAL in before.capabilities:
        names.append(REHEARSAL)
    wanted = configuration_pb2.Capabilities(
        capabilities={each: configuration_pb2.Capability() for each in names}
    )
    set_value(group, "Capabilities", _bytes(wanted))


def _bytes(message: Any) -> bytes:
    raw: bytes = message.SerializeToString(deterministic=True)
    return raw


def set_value(group: Any, name: str, raw: bytes) -> None:
    """Give a value other bytes; one that is new gets the modification policy ``Admins``."""
    existing = group.values.get(name)
    mod_policy = ADMINS if existing is None or not existing.mod_policy else existing.mod_policy
    version = 0 if existing is None else existing.version
    group.values[name].CopyFrom(
        configtx_pb2.ConfigValue(version=version, value=raw, mod_policy=mod_policy)
    )


def _groups_of(config: Any, msp_id: str) -> list[tuple[Any, str]]:
    """Return where a member stands: the groups of Application or Orderer, and its name there.

    Raises:
        ConfigurationError: nowhere.
    """
    found = []
    for part in ("Application", "Orderer"):
        groups = config.channel_group.groups[part].groups
        name = group_of(groups, msp_id)
        if name is not None:
            found.append((groups, name))
    if not found:
        raise ConfigurationError(_no_member(config, msp_id))
    return found


def _no_member(config: Any, msp_id: str) -> str:
    known = config.channel_group.groups["Application"].groups
    return (
        f"{msp_id[:80]!r} is no member of the channel, whose members are "
        f"{', '.join(sorted(_msp_id(each, name) for name, each in known.items()))}"
    )


def _named(groups: Any, msp_id: str, what: str) -> str:
    name = group_of(groups, msp_id)
    if name is None:
        known = ", ".join(sorted(_msp_id(each, name) for name, each in groups.items()))
        raise ConfigurationError(f"{msp_id[:80]!r} is not {what} the channel; there is {known}")
    return name


def group_of(groups: Any, msp_id: str) -> str | None:
    """Return the name of the group that a member has; usually its MSP id."""
    for name in sorted(groups):
        if _msp_id(groups[name], name) == msp_id:
            return str(name)
    return None


def _msp_id(group: Any, name: str) -> str:
    if "MSP" not in group.values:
        return name
    message = decode_message(
        msp_config_pb2.MSPConfig, group.values["MSP"].value, name, ConfigurationError
    )
    fabric = decode_message(
        msp_config_pb2.FabricMSPConfig, message.config, name, ConfigurationError
    )
    return str(fabric.name)
