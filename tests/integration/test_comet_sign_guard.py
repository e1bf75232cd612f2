"""What a consensus key may sign after CometBFT forgot what it has signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import DecodeError
from network.ordering.cometbft.joining.sign_guard import (
    SignGuard,
    answers_needed,
    height_signed_at_most,
)
from network.ordering.cometbft.joining.vote_memory import VoteMemory, ask_votes
from network.ordering.cometbft.process.home import SIGN_STATE
from tests.support.comet_ordering import NobodyToAsk

ADDRESS = bytes(range(20))
VOTE = "Vote{0:FBEFE98AFF98 10/00/SIGNED_MSG_TYPE_PRECOMMIT(Precommit) 00 00 00 @ 2026-11-25}"
OWN_VOTE = "Vote{2:000102030405 10/01/SIGNED_MSG_TYPE_PREVOTE(Prevote) 00 00 00 @ 2026-11-25}"


def guard_in(folder: Path, chain_id: str = "qist-1", address: bytes = ADDRESS) -> SignGuard:
    (folder / "consensus").mkdir(exist_ok=True)
    return SignGuard(folder / "comet", folder / "consensus", chain_id, address)


def state_in(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "comet" / SIGN_STATE).read_text())
    return found


@pytest.mark.parametrize(
    ("validators", "patient", "impatient"), [(2, 1, 1), (3, 1, 1), (4, 3, 2), (7, 5, 3), (10, 7, 4)]
)
def test_answers_needed_outweigh_the_faulty_ones(
    validators: int, patient: int, impatient: int
) -> None:
    """2f + 1 others hold an honest one who knows, whoever lies; f + 1 do if the silent are faulty.

    Of n members at least n - f have voted for the height before the last that the key may have
    signed: n - f - 1 others, of whom f may lie. Any set of answers meets an honest one of them.
    """
    faulty = (validators - 1) // 3
    assert answers_needed(validators, patient=True) == patient
    assert answers_needed(validators, patient=False) == impatient
    if validators == 3 * faulty + 1:
        honest_who_know = validators - faulty - 1 - faulty
        assert patient + honest_who_know > validators - 1


def memory(height: int, has_voted: bool = False, precommits: int = 0) -> VoteMemory:
    return VoteMemory("PtaMSP", height, has_voted, precommits)


def test_key_votes_for_the_next_height_where_nobody_has_its_vote_for_it() -> None:
    """Nothing was under way there, or the others went on without it."""
    assert height_signed_at_most([memory(7, True), memory(9), memory(9, precommits=1)], 4) == 9


def test_key_is_kept_from_two_heights_where_it_may_have_voted() -> None:
    """Somebody has its vote, or so many others voted that its own may have decided there."""
    assert height_signed_at_most([memory(9), memory(9, has_voted=True)], 4) == 11
    assert height_signed_at_most([memory(9), memory(9, precommits=2)], 4) == 11
    assert height_signed_at_most([memory(9, precommits=2)], 5) == 9
    assert height_signed_at_most([memory(9, precommits=3)], 5) == 11


async def test_votes_are_read_as_comet_writes_them() -> None:
    """By the first six bytes of the address, in any round, of the height that is being decided."""
    state: dict[str, Any] = {
        "height/round/step": "10/1/4",
        "proposal_block_hash": "",
        "proposer": {"address": ADDRESS.hex().upper(), "index": 2},
        "height_vote_set": [
            {"round": 0, "prevotes": ["nil-Vote"] * 4, "precommits": [VOTE, VOTE, "nil-Vote"]},
            {"round": 1, "prevotes": ["nil-Vote", OWN_VOTE], "precommits": [VOTE]},
        ],
    }
    height = 9

    class Others(NobodyToAsk):
        async def ask(self, msp_id: str, method: str, params: Mapping[str, Any]) -> Any:
            if method == "consensus_state":
                return {"round_state": state}
            return {"sync_info": {"latest_block_height": str(height)}}

    async def asked() -> VoteMemory:
        return await ask_votes(Others(), "PtaMSP", ADDRESS)

    assert await asked() == VoteMemory("PtaMSP", 9, True, 2)
    state["height_vote_set"][1]["prevotes"] = [VOTE]
    assert await asked() == VoteMemory("PtaMSP", 9, False, 2)
    state["proposal_block_hash"] = "AB" * 32
    assert await asked() == VoteMemory("PtaMSP", 9, True, 2)
    height = 10
    assert await asked() == VoteMemory("PtaMSP", 10, True, 0)
    state["height_vote_set"] = [{}]
    height = 9
    with pytest.raises(DecodeError, match="PtaMSP"):
        await asked()


def test_mark_is_of_one_key_in_one_chain(tmp_path: Path) -> None:
    """Another key, and the same key in another chain, have signed nothing."""
    guard = guard_in(tmp_path)
    assert not guard.has_signed
    guard.set_mark()
    guard.set_mark()
    assert guard_in(tmp_path).has_signed
    assert not guard_in(tmp_path, chain_id="qist-2").has_signed
    assert not guard_in(tmp_path, address=bytes(20)).has_signed


def test_key_is_kept_from_all_rounds_of_the_height_and_lets_higher_ones_be(tmp_path: Path) -> None:
    """CometBFT signs nothing at or below it; what stood higher is not lowered."""
    guard = guard_in(tmp_path)
    assert not guard.remembers
    guard.sign_above(11)
    assert guard.remembers
    assert state_in(tmp_path) == {"height": "11", "round": 2**31 - 1, "step": 3}
    assert (tmp_path / "comet" / SIGN_STATE).stat().st_mode & 0o777 == 0o600
    guard.sign_above(10)
    assert state_in(tmp_path)["height"] == "11"
    guard.sign_above(12)
    assert state_in(tmp_path)["height"] == "12"


def test_what_comet_noted_itself_at_the_height_is_raised_to_its_last_round(tmp_path: Path) -> None:
    """A state of before the last round of that height would let it be signed again."""
    guard = guard_in(tmp_path)
    path = tmp_path / "comet" / SIGN_STATE
    path.parent.mkdir(parents=True)
    path.write_text('{"height": "11", "round": 0, "step": 2}')
    guard.sign_above(11)
    assert state_in(tmp_path)["round"] == 2**31 - 1
