"""One parse per envelope: everything that validation, commit and events need of a transaction.

``parse_transaction`` never raises on foreign bytes: what it cannot read becomes a verdict, in the
attribute of the stage at which Fabric would give it. Between the stages stand checks that need more
than the bytes, and the caller makes them in this order:

1. ``format_code`` (2, 3)
2. the creator: valid in the channel, and the signature (4)
3. ``structure_code`` (7, 6, 8, 5)
4. the transaction id is not in the ledger yet (9), for endorser transactions
5. ``content_code`` (19, 21, 22, 255, 25, 23)
6. per written namespace and the called contract: defined (25), endorsement policy (10)

Source: the order of checks in tests/vectors/fabric-3.1.5-raft/README.md; Fabric,
core/common/validation/msgvalidation.go and plugindispatcher/dispatcher.go.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fabric_protos.common import common_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.errors import DecodeError
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.large import decode_action, decode_rwset
from ledger.transactions.rwset import TxRWSet

CONFIG = common_pb2.CONFIG
CONFIG_UPDATE = common_pb2.CONFIG_UPDATE
ENDORSER_TRANSACTION = common_pb2.ENDORSER_TRANSACTION

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Endorsement:
    """One endorser's signature over the proposal response payload followed by *endorser*.

    Attributes:
        endorser: marshalled ``msp.SerializedIdentity``.
    """

    endorser: bytes
    signature: bytes


_NOBODY = Endorsement(b"", b"")
# One object for all that say nothing, of which a message of two bytes each could hold many.


@dataclass(frozen=True, slots=True)
class ChaincodeEvent:
    """What a contract announces with a transaction; it counts only if the transaction is valid."""

    chaincode_id: str
    tx_id: str
    event_name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class ParsedTransaction:
    """One envelope of a block, taken apart.

    Attributes:
        raw: the envelope as received.
        payload: what the creator signed.
        signature: the creator's signature over *payload*.
        creator: marshalled ``msp.SerializedIdentity``.
        header_type: ``common.HeaderType``; -1 if there is no channel header to be read.
        tx_id: as the channel header has it.
        index_id: the id under which the ledger files the transaction: *tx_id*, or if that is empty,
            as in CONFIG transactions, the id of nonce and creator; empty if unreadable.
        timestamp: UTC; None if absent or outside what a date can say.
        chaincode: name of the called contract.
        proposal_response_payload: what each endorser signed, followed by its own identity.
        response_status: of the contract's response; validation does not look at it.
        config_envelope: marshalled ``common.ConfigEnvelope`` of a CONFIG transaction.
        format_code: a verdict that comes before the creator is looked at.
        structure_code: a verdict that comes after the creator's signature.
        content_code: a verdict that comes after the look-up of the id in the ledger.
    """

    raw: bytes
    payload: bytes = b""
    signature: bytes = b""
    creator: bytes = b""
    header_type: int = -1
    channel_id: str = ""
    tx_id: str = ""
    index_id: str = ""
    timestamp: datetime | None = None
    chaincode: str = ""
    proposal_response_payload: bytes = b""
    endorsements: tuple[Endorsement, ...] = ()
    rwset: TxRWSet | None = None
    event: ChaincodeEvent | None = None
    response_status: int = 0
    config_envelope: bytes = b""
    format_code: TxValidationCode | None = None
    structure_code: TxValidationCode | None = None
    content_code: TxValidationCode | None = None


def compute_tx_id(nonce: bytes, creator: bytes) -> str:
    """Return the id of a transaction: the SHA-256 of nonce and creator, in lower-case hex.

    Source: Fabric, protoutil/proputils.go, ``ComputeTxID``.
    """
    return hashlib.sha256(nonce + creator).hexdigest()


@dataclass(slots=True)
class _Parts:
    """What the stages have found so far."""

    raw: bytes
    payload: bytes = b""
    signature: bytes = b""
    creator: bytes = b""
    nonce: bytes = b""
    header_type: int = -1
    channel_id: str = ""
    tx_id: str = ""
    index_id: str = ""
    timestamp: datetime | None = None
    channel_header: bytes = b""
    extension: bytes = b""
    data: bytes = b""
    chaincode: str = ""
    proposal_response_payload: bytes = b""
    response_extension: bytes = b""
    endorsements: tuple[Endorsement, ...] = ()
    rwset: TxRWSet | None = None
    event: ChaincodeEvent | None = None
    response_status: int = 0


def timestamp_of(header: common_pb2.ChannelHeader) -> datetime | None:
    """Return the time in a channel header, UTC; None if absent or outside what a date can say."""
    if not header.HasField("timestamp"):
        return None
    stamp = header.timestamp
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    except OverflowError:
        return None


def _read_format(parts: _Parts) -> TxValidationCode | None:
    """Read envelope, payload and both headers, which is all that comes before the creator."""
    try:
        envelope = common_pb2.Envelope.FromString(parts.raw)
    except ProtobufDecodeError:
        # Only in a block that holds this one envelope can it come so far; other blocks are refused.
        return TxValidationCode.INVALID_OTHER_REASON
    parts.payload = envelope.payload
    parts.signature = envelope.signature
    try:
        payload = common_pb2.Payload.FromString(envelope.payload)
    except ProtobufDecodeError:
        return TxValidationCode.BAD_PAYLOAD
    if not payload.HasField("header"):
        return TxValidationCode.BAD_COMMON_HEADER
    parts.data = payload.data
    parts.channel_header = payload.header.channel_header
    try:
        channel = common_pb2.ChannelHeader.FromString(parts.channel_header)
    except ProtobufDecodeError:
        return TxValidationCode.BAD_COMMON_HEADER
    parts.header_type = channel.type
    parts.channel_id = channel.channel_id
    parts.tx_id = parts.index_id = channel.tx_id
    parts.timestamp = timestamp_of(channel)
    parts.extension = channel.extension
    try:
        signature = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    except ProtobufDecodeError:
        return TxValidationCode.BAD_COMMON_HEADER
    parts.creator = signature.creator
    parts.nonce = signature.nonce
    parts.index_id = parts.tx_id or compute_tx_id(parts.nonce, parts.creator)
    if (
        parts.header_type not in (ENDORSER_TRANSACTION, CONFIG, CONFIG_UPDATE)
        or channel.epoch
        or not parts.nonce
        or not parts.creator
    ):
        return TxValidationCode.BAD_COMMON_HEADER
    return None


def _read_structure(parts: _Parts) -> TxValidationCode | None:
    """Check the id and that the endorsed response answers the very proposal in this envelope."""
    if parts.tx_id != compute_tx_id(parts.nonce, parts.creator):
        return TxValidationCode.BAD_PROPOSAL_TXID
    broken = TxValidationCode.INVALID_ENDORSER_TRANSACTION
    try:
        transaction = transaction_pb2.Transaction.FromString(parts.data)
        if len(transaction.actions) != 1:
            return broken
        header = transaction.actions[0].header
        signature = common_pb2.SignatureHeader.FromString(header)
        proposal, endorsed, endorsements = decode_action(transaction.actions[0].payload)
        response = proposal_response_pb2.ProposalResponsePayload.FromString(endorsed)
        endorsing = tuple(
            Endorsement(endorser, signed) if endorser or signed else _NOBODY
            for endorser, signed in endorsements
        )
    except ProtobufDecodeError:
        return broken
    if not (signature.nonce and signature.creator and parts.channel_header and proposal):
        return broken
    digest = hashlib.sha256(parts.channel_header)
    digest.update(header)
    digest.update(proposal)
    if digest.digest() != response.proposal_hash:
        return broken
    parts.endorsements = endorsing
    parts.proposal_response_payload = endorsed
    parts.response_extension = response.extension
    return None


def _read_content(parts: _Parts) -> TxValidationCode | None:
    """Read what the contract did: its action, the read/write set and the event."""
    try:
        extension = proposal_pb2.ChaincodeHeaderExtension.FromString(parts.extension)
    except ProtobufDecodeError:
        return TxValidationCode.BAD_HEADER_EXTENSION
    parts.chaincode = extension.chaincode_id.name
    if not parts.response_extension:
        return TxValidationCode.BAD_RESPONSE_PAYLOAD
    try:
        action = proposal_pb2.ChaincodeAction.FromString(parts.response_extension)
    except ProtobufDecodeError:
        return TxValidationCode.BAD_RESPONSE_PAYLOAD
    parts.response_status = action.response.status
    try:
        parts.rwset = decode_rwset(action.results)
    except DecodeError:
        return TxValidationCode.BAD_RWSET
    if not extension.HasField("chaincode_id") or not action.HasField("chaincode_id"):
        return TxValidationCode.INVALID_OTHER_REASON
    called = action.chaincode_id
    if not parts.chaincode or parts.chaincode != called.name or not called.version:
        return TxValidationCode.INVALID_CHAINCODE
    if action.events:
        try:
            event = chaincode_event_pb2.ChaincodeEvent.FromString(action.events)
        except ProtobufDecodeError:
            return TxValidationCode.INVALID_OTHER_REASON
        if event.chaincode_id != parts.chaincode:
            return TxValidationCode.INVALID_OTHER_REASON
        parts.event = ChaincodeEvent(
            event.chaincode_id, event.tx_id, event.event_name, event.payload
        )
    names = [each.namespace for each in parts.rwset.namespaces]
    if len(set(names)) != len(names):
        return TxValidationCode.ILLEGAL_WRITESET
    return None


def parse_transaction(raw: bytes) -> ParsedTransaction:
    """Take the envelope *raw* apart as far as it can be read.

    Returns:
        The parts, and the verdicts that the bytes alone decide. After a verdict, what a later stage
        would have read is left empty.
    """
    parts = _Parts(raw)
    format_code = _read_format(parts)
    structure_code = content_code = None
    if format_code is None:
        if parts.header_type == ENDORSER_TRANSACTION:
            structure_code = _read_structure(parts)
            if structure_code is None:
                content_code = _read_content(parts)
        elif parts.header_type == CONFIG_UPDATE:
            structure_code = TxValidationCode.UNSUPPORTED_TX_PAYLOAD
        elif not parts.data:
            structure_code = TxValidationCode.INVALID_CONFIG_TRANSACTION
    return ParsedTransaction(
        raw=raw,
        payload=parts.payload,
        signature=parts.signature,
        creator=parts.creator,
        header_type=parts.header_type,
        channel_id=parts.channel_id,
        tx_id=parts.tx_id,
        index_id=parts.index_id,
        timestamp=parts.timestamp,
        chaincode=parts.chaincode,
        proposal_response_payload=parts.proposal_response_payload,
        endorsements=parts.endorsements,
        rwset=parts.rwset,
        event=parts.event,
        response_status=parts.response_status,
        config_envelope=parts.data if parts.header_type == CONFIG else b"",
        format_code=format_code,
        structure_code=structure_code,
        content_code=content_code,
    )
