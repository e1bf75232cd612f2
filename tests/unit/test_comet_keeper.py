"""Finality records are fetched, verified and filed once, and work goes on where it was left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from ledger.blocks.metadata import with_validation
from ledger.errors import CorruptionError, DecodeError, Refusal, Unavailable
from ledger.transactions.codes import TxValidationCode
from network.errors import Divergence, FinalityError
from network.ordering.cometbft.errors import CometRefusal, CometUnavailable
from network.ordering.cometbft.finality.keeper import FinalityKeeper
from network.ordering.cometbft.finality.proof_making import make_proof
from network.ordering.cometbft.finality.proofs import verify_proof
from network.ordering.cometbft.finality.retention import KEPT_HEIGHTS, retain_height
from network.ordering.cometbft.messages import types_pb2
from network.ordering.cometbft.process.rpc import CometStatus
from tests.support.record_channel import RecordChannel
from tests.support.voted_chain import VotedChain

pytestmark = pytest.mark.asyncio

DEADLINE_S = 20


@dataclass
class Comet:
    """This node's CometBFT: the headers that it has."""

    chain: VotedChain
    earliest: int = 1
    newest: int = 1 << 60
    asked: list[int] = field(default_factory=list)
    times: int = 0
    away: bool = False

    async def signed_headers(self, heights: Sequence[int]) -> list[types_pb2.SignedHeader | None]:
        if self.away:
            raise CometUnavailable("it is being restarted")
        self.asked.extend(heights)
        self.times += 1
        return [self.chain.signed.get(each) if self._has(each) else None for each in heights]

    def _has(self, height: int) -> bool:
        return self.earliest <= height <= self.newest

    async def status(self) -> CometStatus:
        newest = min(self.newest, self.chain.height_of_comet)
        return CometStatus(newest, self.earliest, False, b"", None)


@pytest.fixture(scope="module")
def chain() -> VotedChain:
    """Four blocks: transactions, a new key, transactions, transactions."""
    made = VotedChain()
    made.transactions(1)
    made.rotate("MakerMSP")
    made.transactions(1)
    made.transactions(1)
    return made


def keeper_of(chain: VotedChain, channel: RecordChannel, comet: Comet) -> FinalityKeeper:
    return FinalityKeeper(comet, channel, chain.blocks[0], pause_s=0.01, gather_s=0.0)


async def test_records_of_all_blocks_are_filed(chain: VotedChain) -> None:
    """Those that prove the blocks, across a change of the validators."""
    channel, comet = RecordChannel(chain), Comet(chain)
    keeper = keeper_of(chain, channel, comet)
    assert await keeper.catch_up() == 4
    assert channel.filed == chain.records
    assert (keeper.awaited, keeper.recorded, keeper.problem) == (0, 7, "")
    assert (comet.asked, comet.times) == ([2, 4, 6, 8], 1)
    for number in range(1, 5):
        assert verify_proof(chain.genesis, make_proof(channel, number)).proved_by == number


async def test_record_that_is_not_there_yet_is_awaited(chain: VotedChain) -> None:
    """The newest block's header comes with the next height."""
    channel, comet = RecordChannel(chain), Comet(chain, newest=7)
    keeper = keeper_of(chain, channel, comet)
    assert await keeper.catch_up() == 3
    assert (keeper.awaited, keeper.recorded) == (1, 5)
    assert await keeper.catch_up() == 0
    comet.newest = 8
    assert await keeper.catch_up() == 1
    assert (keeper.awaited, keeper.recorded) == (0, 7)


async def test_work_goes_on_behind_the_newest_record(chain: VotedChain) -> None:
    """After a restart only what is lacking is asked for."""
    channel, comet = (
        RecordChannel(chain, filed={1: chain.records[1], 2: chain.records[2]}),
        Comet(chain),
    )
    keeper = keeper_of(chain, channel, comet)
    assert await keeper.catch_up() == 2
    assert comet.asked == [6, 8]
    assert channel.filed == chain.records


async def test_record_that_came_another_way_is_not_asked_for(chain: VotedChain) -> None:
    """A snapshot may bring records while this works."""
    channel, comet = RecordChannel(chain, height=3), Comet(chain)
    keeper = keeper_of(chain, channel, comet)
    assert await keeper.catch_up() == 2
    channel.height = 5
    channel.filed[3] = chain.records[3]
    assert await keeper.catch_up() == 1
    assert comet.asked == [2, 4, 8]


async def test_record_that_comes_another_way_meanwhile_stays(chain: VotedChain) -> None:
    """Two records of a block may differ in whose votes they hold; the first one is kept."""
    channel = RecordChannel(chain, height=2)

    async def come_first(number: int, kind: str, data: bytes) -> None:
        channel.filed[number] = b"another record"
        raise Refusal("block 1 has other evidence of this kind already")

    async def refuse(number: int, kind: str, data: bytes) -> None:
        raise Refusal("there is no such block")

    channel.add_evidence = come_first  # type: ignore[method-assign]
    keeper = keeper_of(chain, channel, Comet(chain))
    await keeper.catch_up()
    assert (channel.filed, keeper.recorded) == ({1: b"another record"}, 1)
    channel = RecordChannel(chain, height=2)
    channel.add_evidence = refuse  # type: ignore[method-assign]
    with pytest.raises(Refusal, match="no such block"):
        await keeper_of(chain, channel, Comet(chain)).catch_up()


async def test_headers_that_were_pruned_are_passed_over(chain: VotedChain) -> None:
    """The record of a later block covers the blocks without one."""
    channel, comet = RecordChannel(chain), Comet(chain, earliest=7)
    keeper = keeper_of(chain, channel, comet)
    assert await keeper.catch_up() == 1
    assert sorted(channel.filed) == [4]
    assert comet.asked == [2, 4, 6, 8]
    assert (keeper.awaited, keeper.recorded) == (0, 7)


async def test_keeper_of_a_migrated_channel_begins_behind_the_migration() -> None:
    """Blocks before it were ordered by another engine."""
    made = VotedChain(solo=True)
    made.transactions(1)
    made.migrate()
    made.transactions(1)
    channel, comet = RecordChannel(made), Comet(made)
    keeper = FinalityKeeper(comet, channel, made.blocks[2])
    assert await keeper.catch_up() == 1
    assert sorted(channel.filed) == [3]


async def test_keeper_of_a_channel_at_its_start_awaits_nothing(chain: VotedChain) -> None:
    """The starting block has no record."""
    channel, comet = RecordChannel(chain, height=1), Comet(chain)
    keeper = keeper_of(chain, channel, comet)
    assert await keeper.catch_up() == 0
    assert (keeper.awaited, keeper.recorded, comet.asked) == (0, 0, [])


async def test_first_record_waits_for_others(chain: VotedChain) -> None:
    """While it waits further heights are decided, and all are asked for at once."""
    channel, comet = RecordChannel(chain, height=1), Comet(chain)
    keeper = FinalityKeeper(comet, channel, chain.blocks[0], gather_s=0.05)
    assert await keeper.catch_up() == 0
    async with Running(keeper):
        await asyncio.sleep(0)
        for number in range(2, 6):
            channel.height = number
            keeper.wake()
            await asyncio.sleep(0)
        await until(lambda: channel.filed == chain.records)
    assert comet.times == 1


async def test_other_outcome_than_the_validators_agreed_on_halts_the_channel() -> None:
    """The record is theirs, and the ledger is another one."""
    made = VotedChain()
    made.transactions(1)
    made.blocks[1] = with_validation(
        made.blocks[1], [TxValidationCode.MVCC_READ_CONFLICT], bytes(32)
    )
    channel = RecordChannel(made)
    keeper = keeper_of(made, channel, Comet(made))
    with pytest.raises(Divergence, match="differs from what the validators agreed on"):
        await keeper.run()
    assert isinstance(channel.halted, Divergence)
    assert channel.filed == {}


async def test_header_that_proves_nothing_is_not_filed_and_asked_for_again(
    chain: VotedChain,
) -> None:
    """A record is filed when CometBFT gives one that holds; until then the status says why not."""
    broken = types_pb2.SignedHeader()
    broken.CopyFrom(chain.signed[2])
    del broken.commit.signatures[0]
    comet = Comet(VotedChain.__new__(VotedChain))
    comet.chain.__dict__.update(chain.__dict__)
    comet.chain.signed = {**chain.signed, 2: broken}
    channel = RecordChannel(chain)
    keeper = keeper_of(chain, channel, comet)
    with pytest.raises(FinalityError, match="3 entries for 4 validators"):
        await keeper.catch_up()
    async with Running(keeper):
        await until(lambda: keeper.problem != "")
        assert "3 entries for 4 validators" in keeper.problem
        comet.chain.signed = chain.signed
        await until(lambda: len(channel.filed) == 4)
    assert (keeper.problem, channel.halted) == ("", None)


async def test_keeper_waits_for_a_comet_that_is_away(chain: VotedChain) -> None:
    """CometBFT is restarted now and then."""
    channel, comet = RecordChannel(chain), Comet(chain, away=True)
    keeper = keeper_of(chain, channel, comet)
    async with Running(keeper):
        await asyncio.sleep(0)
        assert channel.filed == {}
        comet.away = False
        await until(lambda: channel.filed == chain.records)


@pytest.mark.parametrize(
    "error", [CometRefusal("Internal error", code=-32603, data="no"), DecodeError("no header")]
)
async def test_answer_that_cometbft_refuses_or_garbles_ends_no_engine(
    chain: VotedChain, error: Refusal
) -> None:
    """Nothing waits for a record; it is asked for again, and the status says why it lacks."""
    channel, comet = RecordChannel(chain), Comet(chain)
    honest, broken = comet.signed_headers, [error, error]

    async def signed_headers(heights: Sequence[int]) -> list[types_pb2.SignedHeader | None]:
        if broken:
            raise broken.pop()
        return await honest(heights)

    comet.signed_headers = signed_headers  # type: ignore[method-assign]
    keeper = keeper_of(chain, channel, comet)
    async with Running(keeper):
        await until(lambda: len(channel.filed) == 4)
    assert keeper.problem == ""


async def test_keeper_sleeps_until_it_is_woken(chain: VotedChain) -> None:
    """On an idle channel nobody is asked anything."""
    channel, comet = RecordChannel(chain, height=2), Comet(chain)
    keeper = keeper_of(chain, channel, comet)
    async with Running(keeper):
        await until(lambda: len(channel.filed) == 1)
        channel.height = 5
        keeper.wake()
        await until(lambda: channel.filed == chain.records)


async def test_height_that_is_not_decided_yet_is_not_asked_for(chain: VotedChain) -> None:
    """Who is told which height was decided knows whose record can be had."""
    channel, comet = RecordChannel(chain, height=2), Comet(chain)
    keeper = keeper_of(chain, channel, comet)
    keeper.wake(1)
    assert await keeper.catch_up() == 0
    assert (keeper.awaited, comet.asked) == (1, [])
    keeper.wake(2)
    assert await keeper.catch_up() == 1
    assert (keeper.awaited, comet.asked) == (0, [2])


async def test_channel_that_takes_nothing_ends_the_keeper(chain: VotedChain) -> None:
    """Whoever runs it decides what then."""
    channel = RecordChannel(chain)

    async def refuse(number: int, kind: str, data: bytes) -> None:
        raise Unavailable("the channel is being closed")

    channel.add_evidence = refuse  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="being closed"):
        await keeper_of(chain, channel, Comet(chain)).run()


async def test_block_that_cannot_be_read_is_corruption(chain: VotedChain) -> None:
    """A ledger has all its blocks."""
    channel = RecordChannel(chain, height=9)
    with pytest.raises(CorruptionError, match="block 5 of channel qist cannot be read"):
        await keeper_of(chain, channel, Comet(chain)).catch_up()


@pytest.mark.parametrize(
    ("committed", "recorded", "snapshot", "lowest"),
    [
        (5, 5, None, 0),
        (KEPT_HEIGHTS, KEPT_HEIGHTS, None, 0),
        (KEPT_HEIGHTS + 7, KEPT_HEIGHTS + 7, None, 7),
        (KEPT_HEIGHTS + 7, 0, None, 0),
        (KEPT_HEIGHTS + 7, 3, None, 3),
        (KEPT_HEIGHTS + 7, KEPT_HEIGHTS, 5, 5),
        (KEPT_HEIGHTS + 7, KEPT_HEIGHTS, 70_000, 7),
    ],
)
async def test_retained_height_keeps_what_is_needed(
    committed: int, recorded: int, snapshot: int | None, lowest: int
) -> None:
    """Records that are still to be fetched, the oldest snapshot, and the last heights."""
    assert retain_height(committed, recorded, snapshot) == lowest


class Running:
    """Runs a keeper as long as the block lasts."""

    def __init__(self, keeper: FinalityKeeper) -> None:
        self._keeper = keeper

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._keeper.run())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.005)


async def test_block_of_which_comet_has_no_proof_may_be_proved_by_another_member(
    chain: VotedChain,
) -> None:
    """What CometBFT gives proves nothing; when a record has come another way, work goes on."""
    wrong = types_pb2.SignedHeader.FromString(chain.signed[2].SerializeToString())
    wrong.commit.signatures[0].signature = bytes(64)
    wrong.commit.signatures[1].signature = bytes(64)

    class Wrong(Comet):
        async def signed_headers(
            self, heights: Sequence[int]
        ) -> list[types_pb2.SignedHeader | None]:
            found = await super().signed_headers(heights)
            return [
                wrong if height == 2 else each for height, each in zip(heights, found, strict=True)
            ]

    channel = RecordChannel(chain)
    keeper = keeper_of(chain, channel, Wrong(chain))
    async with Running(keeper):
        await until(lambda: keeper.problem != "")
        assert keeper.behind == 2
        channel.filed[1] = chain.records[1]
        await until(lambda: keeper.awaited == 0)
    assert channel.filed == chain.records
    assert keeper.problem == ""
