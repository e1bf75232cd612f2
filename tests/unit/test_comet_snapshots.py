"""State sync between two nodes in memory: what is given, what is taken, and from whom not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
import zstandard

from ledger.blocks.block import Block
from ledger.blocks.metadata import TRANSACTIONS_FILTER
from ledger.blocks.structure import verify_block_structure
from ledger.errors import Refusal
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration
from network.errors import Divergence
from network.ordering.cometbft.blocks.app_hash import compute_app_hash
from network.ordering.cometbft.blocks.ordered import comet_height_of
from network.ordering.cometbft.finality.finality import FINALITY
from network.ordering.cometbft.joining.snapshot_chain import Snapshot, SnapshotSettings
from network.ordering.cometbft.joining.snapshot_format import (
    SnapshotDescription,
    SnapshotError,
    StoredBlock,
    decode_chunk,
    encode_chunk,
    format_of,
)
from network.ordering.cometbft.joining.snapshots import (
    ApplyResult,
    OfferResult,
    Snapshots,
    record_verifier,
)
from tests.support.voted_chain import VotedChain

SETTINGS = SnapshotSettings(interval_blocks=4, targets_bytes=(9_000,))


class StoredChain:
    """What one node has of a chain: blocks, and records of some of them."""

    def __init__(self, chain: VotedChain, height: int, records: Sequence[int] = ()) -> None:
        self.blocks = chain.blocks[:height]
        self.records = {each: chain.records[each] for each in records}
        self.configuration = chain.configuration
        self.restored: list[int] = []

    @property
    def height(self) -> int:
        return len(self.blocks)

    def stored_block(self, number: int) -> Block | None:
        return self.blocks[number] if 0 <= number < self.height else None

    def block_bytes(self, number: int) -> bytes | None:
        block = self.stored_block(number)
        return None if block is None else block.encode()

    def block_size(self, number: int) -> int | None:
        raw = self.block_bytes(number)
        return None if raw is None else len(raw)

    def evidence(self, number: int, kind: str) -> bytes | None:
        return self.records.get(number) if kind == FINALITY else None

    def has_evidence(self, number: int, kind: str) -> bool:
        return self.evidence(number, kind) is not None

    async def restore(self, block: Block) -> None:
        verify_block_structure(block, self.height, self.blocks[-1].header.hash())
        self.blocks.append(block)
        self.restored.append(block.number)

    async def add_evidence(self, number: int, kind: str, data: bytes) -> None:
        if number >= self.height or self.records.setdefault(number, data) != data:
            raise Refusal("there is other evidence")


@pytest.fixture(scope="module")
def chain() -> VotedChain:
    """Fourteen blocks, two in each chunk but the last of a snapshot up to block 8 or 12."""
    made = VotedChain()
    while made.height < 15:
        made.transactions()
    return made


def giver_of(chain: VotedChain) -> Snapshots:
    stored = StoredChain(chain, chain.height, range(1, chain.height))
    return snapshots_of(chain, stored)


def snapshots_of(chain: VotedChain, stored: StoredChain) -> Snapshots:
    hashed = chain.genesis.header.hash()
    return Snapshots(stored, hashed, record_verifier(chain.chain_id), SETTINGS)


def app_hash_at(chain: VotedChain, height: int) -> bytes:
    return next(compute_app_hash(each) for each in chain.blocks if comet_height_of(each) == height)


async def taken(
    chain: VotedChain, giver: Snapshots, taker: Snapshots, snapshot: Snapshot
) -> list[ApplyResult]:
    """Offer a snapshot and bring all its chunks."""
    app_hash = app_hash_at(chain, snapshot.height)
    assert await taker.offer(snapshot, app_hash) is OfferResult.ACCEPT
    results = []
    for place in range(snapshot.chunks):
        raw = await giver.load_chunk(snapshot.height, snapshot.format, place)
        results.append((await taker.apply_chunk(place, raw, "giver")).result)
    return results


async def test_whole_snapshot_brings_every_block_with_its_record(chain: VotedChain) -> None:
    """The joining node ends with the same bytes, and can prove and give them in turn."""
    giver, stored = giver_of(chain), StoredChain(chain, 1)
    taker = snapshots_of(chain, stored)
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))
    assert whole.chunks > 2
    assert set(await taken(chain, giver, taker, whole)) == {ApplyResult.ACCEPT}
    assert stored.blocks == chain.blocks[:13]
    assert stored.records == {each: chain.records[each] for each in range(1, 13)}
    assert taker.restored is not None
    assert taker.restored.height == whole.height == comet_height_of(chain.blocks[12])
    assert taker.restored.app_hash == compute_app_hash(chain.blocks[12])


async def test_list_is_the_same_on_every_node_and_ends_where_comet_has_two_headers_more(
    chain: VotedChain,
) -> None:
    """Many can give the same snapshot; the newest block of one is two blocks below the height."""
    lists = [await giver_of(chain).list_snapshots() for _ in range(2)]
    assert lists[0] == lists[1]
    ends = {SnapshotDescription.decode(each.metadata).last for each in lists[0]}
    assert ends == {8, 12}
    for height, newest in ((14, 8), (15, 12), (4, 0), (7, 4), (6, 0)):
        stored = StoredChain(chain, height, range(1, height))
        assert await snapshots_of(chain, stored).newest_block() == newest, height


async def test_snapshot_without_a_record_is_not_offered(chain: VotedChain) -> None:
    """What cannot be proved to others is not given; the record may come later."""
    stored = StoredChain(chain, 15, [each for each in range(1, 15) if each != 10])
    giver = snapshots_of(chain, stored)
    assert await giver.newest_block() == 8
    stored.records[10] = chain.records[10]
    assert await giver.newest_block() == 12
    assert await giver.oldest_height() == comet_height_of(chain.blocks[8])


async def test_tail_serves_a_node_that_has_the_blocks_before(chain: VotedChain) -> None:
    """The shortest tail comes first; a node that lacks what is before it refuses it."""
    giver = giver_of(chain)
    found = [each for each in await giver.list_snapshots() if each.height == 23]
    tails = sorted(found, key=lambda each: -each.format)
    assert [each.chunks for each in tails] == sorted(each.chunks for each in found)
    shortest = tails[0]
    first = SnapshotDescription.decode(shortest.metadata).first
    assert 1 < first <= 12
    app_hash = app_hash_at(chain, shortest.height)
    empty = snapshots_of(chain, StoredChain(chain, 1))
    assert await empty.offer(shortest, app_hash) is OfferResult.REJECT
    stored = StoredChain(chain, first, range(1, first))
    taker = snapshots_of(chain, stored)
    assert set(await taken(chain, giver, taker, shortest)) == {ApplyResult.ACCEPT}
    assert stored.restored == list(range(first, 13))


async def test_node_killed_in_the_middle_goes_on_and_files_the_record_that_it_lost(
    chain: VotedChain,
) -> None:
    """Blocks that are here are passed over, but for a record that was not filed before the end."""
    giver = giver_of(chain)
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))
    stored = StoredChain(chain, 6, range(1, 5))
    assert set(await taken(chain, giver, snapshots_of(chain, stored), whole)) == {
        ApplyResult.ACCEPT
    }
    assert stored.restored == list(range(6, 13))
    assert sorted(stored.records) == list(range(1, 13))


async def test_snapshot_below_the_ledgers_height_says_where_comet_goes_on(
    chain: VotedChain,
) -> None:
    """A node whose CometBFT alone lost its data takes a snapshot without taking a block."""
    giver, stored = giver_of(chain), StoredChain(chain, 15, range(1, 15))
    taker = snapshots_of(chain, stored)
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))
    await taken(chain, giver, taker, whole)
    assert stored.restored == []
    assert taker.restored is not None
    assert taker.restored.height == whole.height


def forged(chain: VotedChain, place: int, chunk: bytes) -> list[tuple[str, bytes]]:
    """A chunk as a lying node may send it."""
    blocks = list(decode_chunk(chunk))
    first = Block.decode(blocks[0].raw)
    codes = bytes([TxValidationCode.MVCC_READ_CONFLICT]) * len(first.data)
    entries = list(first.metadata)
    entries[TRANSACTIONS_FILTER] = codes
    other = replace(first, metadata=tuple(entries)).encode()
    record = bytearray(blocks[0].record)
    record[-1] ^= 1
    return [
        ("other verdicts", encode_chunk([StoredBlock(other, blocks[0].record), *blocks[1:]])),
        ("another record", encode_chunk([StoredBlock(blocks[0].raw, bytes(record))])),
        ("no record", encode_chunk([StoredBlock(blocks[0].raw, b"")])),
        ("another's record", encode_chunk([StoredBlock(blocks[0].raw, blocks[1].record)])),
        ("a byte behind", encode_chunk([StoredBlock(blocks[0].raw + b"\x22\x00", b"")])),
        ("a block of nobody", encode_chunk([StoredBlock(b"\xff\xff", b"")])),
        ("blocks missing before", encode_chunk(blocks[1:])),
        ("a chunk cut short", chunk[:-3]),
        ("a frame behind", chunk + chunk),
        ("no chunk", zstandard.compress(b"nothing of the kind")),
        ("nothing", b""),
    ]


@pytest.mark.parametrize("kind", range(11))
async def test_lying_nodes_chunk_is_fetched_from_another_and_writes_nothing(
    chain: VotedChain, kind: int
) -> None:
    """The node is refused, nothing of its chunk stays, and an honest one completes the ledger."""
    giver, stored = giver_of(chain), StoredChain(chain, 1)
    taker = snapshots_of(chain, stored)
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))
    await taker.offer(whole, app_hash_at(chain, whole.height))
    honest = [
        await giver.load_chunk(whole.height, whole.format, place) for place in range(whole.chunks)
    ]
    await taker.apply_chunk(0, honest[0], "honest")
    height = stored.height
    what, lie = forged(chain, 1, honest[1])[kind]
    answer = await taker.apply_chunk(1, lie, "liar")
    assert answer.result is ApplyResult.RETRY, what
    assert 1 in answer.refetch, what
    assert "liar" in answer.reject_senders, what
    assert stored.height == height, what
    for place in (*answer.refetch, *range(2, whole.chunks)):
        again = await taker.apply_chunk(place, honest[place], "honest")
        assert again.result is ApplyResult.ACCEPT, what
    assert stored.blocks == chain.blocks[:13]


async def test_chunk_that_ends_too_soon_shows_at_the_next_and_both_are_fetched_again(
    chain: VotedChain,
) -> None:
    """Who of two nodes left blocks out cannot be told, so neither is asked again."""
    giver, stored = giver_of(chain), StoredChain(chain, 1)
    taker = snapshots_of(chain, stored)
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))
    await taker.offer(whole, app_hash_at(chain, whole.height))
    first = await giver.load_chunk(whole.height, whole.format, 0)
    short = encode_chunk(decode_chunk(first)[:-1])
    assert (await taker.apply_chunk(0, short, "liar")).result is ApplyResult.ACCEPT
    second = await giver.load_chunk(whole.height, whole.format, 1)
    answer = await taker.apply_chunk(1, second, "honest")
    assert (answer.result, answer.refetch) == (ApplyResult.RETRY, (0, 1))
    assert answer.reject_senders == ("liar", "honest")


async def test_offer_of_another_kind_channel_or_hash_is_refused(chain: VotedChain) -> None:
    """Each in the words by which CometBFT asks no further for the like."""
    giver = giver_of(chain)
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))
    taker = snapshots_of(chain, StoredChain(chain, 1))
    app_hash = app_hash_at(chain, whole.height)
    elsewhere = SnapshotDescription(bytes(32), 1, 12, 9_000)
    for offered, wanted in (
        (replace(whole, format=2 << 16), OfferResult.REJECT_FORMAT),
        (replace(whole, metadata=b"anything"), OfferResult.REJECT_SENDER),
        (replace(whole, hash=bytes(32)), OfferResult.REJECT_SENDER),
        (
            replace(whole, hash=elsewhere.hash, metadata=elsewhere.encode()),
            OfferResult.REJECT_SENDER,
        ),
    ):
        assert await taker.offer(offered, app_hash) is wanted
    assert (await taker.apply_chunk(0, b"", "anybody")).result is ApplyResult.ABORT


async def test_ledger_of_another_history_than_the_validators_signed_diverges(
    chain: VotedChain,
) -> None:
    """The app hash of the light client is not this ledger's: nothing may be taken any more."""
    whole = next(
        each for each in await giver_of(chain).list_snapshots() if each.format == format_of(0)
    )
    taker = snapshots_of(chain, StoredChain(chain, 15, range(1, 15)))
    with pytest.raises(Divergence, match="another history"):
        await taker.offer(whole, bytes(32))


async def relabelled(chain: VotedChain, giver: Snapshots, last: int) -> Snapshot:
    """A true height, with what its snapshot says of itself replaced."""
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))
    other = SnapshotDescription(chain.genesis.header.hash(), 1, last, 9_000)
    return replace(whole, hash=other.hash, metadata=other.encode(), chunks=1)


async def test_snapshot_that_names_another_block_than_that_of_its_height_is_a_lie(
    chain: VotedChain,
) -> None:
    """Whoever offers it is asked no more; it says nothing about the ledger that is here."""
    giver = giver_of(chain)
    lie = await relabelled(chain, giver, 3)
    stored = StoredChain(chain, 6, range(1, 6))
    taker = snapshots_of(chain, stored)
    app_hash = app_hash_at(chain, lie.height)
    assert await taker.offer(lie, app_hash) is OfferResult.REJECT_SENDER
    assert (await taker.apply_chunk(0, b"", "liar")).result is ApplyResult.ABORT

    joining = snapshots_of(chain, StoredChain(chain, 1))
    assert await joining.offer(lie, app_hash) is OfferResult.ACCEPT
    blocks = [StoredBlock(chain.blocks[n].encode(), chain.records[n]) for n in range(1, 4)]
    applied = await joining.apply_chunk(0, encode_chunk(blocks), "liar")
    assert applied.result is ApplyResult.REJECT_SNAPSHOT
    assert applied.reject_senders == ("liar",)
    assert joining.restored is None
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))
    assert set(await taken(chain, giver, joining, whole)) == {ApplyResult.ACCEPT}


async def test_chunk_of_empty_blocks_without_end_is_refused_as_it_is_read() -> None:
    """No block is so short, and each would take far more memory than it has bytes."""
    with pytest.raises(SnapshotError, match="short"):
        decode_chunk(encode_chunk([StoredBlock(b"", b"")] * 100_000))


async def test_chunk_is_given_after_newer_snapshots_came_and_nothing_beside(
    chain: VotedChain,
) -> None:
    """Who has begun can finish; what was never offered is answered with nothing."""
    giver = giver_of(chain)
    older = comet_height_of(chain.blocks[4])
    assert older not in {each.height for each in await giver.list_snapshots()}
    assert await giver.load_chunk(older, format_of(0), 0)
    for height, form, place in (
        (older, format_of(0), 99),
        (older, format_of(5), 0),
        (older, 7, 0),
        (older + 1, format_of(0), 0),
        (0, format_of(0), 0),
        (10_000, format_of(0), 0),
    ):
        assert await giver.load_chunk(height, form, place) == b"", (height, form, place)


async def test_chunk_that_declares_too_much_is_not_expanded(chain: VotedChain) -> None:
    """A few bytes that would fill the memory are refused by what they declare."""
    bomb = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(129 * 1024 * 1024))
    assert len(bomb) < 20_000
    giver = giver_of(chain)
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))
    taker = snapshots_of(chain, StoredChain(chain, 1))
    await taker.offer(whole, app_hash_at(chain, whole.height))
    answer = await asyncio.wait_for(taker.apply_chunk(0, bomb, "liar"), 5)
    assert answer.reject_senders == ("liar",)


async def test_records_of_blocks_before_a_change_of_validators_are_judged_by_the_old_ones() -> None:
    """A key that was replaced signs no block after that, and still proves those before."""
    chain = VotedChain()
    chain.transactions()
    chain.rotate("BankMSP")
    while chain.height < 8:
        chain.transactions()
    giver, stored = giver_of(chain), StoredChain(chain, 1)
    stored.configuration = ChannelConfiguration.from_block(chain.genesis)
    whole = next(each for each in await giver.list_snapshots() if each.format == format_of(0))

    async def restore(block: Block, before: StoredChain = stored) -> None:
        await StoredChain.restore(before, block)
        if block.number == 2:
            before.configuration = ChannelConfiguration.from_block(block)

    stored.restore = restore  # type: ignore[method-assign]
    results = await taken(chain, giver, snapshots_of(chain, stored), whole)
    assert set(results) == {ApplyResult.ACCEPT}
    assert stored.blocks == chain.blocks[:5]
