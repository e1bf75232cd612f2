"""The comparison of a block's outcome with another node's names what differs."""

from __future__ import annotations

import pytest

from network.errors import Divergence
from network.ordering.ports import ExpectedOutcome
from nodes.committer.outcome import verify_outcome

HASH, OTHER = b"a" * 32, b"b" * 32


def test_outcome_that_is_the_same_passes() -> None:
    """Codes and commit hash."""
    verify_outcome(7, b"\x00\x0b", HASH, ExpectedOutcome(b"\x00\x0b", HASH))


@pytest.mark.parametrize(
    ("codes", "commit_hash", "words"),
    [
        (
            b"\x00\x00\x0b",
            HASH,
            "block 7, transaction 2: this node says VALID, the orderer says MVCC_READ_CONFLICT",
        ),
        (b"\x00\x00\xfa", HASH, "the orderer says the unknown code 250"),
        (b"\x00\x00", HASH, "verdicts on 3 transactions, the orderer on 2"),
        (b"\x00\x00\x00", OTHER, f"commit hash is {HASH.hex()}, the orderer's is {OTHER.hex()}"),
    ],
)
def test_outcome_that_differs_is_a_divergence_that_names_the_first_difference(
    codes: bytes, commit_hash: bytes, words: str
) -> None:
    """A person must be able to look at the very transaction."""
    with pytest.raises(Divergence, match="nothing of the block was written") as caught:
        verify_outcome(7, b"\x00\x00\x00", HASH, ExpectedOutcome(codes, commit_hash))
    assert words in str(caught.value)
