"""What an orderer checks of one envelope before it may enter a block.

In this order, each refusal with the status of Fabric's Broadcast:

1. the envelope and its channel header can be read                         400
2. it is for this channel                                                  404
3. it is of a type that clients send: no CONFIG, no ORDERER_TRANSACTION    400
4. payload and signature are at most AbsoluteMaxBytes                      413
5. it passes every check that a committer makes on a whole block           400
6. the creator's certificate has not expired                               400
7. the creator's signature satisfies the channel policy /Channel/Writers   403

A configuration update passes by the same rules, and what it does is judged afterwards
(`reconfiguration.py`).

Rule 5 is what keeps one malformed envelope from stopping a channel: every committer refuses a block
that holds one. Fabric answers 400 where 404 and 413 stand here; both are refusals to its clients.

Invariants: pure but for the clock that is passed in; the outcome depends on the envelope, the time
and the configuration in force alone. Safe to call from any thread.

Absent: what only a committer finds (header fields, transaction id, endorsements), since that is
recorded as a verdict; duplicates, which the committer marks.

Source: Fabric, orderer/common/broadcast/broadcast.go `ProcessMessage`,
orderer/common/msgprocessor/{standardchannel,sizefilter,expiration,sigfilter}.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError

from ledger.blocks.structure import verify_envelope_canonical
from ledger.errors import BlockError
from network.configuration import ChannelConfiguration
from network.errors import IdentityError, OrderingRefusal, PolicyError
from network.ordering.ports import Clock
from network.policy import SignedData, why_not_valid

__all__ = ["WRITERS_POLICY", "Admission", "Examined"]

WRITERS_POLICY = "/Channel/Writers"

BAD_REQUEST = 400
FORBIDDEN = 403
NOT_FOUND = 404
REQUEST_ENTITY_TOO_LARGE = 413

# `common.HeaderType` of envelopes that clients do not send to be ordered as they are.
_CONFIG = 1
_CONFIG_UPDATE = 2
_ORDERER_TRANSACTION = 4


@dataclass(frozen=True, slots=True)
class Examined:
    """An envelope that passed every rule but the one about time.

    Attributes:
        is_update: whether it is a configuration update, of which a configuration is to be made.
        creator: SerializedIdentity of who signed it, as received.
        not_after: from then on its creator's certificate has expired, and rule 6 refuses it.
    """

    is_update: bool
    creator: bytes
    not_after: datetime


class Admission:
    """The checks of one channel's orderer.

    Args:
        configuration: gives the channel configuration in force.
        clock: what certificates' expiry is compared with.
    """

    def __init__(
        self, channel_id: str, configuration: Callable[[], ChannelConfiguration], clock: Clock
    ) -> None:
        self._channel_id = channel_id
        self._configuration = configuration
        self._clock = clock

    def check(self, envelope: bytes) -> bool:
        """Check one envelope by every rule.

        Returns:
            whether it is a configuration update, of which a configuration is still to be made.
        Raises:
            OrderingRefusal: naming the first rule that is broken.
        """
        return self._check(envelope, self._clock.now()).is_update

    def examine(self, envelope: bytes) -> Examined:
        """Check one envelope by every rule but 6, for one who knows the time later.

        The outcome depends on the envelope and the configuration alone.

        Raises:
            OrderingRefusal: naming the first rule that is broken.
        """
        return self._check(envelope, None)

    def _check(self, envelope: bytes, now: datetime | None) -> Examined:
        configuration = self._configuration()
        message, channel_header, creator = _decode(envelope)
        if channel_header.channel_id != self._channel_id:
            raise OrderingRefusal(
                NOT_FOUND,
                f"channel {channel_header.channel_id[:249]!r} does not exist here; "
                f"this orderer serves channel {self._channel_id!r}",
            )
        _check_type(channel_header.type)
        self._check_form(configuration, envelope, message)
        not_after = self._check_writer(configuration, message, creator, now)
        return Examined(channel_header.type == _CONFIG_UPDATE, creator, not_after)

    def check_made(self, envelope: bytes) -> None:
        """Check an envelope that this orderer made itself: its size, its form and its signature.

        Raises:
            OrderingRefusal: it must not enter a block.
        """
        self._check_made(envelope, self._clock.now())

    def examine_made(self, envelope: bytes) -> Examined:
        """Do as `check_made` but for the expiry of the certificate; see `examine`.

        Raises:
            OrderingRefusal: it must not enter a block.
        """
        return self._check_made(envelope, None)

    def _check_made(self, envelope: bytes, now: datetime | None) -> Examined:
        configuration = self._configuration()
        message, _, creator = _decode(envelope)
        self._check_form(configuration, envelope, message)
        not_after = self._check_writer(configuration, message, creator, now)
        return Examined(False, creator, not_after)

    @staticmethod
    def _check_form(
        configuration: ChannelConfiguration, envelope: bytes, message: common_pb2.Envelope
    ) -> None:
        limit = configuration.batch.absolute_max_bytes
        size = len(message.payload) + len(message.signature)
        if size > limit:
            raise OrderingRefusal(
                REQUEST_ENTITY_TOO_LARGE,
                f"message payload is {size} bytes and exceeds maximum allowed {limit} bytes; "
                "send fewer records in one transaction",
            )
        try:
            verify_envelope_canonical(envelope)
        except BlockError as malformed:
            raise OrderingRefusal(BAD_REQUEST, str(malformed)) from malformed

    @staticmethod
    def _check_writer(
        configuration: ChannelConfiguration,
        message: common_pb2.Envelope,
        creator: bytes,
        now: datetime | None,
    ) -> datetime:
        """Check rules 6, unless there is no time to compare with, and 7; return the expiry."""
        try:
            not_after = configuration.msps.deserialize_at_door(creator).not_after
        except IdentityError as unknown:
            raise OrderingRefusal(FORBIDDEN, f"permission denied: {unknown}") from unknown
        if now is not None and now >= not_after:
            raise OrderingRefusal(
                BAD_REQUEST,
                f"broadcast client identity expired at {not_after.isoformat()}; "
                "have the certificate renewed by the member's CA",
            )
        signed = SignedData(data=message.payload, identity=creator, signature=message.signature)
        try:
            configuration.policies.evaluate(WRITERS_POLICY, [signed])
        except PolicyError as refused:
            reason = why_not_valid(signed, configuration.msps) or str(refused)
            raise OrderingRefusal(FORBIDDEN, f"permission denied: {reason}") from refused
        return not_after


def _decode(envelope: bytes) -> tuple[common_pb2.Envelope, common_pb2.ChannelHeader, bytes]:
    """Read the envelope as far as an orderer must: the channel header and the creator."""
    payload, channel_header = common_pb2.Payload(), common_pb2.ChannelHeader()
    signature_header = common_pb2.SignatureHeader()
    message = common_pb2.Envelope()
    try:
        message.ParseFromString(envelope)
        payload.ParseFromString(message.payload)
        channel_header.ParseFromString(payload.header.channel_header)
        signature_header.ParseFromString(payload.header.signature_header)
    except DecodeError:
        raise OrderingRefusal(
            BAD_REQUEST,
            "could not determine channel ID: envelope, payload or header is not the protobuf "
            "message it should be; make and sign the envelope anew with a Fabric client",
        ) from None
    if not payload.HasField("header"):
        raise OrderingRefusal(
            BAD_REQUEST,
            "could not determine channel ID: no header was set; "
            "make and sign the envelope anew with a Fabric client",
        )
    return message, channel_header, signature_header.creator


def _check_type(header_type: int) -> None:
    if header_type == _CONFIG:
        raise OrderingRefusal(BAD_REQUEST, "message is of type that cannot be processed directly")
    if header_type == _ORDERER_TRANSACTION:
        raise OrderingRefusal(BAD_REQUEST, "message is of type that is no longer supported")
