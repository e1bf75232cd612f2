"""What a definition says of a contract besides its name and number: what organisations approve.

The same parameters stand in an approval (kind `ChaincodeParameters`) and, with the sequence before
them, in a definition (`ChaincodeDefinition`); both in Fabric's fields and bytes.
Source: Fabric, core/chaincode/lifecycle/lifecycle.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fabric_protos.peer import collection_pb2, policy_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2
from google.protobuf.message import DecodeError

from chaincode.system.definitions import DATATYPE, Definition
from chaincode.system.fields import Structure, Unreadable

ENDORSEMENT_PLUGIN: Final = "escc"
VALIDATION_PLUGIN: Final = "vscc"
CHANNEL_POLICY: Final = "/Channel/Application/Endorsement"
"""Of a contract that names none (Fabric's default)."""
PARAMETERS: Final = "ChaincodeParameters"
"""Kind of an approval."""
PARAMETER_FIELDS: Final = ("EndorsementInfo", "ValidationInfo", "Collections")


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is approved and defined.

    Attributes:
        version: of the contract, as responses state it.
        endorsement_plugin, validation_plugin: names of rule sets.
        init_required: whether the first call must be one that initialises.
        policy: marshalled `ApplicationPolicy`.
        collections: marshalled `CollectionConfigPackage`.
    """

    version: str
    endorsement_plugin: str
    init_required: bool
    validation_plugin: str
    policy: bytes
    collections: bytes

    @classmethod
    def asked(cls, asked: Any) -> Parameters:
        """Read the arguments of a call, whose fields have the same names in all of them."""
        return cls(
            asked.version,
            asked.endorsement_plugin,
            asked.init_required,
            asked.validation_plugin,
            asked.validation_parameter,
            asked.collections.SerializeToString(),
        )

    @classmethod
    def of(cls, definition: Definition) -> Parameters:
        """Return those of a definition."""
        return cls(
            definition.version,
            definition.endorsement_plugin,
            definition.init_required,
            definition.validation_plugin,
            definition.policy,
            definition.collection_package,
        )

    @classmethod
    def decoded(cls, name: str, fields: Mapping[str, db_pb2.StateData]) -> Parameters:
        """Read the fields of an approval.

        Raises:
            Unreadable: one is not what it should be.
        """
        try:
            endorsing = chaincode_definition_pb2.ChaincodeEndorsementInfo.FromString(
                fields["EndorsementInfo"].Bytes
            )
            validating = chaincode_definition_pb2.ChaincodeValidationInfo.FromString(
                fields["ValidationInfo"].Bytes
            )
            collection_pb2.CollectionConfigPackage.FromString(fields["Collections"].Bytes)
        except DecodeError:
            raise Unreadable(
                f"the approval {name}", "could not deserialize chaincode parameters",
                "approve it again",
            ) from None  # fmt: skip
        return cls(
            endorsing.version,
            endorsing.endorsement_plugin,
            endorsing.init_required,
            validating.validation_plugin,
            validating.validation_parameter,
            fields["Collections"].Bytes,
        )

    def with_defaults(self) -> Parameters:
        """Return them with Fabric's defaults where nothing is said."""
        default = policy_pb2.ApplicationPolicy(channel_config_policy_reference=CHANNEL_POLICY)
        return replace(
            self,
            endorsement_plugin=self.endorsement_plugin or ENDORSEMENT_PLUGIN,
            validation_plugin=self.validation_plugin or VALIDATION_PLUGIN,
            policy=self.policy or default.SerializeToString(),
        )

    def difference(self, passed: Parameters) -> str:
        """Say in Fabric's words where *passed* differs; empty if nowhere."""
        pairs: list[tuple[str, str, str]] = [
            ("Version", self.version, passed.version),
            ("EndorsementPlugin", self.endorsement_plugin, passed.endorsement_plugin),
            ("InitRequired", _go(self.init_required), _go(passed.init_required)),
            ("ValidationPlugin", self.validation_plugin, passed.validation_plugin),
            ("ValidationParameter", self.policy.hex(), passed.policy.hex()),
        ]
        for what, expected, found in pairs:
            if expected != found:
                return f"expected {what} '{expected}' does not match passed {what} '{found}'"
        kind = collection_pb2.CollectionConfigPackage
        if kind.FromString(self.collections) != kind.FromString(passed.collections):
            return "Collections do not match"
        return ""

    def structure(self) -> Structure:
        """Return them as an approval keeps them."""
        return Structure(PARAMETERS, self._fields())

    def defined(self, sequence: int) -> Structure:
        """Return them as a definition keeps them."""
        number = db_pb2.StateData(Int64=sequence).SerializeToString()
        return Structure(DATATYPE, {"Sequence": number} | self._fields())

    def describe(self, message: Any) -> None:
        """Fill a query's result, whose fields have the same names in all of them."""
        message.version = self.version
        message.endorsement_plugin = self.endorsement_plugin
        message.validation_plugin = self.validation_plugin
        message.validation_parameter = self.policy
        message.collections.MergeFromString(self.collections)
        message.init_required = self.init_required

    def _fields(self) -> dict[str, bytes]:
        endorsing = chaincode_definition_pb2.ChaincodeEndorsementInfo(
            version=self.version,
            init_required=self.init_required,
            endorsement_plugin=self.endorsement_plugin,
        )
        validating = chaincode_definition_pb2.ChaincodeValidationInfo(
            validation_plugin=self.validation_plugin, validation_parameter=self.policy
        )
        values = (endorsing.SerializeToString(), validating.SerializeToString(), self.collections)
        return {
            field: db_pb2.StateData(Bytes=value).SerializeToString()
            for field, value in zip(PARAMETER_FIELDS, values, strict=True)
        }


def _go(value: bool) -> str:
    return "true" if value else "false"
