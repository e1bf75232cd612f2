"""Configuration updates as members make them: edited, computed, signed, put into an envelope."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2

from network.configuration import (
    ChannelConfiguration,
    compute_update,
    sign_update,
    update_envelope,
)
from network.msp import SigningIdentity
from tests.support.members import NOW

Edit = Callable[[Any], None]
"""Changes a `common.Config` message."""


def edited(configuration: ChannelConfiguration, edit: Edit) -> Any:
    """Return a copy of the `common.Config` in force, edited."""
    config = configtx_pb2.Config()
    config.CopyFrom(configuration.config)
    edit(config)
    return config


def update_message(configuration: ChannelConfiguration, edit: Edit) -> Any:
    """Return the ConfigUpdate message that makes the edit."""
    return compute_update(
        configuration.channel_id, configuration.config, edited(configuration, edit)
    )


def signed_update(
    configuration: ChannelConfiguration,
    edit: Edit,
    signers: Sequence[SigningIdentity],
    sender: SigningIdentity | None = None,
) -> bytes:
    """Return the envelope of an edit that *signers* agree to; the first one sends it."""
    raw = update_message(configuration, edit).SerializeToString(deterministic=True)
    return sent_update(configuration.channel_id, raw, signers, sender)


def sent_update(
    channel_id: str,
    config_update: bytes,
    signers: Sequence[SigningIdentity],
    sender: SigningIdentity | None = None,
) -> bytes:
    """Return the envelope of a marshalled ConfigUpdate."""
    signatures = [sign_update(config_update, each) for each in signers]
    return update_envelope(channel_id, config_update, signatures, sender or signers[0], NOW)


def config_envelope_of(envelope: bytes) -> Any:
    """Return the ConfigEnvelope message in a marshalled envelope of type CONFIG."""
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
    return configtx_pb2.ConfigEnvelope.FromString(payload.data)
