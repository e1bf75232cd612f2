"""Foreign bytes in the place of a record or a proof are refused, and nothing else comes of them."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.blocks.block import BlockHeader
from network.errors import FinalityError
from network.ordering.cometbft.finality.finality import decode_record, encode_record
from network.ordering.cometbft.finality.proof_file import (
    Covered,
    Proof,
    ProofPart,
    Recorded,
    Signed,
    decode_proof,
    encode_proof,
)
from network.ordering.cometbft.finality.proof_making import make_proof
from network.ordering.cometbft.finality.proofs import ProofVerifier
from tests.support.voted_chain import VotedChain

SHORT = st.binary(max_size=40)
HEADERS = st.builds(BlockHeader, st.integers(0, (1 << 64) - 1), SHORT, SHORT)
SHORTS = st.lists(SHORT, max_size=3).map(tuple)
PARTS = st.builds(
    ProofPart,
    HEADERS,
    SHORTS,
    st.one_of(
        st.builds(Signed, SHORT),
        st.builds(Recorded, SHORTS, SHORT),
        st.builds(Covered, st.lists(HEADERS, max_size=3).map(tuple), SHORT, SHORT),
    ),
)
PROOFS = st.builds(
    Proof, st.binary(min_size=32, max_size=32), st.lists(PARTS, max_size=3).map(tuple), PARTS
)


@cache
def chain() -> VotedChain:
    """Transactions, a new key, transactions."""
    made = VotedChain()
    made.transactions(1)
    made.rotate("MakerMSP")
    made.transactions(1)
    return made


@cache
def proof() -> bytes:
    """A proof that leads over a configuration."""
    return make_proof(chain(), 3)


@cache
def verifier() -> ProofVerifier:
    """For that chain."""
    return ProofVerifier(chain().genesis)


@given(PROOFS)
def test_proof_is_read_as_it_was_written(made: Proof) -> None:
    """Whatever is in it."""
    raw = encode_proof(made)
    assert decode_proof(raw) == made


@given(PROOFS, st.data())
def test_proof_has_one_form(made: Proof, data: st.DataObject) -> None:
    """What reads after a change is written as it was read."""
    raw = bytearray(encode_proof(made))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_proof(bytes(raw))
    except FinalityError:
        return
    assert encode_proof(found) == bytes(raw)


@given(st.binary(max_size=300))
def test_foreign_bytes_are_no_proof_and_no_record(raw: bytes) -> None:
    """With and without the tag in front."""
    for tag in (b"", b"\0\0\0\x0cqist/proof/1", b"\0\0\0\x0fqist/finality/1"):
        with suppress(FinalityError):
            assert encode_proof(decode_proof(tag + raw)) == tag + raw
        with suppress(FinalityError):
            assert encode_record(decode_record(tag + raw)) == tag + raw


@given(PROOFS)
def test_proof_of_anything_proves_nothing(made: Proof) -> None:
    """Well formed, and under the right genesis block."""
    own = Proof(chain().genesis.header.hash(), made.configurations, made.target)
    with pytest.raises(FinalityError):
        verifier().verify(encode_proof(own))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_proof_with_bytes_exchanged_proves_nothing(data: st.DataObject) -> None:
    """Several bytes at once, pieces cut out, repeated, or put elsewhere."""
    raw = proof()
    first = data.draw(st.integers(0, len(raw) - 1))
    size = data.draw(st.integers(1, 400))
    where = data.draw(st.integers(0, len(raw)))
    piece = raw[first : first + size]
    kind = data.draw(st.sampled_from(["cut", "repeat", "move", "write"]))
    if kind == "cut":
        changed = raw[:first] + raw[first + size :]
    elif kind == "repeat":
        changed = raw[:where] + piece + raw[where:]
    elif kind == "move":
        rest = raw[:first] + raw[first + size :]
        changed = rest[:where] + piece + rest[where:]
    else:
        changed = raw[:where] + piece + raw[where + len(piece) :]
    if changed == raw:
        return
    with pytest.raises(FinalityError):
        verifier().verify(changed)


@settings(deadline=None)
@given(st.data())
def test_parts_of_two_proofs_do_not_go_together(data: st.DataObject) -> None:
    """Each part stands where it belongs, or nothing is proved."""
    whole = decode_proof(proof())
    other = decode_proof(make_proof(chain(), 1))
    parts = [*whole.configurations, whole.target, other.target]
    chosen = data.draw(st.lists(st.sampled_from(parts), max_size=3))
    target = data.draw(st.sampled_from(parts))
    mixed = Proof(whole.genesis_hash, tuple(chosen), target)
    known = {encode_proof(decode_proof(make_proof(chain(), number))) for number in (1, 2, 3)}
    raw = encode_proof(mixed)
    if raw in known:
        return
    with pytest.raises(FinalityError):
        verifier().verify(raw)
