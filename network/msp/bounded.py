"""A small bounded cache for what is expensive to check and asked for often.

Two generations: a hit in the old one moves the entry to the young one; when the young one is full
it becomes the old one. So what is used stays, what is not goes, and reads take no lock. Losing an
entry to a race costs one more check, never a wrong answer.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """At most *size* entries, for any number of threads."""

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return the entry of *key*, or None."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep *value* until enough other entries have been asked for."""
        young = self._young
        if len(young) >= self._half and key not in young:
            self._old = young
            self._young = young = {}
        young[key] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
