"""When the next bundle of a node goes: how long what has gathered waits for company.

A height costs about the same whether it carries one envelope or a hundred. When a block is durable
those whose envelopes are in it are told, and many come back with the next one some tens of
milliseconds later. If what had gathered meanwhile went at once, they would find a bundle under way
and wait for the height after it: callers would fall into two halves that ride in turns, each in
heights that could have carried both.

So what has gathered waits for those who were waiting when the last block came. It waits no longer

- once as many have gathered as were waiting then: a lone caller never waits for anybody;
- than RETURN_S after that block, the time that those who were told need to come back, or as
  long as one comes after another with less than GAP_S between them, and never than LONGEST_S.

An envelope that comes when no block was made for that long goes at once.

A proposer waits at least as long for a bundle before it proposes an empty height (`waiting.py`).

Invariants: pure; what it says follows from what it was told, times included.
"""

from __future__ import annotations

from typing import Final

__all__ = ["GAP_S", "LONGEST_S", "RETURN_S", "Pace"]

RETURN_S: Final = 0.070
GAP_S: Final = 0.012
LONGEST_S: Final = 0.100


class Pace:
    """See the module's docstring; times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._ordered = -LONGEST_S
        self._expected = 0
        self._came = 0.0

    def came(self, now: float) -> None:
        """Hear that somebody has submitted an envelope."""
        self._came = now

    def ordered(self, now: float, waiting: int) -> None:
        """Hear that a block is durable that holds envelopes of this node.

        Args:
            now: when.
            waiting: how many wait for a block, those counted whose envelopes are in this one.
        """
        self._ordered = now
        self._expected = waiting

    def pause_s(self, now: float, gathered: int) -> float:
        """Return how long what has gathered waits at most, from now on; 0 if it waits no longer."""
        if gathered >= self._expected:
            return 0.0
        end = max(RETURN_S, min(self._came + GAP_S - self._ordered, LONGEST_S))
        return max(0.0, self._ordered + end - now)
