"""What a proposer chooses is always accepted, and no member keeps another one out."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from network.ordering.cometbft.bundles.bundle import (
    BundleKind,
    BundleLimits,
    limits_of,
    open_bundle,
)
from network.ordering.cometbft.bundles.selection import Candidate, choose, framed_bytes
from network.ordering.cometbft.messages import abci_pb2
from network.ordering.reconfiguration import make_configuration
from tests.support.bundles import (
    BATCH,
    LIMIT,
    bundle,
    comet_channel,
    envelopes,
    forged,
    node_of,
    rules_of,
    standing,
)
from tests.support.consenters import four_members
from tests.support.members import NOW, signed_envelope
from tests.support.updates import signed_update

MEMBERS = four_members()
IDS = sorted(each.msp_id for each in MEMBERS)
BANK = MEMBERS[0]
SEEN = bundle()


def _configuration() -> bytes:
    def edit(config) -> None:
        value = config.channel_group.groups["Orderer"].values["BatchSize"]
        value.value = b"\x08\x09" + value.value[2:]

    admins = [each.identity("admin", "admin") for each in MEMBERS]
    update = signed_update(comet_channel(), edit, admins)
    made = make_configuration(comet_channel(), update, node_of(BANK), NOW)
    return bundle(BANK, [made], kind=BundleKind.CONFIGURATION)


CONFIGURATION = _configuration()
GOOD = [
    bundle(member, envelopes(count, member, size))
    for member in MEMBERS
    for count, size in ((1, 10), (3, 1000), (9, 10), (2, LIMIT // 4), (18, 10))
]
BAD = [
    SEEN,
    b"",
    b"anything",
    GOOD[0][:-1],
    bundle(valid_until=3),
    bundle(valid_until=1000),
    bundle(channel_id="other"),
    bundle(inside=[b"no envelope"]),
    bundle(inside=[signed_envelope(BANK.identity(days=1))]),
    bundle(signer=BANK.identity("user", "client")),
    bundle(inside=envelopes(1), kind=BundleKind.CONFIGURATION),
    bundle(inside=envelopes(21)),
    forged(b"no frame", count=1, expanded=20),
]
TIME = NOW + timedelta(days=2)
CHAIN = standing(seen={open_bundle(SEEN, limits_of(BATCH)).bundle_id})
RULES = rules_of(CHAIN)

waiting = st.lists(st.one_of(st.sampled_from(GOOD), st.sampled_from(BAD)), max_size=25).flatmap(
    lambda found: st.one_of(
        st.just(found),
        st.integers(0, len(found)).map(lambda at: [*found[:at], CONFIGURATION, *found[at:]]),
    )
)


@given(waiting, st.integers(0, 200_000), st.integers(7, 20))
def test_what_is_chosen_is_accepted_by_every_validator(raws, max_tx_bytes, height) -> None:
    """From good and bad bundles, repeated ones and a configuration among them, in any order."""
    chain = replace(CHAIN, height=height)
    chosen = rules_of(chain).select(raws, max_tx_bytes, TIME)
    bundles = rules_of(chain).verify_proposal(chosen, TIME)
    assert [each.raw for each in bundles] == chosen
    assert set(chosen) <= {*GOOD, CONFIGURATION} & set(raws)
    assert sum(framed_bytes(len(raw)) for raw in chosen) <= max_tx_bytes
    if CONFIGURATION in raws and framed_bytes(len(CONFIGURATION)) <= max_tx_bytes:
        assert chosen == [CONFIGURATION]


@given(waiting)
def test_something_is_chosen_whenever_something_may_be(raws) -> None:
    """No invalid bundle keeps a valid one out of a proposal with room."""
    valid = {*GOOD, CONFIGURATION} & set(raws)
    assert bool(RULES.select(raws, 1 << 30, TIME)) == bool(valid)


@given(st.lists(st.sampled_from(GOOD), max_size=25, unique=True))
def test_bundles_of_one_member_keep_their_order(raws) -> None:
    """The oldest first, or not at all yet."""
    chosen = RULES.select(raws, 1 << 30, TIME)
    for member in MEMBERS:
        own = [raw for raw in raws if node_of(member).serialized in raw]
        taken = [raw for raw in chosen if raw in own]
        assert taken == own[: len(taken)]


def test_framing_is_that_of_a_repeated_field() -> None:
    """As CometBFT counts: tag, length, content; beyond it the proposer would be stopped."""
    for size in (0, 1, 127, 128, 16383, 16384, 1 << 21):
        made = abci_pb2.ResponsePrepareProposal(txs=[bytes(size)])
        assert framed_bytes(size) == made.ByteSize()


OPENED = {
    member.msp_id: [
        open_bundle(bundle(member, envelopes(count, member)), limits_of(BATCH))
        for count in (1, 5, 20)
    ]
    for member in MEMBERS
}


@given(
    loads=st.dictionaries(
        st.sampled_from(IDS), st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1
    ),
    greedy=st.sampled_from(IDS),
    first_turn=st.integers(0, 50),
)
def test_each_members_oldest_bundle_comes_within_a_block_for_each_member(
    loads, greedy, first_turn
) -> None:
    """However much others send, and however long one of them goes on sending full bundles."""
    limits = BundleLimits(20, 1 << 20, 1 << 20)
    serial = iter(range(10**6))
    queues = {
        msp_id: deque(_candidate(msp_id, size, next(serial)) for size in sizes)
        for msp_id, sizes in loads.items()
    }
    waited = dict.fromkeys(queues, 0)
    for turn in range(first_turn, first_turn + 40):
        queues.setdefault(greedy, deque()).append(_candidate(greedy, 2, next(serial)))
        everything = [each for queue in queues.values() for each in queue]
        chosen = choose(everything, limits, 1 << 30, IDS, turn)
        assert chosen
        for msp_id in [each for each, queue in queues.items() if queue]:
            heads = [each for each in chosen if each.msp_id == msp_id]
            for each in heads:
                assert queues[msp_id].popleft() is each
            waited[msp_id] = 0 if heads else waited.get(msp_id, 0) + 1
            assert waited[msp_id] < len(IDS)


def _candidate(msp_id: str, size: int, serial: int) -> Candidate:
    """One of its own, with the envelopes of an opened bundle."""
    opened = OPENED[msp_id][size]
    head = replace(opened.head, bundle_id=serial.to_bytes(32, "big"))
    return Candidate(replace(opened, head=head), msp_id)


def test_members_share_a_block_by_bytes() -> None:
    """One that sends many small bundles gets no more of it than one with a few large ones."""
    many = [_candidate("BankMSP", 0, serial) for serial in range(40)]
    few = [_candidate("PtaMSP", 1, serial) for serial in range(100, 104)]
    chosen = choose([*many, *few], BundleLimits(20, 1 << 20, 1 << 20), 1 << 30, IDS, 0)
    count = {
        msp_id: sum(len(each.bundle.envelopes) for each in chosen if each.msp_id == msp_id)
        for msp_id in ("BankMSP", "PtaMSP")
    }
    assert count == {"BankMSP": 10, "PtaMSP": 10}
