"""The recorded chain, taken through the ledger: commit hashes, verdicts of MVCC, final state."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.blocks.metadata import commit_hash_of
from ledger.channel import ChannelLedger
from ledger.fsck import check_ledger
from ledger.state.keys import HASHED, TRANSACTION, decode_entry, hashed_prefix
from ledger.state.snapshot import LedgerSnapshot
from ledger.validation.commit_hash import compute_commit_hash
from ledger.validation.judgement import CONFIG_KEY, CONFIG_NAMESPACE, judge_block
from tests.support.recording import (
    FOLDER,
    HEIGHT,
    codes_before_mvcc,
    commit_recorded,
    load,
    recorded_blocks,
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChannelLedger]:
    """The recorded chain, committed with the verdicts up to MVCC."""
    opened = ChannelLedger.open(tmp_path_factory.mktemp("recorded") / "ledger")
    commit_recorded(opened)
    yield opened
    opened.close()


@pytest.fixture
def state(ledger: ChannelLedger) -> Iterator[LedgerSnapshot]:
    with ledger.snapshot() as snapshot:
        yield snapshot


def test_commit_hash_of_fabric_follows_from_the_recorded_codes(tmp_path: Path) -> None:
    """All 70 commit hashes are Fabric's, given the codes that its peer recorded."""
    with_codes = ChannelLedger.open(tmp_path / "ledger")
    previous = b""
    for recorded in recorded_blocks():
        with with_codes.snapshot() as before:
            judged = judge_block(
                recorded.block.number, recorded.transactions, recorded.codes, before
            )
        assert judged.codes == recorded.codes, "judging final verdicts changes none"
        if recorded.block.number:
            previous = compute_commit_hash(judged.codes, judged.updates.entries(), previous)
            assert previous.hex() == recorded.expected["commit_hash"]
        with_codes.commit(with_codes.prepare(recorded.block, recorded.transactions, recorded.codes))
    assert with_codes.commit_hash == previous
    with_codes.close()


def test_verdict_of_fabric_on_reads_and_double_ids_is_found_again(tmp_path: Path) -> None:
    """MVCC conflicts, phantoms and double ids in a block are found as Fabric's peer found them."""
    judging = ChannelLedger.open(tmp_path / "ledger")
    found: dict[str, int] = {}
    for recorded in recorded_blocks():
        codes = codes_before_mvcc(recorded, judging)
        prepared = judging.prepare(recorded.block, recorded.transactions, codes)
        for before, after in zip(codes, prepared.codes, strict=True):
            if before is not after:
                found[after.name] = found.get(after.name, 0) + 1
        assert prepared.codes == recorded.codes, recorded.expected["label"]
        assert prepared.block == recorded.block
        judging.commit(prepared)
    judging.close()
    assert found == {"MVCC_READ_CONFLICT": 17, "PHANTOM_READ_CONFLICT": 12, "DUPLICATE_TXID": 3}


def test_ledger_of_the_recording_ends_where_fabric_ended(ledger: ChannelLedger) -> None:
    """Height, last header hash and last commit hash are those of Fabric's own snapshot."""
    signable = load("snapshot/_snapshot_signable_metadata.json")
    additional = load("snapshot/_snapshot_additional_metadata.json")
    assert ledger.height == signable["last_block_number"] + 1 == HEIGHT
    assert ledger.last_header_hash.hex() == signable["last_block_hash"]
    assert ledger.commit_hash.hex() == additional["last_block_commit_hash"]


def test_block_of_the_recording_is_stored_as_it_came(ledger: ChannelLedger) -> None:
    """Blocks come back byte for byte, by number, by header hash and by iteration."""
    for recorded, stored in zip(recorded_blocks(), ledger.blocks(), strict=True):
        assert stored.encode() == recorded.raw
        assert ledger.block_by_hash(recorded.block.header.hash()) == stored
    assert [each.number for each in ledger.blocks(69)] == [69, 70]
    assert ledger.block(HEIGHT) is None
    assert ledger.block_by_hash(bytes(32)) is None


def _entry(recorded: dict[str, Any], value: bytes) -> tuple[bytes, list[int], bytes]:
    return value, recorded["version"], base64.b64decode(recorded.get("metadata_b64", ""))


def test_public_state_of_the_recording_is_fabrics(state: LedgerSnapshot) -> None:
    """Every public key has Fabric's value, version and metadata, and there is none besides."""
    for namespace, entries in load("state.json")["public"].items():
        expected = {each["key"]: _entry(each, base64.b64decode(each["value"])) for each in entries}
        found = {
            key: (entry.value, list(entry.version), entry.metadata)
            for key, entry in state.range(namespace, "", "")
        }
        assert found == expected
        assert list(found) == [each["key"] for each in entries], "the order of a scan"


def _hashed(state: LedgerSnapshot) -> dict[tuple[str, str, str], tuple[bytes, list[int], bytes]]:
    """Return all hashed private state that is stored, whatever its collection."""
    names = [name.split("$$h") for name in load("state.json")["private_hashes"]]
    names.append(["agreement", "score"])
    found = {}
    for key, raw in state._snapshot.items(HASHED, bytes((HASHED[0] + 1,))):
        for namespace, collection in names:
            prefix = hashed_prefix(namespace, collection)
            if key.startswith(prefix):
                entry = decode_entry(raw)
                place = (namespace, collection, key[len(prefix) :].hex())
                found[place] = (entry.value, list(entry.version), entry.metadata)
                break
        else:
            pytest.fail(f"a hashed key of no collection: {key.hex()}")
    return found


def test_private_state_of_the_recording_is_fabrics(state: LedgerSnapshot) -> None:
    """Every private key hash is as Fabric has it; those of `score` lived three blocks and went."""
    expected = {
        (*name.split("$$h"), each["key_hash"]): _entry(each, bytes.fromhex(each["value_hash"]))
        for name, entries in load("state.json")["private_hashes"].items()
        for each in entries
    }
    assert _hashed(state) == expected
    assert not any(collection == "score" for _, collection, _ in expected)


def test_private_hash_of_a_collection_goes_when_its_blocks_have_passed(tmp_path: Path) -> None:
    """A hash in `score`, blocks to live 3, is there until four blocks after it, then gone."""
    opened = ChannelLedger.open(tmp_path / "ledger")
    writers: dict[bytes, int] = {}
    seen_until: dict[bytes, int] = {}
    for recorded in recorded_blocks():
        prepared = opened.prepare(recorded.block, recorded.transactions, recorded.codes)
        for namespace, collection, updates in prepared.updates.hashed():
            if (namespace, collection) == ("agreement", "score"):
                for key_hash, update in updates.items():
                    if update.value is not None:
                        writers[key_hash] = recorded.block.number
        opened.commit(prepared)
        with opened.snapshot() as state:
            for key_hash in writers:
                if state.get_hashed("agreement", "score", key_hash) is not None:
                    seen_until[key_hash] = recorded.block.number
    opened.close()
    assert writers
    assert {key: block + 3 for key, block in writers.items()} == seen_until


def _records(name: str) -> Iterator[bytes]:
    """Iterate over the length-prefixed records of a file of Fabric's snapshot."""
    raw = (FOLDER / "snapshot" / name).read_bytes()
    assert raw[0] == 1, "the format of the file"
    at = 1
    while at < len(raw):
        length, at = _varint(raw, at)
        yield raw[at : at + length]
        at += length


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (raw[at] & 0x7F) << shift
        shift += 7
        at += 1
        if raw[at - 1] < 0x80:
            return number, at


def _fields(raw: bytes) -> dict[int, bytes]:
    """Return the length-delimited fields of a protobuf message."""
    fields, at = {}, 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        assert tag & 7 == 2
        length, at = _varint(raw, at)
        fields[tag >> 3] = raw[at : at + length]
        at += length
    return fields


def test_transaction_ids_of_the_ledger_are_those_of_fabrics_snapshot(
    ledger: ChannelLedger, state: LedgerSnapshot
) -> None:
    """The ledger files exactly the ids that Fabric's snapshot lists, each at its first place."""
    listed = [record.decode() for record in _records("txids.data")]
    filed = [
        key[1:].decode()
        for key, _ in state._snapshot.items(TRANSACTION, bytes((TRANSACTION[0] + 1,)))
    ]
    assert filed == listed
    first: dict[str, tuple[int, int, int]] = {}
    for recorded in recorded_blocks():
        for tx_num, (transaction, code) in enumerate(
            zip(recorded.transactions, recorded.codes, strict=True)
        ):
            first.setdefault(transaction.index_id, (code, recorded.block.number, tx_num))
    for tx_id in listed:
        assert ledger.transaction(tx_id) == first[tx_id]
        assert ledger.has_transaction(tx_id)
    assert ledger.transaction("0" * 64) is None
    assert not ledger.has_transaction("0" * 64)


def test_configuration_in_the_state_is_the_one_of_fabrics_snapshot(state: LedgerSnapshot) -> None:
    """The configuration in force stands under Fabric's key with Fabric's bytes."""
    record = _fields(next(_records("public_state.data")))
    assert record[1].decode() == CONFIG_KEY
    entry = state.get(CONFIG_NAMESPACE, CONFIG_KEY)
    assert entry is not None
    assert entry.value == record[2]
    assert entry.version.block_num == 61, "the block of the last configuration"


def test_history_of_every_key_is_what_the_valid_transactions_wrote(state: LedgerSnapshot) -> None:
    """The history of a key is every valid write of it, newest first, deletes among them."""
    expected: dict[tuple[str, str], list[tuple[str, tuple[int, int], bytes, bool]]] = {}
    for recorded in recorded_blocks():
        for tx_num, (transaction, code) in enumerate(
            zip(recorded.transactions, recorded.codes, strict=True)
        ):
            if code != 0 or transaction.rwset is None:
                continue
            for each in transaction.rwset.namespaces:
                for write in {write.key: write for write in each.writes}.values():
                    expected.setdefault((each.namespace, write.key), []).insert(
                        0,
                        (
                            transaction.tx_id,
                            (recorded.block.number, tx_num),
                            write.value,
                            write.deletes,
                        ),
                    )
    for (namespace, key), changes in expected.items():
        found = [
            (each.tx_id, tuple(each.version), each.value, each.is_delete)
            for each in state.history(namespace, key)
        ]
        assert found == changes
    assert list(state.history("agreement", "no such key")) == []


def test_reopened_ledger_of_the_recording_needs_no_recovery(tmp_path: Path) -> None:
    """After a clean stop nothing is done at opening; without its state it is made anew, equal."""
    path = tmp_path / "ledger"
    opened = ChannelLedger.open(path)
    commit_recorded(opened)
    last = (opened.height, opened.last_header_hash, opened.commit_hash)
    opened.close()
    again = ChannelLedger.open(path)
    assert (again.height, again.last_header_hash, again.commit_hash) == last
    assert again.recovered == ()
    again.close()
    (path / "state").rename(tmp_path / "lost")
    rebuilt = ChannelLedger.open(path)
    assert rebuilt.recovered == ("rebuilt the state from 71 stored blocks",)
    assert (rebuilt.height, rebuilt.last_header_hash, rebuilt.commit_hash) == last
    rebuilt.close()
    report = check_ledger(path)
    assert report.findings == ()
    assert report.counts.transactions == 252
    assert commit_hash_of(recorded_blocks()[-1].block) == report.commit_hash
