"""Finality records that this node's CometBFT does not have are got from other members' nodes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from ledger.blocks.metadata import with_validation
from ledger.errors import Refusal, Unavailable
from ledger.transactions.codes import TxValidationCode
from network.ordering.cometbft.finality import gaps as module
from network.ordering.cometbft.finality.gaps import RecordGaps
from tests.support.record_channel import RecordChannel
from tests.support.voted_chain import VotedChain

pytestmark = pytest.mark.asyncio

DEADLINE_S = 20


@dataclass
class Givers:
    """Other members' nodes: what each has, or why it gives nothing."""

    has: dict[str, dict[int, bytes] | Exception]
    asked: list[tuple[str, int]] = field(default_factory=list)

    def msp_ids(self) -> tuple[str, ...]:
        return tuple(self.has)

    async def record(self, msp_id: str, number: int) -> bytes:
        self.asked.append((msp_id, number))
        found = self.has[msp_id]
        if isinstance(found, Exception):
            raise found
        return found.get(number, b"")


@pytest.fixture(scope="module")
def chain() -> VotedChain:
    """Eight blocks, one of which brings a new key."""
    made = VotedChain()
    made.transactions(1)
    made.rotate("MakerMSP")
    for _ in range(6):
        made.transactions(1)
    return made


def gaps_of(chain: VotedChain, channel: RecordChannel, givers: Givers) -> RecordGaps:
    return RecordGaps(givers, channel, chain.blocks[0], until=lambda: channel.height, pause_s=0.001)


async def test_records_that_are_lacking_are_filed_once_they_prove_their_blocks(
    chain: VotedChain,
) -> None:
    """Only those, from whoever has them, across a change of the validators."""
    channel = RecordChannel(chain, filed={number: chain.records[number] for number in (1, 4, 8)})
    givers = Givers({"A": {2: chain.records[2]}, "B": dict(chain.records)})
    gaps = gaps_of(chain, channel, givers)
    assert await gaps.fill() == 5
    assert channel.filed == chain.records
    assert (gaps.missing, gaps.lowest) == (0, 0)
    assert {number for _, number in givers.asked} == {2, 3, 5, 6, 7}
    assert await gaps.fill() == 0
    assert len(givers.asked) == 1 + 2 * 4


async def test_gap_that_nobody_fills_is_told_and_asked_for_again(
    chain: VotedChain, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes of it stands in the log once, not in every round."""
    channel = RecordChannel(chain, filed={1: chain.records[1]})
    givers = Givers({"A": {3: chain.records[3]}})
    gaps = gaps_of(chain, channel, givers)
    with caplog.at_level(logging.WARNING, logger=module.__name__):
        assert await gaps.fill() == 1
        assert await gaps.fill() == 0
    assert (gaps.missing, gaps.lowest) == (6, 2)
    (told,) = caplog.messages
    assert "6 blocks from block 2 on" in told
    assert "no snapshot beyond block 1" in told
    givers.has["B"] = dict(chain.records)
    assert await gaps.fill() == 6
    assert (gaps.missing, gaps.lowest) == (0, 0)


async def test_who_has_nothing_is_soon_left_alone_until_the_next_round(
    chain: VotedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long gap costs a few questions; who does not answer at all, one."""
    monkeypatch.setattr(module, "EMPTY_ANSWERS", 2)
    channel = RecordChannel(chain)
    givers = Givers({"A": {}, "B": Unavailable("it is down"), "C": Refusal("what is that?")})
    gaps = gaps_of(chain, channel, givers)
    newest = chain.height - 1
    for _ in range(3):
        givers.asked.clear()
        await gaps.fill()
        assert [each for each, _ in givers.asked].count("A") == 2 * 2
        assert givers.asked.count(("B", newest)) == givers.asked.count(("C", newest)) == 1
        assert len(givers.asked) == 2 * 2 + 2
    assert gaps.missing == newest


async def test_gap_that_nobody_fills_hides_neither_newer_records_nor_older_ones(
    chain: VotedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest are filed at once, and the older ones have their turn within a few rounds."""
    monkeypatch.setattr(module, "EMPTY_ANSWERS", 1)
    channel = RecordChannel(chain)
    nobody_has = {3, 4, 5, 6}
    given = {each: record for each, record in chain.records.items() if each not in nobody_has}
    gaps = gaps_of(chain, channel, Givers({"A": given}))
    assert await gaps.fill() == 2
    assert set(channel.filed) == {7, 8}
    for _ in range(len(nobody_has)):
        await gaps.fill()
    assert set(channel.filed) == set(given)
    assert (gaps.missing, gaps.lowest) == (len(nobody_has), min(nobody_has))


async def test_round_looks_at_new_blocks_and_at_what_was_lacking_alone(chain: VotedChain) -> None:
    """Or one gap at the bottom would have a node look at its whole ledger again and again."""
    looked_at: list[int] = []

    class Watched(RecordChannel):
        def has_evidence(self, number: int, kind: str) -> bool:
            looked_at.append(number)
            return super().has_evidence(number, kind)

    channel = Watched(chain, height=7, filed={each: chain.records[each] for each in (2, 3, 5, 6)})
    gaps = gaps_of(chain, channel, Givers({"A": {}}))
    await gaps.fill()
    assert looked_at == [1, 2, 3, 4, 5, 6]
    looked_at.clear()
    channel.height = chain.height
    await gaps.fill()
    assert looked_at == [1, 4, 7, 8]
    assert (gaps.missing, gaps.lowest) == (4, 1)


async def test_what_proves_nothing_is_not_filed(
    chain: VotedChain, caplog: pytest.LogCaptureFixture
) -> None:
    """Rubbish, and the record of another block; the next member is asked."""
    channel = RecordChannel(chain, height=3)
    lies = {1: b"rubbish", 2: chain.records[1]}
    gaps = gaps_of(chain, channel, Givers({"A": lies, "B": dict(chain.records)}))
    assert await gaps.fill() == 2
    assert channel.filed == {1: chain.records[1], 2: chain.records[2]}
    assert [each for each in caplog.messages if "that A gives" in each]


async def test_record_of_another_outcome_is_told_and_halts_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is as good as the keys of validators of then; who compares ledgers finds out."""
    ours = VotedChain()
    block = ours.transactions(1)
    ours.blocks[1] = with_validation(block, [TxValidationCode.VALID], bytes(32))
    channel = RecordChannel(ours)
    gaps = gaps_of(ours, channel, Givers({"A": dict(ours.records)}))
    assert await gaps.fill() == 0
    assert channel.filed == {}
    assert channel.halted is None
    assert any("another outcome than here" in each for each in caplog.messages)


async def test_rounds_go_on_and_find_new_gaps(chain: VotedChain) -> None:
    """As at a node without a CometBFT, which lacks the record of every new block at first."""
    channel = RecordChannel(chain, height=1)
    gaps = gaps_of(chain, channel, Givers({"A": dict(chain.records)}))
    running = asyncio.create_task(gaps.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            for height in (4, chain.height):
                channel.height = height
                while len(channel.filed) < height - 1:  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.001)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert channel.filed == chain.records
