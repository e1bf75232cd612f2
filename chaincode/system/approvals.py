"""Approvals: what organisations say of a definition before and after it is committed.

An organisation's approval of sequence 2 of contract `counting` stands in its implicit collection of
`_lifecycle`, in Fabric's keys and bytes (`fields`):

    namespaces/metadata/counting#2          chaincode-sources/metadata/counting#2
    namespaces/fields/counting#2/…          chaincode-sources/fields/counting#2/PackageID

The first half is the parameters, which others compare by their hashes; the second the id of the
package that this organisation runs for them, which nobody else compares. It may be empty: then the
organisation approves and does not endorse.
Source: Fabric, core/chaincode/lifecycle/lifecycle.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fabric_protos.peer.lifecycle import db_pb2

from chaincode.contract.stub import Stub
from chaincode.errors import ContractRefusal, PrivateDataMissing
from chaincode.system.collections import implicit_collection
from chaincode.system.definitions import Definition
from chaincode.system.fields import (
    FieldState,
    PrivateFields,
    Structure,
    Unreadable,
    differences,
    field_key,
    load_fields,
    load_kind,
    overwrite,
    store,
)
from chaincode.system.parameters import PARAMETER_FIELDS, PARAMETERS, Parameters

NAMESPACES: Final = "namespaces"
SOURCES: Final = "chaincode-sources"
LOCAL_PACKAGE: Final = "ChaincodeLocalPackage"
PACKAGE_ID: Final = "PackageID"
_CONFLICT: Final = 409


def approval_name(name: str, sequence: int) -> str:
    """Return the name that an approval is kept under."""
    return f"{name}#{sequence}"


def approval_key(name: str, sequence: int) -> str:
    """Return the key that says that an approval is there."""
    return f"{NAMESPACES}/metadata/{approval_name(name, sequence)}"


def package_key(name: str, sequence: int) -> str:
    """Return the key of the package that an organisation runs for a sequence."""
    return field_key(SOURCES, approval_name(name, sequence), PACKAGE_ID)


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval in plain, as its own organisation reads it.

    Attributes:
        name: of the contract.
        sequence: of the definition.
        parameters: what is approved.
        package_id: the package that is run for it; empty for none.
    """

    name: str
    sequence: int
    parameters: Parameters
    package_id: str


def approve(
    name: str,
    sequence: int,
    parameters: Parameters,
    package_id: str,
    current: Definition | None,
    state: FieldState,
) -> None:
    """Write the approval of an organisation into its collection.

    Args:
        name: of the contract.
        sequence: of the definition in force or the next one.
        parameters: complete.
        package_id: what this organisation runs; empty for nothing.
        current: the definition in force.
        state: the organisation's collection.
    Raises:
        ContractRefusal: the sequence is another, or nothing would change.
    """
    what = f"the approval of {name}"
    in_force = 0 if current is None else current.sequence
    _verify_sequence(what, sequence, in_force)
    if current is not None and sequence == in_force:
        difference = Parameters.of(current).difference(parameters)
        if difference:
            raise ContractRefusal(
                what,
                f"attempted to redefine the current committed sequence ({in_force}) for namespace "
                f"{name} with different parameters: {difference}",
                f"approve sequence {in_force + 1}",
                status=_CONFLICT,
            )
    kept = approval_name(name, sequence)
    package = db_pb2.StateData(String=package_id).SerializeToString()
    source = Structure(LOCAL_PACKAGE, {PACKAGE_ID: package})
    try:
        _verify_changed(what, Approval(name, sequence, parameters, package_id), in_force, state)
        store(state, NAMESPACES, kept, parameters.structure())
        store(state, SOURCES, kept, source)
    except (PrivateDataMissing, Unreadable):
        # What its organisation had said is lost or spoilt on this node: it says it anew.
        overwrite(state, NAMESPACES, kept, parameters.structure())
        overwrite(state, SOURCES, kept, source)


def _verify_sequence(what: str, sequence: int, in_force: int) -> None:
    if sequence == in_force == 0:
        rule = "requested sequence is 0, but first definable sequence number is 1"
    elif sequence < in_force:
        rule = f"currently defined sequence {in_force} is larger than requested sequence {sequence}"
    elif sequence > in_force + 1:
        rule = (
            f"requested sequence {sequence} is larger than the next available sequence number "
            f"{in_force + 1}"
        )
    else:
        return
    raise ContractRefusal(what, rule, "query the definition in force", status=_CONFLICT)


def _verify_changed(what: str, asked: Approval, in_force: int, state: FieldState) -> None:
    known = find_approval(state, asked.name, asked.sequence)
    if (
        known is None
        or known.package_id != asked.package_id
        or known.parameters.difference(asked.parameters)
    ):
        return
    rule = (
        f"attempted to redefine the current committed sequence ({in_force}) for namespace "
        f"{asked.name}"
    )
    if asked.sequence > in_force:
        rule = (
            f"attempted to redefine uncommitted sequence ({asked.sequence}) for namespace "
            f"{asked.name} with unchanged content"
        )
    raise ContractRefusal(what, rule, "it stands as it is", status=_CONFLICT)


def find_approval(state: FieldState, name: str, sequence: int) -> Approval | None:
    """Return an approval in plain, None if there is none.

    Raises:
        Unreadable: what stands there is no approval.
    """
    kept = approval_name(name, sequence)
    kind = load_kind(state, NAMESPACES, kept)
    if kind is None:
        return None
    if kind.datatype != PARAMETERS:
        raise Unreadable(
            f"the approval {kept}", f"not a chaincode parameters type: {kind.datatype[:80]}",
            "approve it again",
        )  # fmt: skip
    fields = load_fields(state, NAMESPACES, kept, PARAMETER_FIELDS)
    source = load_kind(state, SOURCES, kept)
    package_id = ""
    if source is not None:
        package_id = load_fields(state, SOURCES, kept, [PACKAGE_ID])[PACKAGE_ID].String
    return Approval(name, sequence, Parameters.decoded(kept, fields), package_id)


def list_approvals(state: PrivateFields) -> list[Approval]:
    """Return all approvals of an organisation; only in a query."""
    found = []
    for kept in state.names(NAMESPACES):
        name, _, number = kept.rpartition("#")
        if number.isascii() and number.isdigit():
            approval = find_approval(state, name, int(number))
            if approval is not None:
                found.append(approval)
    return found


def compare_approvals(
    stub: Stub, organisations: Sequence[str], name: str, sequence: int, parameters: Parameters
) -> Mapping[str, list[str]]:
    """Return what each organisation's approval differs in; an empty list: it has approved."""
    structure = parameters.structure()
    kept = approval_name(name, sequence)
    return {
        msp_id: differences(stub, implicit_collection(msp_id), NAMESPACES, kept, structure)
        for msp_id in organisations
    }


def is_anything_approved(
    stub: Stub, organisations: Sequence[str], name: str, sequence: int
) -> bool:
    """Say whether some organisation has approved something for this sequence."""
    key = approval_key(name, sequence)
    hashes = [
        stub.get_private_data_hash(implicit_collection(msp_id), key) for msp_id in organisations
    ]
    return any(found is not None for found in hashes)
