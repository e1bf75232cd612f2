"""What comes with a block, and later, beside its bytes: the private data of its transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ledger.errors import Refusal
from ledger.transactions.private import PrivateWrite, TxPrivate


class PrivateDataError(Refusal):
    """Private data that do not belong to the block they came with; nothing of it was committed."""


class MissingPrivate(NamedTuple):
    """A private write set that a block names and that is not held here.

    Attributes:
        eligible: whether this node is entitled to it, so that it is to be asked for.
    """

    block_num: int
    tx_num: int
    namespace: str
    collection: str
    eligible: bool


class RefusedPrivate(NamedTuple):
    """A private write set that came late and was not taken, and why."""

    block_num: int
    tx_num: int
    namespace: str
    collection: str
    reason: str


LatePrivate = tuple[int, int, PrivateWrite]
"""A private write set that came after its block: number of the block, place in it, the set."""


@dataclass(frozen=True, slots=True)
class BlockPrivate:
    """The private data known when a block is committed.

    A set that the block names and that is neither held nor missing here counts as missing and not
    eligible.

    Attributes:
        held: write sets by the number of their transaction.
        missing: those that this node should have, or need not have, and has not.
    """

    held: Mapping[int, TxPrivate] = field(default_factory=dict)
    missing: Sequence[MissingPrivate] = ()


NOTHING = BlockPrivate()
"""What comes with a block without private data."""
