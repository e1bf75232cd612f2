"""The values of a channel configuration, read out of their groups.

Each group takes the values that Fabric takes there and no other, so that nothing in a configuration
is silently passed over.

Source: Fabric common/channelconfig/ (channel.go, orderer.go, application.go, organization.go).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from fabric_protos.common import configuration_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from network.decoding import decode_message
from network.errors import ConfigurationError

CHANNEL_VALUES: Final = {
    "HashingAlgorithm": configuration_pb2.HashingAlgorithm,
    "BlockDataHashingStructure": configuration_pb2.BlockDataHashingStructure,
    "OrdererAddresses": configuration_pb2.OrdererAddresses,
    "Orderers": configuration_pb2.Orderers,
    "Consortium": configuration_pb2.Consortium,
    "Capabilities": configuration_pb2.Capabilities,
}
ORDERER_VALUES: Final = {
    "ConsensusType": orderer_pb2.ConsensusType,
    "BatchSize": orderer_pb2.BatchSize,
    "BatchTimeout": orderer_pb2.BatchTimeout,
    "KafkaBrokers": orderer_pb2.KafkaBrokers,
    "ChannelRestrictions": orderer_pb2.ChannelRestrictions,
    "Orderers": configuration_pb2.Orderers,
    "Capabilities": configuration_pb2.Capabilities,
}
ORDERER_ORGANISATION_VALUES: Final = {
    "MSP": msp_config_pb2.MSPConfig,
    "Endpoints": configuration_pb2.OrdererAddresses,
}
CONSORTIUM_VALUES: Final = {"ChannelCreationPolicy": policies_pb2.Policy}
CONSORTIUM_ORGANISATION_VALUES: Final = {"MSP": msp_config_pb2.MSPConfig}
APPLICATION_VALUES: Final = {
    "ACLs": peer_pb2.ACLs,
    "Capabilities": configuration_pb2.Capabilities,
}
APPLICATION_ORGANISATION_VALUES: Final = {
    "MSP": msp_config_pb2.MSPConfig,
    "AnchorPeers": peer_pb2.AnchorPeers,
}

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # both letters that Go takes for micro
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_PART = re.compile(rf"({_NUMBER})(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"\+?(?:(?:{_NUMBER})(?:ns|us|µs|μs|ms|s|m|h))+")


@dataclass(frozen=True, slots=True)
class BatchParameters:
    """When an orderer cuts a block.

    Attributes:
        max_message_count: envelopes in a block, at most.
        absolute_max_bytes: a larger envelope is refused.
        preferred_max_bytes: a block is cut before it grows beyond this.
        timeout_s: an envelope waits no longer than this, in seconds.
    """

    max_message_count: int = 500
    absolute_max_bytes: int = 10 * 1024 * 1024
    preferred_max_bytes: int = 2 * 1024 * 1024
    timeout_s: float = 1.0

    def __post_init__(self) -> None:
        """Check what Fabric's orderer checks.

        Raises:
            ConfigurationError: a value is not above zero, or preferred is above absolute.
        """
        if (
            min(self.max_message_count, self.absolute_max_bytes, self.preferred_max_bytes) < 1
            or self.timeout_s <= 0
            or self.preferred_max_bytes > self.absolute_max_bytes
        ):
            raise ConfigurationError(
                f"the batch parameters {self} are not usable: all must be above zero, and the "
                "preferred size at most the absolute one"
            )


def parse_duration(text: str) -> float:
    """Return the seconds of a duration as Go writes it, e.g. ``700ms`` or ``1m30s``.

    Raises:
        ConfigurationError: not of that form.
    """
    if len(text) > 64 or not _DURATION.fullmatch(text):
        raise ConfigurationError(
            f"{text[:64]!r} is no duration: write a number and a unit, e.g. 700ms or 2s"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """Return *seconds* as Go reads them, in whole milliseconds."""
    return f"{round(seconds * 1000)}ms"


def read_values(group: Any, known: dict[str, Any], path: str) -> dict[str, Any]:
    """Return all values of a group as messages; those that are absent are empty messages.

    Raises:
        ConfigurationError: a value of an unknown name, or one that cannot be decoded.
    """
    values = {name: message() for name, message in known.items()}
    for name, entry in group.values.items():
        if name not in known:
            raise ConfigurationError(
                f"unexpected key {name} in {path}: the group takes {', '.join(sorted(known))}"
            )
        values[name] = decode_message(
            known[name], entry.value, f"the value {path}/{name}", ConfigurationError
        )
    return values


def read_batch(values: dict[str, Any]) -> BatchParameters:
    """Return the batch parameters of the values of the group Orderer.

    Raises:
        ConfigurationError: one of them is not usable.
    """
    size = values["BatchSize"]
    return BatchParameters(
        max_message_count=size.max_message_count,
        absolute_max_bytes=size.absolute_max_bytes,
        preferred_max_bytes=size.preferred_max_bytes,
        timeout_s=parse_duration(values["BatchTimeout"].timeout),
    )


def read_endpoint(text: str, where: str) -> tuple[str, int]:
    """Return host and port of an address such as ``node.example:7051`` or ``[::1]:7051``.

    Raises:
        ConfigurationError: not of that form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ConfigurationError(f"{where} has the address {text[:80]!r}: write HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def format_endpoint(host: str, port: int) -> str:
    """Return HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target_of(address: str) -> str:
    """Return the target that gRPC connects to for an address in a configuration, ``host:port``.

    The members write it, and gRPC reads targets as addresses of other kinds too, as of a socket in
    the files of this machine: what stands there is a name or a number of the network, or nothing.
    """
    return f"dns:///{address}"
