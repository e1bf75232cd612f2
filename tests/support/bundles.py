"""Bundles of members' nodes, and the standing of a chain to judge them by."""

from __future__ import annotations

import struct
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import zstandard

from network.configuration import BatchParameters, ChannelConfiguration
from network.msp import SigningIdentity
from network.ordering.cometbft.bundles.bundle import TAG, BundleKind, make_bundle
from network.ordering.cometbft.bundles.rules import BundleRules
from tests.support.consenters import comet_genesis, consenters_of, four_members
from tests.support.members import CHANNEL, NOW, Member, signed_envelope

U32 = struct.Struct(">I")
LIMIT = 100_000
BATCH = BatchParameters(max_message_count=20, absolute_max_bytes=LIMIT, preferred_max_bytes=50_000)


@dataclass
class ChainStanding:
    """A chain as the block to come finds it; tests change it at will."""

    configuration: ChannelConfiguration
    height: int = 7
    seen: Container[bytes] = field(default_factory=set)
    channel_id: str = CHANNEL


class FixedTime:
    """A clock that stands."""

    def __init__(self, now: datetime = NOW) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time


@cache
def comet_channel() -> ChannelConfiguration:
    """A channel of four members that order by CometBFT, the same in the whole run."""
    return channel_of(four_members())


def channel_of(members: Sequence[Member], **options: Any) -> ChannelConfiguration:
    """A channel in which all *members* order, with small batches."""
    options.setdefault("batch", BATCH)
    return ChannelConfiguration.from_block(comet_genesis(members, **options))


def channel_with_follower() -> tuple[ChannelConfiguration, Member]:
    """A channel in which one member of the group Orderer has no consenter."""
    members = four_members()
    return channel_of(members, consenters=consenters_of(members[:3])), members[3]


_IDENTITIES: dict[tuple[bytes, str], SigningIdentity] = {}


def _identity(member: Member, name: str, unit: str) -> SigningIdentity:
    key = member.root.pem, name
    if key not in _IDENTITIES:
        _IDENTITIES[key] = member.identity(name, unit)
    return _IDENTITIES[key]


def node_of(member: Member) -> SigningIdentity:
    """The identity of a member's node, the same in the whole run."""
    return _identity(member, "node", "peer")


def client_of(member: Member) -> SigningIdentity:
    """The identity of a member's client, the same in the whole run."""
    return _identity(member, "lending", "client")


def standing(**changes: Any) -> ChainStanding:
    """The chain at block 7, with nothing seen."""
    return ChainStanding(**{"configuration": comet_channel(), **changes})


def rules_of(chain: ChainStanding) -> BundleRules:
    """The rules on a chain."""
    return BundleRules(lambda: chain)


def envelopes(count: int = 2, member: Member | None = None, size: int = 100) -> list[bytes]:
    """Envelopes of a client."""
    signer = client_of(member or four_members()[0])
    return [
        signed_envelope(signer, bytes([place]) * size, nonce=b"nonce %d" % place)
        for place in range(count)
    ]


def bundle(
    member: Member | None = None,
    inside: Sequence[bytes] | None = None,
    *,
    valid_until: int = 20,
    channel_id: str = CHANNEL,
    kind: BundleKind = BundleKind.ENVELOPES,
    signer: SigningIdentity | None = None,
) -> bytes:
    """A bundle of a member's node."""
    return make_bundle(
        signer or node_of(member or four_members()[0]),
        channel_id,
        valid_until,
        envelopes() if inside is None else inside,
        kind=kind,
    )


def forged(
    payload: bytes,
    *,
    count: int,
    expanded: int,
    kind: int = 0,
    valid_until: int = 20,
    channel_id: bytes = CHANNEL.encode(),
    signer: SigningIdentity | None = None,
) -> bytes:
    """A bundle put together by hand, with any payload, truly signed."""
    by = signer or node_of(four_members()[0])
    signed = b"".join(
        (
            TAG,
            named(channel_id),
            named(by.serialized),
            struct.pack(">Q16sBII", valid_until, bytes(16), kind, count, expanded),
            named(payload),
        )
    )
    return signed + named(by.sign(signed))


def named(part: bytes) -> bytes:
    """A part behind its length."""
    return U32.pack(len(part)) + part


def content(inside: Sequence[bytes]) -> bytes:
    """What a payload expands to."""
    return b"".join(map(named, inside))


def compressed(raw: bytes, **options: Any) -> bytes:
    """A zstd frame."""
    return zstandard.ZstdCompressor(**options).compress(raw)
