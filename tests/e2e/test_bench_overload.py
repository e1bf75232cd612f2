"""The benchmark of an overload, with tiny numbers: figures are whole and ledgers audited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.overload import Settings, run, write

pytestmark = pytest.mark.slow

SETTINGS = Settings("solo", calm_s=2, seconds=3, after_s=3, connections=40, times=2, processes=2)


def test_overload_is_measured_in_three_phases_and_audited(tmp_path: Path) -> None:
    """Every side has its figures in every phase that it calls in, in which no call is missing; and
    what it was told is in the ledgers.
    """
    figures = run(SETTINGS, tmp_path / "work", lambda _text: None)
    calm, over, after = figures["phases"]
    assert [each["phase"] for each in figures["phases"]] == ["calm", "overload", "after"]
    assert figures["carried_per_s"] > 0
    for phase, sides in ((calm, ("calm", "modest")), (over, ("greedy", "modest")),
                         (after, ("calm", "modest"))):  # fmt: skip
        assert phase["memory_most_mb"] >= phase["memory_last_mb"] > 0
        for each in sides:
            told = phase[each]
            ended = told["committed"] + sum(told["refused"].values()) + sum(told["errors"].values())
            assert told["begun"] == ended > 0, (phase["phase"], each)
            assert all(kind.endswith("RESOURCE_EXHAUSTED") for kind in told["refused"]), told
    assert calm["calm"]["tx_per_s"] > 0
    assert over["connections"] >= SETTINGS.connections + 2
    assert figures["audit"]["acknowledged"] > 0
    about = {"commit": "here", "machine": {"load_before": 0.0}}
    page = write(tmp_path, figures, about)
    assert "| overload | greedy |" in page
    assert json.loads((tmp_path / "overload.json").read_text()) == json.loads(json.dumps(figures))
