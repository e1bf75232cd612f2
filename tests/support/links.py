"""Links between members of a network that a test cuts and slows, whatever carries them.

    with PerturbedNetwork.serving(folder) as network:
        network.links.partition(("BankMSP", "PtaMSP"), ("OperatorMSP", "MakerMSP"))
        network.links.heal()

`tests.support.namespaces` gives each member a network of its own, where the machine allows it.
Elsewhere members share loopback, and what they say to each other passes proxies
(`tests.support.loopback_links`). A cut is silent in both: no connection is closed by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import combinations
from pathlib import Path
from typing import Self


class Links(ABC):
    """The links of some members; made by `between`.

    Attributes:
        addresses: by which each member is reached by the others, and by the test.
    """

    addresses: dict[str, str]

    @classmethod
    @abstractmethod
    def between(cls, members: Sequence[str]) -> AbstractContextManager[Self]:
        """Make a place for each member, and take them all away at the end."""

    @abstractmethod
    def inside(self, member: str) -> list[str]:
        """Return the words before a command that make it run in a member's place."""

    @abstractmethod
    def settle(self, node: Path, member: str) -> None:
        """Have a node's folder, just made, listen where the links of a member lead."""

    @abstractmethod
    def moved(self, text: str, member: str, other: str) -> str:
        """Put the place of another into a text that names a member's."""

    @abstractmethod
    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Let nothing through from the first of each pair to the second."""

    @abstractmethod
    def heal(self) -> None:
        """Let everything through again."""

    @abstractmethod
    def slow(
        self, ports: Mapping[str, int], delay_s: float, lost_percent: int
    ) -> AbstractContextManager[str]:
        """Answer at a port of each member that much later, and lose packets, as long as it lasts.

        Gives what of it these links cannot do, in words; nothing if they can do all.
        """

    def partition(self, *groups: Sequence[str]) -> None:
        """Cut every link between members of different groups."""
        self.cut(
            pair
            for one, other in combinations(groups, 2)
            for near in one
            for far in other
            for pair in ((near, far), (far, near))
        )

    def isolate(self, member: str) -> None:
        """Cut a member off from all the others."""
        self.partition((member,), tuple(each for each in self.addresses if each != member))
