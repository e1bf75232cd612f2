"""What this node's clients sent and no bundle holds yet, fairly among them.

Clients are told apart by the identity that signed the envelope. A bundle takes from each in turn,
one envelope at a time, so that a client with thousands of envelopes waiting delays another one's by
no more than its own. And a client may have no more waiting than there is room left: whoever comes
anew always finds some.

A bundle is due when something waits and one of these holds: none of this node's is under way, and
waiting longer would win nothing (`network.ordering.pace`); as many wait as fit into one; the first
has waited for the batch timeout. A configuration update is due whenever none is under way, and
makes a bundle alone.

Invariants: envelopes of one client keep their order. Used on one thread.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from network.configuration import BatchParameters
from network.errors import OrderingRefusal, OrderingUnavailable

__all__ = ["Gathering", "Submission"]

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True, eq=False)
class Submission:
    """An envelope on its way, and whoever waits for its place in the order.

    Attributes:
        envelope: as it was sent.
        since: when, on the loop's clock.
        done: set when its bundle is in a durable block, or it is refused.
        creator: SerializedIdentity of the client, once it has been examined.
        not_after: when the client's certificate expires.
        sequence: of the configuration that it was examined under.
        alone: whether it is a configuration update.
        attempts: how many bundles it was in that CometBFT refused.
        taken: whether it is in a bundle, so that it may be ordered from now on.
        doubtful: whether a bundle was given up that may be ordered all the same.
    """

    envelope: bytes
    since: float
    done: asyncio.Future[None]
    creator: bytes = b""
    not_after: datetime = _NEVER
    sequence: int = -1
    alone: bool = False
    attempts: int = 0
    taken: bool = False
    doubtful: bool = False

    @property
    def size_bytes(self) -> int:
        """Length of the envelope as it was sent."""
        return len(self.envelope)

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.done.done()

    def succeed(self) -> None:
        """Tell the caller, unless it went away, that the envelope is in a durable block."""
        if not self.is_gone:
            self.done.set_result(None)

    def fail(self, error: OrderingRefusal | OrderingUnavailable) -> None:
        """Tell the caller, unless it went away, why it is not, as far as that is known."""
        if self.is_gone:
            return
        if self.doubtful and not (
            isinstance(error, OrderingUnavailable) and not error.outcome_definite
        ):
            error = OrderingUnavailable(
                f"{error}; an earlier bundle of the envelope may be ordered all the same: ask for "
                "its status first",
                outcome_definite=False,
            )
        self.done.set_exception(error)

    def late(self, patience_s: float) -> OrderingUnavailable:
        """Return what a caller is told that has waited for so long."""
        if self.taken or self.doubtful:
            return OrderingUnavailable(
                f"the envelope was given to CometBFT and is in no block after {patience_s:g} "
                "seconds: ask for its status later, or submit the same envelope through another "
                "member's node",
                outcome_definite=False,
            )
        return OrderingUnavailable(
            f"the envelope has waited {patience_s:g} seconds for its turn and was not taken: "
            "blocks are made slowly or not at all; try again later"
        )


class Gathering:
    """The queue of one channel.

    Args:
        limit: envelopes that may wait.
        limit_bytes: their bytes together.
    """

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self.limit = limit
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self._count = 0
        self._updates: deque[Submission] = deque()
        self._clients: OrderedDict[bytes, deque[Submission]] = OrderedDict()
        self._bytes_of: dict[bytes, int] = {}

    def __len__(self) -> int:
        return self._count

    def verify_share(self, creator: bytes, size_bytes: int) -> None:
        """Check that a client may have one more envelope waiting.

        Raises:
            OrderingUnavailable: it has as many waiting as there is room left for all.
        """
        own = len(self._clients.get(creator, ()))
        own_bytes = self._bytes_of.get(creator, 0)
        if own and (
            own >= self.limit - self._count
            or own_bytes + size_bytes > self.limit_bytes - self.size_bytes
        ):
            raise OrderingUnavailable(
                f"{own} envelopes of this client with {own_bytes} bytes wait already, which is its "
                "share of the queue; nothing was taken, try again in a moment"
            )

    def add(self, submission: Submission, *, first: bool = False) -> None:
        """Put an examined envelope at the end of its client's queue, or in front again."""
        self._count += 1
        self.size_bytes += submission.size_bytes
        if submission.alone:
            queue = self._updates
        else:
            queue = self._clients.setdefault(submission.creator, deque())
            known = self._bytes_of.get(submission.creator, 0)
            self._bytes_of[submission.creator] = known + submission.size_bytes
        if first:
            queue.appendleft(submission)
        else:
            queue.append(submission)

    def due_in(
        self, batch: BatchParameters, now: float, *, pause_s: float | None, configuring: bool
    ) -> float | None:
        """Return the seconds until a bundle is due: 0 for now, None if there is none to make.

        Args:
            batch: the limits in force.
            now: the present time on the clock that stamped `since`.
            pause_s: how long what waits may wait for company; None while a bundle is under way.
            configuring: whether one with a configuration is.
        """
        if self._updates and not configuring:
            return 0.0
        if not self._clients:
            return None
        waiting = self._count - len(self._updates)
        if (
            waiting >= batch.max_message_count
            or sum(self._bytes_of.values()) >= batch.preferred_max_bytes
        ):
            return 0.0
        oldest = min(queue[0].since for queue in self._clients.values())
        left_s = max(0.0, oldest + batch.timeout_s - now)
        return left_s if pause_s is None else min(pause_s, left_s)

    def take(self, batch: BatchParameters, *, configuring: bool) -> list[Submission]:
        """Take what the next bundle holds out of the queue; nobody may wait for it any more."""
        if self._updates and not configuring:
            return [self._take(self._updates)]
        taken: list[Submission] = []
        size = 0
        turns = deque(self._clients)
        while turns and len(taken) < batch.max_message_count:
            creator = turns.popleft()
            queue = self._clients[creator]
            # The first goes however large it is; a client whose next one is too large waits.
            if taken and size + queue[0].size_bytes > batch.preferred_max_bytes:
                continue
            submission = self._take(queue)
            taken.append(submission)
            size += submission.size_bytes
            if creator in self._clients:
                # Who was served goes behind all others, for the next bundle too.
                self._clients.move_to_end(creator)
                turns.append(creator)
        return taken

    def drop_gone(self) -> None:
        """Take out what nobody waits for any more."""
        everything = self.clear()
        for submission in everything:
            if not submission.is_gone:
                self.add(submission)

    def clear(self) -> list[Submission]:
        """Take everything that waits, each client's in its order."""
        found = [*self._updates, *(each for queue in self._clients.values() for each in queue)]
        self._updates.clear()
        self._clients.clear()
        self._bytes_of.clear()
        self._count = self.size_bytes = 0
        return found

    def _take(self, queue: deque[Submission]) -> Submission:
        submission = queue.popleft()
        self._count -= 1
        self.size_bytes -= submission.size_bytes
        if not submission.alone:
            self._bytes_of[submission.creator] -= submission.size_bytes
            if not queue:
                del self._clients[submission.creator]
                del self._bytes_of[submission.creator]
        return submission
