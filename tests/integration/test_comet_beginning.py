"""With what CometBFT begins, by what is there and what the other members say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger.blocks.block import Block
from ledger.errors import Refusal, Unavailable
from network.configuration import ChannelConfiguration
from network.ordering.cometbft.finality.finality import decode_record, header_hash, vote_sign_bytes
from network.ordering.cometbft.finality.proof_making import make_proof
from network.ordering.cometbft.joining import beginning
from network.ordering.cometbft.joining.beginning import Beginning, HowToBegin, With
from network.ordering.cometbft.messages import types_pb2
from network.ordering.cometbft.process.home import SIGN_STATE
from network.ordering.cometbft.process.process import LogLine
from network.ordering.cometbft.validators import validators_of
from tests.support.comet_json import signed_header_json
from tests.support.local_network import until
from tests.support.voted_chain import MEMBERS, VotedChain

OTHERS = MEMBERS[1:]
ADDRESS = bytes(20)


class Others:
    """The other members' CometBFTs: for each member the earliest and the newest height."""

    def __init__(self, chain: VotedChain, heights: Mapping[str, tuple[int, int]]) -> None:
        self.chain = chain
        self.heights = dict(heights)
        self.snapshot = 0
        self.asked = 0
        self.votes = [f"Vote{{3:{ADDRESS[:6].hex()} 15/00/SIGNED_MSG_TYPE_PREVOTE(Prevote)}}"]

    def msp_ids(self) -> Sequence[str]:
        return OTHERS

    async def ask(self, msp_id: str, method: str, params: Mapping[str, Any]) -> Any:
        self.asked += 1
        if msp_id not in self.heights:
            raise Unavailable(f"{msp_id} is away")
        if method == "commit":
            return {"signed_header": signed_header_json(self.chain.signed[int(params["height"])])}
        earliest, newest = map(str, self.heights[msp_id])
        if method == "consensus_state":
            votes = {"prevotes": self.votes, "precommits": []}
            at = f"{int(newest) + 1}/0/1"
            return {"round_state": {"height/round/step": at, "height_vote_set": [votes]}}
        assert method == "status"
        return {"sync_info": {"earliest_block_height": earliest, "latest_block_height": newest}}

    async def prove(self, msp_id: str) -> bytes:
        if not self.snapshot:
            raise Unavailable("there is no snapshot")
        return make_proof(self.chain, self.snapshot)


class Stored:
    """The chain of the node that begins."""

    def __init__(self, chain: VotedChain, height: int) -> None:
        self.blocks = chain.blocks[:height]
        self.configuration: ChannelConfiguration = chain.configuration

    @property
    def height(self) -> int:
        return len(self.blocks)

    def stored_block(self, number: int) -> Block | None:
        return self.blocks[number] if number < self.height else None


@pytest.fixture(scope="module")
def chain() -> VotedChain:
    made = VotedChain()
    while made.height < 8:
        made.transactions()
    return made


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again soon; how long is no part of what is tested."""
    monkeypatch.setattr(beginning, "ASK_AGAIN_S", 0.01)
    monkeypatch.setattr(beginning, "PATIENCE_S", 0.1)


def made(
    folder: Path, chain: VotedChain, others: Others, height: int = 1, begin_with: With = "auto"
) -> Beginning:
    (folder / "consensus").mkdir(exist_ok=True)
    return Beginning(
        folder / "comet",
        Stored(chain, height),
        chain.chain_id,
        folder / "consensus",
        folder / "restored",
        others,
        begin_with,
    )


def has_data(folder: Path) -> None:
    (folder / "comet/data/blockstore.db").mkdir(parents=True, exist_ok=True)
    (folder / "comet" / SIGN_STATE).write_text('{"height": "3", "round": 0, "step": 3}')


async def test_new_network_begins_with_its_first_block_though_nobody_answers(
    tmp_path: Path, chain: VotedChain
) -> None:
    """Somebody must be the first to start."""
    found = made(tmp_path, chain, Others(chain, {}))
    assert await found.prepare(ADDRESS) == HowToBegin(0)
    assert '"0"' in (tmp_path / "comet" / SIGN_STATE).read_text()


async def test_node_killed_before_comet_was_ever_started_asks_nobody_what_it_signed(
    tmp_path: Path, chain: VotedChain
) -> None:
    """Nothing was lost: its key signed nothing, and that was noted before it was to sign."""
    await made(tmp_path, chain, Others(chain, {})).prepare(ADDRESS)
    again = made(tmp_path, chain, Others(chain, {}))
    assert await asyncio.wait_for(again.prepare(ADDRESS), 10) == HowToBegin(0)
    assert again.reason == ""


async def test_comet_that_has_data_goes_on_and_nobody_is_asked(
    tmp_path: Path, chain: VotedChain
) -> None:
    """The usual restart costs nothing and hangs on nobody."""
    others = Others(chain, dict.fromkeys(OTHERS, (5, 9)))
    has_data(tmp_path)
    assert await made(tmp_path, chain, others, 4).prepare(ADDRESS) == HowToBegin(None)
    assert others.asked == 0


async def test_node_killed_before_its_first_height_begins_again(
    tmp_path: Path, chain: VotedChain
) -> None:
    """CometBFT's folders are there, and nothing in them; after a height they count."""
    found = made(tmp_path, chain, Others(chain, {}))
    await found.prepare(ADDRESS)
    has_data(tmp_path)
    again = made(tmp_path, chain, Others(chain, {}))
    assert await again.prepare(ADDRESS) == HowToBegin(0)
    again.began()
    assert await made(tmp_path, chain, Others(chain, {})).prepare(ADDRESS) == HowToBegin(None)


async def test_blocks_are_preferred_as_long_as_one_member_has_the_first(
    tmp_path: Path, chain: VotedChain
) -> None:
    """Whatever the others have."""
    others = Others(chain, {"OperatorMSP": (5, 14), "MakerMSP": (1, 9)})
    assert await made(tmp_path, chain, others).prepare(ADDRESS) == HowToBegin(0)


@pytest.mark.parametrize("begin_with", ["auto", "snapshot"])
async def test_snapshot_comes_with_a_header_that_is_proved_from_the_genesis_block(
    tmp_path: Path, chain: VotedChain, begin_with: With
) -> None:
    """No member is believed; the light client asks those that have the headers around it."""
    earliest = 3 if begin_with == "auto" else 1
    others = Others(
        chain, {"OperatorMSP": (earliest, 14), "MakerMSP": (earliest, 14), "PtaMSP": (9, 14)}
    )
    others.snapshot = 4
    found = made(tmp_path, chain, others, begin_with=begin_with)
    how = await found.prepare(ADDRESS)
    await found.stop()
    record = decode_record(chain.records[4])
    assert how.comet_height == 0
    assert how.state_sync is not None
    assert how.state_sync.trust_height == record.header.height == 8
    assert how.state_sync.trust_hash == header_hash(record.header)
    asked = [each.rpartition("/")[2] for each in how.state_sync.rpc_servers]
    assert asked == ["OperatorMSP", "MakerMSP"]


async def test_node_waits_for_a_snapshot_and_says_so(tmp_path: Path, chain: VotedChain) -> None:
    """Nobody has the first block, and nobody gives a snapshot yet."""
    others = Others(chain, {"OperatorMSP": (3, 14), "MakerMSP": (9, 14)})
    found = made(tmp_path, chain, others)
    preparing = asyncio.create_task(found.prepare(ADDRESS))
    await until(lambda: "there is no snapshot" in found.reason)
    others.snapshot = 4
    how = await asyncio.wait_for(preparing, 10)
    await found.stop()
    assert how.state_sync is not None
    assert len(how.state_sync.rpc_servers) == 2, "one member stands for two"
    assert found.reason == ""


async def test_node_killed_after_its_snapshot_goes_on_from_there(
    tmp_path: Path, chain: VotedChain
) -> None:
    """CometBFT may have noted what it took, or not: it is offered a snapshot again in any case."""
    others = Others(chain, dict.fromkeys(OTHERS, (3, 14)))
    others.snapshot = 4
    found = made(tmp_path, chain, others)
    await found.prepare(ADDRESS)
    await found.stop()
    found.restored(7)
    has_data(tmp_path)
    again = made(tmp_path, chain, others, 5)
    how = await again.prepare(ADDRESS)
    await again.stop()
    assert how.comet_height == 7
    assert how.state_sync is not None


async def test_data_behind_the_ledger_are_brought_up_again(
    tmp_path: Path, chain: VotedChain
) -> None:
    """CometBFT's last words say where they end, and only these words."""
    has_data(tmp_path)
    found = made(tmp_path, chain, Others(chain, {}), 4)
    assert not found.hear(["panic: something else"])
    assert found.hear(["error on replay: app block height (9) is higher than core (3)"])
    assert await found.prepare(ADDRESS) == HowToBegin(3)
    assert await found.prepare(ADDRESS) == HowToBegin(None)


async def test_data_that_begin_behind_the_ledger_are_given_up_but_not_what_was_signed(
    tmp_path: Path, chain: VotedChain
) -> None:
    """An old ledger beside pruned blocks: what lies between must come by a snapshot, as soon as
    somebody answers.
    """
    has_data(tmp_path)
    others = Others(chain, {})
    others.snapshot = 4
    found = made(tmp_path, chain, others, 2)
    words = "error on replay: app block height (1) is too far below block store base (9)"
    assert found.hear([words])
    preparing = asyncio.create_task(found.prepare(ADDRESS))
    await until(lambda: "nobody answers" in found.reason or preparing.done())
    others.heights = dict.fromkeys(OTHERS, (3, 14))
    how = await asyncio.wait_for(preparing, 10)
    await found.stop()
    assert how.comet_height == 0
    assert how.state_sync is not None
    assert not (tmp_path / "comet/data/blockstore.db").exists()
    assert (tmp_path / "comet" / SIGN_STATE).exists()


async def test_standing_still_where_nobody_has_the_next_block_begins_anew(
    tmp_path: Path, chain: VotedChain
) -> None:
    """As long as one member has it, or height after height comes, nothing is given up."""
    has_data(tmp_path)
    others = Others(chain, dict.fromkeys(OTHERS, (5, 14)) | {"MakerMSP": (4, 14)})
    found = made(tmp_path, chain, others, 2)
    others.snapshot = 4
    watching = asyncio.create_task(found.lacks_what_nobody_has(lambda: 3))
    await until(lambda: others.asked >= 2 * len(OTHERS))
    assert not watching.done()
    others.heights["MakerMSP"] = (5, 14)
    await asyncio.wait_for(watching, 10)
    how = await found.prepare(ADDRESS)
    await found.stop()
    assert how.state_sync is not None


async def test_member_that_only_says_that_it_has_the_blocks_keeps_no_node_from_a_snapshot(
    tmp_path: Path, chain: VotedChain
) -> None:
    """After a long while, and no more of them than may lie: where two have them they will come."""
    others = Others(chain, dict.fromkeys(OTHERS, (5, 14)) | {"MakerMSP": (1, 14)})
    others.snapshot = 4
    found = made(tmp_path, chain, others)
    assert (await found.prepare(ADDRESS)).state_sync is None
    others.heights["PtaMSP"] = (1, 14)
    watching = asyncio.create_task(found.lacks_what_nobody_has(lambda: 0))
    asked = others.asked
    await until(lambda: others.asked >= asked + 3 * beginning.LIES_AFTER * len(OTHERS))
    assert not watching.done()
    others.heights["PtaMSP"] = (5, 14)
    await asyncio.wait_for(watching, 10)
    how = await found.prepare(ADDRESS)
    await found.stop()
    assert how.state_sync is not None


async def test_key_whose_memory_is_lost_waits_until_enough_members_answer(
    tmp_path: Path, chain: VotedChain
) -> None:
    """Three of the three others first; two, once the third has been silent for a while."""
    has_data(tmp_path)
    await made(tmp_path, chain, Others(chain, {}), 4).prepare(ADDRESS)
    (tmp_path / "comet" / SIGN_STATE).unlink()
    others = Others(chain, {"OperatorMSP": (1, 12)})
    found, told = made(tmp_path, chain, others, 4), list[str]()
    preparing = asyncio.create_task(found.prepare(ADDRESS, told.append))
    await until(lambda: "2 other members" in found.reason)
    assert not (tmp_path / "comet" / SIGN_STATE).exists()
    assert told == [told[0], found.reason]
    assert "3 other members" in told[0]
    others.heights["MakerMSP"] = (1, 14)
    await asyncio.wait_for(preparing, 10)
    assert '"16"' in (tmp_path / "comet" / SIGN_STATE).read_text()


async def test_node_from_a_backup_signs_above_what_the_others_have_and_once_only(
    tmp_path: Path, chain: VotedChain
) -> None:
    """Its memory may be older than what was signed; the file that says so goes then."""
    has_data(tmp_path)
    (tmp_path / "restored").touch()
    others = Others(chain, dict.fromkeys(OTHERS, (1, 14)))
    await made(tmp_path, chain, others, 4).prepare(ADDRESS)
    assert '"16"' in (tmp_path / "comet" / SIGN_STATE).read_text()
    assert not (tmp_path / "restored").exists()
    others.heights = dict.fromkeys(OTHERS, (1, 20))
    await made(tmp_path, chain, others, 4).prepare(ADDRESS)
    assert '"16"' in (tmp_path / "comet" / SIGN_STATE).read_text()


async def test_key_without_a_mark_is_guarded_where_the_others_have_begun(
    tmp_path: Path, chain: VotedChain
) -> None:
    """A new folder may have been given an old key; a new member loses two heights and no more."""
    await made(tmp_path, chain, Others(chain, dict.fromkeys(OTHERS, (0, 0)))).prepare(ADDRESS)
    assert '"0"' in (tmp_path / "comet" / SIGN_STATE).read_text()
    elsewhere = tmp_path / "anew"
    elsewhere.mkdir()
    await made(elsewhere, chain, Others(chain, dict.fromkeys(OTHERS, (1, 14)))).prepare(ADDRESS)
    assert '"16"' in (elsewhere / "comet" / SIGN_STATE).read_text()


async def test_key_goes_on_at_the_next_height_where_nobody_has_its_vote_for_it(
    tmp_path: Path, chain: VotedChain
) -> None:
    """Of several members whose memory is lost at once all must vote, or nothing is decided."""
    others = Others(chain, dict.fromkeys(OTHERS, (1, 14)))
    others.votes = []
    await made(tmp_path, chain, others).prepare(ADDRESS)
    assert '"14"' in (tmp_path / "comet" / SIGN_STATE).read_text()


async def test_lie_about_the_first_block_only_costs_time(tmp_path: Path, chain: VotedChain) -> None:
    """A proof that proves nothing is passed over, and the next member is asked."""
    others = Others(chain, dict.fromkeys(OTHERS, (3, 14)))
    others.snapshot = 4
    asked: list[str] = []

    async def prove(msp_id: str) -> bytes:
        asked.append(msp_id)
        raw = make_proof(chain, 4)
        return raw[:-1] + bytes([raw[-1] ^ 1]) if msp_id == OTHERS[0] else raw

    others.prove = prove  # type: ignore[method-assign]
    found = made(tmp_path, chain, others)
    how = await found.prepare(ADDRESS)
    await found.stop()
    assert asked == list(OTHERS[:2])
    assert how.state_sync is not None


@pytest.mark.parametrize("number", [float("inf"), 10**400, "9" * 5000, None, [], {}, 1e300])
async def test_numbers_without_sense_are_no_answer(
    tmp_path: Path, chain: VotedChain, number: Any
) -> None:
    """A member may say anything; the others' answers are gone by."""
    others = Others(chain, dict.fromkeys(OTHERS, (1, 14)))
    honest = others.ask

    async def ask(msp_id: str, method: str, params: Mapping[str, Any]) -> Any:
        if msp_id != OTHERS[0]:
            return await honest(msp_id, method, params)
        if method == "consensus_state":
            return {"round_state": {"height/round/step": f"{number}/0/1", "height_vote_set": [{}]}}
        return {"sync_info": {"earliest_block_height": number, "latest_block_height": number}}

    others.ask = ask  # type: ignore[method-assign]
    others.votes = ["nil-Vote"]
    await asyncio.wait_for(made(tmp_path, chain, others).prepare(ADDRESS), 10)
    assert '"14"' in (tmp_path / "comet" / SIGN_STATE).read_text()


def lie_about(chain: VotedChain, height: int, kind: str) -> types_pb2.SignedHeader:
    """A commit that a lying member shows for a height that the chain has not reached."""
    lie = types_pb2.SignedHeader()
    lie.CopyFrom(chain.signed[14])
    if kind == "another height":
        return lie
    lie.header.height = lie.commit.height = height
    known = validators_of(chain.configuration)
    for place, entry in enumerate(lie.commit.signatures):
        if kind == "its own votes":
            entry.validator_address = known[0].address
        signer = next(each for each in known if each.address == entry.validator_address)
        chain_id = "another-chain" if kind == "another chain" else chain.chain_id
        if kind != "other votes":
            signed = vote_sign_bytes(chain_id, lie.commit, place)
            entry.signature = chain.keys[signer.public_key].sign(signed)
    return lie


LIES = ["other votes", "another height", "its own votes", "another chain"]


@pytest.mark.parametrize("kind", LIES)
async def test_height_that_only_a_liar_is_at_silences_no_key(
    tmp_path: Path, chain: VotedChain, kind: str
) -> None:
    """Else one member could keep a key from voting for ever; where two agree one is honest."""
    height = 1_000_000
    others = Others(chain, {OTHERS[0]: (1, height), **dict.fromkeys(OTHERS[1:], (1, 12))})
    honest = others.ask

    async def ask(msp_id: str, method: str, params: Mapping[str, Any]) -> Any:
        if (msp_id, method) == (OTHERS[0], "commit"):
            return {"signed_header": signed_header_json(lie_about(chain, height, kind))}
        return await honest(msp_id, method, params)

    others.ask = ask  # type: ignore[method-assign]
    await asyncio.wait_for(made(tmp_path, chain, others).prepare(ADDRESS), 10)
    assert '"14"' in (tmp_path / "comet" / SIGN_STATE).read_text()


async def test_height_above_the_others_counts_if_the_votes_for_it_are_shown(
    tmp_path: Path, chain: VotedChain
) -> None:
    """Of two that lost their data the third alone knows how far they were."""
    others = Others(chain, {OTHERS[0]: (1, 14), **dict.fromkeys(OTHERS[1:], (1, 0))})
    await asyncio.wait_for(made(tmp_path, chain, others).prepare(ADDRESS), 10)
    assert '"16"' in (tmp_path / "comet" / SIGN_STATE).read_text()


async def test_others_words_do_not_give_up_data(tmp_path: Path, chain: VotedChain) -> None:
    """CometBFT repeats in its lines what another node calls its network, and its chain."""
    found = made(tmp_path, chain, Others(chain, {}))
    for words in (
        "app block height (9) is higher than core (3)",
        "app block height (1) is too far below block store base (9)",
    ):
        for module, message in (
            ("p2p", "Error dialing peer"),
            ("consensus", "prevote step: consensus deems this block invalid"),
        ):
            line = LogLine(logging.ERROR, module, message, {"err": f"Got {words}"})
            assert not found.hear([str(line)])


async def test_only_validator_cannot_recover_what_nobody_else_has(
    tmp_path: Path, chain: VotedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its CometBFT's data the chain of a single member is lost; the message says so."""
    await made(tmp_path, chain, Others(chain, {})).prepare(ADDRESS)
    (tmp_path / "comet" / SIGN_STATE).unlink()
    monkeypatch.setattr(beginning, "validators_of", lambda _configuration: [None])
    with pytest.raises(Refusal, match="only one that orders"):
        await made(tmp_path, chain, Others(chain, {})).prepare(ADDRESS)
