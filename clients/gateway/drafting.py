"""What both faces of the SDK share: drafts made for one identity on one channel and contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from clients.gateway import messages
from clients.gateway.messages import CommitRequest, ProposalDraft, TransactionDraft
from clients.gateway.ports import Signer

Argument = str | bytes
Transient = Mapping[str, bytes | str]


class Clock(Protocol):
    """Gives the time that a proposal carries."""

    def __call__(self) -> datetime:
        """An aware datetime."""
        ...


class ContractDrafting:
    """Names one contract of one channel and drafts proposals to it.

    Args:
        chaincode: name under which the contract is defined on the channel.
        contract: name of a contract inside it; empty for its first.
    """

    def __init__(
        self, signer: Signer, channel_id: str, chaincode: str, contract: str, clock: Clock | None
    ) -> None:
        self._signer = signer
        self._channel_id = channel_id
        self._contract = contract
        self._clock = clock
        self.chaincode = chaincode

    def new_proposal(
        self,
        transaction: str,
        *arguments: Argument,
        transient: Transient | None = None,
        endorsing_organisations: Sequence[str] = (),
    ) -> ProposalDraft:
        """Draft a call of *transaction*; nothing is sent."""
        name = f"{self._contract}:{transaction}" if self._contract else transaction
        return messages.new_proposal(
            self._signer,
            self._channel_id,
            self.chaincode,
            name,
            arguments,
            transient,
            endorsing_organisations,
            now=self._clock() if self._clock else None,
        )


class OfflineDrafting:
    """Takes up drafts that another program carried or signed."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def new_signed_proposal(self, raw: bytes, signature: bytes) -> ProposalDraft:
        """A proposal from its encoded bytes and a signature over its digest."""
        return messages.decode_proposal(self._signer, raw).with_signature(signature)

    def new_signed_transaction(self, raw: bytes, signature: bytes) -> TransactionDraft:
        """A transaction from its encoded bytes and a signature over its digest."""
        return messages.decode_transaction(self._signer, raw).with_signature(signature)

    def new_signed_commit(self, raw: bytes, signature: bytes) -> CommitRequest:
        """A commit status request from its encoded bytes and a signature over its digest."""
        return messages.decode_commit_request(self._signer, raw).with_signature(signature)
