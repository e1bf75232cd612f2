"""Whether another member's word on how far the chain is may be believed.

A node whose consensus key has forgotten what it signed signs nothing up to the height that the
others name (`sign_guard.py`). A member that lies could name one that the chain never reaches, and
the key would be silent for ever. Of n = 3f + 1 members f may lie, so a height that f + 1 of them
have reached is true of one honest one. Whoever claims more shows the votes for it: a height for
which more than f validators have signed was voted on by an honest one, who had the one before.

Invariant: what an honest member says is believed as long as more than f of the validators that this
node knows still vote with the keys that it knows.

Absent: whether a height was decided (`finality.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from ledger.errors import DecodeError, LedgerError
from network.errors import FinalityError, SignatureError
from network.ordering.cometbft.finality.finality import vote_sign_bytes
from network.ordering.cometbft.finality.vote_signature import SIGNATURE_BYTES, verify_vote_signature
from network.ordering.cometbft.joining.light_rpc import OtherComets
from network.ordering.cometbft.joining.vote_memory import VoteMemory
from network.ordering.cometbft.messages import types_pb2, validator_pb2
from network.ordering.cometbft.process.conversions import parse_signed_header
from network.ordering.cometbft.validators import Validator

__all__ = ["believed"]

_MOST_VOTES: Final = 1_000

logger = logging.getLogger(__name__)


async def believed(
    answers: Sequence[VoteMemory],
    others: OtherComets,
    chain_id: str,
    validators: Sequence[Validator],
) -> list[VoteMemory]:
    """Return those of *answers* whose heights are true.

    Args:
        answers: what members say of themselves, one of each.
        others: they, who are asked for the votes.
        chain_id: of CometBFT's chain.
        validators: those that this node knows.
    """
    faulty = (len(validators) - 1) // 3
    ranked = sorted((each.height for each in answers), reverse=True)
    reached = ranked[faulty] if len(ranked) > faulty else 0
    found = []
    for each in answers:
        if each.height > reached:
            try:
                await _verify_claim(each, others, chain_id, validators, faulty)
            except LedgerError as error:
                logger.warning(
                    "%s says that it is at CometBFT's height %d, above the others, and does not "
                    "show the votes for it; its answer does not count: %s",
                    each.msp_id, each.height, error,
                )  # fmt: skip
                continue
        found.append(each)
    return found


async def _verify_claim(
    claim: VoteMemory,
    others: OtherComets,
    chain_id: str,
    validators: Sequence[Validator],
    faulty: int,
) -> None:
    """Check that more than *faulty* of the validators voted on the height that a member claims.

    Raises:
        Unavailable: the member does not answer.
        Refusal: what it answers does not show them.
    """
    answer = await others.ask(claim.msp_id, "commit", {"height": str(claim.height)})
    if not isinstance(answer, dict):
        raise DecodeError("it does not show a commit")
    commit = parse_signed_header(answer.get("signed_header")).commit
    voted = len(commit.signatures)
    if commit.height != claim.height or voted > _MOST_VOTES:
        raise FinalityError(f"its commit has {voted} votes for height {commit.height}")
    keys = {each.address: each.public_key for each in validators}
    signers = {
        entry.validator_address
        for place, entry in enumerate(commit.signatures)
        if _is_vote(commit, place, chain_id, keys.get(entry.validator_address))
    }
    if len(signers) <= faulty:
        raise FinalityError(
            f"{len(signers)} of {len(keys)} validators signed votes for it, and more than "
            f"{faulty} must have"
        )


def _is_vote(commit: types_pb2.Commit, place: int, chain_id: str, public_key: bytes | None) -> bool:
    entry = commit.signatures[place]
    if public_key is None or entry.block_id_flag == validator_pb2.BLOCK_ID_FLAG_ABSENT:
        return False
    if len(entry.signature) != SIGNATURE_BYTES:
        return False
    try:
        verify_vote_signature(public_key, vote_sign_bytes(chain_id, commit, place), entry.signature)
    except SignatureError:
        return False
    return True
