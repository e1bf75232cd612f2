"""``qist contract install|approve|commit|status``: how a definition comes into force by approvals.

Each member installs the package on its own node and approves a definition that names it; once
enough members have approved the same, one of them commits it. The approval stands in the member's
own private collection; the others see by its hashes whether it is the same as theirs.

All four are for admins of the member whose profile is used, whose own node is asked. What is
committed is what that member has approved, so nothing is typed twice.
Absent: packing a package, which needs no node (`qist contract package`); the first definitions of a
network, which nobody approves (`qist contract define`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from fabric_protos.peer import collection_pb2, policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from clients.cli.calling import Caller, command
from clients.cli.contract import LIFECYCLE, app
from clients.cli.session import EndorsedBy
from clients.gateway.errors import EndorseError, EvaluateError
from ledger.errors import Refusal
from network.errors import PolicyError
from network.policy import parse_policy
from network.policy.collection_file import read_collections
from network.policy.words import signature_policy_in_words

__all__ = ["app"]

_NOT_FOUND = 404
_PARAMETERS = "ChaincodeParameters"
"""What Fabric names where an organisation has approved nothing for a sequence."""
_WORDS = {
    "EndorsementInfo": "version or Init",
    "ValidationInfo": "policy",
    "Collections": "collections",
}

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the contract.")]


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a member's node says of a contract.

    Attributes:
        name: of the contract.
        in_force: the definition in force, None if there is none.
        next: what this member has approved beyond it, None if nothing.
        readiness: who has approved the same, for `next`.
    """

    name: str
    in_force: Any
    next: Any
    readiness: Any


@command(app, "install")
def install(
    caller: Caller,
    package: Annotated[
        Path, typer.Argument(metavar="FILE", help="Written by `qist contract package`.")
    ],
) -> None:
    """Install a packed package on the member's own node."""
    found = _install(caller, package)
    caller.terminal.result(
        {"package_id": found.package_id, "label": found.label},
        [f"{found.package_id} is installed on the node of {caller.profile.msp_id}"],
    )


@command(app, "approve")
def approve(
    caller: Caller,
    name: Name,
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY",
            help="Endorsement policy, as OR('BankMSP.peer','PtaMSP.peer'), or the path of a "
            "channel policy, as /Channel/Application/Endorsement.",
        ),
    ],
    version: Annotated[str, typer.Option(help="That the definition states.")],
    package: Annotated[
        Path | None,
        typer.Option(
            help="Written by `qist contract package`: what the member runs; it is installed on its "
            "node."
        ),
    ] = None,
    package_id: Annotated[
        str,
        typer.Option(
            help="Of an installed package, in place of --package; without both it endorses nothing."
        ),
    ] = "",
    collections: Annotated[
        Path | None, typer.Option(help="File of its private collections, as Fabric's tools write.")
    ] = None,
    init_required: Annotated[
        bool, typer.Option("--init-required", help="The first call must initialise it.")
    ] = False,
    sequence: Annotated[
        int, typer.Option(min=0, help="Number of the definition; left out: the next one.")
    ] = 0,
) -> None:
    """Approve a definition as this member, and wait until the approval is committed."""
    if package is not None:
        if package_id:
            raise Refusal("give --package or --package-id, not both: they may be different ones")
        package_id = _install(caller, package).package_id
    if not sequence:
        current = _in_force(caller, name)
        sequence = 1 if current is None else current.sequence + 1
    asked = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        sequence=sequence,
        name=name,
        version=version,
        validation_parameter=_policy(policy),
        init_required=init_required,
    )
    if collections is not None:
        asked.collections.CopyFrom(_collections(collections))
    if package_id:
        asked.source.local_package.package_id = package_id
    member = caller.profile.msp_id
    outcome = caller.contract(LIFECYCLE).submit(
        "ApproveChaincodeDefinitionForMyOrg",
        asked.SerializeToString(),
        endorsing_organisations=(member,),
    )
    status = outcome.status
    runs = f"and runs {package_id}" if package_id else "and runs nothing for it"
    value = {
        "name": name, "version": version, "sequence": sequence, "package_id": package_id,
        "tx_id": status.tx_id, "block_num": status.block_num,
    }  # fmt: skip
    lines = [
        f"{member} has approved {name} {version}, sequence {sequence}, {runs}; block "
        f"{status.block_num}, {status.tx_id}"
    ]
    caller.terminal.result(value, lines)


@command(app, "commit")
def commit(caller: Caller, name: Name, endorsed_by: EndorsedBy = None) -> None:
    """Commit what this member has approved, once enough members have approved the same."""
    standing = _standing(caller, name)
    if standing.next is None:
        raise Refusal(
            f"{caller.profile.msp_id} has approved nothing of {name} beyond what is in force; "
            "approve the next definition first"
        )
    approved = standing.next
    asked = lifecycle_pb2.CommitChaincodeDefinitionArgs(name=name, sequence=approved.sequence)
    _fill(asked, approved)
    try:
        outcome = caller.contract(LIFECYCLE).submit(
            "CommitChaincodeDefinition",
            asked.SerializeToString(),
            endorsing_organisations=endorsed_by or (),
        )
    except EndorseError as error:
        if not standing.readiness.approvals:
            raise
        raise Refusal(
            f"{name} {approved.version} is not committed: "
            f"{_approvals_line(standing.readiness)}; {error}"
        ) from error
    status = outcome.status
    value = {
        "name": name, "version": approved.version, "sequence": approved.sequence,
        "tx_id": status.tx_id, "block_num": status.block_num,
    }  # fmt: skip
    lines = [
        f"{name} {approved.version}, sequence {approved.sequence}, is in force from block "
        f"{status.block_num + 1} on; {status.tx_id}"
    ]
    caller.terminal.result(value, lines)


@command(app, "status")
def status(caller: Caller, name: Name) -> None:
    """Show what is in force and what this member has approved next: by whom, what is missing."""
    standing = _standing(caller, name)
    value: dict[str, Any] = {"name": name, "in_force": None, "next": None}
    lines = []
    if standing.in_force is None:
        lines.append(f"{name} is not defined")
    else:
        found = standing.in_force
        value["in_force"] = _described(found) | {"approvals": dict(found.approvals)}
        lines += [
            f"in force  {name} {found.version}, sequence {found.sequence}",
            f"          {_in_force_line(found)}",
            *(f"          {line}" for line in _definition_lines(found)),
        ]
    if standing.next is None:
        lines.append(f"next      {caller.profile.msp_id} has approved nothing beyond it")
    else:
        approved, readiness = standing.next, standing.readiness
        package_id = approved.source.local_package.package_id
        value["next"] = _described(approved) | {
            "package_id": package_id,
            "approvals": dict(readiness.approvals),
            "mismatches": {
                msp_id: list(each.items) for msp_id, each in readiness.mismatches.items()
            },
        }
        lines += [
            f"next      {name} {approved.version}, sequence {approved.sequence}, as "
            f"{caller.profile.msp_id} has approved it",
            f"          {_approvals_line(readiness)}",
            *(f"          {line}" for line in _mismatch_lines(readiness)),
            *(f"          {line}" for line in _definition_lines(approved)),
            f"          package {package_id or 'none: this member will not endorse'}",
        ]
    caller.terminal.result(value, lines)


def _install(caller: Caller, package: Path) -> Any:
    asked = lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=package.read_bytes())
    raw = _evaluate(caller, "InstallChaincode", asked)
    return lifecycle_pb2.InstallChaincodeResult.FromString(raw)


def _evaluate(caller: Caller, function: str, asked: Any) -> bytes:
    return caller.contract(LIFECYCLE).evaluate(
        function,
        asked.SerializeToString(),
        endorsing_organisations=(caller.profile.msp_id,),
    )


def _find(caller: Caller, function: str, asked: Any) -> bytes | None:
    """Return the answer to a query, None if there is no such thing."""
    try:
        return _evaluate(caller, function, asked)
    except EvaluateError as error:
        if error.chaincode_status == _NOT_FOUND:
            return None
        raise


def _in_force(caller: Caller, name: str) -> Any:
    asked = lifecycle_pb2.QueryChaincodeDefinitionArgs(name=name)
    raw = _find(caller, "QueryChaincodeDefinition", asked)
    return None if raw is None else lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(raw)


def _standing(caller: Caller, name: str) -> _Standing:
    current = _in_force(caller, name)
    sequence = 1 if current is None else current.sequence + 1
    asked = lifecycle_pb2.QueryApprovedChaincodeDefinitionArgs(name=name, sequence=sequence)
    raw = _find(caller, "QueryApprovedChaincodeDefinition", asked)
    if raw is None:
        return _Standing(name, current, None, None)
    approved = lifecycle_pb2.QueryApprovedChaincodeDefinitionResult.FromString(raw)
    checked = lifecycle_pb2.CheckCommitReadinessArgs(name=name, sequence=sequence)
    _fill(checked, approved)
    readiness = lifecycle_pb2.CheckCommitReadinessResult.FromString(
        _evaluate(caller, "CheckCommitReadiness", checked)
    )
    return _Standing(name, current, approved, readiness)


def _fill(asked: Any, approved: Any) -> None:
    """Copy the parameters of an approval, whose fields have the same names in all calls."""
    asked.version = approved.version
    asked.endorsement_plugin = approved.endorsement_plugin
    asked.validation_plugin = approved.validation_plugin
    asked.validation_parameter = approved.validation_parameter
    asked.collections.CopyFrom(approved.collections)
    asked.init_required = approved.init_required


def _policy(words: str) -> bytes:
    """Return the marshalled `ApplicationPolicy` of a policy in words, or of a channel's by path.

    Raises:
        PolicyError: the words cannot be read.
    """
    rule = (
        policy_pb2.ApplicationPolicy(channel_config_policy_reference=words)
        if words.startswith("/")
        else policy_pb2.ApplicationPolicy(signature_policy=parse_policy(words))
    )
    raw: bytes = rule.SerializeToString(deterministic=True)
    return raw


def _collections(path: Path) -> Any:
    try:
        return read_collections(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, PolicyError) as error:
        raise Refusal(f"the collections in {path}: {error}") from error


def _described(found: Any) -> dict[str, Any]:
    return {
        "version": found.version,
        "sequence": found.sequence,
        "policy": _policy_in_words(found.validation_parameter),
        "collections": _collection_names(found.collections),
        "init_required": found.init_required,
    }


def _definition_lines(found: Any) -> list[str]:
    lines = [f"policy {_policy_in_words(found.validation_parameter)}"]
    names = _collection_names(found.collections)
    if names:
        lines.append(f"private collections {', '.join(names)}")
    if found.init_required:
        lines.append("its first call must initialise it")
    return lines


def _policy_in_words(raw: bytes) -> str:
    policy = policy_pb2.ApplicationPolicy.FromString(raw)
    if policy.WhichOneof("Type") == "signature_policy":
        return signature_policy_in_words(policy.signature_policy)
    return str(policy.channel_config_policy_reference)


def _collection_names(package: collection_pb2.CollectionConfigPackage) -> list[str]:
    return [each.static_collection_config.name for each in package.config]


def _in_force_line(found: Any) -> str:
    if found.sequence == 1 and not any(found.approvals.values()):
        return "a first definition, agreed to by whoever endorsed it; nobody had to approve it"
    return _approvals_line(found)


def _approvals_line(found: Any) -> str:
    """Say who has approved and who has not."""
    yes = sorted(msp_id for msp_id, approved in found.approvals.items() if approved)
    no = sorted(msp_id for msp_id, approved in found.approvals.items() if not approved)
    if not no:
        return f"approved by all: {', '.join(yes)}"
    if not yes:
        return f"approved by nobody; not by {', '.join(no)}"
    return f"approved by {', '.join(yes)}; not by {', '.join(no)}"


def _mismatch_lines(readiness: Any) -> list[str]:
    lines = []
    for msp_id in sorted(readiness.mismatches):
        items = list(readiness.mismatches[msp_id].items)
        if items == [_PARAMETERS]:
            lines.append(f"{msp_id} has approved nothing for this sequence yet")
        else:
            what = ", ".join(_WORDS.get(each, each) for each in items)
            lines.append(f"{msp_id} has approved something else: {what}")
    return lines
