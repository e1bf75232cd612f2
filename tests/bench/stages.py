"""Which stage of a transaction's way a stack belongs to.

A stack is read from the innermost function outwards; the first one that a stage owns decides. What
several stages use, such as policies, identities or LevelDB, is owned by none and goes to whoever
called it. A pattern is the beginning of a path, and of a function behind a colon.

| stage | is |
|---|---|
| endorse | a proposal admitted, simulated, and its endorsements gathered and signed |
| order | envelopes admitted, put in order, made into blocks and passed on |
| cometbft | the CometBFT processes, told apart by the system |
| validate | signatures, policies and MVCC of a block |
| commit | the block and its effect written, and those told who wait |
| status | the commit status asked for and answered |
| transport | gRPC, TLS, event loop, work on its way to threads: what has no other stage |
| native | gRPC's own threads and LevelDB's compaction, which run no Python |
| client | the process that makes the load, whole |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

STAGES = (
    "endorse", "order", "cometbft", "validate", "commit", "status", "transport", "native", "client",
)  # fmt: skip

OWNERS: Sequence[tuple[str, str]] = (
    ("nodes/gateway/service.py:submit", "order"),
    ("nodes/gateway/service.py:commit_status", "status"),
    ("nodes/gateway/", "endorse"),
    ("nodes/endorser/", "endorse"),
    ("chaincode/", "endorse"),
    ("nodes/orderer/", "order"),
    ("network/ordering/", "order"),
    ("nodes/deliver/", "order"),
    ("nodes/committer/committer.py:write", "commit"),
    ("nodes/committer/committer.py:commit", "commit"),
    ("nodes/committer/", "validate"),
    ("ledger/validation/", "validate"),
    ("ledger/channel.py:prepare", "validate"),
    ("ledger/channel.py:commit", "commit"),
    ("nodes/channel.py:_guarded", "commit"),
    ("nodes/channel.py:_announced", "commit"),
    ("nodes/channel.py:_on_writer", "commit"),
    ("nodes/announced.py:_announce", "commit"),
    ("nodes/announced.py:_tell", "commit"),
    ("nodes/private_data/", "commit"),
)
OTHERWISE = "transport"
MAIN = "thread:MainThread"


def stage_of(stack: Sequence[str]) -> str:
    """Return the stage of a stack.

    Args:
        stack: ``path:function`` from the innermost outwards, paths relative to the project.
    """
    for place in stack:
        for pattern, stage in OWNERS:
            if place.startswith(pattern):
                return stage
    return OTHERWISE


def seconds_by_stage(samples: Iterable[Mapping[str, Any]], root: str) -> dict[str, float]:
    """Add up what samplers wrote (sampling/sitecustomize.py) of nodes, by stage.

    Args:
        root: path of the tree whose code ran.
    """
    spent: dict[str, float] = defaultdict(float)
    for sample in samples:
        spent["native"] += sample["native_s"]
        for stack, seconds in sample["stacks"]:
            # What the other threads' work does not tell exactly is how it came to them.
            stage = stage_of([relative(each, root) for each in stack])
            spent[stage if stack[-1] == MAIN else OTHERWISE] += seconds
        for place, seconds in sample["exact"]:
            spent[stage_of([relative(place, root)])] += seconds
            spent[OTHERWISE] -= seconds
    return {stage: max(0.0, seconds) for stage, seconds in spent.items()}


def relative(place: str, root: str) -> str:
    """Return a place with its path from the project's root, or from its package's folder."""
    if place.startswith(f"{root}/") and "/.venv/" not in place:
        return place[len(root) + 1 :]
    return place.rpartition("/site-packages/")[2]
