"""How much of this node's CometBFT pool each member may fill with bundles that wait.

A member whose node sends more than its share is refused at CheckTx, so that it cannot keep the
others out. The pool must have room for all members' shares together, or CometBFT itself refuses.
And CometBFT shows whoever proposes only the oldest that wait, as much as a block may hold: all
shares together must not be more, or a member's bundles could lie behind another one's unseen until
they expire. So a member's share is its part of a block, as far as that is known.

What a member's waiting bundles expand to is bounded, too, by what a block takes: a few bytes may
expand to much, and every proposer looks at all that waits, which is kept at hand as far as that is
no more than this (`judged.py`).

Judging a bundle costs far more than making a bad one. So the processor time that went into bundles
of a member that were refused is its debt, which wanes slowly; while it is beyond what is lent,
further ones are refused without a look. A member's node that lies costs the others a small part of
one core, and an honest one, of which a bundle is refused now and then, never comes near.

Invariants: a bundle counts once, from when it is admitted until it is in a block, refused later or
can no longer be ordered; what counts is this node's own view and decides nothing that all must
agree on. Used on any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from network.ordering.cometbft.bundles.bundle import BundleCode, BundleError

__all__ = ["BUNDLES_PER_MEMBER", "BYTES_PER_MEMBER", "Part", "Quotas"]

BUNDLES_PER_MEMBER: Final = 64
"""A node has a few of its own on their way; the rest is for those that expire unnoticed."""

BYTES_PER_MEMBER: Final = 32 * 1024 * 1024

LENT_S: Final = 2.0
"""Work on refused bundles that a member may cause at once; more than one judgement ever takes."""

WANING: Final = 0.05
"""Seconds by which a debt wanes in a second."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    msp_id: str
    size_bytes: int
    expanded_bytes: int
    valid_until: int


@dataclass(slots=True)
class _Share:
    bundles: int = 0
    size_bytes: int = 0
    expanded_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """What of a block each member may have waiting.

    Attributes:
        size_bytes: of its bundles as they travel.
        expanded_bytes: of what is in them.
    """

    size_bytes: int
    expanded_bytes: int


@dataclass(frozen=True, slots=True)
class _Debt:
    seconds: float
    since: float


class Quotas:
    """The bundles that wait in this node's pool, by member.

    Args:
        bundles: how many of one member may wait.
        size_bytes: how long they may be together; one bundle alone may always wait.
        clock: seconds that only go forward.
        work: seconds that this thread has worked.
    """

    def __init__(
        self,
        bundles: int = BUNDLES_PER_MEMBER,
        size_bytes: int = BYTES_PER_MEMBER,
        *,
        clock: Callable[[], float] = time.monotonic,
        work: Callable[[], float] = time.thread_time,
    ) -> None:
        self._clock = clock
        self._work = work
        self._debts: dict[str, _Debt] = {}
        self._bundles = bundles
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._waiting: dict[bytes, _Waiting] = {}
        self._shares: dict[str, _Share] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, bundle_id: object) -> bool:
        return bundle_id in self._waiting

    def verify_room(
        self,
        bundle_id: bytes,
        msp_id: str,
        size_bytes: int,
        part: Part | None = None,
        expanded_bytes: int = 0,
    ) -> None:
        """Check that a member's bundle may wait; one that waits already has its place.

        Args:
            bundle_id: its id.
            msp_id: whose it is.
            size_bytes: of the bundle as it travels.
            part: what of a block is each member's; left out, it is not asked for.
            expanded_bytes: what the bundle says that it expands to.
        Raises:
            BundleError: with code QUOTA; it may be sent again when others are in a block.
        """
        with self._lock:
            self._verify_room(bundle_id, msp_id, size_bytes, part, expanded_bytes)

    def _verify_room(
        self, bundle_id: bytes, msp_id: str, size_bytes: int, part: Part | None, expanded_bytes: int
    ) -> None:
        share = self._shares.get(msp_id)
        if bundle_id in self._waiting or share is None:
            return
        most = self._size_bytes if part is None else min(part.size_bytes, self._size_bytes)
        if part is not None and share.expanded_bytes + expanded_bytes > part.expanded_bytes:
            raise BundleError(
                BundleCode.QUOTA,
                f"bundles of {msp_id} with {share.expanded_bytes} bytes in them wait already, and "
                f"{part.expanded_bytes} may: send it again when some of them are in a block",
            )
        if share.bundles >= self._bundles or share.size_bytes + size_bytes > most:
            raise BundleError(
                BundleCode.QUOTA,
                f"{share.bundles} bundles of {msp_id} with {share.size_bytes} bytes wait already, "
                f"and {self._bundles} with {most} bytes may: send it again when some of them are "
                "in a block",
            )

    def verify_credit(self, msp_id: str) -> None:
        """Check that not too much work went into a member's bundles that were refused.

        Raises:
            BundleError: with code QUOTA; in a while its bundles are looked at again.
        """
        debt = self._debt(msp_id)
        if debt > LENT_S:
            raise BundleError(
                BundleCode.QUOTA,
                f"{debt:.1f} seconds went into bundles of {msp_id} that broke a rule: send none "
                f"for {(debt - LENT_S) / WANING:.0f} seconds, and find out why its node sends such",
            )

    @contextmanager
    def charged(self, msp_id: str) -> Iterator[None]:
        """Put the work inside on a member's account if it ends by an error."""
        begun = self._work()
        try:
            yield
        except Exception:
            with self._lock:
                debt = self._debt(msp_id) + self._work() - begun
                self._debts[msp_id] = _Debt(min(debt, 2 * LENT_S), self._clock())
            raise

    def _debt(self, msp_id: str) -> float:
        known = self._debts.get(msp_id)
        if known is None:
            return 0.0
        return max(0.0, known.seconds - WANING * (self._clock() - known.since))

    def add(
        self,
        bundle_id: bytes,
        msp_id: str,
        size_bytes: int,
        valid_until: int,
        part: Part | None = None,
        expanded_bytes: int = 0,
    ) -> bool:
        """Count a bundle as waiting.

        Args:
            bundle_id: its id.
            msp_id: whose it is.
            size_bytes: of the bundle as it travels.
            valid_until: number of the last block that may hold it.
            part, expanded_bytes: as in `verify_room`.
        Returns:
            whether it is new; False if it waits already.
        Raises:
            BundleError: as `verify_room`.
        """
        with self._lock:
            self._verify_room(bundle_id, msp_id, size_bytes, part, expanded_bytes)
            if bundle_id in self._waiting:
                return False
            self._waiting[bundle_id] = _Waiting(msp_id, size_bytes, expanded_bytes, valid_until)
            share = self._shares.setdefault(msp_id, _Share())
            share.bundles += 1
            share.size_bytes += size_bytes
            share.expanded_bytes += expanded_bytes
            return True

    def remove(self, bundle_ids: Iterable[bytes]) -> None:
        """Count these no longer: they are in a block or were refused, or never counted."""
        with self._lock:
            for bundle_id in bundle_ids:
                self._remove(bundle_id)

    def expire(self, height: int) -> None:
        """Count those no longer that the block of number *height* and later ones cannot hold."""
        with self._lock:
            for bundle_id in [
                each for each, waiting in self._waiting.items() if waiting.valid_until < height
            ]:
                self._remove(bundle_id)

    def clear(self) -> None:
        """Count none: CometBFT has been started anew, and its pool is empty."""
        with self._lock:
            self._waiting.clear()
            self._shares.clear()

    def _remove(self, bundle_id: bytes) -> None:
        waiting = self._waiting.pop(bundle_id, None)
        if waiting is None:
            return
        share = self._shares[waiting.msp_id]
        share.bundles -= 1
        share.size_bytes -= waiting.size_bytes
        share.expanded_bytes -= waiting.expanded_bytes
        if not share.bundles:
            del self._shares[waiting.msp_id]
