"""Where blocks end, against the rules written down plainly."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from network.configuration import BatchParameters
from network.ordering.solo.cutter import Cutter


@dataclass(frozen=True)
class Waits:
    number: int
    size_bytes: int
    since: float
    alone: bool = False


limits = st.builds(
    lambda count, preferred, more, timeout: BatchParameters(
        count, preferred + more, preferred, timeout
    ),
    st.integers(1, 6),
    st.integers(1, 100),
    st.integers(0, 50),
    st.sampled_from([0.1, 1.0, 5.0]),
)
sizes = st.lists(st.integers(1, 140), max_size=30)


def _filled(sizes: list[int], alone: Collection[int] = ()) -> tuple[Cutter[Waits], list[Waits]]:
    cutter: Cutter[Waits] = Cutter()
    waiting = [
        Waits(number, size, float(number), number in alone) for number, size in enumerate(sizes)
    ]
    for each in waiting:
        cutter.add(each)
    return cutter, waiting


@given(batch=limits, sizes=sizes)
def test_blocks_are_the_queue_in_its_order_and_as_full_as_the_limits_allow(batch, sizes) -> None:
    """Nothing lost, nothing twice; a block is cut short only by a limit."""
    cutter, waiting = _filled(sizes)
    blocks = []
    while len(cutter):
        blocks.append(cutter.cut(batch))
    assert [each for block in blocks for each in block] == waiting
    for at, block in enumerate(blocks):
        size = sum(each.size_bytes for each in block)
        assert 1 <= len(block) <= batch.max_message_count
        assert len(block) == 1 or size <= batch.preferred_max_bytes
        for following in blocks[at + 1 : at + 2]:
            assert (
                len(block) == batch.max_message_count
                or size + following[0].size_bytes > batch.preferred_max_bytes
            )
    assert cutter.cut(batch) == []


@given(batch=limits, sizes=sizes, alone=st.sets(st.integers(0, 29), max_size=4))
def test_what_must_stand_alone_does_and_is_waited_for_by_nothing(batch, sizes, alone) -> None:
    """It is due at once with all that waits before it, and its block holds nothing else."""
    cutter, waiting = _filled(sizes, alone)
    cut: list[Waits] = []
    while len(cutter):
        if any(each.alone for each in waiting[len(cut) :]):
            assert cutter.due_in(batch, -1.0, pause_s=None) == 0
        block = cutter.cut(batch)
        assert len(block) == 1 or not any(each.alone for each in block)
        cut += block
    assert cut == waiting


@given(batch=limits, sizes=sizes, later=st.floats(0, 20), pause_s=st.none() | st.floats(0, 1))
def test_block_is_due_by_the_four_rules_and_no_other(batch, sizes, later, pause_s) -> None:
    """Idle for long enough, count, bytes, or the timeout of the first envelope that waits."""
    cutter, waiting = _filled(sizes)
    due = cutter.due_in(batch, later, pause_s=pause_s)
    if not waiting:
        assert due is None
        return
    assert due is not None
    left = waiting[0].since + batch.timeout_s - later
    if (
        len(waiting) >= batch.max_message_count
        or sum(each.size_bytes for each in waiting) >= batch.preferred_max_bytes
        or left <= 0
    ):
        assert due == 0
    else:
        assert due == (left if pause_s is None else min(left, pause_s))


@given(batch=limits, sizes=sizes, cuts=st.integers(0, 3))
def test_bytes_are_counted_over_adding_and_cutting(batch, sizes, cuts) -> None:
    """After any cuts the rule of bytes judges exactly what still waits."""
    cutter, waiting = _filled(sizes)
    left = list(waiting)
    for _ in range(cuts):
        left = left[len(cutter.cut(batch)) :]
    patient = BatchParameters(10**6, 10**9, 10**9, 10**6)
    if left:
        total = sum(each.size_bytes for each in left)
        exact = BatchParameters(10**6, 10**9, total, 10**6)
        one_more = BatchParameters(10**6, 10**9, total + 1, 10**6)
        assert cutter.due_in(exact, 0.0, pause_s=None) == 0
        assert cutter.due_in(one_more, 0.0, pause_s=None) != 0
    assert cutter.clear() == left
    assert len(cutter) == 0
    assert cutter.due_in(patient, 0.0, pause_s=0.0) is None
