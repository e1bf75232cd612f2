"""What waits for its place in a block, and how a proposal waits for it.

When a block has changed the state CometBFT makes one more height to prove that, whether anything
waits or not. An empty one costs as much as one that carries a hundred envelopes, and whatever comes
while it is voted on has to wait for its end. So a proposer that has nothing to propose waits a
little for what comes: a bundle that CheckTx lets in meanwhile is proposed at once.

CometBFT names what waits when it asks for a proposal, and goes by that; what came since, by its own
links or by the short way (`passing.py`), is known here alone.

Invariants: what is kept here was let in by CheckTx, is in no block yet and may be in the next; so
`quota.py` bounds it. Nothing is decided here: the rules choose among it (`rules.py`). The others
wait for a proposal until their `timeout_propose` is over, so patience must be well below that, and
it counts from when this node committed the height before, as about then the others' time began: a
node that is asked late, or in a later round, waits less or not at all. Used on one event loop.

Hot path: with it a lone caller's payment takes 53 ms where it took 73 (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["WaitingBundles"]


@dataclass(frozen=True, slots=True)
class _Kept:
    raw: bytes
    valid_until: int


class WaitingBundles:
    """See the module's docstring.

    Args:
        patience_s: how long after a height the proposal for the next one waits for a first bundle.
        clock: seconds that only go forward.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._since = clock()
        self._kept: dict[bytes, _Kept] = {}
        self._came = asyncio.Event()

    @property
    def raws(self) -> list[bytes]:
        """All that waits, the oldest first."""
        return [each.raw for each in self._kept.values()]

    def add(self, bundle_id: bytes, raw: bytes, valid_until: int) -> None:
        """Hear that CheckTx has let a bundle in, and of the last block that may hold it."""
        self._kept[bundle_id] = _Kept(raw, valid_until)
        self._came.set()

    def remove(self, bundle_ids: Iterable[bytes]) -> None:
        """Hear that these are in a block, or can be in none any more."""
        for bundle_id in bundle_ids:
            self._kept.pop(bundle_id, None)

    def expire(self, height: int) -> None:
        """Hear that the block of number *height* comes now: what it cannot hold waits no more."""
        self.remove([each for each, kept in self._kept.items() if kept.valid_until < height])

    def clear(self) -> None:
        """Hear that nothing waits any more."""
        self._kept.clear()

    def committed(self) -> None:
        """Hear that a height is committed, with bundles or without."""
        self._since = self._clock()

    async def wait(self) -> None:
        """Return as soon as something waits, or patience is over."""
        left_s = self._since + self._patience_s - self._clock()
        if self._kept or left_s <= 0:
            return
        self._came.clear()
        try:
            async with asyncio.timeout(left_s):
                await self._came.wait()
        except TimeoutError:
            return
