"""A configuration as JSON that a person edits, and the configuration that comes of it.

    {"channel_id": …, "sequence": …, "channel_group": GROUP}
    GROUP   {"mod_policy", "groups": {name: GROUP}, "values": {name: VALUE},
             "policies": {name: POLICY}}
    VALUE   {"mod_policy", "value": the message in protobuf's JSON, names as in its definition}
    POLICY  {"mod_policy", "rule": in words}

An MSP's definition is the `FabricMSPConfig` itself; certificates are in base64 there. What has no
words, and a value of an unknown name, is ``"base64"`` instead. Versions are left out, since they
follow from the changes.

Invariant: what nobody has edited comes back byte for byte, however it was written.

Absent: Fabric's own JSON (configtxlator), in which policies are messages and not words.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from fabric_protos.common import configtx_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError

from network.configuration.changes import rule_in_words, type_of_value
from network.configuration.channel import ChannelConfiguration
from network.configuration.elements import POLICY, ROOT, VALUE, Element
from network.configuration.genesis import config_policy
from network.errors import ConfigurationError, PolicyError

__all__ = ["decode_edited", "encode_for_editing"]

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 8


def encode_for_editing(current: ChannelConfiguration) -> str:
    """Return the configuration in force as JSON to be edited."""
    content = {
        "channel_id": current.channel_id,
        "sequence": current.sequence,
        "channel_group": _group(current.config.channel_group, (), ROOT),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def decode_edited(current: ChannelConfiguration, text: str) -> Any:
    """Return the `common.Config` that an edited JSON says.

    Args:
        current: the configuration in force, from which what was not edited is taken.
        text: what `encode_for_editing` gave, edited.
    Raises:
        ConfigurationError: it is no JSON, not of that form, or of another channel or configuration.
        PolicyError: a rule is none.
    """
    if len(text) > MAX_BYTES:
        raise ConfigurationError(f"the edited configuration is longer than {MAX_BYTES} characters")
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as reason:
        raise ConfigurationError(
            "a text in the edited configuration has half of a character, \\ud800 to \\udfff alone"
        ) from reason
    except (ValueError, RecursionError) as reason:
        raise ConfigurationError(f"the edited configuration is not JSON: {reason}") from reason
    if not isinstance(content, dict) or set(content) != {"channel_id", "sequence", "channel_group"}:
        raise ConfigurationError(
            "the edited configuration must be an object of channel_id, sequence and channel_group: "
            "begin with what `qist channel show --edit` prints"
        )
    told = content["channel_id"], content["sequence"]
    if told != (current.channel_id, current.sequence):
        raise ConfigurationError(
            f"the edited configuration is number {told[1]} of channel {told[0]}, and number "
            f"{current.sequence} of channel {current.channel_id} is in force: edit that one"
        )
    group = _read_group(content["channel_group"], current.config.channel_group, (), ROOT)
    return configtx_pb2.Config(sequence=current.sequence, channel_group=group)


def _group(group: Any, above: tuple[str, ...], name: str) -> dict[str, Any]:
    inside = (*above, name)
    return {
        "mod_policy": group.mod_policy,
        "groups": {each: _group(group.groups[each], inside, each) for each in sorted(group.groups)},
        "values": {
            each: _value(Element(VALUE, inside, each, group.values[each]))
            for each in sorted(group.values)
        },
        "policies": {
            each: _policy(Element(POLICY, inside, each, group.policies[each]))
            for each in sorted(group.policies)
        },
    }


def _value(element: Element) -> dict[str, Any]:
    raw = bytes(element.message.value)
    told: dict[str, Any] = {"mod_policy": element.mod_policy}
    try:
        message = _decode_value(element, raw)
    except DecodeError:
        message = None
    if message is None or _has_unknown_fields(message):
        return {**told, "base64": base64.b64encode(raw).decode()}
    return {**told, "value": MessageToDict(message, preserving_proto_field_name=True)}


def _decode_value(element: Element, raw: bytes) -> Any:
    """Return the message in a value; None if its kind is unknown."""
    kind = type_of_value(element)
    if kind is None:
        return None
    message = kind.FromString(raw)
    if kind is not msp_config_pb2.MSPConfig:
        return message
    if message.type or _has_unknown_fields(message):
        return None
    return msp_config_pb2.FabricMSPConfig.FromString(message.config)


def _has_unknown_fields(message: Any) -> bool:
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return bool(known.ByteSize() != message.ByteSize())


def _encode_value(element: Element, message: Any) -> bytes:
    raw: bytes = message.SerializeToString(deterministic=True)
    if type_of_value(element) is msp_config_pb2.MSPConfig:
        raw = msp_config_pb2.MSPConfig(type=0, config=raw).SerializeToString(deterministic=True)
    return raw


def _policy(element: Element) -> dict[str, Any]:
    policy = element.message.policy
    words = rule_in_words(element)
    told: dict[str, Any] = {"mod_policy": element.mod_policy}
    if words is None:
        return {**told, "base64": base64.b64encode(policy.SerializeToString()).decode()}
    return {**told, "rule": words}


def _read_group(told: Any, original: Any, above: tuple[str, ...], name: str) -> Any:
    place = "/" + "/".join((*above, name))
    if len(above) > MAX_DEPTH:
        raise ConfigurationError(f"{place} lies deeper than {MAX_DEPTH} groups: have three")
    _verify_form(told, {"mod_policy", "groups", "values", "policies"}, place)
    inside = (*above, name)
    original = original or configtx_pb2.ConfigGroup()
    made = configtx_pb2.ConfigGroup(version=original.version, mod_policy=told["mod_policy"])
    for each, inner in told["groups"].items():
        made.groups[each].CopyFrom(_read_group(inner, original.groups.get(each), inside, each))
    for each, inner in told["values"].items():
        before = original.values.get(each)
        element = Element(VALUE, inside, each, before or configtx_pb2.ConfigValue())
        if before is not None and inner == _value(element):
            made.values[each].CopyFrom(before)
        else:
            made.values[each].CopyFrom(_read_value(inner, element))
    for each, inner in told["policies"].items():
        before = original.policies.get(each)
        element = Element(POLICY, inside, each, before or configtx_pb2.ConfigPolicy())
        if before is not None and inner == _policy(element):
            made.policies[each].CopyFrom(before)
        else:
            made.policies[each].CopyFrom(_read_policy(inner, element))
    return made


def _verify_form(told: Any, names: set[str], place: str) -> None:
    if not isinstance(told, dict) or set(told) != names or not isinstance(told["mod_policy"], str):
        raise ConfigurationError(
            f"{place} in the edited configuration must be an object of {', '.join(sorted(names))}"
        )
    for name in names & {"groups", "values", "policies"}:
        if not isinstance(told[name], dict):
            raise ConfigurationError(f"{place}/{name} in the edited configuration is no object")


def _read_value(told: Any, element: Element) -> Any:
    if isinstance(told, Mapping) and "base64" in told:
        _verify_form(told, {"mod_policy", "base64"}, element.path)
        raw = _bytes(told["base64"], element.path)
    else:
        _verify_form(told, {"mod_policy", "value"}, element.path)
        kind = type_of_value(element)
        if kind is None:
            raise ConfigurationError(
                f"{element.path} is no value that a configuration has there: take it out"
            )
        if not isinstance(told["value"], dict):
            raise ConfigurationError(
                f"{element.path}/value in the edited configuration is no object"
            )
        message = msp_config_pb2.FabricMSPConfig() if kind is msp_config_pb2.MSPConfig else kind()
        try:
            ParseDict(told["value"], message)
        except ParseError as reason:
            raise ConfigurationError(f"{element.path} cannot be read: {reason}") from reason
        raw = _encode_value(element, message)
    return configtx_pb2.ConfigValue(
        version=element.version, value=raw, mod_policy=told["mod_policy"]
    )


def _read_policy(told: Any, element: Element) -> Any:
    if isinstance(told, Mapping) and "base64" in told:
        _verify_form(told, {"mod_policy", "base64"}, element.path)
        try:
            policy = policies_pb2.Policy.FromString(_bytes(told["base64"], element.path))
        except DecodeError as reason:
            raise ConfigurationError(f"{element.path} holds no policy in base64") from reason
    else:
        _verify_form(told, {"mod_policy", "rule"}, element.path)
        try:
            policy = config_policy(str(told["rule"])).policy
        except PolicyError as reason:
            raise PolicyError(f"{element.path}: {reason}") from reason
    return configtx_pb2.ConfigPolicy(
        version=element.version, policy=policy, mod_policy=told["mod_policy"]
    )


def _bytes(text: Any, place: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error as reason:
        raise ConfigurationError(f"{place} holds no base64") from reason
