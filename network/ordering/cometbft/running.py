"""One time at work of the engine: the application, CometBFT beside it, and who speaks to both.

    start   ABCI socket → how CometBFT begins (`beginning.py`) → its folder → its process
    stop    the reverse, so that CometBFT never asks where nobody answers

CometBFT is brought up again, by the same steps, when it is to have other settings or when its data
turn out not to fit the ledger. When it merely ends, `process.py` starts it again.

Invariants:
- While CometBFT is away, or not enough others are there, the bundler takes nothing; what is under
  way is given to CometBFT again when it is back.
- Every error that ends the work is told once, by `on_failure`.

Absent: when to start anew because of another configuration, what an error means (`engine.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ledger.blocks.block import Block
from ledger.errors import Unavailable
from network.errors import Divergence
from network.msp import SigningIdentity
from network.ordering.cometbft.abci.server import AbciServer
from network.ordering.cometbft.application import CometApplication, Standing
from network.ordering.cometbft.blocks.decided import Decided
from network.ordering.cometbft.bundles.passing import BundlePassing, GivenBundles
from network.ordering.cometbft.bundles.rules import BundleRules
from network.ordering.cometbft.bundles.submission import Bundler
from network.ordering.cometbft.finality.gaps import RecordGaps
from network.ordering.cometbft.finality.keeper import FinalityKeeper
from network.ordering.cometbft.finality.retention import KEPT_HEIGHTS, retain_height
from network.ordering.cometbft.joining.beginning import Beginning
from network.ordering.cometbft.joining.snapshots import Snapshots
from network.ordering.cometbft.ports import BundleTakers, RecordGivers
from network.ordering.cometbft.process.health import CometHealth
from network.ordering.cometbft.process.home import HomeSettings, profile_of, write_home
from network.ordering.cometbft.process.process import CometProcess, Exit, LogLine, log_line
from network.ordering.cometbft.process.rpc import CometRpc
from network.ordering.cometbft.validators import address_of, validators_of
from network.ordering.ports import Clock, ConsensusState, StagingSink
from network.ordering.reconfiguration import verify_orderable

__all__ = ["RunningComet", "divergence_in", "is_clock_behind", "last_word"]

_LOOK_EVERY_BLOCKS: Final = 100
_ASKED_AT_ONCE: Final = 2
"""Questions of other members to CometBFT that are under way at once."""

# CometBFT says so when its consensus has stopped for good; its process goes on.
_CONSENSUS_FAILED = "CONSENSUS FAILURE"
# And when more than two thirds voted for what this node's state contradicts: at a new height, at
# one that is fetched from others, and when it compares itself with the node. The first words must
# stand in its own message: the rest of a line may repeat what another node has said.
_DIVERGED = (
    (_CONSENSUS_FAILED, "wrong Block.Header."),
    # The same when it takes up again where it stopped.
    ("panic: ", "+2/3", "an invalid block: wrong Block.Header."),
    ("Error in validation", "wrong Block.Header."),
    ("state.AppHash does not match AppHash after replay",),
)
# And when they agreed on a block whose time this machine's clock has not reached by far.
_CLOCK_BEHIND = (
    (_CONSENSUS_FAILED, "an invalid block: block time", "is too far in the future"),
    ("panic: ", "+2/3", "an invalid block: block time", "is too far in the future"),
    ("Error in validation", "block time", "is too far in the future"),
)
_BRING_UP_AGAIN_S: Final = 5.0

INTERRUPTION_S: Final = 5.0
"""How long an envelope may wait, from when nothing was ordered any more, before it is refused.

A CometBFT that is started anew, with its links to the others, is usually there by then.
"""
# Lines of a Go program that broke: a place in it, and why.
_STOOD: Final = re.compile(r"\.go:[0-9]+")
_BROKE: Final = ("panic: ", "fatal error: ")


class RunningComet:
    """See the module's docstring.

    Args:
        sink: this node's committer.
        signer: the node's identity; it signs bundles.
        clock: what certificates of what waits are compared with.
        starting: the block in which CometBFT's chain begins.
        binary: CometBFT's program.
        home: its folder.
        told: what it is told.
        msp_id: this node's member.
        may_connect: whether the CometBFT of a node id may.
        beginning: says how CometBFT begins; left out, with what it has.
        snapshots: what is given to joining nodes, and taken; left out, there are none.
        records: who is asked for finality records that CometBFT does not have; left out, nobody.
        takers: who is given the bundles that this node makes; left out, nobody.
        on_failure: hears of the first error that ends the work.

    Attributes:
        told: what CometBFT was told last.
        bundler: has envelopes ordered.
        snapshots: what is given to joining nodes, and taken; None without any.
    """

    def __init__(
        self,
        sink: StagingSink,
        signer: SigningIdentity,
        clock: Clock,
        starting: Block,
        *,
        binary: Path,
        home: Path,
        told: HomeSettings,
        msp_id: str,
        may_connect: Callable[[str], bool],
        on_failure: Callable[[Exception], None],
        beginning: Beginning | None = None,
        snapshots: Snapshots | None = None,
        records: RecordGivers | None = None,
        takers: BundleTakers | None = None,
    ) -> None:
        self.told = told
        self._sink = sink
        self._binary = binary
        self._home = home
        self._on_failure = on_failure
        self._rpc = CometRpc(told.rpc_socket)
        # What others ask takes no turn of this node's own questions.
        self._asked = CometRpc(told.rpc_socket, connections=_ASKED_AT_ONCE)
        self._keeper = FinalityKeeper(self._rpc, sink, starting)
        self._gaps = (
            None
            if records is None
            else RecordGaps(records, sink, starting, until=lambda: self._keeper.behind)
        )
        profile = profile_of(told.profile)
        self._application = CometApplication(
            sink,
            starting,
            clock,
            rules=_rules,
            may_connect=may_connect,
            snapshots=snapshots,
            on_committed=self._committed,
            retain=self._retain,
            patience_s=(profile.commit_ms + profile.patience_ms) / 1000,
        )
        self._beginning = beginning
        self.snapshots = snapshots
        self._oldest_snapshot: int | None = None if snapshots is None else 0
        self._server = AbciServer(told.abci_socket, self._application, on_failure)
        self._given = GivenBundles(self._server.check)
        self._passing = None if takers is None else BundlePassing(takers, self._ordering)
        self.bundler = Bundler(
            sink,
            signer,
            clock,
            self._rpc,
            self._application.rules.adopt,
            (lambda _: None) if self._passing is None else self._passing.pass_on,
        )
        self._health = CometHealth(
            self._rpc,
            msp_id,
            lambda: validators_of(sink.configuration),
            lambda: self.bundler.unsettled,
            self._health_changed,
        )
        self._accepting = asyncio.Event()
        self._interrupted = 0.0
        self._process: CometProcess | None = None
        self._earlier_starts = 0
        self._bring_up = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin; CometBFT comes up in the background.

        Raises:
            HomeError: the socket cannot be made.
        """
        self._interrupted = asyncio.get_running_loop().time()
        await self._server.start()
        self.bundler.start()
        self._health_changed()
        self._spawn(self._health.run(), "CometBFT: health")
        self._spawn(self._keeper.run(), "CometBFT: finality records")
        if self._gaps is not None:
            self._spawn(self._gaps.run(), "CometBFT: finality records that are lacking")
        self._spawn(self._keep_up(), "CometBFT: process")

    async def stop(self) -> None:
        """Take no more, end CometBFT, then the application; may be called twice."""
        self._stopping = True
        # Whoever waits is told at once.
        self._accepting.set()
        await self.bundler.stop()
        await self._given.stop()
        if self._passing is not None:
            await self._passing.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.stop()
        if self._beginning is not None:
            await self._beginning.stop()
        await self._rpc.close()
        await self._asked.close()
        self._application.close()

    async def submit(self, envelope: bytes) -> None:
        """Have one envelope ordered, after an interruption that has just begun.

        Raises:
            OrderingRefusal, OrderingUnavailable: as `Bundler.submit`.
        """
        left_s = self._interrupted + INTERRUPTION_S - asyncio.get_running_loop().time()
        if not self._accepting.is_set() and left_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._accepting.wait()
        await self.bundler.submit(envelope)

    def take_bundle(self, msp_id: str, raw: bytes) -> None:
        """Take what the node of a member that orders gives, unless CometBFT is away."""
        if self._accepting.is_set() and not self._stopping and msp_id in self._ordering():
            self._given.take(msp_id, raw)

    def _ordering(self) -> frozenset[str]:
        return frozenset(each.msp_id for each in validators_of(self._sink.configuration))

    def restart(self, told: HomeSettings) -> None:
        """Bring CometBFT up again, with other settings."""
        self.told = told
        self._health.lost("CometBFT is started anew, with the settings of a new configuration")
        self._bring_up.set()

    async def _keep_up(self) -> None:
        """Have CometBFT run until cancelled, and end it then.

        Raises:
            Refusal: it cannot be run at all.
        """
        while True:
            self._bring_up.clear()
            told = await self._prepared()
            await asyncio.to_thread(write_home, self._home, told)
            process = self._process = CometProcess(
                self._binary,
                self._home,
                told.rpc_socket,
                on_line=self._heard,
                on_exit=self._ended_by_itself,
            )
            self._health.begins()
            watching = asyncio.create_task(self._watch_beginning(), name="CometBFT: beginning")
            try:
                await process.start()
                await self._bring_up.wait()
            finally:
                watching.cancel()
                self._process = None
                self._earlier_starts += process.restarts + 1
                await process.stop()

    async def _prepared(self) -> HomeSettings:
        """Wait until CometBFT may begin; return what it is told."""
        if self._beginning is None:
            return self.told
        address = address_of(self.told.consensus_key.public_key().public_bytes_raw())
        how = await self._beginning.prepare(address, self._health.lost)
        await asyncio.to_thread(self._application.resume, how.comet_height)
        return replace(self.told, state_sync=how.state_sync)

    async def _watch_beginning(self) -> None:
        """Bring CometBFT up again where it stands still for lack of what nobody has any more."""
        if self._beginning is None:
            return
        await self._beginning.lacks_what_nobody_has(lambda: self._application.comet_height)
        self._bring_up.set()

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of a method of CometBFT's RPC; raises as `CometRpc.call`."""
        return await self._asked.call(method, params)

    def state(self) -> ConsensusState:
        """Return how the agreement stands."""
        seen = self._health.observed
        validators = validators_of(self._sink.configuration)
        process = self._process
        height = self._application.comet_height
        return ConsensusState(
            height=height,
            round=0 if seen is None else seen.round,
            lag=0 if seen is None else max(seen.decided - height, 0),
            validators=len(validators),
            reachable=0 if seen is None else seen.reachable,
            peers=() if seen is None else seen.peers,
            misbehaviour=dict(self._application.misbehaviour),
            restarts=self._earlier_starts + (0 if process is None else process.restarts),
            unproven=self._keeper.awaited,
            unproven_why=self._keeper.problem,
            unrecorded=0 if self._gaps is None else self._gaps.missing,
            unrecorded_from=0 if self._gaps is None else self._gaps.lowest,
        )

    def _committed(self, decided: Decided) -> None:
        self._health.blame("")
        if decided.staged is not None:
            self._health.progressed()
            self.bundler.ordered(decided.staged.block.number, decided.bundle_ids)
            if decided.comet_height > KEPT_HEIGHTS:
                self._look_at_snapshots(decided.staged.block.number)
        if self._beginning is not None:
            self._beginning.began()
        self._keeper.wake(decided.comet_height)

    def _retain(self, committed: int) -> int:
        return retain_height(committed, self._keeper.recorded, self._oldest_snapshot)

    def _look_at_snapshots(self, number: int) -> None:
        """Look now and then which the oldest snapshot is; until then nothing is pruned."""
        snapshots = self.snapshots
        if snapshots is None or number % _LOOK_EVERY_BLOCKS:
            return

        async def look() -> None:
            self._oldest_snapshot = await snapshots.oldest_height()

        self._spawn(look(), "CometBFT: the oldest snapshot")

    def _health_changed(self) -> None:
        if self._stopping:
            return
        if self._health.reason:
            if self._accepting.is_set():
                self._interrupted = asyncio.get_running_loop().time()
            self._accepting.clear()
            self.bundler.pause(self._health.reason)
        else:
            self.bundler.resume()
            self._accepting.set()

    def _heard(self, line: LogLine) -> None:
        log_line(line)
        if is_clock_behind(line):
            self._health.blame(
                "the clock of this machine is a minute or more behind those of the other members, "
                "so that CometBFT does not take what they agreed on; set the clock, and this node "
                "goes on by itself"
            )
        found = divergence_in(line)
        if found:
            self._on_failure(
                Divergence(
                    "the validators agreed on another outcome than this node's: CometBFT says "
                    f"{found!r}. Compare this node's ledger with those of the other members; if it "
                    "is the one that is wrong, restore the node from a backup, without the folder "
                    "of CometBFT, which remembers the wrong outcome"
                )
            )
        elif _CONSENSUS_FAILED in line.message:
            words = without_stack(line)
            self._health.failed(f"CometBFT's consensus failed and is brought up again: {words}")
            self._spawn(self._bring_up_later(), "CometBFT: to be brought up again")

    async def _bring_up_later(self) -> None:
        """Bring CometBFT up again after a pause, in which what was wrong may end."""
        await asyncio.sleep(_BRING_UP_AGAIN_S)
        self._bring_up.set()

    def _ended_by_itself(self, ended: Exit) -> None:
        if self._beginning is not None and self._beginning.hear(ended.last_words):
            self._health.lost("CometBFT's data do not fit the ledger, and it begins again")
            self._bring_up.set()
            return
        self._health.lost(
            f"CometBFT ended and is started again in {ended.pause_s:.1f} s; the last that it said "
            f"was {last_word(ended.last_words)!r}"
        )

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Tell of work that ended by an error; one that the channel refused says so itself."""
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception) and not isinstance(error, Unavailable):
            self._on_failure(error)


def _rules(standing: Callable[[], Standing]) -> BundleRules:
    return BundleRules(standing, verify_following=verify_orderable)


def divergence_in(line: LogLine) -> str:
    """Return CometBFT's words for another state than this node's; empty if there are none."""
    shown = without_stack(line)
    return str(shown) if _says(shown, _DIVERGED) else ""


def without_stack(line: LogLine) -> LogLine:
    """Leave out where in CometBFT's program it happened, which helps no operator."""
    told = {name: value for name, value in line.fields.items() if name != "stack"}
    return replace(line, fields=told)


def is_clock_behind(line: LogLine) -> bool:
    """Tell whether CometBFT refuses what was agreed on, as it comes from its future."""
    return _says(line, _CLOCK_BEHIND)


def _says(line: LogLine, signs: Sequence[Sequence[str]]) -> bool:
    text = str(line)
    return any(
        event in line.message and all(words in text for words in rest) for event, *rest in signs
    )


def last_word(lines: Sequence[str]) -> str:
    """Return what CometBFT said last: of a program that broke, why, and not where it stood."""
    last = lines[-1] if lines else "nothing"
    if _STOOD.search(last):
        return next((each for each in reversed(lines) if each.startswith(_BROKE)), last)
    return last
