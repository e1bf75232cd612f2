"""``qist replay`` on the recorded chain: no difference; whatever is damaged is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from fabric_protos.common import common_pb2
from typer.testing import CliRunner

from ledger.blocks.block import Block
from ledger.blocks.metadata import COMMIT_HASH, LAST_CONFIG, ORDERER, TRANSACTIONS_FILTER
from ledger.channel import ChannelLedger
from ledger.errors import Refusal
from nodes.cli.replay import app
from nodes.committer.signatures import SignaturePool
from nodes.replay.difference import Difference, RecordingError
from nodes.replay.recording import Recording
from tests.support.recording import FOLDER, HEIGHT, load, recorded_blocks
from tests.support.replaying import recorded_raw, replay_all

CODES = {
    "VALID": 137,
    "BAD_PAYLOAD": 1,
    "BAD_COMMON_HEADER": 8,
    "BAD_CREATOR_SIGNATURE": 8,
    "INVALID_ENDORSER_TRANSACTION": 7,
    "UNSUPPORTED_TX_PAYLOAD": 1,
    "BAD_PROPOSAL_TXID": 2,
    "DUPLICATE_TXID": 5,
    "ENDORSEMENT_POLICY_FAILURE": 38,
    "MVCC_READ_CONFLICT": 17,
    "PHANTOM_READ_CONFLICT": 12,
    "BAD_HEADER_EXTENSION": 1,
    "BAD_RESPONSE_PAYLOAD": 2,
    "BAD_RWSET": 2,
    "ILLEGAL_WRITESET": 2,
    "INVALID_CHAINCODE": 5,
    "INVALID_OTHER_REASON": 4,
}
# Blocks whose copies are damaged: genesis, private data, policies, configuration, odd envelopes.
DAMAGED = (0, 5, 40, 55, 66)


@pytest.fixture(scope="module")
def signatures() -> Iterator[SignaturePool]:
    pool = SignaturePool(2)
    yield pool
    pool.close()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "copy"))


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_replay_of_the_recording_finds_no_difference_and_lists_every_code() -> None:
    """Codes, commit hashes and the peer's snapshot: all the same, exit 0."""
    status, output = run(FOLDER, "--compare-snapshot")
    assert status == 0, output
    lines = output.splitlines()
    for block in load("expected.json")["blocks"]:
        first = lines.index(
            f"block {block['number']}: {len(block['transactions'])} "
            f"transaction{'' if len(block['transactions']) == 1 else 's'}"
        )
        ours, theirs = lines[first + 1], lines[first + 2]
        assert ours.removeprefix("  ours:   ") == theirs.removeprefix("  theirs: ")
        assert ours.endswith(block["commit_hash"] or "none")
    # The genesis block's configuration is a transaction, too, and valid.
    listed = {line.split()[1]: int(line.split()[2]) for line in lines if line[:5].strip().isdigit()}
    assert listed == CODES
    assert "compared: codes 252, commit hashes 70" in lines
    assert lines[-1].endswith(
        "at block 70: the same in 10 files, 262 public entries, 56 private hashes, "
        "243 transaction ids, 2 collection definitions"
    )


def test_replay_takes_the_option_before_the_folder_too(copy: Path) -> None:
    """``--compare-snapshot DIR`` and ``DIR --compare-snapshot OTHER`` mean what they say."""
    moved = copy / "elsewhere"
    assert run("--compare-snapshot", copy)[0] == 0
    assert "at block 70: the same" in run(copy / "blocks", "--compare-snapshot")[1]
    (copy / "snapshot").rename(moved)
    with pytest.raises(RecordingError, match="give the folder of a peer's snapshot"):
        run("--compare-snapshot", copy)
    assert run(copy, "--compare-snapshot", moved)[0] == 0


def test_replay_for_programs_is_one_object() -> None:
    """With what the lines say."""
    status, output = run(FOLDER, "--json", "--compare-snapshot")
    found = json.loads(output)
    assert status == 0
    assert found["codes"] == CODES
    assert (found["channel"], found["height"]) == ("qist-raft", HEIGHT)
    assert found["difference"] is None
    assert found["blocks"][8]["ours"] == found["blocks"][8]["theirs"]
    assert found["snapshot"]["compared"]["public entries"] == 262


def test_replay_goes_on_in_a_ledger_that_is_kept(copy: Path, tmp_path: Path) -> None:
    """What was replayed before is not judged again, and another chain in its place is found."""
    kept = tmp_path / "kept"
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for number in range(30, HEIGHT):
        name = f"{number:06}.block"
        (copy / "blocks" / name).rename(hidden / name)
    assert "height 30" in run(copy, "--ledger", kept)[1]
    for file in sorted(hidden.iterdir()):
        file.rename(copy / "blocks" / file.name)
    status, output = run(copy, "--ledger", kept, "--compare-snapshot")
    assert status == 0
    assert "41 blocks" in output
    assert "262 public entries" in output
    (copy / "blocks" / "000007.block").write_bytes(recorded_raw(9)[8])
    status, output = run(copy, "--ledger", kept)
    assert status == 1
    assert "the ledger that was kept" in output


def test_blocks_without_outcome_are_judged_and_nothing_is_compared(
    copy: Path, signatures: SignaturePool
) -> None:
    """Blocks from an orderer carry neither codes nor commit hash: said, and no difference."""
    for file in sorted((copy / "blocks").iterdir()):
        message = common_pb2.Block.FromString(file.read_bytes())
        message.metadata.metadata[TRANSACTIONS_FILTER] = b""
        message.metadata.metadata[COMMIT_HASH] = b""
        file.write_bytes(message.SerializeToString())
    status, output = run(copy)
    assert status == 0
    assert "theirs: no codes in the block; commit hash none" in output
    assert "there was nothing to compare" in output
    assert f"last commit hash {load('expected.json')['blocks'][-1]['commit_hash']}" in output


def varint(number: int) -> bytes:
    """Return protobuf's varint of a small number."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def part(raw: bytes) -> bytes:
    return varint(len(raw)) + raw


def test_block_file_of_a_peer_is_replayed_like_its_blocks(tmp_path: Path) -> None:
    """``blockfile_NNNNNN``: a record that was being written at the end is passed over."""
    records = []
    for each in recorded_blocks():
        block = each.block
        raw = varint(block.number) + part(block.header.data_hash) + part(block.header.previous_hash)
        for entries in (block.data, block.metadata):
            raw += varint(len(entries)) + b"".join(map(part, entries))
        records.append(part(raw))
    (tmp_path / "blockfile_000000").write_bytes(b"".join(records[:40]))
    (tmp_path / "blockfile_000001").write_bytes(b"".join(records[40:]) + records[70][:500])
    status, output = run(tmp_path)
    assert status == 0
    assert "71 blocks, 252 transactions" in output
    (tmp_path / "blockfile_000001").write_bytes(b"\x05hello")
    with pytest.raises(RecordingError, match="blockfile_000001 at offset 0 is no block"):
        run(tmp_path)


def test_blocks_whose_names_tell_no_order_are_read_by_their_numbers(tmp_path: Path) -> None:
    """As ``peer channel fetch`` names them, and as nobody would."""
    for name in ("qist-raft_{}.block", "{}.block", "block.{}.of.the.channel.block"):
        folder = tmp_path / name
        folder.mkdir()
        for number in (0, 2, 10, 9, 1):
            (folder / name.format(number)).write_bytes(recorded_raw(11)[number])
        found = [Block.decode(each.raw).number for each in Recording(folder)]
        assert found == [0, 1, 2, 9, 10]
    folder = tmp_path / "odd"
    folder.mkdir()
    for number, name in enumerate(("newest", "a", "the first after it", "z")):
        (folder / f"{name}.block").write_bytes(recorded_raw(4)[number])
    assert [Block.decode(each.raw).number for each in Recording(folder)] == [0, 1, 2, 3]


def test_folder_without_blocks_or_genesis_is_refused(tmp_path: Path, copy: Path) -> None:
    """A replay needs the chain from its beginning."""
    with pytest.raises(RecordingError, match="holds no blocks"):
        Recording(tmp_path / "nothing")
    (copy / "blocks" / "000000.block").unlink()
    with pytest.raises(RecordingError, match="begins with the genesis block, number 0"):
        run(copy)


def differences(
    numbers: list[tuple[int, bytes]], tmp_path: Path, signatures: SignaturePool
) -> Iterator[Difference | Refusal | None]:
    """Yield what comes of each damaged block, offered where the whole one stood.

    Cheap if the numbers rise: the ledger grows with them.
    """
    blocks = recorded_raw(HEIGHT)
    ledger: ChannelLedger | None = None
    for place, (number, raw) in enumerate(numbers):
        if ledger is None or ledger.height > number:
            if ledger is not None:
                ledger.close()
            ledger = ChannelLedger.open(tmp_path / f"ledger {place}")
        replay_all(blocks[:number], ledger, signatures)
        try:
            after = blocks[number + 1 : number + 2]
            found = replay_all([*blocks[:number], raw, *after], ledger, signatures)
        except Refusal as refused:
            yield refused
        else:
            yield found[-1].difference
    if ledger is not None:
        ledger.close()


def test_flipped_bit_anywhere_in_a_block_is_found(
    tmp_path: Path, signatures: SignaturePool
) -> None:
    """Over a sample of positions: header, envelopes, signatures, codes, hash, encoding."""
    random = Random(31)
    damaged = []
    for number in DAMAGED:
        raw = recorded_raw(HEIGHT)[number]
        places = [0, 1, 2, *random.sample(range(len(raw)), 8)]
        behind = (0, 5, 30, 36, 38, *random.sample(range(40, 1000), 6))
        places += [len(raw) - 1 - each for each in behind]
        for place in places:
            damage = bytearray(raw)
            damage[place] ^= 1 << random.randrange(8)
            damaged.append((number, bytes(damage)))
    found = list(differences(damaged, tmp_path, signatures))
    assert len(found) == len(damaged) > 90
    for (number, _), difference in zip(damaged, found, strict=True):
        assert difference is not None
        if isinstance(difference, Difference):
            assert difference.check
            assert difference.block_num in (number, number + 1)


def changed(number: int, entry: int, raw: bytes) -> bytes:
    """Return a recorded block with another metadata entry."""
    block = recorded_blocks()[number].block
    entries = list(block.metadata)
    entries[entry] = raw
    return Block(block.header, block.data, tuple(entries)).encode()


def test_code_that_differs_is_named_with_the_transaction_and_the_check(
    tmp_path: Path, signatures: SignaturePool
) -> None:
    """For each kind of verdict: block, transaction, id, check, key, and what it hung on."""
    recorded = recorded_blocks()
    wanted = {
        "MVCC_READ_CONFLICT": ("versions that were read", "read at version"),
        "PHANTOM_READ_CONFLICT": ("ranges that were read", "changed in this block by transaction "),
        "ENDORSEMENT_POLICY_FAILURE": ("policy", "endorsed by "),
        "DUPLICATE_TXID": ("transaction id, once in the channel", "has this id"),
        "BAD_CREATOR_SIGNATURE": ("creator and signature", ""),
        "INVALID_CHAINCODE": ("contract", ""),
        "BAD_RWSET": ("decoding of the read-write set", ""),
        "VALID": (": passed here", "endorsed by "),
    }
    cases: list[tuple[int, int, str]] = []
    for each in recorded[1:]:
        for place, code in enumerate(each.codes):
            if code.name in wanted and code.name not in {case[2] for case in cases}:
                cases.append((each.block.number, place, code.name))
    assert {name for _, _, name in cases} == set(wanted)
    damaged = []
    for number, place, _ in cases:
        codes = bytearray(recorded[number].codes)
        codes[place] = 16
        damaged.append((number, changed(number, TRANSACTIONS_FILTER, bytes(codes))))
    for case, found in zip(cases, differences(damaged, tmp_path, signatures), strict=True):
        number, place, name = case
        assert isinstance(found, Difference)
        check, detail = wanted[name]
        assert (found.block_num, found.tx_num) == (number, place)
        assert found.tx_id == recorded[number].transactions[place].index_id
        assert found.ours.endswith(name)
        assert found.theirs == "16 NIL_TXACTION"
        if name == "VALID":
            assert check in found.check
        else:
            assert check in found.check, found
        assert any(line.startswith(detail) or detail in line for line in found.detail), found
        assert found.detail[-1].startswith("the recorded commit hash is that of our codes")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (10, "policy of contract 'agreement': "),
        (11, "current: _lifecycle: key 'namespaces/fields/agreement/Sequence' at version ["),
        (12, "current: agreement, from "),
    ],
)
def test_verdict_of_theirs_that_ours_is_not_lists_what_it_can_have_meant(
    code: int, words: str, tmp_path: Path, signatures: SignaturePool
) -> None:
    """Where ours is VALID: the policies, the reads or the ranges that all hold here."""
    recorded = recorded_blocks()
    number, place = next(
        (each.block.number, place)
        for each in recorded
        for place, transaction in enumerate(each.transactions)
        if each.codes[place] == 0
        and transaction.chaincode == "agreement"
        and transaction.rwset is not None
        and (code != 12 or any(ns.range_queries for ns in transaction.rwset.namespaces))
    )
    codes = bytearray(recorded[number].codes)
    codes[place] = code
    (found,) = differences(
        [(number, changed(number, TRANSACTIONS_FILTER, bytes(codes)))], tmp_path, signatures
    )
    assert isinstance(found, Difference)
    assert found.tx_num == place
    assert found.check.endswith(": passed here")
    assert any(line.startswith(words) for line in found.detail), found.detail


def test_policy_that_failed_is_named_in_words(tmp_path: Path, signatures: SignaturePool) -> None:
    """The contract's, the collection's and the key's own, each with its key."""
    damaged = [
        (
            each.block.number,
            changed(
                each.block.number,
                TRANSACTIONS_FILTER,
                bytes(0 if code == 10 else code for code in each.codes),
            ),
        )
        for each in recorded_blocks()
        if 10 in each.codes
    ]
    seen: dict[str, Difference] = {}
    for found in differences(damaged, tmp_path, signatures):
        assert isinstance(found, Difference)
        seen.setdefault(found.check, found)
    assert set(seen) >= {
        "endorsement policy of contract 'agreement'",
        "endorsement policy of contract '_lifecycle'",
        "endorsement policy of collection 'kyc'",
        "key-level endorsement policy",
        "policy of a key, set by an earlier transaction of the block",
    }
    contract = seen["endorsement policy of contract 'agreement'"]
    assert contract.detail[0] == "policy: AND('BankMSP.peer', 'PtaMSP.peer')"
    assert contract.key.startswith("agreement: key ")
    assert seen["endorsement policy of collection 'kyc'"].key.startswith(
        "agreement, collection kyc: key hash "
    )


@pytest.mark.parametrize(
    ("number", "entry", "raw", "check"),
    [
        (5, COMMIT_HASH, b"", ""),
        (5, COMMIT_HASH, b"\x0a\x02ab", "commit hash of the peer"),
        (5, COMMIT_HASH, b"\x0a\x20" + bytes(32), "commit hash of the block"),
        (5, TRANSACTIONS_FILTER, b"\x00", "validation codes of the peer"),
        (57, LAST_CONFIG, b"\x0a\x02\x08\x38", "number of the last configuration block"),
        (57, LAST_CONFIG, b"\x08\x38", "form of the metadata"),
        (57, ORDERER, b"\x0a\x01x", "consenter metadata"),
        (0, LAST_CONFIG, b"\x0a\x02\x08\x01", "number of the last configuration block"),
        (0, TRANSACTIONS_FILTER, b"\x0a", "outcome of the genesis block"),
    ],
)
def test_metadata_that_no_peer_checks_are_compared_with_what_they_must_say(
    number: int, entry: int, raw: bytes, check: str, tmp_path: Path, signatures: SignaturePool
) -> None:
    """They repeat what is signed or judged elsewhere, so a copy cannot be damaged there unseen."""
    (found,) = differences([(number, changed(number, entry, raw))], tmp_path, signatures)
    if not check:
        assert found is None
    else:
        assert isinstance(found, Difference)
        assert found.check.startswith(check)


WHOLE_BLOCK = {
    "wrong-previous-hash": "previous hash in the header",
    "wrong-data-hash": "data hash in the header",
    "wrong-number": "number in the header",
    "signed-by-client": "the orderers' signatures",
    "no-signature": "the orderers' signatures",
    "empty-block": "data of the block",
    "envelope-fields-swapped": "form of an envelope",
    "envelope-overlong-varint": "form of an envelope",
    "envelope-without-signature": "form of an envelope",
    "envelope-without-payload": "form of an envelope",
    "empty-transaction": "form of an envelope",
    "transaction-not-protobuf": "form of an envelope",
    "signature-damaged": "the orderers' signatures",
    "four-metadata-entries": "metadata entries",
}


def test_block_that_the_peer_refused_is_a_difference(
    tmp_path: Path, signatures: SignaturePool
) -> None:
    """Named by the whole-block check or the signatures."""
    cases = sorted(load("refused/refused.json"), key=lambda case: case["offered_at_height"])
    damaged = [
        (case["offered_at_height"], (FOLDER / "refused" / case["file"]).read_bytes())
        for case in cases
    ]
    for case, found in zip(cases, differences(damaged, tmp_path, signatures), strict=True):
        assert isinstance(found, Difference)
        assert found.check == WHOLE_BLOCK[case["file"].removesuffix(".block")]
        assert found.tx_num == (0 if found.check == "form of an envelope" else None)


def test_flipped_bit_in_any_file_of_the_snapshot_is_found(copy: Path) -> None:
    """The snapshot's own hashes, its metadata, and the bytes of its JSON."""
    random = Random(7)
    kept = copy / "kept"
    assert run(copy, "--ledger", kept)[0] == 0
    for file in sorted((copy / "snapshot").iterdir()):
        whole = file.read_bytes()
        file.chmod(0o644)
        for place in random.sample(range(len(whole)), min(4, len(whole))):
            damage = bytearray(whole)
            damage[place] ^= 1 << random.randrange(8)
            file.write_bytes(bytes(damage))
            named = ""
            try:
                status, output = run(copy, "--ledger", kept, "--compare-snapshot")
            except Refusal as refused:
                status, named = 1, str(refused)
            else:
                named = output[output.index("DIFFERENCE") :]
            assert status == 1
            assert "snapshot" in named
        file.write_bytes(whole)
    assert run(copy, "--ledger", kept, "--compare-snapshot")[0] == 0
