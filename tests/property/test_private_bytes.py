"""Private data of any bytes: refused, or taken for exactly what they say; nothing else escapes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.channel import ChannelLedger
from ledger.errors import DecodeError
from ledger.fsck import check_ledger
from ledger.state.private import PrivateDataError
from ledger.state.private_check import is_part, read_held, verify_private
from ledger.transactions.private import (
    PrivateWrite,
    decode_private_rwset,
    decode_tx_private,
    encode_private_rwset,
    encode_tx_private,
    hash_key,
    hash_value,
    matches,
    private_collections,
)
from tests.support.chain import commit, make_config_envelope
from tests.support.private_chain import SHOP, Op, hashed_set, plain_set, private_envelope
from tests.support.recorded_private import MEMBERS, as_written
from tests.support.recording import FOLDER, recorded_blocks

FILES = [
    path.read_bytes()
    for member in MEMBERS
    for path in sorted((FOLDER / "pvtdata" / member).glob("*.pvtrwset"))
]
SETS = {
    place: (write, hashed)
    for place, (write,) in as_written().items()
    if (rwset := recorded_blocks()[place[0]].transactions[place[1]].rwset) is not None
    for namespace, hashed in private_collections(rwset)
    if (namespace, hashed.collection) == (write.namespace, write.collection)
}


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Draw bytes with some of them changed, taken out or put in."""
    raw = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(raw) - 1)))
        how = draw(st.sampled_from(("change", "cut", "insert", "repeat")))
        if how == "change" and raw:
            raw[place] = draw(st.integers(0, 255))
        elif how == "cut":
            del raw[place : place + draw(st.integers(1, 9))]
        elif how == "insert":
            raw[place:place] = draw(st.binary(max_size=9))
        else:
            raw += raw[place:]
    return bytes(raw)


def foreign(whole: list[bytes]) -> st.SearchStrategy[bytes]:
    """Draw damaged ones of *whole*, or any bytes."""
    return st.one_of(damaged(st.sampled_from(whole)), st.binary(max_size=80))


@given(foreign(FILES))
@settings(max_examples=300)
def test_private_data_of_any_bytes_come_apart_or_are_refused(raw: bytes) -> None:
    """What decodes is encoded to what decodes to the same."""
    try:
        sets = decode_tx_private(raw)
    except DecodeError:
        return
    assert decode_tx_private(encode_tx_private(sets)) == sets
    for write in sets:
        assert write.namespace
        assert write.collection
        held = read_held(write.rwset)
        assert decode_private_rwset(encode_private_rwset(held)) == held


@given(st.sampled_from(sorted(SETS)), st.data())
@settings(max_examples=300)
def test_set_of_any_bytes_is_taken_for_what_the_block_says_or_not_at_all(
    place: tuple[int, int], data: st.DataObject
) -> None:
    """Whatever was purged: each value that is taken has its hash in the block, and none is lost."""
    write, hashed = SETS[place]
    raw = data.draw(foreign([write.rwset]))
    known = {each.key_hash: each for each in hashed.hashed_writes}
    purged = data.draw(st.sets(st.sampled_from(sorted(known)))) if known else set()
    is_part(raw, hashed)
    try:
        verified = verify_private(raw, hashed, purged)
    except PrivateDataError:
        assert raw != write.rwset
        return
    taken = decode_private_rwset(verified.rwset)
    assert {hash_key(each.key) for each in taken.writes} == known.keys() - purged
    for each in taken.writes:
        expected = known[hash_key(each.key)]
        assert each.deletes == expected.deletes
        assert each.deletes or hash_value(each.value) == expected.value_hash
    if verified.is_whole:
        assert matches(PrivateWrite(write.namespace, write.collection, raw), hashed)


@given(st.lists(foreign([plain_set([Op("put", "a", b"one"), Op("delete", "b")])]), max_size=6))
@settings(max_examples=30)
def test_late_data_of_any_bytes_leave_the_ledger_whole(raws: list[bytes]) -> None:
    """A lying member changes nothing: the true set is taken after all that it sent."""
    ops = [Op("put", "a", b"one"), Op("delete", "b")]
    assert hashed_set("terms", ops).pvt_rwset_hash
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        ledger = ChannelLedger.open(path)
        commit(ledger, [make_config_envelope(0)])
        commit(ledger, [private_envelope({"terms": ops}, b"one")])
        places = [(1, 0), (1, 1), (0, 0), (2**70, 0), (-1, 0), (0, 2**24), (1, 2**70), (1, -1)]
        items = [(*place, PrivateWrite(SHOP, "terms", raw)) for raw in raws for place in places]
        true = (1, 0, PrivateWrite(SHOP, "terms", plain_set(ops)))
        refused = ledger.add_private([each for each in items if each != true])
        assert len(refused) == len([each for each in items if each != true])
        assert ledger.private_data(1) == {}
        assert ledger.add_private([true]) == []
        with ledger.snapshot() as state:
            entry = state.get_private(SHOP, "terms", "a")
        assert entry is not None
        assert entry.value == b"one"
        ledger.close()
        assert check_ledger(path).findings == ()
