"""docs/formats.md, "Deterministic verdicts": each rule where Fabric's peer has none, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2
from fabric_protos.peer.lifecycle import db_pb2

from ledger.channel import ChannelLedger
from ledger.state.version import Version
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedWrite,
    KVRead,
    KVWrite,
    MerkleSummary,
    MetadataWrite,
    NamespaceRWSet,
    RangeQuery,
)
from network.policy.language import parse_policy
from nodes.committer.signatures import SignaturePool
from tests.support.fabric_chain import CONTRACT, LIFECYCLE, FabricChain
from tests.support.members import CHANNEL, Member, signed_envelope
from tests.support.replaying import replay_all

MEMBERS = [Member("BankMSP"), Member("PtaMSP")]
OTHER = "other"
Codes = Callable[[FabricChain], list[dict[str, int]]]
VALID = {"VALID": 1}


@pytest.fixture
def codes(tmp_path: Path) -> Iterator[Codes]:
    pool = SignaturePool(2)

    def judged(chain: FabricChain) -> list[dict[str, int]]:
        ledger = ChannelLedger.open(tmp_path / f"ledger {len(list(tmp_path.iterdir()))}")
        recounts = replay_all(chain.raw, ledger, pool)
        ledger.close()
        assert all(each.difference is None for each in recounts)
        return [each.ours for each in recounts]

    yield judged
    pool.close()


@pytest.fixture
def chain() -> FabricChain:
    """A channel with one contract for the bank's peer alone, and one for the regulator's."""
    made = FabricChain(MEMBERS)
    made.add(
        [
            made.definition("OR('BankMSP.peer')"),
            made.definition("OR('PtaMSP.peer')", contract=OTHER),
        ]
    )
    return made


def writes(namespace: str, key: str = "k", value: bytes = b"v") -> NamespaceRWSet:
    return NamespaceRWSet(namespace, writes=(KVWrite(key, False, value),))


def policy(namespace: str, words: str | bytes, key: str = "k") -> NamespaceRWSet:
    raw = words if isinstance(words, bytes) else parse_policy(words).SerializeToString()
    entries = (("VALIDATION_PARAMETER", raw),)
    return NamespaceRWSet(namespace, metadata_writes=(MetadataWrite(key, entries),))


def of_block(chain: FabricChain, codes: Codes, envelopes: Sequence[bytes]) -> dict[str, int]:
    chain.add(envelopes)
    return codes(chain)[-1]


@pytest.mark.parametrize(
    ("called", "order", "expected"),
    [
        (CONTRACT, ("nowhere", OTHER), "INVALID_CHAINCODE"),
        (CONTRACT, (OTHER, "nowhere"), "ENDORSEMENT_POLICY_FAILURE"),
        ("nowhere", (OTHER,), "INVALID_CHAINCODE"),
        (OTHER, ("nowhere",), "ENDORSEMENT_POLICY_FAILURE"),
    ],
)
def test_first_namespace_that_fails_gives_the_code(
    chain: FabricChain, codes: Codes, called: str, order: Sequence[str], expected: str
) -> None:
    """The called contract first, then as in the read-write set."""
    envelope = chain.transaction(
        [writes(each) for each in order],
        contract=called,
        endorsers=[chain.peers["BankMSP"]],
    )
    assert of_block(chain, codes, [envelope]) == {expected: 1}


def test_policy_set_in_a_namespace_counts_in_the_block_though_another_namespace_fails(
    chain: FabricChain, codes: Codes
) -> None:
    """Its effect hangs on the verdict in its own namespace alone."""
    by_bank = [chain.peers["BankMSP"]]
    setting = policy(CONTRACT, "OR('BankMSP.peer')")
    fails = chain.transaction([setting, writes(OTHER)], endorsers=by_bank)
    found = of_block(chain, codes, [fails, chain.put("k", b"1", endorsers=by_bank)])
    assert found == {"ENDORSEMENT_POLICY_FAILURE": 2}


def test_policy_set_by_one_that_falls_earlier_has_no_effect_in_the_block(
    chain: FabricChain, codes: Codes
) -> None:
    """A creator that is nobody: what the transaction wrote is nothing to the next one."""
    setting = policy(CONTRACT, "OR('PtaMSP.peer')")
    nobody = chain.transaction([setting], creator=Member("OtherMSP").identity())
    found = of_block(chain, codes, [nobody, chain.put("k", b"1")])
    assert found == {"VALID": 1, "BAD_CREATOR_SIGNATURE": 1}


def test_transaction_without_action_stands_before_good_ones(
    chain: FabricChain, codes: Codes
) -> None:
    """Also one whose action has no endorsed part."""
    client = chain.clients["BankMSP"]
    empty = signed_envelope(client, transaction_pb2.Transaction().SerializeToString())
    action = transaction_pb2.Transaction()
    header = common_pb2.SignatureHeader(creator=client.serialized, nonce=b"n")
    action.actions.add(header=header.SerializeToString(), payload=b"\x0a\x01p")
    bare = signed_envelope(client, action.SerializeToString(), nonce=b"another nonce, 24 bytes.")
    found = of_block(chain, codes, [empty, bare, chain.put("k", b"1")])
    assert found == {"VALID": 1, "INVALID_ENDORSER_TRANSACTION": 2}


def test_key_whose_own_policy_is_none_is_nobodys(chain: FabricChain, codes: Codes) -> None:
    """Its contract wrote what is no policy; nobody satisfies that, and other keys go on."""
    chain.add([chain.put("k", b"1")])
    chain.add([chain.transaction([policy(CONTRACT, b"\xff\xff")])])
    found = of_block(chain, codes, [chain.put("k", b"2"), chain.put("other key", b"2")])
    assert found == {"VALID": 1, "ENDORSEMENT_POLICY_FAILURE": 1}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"namespaces/metadata/{CONTRACT}", b"\xff"),
        (
            f"namespaces/metadata/{CONTRACT}",
            db_pb2.StateMetadata(datatype="Something").SerializeToString(),
        ),
        (f"namespaces/fields/{CONTRACT}/ValidationInfo", b"\xff"),
        (f"namespaces/fields/{CONTRACT}/ValidationInfo", b""),
        (f"namespaces/fields/{CONTRACT}/Collections", db_pb2.StateData(Bytes=b"\xff")),
    ],
)
def test_definition_that_cannot_be_read_defines_nothing(
    chain: FabricChain, codes: Codes, key: str, value: object
) -> None:
    """However it came there, no transaction may stop a channel with it."""
    raw = value if isinstance(value, bytes) else value.SerializeToString()  # type: ignore[attr-defined]
    broken = NamespaceRWSet(LIFECYCLE, writes=(KVWrite(key, not raw, raw),))
    chain.add([chain.transaction([broken], contract=LIFECYCLE)])
    assert of_block(chain, codes, [chain.put("k", b"1")]) == {"INVALID_CHAINCODE": 1}
    assert codes(chain)[-2] == VALID


def test_write_to_a_collection_without_a_name_is_nobodys(chain: FabricChain, codes: Codes) -> None:
    """There can be no such collection."""
    write = HashedWrite(sha256(b"k").digest(), False, sha256(b"v").digest(), False)
    nameless = NamespaceRWSet(CONTRACT, collections=(CollectionRWSet("", (), (write,)),))
    found = of_block(chain, codes, [chain.transaction([nameless])])
    assert found == {"ENDORSEMENT_POLICY_FAILURE": 1}


@pytest.mark.parametrize(
    "query",
    [
        RangeQuery("a", "z", True, (KVRead("k", None),), None),
        RangeQuery("a", "z", True, None, MerkleSummary(0, 1, (bytes(32),))),
        RangeQuery("a", "z", True, None, MerkleSummary(1, 1, (bytes(32),))),
        RangeQuery("a", "z", True, (KVRead("k", Version(2, 1)),), None),
    ],
)
def test_results_of_a_range_that_cannot_have_been_are_a_phantom(
    chain: FabricChain, codes: Codes, query: RangeQuery
) -> None:
    """A result without a version, a tree of a degree below two."""
    chain.add([chain.put("k", b"1")])
    scanned = NamespaceRWSet(CONTRACT, range_queries=(query,))
    found = of_block(chain, codes, [chain.transaction([scanned])])
    assert found == {"PHANTOM_READ_CONFLICT": 1}


def test_transaction_without_a_channel_is_nobodys(chain: FabricChain, codes: Codes) -> None:
    """Whatever the organisation of the node that judges."""
    nameless = signed_envelope(chain.clients["BankMSP"], channel_id="")
    assert CHANNEL
    assert of_block(chain, codes, [nameless, chain.put("k", b"1")]) == {
        "VALID": 1,
        "BAD_CREATOR_SIGNATURE": 1,
    }
