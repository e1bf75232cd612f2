"""Fabric's messages as a client makes them: proposals, envelopes, status and seek requests.

Each draft knows its bytes and its digest, and can be signed elsewhere: build
it, take ``digest``, sign that digest in a vault, and go on with
``with_signature``. Bytes that were signed are sent as they are and never
serialised a second time.

Source: hyperledger/fabric-protos; the shapes are those of Fabric's own gateway clients.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2, proposal_response_pb2, transaction_pb2

from clients.gateway.ports import Signer

_NONCE_BYTES = 24
_FOREVER = 2**64 - 1


@dataclass(frozen=True, slots=True)
class ProposalDraft:
    """A proposal, signed or to be signed.

    Attributes:
        raw: marshalled ``protos.Proposal``, the bytes that are signed.
        tx_id: hex SHA-256 of nonce and creator.
        endorsing_organisations: MSP ids that must endorse; empty lets the gateway choose.
        signature: made elsewhere; empty lets the signer make it when it is sent.
    """

    signer: Signer
    channel_id: str
    tx_id: str
    raw: bytes
    endorsing_organisations: tuple[str, ...] = ()
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the bytes, 32 bytes, for an ECDSA key held elsewhere."""
        return hashlib.sha256(self.raw).digest()

    def with_signature(self, signature: bytes) -> ProposalDraft:
        """The same proposal with a signature made elsewhere."""
        return replace(self, signature=signature)

    def signed(self) -> Any:
        """The ``protos.SignedProposal``."""
        signature = self.signature or self.signer.sign(self.raw)
        return proposal_pb2.SignedProposal(proposal_bytes=self.raw, signature=signature)

    def encode(self) -> bytes:
        """Bytes to carry to another program, a ``gateway.ProposedTransaction``."""
        proposal = proposal_pb2.SignedProposal(proposal_bytes=self.raw, signature=self.signature)
        message = gateway_pb2.ProposedTransaction(
            transaction_id=self.tx_id,
            proposal=proposal,
            endorsing_organizations=self.endorsing_organisations,
        )
        return bytes(message.SerializeToString())


@dataclass(frozen=True, slots=True)
class TransactionDraft:
    """An endorsed envelope, signed or to be signed.

    Attributes:
        payload: the envelope's payload, the bytes that are signed.
        result: what the contract returned.
    """

    signer: Signer
    channel_id: str
    tx_id: str
    payload: bytes
    result: bytes
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the payload, 32 bytes."""
        return hashlib.sha256(self.payload).digest()

    def with_signature(self, signature: bytes) -> TransactionDraft:
        """The same transaction with a signature made elsewhere."""
        return replace(self, signature=signature)

    def signed(self) -> Any:
        """The ``common.Envelope``."""
        signature = self.signature or self.signer.sign(self.payload)
        return common_pb2.Envelope(payload=self.payload, signature=signature)

    def encode(self) -> bytes:
        """Bytes to carry to another program, a ``gateway.PreparedTransaction``."""
        envelope = common_pb2.Envelope(payload=self.payload, signature=self.signature)
        message = gateway_pb2.PreparedTransaction(transaction_id=self.tx_id, envelope=envelope)
        return bytes(message.SerializeToString())


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """A question for a commit status, signed or to be signed."""

    signer: Signer
    tx_id: str
    raw: bytes
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the bytes, 32 bytes."""
        return hashlib.sha256(self.raw).digest()

    def with_signature(self, signature: bytes) -> CommitRequest:
        """The same question with a signature made elsewhere."""
        return replace(self, signature=signature)

    def signed(self) -> Any:
        """The ``gateway.SignedCommitStatusRequest``."""
        signature = self.signature or self.signer.sign(self.raw)
        return gateway_pb2.SignedCommitStatusRequest(request=self.raw, signature=signature)

    def encode(self) -> bytes:
        """Bytes to carry to another program."""
        message = gateway_pb2.SignedCommitStatusRequest(request=self.raw, signature=self.signature)
        return bytes(message.SerializeToString())


def transaction_id(nonce: bytes, creator: bytes) -> str:
    """Hex SHA-256 of nonce (24 bytes) and creator. Source: protoutil ``ComputeTxID``."""
    return hashlib.sha256(nonce + creator).hexdigest()


def new_proposal(
    signer: Signer,
    channel_id: str,
    chaincode: str,
    transaction: str,
    arguments: Sequence[str | bytes] = (),
    transient: Mapping[str, bytes | str] | None = None,
    endorsing_organisations: Sequence[str] = (),
    *,
    now: datetime | None = None,
    is_init: bool = False,
) -> ProposalDraft:
    """Build a proposal with a fresh nonce.

    Args:
        transaction: the contract's function, ``Function`` or ``Contract:Function``.
        now: the timestamp it carries; the machine's clock when None. Endorsers
            refuse one more than 15 minutes off theirs.
        is_init: whether it is the call that initialises a contract whose definition asks for one.
    """
    nonce = os.urandom(_NONCE_BYTES)
    creator = signer.serialized
    tx_id = transaction_id(nonce, creator)
    extension = proposal_pb2.ChaincodeHeaderExtension(
        chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode)
    )
    header = common_pb2.Header(
        channel_header=_channel_header(
            common_pb2.ENDORSER_TRANSACTION,
            channel_id,
            tx_id,
            now,
            extension.SerializeToString(),
        ),
        signature_header=_signature_header(creator, nonce),
    )
    args = [_bytes_of(transaction), *(_bytes_of(argument) for argument in arguments)]
    spec = chaincode_pb2.ChaincodeSpec(
        type=chaincode_pb2.ChaincodeSpec.NODE,
        chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode),
        input=chaincode_pb2.ChaincodeInput(args=args, is_init=is_init),
    )
    invocation = chaincode_pb2.ChaincodeInvocationSpec(chaincode_spec=spec)
    payload = proposal_pb2.ChaincodeProposalPayload(
        input=invocation.SerializeToString(),
        TransientMap={key: _bytes_of(value) for key, value in (transient or {}).items()},
    )
    proposal = proposal_pb2.Proposal(
        header=header.SerializeToString(), payload=payload.SerializeToString()
    )
    raw = proposal.SerializeToString()
    return ProposalDraft(signer, channel_id, tx_id, raw, tuple(endorsing_organisations))


def decode_proposal(signer: Signer, raw: bytes) -> ProposalDraft:
    """Take up a proposal that :meth:`ProposalDraft.encode` wrote, signed or not."""
    message = gateway_pb2.ProposedTransaction.FromString(raw)
    proposal = proposal_pb2.Proposal.FromString(message.proposal.proposal_bytes)
    header = common_pb2.Header.FromString(proposal.header)
    channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
    return ProposalDraft(
        signer,
        channel_header.channel_id,
        channel_header.tx_id,
        message.proposal.proposal_bytes,
        tuple(message.endorsing_organizations),
        message.proposal.signature,
    )


def transaction_from_envelope(
    signer: Signer, channel_id: str, tx_id: str, envelope: Any
) -> TransactionDraft:
    """The transaction in an envelope that a gateway prepared."""
    payload = bytes(envelope.payload)
    return TransactionDraft(
        signer, channel_id, tx_id, payload, _result_of(payload), bytes(envelope.signature)
    )


def decode_transaction(signer: Signer, raw: bytes) -> TransactionDraft:
    """Take up a transaction that :meth:`TransactionDraft.encode` wrote, signed or not."""
    message = gateway_pb2.PreparedTransaction.FromString(raw)
    payload = common_pb2.Payload.FromString(message.envelope.payload)
    channel_header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    return transaction_from_envelope(
        signer, channel_header.channel_id, message.transaction_id, message.envelope
    )


def commit_request(signer: Signer, channel_id: str, tx_id: str) -> CommitRequest:
    """Build the question for the commit status of *tx_id*."""
    request = gateway_pb2.CommitStatusRequest(
        transaction_id=tx_id, channel_id=channel_id, identity=signer.serialized
    )
    return CommitRequest(signer, tx_id, request.SerializeToString())


def decode_commit_request(signer: Signer, raw: bytes) -> CommitRequest:
    """Take up a question that :meth:`CommitRequest.encode` wrote, signed or not."""
    message = gateway_pb2.SignedCommitStatusRequest.FromString(raw)
    request = gateway_pb2.CommitStatusRequest.FromString(message.request)
    return CommitRequest(signer, request.transaction_id, message.request, message.signature)


def chaincode_events_request(
    signer: Signer,
    channel_id: str,
    chaincode: str,
    *,
    start_block: int | None,
    after_tx_id: str,
) -> Any:
    """The signed request for a contract's events; without a start, from the next commit on."""
    raw = events_request_bytes(signer, channel_id, chaincode, start_block, after_tx_id)
    return gateway_pb2.SignedChaincodeEventsRequest(request=raw, signature=signer.sign(raw))


def events_request_bytes(
    signer: Signer, channel_id: str, chaincode: str, start_block: int | None, after_tx_id: str
) -> bytes:
    """The bytes to sign of a request for a contract's events."""
    request = gateway_pb2.ChaincodeEventsRequest(
        channel_id=channel_id,
        chaincode_id=chaincode,
        identity=signer.serialized,
        start_position=_start_position(start_block),
        after_transaction_id=after_tx_id,
    )
    return bytes(request.SerializeToString())


def seek_envelope(
    signer: Signer,
    channel_id: str,
    start_block: int | None,
    stop_block: int | None = None,
    *,
    now: datetime | None = None,
) -> Any:
    """The signed envelope that asks a Deliver service for blocks; see `seek_payload`."""
    raw = seek_payload(signer, channel_id, start_block, stop_block, now=now)
    return common_pb2.Envelope(payload=raw, signature=signer.sign(raw))


def seek_payload(
    signer: Signer,
    channel_id: str,
    start_block: int | None,
    stop_block: int | None = None,
    *,
    now: datetime | None = None,
) -> bytes:
    """The bytes to sign of a request for blocks.

    Without *start_block* from the next commit on, without *stop_block* for ever.
    The signature header has no nonce and the channel header no transaction id,
    as with Fabric's clients.
    """
    stop = _FOREVER if stop_block is None else stop_block
    seek = ab_pb2.SeekInfo(
        start=_start_position(start_block),
        stop=ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=stop)),
    )
    header = common_pb2.Header(
        channel_header=_channel_header(common_pb2.DELIVER_SEEK_INFO, channel_id, "", now, b""),
        signature_header=_signature_header(signer.serialized, b""),
    )
    payload = common_pb2.Payload(header=header, data=seek.SerializeToString())
    return bytes(payload.SerializeToString())


def _start_position(block_num: int | None) -> Any:
    if block_num is None:
        return ab_pb2.SeekPosition(next_commit=ab_pb2.SeekNextCommit())
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=block_num))


def _channel_header(
    header_type: int, channel_id: str, tx_id: str, now: datetime | None, extension: bytes
) -> bytes:
    header = common_pb2.ChannelHeader(
        type=header_type, channel_id=channel_id, tx_id=tx_id, epoch=0, extension=extension
    )
    header.timestamp.FromDatetime((now or datetime.now(UTC)).astimezone(UTC))
    return bytes(header.SerializeToString())


def _signature_header(creator: bytes, nonce: bytes) -> bytes:
    header = common_pb2.SignatureHeader(creator=creator, nonce=nonce)
    return bytes(header.SerializeToString())


def _result_of(envelope_payload: bytes) -> bytes:
    payload = common_pb2.Payload.FromString(envelope_payload)
    transaction = transaction_pb2.Transaction.FromString(payload.data)
    if not transaction.actions:
        return b""
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    response = proposal_response_pb2.ProposalResponsePayload.FromString(
        action.action.proposal_response_payload
    )
    chaincode_action = proposal_pb2.ChaincodeAction.FromString(response.extension)
    return bytes(chaincode_action.response.payload)


def _bytes_of(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
