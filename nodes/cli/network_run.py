"""Starting, founding, watching and stopping a whole network on this machine.

Founding is what the first start adds: the contract package installed in every node, the contracts
defined by one transaction (block 1), and the transaction `Found`, both endorsed by every member.
They are submitted by the commands that a member would use, ``qist contract define`` and ``qist
submit``, in processes of their own, since a node knows nothing of clients. Each step that stands
already is passed over, so that a start that was broken off is simply repeated.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ledger.errors import Refusal, Unavailable
from network.certificates.writing import write_new
from nodes.cli.contract_packages import install_package
from nodes.cli.control_client import NodeNotRunning, node_status, set_clock
from nodes.cli.network_folder import FOUNDING_FILE, NetworkFolder
from nodes.cli.node_lock import running_node
from nodes.cli.node_process import (
    PAUSE_S,
    START_S,
    StartedNode,
    refuse_taken_port,
    start_in_background,
    stop_started,
    wait_until_ready,
)
from nodes.configuration import load_configuration

FOUNDER_ROLE = "governance"
ENFORCEMENT = "enforcement"
ORDER_S = 10.0
"""How long a start waits for nodes to find the orderer, where nothing is to be submitted yet."""
CLIENT_S = 120.0
"""How long a client's command may take."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node of a network as it is seen from outside.

    Attributes:
        msp_id: the member.
        folder: of its node.
        running: whether a process runs it.
        status: what it says of itself; None if nothing answers.
    """

    msp_id: str
    folder: Path
    running: bool
    status: dict[str, Any] | None


def network_up(network: NetworkFolder, progress: Progress, *, timeout_s: float = START_S) -> None:
    """Start every node that does not run, wait until all serve, and found the network once.

    Args:
        progress: is told each step.
        timeout_s: how long the nodes may take until they serve.

    If one node cannot start, those that were started here are stopped again.

    Raises:
        Refusal: a port is taken, or a step of the founding was refused.
        Unavailable: a node did not become ready.
    """
    sleeping = [each for each in network.node_folders.values() if running_node(each) is None]
    for folder in sleeping:
        configuration = load_configuration(folder)
        for endpoint in configuration.endpoints:
            refuse_taken_port(endpoint.listen)
    version = ""
    started: list[StartedNode] = []
    try:
        for folder in sleeping:
            started.append(start_in_background(folder))
        if not is_founded(network):
            # Meanwhile: a node looks for packages when it needs one.
            version = install_package(list(network.node_folders.values())).version
        wait_until_ready(started, timeout_s)
    except BaseException:
        stop_started(started)
        raise
    progress(f"{len(sleeping)} of {len(network.node_folders)} nodes started, all serve")
    without_orderer = _without_orderer(network, timeout_s if not is_founded(network) else ORDER_S)
    if not is_founded(network):
        if without_orderer:
            raise Unavailable("; ".join(without_orderer))
        found_network(network, version, progress)
    for reason in without_orderer:
        progress(f"warning: {reason}")


def _without_orderer(network: NetworkFolder, timeout_s: float) -> list[str]:
    """Wait until every node can have transactions put in order; return who cannot, and why.

    A node that came up before the orderer's finds it a moment later. In a rehearsal it may never,
    if the clocks of the two are too far apart.
    """
    deadline = time.monotonic() + timeout_s
    waiting = dict(network.node_folders)
    while True:
        reasons = {}
        for msp_id, folder in list(waiting.items()):
            ordering = node_status(folder)["ordering"]
            if ordering["accepting"]:
                del waiting[msp_id]
            else:
                reasons[msp_id] = (
                    f"the node of {msp_id} takes no transactions: {ordering['reason']}"
                )
        if not waiting or time.monotonic() > deadline:
            return list(reasons.values())
        time.sleep(PAUSE_S)


def is_founded(network: NetworkFolder) -> bool:
    """Tell whether the first start has done everything."""
    return (network.path / FOUNDING_FILE).exists()


def found_network(network: NetworkFolder, version: str, progress: Progress) -> None:
    """Define the contracts and submit `Found`, whatever of it does not stand already.

    Args:
        network: its nodes serve.
        version: of the installed package.
    Raises:
        Refusal, Unavailable: a step failed; the same again goes on there.
    """
    members = [member.msp_id for member in network.content.members]
    founder = next(each.msp_id for each in network.content.members if each.is_regulator)
    client = _Client(network, founder, members)
    defined: set[str] = set()
    if node_status(network.node_folder(founder))["height"] > 1:
        listed = client.run("contract", "list", user=FOUNDER_ROLE)["contracts"]
        defined = {each["name"] for each in listed}
    missing = [each for each in network.content.contracts if each.name not in defined]
    if missing:
        words = [word for each in missing for word in (each.name, each.endorsement)]
        for each in missing:
            if each.collections:
                words += ["--collections", f"{each.name}={network.path / each.collections}"]
        outcome = client.submit("contract", "define", *words, "--version", version)
        names = " and ".join(each.name for each in missing)
        progress(f"{names} {version} defined in block {outcome['block_num']}")
    # A contract that was not defined until now has written nothing yet.
    if ENFORCEMENT not in defined or not _has_members(client):
        arguments = [json.dumps(_founders(network)), json.dumps(dict(network.content.policy))]
        outcome = client.submit("submit", ENFORCEMENT, "Found", *arguments)
        progress(f"founded by {', '.join(members)} in block {outcome['block_num']}")
    write_new(network.path / FOUNDING_FILE, (json.dumps({"version": version}) + "\n").encode())


def _has_members(client: _Client) -> bool:
    """Tell whether `Found` has been committed; asking for members is refused until then.

    A refusal for another reason comes again when `Found` is submitted, and is told then.
    """
    try:
        client.run("evaluate", ENFORCEMENT, "Members", user=FOUNDER_ROLE)
    except Refusal:
        return False
    return True


def _founders(network: NetworkFolder) -> list[dict[str, str]]:
    return [
        {
            "msp_id": each.msp_id,
            "member_class": each.member_class,
            "affiliate_group": each.group,
            "name": each.name,
        }
        for each in network.content.members
    ]


@dataclass(frozen=True, slots=True)
class _Client:
    """Runs clients' commands as a user of one member."""

    network: NetworkFolder
    msp_id: str
    endorsers: Sequence[str]

    def submit(self, *words: str) -> dict[str, Any]:
        asked = [option for each in self.endorsers for option in ("--endorsed-by", each)]
        return self.run(*words, *asked, user=FOUNDER_ROLE)

    def run(self, *words: str, user: str) -> dict[str, Any]:
        """Run a command and return its JSON.

        Raises:
            Refusal, Unavailable: as its exit code says, with its words.
        """
        profile = self.network.member_folder(self.msp_id) / "connection.json"
        options = ["--profile", str(profile), "--user", user, "--json"]
        if self.network.content.rehearsal:
            clock = node_status(self.network.node_folder(self.msp_id))["clock"]
            options += ["--time", clock]
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "qist", *words, *options],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=CLIENT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise Unavailable(
                f"`qist {' '.join(words[:2])}` has not ended after {CLIENT_S:g} s: look at "
                f"`qist network status {self.network.path}`, and try again",
                outcome_definite=False,
            ) from late
        if done.returncode == 0:
            value: dict[str, Any] = json.loads(done.stdout)
            return value
        said = _error_of(done.stderr)
        kind = Unavailable if done.returncode == 3 else Refusal
        raise kind(f"`qist {' '.join(words[:2])}` failed: {said}")


def _error_of(stderr: str) -> str:
    """Return the message of a command that failed."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    for line in reversed(lines):
        try:
            return str(json.loads(line)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            continue
    return lines[-1] if lines else "without a word"


def network_states(network: NetworkFolder) -> list[NodeState]:
    """Return how every node of a network is."""
    states = []
    for msp_id, folder in network.node_folders.items():
        try:
            status = node_status(folder)
        except NodeNotRunning:
            status = None
        states.append(NodeState(msp_id, folder, running_node(folder) is not None, status))
    return states


def disagreements(states: Sequence[NodeState]) -> list[str]:
    """Return where nodes of one height tell different hashes; they must never."""
    found = []
    by_height: dict[int, NodeState] = {}
    for state in states:
        if state.status is None:
            continue
        first = by_height.setdefault(state.status["height"], state)
        assert first.status is not None
        for name in ("header_hash", "commit_hash"):
            if first.status[name] != state.status[name]:
                found.append(
                    f"{first.msp_id} and {state.msp_id} differ in the {name.replace('_', ' ')} "
                    f"at height {state.status['height']}: stop the network and run `qist fsck`"
                )
    return found


def state_as_json(state: NodeState) -> dict[str, Any]:
    """Return plain JSON values: the status, null where nothing answers, and how it was found."""
    status = state.status
    if status is None:
        from nodes.operations.status import NodeStatus

        status = {each.name: None for each in fields(NodeStatus)}
    return {
        **status,
        "msp_id": state.msp_id,
        "folder": str(state.folder),
        "running": state.running,
        "ready": bool(status["ready"]),
    }


def set_clocks(network: NetworkFolder, now: str) -> dict[str, str]:
    """Set the clock of every node of a rehearsal, and return the time of each by MSP id.

    Raises:
        Refusal: this is no rehearsal, or the time lies before that of a node.
        NodeNotRunning: a node does not answer; those before it have the new time.
    """
    return {msp_id: set_clock(folder, now) for msp_id, folder in network.node_folders.items()}
