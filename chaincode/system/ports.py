"""What the contracts of the system ask of the node around them."""

from __future__ import annotations

from typing import Protocol

from ledger.state.ports import VersionedValue


class DefinitionState(Protocol):
    """Where definitions are read: a snapshot, or the state before a block."""

    def get(self, namespace: str, key: str) -> VersionedValue | None:
        """Return the entry of a public key, None if absent."""
