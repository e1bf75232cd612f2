"""What Fabric 3.1.5 reached with the same work on two virtual cores; docs/performance.md says how.

Its figures are for the best number of callers, except where one caller is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.plan import BULK, Row


@dataclass(frozen=True)
class Fabric:
    """What was measured of Fabric for one kind of work; None where nothing was.

    Attributes:
        raft: with one Raft orderer.
        bft: with four BFT orderers.
    """

    raft: float | None = None
    bft: float | None = None

    def beside(self, engine: str) -> float | None:
        """Return the figure of the kind of ordering that compares with ours."""
        return self.bft if engine == "cometbft" else self.raft


RECORDS_PER_S = {
    ("open", 1): Fabric(131, 112),
    ("pay", 1): Fabric(130, 122),
    ("open", BULK): Fabric(2750, 3508),
    ("pay", BULK): Fabric(1221, 1261),
}
"""By work and records a transaction."""

EVALUATES_PER_S = {1: Fabric(234), 64: Fabric(526)}
"""By callers."""

COMMIT_MS = Fabric(bft=512)
"""One payment at a time: median until it is committed."""

NODES_CPU_MS = Fabric(8.8, 11.3)
"""Processor time of all peers and orderers for one payment."""

CLIENT_CPU_MS = Fabric(4.5, 4.1)
"""Processor time of the official Node client for one payment."""


def records_per_s(row: Row) -> float | None:
    """Return Fabric's throughput for a row, in records a second."""
    if row.work == "evaluate":
        return EVALUATES_PER_S.get(row.callers, Fabric()).raft
    if row.callers == 1 and row.batch == 1:
        return None
    return RECORDS_PER_S.get((row.work, row.batch), Fabric()).beside(row.engine)


def commit_ms(row: Row) -> float | None:
    """Return Fabric's median time to commit for a row."""
    is_single = (row.work, row.batch, row.callers) == ("pay", 1, 1)
    return COMMIT_MS.beside(row.engine) if is_single else None


def nodes_cpu_ms(row: Row) -> float | None:
    """Return Fabric's processor time of all nodes for a row, a transaction."""
    is_payment = (row.work, row.batch) == ("pay", 1)
    return NODES_CPU_MS.beside(row.engine) if is_payment else None
