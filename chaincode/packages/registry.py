"""From a contract's name and the state to the code that runs: what the simulator asks.

The state decides: the definition in `_lifecycle` names a version, and the installed package that
offers the contract in that version serves it. Contracts of the system are the node's own, without
definition or package.

Invariants: two snapshots with different definitions get different code at the same time; the cost
of a call that is answered does not depend on the number of packages.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from chaincode.errors import PackageError
from chaincode.packages.store import PackageStore
from chaincode.simulator.chaincode import Chaincode
from chaincode.system.definitions import LIFECYCLE, field_key, load_definition
from ledger.state.ports import StateReader

log = logging.getLogger(__name__)
_REMEMBERED: Final = 256


class PackageRegistry:
    """Finds contracts among the packages of a store and those of the system."""

    def __init__(self, store: PackageStore, system: Sequence[Chaincode] = ()) -> None:
        self._store = store
        self._system = {chaincode.name: chaincode for chaincode in system}
        self._known: dict[tuple[str, bytes], Chaincode] = {}

    def resolve(self, name: str, state: StateReader) -> Chaincode | None:
        """Return the contract installed here for what *state* defines as *name*, or None."""
        found = self._system.get(name)
        if found is not None:
            return found
        # One read a call: a definition's version cannot change without these bytes.
        entry = state.get(LIFECYCLE, field_key(name, "EndorsementInfo"))
        if entry is None:
            return None
        return self._known.get((name, entry.value)) or self._find(name, entry.value, state)

    def explain(self, name: str, state: StateReader) -> str:
        """Say why `resolve` returns None, and what can be done."""
        definition = load_definition(state, name)
        if definition is None:
            return f"chaincode {name} not found; commit its definition first"
        version = definition.version
        installed = self._store.find(name, version)
        if installed is None:
            reason = (
                f"chaincode definition for '{name}' exists (version {version}), but chaincode is "
                "not installed on this node"
            )
            offered = sorted(
                each.version for each in self._store.installed() if name in each.contracts
            )
            if offered:
                reason += f", which has version {', '.join(offered)}"
            faults = "".join(f"; {fault}" for fault in self._store.faults())
            return f"{reason}; install the package that offers it{faults}"
        try:
            self._store.load(installed.package_id)
        except PackageError as error:
            return str(error)
        return f"chaincode {name} can be run now; try again"

    def _find(self, name: str, endorsement: bytes, state: StateReader) -> Chaincode | None:
        definition = load_definition(state, name)
        if definition is None:
            return None
        installed = self._store.find(name, definition.version)
        if installed is None:
            return None
        try:
            chaincode = self._store.load(installed.package_id)[name]
        except PackageError as error:
            log.error("contract %s %s cannot be run: %s", name, definition.version, error)
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[(name, endorsement)] = chaincode
        return chaincode
