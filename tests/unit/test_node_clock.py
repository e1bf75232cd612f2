"""A rehearsal's clock stands where its operator put it, and never goes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger.errors import CorruptionError
from nodes.clock import ClockRefusal, RealClock, RehearsalClock

BEGIN = datetime(2025, 1, 31, 4, 0, tzinfo=UTC)


def test_rehearsal_clock_may_first_be_set_anywhere_and_then_only_forward(tmp_path: Path) -> None:
    """Members rehearse their own past, so the first setting may lie before the genesis block."""
    clock = RehearsalClock(tmp_path / "clock", BEGIN)
    assert clock.now() == BEGIN
    clock.set(BEGIN - timedelta(days=400))
    clock.set(BEGIN - timedelta(days=399))
    clock.set(BEGIN - timedelta(days=399))
    with pytest.raises(ClockRefusal, match="cannot go back"):
        clock.set(BEGIN - timedelta(days=400))
    assert clock.now() == BEGIN - timedelta(days=399)


def test_rehearsal_clock_of_a_node_that_starts_again_goes_on_where_it_stood(tmp_path: Path) -> None:
    """The time is kept in a file, in UTC, whatever zone it was set in."""
    path = tmp_path / "clock"
    morning = datetime.fromisoformat("2025-02-01T09:00:00+05:00")
    RehearsalClock(path, BEGIN).set(morning)
    again = RehearsalClock(path, BEGIN + timedelta(days=900))
    assert again.now() == morning
    assert again.now().tzinfo is UTC
    with pytest.raises(ClockRefusal, match="cannot go back"):
        again.set(BEGIN)


def test_rehearsal_clock_refuses_a_time_without_zone_and_a_damaged_file(tmp_path: Path) -> None:
    """A time without zone could be meant either way."""
    path = tmp_path / "clock"
    with pytest.raises(ClockRefusal, match="has no zone"):
        RehearsalClock(path, BEGIN).set(datetime(2025, 2, 1))  # noqa: DTZ001 - the fault tested
    path.write_text("yesterday")
    with pytest.raises(CorruptionError, match="does not hold a time"):
        RehearsalClock(path, BEGIN)


def test_real_clock_is_aware_and_in_utc() -> None:
    """What the machine says."""
    before = datetime.now(UTC)
    assert before <= RealClock().now() <= datetime.now(UTC)


def test_clock_says_how_long_to_wait_for_a_moment(tmp_path) -> None:
    """The machine's: what is left, an hour at most; a rehearsal's goes on by no waiting."""
    real = RealClock()
    soon = real.seconds_until(real.now() + timedelta(seconds=10))
    assert soon is not None
    assert 9 < soon < 11
    over = real.seconds_until(real.now() - timedelta(days=1))
    assert over is not None
    assert 0 < over < 1
    assert real.seconds_until(real.now() + timedelta(days=365)) == 3600
    rehearsal = RehearsalClock(tmp_path / "clock", BEGIN)
    assert rehearsal.seconds_until(BEGIN + timedelta(days=1)) is None
