"""What the tests named by the rulebook's sections share: the way to others, and governance.

A section's module goes through the rulebook sentence by sentence. What another module shows already
is named in its `SHOWN`, and `missing_tests` says which of those names no test has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from chaincode.contract.functions import CompiledContract
from chaincode.instalments.contracts import EnforcementContract, InstalmentsContract
from chaincode.simulator import SimulationResult
from tests.support.case_ledger import CaseLedger

Shown = Sequence[tuple[str, str]]
"""(a sentence of the rulebook, in short; names of the tests that show it, apart by spaces)."""

TESTS = Path(__file__).parents[1]
PEOPLE = ("PtaMSP", "MakerMSP", "OperatorMSP", "BankMSP", "BankPayMSP")


@cache
def _tests() -> frozenset[str]:
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        found.update(re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.M))
    return frozenset(found)


def missing_tests(shown: Shown) -> list[str]:
    """Return the names in *shown* that no test has."""
    return [name for _, names in shown for name in names.split() if name not in _tests()]


def functions_that_write(namespace: str) -> set[str]:
    """Return the names of a contract's functions that are submitted."""
    contract = {"instalments": InstalmentsContract, "enforcement": EnforcementContract}[namespace]
    document = json.loads(CompiledContract(contract()).metadata)
    described = document["contracts"][namespace]["transactions"]
    return {each["name"] for each in described if "submit" in each["tag"]}


def namespaces_of(result: SimulationResult) -> dict[str, kv_rwset_pb2.KVRWSet]:
    """Return what a simulation read and wrote, by namespace."""
    read = rwset_pb2.TxReadWriteSet.FromString(result.rwset)
    return {each.namespace: kv_rwset_pb2.KVRWSet.FromString(each.rwset) for each in read.ns_rwset}


def keys_read(result: SimulationResult, namespace: str) -> set[str]:
    """Return the keys that a simulation read one by one."""
    found = namespaces_of(result).get(namespace)
    return set() if found is None else {read.key for read in found.reads}


# ---- governance ---------------------------------------------------------------------------------


def change_member(ledger: CaseLedger, **change: Any) -> None:
    """Have a change of membership adopted today."""
    motion = f"M-{ledger.state.height}"
    by = ("PtaMSP", "governance")
    assert ledger.decide("ProposeMember", motion, change, "needed", by=by).valid
    _vote(ledger, "CastMemberBallots", motion)


def adopt_policy(ledger: CaseLedger, **parameters: Any) -> date:
    """Have a policy version adopted today; return its first day."""
    motion = f"P-{ledger.state.height}"
    by = ("PtaMSP", "governance")
    assert ledger.decide("ProposePolicy", motion, parameters, "needed", by=by).valid
    _vote(ledger, "CastPolicyBallots", motion)
    return date.fromisoformat(ledger.ask("GovernanceProposal", motion)["active_from"])


def _vote(ledger: CaseLedger, function: str, motion: str) -> None:
    ballot = [{"proposal": motion, "choice": "yes"}]
    for msp in PEOPLE:
        ledger.decide(function, ballot, by=(msp, "governance"))
    found = ledger.ask("GovernanceProposal", motion)
    assert found["state"] == "adopted", found
