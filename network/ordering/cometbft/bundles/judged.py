"""Bundles that were opened and judged, so that each is read and checked once on a node.

CheckTx does the work; PrepareProposal, ProcessProposal and FinalizeBlock find its result here.

Invariants: bounded by count and bytes, the longest unused go first; losing one costs a second
check, never a wrong answer. Used on any thread.

Hot path: a bundle met again takes 10 µs, on each node for each proposal and vote on one, where
handing it to a thread took 40.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from network.ordering.cometbft.bundles.bundle import Bundle

__all__ = ["KEPT_BUNDLES", "KEPT_BYTES", "Judged", "JudgedBundles"]

KEPT_BUNDLES: Final = 1024
KEPT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Judged:
    """A bundle that passed every rule which the configuration alone decides.

    Attributes:
        bundle: opened.
        msp_id: the member whose node signed it.
        sequence: of the configuration that it was judged under.
        not_after: when the first certificate expires that signed in it or for it.
    """

    bundle: Bundle
    msp_id: str
    sequence: int
    not_after: datetime


class JudgedBundles:
    """The newest results, by bundle id.

    Args:
        count: how many are kept.
        size_bytes: what they may take together; the newest is kept however large it is.
    """

    def __init__(self, count: int = KEPT_BUNDLES, size_bytes: int = KEPT_BYTES) -> None:
        self._count = count
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Judged] = OrderedDict()
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """What those that are kept take together."""
        return self._kept_bytes

    def get(self, bundle_id: bytes) -> Judged | None:
        """Return what is known of a bundle, whichever configuration it was judged under."""
        with self._lock:
            found = self._kept.get(bundle_id)
            if found is not None:
                self._kept.move_to_end(bundle_id)
            return found

    def put(self, judged: Judged) -> None:
        """Keep a result, in place of an older one of the same bundle."""
        with self._lock:
            self._drop(judged.bundle.bundle_id)
            self._kept[judged.bundle.bundle_id] = judged
            self._kept_bytes += judged.bundle.memory_bytes
            while len(self._kept) > 1 and (
                len(self._kept) > self._count or self._kept_bytes > self._size_bytes
            ):
                self._drop(next(iter(self._kept)))

    def forget(self, bundle_ids: Iterable[bytes]) -> None:
        """Keep these no longer: they are in a block."""
        with self._lock:
            for bundle_id in bundle_ids:
                self._drop(bundle_id)

    def _drop(self, bundle_id: bytes) -> None:
        dropped = self._kept.pop(bundle_id, None)
        if dropped is not None:
            self._kept_bytes -= dropped.bundle.memory_bytes
