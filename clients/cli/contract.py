"""``qist contract …``: which contracts a channel has, as `_lifecycle` keeps them.

A definition is a transaction that as many members endorse as the channel's policy asks for; each
endorses it only if its own node has the contract installed (`qist node install`). Several contracts
are defined by one transaction.
Absent: approvals, and later definitions of a contract that stands (`approvals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from clients.cli.calling import Caller, command
from clients.cli.session import EndorsedBy
from clients.gateway.errors import EndorseError
from ledger.errors import Refusal
from network.errors import PolicyError
from network.policy import parse_policy
from network.policy.collection_file import read_collections

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="The contracts that a channel has."
)

LIFECYCLE = "_lifecycle"


@command(app, "define")
def define(
    caller: Caller,
    contracts: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME POLICY [NAME POLICY]...",
            help="Contracts, each followed by its endorsement policy, as "
            "OR('BankMSP.peer','PtaMSP.peer').",
        ),
    ],
    version: Annotated[str, typer.Option(help="Of the installed package.")],
    collections: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="A contract's private collections, as Fabric's tools write them; repeatable.",
        ),
    ] = None,
    endorsed_by: EndorsedBy = None,
) -> None:
    """Define contracts on the channel, all or none, and wait until they are committed."""
    names, policies = contracts[::2], contracts[1::2]
    if len(names) != len(policies):
        raise Refusal(
            f"contract {names[-1][:80]} is given without an endorsement policy; write the policy "
            "behind the name, in quotes"
        )
    packages = _collections(collections or (), names)
    asked = [
        _definition(name, policy, version, packages.get(name))
        for name, policy in zip(names, policies, strict=True)
    ]
    try:
        outcome = caller.contract(LIFECYCLE).submit(
            "CommitChaincodeDefinitions", *asked, endorsing_organisations=endorsed_by or ()
        )
    except EndorseError as error:
        if not error.chaincode_status:
            raise
        said = "; ".join(f"{each.msp_id}: {each.message}" for each in error.details)
        raise Refusal(
            f"nothing is defined, since not every member that was asked agrees: {said}"
        ) from error
    status = outcome.status
    value = {
        "contracts": [{"name": name, "version": version, "sequence": 1} for name in names],
        "tx_id": status.tx_id,
        "block_num": status.block_num,
    }
    lines = [
        f"{name} {version} is defined, block {status.block_num}, {status.tx_id}" for name in names
    ]
    caller.terminal.result(value, lines)


def _collections(given: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Return the ``CollectionConfigPackage`` of each contract that has one.

    Raises:
        Refusal: a file cannot be read, or is none of collections.
    """
    found: dict[str, Any] = {}
    for each in given:
        name, _, file = each.partition("=")
        if name not in names or not file or name in found:
            raise Refusal(
                f"--collections {each[:80]}: write NAME=FILE, once for a contract that is defined"
            )
        try:
            found[name] = read_collections(Path(file).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, PolicyError) as error:
            raise Refusal(f"the collections of {name}, {file}: {error}") from error
    return found


def _definition(name: str, policy: str, version: str, collections: Any = None) -> bytes:
    """Return the marshalled arguments of Fabric's function for the first definition of a contract.

    Raises:
        PolicyError: the policy cannot be read.
    """
    rule = policy_pb2.ApplicationPolicy(signature_policy=parse_policy(policy))
    asked = lifecycle_pb2.CommitChaincodeDefinitionArgs(
        sequence=1,
        name=name,
        version=version,
        validation_parameter=rule.SerializeToString(deterministic=True),
        collections=collections,
    )
    raw: bytes = asked.SerializeToString(deterministic=True)
    return raw


@command(app, "list")
def list_contracts(caller: Caller) -> None:
    """Show the contracts that are defined on the channel."""
    asked = lifecycle_pb2.QueryChaincodeDefinitionsArgs()
    raw = caller.contract(LIFECYCLE).evaluate(
        "QueryChaincodeDefinitions", asked.SerializeToString()
    )
    found = lifecycle_pb2.QueryChaincodeDefinitionsResult.FromString(raw)
    contracts = [
        {"name": each.name, "version": each.version, "sequence": each.sequence}
        for each in found.chaincode_definitions
    ]
    lines = [f"{each['name']} {each['version']}, sequence {each['sequence']}" for each in contracts]
    caller.terminal.result({"contracts": contracts}, lines or ["no contract is defined"])
