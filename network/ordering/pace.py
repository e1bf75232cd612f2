"""When the next bundle or block goes: how long what has gathered waits for company.

A block, and a height of CometBFT, costs about the same whether it carries one envelope or a
hundred. When a block is durable those whose envelopes are in it are told, and many come back with
the next one, all together after as long as endorsing for all of them takes. If what had gathered
meanwhile went at once, they would find a block under way and wait for the one after it: callers
would fall into parts that ride in turns, each in blocks that could have carried all.

So what has gathered since a block waits until as many have gathered as were waiting when it came,
and no longer than RETURN_S after it. A lone caller waits for nobody, and an envelope that comes
when no block was made for that long goes at once. A proposer waits longer than that for a bundle
before it proposes an empty height (`network.ordering.cometbft.bundles.waiting`).

Invariants: pure; what it says follows from what it was told, times included.

Hot path: 64 callers that ride together on CometBFT have 300 payments a second where 230 were left
in two parts (docs/performance.md).
"""

from __future__ import annotations

from typing import Final

__all__ = ["RETURN_S", "Pace"]

RETURN_S: Final = 0.150
"""What 64 callers need to have their next payments endorsed, on two cores for all members."""


class Pace:
    """See the module's docstring; times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._ordered = -RETURN_S
        self._waited = 0

    def ordered(self, now: float, waiting: int) -> None:
        """Hear that a block is durable that holds envelopes which were waited for here.

        Args:
            now: when.
            waiting: how many wait for a block, those counted whose envelopes are in this one.
        """
        self._ordered = now
        self._waited = waiting

    def goes(self) -> None:
        """Hear that a bundle or block goes; until the next block nobody is waited for again."""
        self._waited = 0

    def pause_s(self, now: float, gathered: int) -> float:
        """Return how long what has gathered waits at most, from now on; 0 if it goes now."""
        if gathered >= self._waited:
            return 0.0
        return max(0.0, self._ordered + RETURN_S - now)
