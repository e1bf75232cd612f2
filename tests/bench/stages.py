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
| transport | gRPC, TLS and the event loop: what belongs to no stage above |
| native | gRPC's own threads and LevelDB's compaction, which run no Python |
| client | the process that makes the load, whole |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

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
    ("nodes/committer/", "validate"),
    ("ledger/validation/", "validate"),
    ("ledger/channel.py:prepare", "validate"),
    ("ledger/channel.py:commit", "commit"),
    ("ledger/recovery.py", "commit"),
    ("nodes/channel.py:_announce", "commit"),
    ("nodes/channel.py:_tell", "commit"),
    ("nodes/private_data/", "commit"),
)
OTHERWISE = "transport"


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


def seconds_by_stage(samples: Iterable[Mapping[str, object]], root: str) -> dict[str, float]:
    """Add up what samplers wrote (sampling/sitecustomize.py) of nodes, by stage.

    Args:
        root: path of the tree whose code ran.
    """
    spent: dict[str, float] = defaultdict(float)
    for sample in samples:
        stacks = sample["stacks"]
        assert isinstance(stacks, list)
        for stack, seconds in stacks:
            spent[stage_of([relative(place, root) for place in stack])] += seconds
        native = sample["native_s"]
        assert isinstance(native, float)
        spent["native"] += native
    return dict(spent)


def relative(place: str, root: str) -> str:
    """Return a place with its path from the project's root, or from its package's folder."""
    if place.startswith(f"{root}/") and "/.venv/" not in place:
        return place[len(root) + 1 :]
    return place.rpartition("/site-packages/")[2]
