"""What both faces of the SDK share: drafts made for one identity on one channel and contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from clients.gateway import messages
from clients.gateway.messages import CommitRequest, ProposalDraft, TransactionDraft
from clients.gateway.ports import Checkpointer, Signer
from clients.gateway.requests import (
    BlocksRequest,
    Deliver,
    EventsRequest,
    blocks_request,
    decode_blocks_request,
    decode_events_request,
    events_request,
)

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
        is_init: bool = False,
    ) -> ProposalDraft:
        """Draft a call of *transaction*; nothing is sent.

        Args:
            is_init: it initialises a contract whose definition asks for that.
        """
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
            is_init=is_init,
        )


class NetworkDrafting:
    """Names one channel and drafts requests for its events and blocks; nothing is sent.

    A checkpoint that has a position goes before *start_block*; without either, from the next commit
    on. Blocks come up to *stop_block*, or without end.
    """

    def __init__(self, signer: Signer, channel_id: str, clock: Clock | None) -> None:
        self._signer = signer
        self._clock = clock
        self.channel_id = channel_id

    def new_chaincode_events_request(
        self,
        chaincode: str,
        *,
        start_block: int | None = None,
        checkpoint: Checkpointer | None = None,
    ) -> EventsRequest:
        """Draft a request for a contract's events."""
        return events_request(self._signer, self.channel_id, chaincode, start_block, checkpoint)

    def new_block_events_request(
        self,
        *,
        start_block: int | None = None,
        stop_block: int | None = None,
        checkpoint: Checkpointer | None = None,
    ) -> BlocksRequest:
        """Draft a request for whole blocks."""
        return self._new_blocks_request("Deliver", start_block, stop_block, checkpoint)

    def new_filtered_block_events_request(
        self,
        *,
        start_block: int | None = None,
        stop_block: int | None = None,
        checkpoint: Checkpointer | None = None,
    ) -> BlocksRequest:
        """Draft a request for filtered blocks."""
        return self._new_blocks_request("DeliverFiltered", start_block, stop_block, checkpoint)

    def new_private_block_events_request(
        self,
        *,
        start_block: int | None = None,
        stop_block: int | None = None,
        checkpoint: Checkpointer | None = None,
    ) -> BlocksRequest:
        """Draft a request for whole blocks with the private data that the member may see."""
        return self._new_blocks_request(
            "DeliverWithPrivateData", start_block, stop_block, checkpoint
        )

    def _new_blocks_request(
        self,
        rpc: Deliver,
        start_block: int | None,
        stop_block: int | None,
        checkpoint: Checkpointer | None,
    ) -> BlocksRequest:
        return blocks_request(
            self._signer,
            self.channel_id,
            rpc,
            start_block,
            stop_block,
            checkpoint,
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

    def new_signed_chaincode_events_request(self, raw: bytes, signature: bytes) -> EventsRequest:
        """A request for events from its encoded bytes and a signature over its digest."""
        return decode_events_request(self._signer, raw).with_signature(signature)

    def new_signed_block_events_request(self, raw: bytes, signature: bytes) -> BlocksRequest:
        """A request for whole blocks from its encoded bytes and a signature over its digest."""
        return decode_blocks_request(self._signer, "Deliver", raw).with_signature(signature)

    def new_signed_filtered_block_events_request(
        self, raw: bytes, signature: bytes
    ) -> BlocksRequest:
        """A request for filtered blocks from its encoded bytes and a signature over its digest."""
        return decode_blocks_request(self._signer, "DeliverFiltered", raw).with_signature(signature)

    def new_signed_private_block_events_request(
        self, raw: bytes, signature: bytes
    ) -> BlocksRequest:
        """A request for blocks with private data from its encoded bytes and a signature."""
        request = decode_blocks_request(self._signer, "DeliverWithPrivateData", raw)
        return request.with_signature(signature)
