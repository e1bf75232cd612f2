"""What the endorser asks of the node about private data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chaincode.simulator.ports import CollectionAccess
from ledger.state.ports import StateReader
from network.msp import Identity


class CollectionTerms(Protocol):
    """What counts of a collection when a transaction is to be endorsed."""

    @property
    def members(self) -> Sequence[str]:
        """MSP ids of the members whose nodes are entitled to its data."""

    @property
    def endorsement_policy(self) -> bytes:
        """Its own marshalled ``ApplicationPolicy``; empty if the contract's holds."""


class PrivateData(Protocol):
    """The private data of one channel, as its endorser sees them."""

    @property
    def lifecycle_policy(self) -> bytes:
        """The channel's marshalled ``ApplicationPolicy`` for contract definitions."""

    def collection(self, state: StateReader, namespace: str, name: str) -> CollectionTerms | None:
        """Return a collection as *state* defines it, implicit ones included; None if it is none."""

    def access_of(self, creator: Identity, state: StateReader) -> CollectionAccess:
        """Say what the creator of a proposal may do with collections as *state* defines them."""

    async def distribute(self, tx_id: str, private: bytes, creator: str) -> None:
        """Keep the private write sets of a simulation and push them to entitled members.

        Args:
            tx_id: the transaction.
            private: marshalled ``rwset.TxPvtReadWriteSet``.
            creator: MSP id of the client's member.
        Raises:
            Unavailable: fewer members took them than a collection demands; nothing is endorsed.
            Refusal: a collection is not defined.
        """
