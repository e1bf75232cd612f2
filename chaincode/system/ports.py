"""What the contracts of the system ask of the node around them.

``ledger.channel.ChannelLedger`` is a `BlockArchive`, a node's channel a `ConfiguredChannel`, and
``chaincode.packages.PackageStore`` keeps `InstalledContracts`; a `LifecycleChannel` is made of the
channel's configuration in `nodes.contracts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger.blocks.block import Block
from ledger.state.ports import VersionedValue
from ledger.transactions.codes import TxValidationCode


class DefinitionState(Protocol):
    """Where definitions are read: a snapshot, or the state before a block."""

    def get(self, namespace: str, key: str) -> VersionedValue | None:
        """Return the entry of a public key, None if absent."""


class InstalledPackage(Protocol):
    """A package of this node."""

    @property
    def package_id(self) -> str:
        """Its label and its hash, `label:hash`."""

    @property
    def version(self) -> str:
        """Which founding definitions it serves."""

    @property
    def contracts(self) -> tuple[str, ...]:
        """The names it offers."""


class InstalledContracts(Protocol):
    """What this node could run."""

    def offers(self, name: str, version: str) -> bool:
        """Say whether contract *name* can be run here in *version*."""

    def installed(self) -> Sequence[InstalledPackage]:
        """Return the sound packages, sorted by id."""

    def install_packed(self, raw: bytes) -> InstalledPackage:
        """Install a packed package; raises Refusal if it is not sound."""

    def packed(self, package_id: str) -> bytes:
        """Return an installed package as one file; raises Refusal if it is not sound."""


class LifecycleChannel(Protocol):
    """What definitions are checked against: the channel's configuration in force."""

    @property
    def member_ids(self) -> Sequence[str]:
        """MSP ids of the organisations that run contracts, sorted."""

    def has_policy(self, path: str) -> bool:
        """Say whether the channel has a policy of this path."""

    def is_msp(self, msp_id: str) -> bool:
        """Say whether an organisation is part of the channel, as orderer too."""

    def is_identity(self, serialized: bytes) -> bool:
        """Say whether this is an identity of the channel."""

    def verify_signature_policy(self, envelope: bytes) -> None:
        """Check a marshalled `SignaturePolicyEnvelope`; raises Refusal."""


class TransactionPlace(Protocol):
    """Verdict and place of a transaction."""

    @property
    def code(self) -> TxValidationCode:
        """The recorded verdict."""

    @property
    def block_num(self) -> int:
        """The block it stands in."""

    @property
    def tx_num(self) -> int:
        """Its zero-based place there."""


class BlockArchive(Protocol):
    """The committed blocks of a channel."""

    @property
    def height(self) -> int:
        """The number of blocks."""

    def block(self, number: int) -> Block | None:
        """Return a block by its number, None above the height."""

    def block_by_hash(self, header_hash: bytes) -> Block | None:
        """Return the block with this header hash, None if there is none."""

    def transaction(self, tx_id: str) -> TransactionPlace | None:
        """Return verdict and place of a transaction, None if no block holds it."""


class ConfiguredChannel(Protocol):
    """The channel that this node keeps."""

    @property
    def channel_id(self) -> str:
        """Its name."""

    @property
    def last_config_block(self) -> int:
        """Number of the block that holds the configuration in force."""
