"""What can go wrong in `chaincode`, and the status each kind gives to a transaction.

A contract's word reaches a client as the status of a chaincode response. Fabric's own contracts
can only answer 500, which a gateway takes for a fault of that peer and tries again elsewhere; a
refusal under a rule would then be asked of every peer in turn. So ours are told apart:

* 400–499, ``ContractRefusal``: definite. The gateway passes status and message on
  (`chaincode response 400, …`) and does not retry.
* 500: a fault of the contract, of this node or of its load. Nothing was written; another peer may
  do better.

Messages name the thing, the rule and the way out, and never carry what was in an argument: it may
be a person's number.
"""

from __future__ import annotations

from ledger.errors import LedgerError, Refusal, Unavailable

REFUSED = 400
FAILED = 500


class ContractRefusal(Refusal):
    """A contract refuses a record or a whole transaction under a rule of its own.

    Args:
        record: what is refused, by its name on the ledger ("agreement A-17").
        rule: what it breaks, with its place ("has no consent record (rulebook 4)").
        way_out: what the caller can do about it ("record one before opening a case").
        status: 400 to 499.
    """

    def __init__(self, record: str, rule: str, way_out: str = "", *, status: int = REFUSED) -> None:
        if not 400 <= status < 500:
            raise ValueError(f"a refusal has a status from 400 to 499, not {status}")
        super().__init__(f"{record}: {rule}; {way_out}" if way_out else f"{record}: {rule}")
        self.record = record
        self.rule = rule
        self.way_out = way_out
        self.status = status


class ArgumentRefusal(ContractRefusal):
    """An argument, a field of it or a transient entry does not have the declared type."""


class AccessRefused(ContractRefusal):
    """A contract asks for something that its transaction may not do: a write in a query, a key of
    another contract, a page in a transaction that writes.
    """


class SimulationLimit(ContractRefusal):
    """A transaction outgrew a limit of this node; a smaller one may pass."""

    def __init__(self, record: str, rule: str, way_out: str) -> None:
        super().__init__(record, rule, way_out, status=413)


class PrivateDataMissing(Unavailable):
    """This node does not hold the private data that the hashed state names; another may."""


class ContractFault(LedgerError):
    """A contract broke: an exception that is no refusal. The node's log has the place."""


class ContractDefinitionError(Refusal):
    """A contract class or its types cannot be offered; said when it is loaded, not when called."""


class PackageError(Refusal):
    """A contract package is not what its manifest or its hash says."""


class DeterminismError(PackageError):
    """A contract package uses what would make two endorsers differ."""
