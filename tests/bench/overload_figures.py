"""What came of an overload: figures of each who called, how soon it was over, and a page of it all.

Absent: how it is made and measured (`overload.py`).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.bench.report import markdown_table

NORMAL: Final = 1.5
"""Times the calm median up to which a second counts as normal again."""
STEADY: Final = 3
"""Seconds that must be normal one after the other."""


@dataclass(frozen=True)
class Told:
    """What a load was told in one phase.

    Attributes:
        begin: of the phase, on the machine's monotonic clock.
        seconds: how long calls were begun.
        calls: when each payment that was committed ended, and its milliseconds.
        refused: how many were refused, by stage and code.
        errors: how many ended otherwise, by kind and code.
        begun: how many were begun.
        left_out: how many should have been.
        lag_ms: by how much the load itself was late.
    """

    begin: float
    seconds: float
    calls: Sequence[tuple[float, float]]
    refused: Mapping[str, int]
    errors: Mapping[str, int]
    begun: int
    left_out: int
    lag_ms: float

    @classmethod
    def of(cls, begin: float, seconds: float, answers: Sequence[Mapping[str, Any]]) -> Told:
        """Put the answers of a load's processes together."""
        refused, errors = Counter[str](), Counter[str]()
        for answer in answers:
            refused.update(answer["refused"])
            errors.update(answer["errors"])
        return cls(
            begin,
            seconds,
            [(at, took) for answer in answers for at, took in answer["calls"]],
            dict(refused),
            dict(errors),
            sum(answer["begun"] for answer in answers),
            sum(answer["left_out"] for answer in answers),
            max(answer["lag_ms"] for answer in answers),
        )

    @property
    def rate(self) -> float:
        """Payments committed a second; those that ended after the phase are not counted."""
        inside = sum(at <= self.begin + self.seconds for at, _ in self.calls)
        return inside / self.seconds

    def percentile_ms(self, part: int) -> float | None:
        """Return what so many in a hundred of the calls were not longer than; None of too few."""
        took = [each for _, each in self.calls]
        if len(took) < 2:
            return None
        return statistics.quantiles(took, n=100, method="inclusive")[part - 1]

    def as_json(self, calm: Told | None = None) -> dict[str, Any]:
        """Return the figures, with how many times those of the calm they are."""
        figures: dict[str, Any] = {
            "offered_per_s": round((self.begun + self.left_out) / self.seconds, 1),
            "tx_per_s": round(self.rate, 1),
            "refused_per_s": round(sum(self.refused.values()) / self.seconds, 1),
            "begun": self.begun,
            "committed": len(self.calls),
            "refused": dict(self.refused),
            "errors": dict(self.errors),
            "left_out": self.left_out,
            "lag_ms": self.lag_ms,
        }
        for part in (50, 95, 99):
            own = self.percentile_ms(part)
            figures[f"p{part}_ms"] = None if own is None else round(own, 1)
            usual = None if calm is None else calm.percentile_ms(part)
            if own is not None and usual:
                figures[f"p{part}_times"] = round(own / usual, 2)
        return figures


def recovered_s(after: Told, calm_median_ms: float) -> int | None:
    """Return after how many seconds the node was as before; None if it was not in this time.

    A second is normal if the median of the calls that ended in it is no more than `NORMAL` times
    the calm one; it counts if the next ones are, too.
    """
    by_second: dict[int, list[float]] = {}
    for at, took in after.calls:
        by_second.setdefault(int(at - after.begin), []).append(took)
    normal = [
        second in by_second and statistics.median(by_second[second]) <= NORMAL * calm_median_ms
        for second in range(int(after.seconds))
    ]
    for second in range(len(normal) - STEADY + 1):
        if all(normal[second : second + STEADY]):
            return second
    return None


def render(figures: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Return the page of a run."""
    heads = (
        "phase", "client", "offered/s", "committed/s", "refused/s", "errors", "median ms",
        "95 % ms", "99 % ms", "times the calm median, 95 %",
        "load's own lag ms", "node MB, most and last", "its cores", "connections",
    )  # fmt: skip
    body = []
    for phase in figures["phases"]:
        for who in ("calm", "greedy", "modest"):
            if who not in phase:
                continue
            told = phase[who]
            times = [told.get(f"p{part}_times") for part in (50, 95)]
            body.append(
                [
                    phase["phase"],
                    who,
                    f"{told['offered_per_s']:,.0f}",
                    f"{told['tx_per_s']:,.1f}",
                    f"{told['refused_per_s']:,.1f}",
                    str(sum(told["errors"].values())),
                    *(f"{told[f'p{part}_ms'] or 0:,.0f}" for part in (50, 95, 99)),
                    ", ".join("–" if each is None else f"{each:.1f}" for each in times),
                    f"{told['lag_ms']:.0f}",
                    f"{phase['memory_most_mb']:.0f}, {phase['memory_last_mb']:.0f}",
                    f"{phase['cores']:.2f}",
                    str(phase["connections"]),
                ]
            )
    back = figures["recovered_s"]
    lines = [
        f"# Under overload, {figures['engine']}, {about['commit']}",
        "",
        f"The load that the node can carry: {figures['carried_per_s']:,.0f} payments/s. "
        + ("Not back to normal" if back is None else f"Back to normal after {back} s")
        + f"; load of the machine before: {about['machine']['load_before']}.",
        "",
        *markdown_table(heads, body),
    ]
    return "\n".join(lines) + "\n"
