"""How many calls of a kind are at work at once; one too many is refused at once, never queued.

Fabric answers UNKNOWN here (internal/peer/node/grpc_limiters.go); we answer RESOURCE_EXHAUSTED,
which tells a client that trying again makes sense, in Fabric's words, and after which time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final

from nodes.errors import ChannelUnavailable, TooManyRequests
from nodes.rpc.pace import CALM, Pace
from nodes.rpc.places import NOBODY, Client, Places

__all__ = ["ConcurrencyLimit", "FairLimit", "MemberShares"]

log = logging.getLogger(__name__)

LATE_S: Final = 1.0
"""A call that waited so long for its turn on the event loop came to a node that is behind."""

TOLD_S: Final = 10.0
"""The log tells of refusals no more often."""

RECENT_S: Final = 1.0
"""Over which time it is counted who has been served how often."""

AGAIN_MS: Final = 100
"""After which a caller may try again where nothing is measured that would say when."""

STOPPING: Final = (
    "this node is being stopped and takes no calls; ask another member's node, or ask again when "
    "it is back"
)


class ConcurrencyLimit:
    """Counts the calls at work for one service.

    Args:
        service: its name, for the message.
        most: calls at once.

    Attributes:
        most: may be changed at any time.
        at_work: calls at work now.
    """

    def __init__(self, service: str, most: int) -> None:
        self._service = service
        self.most = most
        self.at_work = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count one call while it works.

        Raises:
            TooManyRequests: the limit is reached; nothing was done.
            ChannelUnavailable: the node is stopping; nothing was done.
        """
        if self._closed:
            raise ChannelUnavailable(STOPPING)
        if self.at_work >= self.most:
            raise TooManyRequests(
                f"too many requests for {self._service}, exceeding concurrency limit "
                f"({self.most}); nothing was done, try again in {AGAIN_MS} ms",
                again_ms=AGAIN_MS,
            )
        self.at_work += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.at_work -= 1
            if not self.at_work:
                self._idle.set()

    def close(self) -> None:
        """Take no further calls."""
        self._closed = True

    async def idle(self) -> None:
        """Return as soon as no call is at work."""
        await self._idle.wait()


class FairLimit:
    """Counts the calls at work for one service by client, with a fair share for each.

    Who gets a place is said in `places.py`, how many there are in `pace.py`. Calls that come while
    the event loop is behind are refused, too, until it has caught up; but not to clients that were
    served less lately than is their share, which is reckoned like that of the places, and not calls
    that had no more before them than may always be at work (`CALM`).

    Args:
        service: its name, for the message.
        most: calls at once.
        pace: lowers the limit while calls take too long; left out, nothing does.
        clock: seconds that only go forward.

    Attributes:
        most: may be changed at any time.
        refused: calls refused so far.
    """

    def __init__(
        self,
        service: str,
        most: int,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self.most = most
        self._pace = pace
        self._clock = clock
        self._places = Places()
        self._served = Places()
        self._served_since = clock()
        self._answered = deque[float](maxlen=CALM)
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._told_at = float("-inf")
        self.refused = 0

    @property
    def at_work(self) -> int:
        """Calls at work now."""
        return self._places.at_work

    @property
    def limit(self) -> int:
        """Calls that may be at work now."""
        return self.most if self._pace is None else min(self.most, self._pace.limit)

    @property
    def slowed(self) -> float:
        """How many times as long as usual calls take at present; 1.0 where it is not measured."""
        return 1.0 if self._pace is None else self._pace.slowed

    def verify_room(
        self, client: Client, *, since: float | None = None, continues: bool = False
    ) -> None:
        """Check that one more call of a client may be at work.

        Args:
            client: whose.
            since: when it came, on the clock; None if that is not known.
            continues: it goes on with what a call before it has begun, so that refusing it wastes
                more than taking it.
        Raises:
            TooManyRequests: it may not; nothing was done.
            ChannelUnavailable: the node is stopping; nothing was done.
        """
        if self._closed:
            raise ChannelUnavailable(STOPPING)
        limit = self.limit
        if not self._places.has_room(client, limit, limit // 4 if continues else 0):
            raise self._refusal(f"exceeding concurrency limit ({limit})")
        if since is not None and not continues:
            waited_s = self._clock() - since
            if (
                waited_s > LATE_S
                and self._waited_in_a_crowd(since)
                and self._is_well_served(client)
            ):
                raise self._refusal(f"which it begins {waited_s:.1f} s late")

    @contextmanager
    def enter(
        self,
        client: Client = NOBODY,
        kind: Hashable = None,
        *,
        since: float | None = None,
        continues: bool = False,
    ) -> Iterator[None]:
        """Count one call while it works.

        Args:
            client: whose it is, as has been proved.
            kind: calls that take about the same; None for one whose time says nothing.
            since, continues: as in `verify_room`.
        Raises:
            TooManyRequests, ChannelUnavailable: as `verify_room`.
        """
        self.verify_room(client, since=since, continues=continues)
        self._places.take(client)
        self._answered.append(self._clock())
        self._count_served(client)
        self._idle.clear()
        at_work = self._places.at_work
        begun = self._clock() if since is None else since
        try:
            yield
            if self._pace is not None and kind is not None:
                at_work = max(at_work, self._places.at_work)
                self._pace.ended(kind, self._clock() - begun, at_work)
        finally:
            self._places.give_back(client)
            if not self._places.at_work:
                self._rest()

    def _rest(self) -> None:
        self._idle.set()
        if self._pace is not None:
            self._pace.rest()

    def _refusal(self, reason: str) -> TooManyRequests:
        self.refused += 1
        if self._pace is not None:
            self._pace.refused()
        now = self._clock()
        self._answered.append(now)
        if now - self._told_at >= TOLD_S:
            self._told_at = now
            log.warning(
                "%s: calls are refused, %d so far; %d are at work, %d may be, and they take %.1f "
                "times as long as usual",
                self._service, self.refused, self.at_work, self.limit, self.slowed,
            )  # fmt: skip
        again_ms = AGAIN_MS if self._pace is None else int(1000 * self._pace.pause_s)
        return TooManyRequests(
            f"too many requests for {self._service}, {reason}; nothing was done, try again in "
            f"{again_ms} ms",
            again_ms=again_ms,
        )

    def _count_served(self, client: Client) -> None:
        now = self._clock()
        if now - self._served_since > RECENT_S:
            self._served_since = now
            self._served = Places()
        self._served.take(client)

    def _waited_in_a_crowd(self, since: float) -> bool:
        """Whether `CALM` calls or more were begun or refused while one waited for its turn."""
        return len(self._answered) == CALM and self._answered[0] >= since

    def _is_well_served(self, client: Client) -> bool:
        """Whether a client was served as often lately as is its share, rounded up."""
        if self._clock() - self._served_since > RECENT_S:
            return False
        served = self._served
        own = served.of(client)
        return own > 0 and own > served.share_of(client, served.at_work - 1)

    def close(self) -> None:
        """Take no further calls."""
        self._closed = True

    async def idle(self) -> None:
        """Return as soon as no call is at work."""
        await self._idle.wait()


class MemberShares:
    """Counts the calls at work for one service by the member whose node calls.

    No member can keep the others out by calling without end.

    Args:
        service: its name, for the message.
        most: calls of one member at once.
    """

    def __init__(self, service: str, most: int) -> None:
        self._service = service
        self._most = most
        self._at_work: dict[str, int] = {}

    @contextmanager
    def enter(self, msp_id: str) -> Iterator[None]:
        """Count one call of a member while it works.

        Raises:
            TooManyRequests: the member has as many at work as it may; nothing was done.
        """
        at_work = self._at_work.get(msp_id, 0)
        if at_work >= self._most:
            raise TooManyRequests(
                f"too many requests of {msp_id} for {self._service} at once ({self._most}); "
                f"nothing was done, try again in {AGAIN_MS} ms",
                again_ms=AGAIN_MS,
            )
        self._at_work[msp_id] = at_work + 1
        try:
            yield
        finally:
            self._at_work[msp_id] -= 1
            if not self._at_work[msp_id]:
                del self._at_work[msp_id]
