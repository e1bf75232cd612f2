"""Where one block ends: pure rules over the envelopes that wait.

A block is due when something waits and one of these holds:
- the sequencer is idle, and waiting longer would win nothing (`network.ordering.pace`);
- `max_message_count` envelopes wait;
- the envelopes that wait reach `preferred_max_bytes`;
- the first of them has waited for the batch timeout;
- a configuration waits.

A block takes the first envelopes that wait, as many as fit into both limits, and always at least
one: an envelope larger than `preferred_max_bytes` makes a block of its own. So does one that must
stand alone, a configuration; what waits before it goes first.

Source of the limits: Fabric, orderer/common/blockcutter/blockcutter.go.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from network.configuration import BatchParameters

__all__ = ["Cutter", "Waiting"]


class Waiting(Protocol):
    """An envelope in the queue."""

    @property
    def size_bytes(self) -> int:
        """Length of the envelope."""

    @property
    def since(self) -> float:
        """When it was admitted, on the loop's clock, in seconds."""

    @property
    def alone(self) -> bool:
        """Whether it must be the only one of its block."""


_W = TypeVar("_W", bound=Waiting)


class Cutter(Generic[_W]):
    """The queue of admitted envelopes of one channel, and the rules that cut it into blocks."""

    def __init__(self) -> None:
        self._waiting: deque[_W] = deque()
        self._bytes = 0
        self._alone = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: _W) -> None:
        """Put an admitted envelope at the end of the queue."""
        self._waiting.append(waiting)
        self._bytes += waiting.size_bytes
        self._alone += waiting.alone

    def due_in(self, batch: BatchParameters, now: float, *, pause_s: float | None) -> float | None:
        """Return the seconds until a block is due: 0 for now, None if nothing waits.

        Args:
            batch: the limits in force.
            now: the present time on the clock that stamped `since`.
            pause_s: how long what waits may wait for company; None while a block is being signed
                or committed.
        """
        if not self._waiting:
            return None
        if (
            self._alone
            or len(self._waiting) >= batch.max_message_count
            or self._bytes >= batch.preferred_max_bytes
        ):
            return 0.0
        left_s = max(0.0, self._waiting[0].since + batch.timeout_s - now)
        return left_s if pause_s is None else min(pause_s, left_s)

    def cut(self, batch: BatchParameters) -> list[_W]:
        """Take the envelopes of the next block from the queue; empty if nothing waits."""
        taken: list[_W] = []
        size = 0
        while self._waiting and len(taken) < batch.max_message_count:
            following = self._waiting[0]
            if taken and (
                following.alone or size + following.size_bytes > batch.preferred_max_bytes
            ):
                break
            taken.append(self._waiting.popleft())
            size += following.size_bytes
            if following.alone:
                self._alone -= 1
                break
        self._bytes -= size
        return taken

    def clear(self) -> list[_W]:
        """Take everything that waits."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._bytes = self._alone = 0
        return taken
