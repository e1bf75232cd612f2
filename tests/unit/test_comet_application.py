"""What CometBFT's questions are answered on a channel, without a CometBFT."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.blocks.block import Block
from ledger.blocks.metadata import commit_hash_of, last_config_of
from network.configuration.consenter_edits import remove_consenter
from network.configuration.edits import set_batch
from network.errors import Divergence
from network.ordering.cometbft.application import CometApplication
from network.ordering.cometbft.blocks.app_hash import compute_app_hash
from network.ordering.cometbft.blocks.decided import Decided
from network.ordering.cometbft.blocks.ordered import comet_height_of
from network.ordering.cometbft.bundles.bundle import BundleCode, BundleKind
from network.ordering.cometbft.bundles.rules import BundleRules
from network.ordering.cometbft.genesis import chain_id_of
from network.ordering.cometbft.messages import abci_pb2, keys_pb2
from network.ordering.cometbft.validators import validators_of
from network.ordering.reconfiguration import make_configuration
from tests.support.bundles import BATCH, FixedTime, bundle, envelopes, node_of
from tests.support.consenters import comet_genesis, four_members
from tests.support.members import CHANNEL, NOW
from tests.support.ordering_network import MemorySink
from tests.support.updates import Edit, signed_update

ACCEPT = abci_pb2.ResponseProcessProposal.ACCEPT
REJECT = abci_pb2.ResponseProcessProposal.REJECT
DEADLINE_S = 30.0
NEVER_S = 3600.0


def now() -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(NOW)
    return stamp


@cache
def the_genesis() -> Block:
    return comet_genesis(four_members(), batch=BATCH)


@dataclass
class Node:
    """An application over a ledger in memory, and what it told of its commits."""

    sink: MemorySink = field(default_factory=lambda: MemorySink(the_genesis()))
    told: list[Decided] = field(default_factory=list)
    patience_s: float = 0.0

    def __post_init__(self) -> None:
        self.application = self.made()

    def made(self) -> CometApplication:
        """Make the application anew, as a node does that was restarted."""
        return CometApplication(
            self.sink,
            self.sink.blocks[0],
            FixedTime(),
            rules=BundleRules,
            may_connect=lambda node_id: node_id == "known",
            snapshots=None,
            on_committed=self.told.append,
            retain=lambda committed: committed,
            patience_s=self.patience_s,
        )

    @property
    def height(self) -> int:
        return self.application.comet_height + 1

    async def finalize(self, *raws: bytes, height: int = 0, **more: Any) -> Any:
        """Have a height worked out, the next one by default."""
        request = abci_pb2.RequestFinalizeBlock(txs=raws, height=height or self.height, **more)
        return await self.application.finalize_block(request)

    async def commit(self, *raws: bytes, **more: Any) -> Any:
        """Have the next height worked out and written."""
        response = await self.finalize(*raws, **more)
        await self.application.commit(abci_pb2.RequestCommit())
        return response

    async def process(self, *raws: bytes, block_hash: bytes = b"hash") -> Any:
        """Have a proposal for the next height judged."""
        request = abci_pb2.RequestProcessProposal(
            txs=raws,
            height=self.height,
            time=now(),
            hash=block_hash,
            proposer_address=validators_of(self.sink.configuration)[0].address,
        )
        return (await self.application.process_proposal(request)).status

    def configuration(self, edit: Edit) -> bytes:
        """Return the bundle of a configuration that all members agree to."""
        admins = [member.identity("admin", "admin") for member in four_members()]
        signer = node_of(four_members()[0])
        update = signed_update(self.sink.configuration, edit, admins)
        made = make_configuration(self.sink.configuration, update, signer, NOW)
        return bundle(inside=[made], kind=BundleKind.CONFIGURATION, signer=signer)


async def info(application: CometApplication) -> tuple[int, bytes]:
    answer = await application.info(abci_pb2.RequestInfo())
    return answer.last_block_height, answer.last_block_app_hash


async def test_bundles_of_one_height_make_one_block() -> None:
    """Its envelopes one behind the other; Commit writes it, and Info says so from then on."""
    node = Node()
    first, second = envelopes(2), envelopes(3, four_members()[1])
    raws = bundle(inside=first), bundle(four_members()[1], second)
    response = await node.finalize(*raws)
    assert node.sink.height == 1
    assert len(response.tx_results) == 2
    assert {result.code for result in response.tx_results} == {0}
    answer = await node.application.commit(abci_pb2.RequestCommit())
    assert answer.retain_height == 1
    block = node.sink.blocks[1]
    assert list(block.data) == first + second
    assert comet_height_of(block) == 1
    assert last_config_of(block) == 0
    assert response.app_hash == compute_app_hash(block)
    assert await info(node.application) == (1, response.app_hash)
    (told,) = node.told
    assert (told.comet_height, len(told.bundle_ids)) == (1, 2)


async def test_height_without_bundles_makes_no_block_and_keeps_the_app_hash() -> None:
    """A node that was restarted does not remember it, and is given it again."""
    node = Node()
    made = await node.commit(bundle())
    empty = await node.commit()
    assert empty.app_hash == made.app_hash
    assert node.sink.height == 2
    assert await info(node.application) == (2, made.app_hash)
    node.application = node.made()
    assert await info(node.application) == (1, made.app_hash)
    again = await node.commit()
    assert again.app_hash == made.app_hash


async def test_height_may_be_worked_out_any_number_of_times() -> None:
    """The answer is the same to the byte and nothing is written, also in another process."""
    node = Node()
    raws = bundle(), bundle(four_members()[2])
    once = await node.finalize(*raws)
    assert await node.finalize(*raws) == once
    node.application = node.made()
    assert await node.finalize(*raws) == once
    assert node.sink.height == 1
    await node.application.commit(abci_pb2.RequestCommit())
    assert compute_app_hash(node.sink.blocks[1]) == once.app_hash


async def propose(node: Node, *raws: bytes) -> list[bytes]:
    """Have the next height proposed, as the server does."""
    request = abci_pb2.RequestPrepareProposal(txs=raws, max_tx_bytes=10**6, time=now())
    await node.application.before_proposal(request)
    return list((await node.application.prepare_proposal(request)).txs)


async def check(node: Node, raw: bytes, *, repeated: bool = False) -> int:
    kind = abci_pb2.RECHECK if repeated else abci_pb2.NEW
    request = abci_pb2.RequestCheckTx(tx=raw, type=kind)
    return int((await node.application.check_tx(request)).code)


async def test_empty_proposal_waits_for_a_bundle_and_takes_it_at_once() -> None:
    """Whatever CometBFT had when it asked: a height that carries nothing costs as much."""
    node = Node(patience_s=NEVER_S)
    proposed = asyncio.create_task(propose(node))
    await asyncio.sleep(0)
    assert not proposed.done()
    raw = bundle()
    assert await check(node, raw) == 0
    async with asyncio.timeout(DEADLINE_S):
        assert await proposed == [raw]
    # CometBFT may not have seen it yet when it asked.
    async with asyncio.timeout(DEADLINE_S):
        assert await propose(node) == [raw]


async def test_empty_proposal_waits_no_longer_than_its_patience() -> None:
    """The height proves the block before; refused bundles are nothing to wait for."""
    node = Node(patience_s=0.01)
    assert await check(node, b"no bundle") != 0
    async with asyncio.timeout(DEADLINE_S):
        assert await propose(node) == []


async def test_proposal_that_has_something_waits_for_nothing() -> None:
    """It goes with what CometBFT has named."""
    node = Node(patience_s=NEVER_S)
    raw = bundle()
    async with asyncio.timeout(DEADLINE_S):
        assert await propose(node, raw) == [raw]


async def test_empty_proposal_waits_for_nothing_that_is_in_a_block_or_dropped() -> None:
    """What waited is known no longer when it is ordered, refused when asked again, or lost."""
    node = Node(patience_s=0.01)
    ordered, late = bundle(), bundle(valid_until=1)
    for raw in (ordered, late):
        assert await check(node, raw) == 0
    await node.commit(ordered)
    # Block 2 comes now.
    assert await check(node, late, repeated=True) == BundleCode.OUT_OF_TIME
    assert await propose(node) == []
    assert await check(node, bundle()) == 0
    await node.application.info(abci_pb2.RequestInfo())
    assert await propose(node) == []


async def would_wait(node: Node) -> bool:
    """Tell whether an empty proposal would wait."""
    request = abci_pb2.RequestPrepareProposal()
    waiting = asyncio.create_task(node.application.before_proposal(request))
    await asyncio.sleep(0)
    found = not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return found


async def test_empty_proposal_waits_again_after_what_nothing_can_be_made_of() -> None:
    """A bundle for which there is no room, beside evidence, makes no proposal hurry twice."""
    node = Node(patience_s=NEVER_S)
    assert await check(node, bundle()) == 0
    request = abci_pb2.RequestPrepareProposal(max_tx_bytes=1, time=now())
    assert not await would_wait(node)
    assert not (await node.application.prepare_proposal(request)).txs
    assert await would_wait(node)


async def test_bundle_that_expires_waits_no_longer_though_comet_never_had_it() -> None:
    """Or a member that gives such ones, and lets none be ordered, would fill the memory, and keep
    empty proposals from waiting.
    """
    node = Node(patience_s=NEVER_S)
    expiring, lasting = bundle(valid_until=1), bundle(four_members()[1], valid_until=2)
    for raw in (expiring, lasting):
        assert await check(node, raw) == 0
    await node.commit(bundle(four_members()[2]))
    assert await propose(node) == [lasting]
    await node.commit(bundle(four_members()[2]))
    assert await would_wait(node)


async def test_bundle_waits_under_a_new_configuration_when_comet_asks_about_it_again() -> None:
    """Others that were given are judged anew only when CometBFT brings them."""
    node = Node(patience_s=NEVER_S)
    raws = bundle(), bundle(four_members()[1])
    for raw in raws:
        assert await check(node, raw) == 0
    await node.commit(node.configuration(lambda config: set_batch(config, {"timeout": "9s"})))
    assert await would_wait(node)
    assert await check(node, raws[1], repeated=True) == 0
    assert await propose(node) == [raws[1]]
    assert await check(node, raws[0]) == 0
    assert set(await propose(node)) == set(raws)


async def test_accepted_proposal_gives_what_it_gives_without_having_been_proposed() -> None:
    """It is begun with while the others vote; another one that is decided on is worked out."""
    raws, others = (bundle(),), (bundle(four_members()[1]),)
    plain = await Node().finalize(*raws)
    node = Node()
    assert await node.process(*raws, block_hash=b"one") == ACCEPT
    assert await node.finalize(*raws, hash=b"one") == plain
    node = Node()
    assert await node.process(*others, block_hash=b"two") == ACCEPT
    assert await node.finalize(*raws, hash=b"one") == plain
    assert node.sink.height == 1


@pytest.mark.parametrize(
    "raws",
    [
        [b""],
        [b"\xff" * 40],
        [bundle(), b"no bundle"],
        [bundle(channel_id="other")],
        [bundle(valid_until=0)],
    ],
)
async def test_proposal_that_breaks_the_rules_is_rejected_and_does_no_harm(
    raws: list[bytes],
) -> None:
    """Whatever the bytes are; nothing is raised, and a good proposal is accepted after it."""
    node = Node()
    assert await node.process(*raws) == REJECT
    assert await node.process(bundle()) == ACCEPT


async def test_what_was_judged_before_needs_no_thread_and_everything_else_does() -> None:
    """A hop between threads for what is remembered costs more than the work; signatures never
    keep the loop waiting."""
    node, raw = Node(), bundle()
    checked = await node.application.check_tx(abci_pb2.RequestCheckTx(tx=raw))
    assert checked.code == 0
    node.application.close()
    assert await node.process(raw) == ACCEPT
    assert await node.process(raw, bundle(four_members()[1])) == REJECT


async def test_what_cannot_be_judged_is_rejected_and_not_proposed(monkeypatch) -> None:
    """An error of ours over others' bytes must not stop this node."""
    node = Node()

    def broken(*_arguments: Any) -> Any:
        raise ZeroDivisionError("a mistake")

    for name in ("verify_proposal", "check", "select"):
        monkeypatch.setattr(node.application.rules, name, broken)
    assert await node.process(bundle()) == REJECT
    checked = await node.application.check_tx(abci_pb2.RequestCheckTx(tx=bundle()))
    assert checked.code == BundleCode.MALFORMED
    request = abci_pb2.RequestPrepareProposal(txs=[bundle()], max_tx_bytes=100_000, time=now())
    assert list((await node.application.prepare_proposal(request)).txs) == []


async def test_time_that_no_calendar_has_is_rejected() -> None:
    """It is others' word until the block is decided."""
    node, far = Node(), Timestamp(seconds=10**15)
    proposed = abci_pb2.RequestProcessProposal(txs=[bundle()], time=far, height=1, hash=b"h")
    assert (await node.application.process_proposal(proposed)).status == REJECT
    request = abci_pb2.RequestPrepareProposal(txs=[bundle()], max_tx_bytes=100_000, time=far)
    assert list((await node.application.prepare_proposal(request)).txs) == []


async def test_block_that_no_honest_validator_accepts_ends_the_engine() -> None:
    """The validators cannot be trusted any more, or run another version."""
    with pytest.raises(Divergence, match="breaks the rules"):
        await Node().finalize(b"no bundle")


async def test_height_that_does_not_follow_ends_the_engine() -> None:
    """Its data are those of another node."""
    node = Node()
    await node.commit(bundle())
    with pytest.raises(Divergence, match="brings its height 5"):
        await node.finalize(height=5)


async def test_bundle_waits_once_and_not_when_it_is_in_a_block() -> None:
    """CheckTx lets it in, and refuses it with the rule's code afterwards."""
    node = Node()
    raw = bundle()
    check = node.application.check_tx
    assert (await check(abci_pb2.RequestCheckTx(tx=raw))).code == 0
    await node.commit(raw)
    assert (await check(abci_pb2.RequestCheckTx(tx=raw))).code == BundleCode.REPEATED
    assert (await check(abci_pb2.RequestCheckTx(tx=b"x"))).code == BundleCode.MALFORMED
    assert await node.process(raw) == REJECT
    node.application = node.made()
    assert await node.process(raw) == REJECT


async def test_proposal_of_this_node_holds_what_waits_and_may_be_ordered() -> None:
    """Within the bytes that CometBFT allows."""
    node = Node()
    good, old = bundle(), bundle(valid_until=0)
    request = abci_pb2.RequestPrepareProposal(txs=[old, good], max_tx_bytes=100_000, time=now())
    assert list((await node.application.prepare_proposal(request)).txs) == [good]
    request.max_tx_bytes = len(good)
    assert list((await node.application.prepare_proposal(request)).txs) == []


async def test_chain_begins_with_the_validators_of_its_starting_block_only() -> None:
    """InitChain may come again; other validators, or another chain, are refused."""
    node = Node()
    genesis = node.sink.blocks[0]
    validators = [
        abci_pb2.ValidatorUpdate(
            pub_key=keys_pb2.PublicKey(ed25519=each.public_key), power=each.power
        )
        for each in validators_of(node.sink.configuration)
    ]
    request = abci_pb2.RequestInitChain(
        chain_id=chain_id_of(CHANNEL, genesis), validators=validators
    )
    for _ in range(2):
        answer = await node.application.init_chain(request)
        assert answer.app_hash == compute_app_hash(genesis)
        assert list(answer.validators) == []
    for change in (
        abci_pb2.RequestInitChain(chain_id="other", validators=validators),
        abci_pb2.RequestInitChain(chain_id=request.chain_id, validators=validators[:3]),
    ):
        with pytest.raises(Divergence, match="move CometBFT's folder away"):
            await node.application.init_chain(change)


async def test_configuration_tells_cometbft_its_validators_and_sizes() -> None:
    """With the block that brings it; one that changes neither says nothing."""
    node = Node()
    (leaving,) = [
        each for each in validators_of(node.sink.configuration) if each.msp_id == "PtaMSP"
    ]
    answer = await node.commit(
        node.configuration(lambda config: remove_consenter(config, "PtaMSP"))
    )
    (update,) = answer.validator_updates
    assert (update.pub_key.ed25519, update.power) == (leaving.public_key, 0)
    assert not answer.HasField("consensus_param_updates")
    assert node.sink.configuration.sequence == 1

    def larger(config: Any) -> None:
        set_batch(config, {"absolute_max_bytes": "200000"})

    answer = await node.commit(node.configuration(larger))
    assert list(answer.validator_updates) == []
    assert answer.consensus_param_updates.block.max_bytes == 200_000 + 1024 * 1024
    same = await node.commit(
        node.configuration(lambda config: set_batch(config, {"max_message_count": "9"}))
    )
    assert list(same.validator_updates) == []
    assert not same.HasField("consensus_param_updates")


async def test_heights_that_the_ledger_holds_are_answered_as_the_first_time() -> None:
    """A CometBFT that has lost its data brings them again: nothing is written, and what comes
    behind them makes a block.
    """
    node = Node()
    leave = node.configuration(lambda config: remove_consenter(config, "PtaMSP"))
    heights: list[list[bytes]] = [[bundle()], [], [leave], [], [bundle(four_members()[1])]]
    first = [await node.commit(*raws) for raws in heights]
    assert node.sink.height == 4
    ends = [commit_hash_of(block) for block in node.sink.blocks]
    node.application = node.made()
    node.application.resume(0)
    assert node.application.is_repeating
    assert await info(node.application) == (0, compute_app_hash(node.sink.blocks[0]))
    assert [await node.commit(*raws) for raws in heights] == first
    assert [commit_hash_of(block) for block in node.sink.blocks] == ends
    assert not node.application.is_repeating
    await node.commit(bundle(four_members()[2]))
    assert node.sink.height == 5


@pytest.mark.parametrize(
    "raws", [[], [bundle(four_members()[3])]], ids=["nothing", "another bundle"]
)
async def test_other_content_at_a_height_that_the_ledger_holds_ends_the_engine(
    raws: list[bytes],
) -> None:
    """The ledger and what CometBFT brings are of two chains."""
    node = Node()
    await node.commit(bundle())
    node.application = node.made()
    node.application.resume(0)
    with pytest.raises(Divergence, match="of two chains"):
        await node.finalize(*raws)


async def test_only_cometbfts_of_consenters_are_let_in() -> None:
    """By their node ids; addresses tell nothing."""
    node = Node()
    for path, code in {
        "/p2p/filter/addr/10.0.0.1:7052": 0,
        "/p2p/filter/id/known": 0,
        "/p2p/filter/id/stranger": 1,
        "/p2p/filter/id": 1,
        "/store/key": 1,
    }.items():
        answer = await node.application.query(abci_pb2.RequestQuery(path=path))
        assert answer.code == code, path


async def test_double_signing_is_counted_by_member_once_for_each_proof() -> None:
    """However often the height is worked out."""
    node = Node()
    address = validators_of(node.sink.configuration)[0].address
    member = validators_of(node.sink.configuration)[0].msp_id
    proofs = [
        abci_pb2.Misbehavior(
            type=abci_pb2.DUPLICATE_VOTE, validator=abci_pb2.Validator(address=each), height=1
        )
        for each in (address, b"\x01" * 20)
    ]
    await node.finalize(misbehavior=proofs)
    await node.commit(misbehavior=proofs)
    await node.commit()
    assert node.application.misbehaviour == {member: 1, f"the former validator {'01' * 20}": 1}
