"""From a contract's name and the state to the code that runs: what the simulator asks.

The state decides. The definition in `_lifecycle` has a sequence, and this organisation's approval
of that sequence names the package that serves it (`consent`). A first definition that nobody had to
approve is served by the installed package that offers the contract in the definition's version.
Contracts of the system are the node's own, without definition or package.

Invariants: two snapshots with different definitions get different code at the same time; the cost
of a call that is answered does not depend on the number of packages.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fabric_protos.peer.lifecycle import db_pb2
from google.protobuf.message import DecodeError

from chaincode.errors import PackageError
from chaincode.packages.consent import FOUNDED, Approvals, Consent
from chaincode.packages.store import InstalledPackage, PackageStore
from chaincode.simulator.chaincode import Chaincode, ContractChaincode
from chaincode.system.definitions import (
    LIFECYCLE,
    METADATA_PREFIX,
    Definition,
    field_key,
    load_definition,
)
from chaincode.system.fields import END_OF_SPACE
from ledger.state.ports import StateReader, VersionedValue
from ledger.state.version import Version

log = logging.getLogger(__name__)
_REMEMBERED: Final = 256


@dataclass(frozen=True, slots=True)
class ContractStanding:
    """How a node stands to a definition in force.

    Attributes:
        name, version, sequence: of the definition.
        package_id: what serves it here; empty if nothing does.
        reason: why nothing does, and the way out; empty otherwise.
    """

    name: str
    version: str
    sequence: int
    package_id: str
    reason: str


class PackageRegistry:
    """Finds contracts among the packages of a store and those of the system.

    Args:
        store: the installed packages.
        system: contracts of the system.
        approvals: of this node's organisation; without them every definition is taken for one that
            needs none.
    """

    def __init__(
        self,
        store: PackageStore,
        system: Sequence[Chaincode] = (),
        approvals: Approvals | None = None,
    ) -> None:
        self._store = store
        self._system = {chaincode.name: chaincode for chaincode in system}
        self._approvals = approvals
        self._known: dict[tuple[str, Version, bytes | None], Chaincode] = {}
        self._broken: dict[tuple[str, int, int], str] = {}
        """Why an installed folder could not be loaded, by id and by when it was written."""

    def resolve(self, name: str, state: StateReader) -> Chaincode | None:
        """Return the contract installed here for what *state* defines as *name*, or None."""
        found = self._system.get(name)
        if found is not None:
            return found
        # Two reads a call: neither definition nor package can change without one of these.
        entry = state.get(LIFECYCLE, field_key(name, "Sequence"))
        if entry is None:
            return None
        approved = None
        if self._approvals is not None:
            approved = self._approvals.package_hash(state, name, _number_of(entry.value))
        key = (name, entry.version, approved)
        return self._known.get(key) or self._find(key, entry, state)

    def explain(self, name: str, state: StateReader) -> str:
        """Say why `resolve` returns None, and what can be done."""
        definition = load_definition(state, name)
        entry = state.get(LIFECYCLE, field_key(name, "Sequence"))
        if definition is None or entry is None:
            return f"chaincode {name} not found; commit its definition first"
        installed, reason = self._package(name, definition, entry, state)
        if installed is None:
            return reason
        try:
            self._load(name, installed)
        except PackageError as error:
            return str(error)
        return f"chaincode {name} can be run now; try again"

    def standings(self, state: StateReader) -> list[ContractStanding]:
        """Return how this node stands to each definition, by name."""
        found = []
        for key, _entry in state.range(LIFECYCLE, METADATA_PREFIX, METADATA_PREFIX + END_OF_SPACE):
            name = key.removeprefix(METADATA_PREFIX)
            definition = load_definition(state, name)
            entry = state.get(LIFECYCLE, field_key(name, "Sequence"))
            if definition is None or entry is None:
                continue
            installed, reason = self._package(name, definition, entry, state)
            if installed is not None:
                reason = self._broken.get(_writing_of(installed), "")
            package_id = "" if installed is None or reason else installed.package_id
            found.append(
                ContractStanding(name, definition.version, definition.sequence, package_id, reason)
            )
        return found

    def _find(
        self, key: tuple[str, Version, bytes | None], entry: VersionedValue, state: StateReader
    ) -> Chaincode | None:
        name = key[0]
        definition = load_definition(state, name)
        if definition is None:
            return None
        installed, _ = self._package(name, definition, entry, state)
        if installed is None:
            return None
        try:
            loaded = self._load(name, installed)
        except PackageError:
            return None
        chaincode = loaded.under(definition.version, init_required=definition.init_required)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = chaincode
        return chaincode

    def _load(self, name: str, installed: InstalledPackage) -> ContractChaincode:
        """Load a package, or say again why it broke: it is run once, not with every proposal."""
        written = _writing_of(installed)
        known = self._broken.get(written)
        if known is not None:
            raise PackageError(known)
        try:
            return self._store.load(installed.package_id)[name]
        except PackageError as error:
            if len(self._broken) >= _REMEMBERED:
                self._broken.clear()
            self._broken[written] = str(error)
            log.error("contract %s %s cannot be run: %s", name, installed.version, error)
            raise

    def _package(
        self, name: str, definition: Definition, entry: VersionedValue, state: StateReader
    ) -> tuple[InstalledPackage | None, str]:
        """Return the package that serves a definition, or why there is none."""
        consent = FOUNDED
        if self._approvals is not None:
            consent = self._approvals.consent(state, name, definition, entry)
        if consent.refusal:
            return None, consent.refusal
        if consent is FOUNDED:
            return self._founded(name, definition.version)
        return self._approved(name, definition, consent)

    def _approved(
        self, name: str, definition: Definition, consent: Consent
    ) -> tuple[InstalledPackage | None, str]:
        installed = self._store.get(consent.package_id)
        if installed is not None and name in installed.contracts:
            return installed, ""
        reason = (
            f"chaincode definition for '{name}' exists (version {definition.version}, sequence "
            f"{definition.sequence}), but chaincode is not installed on this node: its member has "
            f"approved package {consent.package_id}"
        )
        if installed is not None:
            return None, f"{reason}, which has no contract {name}; approve one that has"
        return None, f"{reason}; install exactly that package{self._faults()}"

    def _founded(self, name: str, version: str) -> tuple[InstalledPackage | None, str]:
        installed = self._store.find(name, version)
        if installed is not None:
            return installed, ""
        reason = (
            f"chaincode definition for '{name}' exists (version {version}), but chaincode is "
            "not installed on this node"
        )
        offered = sorted(each.version for each in self._store.installed() if name in each.contracts)
        if offered:
            reason += f", which has version {', '.join(offered)}"
        return None, f"{reason}; install the package that offers it{self._faults()}"

    def _faults(self) -> str:
        return "".join(f"; {fault}" for fault in self._store.faults())


def _writing_of(installed: InstalledPackage) -> tuple[str, int, int]:
    """Tell one writing of a package's folder from another."""
    try:
        found = installed.folder.stat()
    except OSError:
        return installed.package_id, 0, 0
    return installed.package_id, found.st_ino, found.st_mtime_ns


@lru_cache(maxsize=1024)
def _number_of(value: bytes) -> int:
    try:
        number: int = db_pb2.StateData.FromString(value).Int64
    except DecodeError:
        return 0
    return number
