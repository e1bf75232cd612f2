"""One parse of a signed proposal, and the rules on its form.

Pure: no ledger, no identity, no clock. Bytes that are signed or hashed are kept as received.
Source of rules and messages: Fabric core/endorser/msgvalidation.go (`UnpackProposal`, `Validate`);
protoutil/txutils.go (`GetProposalHash1`), protoutil/proputils.go (`ComputeTxID`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2
from google.protobuf.message import DecodeError

from ledger.errors import Refusal
from ledger.transactions.parse import timestamp_of

ENDORSER_TRANSACTION = 3
CONFIG = 1
_MAKE_ANEW = "make the proposal anew with a Fabric client"


class ProposalRefusal(Refusal):
    """A proposal is malformed, not allowed, too old or already used; nothing was simulated."""


@dataclass(frozen=True, slots=True)
class UnpackedProposal:
    """What a signed proposal says.

    Attributes:
        proposal_bytes: what the client signed.
        signature: of the creator over `proposal_bytes`.
        header: the parsed ``common.Header``; goes into the transaction as it is.
        channel_id, tx_id: from the channel header.
        header_type, epoch: the same.
        timestamp: from the channel header, aware UTC; None if missing or out of range.
        chaincode: the contract of the header extension.
        invoked: the contract named by the invocation; equal to `chaincode` in honest proposals.
        args: function name and arguments.
        is_init: whether the call is meant to initialise the contract.
        creator: SerializedIdentity bytes.
        nonce: random bytes of the client.
        payload_input: ``ChaincodeProposalPayload.input``, the part that enters the transaction.
        transient: data that must not enter the transaction.
        proposal_hash: SHA-256, 32 bytes, of headers and payload without transient data.
    """

    proposal_bytes: bytes
    signature: bytes
    header: Any
    channel_id: str
    tx_id: str
    header_type: int
    epoch: int
    timestamp: datetime | None
    chaincode: str
    invoked: str
    args: tuple[bytes, ...]
    is_init: bool
    creator: bytes
    nonce: bytes
    payload_input: bytes
    transient: Mapping[str, bytes]
    proposal_hash: bytes


def _parse(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise ProposalRefusal(
            f"error unmarshalling {kind.DESCRIPTOR.name}: {error}; {_MAKE_ANEW}"
        ) from error


def unpack_proposal(proposal_bytes: bytes, signature: bytes) -> UnpackedProposal:
    """Parse the layers of a proposal.

    Args:
        proposal_bytes: a marshalled ``protos.Proposal``.
        signature: what the client sent beside it; not looked at here.
    Raises:
        ProposalRefusal: a layer is not what it should be, or names no contract.
    """
    if not proposal_bytes:
        raise ProposalRefusal("a signed proposal is required")
    proposal = _parse(proposal_pb2.Proposal, proposal_bytes)
    header = _parse(common_pb2.Header, proposal.header)
    channel_header = _parse(common_pb2.ChannelHeader, header.channel_header)
    signature_header = _parse(common_pb2.SignatureHeader, header.signature_header)
    extension = _parse(proposal_pb2.ChaincodeHeaderExtension, channel_header.extension)
    payload = _parse(proposal_pb2.ChaincodeProposalPayload, proposal.payload)
    spec = _parse(chaincode_pb2.ChaincodeInvocationSpec, payload.input)
    if not extension.HasField("chaincode_id"):
        raise ProposalRefusal(f"ChaincodeHeaderExtension.ChaincodeId is nil; {_MAKE_ANEW}")
    if not extension.chaincode_id.name:
        raise ProposalRefusal(
            "ChaincodeHeaderExtension.ChaincodeId.Name is empty; name the contract"
        )
    if not spec.HasField("chaincode_spec"):
        raise ProposalRefusal(
            f"chaincode invocation spec did not contain chaincode spec; {_MAKE_ANEW}"
        )
    if not spec.chaincode_spec.HasField("input"):
        raise ProposalRefusal(f"chaincode input did not contain any input; {_MAKE_ANEW}")
    # Re-marshalling has no choice here: one field of bytes.
    without_transient = proposal_pb2.ChaincodeProposalPayload(input=payload.input)
    return UnpackedProposal(
        proposal_bytes=proposal_bytes,
        signature=signature,
        header=header,
        channel_id=channel_header.channel_id,
        tx_id=channel_header.tx_id,
        header_type=channel_header.type,
        epoch=channel_header.epoch,
        timestamp=timestamp_of(channel_header),
        chaincode=extension.chaincode_id.name,
        invoked=spec.chaincode_spec.chaincode_id.name,
        args=tuple(spec.chaincode_spec.input.args),
        is_init=spec.chaincode_spec.input.is_init,
        creator=signature_header.creator,
        nonce=signature_header.nonce,
        payload_input=payload.input,
        transient=dict(payload.TransientMap),
        proposal_hash=sha256(
            header.channel_header + header.signature_header + without_transient.SerializeToString()
        ).digest(),
    )


def verify_form(proposal: UnpackedProposal) -> None:
    """Check what a proposal must say before anybody asks who signed it.

    Raises:
        ProposalRefusal: header type, epoch, nonce, creator, transaction id or signature is wrong.
    """
    if proposal.header_type not in (ENDORSER_TRANSACTION, CONFIG):
        raise ProposalRefusal(
            f"invalid header type {_type_name(proposal.header_type)}; a proposal has the type "
            "ENDORSER_TRANSACTION"
        )
    if proposal.epoch != 0:
        raise ProposalRefusal("epoch is non-zero; set it to 0")
    if not proposal.nonce:
        raise ProposalRefusal("nonce is empty; send 24 random bytes")
    if not proposal.creator:
        raise ProposalRefusal("creator is empty; send the identity of the client")
    expected = sha256(proposal.nonce + proposal.creator).hexdigest()
    if proposal.tx_id != expected:
        raise ProposalRefusal(
            f"incorrectly computed txid '{proposal.tx_id}' -- expected '{expected}', the "
            "SHA-256 of nonce and creator; compute it anew"
        )
    if not proposal.signature:
        raise ProposalRefusal("empty signature bytes; sign the proposal with the creator's key")


def _type_name(number: int) -> str:
    try:
        name: str = common_pb2.HeaderType.Name(number)
    except ValueError:
        return str(number)
    return name
