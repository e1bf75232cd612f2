"""Taking envelopes apart: a malformed part gives the verdict of its stage, never an error."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)

from ledger.transactions.change import find_change
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import (
    CONFIG,
    CONFIG_UPDATE,
    ENDORSER_TRANSACTION,
    ParsedTransaction,
    compute_tx_id,
    parse_transaction,
)
from ledger.transactions.rwset import KVWrite, NamespaceRWSet, TxRWSet
from tests.support.chain import CREATOR, TIME, make_config_envelope, make_envelope

RWSET = TxRWSet(
    (NamespaceRWSet("shop", writes=(KVWrite("a", False, b"1"), KVWrite("b", True, b""))),)
)
GOOD = make_envelope(RWSET, b"nonce", event=("paid", b"payload"))

Code = TxValidationCode


class Parts:
    """An envelope opened down to its innermost messages; ``close`` puts it together again."""

    def __init__(self, raw: bytes) -> None:
        self.envelope = common_pb2.Envelope.FromString(raw)
        self.payload = common_pb2.Payload.FromString(self.envelope.payload)
        header = self.payload.header
        self.channel: Any = common_pb2.ChannelHeader.FromString(header.channel_header)
        self.signature: Any = common_pb2.SignatureHeader.FromString(header.signature_header)
        self.extension: Any = proposal_pb2.ChaincodeHeaderExtension.FromString(
            self.channel.extension
        )
        self.transaction = transaction_pb2.Transaction.FromString(self.payload.data)
        self.inner_header = self.transaction.actions[0].header
        self.action = transaction_pb2.ChaincodeActionPayload.FromString(
            self.transaction.actions[0].payload
        )
        self.response = proposal_response_pb2.ProposalResponsePayload.FromString(
            self.action.action.proposal_response_payload
        )
        self.called: Any = proposal_pb2.ChaincodeAction.FromString(self.response.extension)
        self.event: Any = chaincode_event_pb2.ChaincodeEvent.FromString(self.called.events)
        self.raw: dict[str, bytes] = {}
        self.keeps_proposal_hash = False

    def _bytes(self, name: str, message: Any) -> bytes:
        return self.raw[name] if name in self.raw else message.SerializeToString()

    def close(self) -> bytes:
        self.channel.extension = self._bytes("extension", self.extension)
        header = self.payload.header
        header.channel_header = self._bytes("channel", self.channel)
        header.signature_header = self._bytes("signature", self.signature)
        self.called.events = self._bytes("event", self.event)
        self.response.extension = self._bytes("called", self.called)
        if not self.keeps_proposal_hash:
            self.response.proposal_hash = hashlib.sha256(
                header.channel_header + self.inner_header + self.action.chaincode_proposal_payload
            ).digest()
        self.action.action.proposal_response_payload = self._bytes("response", self.response)
        for each in self.transaction.actions:
            each.header = self.inner_header
            each.payload = self._bytes("action", self.action)
        self.payload.data = self._bytes("transaction", self.transaction)
        self.envelope.payload = self._bytes("payload", self.payload)
        closed: bytes = self.envelope.SerializeToString()
        return closed


def changed(change: Callable[[Parts], object]) -> ParsedTransaction:
    """Return what is parsed of the good envelope after *change*."""
    parts = Parts(GOOD)
    change(parts)
    return parse_transaction(parts.close())


def damaged(name: str) -> Callable[[Parts], object]:
    """Return the change that puts bytes that are no protobuf in the place of a message."""
    return lambda parts: parts.raw.update({name: b"\xff"})


def set_(path: str, value: object) -> Callable[[Parts], object]:
    """Return the change that sets a field, named from the parts on."""
    *outer, last = path.split(".")

    def change(parts: Parts) -> None:
        target: Any = parts
        for name in outer:
            target = getattr(target, name)
        setattr(target, last, value)

    return change


def clear(path: str) -> Callable[[Parts], object]:
    """Return the change that clears a field."""
    message, field = path.rsplit(".", 1)
    return lambda parts: getattr(parts, message).ClearField(field)


def test_good_transaction_is_taken_apart() -> None:
    """Everything that validation, commit and events need is found."""
    parsed = parse_transaction(GOOD)
    assert parsed == changed(lambda parts: None), "closing what was opened changes nothing"
    assert parsed.raw == GOOD
    assert (parsed.format_code, parsed.structure_code, parsed.content_code) == (None, None, None)
    assert parsed.header_type == ENDORSER_TRANSACTION
    assert parsed.tx_id == parsed.index_id == compute_tx_id(b"nonce", CREATOR)
    assert parsed.tx_id == hashlib.sha256(b"nonce" + CREATOR).hexdigest()
    assert (parsed.channel_id, parsed.chaincode, parsed.creator) == ("test", "shop", CREATOR)
    assert parsed.timestamp == TIME
    assert parsed.rwset == RWSET
    assert parsed.event is not None
    assert (parsed.event.event_name, parsed.event.payload) == ("paid", b"payload")
    assert [each.endorser for each in parsed.endorsements] == [b"an endorser"]
    assert parsed.response_status == 200
    assert parsed.payload == common_pb2.Envelope.FromString(GOOD).payload


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (damaged("payload"), Code.BAD_PAYLOAD),
        (clear("payload.header"), Code.BAD_COMMON_HEADER),
        (damaged("channel"), Code.BAD_COMMON_HEADER),
        (damaged("signature"), Code.BAD_COMMON_HEADER),
        (set_("channel.type", common_pb2.MESSAGE), Code.BAD_COMMON_HEADER),
        (set_("channel.type", 99), Code.BAD_COMMON_HEADER),
        (set_("channel.epoch", 1), Code.BAD_COMMON_HEADER),
        (set_("signature.nonce", b""), Code.BAD_COMMON_HEADER),
        (set_("signature.creator", b""), Code.BAD_COMMON_HEADER),
    ],
)
def test_format_of_a_transaction_gives_a_verdict_before_the_creator(
    change: Callable[[Parts], object], code: TxValidationCode
) -> None:
    """What Fabric judges before it looks at the creator."""

    def apply(parts: Parts) -> None:
        change(parts)
        if not parts.payload.HasField("header"):
            parts.raw["payload"] = parts.payload.SerializeToString()

    parsed = changed(apply)
    assert (parsed.format_code, parsed.structure_code, parsed.content_code) == (code, None, None)
    assert parsed.rwset is None


def test_envelope_of_bytes_that_are_none_gives_a_verdict() -> None:
    """Alone in its block such an envelope comes as far as here."""
    assert parse_transaction(b"\xff").format_code is Code.INVALID_OTHER_REASON


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (set_("channel.type", CONFIG_UPDATE), Code.UNSUPPORTED_TX_PAYLOAD),
        (set_("channel.tx_id", "0" * 64), Code.BAD_PROPOSAL_TXID),
        (set_("channel.tx_id", ""), Code.BAD_PROPOSAL_TXID),
        (set_("channel.tx_id", compute_tx_id(b"nonce", CREATOR).upper()), Code.BAD_PROPOSAL_TXID),
        (damaged("transaction"), Code.INVALID_ENDORSER_TRANSACTION),
        (lambda parts: parts.transaction.actions.add(), Code.INVALID_ENDORSER_TRANSACTION),
        (
            lambda parts: parts.raw.update(transaction=b""),
            Code.INVALID_ENDORSER_TRANSACTION,
        ),
        (set_("inner_header", b"\xff"), Code.INVALID_ENDORSER_TRANSACTION),
        (set_("inner_header", b""), Code.INVALID_ENDORSER_TRANSACTION),
        (damaged("action"), Code.INVALID_ENDORSER_TRANSACTION),
        (damaged("response"), Code.INVALID_ENDORSER_TRANSACTION),
        (set_("keeps_proposal_hash", True), None),
        (
            lambda parts: (
                set_("keeps_proposal_hash", True)(parts),
                set_("action.chaincode_proposal_payload", b"\x0a\x01x")(parts),
            ),
            Code.INVALID_ENDORSER_TRANSACTION,
        ),
        (
            set_("action.chaincode_proposal_payload", b""),
            Code.INVALID_ENDORSER_TRANSACTION,
        ),
    ],
)
def test_structure_of_a_transaction_gives_a_verdict_after_the_creator(
    change: Callable[[Parts], object], code: TxValidationCode | None
) -> None:
    """Id, one action, and that the response answers this very proposal."""
    parsed = changed(change)
    assert (parsed.format_code, parsed.structure_code, parsed.content_code) == (None, code, None)


def _two_namespaces(parts: Parts) -> None:
    message = rwset_pb2.TxReadWriteSet.FromString(parts.called.results)
    message.ns_rwset.append(message.ns_rwset[0])
    parts.called.results = message.SerializeToString()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (damaged("extension"), Code.BAD_HEADER_EXTENSION),
        (damaged("called"), Code.BAD_RESPONSE_PAYLOAD),
        (lambda parts: parts.raw.update(called=b""), Code.BAD_RESPONSE_PAYLOAD),
        (set_("called.results", b"\xff"), Code.BAD_RWSET),
        (clear("extension.chaincode_id"), Code.INVALID_OTHER_REASON),
        (clear("called.chaincode_id"), Code.INVALID_OTHER_REASON),
        (set_("extension.chaincode_id.name", ""), Code.INVALID_CHAINCODE),
        (set_("extension.chaincode_id.name", "bank"), Code.INVALID_CHAINCODE),
        (set_("called.chaincode_id.version", ""), Code.INVALID_CHAINCODE),
        (damaged("event"), Code.INVALID_OTHER_REASON),
        (set_("event.chaincode_id", "bank"), Code.INVALID_OTHER_REASON),
        (_two_namespaces, Code.ILLEGAL_WRITESET),
        # Not looked at: the status, the event's transaction id, and a missing event.
        (set_("called.response.status", 500), None),
        (set_("event.tx_id", "another"), None),
        (lambda parts: parts.raw.update(event=b""), None),
    ],
)
def test_content_of_a_transaction_gives_a_verdict_after_the_id(
    change: Callable[[Parts], object], code: TxValidationCode | None
) -> None:
    """What the contract did: its action, its read/write set, its event."""
    parsed = changed(change)
    assert (parsed.format_code, parsed.structure_code, parsed.content_code) == (None, None, code)


def test_configuration_is_filed_under_a_computed_id() -> None:
    """A CONFIG envelope has no id of its own and no further verdict here."""
    parsed = parse_transaction(make_config_envelope(7))
    assert (parsed.format_code, parsed.structure_code, parsed.content_code) == (None, None, None)
    assert parsed.header_type == CONFIG
    assert parsed.tx_id == ""
    assert parsed.index_id == compute_tx_id(b"config 7", b"an orderer")
    assert parsed.config_envelope


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [(0, 0, "1970-01-01T00:00:00+00:00"), (1, 2_500, "1970-01-01T00:00:01.000002+00:00")],
)
def test_timestamp_is_read_in_utc(seconds: int, nanos: int, expected: str) -> None:
    """Microseconds are as fine as a date can say."""

    def change(parts: Parts) -> None:
        parts.channel.timestamp.seconds = seconds
        parts.channel.timestamp.nanos = nanos

    assert changed(change).timestamp == datetime.fromisoformat(expected)


@pytest.mark.parametrize("seconds", [2**62, -(2**62)])
def test_timestamp_outside_of_all_dates_is_none(seconds: int) -> None:
    """A foreign timestamp is no reason to fail."""
    assert changed(set_("channel.timestamp.seconds", seconds)).timestamp is None
    assert changed(clear("channel.timestamp")).timestamp is None


def test_change_of_a_key_is_found_in_its_envelope() -> None:
    """The history of a key reads id, time, value and whether it was a delete."""
    change = find_change(GOOD, "shop", "a")
    assert change is not None
    assert (change.tx_id, change.value) == (compute_tx_id(b"nonce", CREATOR), b"1")
    assert (change.is_delete, change.timestamp) == (False, TIME)
    deleted = find_change(GOOD, "shop", "b")
    assert deleted is not None
    assert deleted.is_delete
    assert find_change(GOOD, "shop", "c") is None
    assert find_change(GOOD, "bank", "a") is None
    for raw in (b"\xff", b"", make_config_envelope(1), GOOD[:-40]):
        assert find_change(raw, "shop", "a") is None
