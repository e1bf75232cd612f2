"""What readers of the world state are promised.

``StateReader`` is implemented by a snapshot of the channel's database and, in tests, by a state in
memory. A reader sees one height and never changes, however long it is held and whatever is
committed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from ledger.state.version import Version

VALIDATION_PARAMETER = "VALIDATION_PARAMETER"
"""Name of the metadata entry that holds a key's own endorsement policy (Fabric, fabric-protos
peer/policy.proto, MetaDataKeys)."""


class VersionedValue(NamedTuple):
    """One entry of the world state.

    A tuple, because one is made for every key that a block or a contract reads.

    Attributes:
        value: the bytes last written; for hashed private data the 32-byte hash of the value.
        version: which transaction last changed value or metadata.
        metadata: marshalled ``kvrwset.KVMetadataWrite`` holding entries only, as Fabric stores it;
            empty if there is none.
    """

    value: bytes
    version: Version
    metadata: bytes = b""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change of one key by one valid transaction.

    Attributes:
        timestamp: the time in the transaction's channel header, UTC; None if it carries none.
    """

    tx_id: str
    version: Version
    value: bytes
    is_delete: bool
    timestamp: datetime | None


class StateReader(Protocol):
    """The world state at one height."""

    @property
    def height(self) -> int:
        """The number of blocks whose effect this state is."""

    def get(self, namespace: str, key: str) -> VersionedValue | None:
        """Return the entry of a public key, None if absent."""

    def get_many(self, namespace: str, keys: Sequence[str]) -> list[VersionedValue | None]:
        """Return the entries of several public keys, in the order asked."""

    def range(
        self, namespace: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, VersionedValue]]:
        """Iterate over public keys in the order of their UTF-8 bytes.

        Args:
            namespace: the contract whose keys are meant.
            start_key: first key, itself included; empty for the beginning of the namespace.
            end_key: the key to stop before; empty for the end of the namespace.
        """

    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> VersionedValue | None:
        """Return the entry of a private key by the key's SHA-256; its value is the value's hash."""

    def get_hashed_many(
        self, namespace: str, collection: str, key_hashes: Sequence[bytes]
    ) -> list[VersionedValue | None]:
        """Return the hashed entries of several private keys, in the order asked."""

    def get_private(self, namespace: str, collection: str, key: str) -> VersionedValue | None:
        """Return the plain entry of a private key, None if it is absent or not held here.

        What is held has the version of the hashed entry, and its value the hash that stands there;
        its metadata are with the hashed entry only.
        """

    def get_private_many(
        self, namespace: str, collection: str, keys: Sequence[str]
    ) -> list[VersionedValue | None]:
        """Return the plain entries of several private keys, in the order asked."""

    def range_private(
        self, namespace: str, collection: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, VersionedValue]]:
        """Iterate over the plain entries of a collection that are held here; bounds as ``range``.

        What is not held is left out without a word: nothing is known of it but hashes.
        """

    def has_metadata(self, namespace: str) -> bool:
        """Tell whether any key of a namespace, public or private, ever had metadata.

        Where none had, no key has a policy of its own, and nobody needs to look key by key.
        """

    def metadata_of(self, namespace: str, key: str) -> dict[str, bytes]:
        """Return the metadata entries of a public key; empty if there are none."""

    def history(self, namespace: str, key: str) -> Iterator[HistoryEntry]:
        """Iterate over the changes of a public key, newest first."""

    def close(self) -> None:
        """Give the snapshot back; a reader that is closed may not be asked again."""
