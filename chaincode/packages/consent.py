"""Which package an organisation runs for a definition, by its own approval in the state.

Three cases:

* It has approved the definition in force as it stands: the package its approval names, or none if
  it names none.
* It has not, though the definition was committed by approvals: nothing is run.
* The definition is a first one that nobody approved, since all agreed to it by having it installed
  (`_lifecycle` CommitChaincodeDefinitions): the installed package of that name and version.

The last two are told apart by the organisations' collections, where an approval that a commit
counted is older than the definition. Reads here are recorded nowhere.
Source: Fabric, core/chaincode/lifecycle/{cache,endorsement_info}.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from fabric_protos.peer.lifecycle import db_pb2
from google.protobuf.message import DecodeError

from chaincode.system.approvals import NAMESPACES, approval_key, approval_name, package_key
from chaincode.system.collections import implicit_collection
from chaincode.system.definitions import LIFECYCLE, Definition
from chaincode.system.fields import field_key, metadata_key
from chaincode.system.parameters import Parameters
from chaincode.system.ports import LifecycleChannel
from ledger.state.ports import StateReader, VersionedValue


@dataclass(frozen=True, slots=True)
class Consent:
    """What an organisation's word on a definition makes its node do.

    Attributes:
        package_id: the package to run; empty if the installed one of name and version serves.
        refusal: why nothing is run; empty if something is.
    """

    package_id: str = ""
    refusal: str = ""


FOUNDED: Final = Consent()


class Approvals:
    """The approvals of one organisation, as a node of it reads them.

    Args:
        msp_id: the organisation.
        channel: whose other members approve as well.
        channel_id: for messages.
    """

    def __init__(self, msp_id: str, channel: LifecycleChannel, channel_id: str) -> None:
        self.msp_id = msp_id
        self._channel = channel
        self._channel_id = channel_id
        self._collection = implicit_collection(msp_id)

    def package_hash(self, state: StateReader, name: str, sequence: int) -> bytes | None:
        """Return the hash of what the approval names as its package, None without an approval."""
        found = state.get_hashed(LIFECYCLE, self._collection, _hash_of(package_key(name, sequence)))
        return None if found is None else found.value

    def consent(
        self, state: StateReader, name: str, definition: Definition, entry: VersionedValue
    ) -> Consent:
        """Return what this organisation runs for a definition.

        Args:
            state: where the definition stands.
            name: of the contract.
            definition: in force.
            entry: its sequence as it stands in the state.
        """
        sequence = definition.sequence
        if not self._has_approved(state, name, definition):
            if sequence == 1 and not self._was_voted(state, name, entry):
                return FOUNDED
            return Consent(
                refusal=f"chaincode definition for '{name}' at sequence {sequence} on channel "
                f"'{self._channel_id}' has not yet been approved by this org ({self.msp_id}); "
                "approve it with the package that this node has"
            )
        plain = state.get_private(LIFECYCLE, self._collection, package_key(name, sequence))
        if plain is None:
            return Consent(
                refusal=f"{self.msp_id} has approved '{name}' at sequence {sequence}, but this "
                "node does not hold the approval; it fetches it if another node of "
                f"{self.msp_id} has it, else approve it again here"
            )
        package_id = _text_of(plain.value)
        if not package_id:
            return Consent(
                refusal=f"chaincode definition for '{name}' exists, but chaincode is not installed:"
                f" {self.msp_id} has approved sequence {sequence} without a package; approve it "
                "again with one"
            )
        return Consent(package_id)

    def _has_approved(self, state: StateReader, name: str, definition: Definition) -> bool:
        """Say whether the organisation has approved the very definition in force."""
        structure = Parameters.of(definition).structure()
        kept = approval_name(name, definition.sequence)
        expected = {metadata_key(NAMESPACES, kept): structure.metadata}
        for field, value in structure.fields.items():
            expected[field_key(NAMESPACES, kept, field)] = value
        found = state.get_hashed_many(
            LIFECYCLE, self._collection, [_hash_of(key) for key in expected]
        )
        return all(
            each is not None and each.value == sha256(value).digest()
            for each, value in zip(found, expected.values(), strict=True)
        )

    def _was_voted(self, state: StateReader, name: str, entry: VersionedValue) -> bool:
        """Say whether some organisation had approved the first definition when it was written."""
        key_hash = _hash_of(approval_key(name, 1))
        for msp_id in self._channel.member_ids:
            found = state.get_hashed(LIFECYCLE, implicit_collection(msp_id), key_hash)
            if found is not None and found.version < entry.version:
                return True
        return False


@lru_cache(maxsize=1024)
def _hash_of(key: str) -> bytes:
    return sha256(key.encode()).digest()


def _text_of(value: bytes) -> str:
    try:
        text: str = db_pb2.StateData.FromString(value).String
    except DecodeError:
        return ""
    return text
