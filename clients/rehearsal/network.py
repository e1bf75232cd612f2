"""The network of a rehearsal: made, started and stopped by the very commands that members use.

``qist network create --rehearsal``, ``network up``, ``network down``; each node is a process of its
own. Nothing here knows how a node works.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clients.rehearsal.errors import RehearsalFailed
from clients.rehearsal.plan import LENDERS, Plan

MEMBERS_FILE = "members.toml"
CHANNEL = "qist"
SOLO = "solo"


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node at the end of a rehearsal; equal heights and hashes mean equal books."""

    msp_id: str
    height: int
    header_hash: str
    commit_hash: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class RehearsalNetwork:
    """A network that runs on this machine.

    Attributes:
        folder: the one that `network create` made.
        msp_ids: of its members.
    """

    folder: Path
    msp_ids: tuple[str, ...]

    @property
    def profiles(self) -> Mapping[str, Path]:
        """The connection profile of each member."""
        return {msp_id: self.folder / msp_id / "connection.json" for msp_id in self.msp_ids}

    @property
    def nodes(self) -> tuple[Path, ...]:
        """The nodes' folders."""
        return tuple(self.folder / msp_id / "node" for msp_id in self.msp_ids)

    def pseudonym_keys(self, msp_id: str) -> Path:
        """The file of a member's pseudonym keys."""
        return self.folder / msp_id / "pseudonym-keys.toml"

    async def states(self) -> list[NodeState]:
        """Ask every node for its height and hashes."""
        nodes = (await run_qist("network", "status", str(self.folder), "--json"))["nodes"]
        return [
            NodeState(
                each["msp_id"],
                each["height"],
                each["header_hash"],
                each["commit_hash"],
                each["memory_bytes"],
            )
            for each in nodes
        ]

    async def stop(self) -> None:
        """Stop all nodes."""
        await run_qist("network", "down", str(self.folder), "--json")


async def start_network(
    folder: Path, plan: Plan, start: datetime, ordering: str = SOLO
) -> RehearsalNetwork:
    """Make a rehearsal network in *folder* and start it, contracts and founding included.

    Args:
        folder: does not exist, or is empty.
        start: where its clocks begin.
        ordering: the engine, ``solo`` or ``cometbft``.
    Raises:
        RehearsalFailed: a command said no; the message is its own.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    members = folder.parent / MEMBERS_FILE
    members.write_text(_members_file(plan), encoding="utf-8")
    await run_qist(
        "network",
        "create",
        str(folder),
        "--members",
        str(members),
        "--rehearsal",
        "--ordering",
        ordering,
        "--start",
        start.isoformat(),
        "--base-port",
        "0",
        "--json",
    )
    network = RehearsalNetwork(folder, tuple(member.msp_id for member in plan.members))
    try:
        await run_qist("network", "up", str(folder), "--json")
    except BaseException:
        # Some nodes may run already; nobody else would stop them.
        await network.stop()
        raise
    return network


async def run_qist(*arguments: str) -> Any:
    """Run a command of ours in a process of its own and return what it printed as JSON.

    Raises:
        RehearsalFailed: it ended with another code than 0; what it said is kept.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "qist",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, said = await process.communicate()
    except BaseException:
        process.terminate()
        await process.wait()
        raise
    if process.returncode != 0:
        words = _error_of((said or printed).decode("utf-8", "replace"))
        raise RehearsalFailed(f"`qist {' '.join(arguments[:2])}` failed: {words}")
    try:
        return json.loads(printed)
    except ValueError as error:
        raise RehearsalFailed(
            f"`qist {' '.join(arguments[:2])}` did not answer in JSON: {error}"
        ) from error


def _error_of(said: str) -> str:
    """The message of the error that a command wrote last, as JSON; else all that it said."""
    try:
        return str(json.loads(said.strip().splitlines()[-1])["error"]["message"])
    except (ValueError, KeyError, TypeError, IndexError):
        return said.strip()


def _members_file(plan: Plan) -> str:
    lines = [f'channel_id = "{CHANNEL}"', ""]
    for member in plan.members:
        lines += [
            "[[members]]",
            f"msp_id = {_text(member.msp_id)}",
            f"class = {_text(member.member_class)}",
            f"group = {_text(member.affiliate_group)}",
            f"name = {_text(member.name)}",
        ]
        keepers = plan.keepers(member.msp_id)
        if keepers and member.member_class in LENDERS:
            lines.append(f"terms_with = {_value(keepers)}")
        lines.append("")
    lines.append("[policy]")
    lines += [f"{name} = {_value(value)}" for name, value in plan.parameters.items()]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _value(value: Any) -> str:
    """TOML of a policy parameter: a number, true or false, a text, a date or a list of texts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return _text(str(value))
