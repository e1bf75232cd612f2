"""`_lifecycle`: the definitions of contracts on the channel, in Fabric's keys and bytes.

    CommitChaincodeDefinition(CommitChaincodeDefinitionArgs)        writes a contract's definition
    CommitChaincodeDefinitions(CommitChaincodeDefinitionArgs, …)    writes several, all or none
    QueryChaincodeDefinition(QueryChaincodeDefinitionArgs)          one of them
    QueryChaincodeDefinitions(QueryChaincodeDefinitionsArgs)        all of them

The second is ours: contracts that only make sense together begin together, in one transaction. The
others are Fabric's.

A definition is agreed to by whoever endorses its transaction: this node's member does if the node
has the contract installed in that version, and if nothing is defined under the name yet. The
channel's policy for `_lifecycle` decides how many members that takes.

Invariants: what is written can be used (known plugins, a policy that can be read); the bytes are
those of Fabric for the same arguments. Source: Fabric, core/chaincode/lifecycle/{scc,lifecycle,
serializer}.go.

Absent: approvals by vote and later sequences, installing over the wire.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from fabric_protos.peer import collection_pb2, policy_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2, lifecycle_pb2
from google.protobuf.message import DecodeError

from chaincode.contract.context import Context
from chaincode.errors import AccessRefused, ContractRefusal
from chaincode.system.definitions import (
    DATATYPE,
    FIELDS,
    LIFECYCLE,
    METADATA_PREFIX,
    Definition,
    decode_definition,
    definition_keys,
    field_key,
    metadata_key,
)
from chaincode.system.functions import SystemChaincode
from chaincode.system.ports import InstalledContracts

ENDORSEMENT_PLUGIN: Final = "escc"
VALIDATION_PLUGIN: Final = "vscc"
CHANNEL_POLICY: Final = "/Channel/Application/Endorsement"
"""Of a contract that names none (Fabric's default)."""

_COMMIT: Final = lifecycle_pb2.CommitChaincodeDefinitionArgs
_NAME: Final = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")
_VERSION: Final = re.compile(r"[A-Za-z0-9_.+-]+")
_COLLECTION: Final = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]*")
_SYSTEM: Final = frozenset({"_lifecycle", "lscc", "cscc", "qscc", "escc", "vscc"})
_AFTER_METADATA: Final = METADATA_PREFIX[:-1] + chr(ord(METADATA_PREFIX[-1]) + 1)


class Lifecycle(SystemChaincode):
    """The contract `_lifecycle` as this node runs it."""

    def __init__(self, installed: InstalledContracts) -> None:
        super().__init__(
            LIFECYCLE,
            {
                "QueryChaincodeDefinition": self._query_one,
                "QueryChaincodeDefinitions": self._query_all,
            },
            {
                "CommitChaincodeDefinition": self._commit,
                "CommitChaincodeDefinitions": self._commit_all,
            },
        )
        self._installed = installed

    def _commit(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        return self._define(ctx, [_decode(_COMMIT, args)])

    def _commit_all(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        if not args:
            raise ContractRefusal(
                "the call", "requires at least one argument but received none",
                f"marshal a {_COMMIT.DESCRIPTOR.full_name} for each contract",
            )  # fmt: skip
        return self._define(ctx, [_decode(_COMMIT, [each]) for each in args])

    def _define(self, ctx: Context, definitions: Sequence[Any]) -> bytes:
        """Write all of them, or raise before anything is written."""
        policies: dict[str, bytes] = {}
        for asked in definitions:
            policy = self._agree(ctx, asked)
            if asked.name in policies:
                raise ContractRefusal(
                    f"the definition of {asked.name}", "is asked for twice in one transaction",
                    "keep one of them",
                )  # fmt: skip
            policies[asked.name] = policy
        for asked in definitions:
            _write(ctx, asked, policies[asked.name])
        raw: bytes = lifecycle_pb2.CommitChaincodeDefinitionResult().SerializeToString()
        return raw

    def _agree(self, ctx: Context, asked: Any) -> bytes:
        """Check a definition and return its policy; raises unless this node's member agrees."""
        what = _verify_names(asked)
        _verify_collections(what, asked.collections)
        _verify_plugins(what, asked)
        policy = _policy_of(what, asked.validation_parameter)
        _verify_sequence(what, asked.sequence, _load(ctx, asked.name))
        if not self._installed.offers(asked.name, asked.version):
            raise ContractRefusal(
                what,
                f"chaincode definition not agreed to by this org: version {asked.version} of it is "
                "not installed on this node",
                "install the package that offers it",
            )
        return policy

    def _query_one(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = _decode(lifecycle_pb2.QueryChaincodeDefinitionArgs, args)
        found = _load(ctx, asked.name)
        if found is None:
            shown = asked.name if _NAME.fullmatch(asked.name) else "of that name"
            raise ContractRefusal(
                f"namespace {shown}", "is not defined", "commit its definition", status=404
            )
        raw: bytes = _describe(
            lifecycle_pb2.QueryChaincodeDefinitionResult(), found
        ).SerializeToString()
        return raw

    def _query_all(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        _decode(lifecycle_pb2.QueryChaincodeDefinitionsArgs, args)
        result = lifecycle_pb2.QueryChaincodeDefinitionsResult()
        for key, _value in ctx.stub.get_state_by_range(METADATA_PREFIX, _AFTER_METADATA):
            name = key.removeprefix(METADATA_PREFIX)
            found = _load(ctx, name)
            if found is not None:
                _describe(result.chaincode_definitions.add(name=name), found)
        raw: bytes = result.SerializeToString()
        return raw


def _decode(kind: Any, args: Sequence[bytes]) -> Any:
    if len(args) != 1:
        raise ContractRefusal(
            "the call", f"requires exactly one argument but received {len(args)}",
            f"marshal {kind.DESCRIPTOR.full_name}",
        )  # fmt: skip
    try:
        return kind.FromString(args[0])
    except DecodeError:
        raise ContractRefusal(
            "the argument", "failed to decode input arg", f"marshal {kind.DESCRIPTOR.full_name}"
        ) from None


def _load(ctx: Context, name: str) -> Definition | None:
    """Read a definition with its reads recorded: metadata and sequence always, as Fabric does."""
    keys = definition_keys(name)
    metadata, sequence = ctx.stub.get_states([metadata_key(name), field_key(name, FIELDS[0])])
    if metadata is None:
        return None
    return decode_definition([metadata, sequence, *ctx.stub.get_states(keys[2:])])


def _verify_names(asked: Any) -> str:
    """Check name and version, and return what refusals call the definition."""
    if not _NAME.fullmatch(asked.name) or len(asked.name) > 64:
        raise ContractRefusal(
            "the definition",
            "invalid chaincode name; names can only consist of alphanumerics, '_', and '-' and can "
            "only begin with alphanumerics",
            "choose another of at most 64 characters",
        )
    what = f"the definition of {asked.name}"
    if not _VERSION.fullmatch(asked.version) or len(asked.version) > 64:
        raise ContractRefusal(
            what,
            "invalid chaincode version; versions can only consist of alphanumerics, '_', '-', '+', "
            "and '.'",
            "choose another of at most 64 characters",
        )
    if asked.name in _SYSTEM:
        raise AccessRefused(
            what, "chaincode name is the name of a system chaincode", "choose another"
        )
    return what


def _verify_collections(what: str, package: collection_pb2.CollectionConfigPackage) -> None:
    names = [config.static_collection_config.name for config in package.config]
    for name in names:
        if not _COLLECTION.fullmatch(name):
            raise ContractRefusal(
                what, "invalid collection name; it can only consist of alphanumerics, '_', and '-' "
                "and cannot begin with '_'", "name the collection otherwise",
            )  # fmt: skip
        if names.count(name) > 1:
            raise ContractRefusal(
                what, f"collection-name: {name} -- found duplicate in collection configuration",
                "keep one of them",
            )  # fmt: skip


def _verify_plugins(what: str, asked: Any) -> None:
    endorsement = asked.endorsement_plugin or ENDORSEMENT_PLUGIN
    validation = asked.validation_plugin or VALIDATION_PLUGIN
    if endorsement != ENDORSEMENT_PLUGIN or validation != VALIDATION_PLUGIN:
        raise ContractRefusal(
            what,
            f"names plugins that no node has; they are {ENDORSEMENT_PLUGIN} and "
            f"{VALIDATION_PLUGIN}",
            "leave them empty",
        )
    if asked.init_required:
        raise ContractRefusal(
            what, "requires an Init call, which contracts here do not have", "do not require it"
        )


def _policy_of(what: str, parameter: bytes) -> bytes:
    """Return the policy to be written: the one given, or Fabric's default."""
    if not parameter:
        raw: bytes = policy_pb2.ApplicationPolicy(
            channel_config_policy_reference=CHANNEL_POLICY
        ).SerializeToString()
        return raw
    try:
        kind = policy_pb2.ApplicationPolicy.FromString(parameter).WhichOneof("Type")
    except DecodeError:
        kind = None
    if kind is None:
        raise ContractRefusal(
            what, "validation parameter is no ApplicationPolicy, so nothing could satisfy it",
            "marshal a signature policy or a reference to a channel policy",
        )  # fmt: skip
    return parameter


def _verify_sequence(what: str, sequence: int, current: Definition | None) -> None:
    expected = 1 if current is None else current.sequence + 1
    if sequence != expected:
        raise ContractRefusal(
            what,
            f"requested sequence is {sequence}, but new definition must be sequence {expected}",
            "query the definition in force",
            status=409,
        )
    if current is not None:
        raise ContractRefusal(
            what,
            f"version {current.version} is defined already",
            "a definition that stands cannot be changed on this channel",
            status=409,
        )


def _write(ctx: Context, asked: Any, policy: bytes) -> None:
    """Write metadata and fields as Fabric's serializer does."""
    endorsement = chaincode_definition_pb2.ChaincodeEndorsementInfo(
        version=asked.version,
        init_required=asked.init_required,
        endorsement_plugin=asked.endorsement_plugin or ENDORSEMENT_PLUGIN,
    )
    validation = chaincode_definition_pb2.ChaincodeValidationInfo(
        validation_plugin=asked.validation_plugin or VALIDATION_PLUGIN,
        validation_parameter=policy,
    )
    fields = {
        "Sequence": db_pb2.StateData(Int64=asked.sequence),
        "EndorsementInfo": db_pb2.StateData(Bytes=endorsement.SerializeToString()),
        "ValidationInfo": db_pb2.StateData(Bytes=validation.SerializeToString()),
        "Collections": db_pb2.StateData(Bytes=asked.collections.SerializeToString()),
    }
    metadata = db_pb2.StateMetadata(datatype=DATATYPE, fields=FIELDS)
    ctx.stub.put_state(metadata_key(asked.name), metadata.SerializeToString())
    for field, data in fields.items():
        ctx.stub.put_state(field_key(asked.name, field), data.SerializeToString())


def _describe(message: Any, definition: Definition) -> Any:
    """Fill a query's result, whose fields have the same names whether one is asked for or all."""
    message.sequence = definition.sequence
    message.version = definition.version
    message.endorsement_plugin = definition.endorsement_plugin
    message.validation_plugin = definition.validation_plugin
    message.validation_parameter = definition.policy
    message.collections.MergeFromString(definition.collection_package)
    message.init_required = definition.init_required
    return message
