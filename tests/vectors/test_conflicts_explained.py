"""The cause of every conflict in the recorded chain, found from its blocks alone."""

from __future__ import annotations

from clients.explorer.chain import Recorded, recorded
from clients.explorer.conflicts import CONFLICTS, find_conflict
from clients.explorer.views import block_view, transaction_view
from ledger.blocks.block import Block
from ledger.transactions.codes import TxValidationCode
from tests.support.recording import recorded_blocks

# No transaction is to blame: a version that never was, and private data whose time was over.
NOBODYS = {(16, 1), (49, 0)}


def block_at(number: int) -> Block:
    """A recorded block."""
    return recorded_blocks()[number].block


def conflicts() -> list[Recorded]:
    """Every transaction of the recording that Fabric found in conflict."""
    return [
        each
        for block in recorded_blocks()
        for each in recorded(block.block)
        if each.code in CONFLICTS
    ]


def test_conflict_of_the_recording_is_explained_by_a_key_and_its_winner() -> None:
    """Every conflict caused by a transaction has a key that an earlier valid one wrote."""
    found = conflicts()
    assert len(found) == 29
    for lost in found:
        conflict = find_conflict(lost, block_at)
        place = (lost.block.number, lost.place)
        assert (conflict is None) is (place in NOBODYS), place
        if conflict is None:
            continue
        if lost.code is TxValidationCode.PHANTOM_READ_CONFLICT:
            assert conflict.is_range
        winners = [
            each
            for each in recorded(block_at(conflict.block_num))
            if each.transaction.tx_id == conflict.changed_by and each.code is TxValidationCode.VALID
        ]
        assert len(winners) == 1
        assert (conflict.block_num, winners[0].place) < place
        assert conflict.changed_by in str(conflict)


def test_transaction_without_a_conflict_has_none() -> None:
    """Valid ones and those that failed for another reason are not explained by a key."""
    for block in recorded_blocks():
        for each in recorded(block.block):
            if each.code not in CONFLICTS:
                assert find_conflict(each, block_at) is None


def test_view_of_any_recorded_block_and_transaction_says_code_and_reason() -> None:
    """Malformed envelopes, configuration, private data: every one can be shown."""
    for block in recorded_blocks():
        view = block_view(block.block)
        expected = block.expected
        assert view["number"] == block.block.number
        assert [each["code"] for each in view["transactions"]] == [
            code.name for code in block.codes
        ]
        assert view["hash"] == block.block.header.hash().hex()
        assert expected
        for each in recorded(block.block):
            shown = transaction_view(each)
            assert shown["why"]
            assert bool(shown["way_out"]) is (each.code is not TxValidationCode.VALID)
