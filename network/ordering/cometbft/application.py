"""The application: what CometBFT's transactions mean on this channel, answered through ABCI.

    CheckTx          rules and quota (`rules.py`, `quota.py`); the committer begins with signatures
    PrepareProposal  a fair choice of what waits (`selection.py`)
    ProcessProposal  the rules again, all of them, whoever proposes; its outcome is begun with
    FinalizeBlock    bundles of one height → one Fabric block → its outcome; nothing is written
    Commit           block, verdicts, state and CometBFT's height become durable in one write

A height without bundles makes no block and leaves the app hash as it is; it is not written either:
after a crash CometBFT brings such heights again.

Invariants:
- FinalizeBlock gives the same however often it comes: it rests on what is committed alone.
- Bytes of others never end this application: a proposal that cannot be judged is rejected.
- An error that is ours is raised, and ends the engine (`server.py`): a node that does not know what
  it answers must not be asked again.
- A height that the ledger holds already is answered from there (`recorded.py`).

Absent: snapshots (`snapshots.py`), the process and its sockets (`engine.py`).

Source: CometBFT v0.38, spec/abci/abci++_methods.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from ledger.blocks.block import Block
from ledger.errors import LedgerError
from network.configuration import ChannelConfiguration
from network.errors import Divergence
from network.ordering.cometbft.blocks.app_hash import app_hash_version, compute_app_hash
from network.ordering.cometbft.blocks.begun import BegunBundles
from network.ordering.cometbft.blocks.decided import Decided
from network.ordering.cometbft.blocks.ordered import make_block
from network.ordering.cometbft.blocks.recorded import RecordedHeights
from network.ordering.cometbft.bundles.bundle import Bundle, BundleCode, BundleError
from network.ordering.cometbft.bundles.quota import Quotas
from network.ordering.cometbft.bundles.rules import BundleRules
from network.ordering.cometbft.bundles.waiting import WaitingBundles
from network.ordering.cometbft.bundles.window import SeenBundles
from network.ordering.cometbft.changes import tell_changes
from network.ordering.cometbft.genesis import APP_VERSION, chain_id_of
from network.ordering.cometbft.joining.snapshot_answers import SnapshotAnswers
from network.ordering.cometbft.joining.snapshots import Snapshots
from network.ordering.cometbft.messages import abci_pb2
from network.ordering.cometbft.validators import validators_of
from network.ordering.ports import Clock, StagingSink

__all__ = ["CometApplication", "Standing"]

_ACCEPT: Final = abci_pb2.ResponseProcessProposal.ACCEPT
_REJECT: Final = abci_pb2.ResponseProcessProposal.REJECT
_REFUSED_PEER: Final = 1
_AT_ONCE_BYTES: Final = 128 * 1024
"""Of bundles that are looked at on the loop; hashing that takes less than a hop between threads."""

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """The chain as the block to come finds it (`rules.Standing`)."""

    channel_id: str
    configuration: ChannelConfiguration
    height: int
    seen: SeenBundles


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A proposal that is staged before it is decided on; None comes if it cannot be."""

    block_hash: bytes
    task: asyncio.Task[Decided | None]


class CometApplication(SnapshotAnswers):
    """Implements `network.ordering.cometbft.ports.Application` for one channel.

    Args:
        sink: this node's committer.
        starting: the block in which CometBFT's chain begins (`genesis.starting_block`).
        clock: what certificates of bundles that wait are compared with.
        may_connect: whether the CometBFT of that node id may.
        snapshots: what is given to joining nodes, and taken; None without any.
        on_committed: told of each height after it is committed, on the loop.
        retain: tells from which height on CometBFT must keep its own blocks, when it has
            committed one (`retention.py`).
        patience_s: how long after a height a proposal that would be empty waits for a bundle.

    Attributes:
        rules: judge bundles.
        quotas: what waits, by member.
        misbehaviour: proven double signing, by MSP id.
    """

    def __init__(
        self,
        sink: StagingSink,
        starting: Block,
        clock: Clock,
        *,
        rules: Callable[[Callable[[], Standing]], BundleRules],
        may_connect: Callable[[str], bool],
        snapshots: Snapshots | None,
        on_committed: Callable[[Decided], None],
        retain: Callable[[int], int],
        patience_s: float = 0.0,
    ) -> None:
        super().__init__(snapshots)
        self._sink = sink
        self._starting = starting
        self._seen = SeenBundles(0)
        self._recorded = RecordedHeights(starting.number, sink.stored_block)
        self._clock = clock
        self._may_connect = may_connect
        self._on_committed = on_committed
        self._retain = retain
        self.rules = rules(self._standing)
        self.quotas = Quotas()
        self.misbehaviour: Counter[str] = Counter()
        self._begun = BegunBundles(sink)
        self._waiting = WaitingBundles(patience_s)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="bundles")
        self._comet_height = 0
        self._durable = 0
        self._app_hash = b""
        self._decided: Decided | None = None
        self._ahead: _Ahead | None = None
        self._misbehaved: list[abci_pb2.Misbehavior] = []
        self.resume()

    def resume(self, comet_height: int | None = None) -> None:
        """Go on from the ledger's last block; reads from the disk, as making an application does.

        Args:
            comet_height: what CometBFT is told that it need not bring again, at most the ledger's;
                0 if it has lost its data.
        """
        height = self._sink.height
        self._durable = self._recorded.last(height)
        self._comet_height = self._durable if comet_height is None else comet_height
        self._app_hash = self._recorded.app_hash_at(self._comet_height, height)
        self._seen = SeenBundles.from_blocks(height, self._recorded.block)
        self._ahead = None
        self._decided = None

    async def restored(self, comet_height: int) -> None:
        """Go on from a height of CometBFT, after a snapshot was taken."""
        await self._in_thread(lambda: self.resume(comet_height))

    def close(self) -> None:
        """Give back the threads."""
        self._threads.shutdown(wait=False)

    @property
    def comet_height(self) -> int:
        """The last height that was committed, empty ones counted."""
        return self._comet_height

    @property
    def is_repeating(self) -> bool:
        """Whether CometBFT brings heights whose blocks the ledger holds."""
        return self._comet_height < self._durable

    def _standing(self) -> Standing:
        sink = self._sink
        return Standing(sink.channel_id, sink.configuration, sink.height, self._seen)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _judging(self, raws: Sequence[bytes], work: Callable[[], _T]) -> _T:
        """Do work about bundles: at once if each was judged before, so that little is left."""
        if sum(map(len, raws)) <= _AT_ONCE_BYTES:
            bundle_ids = [hashlib.sha256(raw).digest() for raw in raws]
            if self.rules.has_judged(bundle_ids) and self._begun.has(bundle_ids):
                return work()
        return await self._in_thread(work)

    # Beginning

    async def info(self, request: abci_pb2.RequestInfo) -> abci_pb2.ResponseInfo:
        """Return height and app hash from which CometBFT goes on."""
        # CometBFT has begun anew, so its pool is empty.
        self.quotas.clear()
        self._waiting.clear()
        return abci_pb2.ResponseInfo(
            data="qist",
            app_version=APP_VERSION,
            last_block_height=self._comet_height,
            last_block_app_hash=self._app_hash,
        )

    async def init_chain(self, request: abci_pb2.RequestInitChain) -> abci_pb2.ResponseInitChain:
        """Check that CometBFT begins the chain that this channel has.

        Raises:
            Divergence: it begins another one.
        """
        configuration = ChannelConfiguration.from_block(self._starting)
        chain_id = chain_id_of(self._sink.channel_id, self._starting)
        expected = {each.public_key: each.power for each in validators_of(configuration)}
        given = {each.pub_key.ed25519: each.power for each in request.validators}
        if (request.chain_id, given) != (chain_id, expected):
            raise Divergence(
                f"CometBFT begins the chain {request.chain_id} with {len(given)} validators, and "
                f"block {self._starting.number} of this channel gives {chain_id} with "
                f"{len(expected)}: move CometBFT's folder away and start the node again"
            )
        return abci_pb2.ResponseInitChain(app_hash=compute_app_hash(self._starting))

    async def query(self, request: abci_pb2.RequestQuery) -> abci_pb2.ResponseQuery:
        """Tell whether another CometBFT may connect: only those of the channel's consenters."""
        words = request.path.strip("/").split("/")
        if words[:3] == ["p2p", "filter", "addr"]:
            return abci_pb2.ResponseQuery()
        if words[:3] == ["p2p", "filter", "id"] and len(words) == 4:
            if self._may_connect(words[3]):
                return abci_pb2.ResponseQuery()
            reason = f"node {words[3][:80]} is no consenter's of channel {self._sink.channel_id}"
            logger.warning("CometBFT lets nobody in: %s", reason)
            return abci_pb2.ResponseQuery(code=_REFUSED_PEER, log=reason)
        return abci_pb2.ResponseQuery(code=_REFUSED_PEER, log="there is nothing to be asked here")

    # What waits, and what is proposed

    async def check_tx(self, request: abci_pb2.RequestCheckTx) -> abci_pb2.ResponseCheckTx:
        """Tell whether a bundle may wait, and begin with it."""
        repeated = request.type == abci_pb2.RECHECK
        try:
            bundle = await self._judging([request.tx], lambda: self._check(request.tx, repeated))
        except BundleError as refused:
            logger.debug("a bundle is refused: %s", refused)
            if repeated:
                # It waited, and CometBFT drops it now.
                bundle_ids = (hashlib.sha256(request.tx).digest(),)
                self.quotas.remove(bundle_ids)
                self.rules.forget(bundle_ids)
                self._begun.forget(bundle_ids)
                self._waiting.remove(bundle_ids)
            return abci_pb2.ResponseCheckTx(code=int(refused.code), log=str(refused))
        except Exception as error:
            # Others' bytes must not stop this node; the proposal that holds them is rejected, too.
            logger.exception("a bundle cannot be judged")
            return abci_pb2.ResponseCheckTx(code=int(BundleCode.MALFORMED), log=repr(error))
        self._waiting.add(bundle.bundle_id, bundle.raw, bundle.head.valid_until)
        return abci_pb2.ResponseCheckTx()

    def _check(self, raw: bytes, repeated: bool) -> Bundle:
        bundle = self.rules.check(raw, self._clock.now(), None if repeated else self.quotas)
        self._begun.begin(bundle)
        return bundle

    async def before_proposal(self, request: abci_pb2.RequestPrepareProposal) -> None:
        """Let a proposal that would be empty wait a little for a bundle (`waiting.py`)."""
        if not request.txs:
            await self._waiting.wait()

    async def prepare_proposal(
        self, request: abci_pb2.RequestPrepareProposal
    ) -> abci_pb2.ResponsePrepareProposal:
        """Choose the bundles of this node's proposal."""
        raws, most = list(request.txs) or self._waiting.raws, request.max_tx_bytes
        try:
            time = request.time.ToDatetime(UTC)
            chosen = await self._judging(raws, lambda: self.rules.select(raws, most, time))
        except Exception:
            logger.exception("nothing is proposed: what waits cannot be judged")
            chosen = []
        if not chosen:
            # What nothing can be made of shall keep no later proposal from waiting.
            self._waiting.clear()
        return abci_pb2.ResponsePrepareProposal(txs=chosen)

    async def process_proposal(
        self, request: abci_pb2.RequestProcessProposal
    ) -> abci_pb2.ResponseProcessProposal:
        """Tell whether a proposal keeps the rules."""
        raws = list(request.txs)
        try:
            time = request.time.ToDatetime(UTC)
            bundles = await self._judging(raws, lambda: self._verify_proposal(raws, time))
        except BundleError as refused:
            self._reject(request, str(refused))
            return abci_pb2.ResponseProcessProposal(status=_REJECT)
        except Exception as error:  # noqa: BLE001  others' bytes must not stop this node
            self._reject(request, f"it could not be judged: {type(error).__name__}: {error}")
            return abci_pb2.ResponseProcessProposal(status=_REJECT)
        if bundles and not self.is_repeating:
            # While the others vote: most proposals are decided on.
            self._ahead = _Ahead(request.hash, self._stage_ahead(request.height, bundles))
        return abci_pb2.ResponseProcessProposal(status=_ACCEPT)

    def _verify_proposal(self, raws: Sequence[bytes], time: datetime) -> tuple[Bundle, ...]:
        bundles = self.rules.verify_proposal(raws, time)
        for bundle in bundles:
            self._begun.begin(bundle)
        return bundles

    def _stage_ahead(
        self, comet_height: int, bundles: Sequence[Bundle]
    ) -> asyncio.Task[Decided | None]:
        async def stage() -> Decided | None:
            try:
                return await self._stage(comet_height, bundles)
            except LedgerError as error:
                # If it is decided on all the same it is staged again, and the error counts.
                logger.debug("a proposal could not be staged ahead: %s", error)
                return None

        return asyncio.create_task(stage(), name=f"stage CometBFT's height {comet_height} ahead")

    def _reject(self, request: abci_pb2.RequestProcessProposal, reason: str) -> None:
        logger.warning(
            "the proposal of %s at CometBFT's height %d is rejected: %s",
            self._member_of(request.proposer_address),
            request.height,
            reason,
        )

    # What is decided

    async def finalize_block(
        self, request: abci_pb2.RequestFinalizeBlock
    ) -> abci_pb2.ResponseFinalizeBlock:
        """Work out what comes of a height; see the module's docstring.

        Raises:
            Divergence: it does not follow what this node has, or no honest validator can have
                accepted it.
        """
        if request.height != self._comet_height + 1:
            raise Divergence(
                f"CometBFT brings its height {request.height}, and {self._comet_height} was the "
                "last one here: its data are those of another node; move its folder away"
            )
        reconfigured = None
        if request.height <= self._durable:
            raws, height = list(request.txs), self._sink.height
            found = await self._in_thread(lambda: self._recorded.at(request.height, raws, height))
            reconfigured = found.reconfigured
            self._decided = Decided(request.height, found.app_hash)
        elif request.txs:
            before = self._sink.configuration
            self._decided = await self._decide(request)
            assert self._decided.staged is not None
            after = self._decided.staged.configuration
            reconfigured = None if after is None else (before, after)
        else:
            self._decided = Decided(request.height, self._app_hash)
        response = abci_pb2.ResponseFinalizeBlock(
            app_hash=self._decided.app_hash,
            tx_results=[abci_pb2.ExecTxResult() for _ in request.txs],
        )
        if reconfigured is not None:
            tell_changes(response, *reconfigured)
        self._misbehaved = list(request.misbehavior)
        return response

    async def _decide(self, request: abci_pb2.RequestFinalizeBlock) -> Decided:
        """Return what comes of a block, worked out already if it was proposed to this node."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.block_hash == request.hash:
            found = await ahead.task
            if found is not None:
                return found
        raws = list(request.txs)
        try:
            bundles = await self._in_thread(lambda: self.rules.open_decided(raws))
        except BundleError as broken:
            raise Divergence(
                f"CometBFT decided on a proposal at its height {request.height} that breaks the "
                f"rules ({broken}): a third of the validators or more are not honest, or run "
                "another version"
            ) from broken
        return await self._stage(request.height, bundles)

    async def _stage(self, comet_height: int, bundles: Sequence[Bundle]) -> Decided:
        sink = self._sink
        block = make_block(
            sink.height,
            sink.last_header_hash,
            bundles,
            comet_height,
            sink.last_config_block,
            app_hash_version=app_hash_version(sink.configuration),
        )
        staged = await sink.stage(block, self._begun.of(bundles))
        ids = tuple(each.bundle_id for each in bundles)
        return Decided(comet_height, compute_app_hash(staged.block), ids, staged)

    async def commit(self, request: abci_pb2.RequestCommit) -> abci_pb2.ResponseCommit:
        """Write the block of the height that was decided, if it makes one."""
        decided, self._decided = self._decided, None
        assert decided is not None, "Commit comes after FinalizeBlock"
        if decided.staged is not None:
            await self._sink.write_staged(decided.staged)
            self._durable = decided.comet_height
            self._seen.add(decided.staged.block.number, decided.bundle_ids)
            self.rules.forget(decided.bundle_ids)
            self._begun.forget(decided.bundle_ids)
            self.quotas.remove(decided.bundle_ids)
            self._waiting.remove(decided.bundle_ids)
            self.quotas.expire(self._sink.height)
            self._waiting.expire(self._sink.height)
            if decided.staged.configuration is not None:
                # CometBFT asks again about all that it has.
                self._waiting.clear()
        self._waiting.committed()
        self._comet_height = decided.comet_height
        self._app_hash = decided.app_hash
        self._count_misbehaviour()
        self._on_committed(decided)
        return abci_pb2.ResponseCommit(retain_height=self._retain(decided.comet_height))

    def _count_misbehaviour(self) -> None:
        found, self._misbehaved = self._misbehaved, []
        for each in found:
            member = self._member_of(each.validator.address)
            self.misbehaviour[member] += 1
            logger.error(
                "%s is proven to have misbehaved at CometBFT's height %d: %s; its node ran twice "
                "with one key, or lies",
                member,
                each.height,
                abci_pb2.MisbehaviorType.Name(each.type).lower().replace("_", " "),
            )

    def _member_of(self, address: bytes) -> str:
        for each in validators_of(self._sink.configuration):
            if each.address == address:
                return each.msp_id
        return f"the former validator {address.hex()}"
