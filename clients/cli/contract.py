"""``qist contract …``: which contracts a channel has, as `_lifecycle` keeps them.

A definition is a transaction that as many members endorse as the channel's policy asks for; each
endorses it only if its own node has the contract installed (`qist node install`).
Absent: votes on definitions, and changes of one that stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from clients.cli.session import (
    AsJson,
    Channel,
    EndorsedBy,
    Profile,
    Time,
    User,
    connect,
    contract_of,
)
from clients.gateway.profile import load_profile
from network.policy import parse_policy

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="The contracts that a channel has."
)

LIFECYCLE = "_lifecycle"


@app.command("define")
def define(
    name: Annotated[str, typer.Argument(help="Of the contract.")],
    policy: Annotated[
        str, typer.Argument(help="Endorsement policy, as OR('BankMSP.peer','PtaMSP.peer').")
    ],
    version: Annotated[str, typer.Option(help="Of the installed package.")],
    profile: Profile,
    user: User,
    endorsed_by: EndorsedBy = None,
    channel: Channel = "",
    time: Time = "",
    as_json: AsJson = False,
) -> None:
    """Define a contract on the channel and wait until it is committed."""
    rule = policy_pb2.ApplicationPolicy(signature_policy=parse_policy(policy))
    asked = lifecycle_pb2.CommitChaincodeDefinitionArgs(
        sequence=1,
        name=name,
        version=version,
        validation_parameter=rule.SerializeToString(deterministic=True),
    )
    loaded = load_profile(profile)
    with connect(loaded, user, time) as gateway:
        outcome = contract_of(gateway, loaded, channel, LIFECYCLE).submit(
            "CommitChaincodeDefinition",
            asked.SerializeToString(deterministic=True),
            endorsing_organisations=endorsed_by or (),
        )
    value = {
        "contract": name,
        "version": version,
        "sequence": 1,
        "tx_id": outcome.status.tx_id,
        "block_num": outcome.status.block_num,
    }
    _print(
        value,
        [f"{name} {version} is defined, block {outcome.status.block_num}, {outcome.status.tx_id}"],
        as_json,
    )


@app.command("list")
def list_contracts(
    profile: Profile,
    user: User,
    channel: Channel = "",
    time: Time = "",
    as_json: AsJson = False,
) -> None:
    """Show the contracts that are defined on the channel."""
    asked = lifecycle_pb2.QueryChaincodeDefinitionsArgs()
    loaded = load_profile(profile)
    with connect(loaded, user, time) as gateway:
        raw = contract_of(gateway, loaded, channel, LIFECYCLE).evaluate(
            "QueryChaincodeDefinitions", asked.SerializeToString()
        )
    found = lifecycle_pb2.QueryChaincodeDefinitionsResult.FromString(raw)
    contracts = [
        {"name": each.name, "version": each.version, "sequence": each.sequence}
        for each in found.chaincode_definitions
    ]
    lines = [f"{each['name']} {each['version']}, sequence {each['sequence']}" for each in contracts]
    _print({"contracts": contracts}, lines or ["no contract is defined"], as_json)


def _print(value: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    for line in [json.dumps(value, indent=2)] if as_json else lines:
        typer.echo(line)
