"""What a simulation asks of the node about private collections.

The node's answers stand on the definitions in the snapshot and on the channel's MSPs; a simulation
asks once for each collection that a transaction touches.
"""

from __future__ import annotations

from typing import Protocol


class CollectionAccess(Protocol):
    """What the creator of a proposal may do with the channel's private collections."""

    def exists(self, namespace: str, collection: str) -> bool:
        """Say whether *namespace* has this collection, an implicit one included."""

    def may_read(self, namespace: str, collection: str) -> bool:
        """Say whether the creator may read plain data of a collection (memberOnlyRead)."""

    def may_write(self, namespace: str, collection: str) -> bool:
        """Say whether the creator may write to a collection (memberOnlyWrite)."""


class EveryCollection:
    """Access to every collection there could be: for contracts that are tested by themselves."""

    def exists(self, namespace: str, collection: str) -> bool:
        """Yes."""
        return True

    def may_read(self, namespace: str, collection: str) -> bool:
        """Yes."""
        return True

    def may_write(self, namespace: str, collection: str) -> bool:
        """Yes."""
        return True


EVERY_COLLECTION = EveryCollection()
