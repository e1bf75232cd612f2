"""What the benchmark of an overload says of what it saw."""

from __future__ import annotations

from typing import Any

from tests.bench.overload_figures import STEADY, Told, recovered_s, render

CALM_MS = 200.0


def told(*calls: tuple[float, float], seconds: float = 10.0, **more: Any) -> Told:
    content: dict[str, Any] = {
        "refused": {}, "errors": {}, "begun": len(calls), "left_out": 0, "lag_ms": 1.0,
    }  # fmt: skip
    return Told(100.0, seconds, calls, **{**content, **more})


def steady(first: int, last: int, took_ms: float) -> list[tuple[float, float]]:
    """Calls that ended in these seconds after 100, ten in each."""
    return [
        (100.05 + second + each / 20, took_ms)
        for second in range(first, last)
        for each in range(10)
    ]


def test_node_is_as_before_from_the_first_second_of_some_that_are() -> None:
    """A single good one between bad ones does not count, nor one in which nothing was committed."""
    slow, good = 3 * CALM_MS, CALM_MS
    calls = steady(0, 1, slow) + steady(1, 2, good) + steady(2, 3, slow) + steady(4, 10, good)
    assert recovered_s(told(*calls), CALM_MS) == 4
    assert recovered_s(told(*steady(0, 10, good)), CALM_MS) == 0


def test_node_that_stays_slow_is_not_as_before() -> None:
    """Nor one that was looked at too shortly to tell."""
    assert recovered_s(told(*steady(0, 10, 2 * CALM_MS)), CALM_MS) is None
    assert recovered_s(told(), CALM_MS) is None
    short = told(*steady(0, STEADY - 1, CALM_MS), seconds=STEADY - 1)
    assert recovered_s(short, CALM_MS) is None


def test_figures_count_what_was_refused_and_compare_with_the_calm() -> None:
    """Offered is what was begun and what should have been; times are those of what was admitted."""
    calm = told(*((100.0, 100.0) for _ in range(50)))
    over = told(
        *((100.0, 250.0) for _ in range(20)),
        refused={"EndorseError RESOURCE_EXHAUSTED": 900},
        errors={"CommitError": 1},
        begun=1_000,
        left_out=100,
    )
    figures = over.as_json(calm)
    assert (figures["offered_per_s"], figures["tx_per_s"], figures["refused_per_s"]) == (110, 2, 90)
    assert (figures["p50_ms"], figures["p50_times"], figures["p95_times"]) == (250, 2.5, 2.5)
    assert told().as_json(calm)["p50_ms"] is None
    late = told((109.0, 1.0), (111.0, 1.0))
    assert (late.rate, late.as_json()["committed"]) == (0.1, 2)


def test_answers_of_several_processes_are_put_together() -> None:
    """Numbers are added; of how late the processes were, the worst counts."""
    answer = {
        "calls": [(1.0, 5.0)], "refused": {"x": 2}, "errors": {}, "begun": 3, "left_out": 1,
        "lag_ms": 4.0,
    }  # fmt: skip
    both = Told.of(1.0, 1.0, [answer, {**answer, "lag_ms": 9.0}])
    assert (len(both.calls), both.refused, both.begun, both.left_out) == (2, {"x": 4}, 6, 2)
    assert both.lag_ms == 9.0


def test_page_has_a_row_for_each_who_called_in_each_phase() -> None:
    """And says whether the node came back."""
    phase = {"memory_most_mb": 150.0, "memory_last_mb": 140.0, "connections": 502, "cores": 0.5}
    figures = {
        "engine": "solo",
        "carried_per_s": 250.0,
        "recovered_s": 2,
        "phases": [
            {"phase": "calm", **phase, "calm": told().as_json(), "modest": told().as_json()},
            {"phase": "overload", **phase, "greedy": told().as_json(), "modest": told().as_json()},
        ],
    }
    about = {"commit": "abc", "machine": {"load_before": 0.1}}
    page = render(figures, about)
    assert page.count("| overload |") == 2
    assert "| overload | greedy | 0 |" in page
    assert "Back to normal after 2 s" in page
    assert "Not back to normal" in render({**figures, "recovered_s": None}, about)
