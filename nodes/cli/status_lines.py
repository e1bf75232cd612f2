"""A node's status as people read it, and what of it an operator should look at.

The fields are described in docs/howto/run-a-node.md, what to do about them in
docs/howto/operate-a-node.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["status_lines", "warnings_in"]


def status_lines(value: dict[str, Any]) -> Iterator[str]:
    """Yield a node's status as people read it."""
    ordering = value["ordering"]
    yield f"node         {value['name']} of {value['msp_id']}, version {value['version']}"
    yield f"serves       clients at {value['client_address']}, nodes at {value['node_address']}"
    place = f"at height {value['height']}, configuration {value['configuration']}"
    yield f"channel      {value['channel_id']} {place}"
    yield f"header hash  {value['header_hash']}"
    yield f"commit hash  {value['commit_hash'] or '- (there is none of the genesis block)'}"
    state = (
        "ready"
        if value["ready"]
        else f"NOT READY: {value['halted'] or value['outside'] or 'it is starting'}"
    )
    yield f"state        {state}, since {value['started']}"
    if value["recovered"]:
        yield f"recovered    {value['recovered']}"
    whom = f" of {ordering['endpoint']}" if ordering["endpoint"] else ""
    accepts = "takes transactions" if ordering["accepting"] else f"takes none: {ordering['reason']}"
    yield (
        f"ordering     {ordering['engine']}, {ordering['role']}{whom}; {accepts}, "
        f"{ordering['queued']} waiting"
    )
    yield from _consensus_lines(ordering.get("consensus"))
    for peer in value["peers"]:
        state = "up" if peer["up"] else "DOWN"
        yield f"member       {peer['msp_id']} at {peer['address']}: {state}"
    for each in value["contracts"]:
        served = f"served by {each['package_id']}" if each["package_id"] else "NOT RUN HERE"
        name = f"{each['name']} {each['version']}, sequence {each['sequence']}"
        yield f"contract     {name}: {served}"
    private = value["private_data"]
    if private["missing"] or private["last_success"]:
        yield (
            f"private data {private['missing']} write sets missing; {private['reconciled']} came "
            f"late, the last {private['last_success'] or 'never'}"
        )
    for each in value["certificates"]:
        yield f"certificate  {each['name']} until {each['expires'][:10]}, {each['days_left']} days"
    yield f"clock        {value['clock']}{' (REHEARSAL)' if value['rehearsal'] else ''}"
    yield f"memory       {value['memory_bytes'] / 1_000_000:.0f} MB"


def _consensus_lines(consensus: dict[str, Any] | None) -> Iterator[str]:
    """Yield how the agreement of several members stands, of an engine that has one."""
    if consensus is None:
        return
    round_ = f", round {consensus['round']}" if consensus["round"] else ""
    lag = f", {consensus['lag']} behind" if consensus["lag"] else ""
    restarts = f"; started anew {consensus['restarts']} times" if consensus["restarts"] else ""
    yield f"consensus    at height {consensus['height']}{round_}{lag}{restarts}"
    linked = ", ".join(consensus["peers"]) or "nobody"
    yield (
        f"validators   {consensus['reachable']} of {consensus['validators']} in touch; linked with "
        f"{linked}"
    )
    if consensus["unproven"]:
        why = f": {consensus['unproven_why']}" if consensus["unproven_why"] else ""
        yield f"finality     {consensus['unproven']} blocks are not proven final here yet{why}"
    if consensus["unrecorded"]:
        yield (
            f"finality     {consensus['unrecorded']} older blocks, the first of them block "
            f"{consensus['unrecorded_from']}, have no proof of their own here"
        )
    for msp_id, count in sorted(consensus["misbehaviour"].items()):
        yield f"misbehaviour {msp_id}: double signing proven {count} times"


def warnings_in(value: dict[str, Any]) -> list[str]:
    """Return what the operator should look at in a node's status."""
    warnings = [each["warning"] for each in value["certificates"] if each["warning"]]
    warnings += [each["reason"] for each in value["contracts"] if each["reason"]]
    return warnings + list(_consensus_warnings(value["ordering"].get("consensus")))


def _consensus_warnings(consensus: dict[str, Any] | None) -> Iterator[str]:
    if consensus is None:
        return
    here, all_ = consensus["reachable"], consensus["validators"]
    # With one less they would not be more than two thirds.
    if here < all_ and 3 * here > 2 * all_ >= 3 * (here - 1):
        yield (
            f"{here} of {all_} members that order are in touch with this node; with one more away "
            "nothing can be ordered"
        )
    if consensus["unproven_why"]:
        yield f"a block's proof of being final cannot be stored: {consensus['unproven_why']}"
    if consensus["unrecorded"]:
        lowest = consensus["unrecorded_from"]
        yield (
            f"{consensus['unrecorded']} blocks from block {lowest} on have no proof of their own "
            f"here, and no member's node gives one: this node gives no snapshot beyond block "
            f"{lowest - 1}, and its CometBFT keeps its blocks until it gets them"
        )
    for msp_id, count in sorted(consensus["misbehaviour"].items()):
        yield (
            f"it is proven {count} times that the voting key of {msp_id} signed two things at one "
            f"height: ask {msp_id} whether two machines run with it, or it is in other hands"
        )
