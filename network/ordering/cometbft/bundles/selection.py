"""Which of the bundles that wait make the next proposal: a fair choice among members.

A configuration goes first and alone. Else the member goes next of which the fewest bytes have been
taken, with its oldest bundle, until nothing more fits; what of one member does not fit keeps that
member's later ones waiting behind it, so that nobody's small bundles overtake its large ones for
ever. Among members of whom equally much was taken, the one goes first whose turn it is: turns pass
on with every block, through all members that order, so each one's oldest bundle has its place
within as many blocks as there are members, however much another one sends.

Invariants: pure; what is chosen is within the limits. Absent: whether a bundle is valid
(`rules.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from network.ordering.cometbft.bundles.bundle import Bundle, BundleKind, BundleLimits

__all__ = ["Candidate", "choose", "framed_bytes"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A valid bundle, and the member whose node signed it."""

    bundle: Bundle
    msp_id: str


@dataclass(slots=True)
class _Room:
    """What still fits into the proposal."""

    envelopes: int
    envelope_bytes: int
    tx_bytes: int

    def take(self, bundle: Bundle) -> bool:
        """Make room smaller by a bundle; False if it does not fit."""
        framed = framed_bytes(len(bundle.raw))
        if (
            len(bundle.envelopes) > self.envelopes
            or bundle.envelope_bytes > self.envelope_bytes
            or framed > self.tx_bytes
        ):
            return False
        self.envelopes -= len(bundle.envelopes)
        self.envelope_bytes -= bundle.envelope_bytes
        self.tx_bytes -= framed
        return True


def framed_bytes(size_bytes: int) -> int:
    """Return what a transaction of *size_bytes* takes in CometBFT's block: a repeated bytes field.

    Source: CometBFT v0.38, types/tx.go `ComputeProtoSizeForTxs`.
    """
    length = max(1, -(-size_bytes.bit_length() // 7))
    return 1 + length + size_bytes


def choose(
    candidates: Sequence[Candidate],
    limits: BundleLimits,
    max_tx_bytes: int,
    members: Sequence[str],
    turn: int,
) -> list[Candidate]:
    """Return the bundles of a proposal, in their order.

    Args:
        candidates: valid bundles, each once, the oldest first.
        limits: of a block.
        max_tx_bytes: of all chosen ones in CometBFT's block, with their framing.
        members: MSP ids of all that order, in one order for all; the candidates' are among them.
        turn: a number that grows by one with every block.
    """
    room = _Room(limits.envelopes, limits.envelope_bytes, max_tx_bytes)
    for each in candidates:
        if each.bundle.kind is BundleKind.CONFIGURATION and room.take(each.bundle):
            return [each]
    queues: dict[str, deque[Candidate]] = {}
    for each in candidates:
        if each.bundle.kind is not BundleKind.CONFIGURATION:
            queues.setdefault(each.msp_id, deque()).append(each)
    first = turn % len(members) if members else 0
    places = {msp_id: place for place, msp_id in enumerate((*members[first:], *members[:first]))}
    taken = dict.fromkeys(queues, 0)
    chosen: list[Candidate] = []
    while queues:
        msp_id = min(queues, key=lambda each: (taken[each], places[each]))
        following = queues[msp_id][0]
        if not room.take(following.bundle):
            del queues[msp_id]
            continue
        chosen.append(queues[msp_id].popleft())
        taken[msp_id] += following.bundle.envelope_bytes
        if not queues[msp_id]:
            del queues[msp_id]
    return chosen
