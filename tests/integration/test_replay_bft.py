"""Blocks signed by BFT orderers: by number, a quorum of the consenters before the block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2, policies_pb2

from ledger.blocks.block import Block
from ledger.blocks.metadata import SIGNATURES
from ledger.channel import ChannelLedger
from network.ordering.block_signature import bft_quorum
from nodes.committer.signatures import SignaturePool
from nodes.replay.difference import Recount
from tests.support.fabric_chain import FabricChain, set_consenters
from tests.support.members import Member
from tests.support.replaying import replay_all

MEMBERS = [Member("BankMSP"), Member("PtaMSP")]


@pytest.fixture(scope="module")
def signatures() -> Iterator[SignaturePool]:
    pool = SignaturePool(2)
    yield pool
    pool.close()


@pytest.fixture
def chain() -> FabricChain:
    made = FabricChain(MEMBERS, bft=True)
    made.add([made.definition("AND('BankMSP.peer', 'PtaMSP.peer')")])
    return made


def replayed(
    chain: FabricChain, tmp_path: Path, signatures: SignaturePool, last: Block | None = None
) -> Recount:
    """Replay the chain, with *last* behind it, and return what came of the last block."""
    ledger = ChannelLedger.open(tmp_path / "ledger")
    blocks = chain.raw if last is None else [*chain.raw, last.encode()]
    recounts = replay_all(blocks, ledger, signatures)
    ledger.close()
    for each in recounts[:-1]:
        assert each.difference is None
    assert len(recounts) == len(blocks)
    return recounts[-1]


@pytest.mark.parametrize(
    ("consenters", "quorum"),
    [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7), (13, 9)],
)
def test_quorum_is_more_than_half_of_all_and_the_faulty(consenters: int, quorum: int) -> None:
    """⌈(n+f+1)/2⌉ with f = ⌊(n−1)/3⌋."""
    assert bft_quorum(consenters) == quorum


def test_block_of_a_quorum_is_taken(
    chain: FabricChain, tmp_path: Path, signatures: SignaturePool
) -> None:
    """Three of four, in any order, and all four as well."""
    chain.add([chain.put("a", b"1")])
    chain.add([chain.put("b", b"1")], signers=list(chain.consenters.items())[::-1])
    found = replayed(chain, tmp_path, signatures)
    assert found.difference is None
    assert found.ours == {"VALID": 1}
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("numbers", "signed_as"),
    [
        ([1, 2], [1, 2]),
        ([], []),
        ([1, 2, 2], [1, 2, 2]),
        ([1, 2, 3], [1, 2, 4]),
        ([1, 2, 3], [1, 2, 9]),
    ],
    ids=["too few", "nobody", "one twice", "another's number", "a number of nobody"],
)
def test_block_without_a_quorum_is_a_difference(
    chain: FabricChain,
    tmp_path: Path,
    signatures: SignaturePool,
    numbers: list[int],
    signed_as: list[int],
) -> None:
    """A signature counts once, and only under the number of its own consenter."""
    signers = [
        (named, chain.consenters[number]) for number, named in zip(numbers, signed_as, strict=True)
    ]
    found = replayed(
        chain, tmp_path, signatures, chain.block([chain.put("a", b"1")], signers=signers)
    )
    assert found.difference is not None
    assert found.difference.check == "the orderers' signatures"
    assert "/Channel/Orderer/BlockValidation" in found.difference.ours


def test_surplus_signature_that_is_wrong_is_remarked(
    chain: FabricChain, tmp_path: Path, signatures: SignaturePool
) -> None:
    """A peer takes the block for its quorum; what is wrong beside it is said."""
    signers = [(number, chain.consenters[number]) for number in (1, 2, 3)]
    signers += [(4, chain.consenters[1]), (9, chain.consenters[4])]
    chain.add([chain.put("a", b"1")], signers=signers)
    found = replayed(chain, tmp_path, signatures)
    assert found.difference is None
    assert len(found.remarks) == 2
    assert found.remarks[0].startswith("signature 3 of 5 does not count")
    assert found.remarks[1].endswith("it names no signer that the configuration has")


def test_change_of_the_consenters_counts_from_the_next_block_on(
    chain: FabricChain, tmp_path: Path, signatures: SignaturePool
) -> None:
    """The block that brings it is signed by the old ones, those after it by the new ones."""
    old = dict(chain.consenters)
    new = {5: MEMBERS[0].identity("orderer5", "orderer"), **{n: old[n] for n in (2, 3, 4)}}
    admins = list(chain.admins.values())

    def change(root: object) -> None:
        chain.consenters = new
        set_consenters(root, chain.consenter_list())

    chain.add_update(change, admins, signers=[(n, old[n]) for n in (1, 2, 3)])
    by_old = chain.block([chain.put("a", b"1")], signers=[(n, old[n]) for n in (1, 2, 3)])
    found = replayed(chain, tmp_path, signatures, by_old)
    assert found.difference is not None
    assert found.difference.check == "the orderers' signatures"
    chain.add([chain.put("a", b"1")], signers=[(n, new[n]) for n in (5, 3, 2)])
    found = replayed(chain, tmp_path / "again", signatures)
    assert found.difference is None


def test_policy_that_is_not_the_quorum_is_what_peers_judge_by_and_remarked(
    tmp_path: Path, signatures: SignaturePool
) -> None:
    """The orderers keep the policy at their quorum; a peer knows the policy alone."""

    def change(root: Any) -> None:
        meta = policies_pb2.ImplicitMetaPolicy(sub_policy="Writers", rule=0)
        policy = root.groups["Orderer"].policies["BlockValidation"].policy
        policy.type = policies_pb2.Policy.IMPLICIT_META
        policy.value = meta.SerializeToString()

    chain = FabricChain(MEMBERS, bft=True, change=change)
    found = replayed(chain, tmp_path, signatures)
    assert found.remarks[0].startswith(
        "/Channel/Orderer/BlockValidation is not the quorum of 4 consenters"
    )
    chain.add([chain.put("a", b"1")], signers=[(2, chain.consenters[2])])
    found = replayed(chain, tmp_path / "again", signatures)
    assert (found.difference, found.remarks) == (None, ())


def test_number_names_a_signer_only_from_v3_on(tmp_path: Path, signatures: SignaturePool) -> None:
    """Below channel capability V3_0 a signature without a creator is nobody's."""
    chain = FabricChain(MEMBERS, bft=True, capabilities={"channel": ["V2_0"]})
    found = replayed(chain, tmp_path, signatures, chain.block([chain.put("a", b"1")]))
    assert found.difference is not None
    assert found.difference.check == "the orderers' signatures"


def test_signature_with_a_creator_counts_on_a_bft_channel_too(
    chain: FabricChain, tmp_path: Path, signatures: SignaturePool
) -> None:
    """Blocks from before a change of engine are signed that way."""
    chain.bft = False
    chain.add([chain.put("a", b"1")], signers=[(n, chain.consenters[n]) for n in (4, 2, 1)])
    assert replayed(chain, tmp_path, signatures).difference is None


@pytest.mark.parametrize("field", ["identifier_header", "signature_header"])
def test_header_of_a_signature_that_is_no_message_refuses_the_block(
    chain: FabricChain, tmp_path: Path, signatures: SignaturePool, field: str
) -> None:
    """As Fabric: even beside a quorum that is good."""
    block = chain.block([chain.put("a", b"1")])
    entry = common_pb2.Metadata.FromString(block.metadata[SIGNATURES])
    entry.signatures.add(**{field: b"\xff"}, signature=b"any")
    entries = list(block.metadata)
    entries[SIGNATURES] = entry.SerializeToString()
    found = replayed(chain, tmp_path, signatures, Block(block.header, block.data, tuple(entries)))
    assert found.difference is not None
    assert "the header of signature 3" in found.difference.ours
