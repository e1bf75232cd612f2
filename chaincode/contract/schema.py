"""Machine-readable metadata of a contract, in the form of Fabric's contract API.

The document answered to `org.hyperledger.fabric:GetMetadata`: the contracts with their
transactions, parameters and returns as JSON Schema, every record type once under
`components.schemas`. A transaction that only reads carries the tags `evaluate` and `EVALUATE`, one
that writes `submit` and `SUBMIT`, which is how clients that are made from it choose.

Source: fabric-contract-api-go, metadata/schema (contract-schema.json).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal

from chaincode.contract.bounds import Bounds, Malformed, MaxItems, MaxLength, Pattern
from chaincode.errors import ContractDefinitionError

_SYSTEM = "org.hyperledger.fabric"
_READS = ["evaluate", "EVALUATE"]
_DRAFT = "http://json-schema.org/draft-07/schema#"

_SIMPLE: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bytes: {"type": "string"},
    int: {"type": "integer", "format": "int64"},
    bool: {"type": "boolean"},
    float: {"type": "number", "format": "double"},
    date: {"type": "string", "format": "date"},
    datetime: {"type": "string", "format": "date-time"},
    type(None): {"type": "null"},
    object: {},
}


class Schemas:
    """Collects the record types met on the way, each described once."""

    def __init__(self) -> None:
        self.components: dict[str, dict[str, Any]] = {}
        self._kinds: dict[str, type] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the JSON Schema of an annotation; records become references."""
        if kind in _SIMPLE:
            return dict(_SIMPLE[kind])
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if origin is Annotated:
            return self._bounded(args[0], args[1:])
        if origin is Literal:
            return {"enum": list(args)}
        if origin is typing.Union or origin is types.UnionType:
            return self._union(args)
        if origin in (list, Sequence):
            return {"type": "array", "items": self.of(args[0])}
        if origin is tuple:
            return self._tuple(args)
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(args[1])}
        if isinstance(kind, type) and issubclass(kind, Enum):
            return {"enum": [member.value for member in kind]}
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return self._record(kind)
        return {}

    def _tuple(self, args: tuple[Any, ...]) -> dict[str, Any]:
        if len(args) == 2 and args[1] is Ellipsis:
            return {"type": "array", "items": self.of(args[0])}
        items = [self.of(arg) for arg in args]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}

    def _union(self, args: tuple[Any, ...]) -> dict[str, Any]:
        schemas = [self.of(arg) for arg in args if arg is not Malformed]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _bounded(self, base: Any, marks: Sequence[Any]) -> dict[str, Any]:
        schema = self.of(base)
        for mark in marks:
            if isinstance(mark, MaxLength):
                schema["maxLength"] = mark.length
            elif isinstance(mark, MaxItems):
                schema["maxProperties" if schema.get("type") == "object" else "maxItems"] = (
                    mark.items
                )
            elif isinstance(mark, Bounds):
                schema |= {"minimum": mark.minimum, "maximum": mark.maximum}
            elif isinstance(mark, Pattern):
                schema |= {"pattern": f"^(?:{mark.expression})$", "description": mark.meaning}
        return schema

    def _record(self, kind: type) -> dict[str, Any]:
        name = kind.__name__
        reference = {"$ref": f"#/components/schemas/{name}"}
        if self._kinds.setdefault(name, kind) is not kind:
            raise ContractDefinitionError(
                f"two record types are called {name}, in {self._kinds[name].__module__} and in "
                f"{kind.__module__}; rename one"
            )
        if name in self.components:
            return reference
        schema = self.components[name] = {"$id": name, "type": "object"}
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = dataclasses.fields(kind)
        schema["properties"] = {field.name: self.of(hints[field.name]) for field in fields}
        schema["required"] = [
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        schema["additionalProperties"] = False
        return reference


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """What the metadata says about one transaction function."""

    name: str
    writes: bool
    parameters: tuple[tuple[str, Any, bool], ...]
    returns: Any


def describe_contract(
    name: str, title: str, version: str, functions: Sequence[Signature]
) -> dict[str, Any]:
    """Return the metadata document of one contract."""
    schemas = Schemas()
    transactions = []
    for function in functions:
        described: dict[str, Any] = {
            "name": function.name,
            "tag": ["submit", "SUBMIT"] if function.writes else _READS,
            "parameters": [
                {"name": parameter, "schema": schemas.of(kind)}
                | ({} if required else {"required": False})
                for parameter, kind, required in function.parameters
            ],
        }
        if function.returns not in (None, type(None)):
            described["returns"] = schemas.of(function.returns)
        transactions.append(described)
    information = {"title": title or name, "version": version}
    return {
        "$schema": _DRAFT,
        "info": information,
        "contracts": {
            name: {
                "name": name,
                "default": True,
                "info": information,
                "transactions": transactions,
            },
            _SYSTEM: {
                "name": _SYSTEM,
                "default": False,
                "info": {"title": _SYSTEM, "version": "latest"},
                "transactions": [
                    {"name": "GetMetadata", "tag": _READS, "returns": {"type": "string"}}
                ],
            },
        },
        "components": {"schemas": schemas.components},
    }
