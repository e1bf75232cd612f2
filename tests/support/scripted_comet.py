"""A CometBFT that does what a test says, and the chain behind it: for the bundler alone.

What is given to it is judged by the real rules, as CheckTx does, unless the script says otherwise;
what was taken stays in the pool until a test makes a block of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fabric_protos.common import common_pb2

from ledger.errors import Refusal, Unavailable
from network.configuration import ChannelConfiguration, verify_config_envelope
from network.ordering.cometbft.bundles.bundle import Bundle, BundleError, BundleKind
from network.ordering.cometbft.bundles.submission import Bundler
from network.ordering.cometbft.bundles.window import SeenBundles
from tests.support.bundles import ChainStanding, FixedTime, node_of, rules_of
from tests.support.consenters import four_members
from tests.support.members import NOW

DEADLINE_S = 30.0

Answer = Callable[[bytes], "Checked"]


@dataclass(frozen=True)
class Checked:
    """What CheckTx says."""

    code: int = 0
    log: str = ""


class ScriptedComet:
    """See the module's docstring.

    Attributes:
        answers: what is said to the next bundles that are given; without any, CheckTx judges.
        given: every bundle that was given, in order.
        pool: what was taken and is in no block.
        ever_taken: all that was ever taken, which some node may still have.
        blocks: the bundles of each block.
        gate: while it is not set, nothing is answered.
        clock: the node's.
    """

    def __init__(self, configuration: ChannelConfiguration, **options: Any) -> None:
        self.chain = ChainStanding(configuration, height=1, seen=SeenBundles(1))
        self.rules = rules_of(self.chain)
        self.answers: deque[Answer] = deque()
        self.given: list[bytes] = []
        self.pool: list[Bundle] = []
        self.ever_taken: dict[bytes, Bundle] = {}
        self.blocks: list[tuple[Bundle, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._changed = asyncio.Event()
        self.clock = FixedTime()
        self.bundler = Bundler(
            self.chain, node_of(four_members()[0]), self.clock, self, self.rules.adopt, **options
        )

    async def broadcast_tx(self, raw: bytes) -> Checked:
        self.given.append(raw)
        self._changed.set()
        await self.gate.wait()
        answer = self.answers.popleft() if self.answers else self.take
        try:
            return answer(raw)
        finally:
            self._changed.set()

    def take(self, raw: bytes) -> Checked:
        """Judge it as CheckTx does, and put it into the pool if it is not there."""
        try:
            opened = self.rules.check(raw, NOW)
        except BundleError as refused:
            return Checked(int(refused.code), str(refused))
        self.ever_taken[raw] = opened
        if raw not in [each.raw for each in self.pool]:
            self.pool.append(opened)
        return Checked()

    def lose(self, raw: bytes) -> Checked:
        """Judge it as CheckTx does, and forget it; others may have got it."""
        checked = self.take(raw)
        self.pool = [each for each in self.pool if each.raw != raw]
        return checked

    @staticmethod
    def refuse(code: int = 6, log: str = "no") -> Answer:
        return lambda _raw: Checked(code, log)

    @staticmethod
    def away(*, definite: bool) -> Answer:
        def answer(_raw: bytes) -> Checked:
            raise Unavailable("CometBFT is away", outcome_definite=definite)

        return answer

    @staticmethod
    def reject(_raw: bytes) -> Checked:
        raise Refusal("CometBFT takes no such thing")

    def block(self, *bundles: Bundle) -> None:
        """Make a block of bundles, those of the pool if none are named, as validators would."""
        raws = [each.raw for each in bundles] or self.rules.select(
            [each.raw for each in self.pool], 10**9, NOW
        )
        made = self.rules.verify_proposal(raws, NOW)
        self.pool = [each for each in self.pool if each.raw not in raws]
        self._commit(made)

    def empty_block(self) -> None:
        """Make a block of others' bundles."""
        self._commit(())

    def _commit(self, made: tuple[Bundle, ...]) -> None:
        number = self.chain.height
        ids = [each.bundle_id for each in made]
        assert isinstance(self.chain.seen, SeenBundles)
        self.chain.seen.add(number, ids)
        self.blocks.append(made)
        if made and made[0].kind is BundleKind.CONFIGURATION:
            self.configure(made[0].envelopes[0])
        self.chain.height = number + 1
        self.bundler.ordered(number, ids)

    def configure(self, envelope: bytes) -> None:
        """Put a configuration in force; `ordered` is still to be told."""
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
        self.chain.configuration = verify_config_envelope(self.chain.configuration, payload.data)

    @property
    def envelopes(self) -> list[bytes]:
        """All that were ordered."""
        return [each for made in self.blocks for bundle in made for each in bundle.envelopes]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds after something was given."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await self._changed.wait()
                self._changed.clear()

    async def taken(self, count: int) -> None:
        """Wait until the pool holds *count* bundles."""
        await self.until(lambda: len(self.pool) >= count)
