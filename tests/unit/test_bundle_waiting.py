"""What waits by member, and which bundles the newest blocks held."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.ordering.cometbft.blocks.ordered import make_block
from network.ordering.cometbft.bundles.bundle import BundleCode, BundleError, limits_of, open_bundle
from network.ordering.cometbft.bundles.quota import LENT_S, WANING, Part, Quotas
from network.ordering.cometbft.bundles.window import WINDOW, SeenBundles
from tests.support.bundles import BATCH, bundle
from tests.support.consenters import four_members
from tests.support.members import genesis


def bundle_id(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_member_beyond_its_share_is_refused_and_others_are_not() -> None:
    """By number, with a code that says: try again."""
    quotas = Quotas(bundles=2, size_bytes=100)
    assert quotas.add(bundle_id(1), "BankMSP", 10, 20)
    assert quotas.add(bundle_id(2), "BankMSP", 10, 20)
    with pytest.raises(BundleError) as refused:
        quotas.add(bundle_id(3), "BankMSP", 10, 20)
    assert refused.value.code is BundleCode.QUOTA
    assert "2 bundles of BankMSP with 20 bytes" in str(refused.value)
    assert quotas.add(bundle_id(4), "PtaMSP", 10, 20)


def test_members_share_counts_bytes_and_one_bundle_always_fits() -> None:
    """A message may be as large as the channel allows, whatever the share."""
    quotas = Quotas(bundles=10, size_bytes=100)
    quotas.add(bundle_id(1), "BankMSP", 500, 20)
    with pytest.raises(BundleError):
        quotas.verify_room(bundle_id(2), "BankMSP", 1)
    quotas.add(bundle_id(3), "PtaMSP", 60, 20)
    with pytest.raises(BundleError):
        quotas.add(bundle_id(4), "PtaMSP", 41, 20)
    quotas.add(bundle_id(5), "PtaMSP", 40, 20)


def test_members_share_is_no_more_than_its_part_of_a_block() -> None:
    """Else what waits could lie behind another member's bundles where no proposer sees it."""
    quotas = Quotas(bundles=10, size_bytes=100)
    quotas.add(bundle_id(1), "BankMSP", 30, 20, part=Part(50, 10**6))
    quotas.verify_room(bundle_id(2), "BankMSP", 20, part=Part(50, 10**6))
    with pytest.raises(BundleError, match="10 with 50 bytes may"):
        quotas.add(bundle_id(2), "BankMSP", 21, 20, part=Part(50, 10**6))
    with pytest.raises(BundleError, match="10 with 100 bytes may"):
        quotas.verify_room(bundle_id(2), "BankMSP", 71, part=Part(500, 10**6))
    quotas.add(bundle_id(3), "PtaMSP", 51, 20, part=Part(50, 10**6))


def test_members_share_counts_what_its_bundles_expand_to() -> None:
    """One alone always fits; what is in a block, or expired, counts no longer."""
    quotas, part = Quotas(), Part(1000, 100)
    quotas.add(bundle_id(1), "BankMSP", 10, 20, part, 150)
    with pytest.raises(BundleError, match="150 bytes in them") as refused:
        quotas.verify_room(bundle_id(2), "BankMSP", 10, part, 1)
    assert refused.value.code is BundleCode.QUOTA
    quotas.add(bundle_id(3), "PtaMSP", 10, 20, part, 60)
    with pytest.raises(BundleError):
        quotas.add(bundle_id(4), "PtaMSP", 10, 20, part, 41)
    quotas.add(bundle_id(4), "PtaMSP", 10, 20, part, 40)
    quotas.remove([bundle_id(1), bundle_id(3)])
    quotas.add(bundle_id(5), "BankMSP", 10, 20, part, 100)
    quotas.add(bundle_id(6), "PtaMSP", 10, 20, part, 60)


def test_work_that_ends_by_another_error_is_charged_too() -> None:
    """Whatever a member's bytes lead to."""
    worked = [0.0]
    quotas = Quotas(clock=lambda: 1.0, work=lambda: worked[0])

    def work() -> None:
        with quotas.charged("BankMSP"):
            worked[0] += LENT_S + 0.1
            raise RecursionError

    with pytest.raises(RecursionError):
        work()
    with pytest.raises(BundleError):
        quotas.verify_credit("BankMSP")


def test_member_whose_bundles_waste_work_is_no_longer_looked_at() -> None:
    """Until its debt has waned; what succeeds costs it nothing, and others are not touched."""
    now, worked = [100.0], [0.0]
    quotas = Quotas(clock=lambda: now[0], work=lambda: worked[0])

    def work(msp_id: str, seconds: float, *, refused: bool) -> None:
        with quotas.charged(msp_id):
            worked[0] += seconds
            if refused:
                raise BundleError(BundleCode.ENVELOPE, "no")

    work("BankMSP", 50.0, refused=False)
    quotas.verify_credit("BankMSP")
    for _ in range(2):
        with pytest.raises(BundleError, match="no"):
            work("BankMSP", LENT_S / 2 + 0.1, refused=True)
    with pytest.raises(BundleError) as refused:
        quotas.verify_credit("BankMSP")
    assert refused.value.code is BundleCode.QUOTA
    quotas.verify_credit("PtaMSP")
    now[0] += 0.25 / WANING
    quotas.verify_credit("BankMSP")
    now[0] += 1e9
    for _ in range(2):
        with pytest.raises(BundleError, match="no"):
            work("BankMSP", LENT_S / 2 - 0.1, refused=True)
    quotas.verify_credit("BankMSP")


def test_bundle_that_waits_counts_once() -> None:
    """It may come again, over another link or after CometBFT forgot it."""
    quotas = Quotas(bundles=1)
    assert quotas.add(bundle_id(1), "BankMSP", 10, 20)
    assert not quotas.add(bundle_id(1), "BankMSP", 10, 20)
    assert len(quotas) == 1
    quotas.verify_room(bundle_id(1), "BankMSP", 10)
    quotas.remove([bundle_id(1), bundle_id(9)])
    assert len(quotas) == 0
    assert quotas.add(bundle_id(2), "BankMSP", 10, 20)


def test_expired_bundles_no_longer_count() -> None:
    """From the block on that can no longer hold them."""
    quotas = Quotas(bundles=1)
    quotas.add(bundle_id(1), "BankMSP", 10, 20)
    quotas.expire(20)
    assert bundle_id(1) in quotas
    quotas.expire(21)
    assert bundle_id(1) not in quotas
    quotas.add(bundle_id(2), "BankMSP", 10, 30)
    quotas.clear()
    quotas.add(bundle_id(3), "BankMSP", 10, 30)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "expire"]),
            st.integers(0, 12),
            st.sampled_from(["BankMSP", "PtaMSP"]),
            st.integers(1, 60),
        ),
        max_size=60,
    )
)
def test_shares_are_those_of_a_naive_count(steps) -> None:
    """Against a list of what waits, added up anew each time."""
    quotas = Quotas(bundles=3, size_bytes=100)
    naive: dict[int, tuple[str, int, int]] = {}
    for what, number, msp_id, size in steps:
        if what == "remove":
            quotas.remove([bundle_id(number)])
            naive.pop(number, None)
        elif what == "expire":
            quotas.expire(number)
            naive = {key: each for key, each in naive.items() if each[2] >= number}
        else:
            own = [each for each in naive.values() if each[0] == msp_id]
            fits = not own or (len(own) < 3 and sum(each[1] for each in own) + size <= 100)
            if number in naive:
                assert not quotas.add(bundle_id(number), msp_id, size, number)
            elif fits:
                assert quotas.add(bundle_id(number), msp_id, size, number)
                naive[number] = msp_id, size, number
            else:
                with pytest.raises(BundleError):
                    quotas.add(bundle_id(number), msp_id, size, number)
        assert {number for number in range(13) if bundle_id(number) in quotas} == set(naive)


def _blocks(count: int) -> tuple[list, list[bytes]]:
    """A chain with one bundle in each block but the genesis block."""
    blocks, ids = [genesis(four_members())], [b""]
    opened = open_bundle(bundle(), limits_of(BATCH))
    for number in range(1, count):
        named = replace(opened, head=replace(opened.head, bundle_id=bundle_id(number)))
        blocks.append(make_block(number, blocks[-1].header.hash(), [named], number, 0))
        ids.append(bundle_id(number))
    return blocks, ids


def test_window_holds_the_bundles_of_the_last_blocks() -> None:
    """Just those after which a bundle valid for as long as allowed could come again."""
    blocks, ids = _blocks(WINDOW + 20)
    seen = SeenBundles(0)
    for block in blocks:
        seen.add_block(block)
    assert seen.height == len(blocks)
    assert [each in seen for each in ids] == [False] * 20 + [True] * WINDOW


@pytest.mark.parametrize("height", [0, 1, 5, WINDOW, WINDOW + 1, WINDOW + 20])
def test_window_read_from_the_ledger_is_the_one_that_grew(height) -> None:
    """When a node was started decides nothing."""
    blocks, ids = _blocks(WINDOW + 25)
    grown = SeenBundles(0)
    for block in blocks[:height]:
        grown.add_block(block)
    read = SeenBundles.from_blocks(height, blocks.__getitem__)
    for block in blocks[height:]:
        assert [each in read for each in ids] == [each in grown for each in ids]
        assert (read.height, len(read)) == (grown.height, len(grown))
        read.add_block(block)
        grown.add_block(block)


def test_window_takes_no_block_out_of_turn() -> None:
    """A gap would forget bundles too early."""
    with pytest.raises(ValueError, match="block 5 was given where block 3 follows"):
        SeenBundles(3).add(5, [])
