"""Moving to CometBFT, replacing a key, joining, expelling: the page, run as it is written.

All of it happens on one network of real node and CometBFT processes; what the page promises is
looked at afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from ledger.blocks.block import Block
from ledger.channel import ChannelLedger
from network.certificates.consensus import consensus_keys, public_bytes
from network.configuration import ChannelConfiguration, config_of_block
from network.configuration.consenters import consensus_key
from network.ordering.cometbft.blocks.ordered import comet_height_of
from network.ordering.cometbft.finality.proof_file import Basis
from network.ordering.cometbft.finality.proof_making import make_proof
from network.ordering.cometbft.finality.proofs import ProofVerifier
from tests.support.howto_pages import run_page
from tests.support.ports import free_base
from tests.support.processes import (
    network_down_at_the_end,
    qist,
    stopped_at_the_end,
    wait_for,
)

STAYING = ("BankMSP", "OperatorMSP", "PtaMSP")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the page has been run; the nodes that are left run."""
    place = tmp_path_factory.mktemp("consenters")
    with ExitStack() as ends:
        ends.enter_context(network_down_at_the_end(place / "consortium"))
        ends.enter_context(stopped_at_the_end(place / "naya-node"))
        assert run_page("change-who-orders.md", place, free_base()) >= 12
        yield place


def nodes(folder: Path) -> list[Path]:
    return [*(folder / "consortium" / each / "node" for each in STAYING), folder / "naya-node"]


def status(node: Path) -> dict:
    return json.loads(qist("node", "status", str(node), "--json").out)


def test_all_that_are_left_have_the_same_chain(folder: Path) -> None:
    """Through solo, the move, a new key, a new member and one that was expelled."""

    def agreed() -> bool:
        told = [status(each) for each in nodes(folder)]
        return (
            len({(each["height"], each["header_hash"], each["commit_hash"]) for each in told}) == 1
        )

    wait_for(agreed, "the nodes to agree")
    assert [status(each)["ordering"]["role"] for each in nodes(folder)] == ["validator"] * 4


def test_chain_tells_who_ordered_at_every_height(folder: Path) -> None:
    """Blocks before the move are of solo; each configuration has one change of consenters."""
    qist("node", "stop", str(folder / "naya-node"))
    ledger = ChannelLedger.open(folder / "naya-node" / "ledger")
    try:
        blocks = list(ledger.blocks())
    finally:
        ledger.close()
    configurations = [
        (block.number, ChannelConfiguration.from_block(block))
        for block in blocks
        if config_of_block(block) is not None
    ]
    assert [each.consensus_type for _, each in configurations] == ["solo", *["cometbft"] * 4]
    moved = configurations[1][0]
    heights = [comet_height_of(block) for block in blocks]
    assert heights[: moved + 1] == [0] * (moved + 1)
    assert heights[moved + 1 :] == sorted(set(heights[moved + 1 :]))
    assert heights[moved + 1] > 0
    named = [
        {each.msp_id: consensus_key(each) for each in configuration.consenters}
        for _, configuration in configurations[1:]
    ]
    first, rotated, joined, left = named
    assert {key for key in first if first[key] != rotated[key]} == {"BankMSP"}
    assert joined.keys() - rotated.keys() == {"NayaMSP"}
    assert joined.keys() - left.keys() == {"MakerMSP"}


def test_old_key_is_gone_and_the_one_that_is_left_is_named(folder: Path) -> None:
    """In the organisation's folder as in the node's."""
    newest = folder / "last.block"
    profile = folder / "consortium/BankMSP/connection.json"
    qist(
        *("channel", "fetch", "config", str(newest)),
        *("--profile", str(profile), "--user", "admin"),
    )
    channel = ChannelConfiguration.from_block(Block.decode(newest.read_bytes()))
    named = {each.msp_id: consensus_key(each) for each in channel.consenters}
    for place in (
        folder / "consortium/BankMSP/node",
        folder / "consortium/BankMSP/org/nodes/bank",
    ):
        assert [public_bytes(each) for each in consensus_keys(place).voting] == [named["BankMSP"]]
        assert not (place / "consensus/next-cert.pem").exists()


def test_every_block_is_proved_from_the_genesis_block(folder: Path) -> None:
    """By the orderer up to the move, and by whoever the validators were at each block after it."""
    qist("node", "stop", str(folder / "naya-node"))
    with closing(ChannelLedger.open(folder / "naya-node" / "ledger")) as ledger:
        blocks = list(ledger.blocks())
        proofs = [make_proof(ledger, number) for number in range(1, len(blocks))]
    verifier = ProofVerifier(Block.decode((folder / "naya-node" / "genesis.block").read_bytes()))
    bases = []
    for block, raw in zip(blocks[1:], proofs, strict=True):
        proved = verifier.verify(raw)
        assert (proved.block.header, proved.block.data) == (block.header, block.data)
        bases.append(proved.basis)
    solo = sum(comet_height_of(block) == 0 for block in blocks[1:])
    assert bases[:solo] == [Basis.SIGNATURES] * solo
    assert Basis.SIGNATURES not in bases[solo:]
    assert bases[-1] is Basis.RECORD
