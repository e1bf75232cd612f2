"""What validation asks of the committed state.

Versions and metadata come without values: a block may read far more bytes than it carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from ledger.state.ports import VersionedValue
from ledger.state.version import Version


class Mark(NamedTuple):
    """What validation needs to know of an entry: who changed it last, and its metadata."""

    version: Version
    metadata: bytes


class CommittedState(Protocol):
    """The world state before the block that is being validated."""

    def marks(self, namespace: str, keys: Sequence[str]) -> list[Mark | None]:
        """Return the marks of public keys, in the order asked; None where a key is absent."""

    def range_versions(
        self, namespace: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, Version]]:
        """Iterate over public keys from *start_key* to before *end_key*; empty means unbounded."""

    def get(self, namespace: str, key: str) -> VersionedValue | None:
        """Return the entry of a public key, None if absent."""

    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> VersionedValue | None:
        """Return the entry of a private key by the key's SHA-256, None if absent."""

    def has_metadata(self, namespace: str) -> bool:
        """Tell whether any key of the namespace, public or private, ever had metadata."""
