"""``qist replay`` on a chain that SmartBFT orderers of Fabric made: no difference, and quorums."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2
from typer.testing import CliRunner

from ledger.channel import ChannelLedger
from nodes.cli.replay import app
from nodes.committer.signatures import SignaturePool
from nodes.replay.difference import Recount
from tests.support.replaying import replay_all

FOLDER = Path(__file__).parent / "fabric-3.1.5-bft"
FIFTH_CONSENTER = 119


@pytest.fixture(scope="module")
def expected() -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text())["blocks"]
    return blocks


@pytest.fixture(scope="module")
def signatures() -> Iterator[SignaturePool]:
    pool = SignaturePool(2)
    yield pool
    pool.close()


def recorded(number: int) -> bytes:
    return (FOLDER / "blocks" / f"{number:06}.block").read_bytes()


def with_signatures(raw: bytes, count: int) -> bytes:
    """Return the block with the first *count* of its orderers' signatures."""
    block = common_pb2.Block.FromString(raw)
    entry = common_pb2.Metadata.FromString(block.metadata.metadata[0])
    del entry.signatures[count:]
    block.metadata.metadata[0] = entry.SerializeToString()
    changed: bytes = block.SerializeToString()
    return changed


def test_replay_of_the_bft_chain_finds_no_difference_and_the_peers_state() -> None:
    """Codes, commit hashes and the peer's snapshot at the last block are the same, exit 0."""
    result = CliRunner().invoke(app, [str(FOLDER), "--compare-snapshot", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert said["difference"] is None
    assert said["snapshot"]["block"] == 143


def test_bft_chain_gives_the_codes_and_hashes_that_were_written_down(
    tmp_path: Path, signatures: SignaturePool, expected: list[dict[str, Any]]
) -> None:
    """What the peer stored is written down a second time, beside the blocks."""
    ledger = ChannelLedger.open(tmp_path / "ledger")
    recounts = replay_all([recorded(each["number"]) for each in expected], ledger, signatures)
    for recount, block in zip(recounts, expected, strict=True):
        assert recount.difference is None
        assert recount.commit_hash == block["commit_hash"]
        codes = Counter(each["code_name"] for each in block["transactions"])
        assert recount.ours == codes, block["number"]
    assert ledger.last_header_hash.hex() == expected[-1]["header_hash"]
    ledger.close()


def test_bft_block_without_its_quorum_is_a_difference(
    tmp_path: Path, signatures: SignaturePool, expected: list[dict[str, Any]]
) -> None:
    """Three of four orderers must sign; four of five, from the block on that follows the fifth."""
    ledger = ChannelLedger.open(tmp_path / "ledger")

    def replay(blocks: list[bytes]) -> Recount:
        return replay_all(blocks, ledger, signatures)[-1]

    first = [recorded(number) for number in range(8)]
    refused = replay([*first, with_signatures(recorded(8), 2)])
    assert refused.difference is not None
    assert refused.difference.block_num == 8
    assert "BlockValidation" in str(refused.difference)

    before = [recorded(number) for number in range(FIFTH_CONSENTER + 1)]
    assert expected[FIFTH_CONSENTER]["signatures"] == 3
    assert replay(before).difference is None
    following = recorded(FIFTH_CONSENTER + 1)
    assert expected[FIFTH_CONSENTER + 1]["signatures"] == 4
    refused = replay([*before, with_signatures(following, 3)])
    assert refused.difference is not None
    assert replay([*before, following]).difference is None
    ledger.close()
