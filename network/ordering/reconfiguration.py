"""From a configuration update to the configuration transaction that goes into a block.

The orderer applies the update to the configuration in force, and puts what comes of it, with the
update inside, into an envelope of type CONFIG that it signs itself. Whoever commits the block makes
the same check (`network.configuration.verify_config_envelope`), so a member believes no orderer.

Beyond what makes a configuration valid, this channel's engine must still be able to order under it:
what would leave the channel without an orderer is refused while there is one to refuse it.

Invariants: the outcome depends on the envelope and the configuration passed in; only the time and
the nonce of the new envelope come from outside. Safe to call from any thread.

Source: Fabric orderer/common/msgprocessor/{standardchannel,maintenancefilter}.go,
orderer/common/multichannel/chainsupport.go, protoutil/txutils.go `CreateSignedEnvelope`.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any, Final

from fabric_protos.common import common_pb2
from fabric_protos.orderer import configuration_pb2

from network.configuration import COMETBFT, SOLO, ChannelConfiguration, apply_update
from network.errors import ConfigurationError, OrderingRefusal, PolicyError
from network.msp import SigningIdentity
from network.ordering.admission import BAD_REQUEST, WRITERS_POLICY
from network.ordering.block_signature import BLOCK_VALIDATION_POLICY
from network.policy import SignedData

__all__ = [
    "LARGEST_MESSAGE_BYTES",
    "make_configuration",
    "verify_may_sign_blocks",
    "verify_orderable",
]

NONCE_BYTES: Final = 24
MOST_WORDS: Final = 2000
"""Characters of the reason of a refusal."""

LARGEST_MESSAGE_BYTES: Final = 99 * 1024 * 1024
"""AbsoluteMaxBytes at most: a node's ports take no messages above 100 MiB, as those of Fabric's."""


_UPDATE_BYTES: Final = 4 * 1024
_SIGNATURE_BYTES: Final = 2 * 1024
"""Of an update without content, with its headers; and of one signature with its certificate."""


def make_configuration(
    current: ChannelConfiguration, envelope: bytes, signer: SigningIdentity, now: datetime
) -> bytes:
    """Return the marshalled envelope of type CONFIG that an update gives.

    Args:
        current: the configuration in force.
        envelope: the update, a marshalled Envelope of type CONFIG_UPDATE.
        signer: this orderer's node.
        now: the time of the new envelope.
    Raises:
        OrderingRefusal: the update breaks a rule, in the words of the rule.
    """
    where = f"error applying config update to existing channel '{current.channel_id}'"
    try:
        config_envelope, following = apply_update(current, envelope)
        verify_orderable(current, following)
        _verify_own_rights(current, following, signer)
    except (ConfigurationError, PolicyError) as refused:
        # Names in it are the sender's, as long as an update may be.
        words = str(refused)
        shown = words if len(words) <= MOST_WORDS else f"{words[:MOST_WORDS]}…"
        raise OrderingRefusal(BAD_REQUEST, f"{where}: {shown}") from refused
    return _signed_configuration(current.channel_id, config_envelope, signer, now)


def _signed_configuration(
    channel_id: str, config_envelope: Any, signer: SigningIdentity, now: datetime
) -> bytes:
    header = common_pb2.ChannelHeader(type=common_pb2.CONFIG, version=0, channel_id=channel_id)
    header.timestamp.FromDatetime(now)
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=header.SerializeToString(),
            signature_header=common_pb2.SignatureHeader(
                creator=signer.serialized, nonce=secrets.token_bytes(NONCE_BYTES)
            ).SerializeToString(),
        ),
        data=config_envelope.SerializeToString(deterministic=True),
    ).SerializeToString()
    made: bytes = common_pb2.Envelope(
        payload=payload, signature=signer.sign(payload)
    ).SerializeToString()
    return made


def verify_orderable(current: ChannelConfiguration, following: ChannelConfiguration) -> None:
    """Check that a channel can still be ordered, by this program, under *following*.

    It depends on the two configurations alone, so every validator of CometBFT judges alike.

    Raises:
        ConfigurationError: it could not, in the words of the rule.
    """
    following.verify_capabilities()
    _verify_consensus(current, following)
    _verify_tls_authorities(current, following)
    if following.batch.absolute_max_bytes > LARGEST_MESSAGE_BYTES:
        raise ConfigurationError(
            f"AbsoluteMaxBytes of {following.batch.absolute_max_bytes} cannot be carried between "
            f"nodes: set it to at most {LARGEST_MESSAGE_BYTES}"
        )
    _verify_room_for_configurations(following)
    if not following.orderer_endpoints:
        raise ConfigurationError(
            "the update leaves the channel without an orderer endpoint: keep that of the node "
            "that orders"
        )
    if following.consensus_type == COMETBFT:
        _verify_consenters_are_nodes(following)
    elif following.orderer_endpoints[0] != current.orderer_endpoints[0]:
        _verify_is_node(following, following.orderer_endpoints[0])


def _verify_room_for_configurations(following: ChannelConfiguration) -> None:
    """Check that another configuration as large as this one may be ordered under it.

    An envelope of type CONFIG holds the whole configuration and the update with the signatures of
    members' admins; without room for it nobody could ever raise the limit again.
    """
    size = following.config.ByteSize()
    members = following.organisations.keys() | set(following.orderer_organisations)
    least = size + _UPDATE_BYTES + _SIGNATURE_BYTES * (len(members) + 1)
    if following.batch.absolute_max_bytes < least:
        raise ConfigurationError(
            f"AbsoluteMaxBytes of {following.batch.absolute_max_bytes} would let no further "
            f"configuration be ordered: this one has {size} bytes, and with an update that all "
            f"{len(members)} members sign it needs {least}; set it to at least that, better to "
            "several times as much"
        )


def _verify_own_rights(
    current: ChannelConfiguration, following: ChannelConfiguration, signer: SigningIdentity
) -> None:
    """Check that this node may still do its part, if it is to order on."""
    if following.consensus_type == COMETBFT:
        orders_on = signer.msp_id in {each.msp_id for each in following.consenters}
    else:
        orders_on = following.orderer_endpoints[0] == current.orderer_endpoints[0]
    if orders_on:
        verify_may_sign_blocks(following, signer)
        _verify_may_configure(following, signer)


def _verify_consensus(current: ChannelConfiguration, following: ChannelConfiguration) -> None:
    engines = current.consensus_type, following.consensus_type
    # That CometBFT does not give way again is a rule of every committer (`succession.py`).
    if engines[0] != engines[1] and engines != (SOLO, COMETBFT):
        raise ConfigurationError(
            f"attempted to change consensus type from {engines[0]} to {engines[1]}, transition not "
            f"supported: the only one is from {SOLO} to {COMETBFT}"
        )
    if following.consensus_state != configuration_pb2.ConsensusType.STATE_NORMAL:
        raise ConfigurationError(
            f"next config attempted to change ConsensusType.State, and the engine {engines[0]} "
            "needs no maintenance to be exchanged: leave it at STATE_NORMAL"
        )


def _verify_tls_authorities(current: ChannelConfiguration, following: ChannelConfiguration) -> None:
    """Check that no member takes another one's TLS authority for its own.

    The certificates of the other one's nodes would be those of two members, and so of none; and a
    member's own admins decide what stands in its MSP. Whatever certificate an authority has, its
    key tells which it is.
    """
    had = _owners_of_tls_authorities(current)
    for key, (name, owners) in _owners_of_tls_authorities(following).items():
        if len(owners) > 1 and owners - had.get(key, ("", frozenset()))[1]:
            raise ConfigurationError(
                f"the TLS authority {name!r} would belong to {' and '.join(sorted(owners))}, and "
                "their nodes could not be told apart: give every member an authority of its own"
            )


def _owners_of_tls_authorities(
    configuration: ChannelConfiguration,
) -> dict[bytes, tuple[str, frozenset[str]]]:
    """Return by public key the name of each TLS authority and the members that have it."""
    found: dict[bytes, tuple[str, frozenset[str]]] = {}
    for msp_id, msp in sorted(configuration.msps.msps.items()):
        for each in msp.tls_authorities:
            name, owners = found.get(each.public_key_der, (each.common_name, frozenset()))
            found[each.public_key_der] = name, owners | {msp_id}
    return found


def _verify_is_node(following: ChannelConfiguration, endpoint: tuple[str, str, int]) -> None:
    """Check that who is to order is a member's node, for a slip would leave the channel mute."""
    msp_id, host, port = endpoint
    member = following.organisations.get(msp_id)
    if member is None or (host, port) not in member.anchor_peers:
        raise ConfigurationError(
            f"the first orderer endpoint would be {host}:{port} of {msp_id or 'nobody'}, and no "
            "member has an anchor peer there: the node that orders is a member's node; name its "
            "node port as an anchor peer too"
        )


def _verify_consenters_are_nodes(following: ChannelConfiguration) -> None:
    """Check that whoever wants something ordered finds every consenter's node."""
    for each in following.consenters:
        orders_at = {
            (host, port)
            for msp_id, host, port in following.orderer_endpoints
            if msp_id == each.msp_id
        }
        member = following.organisations.get(each.msp_id)
        if member is None or not orders_at & set(member.anchor_peers):
            raise ConfigurationError(
                f"consenter {each.number} of {each.msp_id} has no orderer endpoint at which the "
                "member has an anchor peer too: name the node port of its node as both"
            )


def _verify_may_configure(following: ChannelConfiguration, signer: SigningIdentity) -> None:
    """Check that this node could put a further configuration into a block, itself a writer."""
    try:
        _satisfy(following, WRITERS_POLICY, signer)
    except PolicyError as refused:
        raise ConfigurationError(
            f"the update would keep {signer.common_name!r} of {signer.msp_id}, which orders, from "
            f"making any further configuration ({refused}): leave it among {WRITERS_POLICY}"
        ) from refused


def _satisfy(configuration: ChannelConfiguration, policy: str, signer: SigningIdentity) -> None:
    """Sign something and have a policy of the channel judge it; raises PolicyError."""
    words = b"may this node order?"
    signed = SignedData(words, signer.serialized, signer.sign(words))
    configuration.policies.evaluate(policy, [signed])


def verify_may_sign_blocks(configuration: ChannelConfiguration, signer: SigningIdentity) -> None:
    """Sign something, as a block is signed, and have the channel's policy judge it.

    Raises:
        ConfigurationError: every other node would refuse this node's blocks.
    """
    try:
        _satisfy(configuration, BLOCK_VALIDATION_POLICY, signer)
    except PolicyError as refused:
        raise ConfigurationError(
            f"{signer.common_name!r} of {signer.msp_id} may not sign blocks of "
            f"channel {configuration.channel_id} ({refused}): order with a node of a member in "
            "the channel's group Orderer"
        ) from refused
