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
from network.ordering.cometbft.finality.gaps import EMPTY_ANSWERS, RecordGaps
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


async def test_who_has_nothing_is_soon_left_alone_until_the_next_round(chain: VotedChain) -> None:
    """A long gap costs a few questions; who does not answer at all, one."""
    channel = RecordChannel(chain)
    givers = Givers({"A": {}, "B": Unavailable("it is down"), "C": Refusal("what is that?")})
    gaps = gaps_of(chain, channel, givers)
    for _ in range(2):
        givers.asked.clear()
        await gaps.fill()
        assert [each for each, _ in givers.asked].count("A") == EMPTY_ANSWERS
        assert givers.asked.count(("B", 1)) == givers.asked.count(("C", 1)) == 1
        assert len(givers.asked) == EMPTY_ANSWERS + 2
    assert gaps.missing == chain.height - 1


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
