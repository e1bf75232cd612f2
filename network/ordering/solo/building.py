"""What the sequencer does in its threads: check envelopes, make and sign blocks.

Everything is judged twice: when an envelope arrives, and again when its block is built if another
configuration came into force meanwhile. So of two configuration updates that were on their way
together the second is made anew from the configuration that the first one left; it is refused, with
the reason, if it rests on what the first one changed (Fabric, orderer/consensus/etcdraft/chain.go
`ordered`).

Invariants: pure but for clock, nonces and signatures; safe to call from any thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from network.errors import OrderingRefusal
from network.msp import SigningIdentity
from network.ordering.admission import Admission
from network.ordering.block_signature import sign_block
from network.ordering.ports import BlockSink, Clock
from network.ordering.reconfiguration import make_configuration

__all__ = ["BlockBuilder", "Submission"]


@dataclass(slots=True, eq=False)
class Submission:
    """An envelope on its way, and whoever waits for its place in the order.

    Attributes:
        envelope: as it was sent.
        since: when, on the loop's clock.
        done: set when its block is durable, or it is refused.
        sequence: of the configuration it was admitted under.
        alone: whether it makes a block of its own: a configuration update does.
    """

    envelope: bytes
    since: float
    done: asyncio.Future[None]
    sequence: int = -1
    alone: bool = False

    @property
    def size_bytes(self) -> int:
        """Length of the envelope as it was sent."""
        return len(self.envelope)


class BlockBuilder:
    """Checks envelopes and makes blocks of them under the configuration in force.

    Args:
        sink: this node's committer.
        signer: the node's identity.
        clock: what certificates' expiry is compared with, and the time of configurations.
    """

    def __init__(self, sink: BlockSink, signer: SigningIdentity, clock: Clock) -> None:
        self._sink = sink
        self._signer = signer
        self._clock = clock
        self._admission = Admission(sink.channel_id, lambda: sink.configuration, clock)

    def check(self, batch: Sequence[Submission]) -> list[OrderingRefusal | None]:
        """Check envelopes, updates as far as the configuration they give; None for the admitted."""
        return [self._checked(submission)[1] for submission in batch]

    def _checked(self, submission: Submission) -> tuple[bytes, OrderingRefusal | None]:
        """Return what goes into a block for an envelope, or why nothing does."""
        current = self._sink.configuration
        submission.sequence = current.sequence
        try:
            submission.alone = self._admission.check(submission.envelope)
            if not submission.alone:
                return submission.envelope, None
            # Not kept until the block is built: updates that wait must not fill the memory.
            made = make_configuration(current, submission.envelope, self._signer, self._clock.now())
            self._admission.check_made(made)
        except OrderingRefusal as refusal:
            return b"", refusal
        return made, None

    def build(
        self, submissions: Sequence[Submission], number: int, previous_hash: bytes
    ) -> tuple[Block | None, list[OrderingRefusal | None]]:
        """Make and sign the next block of what the configuration in force admits.

        Args:
            submissions: any number of envelopes, or one update alone.
            number: of the block.
            previous_hash: header hash of the one before it.
        Returns:
            the block, None if nothing is left for it; and for each submission why it is not in it.
        """
        sequence = self._sink.configuration.sequence
        checked = [
            (each.envelope, None)
            if each.sequence == sequence and not each.alone
            else self._checked(each)
            for each in submissions
        ]
        verdicts = [refusal for _, refusal in checked]
        data = tuple(envelope for envelope, refusal in checked if refusal is None)
        if not data:
            return None, verdicts
        header = BlockHeader(number, previous_hash, compute_data_hash(data))
        last_config = number if submissions[0].alone else self._sink.last_config_block
        return sign_block(header, data, self._signer, last_config), verdicts
