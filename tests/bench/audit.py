"""After the load: what every caller was told is what the ledgers hold, to the last payment.

- acknowledged: the agreement is there, or the payment is, with its amount (of the pool, which may
  hold millions, the number of agreements);
- failed for certain: nothing of it is there;
- open: all of it is there, or nothing;
- nothing else is there, and every agreement has paid what its payments say, and owes the rest;
- all nodes stand at one height with the same hashes.

A benchmark that lost a payment ends with an error and without figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import load
from tests.bench.network import HERE, BenchFailed, BenchNetwork

SHOWN = 5
"""Differences that a message tells."""


def audit(network: BenchNetwork, folder: Path) -> dict[str, int]:
    """Compare the journals in *folder* with the ledgers of a network that is down.

    Returns:
        how many transactions were told what, and how many records were compared.
    Raises:
        BenchFailed: they differ, or the nodes do.
    """
    _compare_nodes(network)
    expected = _expected(folder)
    found: set[str] = set()
    # Of the agreements that payments have changed, what they say they were paid, both ways.
    changed: dict[str, tuple[int, int]] = {}
    paid: Counter[str] = Counter()
    compared = opened = 0
    wrong: list[str] = []
    for key, value in _state(network):
        compared += 1
        kind, _, rest = key.partition("/")
        if kind == "agr":
            agreement = json.loads(value)
            sums = (agreement["paid"], agreement["principal"] - agreement["outstanding"])
            if sums != (0, 0):
                changed[rest] = sums
            if rest.startswith(load.POOL):
                opened += 1
                continue
        else:
            paid[rest.partition("/")[0]] += int(value)
        found.add(key)
        if not expected.allows(key, value):
            wrong.append(f"{key} is {value} and was not acknowledged so")
    wrong += expected.missing(found)
    if opened != expected.pool:
        wrong.append(f"{opened} agreements of the pool are there of {expected.pool}")
    for name in changed.keys() | paid.keys():
        if changed.get(name) != (paid[name], paid[name]):
            wrong.append(f"{name} was paid {paid[name]} and says {changed.get(name)}")
    if wrong:
        raise BenchFailed(
            f"{len(wrong)} differences between what was told and what is there: "
            f"{'; '.join(wrong[:SHOWN])}; the journals are in {folder}"
        )
    return {**expected.told, "records": compared}


@dataclass(frozen=True)
class Expected:
    """What the journals demand of the ledgers.

    Attributes:
        must: keys that must be there; values are those of payments, and "" of agreements.
        may: keys of transactions whose outcome is open, with the transaction's name.
        pool: how many agreements of the pool are open.
        told: how often callers were told what.
    """

    must: Mapping[str, str]
    may: Mapping[str, tuple[str, str]]
    pool: int
    told: Mapping[str, int]

    def allows(self, key: str, value: str) -> bool:
        """Say whether this may stand in a ledger."""
        wanted = self.must.get(key)
        if wanted is None and key in self.may:
            wanted = self.may[key][0]
        return wanted in ("", value)

    def missing(self, found: set[str]) -> list[str]:
        """Say what is not there as it should be, given what is there."""
        lost = [f"{key} was acknowledged and is not there" for key in self.must if key not in found]
        whole: dict[str, set[bool]] = {}
        for key, (_value, transaction) in self.may.items():
            whole.setdefault(transaction, set()).add(key in found)
        return lost + [
            f"{name} is there in part" for name, there in whole.items() if len(there) > 1
        ]


def _expected(folder: Path) -> Expected:
    must: dict[str, str] = {}
    may: dict[str, tuple[str, str]] = {}
    pool = 0
    told: Counter[str] = Counter()
    for path in sorted(folder.glob("*.task.json")):
        task = load.Task(**json.loads(path.read_text("utf-8")))
        if task.work == "evaluate":
            continue
        with open(task.journal, encoding="ascii") as journal:
            for line in journal:
                caller, number, word = json.loads(line)
                told[word] += 1
                if task.work == "provide":
                    continue  # a pool may be of millions; it is counted
                if word == "a":
                    must.update(_keys_of(task, caller, number))
                elif word == "o":
                    name = f"{task.tag} {caller} {number}"
                    keys = _keys_of(task, caller, number)
                    may.update({key: (value, name) for key, value in keys})
        if task.work == "provide":
            pool = max(pool, task.pool)
    names = {"a": "acknowledged", "d": "failed", "o": "open"}
    return Expected(must, may, pool, {name: told[word] for word, name in names.items()})


def _keys_of(task: load.Task, caller: int, number: int) -> Iterator[tuple[str, str]]:
    ids = load.ids_of(task, caller, number)
    if task.work != "pay":
        yield from ((f"agr/{each}", "") for each in ids)
        return
    reference, amount = load.reference_of(task, caller, number), str(load.amount_of(number))
    yield from ((f"pay/{each}/{reference}", amount) for each in ids)


def _state(network: BenchNetwork) -> Iterator[tuple[str, str]]:
    """The benchmark's keys and values in the first member's ledger."""
    lines = _dump(network, next(iter(network.nodes)))
    next(lines)
    for line in lines:
        key, value = json.loads(line)
        yield key, value


def _compare_nodes(network: BenchNetwork) -> None:
    heads = {}
    for msp_id in network.nodes:
        lines = _dump(network, msp_id)
        heads[msp_id] = json.loads(next(lines))
        lines.close()
    if len({json.dumps(head) for head in heads.values()}) > 1:
        raise BenchFailed(f"the nodes stand at different places: {heads}")


def _dump(network: BenchNetwork, msp_id: str) -> Generator[str, None, None]:
    """What `dump_state.py` prints of a member's ledger; a reader may stop early."""
    ledger = network.nodes[msp_id] / "ledger"
    process = subprocess.Popen(
        [sys.executable, "-P", str(HERE / "dump_state.py"), str(ledger)],
        stdout=subprocess.PIPE,
        text=True,
        env=network.tree.environment(),
    )
    assert process.stdout is not None
    try:
        yield from process.stdout
        if process.wait():
            raise BenchFailed(f"the ledger in {ledger} could not be read")
    finally:
        process.stdout.close()
        process.wait()
