"""A network of node processes that a test may kill: made by commands, watched through its sockets.

    with NodeNetwork.running(folder) as network:
        network.kill("PtaMSP")
        network.start("PtaMSP")
        ...
        network.verify()

Making, starting and checking are `qist network create`, `network up`, `node start` and `fsck`. What
a node says of itself is asked through its control socket, as the commands do it, without a process
for every question. Waiting is for a condition, with a deadline.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.connection import Timeouts
from clients.gateway.profile import load_profile
from ledger.blocks.metadata import codes_of
from ledger.channel import ChannelLedger
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import parse_transaction
from nodes.cli.control_client import NodeNotRunning, node_status
from nodes.cli.node_lock import running_node
from nodes.cli.node_process import (
    LOG_FILE,
    StartedNode,
    start_in_background,
    stop_nodes,
    wait_until_ready,
)
from tests.support.mortal_node import Fault, start_mortal
from tests.support.processes import DEADLINE_S, process_of, qist, wait_for

MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
CHANNEL = "qist"
FSCK_S = 600.0
"""For the check of four ledgers, of which each may be as long as a long test has made it."""
Places = Mapping[str, Sequence[tuple[int, TxValidationCode]]]
"""For each tx id the blocks that hold it, and the verdict there."""


@dataclass
class NodeNetwork:
    """A network's folder and the processes that were started for it.

    Attributes:
        folder: made by `qist network create`.
        started: the newest process of each node that was started from here.
    """

    folder: Path
    started: dict[str, StartedNode] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def running(cls, folder: Path, *words: str) -> Iterator[NodeNetwork]:
        """Make a network of the usual four members, start it, and stop it whatever happens."""
        made = qist("network", "create", folder, "--base-port", "0", "--json", *words)
        assert made.code == 0, made.err
        network = cls(folder)
        try:
            up = qist("network", "up", folder, "--json")
            assert up.code == 0, up.err
            yield network
        finally:
            stop_nodes(map(network.node, MEMBERS))

    # ---- places
    def node(self, msp_id: str) -> Path:
        """Return the folder of a member's node."""
        return self.folder / msp_id / "node"

    def profile(self, msp_id: str) -> Path:
        """Return the connection profile of a member."""
        return self.folder / msp_id / "connection.json"

    def gateway(self, msp_id: str, user: str = "lending", **options: Any) -> AsyncGateway:
        """Return a client of a member's node; close it, or use ``async with``."""
        options.setdefault("timeouts", Timeouts(commit_status_s=30))
        return AsyncGateway.from_profile(load_profile(self.profile(msp_id)), user, **options)

    @property
    def sequencer(self) -> str:
        """The member whose node orders."""
        (found,) = [
            each for each in MEMBERS if self.status(each)["ordering"]["role"] == "sequencer"
        ]
        return found

    # ---- processes
    def status(self, msp_id: str) -> dict[str, Any]:
        """Return what a running node says of itself."""
        return node_status(self.node(msp_id))

    def height(self, msp_id: str) -> int:
        """Return the height of a running node."""
        return int(self.status(msp_id)["height"])

    def is_running(self, msp_id: str) -> bool:
        """Tell whether a process runs the node."""
        return running_node(self.node(msp_id)) is not None

    def start(self, *msp_ids: str, fault: Fault | None = None) -> None:
        """Start nodes in the background; returns at once. With *fault*, they will meet it."""
        for msp_id in msp_ids:
            folder = self.node(msp_id)
            self.started[msp_id] = (
                start_in_background(folder) if fault is None else start_mortal(folder, fault)
            )

    def ready(self, *msp_ids: str) -> None:
        """Wait until the nodes that were started serve."""
        wait_until_ready([self.started[msp_id] for msp_id in msp_ids])

    def kill(self, *msp_ids: str) -> None:
        """End the processes of these nodes by SIGKILL, all at once, and wait for their ends."""
        pids = [self._pid(msp_id) for msp_id in msp_ids]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for msp_id in msp_ids:
            self.wait_dead(msp_id)

    def _pid(self, msp_id: str) -> int:
        """The process of a node; one that was just started may not have taken the lock yet."""
        started = self.started.get(msp_id)
        if started is not None and started.process.poll() is None:
            return started.process.pid
        return process_of(self.node(msp_id))

    def wait_dead(self, msp_id: str) -> None:
        """Wait until no process runs the node."""
        if msp_id in self.started:
            # A process that was just started has no lock yet, so the lock alone does not tell; and
            # the end of ours is told to the system, so that nothing of it is left.
            self.started[msp_id].process.wait(timeout=DEADLINE_S)
        wait_for(lambda: not self.is_running(msp_id), f"the end of the node of {msp_id}")

    def stop(self, *msp_ids: str) -> None:
        """Stop nodes in order."""
        folders = [self.node(msp_id) for msp_id in msp_ids]
        # Not by a command: a process of ours that has ended is there until we have looked.
        assert set(stop_nodes(folders).values()) == {"stopped"}

    def log(self, msp_id: str) -> list[dict[str, Any]]:
        """Return what the newest process of a node has logged; a line that is no JSON as text."""
        started = self.started[msp_id]
        with (started.folder / LOG_FILE).open("rb") as file:
            file.seek(started.log_size)
            lines = file.read().decode("utf-8").splitlines()
        said: list[dict[str, Any]] = []
        for line in lines:
            try:
                said.append(json.loads(line))
            except ValueError:
                said.append({"level": "", "message": line})
        return said

    def recovered(self, msp_id: str) -> list[str]:
        """Return what the newest process of a node said it had to do at its start."""
        begin = "recovered: "
        return [
            each["message"].removeprefix(begin)
            for each in self.log(msp_id)
            if each["message"].startswith(begin)
        ]

    # ---- conditions
    def wait_until(self, msp_id: str, what: str, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until a node answers with a status for which *holds* is true."""

        def condition() -> bool:
            with suppress(NodeNotRunning):
                return holds(self.status(msp_id))
            return False

        wait_for(condition, f"{msp_id}: {what}")

    def all_accept(self) -> None:
        """Wait until every node serves and can have transactions put in order."""
        for msp_id in MEMBERS:
            self.wait_until(
                msp_id,
                "that it serves and takes transactions",
                lambda status: status["ready"] and status["ordering"]["accepting"],
            )

    def settled(self) -> int:
        """Wait until all nodes have the same height; their hashes must agree then."""
        states: list[dict[str, Any]] = []

        def equal() -> bool:
            states[:] = [self.status(msp_id) for msp_id in MEMBERS]
            return len({each["height"] for each in states}) == 1

        wait_for(equal, "equal heights")
        ends = {(each["header_hash"], each["commit_hash"]) for each in states}
        assert len(ends) == 1, states
        return int(states[0]["height"])

    # ---- the end
    def verify(self) -> Places:
        """Stop every node, make the closing checks of a network test, and return what is stored.

        Equal heights, header hashes and commit hashes, a clean fsck of every ledger, and the same
        verdicts on the same transactions in every one of them.
        """
        self.all_accept()
        height = self.settled()
        self.stop(*MEMBERS)
        checked = qist("fsck", self.folder, "--json", timeout_s=FSCK_S)
        assert checked.code == 0, checked.out + checked.err
        ends = {
            (each["height"], each["header_hash"], each["commit_hash"])
            for each in checked.json["nodes"]
        }
        assert len(ends) == 1, checked.out
        assert next(iter(ends))[0] == height
        first, *others = [stored_transactions(self.node(msp_id) / "ledger") for msp_id in MEMBERS]
        assert all(each == first for each in others)
        return first


def stored_transactions(ledger: Path) -> Places:
    """Return where each transaction stands in a ledger that nobody has open."""
    found: dict[str, list[tuple[int, TxValidationCode]]] = {}
    opened = ChannelLedger.open(ledger)
    try:
        assert opened.recovered == ()
        for block in opened.blocks():
            for raw, code in zip(block.data, codes_of(block), strict=True):
                found.setdefault(parse_transaction(raw).index_id, []).append((block.number, code))
    finally:
        opened.close()
    return found
