"""Who gets a place when there are fewer places than calls.

As long as places are free, anybody gets one. When all are taken, a client that has fewer than its
share gets one all the same: the places divided by the members with calls at work, and that by the
clients of its member. So whoever holds all places keeps nobody out; it gets no further ones, and as
its calls end the others have theirs. A member with many clients takes from its own alone.

Invariants: pure; at work are never more than twice the places; a look costs no more with many
clients than with one. Whose call it is must have been proved by whoever asks, or somebody could use
up the share of another: all callers of whom nothing is proved are `NOBODY`, one client together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

__all__ = ["NOBODY", "Client", "Places"]


class Client(NamedTuple):
    """Whose call it is.

    Attributes:
        msp_id: its member; empty for callers of whom no member is known.
        identity: tells the member's clients apart; empty for its node.
    """

    msp_id: str
    identity: str = ""


NOBODY: Final = Client("")


@dataclass(slots=True)
class _Member:
    clients: dict[str, int] = field(default_factory=dict)


class Places:
    """The calls at work, by client.

    Attributes:
        at_work: calls at work now.
    """

    def __init__(self) -> None:
        self.at_work = 0
        self._members: dict[str, _Member] = {}

    def of(self, client: Client) -> int:
        """Return how many calls of a client are at work."""
        member = self._members.get(client.msp_id)
        return 0 if member is None else member.clients.get(client.identity, 0)

    def share_of(self, client: Client, places: int) -> int:
        """Return a client's share of so many places, as if it had a call at work."""
        member = self._members.get(client.msp_id)
        if member is None:
            return places // (len(self._members) + 1)
        clients = len(member.clients) + (client.identity not in member.clients)
        return places // len(self._members) // clients

    def has_room(self, client: Client, places: int, beyond: int = 0) -> bool:
        """Say whether one more call of a client may be at work.

        Args:
            client: whose.
            places: calls that may be at work at once.
            beyond: so many further ones of this kind, for work that was begun by another call.
        """
        if self.at_work < places + beyond:
            return True
        return self.at_work < 2 * places and self.of(client) < self.share_of(client, places)

    def take(self, client: Client) -> None:
        """Count one call of a client."""
        self.at_work += 1
        member = self._members.get(client.msp_id)
        if member is None:
            member = self._members[client.msp_id] = _Member()
        member.clients[client.identity] = member.clients.get(client.identity, 0) + 1

    def give_back(self, client: Client) -> None:
        """Count one less."""
        self.at_work -= 1
        member = self._members[client.msp_id]
        member.clients[client.identity] -= 1
        if not member.clients[client.identity]:
            del member.clients[client.identity]
            if not member.clients:
                del self._members[client.msp_id]
