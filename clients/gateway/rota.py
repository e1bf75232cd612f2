"""Several gateways of one member, and which of them is spoken to now.

A call moves on to the next gateway of the member only where it changes nothing: a query, an
endorsement and the question for a commit status. A submission that broke off is handed to another
gateway only where those of other members stand in (``operations.StandIns``); else its error says
that the outcome is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc

from clients.gateway.connection import Endpoint
from clients.gateway.errors import GatewayUnreachable, ProfileError

L = TypeVar("L")


@dataclass(frozen=True, slots=True)
class Line(Generic[L]):
    """An open connection to one gateway.

    Attributes:
        endpoint: where it leads.
        stubs: what calls are made with; each face has its own.
    """

    endpoint: Endpoint
    stubs: L


class Rota(Generic[L]):
    """The lines of one gateway object, in the order of the profile.

    May be shared by threads: moving on is one assignment, and whoever finds another line current
    than the one that failed leaves it.
    """

    def __init__(self, lines: Sequence[Line[L]]) -> None:
        if not lines:
            raise ProfileError("no gateway is named; give at least one endpoint")
        self.lines = tuple(lines)
        self._current = 0

    @property
    def current(self) -> Line[L]:
        """The line that calls take now."""
        return self.lines[self._current]

    def attempts(self) -> Iterator[Line[L]]:
        """Each line once, the current one first; each further one becomes the current one."""
        first = self._current
        for place in range(len(self.lines)):
            chosen = (first + place) % len(self.lines)
            if place:
                self._current = chosen
            yield self.lines[chosen]

    def leave(self, failed: Line[L]) -> None:
        """Let the next call take the line after *failed*."""
        if self.lines[self._current] is failed:
            self._current = (self._current + 1) % len(self.lines)


def is_for_another_gateway(code: grpc.StatusCode) -> bool:
    """Whether an answer means that this gateway cannot serve now, but another one might."""
    return code is grpc.StatusCode.UNAVAILABLE


def endpoints_of(given: Endpoint | Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """One endpoint or several, as a tuple."""
    return (given,) if isinstance(given, Endpoint) else tuple(given)


def unreachable(rota: Rota[L], timeout_s: float) -> GatewayUnreachable:
    """The error for a member none of whose gateways answers."""
    addresses = ", ".join(line.endpoint.address for line in rota.lines)
    return GatewayUnreachable(
        f"no gateway answers within {timeout_s:g} s at {addresses}; is the node running "
        "(qist node status), and does the profile name its client port and its TLS authority?"
    )
