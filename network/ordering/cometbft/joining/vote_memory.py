"""What another member's CometBFT remembers of one validator's votes.

A CometBFT keeps the votes of the height that it is about to decide, its own and those that others
sent. What it says is the word of one member; `sign_guard.py` says how many must say so.

Source: CometBFT v0.38 consensus/types/{round_state,height_vote_set}.go, types/vote.go (`String`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ledger.errors import DecodeError
from network.ordering.cometbft.joining.light_rpc import OtherComets, read_height

__all__ = ["VoteMemory", "ask_votes"]

_FINGERPRINT_BYTES: Final = 6
_NO_VOTE: Final = "nil-Vote"


@dataclass(frozen=True, slots=True)
class VoteMemory:
    """What one member's CometBFT says.

    Attributes:
        msp_id: the member.
        height: of its newest block.
        has_voted: whether it has a vote or a proposal of the validator for the height after, or
            cannot say.
        precommits: the most that it has for that height in one round.
    """

    msp_id: str
    height: int
    has_voted: bool
    precommits: int


async def ask_votes(others: OtherComets, msp_id: str, address: bytes) -> VoteMemory:
    """Ask a member's CometBFT about the validator of an address.

    Raises:
        Unavailable, Refusal: it does not answer, or not as CometBFT does.
    """
    # The state first: what is decided in between makes the status the higher one.
    state = await others.ask(msp_id, "consensus_state", {})
    status = await others.ask(msp_id, "status", {})
    try:
        return _read(msp_id, state["round_state"], status["sync_info"], address)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DecodeError(f"{msp_id} does not say as CometBFT does how its votes stand") from error


def _read(msp_id: str, state: Any, sync: Any, address: bytes) -> VoteMemory:
    height = read_height(sync["latest_block_height"])
    at = read_height(state["height/round/step"].split("/")[0])
    if at <= height:
        return VoteMemory(msp_id, height, True, 0)
    rounds = state["height_vote_set"]
    mark = f":{address[:_FINGERPRINT_BYTES].hex().upper()} "
    proposed = bool(state.get("proposal_block_hash")) and (
        str(state.get("proposer", {}).get("address", "")).upper() == address.hex().upper()
    )
    precommits = [sum(vote != _NO_VOTE for vote in each["precommits"]) for each in rounds]
    return VoteMemory(
        msp_id,
        at - 1,
        proposed or any(mark in vote for vote in _votes(rounds)),
        max(precommits, default=0),
    )


def _votes(rounds: Any) -> Iterator[str]:
    for each in rounds:
        yield from map(str, each["prevotes"])
        yield from map(str, each["precommits"])
