"""What the validators have decided on at one height, as far as it has been worked out."""

from __future__ import annotations

from dataclasses import dataclass

from network.ordering.ports import Staged

__all__ = ["Decided"]


@dataclass(frozen=True, slots=True)
class Decided:
    """A height that the validators have decided on.

    Attributes:
        comet_height: the height.
        app_hash: after it.
        bundle_ids: of its bundles.
        staged: its block, to be written; None if it makes none, or one that is written already.
    """

    comet_height: int
    app_hash: bytes
    bundle_ids: tuple[bytes, ...] = ()
    staged: Staged | None = None
