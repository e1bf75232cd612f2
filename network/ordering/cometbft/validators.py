"""The validators of a channel: its consenters, as CometBFT knows and hashes them.

A channel configuration names the consenters (`consenter_mapping` of the group Orderer); each has a
certificate over the Ed25519 key with which its CometBFT votes, and one over that of its links. All
validators have the same power, so CometBFT's order, by falling power and then by address, is that
of the addresses. Nothing here asks CometBFT: whoever has a configuration knows the set.

    address = SHA-256(key of the votes)[:20]
    node id = SHA-256(key of the links)[:20], in hexadecimal
    hash of the set = Merkle root (RFC 6962) over { public_key { ed25519 }, power } of each

Invariants: pure; one configuration gives one set on every node.

Absent: what makes consenters usable (`network.configuration.consenters`), which was judged when the
configuration was read; proposers and their priorities, which CometBFT keeps to itself.

Source: CometBFT v0.38 types/{validator,validator_set}.go, crypto/{ed25519,merkle}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from ledger.varints import encode_varint
from network.configuration import ChannelConfiguration
from network.configuration.channel import Consenter
from network.configuration.consenters import COMETBFT, consensus_key, link_key
from network.errors import ConfigurationError

__all__ = [
    "CONSENSUS_TYPE",
    "VOTING_POWER",
    "PowerChange",
    "Validator",
    "address_of",
    "merkle_root",
    "node_id_of",
    "validator_updates",
    "validators_hash",
    "validators_of",
]

CONSENSUS_TYPE: Final = COMETBFT
"""Name of the engine in a channel configuration's ConsensusType."""
VOTING_POWER: Final = 1
"""Of each validator: a member has one, and none has more weight than another."""

# A configuration never changes; reading its certificates costs more than verifying a record.
_KNOWN: Final[WeakKeyDictionary[ChannelConfiguration, tuple[Validator, ...]]] = WeakKeyDictionary()

_ADDRESS_BYTES: Final = 20
# Field 1 of a SimpleValidator: a PublicKey of 34 bytes, in it field 1: the key of 32.
_KEY_PREFIX: Final = b"\x0a\x22\x0a\x20"
_POWER_PREFIX: Final = b"\x10"


@dataclass(frozen=True, slots=True)
class Validator:
    """A consenter in the eyes of CometBFT.

    Attributes:
        msp_id: its member.
        public_key: Ed25519, 32 bytes; by it the votes are verified.
        power: its weight, above zero.
        address: 20 bytes, by which a commit names it.
        node_id: 40 hexadecimal digits, by which the others' CometBFT knows its link.
        host: where its CometBFT is reached.
        port: the port there.
    """

    msp_id: str
    public_key: bytes
    power: int
    address: bytes
    node_id: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PowerChange:
    """What CometBFT is told of a validator that comes, goes or weighs otherwise.

    Attributes:
        public_key: Ed25519, 32 bytes.
        power: from now on; 0 for one that goes.
    """

    public_key: bytes
    power: int


def address_of(public_key: bytes) -> bytes:
    """Return the address of an Ed25519 key of 32 bytes."""
    return hashlib.sha256(public_key).digest()[:_ADDRESS_BYTES]


def node_id_of(public_key: bytes) -> str:
    """Return the node id of the Ed25519 key (32 bytes) of a CometBFT's links."""
    return address_of(public_key).hex()


def validators_of(configuration: ChannelConfiguration) -> tuple[Validator, ...]:
    """Return the validators in CometBFT's order.

    Raises:
        ConfigurationError: the channel has another engine.
    """
    if configuration.consensus_type != CONSENSUS_TYPE:
        raise ConfigurationError(
            f"channel {configuration.channel_id} is ordered by {configuration.consensus_type!r} "
            f"and has no validators: they come with the consensus type {CONSENSUS_TYPE!r}"
        )
    known = _KNOWN.get(configuration)
    if known is None:
        known = tuple(sorted(map(_validator, configuration.consenters), key=_place))
        _KNOWN[configuration] = known
    return known


def _place(validator: Validator) -> tuple[int, bytes]:
    return -validator.power, validator.address


def _validator(consenter: Consenter) -> Validator:
    votes = consensus_key(consenter)
    return Validator(
        msp_id=consenter.msp_id,
        public_key=votes,
        power=VOTING_POWER,
        address=address_of(votes),
        node_id=node_id_of(link_key(consenter)),
        host=consenter.host,
        port=consenter.port,
    )


def validators_hash(validators: Sequence[Validator]) -> bytes:
    """Return the hash (32 bytes) by which CometBFT's headers name a set.

    Args:
        validators: in CometBFT's order.
    """
    return merkle_root(
        [
            _KEY_PREFIX + each.public_key + _POWER_PREFIX + encode_varint(each.power)
            for each in validators
        ]
    )


def validator_updates(
    before: Sequence[Validator], after: Sequence[Validator]
) -> tuple[PowerChange, ...]:
    """Return what turns one set into the other, in the order of the addresses.

    A key that is exchanged is one that goes and one that comes.
    """
    had = {each.public_key: each.power for each in before}
    has = {each.public_key: each.power for each in after}
    changed = [key for key in {*had, *has} if had.get(key) != has.get(key)]
    return tuple(PowerChange(key, has.get(key, 0)) for key in sorted(changed, key=address_of))


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root (32 bytes) of CometBFT's Merkle tree over *leaves*.

    It is that of RFC 6962 §2.1: a leaf is hashed behind a zero byte, two nodes behind a one, and
    the left side of a tree of n leaves has the largest power of two below n.
    """
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(
        b"\x01" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])
    ).digest()
