"""Taking a recording through our own validation, block by block, until something differs.

    read → encoding → whole-block checks → orderers' signatures → metadata
    → verdicts, MVCC, commit hash → compare with what the peer recorded → commit

Invariants: the ledger begins empty or holds an earlier part of the same recording; a block is
committed only when nothing in it differed, or when the recording says nothing about it; the first
difference ends the replay.

The signatures of one block are verified while the block before it is judged and written.

Absent: private data. Their hashes are in the blocks, and nothing that is compared needs more.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ledger.blocks.block import METADATA_ENTRIES, Block
from ledger.blocks.structure import (
    is_config_block,
    verify_block_structure,
    verify_envelope_canonical,
)
from ledger.channel import ChannelLedger
from ledger.errors import BlockError
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration, config_of_block
from nodes.committer.committer import Committer, LookAhead, write_genesis
from nodes.committer.signatures import SignaturePool
from nodes.replay.delivered import Outcome, read_block, read_outcome, verify_metadata
from nodes.replay.difference import Difference, Disagreement, RecordingError, Recount
from nodes.replay.orderers import Orderers, remarks_on_orderers
from nodes.replay.reasons import explain_hash, explain_verdict
from nodes.replay.recording import DeliveredBlock, Recording
from nodes.replay.support import follow_update, verify_rules, verify_supported

__all__ = ["Replay", "Totals"]

_NOTHING = Outcome(None, b"")


@dataclass(slots=True)
class Totals:
    """What a run has seen so far.

    Attributes:
        codes: our verdicts, and how often.
        compared: transactions whose code the recording carries, too.
        hashes_compared: blocks whose commit hash it carries.
        seconds: since the run began.
    """

    blocks: int = 0
    transactions: int = 0
    codes: Counter[TxValidationCode] = field(default_factory=Counter)
    compared: int = 0
    hashes_compared: int = 0
    seconds: float = 0.0


class Replay:
    """One run over a recording.

    Args:
        recording: the blocks.
        ledger: empty, or with the first blocks of the same chain.
        signatures: the threads that verify.
        after_block: called with the number of each block that was committed; it may raise
            Disagreement.

    Attributes:
        totals: of this run.
        channel_id: known from the genesis block on.
    """

    def __init__(
        self,
        recording: Recording,
        ledger: ChannelLedger,
        signatures: SignaturePool,
        after_block: Callable[[int], None] | None = None,
    ) -> None:
        self._recording = recording
        self._ledger = ledger
        self._signatures = signatures
        self._after_block = after_block or (lambda number: None)
        self._committer: Committer | None = None
        self._orderers = Orderers()
        self._looked: tuple[DeliveredBlock, Block, LookAhead] | None = None
        self.totals = Totals()
        self.channel_id = ""

    @property
    def is_rehearsal(self) -> bool:
        """Whether the channel says that it is one; known from the genesis block on."""
        return self._committer is not None and self._committer.configuration.is_rehearsal

    def run(self) -> Iterator[Recount]:
        """Judge one block after another; the last one yielded may carry the difference.

        Raises:
            RecordingError: the blocks cannot be read, or do not begin with a genesis block.
            UnsupportedChannel: the channel follows rules that are not here.
            ConfigurationError, PolicyError: its genesis block does, or is broken.
            Fatal: our own ledger failed.
        """
        began = time.perf_counter()
        stored = self._ledger.height
        if stored:
            self._open()
        for number, (delivered, following) in enumerate(_with_following(self._recording)):
            if number < stored:
                recount = self._compare_stored(number, delivered)
                if recount is None:
                    continue
            else:
                recount = self._replay(number, delivered, following)
            self.totals.seconds = time.perf_counter() - began
            yield recount
            if recount.difference is not None:
                return

    def _open(self) -> Committer:
        self._committer = Committer(self._ledger, self._signatures, follow_update)
        self.channel_id = self._committer.configuration.channel_id
        return self._committer

    def _compare_stored(self, number: int, delivered: DeliveredBlock) -> Recount | None:
        """Return a difference if a block that was replayed before is now another one."""
        stored = self._ledger.block(number)
        try:
            block = read_block(delivered, number)
        except Disagreement as found:
            return _recount(number, (), b"", _NOTHING, [], found.difference)
        if stored is not None and block.header == stored.header:
            return None
        difference = Difference(
            number,
            "the ledger that was kept",
            "another block of this number was replayed before",
            delivered.place,
            detail=("give a new folder to --ledger, or the recording that it was made of",),
        )
        return _recount(number, (), b"", _NOTHING, [], difference)

    def _replay(
        self, number: int, delivered: DeliveredBlock, following: DeliveredBlock | None
    ) -> Recount:
        """Judge one block; what differs comes back in the recount.

        The signatures of the *following* block are verified meanwhile.
        """
        outcome, commit_hash = _NOTHING, b""
        codes: tuple[TxValidationCode, ...] = ()
        remarks: list[str] = []
        difference: Difference | None = None
        try:
            block, ahead = self._taken_up(number, delivered)
            if number == 0:
                outcome, codes = self._begin(block, delivered.place)
                remarks += self._remarks_on_configuration()
                self._after_block(0)
            else:
                committer = self._committer
                assert committer is not None
                outcome = self._verify_delivered(block, committer, remarks)
                self._look_ahead(number + 1, following)
                staged = committer.stage(block, ahead=ahead)
                verify_rules(number, committer.unsatisfied)
                codes, commit_hash = staged.prepared.codes, staged.prepared.commit_hash
                if outcome.codes is not None and bytes(codes) != outcome.codes:
                    raise Disagreement(
                        explain_verdict(
                            staged.prepared,
                            outcome,
                            committer.configuration,
                            self._ledger,
                            self._signatures,
                        )
                    )
                if outcome.commit_hash not in (b"", commit_hash):
                    raise Disagreement(explain_hash(staged.prepared, outcome.commit_hash))
                committer.write(staged)
                if staged.configuration is not None:
                    remarks += self._remarks_on_configuration()
                self._after_block(number)
        except Disagreement as found:
            difference = found.difference
        self._add(codes, outcome)
        return _recount(number, codes, commit_hash, outcome, remarks, difference)

    def _taken_up(
        self, number: int, delivered: DeliveredBlock
    ) -> tuple[Block, Sequence[LookAhead]]:
        """Return the block, read before or now, and what was begun of it."""
        looked, self._looked = self._looked, None
        if looked is not None and looked[0] is delivered:
            return looked[1], (looked[2],)
        return read_block(delivered, number), ()

    def _look_ahead(self, number: int, following: DeliveredBlock | None) -> None:
        """Read the following block and begin with it; what is wrong with it is said in its turn."""
        if following is None or self._committer is None:
            return
        try:
            block = read_block(following, number)
        except Disagreement:
            return
        self._looked = following, block, self._committer.look_ahead(block.data)

    def _verify_delivered(self, block: Block, committer: Committer, remarks: list[str]) -> Outcome:
        """Check the block as a whole, as a peer does on arrival, and all that stands around it."""
        number = self._ledger.height
        configuration = committer.configuration
        _verify_structure(block, number, self._ledger.last_header_hash)
        last_config = number if is_config_block(block) else committer.last_config_block
        remarks += verify_metadata(block, last_config)
        remarks += self._orderers.verify(block, configuration)
        return read_outcome(block)

    def _remarks_on_configuration(self) -> list[str]:
        """Say what no peer checks of the configuration in force, and its orderers would."""
        assert self._committer is not None
        return remarks_on_orderers(self._committer.configuration)

    def _begin(self, block: Block, place: str) -> tuple[Outcome, tuple[TxValidationCode, ...]]:
        """Take the genesis block, which is trusted: nobody signs it."""
        if block.number != 0:
            raise RecordingError(
                f"{place} is block {block.number}; a replay begins with the genesis block, number "
                "0: give all blocks from there on"
            )
        missing = METADATA_ENTRIES - len(block.metadata)
        block = replace(block, metadata=(*block.metadata, *[b""] * missing))
        if config_of_block(block) is None:
            raise RecordingError(f"{place} holds no channel configuration: it is no genesis block")
        verify_metadata(block, 0)
        outcome = read_outcome(block)
        _verify_structure(block, 0, b"")
        verify_supported(ChannelConfiguration.from_block(block), 0)
        codes = (TxValidationCode.VALID,)
        if outcome.commit_hash or outcome.codes not in (None, bytes(codes)):
            theirs = f"codes {(outcome.codes or b'').hex()}, hash {outcome.commit_hash.hex()}"
            raise Disagreement(
                Difference(
                    0,
                    "outcome of the genesis block",
                    "code 00, no commit hash",
                    theirs,
                    "metadata entries 2 and 4",
                )
            )
        write_genesis(self._ledger, block)
        self._open()
        return outcome, codes

    def _add(self, codes: Sequence[TxValidationCode], outcome: Outcome) -> None:
        self.totals.blocks += 1
        self.totals.transactions += len(codes)
        self.totals.codes.update(codes)
        self.totals.compared += len(codes) if outcome.codes is not None else 0
        self.totals.hashes_compared += 1 if outcome.commit_hash else 0


def _with_following(
    recording: Iterable[DeliveredBlock],
) -> Iterator[tuple[DeliveredBlock, DeliveredBlock | None]]:
    """Yield each block with the one behind it; that of the last is None, or cannot be read."""
    blocks = iter(recording)
    current = next(blocks, None)
    while current is not None:
        failure: RecordingError | None = None
        following: DeliveredBlock | None = None
        try:
            following = next(blocks, None)
        except RecordingError as error:
            # What comes before it is judged first.
            failure = error
        yield current, following
        if failure is not None:
            raise failure
        current = following


def _verify_structure(block: Block, number: int, previous_hash: bytes) -> None:
    """Check the block as a whole, and name the part that is wrong."""
    try:
        verify_block_structure(block, number, previous_hash)
    except BlockError as error:
        check, place = _wrong_part(block, number, previous_hash)
        raise _refused(number, check, error, tx_num=place) from error


def _wrong_part(block: Block, number: int, previous_hash: bytes) -> tuple[str, int | None]:
    """Name what broke a rule of the whole block, and the transaction if it was one."""
    if block.number != number:
        return "number in the header", None
    if block.header.previous_hash != previous_hash:
        return "previous hash in the header", None
    if len(block.metadata) < METADATA_ENTRIES:
        return "metadata entries", None
    if not block.data:
        return "data of the block", None
    if not is_config_block(block):
        for place, raw in enumerate(block.data):
            try:
                verify_envelope_canonical(raw)
            except BlockError:
                return "form of an envelope", place
    return "data hash in the header", None


def _refused(
    number: int, check: str, error: BlockError, key: str = "", tx_num: int | None = None
) -> Disagreement:
    """Return the difference that a refusal is: the peer has committed the block."""
    return Disagreement(
        Difference(number, check, f"refused: {error}", "committed by the peer", key, tx_num)
    )


def _recount(
    number: int,
    codes: Sequence[TxValidationCode],
    commit_hash: bytes,
    outcome: Outcome,
    remarks: Sequence[str],
    difference: Difference | None,
) -> Recount:
    return Recount(
        number,
        _tally(codes),
        None if outcome.codes is None else _tally(outcome.codes),
        commit_hash.hex(),
        outcome.commit_hash.hex(),
        len(codes),
        tuple(remarks),
        difference,
    )


def _tally(codes: Iterable[int]) -> dict[str, int]:
    counted = Counter(codes)
    return {TxValidationCode(code).name: counted[code] for code in sorted(counted)}
