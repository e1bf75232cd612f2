"""What is measured: the rows of a run, and how long each is looked at.

Absent: how a row is measured (`rounds.py`), and what Fabric reached (`fabric.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

ENGINES = ("solo", "cometbft")
CLIENTS = ("sdk", "node")
WORKS = ("open", "pay", "evaluate")
BULK = 500
SHARE_LEAST = 64
"""Agreements that a caller pays in turn at least, so that it never outruns a slower node."""

MAKING_S = 15.0
"""What it takes to make, start and stop a network, on two cores that do nothing else; so below."""
AUDIT_S = 8.0
STARTING_S = 2.5
"""A load connected before a row, and ended after it."""
OPENED_PER_S = 8_000
DRAINED_PER_S = 5_000
"""Records of bulks under way that still end when no more are begun."""
PRODUCT_S = 240.0
"""The consortium's own contracts."""
STORED = 1_000_000_000
"""Bytes of the disk that a network's agreements and its CometBFTs' logs take."""
WRITTEN_PER_S = 6_000_000
"""Bytes that all four nodes write to the disk and keep, in a second of a row's budget."""
BULKS_WRITTEN_PER_S = 16_000_000
"""The same while there are bulks."""


@dataclass(frozen=True, order=True)
class Row:
    """One thing that is measured.

    Attributes:
        work: `open`, `pay` or `evaluate`; `originate`, `post`, `sweep`, `vote` of the consortium's
            own contracts.
        batch: records in a transaction.
        callers: at work at the same time, each with one call under way.
        engine: that puts transactions in order.
        client: `sdk` is ours, `node` the official one for Node.
    """

    work: str
    batch: int
    callers: int
    engine: str
    client: str = "sdk"

    def __str__(self) -> str:
        """For people, and unique in a run."""
        return f"{self.engine} {self.client} {self.work} {self.batch} x {self.callers}"

    @property
    def is_whole(self) -> bool:
        """Whether a round is measured from the first call to the end of the last.

        Bulks of several callers end in clumps, seconds apart: in any shorter time there may be
        none, or twice as many.
        """
        return self.batch >= BULK and self.callers > 1

    @property
    def share(self) -> int:
        """Agreements of the pool that each caller has for itself."""
        return max(2 * self.batch, SHARE_LEAST)


@dataclass(frozen=True)
class Timing:
    """How long a row is looked at.

    Attributes:
        rounds: measured, at least three.
        seconds: of a round.
        warm_first_s: load before the first round, not measured.
        warm_s: load before each further one.
        sampled_s: of one more round, in which the stages of the nodes' work are sampled; 0: none.
    """

    rounds: int = 3
    seconds: float = 5.0
    warm_first_s: float = 3.0
    warm_s: float = 1.0
    sampled_s: float = 3.0


@dataclass(frozen=True)
class Plan:
    """A run of the benchmark.

    Attributes:
        name: quick, usual or full.
        rows: in the order in which they are measured within an engine.
        timing: of each.
        product: whether the consortium's own contracts are measured too.
    """

    name: str
    rows: tuple[Row, ...]
    timing: Timing
    product: bool = False

    def of_engine(self, engine: str) -> tuple[Row, ...]:
        """Return the rows of one engine."""
        return tuple(row for row in self.rows if row.engine == engine)

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines of the rows, each once."""
        return tuple(dict.fromkeys(row.engine for row in self.rows))


def pool_of(rows: Iterable[Row]) -> int:
    """Return how many agreements must be open before these rows are measured."""
    needed = [row.callers * row.share for row in rows if row.work in ("pay", "evaluate")]
    return max(needed, default=0)


def budget_s(plan: Plan, *, against: bool = False) -> float:
    """Return how long a run should take on two cores that do nothing else, in seconds.

    Args:
        against: two commits are compared: each row on both, nothing sampled.
    """
    timing = replace(plan.timing, sampled_s=0.0) if against else plan.timing
    spent = 0.0
    for engine in plan.engines:
        rows = plan.of_engine(engine)
        spent += MAKING_S + AUDIT_S + pool_of(rows) / OPENED_PER_S
        spent += sum(_row_s(row, timing) for row in rows)
        spent += PRODUCT_S if plan.product and not against else 0.0
    return 2 * spent if against else spent


def room_bytes(plan: Plan, *, against: bool = False) -> float:
    """Return what a run should need of the disk: an engine's network goes when the next begins.

    Args:
        against: two commits are compared: two networks are there at a time.
    """
    needed = [
        STORED
        + sum(
            _row_s(row, plan.timing) * (BULKS_WRITTEN_PER_S if row.batch >= BULK else WRITTEN_PER_S)
            for row in plan.of_engine(engine)
        )
        for engine in plan.engines
    ]
    return max(needed, default=STORED) * (2 if against else 1)


def _row_s(row: Row, timing: Timing) -> float:
    """Return how long a row should take, its load's start and end included."""
    looks = [timing.seconds] * timing.rounds
    if timing.sampled_s:
        looks.append(timing.sampled_s)
    if row.is_whole:
        return STARTING_S + sum(looks) + len(looks) * row.callers * row.batch / DRAINED_PER_S
    return STARTING_S + timing.warm_first_s + sum(looks) + timing.warm_s * (len(looks) - 1)


def quick_plan(engines: Iterable[str]) -> Plan:
    """Return the rows for which there are targets; two minutes on one engine."""
    rows = []
    for engine in engines:
        rows += [
            Row("pay", 1, 64, engine),
            Row("pay", BULK, 16, engine),
            Row("pay", 1, 64, engine, "node"),
            Row("evaluate", 1, 64, engine),
            Row("pay", 1, 1, engine),
        ]
    return Plan("quick", tuple(rows), Timing(seconds=3.0, warm_first_s=2.0, sampled_s=2.0))


def usual_plan(engines: Iterable[str]) -> Plan:
    """Return open, pay and evaluate at one and 64 callers, with both clients."""
    timing = Timing(seconds=3.0, warm_first_s=2.0, sampled_s=2.0)
    return Plan("usual", _matrix(engines, (1, 64), (1, 64)), timing)


def full_plan(engines: Iterable[str]) -> Plan:
    """Return the whole matrix, the consortium's own contracts included; it may take its time."""
    return Plan(
        "full",
        _matrix(engines, (1, 16, 64, 256), (1, 64)),
        Timing(rounds=5, seconds=6.0, warm_first_s=3.0, warm_s=1.0, sampled_s=4.0),
        product=True,
    )


def _matrix(
    engines: Iterable[str], callers: Iterable[int], reading: Iterable[int]
) -> tuple[Row, ...]:
    rows = []
    for engine in engines:
        for client in CLIENTS:
            for work in ("open", "pay"):
                for batch in (1, BULK):
                    rows += [Row(work, batch, each, engine, client) for each in callers]
            rows += [Row("evaluate", 1, each, engine, client) for each in reading]
    return tuple(rows)
