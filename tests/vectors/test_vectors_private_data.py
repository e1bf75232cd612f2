"""Private data of the recorded chain: kept, purged, expired and reconciled as Fabric's peers do."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.channel import ChannelLedger
from ledger.fsck import check_ledger
from ledger.state.private import NOTHING, BlockPrivate, MissingPrivate
from ledger.transactions.private import (
    PrivateWrite,
    TxPrivate,
    decode_private_rwset,
    decode_tx_private,
    encode_private_rwset,
    encode_tx_private,
    hash_key,
    hash_value,
    private_collections,
)
from tests.support.recorded_private import MEMBERS, PURGED, as_written, returned
from tests.support.recording import FOLDER, HEIGHT, load, recorded_blocks

COLLECTIONS = {
    "PtaMSP": {"kyc", "_implicit_org_PtaMSP"},
    "OperatorMSP": {"score", "_implicit_org_OperatorMSP"},
}


def _belongs(member: str, write: PrivateWrite) -> bool:
    return write.collection in COLLECTIONS[member]


def _commit_all(ledger: ChannelLedger, held: dict[tuple[int, int], TxPrivate], member: str) -> None:
    """Commit the recorded chain as a peer of *member* that finds the sets *held* in time."""
    for recorded in recorded_blocks():
        number = recorded.block.number
        given = {tx_num: sets for (block, tx_num), sets in held.items() if block == number}
        missing = [
            MissingPrivate(number, tx_num, namespace, each.collection, True)
            for tx_num, transaction in enumerate(recorded.transactions)
            if transaction.rwset is not None and tx_num not in given
            for namespace, each in private_collections(transaction.rwset)
            if each.collection in COLLECTIONS[member]
        ]
        prepared = ledger.prepare(recorded.block, recorded.transactions, recorded.codes)
        private = BlockPrivate(given, missing) if given or missing else NOTHING
        ledger.commit(prepared, private)
        assert prepared.block == recorded.block


def _held_at_the_end(ledger: ChannelLedger) -> dict[tuple[int, int], TxPrivate]:
    return {
        (number, tx_num): sets
        for number in range(HEIGHT)
        for tx_num, sets in ledger.private_data(number).items()
    }


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ChannelLedger]:
    opened = ChannelLedger.open(tmp_path / "ledger")
    yield opened
    opened.close()
    assert check_ledger(tmp_path / "ledger").findings == ()


def test_files_of_the_recording_come_apart_and_together_again() -> None:
    """Encoding what was decoded gives Fabric's bytes back, of the sets and of what is in them."""
    files = sorted((FOLDER / "pvtdata").glob("*/*.pvtrwset"))
    assert len(files) == 17
    for path in files:
        raw = path.read_bytes()
        sets = decode_tx_private(raw)
        assert encode_tx_private(sets) == raw
        for write in sets:
            assert encode_private_rwset(decode_private_rwset(write.rwset)) == write.rwset


@pytest.mark.parametrize("member", MEMBERS)
def test_member_that_had_all_in_time_ends_with_what_fabrics_peer_returned(
    ledger: ChannelLedger, member: str
) -> None:
    """Purged keys are out of their sets, expired sets are gone, the rest is there to the byte."""
    held = {
        place: sets
        for place, sets in as_written().items()
        # Its peer never had the one that nobody sent it: the endorsement failed elsewhere.
        if _belongs(member, sets[0]) and place != (39, 7)
    }
    assert (member == "PtaMSP") == PURGED.issubset(held)
    _commit_all(ledger, held, member)
    assert _held_at_the_end(ledger) == returned(member)
    for number, tx_num in PURGED & held.keys():
        assert ledger.private_data(number)[tx_num][0].rwset == b""


def test_member_that_gets_everything_late_ends_with_what_fabrics_peer_returned(
    ledger: ChannelLedger,
) -> None:
    """Late data, the purged sets as the other member has them, come to the same end."""
    _commit_all(ledger, {}, "PtaMSP")
    assert _held_at_the_end(ledger) == {}
    awaited = ledger.missing_private(100)
    expected = returned("PtaMSP")
    assert {(each.block_num, each.tx_num) for each in awaited} == {*expected, (39, 7)}
    assert awaited == sorted(awaited, key=lambda each: (each.block_num, each.tx_num), reverse=True)
    assert ledger.missing_private(2) == awaited[:2]
    assert ledger.missing_private(3, awaited[1]) == awaited[2:5]
    items = [(*place, write) for place, (write,) in expected.items()]
    assert ledger.add_private(items) == []
    assert _held_at_the_end(ledger) == expected
    assert [(each.block_num, each.tx_num) for each in ledger.missing_private(100)] == [(39, 7)]
    _verify_plain_state(ledger, {"kyc", "_implicit_org_PtaMSP"})


def test_whole_sets_that_come_late_lose_what_was_purged_meanwhile(ledger: ChannelLedger) -> None:
    """A set as it was written, sent by a member that has not purged, is stored without the key."""
    _commit_all(ledger, {}, "PtaMSP")
    items = [
        (*place, write)
        for place, (write,) in as_written().items()
        if _belongs("PtaMSP", write) and place != (39, 7)
    ]
    assert ledger.add_private(items) == []
    assert _held_at_the_end(ledger) == returned("PtaMSP")


def test_expired_data_that_come_late_are_not_taken(ledger: ChannelLedger) -> None:
    """`score` has expired at the end: its sets are neither awaited nor taken."""
    _commit_all(ledger, {}, "OperatorMSP")
    assert not [each for each in ledger.missing_private(100) if each.collection == "score"]
    items = [(*place, write) for place, (write,) in as_written().items() if place in {(44, 0)}]
    (refused,) = ledger.add_private(items)
    assert (refused.block_num, refused.collection) == (44, "score")
    assert "expired" in refused.reason
    assert ledger.private_data(44) == {}


def test_plain_score_is_there_until_its_blocks_have_passed(tmp_path: Path) -> None:
    """`score` lives three blocks: its plain value goes with its hash, four blocks after it."""
    opened = ChannelLedger.open(tmp_path / "ledger")
    seen: dict[str, list[int]] = {}
    for recorded in recorded_blocks():
        number = recorded.block.number
        given = {
            tx_num: sets
            for (block, tx_num), sets in as_written().items()
            if block == number and _belongs("OperatorMSP", sets[0])
        }
        prepared = opened.prepare(recorded.block, recorded.transactions, recorded.codes)
        opened.commit(prepared, BlockPrivate(given))
        with opened.snapshot() as state:
            for key, entry in state.range_private("agreement", "score", "", ""):
                assert state.get_hashed("agreement", "score", hash_key(key)) == (
                    hash_value(entry.value),
                    entry.version,
                    b"",
                )
                seen.setdefault(key, []).append(number)
    opened.close()
    assert seen == {"b1": [39, 40, 41, 42], "b3": [44, 45, 46, 47]}
    assert check_ledger(tmp_path / "ledger").findings == ()


def _hashes(collections: set[str]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found = {}
    for name, entries in load("state.json")["private_hashes"].items():
        namespace, collection = name.split("$$h")
        if collection in collections:
            found[namespace, collection] = entries
    return found


def _verify_plain_state(ledger: ChannelLedger, collections: set[str]) -> None:
    """Check that each hash of the recorded state has its plain entry, at the same version."""
    with ledger.snapshot() as state:
        for (namespace, collection), entries in _hashes(collections).items():
            plain = dict(state.range_private(namespace, collection, "", ""))
            assert {hash_key(key).hex() for key in plain} == {each["key_hash"] for each in entries}
            for key, entry in plain.items():
                (recorded,) = [each for each in entries if each["key_hash"] == hash_key(key).hex()]
                assert hash_value(entry.value).hex() == recorded["value_hash"]
                assert list(entry.version) == recorded["version"]
                assert entry.metadata == b"", "metadata stand with the hash"
                hashed = state.get_hashed(namespace, collection, hash_key(key))
                assert hashed is not None
                assert hashed.metadata == base64.b64decode(recorded.get("metadata_b64", ""))


def test_plain_state_of_the_recording_has_the_recorded_hashes(ledger: ChannelLedger) -> None:
    """With every set held, each private hash of Fabric's state has its value, key and version."""
    everything = as_written()
    _commit_all(ledger, everything, "PtaMSP")
    collections = {write.collection for sets in everything.values() for write in sets}
    assert collections == {
        "kyc",
        "score",
        "_implicit_org_BankMSP",
        "_implicit_org_OperatorMSP",
        "_implicit_org_PtaMSP",
    }
    # The approvals of the bank are in no file, so its own collection is known in one key only.
    _verify_plain_state(ledger, {"kyc", "score", "_implicit_org_OperatorMSP"})
    with ledger.snapshot() as state:
        memo = state.get_private("agreement", "_implicit_org_BankMSP", "memo")
        assert memo is not None
        assert (memo.value, tuple(memo.version)) == (b"note", (39, 6))


def test_set_of_another_transaction_is_refused_by_name(ledger: ChannelLedger) -> None:
    """What does not have the hashes in the block is not taken, and the answer says of what."""
    _commit_all(ledger, {}, "PtaMSP")
    (write,) = as_written()[40, 1]
    elsewhere = PrivateWrite(write.namespace, "terms", write.rwset)
    for late, reason in ((write, "the hash of a value"), (elsewhere, "the block names none")):
        (refused,) = ledger.add_private([(39, 0, late)])
        assert refused[:4] == (39, 0, "agreement", late.collection)
        assert reason in refused.reason
    assert ledger.private_data(39) == {}


def test_set_of_which_all_is_purged_is_taken_without_a_key(ledger: ChannelLedger) -> None:
    """Nothing is left to be compared, so whatever comes ends the waiting, as in Fabric."""
    _commit_all(ledger, {}, "PtaMSP")
    (write,) = as_written()[40, 1]
    assert ledger.add_private([(number, tx_num, write) for number, tx_num in sorted(PURGED)]) == []
    for number, tx_num in PURGED:
        assert ledger.private_data(number)[tx_num][0].rwset == b""
