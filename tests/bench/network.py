"""The network that is measured: four members' nodes, made and run by the `qist` command.

    with bench_network(Tree(ROOT), folder, "solo") as network:
        network.status()

- Channel `qist`, contract `qist` (tests/bench/contract), endorsed by the bank's and PTA's peers
  both; blocks of at most 500 transactions or 500 ms, as Fabric was set.
- The consortium's own contracts are founded as well: it is the network that a user runs.
- Every process is a real one; nothing of the nodes is switched off or replaced.

A `Tree` is a copy of the project's files. The same environment of packages serves all copies, so
two commits that need different ones cannot be compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
CLIENT_MEMBER = "BankMSP"
USER = "lending"
CHANNEL = "qist"
CONTRACT = "qist"
ENDORSEMENT = "AND('BankMSP.peer', 'PtaMSP.peer')"
COMMAND_S = 300.0
UP_TRIES = 5

MEMBERS_FILE = """
channel_id = "qist"

[batch]
max_message_count = 500
timeout = "500ms"

[[members]]
msp_id = "BankMSP"
class = "bank"
group = "bank"

[[members]]
msp_id = "OperatorMSP"
class = "operator"
group = "operator"

[[members]]
msp_id = "MakerMSP"
class = "manufacturer"
group = "maker"

[[members]]
msp_id = "PtaMSP"
class = "regulator"
group = "pta"
"""


class BenchFailed(Exception):
    """The benchmark cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Tree:
    """A copy of the project's files.

    Attributes:
        path: its root.
        name: for people: a commit, or "here".
        samples: folder for what the processes' samplers write (sampling/sitecustomize.py); None:
            they are started without one.
    """

    path: Path
    name: str = "here"
    samples: Path | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment in which Python takes Qist from this tree."""
        places = [str(self.path)]
        variables = dict(os.environ)
        if self.samples is not None:
            places.append(str(HERE / "sampling"))
            variables["BENCH_SAMPLES"] = str(self.samples)
        return {**variables, "PYTHONPATH": os.pathsep.join(places)}

    def python(self, *words: str | Path, cwd: Path | None = None) -> str:
        """Run Python on this tree; return what it printed.

        Raises:
            BenchFailed: it ended with a failure; its words are in the message.
        """
        try:
            done = subprocess.run(
                [sys.executable, "-P", *map(str, words)],
                cwd=cwd,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            command = " ".join(map(str, words))
            raise BenchFailed(f"{command} has not ended after {COMMAND_S:g} s") from late
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            command = " ".join(map(str, words))
            raise BenchFailed(f"{command} ended with {done.returncode} on {self.name}: {said}")
        return done.stdout

    def qist(self, *words: str | Path) -> str:
        """Run `qist` of this tree; return what it printed."""
        return self.python("-m", "qist", *words)


@dataclass(frozen=True)
class BenchNetwork:
    """A network that runs.

    Attributes:
        tree: whose nodes it has.
        folder: of the network, made by `qist network create`.
        engine: that orders.
    """

    tree: Tree
    folder: Path
    engine: str

    @property
    def nodes(self) -> dict[str, Path]:
        """Folders of the nodes by MSP id."""
        return {msp_id: self.folder / msp_id / "node" for msp_id in MEMBERS}

    @property
    def profile(self) -> Path:
        """Connection profile of the member whose client makes the load."""
        return self.folder / CLIENT_MEMBER / "connection.json"

    @property
    def user_folder(self) -> Path:
        """MSP folder of the user who makes the load."""
        return self.folder / CLIENT_MEMBER / "org" / "users" / USER / "msp"

    def up(self) -> None:
        """Start every node.

        On a busy machine nodes may not be ready in the command's time; they go on, and the same
        command waits for them again.
        """
        for left in reversed(range(UP_TRIES)):
            try:
                self.tree.qist("network", "up", self.folder, "--json")
            except BenchFailed:
                if not left:
                    raise
            else:
                return

    def down(self) -> None:
        """Stop every node in order."""
        self.tree.qist("network", "down", self.folder, "--json")

    def define_contract(self) -> None:
        """Install the benchmark's contract on every node and define it."""

        def install(msp_id: str) -> None:
            node = self.folder / msp_id / "node"
            self.tree.qist("node", "install", node, "--package", HERE / "contract")

        with ThreadPoolExecutor() as pool:
            list(pool.map(install, MEMBERS))
        endorsed = [word for each in MEMBERS for word in ("--endorsed-by", each)]
        user = ("--profile", self.profile, "--user", "admin")
        self.tree.qist(
            "contract", "define", CONTRACT, ENDORSEMENT, "--version", "1", *user, *endorsed
        )

    def status(self) -> dict[str, Any]:
        """Return what `qist network status` says; it fails if nodes disagree."""
        status: dict[str, Any] = json.loads(
            self.tree.qist("network", "status", self.folder, "--json")
        )
        return status


@contextmanager
def bench_network(
    tree: Tree, folder: Path, engine: str, *, rehearsal_start: str = ""
) -> Iterator[BenchNetwork]:
    """Make and start a network in *folder*, or start the one that is there; down at the end.

    Args:
        rehearsal_start: where the clocks of a rehearsal begin; it has the consortium's contracts
            alone. Left out, it is none.
    """
    network = BenchNetwork(tree, folder, engine)
    is_new = not (folder / "network.toml").exists()
    if is_new:
        folder.parent.mkdir(parents=True, exist_ok=True)
        members = folder.with_name(f"{folder.name}-members.toml")
        members.write_text(MEMBERS_FILE, "utf-8")
        # Solo is what is made where nothing is said; older commits know no other.
        more = () if engine == "solo" else ("--ordering", engine)
        if rehearsal_start:
            more = (*more, "--rehearsal", "--start", rehearsal_start)
        tree.qist("network", "create", folder, "--members", members, "--base-port", "0", *more)
    try:
        network.up()
        if is_new and not rehearsal_start:
            network.define_contract()
        yield network
    finally:
        network.down()
