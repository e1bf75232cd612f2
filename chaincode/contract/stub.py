"""The stub: what a contract may ask of the ledger during one transaction.

The names and the meaning are those of Fabric's shim:

* Reads give the *committed* state: a transaction does not see its own writes.
* Every read, range and metadata read goes into the read set; if any of it changes before the
  transaction is committed, the transaction is invalid (MVCC, phantoms).
* Writes take effect if and when the transaction is committed as valid.
* Keys are text, values bytes. Simple keys are not empty and do not begin with U+0000; composite
  keys live in a space of their own, which ranges over simple keys never enter.

* Private data belongs to a collection of the contract's definition. Its members hold it in plain;
  in blocks, and in the state of everybody else, stand the SHA-256 of keys and values. A node that
  does not hold what a contract reads cannot run it; it can give the hash.

Here stand only the promises; `chaincode.simulator` keeps them. Deliberately absent: rich queries
(LevelDB has none), other channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Response:
    """What a contract answers: Fabric's `peer.Response`; below 400 is success."""

    status: int
    message: str = ""
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class KeyModification:
    """One committed change of a key; *timestamp* is that of its transaction, UTC."""

    tx_id: str
    value: bytes
    is_delete: bool
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some results of a query and where the next page begins; *bookmark* is "" at the end."""

    entries: tuple[tuple[str, bytes], ...]
    bookmark: str


class ReadOnlyStub(Protocol):
    """The reading half of the stub, over one namespace."""

    def get_state(self, key: str) -> bytes | None:
        """Return the committed value of *key*, None if absent."""

    def get_states(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the committed values of several keys, in the order asked; cheaper than one by
        one.
        """

    def get_state_by_range(self, start_key: str, end_key: str) -> Iterator[tuple[str, bytes]]:
        """Iterate over simple keys from *start_key* up to, not including, *end_key*, by bytes.

        An empty *start_key* means the first simple key, an empty *end_key* the last. What the
        contract consumes is what the read set protects.
        """

    def get_state_by_partial_composite_key(
        self, object_type: str, attributes: Sequence[str]
    ) -> Iterator[tuple[str, bytes]]:
        """Iterate over the composite keys that begin with these attributes."""

    def get_state_by_range_with_pagination(
        self, start_key: str, end_key: str, page_size: int, bookmark: str = ""
    ) -> Page:
        """Return one page of a range; only in a transaction that writes nothing."""

    def get_state_by_partial_composite_key_with_pagination(
        self, object_type: str, attributes: Sequence[str], page_size: int, bookmark: str = ""
    ) -> Page:
        """Return one page of composite keys; only in a transaction that writes nothing."""

    def get_history_for_key(self, key: str) -> Iterator[KeyModification]:
        """Iterate over the committed changes of *key*, newest first. Not protected by MVCC."""

    def get_state_validation_parameter(self, key: str) -> bytes | None:
        """Return the key's own endorsement policy (marshalled SignaturePolicyEnvelope), or None."""

    def get_private_data(self, collection: str, key: str) -> bytes | None:
        """Return the committed value of a private key, None if absent.

        Raises:
            PrivateDataMissing: this node does not hold the value that the hashed state names.
        """

    def get_private_data_many(self, collection: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the committed values of several private keys, in the order asked; cheaper than
        one by one.
        """

    def get_private_data_hash(self, collection: str, key: str) -> bytes | None:
        """Return the SHA-256 of a private key's value, None if absent; every node has it."""

    def get_private_data_by_range(
        self, collection: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, bytes]]:
        """Iterate over simple private keys that this node holds, as `get_state_by_range` does.

        Not protected, so a transaction that asks for one may not write.
        """

    def get_private_data_by_partial_composite_key(
        self, collection: str, object_type: str, attributes: Sequence[str]
    ) -> Iterator[tuple[str, bytes]]:
        """Iterate over the private composite keys that begin with these attributes; as above."""

    def get_private_data_validation_parameter(self, collection: str, key: str) -> bytes | None:
        """Return a private key's own endorsement policy, or None."""

    def create_composite_key(self, object_type: str, attributes: Sequence[str]) -> str:
        """Return Fabric's composite key of a type and its attributes."""

    def split_composite_key(self, key: str) -> tuple[str, list[str]]:
        """Return the type and the attributes of a composite key."""


class Stub(ReadOnlyStub, Protocol):
    """Everything a transaction may ask, over its contract's own namespace."""

    def put_state(self, key: str, value: bytes) -> None:
        """Set *key*; the last write of a transaction wins."""

    def del_state(self, key: str) -> None:
        """Remove *key*, whether or not it exists."""

    def set_state_validation_parameter(self, key: str, policy: bytes | None) -> None:
        """Give *key* an endorsement policy of its own (marshalled SignaturePolicyEnvelope); None
        takes it away.
        """

    def put_private_data(self, collection: str, key: str, value: bytes) -> None:
        """Set a private key. Only hashes enter the transaction; put nothing into the value that
        can be guessed from its hash.
        """

    def del_private_data(self, collection: str, key: str) -> None:
        """Remove a private key from the state; its history stays with the members."""

    def purge_private_data(self, collection: str, key: str) -> None:
        """Remove a private key and everything that members still hold of it."""

    def set_private_data_validation_parameter(
        self, collection: str, key: str, policy: bytes | None
    ) -> None:
        """Give a private key an endorsement policy of its own; None takes it away."""

    def set_event(self, name: str, payload: bytes) -> None:
        """Set the transaction's event; there is one, the last call wins."""

    def get_transient(self) -> Mapping[str, bytes]:
        """Return the transient data of the proposal, which never reaches a block."""

    def reading(self, namespace: str) -> ReadOnlyStub:
        """Return a reader over another contract's keys on this channel.

        The reads are recorded under that contract, as Fabric records those of InvokeChaincode,
        together with a read of the contract's sequence in `_lifecycle`.
        """

    def invoke_chaincode(self, name: str, args: Sequence[bytes], channel: str = "") -> Response:
        """Call another contract of this channel within this transaction; its event is dropped."""
