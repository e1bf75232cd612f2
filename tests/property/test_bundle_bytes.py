"""No bytes but those that a consenter's node signed are taken for its bundle, and none crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.ordering.cometbft.bundles.bundle import (
    MOST_ENVELOPES,
    TAG,
    BundleCode,
    BundleError,
    BundleLimits,
    limits_of,
    make_bundle,
    open_bundle,
)
from tests.support.bundles import (
    BATCH,
    bundle,
    compressed,
    content,
    envelopes,
    forged,
    node_of,
    rules_of,
    standing,
)
from tests.support.consenters import four_members
from tests.support.members import CHANNEL, NOW

GOOD = bundle(inside=envelopes(1, size=1))
RULES = rules_of(standing())
LIMITS = limits_of(BATCH)
WIDE = BundleLimits(MOST_ENVELOPES, 1 << 20, 1 << 21)


def is_refused(raw: bytes) -> bool:
    """Whether it is refused, with a code and words."""
    refusals = []
    try:
        RULES.check(raw, NOW)
    except BundleError as refused:
        refusals.append(refused)
    assert all(each.code in BundleCode and str(each) for each in refusals)
    return bool(refusals)


def test_good_bundle_is_taken() -> None:
    """Else the tests below could not fail."""
    assert not is_refused(GOOD)


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize("first", [0, 4])
def test_bundle_with_any_byte_flipped_is_refused(first) -> None:
    """Every byte of it is covered: by the signature, or by the signature's one form."""
    for place in range(len(GOOD)):
        raw = bytearray(GOOD)
        raw[place] ^= 1 << (place + first) % 8
        assert is_refused(bytes(raw)), place


def test_bundle_cut_anywhere_is_refused() -> None:
    """Nothing short of the whole is a bundle."""
    for length in range(len(GOOD)):
        assert is_refused(GOOD[:length]), length


@given(st.binary(min_size=1, max_size=100))
def test_bundle_with_bytes_behind_it_is_refused(more) -> None:
    """Nor is anything beyond the whole."""
    assert is_refused(GOOD + more)


@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD) - 1), st.binary(max_size=5), st.integers(0, 5)),
        min_size=1,
        max_size=4,
    )
)
def test_damaged_bundle_is_refused(changes) -> None:
    """Bytes put in, taken out and changed anywhere."""
    raw = GOOD
    for at, put, taken in changes:
        raw = raw[:at] + put + raw[at + taken :]
    assert raw == GOOD or is_refused(raw)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda each: TAG + each)))
def test_arbitrary_bytes_are_refused_as_bundles(raw) -> None:
    """With a code, never with another error."""
    assert is_refused(raw)


@given(
    payload=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(compressed),
        st.lists(st.binary(max_size=60), max_size=5).map(lambda each: compressed(content(each))),
    ),
    count=st.one_of(st.integers(0, 6), st.integers(0, (1 << 32) - 1)),
    expanded=st.one_of(st.integers(0, 400), st.integers(0, (1 << 32) - 1)),
    kind=st.integers(0, 255),
    valid_until=st.integers(0, (1 << 64) - 1),
)
def test_signed_bundle_of_a_lying_member_is_refused(
    payload, count, expanded, kind, valid_until
) -> None:
    """Whatever one that may sign puts into it: no envelope here passes for a client's."""
    assert is_refused(
        forged(payload, count=count, expanded=expanded, kind=kind, valid_until=valid_until)
    )


@given(st.lists(st.binary(min_size=1, max_size=2000), min_size=1, max_size=40))
def test_made_bundle_opens_with_the_same_envelopes(inside) -> None:
    """In their order, whatever bytes they are; another bundle's limits are exact."""
    raw = make_bundle(node_of(four_members()[0]), CHANNEL, 9, inside)
    size = sum(map(len, inside))
    opened = open_bundle(raw, BundleLimits(len(inside), size, len(raw)))
    assert opened.envelopes == tuple(inside)
    for tight in (
        BundleLimits(len(inside) - 1, size, len(raw)),
        BundleLimits(len(inside), size - 1, len(raw)),
        BundleLimits(len(inside), size, len(raw) - 1),
    ):
        with pytest.raises(BundleError) as refused:
            open_bundle(raw, tight)
        assert refused.value.code is BundleCode.TOO_LARGE


@given(st.data())
def test_payload_with_damage_never_expands_beyond_its_word(data) -> None:
    """A frame that was tampered with gives just what was declared, or a refusal."""
    inside = [b"an envelope %d " % place * 20 for place in range(5)]
    whole = content(inside)
    payload = bytearray(compressed(whole))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.integers(0, 255))
    try:
        opened = open_bundle(forged(bytes(payload), count=5, expanded=len(whole)), WIDE)
    except BundleError:
        return
    assert len(content(opened.envelopes)) == len(whole)
