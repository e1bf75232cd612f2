"""`_lifecycle`: what organisations agree to run, in Fabric's functions, keys and bytes.

    ApproveChaincodeDefinitionForMyOrg   writes this organisation's approval of a definition
    QueryApprovedChaincodeDefinition(s)  this organisation's approvals
    CheckCommitReadiness                 who has approved a definition, and what others approved
    CommitChaincodeDefinition            writes an approved definition
    QueryChaincodeDefinition(s)          definitions in force, one with who has approved it
    CommitChaincodeDefinitions           writes first definitions of several contracts; ours
    (`installation` has those about packages)

Each takes one argument, the function's name with `Args` in the package `lifecycle` of Fabric's
protobufs. The last takes one CommitChaincodeDefinitionArgs for each contract: a network is founded
with contracts that only make sense together, in one transaction. Nobody approves them before;
instead a node endorses that transaction only if it has each contract installed in that version,
nothing is defined or approved under its name, and the sequence is 1.

An endorsement of CommitChaincodeDefinition is this organisation's word that it has approved the
very same; the channel's policy for `_lifecycle` decides how many organisations that takes.

Invariants: what is written can be used (known plugins, a policy that can be read, collections of
members); the bytes are those of Fabric for the same arguments. Source: Fabric,
core/chaincode/lifecycle/{scc,lifecycle}.go. Its peer also records a read of the older namespace
`lscc`, which does not exist here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.contract.context import Context
from chaincode.errors import ContractRefusal, PrivateDataMissing
from chaincode.system.approvals import (
    NAMESPACES,
    Approval,
    approve,
    compare_approvals,
    find_approval,
    is_anything_approved,
    list_approvals,
)
from chaincode.system.collections import implicit_collection
from chaincode.system.definitions import (
    FIELDS,
    LIFECYCLE,
    METADATA_PREFIX,
    Definition,
    decode_definition,
    definition_keys,
    field_key,
    metadata_key,
)
from chaincode.system.fields import END_OF_SPACE, PrivateFields, PublicFields, store
from chaincode.system.functions import SystemChaincode, decode_argument
from chaincode.system.installation import Installation
from chaincode.system.naming import shown_name, verify_definition
from chaincode.system.parameters import Parameters
from chaincode.system.ports import InstalledContracts, LifecycleChannel

_COMMIT: Final = lifecycle_pb2.CommitChaincodeDefinitionArgs


class Lifecycle(SystemChaincode):
    """The contract `_lifecycle` as this node runs it.

    Args:
        msp_id: the organisation of this node.
        installed: the packages here.
        channel: what definitions are checked against.
    """

    def __init__(
        self, msp_id: str, installed: InstalledContracts, channel: LifecycleChannel
    ) -> None:
        queries = {
            "CheckCommitReadiness": self._readiness,
            "QueryApprovedChaincodeDefinition": self._query_approved,
            "QueryApprovedChaincodeDefinitions": self._query_all_approved,
            "QueryChaincodeDefinition": self._query_one,
            "QueryChaincodeDefinitions": self._query_all,
        }
        super().__init__(
            LIFECYCLE,
            queries | dict(Installation(installed, self._references).functions),
            {
                "ApproveChaincodeDefinitionForMyOrg": self._approve,
                "CommitChaincodeDefinition": self._commit,
                "CommitChaincodeDefinitions": self._found,
            },
        )
        self._msp_id = msp_id
        self._installed = installed
        self._channel = channel

    # ---- approvals
    def _approve(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = decode_argument(lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs, args)
        current = _load(ctx, asked.name)
        parameters = verify_definition(asked, current, self._channel)
        approve(
            asked.name,
            asked.sequence,
            parameters,
            asked.source.local_package.package_id,
            current,
            self._own(ctx),
        )
        raw: bytes = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgResult().SerializeToString()
        return raw

    def _query_approved(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = decode_argument(lifecycle_pb2.QueryApprovedChaincodeDefinitionArgs, args)
        found = self._find_approved(ctx, asked.name, asked.sequence)
        result = lifecycle_pb2.QueryApprovedChaincodeDefinitionResult()
        raw: bytes = _describe_approval(result, found).SerializeToString()
        return raw

    def _find_approved(self, ctx: Context, name: str, sequence: int) -> Approval:
        """Return an approval; without a sequence the newest that still counts."""
        asked = [sequence]
        if not sequence:
            current = _load(ctx, name)
            in_force = 0 if current is None else current.sequence
            asked = [in_force + 1, in_force]
        for number in asked:
            found = find_approval(self._own(ctx), name, number)
            if found is not None:
                return found
        raise ContractRefusal(
            f"the approval of {shown_name(name)}",
            f"could not fetch approved chaincode definition (name: '{shown_name(name)}', sequence: "
            f"'{asked[-1]}') on channel '{ctx.channel_id}'",
            f"{self._msp_id} has not approved it",
            status=404,
        )

    def _query_all_approved(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        decode_argument(lifecycle_pb2.QueryApprovedChaincodeDefinitionsArgs, args)
        result = lifecycle_pb2.QueryApprovedChaincodeDefinitionsResult()
        for found in list_approvals(self._own(ctx)):
            added = result.approved_chaincode_definitions.add(name=found.name)
            _describe_approval(added, found)
        raw: bytes = result.SerializeToString()
        return raw

    def _own(self, ctx: Context) -> PrivateFields:
        return PrivateFields(ctx.stub, implicit_collection(self._msp_id))

    # ---- definitions
    def _readiness(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = decode_argument(lifecycle_pb2.CheckCommitReadinessArgs, args)
        current = _load(ctx, asked.name)
        parameters = verify_definition(asked, current, self._channel)
        _verify_next(asked, current)
        compared = compare_approvals(
            ctx.stub, self._channel.member_ids, asked.name, asked.sequence, parameters
        )
        result = lifecycle_pb2.CheckCommitReadinessResult(
            approvals={msp_id: not fields for msp_id, fields in compared.items()}
        )
        for msp_id, fields in compared.items():
            if fields:
                result.mismatches[msp_id].items.extend(fields)
        raw: bytes = result.SerializeToString(deterministic=True)
        return raw

    def _commit(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = decode_argument(_COMMIT, args)
        current = _load(ctx, asked.name)
        parameters = verify_definition(asked, current, self._channel)
        members = self._channel.member_ids
        if self._msp_id not in members:
            raise ContractRefusal(
                f"the definition of {asked.name}",
                f"{self._msp_id} is no member of the channel any more",
                "ask a node of a member",
            )
        _verify_next(asked, current)
        compared = compare_approvals(ctx.stub, members, asked.name, asked.sequence, parameters)
        if compared[self._msp_id]:
            raise ContractRefusal(
                f"the definition of {asked.name}",
                f"chaincode definition not agreed to by this org ({self._msp_id})",
                f"approve sequence {asked.sequence} as {self._msp_id}, with the same parameters",
            )
        _write(ctx, asked, parameters)
        return _committed()

    def _found(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        """Write first definitions, all of them, or raise before anything is written."""
        if not args:
            raise ContractRefusal(
                "the call", "requires at least one argument but received none",
                f"marshal a {_COMMIT.DESCRIPTOR.full_name} for each contract",
            )  # fmt: skip
        founded: dict[str, tuple[Any, Parameters]] = {}
        for each in args:
            asked = decode_argument(_COMMIT, [each])
            parameters = self._agree(ctx, asked)
            if asked.name in founded:
                raise ContractRefusal(
                    f"the definition of {asked.name}", "is asked for twice in one transaction",
                    "keep one of them",
                )  # fmt: skip
            founded[asked.name] = (asked, parameters)
        for asked, parameters in founded.values():
            _write(ctx, asked, parameters)
        return _committed()

    def _agree(self, ctx: Context, asked: Any) -> Parameters:
        """Check a first definition; raises unless this organisation agrees by having it here."""
        current = _load(ctx, asked.name)
        parameters = verify_definition(asked, current, self._channel)
        _verify_next(asked, current)
        what = f"the definition of {asked.name}"
        if current is not None or is_anything_approved(
            ctx.stub, self._channel.member_ids, asked.name, asked.sequence
        ):
            raise ContractRefusal(
                what,
                "is no first one, or organisations have begun to approve it",
                "commit it with CommitChaincodeDefinition, once enough have approved it",
                status=409,
            )
        if not self._installed.offers(asked.name, asked.version):
            raise ContractRefusal(
                what,
                f"chaincode definition not agreed to by this org ({self._msp_id}): version "
                f"{asked.version} of it is not installed on this node",
                "install the package that offers it",
            )
        return parameters

    def _query_one(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = decode_argument(lifecycle_pb2.QueryChaincodeDefinitionArgs, args)
        found = _load(ctx, asked.name)
        if found is None:
            raise ContractRefusal(
                f"namespace {shown_name(asked.name)}", "is not defined", "commit its definition",
                status=404,
            )  # fmt: skip
        parameters = Parameters.of(found)
        compared = compare_approvals(
            ctx.stub, self._channel.member_ids, asked.name, found.sequence, parameters
        )
        result = lifecycle_pb2.QueryChaincodeDefinitionResult(
            sequence=found.sequence,
            approvals={msp_id: not fields for msp_id, fields in compared.items()},
        )
        parameters.describe(result)
        raw: bytes = result.SerializeToString(deterministic=True)
        return raw

    def _query_all(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        decode_argument(lifecycle_pb2.QueryChaincodeDefinitionsArgs, args)
        result = lifecycle_pb2.QueryChaincodeDefinitionsResult()
        for name, found in _load_all(ctx).items():
            added = result.chaincode_definitions.add(name=name, sequence=found.sequence)
            Parameters.of(found).describe(added)
        raw: bytes = result.SerializeToString()
        return raw

    def _references(self, ctx: Context) -> dict[str, list[tuple[str, str]]]:
        """Return which definitions in force each package id serves here."""
        served: dict[str, list[tuple[str, str]]] = {}
        for name, found in _load_all(ctx).items():
            for package_id in self._serving(ctx, name, found):
                served.setdefault(package_id, []).append((name, found.version))
        return served

    def _serving(self, ctx: Context, name: str, found: Definition) -> list[str]:
        try:
            approval = find_approval(self._own(ctx), name, found.sequence)
        except PrivateDataMissing:
            return []
        if approval is not None:
            return [approval.package_id]
        if is_anything_approved(ctx.stub, self._channel.member_ids, name, found.sequence):
            return []
        return [
            each.package_id
            for each in self._installed.installed()
            if name in each.contracts and each.version == found.version
        ]


def _load(ctx: Context, name: str) -> Definition | None:
    """Read a definition with its reads recorded: metadata and sequence always, as Fabric does."""
    keys = definition_keys(name)
    metadata, sequence = ctx.stub.get_states([metadata_key(name), field_key(name, FIELDS[0])])
    if metadata is None:
        return None
    return decode_definition([metadata, sequence, *ctx.stub.get_states(keys[2:])])


def _load_all(ctx: Context) -> dict[str, Definition]:
    """Read all definitions, by name in their order."""
    found = {}
    for key, _value in ctx.stub.get_state_by_range(METADATA_PREFIX, METADATA_PREFIX + END_OF_SPACE):
        name = key.removeprefix(METADATA_PREFIX)
        definition = _load(ctx, name)
        if definition is not None:
            found[name] = definition
    return found


def _verify_next(asked: Any, current: Definition | None) -> None:
    expected = 1 if current is None else current.sequence + 1
    if asked.sequence != expected:
        raise ContractRefusal(
            f"the definition of {asked.name}",
            f"requested sequence is {asked.sequence}, but new definition must be sequence "
            f"{expected}",
            "query the definition in force",
            status=409,
        )


def _write(ctx: Context, asked: Any, parameters: Parameters) -> None:
    store(PublicFields(ctx.stub), NAMESPACES, asked.name, parameters.defined(asked.sequence))


def _committed() -> bytes:
    raw: bytes = lifecycle_pb2.CommitChaincodeDefinitionResult().SerializeToString()
    return raw


def _describe_approval(message: Any, approval: Approval) -> Any:
    """Fill a query's result, whose fields have the same names whether one is asked for or all."""
    message.sequence = approval.sequence
    approval.parameters.describe(message)
    if approval.package_id:
        message.source.local_package.package_id = approval.package_id
    else:
        message.source.unavailable.SetInParent()
    return message
