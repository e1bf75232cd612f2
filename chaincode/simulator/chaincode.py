"""What the simulator runs: something with a name that answers arguments with a response."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Protocol

from chaincode.contract.context import Context
from chaincode.contract.functions import METADATA_FUNCTION, CompiledContract, Contract
from chaincode.contract.stub import Response
from chaincode.errors import ArgumentRefusal
from ledger.state.ports import StateReader


class Chaincode(Protocol):
    """One contract as the simulator sees it."""

    @property
    def name(self) -> str:
        """The namespace whose keys it owns."""

    @property
    def version(self) -> str:
        """What the endorsed response states; `syscc` for those of the system."""

    @property
    def is_system(self) -> bool:
        """Say whether it is part of the node, without a definition in `_lifecycle`."""

    @property
    def init_required(self) -> bool:
        """Say whether its definition asks for a call that initialises, before any other."""

    def reads_only(self, args: Sequence[bytes]) -> bool:
        """Say whether this call may not write; raises ContractRefusal if there is no such call."""

    def invoke(self, ctx: Context, args: Sequence[bytes]) -> Response:
        """Run the call; raises ContractRefusal."""


class ChaincodeRegistry(Protocol):
    """Where the simulator finds contracts."""

    def resolve(self, name: str, state: StateReader) -> Chaincode | None:
        """Return the contract installed here for what *state* defines as *name*, or None."""

    def explain(self, name: str, state: StateReader) -> str:
        """Say why `resolve` returns None, and what can be done."""


class ContractChaincode:
    """A class-based contract, in the package version it was loaded from."""

    is_system = False

    def __init__(self, contract: Contract, version: str = "1") -> None:
        self.contract = CompiledContract(contract)
        self.name = self.contract.name
        self.version = version
        self.init_required = False

    def under(self, version: str, *, init_required: bool) -> ContractChaincode:
        """Return it as a definition names it, whose version may be another than its package's."""
        if (version, init_required) == (self.version, self.init_required):
            return self
        named = copy(self)
        named.version = version
        named.init_required = init_required
        return named

    def reads_only(self, args: Sequence[bytes]) -> bool:
        """Say whether the called function is a query."""
        called = _called(args)
        return called == METADATA_FUNCTION or not self.contract.find(called).writes

    def invoke(self, ctx: Context, args: Sequence[bytes]) -> Response:
        """Run the called function."""
        called = _called(args)
        if called == METADATA_FUNCTION:
            return Response(200, "", self.contract.metadata)
        return Response(200, "", self.contract.find(called).invoke(ctx, args[1:]))


def _called(args: Sequence[bytes]) -> str:
    if not args:
        raise ArgumentRefusal("the proposal", "names no function", "put it first")
    try:
        return args[0].decode("utf-8")
    except UnicodeDecodeError:
        raise ArgumentRefusal("the function's name", "must be UTF-8", "see GetMetadata") from None
