"""Configuration updates: who may change what, and the configuration that comes of it.

An update names a read set (elements and the versions they must still have) and a write set
(elements as they are to be). What the write set holds at another version than the read set is the
delta. An update stands if

1. it is for this channel;
2. every element of the read set is in the configuration in force, at that version;
3. the delta is not empty, and each element in it names a policy for its next modification;
4. an element of the delta that exists goes up by one version, and those who signed satisfy the
   modification policy that the element has *now*; one that does not exist begins at version 0 (its
   group changes with it, and the group's policy decides);
5. what comes of it is a configuration that may follow the one in force (`succession.py`).

A signature covers ``signature header ‖ update``. Members that nobody names any more are gone.

Invariants: pure; the outcome depends on the configuration in force and the bytes alone. Errors name
the element, its version and the rule; of several faults, the first in the order of the elements.

Source: Fabric common/configtx/{validator,update}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2

from network.configuration.channel import ChannelConfiguration
from network.configuration.elements import (
    GROUP,
    Element,
    build_group,
    is_name,
    map_elements,
    walk_elements,
)
from network.configuration.succession import verify_may_follow
from network.decoding import decode_message
from network.errors import ConfigurationError, PolicyError
from network.msp import Identity
from network.policy import Policy, SignedData, valid_identities

__all__ = [
    "apply_update",
    "authorise_update",
    "modification_policy",
    "read_update",
    "signed_data_of",
    "update_delta",
    "verify_config_envelope",
]


def apply_update(
    current: ChannelConfiguration, envelope: bytes
) -> tuple[Any, ChannelConfiguration]:
    """Return what becomes of the configuration in force by an update.

    Args:
        current: the configuration in force.
        envelope: a marshalled Envelope of type CONFIG_UPDATE, as its sender signed it.
    Returns:
        the ConfigEnvelope that an orderer puts into a block, and the configuration in it.
    Raises:
        ConfigurationError: the update breaks a rule; the message names the element and the rule.
        PolicyError: those who signed may not change one of the elements, or a policy that the new
            configuration would have is malformed.
    """
    last_update = decode_message(
        common_pb2.Envelope, envelope, "the configuration update", ConfigurationError
    )
    return _apply(current, last_update)


def _apply(current: ChannelConfiguration, last_update: Any) -> tuple[Any, ChannelConfiguration]:
    config = configtx_pb2.Config(
        sequence=current.sequence + 1,
        channel_group=authorise_update(current, read_update(last_update)),
    )
    following = ChannelConfiguration(current.channel_id, config)
    verify_may_follow(current, following)
    return configtx_pb2.ConfigEnvelope(config=config, last_update=last_update), following


def verify_config_envelope(current: ChannelConfiguration, raw: bytes) -> ChannelConfiguration:
    """Check that a marshalled ConfigEnvelope may follow, as a peer does when it commits a block.

    Its sequence must be the next one, and the update inside, applied once more here, must give just
    the configuration that it holds.

    Returns:
        the configuration in it.
    Raises:
        ConfigurationError: it may not follow; the message says why.
        PolicyError: those who signed the update may not change one of its elements, or a policy of
            the new configuration is malformed.
    """
    envelope = decode_message(
        configtx_pb2.ConfigEnvelope, raw, "the configuration", ConfigurationError
    )
    if not envelope.HasField("config"):
        raise ConfigurationError("the configuration envelope has no config: send one that has")
    if envelope.config.sequence != current.sequence + 1:
        raise ConfigurationError(
            f"config currently at sequence {current.sequence}, cannot validate config at sequence "
            f"{envelope.config.sequence}: {current.sequence + 1} must follow"
        )
    if not envelope.HasField("last_update"):
        raise ConfigurationError(
            "the configuration envelope has no last update: send the update that was agreed, too"
        )
    group = authorise_update(current, read_update(envelope.last_update))
    if not envelope.config.HasField("channel_group") or group != envelope.config.channel_group:
        raise ConfigurationError(
            "ConfigEnvelope LastUpdate did not produce the supplied config result"
            f"{_first_difference(group, envelope.config.channel_group)}: put the configuration "
            "into the envelope that comes of the update"
        )
    following = ChannelConfiguration(current.channel_id, envelope.config)
    verify_may_follow(current, following)
    return following


def _first_difference(expected: Any, found: Any) -> str:
    before = map_elements(expected, "the configuration that comes of the update")
    after = map_elements(found, "the configuration in the envelope")
    for key in [*before, *after]:
        if key not in before or key not in after:
            return f", {key} is in one of them only"
        if before[key].kind != GROUP and before[key].message != after[key].message:
            return f", {key} differs"
        if (before[key].version, before[key].mod_policy) != (
            after[key].version,
            after[key].mod_policy,
        ):
            return f", {key} differs in version or modification policy"
    return ""


def read_update(envelope: Any) -> Any:
    """Return the ConfigUpdateEnvelope in an Envelope message of type CONFIG_UPDATE.

    Raises:
        ConfigurationError: it holds something else.
    """
    what = "the configuration update"
    payload = decode_message(common_pb2.Payload, envelope.payload, what, ConfigurationError)
    if not payload.HasField("header"):
        raise ConfigurationError(f"{what} has no header: make the envelope anew")
    header = decode_message(
        common_pb2.ChannelHeader, payload.header.channel_header, what, ConfigurationError
    )
    if header.type != common_pb2.CONFIG_UPDATE:
        raise ConfigurationError(
            f"{what} is in an envelope of type {header.type}: send one of type CONFIG_UPDATE "
            f"({common_pb2.CONFIG_UPDATE})"
        )
    return decode_message(configtx_pb2.ConfigUpdateEnvelope, payload.data, what, ConfigurationError)


def authorise_update(current: ChannelConfiguration, update_envelope: Any) -> Any:
    """Return the channel's root ConfigGroup as an update would leave it.

    Args:
        current: the configuration in force.
        update_envelope: the ConfigUpdateEnvelope message, with its signatures.
    Raises:
        ConfigurationError: the update breaks a rule.
        PolicyError: those who signed may not change one of the elements.
    """
    delta = update_delta(current, bytes(update_envelope.config_update))
    identities = valid_identities(signed_data_of(update_envelope), current.msps)
    for key in delta:
        existing = current.elements.get(key)
        if existing is not None:
            _verify_signers(current, key, existing, identities)
    return build_group({**current.elements, **delta})


def update_delta(current: ChannelConfiguration, config_update: bytes) -> dict[str, Element]:
    """Return the elements that an update would change, by key; who signed is not looked at.

    Args:
        current: the configuration in force.
        config_update: a marshalled ConfigUpdate.
    Raises:
        ConfigurationError: the update breaks a rule.
    """
    update = decode_message(
        configtx_pb2.ConfigUpdate, config_update, "the configuration update", ConfigurationError
    )
    if update.channel_id != current.channel_id:
        raise ConfigurationError(
            f"ConfigUpdate for channel '{update.channel_id[:249]}' but envelope for channel "
            f"'{current.channel_id}': compute it from this channel's configuration"
        )
    read_versions = _verify_read_set(current, update)
    delta: dict[str, Element] = {}
    if update.HasField("write_set"):
        for element in walk_elements(update.write_set, "the write set"):
            key = element.key
            if read_versions.get(key) != element.version:
                delta[key] = element
    _verify_delta(current, delta)
    return delta


def _verify_read_set(current: ChannelConfiguration, update: Any) -> dict[str, int]:
    """Return the versions of the read set by key, every one of which is in force."""
    versions: dict[str, int] = {}
    if not update.HasField("read_set"):
        return versions
    for element in walk_elements(update.read_set, "the read set"):
        key = element.key
        existing = current.elements.get(key)
        if existing is None:
            raise ConfigurationError(
                f"existing config does not contain element for {key} but was in the read set: "
                "compute the update anew from the configuration in force"
            )
        if existing.version != element.version:
            raise ConfigurationError(
                f"proposed update requires that key {key} be at version {element.version}, but it "
                f"is currently at version {existing.version}: compute the update anew from the "
                "configuration in force, and have it signed again"
            )
        versions[key] = element.version
    return versions


def _verify_delta(current: ChannelConfiguration, delta: Mapping[str, Element]) -> None:
    if not delta:
        raise ConfigurationError(
            "delta set was empty -- update would have no effect: change something"
        )
    for key, element in delta.items():
        _verify_mod_policy(key, element.mod_policy)
        existing = current.elements.get(key)
        if existing is None and element.version != 0:
            raise ConfigurationError(
                f"attempted to set key {key} to version {element.version}, but key does not "
                "exist: a new element begins at version 0"
            )
        if existing is not None and element.version != existing.version + 1:
            raise ConfigurationError(
                f"attempt to set key {key} to version {element.version}, but key is at version "
                f"{existing.version}: a change makes it {existing.version + 1}"
            )


def modification_policy(current: ChannelConfiguration, existing: Element) -> Policy:
    """Return the policy by which an element of the configuration in force may be changed.

    Raises:
        PolicyError: it names one that is not there.
    """
    inside = existing.groups if existing.kind != GROUP else (*existing.groups, existing.name)
    policy = current.policies.policy_seen_from(inside[1:], existing.mod_policy)
    if policy is None:
        raise PolicyError(
            f"unexpected missing policy {existing.mod_policy[:400]} for item {existing.key}: it "
            "can be changed only together with a group above it that names a policy"
        )
    return policy


def _verify_signers(
    current: ChannelConfiguration, key: str, existing: Element, identities: Sequence[Identity]
) -> None:
    policy = modification_policy(current, existing)
    try:
        policy.evaluate(identities)
    except PolicyError as refused:
        raise PolicyError(
            f"policy for {key} (version {existing.version}, mod_policy {existing.mod_policy}) not "
            f"satisfied: {refused}"
        ) from refused


def _verify_mod_policy(key: str, mod_policy: str) -> None:
    if not mod_policy:
        raise ConfigurationError(
            f"invalid mod_policy for element {key}: mod_policy not set; name the policy by which "
            "it may be changed, e.g. Admins"
        )
    for part in mod_policy.removeprefix("/").split("/"):
        if not is_name(part):
            raise ConfigurationError(
                f"invalid mod_policy for element {key}: {part[:80]!r} in its path is no name; use "
                "letters, digits, dots and dashes"
            )


def signed_data_of(update_envelope: Any) -> list[SignedData]:
    """Return the signatures of a ConfigUpdateEnvelope with what each of them covers.

    Raises:
        ConfigurationError: the header of one cannot be read.
    """
    signed = []
    for number, signature in enumerate(update_envelope.signatures):
        header = decode_message(
            common_pb2.SignatureHeader,
            signature.signature_header,
            f"the header of signature {number}",
            ConfigurationError,
        )
        signed.append(
            SignedData(
                data=signature.signature_header + update_envelope.config_update,
                identity=header.creator,
                signature=signature.signature,
            )
        )
    return signed
