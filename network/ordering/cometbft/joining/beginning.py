"""With what CometBFT begins when the engine starts: its own data, the first block, or a snapshot.

    its data are there                         it goes on with them
    its data are behind the ledger             it gets the heights between again, and they are
                                               answered from the ledger (`recorded.py`)
    its data are gone, or it never had any     from its first block, if another member's CometBFT
                                               still has it; else with a snapshot (state sync)
    what is missing nobody has any more        its data are given up, and a snapshot taken

Whether its data fit the ledger shows when CometBFT has looked at them: if not, it ends, and its
last words say so (`hear`). The ledger never loses anything, nor does CometBFT forget what its key
has signed.

While CometBFT begins, a file says so, since what it has by then nobody can see from outside:

    HOME/begins     the height up to which it has everything: 0, or that of the snapshot it took

It is there before CometBFT is started with nothing, and goes with the first height that is
committed after that. A node that was killed meanwhile begins where it stopped.

For a snapshot CometBFT's light client needs a header to trust. It is taken from a proof that a
member gives for the last block of its newest snapshot, and that is verified from this node's own
genesis block on (`proofs.py`): no member is believed.

Before anything is signed the guard looks at what the consensus key may have signed
(`sign_guard.py`).

Invariants: nothing is started while it is not known what may be signed; waiting ends by being
cancelled, and `reason` says for what.

Absent: the channel's blocks before CometBFT's first one, which the solo engine has brought.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from ledger.blocks.block import Block
from ledger.errors import CorruptionError, LedgerError, Refusal, Unavailable
from network.configuration import ChannelConfiguration
from network.ordering.cometbft.blocks.ordered import comet_height_of
from network.ordering.cometbft.finality.finality import decode_record, header_hash
from network.ordering.cometbft.finality.proof_file import Recorded, decode_proof
from network.ordering.cometbft.finality.proofs import verify_proof
from network.ordering.cometbft.joining.height_claims import believed
from network.ordering.cometbft.joining.light_rpc import OtherComets, read_height
from network.ordering.cometbft.joining.relay import LightRelay
from network.ordering.cometbft.joining.sign_guard import (
    SignGuard,
    answers_needed,
    height_signed_at_most,
    write_whole,
)
from network.ordering.cometbft.joining.vote_memory import VoteMemory, ask_votes
from network.ordering.cometbft.process.home import StateSync
from network.ordering.cometbft.validators import validators_of

__all__ = ["Beginning", "BeginningChain", "HowToBegin", "With"]

logger = logging.getLogger(__name__)

With = Literal["auto", "blocks", "snapshot"]
"""With what a CometBFT that has nothing is to begin; by itself it prefers blocks."""

ASK_AGAIN_S: Final = 1.0
PATIENCE_S: Final = 30.0
"""How long members that do not answer are waited for before fewer answers must do."""
LIES_AFTER: Final = 4
"""Times of patience after which so few as may lie are not believed to have blocks."""
TRUST_PERIOD_S: Final = 10 * 365 * 24 * 3600
"""CometBFT's own limit is for validators that leave with their stakes. Here the header to trust is
proved anew each time, and a channel on which nothing happens has old headers."""

_STORE: Final = "data/blockstore.db"
_DATA: Final = ("blockstore.db", "state.db", "evidence.db", "tx_index.db", "cs.wal")
"""What CometBFT keeps in `data`, but for what its key has signed."""
_BEGINS: Final = "begins"
# CometBFT's words when its data do not fit the ledger (state/errors.go).
_BEHIND = re.compile(r"app block height \(\d+\) is higher than core \((\d+)\)")
# Its parts whose lines repeat what other nodes have said.
_ABOUT_OTHERS: Final = ("p2p: ", "pex: ", "consensus: ", "blockchain: ", "blocksync: ")
_PRUNED = re.compile(r"app block height \(\d+\) is too far below block store base")


class BeginningChain(Protocol):
    """The chain of this node, as its engine finds it."""

    @property
    def height(self) -> int:
        """Number of blocks committed."""

    @property
    def configuration(self) -> ChannelConfiguration:
        """The configuration in force after the last committed block."""

    def stored_block(self, number: int) -> Block | None:
        """Return a stored block, None if there is no such block; in a thread."""


@dataclass(frozen=True, slots=True)
class HowToBegin:
    """What CometBFT begins with.

    Attributes:
        comet_height: up to which height it has everything, for `CometApplication.resume`; None if
            that is what the ledger says.
        state_sync: how it gets a snapshot; None if it begins with blocks.
    """

    comet_height: int | None
    state_sync: StateSync | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """How far another member's CometBFT is."""

    msp_id: str
    earliest: int
    height: int


class Beginning:
    """Finds out how the CometBFT of one node begins; see the module's docstring.

    Args:
        home: CometBFT's folder.
        chain: the chain of this node.
        chain_id: of CometBFT's chain.
        marks: the folder in which its keys are, for the guard's marks.
        restored: the file that says that the node came from a backup; removed once that is dealt
            with.
        others: the CometBFTs beside the other members' nodes.
        begin_with: what is wanted where CometBFT has nothing.

    Attributes:
        reason: what is waited for, in words; empty if for nothing.
    """

    def __init__(
        self,
        home: Path,
        chain: BeginningChain,
        chain_id: str,
        marks: Path,
        restored: Path,
        others: OtherComets,
        begin_with: With = "auto",
    ) -> None:
        self.reason = ""
        self._home = home
        self._chain = chain
        self._chain_id = chain_id
        self._marks = marks
        self._restored = restored
        self._others = others
        self._begin_with = begin_with
        self._relay = LightRelay(others)
        self._tell: Callable[[str], None] = lambda _reason: None
        self._core_height: int | None = None
        self._gives_up = self._needs_snapshot_now = False
        self._begins = home / _BEGINS
        self._is_beginning = True

    async def prepare(
        self, address: bytes, tell: Callable[[str], None] = lambda _reason: None
    ) -> HowToBegin:
        """Return how CometBFT begins; waits as long as that cannot be said.

        To be called before its folder is written and before it is started.

        Args:
            address: of the validator whose key CometBFT is given.
            tell: hears for what is waited, in words.
        Raises:
            Refusal: it cannot begin at all; the message says why.
        """
        self._tell = tell
        await self._guard_signing(address)
        how = await self._decide()
        self._core_height = None
        self.reason = ""
        return how

    def hear(self, last_words: Sequence[str]) -> bool:
        """Hear CometBFT's last words; True if it ended since its data do not fit the ledger.

        Then `prepare` is to be called again before it is started again.
        """
        own = (each for each in last_words if not each.startswith(_ABOUT_OTHERS))
        words = "\n".join(own)
        if _PRUNED.search(words):
            self._give_up("they begin behind what the ledger of this node has")
            return True
        found = _BEHIND.search(words)
        if found is None:
            return False
        self._core_height = int(found[1])
        logger.warning(
            "CometBFT's data end at height %d, and the ledger of this node is further: what lies "
            "between comes again from the other members and is answered from the ledger",
            self._core_height,
        )
        return True

    async def lacks_what_nobody_has(self, comet_height: Callable[[], int]) -> None:
        """Return when CometBFT stands still at a height whose next one no member has any more.

        So it is when it began while nobody answered, or this node was away for very long. Then
        `prepare` is to be called again, with CometBFT stopped. Runs until cancelled.

        Args:
            comet_height: returns how far CometBFT is.
        """
        seen, still = -1, 0
        while True:
            await asyncio.sleep(PATIENCE_S)
            before, seen = seen, comet_height()
            if seen != before or self._begin_with == "blocks":
                still = 0
                continue
            still += 1
            begun = [each for each in await self._ask_all() if each.height > 0]
            having = sum(each.earliest <= seen + 1 for each in begun)
            faulty = (len(validators_of(self._chain.configuration)) - 1) // 3
            # Who says for long that it has them and gives none may lie.
            lacking = not having or (still >= LIES_AFTER and having <= min(faulty, len(begun) - 1))
            if begun and comet_height() == seen and lacking:
                self._give_up("no other member has the blocks behind them any more, or gives them")
                return

    def _give_up(self, why: str) -> None:
        logger.warning("CometBFT's data are given up, and it begins with a snapshot: %s", why)
        self._gives_up = self._needs_snapshot_now = True

    def restored(self, comet_height: int) -> None:
        """Note durably that a snapshot was taken; before CometBFT hears of it."""
        write_whole(self._begins, f"{comet_height}\n".encode())

    def began(self) -> None:
        """Hear that a height was committed: CometBFT has data of its own."""
        if self._is_beginning:
            self._begins.unlink(missing_ok=True)
            self._is_beginning = False

    async def stop(self) -> None:
        """Close what was opened for CometBFT's light client."""
        await self._relay.stop()

    # What may be signed

    async def _guard_signing(self, address: bytes) -> None:
        guard = SignGuard(self._home, self._marks, self._chain_id, address)
        height = await asyncio.to_thread(self._ordered_height)
        is_restored = self._restored.exists()
        is_lost = not guard.remembers and (
            guard.has_signed
            or height > 0
            # A folder made anew may have been given a key that has signed elsewhere.
            or any(each.height for each in await self._ask_all())
        )
        if is_lost or is_restored:
            await self._raise_guard(guard, height, address)
            self._restored.unlink(missing_ok=True)
        await asyncio.to_thread(guard.set_mark)

    async def _raise_guard(self, guard: SignGuard, ordered: int, address: bytes) -> None:
        known = validators_of(self._chain.configuration)
        validators = len(known)
        if validators == 1:
            raise Refusal(
                "CometBFT's data are lost, and this member is the only one that orders: nobody has "
                "its blocks or knows what was signed. Restore the folder comet from a copy"
            )
        now = asyncio.get_running_loop().time
        patient_until = now() + PATIENCE_S
        while True:
            answers = await believed(
                await self._ask_votes(address), self._others, self._chain_id, known
            )
            needed = answers_needed(validators, patient=now() < patient_until)
            if len(answers) >= min(needed, validators - 1):
                break
            self._wait_for(
                f"what this node's consensus key has signed is not known any more, and {needed} "
                f"other members must say how far the chain is before it signs again: "
                f"{len(answers)} answer"
            )
            await asyncio.sleep(ASK_AGAIN_S)
        height = max(ordered, height_signed_at_most(answers, validators))
        await asyncio.to_thread(guard.sign_above, height)
        logger.warning(
            "what this node's consensus key has signed is not known any more, so it signs nothing "
            "up to CometBFT's height %d; %s are at height %d at most",
            height,
            ", ".join(each.msp_id for each in answers),
            max(each.height for each in answers),
        )

    async def _ask_votes(self, address: bytes) -> list[VoteMemory]:
        """Ask every other member's CometBFT what it remembers; return what came in time."""

        async def ask(msp_id: str) -> VoteMemory | None:
            try:
                return await ask_votes(self._others, msp_id, address)
            except LedgerError as error:
                logger.debug("%s does not say how its votes stand: %s", msp_id, error)
                return None

        found = await asyncio.gather(*(ask(each) for each in self._others.msp_ids()))
        return [each for each in found if each is not None]

    def _ordered_height(self) -> int:
        """Return CometBFT's height of the last block, 0 if CometBFT did not order it."""
        number = self._chain.height - 1
        block = self._chain.stored_block(number)
        if block is None:
            raise CorruptionError(f"block {number} is missing; run fsck on the ledger")
        return comet_height_of(block)

    # What it begins with

    async def _decide(self) -> HowToBegin:
        if self._gives_up:
            await asyncio.to_thread(_remove_data, self._home)
            self._gives_up = False
        begun = self._begun_at()
        if begun is None and self._core_height is not None:
            return HowToBegin(self._core_height)
        if begun is None and (self._home / _STORE).exists():
            return HowToBegin(None)
        how = await self._with_nothing(begun or 0)
        await asyncio.to_thread(self.restored, begun or 0)
        self._is_beginning = True
        return how

    def _begun_at(self) -> int | None:
        """Return what CometBFT has if it is still beginning, else None."""
        try:
            return int(self._begins.read_text())
        except FileNotFoundError:
            return None

    async def _with_nothing(self, comet_height: int) -> HowToBegin:
        """Return how a CometBFT begins that has nothing, or nothing but a snapshot perhaps."""
        while True:
            answers = await self._ask_all()
            if not comet_height and not self._needs_snapshot(answers):
                return HowToBegin(0)
            try:
                return HowToBegin(comet_height, await self._state_sync(answers))
            except (Unavailable, Refusal) as error:
                self._wait_for(
                    "this node's CometBFT begins with a snapshot, since no other member's has the "
                    f"first block any more or since it is to, and none can be had yet: {error}"
                )
            await asyncio.sleep(ASK_AGAIN_S)

    def _needs_snapshot(self, answers: Sequence[_Answer]) -> bool:
        if self._begin_with == "blocks":
            return False
        begun = [each for each in answers if each.height > 0]
        if not begun:
            # Somebody must be the first to start, but not where its blocks were pruned already.
            return self._needs_snapshot_now and not answers
        wanted = self._begin_with == "snapshot" or self._needs_snapshot_now
        return wanted or all(each.earliest > 1 for each in begun)

    async def _state_sync(self, answers: Sequence[_Answer]) -> StateSync:
        """Return how CometBFT gets a snapshot, with a header that was proved."""
        problem: LedgerError = Unavailable("nobody gives one" if answers else "nobody answers")
        genesis = await asyncio.to_thread(self._chain.stored_block, 0)
        assert genesis is not None
        for each in answers:
            try:
                raw = await self._others.prove(each.msp_id)
                height, trusted = await asyncio.to_thread(_trusted_header, genesis, raw)
            except (Unavailable, Refusal) as error:
                logger.warning("%s proves no snapshot: %s", each.msp_id, error)
                problem = error
                continue
            having = [a.msp_id for a in answers if a.earliest < height < a.height]
            if not having:
                problem = Unavailable(f"no member has the headers around height {height}")
                continue
            await self._relay.start()
            # A light client asks two; where one alone has the headers, it stands for both.
            servers = self._relay.servers(having if len(having) > 1 else having * 2)
            logger.info(
                "CometBFT begins with a snapshot; the header of height %d, which %s proved from "
                "the genesis block on, is what its light client trusts",
                height, each.msp_id,
            )  # fmt: skip
            return StateSync(servers, height, trusted, TRUST_PERIOD_S)
        raise problem

    async def _ask_all(self) -> list[_Answer]:
        """Ask every other member's CometBFT how far it is; return what came in time."""
        found = await asyncio.gather(*(self._ask(each) for each in self._others.msp_ids()))
        return [each for each in found if each is not None]

    async def _ask(self, msp_id: str) -> _Answer | None:
        try:
            status = await self._others.ask(msp_id, "status", {})
            sync = status["sync_info"]
            return _Answer(
                msp_id,
                read_height(sync["earliest_block_height"]),
                read_height(sync["latest_block_height"]),
            )
        except LedgerError as error:
            logger.debug("%s does not say how far its CometBFT is: %s", msp_id, error)
        except (KeyError, TypeError, ValueError):
            logger.warning("%s does not answer as CometBFT does", msp_id)
        return None

    def _wait_for(self, reason: str) -> None:
        if reason != self.reason:
            logger.warning("%s", reason)
            self._tell(reason)
        self.reason = reason


def _trusted_header(genesis: Block, raw: bytes) -> tuple[int, bytes]:
    """Return height and hash of the header by which a proof proves its block.

    Raises:
        Refusal: it proves nothing, or by no header of its own.
    """
    proved = verify_proof(genesis, raw)
    rests_on = decode_proof(raw).target.rests_on
    if not isinstance(rests_on, Recorded):
        raise Refusal(f"block {proved.block.number} was not proved by a record of its own")
    return proved.comet_height + 1, header_hash(decode_record(rests_on.record).header)


def _remove_data(home: Path) -> None:
    (home / _BEGINS).unlink(missing_ok=True)
    for name in _DATA:
        path = home / "data" / name
        if path.exists():
            shutil.rmtree(path)
