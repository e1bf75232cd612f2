"""What the bundler says of an outcome is so, whatever CometBFT and the network do.

Random envelopes of several clients, configuration updates among them, and random answers: taken,
lost, refused, no answer; blocks of some of what was ever taken, old bundles too, as long as the
rules of all validators allow. At the end everything heals.
"""

from __future__ import annotations

import asyncio
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from network.errors import OrderingRefusal, OrderingUnavailable
from network.ordering.cometbft.bundles.bundle import BundleCode, BundleError, BundleKind
from network.ordering.cometbft.bundles.making import LIFETIME
from tests.support.bundles import comet_channel, envelopes
from tests.support.consenters import four_members
from tests.support.members import NOW
from tests.support.scripted_comet import DEADLINE_S, Answer, Checked, ScriptedComet
from tests.support.updates import signed_update

MEMBERS = four_members()

ANSWERS = ("take", "lose", "refuse", "quota", "reject", "away", "lost answer")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 3), st.integers(1, 6)),
        st.tuples(st.just("update"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("answer"), st.sampled_from(ANSWERS), st.integers(1, 4)),
        st.tuples(st.just("block"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("empty"), st.sampled_from([1, 1, LIFETIME + 1]), st.just(0)),
        st.tuples(st.just("settle"), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["pause", "resume", "again"]), st.just(0), st.just(0)),
        st.tuples(st.just("go away"), st.integers(0, 40), st.just(0)),
    ),
    min_size=1,
    max_size=25,
)


@cache
def inside(member: int) -> tuple[bytes, ...]:
    """Envelopes of a client, each given once in an example."""
    return tuple(envelopes(120, MEMBERS[member]))


@cache
def update(which: int) -> bytes:
    """An update of one of two values."""

    def edit(config) -> None:
        values = config.channel_group.groups["Orderer"].values
        if which:
            values["BatchSize"].value = b"\x08\x05" + values["BatchSize"].value[2:]
        else:
            values["BatchTimeout"].value = b"\x0a\x033ms"

    admins = [each.identity("admin", "admin") for each in MEMBERS]
    return signed_update(comet_channel(), edit, admins)


class FaultyRun:
    """One example: the steps, then healing, then what must hold."""

    def __init__(self) -> None:
        self.comet = ScriptedComet(comet_channel(), again_s=0.005)
        self.tasks: dict[bytes, asyncio.Task[None]] = {}
        self.used = [0, 0, 0, 0]
        self.updates: set[int] = set()

    def answer(self, name: str) -> Answer:
        comet = self.comet
        answers: dict[str, Answer] = {
            "take": comet.take,
            "lose": comet.lose,
            "refuse": comet.refuse(),
            "quota": comet.refuse(BundleCode.QUOTA),
            "reject": comet.reject,
            "away": comet.away(definite=True),
            "lost answer": self._lose_answer,
        }
        return answers[name]

    def _lose_answer(self, raw: bytes) -> Checked:
        self.comet.lose(raw)
        return self.comet.away(definite=False)(raw)

    def submit(self, envelope: bytes) -> None:
        self.tasks[envelope] = asyncio.create_task(self.comet.bundler.submit(envelope))

    def block(self, which: int) -> None:
        """A block of one bundle that some node still has, if validators take it."""
        candidates = []
        for each in list(self.comet.ever_taken.values()):
            try:
                self.comet.rules.verify_proposal([each.raw], NOW)
            except BundleError:
                continue
            candidates.append(each)
        if candidates:
            chosen = candidates[which % len(candidates)]
            self.comet.pool = [each for each in self.comet.pool if each.raw != chosen.raw]
            self.comet.block(chosen)

    async def step(self, what: str, first, second: int) -> None:
        comet = self.comet
        if what == "submit":
            for _ in range(second):
                if self.used[first] < len(inside(first)):
                    self.submit(inside(first)[self.used[first]])
                    self.used[first] += 1
        elif what == "update" and first not in self.updates:
            self.updates.add(first)
            self.submit(update(first))
        elif what == "answer":
            comet.answers.extend([self.answer(first)] * second)
        elif what == "block":
            self.block(first)
        elif what == "empty":
            for _ in range(first):
                comet.empty_block()
        elif what == "settle":
            await asyncio.sleep(0.01)
        elif what == "pause":
            comet.bundler.pause("paused")
        elif what == "resume":
            comet.bundler.resume()
        elif what == "again":
            comet.bundler.again()
        elif what == "go away" and self.tasks:
            list(self.tasks.values())[first % len(self.tasks)].cancel()
        await asyncio.sleep(0)

    async def heal(self) -> None:
        """Let everything that waits be ordered, and all that any node ever had."""
        comet = self.comet
        comet.answers.clear()
        comet.bundler.resume()
        async with asyncio.timeout(DEADLINE_S):
            while not all(task.done() for task in self.tasks.values()):
                if comet.pool:
                    comet.block()
                else:
                    comet.empty_block()
                await asyncio.sleep(0.001)
        await comet.bundler.stop()
        height = -1
        while height != comet.chain.height:
            height = comet.chain.height
            self.block(0)

    def verify(self) -> None:
        ordered = self.comet.envelopes
        made = [
            bundle
            for bundles in self.comet.blocks
            for bundle in bundles
            if bundle.kind is BundleKind.CONFIGURATION
        ]
        updates = {update(0), update(1)}
        for envelope, task in self.tasks.items():
            if task.cancelled():
                continue
            error = task.exception()
            if envelope in updates:
                assert error is not None or made
            elif error is None:
                assert envelope in ordered
            elif not isinstance(error, OrderingUnavailable) or error.outcome_definite:
                assert isinstance(error, OrderingUnavailable | OrderingRefusal)
                assert envelope not in ordered, error
        succeeded = sum(
            self.tasks[each].exception() is None
            for each in updates & self.tasks.keys()
            if not self.tasks[each].cancelled()
        )
        assert succeeded <= len(made)


@settings(max_examples=min(40, settings().max_examples))
@given(steps)
def test_outcomes_are_as_they_are_told(found) -> None:
    """Success: in a block. Definite failure: in none, then and later. And everybody is told."""

    async def run() -> FaultyRun:
        example = FaultyRun()
        example.comet.bundler.start()
        for what, first, second in found:
            await example.step(what, first, second)
        await example.heal()
        return example

    asyncio.run(run()).verify()
