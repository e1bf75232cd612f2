"""The stub: what a contract may ask of the ledger during one transaction.

The names and the meaning are those of Fabric's shim:

* Reads give the *committed* state: a transaction does not see its own writes.
* Every read, range and metadata read goes into the read set; if any of it changes before the
  transaction is committed, the transaction is invalid (MVCC, phantoms).
* Writes take effect if and when the transaction is committed as valid.
* Keys are text, values bytes. Simple keys are not empty and do not begin with U+0000; composite
  keys live in a space of their own, which ranges over simple keys never enter.

Here stand only the promises; `chaincode.simulator` keeps them. Deliberately absent: private data
(comes with its collections), rich queries (LevelDB has none), other channels.
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
