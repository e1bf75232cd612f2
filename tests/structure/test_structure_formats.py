"""docs/formats.md is what the code writes: every example is made anew and compared."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

import pytest

from chaincode.contract.canonical import encode_json
from chaincode.instalments.identifiers import IdentifierKind, PseudonymKey
from chaincode.packages import read_package
from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from ledger.blocks.metadata import with_validation
from ledger.blocks.segments import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    Location,
    Position,
    SegmentLog,
)
from ledger.channel import BLOCKS, EVIDENCE, PRIVATE, STATE
from ledger.fsck import SCRATCH_PREFIX
from ledger.state import keys, private_keys
from ledger.state.composite import create_composite_key
from ledger.state.evidence import encode_evidence
from ledger.state.version import Version, encode_version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.private import PrivateRWSet, encode_private_rwset
from ledger.transactions.rwset import KVWrite, encode_metadata
from ledger.validation.commit_hash import compute_commit_hash
from ledger.validation.judgement import CONFIG_KEY
from ledger.validation.ranges import MAX_DEGREE, RangeResults
from ledger.validation.updates import Update, UpdateEntry
from network.calls.frames import CALL, encode_item
from network.certificates.authority import Validity, encode_attributes
from network.certificates.layout import Description
from network.ordering.cometbft.blocks.app_hash import encode_app_hash, encode_metadata_root
from network.ordering.cometbft.blocks.ordered import Ordered, OrderedBundle, encode_ordered
from network.ordering.cometbft.bundles.bundle import BundleKind, encode_signed
from network.ordering.cometbft.finality.finality import encode_record
from network.ordering.cometbft.finality.proof_file import (
    Covered,
    Proof,
    ProofPart,
    Recorded,
    Signed,
    encode_part,
    encode_proof,
)
from network.ordering.cometbft.joining.snapshot_format import (
    SnapshotDescription,
    StoredBlock,
    encode_content,
)
from network.ordering.cometbft.joining.snapshot_plan import TARGETS_BYTES
from network.ordering.cometbft.messages import types_pb2, validator_pb2
from nodes.private_data import transient
from tests.structure.tree import ROOT, read

PAGE = Path("docs/formats.md")
EXAMPLE = re.compile(r"^```bytes ([a-z-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

ITEM = hashlib.sha256(b"item 1").digest()
RED = hashlib.sha256(b"red").digest()
RED_ENTRY = Update(b"item 1", b"red", Version(7, 2), b"")
SET_PLACE = private_keys.SetPlace(Version(7, 2), "shop", "terms")
RED_SET = encode_private_rwset(PrivateRWSet((KVWrite("item 1", False, b"red"),)))
OWNED = encode_metadata([("owner", b"7")])
HEADER = BlockHeader(7, ITEM, compute_data_hash([b"one", b"two"]))
SIGNED = ProofPart(BlockHeader(1, b"p", b"d"), (b"one",), Signed(b"s"))
RECORDED = ProofPart(BlockHeader(2, b"p", b"d"), (b"one", b"two"), Recorded((b"s", b""), b"r"))
COVERED = ProofPart(
    BlockHeader(2, b"p", b"d"), (b"one",), Covered((BlockHeader(3, b"p", b"d"),), b"a", b"r")
)
BUNDLE = encode_signed(b"node", "pay", 57, [b"one", b"two"], BundleKind.ENVELOPES, bytes(range(16)))
COMMITTED = with_validation(
    Block(HEADER, (b"one", b"two"), (b"s", b"l")), [TxValidationCode.VALID] * 2, RED
)

MADE = {
    "evidence-record": encode_evidence("seal", b"signed"),
    "format": keys.encode_format(),
    "savepoint": keys.encode_savepoint(8, ITEM, RED),
    "public-key": keys.public_prefix("shop") + b"item 1",
    "entry": keys.encode_entry(RED_ENTRY),
    "entry-with-metadata": keys.encode_entry(RED_ENTRY._replace(metadata=OWNED)),
    "hashed-key": keys.hashed_prefix("shop", "terms") + ITEM,
    "history-key": keys.history_key("shop", b"item 1", 7, 2),
    "number-key": keys.number_key(7),
    "location": keys.encode_location(Location(0, 48, 7)),
    "transaction-key": keys.transaction_key("ab12"),
    "transaction": keys.encode_transaction(7, 2, TxValidationCode.MVCC_READ_CONFLICT),
    "expiry-key": keys.expiry_key(11, 7, "shop", "terms", ITEM),
    "evidence-key": keys.evidence_key(7, "seal"),
    "private-key": keys.private_prefix("shop", "terms") + b"item 1",
    "set-expiry-key": keys.expiry_key(11, 7, "shop", "terms", b""),
    "absent-key": keys.absent_prefix("shop", "terms") + keys.encode_place(Version(7, 2)),
    "purged-key": keys.purged_key("shop", "terms", ITEM),
    "write-set-key": private_keys.set_key(SET_PLACE),
    "write-set": private_keys.encode_set(private_keys.StoredSet(0, RED_SET)),
    "index-key": private_keys.index_key(SET_PLACE, ITEM),
    "awaited-key": private_keys.awaited_key(SET_PLACE),
    "changes": private_keys.encode_changes(private_keys.Changes(((b"w", b"\x00"),), (b"i",))),
    "transient-key": transient.set_key("ab12", bytes(range(16)), 7),
    "transient-height-key": transient.height_key("ab12", bytes(range(16)), 7),
    "call-item": encode_item(CALL, 258, b"xyz", name=b"ab", height=5),
    "position": keys.encode_position(Position(0, 59)),
    "composite-key": create_composite_key("pay", ["A1", "0001"]).encode(),
    "header": HEADER.encode_asn1(),
    "header-hash": HEADER.hash(),
    "version": encode_version(Version(7, 0)),
    "attributes": encode_attributes({"qist.role": "lending"}),
    "long-version": encode_version(Version(300, 2)),
    "bundle": BUNDLE + keys.encode_name(b"signed"),
    "ordered": encode_ordered(Ordered(41, 1, (OrderedBundle(ITEM, 2),))),
    "metadata-root-input": encode_metadata_root(COMMITTED),
    "app-hash-input": encode_app_hash(COMMITTED, 1),
    "finality-record": encode_record(
        types_pb2.SignedHeader(
            commit=types_pb2.Commit(
                signatures=[types_pb2.CommitSig(block_id_flag=validator_pb2.BLOCK_ID_FLAG_ABSENT)]
            )
        )
    ),
    "proof": encode_proof(Proof(ITEM, (SIGNED,), RECORDED)),
    "proof-part-by-a-later-record": encode_part(COVERED),
    "snapshot": SnapshotDescription(ITEM, 1, 1000, TARGETS_BYTES[0]).encode(),
    "snapshot-chunk": encode_content([StoredBlock(b"one", b"r1"), StoredBlock(b"two", b"r2")]),
}
"""Examples that one call makes; the others have tests of their own below."""
OTHERS = {"segment-header", "segment-record", "commit-hash-input", "query-read"}


def examples() -> dict[str, bytes]:
    """The examples of the page; in each line the bytes end where two spaces begin."""
    return {
        name: bytes.fromhex("".join(line.split("  ")[0] for line in body.splitlines()))
        for name, body in EXAMPLE.findall(read(PAGE))
    }


def test_examples_are_all_compared() -> None:
    """No example stands on the page that is not made here, and none is named twice."""
    names = [name for name, _ in EXAMPLE.findall(read(PAGE))]
    assert sorted(names) == sorted([*MADE, *OTHERS])


@pytest.mark.parametrize("name", sorted(MADE))
def test_example_is_what_the_code_writes(name: str) -> None:
    """The bytes of the page are the bytes that the code makes."""
    assert examples()[name].hex(" ") == MADE[name].hex(" ")


def test_segment_file_of_the_page_is_what_the_log_writes(tmp_path: Path) -> None:
    """A log with one record is the header of the page and its record."""
    log = SegmentLog(tmp_path / "log")
    location = log.append(7, b"a block")
    log.close()
    shown = examples()
    assert log.file(0).name == "000000000.seg"
    assert log.file(0).read_bytes() == shown["segment-header"] + shown["segment-record"]
    assert len(shown["segment-header"]) == SEGMENT_HEADER_BYTES
    assert location == Location(0, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES, 7)


def test_commit_hash_of_the_page_is_what_the_code_hashes() -> None:
    """The bytes of the page are those under the commit hash of three updates."""
    entries = [
        UpdateEntry("shop", "", RED_ENTRY),
        UpdateEntry("shop", "", Update(b"item 2", None, Version(7, 0), b"")),
        UpdateEntry("shop", "terms", Update(ITEM, RED, Version(7, 2), b"")),
    ]
    codes = [
        TxValidationCode.VALID,
        TxValidationCode.MVCC_READ_CONFLICT,
        TxValidationCode.VALID,
    ]
    made = compute_commit_hash(codes, entries, bytes(32))
    assert hashlib.sha256(examples()["commit-hash-input"]).digest() == made


def test_summary_of_a_scan_hashes_what_the_page_shows() -> None:
    """A run of results is hashed as its elements one behind the other."""
    results = RangeResults(2)
    for _ in range(3):
        results.add("item 1", Version(7, 2))
    _, summary = results.finish()
    assert summary is not None
    run = hashlib.sha256(examples()["query-read"] * 3).digest()
    assert (summary.max_level, summary.max_level_hashes) == (1, (run,))
    assert f"up to {MAX_DEGREE} results" in read(PAGE)


def test_key_spaces_of_the_page_are_those_of_the_code() -> None:
    """Each space of the ledger's databases has its row, by the letter; no letter has two meanings.

    The transient store has letters of its own, in section 15.
    """
    letters = [
        value.decode()
        for module in (keys, private_keys)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, bytes) and len(value) == 1
    ]
    page = read(PAGE).partition("## 15. ")[0]
    rows = re.findall(r"^\| `([A-Za-z])`", page, flags=re.MULTILINE)
    assert sorted(rows) == sorted(set(letters)) == sorted(letters)


def test_folders_and_fixed_keys_of_the_page_are_those_of_the_code() -> None:
    """Names that stand on disk are told as they are."""
    text = read(PAGE)
    for name in (BLOCKS, STATE, EVIDENCE, PRIVATE):
        assert f"| `{name}/` |" in text
    assert f"`{SCRATCH_PREFIX}…/`" in text
    assert f"`{CONFIG_KEY}`" in text


def test_package_id_of_the_page_names_our_contracts() -> None:
    """The id of a package is made of the bytes that the page lists."""
    package = read_package(ROOT / "chaincode" / "instalments")
    raw = b"qist contract package 1\x00"
    for path, content in sorted(package.files.items(), key=lambda each: each[0].encode()):
        raw += len(path.encode()).to_bytes(4, "big") + path.encode()
        raw += len(content).to_bytes(8, "big") + content
    assert package.package_id == f"{package.manifest.label}:{hashlib.sha256(raw).hexdigest()}"


def test_pseudonym_of_the_page_is_what_the_code_makes() -> None:
    """A pseudonym is the key's id and an HMAC over kind and canonical identifier."""
    key = PseudonymKey("2026-a", bytes(range(32)))
    for kind in IdentifierKind:
        message = b"qist/pseudonym/1\x00" + kind.value.encode() + b"\x0035000000000000"
        expected = "2026-a:" + hmac.new(key.secret, message, hashlib.sha256).hexdigest()
        assert key.pseudonym(kind, "35000000000000") == expected


def test_values_of_contracts_are_written_as_the_page_says() -> None:
    """Canonical JSON: keys sorted, no spaces, UTF-8 as it is."""
    assert encode_json({"b": 1, "a": ["é", None]}) == '{"a":["é",null],"b":1}'.encode()


def test_description_of_an_organisation_is_the_one_on_the_page() -> None:
    """organisation.toml as `create_organisation` writes it."""
    found = re.search(r"^```toml\n(.*?)^```$", read(PAGE), re.MULTILINE | re.DOTALL)
    assert found is not None
    assert found[1].encode() == Description("BankMSP", "P-256", Validity()).encode()
