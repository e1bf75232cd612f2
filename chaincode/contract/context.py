"""The context of one transaction: who asks, when, and the stub.

A contract sees the time its client put into the proposal, never a clock: endorsers refuse a
proposal that is more than 15 minutes off theirs. Dates are Pakistan's (UTC+5, no summer time).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import TypeVar

from chaincode.contract.stub import Stub
from chaincode.contract.values import decode_json
from chaincode.errors import ArgumentRefusal

PKT = timezone(timedelta(hours=5), "PKT")
ROLE_ATTRIBUTE = "qist.role"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Creator:
    """Who signed the proposal, as the channel's MSPs know the certificate.

    Attributes:
        msp_id: the organisation.
        common_name: of the certificate's subject.
        attributes: those that Fabric's CA writes into a certificate.
        identity_id: tells one certificate from another; empty where nobody asked for it.
    """

    msp_id: str
    common_name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    identity_id: str = ""

    @property
    def role(self) -> str:
        """The attribute `qist.role`, "" without one."""
        return self.attributes.get(ROLE_ATTRIBUTE, "")


class Context:
    """Passed to every transaction function as its first argument.

    Attributes:
        stub: the ledger, see `Stub`.
        creator: who signed the proposal.
        channel_id: the channel of the transaction.
        tx_id: its id, 64 hexadecimal digits.
        tx_time: the proposal's timestamp, UTC.
        tx_date: its date in Pakistan.
    """

    __slots__ = ("channel_id", "creator", "stub", "tx_date", "tx_id", "tx_time")

    def __init__(
        self, stub: Stub, creator: Creator, channel_id: str, tx_id: str, tx_time: datetime
    ) -> None:
        self.stub = stub
        self.creator = creator
        self.channel_id = channel_id
        self.tx_id = tx_id
        self.tx_time = tx_time
        self.tx_date: date = tx_time.astimezone(PKT).date()

    def has_transient(self, name: str) -> bool:
        """Say whether the proposal carries a transient entry of this name."""
        return name in self.stub.get_transient()

    def transient_json(self, name: str, kind: type[T]) -> T:
        """Return the transient entry *name*, decoded from JSON as *kind* (see `values`).

        Raises:
            ArgumentRefusal: it is missing or not of that type; the message holds nothing of it.
        """
        raw = self.stub.get_transient().get(name)
        if raw is None:
            raise ArgumentRefusal(
                f"transient data {name!r}", "is missing", "send it as transient data"
            )
        return decode_json(kind, raw, f"transient data {name!r}")
