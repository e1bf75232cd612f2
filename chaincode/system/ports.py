"""What the contracts of the system ask of the node around them.

``ledger.channel.ChannelLedger`` is a `BlockArchive`, a node's channel a `ConfiguredChannel`, and
``chaincode.packages.PackageStore`` keeps `InstalledContracts`.
"""

from __future__ import annotations

from typing import Protocol

from ledger.blocks.block import Block
from ledger.state.ports import VersionedValue
from ledger.transactions.codes import TxValidationCode


class DefinitionState(Protocol):
    """Where definitions are read: a snapshot, or the state before a block."""

    def get(self, namespace: str, key: str) -> VersionedValue | None:
        """Return the entry of a public key, None if absent."""


class InstalledContracts(Protocol):
    """What this node could run."""

    def offers(self, name: str, version: str) -> bool:
        """Say whether contract *name* can be run here in *version*."""


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
