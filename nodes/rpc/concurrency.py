"""How many calls of a kind are at work at once; one too many is refused at once, never queued.

Fabric answers UNKNOWN here (internal/peer/node/grpc_limiters.go); we answer RESOURCE_EXHAUSTED,
which tells a client that trying again makes sense, in Fabric's words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from nodes.errors import ChannelUnavailable, TooManyRequests


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
            raise ChannelUnavailable(
                "this node is being stopped and takes no calls; ask another member's node, or ask "
                "again when it is back"
            )
        if self.at_work >= self.most:
            raise TooManyRequests(
                f"too many requests for {self._service}, exceeding concurrency limit "
                f"({self.most}); try again"
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
                f"too many requests of {msp_id} for {self._service} at once ({self._most}); try "
                "again"
            )
        self._at_work[msp_id] = at_work + 1
        try:
            yield
        finally:
            self._at_work[msp_id] -= 1
            if not self._at_work[msp_id]:
                del self._at_work[msp_id]
