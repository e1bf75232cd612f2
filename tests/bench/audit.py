"""After the load: what every caller was told is what the ledgers hold, to the last payment.

- acknowledged: the agreement is there, or the payment is, with its amount;
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
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

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
    expected, maybe, told = _expected(folder)
    found: set[str] = set()
    paid: Counter[str] = Counter()
    compared = 0
    wrong: list[str] = []
    agreements: dict[str, dict[str, Any]] = {}
    for key, value in _state(network):
        kind, _, rest = key.partition("/")
        compared += 1
        if kind == "agr":
            agreements[rest] = json.loads(value)
        else:
            paid[rest.partition("/")[0]] += int(value)
        if expected.get(key, maybe.get(key, (None,)))[0] not in ("", value):
            wrong.append(f"{key} is {value} and was not acknowledged so")
        found.add(key)
    wrong += [f"{key} was acknowledged and is not there" for key in expected if key not in found]
    whole: dict[str, set[bool]] = {}
    for key, (_value, transaction) in maybe.items():
        whole.setdefault(transaction, set()).add(key in found)
    wrong += [f"{name} is there in part" for name, there in whole.items() if len(there) > 1]
    for name, agreement in agreements.items():
        sums = (agreement["paid"], agreement["principal"] - agreement["outstanding"])
        if sums != (paid[name], paid[name]):
            wrong.append(f"{name} has paid {paid[name]} and says {sums}")
    if wrong:
        raise BenchFailed(
            f"{len(wrong)} differences between what was told and what is there: "
            f"{'; '.join(wrong[:SHOWN])}; the journals are in {folder}"
        )
    return {**told, "records": compared}


def _expected(
    folder: Path,
) -> tuple[dict[str, tuple[str]], dict[str, tuple[str, str]], dict[str, int]]:
    """Return what must be there, what may be there, and how often callers were told what.

    Values are those of payments; of an agreement, which payments change, it is "".
    """
    must: dict[str, tuple[str]] = {}
    may: dict[str, tuple[str, str]] = {}
    told: Counter[str] = Counter()
    for path in sorted(folder.glob("*.task.json")):
        task = load.Task(**json.loads(path.read_text("utf-8")))
        if task.work == "evaluate":
            continue
        with open(task.journal, encoding="ascii") as journal:
            for line in journal:
                caller, number, word = json.loads(line)
                told[word] += 1
                keys = _keys_of(task, caller, number)
                if word == "a":
                    must.update({key: (value,) for key, value in keys})
                elif word == "o":
                    name = f"{task.tag} {caller} {number}"
                    may.update({key: (value, name) for key, value in keys})
    names = {"a": "acknowledged", "d": "failed", "o": "open"}
    return must, may, {name: told[word] for word, name in names.items()}


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
