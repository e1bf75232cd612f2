#!/usr/bin/env python
"""Measure what each stage of a transaction costs in CPU, by stage and by process.

    .venv/bin/python tools/stages.py [--callers 64] [--count 200] [--rounds 8]
    .venv/bin/python tools/stages.py --against COMMIT    the same for two states, in turns: ratios
    .venv/bin/python tools/stages.py --profile BankMSP   where the Python of one node's loop goes

Four nodes run in processes of their own, ordered by `solo`; the client is this process. A payment
reads one record and writes two keys; BankMSP's node is its gateway and orders, PtaMSP's endorses
too, the two others only commit. A stage is made for *count* transactions by *callers* at once, then
the next one for the same transactions, so that each stands alone. What is read is the processor
time of each process, user and system, never the clock on the wall. Other work on the machine
lengthens that too, by colder caches and shared cores, and nothing shortens it: so the least of many
short rounds is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("QIST_STAGES_ROOT", Path(__file__).parent.parent))
sys.path.insert(0, str(ROOT))

import uvloop  # noqa: E402

from chaincode.contract import Context, Contract, query, transaction  # noqa: E402
from chaincode.simulator import ContractChaincode  # noqa: E402
from nodes.cli.control_client import NodeNotRunning, node_status  # noqa: E402
from nodes.configuration import load_configuration  # noqa: E402
from nodes.garbage import search_seldom  # noqa: E402
from nodes.node import Node  # noqa: E402
from nodes.operations.logs import start_logging  # noqa: E402
from tests.support.local_network import (  # noqa: E402
    MEMBERS,
    VERSION,
    FixedContracts,
    LocalNetwork,
    make_network,
)

POLICY = "AND('BankMSP.peer', 'PtaMSP.peer')"
GATEWAY = "BankMSP"
STAGES = ("evaluate", "endorse", "submit", "commit status", "payment")
START_S = 60.0


class Book(Contract):
    """Agreements of which one is read, lowered and written back by each payment."""

    name = "qist"

    @transaction(name="Open")
    def open_agreement(self, ctx: Context, agreement: str) -> None:
        """Put one agreement."""
        record = {
            "id": agreement, "borrower": "kb1:5b1f", "imei": "kd1:77aa", "lender": "BankMSP",
            "principal": 6_000_000, "outstanding": 6_000_000, "paid": 0, "status": "active",
        }  # fmt: skip
        ctx.stub.put_state(f"agr/{agreement}", json.dumps(record).encode())

    @transaction(name="Pay")
    def pay(self, ctx: Context, agreement: str, reference: str, amount: int) -> None:
        """Take a payment of an agreement."""
        record = json.loads(ctx.stub.get_state(f"agr/{agreement}") or b"{}")
        record["outstanding"] -= amount
        record["paid"] += amount
        ctx.stub.put_state(f"agr/{agreement}", json.dumps(record).encode())
        ctx.stub.put_state(f"pay/{agreement}/{reference}", str(amount).encode())

    @query(name="Get")
    def get(self, ctx: Context, agreement: str) -> bytes:
        """Return an agreement."""
        return ctx.stub.get_state(f"agr/{agreement}") or b""


def run_node(folder: Path, profile: Path | None) -> None:
    """Serve the node of *folder* until told to stop."""
    contracts = [ContractChaincode(Book(), VERSION)]
    node = Node.open(
        folder,
        contracts=lambda place, channel: FixedContracts(
            load_configuration(place).msp_id, contracts, channel
        ),
    )
    start_logging("stages", node.configuration.log.level)
    search_seldom()
    profiler = cProfile.Profile()
    if profile is not None:
        profiler.enable()
    uvloop.run(_serve(node))
    if profile is not None:
        profiler.disable()
        profiler.dump_stats(profile)


async def _serve(node: Node) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, node.request_stop)
    await node.serve()


class Processes:
    """The nodes' processes and this one, and the processor time of each."""

    def __init__(self, network: LocalNetwork, profiled: str, profile: Path) -> None:
        self.folders = {name: network.members[name].folder for name in MEMBERS}
        self.pids = {"client": os.getpid()}
        self._started = []
        for name, folder in self.folders.items():
            words = [sys.executable, __file__, "--node", str(folder)]
            if name == profiled:
                words += ["--dump", str(profile)]
            with (folder / "node.log").open("wb") as log:
                process = subprocess.Popen(words, stdout=log, stderr=log)
            self._started.append(process)
            self.pids[name] = process.pid

    def cpu_ns(self) -> dict[str, int]:
        """Return the processor time of each process since it began, user and system."""
        # The clock of another process, as clock_getcpuclockid(3) makes its number.
        return {name: time.clock_gettime_ns((~pid << 3) | 2) for name, pid in self.pids.items()}

    async def ready(self) -> None:
        """Wait until every node serves."""
        async with asyncio.timeout(START_S):
            for folder in self.folders.values():
                while True:
                    with suppress(NodeNotRunning):
                        if (await asyncio.to_thread(node_status, folder))["ready"]:
                            break
                    await asyncio.sleep(0.1)

    async def settled(self, _height: int = 0) -> int:
        """Wait until all nodes have the same height, and return it."""
        async with asyncio.timeout(START_S):
            while True:
                statuses = [
                    await asyncio.to_thread(node_status, folder) for folder in self.folders.values()
                ]
                if len({each["height"] for each in statuses}) == 1:
                    return int(statuses[0]["height"])
                await asyncio.sleep(0.02)

    def stop(self) -> None:
        """End every node in order."""
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait()


async def at_once(
    callers: int, items: Sequence[Any], work: Callable[[Any], Awaitable[Any]]
) -> list[Any]:
    """Do *work* on each item, by so many callers at once; return what came of them."""
    waiting = list(enumerate(items))
    results: list[Any] = [None] * len(items)

    async def call() -> None:
        while waiting:
            place, item = waiting.pop()
            results[place] = await work(item)

    await asyncio.gather(*(call() for _ in range(callers)))
    return results


async def measure(given: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Return microseconds of each process per transaction, by stage; the least of the rounds."""
    network = make_network(folder, [Book()])
    profile = folder / "profile"
    processes = Processes(network, given.profile, profile)
    found: dict[str, dict[str, list[float]]] = {
        stage: {name: [] for name in processes.pids} for stage in STAGES
    }
    try:
        await processes.ready()
        network.settled = processes.settled  # the nodes are not on this loop
        await network.define(POLICY)
        await processes.settled()
        async with network.gateway(GATEWAY) as gateway:
            contract = gateway.network(network.channel_id).contract("qist")
            names = [f"A{number}" for number in range(given.count)]
            await at_once(given.callers, names, lambda name: contract.submit("Open", name))

            async def stage(name: str, work: Callable[[Any], Awaitable[Any]], items: Any) -> Any:
                await processes.settled()
                before = processes.cpu_ns()
                results = await at_once(given.callers, items, work)
                await processes.settled()
                after = processes.cpu_ns()
                for process, spent in after.items():
                    cost = (spent - before[process]) / len(items) / 1000
                    found[name][process].append(cost)
                return results

            def pay(number: int) -> Callable[[str], Awaitable[Any]]:
                return lambda name: contract.submit("Pay", name, f"P{number}", "100")

            for number in range(given.rounds + 1):
                if given.payments:
                    await stage("payment", pay(number), names)
                    continue
                await stage("evaluate", lambda name: contract.evaluate("Get", name), names)
                endorsed = await stage(
                    "endorse",
                    lambda name, r=number: gateway.endorse(
                        contract.new_proposal("Pay", name, f"R{r}", "100")
                    ),
                    names,
                )
                submitted = await stage("submit", gateway.submit, endorsed)
                statuses = await stage("commit status", gateway.commit_status, submitted)
                assert all(each.is_valid for each in statuses), statuses
                await stage("payment", pay(number), names)
    finally:
        processes.stop()
    if given.profile:
        pstats.Stats(str(profile)).sort_stats(given.sort).print_stats(70)
    # The first round warmed everything up.
    return {
        stage: {name: min(costs[1:]) for name, costs in by_process.items()}
        for stage, by_process in found.items()
        if by_process["client"]
    }


def render(costs: dict[str, dict[str, float]]) -> str:
    """Return the table of one state."""
    names = ["client", *MEMBERS]
    lines = [f"{'µs CPU each':<14}" + "".join(f"{name:>12}" for name in [*names, "all"])]
    for stage, by_process in costs.items():
        cells = [by_process[name] for name in names]
        lines.append(f"{stage:<14}" + "".join(f"{each:12.0f}" for each in [*cells, sum(cells)]))
    return "\n".join(lines)


def compare(given: argparse.Namespace) -> None:
    """Measure this state and that of a commit in turns, and print the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", given.against], check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive)
        taken: dict[str, list[Any]] = {"before": [], "now": []}
        for _ in range(given.turns):
            for state, root in (("before", folder), ("now", str(ROOT))):
                words = [sys.executable, __file__, "--json", "--rounds", str(given.rounds)]
                words += ["--callers", str(given.callers), "--count", str(given.count)]
                words += ["--payments"] if given.payments else []
                done = subprocess.run(
                    words, env={**os.environ, "QIST_STAGES_ROOT": root},
                    check=True, capture_output=True, text=True,
                )  # fmt: skip
                taken[state].append(json.loads(done.stdout))
    tables = {
        state: {
            stage: {name: min(each[stage][name] for each in runs) for name in ("client", *MEMBERS)}
            for stage in runs[0]
        }
        for state, runs in taken.items()
    }
    for state, table in tables.items():
        print(f"\n{state}\n{render(table)}")
    print("\nratio now : before")
    for stage in tables["now"]:
        before, now = (sum(tables[state][stage].values()) for state in ("before", "now"))
        print(f"{stage:<14}{now / before:12.2f}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--payments", action="store_true", help="payments as one call only")
    parser.add_argument("--against", help="a commit")
    parser.add_argument("--turns", type=int, default=2, help="of each state, with --against")
    parser.add_argument("--profile", default="", help="MSP id of the node to profile")
    parser.add_argument("--sort", default="tottime", help="of the profile")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--node", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dump", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.node is not None:
        run_node(given.node, given.dump)
    elif given.against:
        compare(given)
    else:
        with tempfile.TemporaryDirectory(prefix="stages-") as folder:
            costs = uvloop.run(measure(given, Path(folder)))
        print(json.dumps(costs) if given.json else render(costs))


if __name__ == "__main__":
    main()
