"""What the committer has begun with the bundles that wait for their place in a block.

Invariants: bounded by count and bytes, the oldest go first; losing one costs time, never a wrong
answer. Used on any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from network.ordering.cometbft.bundles.bundle import Bundle
from network.ordering.cometbft.bundles.judged import KEPT_BUNDLES, KEPT_BYTES
from network.ordering.ports import Begun, StagingSink

__all__ = ["BegunBundles"]


class BegunBundles:
    """See the module's docstring."""

    def __init__(self, sink: StagingSink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[Begun, int]] = OrderedDict()
        self._bytes = 0

    def begin(self, bundle: Bundle) -> None:
        """Begin with a bundle, once; in a thread, since its envelopes are taken apart there."""
        with self._lock:
            if bundle.bundle_id in self._kept:
                return
        begun = self._sink.begin(bundle.envelopes)
        with self._lock:
            self._drop(bundle.bundle_id)
            self._kept[bundle.bundle_id] = begun, bundle.memory_bytes
            self._bytes += bundle.memory_bytes
            while len(self._kept) > 1 and (
                len(self._kept) > KEPT_BUNDLES or self._bytes > KEPT_BYTES
            ):
                self._drop(next(iter(self._kept)))

    def has(self, bundle_ids: Iterable[bytes]) -> bool:
        """Tell whether each of these was begun with."""
        with self._lock:
            return all(each in self._kept for each in bundle_ids)

    def of(self, bundles: Sequence[Bundle]) -> list[Begun]:
        """Return what was begun of these bundles, nothing unless it is all of them."""
        with self._lock:
            found = [self._kept.get(each.bundle_id) for each in bundles]
        known = [each[0] for each in found if each is not None]
        return known if len(known) == len(found) else []

    def forget(self, bundle_ids: Iterable[bytes]) -> None:
        """Keep nothing of these any longer: they are in a block."""
        with self._lock:
            for bundle_id in bundle_ids:
                self._drop(bundle_id)

    def _drop(self, bundle_id: bytes) -> None:
        dropped = self._kept.pop(bundle_id, None)
        if dropped is not None:
            self._bytes -= dropped[1]
