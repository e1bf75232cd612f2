"""The API that contracts are written against; a contract package imports nothing else of ours.

Shaped after Fabric's contract API and shim: a class with typed transaction functions, a context, a
stub. Pure: no clock, chance, file or socket. What a transaction may not do is said by
`chaincode.simulator`, what a package may not import by `chaincode.determinism`.
"""

from chaincode.contract.bounds import Bounds, Malformed, MaxItems, MaxLength, Pattern
from chaincode.contract.canonical import encode_json
from chaincode.contract.context import PKT, Context, Creator
from chaincode.contract.functions import Contract, query, transaction
from chaincode.contract.stub import KeyModification, Page, ReadOnlyStub, Response, Stub
from chaincode.contract.values import decode_json
from chaincode.errors import (
    AccessRefused,
    ArgumentRefusal,
    ContractRefusal,
    PrivateDataMissing,
    SimulationLimit,
)

__all__ = [
    "PKT",
    "AccessRefused",
    "ArgumentRefusal",
    "Bounds",
    "Context",
    "Contract",
    "ContractRefusal",
    "Creator",
    "KeyModification",
    "Malformed",
    "MaxItems",
    "MaxLength",
    "Page",
    "Pattern",
    "PrivateDataMissing",
    "ReadOnlyStub",
    "Response",
    "SimulationLimit",
    "Stub",
    "decode_json",
    "encode_json",
    "query",
    "transaction",
]
