"""A channel in memory over a voted chain, as who keeps finality records sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ledger.blocks.block import Block
from ledger.errors import Fatal
from network.ordering.cometbft.finality.finality import FINALITY
from tests.support.members import CHANNEL
from tests.support.voted_chain import VotedChain


@dataclass
class RecordChannel:
    """A channel of a node, with what it has filed."""

    chain: VotedChain
    channel_id: str = CHANNEL
    filed: dict[int, bytes] = field(default_factory=dict)
    halted: Fatal | None = None
    height: int = 0
    grown: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.height = self.height or self.chain.height

    def block(self, number: int) -> Block | None:
        return self.chain.block(number) if number < self.height else None

    stored_block = block

    def evidence(self, number: int, kind: str) -> bytes | None:
        return self.filed.get(number) if kind == FINALITY else None

    def has_evidence(self, number: int, kind: str) -> bool:
        return self.evidence(number, kind) is not None

    async def add_evidence(self, number: int, kind: str, data: bytes) -> None:
        assert (kind, number in self.filed) == (FINALITY, False)
        self.filed[number] = data

    def halt(self, fatal: Fatal) -> None:
        self.halted = fatal
