"""How long gathered envelopes wait for company: never alone, and never for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from network.ordering.cometbft.process.home import PROFILES
from network.ordering.pace import RETURN_S, Pace

AT = 0.0


def paced(waiting: int) -> Pace:
    """Return the pace after a block at AT."""
    pace = Pace()
    pace.ordered(AT, waiting)
    return pace


def test_first_envelope_waits_for_nobody() -> None:
    """There was no block yet."""
    assert Pace().pause_s(0.0, 1) == 0


def test_lone_caller_waits_for_nobody() -> None:
    """However soon it comes back."""
    assert paced(waiting=1).pause_s(AT, 1) == 0


def test_envelopes_wait_until_all_who_waited_are_back() -> None:
    """The half that had gathered goes with the half that was in the block."""
    pace = paced(waiting=64)
    assert pace.pause_s(AT, 32) == RETURN_S
    assert pace.pause_s(AT + 0.010, 63) > 0
    assert pace.pause_s(AT + 0.010, 64) == 0


def test_envelope_some_time_after_a_block_goes_at_once() -> None:
    """Whoever waited then has gone elsewhere."""
    pace = paced(waiting=64)
    assert pace.pause_s(AT + RETURN_S, 40) == 0
    assert pace.pause_s(AT + 1, 1) == 0


def test_second_bundle_after_a_block_waits_for_nobody() -> None:
    """Those who were told are in the first, or late."""
    pace = paced(waiting=64)
    pace.goes()
    assert pace.pause_s(AT, 1) == 0


def test_proposals_are_more_patient_than_bundles() -> None:
    """Else an empty height would begin while a bundle waits for company; less than others wait."""
    for profile in PROFILES.values():
        assert RETURN_S < profile.patience_ms / 1000 < profile.propose_ms / 2 / 1000


@given(waiting=st.integers(0, 9), gathered=st.integers(0, 9), later=st.floats(0, 1))
def test_pause_is_bounded_and_ends(waiting: int, gathered: int, later: float) -> None:
    """Nobody waits for company beyond RETURN_S after a block, whatever came when."""
    pace = paced(waiting)
    pause_s = pace.pause_s(AT + later, gathered)
    assert 0 <= pause_s <= RETURN_S
    assert AT + later + pause_s <= max(AT + later, AT + RETURN_S + 1e-9)
    assert pace.pause_s(AT + later + pause_s + 1e-9, gathered) == 0
