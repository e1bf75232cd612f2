"""MVCC, phantoms and updates against a model that runs every transaction again at its turn."""

from __future__ import annotations

from hypothesis import given, settings

from ledger.state.ports import VersionedValue
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ENDORSER_TRANSACTION, ParsedTransaction
from ledger.transactions.rwset import TxRWSet, decode_tx_rwset, encode_tx_rwset
from ledger.validation.judgement import judge_block
from ledger.validation.updates import BlockUpdates
from tests.support.naive_world import COLLECTION, NaiveWorld, Program, chains


def _transaction(name: str, rwset: TxRWSet) -> ParsedTransaction:
    return ParsedTransaction(
        b"",
        tx_id=name,
        index_id=name,
        header_type=ENDORSER_TRANSACTION,
        rwset=decode_tx_rwset(encode_tx_rwset(rwset)),
    )


@given(chains)
@settings(max_examples=300)
def test_judgement_of_blocks_equals_running_them_again(
    chain: list[list[tuple[Program, int]]],
) -> None:
    """Codes and updates are those of a world that simply runs every program again."""
    worlds = [NaiveWorld()]
    for block_num, block in enumerate(chain, start=1):
        world = worlds[-1].copy()
        simulated = [
            (program, worlds[max(0, len(worlds) - 1 - age)].simulate(program))
            for program, age in block
        ]
        transactions = [
            _transaction(f"{block_num}/{index}", rwset)
            for index, (_, rwset) in enumerate(simulated)
        ]
        before = worlds[-1]
        judged = judge_block(block_num, transactions, [TxValidationCode.VALID] * len(block), before)
        assert list(judged.codes) == world.judge_and_apply(block_num, simulated)
        again = judge_block(block_num, transactions, judged.codes, before)
        assert again.codes == judged.codes
        assert list(again.updates.entries()) == list(judged.updates.entries())
        _verify_updates(judged.updates, before, world)
        assert [
            (marks.namespace, key.decode(), Version(block_num, marks.tx_num))
            for marks in judged.updates.history
            for key in marks.keys
        ] == [(ns, key, version) for ns, key, version, *_ in world.writes[len(before.writes) :]]
        worlds.append(world)


def _verify_updates(updates: BlockUpdates, before: NaiveWorld, after: NaiveWorld) -> None:
    """The updates, put over the state before, give the state after."""
    built = before.copy()
    order = []
    for namespace, collection, (key, value, version, metadata) in updates.entries():
        order.append((namespace, collection, key))
        entry = None if value is None else VersionedValue(value, version, metadata)
        if collection:
            assert collection == COLLECTION
            _put(built.private.setdefault(namespace, {}), key, entry)
        else:
            _put(built.public.setdefault(namespace, {}), key.decode(), entry)
    assert order == sorted(order), "the order of the commit hash"
    assert _filled(built.public) == _filled(after.public)
    assert _filled(built.private) == _filled(after.private)


def _put(place: dict, key: str | bytes, entry: VersionedValue | None) -> None:
    if entry is None:
        place.pop(key, None)
    else:
        place[key] = entry


def _filled(state: dict[str, dict]) -> dict[str, dict]:
    return {name: entries for name, entries in state.items() if entries}
